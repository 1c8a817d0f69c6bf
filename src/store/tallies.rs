//! The counts: added to by the writer, read for `reconcile`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use diesel::prelude::*;

use super::rows::TallyRow;
use super::schema::{nodes, tallies};
use super::statement::run;
use super::tallied_rows::{Counting, Names};
use super::{Connection, StoreError};
use crate::reconcile::Day;
use crate::tally::State;
use crate::time::Micros;

/// Rows of one statement; a transaction has a dozen.
pub(crate) const ROWS_PER_STATEMENT: usize = 200;
/// Most characters of a reason: the column's length where it has one.
const REASON_CHARS: usize = 191;

/// The statement that adds these rows, as plain text: it goes to the server in one round trip, and is never prepared.
pub(crate) fn addition(rows: &[TallyRow], on_conflict: &str) -> String {
    let mut sql = "INSERT INTO tallies (node_id, day, state, reason, count) VALUES ".to_owned();
    for (index, row) in rows.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let TallyRow { node_id, day, state, count, .. } = row;
        let _ = write!(sql, "{comma}({node_id}, {day}, {state}, '{}', {count})", literal(&row.reason));
    }
    sql.push(' ');
    sql.push_str(on_conflict);
    sql
}

/// What stands between the quotes of a literal, the same under every setting of every database: no backslash is left in it.
fn literal(reason: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " -_.,:()".contains(c);
    if reason.len() <= REASON_CHARS && reason.chars().all(is_plain) {
        return Cow::Borrowed(reason);
    }
    let kept = reason.chars().take(REASON_CHARS).map(|c| if c.is_control() || c == '\\' { '?' } else { c });
    Cow::Owned(kept.collect::<String>().replace('\'', "''"))
}

/// The numbers of one node and day, by the node's name and the day.
pub type Days = BTreeMap<(String, i32), Day>;

/// What is called the node of which nothing was readable.
pub const UNREADABLE_NODE: &str = "?";

/// Since when everything is counted; all days after this one can be compared with the rows.
///
/// # Errors
/// When the database can't be read.
pub async fn counted_since(connection: &mut Connection) -> Result<Micros, StoreError> {
    use super::schema::settings;
    let query = settings::table.filter(settings::name.eq("tallied_since")).select(settings::value);
    let found: QueryResult<Vec<u8>> = run!(connection, first, query);
    let found = found.optional().map_err(|error| StoreError::of(&error))?;
    Ok(found.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

/// Counts and rows of these days, the last one included, all as of one moment. Everything is counted since `since`.
///
/// # Errors
/// When the database can't be read.
pub async fn days(connection: &mut Connection, first: i32, last: i32, since: Micros) -> Result<Days, StoreError> {
    let begin = match connection {
        Connection::Sqlite(_) => "BEGIN",
        Connection::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0",
        // The session is at READ COMMITTED; this is for the next transaction alone.
        Connection::Mysql(_) => "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    };
    connection.batch(begin).await.map_err(|error| StoreError::of(&error))?;
    if matches!(connection, Connection::Mysql(_)) {
        connection.batch("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(|error| StoreError::of(&error))?;
    }
    let found = read_days(connection, first, last, since).await;
    connection.batch("COMMIT").await.map_err(|error| StoreError::of(&error))?;
    found.map_err(|error| StoreError::of(&error))
}

async fn read_days(connection: &mut Connection, first: i32, last: i32, since: Micros) -> QueryResult<Days> {
    let named: Vec<(i16, String)> = run!(connection, load, nodes::table.select((nodes::id, nodes::name)))?;
    let names = Names(named.into_iter().map(|(id, name)| (i64::from(id), name)).collect());
    let mut days = Days::new();
    let query = tallies::table.filter(tallies::day.between(first, last));
    let columns = (tallies::node_id, tallies::day, tallies::state, tallies::reason, tallies::count);
    let counts: Vec<(i16, i32, i16, String, i64)> = run!(connection, load, query.select(columns))?;
    for (node, day, state, reason, count) in counts {
        let Some(state) = State::of(state) else { continue };
        *days.entry((names.of(i64::from(node)), day)).or_default().counts.entry((state, reason)).or_default() += count;
    }
    let mut rows = Counting { connection, days, names, since, range: (first, last) };
    rows.all().await?;
    Ok(rows.days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_between_its_quotes() {
        assert_eq!(literal("nothing to read"), "nothing to read");
        assert_eq!(literal("the user's \\'; DROP\u{0}"), "the user''s ?''; DROP?");
        assert_eq!(literal(&"é".repeat(500)).chars().count(), REASON_CHARS);
    }

    #[test]
    fn rows_are_added_in_one_statement() {
        let row = |state, reason| TallyRow { node_id: 1, day: 20_779, state, reason: Cow::Borrowed(reason), count: 5 };
        let sql = addition(&[row(1, ""), row(5, "iq")], "ON CONFLICT");
        assert_eq!(
            sql,
            "INSERT INTO tallies (node_id, day, state, reason, count) VALUES (1, 20779, 1, '', 5), (1, 20779, 5, 'iq', 5) ON CONFLICT"
        );
    }
}
