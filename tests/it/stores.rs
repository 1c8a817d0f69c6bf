//! The ways to a database: TLS with an authority of one's own, and what happens when it is the wrong one; what tables a store has in the end.

use std::path::Path;
use std::sync::Arc;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::capture::Capture;
use crate::support::line::chat;
use crate::support::mariadb::MariaDb;
use crate::support::node::{Kind, Node};
use crate::support::played::Played;
use crate::support::postgres::Postgres;
use crate::support::process::{Directory, wait_for};
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

/// What a DBA reads.
const MIGRATIONS: &str = include_str!("../../migrations/README.md");

/// The statements that give `user` the rights that the archiver needs according to the manual, on the tables that are there.
fn documented_rights(store: &Store, user: &str) -> Vec<String> {
    let rights = MIGRATIONS.split_once("The archiver itself needs SELECT and INSERT on the tables,").expect("the sentence on rights").1;
    let between = |from: &str, to: &str| rights.split_once(from).expect(from).1.split_once(to).expect(to).0;
    let named = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let sql = "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_name NOT LIKE '#_#_%' ESCAPE '#' \
               AND table_schema NOT IN ('information_schema', 'pg_catalog', 'mysql', 'performance_schema', 'sys')";
    let tables: Vec<String> = store.query(sql).lines().map(str::to_owned).collect();
    let grants = [
        ("SELECT, INSERT", tables),
        ("UPDATE", named(between("UPDATE on ", "DELETE on "))),
        ("DELETE", named(between("DELETE on ", "SELECT on "))),
        ("SELECT", named(between("SELECT on ", ",\n"))),
    ];
    assert!(grants.iter().all(|(_, tables)| !tables.is_empty()), "{grants:?}");
    grants.iter().flat_map(|(right, tables)| tables.iter().map(move |table| format!("GRANT {right} ON {table} TO {user}"))).collect()
}

/// A user with the rights of the manual archives everything, and `check` tells when one of them is taken away.
fn archives_with_the_documented_rights(store: Store, user: &str, url: &str) {
    let capture = Capture::load("prosody-fwforward", "g_muc_pm");
    let mut node = Played::of(&capture);
    let mut archiver = Archiver::for_played_on(store.clone(), Directory::new(None), "", &[&node]);
    archiver.must(&["migrate"]);
    for grant in documented_rights(&store, user) {
        store.query(&grant);
    }
    archiver.set_settings(&archiver.settings().replacen(&store.url(), url, 1));
    let settings = archiver.settings();
    let rights = |archiver: &Archiver| {
        // The node does not answer now.
        archiver.set_settings(&settings.replace("[[node]]", "[[node]]\nconnect_timeout = '1s'"));
        let output = archiver.command(&["check", "--format", "json"]);
        archiver.set_settings(&settings);
        String::from_utf8(output.stdout).expect("text")
    };
    let said = rights(&archiver);
    assert!(said.contains("all that archiving needs"), "{said}");
    archiver.start();
    node.accept();
    node.mirror(&capture.lines);
    archiver.wait_until_stored();
    archiver.must(&["index", "build"]);
    archiver.stop();
    let mut other = Played::of(&capture);
    let mut in_sqlite = Archiver::for_played(StoreKind::Sqlite, "", &[&other]);
    in_sqlite.start();
    other.accept();
    other.mirror(&capture.lines);
    in_sqlite.wait_until_stored();
    in_sqlite.stop();
    assert_eq!(store.ledger().timeless(), in_sqlite.store.ledger().timeless());
    store.query(&format!("REVOKE UPDATE ON messages FROM {user}"));
    let said = rights(&archiver);
    assert!(said.contains("UPDATE on messages"), "{said}");
}

#[test]
fn postgres_with_the_documented_rights() {
    let server = Arc::new(Postgres::start());
    let database = server.new_database();
    let store = Store::Postgres(database.clone());
    store.query("CREATE ROLE writer LOGIN PASSWORD 'x'");
    let url = format!("postgres://writer:x@127.0.0.1:{}/{}", server.port(), database.name);
    archives_with_the_documented_rights(store, "writer", &url);
}

#[test]
fn mariadb_with_the_documented_rights() {
    let server = Arc::new(MariaDb::start());
    let database = server.new_database();
    let store = Store::MariaDb(database.clone());
    store.query("CREATE USER 'writer'@'127.0.0.1' IDENTIFIED BY 'x'");
    let url = format!("mysql://writer:x@127.0.0.1:{}/{}", store.port().expect("a port"), database.name);
    archives_with_the_documented_rights(store, "'writer'@'127.0.0.1'", &url);
}
