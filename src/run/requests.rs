//! What other commands ask of the daemon: to acknowledge alarms, to try the ways out, to raise the alarm of what `reconcile` found, or of an account that
//! the console has locked.
//!
//! A request is an empty file whose name says it all, in a directory beside the spools: it needs no port, no password but the right
//! to write there, and works though it was made by another user (root) whose files the daemon could not read. The answer, where
//! there is one, is a file beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

use crate::access::Lock;
use crate::access::account::check_name;
use crate::alarm::{Alarms, Name};
use crate::tally::DAY;
use crate::time::{Micros, now, rfc3339};

/// The directory's name beside the spools.
const DIRECTORY: &str = "requests";
/// The most requests that are looked at at once.
const MAX_REQUESTS: usize = 1_000;
/// Stands for any name, and for any subject.
const ANY: &str = "any";

/// Stands where the node's own archive was not compared.
const NOT_COMPARED: &str = "none";

/// The last day that can be named: in the year 4707.
const MAX_DAY: i32 = 1_000_000;

/// Something is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// These alarms were seen.
    Acknowledge {
        /// The name; any, if not given.
        name: Option<Name>,
        /// The mark of the subject; any, if not given.
        subject: Option<String>,
    },
    /// Send a test by every way, and write what happened into this file.
    Test {
        /// The file.
        answer: PathBuf,
    },
    /// `reconcile` has an outcome.
    Reconciled(Reconciled),
    /// An account is locked.
    Locked(Lock),
    /// It is not any more.
    Unlocked {
        /// Its name.
        account: String,
    },
}

/// What `reconcile` found at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciled {
    /// The mark of its name.
    pub node: String,
    /// The first day that was looked at.
    pub first: i32,
    /// The last one.
    pub last: i32,
    /// Messages of the node's own archive that are not here, where that was compared.
    pub missing: Option<u64>,
    /// Numbers that do not add up.
    pub wrong: u64,
    /// When it was found: the last word counts.
    pub at: Micros,
}

impl Reconciled {
    /// The file's name of the request; `token` tells it from others.
    pub fn file(&self, token: &str) -> String {
        let missing = self.missing.map_or_else(|| NOT_COMPARED.to_owned(), |missing| missing.to_string());
        format!("reconciled.{}.{}.{}.{missing}.{}.{}.{token}", self.node, self.first, self.last, self.wrong, self.at)
    }

    fn is_well(&self) -> bool {
        self.missing.unwrap_or(0) == 0 && self.wrong == 0
    }

    fn text(&self) -> String {
        let day = |day: i32| rfc3339(i64::from(day) * DAY).chars().take(10).collect::<String>();
        let days = format!("{} to {}", day(self.first), day(self.last));
        let missing = self.missing.filter(|missing| *missing > 0);
        let own = missing.map(|missing| format!("{missing} messages of the node's own archive are missing here or can't be read"));
        let rows = (self.wrong > 0).then(|| format!("{} numbers do not add up", self.wrong));
        let found: Vec<String> = own.into_iter().chain(rows).collect();
        format!(
            "of {days}, {}: see what `xmpp-archiver reconcile` says of these days, do what it advises, then run it again",
            found.join(" and ")
        )
    }
}

/// What `reconcile` found wrong, by node, until the same days were looked at again and are well.
#[derive(Debug, Default)]
pub(super) struct Mismatches(BTreeMap<String, Reconciled>);

impl Mismatches {
    /// Raises the alarm of a node with this mark, or clears it.
    pub(super) fn note(&mut self, found: Reconciled, node: &str, alarms: &Alarms) {
        if !found.is_well() {
            alarms.raise(Name::ReconcileMismatch, node, &found.text());
            let (first, last, missing) =
                self.0.get(node).map_or((found.first, found.last, None), |before| (before.first, before.last, before.missing));
            // Both are looked at again before it is well.
            let known = Reconciled {
                first: first.min(found.first),
                last: last.max(found.last),
                missing: found.missing.filter(|missing| *missing > 0).or(missing),
                ..found
            };
            self.0.insert(node.to_owned(), known);
        } else if self.0.get(node).is_some_and(|before| {
            // Where only rows were looked at, nothing is known of the node's own archive.
            found.first <= before.first && found.last >= before.last && (before.missing.is_none() || found.missing.is_some())
        }) {
            self.0.remove(node);
            alarms.clear(Name::ReconcileMismatch, node);
        }
    }
}

/// The directory of requests to the daemon with this directory of spools.
pub fn directory(spools: &Path) -> PathBuf {
    spools.join(DIRECTORY)
}

/// Stands for a subject in a file's name, whatever is in it.
pub fn mark(subject: &str) -> String {
    Sha256::digest(subject).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The file's name of a request to acknowledge; `token` tells it from others.
pub fn acknowledge(name: Option<Name>, subject: Option<&str>, token: &str) -> String {
    let subject = subject.map_or_else(|| ANY.to_owned(), mark);
    format!("acknowledge.{}.{subject}.{token}", name.map_or(ANY, Name::label))
}

/// The file's name of a request that tells of an account that is locked. What it is made of holds no comma, and points separate its parts.
pub fn locked(lock: &Lock, token: &str) -> String {
    let Lock { account, failures, address, until } = lock;
    format!("locked.{}.{failures}.{}.{until}.{token}", account.replace('.', ","), address.to_string().replace('.', ","))
}

/// The file's name of a request that tells of one that is not any more.
pub fn unlocked(account: &str, token: &str) -> String {
    format!("unlocked.{}.{token}", account.replace('.', ","))
}

/// Tells one request from another.
///
/// # Errors
/// When the system has no random numbers.
pub fn token() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Leaves a request for the daemon; `request` gives the file's name for a token.
///
/// # Errors
/// When the file can't be made.
pub fn leave(directory: &Path, request: impl FnOnce(&str) -> String) -> io::Result<()> {
    fs::write(directory.join(request(&token()?)), "")
}

/// The file's name of a request for a test.
pub fn test(token: &str) -> String {
    format!("test.{token}")
}

/// The file's name of its answer.
pub fn answer(token: &str) -> String {
    format!("answer.{token}.json")
}

/// Does what only concerns alarms; hands back the other requests.
pub(super) fn take(directory: &Path, alarms: &Alarms) -> Vec<Request> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut others = Vec::new();
    for entry in entries.take(MAX_REQUESTS).flatten() {
        let name = entry.file_name();
        let Some(request) = name.to_str().and_then(|name| parse(directory, name)) else { continue };
        // One that can't be removed would be done again for ever.
        if fs::remove_file(entry.path()).is_err() {
            continue;
        }
        match request {
            Request::Acknowledge { name: wanted, subject: marked } => {
                let picks = |name: Name, subject: &str| {
                    wanted.is_none_or(|wanted| wanted == name) && marked.as_ref().is_none_or(|marked| *marked == mark(subject))
                };
                alarms.acknowledge(picks);
            }
            // One that nobody took in time is over.
            Request::Locked(lock) if lock.until > now() => alarms.raise(Name::AccountLocked, &lock.account, &lock.text()),
            Request::Locked(_) => {}
            Request::Unlocked { account } => alarms.clear(Name::AccountLocked, &account),
            other => others.push(other),
        }
    }
    others.sort_by_key(|request| if let Request::Reconciled(found) = request { found.at } else { 0 });
    others
}

/// A day as it stands in a file's name, not so far away that it could not be shown.
fn day(text: &str) -> Option<i32> {
    text.parse().ok().filter(|day: &i32| (0..=MAX_DAY).contains(day))
}

fn account_named(text: &str) -> Option<String> {
    let name = text.replace(',', ".");
    check_name(&name).is_ok().then_some(name)
}

fn parse(directory: &Path, file: &str) -> Option<Request> {
    let parts: Vec<&str> = file.split('.').collect();
    match parts.as_slice() {
        ["acknowledge", name, subject, _token] => {
            let name = if *name == ANY { None } else { Some(Name::from_label(name)?) };
            let subject = (*subject != ANY).then(|| (*subject).to_owned());
            Some(Request::Acknowledge { name, subject })
        }
        ["reconciled", node, first, last, missing, wrong, at, _token] => Some(Request::Reconciled(Reconciled {
            node: (*node).to_owned(),
            first: day(first)?,
            last: day(last)?,
            missing: if *missing == NOT_COMPARED { None } else { Some(missing.parse().ok()?) },
            wrong: wrong.parse().ok()?,
            at: at.parse().ok()?,
        })),
        ["locked", account, failures, address, until, _token] => Some(Request::Locked(Lock {
            account: account_named(account)?,
            failures: failures.parse().ok()?,
            address: address.replace(',', ".").parse().ok()?,
            until: until.parse().ok()?,
        })),
        ["unlocked", account, _token] => Some(Request::Unlocked { account: account_named(account)? }),
        ["test", token] => Some(Request::Test { answer: directory.join(answer(token)) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_done_once_and_others_files_stay() {
        let place = tempfile::tempdir().unwrap();
        let alarms = Alarms::default();
        alarms.raise(Name::StanzaOversize, "a", "lost");
        alarms.raise(Name::StanzaOversize, "b/../c", "lost");
        let make = |name: &str| fs::write(place.path().join(name), "").unwrap();
        make(&acknowledge(Some(Name::StanzaOversize), Some("b/../c"), "1"));
        make(&test("2"));
        make("something else");
        make("acknowledge.no-such-alarm.any.3");
        let tests = take(place.path(), &alarms);
        assert_eq!(tests, [Request::Test { answer: place.path().join("answer.2.json") }]);
        let left: Vec<String> = alarms.raised().into_iter().map(|alarm| alarm.subject).collect();
        assert_eq!(left, ["a"]);
        make(&acknowledge(None, None, "4"));
        assert_eq!(take(place.path(), &alarms), []);
        assert!(alarms.raised().is_empty());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_locked_account_is_an_alarm_until_it_is_unlocked() {
        let (place, alarms) = (tempfile::tempdir().unwrap(), Alarms::default());
        let lock = |account: &str, address: &str, until| Lock {
            account: account.to_owned(),
            failures: 5,
            address: address.parse().unwrap(),
            until,
        };
        let longest = "ä.@+-_".repeat(20).chars().take(85).collect::<String>();
        assert!(check_name(&longest).is_ok());
        let locks = [lock("ann.b", "192.0.2.1", Micros::MAX), lock(&longest, "2001:db8:1111:2222:3333:4444:5555:6666", now() + 60_000_000)];
        for one in &locks {
            leave(place.path(), |token| locked(one, token)).unwrap();
        }
        leave(place.path(), |token| locked(&lock("over", "192.0.2.1", now() - 1), token)).unwrap();
        fs::write(place.path().join("locked.a b.5.192,0,2,1.9.t"), "").unwrap();
        assert_eq!(take(place.path(), &alarms), []);
        let mut raised: Vec<(String, String)> = alarms.raised().into_iter().map(|alarm| (alarm.subject, alarm.text)).collect();
        raised.sort();
        let mut expected: Vec<(String, String)> = locks.iter().map(|lock| (lock.account.clone(), lock.text())).collect();
        expected.sort();
        assert_eq!(raised, expected);
        leave(place.path(), |token| unlocked("ann.b", token)).unwrap();
        take(place.path(), &alarms);
        assert_eq!(alarms.raised().len(), 1);
    }

    #[test]
    fn a_mismatch_lasts_until_the_same_days_are_well() {
        let (alarms, mut mismatches) = (Alarms::default(), Mismatches::default());
        let place = tempfile::tempdir().unwrap();
        let mut tell = |first, last, missing, wrong| {
            let found = Reconciled { node: mark("main"), first, last, missing, wrong, at: 7 };
            fs::write(place.path().join(found.file("7")), "").unwrap();
            let Some(Request::Reconciled(taken)) = take(place.path(), &alarms).pop() else { panic!("no request") };
            assert_eq!(taken, found);
            mismatches.note(taken, "main", &alarms);
            alarms.raised().len()
        };
        assert_eq!(tell(10, 10, Some(0), 0), 0);
        assert_eq!(tell(10, 10, Some(3), 0), 1);
        assert_eq!(tell(11, 11, Some(0), 0), 1, "another day says nothing of it");
        assert_eq!(tell(9, 12, None, 0), 1, "nor do the rows");
        assert_eq!(tell(12, 12, None, 2), 1);
        assert_eq!(tell(10, 11, Some(0), 0), 1);
        assert_eq!(tell(10, 12, Some(0), 0), 0);
    }
}
