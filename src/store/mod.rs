//! SQL through Diesel: SQLite, PostgreSQL, MySQL and MariaDB, chosen by URL at run time.
//!
//! `rows` and `schema` say what the tables hold, `queries` the statements that all three share, one file a database what differs.
//! `writer` turns decided copies into rows, in one transaction with the position in the spool, so that a record is stored
//! exactly once however often it is read. Writers of one database exclude each other for the length of a transaction, which keeps
//! identity exact and ids without gaps with any number of processes.

pub mod access;
mod account;
pub mod batch;
pub mod codec;
mod derive;
mod dictionary;
mod endpoint;
mod feeds;
pub mod fetched;
pub mod finder;
pub mod foreign;
pub mod gaps;
pub mod health;
mod insertion;
mod lookup;
pub mod migrations;
mod mysql;
mod postgres;
pub mod quarantine;
mod queries;
mod queues;
mod references;
pub mod rooms;
mod rows;
pub mod schema;
pub mod search;
mod sqlite;
mod statement;
mod tallied_rows;
pub mod tallies;
pub mod tls;
pub mod writer;

use std::path::PathBuf;
use std::time::Duration;

use diesel::SqliteConnection;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};

pub use writer::Writer;

/// Why a store could not do what was asked, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not there, or not willing now: try again later.
    #[error("{0}")]
    Unreachable(String),
    /// It answers, but refuses these very rows: trying again won't help.
    #[error("the database refused the rows: {0}")]
    Refused(String),
    /// Full, read-only or otherwise unable to write: an operator must act; try again later.
    #[error("the database can't write: {0}")]
    CannotWrite(String),
    /// A mistake in the configuration.
    #[error("{0}")]
    Misconfigured(String),
    /// The tables are not those of this version.
    #[error("{0}")]
    Schema(String),
}

impl StoreError {
    /// The kind as one word, for counters.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::CannotWrite(_) => "cannot-write",
            Self::Misconfigured(_) => "misconfigured",
            Self::Schema(_) => "schema",
        }
    }

    fn unreachable(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Unreachable(format!("{what}: {error}"))
    }

    /// Sorts an error of a statement. What Diesel can't name is sorted by what the three databases write for a full disk and the like.
    pub(crate) fn of(error: &Error) -> Self {
        use DatabaseErrorKind::{CheckViolation, ForeignKeyViolation, NotNullViolation, ReadOnlyTransaction, UniqueViolation};
        const CANNOT_WRITE: [&str; 10] =
            ["disk", "full", "readonly", "read-only", "read only", "no space", "denied", "privilege", "out of memory", "unable to open"];
        let said = error.to_string();
        let lower = said.to_lowercase();
        match error {
            Error::DatabaseError(UniqueViolation | NotNullViolation | CheckViolation | ForeignKeyViolation, _) => Self::Refused(said),
            Error::DatabaseError(ReadOnlyTransaction, _) => Self::CannotWrite(said),
            Error::DatabaseError(DatabaseErrorKind::Unknown, _) if lacks_a_table(&lower) => Self::Schema(format!(
                "the tables are not whole ({said}): restore what is missing from a backup, or make it anew with its statement in \
                 `xmpp-archiver migrate print`"
            )),
            Error::DatabaseError(DatabaseErrorKind::Unknown, _) if CANNOT_WRITE.iter().any(|word| lower.contains(word)) => {
                Self::CannotWrite(said)
            }
            Error::DatabaseError(DatabaseErrorKind::Unknown, _) if !is_connection_trouble(&lower) => Self::Refused(said),
            Error::SerializationError(_) | Error::DeserializationError(_) | Error::QueryBuilderError(_) => Self::Refused(said),
            _ => Self::Unreachable(said),
        }
    }
}

/// No record is to blame when somebody dropped a table or a column.
fn lacks_a_table(lower: &str) -> bool {
    const PHRASES: [&str; 6] = ["no such table", "no such column", "has no column named", "unknown column", "doesn't exist", "relation \""];
    let is_postgres = |phrase: &str| phrase != "relation \"" || lower.contains("does not exist");
    PHRASES.iter().any(|phrase| lower.contains(phrase) && is_postgres(phrase))
        || (lower.contains("column") && lower.contains("does not exist"))
}

fn is_connection_trouble(lower: &str) -> bool {
    const WORDS: [&str; 16] = [
        "connection",
        "closed",
        "locked",
        "busy",
        "timeout",
        "timed out",
        "deadlock",
        "gone away",
        "broken pipe",
        "shutting down",
        "terminating",
        "starting up",
        "server",
        "i/o",
        "cancel",
        "eof",
    ];
    WORDS.iter().any(|word| lower.contains(word))
}

/// Which database a URL means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by its URL.
    Postgres(String),
    /// A server, by its URL.
    Mysql(String),
}

/// Where a store is and how to reach it.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name in the configuration.
    pub name: String,
    /// Which database.
    pub backend: Backend,
    /// Trust only this certificate authority.
    pub tls_ca: Option<PathBuf>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Endpoint({})", self.name)
    }
}

/// A connection to one of the three.
pub enum Connection {
    /// SQLite.
    Sqlite(SqliteConnection),
    /// PostgreSQL.
    Postgres(Box<AsyncPgConnection>),
    /// MySQL or MariaDB.
    Mysql(Box<AsyncMysqlConnection>),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When the database can't be reached or refuses.
    pub async fn open(endpoint: &Endpoint) -> Result<Self, StoreError> {
        match &endpoint.backend {
            Backend::Sqlite(path) => sqlite::open(path).map(Self::Sqlite),
            Backend::Postgres(url) => postgres::open(endpoint, url).await.map(|connection| Self::Postgres(Box::new(connection))),
            Backend::Mysql(url) => mysql::open(endpoint, url).await.map(|connection| Self::Mysql(Box::new(connection))),
        }
    }

    /// The name of the database for people.
    pub fn product(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
            Self::Mysql(_) => "MySQL",
        }
    }
}

/// Runs the same asynchronous code on whichever connection it is.
macro_rules! on_connection {
    ($connection:expr, $inner:ident => $body:expr) => {
        match $connection {
            $crate::store::Connection::Sqlite($inner) => $body,
            $crate::store::Connection::Postgres($inner) => {
                let $inner = &mut **$inner;
                $body
            }
            $crate::store::Connection::Mysql($inner) => {
                let $inner = &mut **$inner;
                $body
            }
        }
    };
}
pub(crate) use on_connection;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_can_be_done() {
        let of = |said: &str| StoreError::of(&Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(said.to_owned())));
        for said in [
            "no such table: deliveries",
            "relation \"deliveries\" does not exist",
            "column \"lang\" of relation \"messages\" does not exist",
            "Table 'archive.deliveries' doesn't exist",
            "Unknown column 'lang' in 'field list'",
        ] {
            assert!(matches!(of(said), StoreError::Schema(_)), "{said}");
        }
        for said in [
            "could not extend file \"base/1/2\": No space left on device",
            "The table 'messages' is full",
            "attempt to write a readonly database",
            "unable to open database file",
            "The MariaDB server is running with the --read-only option so it cannot execute this statement",
        ] {
            assert!(matches!(of(said), StoreError::CannotWrite(_)), "{said}");
        }
        assert!(matches!(of("Data too long for column 'body' at row 1"), StoreError::Refused(_)));
        assert!(matches!(of("server closed the connection unexpectedly"), StoreError::Unreachable(_)));
    }
}
