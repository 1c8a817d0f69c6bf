//! Probe messages: whether what users write really ends in the archive.
//!
//! Whether a node mirrors can't be seen on the link with it: a mirror whose rule was lost is as silent as users who sleep. So an account that the
//! operator made for this logs in as any user does, and writes a message to itself, which goes the way of all messages: by the mirror, through
//! the spool, to the commit of a transaction. [`probe`] makes it and knows it again, [`client`] and [`login`] take it to the node, [`watch`] writes
//! one after the other and raises the alarm. What the intake and the pipeline see of it they tell [`Canaries`].
//!
//! A probe is counted and not archived. Nobody can use that to hide a message: it must be from and to the account, signed with a key
//! that is made of the account's password, and say nothing but what a probe says.

pub mod client;
mod error;
mod login;
pub mod probe;
pub mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub use self::error::LogInError;
pub use self::probe::Account;
use self::probe::Seen;
use crate::time::{Micros, now};
use crate::xml::Element;

/// Why a probe is not archived, in the counts.
pub const SKIPPED: &str = "canary";
/// Probes of one node of which is known how far they got; of those before nobody waits for news.
const MOST_PROBES: usize = 64;
/// Accounts that are known, those of earlier configurations included, since their probes may still be in the spool.
const MOST_ACCOUNTS: usize = 2_000;

/// The canaries of a process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Canaries(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The newest first.
    accounts: RwLock<VecDeque<Arc<Account>>>,
    boards: Mutex<BTreeMap<String, Board>>,
    news: Notify,
}

/// What is known of one node's probes.
#[derive(Debug, Default)]
struct Board {
    probes: VecDeque<Sent>,
    report: Report,
}

/// A probe that was written.
#[derive(Debug)]
struct Sent {
    id: String,
    at: Instant,
    progress: Progress,
}

/// How far a probe got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It was written, and nothing was seen of it since.
    Sent,
    /// The intake took it.
    Mirrored,
    /// It came with something that we did not write, so that it is archived like any message: this.
    Altered(String),
    /// What tells of it was committed, so long after it was written.
    Returned(Duration),
}

/// What can be told of a node's probes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The account that writes.
    pub account: String,
    /// When the last one was written.
    pub sent_at: Option<Micros>,
    /// When the last one that came back did.
    pub returned_at: Option<Micros>,
    /// How long that one took.
    pub took: Option<Duration>,
    /// How many came back.
    pub returned: u64,
    /// How many did not come back in time.
    pub missing: u64,
    /// Why the last one did not come back in time; none if it did, or is not due yet.
    pub trouble: Option<String>,
}

/// A probe that came out of the spool.
#[derive(Clone, Debug)]
pub struct Probe {
    canaries: Canaries,
    node: Arc<str>,
    /// None for an error that came back in its place.
    id: Option<String>,
}

impl Probe {
    /// What tells of it was committed.
    pub fn stored(&self) {
        if let Some(id) = &self.id {
            self.canaries.stored(&self.node, id);
        }
    }
}

impl Canaries {
    /// One more account whose probes are known when they come; the one that is known already, if it is.
    pub fn add(&self, account: Account) -> Arc<Account> {
        let mut accounts = self.0.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.iter().find(|known| known.is(&account)) {
            return known.clone();
        }
        let account = Arc::new(account);
        accounts.push_front(account.clone());
        accounts.truncate(MOST_ACCOUNTS);
        account
    }

    /// `account` writes at `node` from now on.
    pub fn begin(&self, node: &str, account: &str) {
        let mut boards = self.boards();
        let board = boards.entry(node.to_owned()).or_default();
        account.clone_into(&mut board.report.account);
    }

    /// Nobody writes at `node` any more.
    pub fn end(&self, node: &str) {
        self.boards().remove(node);
    }

    /// What can be told of a node's probes; none where none are written.
    pub fn report(&self, node: &str) -> Option<Report> {
        self.boards().get(node).map(|board| board.report.clone())
    }

    /// The intake of `node` has this stanza in hands, which may be a probe.
    pub fn mirrored(&self, node: &str, stanza: Element<'_, '_>) {
        if let Some(id) = probe::claimed_id(stanza).filter(|_| !probe::is_error(stanza)) {
            self.advance(node, id, Progress::Mirrored);
        }
    }

    /// The probe that came to `node` with this stanza, if it is one.
    pub fn recognise(&self, node: &str, stanza: Element<'_, '_>) -> Option<Probe> {
        let id = probe::claimed_id(stanza)?;
        let account = |account: &&Arc<Account>| account.signed(stanza);
        let signer = self.0.accounts.read().unwrap_or_else(PoisonError::into_inner).iter().find(account).cloned();
        let Some(account) = signer else {
            self.advance(node, id, Progress::Altered("other addresses or another signature".to_owned()));
            return None;
        };
        let id = match account.see(stanza) {
            Seen::Probe => Some(id.to_owned()),
            Seen::Error => None,
            Seen::Altered(what) => {
                self.advance(node, id, Progress::Altered(what));
                return None;
            }
        };
        Some(Probe { canaries: self.clone(), node: Arc::from(node), id })
    }

    /// A probe is about to be written.
    fn sent(&self, node: &str, id: &str) {
        if let Some(board) = self.boards().get_mut(node) {
            board.probes.push_front(Sent { id: id.to_owned(), at: Instant::now(), progress: Progress::Sent });
            board.probes.truncate(MOST_PROBES);
            board.report.sent_at = Some(now());
        }
    }

    /// How far a probe got.
    fn progress(&self, node: &str, id: &str) -> Progress {
        let boards = self.boards();
        let sent = boards.get(node).and_then(|board| board.probes.iter().find(|sent| sent.id == id));
        sent.map_or(Progress::Sent, |sent| sent.progress.clone())
    }

    fn advance(&self, node: &str, id: &str, progress: Progress) {
        if let Some(sent) = self.boards().get_mut(node).and_then(|board| board.probes.iter_mut().find(|sent| sent.id == id))
            && !matches!(sent.progress, Progress::Returned(_))
        {
            sent.progress = progress;
        }
    }

    /// The first copy of a probe is what counts.
    fn stored(&self, node: &str, id: &str) {
        let mut boards = self.boards();
        let Some(board) = boards.get_mut(node) else { return };
        let Some(sent) = board.probes.iter_mut().find(|sent| sent.id == id) else { return };
        if matches!(sent.progress, Progress::Returned(_)) {
            return;
        }
        let took = sent.at.elapsed();
        sent.progress = Progress::Returned(took);
        board.report.returned += 1;
        board.report.returned_at = Some(now());
        board.report.took = Some(took);
        drop(boards);
        self.0.news.notify_waiters();
    }

    /// How the last round ended: why nothing came back in time, if nothing did.
    fn judge(&self, node: &str, trouble: Option<&str>) {
        if let Some(board) = self.boards().get_mut(node) {
            board.report.missing += u64::from(trouble.is_some());
            board.report.trouble = trouble.map(str::to_owned);
        }
    }

    fn boards(&self) -> MutexGuard<'_, BTreeMap<String, Board>> {
        self.0.boards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Document;

    const ID: &str = "0123456789abcdef";

    fn canaries() -> (Canaries, Arc<Account>) {
        let canaries = Canaries::default();
        let account = canaries.add(Account::new("canary@h", "canary@h", "pencil".into()));
        canaries.begin("main", "canary@h");
        (canaries, account)
    }

    /// The probe as the node mirrors it.
    fn mirrored(account: &Account) -> String {
        account.message(ID).replacen("<message ", "<message xmlns='jabber:client' from='canary@h/x' ", 1)
    }

    fn recognise(canaries: &Canaries, node: &str, stanza: &str) -> Option<Probe> {
        let document = Document::parse(stanza.as_bytes(), "jabber:client").unwrap();
        canaries.mirrored(node, document.root());
        canaries.recognise(node, document.root())
    }

    #[test]
    fn a_probe_is_back_when_it_is_stored_and_not_before() {
        let (canaries, account) = canaries();
        canaries.sent("main", ID);
        assert_eq!(canaries.progress("main", ID), Progress::Sent);
        let probe = recognise(&canaries, "main", &mirrored(&account)).unwrap();
        assert_eq!(canaries.progress("main", ID), Progress::Mirrored);
        probe.stored();
        assert!(matches!(canaries.progress("main", ID), Progress::Returned(_)));
        probe.stored();
        let report = canaries.report("main").unwrap();
        assert_eq!((report.returned, report.took.is_some(), report.account.as_str()), (1, true, "canary@h"));
    }

    #[test]
    fn what_comes_by_another_node_is_known_and_tells_nothing_of_this_one() {
        let (canaries, account) = canaries();
        canaries.begin("other", "canary@h");
        canaries.sent("main", ID);
        recognise(&canaries, "other", &mirrored(&account)).unwrap().stored();
        assert_eq!(canaries.progress("main", ID), Progress::Sent);
        assert_eq!(canaries.report("other").unwrap().returned, 0);
    }

    #[test]
    fn a_changed_password_leaves_the_probes_before_it_known() {
        let (canaries, before) = canaries();
        let after = canaries.add(Account::new("canary@h", "canary@h", "other".into()));
        assert!(Arc::ptr_eq(&after, &canaries.add(Account::new("canary@h", "canary@h", "other".into()))));
        for account in [before, after] {
            assert!(recognise(&canaries, "main", &mirrored(&account)).is_some());
        }
        assert!(recognise(&Canaries::default(), "main", &mirrored(&Account::new("canary@h", "canary@h", "pencil".into()))).is_none());
    }

    #[test]
    fn what_the_node_added_is_told() {
        let (canaries, account) = canaries();
        canaries.sent("main", ID);
        let more = mirrored(&account).replacen("</message>", "<extra xmlns='urn:x'/></message>", 1);
        assert!(recognise(&canaries, "main", &more).is_none());
        assert_eq!(canaries.progress("main", ID), Progress::Altered("<extra xmlns='urn:x'/>".to_owned()));
    }

    #[test]
    fn a_returned_error_is_no_return() {
        let (canaries, account) = canaries();
        canaries.sent("main", ID);
        let error = mirrored(&account).replacen("type='chat'", "type='error'", 1);
        let error = error.replacen(
            "</message>",
            "<error type='cancel'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
            1,
        );
        recognise(&canaries, "main", &error).unwrap().stored();
        assert_eq!(canaries.progress("main", ID), Progress::Sent);
        assert_eq!(canaries.report("main").unwrap().returned, 0);
    }
}
