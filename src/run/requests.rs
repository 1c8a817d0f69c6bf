//! What other commands ask of the daemon: to acknowledge alarms, to try the ways out.
//!
//! A request is an empty file whose name says it all, in a directory beside the spools: it needs no port, no password but the right
//! to write there, and works though it was made by another user (root) whose files the daemon could not read. The answer, where
//! there is one, is a file beside it.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::alarm::{Alarms, Name};

/// The directory's name beside the spools.
const DIRECTORY: &str = "requests";
/// The most requests that are looked at at once.
const MAX_REQUESTS: usize = 1_000;
/// Stands for any name, and for any subject.
const ANY: &str = "any";

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

/// The file's name of a request for a test.
pub fn test(token: &str) -> String {
    format!("test.{token}")
}

/// The file's name of its answer.
pub fn answer(token: &str) -> String {
    format!("answer.{token}.json")
}

/// Does what is asked; hands back the tests, which take their time.
pub(super) fn take(directory: &Path, alarms: &Alarms) -> Vec<Request> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut tests = Vec::new();
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
            test => tests.push(test),
        }
    }
    tests
}

fn parse(directory: &Path, file: &str) -> Option<Request> {
    let parts: Vec<&str> = file.split('.').collect();
    match parts.as_slice() {
        ["acknowledge", name, subject, _token] => {
            let name = if *name == ANY { None } else { Some(Name::from_label(name)?) };
            let subject = (*subject != ANY).then(|| (*subject).to_owned());
            Some(Request::Acknowledge { name, subject })
        }
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
}
