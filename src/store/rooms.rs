//! The rooms that the archive has seen.

use diesel::prelude::*;

use super::schema::{jids, rooms};
use super::statement::run;
use super::{Connection, StoreError};

/// Their JIDs.
///
/// # Errors
/// When the database can't be read.
pub async fn names(connection: &mut Connection) -> Result<Vec<String>, StoreError> {
    let query = rooms::table.inner_join(jids::table.on(jids::id.eq(rooms::jid_id))).select(jids::jid);
    let found: QueryResult<Vec<String>> = run!(connection, load, query);
    found.map_err(|error| StoreError::of(&error))
}
