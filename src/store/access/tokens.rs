//! Tokens of the API.

use diesel::dsl::max;
use diesel::prelude::*;

use super::rows::TokenRow;
use crate::store::schema::tokens;
use crate::store::statement::run;
use crate::store::{Connection, StoreError};

/// The token of a hash.
///
/// # Errors
/// When the database can't be read. So it is for all that read.
pub async fn by_hash(connection: &mut Connection, hash: &[u8]) -> Result<Option<TokenRow>, StoreError> {
    let row: QueryResult<TokenRow> = run!(connection, first, tokens::table.filter(tokens::hash.eq(hash)));
    row.optional().map_err(|error| StoreError::of(&error))
}

/// The token of a number.
///
/// # Errors
/// As [`by_hash`].
pub async fn get(connection: &mut Connection, id: i64) -> Result<Option<TokenRow>, StoreError> {
    let row: QueryResult<TokenRow> = run!(connection, first, tokens::table.filter(tokens::id.eq(id)));
    row.optional().map_err(|error| StoreError::of(&error))
}

/// All tokens, or those of an account, by number.
///
/// # Errors
/// As [`by_hash`].
pub async fn list(connection: &mut Connection, account: Option<i64>) -> Result<Vec<TokenRow>, StoreError> {
    let rows = match account {
        None => run!(connection, load, tokens::table.order(tokens::id)),
        Some(account) => run!(connection, load, tokens::table.filter(tokens::account_id.eq(account)).order(tokens::id)),
    };
    rows.map_err(|error| StoreError::of(&error))
}

/// Adds a token under the next number, which is returned.
///
/// # Errors
/// When the database can't be written. So it is for all that write.
pub async fn insert(connection: &mut Connection, row: &TokenRow) -> Result<i64, StoreError> {
    let last: QueryResult<Option<i64>> = run!(connection, first, tokens::table.select(max(tokens::id)));
    let last = last.map_err(|error| StoreError::of(&error))?;
    let row = TokenRow { id: last.unwrap_or(0) + 1, ..row.clone() };
    run!(connection, execute, diesel::insert_into(tokens::table).values(&row)).map_err(|error| StoreError::of(&error))?;
    Ok(row.id)
}

/// Notes that a token is in use.
///
/// # Errors
/// As [`insert`].
pub async fn touch(connection: &mut Connection, id: i64, at: i64) -> Result<(), StoreError> {
    let touched = diesel::update(tokens::table.filter(tokens::id.eq(id))).set(tokens::used_at.eq(at));
    run!(connection, execute, touched).map(drop).map_err(|error| StoreError::of(&error))
}

/// Revokes a token; false if it was already.
///
/// # Errors
/// As [`insert`].
pub async fn revoke(connection: &mut Connection, id: i64, at: i64) -> Result<bool, StoreError> {
    let in_force = tokens::table.filter(tokens::id.eq(id).and(tokens::revoked_at.is_null()));
    let revoked = run!(connection, execute, diesel::update(in_force).set(tokens::revoked_at.eq(at)));
    Ok(revoked.map_err(|error| StoreError::of(&error))? > 0)
}
