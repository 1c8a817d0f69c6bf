//! Statements on whichever connection it is, for what is no part of the writer's path: migrations, checks, the quarantine.
//!
//! Diesel's queries are the same for the three databases, but a SQLite connection blocks and the other two are asynchronous. [`run!`]
//! hides that for one query; the methods of [`Connection`] here do for statements that are only text.

use diesel::QueryResult;
use diesel::sql_types::{Nullable, Text};

use super::Connection;

/// Runs one query (`load`, `execute`, …) on whichever connection it is.
macro_rules! run {
    ($connection:expr, $method:ident, $query:expr) => {
        match $connection {
            $crate::store::Connection::Sqlite(inner) => diesel::RunQueryDsl::$method($query, inner),
            $crate::store::Connection::Postgres(inner) => diesel_async::RunQueryDsl::$method($query, inner).await,
            $crate::store::Connection::Mysql(inner) => diesel_async::RunQueryDsl::$method($query, inner).await,
        }
    };
}
pub(crate) use run;

#[derive(diesel::QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

#[derive(diesel::QueryableByName)]
struct ShownRow {
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

impl Connection {
    /// Runs statements that return nothing.
    pub(crate) async fn batch(&mut self, sql: &str) -> QueryResult<()> {
        match self {
            Self::Sqlite(inner) => diesel::connection::SimpleConnection::batch_execute(inner, sql),
            Self::Postgres(inner) => diesel_async::SimpleAsyncConnection::batch_execute(inner, sql).await,
            Self::Mysql(inner) => diesel_async::SimpleAsyncConnection::batch_execute(inner, sql).await,
        }
    }

    /// For whoever only looks up rows by their keys: PostgreSQL, which keeps the plan of a prepared statement, would read a table that was empty when
    /// it was first asked from end to end until its statistics are made, a minute later, however large it has become meanwhile.
    pub(crate) async fn go_by_indexes(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(_) => self.batch("SET enable_seqscan = off").await,
            Self::Sqlite(_) | Self::Mysql(_) => Ok(()),
        }
    }

    /// The column `value` of each row, NULL left out; the column must be text.
    pub(crate) async fn texts(&mut self, sql: &str) -> QueryResult<Vec<String>> {
        let rows: Vec<TextRow> = run!(self, load, diesel::sql_query(sql))?;
        Ok(rows.into_iter().filter_map(|row| row.value).collect())
    }

    /// The column `value` of the first row, none if there is no row or it is NULL.
    pub(crate) async fn text(&mut self, sql: &str) -> QueryResult<Option<String>> {
        Ok(self.texts(sql).await?.into_iter().next())
    }

    /// What MySQL's `SHOW STATUS LIKE` or `SHOW VARIABLES LIKE` names `Value`.
    pub(crate) async fn shown(&mut self, sql: &str) -> QueryResult<Option<String>> {
        let rows: Vec<ShownRow> = run!(self, load, diesel::sql_query(sql))?;
        Ok(rows.into_iter().next().map(|row| row.value))
    }
}
