//! The audit trail: rows are added and read.

use diesel::dsl::{count_star, max};
use diesel::prelude::*;

use super::rows::EntryRow;
use crate::store::schema::audit;
use crate::store::statement::run;
use crate::store::{Connection, StoreError};

/// Which rows, and in which order.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// At this time or later.
    pub from: i64,
    /// Before this time.
    pub to: i64,
    /// By this actor.
    pub actor: Option<String>,
    /// One of these actions; if empty, any.
    pub actions: Vec<String>,
    /// With this outcome.
    pub outcome: Option<i16>,
    /// From this address.
    pub address: Option<String>,
    /// A text that the target or the reason holds.
    pub text: Option<String>,
    /// Beyond this row.
    pub after: Option<i64>,
    /// The oldest first.
    pub oldest_first: bool,
    /// At most so many.
    pub limit: i64,
}

/// Adds a row under the next number, which is returned. Only within [`super::changing`].
///
/// # Errors
/// When the database can't be written.
pub async fn append(connection: &mut Connection, row: EntryRow) -> Result<i64, StoreError> {
    let last: QueryResult<Option<i64>> = run!(connection, first, audit::table.select(max(audit::id)));
    let row = EntryRow { id: last.map_err(|error| StoreError::of(&error))?.unwrap_or(0) + 1, ..row };
    run!(connection, execute, diesel::insert_into(audit::table).values(&row)).map_err(|error| StoreError::of(&error))?;
    Ok(row.id)
}

diesel::define_sql_function! {
    /// The text in small letters.
    fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text;
}
diesel::define_sql_function! {
    /// The same for a column that may be NULL.
    #[sql_name = "lower"]
    fn lower_or_null(text: diesel::sql_types::Nullable<diesel::sql_types::Text>) -> diesel::sql_types::Nullable<diesel::sql_types::Text>;
}

/// A pattern that finds the text anywhere, `!` being what LIKE escapes with.
fn pattern(text: &str) -> String {
    let escaped = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%{escaped}%")
}

/// The patterns for a target, which is JSON, and for a reason, which is a text.
struct Patterns {
    target: String,
    reason: String,
}

impl Patterns {
    fn of(text: &str) -> Self {
        let quoted = serde_json::Value::from(text).to_string();
        let within = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        Self { target: pattern(within), reason: pattern(text) }
    }

    /// The same in small letters, where it is not the database that makes them.
    fn folded(self) -> Self {
        Self { target: self.target.to_lowercase(), reason: self.reason.to_lowercase() }
    }
}

mod folding {
    diesel::define_sql_function! {
        /// The text in small letters of any script; made known by [`super::teach`].
        fn folded(text: diesel::sql_types::Nullable<diesel::sql_types::Text>) -> diesel::sql_types::Nullable<diesel::sql_types::Text>;
    }
}

/// Teaches a connection to SQLite, which knows the small letters of ASCII alone, those of all scripts.
///
/// # Errors
/// When SQLite refuses.
pub(crate) fn teach(connection: &mut diesel::SqliteConnection) -> QueryResult<()> {
    folding::folded_utils::register_impl(connection, |text: Option<String>| text.map(|text| text.to_lowercase()))
}

/// Servers know the small letters of their own collation, so both sides are left to them.
macro_rules! holds {
    ($patterns:ident) => {{
        let in_target = lower(audit::target).like(lower($patterns.target)).escape('!');
        in_target.nullable().or(lower_or_null(audit::reason).like(lower_or_null($patterns.reason)).escape('!'))
    }};
}

/// Builds the query for one database, whose type stands in every box.
macro_rules! page {
    ($backend:ty, $wanted:expr, $patterns:ident, $matches:expr) => {{
        let wanted = $wanted;
        let mut query = audit::table.filter(audit::at.ge(wanted.from).and(audit::at.lt(wanted.to))).into_boxed::<$backend>();
        if let Some(actor) = &wanted.actor {
            query = query.filter(audit::actor.eq(actor));
        }
        if !wanted.actions.is_empty() {
            query = query.filter(audit::action.eq_any(&wanted.actions));
        }
        if let Some(outcome) = wanted.outcome {
            query = query.filter(audit::outcome.eq(outcome));
        }
        if let Some(address) = &wanted.address {
            query = query.filter(audit::address.eq(address));
        }
        if let Some($patterns) = wanted.text.as_deref().map(Patterns::of) {
            query = query.filter($matches);
        }
        query = match (wanted.after, wanted.oldest_first) {
            (Some(after), true) => query.filter(audit::id.gt(after)),
            (Some(after), false) => query.filter(audit::id.lt(after)),
            (None, _) => query,
        };
        query = if wanted.oldest_first { query.order(audit::id.asc()) } else { query.order(audit::id.desc()) };
        query.limit(wanted.limit)
    }};
}

/// A page.
///
/// # Errors
/// When the database can't be read.
pub async fn page(connection: &mut Connection, wanted: &Wanted) -> Result<Vec<EntryRow>, StoreError> {
    let rows: QueryResult<Vec<EntryRow>> = match connection {
        Connection::Sqlite(inner) => {
            teach(inner).map_err(|error| StoreError::of(&error))?;
            let query = page!(diesel::sqlite::Sqlite, wanted, patterns, {
                let patterns = patterns.folded();
                let in_target = folding::folded(audit::target.nullable()).like(patterns.target).escape('!');
                in_target.or(folding::folded(audit::reason).like(patterns.reason).escape('!'))
            });
            diesel::RunQueryDsl::load(query, inner)
        }
        Connection::Postgres(inner) => {
            diesel_async::RunQueryDsl::load(page!(diesel::pg::Pg, wanted, patterns, holds!(patterns)), inner).await
        }
        Connection::Mysql(inner) => {
            diesel_async::RunQueryDsl::load(page!(diesel::mysql::Mysql, wanted, patterns, holds!(patterns)), inner).await
        }
    };
    rows.map_err(|error| StoreError::of(&error))
}

/// How many rows there are, and the number of the last one.
///
/// # Errors
/// When the database can't be read.
pub async fn extent(connection: &mut Connection) -> Result<(i64, i64), StoreError> {
    let found: QueryResult<(i64, Option<i64>)> = run!(connection, first, audit::table.select((count_star(), max(audit::id))));
    found.map(|(rows, last)| (rows, last.unwrap_or(0))).map_err(|error| StoreError::of(&error))
}

/// Whether the database itself refuses to change a row. Changes nothing either way. Not within a transaction: PostgreSQL would spoil it.
pub async fn is_guarded(connection: &mut Connection) -> bool {
    connection.batch("UPDATE audit SET outcome = outcome WHERE id = 1").await.is_err()
}
