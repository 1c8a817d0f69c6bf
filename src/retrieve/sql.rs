//! The statements, as text and values. Every value is bound; a text never becomes part of a statement.
//!
//! The three dialects differ in how a value's place is written, in comparing without case, and in how to get the best out of
//! their indexes. All of that stands here.

use super::conditions::{FILES, Scope, conditions};
use super::query::{Cursor, Order};
use super::slices::Slice;
use super::text;
use crate::store::migrations;
use crate::time::Micros;

/// Message numbers of a page that lie closer than this are read as a range: PostgreSQL keeps only a summary (BRIN) of
/// `message_keys.message_id`, which it would read again for each number of a list.
const DENSE_IDS: i64 = 20_000;
/// The most messages that one key or reference names.
const MAX_NAMED: i64 = 1_000;
/// The most names or patterns of one list. SQLite takes expressions of a depth of 1,000, and alternatives are as deep as they are many.
pub(crate) const MAX_ALTERNATIVES: usize = 200;

/// Which SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
}

impl From<Dialect> for migrations::Dialect {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sqlite => Self::Sqlite,
            Dialect::Postgres => Self::Postgres,
            Dialect::Mysql => Self::Mysql,
        }
    }
}

/// A value in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    Big(i64),
    Int(i32),
    Text(String),
}

/// What of a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// All that a page shows.
    All,
    /// Its place and its texts, for whoever only counts or compares.
    Texts,
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(super) dialect: Dialect,
    pub(crate) text: String,
    pub(crate) binds: Vec<Bind>,
}

impl Statement {
    pub(crate) fn new(dialect: Dialect, text: &str) -> Self {
        Self { dialect, text: text.to_owned(), binds: Vec::new() }
    }

    pub(super) fn sql(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn bind(mut self, value: Bind) -> Self {
        self.binds.push(value);
        match self.dialect {
            Dialect::Postgres => self.text.push_str(&format!("${}", self.binds.len())),
            Dialect::Sqlite | Dialect::Mysql => self.text.push('?'),
        }
        self
    }

    pub(super) fn list(mut self, values: impl IntoIterator<Item = Bind>) -> Self {
        let mut between = "(";
        for value in values {
            self = self.sql(between).bind(value);
            between = ", ";
        }
        self.sql(")")
    }

    /// A list of numbers. They stand in the text themselves: a statement takes any number of these, but not of values.
    pub(super) fn numbers<N: ToString>(self, numbers: impl IntoIterator<Item = N>) -> Self {
        let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
        // An empty list is no SQL, and no number is 0.
        let list = if numbers.is_empty() { "0".to_owned() } else { numbers.join(", ") };
        self.sql("(").sql(&list).sql(")")
    }

    pub(super) fn limit(self, limit: usize) -> Self {
        self.sql(" LIMIT ").bind(Bind::Big(i64::try_from(limit).unwrap_or(i64::MAX)))
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// `column = value`, exactly: MySQL ignores spaces at the end otherwise.
    pub(super) fn exactly(self, column: &str, value: &str) -> Self {
        let value = Bind::Text(value.to_owned());
        match self.dialect {
            Dialect::Mysql => {
                let equal = self.sql("(").sql(column).sql(" = ").bind(value.clone());
                equal.sql(" AND CHAR_LENGTH(").sql(column).sql(") = CHAR_LENGTH(").bind(value).sql("))")
            }
            Dialect::Sqlite | Dialect::Postgres => self.sql(column).sql(" = ").bind(value),
        }
    }

    /// `column LIKE pattern`, where the case of ASCII does not count and that of other letters is never asked for ([`text::pattern`]).
    pub(super) fn like(self, column: &str, pattern: String) -> Self {
        let begun = match self.dialect {
            Dialect::Sqlite => self.sql(column).sql(" LIKE "),
            // The collation "C" keeps the database's locale out of it: a Turkish one would find no I for an i.
            Dialect::Postgres => self.sql(column).sql(" COLLATE \"C\" ILIKE "),
            Dialect::Mysql => self.sql("LOWER(").sql(column).sql(") LIKE "),
        };
        begun.bind(Bind::Text(pattern)).escape()
    }

    /// Names the character that takes the meaning from the next one in a pattern.
    pub(super) fn escape(self) -> Self {
        self.sql(" ESCAPE '").sql(&text::ESCAPE.to_string()).sql("'")
    }
}

const MESSAGE_COLUMNS: &str = "m.id, m.sent_at, m.received_at, m.refers_to, m.conversation_id, m.sender_id, m.recipient_id, m.flags, \
    m.node_id, m.kind, m.type, m.direction, m.via, m.sender_resource, m.sender_nick, m.recipient_resource, m.recipient_nick, \
    m.stanza_id, m.origin_id, m.thread, m.subject, m.lang, m.refers_to_id, m.detail, m.body";

/// The migrations that were run.
pub(crate) fn versions(dialect: Dialect) -> Statement {
    Statement::new(dialect, &format!("SELECT version FROM {} ORDER BY version", migrations::RECORD))
}

/// Messages of a scope within a slice of time, after a place. Names are joined to the few rows that are left.
pub(crate) fn messages(columns: Columns, dialect: Dialect, scope: &Scope, slice: Slice, after: Option<Cursor>, limit: usize) -> Statement {
    read(columns, dialect, scope, "", |statement| placed(conditions(statement, scope), scope.order, slice, after, limit))
}

/// Those of these messages that are in the scope, in no order.
pub(crate) fn messages_of(columns: Columns, dialect: Dialect, scope: &Scope, ids: &[i64]) -> Statement {
    read(columns, dialect, scope, "", |statement| conditions(statement, scope).sql(" AND m.id IN ").numbers(ids))
}

/// Messages of a scope from a number on, in order; few of them are found by their number rather than along the time.
pub(crate) fn messages_from(
    columns: Columns,
    dialect: Dialect,
    scope: &Scope,
    (first, are_few): (i64, bool),
    slice: Slice,
    after: Option<Cursor>,
    limit: usize,
) -> Statement {
    let hint = match dialect {
        Dialect::Sqlite if are_few => " NOT INDEXED",
        Dialect::Mysql if are_few => " FORCE INDEX (PRIMARY)",
        _ => "",
    };
    read(columns, dialect, scope, hint, |statement| {
        let from = conditions(statement, scope).sql(" AND m.id >= ").bind(Bind::Big(first));
        placed(from, scope.order, slice, after, limit)
    })
}

/// Any message of a scope.
pub(crate) fn any(dialect: Dialect, scope: &Scope) -> Statement {
    conditions(Statement::new(dialect, "SELECT m.id AS number FROM messages m WHERE "), scope).limit(1)
}

fn read(columns: Columns, dialect: Dialect, scope: &Scope, hint: &str, which: impl FnOnce(Statement) -> Statement) -> Statement {
    if columns == Columns::Texts {
        return which(Statement::new(dialect, &format!("SELECT {} FROM messages m{hint} WHERE ", text_columns())));
    }
    let columns = MESSAGE_COLUMNS.replace("m.type", "m.type AS type_");
    let (xml, outer_xml) = if scope.with_xml { (", m.xml", "m.xml") } else { ("", "NULL AS xml") };
    let outer = columns.replace("m.type AS type_", "m.type_");
    let head = format!(
        "SELECT {outer}, {outer_xml}, c.name AS conversation, c.kind AS conversation_kind, s.jid AS sender, r.jid AS recipient, \
         n.name AS node FROM (SELECT {columns}{xml} FROM messages m{hint} WHERE "
    );
    let order = by_time(scope.order, "m");
    which(Statement::new(dialect, &head)).sql(&format!(
        ") m LEFT JOIN conversation_names c ON c.id = m.conversation_id LEFT JOIN jids s ON s.id = m.sender_id \
         LEFT JOIN jids r ON r.id = m.recipient_id LEFT JOIN nodes n ON n.id = m.node_id ORDER BY {order}"
    ))
}

/// The place of a message and its texts, as a [`TextRow`](super::row::TextRow) takes them.
pub(crate) fn text_columns() -> String {
    format!("m.id, m.sent_at, m.body, m.subject, CASE WHEN {FILES} THEN m.detail END AS detail")
}

fn placed(statement: Statement, order: Order, slice: Slice, after: Option<Cursor>, limit: usize) -> Statement {
    within(statement, "m", slice, after, order).sql(" ORDER BY ").sql(&by_time(order, "m")).limit(limit)
}

/// The columns of the order of time, of a table that has them under these names.
pub(super) fn by_time(order: Order, table: &str) -> String {
    let id = if table == "m" { "id" } else { "message_id" };
    match order {
        Order::Ascending => format!("{table}.sent_at, {table}.{id}"),
        Order::Descending => format!("{table}.sent_at DESC, {table}.{id} DESC"),
    }
}

/// The plain bound on `sent_at` beside the exact one is what an index can be used for.
pub(super) fn within(mut statement: Statement, table: &str, slice: Slice, after: Option<Cursor>, order: Order) -> Statement {
    let Slice { mut from, mut before } = slice;
    if let Some(after) = after {
        match order {
            Order::Ascending => from = from.max(Some(after.sent_at)),
            Order::Descending => {
                let end = after.sent_at.saturating_add(1);
                before = Some(before.map_or(end, |before| before.min(end)));
            }
        }
    }
    statement = bound(statement, &format!(" AND {table}.sent_at >= "), from);
    statement = bound(statement, &format!(" AND {table}.sent_at < "), before);
    let Some(Cursor { sent_at, id, .. }) = after else { return statement };
    let number = if table == "m" { "id" } else { "message_id" };
    let beyond = match order {
        Order::Ascending => '>',
        Order::Descending => '<',
    };
    let exact = statement.sql(&format!(" AND ({table}.sent_at {beyond} ")).bind(Bind::Big(sent_at));
    let equal = exact.sql(&format!(" OR ({table}.sent_at = ")).bind(Bind::Big(sent_at));
    equal.sql(&format!(" AND {table}.{number} {beyond} ")).bind(Bind::Big(id)).sql("))")
}

pub(super) fn bound(statement: Statement, sql: &str, at: Option<Micros>) -> Statement {
    match at {
        Some(at) => statement.sql(sql).bind(Bind::Big(at)),
        None => statement,
    }
}

/// When the first or the last message by number was sent.
pub(crate) fn pivot(dialect: Dialect, order: Order) -> Statement {
    let direction = if order == Order::Ascending { "ASC" } else { "DESC" };
    Statement::new(dialect, &format!("SELECT m.sent_at AS number FROM messages m ORDER BY m.id {direction} LIMIT 1"))
}

/// The newest message.
pub(crate) fn last(dialect: Dialect) -> Statement {
    Statement::new(dialect, "SELECT COALESCE(MAX(m.id), 0) AS number FROM messages m")
}

/// The nodes.
pub(crate) fn nodes(dialect: Dialect) -> Statement {
    let number = if dialect == Dialect::Mysql { "SIGNED" } else { "INTEGER" };
    Statement::new(dialect, &format!("SELECT CAST(n.id AS {number}) AS id, n.name FROM nodes n"))
}

/// JIDs that match one of these patterns, at most [`MAX_ALTERNATIVES`] of them.
pub(crate) fn jids_like(dialect: Dialect, likes: &[String], limit: usize) -> Statement {
    Statement::new(dialect, "SELECT j.id, j.jid AS name FROM jids j WHERE ").any_like(likes).limit(limit)
}

/// The numbers of JIDs, at most [`MAX_ALTERNATIVES`] of them.
pub(crate) fn jids(dialect: Dialect, jids: &[&str]) -> Statement {
    let jids = jids.iter().map(|jid| Bind::Text((*jid).to_owned()));
    Statement::new(dialect, "SELECT j.id, j.jid AS name FROM jids j WHERE j.jid IN ").list(jids)
}

/// The number of a conversation.
pub(crate) fn conversation(dialect: Dialect, name: &str) -> Statement {
    Statement::new(dialect, "SELECT c.id, c.name FROM conversation_names c WHERE ").exactly("c.name", name)
}

/// The numbers of conversations, at most [`MAX_ALTERNATIVES`] of them.
pub(crate) fn conversations(dialect: Dialect, names: &[String]) -> Statement {
    let names = names.iter().cloned().map(Bind::Text);
    Statement::new(dialect, "SELECT c.id, c.name FROM conversation_names c WHERE c.name IN ").list(names)
}

/// Those of these conversations in which there is any message of a scope.
pub(crate) fn with_any(dialect: Dialect, scope: &Scope, conversations: &[i32]) -> Statement {
    let select = "SELECT c.id, c.name FROM conversation_names c WHERE c.id IN ";
    // With EXISTS a database might read all messages to compare them with all of these; a single value is looked up for each along the index.
    let first =
        Statement::new(dialect, select).numbers(conversations).sql(" AND (SELECT m.id FROM messages m WHERE m.conversation_id = c.id AND ");
    conditions(first, scope).limit(1).sql(") IS NOT NULL")
}

/// The conversations that somebody is an end of.
pub(crate) fn conversations_of(dialect: Dialect, person: i32, limit: usize) -> Statement {
    Statement::new(dialect, "SELECT c.id, c.name FROM conversation_names c WHERE c.first_id = ")
        .bind(Bind::Int(person))
        .sql(" OR c.second_id = ")
        .bind(Bind::Int(person))
        .sql(" ORDER BY c.id")
        .limit(limit)
}

/// Messages that have this id as a stanza-id (XEP-0359).
pub(crate) fn named(dialect: Dialect, value: &str) -> Statement {
    let found = Statement::new(dialect, "SELECT k.message_id AS number FROM message_keys k WHERE ").exactly("k.value", value);
    found.sql(" LIMIT ").bind(Bind::Big(MAX_NAMED))
}

/// The copies of these messages.
pub(crate) fn deliveries(dialect: Dialect, ids: &[i64]) -> Statement {
    let select = "SELECT d.message_id, d.at, d.direction, d.source, d.send_no, d.resource, j.jid AS recipient, n.name AS node \
         FROM deliveries d LEFT JOIN jids j ON j.id = d.recipient_id LEFT JOIN nodes n ON n.id = d.node_id WHERE d.message_id IN ";
    of_messages(Statement::new(dialect, select), ids).sql(" ORDER BY d.message_id, d.seq")
}

/// The stanza-ids of these messages.
pub(crate) fn keys(dialect: Dialect, ids: &[i64]) -> Statement {
    let select =
        "SELECT k.message_id, k.value, j.jid AS given_by FROM message_keys k LEFT JOIN jids j ON j.id = k.by_id WHERE k.kind = 1 AND ";
    let mut statement = Statement::new(dialect, select);
    let (low, high) = (ids.iter().min().copied().unwrap_or(0), ids.iter().max().copied().unwrap_or(0));
    if dialect == Dialect::Postgres && high.saturating_sub(low) < DENSE_IDS {
        statement = statement.sql("k.message_id BETWEEN ").bind(Bind::Big(low)).sql(" AND ").bind(Bind::Big(high));
        statement = statement.sql(" AND k.message_id + 0 IN ");
    } else {
        statement = statement.sql("k.message_id IN ");
    }
    of_messages(statement, ids).sql(" ORDER BY k.message_id, j.jid, k.value")
}

/// The errors that came back for these messages.
pub(crate) fn bounces(dialect: Dialect, ids: &[i64]) -> Statement {
    let select = "SELECT b.message_id, b.at, b.condition AS defined, b.text AS said, j.jid AS sender \
         FROM bounces b LEFT JOIN jids j ON j.id = b.from_id WHERE b.message_id IN ";
    // CONDITION is a word of MySQL's own; behind a table's name it is only a name.
    of_messages(Statement::new(dialect, select), ids).sql(" ORDER BY b.message_id, b.at, b.id")
}

fn of_messages(statement: Statement, ids: &[i64]) -> Statement {
    statement.list(ids.iter().copied().map(Bind::Big))
}

#[cfg(test)]
mod tests {
    use super::super::conditions::{Id, JidSet, PeopleSet};
    use super::super::people::Side;
    use super::*;

    fn scope() -> Scope {
        let people = vec![PeopleSet { side: Side::Any, set: JidSet { ids: vec![7], likes: Vec::new() } }];
        Scope { words: vec!["o'k".to_owned()], people, conversations: vec![3], ..Scope::default() }
    }

    fn check(dialect: Dialect, parts: &[&str]) {
        let after = Some(Cursor::new(10, 5));
        let statement = messages(Columns::All, dialect, &scope(), Slice { from: Some(1), before: Some(99) }, after, 50);
        for part in parts {
            assert!(statement.text.contains(part), "{dialect:?} lacks {part}: {}", statement.text);
        }
        assert!(!statement.text.contains("o'k"), "a value became SQL");
        let places = match dialect {
            Dialect::Postgres => statement.text.matches('$').count(),
            Dialect::Sqlite | Dialect::Mysql => statement.text.matches('?').count(),
        };
        assert_eq!(places, statement.binds.len());
        assert_eq!(statement.binds.last(), Some(&Bind::Big(50)));
    }

    #[test]
    fn each_dialect_has_its_own_places_and_comparison() {
        check(Dialect::Sqlite, &["m.body LIKE ? ESCAPE '!'", "m.kind NOT IN (10, 11, 12)", "m.sent_at >= ?"]);
        check(Dialect::Postgres, &["m.body COLLATE \"C\" ILIKE $1 ESCAPE '!'", "m.kind NOT IN (10, 11, 12)", "LIMIT $9"]);
        check(Dialect::Mysql, &["LOWER(m.body) LIKE ? ESCAPE '!'", "m.kind NOT IN (10, 11, 12)"]);
    }

    #[test]
    fn an_exact_id_counts_spaces_on_mysql() {
        let id = Some(Id::Stanza("a ".to_owned(), vec![]));
        let text = |dialect| messages(Columns::All, dialect, &Scope { id: id.clone(), ..Scope::default() }, Slice::default(), None, 1).text;
        assert!(text(Dialect::Mysql).contains("CHAR_LENGTH(m.stanza_id) = CHAR_LENGTH(?)"));
        assert!(!text(Dialect::Sqlite).contains("CHAR_LENGTH"));
    }

    #[test]
    fn the_newest_first_turns_everything_round() {
        let scope = Scope { order: Order::Descending, ..Scope::default() };
        let text = messages(Columns::All, Dialect::Sqlite, &scope, Slice::default(), Some(Cursor::new(10, 5)), 1).text;
        assert!(text.contains("ORDER BY m.sent_at DESC, m.id DESC LIMIT ?"));
        assert!(text.contains("m.sent_at < ? AND (m.sent_at < ? OR (m.sent_at = ? AND m.id < ?))"));
    }

    #[test]
    fn numbers_close_together_are_a_range_on_postgresql() {
        assert!(keys(Dialect::Postgres, &[5, 1, 9]).text.contains("k.message_id BETWEEN $1 AND $2 AND k.message_id + 0 IN ($3, $4, $5)"));
        assert!(!keys(Dialect::Postgres, &[5, 1_000_000]).text.contains("BETWEEN"));
        assert!(!keys(Dialect::Sqlite, &[5, 1]).text.contains("BETWEEN"));
    }
}
