//! Who was in a room and when, and how many are in it now.
//!
//! The archive keeps who came and who left (`occupancy_events`). A stay begins when somebody comes and lasts until the next event of the same nick,
//! account and resource, as the view `occupancies` tells it. Stays are read page by page in the order in which they began, so a long one is told once.

use std::collections::HashMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::conditions::JidSet;
use super::query::Cursor;
use super::restriction::Reach;
use super::row::{NameRow, some};
use super::slices::Slice;
use super::sql::{self, Bind, Dialect, Statement, bound};
use super::{Archive, Stay};
use crate::store::StoreError;
use crate::time::{Micros, now};

/// The most stays of one page.
pub const MAX_STAYS: usize = 10_000;
/// The newest events that are looked at for how many are in rooms, shared among these evenly: a list of rooms must not read years of coming and going.
const MOST_EVENTS: usize = 100_000;
/// Rooms that one statement looks at; SQLite joins 500 of its parts at most.
const ROOMS_AT_ONCE: usize = 200;

/// Which stays in a room; by default the first of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StayQuery {
    /// Those that lasted then or later.
    pub from: Option<Micros>,
    /// Those that had begun before then.
    pub before: Option<Micros>,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// At most so many, at most [`MAX_STAYS`].
    pub limit: usize,
}

impl Default for StayQuery {
    fn default() -> Self {
        Self { from: None, before: None, after: None, limit: MAX_STAYS }
    }
}

/// Stays in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StayPage {
    /// At most as many as were asked for.
    pub stays: Vec<Stay>,
    /// Where to go on, if there are more.
    pub next: Option<Cursor>,
}

/// How many are in a room, by what the archive knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Nicks: an occupant is known by one (XEP-0045 section 4.1), whatever the number of the programs that share it.
    pub occupants: i64,
    /// Whether all that is known of the room was looked at; else there are these at least.
    pub is_exact: bool,
}

/// A stay in a room.
#[derive(Debug, QueryableByName)]
struct StayRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    nick: String,
    #[diesel(sql_type = Nullable<Text>)]
    jid: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    resource: Option<String>,
    #[diesel(sql_type = BigInt)]
    joined_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    left_at: Option<i64>,
}

/// A room with who is in it.
#[derive(Debug, QueryableByName)]
struct OccupancyRow {
    #[diesel(sql_type = Integer)]
    room_id: i32,
    #[diesel(sql_type = BigInt)]
    occupants: i64,
    #[diesel(sql_type = BigInt)]
    events: i64,
}

impl StayRow {
    fn into_stay(self) -> Stay {
        Stay { nick: self.nick, jid: some(self.jid), resource: some(self.resource), joined_at: self.joined_at, left_at: self.left_at }
    }
}

impl Archive {
    /// Who was in a room at any time of a range. Whoever may see people and not the room is told of these people alone.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn stays(&self, room: &str, query: &StayQuery) -> Result<StayPage, StoreError> {
        let people = match &self.restriction.reach {
            Reach::Only { people, rooms } if !rooms.iter().any(|one| one == room) => Some(self.set(people).await?),
            Reach::Everybody | Reach::Only { .. } => None,
        };
        let Some(room) = self.jid(room).await? else { return Ok(StayPage::default()) };
        let slice = Slice { from: query.from, before: query.before }.and(self.seen());
        let limit = query.limit.clamp(1, MAX_STAYS);
        let mut rows: Vec<StayRow> = self.pool.load(stays(self.dialect(), room, people.as_ref(), slice, query.after, limit + 1)).await?;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(|row| Cursor::new(row.joined_at, row.id));
        Ok(StayPage { stays: rows.into_iter().map(StayRow::into_stay).collect(), next })
    }

    /// The same on all pages together: whoever takes a short time of a room wants all who were in it.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn every_stay(&self, room: &str, from: Option<Micros>, before: Option<Micros>) -> Result<Vec<Stay>, StoreError> {
        let mut query = StayQuery { from, before, ..StayQuery::default() };
        let mut all = Vec::new();
        loop {
            let page = self.stays(room, &query).await?;
            all.extend(page.stays);
            query.after = page.next;
            if query.after.is_none() {
                return Ok(all);
            }
        }
    }

    /// How many are in each of these rooms now. Whoever may see people and not the room is told how many of these people are in it; whoever may not
    /// see what is now is told of no room.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn occupancies(&self, rooms: &[String]) -> Result<HashMap<String, Occupancy>, StoreError> {
        let (seen, now) = (self.seen(), now());
        if rooms.is_empty() || seen.from.is_some_and(|from| from > now) || seen.before.is_some_and(|before| before <= now) {
            return Ok(HashMap::new());
        }
        let mut found: HashMap<String, Occupancy> =
            rooms.iter().map(|room| (room.clone(), Occupancy { occupants: 0, is_exact: true })).collect();
        let fence = match &self.restriction.reach {
            Reach::Everybody => None,
            Reach::Only { people, rooms } => Some((self.set(people).await?, rooms)),
        };
        for part in rooms.chunks(ROOMS_AT_ONCE) {
            let names: Vec<&str> = part.iter().map(String::as_str).collect();
            let mut known: Vec<NameRow> = self.pool.load(sql::jids(self.dialect(), &names)).await?;
            known.retain(|row| found.contains_key(&row.name));
            if known.is_empty() {
                continue;
            }
            let whole = |row: &&NameRow| fence.as_ref().is_some_and(|(_, rooms)| rooms.contains(&row.name));
            let whole: Vec<i32> = known.iter().filter(whole).map(|row| row.id).collect();
            let fence = fence.as_ref().map(|(people, _)| (people, whole.as_slice()));
            let ids: Vec<i32> = known.iter().map(|row| row.id).collect();
            let most = MOST_EVENTS / ids.len();
            let rows: Vec<OccupancyRow> = self.pool.load(occupancies(self.dialect(), &ids, fence, most)).await?;
            for row in rows {
                let name = known.iter().find(|known| known.id == row.room_id).map(|known| known.name.clone());
                let is_exact = usize::try_from(row.events).is_ok_and(|events| events < most);
                found.extend(name.map(|name| (name, Occupancy { occupants: row.occupants, is_exact })));
            }
        }
        Ok(found)
    }

    /// The time of which anything may be seen.
    fn seen(&self) -> Slice {
        Slice { from: self.restriction.from, before: self.restriction.to }
    }
}

/// A row for each stay, of some people or of all. What began before the place to go on at can't change where a later stay ends, so it is not read.
fn stays(dialect: Dialect, room: i32, people: Option<&JidSet>, slice: Slice, after: Option<Cursor>, limit: usize) -> Statement {
    let mut statement = Statement::new(
        dialect,
        "SELECT e.id, e.nick, j.jid, e.resource, e.at AS joined_at, e.next_at AS left_at FROM (SELECT o.id, o.nick, o.jid_id, o.resource, o.event, \
         o.at, LEAD(o.at) OVER (PARTITION BY o.nick, COALESCE(o.jid_id, 0), COALESCE(o.resource, '') ORDER BY o.at, o.id) AS next_at \
         FROM occupancy_events o WHERE o.room_id = ",
    );
    statement = bound(statement.bind(Bind::Int(room)), " AND o.at >= ", after.map(|after| after.sent_at));
    statement = statement.sql(") e LEFT JOIN jids j ON j.id = e.jid_id WHERE e.event = 1");
    if let Some(people) = people {
        statement = statement.sql(" AND e.jid_id ").among(people);
    }
    statement = bound(statement, " AND e.at < ", slice.before);
    if let Some(from) = slice.from {
        statement = statement.sql(" AND (e.next_at IS NULL OR e.next_at > ").bind(Bind::Big(from)).sql(")");
    }
    if let Some(after) = after {
        statement = statement.sql(" AND (e.at > ").bind(Bind::Big(after.sent_at)).sql(" OR e.id > ").bind(Bind::Big(after.id)).sql(")");
    }
    statement.sql(" ORDER BY e.at, e.id").limit(limit)
}

/// A row for each room of which any event is known, by the newest `most` of each. With a fence, only some people count in rooms that may not be seen as a whole.
fn occupancies(dialect: Dialect, rooms: &[i32], fence: Option<(&JidSet, &[i32])>, most: usize) -> Statement {
    let mut statement =
        Statement::new(dialect, "SELECT e.room_id, COUNT(*) AS events, COUNT(DISTINCT CASE WHEN e.place = 1 AND e.event = 1");
    if let Some((people, whole)) = fence {
        statement = statement.sql(" AND (e.room_id IN ").numbers(whole).sql(" OR e.jid_id ").among(people).sql(")");
    }
    statement = statement.sql(
        " THEN e.nick END) AS occupants FROM (SELECT o.room_id, o.nick, o.jid_id, o.event, ROW_NUMBER() OVER (PARTITION BY o.room_id, o.nick, \
         COALESCE(o.jid_id, 0), COALESCE(o.resource, '') ORDER BY o.at DESC, o.id DESC) AS place FROM (",
    );
    for (index, room) in rooms.iter().enumerate() {
        statement = statement.sql(if index > 0 { " UNION ALL " } else { "" });
        // Along the index on (room_id, at), from its end.
        statement = statement.sql(&format!(
            "SELECT * FROM (SELECT n.id, n.room_id, n.at, n.event, n.nick, n.jid_id, n.resource FROM occupancy_events n WHERE n.room_id = {room} \
             ORDER BY n.at DESC, n.id DESC LIMIT {most}) newest"
        ));
    }
    statement.sql(") o) e GROUP BY e.room_id")
}
