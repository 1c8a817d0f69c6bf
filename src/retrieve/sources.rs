//! Where messages that may be meant are found quickly: places in the order of time, from the index.
//!
//! A source names at least every indexed message of the scope; whether it is in the scope is asked of the messages themselves. So an index
//! that knows too little of a condition makes a search slower and never wrong.

use super::conditions::{JidSet, Scope};
use super::people::Side;
use super::query::{Cursor, Order};
use super::slices::Slice;
use super::sql::{Bind, Dialect, Statement, by_time, within};
use crate::store::search::OVERFLOW;
use crate::words::{Candidates, plain};

/// The most people whose messages are walked along side by side.
pub(crate) const MAX_WALKED: usize = 200;
/// Messages of one person that are counted to find who took part in the fewest.
const MAX_COUNTED: usize = 5_000;

/// Where to look.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// What the people of this condition of the scope took part in.
    People(usize),
    /// What was said in the scope's conversations.
    Conversations,
    /// Everything that has words.
    Time,
    /// What has these words.
    Words(Candidates),
}

/// The next places of a source.
pub(crate) fn places(dialect: Dialect, source: &Source, scope: &Scope, slice: Slice, after: Option<Cursor>, limit: usize) -> Statement {
    let order = scope.order;
    match source {
        Source::People(index) => people(dialect, *index, scope, slice, after, limit),
        Source::Conversations => {
            let select = "SELECT m.sent_at, m.id AS message_id FROM messages m WHERE m.conversation_id IN ";
            let statement = Statement::new(dialect, select).numbers(&scope.conversations);
            within(statement, "m", slice, after, order).sql(" ORDER BY ").sql(&by_time(order, "m")).limit(limit)
        }
        Source::Time => {
            let statement = Statement::new(dialect, "SELECT d.sent_at, d.message_id FROM search_index d WHERE 1 = 1");
            within(statement, "d", slice, after, order).sql(" ORDER BY ").sql(&by_time(order, "d")).limit(limit)
        }
        Source::Words(candidates) => {
            let statement = with_words(dialect, candidates);
            let statement = match dialect {
                // Else it might walk along the time all the same, since it can't know that this was done in vain.
                Dialect::Postgres => statement.sql(") SELECT d.sent_at, d.message_id FROM f d WHERE 1 = 1"),
                Dialect::Sqlite | Dialect::Mysql => statement,
            };
            within(beside(statement, "d", scope, None), "d", slice, after, order).sql(" ORDER BY ").sql(&by_time(order, "d")).limit(limit)
        }
    }
}

/// The messages of each in their order, put together: each walk is as short as the page.
fn people(dialect: Dialect, index: usize, scope: &Scope, slice: Slice, after: Option<Cursor>, limit: usize) -> Statement {
    let Some(people) = scope.people.get(index) else { return Statement::new(dialect, "SELECT 0 AS sent_at, 0 AS message_id") };
    let order = by_time(scope.order, "p");
    let mut statement = Statement::new(dialect, "SELECT d.sent_at, d.message_id FROM (");
    for (number, jid) in people.set.ids.iter().enumerate() {
        let union = if number > 0 { " UNION " } else { "" };
        statement = statement.sql(&format!(
            "{union}SELECT * FROM (SELECT p.sent_at, p.message_id FROM participations p WHERE p.jid_id = {jid}{}",
            roles("p", people.side)
        ));
        statement = beside(statement, "p", scope, Some(index));
        statement =
            within(statement, "p", slice, after, scope.order).sql(" ORDER BY ").sql(&order).limit(limit).sql(&format!(") u{number}"));
    }
    statement.sql(") d ORDER BY ").sql(&by_time(scope.order, "d")).limit(limit)
}

fn roles(table: &str, side: Side) -> String {
    match side {
        Side::Any => String::new(),
        Side::Sender => format!(" AND ({table}.roles & 1) <> 0"),
        Side::Recipient => format!(" AND ({table}.roles & 2) <> 0"),
    }
}

/// The other people of the scope, as far as they have numbers.
fn beside(mut statement: Statement, table: &str, scope: &Scope, but: Option<usize>) -> Statement {
    let others = scope.people.iter().enumerate().filter(|(index, people)| Some(*index) != but && people.set.likes.is_empty());
    for (_, people) in others {
        statement = statement.sql(" AND EXISTS (SELECT 1 FROM participations q WHERE q.jid_id IN ").numbers(&people.set.ids);
        statement =
            statement.sql(&format!(" AND q.sent_at = {table}.sent_at AND q.message_id = {table}.message_id{})", roles("q", people.side)));
    }
    statement
}

/// Messages with these words, whatever else.
fn with_words(dialect: Dialect, candidates: &Candidates) -> Statement {
    let marked = Candidates::Any(vec![candidates.clone(), Candidates::Word { word: OVERFLOW.to_owned(), is_prefix: false }]);
    match dialect {
        Dialect::Sqlite => Statement::new(
            dialect,
            "SELECT d.sent_at, d.message_id FROM search_words f CROSS JOIN search_index d ON d.message_id = f.rowid WHERE search_words MATCH ",
        )
        .bind(Bind::Text(fts5(&marked))),
        Dialect::Postgres => {
            let select = "WITH f AS MATERIALIZED (SELECT s.sent_at, s.message_id FROM search_index s WHERE s.words @@ CAST(";
            let statement = Statement::new(dialect, select);
            statement.bind(Bind::Text(tsquery(&marked))).sql(" AS tsquery)")
        }
        Dialect::Mysql => {
            let statement = Statement::new(dialect, "SELECT d.sent_at, d.message_id FROM search_index d WHERE MATCH (d.words) AGAINST (");
            statement.bind(Bind::Text(boolean(&marked))).sql(" IN BOOLEAN MODE)")
        }
    }
}

fn joined(parts: &[Candidates], between: &str, each: fn(&Candidates) -> String) -> String {
    let parts: Vec<String> = parts.iter().map(each).collect();
    format!("({})", parts.join(between))
}

fn fts5(candidates: &Candidates) -> String {
    match candidates {
        Candidates::All(parts) => joined(parts, " AND ", fts5),
        Candidates::Any(parts) => joined(parts, " OR ", fts5),
        Candidates::Word { word, is_prefix } => format!("\"{word}\"{}", if *is_prefix { " *" } else { "" }),
    }
}

fn tsquery(candidates: &Candidates) -> String {
    match candidates {
        Candidates::All(parts) => joined(parts, " & ", tsquery),
        Candidates::Any(parts) => joined(parts, " | ", tsquery),
        Candidates::Word { word, is_prefix } => format!("'{word}'{}", if *is_prefix { ":*" } else { "" }),
    }
}

/// In boolean mode a `+` stands before whatever has to be there, and nothing before what may.
fn boolean(candidates: &Candidates) -> String {
    match candidates {
        Candidates::All(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| format!("+{}", boolean(part))).collect();
            format!("({})", parts.join(" "))
        }
        Candidates::Any(parts) => joined(parts, " ", boolean),
        Candidates::Word { word, is_prefix } => format!("{}{}", plain(word), if *is_prefix { "*" } else { "" }),
    }
}

/// In how many messages these people took part, as far as that matters.
pub(crate) fn participations(dialect: Dialect, set: &JidSet) -> Statement {
    let statement = Statement::new(dialect, "SELECT COUNT(*) AS number FROM (SELECT 1 FROM participations p WHERE p.jid_id IN ");
    statement.numbers(&set.ids).limit(MAX_COUNTED).sql(") counted")
}

/// How far the index is, where its words are cut by these rules.
pub(crate) fn place(dialect: Dialect) -> Statement {
    let version = crate::words::VERSION;
    let sql = format!("SELECT s.next_id AS number FROM search_progress s WHERE s.part = 1 AND s.words_version = {version}");
    Statement::new(dialect, &sql)
}

/// The messages of which more became known since they were indexed.
pub(crate) fn late(dialect: Dialect, limit: usize) -> Statement {
    Statement::new(dialect, "SELECT DISTINCT s.message_id AS number FROM search_late s").limit(limit)
}

/// In which order places are.
pub(crate) fn sort(places: &mut [Cursor], order: Order) {
    places.sort_unstable_by_key(|place| (place.sent_at, place.id));
    if order == Order::Descending {
        places.reverse();
    }
}
