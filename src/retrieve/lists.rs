//! What the archive holds in the large: which rooms there are, how much was archived on each day, where most is said.

use std::collections::HashSet;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Integer, Nullable, SmallInt, Text};

use super::Archive;
use super::conditions::Scope;
use super::query::SILENT_KINDS;
use super::row::NameRow;
use super::sql::{self, Bind, Dialect, Statement};
use crate::store::StoreError;
use crate::tally::State;
use crate::time::Micros;

/// Rooms that are looked at together: so many may be asked at once whether anything in them may be seen.
const ROOMS_AT_ONCE: usize = 100;
/// The most rooms that are asked so for one page.
const MAX_ROOMS_ASKED: usize = 100_000;

/// A room in which something was said.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Room {
    /// The number of its conversation.
    #[diesel(sql_type = Integer)]
    pub id: i32,
    /// Its bare JID.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// 1 if it lasts when nobody is in it, 2 if it was made for a conversation of some; 0 or none if that is not known.
    #[diesel(sql_type = Nullable<SmallInt>)]
    pub kind: Option<i16>,
    /// When the archive first heard of it.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub first_seen_at: Option<Micros>,
}

/// Rooms in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomPage {
    /// At most as many as were asked for.
    pub rooms: Vec<Room>,
    /// Where to go on, if there are more: the name of the last of these rooms.
    pub next: Option<String>,
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
    /// Rooms of which something may be seen in the order of their names, those after `after`, at most `limit`; `part` stands in each of them.
    ///
    /// Nothing tells of other rooms, which somebody may not know of: a page ends where it is full or where the rooms end, and is gone on with
    /// after a room that it shows.
    ///
    /// # Errors
    /// As [`Archive::search`], and when very many rooms would have to be asked.
    pub async fn rooms(&self, part: &str, after: &str, limit: usize) -> Result<RoomPage, StoreError> {
        let (part, mut after, fence) = (part.trim().to_lowercase(), after.to_owned(), self.fence().await?);
        let scope = Scope { all: true, fence, ..Scope::default() };
        let (mut rooms, mut asked, mut is_last): (Vec<Room>, usize, bool) = (Vec::new(), 0, false);
        while rooms.len() <= limit && !is_last {
            let mut round = self.rooms_after(&after, ROOMS_AT_ONCE).await?;
            is_last = round.len() < ROOMS_AT_ONCE;
            after = round.last().map_or(after, |last| last.name.clone());
            round.retain(|room| room.name.to_lowercase().contains(&part));
            asked += round.len();
            if scope.fence.is_some() && asked > MAX_ROOMS_ASKED {
                return Err(StoreError::Refused(format!(
                    "the query asks for more than {MAX_ROOMS_ASKED} rooms: name more of their address"
                )));
            }
            rooms.extend(self.seen_of(round, &scope).await?);
        }
        let has_more = rooms.len() > limit;
        rooms.truncate(limit);
        let next = rooms.last().filter(|_| has_more).map(|room| room.name.clone());
        Ok(RoomPage { rooms, next })
    }

    /// Those of these rooms in which there is anything that may be seen.
    async fn seen_of(&self, mut rooms: Vec<Room>, scope: &Scope) -> Result<Vec<Room>, StoreError> {
        if scope.fence.is_some() && !rooms.is_empty() {
            let ids: Vec<i32> = rooms.iter().map(|room| room.id).collect();
            let rows: Vec<NameRow> = self.pool.load(sql::with_any(self.dialect(), scope, &ids)).await?;
            let seen: HashSet<i32> = rows.into_iter().map(|row| row.id).collect();
            rooms.retain(|room| seen.contains(&room.id));
        }
        Ok(rooms)
    }

    /// Rooms in the order of their names, whether they may be seen or not.
    async fn rooms_after(&self, after: &str, limit: usize) -> Result<Vec<Room>, StoreError> {
        let sql = "SELECT c.id AS id, c.name AS name, r.kind AS kind, r.first_seen_at AS first_seen_at FROM conversation_names c \
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
