//! The tables of `access`: accounts, groups, sessions, tokens and the audit trail.
//!
//! Whatever changes accounts, groups or tokens, or adds to the audit trail, does so in [`changing`]: one after the other, so that a change and its
//! row in the audit trail stand or fall together, and rows are numbered without gaps in the order of their commits.

pub mod accounts;
pub mod audit;
pub mod rows;
pub mod sessions;
pub mod tokens;

use diesel::prelude::*;

use super::schema::settings;
use super::statement::run;
use super::{Connection, StoreError};

/// Does `work` in a transaction that overlaps no other of this kind, in whatever process.
///
/// # Errors
/// When `work` fails, or the database; nothing of it is kept then.
pub async fn changing<T, E: From<StoreError>>(
    connection: &mut Connection,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, E>,
) -> Result<T, E> {
    begin(connection).await?;
    let outcome = work(connection).await;
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.batch(end).await;
    let value = outcome?;
    ended.map_err(|error| StoreError::of(&error))?;
    Ok(value)
}

/// SQLite has one writer anyway; elsewhere a row of `settings` is locked for it. Writers of messages lock another one.
async fn begin(connection: &mut Connection) -> Result<(), StoreError> {
    let begun = match connection {
        Connection::Sqlite(_) => connection.batch("BEGIN IMMEDIATE").await,
        Connection::Postgres(_) | Connection::Mysql(_) => connection.batch("BEGIN").await,
    };
    begun.map_err(|error| StoreError::of(&error))?;
    if matches!(connection, Connection::Sqlite(_)) {
        return Ok(());
    }
    let locked = connection.texts("SELECT name AS value FROM settings WHERE name = 'audit' FOR UPDATE").await;
    match locked.map_err(|error| StoreError::of(&error)) {
        Ok(rows) if rows.len() == 1 => Ok(()),
        other => {
            let _the_connection_is_dropped_otherwise = connection.batch("ROLLBACK").await;
            other.and(Err(StoreError::Schema("the table settings lacks audit: restore it from a backup".to_owned())))
        }
    }
}

/// Writes something that nobody reads, so that a transaction which changes nothing takes as long as one that does.
///
/// # Errors
/// When the database can't be written.
pub async fn pretend(connection: &mut Connection, now: i64) -> Result<(), StoreError> {
    let value = now.to_string().into_bytes();
    let row = settings::table.filter(settings::name.eq("audit"));
    run!(connection, execute, diesel::update(row).set(settings::value.eq(value))).map(drop).map_err(|error| StoreError::of(&error))
}
