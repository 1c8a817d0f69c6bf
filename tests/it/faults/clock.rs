//! The system's clock is set back and forth by an hour while the archiver runs: for its process only, by libfaketime.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::ledger::Ledger;
use crate::support::mirrored::Written;
use crate::support::played::Played;
use crate::support::process::wait_for;

const HOUR: i64 = 3_600_000_000;

/// An archiver whose clock a test sets.
struct Clocked {
    archiver: Archiver,
    node: Played,
    file: PathBuf,
    stored: usize,
}

impl Clocked {
    fn new(kind: &str) -> Clocked {
        let node = Played::new("node", "archive.h", "h", "m.h", kind);
        let archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
        let file = archiver.spool().with_file_name("clock");
        let mut clocked = Clocked { archiver, node, file, stored: 0 };
        clocked.set(0);
        clocked.start();
        clocked
    }

    fn start(&mut self) {
        let library = library().display().to_string();
        let file = self.file.display().to_string();
        self.archiver.start_with(&[
            ("LD_PRELOAD", &library),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]);
        self.node.accept();
    }

    /// The clock is wrong by so many hours from now on.
    fn set(&self, hours: i32) {
        let next = self.file.with_extension("new");
        std::fs::write(&next, format!("{hours:+}h\n")).expect("the clock's file");
        std::fs::rename(next, &self.file).expect("the clock's file");
    }

    /// Both copies of a message, the clock being set between them.
    fn say_across(&mut self, id: Option<&str>, body: &str, hours: i32) {
        let stanza = stanza(id, body);
        self.mirror(&stanza);
        self.set(hours);
        self.mirror(&stanza);
    }

    fn mirror(&mut self, stanza: &str) {
        self.node.mirror(&[stanza]);
        self.stored += 1;
    }

    /// Its status can't be waited for, since its times are not ours.
    fn wait_until_stored(&self) {
        let stored = || self.archiver.status()?["stores"][0]["counts"]["deliveries"].as_u64();
        wait_for("everything to be stored", || (stored() == Some(self.stored as u64)).then_some(()));
    }

    fn ledger(mut self) -> Ledger {
        self.wait_until_stored();
        self.archiver.stop();
        self.archiver.store.ledger()
    }
}

fn library() -> PathBuf {
    let directories = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut candidates = directories.map(|directory| directory.join("faketime/libfaketime.so.1"));
    candidates.find(|candidate| candidate.exists()).expect("libfaketime is not installed: run script/test")
}

fn stanza(id: Option<&str>, body: &str) -> String {
    let message = Written::chat("alice@h/desk", "bob@h", body);
    id.map_or(message.clone(), |id| message.id(id)).by_firewall("h")
}

/// A message is one though the clock was set between its copies, equal messages stay as many as there were, and times are those of the clock, wrong
/// as it was.
#[test]
fn set_between_the_copies_of_a_message() {
    let mut clocked = Clocked::new("prosody");
    clocked.say_across(Some("m1"), "before", 0);
    clocked.say_across(Some("m2"), "over the step forward", 1);
    clocked.say_across(Some("m3"), "an hour ahead", 1);
    clocked.say_across(Some("m4"), "over the step back", 0);
    clocked.say_across(Some("m5"), "after", 0);
    clocked.say_across(Some("m6"), "over another step back", -1);
    // The third equal message is said when the clock shows the same time as at the first.
    for (hours, next) in [(-1, 0), (0, 0), (0, -1)] {
        clocked.set(hours);
        clocked.say_across(None, "ok", next);
    }
    let ledger = clocked.ledger();
    assert_eq!(ledger.size(), (9, 18), "{ledger}");
    assert!(ledger.rows.iter().all(|row| row.copies.len() == 2), "{ledger}");
    let between = |earlier: &str, later: &str| ledger.only(later).sent_at - ledger.only(earlier).sent_at;
    assert!((between("before", "an hour ahead") - HOUR).abs() < HOUR / 2, "{ledger}");
    assert!(between("an hour ahead", "after") < 0, "what came later shows an earlier time, since the clock did");
}

/// A restart between the step and the second copy makes no difference.
#[test]
fn set_and_restarted_between_the_copies() {
    let mut clocked = Clocked::new("prosody");
    clocked.mirror(&stanza(Some("m1"), "first copy before"));
    clocked.set(1);
    clocked.mirror(&stanza(Some("m2"), "wholly after"));
    clocked.wait_until_stored();
    clocked.mirror(&stanza(Some("m2"), "wholly after"));
    clocked.mirror(&stanza(Some("m1"), "first copy before"));
    let ledger = clocked.ledger();
    assert_eq!(ledger.size(), (2, 4), "{ledger}");
}

/// Liveness is measured by a clock that nobody sets: the session stays, forth and back.
#[test]
fn a_session_outlives_every_step() {
    let mut clocked = Clocked::new("prosody");
    for hours in [1, -1, 0] {
        clocked.set(hours);
        std::thread::sleep(Duration::from_millis(150));
        clocked.say_across(Some(&format!("m{hours}")), &format!("at {hours}"), hours);
    }
    clocked.wait_until_stored();
    let status = clocked.archiver.status().expect("a status");
    assert_eq!(status["nodes"][0]["reconnects"], 0, "{status}");
    let ledger = clocked.ledger();
    assert_eq!(ledger.size(), (3, 6), "{ledger}");
}
