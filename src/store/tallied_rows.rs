//! The rows that are there, by node and day of arrival, to be compared with the counts: one day of a large archive costs that day.
//!
//! Only PostgreSQL has an index on the times of arrival. But rows get their numbers in the order of commits, which is nearly that of arrival. So the numbers
//! between which a day lies are looked up by halving, and the rows between them are counted. That may leave some out: those stored long after
//! they came, and copies of messages of other days, which hang on the numbers of these. Therefore it goes on below and above, in ever
//! larger steps, until as many rows are found as were counted when they were made; where they can't be found, that is, where something is wrong,
//! it ends with the whole table. Rows beyond those that were counted are found near the day alone.

use std::collections::HashMap;
use std::ops::Range;

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Nullable};

use super::Connection;
use super::statement::run;
use super::tallies::{Days, UNREADABLE_NODE};
use crate::reconcile::{Day, Rows};
use crate::tally::{DAY, day_of};
use crate::time::{Micros, SECOND};

/// Several writers may commit what came at the same time so far apart, at most times.
const SLACK: Micros = 900 * SECOND;
/// The smallest step beyond the first rows, in numbers.
const LEAST_STEP: i64 = 10_000;

/// Nodes' names by their numbers.
pub(super) struct Names(pub(super) HashMap<i64, String>);

impl Names {
    pub(super) fn of(&self, id: i64) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| UNREADABLE_NODE.to_owned())
    }
}

/// A table of which the rows are counted.
struct Table {
    name: &'static str,
    /// When a row came.
    time: &'static str,
    /// The number by which it lies in order.
    key: &'static str,
    /// The table and column that tell when the rows of a number came.
    clock: (&'static str, &'static str, &'static str),
    /// Whether PostgreSQL has an index on `time`.
    has_index: bool,
    field: fn(&mut Rows) -> &mut i64,
}

const TABLES: [Table; 4] = [
    Table {
        name: "messages",
        time: "received_at",
        key: "id",
        clock: ("messages", "id", "received_at"),
        has_index: true,
        field: |rows| &mut rows.messages,
    },
    Table {
        name: "deliveries",
        time: "at",
        key: "message_id",
        clock: ("messages", "id", "received_at"),
        has_index: true,
        field: |rows| &mut rows.deliveries,
    },
    Table { name: "bounces", time: "at", key: "id", clock: ("bounces", "id", "at"), has_index: false, field: |rows| &mut rows.bounces },
    Table {
        name: "quarantine",
        time: "received_at",
        key: "id",
        clock: ("quarantine", "id", "received_at"),
        has_index: false,
        field: |rows| &mut rows.quarantined,
    },
];

/// Counts the rows of some days.
pub(super) struct Counting<'c> {
    pub(super) connection: &'c mut Connection,
    /// The counts, to which the rows are added.
    pub(super) days: Days,
    pub(super) names: Names,
    /// Since when everything is counted.
    pub(super) since: Micros,
    /// The first and the last day.
    pub(super) range: (i32, i32),
}

#[derive(diesel::QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    node: i64,
    #[diesel(sql_type = BigInt)]
    on_day: i64,
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(diesel::QueryableByName)]
struct ValueRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    value: Option<i64>,
}

impl Counting<'_> {
    /// Counts the rows of all tables.
    pub(super) async fn all(&mut self) -> QueryResult<()> {
        for table in &TABLES {
            if matches!(self.connection, Connection::Postgres(_)) && table.has_index {
                self.count(table, None).await?;
            } else {
                self.by_number(table).await?;
            }
        }
        Ok(())
    }

    async fn by_number(&mut self, table: &Table) -> QueryResult<()> {
        let Some(all) = self.extent(table).await? else { return Ok(()) };
        let (first, last) = self.range;
        let begin = self.search(table, &all, i64::from(first) * DAY - SLACK).await?;
        let end = self.search(table, &all, (i64::from(last) + 1) * DAY + SLACK).await?;
        let mut seen = begin..end.max(begin);
        self.count(table, Some(seen.clone())).await?;
        let mut step = (seen.end - seen.start).max(LEAST_STEP);
        while seen != all && self.lacks_rows(table) {
            let wider = seen.start.saturating_sub(step).max(all.start)..seen.end.saturating_add(step).min(all.end);
            self.count(table, Some(wider.start..seen.start)).await?;
            self.count(table, Some(seen.end..wider.end)).await?;
            seen = wider;
            step = step.saturating_mul(2);
        }
        Ok(())
    }

    /// Whether fewer rows were found than were made, or nobody knows how many that were.
    fn lacks_rows(&self, table: &Table) -> bool {
        self.days.iter().any(|((_, day), numbers)| {
            let (mut made, mut found) = (numbers.made(), numbers.rows);
            let is_counted = self.since == 0 || *day > day_of(self.since);
            !is_counted || *(table.field)(&mut found) < *(table.field)(&mut made)
        })
    }

    /// The numbers in use.
    async fn extent(&mut self, table: &Table) -> QueryResult<Option<Range<i64>>> {
        let Table { name, key, .. } = table;
        let least = self.value(&format!("SELECT MIN({key}) AS value FROM {name}")).await?;
        let most = self.value(&format!("SELECT MAX({key}) AS value FROM {name}")).await?;
        Ok(least.zip(most).map(|(least, most)| least..most.saturating_add(1)))
    }

    /// The first number of what came at this time or later, if numbers and times had the same order.
    async fn search(&mut self, table: &Table, all: &Range<i64>, at: Micros) -> QueryResult<i64> {
        let (clock, key, time) = table.clock;
        let Range { start: mut low, end: mut high } = all.clone();
        while low < high {
            let middle = low + (high - low) / 2;
            let sql = format!("SELECT {time} AS value FROM {clock} WHERE {key} >= {middle} ORDER BY {key} LIMIT 1");
            match self.value(&sql).await? {
                Some(came) if came < at => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    async fn value(&mut self, sql: &str) -> QueryResult<Option<i64>> {
        let rows: Vec<ValueRow> = run!(&mut *self.connection, load, diesel::sql_query(sql))?;
        Ok(rows.into_iter().next().and_then(|row| row.value))
    }

    /// Adds the rows with these numbers; all, where none are given.
    async fn count(&mut self, table: &Table, numbers: Option<Range<i64>>) -> QueryResult<()> {
        if numbers.as_ref().is_some_and(Range::is_empty) {
            return Ok(());
        }
        let sql = self.statement(table, numbers);
        log::debug!("counting rows: {sql}");
        let found: Vec<NumberRow> = run!(&mut *self.connection, load, diesel::sql_query(sql))?;
        for row in found {
            let key = (self.names.of(row.node), i32::try_from(row.on_day).unwrap_or(0));
            let Day { rows, .. } = self.days.entry(key).or_default();
            *(table.field)(rows) += row.number;
        }
        Ok(())
    }

    /// The number of rows by node and day of arrival.
    fn statement(&self, table: &Table, numbers: Option<Range<i64>>) -> String {
        let (divided, whole) = match self.connection {
            Connection::Sqlite(_) | Connection::Postgres(_) => ("/", "BIGINT"),
            Connection::Mysql(_) => ("DIV", "SIGNED"),
        };
        let Table { name, time, key, .. } = table;
        let (from, before) = (i64::from(self.range.0) * DAY, (i64::from(self.range.1) + 1) * DAY);
        let between = numbers.map(|numbers| format!("{key} >= {} AND {key} < {} AND ", numbers.start, numbers.end)).unwrap_or_default();
        format!(
            "SELECT CAST(COALESCE(node_id, 0) AS {whole}) AS node, {time} {divided} {DAY} AS on_day, COUNT(*) AS number FROM {name} \
             WHERE {between}{time} >= {from} AND {time} < {before} GROUP BY node_id, {time} {divided} {DAY}"
        )
    }
}
