//! The ways to a database: TLS with an authority of one's own, and what happens when it is the wrong one; what tables a store has in the end.

use std::path::Path;
use std::sync::Arc;

use crate::support::archiver::{Archiver, Store};
use crate::support::line::chat;
use crate::support::mariadb::MariaDb;
use crate::support::node::{Kind, Node};
use crate::support::postgres::Postgres;
use crate::support::process::wait_for;
use crate::support::stage::Stage;

#[test]
fn postgres_by_tls() {
    let server = Arc::new(Postgres::start_with_tls());
    archive_by_tls(&Store::Postgres(server.new_database()));
}

#[test]
fn mariadb_by_tls() {
    let server = Arc::new(MariaDb::start_with_tls());
    archive_by_tls(&Store::MariaDb(server.new_database()));
}

fn archive_by_tls(store: &Store) {
    let stage = Stage::with_archiver_on(store, Node::start(Kind::Prosody));
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    stage.say_to(&alice, chat(&bob.account, "under seal"), &[&bob]);
    stage.check();
    stage.archiver.borrow_mut().kill();
    refuse_another_authority(&stage.archiver.borrow());
}

/// Nothing is said to a server whose certificate somebody else signed.
fn refuse_another_authority(archiver: &Archiver) {
    let other = Arc::new(Postgres::start_with_tls());
    let path = |authority: Option<&Path>| authority.expect("an authority").display().to_string();
    let settings = archiver.settings().replace(&path(archiver.store.authority()), &path(other.authority()));
    archiver.set_settings(&settings);
    let output = archiver.command(&["migrate", "status"]);
    assert!(!output.status.success(), "it trusted a stranger");
}

/// What the tables hold, read with the database's own client, is what the commands say.
#[test]
fn the_tables_are_there_for_everybody() {
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    let stage = Stage::with_archiver_on(&store, Node::start(Kind::Prosody));
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    stage.say_to(&alice, chat(&bob.account, "für alle 👍"), &[&bob]);
    stage.check();
    let sql = "SELECT body FROM messages WHERE body LIKE 'für%'";
    assert_eq!(store.query(sql).trim(), "für alle 👍");
    let sql = "SELECT COUNT(*) FROM deliveries d JOIN messages m ON m.id = d.message_id WHERE m.body LIKE 'für%'";
    assert_eq!(store.query(sql).trim(), "2");
}

/// What may repeat is looked up by its index from the first message on, when the database knows nothing of the tables' sizes yet.
#[test]
fn a_fresh_postgres_is_not_read_from_end_to_end() {
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    let stage = Stage::with_archiver_on(&store, Node::start(Kind::Prosody));
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let number = |sql: &str| store.query(sql).trim().parse::<u64>().expect("a number");
    let whole = || number("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'messages'");
    let before = whole();
    for number in 0..8 {
        stage.say_to(&alice, chat(&bob.account, &format!("line {number}")), &[&bob]);
    }
    // The server adds both to its statistics at once.
    wait_for("a look-up", || {
        (number("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'messages_content_key'") > 0).then_some(())
    });
    assert_eq!(whole(), before);
    stage.check();
}
