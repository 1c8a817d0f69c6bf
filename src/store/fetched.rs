//! What a backfill has brought into an interval, for the rows of gaps.

use diesel::prelude::*;

use super::schema::{messages, nodes};
use super::statement::run;
use super::{Connection, StoreError};
use crate::history::Via;
use crate::time::Micros;

/// How many messages of a node that were said in this interval (both ends included) came by a backfill, and how many by any other way.
///
/// # Errors
/// When the database can't be read.
pub async fn count(connection: &mut Connection, node: &str, from: Micros, to: Micros) -> Result<(i64, i64), StoreError> {
    let of_node = messages::table.inner_join(nodes::table).filter(nodes::name.eq(node));
    let said = || of_node.filter(messages::sent_at.ge(from).and(messages::sent_at.le(to)));
    let all: QueryResult<i64> = run!(connection, get_result, said().count());
    let all = all.map_err(|error| StoreError::of(&error))?;
    let fetched: QueryResult<i64> = run!(connection, get_result, said().filter(messages::via.eq(Via::Backfill as i16)).count());
    let fetched = fetched.map_err(|error| StoreError::of(&error))?;
    Ok((fetched, all - fetched))
}
