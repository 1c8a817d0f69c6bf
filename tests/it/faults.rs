//! The store at fault: it goes away in the midst of traffic and comes back, it refuses a record; and what is acknowledged is durable though there is
//! no store at all. The other kinds of fault are in the modules below.

mod backlog;
mod clock;
mod damage;
mod disks;
mod feeds;
mod kills;
mod links;
mod peers;
mod refusals;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::ledger::Ledger;
use crate::support::mariadb::MariaDb;
use crate::support::mirrored::{Wrapped, Written};
use crate::support::played::Played;
use crate::support::postgres::Postgres;
use crate::support::process::{Directory, PATIENCE};

/// So that silence is noticed soon.
const IMPATIENT: &str = "connect_timeout = '1s'\nstatement_timeout = '1s'";

fn prosody() -> Played {
    Played::new("node", "archive.h", "h", "m.h", "prosody")
}

fn line(topic: &str, n: usize) -> String {
    let message = Written::chat("alice@h/desk", "bob@h", &format!("{topic} {n}")).id(&format!("{topic}-{n}"));
    message.by_firewall("h").repeat(2)
}

fn lines(topic: &str) -> Vec<String> {
    (0..50).map(|n| line(topic, n)).collect()
}

/// Every message of these topics, once, in order, with both its copies.
fn assert_holds(ledger: &Ledger, topics: &[&str]) {
    let bodies: Vec<&str> = ledger.rows.iter().filter_map(|row| row.body.as_deref()).collect();
    let expected: Vec<String> = topics.iter().flat_map(|topic| (0..50).map(move |n| format!("{topic} {n}"))).collect();
    assert_eq!(bodies, expected);
    assert!(ledger.rows.iter().all(|row| row.copies.len() == 2), "{ledger}");
    assert!(ledger.quarantine.is_empty(), "{ledger}");
}

fn has_alarm(status: &Value, name: &str) -> bool {
    status["alarms"].as_array().is_some_and(|alarms| alarms.iter().any(|alarm| alarm["name"] == name))
}

/// The archiver has waited as long as a whole transaction may take, and let go of the connection.
const GIVEN_UP: &str = "no answer within 5s";
/// It has noticed that something is wrong.
const NOTICED: &str = "";

fn alarm_says(status: &Value, text: &str) -> bool {
    status["alarms"]
        .as_array()
        .is_some_and(|alarms| alarms.iter().any(|alarm| alarm["text"].as_str().is_some_and(|said| said.contains(text))))
}

fn away_and_back(store: Store, until: &str, leave: impl Fn(), come_back: impl Fn()) {
    let mut node = prosody();
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), IMPATIENT, &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&lines("before"));
    archiver.wait_until_stored();
    leave();
    node.mirror(&lines("meanwhile"));
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "store-unreachable") && alarm_says(status, until));
    node.mirror(&lines("later"));
    come_back();
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, "store-unreachable"));
    node.mirror(&lines("after"));
    archiver.wait_until_stored();
    archiver.stop();
    assert_holds(&archiver.store.ledger(), &["before", "meanwhile", "later", "after"]);
}

#[test]
fn postgres_stopped() {
    let server = Arc::new(Postgres::start());
    away_and_back(Store::Postgres(server.new_database()), NOTICED, || server.stop(), || server.restart());
}

#[test]
fn postgres_frozen() {
    for until in [NOTICED, GIVEN_UP] {
        let server = Arc::new(Postgres::start());
        away_and_back(Store::Postgres(server.new_database()), until, || server.pause(), || server.go_on());
    }
}

#[test]
fn mariadb_stopped() {
    let server = Arc::new(MariaDb::start());
    away_and_back(Store::MariaDb(server.new_database()), NOTICED, || server.stop(), || server.restart());
}

#[test]
fn mariadb_frozen() {
    for until in [NOTICED, GIVEN_UP] {
        let server = Arc::new(MariaDb::start());
        away_and_back(Store::MariaDb(server.new_database()), until, || server.pause(), || server.go_on());
    }
}

/// A disk that is mounted too late: where the directory should be there is something else.
#[test]
fn sqlite_not_there_at_first() {
    let place = Directory::new(None);
    let in_the_way = place.write("disk", "");
    let mut node = prosody();
    let store = Store::Sqlite(in_the_way.join("archive.sqlite"));
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&lines("too early"));
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "store-unreachable"));
    std::fs::remove_file(&in_the_way).expect("it works here");
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, "store-unreachable"));
    archiver.stop();
    assert_holds(&archiver.store.ledger(), &["too early"]);
}

const REFUSE_IN_SQLITE: &str =
    "CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN NEW.body LIKE '%forbidden%' BEGIN SELECT RAISE(ABORT, 'not this'); END";
const REFUSE: &str = "ALTER TABLE messages ADD CONSTRAINT refuse CHECK (body NOT LIKE '%forbidden%')";

/// Both copies of one message in a hundred are refused: they are set aside, all others are stored, and once the store takes them they are one message.
fn one_record_refused(kind: StoreKind, refuse: &str, relent: &str) {
    let mut node = prosody();
    let mut archiver = Archiver::for_played(kind, "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&lines("before"));
    archiver.wait_until_stored();
    archiver.store.query(refuse);
    let mut refused = lines("among");
    refused.insert(20, line("forbidden", 0));
    node.mirror(&refused);
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "record-quarantined"));
    node.mirror(&lines("after"));
    archiver.wait_until_stored();
    archiver.stop();
    let mut ledger = archiver.store.ledger();
    assert_eq!(ledger.quarantine.len(), 2, "{ledger}");
    ledger.quarantine.clear();
    assert_holds(&ledger, &["before", "among", "after"]);
    archiver.store.query(relent);
    archiver.must(&["quarantine", "retry", "--all"]);
    let ledger = archiver.store.ledger();
    assert_eq!((ledger.only("forbidden 0").copies.len(), ledger.rows.len(), ledger.quarantine.len()), (2, 151, 0), "{ledger}");
}

#[test]
fn a_record_that_sqlite_refuses_is_set_aside() {
    one_record_refused(StoreKind::Sqlite, REFUSE_IN_SQLITE, "DROP TRIGGER refuse");
}

#[test]
fn a_record_that_postgres_refuses_is_set_aside() {
    one_record_refused(StoreKind::Postgres, REFUSE, "ALTER TABLE messages DROP CONSTRAINT refuse");
}

#[test]
fn a_record_that_mariadb_refuses_is_set_aside() {
    one_record_refused(StoreKind::MariaDb, REFUSE, "ALTER TABLE messages DROP CONSTRAINT refuse");
}

/// The result of an iq promises that the stanza survives anything: the archiver is killed at the moment when it comes.
#[test]
fn what_is_acknowledged_survives_a_kill_without_any_store() {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "auto");
    let away = Store::Sqlite(PathBuf::from("/proc/nowhere/archive.sqlite"));
    let mut archiver = Archiver::for_played_on(away, Directory::new(None), "", &[&node]);
    let place = Directory::new(None);
    let mut acknowledged = Vec::new();
    for sequence in 1..=5 {
        archiver.start();
        node.accept();
        let message = Written::chat("alice@h/desk", "bob@h", &format!("promise {sequence}")).id("m");
        let envelope = Wrapped { direction: "sent", host: "h".to_owned(), epoch: "e".to_owned(), sequence, ..Wrapped::default() };
        node.send(&envelope.iq(&format!("q{sequence}"), &message.xml()));
        let answer = node.heard(PATIENCE).expect("an answer");
        archiver.kill();
        assert!(answer.contains("type='result'") && answer.contains(&format!("id='q{sequence}'")), "{answer}");
        acknowledged.push(message.body);
    }
    archiver.move_to(Store::Sqlite(place.path().join("archive.sqlite")), &[&node]);
    archiver.start();
    archiver.wait_until_stored();
    archiver.stop();
    let bodies: Vec<String> = archiver.store.ledger().rows.into_iter().filter_map(|row| row.body).collect();
    assert_eq!(bodies, acknowledged);
}
