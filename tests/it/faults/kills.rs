//! Everything killed with SIGKILL, again and again and under load, with a node that queues: nothing may be lost, doubled or out of order.

use std::sync::Arc;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::mariadb::MariaDb;
use crate::support::postgres::Postgres;
use crate::support::process::Directory;
use crate::support::queue::{QueueNode, assert_exact};

/// Small transactions, so that there are many moments to be killed at.
const SETTINGS: &str = "batch_messages = 20\nconnect_timeout = '2s'\nstatement_timeout = '2s'";
const ROUNDS: usize = 6;
const A_ROUND: usize = 60;

/// The node sends on while the archiver dies, each time with other copies read, durable, acknowledged or stored.
fn archiver_killed_again_and_again(kind: StoreKind) {
    let mut node = QueueNode::new();
    let mut archiver = Archiver::for_played(kind, SETTINGS, &[&node.node]);
    for round in 0..ROUNDS {
        archiver.start();
        node.accept();
        node.say_many(&format!("round {round}, line"), A_ROUND);
        // As many are left unacknowledged as this round wants.
        node.push(round * 2 * A_ROUND / ROUNDS);
        archiver.kill();
    }
    archiver.start();
    node.accept();
    node.drain();
    archiver.wait_until_stored();
    archiver.stop();
    assert_exact(&archiver.store.ledger(), &node.said);
}

#[test]
fn archiver_on_sqlite() {
    archiver_killed_again_and_again(StoreKind::Sqlite);
}

#[test]
fn archiver_on_postgres() {
    archiver_killed_again_and_again(StoreKind::Postgres);
}

#[test]
fn archiver_on_mariadb() {
    archiver_killed_again_and_again(StoreKind::MariaDb);
}

/// The database dies in the midst of transactions; the node notices nothing.
fn database_killed_again_and_again(store: Store, kill: impl Fn(), restart: impl Fn()) {
    let mut node = QueueNode::new();
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), SETTINGS, &[&node.node]);
    archiver.start();
    node.accept();
    for round in 0..3 {
        node.say_many(&format!("round {round}, before"), 3 * A_ROUND);
        assert!(node.push(0), "the archiver reads on");
        kill();
        node.say_many(&format!("round {round}, after"), A_ROUND);
        assert!(node.push(0), "it acknowledges what is durable, database or not");
        restart();
    }
    archiver.wait_until_stored();
    archiver.stop();
    assert_exact(&archiver.store.ledger(), &node.said);
}

#[test]
fn postgres() {
    let server = Arc::new(Postgres::start());
    database_killed_again_and_again(Store::Postgres(server.new_database()), || server.kill(), || server.restart());
}

#[test]
fn mariadb() {
    let server = Arc::new(MariaDb::start());
    database_killed_again_and_again(Store::MariaDb(server.new_database()), || server.kill(), || server.restart());
}

/// The node dies and has forgotten its last acknowledgements: what it sends again under its old numbers adds nothing.
#[test]
fn node() {
    let mut node = QueueNode::new();
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, SETTINGS, &[&node.node]);
    archiver.start();
    node.accept();
    for (round, forgotten) in [0, 7, 80].into_iter().enumerate() {
        node.say_many(&format!("round {round}, line"), A_ROUND);
        node.push(A_ROUND / 2);
        node.crash(forgotten);
        node.accept();
    }
    node.drain();
    archiver.wait_until_stored();
    archiver.stop();
    assert_exact(&archiver.store.ledger(), &node.said);
}
