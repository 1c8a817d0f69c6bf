//! The conditions of a query in SQL, and what a restriction leaves of them. Every statement that reads messages has them.

use super::people::Side;
use super::query::{ENCRYPTED_KIND, Order, SILENT_KINDS};
use super::sql::{Bind, Dialect, Statement, bound};
use super::text;
use crate::message::content::flags;
use crate::message::links;
use crate::time::Micros;
use crate::words::Text;

/// Whether a message has a file.
pub(crate) const FILES: &str = "(m.kind = 13 OR (m.flags & 1024) <> 0)";

/// A query with every name resolved to its number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Any of these; none means all.
    pub(crate) conversations: Vec<i32>,
    /// Each of these.
    pub(crate) people: Vec<PeopleSet>,
    /// Folded texts to be found anywhere.
    pub(crate) words: Vec<String>,
    pub(crate) text: Option<Text>,
    pub(crate) id: Option<Id>,
    pub(crate) kinds: Vec<i16>,
    pub(crate) directions: Vec<i16>,
    pub(crate) nodes: Vec<i16>,
    pub(crate) encrypted: Option<bool>,
    pub(crate) has_file: bool,
    pub(crate) has_link: bool,
    pub(crate) refers_to: Vec<i64>,
    pub(crate) all: bool,
    pub(crate) order: Order,
    pub(crate) with_xml: bool,
    /// Only newer messages than this.
    pub(crate) newer_than: Option<i64>,
    /// These as well, although they are not newer.
    pub(crate) late: Vec<i64>,
    /// No newer message than this.
    pub(crate) as_of: Option<i64>,
    pub(crate) fence: Option<Fence>,
}

/// A restriction with every name resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence {
    /// None: whoever took part.
    pub(crate) reach: Option<(JidSet, Vec<i32>)>,
    pub(crate) from: Option<Micros>,
    pub(crate) to: Option<Micros>,
}

/// Some people, and how they took part.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeopleSet {
    pub(crate) side: Side,
    pub(crate) set: JidSet,
}

/// Numbers of JIDs, and patterns for those that are too many to be numbered, at most [`MAX_ALTERNATIVES`](super::sql::MAX_ALTERNATIVES).
#[derive(Clone, Debug, Default)]
pub(crate) struct JidSet {
    pub(crate) ids: Vec<i32>,
    pub(crate) likes: Vec<String>,
}

/// What `id` means.
#[derive(Clone, Debug)]
pub(crate) enum Id {
    /// The archive's number.
    Number(i64),
    /// An id of the stanza, with the messages that are known to have it as a stanza-id.
    Stanza(String, Vec<i64>),
}

/// All conditions but those on the time.
pub(crate) fn conditions(mut statement: Statement, scope: &Scope) -> Statement {
    statement = kinds(statement, scope);
    if !scope.conversations.is_empty() {
        statement = statement.sql(" AND m.conversation_id IN ").numbers(&scope.conversations);
    }
    if !scope.refers_to.is_empty() {
        statement = statement.sql(" AND m.refers_to IN ").numbers(&scope.refers_to);
    }
    if !scope.directions.is_empty() {
        statement = statement.sql(" AND m.direction IN ").numbers(&scope.directions);
    }
    if !scope.nodes.is_empty() {
        statement = statement.sql(" AND m.node_id IN ").numbers(&scope.nodes);
    }
    if let Some(id) = &scope.id {
        statement = with_id(statement, id);
    }
    statement = newer(statement, scope);
    statement = bound(statement, " AND m.id <= ", scope.as_of);
    statement = content(statement, scope);
    for people in &scope.people {
        statement = took_part(statement.sql(" AND ("), people).sql(")");
    }
    for word in &scope.words {
        let pattern = text::pattern(word);
        let texts = statement.sql(" AND (").like("m.body", pattern.clone()).sql(" OR ").like("m.subject", pattern);
        // What else stands there is left out where the text is looked at.
        statement = texts.sql(" OR ").like("m.detail", text::pattern_in_json(word)).sql(")");
    }
    match &scope.fence {
        Some(fence) => within_fence(statement, fence),
        None => statement,
    }
}

fn newer(statement: Statement, scope: &Scope) -> Statement {
    match scope.newer_than {
        Some(number) if !scope.late.is_empty() => {
            statement.sql(" AND (m.id > ").bind(Bind::Big(number)).sql(" OR m.id IN ").numbers(&scope.late).sql(")")
        }
        number => bound(statement, " AND m.id > ", number),
    }
}

fn kinds(statement: Statement, scope: &Scope) -> Statement {
    let kinds = || scope.kinds.iter().filter(|kind| **kind != ENCRYPTED_KIND);
    if scope.kinds.contains(&ENCRYPTED_KIND) {
        let encrypted = format!("((m.flags & {}) <> 0 OR m.kind IN ", flags::ENCRYPTED);
        return statement.sql(&encrypted).numbers(kinds()).sql(")");
    }
    match (scope.kinds.is_empty(), scope.all || scope.id.is_some()) {
        (false, _) => statement.sql("m.kind IN ").numbers(kinds()),
        (_, true) => statement.sql("1 = 1"),
        (_, false) => statement.sql("m.kind NOT IN ").numbers(SILENT_KINDS),
    }
}

fn content(mut statement: Statement, scope: &Scope) -> Statement {
    if let Some(encrypted) = scope.encrypted {
        let equal = if encrypted { "<>" } else { "=" };
        statement = statement.sql(&format!(" AND (m.flags & {}) {equal} 0", flags::ENCRYPTED));
    }
    if scope.has_file {
        statement = statement.sql(" AND ").sql(FILES);
    }
    if scope.has_link {
        // Whether one of these is a link, and not the end of a word, is seen in the text.
        let columns = ["m.body", "m.subject"];
        let wanted = columns.iter().flat_map(|column| links::SCHEMES.map(|scheme| (column, scheme)));
        for (index, (column, scheme)) in wanted.enumerate() {
            statement = statement.sql(if index == 0 { " AND (" } else { " OR " }).like(column, format!("%{scheme}_%"));
        }
        statement = statement.sql(")");
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
                false => own.sql(" OR m.id IN ").numbers(named).sql(")"),
            }
        }
    }
}

/// Whether one of these people took part in this way.
fn took_part(statement: Statement, people: &PeopleSet) -> Statement {
    let set = &people.set;
    match people.side {
        // An end of the conversation, or in a room whoever wrote it or was shown it.
        Side::Any => {
            let ends = statement.sql("m.conversation_id IN (SELECT p.id FROM conversation_names p WHERE p.first_id ").among(set);
            let ends = ends.sql(" OR p.second_id ").among(set).sql(") OR m.sender_id ").among(set).sql(" OR m.recipient_id ").among(set);
            ends.sql(" OR EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.recipient_id ").among(set).sql(")")
        }
        Side::Sender => statement.sql("m.sender_id ").among(set),
        Side::Recipient => {
            let addressed = statement.sql("m.recipient_id ").among(set);
            let reached = addressed.sql(" OR EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.recipient_id ").among(set);
            reached.sql(" AND (m.sender_id IS NULL OR d.recipient_id <> m.sender_id))")
        }
    }
}

fn within_fence(mut statement: Statement, fence: &Fence) -> Statement {
    if let Some((people, rooms)) = &fence.reach {
        let people = PeopleSet { side: Side::Any, set: people.clone() };
        statement = took_part(statement.sql(" AND ("), &people).sql(" OR m.conversation_id IN ").numbers(rooms).sql(")");
    }
    statement = bound(statement, " AND m.sent_at >= ", fence.from);
    bound(statement, " AND m.sent_at < ", fence.to)
}

impl Statement {
    /// `IN` this set.
    pub(super) fn among(self, set: &JidSet) -> Self {
        if set.likes.is_empty() {
            return self.sql("IN ").numbers(&set.ids);
        }
        self.sql("IN (SELECT j.id FROM jids j WHERE j.id IN ").numbers(&set.ids).sql(" OR ").any_like(&set.likes).sql(")")
    }

    /// Whether a JID matches one of these patterns.
    pub(super) fn any_like(mut self, patterns: &[String]) -> Self {
        for (index, pattern) in patterns.iter().enumerate() {
            self = self.sql(if index > 0 { " OR " } else { "" }).jid_like(pattern);
        }
        self
    }

    /// JIDs are normalised, so case counts.
    fn jid_like(self, pattern: &str) -> Self {
        let collated = match self.dialect() {
            Dialect::Postgres => self.sql("j.jid COLLATE \"C\" LIKE "),
            Dialect::Sqlite | Dialect::Mysql => self.sql("j.jid LIKE "),
        };
        collated.bind(Bind::Text(pattern.to_owned())).escape()
    }
}
