//! What whoever hands messages on must account for: how many there are, in which conversations, and what may be missing.

use std::ops::ControlFlow;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Integer, Nullable, SmallInt, Text};

use super::Archive;
use super::conditions::{Id, Scope, conditions};
use super::engine::row_fits;
use super::query::Query;
use super::row::{NumberRow, Placed, TextRow};
use super::slices::Slice;
use super::sql::{self, Bind, Dialect, Statement, bound, within};
use crate::gap::{Reason, State};
use crate::store::StoreError;
use crate::time::Micros;

/// Numbers read at a time, with the texts where words have to be looked for here.
const COUNT_ROWS: usize = 5_000;

/// Is handed the number of a message, and says whether it wants more.
pub type EachNumber<'a> = &'a mut (dyn FnMut(i64) -> ControlFlow<()> + Send);

/// How many of a query's messages are in one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The archive's number of the conversation.
    pub conversation_id: i32,
    /// Its name: a room, or two JIDs.
    pub conversation: String,
    /// Whether it is a room.
    pub in_room: bool,
    /// How many at most: all of them, unless the query names words that the database can't decide on.
    pub messages: u64,
    /// When the first was sent.
    pub first: Micros,
    /// When the last was sent.
    pub last: Micros,
}

/// An interval in which messages may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapFound {
    /// The archive's number of it.
    pub id: i64,
    /// The node; none when it is not known which.
    pub node: Option<String>,
    /// Begin, never later than the truth.
    pub from: Micros,
    /// End, never earlier than the truth; none while it lasts.
    pub to: Option<Micros>,
    /// Why, as far as this version knows the number.
    pub reason: Option<Reason>,
    /// What has become of it.
    pub state: Option<State>,
    /// How many copies were lost, when that is known.
    pub lost: Option<i64>,
}

impl Archive {
    /// The number of the last message that is stored; 0 if there is none.
    ///
    /// # Errors
    /// When the store can't be reached or is not migrated.
    pub async fn newest(&self) -> Result<i64, StoreError> {
        let statement = Statement::new(self.dialect(), "SELECT m.id AS number FROM messages m ORDER BY m.id DESC LIMIT 1");
        let rows: Vec<NumberRow> = self.pool.load(statement).await?;
        Ok(rows.first().map_or(0, |row| row.number))
    }

    /// When the message of a number was received; none if there is none.
    ///
    /// # Errors
    /// When the store can't be reached or is not migrated.
    pub async fn received_at(&self, number: i64) -> Result<Option<Micros>, StoreError> {
        let select = Statement::new(self.dialect(), "SELECT m.received_at AS number FROM messages m WHERE m.id = ");
        let rows: Vec<NumberRow> = self.pool.load(select.bind(Bind::Big(number))).await?;
        Ok(rows.first().map(|row| row.number))
    }

    /// The conversations in which a query finds something, by their numbers: those after `after`, at most `most`.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn shares(&self, query: &Query, after: i32, most: usize) -> Result<Vec<Share>, StoreError> {
        let Some(scope) = self.counted(query).await? else { return Ok(Vec::new()) };
        let rows: Vec<ShareRow> = self.pool.load(shares(self.dialect(), &scope, slice(query), after, most)).await?;
        Ok(rows.into_iter().map(ShareRow::into_share).collect())
    }

    /// How many messages a query finds, however many: by a statement of its own, and not by the index for searches.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn count_all(&self, query: &Query) -> Result<u64, StoreError> {
        let Some(scope) = self.counted(query).await? else { return Ok(0) };
        if is_told_by_texts(&scope) {
            let mut count = 0;
            self.each_of(query, &scope, &mut |_number| {
                count += 1;
                ControlFlow::Continue(())
            })
            .await?;
            return Ok(count);
        }
        let statement = counting(self.dialect(), &scope, query);
        let rows: Vec<NumberRow> = self.pool.load(statement).await?;
        Ok(rows.first().map_or(0, |row| row.number.unsigned_abs()))
    }

    /// The gaps that touch a range of time.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn gaps(&self, from: Option<Micros>, before: Option<Micros>) -> Result<Vec<GapFound>, StoreError> {
        let select = "SELECT g.id, g.from_at, g.to_at, g.lost, g.reason, g.state, n.name AS node FROM gaps g \
             LEFT JOIN nodes n ON n.id = g.node_id WHERE 1 = 1";
        let mut statement = bound(Statement::new(self.dialect(), select), " AND g.from_at < ", before);
        if let Some(from) = from {
            statement = statement.sql(" AND (g.to_at IS NULL OR g.to_at >= ").bind(Bind::Big(from)).sql(")");
        }
        let rows: Vec<GapRow> = self.pool.load(statement.sql(" ORDER BY g.from_at, g.id")).await?;
        Ok(rows.into_iter().map(GapRow::into_gap).collect())
    }

    /// How many records that came in a range of time could not be stored and lie in the quarantine.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn quarantined(&self, from: Option<Micros>, before: Option<Micros>) -> Result<u64, StoreError> {
        let select = "SELECT COUNT(*) AS number FROM quarantine q WHERE 1 = 1";
        let statement = bound(Statement::new(self.dialect(), select), " AND q.received_at >= ", from);
        let rows: Vec<NumberRow> = self.pool.load(bound(statement, " AND q.received_at < ", before)).await?;
        Ok(rows.first().map_or(0, |row| row.number.unsigned_abs()))
    }

    /// The query with names resolved as [`Archive::search`] resolves them, an id included that may be of two sorts.
    async fn counted(&self, query: &Query) -> Result<Option<Scope>, StoreError> {
        query.check().map_err(|mistake| StoreError::Refused(format!("the query {mistake}")))?;
        let Some(mut scope) = self.scope(query).await? else { return Ok(None) };
        if let (Some(Id::Number(_)), Some(id)) = (&scope.id, &query.id) {
            let statement = counting(self.dialect(), &scope, query);
            let rows: Vec<NumberRow> = self.pool.load(statement).await?;
            if rows.first().is_none_or(|row| row.number == 0) {
                scope.id = Some(self.stanza_id(id).await?);
            }
        }
        Ok(Some(scope))
    }

    /// Hands on the number of each message that a query finds, in their order, until that is enough. The index for searches is not used.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn each_number(&self, query: &Query, each: EachNumber<'_>) -> Result<(), StoreError> {
        let Some(scope) = self.counted(query).await? else { return Ok(()) };
        self.each_of(query, &scope, each).await
    }

    /// Looks at each text where the database only leaves out what can't hold the words.
    async fn each_of(&self, query: &Query, scope: &Scope, each: EachNumber<'_>) -> Result<(), StoreError> {
        let with_texts = is_told_by_texts(scope);
        let columns = if with_texts { sql::text_columns() } else { "m.id AS number".to_owned() };
        let mut after = 0;
        loop {
            // Of two lower bounds SQLite may take the wrong one, and begin each page at the first message.
            let bounds = Scope { newer_than: scope.newer_than.max(Some(after)), ..scope.clone() };
            let behind = match scope.late.is_empty() {
                true => conditions(select(self.dialect(), &columns), &bounds),
                false => conditions(select(self.dialect(), &columns), scope).sql(" AND m.id > ").bind(Bind::Big(after)),
            };
            let statement = within(behind, "m", slice(query), None, query.order).sql(" ORDER BY m.id").limit(COUNT_ROWS);
            let numbers: Vec<(i64, bool)> = match with_texts {
                true => {
                    let rows: Vec<TextRow> = self.pool.load(statement).await?;
                    rows.iter().map(|row| (row.cursor().id, row_fits(row, scope))).collect()
                }
                false => {
                    let rows: Vec<NumberRow> = self.pool.load(statement).await?;
                    rows.iter().map(|row| (row.number, true)).collect()
                }
            };
            for (number, _) in numbers.iter().filter(|(_, fits)| *fits) {
                if each(*number).is_break() {
                    return Ok(());
                }
            }
            match numbers.last() {
                Some((last, _)) if numbers.len() == COUNT_ROWS => after = *last,
                _ => return Ok(()),
            }
        }
    }
}

/// Whether only a look at the texts tells what a query finds.
fn is_told_by_texts(scope: &Scope) -> bool {
    scope.text.is_some() || !scope.words.is_empty() || scope.has_link
}

fn slice(query: &Query) -> Slice {
    Slice { from: query.from, before: query.to }
}

fn select(dialect: Dialect, columns: &str) -> Statement {
    Statement::new(dialect, &format!("SELECT {columns} FROM messages m WHERE "))
}

fn counting(dialect: Dialect, scope: &Scope, query: &Query) -> Statement {
    within(conditions(select(dialect, "COUNT(*) AS number"), scope), "m", slice(query), None, query.order)
}

fn shares(dialect: Dialect, scope: &Scope, slice: Slice, after: i32, most: usize) -> Statement {
    let columns = "m.conversation_id, COUNT(*) AS messages, MIN(m.sent_at) AS first_at, MAX(m.sent_at) AS last_at";
    let select = format!(
        "SELECT t.conversation_id, t.messages, t.first_at, t.last_at, c.kind, c.name FROM (SELECT {columns} FROM messages m WHERE "
    );
    let statement = within(conditions(Statement::new(dialect, &select), scope), "m", slice, None, scope.order);
    let grouped = statement.sql(" AND m.conversation_id > ").bind(Bind::Int(after)).sql(" GROUP BY m.conversation_id) t");
    let named = grouped.sql(" LEFT JOIN conversation_names c ON c.id = t.conversation_id ORDER BY t.conversation_id");
    named.limit(most)
}

#[derive(Debug, QueryableByName)]
struct ShareRow {
    #[diesel(sql_type = Integer)]
    conversation_id: i32,
    #[diesel(sql_type = BigInt)]
    messages: i64,
    #[diesel(sql_type = BigInt)]
    first_at: i64,
    #[diesel(sql_type = BigInt)]
    last_at: i64,
    #[diesel(sql_type = Nullable<SmallInt>)]
    kind: Option<i16>,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

impl ShareRow {
    fn into_share(self) -> Share {
        Share {
            conversation_id: self.conversation_id,
            conversation: self.name.unwrap_or_default(),
            in_room: self.kind == Some(super::row::ROOM),
            messages: self.messages.unsigned_abs(),
            first: self.first_at,
            last: self.last_at,
        }
    }
}

#[derive(Debug, QueryableByName)]
struct GapRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    from_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    to_at: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    lost: Option<i64>,
    #[diesel(sql_type = SmallInt)]
    reason: i16,
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = Nullable<Text>)]
    node: Option<String>,
}

impl GapRow {
    fn into_gap(self) -> GapFound {
        GapFound {
            id: self.id,
            node: self.node,
            from: self.from_at,
            to: self.to_at,
            reason: Reason::of(self.reason),
            state: State::of(self.state),
            lost: self.lost,
        }
    }
}
