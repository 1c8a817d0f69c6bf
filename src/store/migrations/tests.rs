//! Migrations on SQLite files, and beside Diesel's own harness.

use diesel::SqliteConnection;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use tempfile::TempDir;

use super::*;
use crate::store::sqlite;

const FIRST: &str = "20261122000001";

struct Database {
    directory: TempDir,
}

impl Database {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn diesel(&self) -> SqliteConnection {
        sqlite::open(&self.directory.path().join("a.sqlite")).unwrap()
    }

    fn open(&self) -> Connection {
        Connection::Sqlite(self.diesel())
    }
}

/// Runs a future of SQLite, which never has to wait.
fn now<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn names(migrations: &[&Migration]) -> Vec<&'static str> {
    migrations.iter().map(|migration| migration.name).collect()
}

fn all() -> Vec<&'static str> {
    SQLITE.iter().map(|migration| migration.name).collect()
}

fn applied_in(connection: &mut Connection) -> Vec<bool> {
    now(status(connection)).unwrap().iter().map(|state| state.applied).collect()
}

#[test]
fn every_folder_is_built_in_whole() {
    for (folder, dialect) in [("sqlite", Dialect::Sqlite), ("postgres", Dialect::Postgres), ("mysql", Dialect::Mysql)] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
        let mut on_disk: Vec<String> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        on_disk.sort();
        let built_in: Vec<&str> = dialect.migrations().iter().map(|migration| migration.name).collect();
        assert_eq!(on_disk, built_in, "{folder}");
        assert!(dialect.migrations().is_sorted_by_key(Migration::version));
    }
}

#[test]
fn up_creates_all_of_it_once() {
    let database = Database::new();
    let mut connection = database.open();
    assert_eq!(applied_in(&mut connection), vec![false; all().len()]);
    assert_eq!(names(&now(up(&mut connection, None)).unwrap()), all());
    assert_eq!(applied_in(&mut connection), vec![true; all().len()]);
    assert!(now(up(&mut connection, None)).unwrap().is_empty());
    now(require_current(&mut connection)).unwrap();
}

#[test]
fn down_undoes_the_newest_first_and_up_brings_it_back() {
    let database = Database::new();
    let mut connection = database.open();
    assert_eq!(names(&now(up(&mut connection, Some("2026-11-22-000001"))).unwrap()), &all()[..1]);
    assert!(matches!(now(require_current(&mut connection)), Err(StoreError::Schema(said)) if said.contains("xmpp-archiver migrate")));
    now(up(&mut connection, None)).unwrap();
    let mut newest_first = all();
    newest_first.reverse();
    assert_eq!(names(&now(down(&mut connection, 1)).unwrap()), &newest_first[..1]);
    assert_eq!(names(&now(down(&mut connection, 99)).unwrap()), &newest_first[1..]);
    assert!(now(down(&mut connection, 1)).unwrap().is_empty());
    assert_eq!(names(&now(up(&mut connection, None)).unwrap()), all());
}

#[test]
fn an_unknown_target_changes_nothing() {
    let database = Database::new();
    let mut connection = database.open();
    assert!(matches!(now(up(&mut connection, Some("2030"))), Err(StoreError::Misconfigured(_))));
    assert_eq!(now(status(&mut connection)).unwrap(), untouched(Dialect::Sqlite));
}

#[test]
fn a_migration_that_fails_leaves_nothing() {
    let database = Database::new();
    let mut connection = database.open();
    now(connection.batch("CREATE TABLE quarantine (other TEXT)")).unwrap();
    assert!(matches!(now(up(&mut connection, None)), Err(StoreError::Schema(said)) if said.contains(all()[0])));
    let tables = now(connection.texts("SELECT name AS value FROM sqlite_schema WHERE type = 'table'")).unwrap();
    assert_eq!(tables, ["quarantine"]);
}

#[test]
fn settings_are_added_once_and_kept() {
    let database = Database::new();
    let mut connection = database.open();
    now(up(&mut connection, None)).unwrap();
    let setting = |name: &str| now(database.diesel().setting(name)).unwrap();
    let secret = setting("hash_secret").unwrap();
    assert_eq!((setting("writer").unwrap().as_slice(), secret.len()), ([0].as_slice(), 16));
    assert_eq!(setting("stanza_dictionary_1").unwrap(), codec::DICTIONARY);
    now(database.diesel().set("writer", b"somebody")).unwrap();
    now(connection.batch("DELETE FROM settings WHERE name = 'stanza_dictionary_1'")).unwrap();
    assert!(matches!(now(require_current(&mut connection)), Err(StoreError::Schema(said)) if said.contains("stanza_dictionary_1")));
    now(up(&mut connection, None)).unwrap();
    assert_eq!(setting("hash_secret").unwrap(), secret);
    assert_eq!(setting("writer").unwrap(), b"somebody");
    now(require_current(&mut connection)).unwrap();
}

#[test]
fn a_newer_database_is_refused() {
    let database = Database::new();
    let mut connection = database.open();
    now(up(&mut connection, None)).unwrap();
    now(connection.batch("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000001')")).unwrap();
    let last = now(status(&mut connection)).unwrap().pop().unwrap();
    assert_eq!(last, MigrationState { version: "29991231000001".to_owned(), name: None, applied: true });
    for outcome in
        [now(require_current(&mut connection)), now(up(&mut connection, None)).map(drop), now(down(&mut connection, 1)).map(drop)]
    {
        assert!(matches!(outcome, Err(StoreError::Schema(said)) if said.contains("newer")));
    }
}

#[test]
fn diesel_sees_what_was_run() {
    let database = Database::new();
    now(up(&mut database.open(), None)).unwrap();
    let files = FileBasedMigrations::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    let mut diesel = database.diesel();
    assert!(!diesel.has_pending_migration(files.clone()).unwrap());
    for _ in all() {
        diesel.revert_last_migration(files.clone()).unwrap();
    }
    assert!(!applied_in(&mut database.open()).contains(&true));
}

#[test]
fn what_diesel_ran_is_seen() {
    let database = Database::new();
    let files = FileBasedMigrations::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    database.diesel().run_pending_migrations(files).unwrap();
    let mut connection = database.open();
    assert!(now(up(&mut connection, None)).unwrap().is_empty());
    now(require_current(&mut connection)).unwrap();
    assert_eq!(names(&now(down(&mut connection, 99)).unwrap()).len(), all().len());
}

#[test]
fn many_at_once_run_each_migration_once() {
    let database = Database::new();
    let runs: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| now(async { up(&mut database.open(), None).await.unwrap().len() }))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(runs.iter().sum::<usize>(), all().len());
    now(require_current(&mut database.open())).unwrap();
}

#[test]
fn what_is_printed_makes_the_same_database() {
    let database = Database::new();
    let mut connection = database.open();
    now(connection.batch(&print(Dialect::Sqlite))).unwrap();
    assert!(now(up(&mut connection, None)).unwrap().is_empty());
    now(require_current(&mut connection)).unwrap();
    assert!(print(Dialect::Postgres).contains("COMMENT ON TABLE settings"));
    assert!(!print(Dialect::Mysql).contains("BEGIN;"));
    assert!(print(Dialect::Mysql).contains(FIRST));
}

#[test]
fn statements_are_told_apart_and_what_they_make() {
    let text = "-- Comments; say why.\nCREATE TABLE one (\n    -- within\n    id INT\n);\nCREATE INDEX i ON one (id);\n\nCREATE VIEW two AS SELECT 1;\n";
    let found = statements(text);
    assert_eq!(found.len(), 3);
    let made: Vec<String> = found.iter().filter_map(|statement| created(statement)).collect();
    assert_eq!(made, ["TABLE one", "VIEW two"]);
}
