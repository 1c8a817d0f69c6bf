//! The statements, as text and values. Every value is bound; a text never becomes part of a statement.
//!
//! The three dialects differ in how a value's place is written, in comparing without case, and in how to get the best out of
//! their indexes. All of that stands here.

use super::query::{Cursor, Order, SILENT_KINDS};
use super::slices::Slice;
use super::text;

/// Message numbers of a page that lie closer than this are read as a range: PostgreSQL keeps only a summary (BRIN) of
/// `message_keys.message_id`, which it would read again for each number of a list.
const DENSE_IDS: i64 = 20_000;
/// The most messages that one key or reference names.
const MAX_NAMED: i64 = 1_000;

/// Which SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
}

/// A value in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    Big(i64),
    Int(i32),
    Small(i16),
    Text(String),
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    dialect: Dialect,
    pub(crate) text: String,
    pub(crate) binds: Vec<Bind>,
}

impl Statement {
    pub(crate) fn new(dialect: Dialect, text: &str) -> Self {
        Self { dialect, text: text.to_owned(), binds: Vec::new() }
    }

    pub(crate) fn sql(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    pub(crate) fn bind(mut self, value: Bind) -> Self {
        self.binds.push(value);
        match self.dialect {
            Dialect::Postgres => self.text.push_str(&format!("${}", self.binds.len())),
            Dialect::Sqlite | Dialect::Mysql => self.text.push('?'),
        }
        self
    }

    pub(crate) fn list(mut self, values: impl IntoIterator<Item = Bind>) -> Self {
        let mut between = "(";
        for value in values {
            self = self.sql(between).bind(value);
            between = ", ";
        }
        self.sql(")")
    }

    /// `column = value`, exactly: MySQL ignores spaces at the end otherwise.
    fn exactly(self, column: &str, value: &str) -> Self {
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
    fn like(self, column: &str, pattern: String) -> Self {
        let begun = match self.dialect {
            Dialect::Sqlite => self.sql(column).sql(" LIKE "),
            // The collation "C" keeps the database's locale out of it: a Turkish one would find no I for an i.
            Dialect::Postgres => self.sql(column).sql(" COLLATE \"C\" ILIKE "),
            Dialect::Mysql => self.sql("LOWER(").sql(column).sql(") LIKE "),
        };
        begun.bind(Bind::Text(pattern)).sql(" ESCAPE '").sql(&text::ESCAPE.to_string()).sql("'")
    }
}

/// A query with every name resolved to its number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) conversation: Option<i32>,
    pub(crate) participants: Vec<i32>,
    /// Folded.
    pub(crate) words: Vec<String>,
    pub(crate) id: Option<Id>,
    pub(crate) kinds: Vec<i16>,
    pub(crate) refers_to: Vec<i64>,
    /// Numbers; none means all.
    pub(crate) ids: Vec<i64>,
    pub(crate) newer_than: Option<i64>,
    pub(crate) newest: Option<i64>,
    pub(crate) all: bool,
    pub(crate) order: Order,
    pub(crate) with_xml: bool,
}

/// What `id` means.
#[derive(Clone, Debug)]
pub(crate) enum Id {
    /// The archive's number.
    Number(i64),
    /// An id of the stanza, with the messages that are known to have it as a stanza-id.
    Stanza(String, Vec<i64>),
}

const MESSAGE_COLUMNS: &str = "m.id, m.sent_at, m.received_at, m.refers_to, m.conversation_id, m.sender_id, m.recipient_id, m.flags, \
    m.node_id, m.kind, m.type, m.direction, m.via, m.sender_resource, m.sender_nick, m.recipient_resource, m.recipient_nick, \
    m.stanza_id, m.origin_id, m.thread, m.subject, m.lang, m.refers_to_id, m.detail, m.body";

/// Messages of a scope within a slice of time, after a place. Names are joined to the few rows that are left.
pub(crate) fn messages(dialect: Dialect, scope: &Scope, slice: Slice, after: Option<Cursor>, limit: usize) -> Statement {
    let xml = if scope.with_xml { "m.xml" } else { "NULL AS xml" };
    let order = match scope.order {
        Order::Ascending => "m.sent_at, m.id",
        Order::Descending => "m.sent_at DESC, m.id DESC",
    };
    let (columns, xml_column) = (MESSAGE_COLUMNS.replace("m.type", "m.type AS type_"), if scope.with_xml { ", m.xml" } else { "" });
    let outer = columns.replace("m.type AS type_", "m.type_");
    let mut statement = Statement::new(
        dialect,
        &format!(
            "SELECT {outer}, {xml}, c.name AS conversation, c.kind AS conversation_kind, s.jid AS sender, r.jid AS recipient, n.name AS node \
             FROM (SELECT {columns}{xml_column} FROM messages m WHERE "
        ),
    );
    statement = conditions(statement, scope);
    statement = within(statement, slice, after, scope.order);
    statement = statement.sql(" ORDER BY ").sql(order).sql(" LIMIT ").bind(Bind::Big(i64::try_from(limit).unwrap_or(i64::MAX)));
    statement.sql(&format!(
        ") m LEFT JOIN conversation_names c ON c.id = m.conversation_id LEFT JOIN jids s ON s.id = m.sender_id \
         LEFT JOIN jids r ON r.id = m.recipient_id LEFT JOIN nodes n ON n.id = m.node_id ORDER BY {order}"
    ))
}

pub(crate) fn conditions(mut statement: Statement, scope: &Scope) -> Statement {
    statement = match (&scope.kinds, scope.all || scope.id.is_some()) {
        (kinds, _) if !kinds.is_empty() => statement.sql("m.kind IN ").list(kinds.iter().copied().map(Bind::Small)),
        (_, true) => statement.sql("1 = 1"),
        (_, false) => statement.sql("m.kind NOT IN ").list(SILENT_KINDS.map(Bind::Small)),
    };
    if let Some(conversation) = scope.conversation {
        statement = statement.sql(" AND m.conversation_id = ").bind(Bind::Int(conversation));
    }
    if !scope.refers_to.is_empty() {
        statement = statement.sql(" AND m.refers_to IN ").list(scope.refers_to.iter().copied().map(Bind::Big));
    }
    if let Some(id) = &scope.id {
        statement = with_id(statement, id);
    }
    if !scope.ids.is_empty() {
        statement = statement.sql(" AND m.id IN ").list(scope.ids.iter().copied().map(Bind::Big));
    }
    statement = bound(statement, " AND m.id > ", scope.newer_than);
    statement = bound(statement, " AND m.id <= ", scope.newest);
    statement = scope.participants.iter().fold(statement, |statement, person| with_participant(statement, *person));
    for word in &scope.words {
        let pattern = text::pattern(word);
        statement = statement.sql(" AND (").like("m.body", pattern.clone()).sql(" OR ").like("m.subject", pattern).sql(")");
    }
    statement
}

fn with_id(statement: Statement, id: &Id) -> Statement {
    match id {
        Id::Number(number) => statement.sql(" AND m.id = ").bind(Bind::Big(*number)),
        Id::Stanza(value, named) => {
            let own = statement.sql(" AND (").exactly("m.stanza_id", value).sql(" OR ").exactly("m.origin_id", value);
            match named.is_empty() {
                true => own.sql(")"),
                false => own.sql(" OR m.id IN ").list(named.iter().copied().map(Bind::Big)).sql(")"),
            }
        }
    }
}

/// An end of the conversation, or in a room whoever wrote it or was shown it.
fn with_participant(statement: Statement, person: i32) -> Statement {
    statement
        .sql(" AND (m.conversation_id IN (SELECT p.id FROM conversation_names p WHERE p.first_id = ")
        .bind(Bind::Int(person))
        .sql(" OR p.second_id = ")
        .bind(Bind::Int(person))
        .sql(") OR m.sender_id = ")
        .bind(Bind::Int(person))
        .sql(" OR m.recipient_id = ")
        .bind(Bind::Int(person))
        .sql(" OR EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.recipient_id = ")
        .bind(Bind::Int(person))
        .sql("))")
}

/// The plain bound on `sent_at` beside the exact one is what an index can be used for.
pub(crate) fn within(mut statement: Statement, slice: Slice, after: Option<Cursor>, order: Order) -> Statement {
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
    statement = bound(statement, " AND m.sent_at >= ", from);
    statement = bound(statement, " AND m.sent_at < ", before);
    let Some(Cursor { sent_at, id }) = after else { return statement };
    let beyond = match order {
        Order::Ascending => '>',
        Order::Descending => '<',
    };
    let exact = statement.sql(&format!(" AND (m.sent_at {beyond} ")).bind(Bind::Big(sent_at));
    exact.sql(" OR (m.sent_at = ").bind(Bind::Big(sent_at)).sql(&format!(" AND m.id {beyond} ")).bind(Bind::Big(id)).sql("))")
}

pub(crate) fn bound(statement: Statement, sql: &str, limit: Option<i64>) -> Statement {
    match limit {
        Some(limit) => statement.sql(sql).bind(Bind::Big(limit)),
        None => statement,
    }
}

/// When the first or the last message by number was sent.
pub(crate) fn pivot(dialect: Dialect, order: Order) -> Statement {
    let direction = if order == Order::Ascending { "ASC" } else { "DESC" };
    Statement::new(dialect, &format!("SELECT m.sent_at AS number FROM messages m ORDER BY m.id {direction} LIMIT 1"))
}

/// The numbers of JIDs.
pub(crate) fn jids(dialect: Dialect, jids: &[&str]) -> Statement {
    let jids = jids.iter().map(|jid| Bind::Text((*jid).to_owned()));
    Statement::new(dialect, "SELECT j.id, j.jid AS name FROM jids j WHERE j.jid IN ").list(jids)
}

/// The number of a conversation.
pub(crate) fn conversation(dialect: Dialect, name: &str) -> Statement {
    Statement::new(dialect, "SELECT c.id, c.name FROM conversation_names c WHERE ").exactly("c.name", name)
}

/// The conversations that somebody is an end of.
pub(crate) fn conversations_of(dialect: Dialect, person: i32, limit: usize) -> Statement {
    Statement::new(dialect, "SELECT c.id, c.name FROM conversation_names c WHERE c.first_id = ")
        .bind(Bind::Int(person))
        .sql(" OR c.second_id = ")
        .bind(Bind::Int(person))
        .sql(" ORDER BY c.id LIMIT ")
        .bind(Bind::Big(i64::try_from(limit).unwrap_or(i64::MAX)))
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

/// Who was in a room in a range of time: a row for each stay, as the view `occupancies` tells them, but in microseconds.
pub(crate) fn stays(dialect: Dialect, room: i32, slice: Slice, limit: usize) -> Statement {
    let mut statement = Statement::new(
        dialect,
        "SELECT e.nick, j.jid, e.resource, e.at AS joined_at, e.next_at AS left_at FROM (SELECT o.nick, o.jid_id, o.resource, o.event, o.at, \
         LEAD(o.at) OVER (PARTITION BY o.nick, COALESCE(o.jid_id, 0), COALESCE(o.resource, '') ORDER BY o.at, o.id) AS next_at \
         FROM occupancy_events o WHERE o.room_id = ",
    );
    statement = statement.bind(Bind::Int(room)).sql(") e LEFT JOIN jids j ON j.id = e.jid_id WHERE e.event = 1");
    statement = bound(statement, " AND e.at < ", slice.before);
    if let Some(from) = slice.from {
        statement = statement.sql(" AND (e.next_at IS NULL OR e.next_at > ").bind(Bind::Big(from)).sql(")");
    }
    statement.sql(" ORDER BY e.at, e.nick LIMIT ").bind(Bind::Big(i64::try_from(limit).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope { words: vec!["o'k".to_owned()], participants: vec![7], conversation: Some(3), ..Scope::default() }
    }

    fn check(dialect: Dialect, parts: &[&str]) {
        let after = Some(Cursor { sent_at: 10, id: 5 });
        let statement = messages(dialect, &scope(), Slice { from: Some(1), before: Some(99) }, after, 50);
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
        check(Dialect::Sqlite, &["m.body LIKE ? ESCAPE '!'", "m.kind NOT IN (?, ?, ?)", "m.sent_at >= ?"]);
        check(Dialect::Postgres, &["m.body COLLATE \"C\" ILIKE $10 ESCAPE '!'", "m.kind NOT IN ($1, $2, $3)", "LIMIT $17"]);
        check(Dialect::Mysql, &["LOWER(m.body) LIKE ? ESCAPE '!'", "m.kind NOT IN (?, ?, ?)"]);
    }

    #[test]
    fn an_exact_id_counts_spaces_on_mysql() {
        let id = Some(Id::Stanza("a ".to_owned(), vec![]));
        let text = |dialect| messages(dialect, &Scope { id: id.clone(), ..Scope::default() }, Slice::default(), None, 1).text;
        assert!(text(Dialect::Mysql).contains("CHAR_LENGTH(m.stanza_id) = CHAR_LENGTH(?)"));
        assert!(!text(Dialect::Sqlite).contains("CHAR_LENGTH"));
    }

    #[test]
    fn the_newest_first_turns_everything_round() {
        let scope = Scope { order: Order::Descending, ..Scope::default() };
        let text = messages(Dialect::Sqlite, &scope, Slice::default(), Some(Cursor { sent_at: 10, id: 5 }), 1).text;
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
