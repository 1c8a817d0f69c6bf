//! What the archive holds in the large: which rooms there are, how much was archived on each day, where most is said.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};

use super::Archive;
use super::query::SILENT_KINDS;
use super::sql::{Bind, Dialect, Statement};
use crate::store::StoreError;
use crate::tally::State;
use crate::time::Micros;

/// A room in which something was said.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Room {
    /// Its bare JID.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// 1 if it lasts when nobody is in it, 2 if it was made for a conversation of some; 0 if that is not known.
    #[diesel(sql_type = SmallInt)]
    pub kind: i16,
    /// When the archive first heard of it.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub first_seen_at: Option<Micros>,
}

/// A conversation with how much was said in it.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Busy {
    /// The conversation's name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// How many messages.
    #[diesel(sql_type = BigInt)]
    pub messages: i64,
}

/// How much became a message on a day of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryableByName)]
pub struct DayCount {
    /// Days since 1970-01-01, UTC.
    #[diesel(sql_type = BigInt)]
    pub day: i64,
    /// How many messages.
    #[diesel(sql_type = BigInt)]
    pub messages: i64,
}

impl Archive {
    /// Rooms in the order of their names, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn rooms(&self, after: &str, limit: usize) -> Result<Vec<Room>, StoreError> {
        let sql = "SELECT c.name AS name, COALESCE(r.kind, 0) AS kind, r.first_seen_at AS first_seen_at FROM conversation_names c \
                   LEFT JOIN jids j ON j.jid = c.name LEFT JOIN rooms r ON r.jid_id = j.id \
                   WHERE c.kind = 2 AND c.name > ? ORDER BY c.name LIMIT ?";
        self.pool.load(self.filled(sql, vec![Bind::Text(after.to_owned()), limited(limit)])).await
    }

    /// The conversations in which most was said since a time: rooms, or those between two.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn busiest(&self, rooms: bool, since: Micros, limit: usize) -> Result<Vec<Busy>, StoreError> {
        let sql = "SELECT c.name AS name, m.messages AS messages FROM (SELECT o.conversation_id, COUNT(*) AS messages FROM messages o \
                   WHERE o.sent_at >= ? AND o.kind NOT IN (?, ?, ?) GROUP BY o.conversation_id) m \
                   JOIN conversation_names c ON c.id = m.conversation_id WHERE c.kind = ? ORDER BY m.messages DESC, c.name LIMIT ?";
        let mut binds = vec![Bind::Big(since)];
        binds.extend(SILENT_KINDS.map(|kind| Bind::Int(i32::from(kind))));
        binds.extend([Bind::Int(if rooms { 2 } else { 1 }), limited(limit)]);
        self.pool.load(self.filled(sql, binds)).await
    }

    /// How many messages came on each of these days, the last one included; days on which none came are left out.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn days(&self, first: i32, last: i32) -> Result<Vec<DayCount>, StoreError> {
        let whole = match self.dialect() {
            Dialect::Sqlite => "INTEGER",
            Dialect::Postgres => "BIGINT",
            Dialect::Mysql => "SIGNED",
        };
        let sql = format!(
            "SELECT CAST(t.day AS {whole}) AS day, CAST(SUM(t.count) AS {whole}) AS messages FROM tallies t \
             WHERE t.state = ? AND t.day BETWEEN ? AND ? GROUP BY t.day ORDER BY t.day"
        );
        self.pool.load(self.filled(&sql, vec![Bind::Int(State::Archived as i32), Bind::Int(first), Bind::Int(last)])).await
    }

    /// A statement with a value for each `?`, which PostgreSQL wants numbered.
    fn filled(&self, sql: &str, binds: Vec<Bind>) -> Statement {
        let mut text = String::with_capacity(sql.len() + binds.len());
        let mut parts = sql.split('?');
        text.extend(parts.next());
        for (index, part) in parts.enumerate() {
            match self.dialect() {
                Dialect::Postgres => text.push_str(&format!("${}", index + 1)),
                Dialect::Sqlite | Dialect::Mysql => text.push('?'),
            }
            text.push_str(part);
        }
        Statement { binds, ..Statement::new(self.dialect(), &text) }
    }
}

fn limited(limit: usize) -> Bind {
    Bind::Big(i64::try_from(limit).unwrap_or(i64::MAX))
}
