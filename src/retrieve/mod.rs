//! Reading the archive: one query type for the command line, for pages and for exports.
//!
//! An [`Archive`] answers a [`Query`] with a [`Page`]. The names in the query become numbers first; one statement (`sql`) then finds the
//! messages of the page, and three more what hangs on them. `text` makes words mean the same on every database, `slices` makes the
//! order of time cheap on the one that has no ordered index of it.

mod account;
mod amendments;
mod conditions;
mod context;
mod count;
mod engine;
mod found;
mod lists;
pub mod names;
mod occupancy;
mod people;
mod pool;
mod query;
mod redact;
mod resolve;
mod restriction;
mod row;
mod slices;
mod sources;
mod sql;
#[cfg(test)]
mod tests;
mod text;
pub mod vocabulary;

use std::collections::HashMap;

pub use account::{EachNumber, GapFound, Share};
pub use amendments::{AMENDMENTS, Amends, Change, MAX_NUMBERS, effective};
pub use context::{Context, MAX_AROUND, Receipts, Versions};
pub use count::{Count, EXACT_COUNT};
pub use engine::RANKED as MAX_RANKED;
#[cfg(test)]
pub(crate) use found::sample;
pub use found::{Bounce, Delivery, Found, StanzaId, Stay};
pub use lists::{Busy, DayCount, Room, RoomPage};
pub use occupancy::{MAX_STAYS, Occupancy, StayPage, StayQuery};
pub use people::{Pattern, People, Side};
pub use query::{
    Cursor, CursorError, ENCRYPTED_KIND, MAX_LATE, MAX_NAMED, MAX_PAGE, MAX_PARTICIPANTS, MAX_WORD_BYTES, MAX_WORDS, Order, Query, Rank,
};
pub use restriction::{Reach, Restriction};
pub(crate) use text::spans as parts;

use self::conditions::{Id, Scope};
use self::pool::Pool;
use self::row::{BounceRow, DeliveryRow, KeyRow, MessageRow, NameRow, NumberRow, VersionRow};
use self::slices::{Slice, Slices};
use self::sql::Dialect;
use crate::store::{Endpoint, StoreError, migrations};

/// The most conversations of one person that are told.
pub const MAX_CONVERSATIONS: usize = 1_000;

/// A store, for reading. Clones share its connections.
#[derive(Clone)]
pub struct Archive {
    pool: Pool,
    restriction: Restriction,
    tuning: Tuning,
}

/// How a search goes about it; what it finds does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Messages that are read in the order of time before the database's full text is asked.
    pub walk: usize,
    /// Places that are asked of the index at first.
    pub chunk: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { walk: engine::WALK_ROWS, chunk: engine::FIRST_CHUNK }
    }
}

/// Messages in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most as many as the query's limit.
    pub messages: Vec<Found>,
    /// Where to go on, if there are more.
    pub next: Option<Cursor>,
    /// Whether more fit than are put in order where what fits best comes first: then only the newest [`MAX_RANKED`] are.
    pub is_cut: bool,
}

impl Archive {
    /// Opens a store with at most `pool_size` connections.
    ///
    /// # Errors
    /// When the store can't be reached, a SQLite file is not there or none, or the tables are not those of this version. While they are
    /// being made, they would answer that nothing was ever said.
    pub async fn open(endpoint: &Endpoint, pool_size: u32) -> Result<Self, StoreError> {
        let pool = Pool::open(endpoint, pool_size).await?;
        let versions: Vec<VersionRow> = pool.load(sql::versions(pool.dialect())).await?;
        let versions: Vec<String> = versions.into_iter().map(|row| row.version).collect();
        migrations::require_all(pool.dialect().into(), &versions)?;
        Ok(Self { pool, restriction: Restriction::default(), tuning: Tuning::default() })
    }

    /// The same store for somebody who may see only this part of it, whatever they ask.
    #[must_use]
    pub fn restricted(&self, restriction: Restriction) -> Self {
        Self { restriction, ..self.clone() }
    }

    /// Whether only a part of the store may be seen.
    pub fn is_restricted(&self) -> bool {
        !self.restriction.is_none()
    }

    /// The same store, searched in another way.
    #[must_use]
    pub fn tuned(&self, tuning: Tuning) -> Self {
        Self { tuning, ..self.clone() }
    }

    /// The messages that a query asks for.
    ///
    /// # Errors
    /// When the store can't be reached, is not migrated, or the query exceeds a limit ([`Query::check`]).
    pub async fn search(&self, query: &Query) -> Result<Page, StoreError> {
        query.check().map_err(|mistake| StoreError::Refused(format!("the query {mistake}")))?;
        let Some(mut scope) = self.scope(query).await? else { return Ok(Page::default()) };
        let mut page = self.page(query, &scope).await?;
        if let (Some(Id::Number(_)), Some(id), true) = (&scope.id, &query.id, page.messages.is_empty()) {
            // Clients count, and servers take the time: a number may be the id of a stanza just as well.
            scope.id = Some(self.stanza_id(id).await?);
            page = self.page(query, &scope).await?;
        }
        self.complete(&mut page.messages).await?;
        Ok(page)
    }

    async fn page(&self, query: &Query, scope: &Scope) -> Result<Page, StoreError> {
        let limit = query.limit.clamp(1, MAX_PAGE);
        match query.by_relevance {
            true => self.best(query, scope, limit).await,
            false => Ok(cut(self.collect(query, scope, limit).await?, limit)),
        }
    }

    /// Those of these names that no node of the store ever had.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn unknown_nodes(&self, names: &[String]) -> Result<Vec<String>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let known: Vec<NameRow> = self.pool.load(sql::nodes(self.dialect())).await?;
        Ok(names.iter().filter(|name| known.iter().all(|node| node.name != **name)).cloned().collect())
    }

    /// Whether there is a conversation of this name.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn has_conversation(&self, name: &str) -> Result<bool, StoreError> {
        let Some(id) = self.conversation(name).await? else { return Ok(false) };
        Ok(self.restriction.is_none() || self.sees_any_of(id).await?)
    }

    /// The names of the conversations that a bare JID is an end of, the first [`MAX_CONVERSATIONS`].
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn conversations_of(&self, jid: &str) -> Result<Vec<String>, StoreError> {
        let Some(person) = self.jid(jid).await? else { return Ok(Vec::new()) };
        let rows: Vec<NameRow> = self.pool.load(sql::conversations_of(self.dialect(), person, MAX_CONVERSATIONS)).await?;
        let mut names = Vec::new();
        for row in rows {
            if self.restriction.is_none() || self.sees_any_of(row.id).await? {
                names.push(row.name);
            }
        }
        Ok(names)
    }

    fn dialect(&self) -> Dialect {
        self.pool.dialect()
    }

    /// How the range of time is read: at once where an index gives its order.
    async fn slices(&self, query: &Query, scope: &Scope) -> Result<Slices, StoreError> {
        let whole = Slice { from: query.from, before: query.to };
        let is_narrow = !scope.conversations.is_empty() || scope.id.is_some() || !scope.refers_to.is_empty();
        if self.dialect() != Dialect::Postgres || is_narrow {
            return Ok(Slices::whole(whole));
        }
        let (whole, begin) = match (query.after, query.order) {
            (Some(after), Order::Ascending) => (whole.and(Slice { from: Some(after.sent_at), before: None }), None),
            (Some(after), Order::Descending) => (whole.and(Slice { from: None, before: after.sent_at.checked_add(1) }), None),
            (None, Order::Ascending) => (whole, Some(query.from)),
            (None, Order::Descending) => (whole, Some(query.to)),
        };
        let pivot = match begin {
            Some(None) => {
                let rows: Vec<NumberRow> = self.pool.load(sql::pivot(self.dialect(), query.order)).await?;
                rows.first().map_or(0, |row| row.number)
            }
            _ => 0,
        };
        Ok(Slices::growing(whole, query.order, pivot))
    }

    /// Adds copies, stanza-ids and bounces.
    async fn complete(&self, messages: &mut [Found]) -> Result<(), StoreError> {
        let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut places: HashMap<i64, &mut Found> = messages.iter_mut().map(|message| (message.id, message)).collect();
        let deliveries: Vec<DeliveryRow> = self.pool.load(sql::deliveries(self.dialect(), &ids)).await?;
        for row in deliveries {
            if let Some(message) = places.get_mut(&row.message_id) {
                message.deliveries.push(row.into_delivery());
            }
        }
        places.values_mut().for_each(|message| message.name_recipient());
        let keys: Vec<KeyRow> = self.pool.load(sql::keys(self.dialect(), &ids)).await?;
        for row in keys {
            if let Some(message) = places.get_mut(&row.message_id) {
                message.stanza_ids.push(StanzaId { by: row.given_by, id: row.value });
            }
        }
        let bounces: Vec<BounceRow> = self.pool.load(sql::bounces(self.dialect(), &ids)).await?;
        for row in bounces {
            if let Some(message) = places.get_mut(&row.message_id) {
                message.bounces.push(row.into_bounce());
            }
        }
        Ok(())
    }
}

/// The first `limit` rows as a page; one row more than that shows that it is not the last.
fn cut(mut rows: Vec<MessageRow>, limit: usize) -> Page {
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(row::Placed::cursor).filter(|_| has_more);
    Page { messages: rows.into_iter().map(MessageRow::into_found).collect(), next, is_cut: false }
}
