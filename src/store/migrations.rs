//! The schema's migrations, built into the binary, and the record of which were run.
//!
//! The files are those of `migrations/`; the record is the table `__diesel_schema_migrations` exactly as the `diesel` tool keeps it, so
//! that either may follow the other. Diesel's own harness needs blocking connections, which PostgreSQL and MySQL have only with their
//! C libraries; so the few statements stand here.
//!
//! Each migration runs in a transaction of its own (MySQL has none for DDL: see [`make_step_by_step`]) behind a lock that only migrations take, and what is pending
//! is asked again behind it: two processes that start at once run each migration once. Afterwards the rows of `settings` that no
//! migration can hold, since one of them is random, are added if they are absent.

use diesel::migration::CREATE_MIGRATIONS_TABLE;

use super::queries::Queries;
use super::{Backend, Connection, StoreError, codec, on_connection};

/// Where it is recorded which migrations were run.
pub(crate) const RECORD: &str = "__diesel_schema_migrations";
/// Where a migration of MySQL is while it runs.
const PLACE: &str = "__xmpp_archiver_migrating";
/// How long a migration waits for another process that migrates; SQLite waits as long as for any other writer.
const LOCK_WAIT_SECONDS: u32 = 300;
/// The advisory lock of PostgreSQL, which counts within one database: "xmpparch" in ASCII.
const ADVISORY_LOCK: i64 = 0x786d_7070_6172_6368;
/// The random bytes that `hash_secret` starts with.
const HASH_SECRET_BYTES: usize = 16;
/// The settings without which nothing can be written.
const SETTINGS: [&str; 3] = ["writer", "hash_secret", codec::DICTIONARY_SETTING];

/// What to do where the audit trail has no triggers.
pub const GUARD_ADVICE: &str = "set log_bin_trust_function_creators = 1 on the server, or run `xmpp-archiver migrate` once as a user with SUPER, and \
                                give the user of the archive the right TRIGGER if it makes its tables itself";

/// A database system, as far as the text of migrations goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The name of its folder.
    pub name: &'static str,
    up: &'static str,
    down: &'static str,
}

/// Whether a migration was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    /// What `diesel` records it under: the digits of its name.
    pub version: String,
    /// Its name; none if this version of the program does not know it.
    pub name: Option<&'static str>,
    /// Whether the database records it as run.
    pub applied: bool,
}

/// The files of one migration in one folder.
macro_rules! migration {
    ($folder:literal, $name:literal) => {
        Migration {
            name: $name,
            up: include_str!(concat!("../../migrations/", $folder, "/", $name, "/up.sql")),
            down: include_str!(concat!("../../migrations/", $folder, "/", $name, "/down.sql")),
        }
    };
}

/// The migrations of all three folders, the oldest first.
macro_rules! migrations {
    ($($name:literal),* $(,)?) => {
        static SQLITE: &[Migration] = &[$(migration!("sqlite", $name)),*];
        static POSTGRES: &[Migration] = &[$(migration!("postgres", $name)),*];
        static MYSQL: &[Migration] = &[$(migration!("mysql", $name)),*];
    };
}

migrations![
    "2026-11-22-000001_create_archive",
    "2026-11-22-000002_create_views",
    "2026-11-22-000003_create_gaps",
    "2026-11-22-000005_create_sightings",
    "2026-11-22-000010_create_search",
    "2026-11-22-000020_create_access"
];

impl Dialect {
    /// All migrations, the oldest first.
    pub fn migrations(self) -> &'static [Migration] {
        match self {
            Self::Sqlite => SQLITE,
            Self::Postgres => POSTGRES,
            Self::Mysql => MYSQL,
        }
    }

    /// The name of the database system for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL and MariaDB",
        }
    }

    fn known(self, version: &str) -> Option<&'static Migration> {
        self.migrations().iter().find(|migration| migration.version() == version)
    }
}

impl From<&Backend> for Dialect {
    fn from(backend: &Backend) -> Self {
        match backend {
            Backend::Sqlite(_) => Self::Sqlite,
            Backend::Postgres(_) => Self::Postgres,
            Backend::Mysql(_) => Self::Mysql,
        }
    }
}

impl Migration {
    /// What `diesel` records it under: the digits of its name.
    pub fn version(&self) -> String {
        version_of(self.name)
    }

    /// The statements that make it.
    pub fn up(&self) -> &'static str {
        self.up
    }

    /// The statements that undo it.
    pub fn down(&self) -> &'static str {
        self.down
    }
}

/// `20261122000001` of `2026-11-22-000001_create_archive`, as `diesel` makes it.
fn version_of(name: &str) -> String {
    name.split('_').next().unwrap_or(name).replace('-', "")
}

/// Every migration and whether it was run, the oldest first. Changes nothing.
///
/// # Errors
/// When the record can't be read.
pub async fn status(connection: &mut Connection) -> Result<Vec<MigrationState>, StoreError> {
    let applied = applied(connection).await?;
    Ok(states(dialect(connection), &applied))
}

/// What [`status`] says of a database that is not there yet.
pub fn untouched(dialect: Dialect) -> Vec<MigrationState> {
    states(dialect, &[])
}

fn states(dialect: Dialect, applied: &[String]) -> Vec<MigrationState> {
    let known = dialect.migrations().iter().map(|migration| {
        let version = migration.version();
        MigrationState { applied: applied.contains(&version), version, name: Some(migration.name) }
    });
    let unknown = applied.iter().filter(|version| dialect.known(version).is_none());
    let unknown = unknown.map(|version| MigrationState { version: version.clone(), name: None, applied: true });
    let mut states: Vec<MigrationState> = known.chain(unknown).collect();
    states.sort_by(|one, other| one.version.cmp(&other.version));
    states
}

/// Runs the pending migrations, up to the one that `to` names (by version or name) if it is given, and adds absent settings.
///
/// # Errors
/// When `to` names no migration, when the database is newer than this program, or when a migration fails: those before it stay.
pub async fn up(connection: &mut Connection, to: Option<&str>) -> Result<Vec<&'static Migration>, StoreError> {
    let last = match to {
        Some(wanted) => Some(find(dialect(connection), wanted)?),
        None => None,
    };
    let mut done = Vec::new();
    while let Some(migration) = exclusively(connection, async |connection| run_next(connection, last).await).await? {
        done.push(migration);
    }
    exclusively(connection, add_settings).await?;
    if last.is_none() {
        exclusively(connection, add_guards).await?;
    }
    Ok(done)
}

fn find(dialect: Dialect, wanted: &str) -> Result<&'static Migration, StoreError> {
    let version = version_of(wanted);
    let unknown = || {
        let names: Vec<&str> = dialect.migrations().iter().map(|migration| migration.name).collect();
        StoreError::Misconfigured(format!("there is no migration \"{wanted}\"; there are {}", names.join(", ")))
    };
    dialect.known(&version).ok_or_else(unknown)
}

/// Runs the oldest pending migration, if there is one that is not beyond `last`.
async fn run_next(connection: &mut Connection, last: Option<&Migration>) -> Result<Option<&'static Migration>, StoreError> {
    // Even `IF NOT EXISTS` asks for the right to create, which a database that a DBA migrated need not give.
    if !has_record(connection).await? {
        connection.batch(CREATE_MIGRATIONS_TABLE).await.map_err(|error| StoreError::of(&error))?;
    }
    let applied = applied(connection).await?;
    refuse_newer(dialect(connection), &applied)?;
    let mut pending = dialect(connection).migrations().iter().filter(|migration| !applied.contains(&migration.version()));
    let Some(next) = pending.next().filter(|next| last.is_none_or(|last| next.version() <= last.version())) else {
        return Ok(None);
    };
    make(connection, next).await?;
    connection.batch(&record(next)).await.map_err(|error| failed(connection, next, &error))?;
    if matches!(connection, Connection::Mysql(_)) {
        forget_place(connection).await;
    }
    Ok(Some(next))
}

/// Runs the statements of a migration.
async fn make(connection: &mut Connection, migration: &Migration) -> Result<(), StoreError> {
    match connection {
        Connection::Mysql(_) => make_step_by_step(connection, migration).await,
        _ => connection.batch(migration.up).await.map_err(|error| failed(connection, migration, &error)),
    }
}

/// MySQL commits after each statement. So it is noted which one is next: an attempt that was cut off is resumed there. What an attempt made that
/// fails is dropped again.
async fn make_step_by_step(connection: &mut Connection, migration: &Migration) -> Result<(), StoreError> {
    let resumed = place(connection, migration).await.map_err(|error| failed(connection, migration, &error))?;
    let mut made = Vec::new();
    for (number, statement) in statements(migration.up).iter().enumerate() {
        if resumed.is_none_or(|resumed| number >= resumed) {
            note_place(connection, migration, number).await.map_err(|error| failed(connection, migration, &error))?;
            if let Err(error) = connection.batch(statement).await {
                // It was done, and then the connection or the process was gone.
                let was_done = resumed == Some(number) && error.to_string().contains("already exists");
                if !was_done && !is_refused_guard(statement, &error) {
                    return Err(half_made(migration, &error, &undo(connection, &made).await));
                }
            }
        }
        made.extend(created(statement));
    }
    Ok(())
}

/// A trigger that the server does not let this user make is made later, by [`add_guards`]: that an archive can't guard its audit trail is no reason not to
/// archive.
fn is_refused_guard(statement: &str, error: &diesel::result::Error) -> bool {
    let said = error.to_string();
    statement.starts_with("CREATE TRIGGER") && ["SUPER", "denied"].iter().any(|word| said.contains(word))
}

/// Makes the triggers of the audit trail that MySQL refused before, or says that they are missing still.
async fn add_guards(connection: &mut Connection) -> Result<(), StoreError> {
    if !matches!(connection, Connection::Mysql(_)) || super::access::audit::is_guarded(connection).await {
        return Ok(());
    }
    let migrations = dialect(connection).migrations().iter().flat_map(|migration| statements(migration.up));
    let guards: Vec<String> = migrations.filter(|statement| statement.starts_with("CREATE TRIGGER")).collect();
    for guard in guards {
        match connection.batch(&guard).await {
            Ok(()) => {}
            Err(error) if error.to_string().contains("already exists") => {}
            Err(error) => {
                log::warn!(
                    "the database does not guard the audit trail against changes, for it refuses the triggers ({error}): {GUARD_ADVICE}"
                );
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Drops what was made; what can't be dropped is returned.
async fn undo(connection: &mut Connection, made: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    for drop in made.iter().rev().map(|what| format!("DROP {what}")) {
        if connection.batch(&drop).await.is_err() {
            kept.push(drop);
        }
    }
    if kept.is_empty() {
        forget_place(connection).await;
    }
    kept
}

/// The number of the statement at which an earlier attempt was cut off.
async fn place(connection: &mut Connection, migration: &Migration) -> diesel::QueryResult<Option<usize>> {
    connection.batch(&format!("CREATE TABLE IF NOT EXISTS {PLACE} (version VARCHAR(50) PRIMARY KEY, statement INTEGER NOT NULL)")).await?;
    let sql = format!("SELECT CAST(statement AS CHAR) AS value FROM {PLACE} WHERE version = '{}'", migration.version());
    Ok(connection.text(&sql).await?.and_then(|number| number.parse().ok()))
}

async fn note_place(connection: &mut Connection, migration: &Migration, number: usize) -> diesel::QueryResult<()> {
    connection.batch(&format!("REPLACE INTO {PLACE} (version, statement) VALUES ('{}', {number})", migration.version())).await
}

/// Should it stay, it is of a migration that was run, and is not looked at again.
async fn forget_place(connection: &mut Connection) {
    if let Err(error) = connection.batch(&format!("DROP TABLE IF EXISTS {PLACE}")).await {
        log::debug!("the table {PLACE} stays: {error}");
    }
}

/// The statements of a text without comments; none holds a semicolon (`migrations/README.md`, rule 7).
fn statements(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    let code = lines.collect::<Vec<_>>().join("\n");
    code.split(';').map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}

/// What a statement makes, as DROP names it.
fn created(statement: &str) -> Option<String> {
    let mut words = statement.split_whitespace();
    match (words.next()?, words.next()?, words.next()?) {
        ("CREATE", kind @ ("TABLE" | "VIEW"), name) => Some(format!("{kind} {}", name.trim_end_matches('('))),
        _ => None,
    }
}

fn half_made(migration: &Migration, error: &diesel::result::Error, kept: &[String]) -> StoreError {
    let said = error.to_string();
    let remains = match kept {
        [] => "; nothing of it was kept".to_owned(),
        kept => format!("; what it had made stays, and it is resumed there; to begin anew: {}", kept.join("; ")),
    };
    StoreError::Schema(format!("migration {} failed: {said}{remains}", migration.name))
}

fn record(migration: &Migration) -> String {
    format!("INSERT INTO {RECORD} (version) VALUES ('{}');", migration.version())
}

fn failed(connection: &Connection, migration: &Migration, error: &diesel::result::Error) -> StoreError {
    let remains = match connection {
        Connection::Mysql(_) => "; MySQL has kept what it had done before that",
        _ => "; nothing of it was kept",
    };
    StoreError::Schema(format!("migration {} failed: {error}{remains}", migration.name))
}

/// Undoes the last `steps` migrations, the newest first. What their tables hold is lost.
///
/// # Errors
/// When the database is newer than this program, or when a statement fails.
pub async fn down(connection: &mut Connection, steps: u32) -> Result<Vec<&'static Migration>, StoreError> {
    let mut done = Vec::new();
    for _ in 0..steps {
        match exclusively(connection, undo_last).await? {
            Some(migration) => done.push(migration),
            None => break,
        }
    }
    Ok(done)
}

async fn undo_last(connection: &mut Connection) -> Result<Option<&'static Migration>, StoreError> {
    let applied = applied(connection).await?;
    refuse_newer(dialect(connection), &applied)?;
    let Some(last) = applied.last().and_then(|version| dialect(connection).known(version)) else {
        return Ok(None);
    };
    connection.batch(last.down).await.map_err(|error| failed(connection, last, &error))?;
    let forget = format!("DELETE FROM {RECORD} WHERE version = '{}'", last.version());
    connection.batch(&forget).await.map_err(|error| failed(connection, last, &error))?;
    Ok(Some(last))
}

/// Makes sure that the tables are exactly those that this program knows, and the settings there.
///
/// # Errors
/// [`StoreError::Schema`] when they are not, with what to do.
pub async fn require_current(connection: &mut Connection) -> Result<(), StoreError> {
    let applied = applied(connection).await?;
    require_all(dialect(connection), &applied)?;
    let missing = missing_settings(connection).await?;
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(StoreError::Schema(format!("the table settings lacks {missing}: run `xmpp-archiver migrate`, which adds it")));
    }
    Ok(())
}

/// Whether these are the migrations of this version, no fewer and no more.
///
/// # Errors
/// [`StoreError::Schema`] when they are not, with what to do.
pub(crate) fn require_all(dialect: Dialect, applied: &[String]) -> Result<(), StoreError> {
    refuse_newer(dialect, applied)?;
    let pending: Vec<&str> =
        dialect.migrations().iter().filter(|migration| !applied.contains(&migration.version())).map(|migration| migration.name).collect();
    match pending.is_empty() {
        true => Ok(()),
        false => {
            let pending = pending.join(", ");
            Err(StoreError::Schema(format!("the database lacks the migrations {pending}: run `xmpp-archiver migrate`")))
        }
    }
}

/// A newer version may have given columns another meaning, so nothing is read from or written to its tables.
fn refuse_newer(dialect: Dialect, applied: &[String]) -> Result<(), StoreError> {
    match applied.iter().find(|version| dialect.known(version).is_none()) {
        None => Ok(()),
        Some(version) => Err(StoreError::Schema(format!(
            "the database was migrated by a newer xmpp-archiver (it holds migration {version}): use that version, or go back with its `migrate down`"
        ))),
    }
}

/// All migrations as one text for a DBA to read or run, the record of them included.
pub fn print(dialect: Dialect) -> String {
    let (begin, commit) = match dialect {
        Dialect::Mysql => ("", ""),
        _ => ("BEGIN;\n", "COMMIT;\n"),
    };
    let mut text = format!(
        "-- The schema of xmpp-archiver {} for {}.\n\
         -- Run it as the owner of the tables, in a tool that stops at the first error. Then run\n\
         -- `xmpp-archiver migrate` once: it finds nothing left to create and adds the rows of settings\n\
         -- that the archiver needs, for which INSERT and SELECT are enough.\n\n{};\n",
        env!("CARGO_PKG_VERSION"),
        dialect.name(),
        CREATE_MIGRATIONS_TABLE.trim().trim_end_matches(';'),
    );
    for migration in dialect.migrations() {
        let Migration { name, up, .. } = migration;
        let up = up.trim_end();
        text.push_str(&format!("\n-- Migration {name}\n\n{begin}{up}\n{}\n{commit}", record(migration)));
    }
    text
}

fn dialect(connection: &Connection) -> Dialect {
    match connection {
        Connection::Sqlite(_) => Dialect::Sqlite,
        Connection::Postgres(_) => Dialect::Postgres,
        Connection::Mysql(_) => Dialect::Mysql,
    }
}

/// The versions that the database records as run, the oldest first.
async fn applied(connection: &mut Connection) -> Result<Vec<String>, StoreError> {
    if !has_record(connection).await? {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT version AS value FROM {RECORD} ORDER BY version");
    connection.texts(&sql).await.map_err(|error| StoreError::of(&error))
}

/// Asked first, since a failed SELECT would spoil a transaction of PostgreSQL.
async fn has_record(connection: &mut Connection) -> Result<bool, StoreError> {
    let sql = match connection {
        Connection::Sqlite(_) => format!("SELECT name AS value FROM sqlite_schema WHERE type = 'table' AND name = '{RECORD}'"),
        Connection::Postgres(_) => format!("SELECT to_regclass('{RECORD}')::text AS value"),
        Connection::Mysql(_) => {
            format!("SELECT table_name AS value FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{RECORD}'")
        }
    };
    Ok(connection.text(&sql).await.map_err(|error| StoreError::of(&error))?.is_some())
}

async fn missing_settings(connection: &mut Connection) -> Result<Vec<&'static str>, StoreError> {
    let mut missing = Vec::new();
    for name in SETTINGS {
        let found = on_connection!(connection, inner => inner.setting(name).await).map_err(|error| StoreError::of(&error))?;
        if found.is_none() {
            missing.push(name);
        }
    }
    Ok(missing)
}

/// Adds each setting that is not there. One that is stays as it is: another `hash_secret` would make every message of the past a stranger.
async fn add_settings(connection: &mut Connection) -> Result<(), StoreError> {
    for name in missing_settings(connection).await? {
        let value = match name {
            codec::DICTIONARY_SETTING => codec::DICTIONARY.to_vec(),
            "hash_secret" => random()?,
            _ => vec![0],
        };
        on_connection!(connection, inner => inner.set(name, &value).await).map_err(|error| StoreError::of(&error))?;
    }
    Ok(())
}

fn random() -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; HASH_SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::CannotWrite(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

/// Does `work` while no other process migrates, where the database can in a transaction.
async fn exclusively<T>(
    connection: &mut Connection,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    lock(connection).await?;
    let outcome = work(connection).await;
    let end = match connection {
        Connection::Mysql(_) => "DO RELEASE_LOCK(CONCAT('xmpp-archiver:', SHA1(DATABASE())))",
        _ if outcome.is_ok() => "COMMIT",
        _ => "ROLLBACK",
    };
    let ended = connection.batch(end).await;
    let value = outcome?;
    ended.map_err(|error| StoreError::of(&error))?;
    Ok(value)
}

/// The lock of MySQL counts for the whole server, so its name holds the database's.
async fn lock(connection: &mut Connection) -> Result<(), StoreError> {
    let outcome = match connection {
        Connection::Sqlite(_) => connection.batch("BEGIN IMMEDIATE").await,
        Connection::Postgres(_) => {
            let begin = format!(
                "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'; \
                 SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"
            );
            let outcome = connection.batch(&begin).await;
            if outcome.is_err() {
                let _closed_by_the_caller_otherwise = connection.batch("ROLLBACK").await;
            }
            outcome
        }
        Connection::Mysql(_) => {
            let sql = format!("SELECT CAST(GET_LOCK(CONCAT('xmpp-archiver:', SHA1(DATABASE())), {LOCK_WAIT_SECONDS}) AS CHAR) AS value");
            match connection.text(&sql).await {
                Ok(Some(got)) if got == "1" => Ok(()),
                Ok(_) => return Err(StoreError::Unreachable(format!("another process has been migrating for {LOCK_WAIT_SECONDS} s"))),
                Err(error) => Err(error),
            }
        }
    };
    outcome.map_err(|error| StoreError::of(&error))
}

#[cfg(test)]
mod tests;
