//! Sessions of browsers.

use diesel::prelude::*;

use super::rows::SessionRow;
use crate::store::schema::sessions;
use crate::store::statement::run;
use crate::store::{Connection, StoreError};

/// The session of a hash.
///
/// # Errors
/// When the database can't be read.
pub async fn get(connection: &mut Connection, hash: &[u8]) -> Result<Option<SessionRow>, StoreError> {
    let row: QueryResult<SessionRow> = run!(connection, first, sessions::table.filter(sessions::hash.eq(hash)));
    row.optional().map_err(|error| StoreError::of(&error))
}

/// The sessions of an account, the newest first.
///
/// # Errors
/// When the database can't be read.
pub async fn of(connection: &mut Connection, account: i64) -> Result<Vec<SessionRow>, StoreError> {
    let wanted = sessions::table.filter(sessions::account_id.eq(account)).order((sessions::created_at.desc(), sessions::hash));
    run!(connection, load, wanted).map_err(|error| StoreError::of(&error))
}

/// Adds a session.
///
/// # Errors
/// When the database can't be written. So it is for all that follow.
pub async fn insert(connection: &mut Connection, row: &SessionRow) -> Result<(), StoreError> {
    run!(connection, execute, diesel::insert_into(sessions::table).values(row)).map(drop).map_err(|error| StoreError::of(&error))
}

/// Notes that a session is in use.
///
/// # Errors
/// As [`insert`].
pub async fn touch(connection: &mut Connection, hash: &[u8], at: i64) -> Result<(), StoreError> {
    let touched = diesel::update(sessions::table.filter(sessions::hash.eq(hash))).set(sessions::used_at.eq(at));
    run!(connection, execute, touched).map(drop).map_err(|error| StoreError::of(&error))
}

/// Ends a session; false if there is none.
///
/// # Errors
/// As [`insert`].
pub async fn remove(connection: &mut Connection, hash: &[u8]) -> Result<bool, StoreError> {
    let removed = run!(connection, execute, diesel::delete(sessions::table.filter(sessions::hash.eq(hash))));
    Ok(removed.map_err(|error| StoreError::of(&error))? > 0)
}

/// Ends all sessions of an account, but for the one of a hash if one is given, and tells how many those were.
///
/// # Errors
/// As [`insert`].
pub async fn remove_all(connection: &mut Connection, account: i64, but: Option<&[u8]>) -> Result<u64, StoreError> {
    let of_account = sessions::account_id.eq(account);
    let kept = but.unwrap_or_default().to_vec();
    let removed = run!(connection, execute, diesel::delete(sessions::table.filter(of_account.and(sessions::hash.ne(kept)))));
    Ok(removed.map_err(|error| StoreError::of(&error))? as u64)
}

/// Removes sessions that are over, or were not used since `idle_since`.
///
/// # Errors
/// As [`insert`].
pub async fn sweep(connection: &mut Connection, now: i64, idle_since: i64) -> Result<(), StoreError> {
    let over = sessions::expires_at.le(now).or(sessions::used_at.le(idle_since));
    run!(connection, execute, diesel::delete(sessions::table.filter(over))).map(drop).map_err(|error| StoreError::of(&error))
}
