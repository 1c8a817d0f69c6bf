//! Accounts, their recovery codes, and groups.

use diesel::QueryResult;
use diesel::dsl::max;
use diesel::prelude::*;

use super::rows::{AccountRow, GroupRow};
use crate::store::schema::{account_codes, accounts, people_groups, settings};
use crate::store::statement::run;
use crate::store::{Connection, StoreError};

/// The name of the mark in the table `settings`.
const KEY_MARK: &str = "access-key";

fn told<T>(outcome: QueryResult<T>) -> Result<T, StoreError> {
    outcome.map_err(|error| StoreError::of(&error))
}

fn found<T>(outcome: QueryResult<T>) -> Result<Option<T>, StoreError> {
    told(outcome.optional())
}

/// All accounts by name.
///
/// # Errors
/// When the database can't be read. So it is for all that follow.
pub async fn all(connection: &mut Connection) -> Result<Vec<AccountRow>, StoreError> {
    told(run!(connection, load, accounts::table.order(accounts::name)))
}

/// The account of a name.
///
/// # Errors
/// As [`all`].
pub async fn named(connection: &mut Connection, name: &str) -> Result<Option<AccountRow>, StoreError> {
    found(run!(connection, first, accounts::table.filter(accounts::name.eq(name))))
}

/// The account of a number.
///
/// # Errors
/// As [`all`].
pub async fn get(connection: &mut Connection, id: i64) -> Result<Option<AccountRow>, StoreError> {
    found(run!(connection, first, accounts::table.filter(accounts::id.eq(id))))
}

/// The account that a provider vouches for.
///
/// # Errors
/// As [`all`].
pub async fn of_subject(connection: &mut Connection, issuer: &str, subject: &str) -> Result<Option<AccountRow>, StoreError> {
    let wanted = accounts::oidc_issuer.eq(issuer).and(accounts::oidc_subject.eq(subject));
    found(run!(connection, first, accounts::table.filter(wanted)))
}

/// The sealed second factor of any account, with the account's number.
///
/// # Errors
/// As [`all`].
pub async fn any_sealed(connection: &mut Connection) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
    let query = accounts::table.filter(accounts::totp_secret.is_not_null()).select((accounts::id, accounts::totp_secret.assume_not_null()));
    found(run!(connection, first, query))
}

/// The mark of the key that secrets are sealed with.
///
/// # Errors
/// As [`all`].
pub async fn key_mark(connection: &mut Connection) -> Result<Option<Vec<u8>>, StoreError> {
    found(run!(connection, first, settings::table.filter(settings::name.eq(KEY_MARK)).select(settings::value)))
}

/// Sets it. Only within [`super::changing`].
///
/// # Errors
/// When the database can't be written.
pub async fn set_key_mark(connection: &mut Connection, mark: &[u8]) -> Result<(), StoreError> {
    let changed =
        told(run!(connection, execute, diesel::update(settings::table.filter(settings::name.eq(KEY_MARK))).set(settings::value.eq(mark))))?;
    if changed > 0 {
        return Ok(());
    }
    let row = (settings::name.eq(KEY_MARK), settings::value.eq(mark));
    told(run!(connection, execute, diesel::insert_into(settings::table).values(row))).map(drop)
}

/// Adds an account under the next number, which is returned.
///
/// # Errors
/// When there is one of this name, or of this subject, or the database can't be written.
pub async fn insert(connection: &mut Connection, row: &AccountRow) -> Result<i64, StoreError> {
    let last: Option<i64> = told(run!(connection, first, accounts::table.select(max(accounts::id))))?;
    let row = AccountRow { id: last.unwrap_or(0) + 1, ..row.clone() };
    told(run!(connection, execute, diesel::insert_into(accounts::table).values(&row)))?;
    Ok(row.id)
}

/// Writes a whole row over the one of its number.
///
/// # Errors
/// As [`insert`].
pub async fn save(connection: &mut Connection, row: &AccountRow) -> Result<(), StoreError> {
    told(run!(connection, execute, diesel::update(accounts::table.filter(accounts::id.eq(row.id))).set(row))).map(drop)
}

/// Replaces the recovery codes of an account.
///
/// # Errors
/// When the database can't be written.
pub async fn set_codes(connection: &mut Connection, account: i64, hashes: &[Vec<u8>]) -> Result<(), StoreError> {
    told(run!(connection, execute, diesel::delete(account_codes::table.filter(account_codes::account_id.eq(account)))))?;
    for hash in hashes {
        let row = (account_codes::account_id.eq(account), account_codes::hash.eq(hash));
        told(run!(connection, execute, diesel::insert_into(account_codes::table).values(row)))?;
    }
    Ok(())
}

/// Uses a recovery code up; false if it is none.
///
/// # Errors
/// When the database can't be written.
pub async fn use_code(connection: &mut Connection, account: i64, hash: &[u8]) -> Result<bool, StoreError> {
    let wanted = account_codes::account_id.eq(account).and(account_codes::hash.eq(hash));
    Ok(told(run!(connection, execute, diesel::delete(account_codes::table.filter(wanted))))? > 0)
}

/// All groups by name.
///
/// # Errors
/// As [`all`].
pub async fn groups(connection: &mut Connection) -> Result<Vec<GroupRow>, StoreError> {
    told(run!(connection, load, people_groups::table.order(people_groups::name)))
}

/// Makes a group or changes it; true if it was made.
///
/// # Errors
/// When the database can't be written.
pub async fn set_group(connection: &mut Connection, name: &str, members: &str, at: i64) -> Result<bool, StoreError> {
    let values = (people_groups::members.eq(members), people_groups::changed_at.eq(at));
    let changed = told(run!(connection, execute, diesel::update(people_groups::table.filter(people_groups::name.eq(name))).set(values)))?;
    if changed > 0 {
        return Ok(false);
    }
    let last: Option<i64> = told(run!(connection, first, people_groups::table.select(max(people_groups::id))))?;
    let row = GroupRow { id: last.unwrap_or(0) + 1, changed_at: at, name: name.to_owned(), members: members.to_owned() };
    told(run!(connection, execute, diesel::insert_into(people_groups::table).values(&row)))?;
    Ok(true)
}

/// Removes a group; false if there is none of this name.
///
/// # Errors
/// When the database can't be written.
pub async fn remove_group(connection: &mut Connection, name: &str) -> Result<bool, StoreError> {
    Ok(told(run!(connection, execute, diesel::delete(people_groups::table.filter(people_groups::name.eq(name)))))? > 0)
}
