//! Databases that answer and refuse: read-only, out of connections, another password, a table gone, tables that can't be made.

use std::sync::Arc;

use xmpp_archiver::store::Connection;

use super::{IMPATIENT, alarm_says, assert_holds, has_alarm, lines, prosody};
use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::mariadb::MariaDb;
use crate::support::mount::set_writable;
use crate::support::postgres::Postgres;
use crate::support::process::{Directory, User, wait_for};

/// The store refuses everything for a while, with this alarm; nothing is set aside, and all is stored once it relents.
fn refused_for_a_while(store: Store, alarm: (&str, &str), refuse: impl Fn(&Archiver), relent: impl Fn(&Archiver)) {
    let mut node = prosody();
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), IMPATIENT, &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&lines("before"));
    archiver.wait_until_stored();
    refuse(&archiver);
    node.mirror(&lines("meanwhile"));
    let (name, text) = alarm;
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, name) && alarm_says(status, text));
    node.mirror(&lines("later"));
    relent(&archiver);
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, name));
    node.mirror(&lines("after"));
    archiver.wait_until_stored();
    archiver.stop();
    assert_holds(&archiver.store.ledger(), &["before", "meanwhile", "later", "after"]);
    let raised = archiver.logged().matches(&format!("alarm {name} (critical) raised")).count();
    assert_eq!(raised, 1, "raised once, however often it is tried\n{}", archiver.said());
}

const CANNOT_WRITE: (&str, &str) = ("store-refusing", "can't write");

#[test]
fn postgres_read_only() {
    let server = Arc::new(Postgres::start());
    let set = |archiver: &Archiver, sql: &str| {
        archiver.store.query(sql);
        archiver.store.query("SELECT pg_reload_conf()");
    };
    refused_for_a_while(
        Store::Postgres(server.new_database()),
        CANNOT_WRITE,
        |archiver| set(archiver, "ALTER SYSTEM SET default_transaction_read_only = on"),
        |archiver| set(archiver, "ALTER SYSTEM RESET default_transaction_read_only"),
    );
}

#[test]
fn mariadb_read_only() {
    let server = Arc::new(MariaDb::start());
    let store = Store::MariaDb(server.new_database());
    // Whoever may do anything may write to a read-only server, too.
    store.query("REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM 'archiver'@'127.0.0.1'");
    refused_for_a_while(
        store,
        CANNOT_WRITE,
        |archiver| drop(archiver.store.query("SET GLOBAL read_only = 1")),
        |archiver| drop(archiver.store.query("SET GLOBAL read_only = 0")),
    );
}

/// The directory of the archive may be read only, as after a wrong chown or on a disk that was mounted again.
#[test]
fn sqlite_read_only() {
    let directory = Directory::new(User::first_of(&["nobody"]));
    let place = directory.make("archive");
    let mut node = prosody();
    let store = Store::Sqlite(place.join("archive.sqlite"));
    let mut archiver = Archiver::for_played_on(store, directory, "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&lines("before"));
    archiver.wait_until_stored();
    // Who holds an open file may write to it whatever its mode, so it takes a start to notice.
    archiver.stop();
    set_writable(&place, false);
    archiver.start();
    node.accept();
    node.mirror(&lines("meanwhile"));
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "store-unreachable"));
    set_writable(&place, true);
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, "store-unreachable"));
    archiver.stop();
    assert_holds(&archiver.store.ledger(), &["before", "meanwhile"]);
}

/// Others hold all connections when the archiver comes.
fn out_of_connections(store: Store, text: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut held = Vec::new();
    while let Ok(connection) = runtime.block_on(Connection::open(&store.endpoint())) {
        held.push(connection);
    }
    let mut node = prosody();
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), IMPATIENT, &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&lines("without a connection"));
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "store-unreachable") && alarm_says(status, text));
    runtime.block_on(async { drop(held) });
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, "store-unreachable"));
    archiver.stop();
    assert_holds(&archiver.store.ledger(), &["without a connection"]);
}

#[test]
fn postgres_out_of_connections() {
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    store.query("ALTER SYSTEM SET max_connections = 8");
    store.query("ALTER SYSTEM SET max_wal_senders = 0");
    server.stop();
    server.restart();
    out_of_connections(store, "too many clients");
}

#[test]
fn mariadb_out_of_connections() {
    let server = Arc::new(MariaDb::start());
    let store = Store::MariaDb(server.new_database());
    store.query("SET GLOBAL max_connections = 10");
    out_of_connections(store, "Too many connections");
}

#[test]
fn postgres_with_another_password() {
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    store.query("CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'first'");
    let change = |archiver: &Archiver, password: &str| {
        archiver.store.query(&format!("ALTER ROLE keeper PASSWORD '{password}'"));
        archiver.store.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keeper'");
    };
    password_changed(
        store,
        "postgres://archiver:s3cret%2Fof%3Atests@",
        "postgres://keeper:first@",
        "password authentication failed",
        change,
    );
}

#[test]
fn mariadb_with_another_password() {
    let server = Arc::new(MariaDb::start());
    let store = Store::MariaDb(server.new_database());
    store.query("CREATE USER keeper@127.0.0.1 IDENTIFIED BY 'first'");
    store.query("GRANT ALL PRIVILEGES ON *.* TO keeper@127.0.0.1");
    let change = |archiver: &Archiver, password: &str| {
        archiver.store.query(&format!("ALTER USER keeper@127.0.0.1 IDENTIFIED BY '{password}'"));
        archiver.store.query("KILL USER keeper");
    };
    password_changed(store, "mysql://archiver:s3cret%2Fof%3Atests@", "mysql://keeper:first@", "Access denied", change);
}

/// Somebody changes the password; the operator changes it in the configuration as well, and starts anew.
fn password_changed(store: Store, admin: &str, keeper: &str, text: &str, change: impl Fn(&Archiver, &str)) {
    let mut node = prosody();
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), IMPATIENT, &[&node]);
    archiver.set_settings(&archiver.settings().replacen(admin, keeper, 1));
    archiver.start();
    node.accept();
    node.mirror(&lines("before"));
    archiver.wait_until_stored();
    change(&archiver, "second");
    node.mirror(&lines("meanwhile"));
    archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "store-unreachable") && alarm_says(status, text));
    assert!(!archiver.logged().contains("first@"), "the log holds no password");
    archiver.stop();
    archiver.set_settings(&archiver.settings().replacen(":first@", ":second@", 1));
    archiver.start();
    node.accept();
    node.mirror(&lines("after"));
    archiver.wait_until_stored();
    archiver.stop();
    assert_holds(&archiver.store.ledger(), &["before", "meanwhile", "after"]);
}

/// Somebody drops a table. No record is to blame, so none is set aside; when the table is back from the backup it goes on.
fn a_table_is_gone(kind: StoreKind) {
    let place = Directory::new(None);
    refused_for_a_while(
        Store::new(kind, &place),
        ("store-schema", "the tables are not whole"),
        |archiver| drop(archiver.store.query("ALTER TABLE deliveries RENAME TO away")),
        |archiver| drop(archiver.store.query("ALTER TABLE away RENAME TO deliveries")),
    );
}

#[test]
fn a_table_of_sqlite_is_gone() {
    a_table_is_gone(StoreKind::Sqlite);
}

#[test]
fn a_table_of_postgres_is_gone() {
    a_table_is_gone(StoreKind::Postgres);
}

#[test]
fn a_table_of_mariadb_is_gone() {
    a_table_is_gone(StoreKind::MariaDb);
}

/// A table of another program is in the way of a migration: it fails half way, keeps nothing, says so, and goes on when the way is free.
fn migration_fails_half_way(kind: StoreKind) {
    let place = Directory::new(None);
    let store = Store::new(kind, &place);
    store.query("CREATE TABLE bounces (ball INTEGER)");
    let mut node = prosody();
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), IMPATIENT, &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&lines("without tables"));
    let text = "2026-11-22-000001_create_archive failed";
    let status = archiver.wait_until("the alarm to be raised", |status| has_alarm(status, "store-schema") && alarm_says(status, text));
    assert!(alarm_says(&status, "bounces") && alarm_says(&status, "nothing of it was kept"), "{}", status["alarms"]);
    let made = archiver.command(&["search"]);
    assert!(!made.status.success(), "nothing was made");
    wait_for("what was made to be gone", || is_absent(&archiver.store, kind).then_some(()));
    archiver.store.query("DROP TABLE bounces");
    archiver.wait_until_stored();
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, "store-schema"));
    archiver.stop();
    assert_holds(&archiver.store.ledger(), &["without tables"]);
}

/// Whether the first table that the migration makes is not there; while an attempt is under way it may be, on MariaDB.
fn is_absent(store: &Store, kind: StoreKind) -> bool {
    let sql = match kind {
        StoreKind::Sqlite => "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'jids'",
        StoreKind::Postgres => "SELECT COUNT(*) FROM pg_tables WHERE tablename = 'jids'",
        StoreKind::MariaDb => "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'jids'",
    };
    store.query(sql).trim() == "0"
}

#[test]
fn a_migration_of_sqlite_fails_half_way() {
    migration_fails_half_way(StoreKind::Sqlite);
}

#[test]
fn a_migration_of_postgres_fails_half_way() {
    migration_fails_half_way(StoreKind::Postgres);
}

#[test]
fn a_migration_of_mariadb_fails_half_way() {
    migration_fails_half_way(StoreKind::MariaDb);
}
