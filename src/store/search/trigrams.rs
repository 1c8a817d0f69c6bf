//! Indexes of trigrams for parts of words, which only PostgreSQL has, by its extension `pg_trgm`.
//!
//! They are not part of the migrations: each message is written into them together with its row, which slows capture, so a DBA decides.

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Text};

use crate::store::statement::run;
use crate::store::{Connection, StoreError};

/// The columns of `messages` that hold text. Conditions compare them by the collation "C", and so must the indexes.
const COLUMNS: [&str; 3] = ["body", "subject", "detail"];

/// What there is of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigrams {
    /// The database has nothing of the kind.
    Unknown,
    /// None were made.
    None,
    /// Not all of them are there, or one was not made to its end: searches do not use them.
    Unfinished,
    /// All of them, and how large they are.
    Made {
        /// Bytes on disk.
        bytes: i64,
    },
}

#[derive(diesel::QueryableByName)]
struct IndexRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    valid: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// What there is of them.
///
/// # Errors
/// When the database can't be read.
pub async fn trigrams(connection: &mut Connection) -> Result<Trigrams, StoreError> {
    if !matches!(connection, Connection::Postgres(_)) {
        return Ok(Trigrams::Unknown);
    }
    let rows = indexes(connection).await.map_err(|error| StoreError::of(&error))?;
    Ok(match rows.iter().filter(|row| row.valid == 1).count() {
        0 if rows.is_empty() => Trigrams::None,
        made if made == COLUMNS.len() => Trigrams::Made { bytes: rows.iter().map(|row| row.bytes).sum() },
        _ => Trigrams::Unfinished,
    })
}

/// Makes what is not there, while everybody goes on reading and writing; `on_column` hears which column is next. Nothing is done on other databases.
///
/// # Errors
/// When the extension is not installed, this role may not make it or an index, or the disk is full.
pub async fn make_trigrams(connection: &mut Connection, mut on_column: impl FnMut(&str)) -> Result<(), StoreError> {
    if !matches!(connection, Connection::Postgres(_)) {
        return Ok(());
    }
    let of = |error| StoreError::of(&error);
    connection.batch("CREATE EXTENSION IF NOT EXISTS pg_trgm").await.map_err(of)?;
    let there = indexes(connection).await.map_err(of)?;
    for column in COLUMNS {
        let name = name(column);
        let row = there.iter().find(|row| row.name == name);
        if row.is_some_and(|row| row.valid == 1) {
            continue;
        }
        on_column(column);
        if row.is_some() {
            // Whoever made it was cut off: it is written to, and never read.
            connection.batch(&format!("DROP INDEX CONCURRENTLY {name}")).await.map_err(of)?;
        }
        let make = format!("CREATE INDEX CONCURRENTLY {name} ON messages USING gin (({column} COLLATE \"C\") gin_trgm_ops)");
        connection.batch(&make).await.map_err(of)?;
    }
    // Without it the planner does not know how rare three letters are.
    connection.batch("ANALYZE messages").await.map_err(of)
}

/// Removes them, while everybody goes on. The extension stays.
///
/// # Errors
/// When this role may not.
pub async fn drop_trigrams(connection: &mut Connection) -> Result<(), StoreError> {
    if matches!(connection, Connection::Postgres(_)) {
        for column in COLUMNS {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", name(column));
            connection.batch(&drop).await.map_err(|error| StoreError::of(&error))?;
        }
    }
    Ok(())
}

fn name(column: &str) -> String {
    format!("messages_{column}_trgm")
}

async fn indexes(connection: &mut Connection) -> QueryResult<Vec<IndexRow>> {
    let names: Vec<String> = COLUMNS.iter().map(|column| format!("'{}'", name(column))).collect();
    let sql = format!(
        "SELECT c.relname::text AS name, (i.indisvalid AND i.indisready)::int::bigint AS valid, pg_relation_size(c.oid) AS bytes \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = 'messages'::regclass AND c.relname IN ({})",
        names.join(", ")
    );
    run!(connection, load, diesel::sql_query(sql))
}
