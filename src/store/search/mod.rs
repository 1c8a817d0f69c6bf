//! The index for searches as the databases keep it: how far it is, and a further batch of it.
//!
//! A batch reads what it indexes first and writes then, in one short transaction together with the position, so that a batch is indexed
//! once however many processes do it. Messages never change, but for who took part in them: `search_late` tells of that, and a batch
//! looks at those again. Words go into statements as literals: they are letters, digits and pictures, never a quotation mark.

mod read;
mod trigrams;
mod write;

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Integer};

use self::read::{Found, Late};
pub use self::trigrams::{Trigrams, drop_trigrams, make_trigrams, trigrams};
use super::statement::run;
use super::{Connection, StoreError};
use crate::words;

/// Stands in place of the words of a message that has too many: each search has to look at it. No text has this character as a word.
pub(crate) const OVERFLOW: &str = "\u{e000}";

/// The version of an index that is being emptied.
const NO_VERSION: i32 = 0;

/// How far the index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages below this number are indexed.
    pub next_id: i64,
    /// By which version of the rules.
    pub version: i32,
    /// The newest message.
    pub last_id: i64,
    /// Messages that were indexed and have to be looked at again.
    pub late: i64,
}

impl Progress {
    /// How many messages are not indexed.
    pub fn behind(&self) -> i64 {
        (self.last_id + 1 - self.next_id.max(1)).max(0)
    }

    /// Whether its words are those of this version.
    pub fn is_current(&self) -> bool {
        self.version == words::VERSION
    }
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Messages that were new to the index.
    pub messages: i64,
    /// Messages that were looked at again.
    pub late: i64,
    /// Whether there may be more to do.
    pub has_more: bool,
}

#[derive(diesel::QueryableByName)]
struct ProgressRow {
    #[diesel(sql_type = BigInt)]
    next_id: i64,
    #[diesel(sql_type = Integer)]
    words_version: i32,
}

#[derive(diesel::QueryableByName)]
struct CountRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// How far it is.
///
/// # Errors
/// When the database can't be read.
pub async fn progress(connection: &mut Connection) -> Result<Progress, StoreError> {
    let of = |error| StoreError::of(&error);
    let row = place(connection, "").await.map_err(of)?;
    let (next_id, version) = row.map_or((1, words::VERSION), |row| (row.next_id, row.words_version));
    let last_id = number(connection, "SELECT COALESCE(MAX(id), 0) AS number FROM messages").await.map_err(of)?;
    let late = number(connection, "SELECT COUNT(*) AS number FROM search_late").await.map_err(of)?;
    Ok(Progress { next_id, version, last_id, late })
}

/// Indexes at most so many messages further, and looks at some again.
///
/// # Errors
/// When the database can't be read or written; nothing of the batch is kept then.
pub async fn index(connection: &mut Connection, most: i64) -> Result<Indexed, StoreError> {
    let outcome = batch(connection, most).await;
    if outcome.is_err() {
        let _closed_by_the_caller_otherwise = connection.batch("ROLLBACK").await;
    }
    outcome.map_err(|error| StoreError::of(&error))
}

/// Empties the index, so that it is made anew from the first message.
///
/// # Errors
/// When the database can't be written; whoever indexes next empties it first then.
pub async fn clear(connection: &mut Connection) -> Result<(), StoreError> {
    let of = |error| StoreError::of(&error);
    // As long as it says so, nobody asks the index, and nobody adds to it.
    connection.batch(&set_place(connection, 1, NO_VERSION)).await.map_err(of)?;
    if matches!(connection, Connection::Sqlite(_)) {
        connection.batch("INSERT INTO search_words(search_words) VALUES ('delete-all')").await.map_err(of)?;
    }
    for table in ["search_index", "participations"] {
        let is_done = match connection {
            Connection::Sqlite(_) => false,
            // Deleting takes as long as making, but this asks for a right of its own.
            _ => connection.batch(&format!("TRUNCATE TABLE {table}")).await.is_ok(),
        };
        if !is_done {
            connection.batch(&format!("DELETE FROM {table}")).await.map_err(of)?;
        }
    }
    connection.batch(&set_place(connection, 1, words::VERSION)).await.map_err(of)
}

async fn batch(connection: &mut Connection, most: i64) -> QueryResult<Indexed> {
    let place_before = place(connection, "").await?;
    if place_before.as_ref().is_some_and(|row| row.words_version != words::VERSION) {
        return Ok(Indexed::default());
    }
    let before = place_before.map_or(1, |row| row.next_id);
    // What is read here and changes before the transaction has a note in `search_late` then.
    let late = read::late(connection, most).await?;
    let found = read::messages(connection, before, most, &late).await?;
    if found.messages.is_empty() && late.is_empty() {
        return Ok(Indexed::default());
    }
    let next = found.next.max(before);
    let statements = write::statements(connection, &found, before);
    connection.batch(begin(connection)).await?;
    let lock = if matches!(connection, Connection::Sqlite(_)) { "" } else { " FOR UPDATE" };
    let now = place(connection, lock).await?;
    if now.as_ref().is_some_and(|row| row.next_id != before || row.words_version != words::VERSION) {
        // Another process was faster.
        connection.batch("ROLLBACK").await?;
        return Ok(Indexed { has_more: true, ..Indexed::default() });
    }
    for statement in statements {
        connection.batch(&statement).await?;
    }
    if next != before || now.is_none() {
        connection.batch(&set_place(connection, next, words::VERSION)).await?;
    }
    if let Some(forget) = read::forget(&late) {
        connection.batch(&forget).await?;
    }
    connection.batch("COMMIT").await?;
    Ok(outcome(&found, &late, before, most))
}

fn outcome(found: &Found, late: &[Late], before: i64, most: i64) -> Indexed {
    let messages = found.messages.iter().filter(|message| message.id >= before).count() as i64;
    Indexed { messages, late: late.len() as i64, has_more: messages >= most || late.len() as i64 >= most }
}

fn begin(connection: &Connection) -> &'static str {
    match connection {
        Connection::Sqlite(_) => "BEGIN IMMEDIATE",
        // Should the last moment of it be lost in a crash, it is indexed again; and nobody waits for the disk.
        Connection::Postgres(_) => "BEGIN; SET LOCAL synchronous_commit = off",
        Connection::Mysql(_) => "BEGIN",
    }
}

async fn place(connection: &mut Connection, lock: &str) -> QueryResult<Option<ProgressRow>> {
    let sql = format!("SELECT next_id, words_version FROM search_progress WHERE part = 1{lock}");
    let rows: Vec<ProgressRow> = run!(connection, load, diesel::sql_query(sql))?;
    Ok(rows.into_iter().next())
}

fn set_place(connection: &Connection, next: i64, version: i32) -> String {
    let conflict = match connection {
        Connection::Mysql(_) => "ON DUPLICATE KEY UPDATE next_id = VALUES(next_id), words_version = VALUES(words_version)",
        _ => "ON CONFLICT (part) DO UPDATE SET next_id = excluded.next_id, words_version = excluded.words_version",
    };
    format!("INSERT INTO search_progress (part, next_id, words_version) VALUES (1, {next}, {version}) {conflict}")
}

async fn number(connection: &mut Connection, sql: &str) -> QueryResult<i64> {
    let rows: Vec<CountRow> = run!(connection, load, diesel::sql_query(sql))?;
    Ok(rows.first().map_or(0, |row| row.number))
}
