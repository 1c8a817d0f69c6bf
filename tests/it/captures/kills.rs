//! One spool with every capture of a server in it, and all that may happen on its way into a store: the archiver killed at any moment, the same
//! spool read again and again. The rows must be those of a run that nothing disturbed, to the last column.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::capture::Capture;
use crate::support::ledger::{Ledger, stored};
use crate::support::played::Played;
use crate::support::process::{Directory, run, wait_for};

/// Small transactions, so that there are many moments to be killed at.
const SETTINGS: &str = "batch_messages = 3";

/// A spool in which everything is durable, and nothing stored.
struct Full {
    node: Played,
    directory: Directory,
}

impl Full {
    /// The archiver takes all captures of ejabberd in while its store can't be reached, and is killed.
    fn new() -> Full {
        let captures: Vec<Capture> = Capture::all().into_iter().filter(|capture| capture.name.starts_with("ejabberd")).collect();
        let mut node = Played::of(&captures[0]);
        let away = Store::Sqlite(PathBuf::from("/proc/nowhere/archive.sqlite"));
        let mut archiver = Archiver::for_played_on(away, Directory::new(None), SETTINGS, &[&node]);
        archiver.start();
        node.accept();
        captures.iter().for_each(|capture| node.mirror(&capture.lines));
        archiver.wait_until_spooled(400);
        archiver.kill();
        let directory = Directory::new(None);
        copy(&archiver.spool(), directory.path());
        Full { node, directory }
    }

    /// An archiver that has this spool and an empty store.
    fn archiver(&self, store: StoreKind) -> Archiver {
        let archiver = Archiver::for_played(store, SETTINGS, &[&self.node]);
        self.put_back(&archiver);
        archiver
    }

    /// The spool as it was before anything of it was stored.
    fn put_back(&self, archiver: &Archiver) {
        std::fs::remove_dir_all(archiver.spool()).expect("the spool goes");
        copy(&self.directory.path().join("spool"), archiver.spool().parent().expect("a directory"));
    }

    fn undisturbed(&self) -> Ledger {
        let mut archiver = self.archiver(StoreKind::Sqlite);
        finish(&mut archiver)
    }
}

fn copy(directory: &Path, into: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(directory).arg(into);
    run(copy);
}

/// Stores all that is in the spool.
fn finish(archiver: &mut Archiver) -> Ledger {
    archiver.start();
    archiver.wait_until_stored();
    archiver.stop();
    archiver.store.ledger()
}

/// Kills the archiver again and again, each time when it has stored a few more records, in the midst of the next transaction.
fn killed_again_and_again(store: StoreKind) {
    let full = Full::new();
    let mut archiver = full.archiver(store);
    let mut random = fastrand(0x5eed);
    let mut kills = 0;
    let mut target = 0;
    while target < 400 {
        archiver.start();
        wait_for("more to be stored", || (stored(&archiver.store.endpoint()) >= target).then_some(()));
        archiver.kill();
        kills += 1;
        target = stored(&archiver.store.endpoint()) + 1 + random() % 60;
    }
    // On a busy machine much is stored before the test looks again.
    assert!(kills >= 2, "killed {kills} times only");
    let ledger = finish(&mut archiver);
    assert_eq!(ledger, full.undisturbed());
}

/// A small generator of numbers that are the same in every run.
fn fastrand(seed: u64) -> impl FnMut() -> i64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as i64
    }
}

#[test]
fn killed_while_storing_in_sqlite() {
    killed_again_and_again(StoreKind::Sqlite);
}

#[test]
fn killed_while_storing_in_postgres() {
    killed_again_and_again(StoreKind::Postgres);
}

#[test]
fn killed_while_storing_in_mariadb() {
    killed_again_and_again(StoreKind::MariaDb);
}

#[test]
fn a_spool_read_again_and_again_changes_nothing() {
    let full = Full::new();
    let mut archiver = full.archiver(StoreKind::Sqlite);
    let first = finish(&mut archiver);
    for _ in 0..3 {
        full.put_back(&archiver);
        assert_eq!(finish(&mut archiver), first);
    }
}

/// The size of a transaction is the operator's choice and no one's business: the rows are the same.
#[test]
fn the_size_of_a_transaction_changes_nothing() {
    let full = Full::new();
    let undisturbed = full.undisturbed();
    for size in [1, 50, 4_000] {
        let mut archiver = Archiver::for_played(StoreKind::Sqlite, &format!("batch_messages = {size}"), &[&full.node]);
        full.put_back(&archiver);
        assert_eq!(finish(&mut archiver), undisturbed, "{size} records a transaction");
    }
}
