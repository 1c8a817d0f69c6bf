//! Whether messages of another archive are here: decided as a backfill would, and nothing is written.
//!
//! The same look-ups and the same [`Identity`] as the writer's, without its lock and its transaction: rows are only ever added, so there is nothing
//! that could change under the reader. A message that is not here gets a number of its own, beyond all that are in use, and is remembered as if it
//! had been stored: other archives that hold it, too, tell of the same one.

use std::collections::{HashMap, HashSet};

use diesel::QueryResult;
use diesel::prelude::*;

use super::batch::{Entry, Item};
use super::derive::{conversation_of, message_jids, queue_key};
use super::dictionary::Dictionary;
use super::feeds::Feeds;
use super::queries::{MAX_IN, Queries};
use super::schema::messages;
use super::statement::run;
use super::{Connection, StoreError, lookup, on_connection};
use crate::identity::keys::{Key, Keyring};
use crate::identity::{Channel, Identity, Keyed, Known};
use crate::message::Message;
use crate::time::Micros;

/// The numbers of messages that are not here begin with this one.
pub const FIRST_MISSING: i64 = 1 << 62;
/// Most of them that are remembered (about 600 bytes each).
pub const MAX_MISSING: usize = 50_000;

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its message is here.
    Here {
        /// `messages.id`.
        id: i64,
        /// `messages.sent_at`, where the message is of the node that was asked for.
        said_at: Option<Micros>,
    },
    /// Its message is not here.
    Missing {
        /// From [`FIRST_MISSING`] on; the same for all items of one message.
        id: i64,
    },
    /// A backfill would not archive it.
    LeftOut,
    /// Nobody can read it.
    Unreadable {
        /// Whether it stands in the quarantine, or stood there.
        is_set_aside: bool,
    },
}

/// Looks messages up.
pub struct Finder {
    connection: Connection,
    identity: Identity,
    dictionary: Dictionary,
    feeds: Feeds,
    next: i64,
    missing: HashMap<u64, Vec<(Known, Vec<Key>)>>,
    remembered: usize,
}

/// A message with its keys, and its place among the items.
type Wanted<'e> = (usize, &'e Message, Keyed);

impl Finder {
    /// A finder on an open, migrated database.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn new(mut connection: Connection, join_window: Micros) -> Result<Self, StoreError> {
        let (secret, feeds) = on_connection!(&mut connection, db => {
            (db.setting("hash_secret").await.map_err(|error| StoreError::of(&error))?, Feeds::read(db).await.map_err(|error| StoreError::of(&error))?)
        });
        let secret: [u8; 16] = secret
            .and_then(|secret| secret.try_into().ok())
            .ok_or_else(|| StoreError::Schema("the setting hash_secret is missing: run `xmpp-archiver migrate`".to_owned()))?;
        Ok(Self {
            connection,
            identity: Identity::new(Keyring::new(secret), join_window),
            dictionary: Dictionary::default(),
            feeds,
            next: FIRST_MISSING,
            missing: HashMap::new(),
            remembered: 0,
        })
    }

    /// The connection, for what else is asked.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Whether more were missing than could be remembered.
    pub fn is_rough(&self) -> bool {
        self.remembered >= MAX_MISSING
    }

    /// What became of each of these items of a node.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn find(&mut self, node: &str, entries: &[Entry]) -> Result<Vec<Fate>, StoreError> {
        self.try_find(node, entries).await.map_err(|error| StoreError::of(&error))
    }

    async fn try_find(&mut self, node: &str, entries: &[Entry]) -> QueryResult<Vec<Fate>> {
        let mut fates = vec![Fate::LeftOut; entries.len()];
        let wanted = self.look_up(entries).await?;
        for (index, message, keyed) in &wanted {
            if let Some(fate) = fates.get_mut(*index) {
                *fate = self.decide(message, keyed);
            }
        }
        let here = |fate: &Fate| if let Fate::Here { id, .. } = fate { Some(*id) } else { None };
        let said = self.said(node, fates.iter().filter_map(here).collect()).await?;
        for (fate, entry) in fates.iter_mut().zip(entries) {
            match fate {
                Fate::Here { id, said_at } => *said_at = said.get(id).copied(),
                _ if matches!(entry.item, Item::Unreadable(_)) => {
                    *fate = Fate::Unreadable { is_set_aside: self.is_set_aside(entry).await? }
                }
                _ => {}
            }
        }
        Ok(fates)
    }

    /// The messages in the order in which they are to be decided on, with all that may be the same in memory.
    async fn look_up<'e>(&mut self, entries: &'e [Entry]) -> QueryResult<Vec<Wanted<'e>>> {
        self.identity.make_room();
        let (mut content, mut exact, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            let Item::Message(message) = &entry.item else { continue };
            let keyed = self.key(message, entry);
            self.remind(&keyed);
            self.identity.wanted(message, &keyed, &mut content, &mut exact);
            wanted.push((index, &**message, keyed));
        }
        let subjects = self.subjects(&wanted).await?;
        let (identity, feeds) = (&mut self.identity, &self.feeds);
        on_connection!(&mut self.connection, db => lookup::known(db, identity, feeds, content, exact, subjects).await)?;
        wanted.sort_by_cached_key(|(_, message, keyed)| self.identity.distance(message, keyed).unwrap_or(Micros::MAX));
        Ok(wanted)
    }

    /// The conversations of subjects that a room may have sent to whoever joined.
    async fn subjects(&mut self, wanted: &[Wanted<'_>]) -> QueryResult<Vec<i32>> {
        let on_join: Vec<&Message> = wanted.iter().map(|(_, message, _)| *message).filter(|message| message.is_subject_on_join()).collect();
        if on_join.is_empty() {
            return Ok(Vec::new());
        }
        let dictionary = &mut self.dictionary;
        let conversations: Vec<_> = on_join.iter().map(|message| conversation_of(message)).collect();
        let jids: Vec<String> = on_join.iter().flat_map(|message| message_jids(message)).collect();
        on_connection!(&mut self.connection, db => {
            dictionary.know_jids(db, jids).await?;
            dictionary.know_conversations(db, &conversations).await?;
        });
        Ok(conversations.iter().filter_map(|conversation| self.dictionary.conversation(conversation)).collect())
    }

    /// Of history neither channels nor feeds are counted.
    fn key(&self, message: &Message, entry: &Entry) -> Keyed {
        let keyring = self.identity.keyring();
        let exact = message.exact_ids.iter().map(|id| keyring.exact(id)).collect();
        Keyed { hash: keyring.content(message), exact, channel: Channel(0), shape: entry.shape, feed: None, step: None }
    }

    /// Puts back into memory what is known to be missing, if it was forgotten there.
    fn remind(&mut self, keyed: &Keyed) {
        let group = self.missing.get(&keyed.hash).map(Vec::as_slice).unwrap_or_default();
        if group.last().is_some_and(|(last, _)| !self.identity.remembers(last.hash, last.id)) {
            for (known, exact) in group {
                self.identity.found(known.clone(), exact.iter().copied());
            }
        }
    }

    fn decide(&mut self, message: &Message, keyed: &Keyed) -> Fate {
        let verdict = self.identity.decide(message, keyed, self.next);
        let id = verdict.message_id;
        if id < FIRST_MISSING {
            return Fate::Here { id, said_at: None };
        }
        if verdict.is_new {
            self.next += 1;
        }
        let known = self.identity.known(&verdict, keyed).cloned();
        let group = self.missing.entry(keyed.hash).or_default();
        let place = group.binary_search_by_key(&id, |(one, _)| one.id);
        match (place.ok().and_then(|index| group.get_mut(index)), known) {
            (Some((one, exact)), Some(known)) => {
                *one = known;
                exact.extend(&keyed.exact);
            }
            (None, Some(known)) if self.remembered < MAX_MISSING && verdict.is_new => {
                group.push((known, keyed.exact.clone()));
                self.remembered += 1;
            }
            _ => {}
        }
        Fate::Missing { id }
    }

    /// When these messages were said, as far as they are of the node.
    async fn said(&mut self, node: &str, ids: HashSet<i64>) -> QueryResult<HashMap<i64, Micros>> {
        let ids: Vec<i64> = ids.into_iter().collect();
        let of_node = self.node(node).await?;
        let mut said = HashMap::new();
        for part in ids.chunks(MAX_IN) {
            let query = messages::table.filter(messages::id.eq_any(part).and(messages::node_id.eq(of_node)));
            let rows: Vec<(i64, i64)> = run!(&mut self.connection, load, query.select((messages::id, messages::sent_at)))?;
            said.extend(rows);
        }
        Ok(said)
    }

    /// The node's number; 0, which no node has, if nothing was ever stored of it.
    async fn node(&mut self, name: &str) -> QueryResult<i16> {
        let rows = on_connection!(&mut self.connection, db => db.node_rows().await)?;
        Ok(rows.into_iter().find(|row| row.name == name).map_or(0, |row| row.id))
    }

    /// The number of messages of a node that were said in each of these intervals.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn count(&mut self, node: &str, from: Micros, to: Micros) -> Result<u64, StoreError> {
        let counted = async {
            let of_node = self.node(node).await?;
            let said = messages::sent_at.ge(from).and(messages::sent_at.lt(to));
            let count: i64 =
                run!(&mut self.connection, get_result, messages::table.filter(said.and(messages::node_id.eq(of_node))).count())?;
            QueryResult::Ok(u64::try_from(count).unwrap_or(0))
        };
        counted.await.map_err(|error| StoreError::of(&error))
    }

    async fn is_set_aside(&mut self, entry: &Entry) -> QueryResult<bool> {
        let Some(queued) = &entry.queued else { return Ok(false) };
        let key = queue_key(self.identity.keyring(), &entry.node, &queued.epoch);
        Ok(on_connection!(&mut self.connection, db => db.progress(&key).await)?.is_some())
    }
}
