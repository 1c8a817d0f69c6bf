//! Disks that are full, and directories that are not there or may not be written: the archive's and the spool's.

use std::sync::Arc;

use super::{IMPATIENT, alarm_says, assert_holds, has_alarm, lines, prosody};
use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::mariadb::MariaDb;
use crate::support::mount::{SmallDisk, set_writable};
use crate::support::postgres::Postgres;
use crate::support::process::{Directory, User};
use crate::support::queue::{QueueNode, assert_exact};

/// The disk under the store is filled to the last block, and freed.
fn disk_full(store: Store, disk: &SmallDisk) {
    let mut node = QueueNode::new();
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), IMPATIENT, &[&node.node]);
    archiver.start();
    node.accept();
    node.say_many("before", 20);
    assert!(node.push(0));
    archiver.wait_until_stored();
    disk.fill();
    // More than fits into the free room of pages that are there already.
    let long = "x".repeat(3_000);
    (0..300).for_each(|n| node.say(&format!("meanwhile {n} {long}")));
    assert!(node.push(0), "chat goes on, and what is acknowledged is durable");
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "store-refusing") && alarm_says(status, "can't write"));
    disk.free();
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, "store-refusing"));
    archiver.stop();
    assert_exact(&archiver.store.ledger(), &node.said);
}

#[test]
fn of_sqlite_full() {
    let place = Directory::new(None);
    let Some(disk) = SmallDisk::over(&place.make("disk"), 12) else { return };
    disk_full(Store::Sqlite(disk.path().join("archive.sqlite")), &disk);
}

#[test]
fn of_postgres_full() {
    let place = Directory::new(User::first_of(&["postgres", "nobody"]));
    let server = Arc::new(Postgres::start());
    let Some(disk) = SmallDisk::over(&place.make("disk"), 24) else { return };
    let tables = place.make("disk/tables");
    let database = server.new_database();
    database.query(&format!("CREATE TABLESPACE small LOCATION '{}'", tables.display()));
    database.query(&format!("ALTER DATABASE {} SET default_tablespace = small", database.name));
    disk_full(Store::Postgres(database), &disk);
}

#[test]
fn of_mariadb_full() {
    let server = Arc::new(MariaDb::start());
    let database = server.new_database();
    let Some(disk) = SmallDisk::over(&server.directory_of(&database), 24) else { return };
    disk_full(Store::MariaDb(database), &disk);
}

/// What can't be made durable is not acknowledged, so the node keeps it; nothing is lost as long as the process lives, and the status goes on.
#[test]
fn of_the_spool_full_then_freed() {
    let directory = Directory::new(None);
    let mut node = QueueNode::new();
    let store = Store::Sqlite(directory.path().join("archive.sqlite"));
    let mut archiver = Archiver::for_played_on(store, directory, "", &[&node.node]);
    let Some(disk) = SmallDisk::over(&archiver.spool(), 24) else { return };
    archiver.start();
    node.accept();
    node.say_many("before", 50);
    assert!(node.push(0));
    archiver.wait_until_stored();
    disk.fill();
    node.say_many("meanwhile", 50);
    assert!(node.push(node.waiting()), "the node is read");
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "spool-full") && alarm_says(status, "free the disk"));
    assert_eq!(node.waiting(), 100, "nothing is acknowledged that is not durable");
    disk.free();
    node.drain();
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, "spool-full"));
    archiver.stop();
    assert_exact(&archiver.store.ledger(), &node.said);
}

/// Without a spool there is no archiver: it ends at once, and says what is wrong with which directory and what to do.
#[test]
fn of_the_spool_not_writable_at_start() {
    let mut node = prosody();
    let directory = Directory::new(User::first_of(&["nobody"]));
    let store = Store::Sqlite(directory.make("archive").join("archive.sqlite"));
    let mut archiver = Archiver::for_played_on(store, directory, "", &[&node]);
    let spool = archiver.spool();
    set_writable(&spool, false);
    assert_refuses_to_start(&mut archiver, "permission denied");
    set_writable(&spool, true);
    // A disk that is not mounted: something else is in its place.
    let aside = spool.with_extension("aside");
    std::fs::rename(&spool, &aside).expect("the spool goes");
    std::fs::write(&spool, "").expect("a file in its place");
    assert_refuses_to_start(&mut archiver, "");
    std::fs::remove_file(&spool).expect("the file");
    std::fs::rename(&aside, &spool).expect("the spool comes back");
    archiver.start();
    node.accept();
    node.mirror(&lines("in the end"));
    archiver.wait_until_stored();
    archiver.stop();
    assert_holds(&archiver.store.ledger(), &["in the end"]);
}

fn assert_refuses_to_start(archiver: &mut Archiver, why: &str) {
    archiver.start();
    let status = archiver.wait_until_it_ends();
    let said = archiver.said();
    assert_eq!(status.code(), Some(1), "{said}");
    let spool = archiver.spool().display().to_string();
    assert!(said.contains(&spool) && said.to_lowercase().contains(why) && said.contains("spool.path"), "{said}");
}

/// A spool that was removed between two starts is a new spool: what had been stored stays, and what comes is stored, nothing of it taken for old.
#[test]
fn of_the_spool_removed_between_two_starts() {
    let mut node = QueueNode::new();
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node.node]);
    archiver.start();
    node.accept();
    node.say_many("before", 20);
    assert!(node.push(0));
    archiver.wait_until_stored();
    archiver.stop();
    std::fs::remove_dir_all(archiver.spool()).expect("the spool goes");
    archiver.start();
    node.accept();
    node.say_many("after", 20);
    node.drain();
    archiver.wait_until_stored();
    archiver.stop();
    assert_exact(&archiver.store.ledger(), &node.said);
}
