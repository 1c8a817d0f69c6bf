//! From decided copies to rows, one transaction a batch.
//!
//! The order inside the transaction: exclude other writers; forget what another one may have changed; leave out what this
//! spool has stored before; number the names; look up what might be the same message; decide copy by copy; insert; move the
//! spool's position; commit. When any of it fails everything is rolled back and forgotten, and the same batch can be given again.

mod foreseeing;
mod looking;
mod rooms;

use std::collections::HashMap;
use std::sync::Weak;

use diesel::QueryResult;

use super::account::Account;
use super::batch::{Committed, Entry, Item};
use super::codec::{Columns, Packer};
use super::derive::{bounced_conversations, columns, conversation_of, counted_as, may_change, queue_key, route, source_number, token, via};
use super::dictionary::Dictionary;
use super::feeds::{self, Feeds};
use super::foresight::{Foreseen, Since};
use super::insertion::Batch;
use super::overlap::{CALM_BATCHES, Overlap, identity_of};
use super::queries::{LastIds, Queries};
use super::queues::{Position, Queues};
use super::references::References;
use super::rows::*;
use super::{Connection, StoreError, ahead, lookup, on_connection, quarantine};
use crate::canary;
use crate::gap::{Gap, Reason};
use crate::identity::keys::{self, Keyring};
use crate::identity::{Identity, Keyed, News, Verdict};
use crate::message::address::Address;
use crate::message::content::flags;
use crate::message::rooms::Event;
use crate::message::{Bounce, ExactId, Message};
use crate::tally::State;
use crate::time::Micros;

/// Most rooms remembered as seen.
const MAX_ROOMS: usize = 50_000;

/// Why a record was skipped that not even the quarantine takes.
pub const SET_ASIDE_IN_FILE: &str = "set aside in a file";
/// Why a stanza over the size limit is counted as lost.
pub const OVERSIZE: &str = "over the size limit";

/// Writes to one database. There may be any number of writers, in any number of processes.
pub struct Writer {
    pub(super) connection: Connection,
    pub(super) memory: Memory,
    pub(super) overlap: Option<Overlap>,
    /// How many batches go one by one before they may overlap again.
    pub(super) calm: u32,
    /// How many batches pass before further connections are tried again; more with each attempt in vain.
    pub(super) pause: u32,
    /// Which server this is.
    pub(super) server: String,
}

/// What a writer remembers between batches; all of it can be read again from the database.
pub(super) struct Memory {
    /// Tells this writer from all others.
    token: Vec<u8>,
    /// Whether the rest is what the database says.
    is_current: bool,
    /// Whether no other writer came between this transaction and the one before it.
    was_alone: bool,
    identity: Identity,
    dictionary: Dictionary,
    references: References,
    feeds: Feeds,
    /// Rooms that are in the database, or will be with the batch of this number.
    rooms: HashMap<i32, u64>,
    last: LastIds,
    /// The number of the batch that is being decided.
    batch: u64,
    /// What is stored.
    stored: Since,
    /// Since when nothing is forgotten: what is stored, or what was when the oldest answers were asked for that are still to be used.
    horizon: Since,
    /// The moments at which answers were asked for that may still be used, the oldest first. Others are worth nothing.
    asked: Vec<Weak<Since>>,
    /// What was asked for the batch that is being decided, before it was its turn.
    foreseen: Foreseen,
    progress: HashMap<Vec<u8>, i64>,
    queues: Queues,
    packer: Packer,
}

impl Writer {
    /// A writer on an open, migrated database. `join_window` is how far apart copies of one message may be.
    ///
    /// # Errors
    /// When the database lacks the store's secret, that is when it was not migrated.
    pub async fn new(mut connection: Connection, join_window: Micros) -> Result<Self, StoreError> {
        connection.go_by_indexes().await.map_err(|error| StoreError::of(&error))?;
        let secret = on_connection!(&mut connection, db => db.setting("hash_secret").await).map_err(|error| StoreError::of(&error))?;
        let secret: [u8; 16] = secret
            .and_then(|secret| secret.try_into().ok())
            .ok_or_else(|| StoreError::Schema("the setting hash_secret is missing: run `xmpp-archiver migrate`".to_owned()))?;
        let memory = Memory {
            token: token(),
            is_current: false,
            was_alone: true,
            identity: Identity::new(Keyring::new(secret), join_window),
            dictionary: Dictionary::default(),
            references: References::default(),
            feeds: Feeds::default(),
            rooms: HashMap::new(),
            last: LastIds::default(),
            batch: 0,
            stored: Since::default(),
            horizon: Since::default(),
            asked: Vec::new(),
            foreseen: Foreseen::default(),
            progress: HashMap::new(),
            queues: Queues::default(),
            packer: Packer::default(),
        };
        let server = identity_of(&mut connection).await?;
        Ok(Self { connection, server, memory, overlap: None, calm: 0, pause: CALM_BATCHES })
    }

    /// Stores a batch; `next_seq` is the spool's position after it. Nothing may be on its way (see [`Writer::submit`]).
    ///
    /// # Errors
    /// Nothing of the batch is stored then, and it can be given again.
    pub async fn commit(&mut self, entries: &[Entry], spool_id: &[u8], next_seq: u64) -> Result<Committed, StoreError> {
        let memory = &mut self.memory;
        memory.was_alone = true;
        let stored = on_connection!(&mut self.connection, db => {
            let outcome = memory.store(db, entries, spool_id, next_seq as i64).await;
            if outcome.is_err() {
                db.rollback().await;
                memory.forget();
            }
            outcome.map_err(|error| StoreError::of(&error))
        });
        self.calm = if self.memory.was_alone { self.calm.saturating_sub(1) } else { CALM_BATCHES };
        stored
    }

    /// What [`Writer::commit`] would do; nothing is stored. What was tried before is remembered, so that two copies count as one message.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn try_out(&mut self, entries: &[Entry]) -> Result<Committed, StoreError> {
        let memory = &mut self.memory;
        on_connection!(&mut self.connection, db => {
            let outcome = memory.try_out(db, entries).await;
            db.rollback().await;
            outcome.map_err(|error| StoreError::of(&error))
        })
    }

    /// Sets one record aside that the database refuses.
    ///
    /// # Errors
    /// When even that is refused.
    pub async fn set_aside(&mut self, entry: &Entry, why: &str, spool_id: &[u8]) -> Result<Committed, StoreError> {
        let unreadable = Entry { item: Item::Unreadable(why.to_owned()), ..entry.clone() };
        self.commit(std::slice::from_ref(&unreadable), spool_id, entry.seq + 1).await
    }

    /// The position up to which the database has this spool.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn progress(&mut self, spool_id: &[u8]) -> Result<u64, StoreError> {
        let next = on_connection!(&mut self.connection, db => db.progress(spool_id).await).map_err(|error| StoreError::of(&error))?;
        Ok(next.unwrap_or(0) as u64)
    }

    /// Who is in which room, as far as the database knows, as `(room, nick, JID)`.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn occupants(&mut self) -> Result<Vec<(String, String, Option<crate::message::address::Address>)>, StoreError> {
        on_connection!(&mut self.connection, db => lookup::occupants(db).await).map_err(|error| StoreError::of(&error))
    }

    /// The connection, for what is not writing messages.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Memory {
    pub(super) fn token(&self) -> &[u8] {
        &self.token
    }

    pub(super) fn keyring(&self) -> &Keyring {
        self.identity.keyring()
    }

    pub(super) fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    /// Whether these records can be decided ahead, see [`ahead::is_possible`]. Where a node has several feeds, errors, joins and leaves are compared with
    /// those written a moment ago, and so is a feed that is new.
    pub(super) fn can_decide_ahead(&self, entries: &[Entry]) -> bool {
        let is_plain = |entry: &Entry| match &entry.item {
            Item::Message(_) => entry.same_as.is_none() || self.feeds.contains(self.dictionary.node(entry.itself())),
            Item::Bounce(_) | Item::Occupancy(_) => entry.same_as.is_none() && !self.feeds.contains(self.dictionary.node(&entry.node)),
            _ => entry.same_as.is_none(),
        };
        self.is_current && ahead::is_possible(entries) && entries.iter().all(is_plain)
    }

    pub(super) fn keep(&mut self, most: usize) {
        self.identity.keep(most);
        self.references.keep(most);
    }

    pub(super) fn is_current(&self) -> bool {
        self.is_current
    }

    /// The spool's position after everything that is decided.
    pub(super) fn position_of(&self, spool_id: &[u8]) -> Option<i64> {
        self.progress.get(spool_id).copied()
    }

    /// The batch that was decided last, and the ids in use after it.
    pub(super) fn decided(&self) -> (u64, LastIds) {
        (self.batch, self.last)
    }

    /// What is on its way and was given up may still arrive: by its token it is another writer's from now on.
    pub(super) fn forget(&mut self) {
        self.token = token();
        self.is_current = false;
        self.identity.forget_step_beyond(self.stored.ids.message);
        self.asked.clear();
        self.foreseen = Foreseen::default();
        self.identity.forget();
        self.dictionary.forget();
        self.references.forget();
        self.rooms.clear();
        self.progress.clear();
        self.queues.forget();
    }

    async fn store<Q: Queries>(&mut self, db: &mut Q, entries: &[Entry], spool_id: &[u8], next_seq: i64) -> QueryResult<Committed> {
        let last_writer = db.begin().await?;
        self.was_alone = last_writer == self.token || !self.is_current;
        if last_writer != self.token || !self.is_current {
            self.forget();
            self.last = db.last_ids().await?;
            self.stored = Since { batch: self.batch, ids: self.last };
            self.feeds = Feeds::read(db).await?;
            db.set("writer", &self.token).await?;
            self.is_current = true;
        }
        let committed = self.fill(db, entries, spool_id, next_seq).await?;
        db.commit().await?;
        self.is_stored(self.batch, self.last);
        Ok(committed)
    }

    /// The batch of this number is in the database.
    pub(super) fn is_stored(&mut self, batch: u64, ids: LastIds) {
        self.stored = Since { batch, ids };
    }

    /// A batch begins: makes room, but forgets nothing that is decided and not stored, or was not when answers were asked for that are to be used.
    fn begin(&mut self) {
        self.batch += 1;
        self.asked.retain(|since| since.strong_count() > 0);
        self.horizon = self.asked.iter().find_map(Weak::upgrade).map_or(self.stored, |since| *since);
        let Since { batch: stored, ids } = self.horizon;
        self.identity.begin(self.batch, stored);
        self.references.begin(self.batch, stored);
        self.dictionary.make_room(&ids);
        if self.rooms.len() > MAX_ROOMS {
            self.rooms.retain(|_, told| *told > stored);
        }
    }

    /// Everything that a transaction does between its begin and its commit. What was foreseen is used up.
    pub(super) async fn fill<Q: Queries>(
        &mut self,
        db: &mut Q,
        entries: &[Entry],
        spool_id: &[u8],
        next_seq: i64,
    ) -> QueryResult<Committed> {
        self.begin();
        let stored_before = self.position(db, spool_id).await?;
        let mut batch = Batch { spool_id: spool_id.to_vec(), ..Batch::default() };
        let fresh = self.fresh(db, entries, stored_before.unwrap_or(0), &mut batch).await?;
        self.number_names(db, &fresh, &batch.account).await?;
        self.know_feeds(db, &fresh).await?;
        for (entry, keyed) in self.look_up(db, &fresh).await? {
            self.decide(db, entry, keyed, &mut batch).await?;
        }
        let account = std::mem::take(&mut batch.account);
        let mut committed = batch.insert(db).await?;
        committed.gaps = account.store(db, &self.dictionary, &mut self.last).await?;
        if stored_before.is_none_or(|before| before < next_seq) {
            db.set_progress(spool_id, next_seq, stored_before.is_some()).await?;
            self.progress.insert(spool_id.to_vec(), next_seq);
        }
        self.foreseen = Foreseen::default();
        Ok(committed)
    }

    /// As [`Memory::store`], up to where rows would be inserted.
    async fn try_out<Q: Queries>(&mut self, db: &mut Q, entries: &[Entry]) -> QueryResult<Committed> {
        db.begin().await?;
        // What was tried is never stored, and may be forgotten like what is.
        self.stored = Since { batch: self.batch, ids: db.last_ids().await? };
        // Others may have taken numbers since; those of earlier attempts are remembered and stand for nothing.
        self.last = self.last.later_of(&self.stored.ids);
        self.begin();
        let mut batch = Batch::default();
        let fresh: Vec<&Entry> = entries.iter().collect();
        self.number_names(db, &fresh, &batch.account).await?;
        for (entry, keyed) in self.look_up(db, &fresh).await? {
            self.decide(db, entry, keyed, &mut batch).await?;
        }
        Ok(Committed { messages: batch.messages.len() as u64, quarantined: batch.quarantine.len() as u64, ..batch.committed })
    }

    async fn position<Q: Queries>(&mut self, db: &mut Q, key: &[u8]) -> QueryResult<Option<i64>> {
        if let Some(next) = self.progress.get(key) {
            return Ok(Some(*next));
        }
        let next = db.progress(key).await?;
        self.progress.extend(next.map(|next| (key.to_vec(), next)));
        Ok(next)
    }

    /// Leaves out what was stored before: by this spool's position, and by the position in the node's own queue.
    async fn fresh<'e, Q: Queries>(
        &mut self,
        db: &mut Q,
        entries: &'e [Entry],
        stored: i64,
        batch: &mut Batch,
    ) -> QueryResult<Vec<&'e Entry>> {
        let mut fresh = Vec::with_capacity(entries.len());
        let mut queues: HashMap<Vec<u8>, Position> = HashMap::new();
        for entry in entries {
            if (entry.seq as i64) < stored {
                batch.committed.repeated += 1;
                continue;
            }
            if let Some(queued) = &entry.queued {
                let key = queue_key(self.identity.keyring(), &entry.node, &queued.epoch);
                if !queues.contains_key(&key) {
                    let before = self.position(db, &key).await?;
                    queues.insert(key.clone(), Position::of(before));
                }
                let Some(position) = queues.get_mut(&key) else { continue };
                if !self.queues.pass(db, entry, queued, position, &mut batch.account).await? {
                    batch.committed.repeated += 1;
                    batch.account.repeated(entry);
                    continue;
                }
            }
            fresh.push(entry);
        }
        for (key, Position { next, exists, .. }) in queues {
            db.set_progress(&key, next, exists).await?;
            self.progress.insert(key, next);
        }
        self.queues.store(db).await?;
        Ok(fresh)
    }

    async fn decide<Q: Queries>(&mut self, db: &mut Q, entry: &Entry, keyed: Option<Keyed>, batch: &mut Batch) -> QueryResult<()> {
        let node = self.dictionary.node(&entry.node);
        let (state, reason) = match (&entry.item, keyed) {
            (Item::Message(message), Some(keyed)) => (self.message(db, entry, message, &keyed, batch).await?, ""),
            (Item::Bounce(bounce), _) => (self.bounce(db, entry, bounce, batch).await?, ""),
            (Item::Occupancy(events), _) => (self.occupancy(db, entry, events, batch).await?, "who is in a room"),
            (Item::RoomKind { room, persistent }, _) => {
                self.room_kind(db, room, *persistent, entry.arrived_at, batch).await?;
                (State::Skipped, crate::intake::ROOM_KIND)
            }
            (Item::Canary(_), _) => {
                *batch.committed.skipped.entry(canary::SKIPPED).or_default() += 1;
                (State::Skipped, canary::SKIPPED)
            }
            (Item::Skipped(reason), _) => {
                *batch.committed.skipped.entry(reason).or_default() += 1;
                (counted_as(reason), *reason)
            }
            (Item::Unreadable(why), _) => (self.set_aside(entry, why, Reason::Quarantined, batch), ""),
            (Item::Oversize(why), _) => (self.set_aside(entry, why, Reason::Oversize, batch), OVERSIZE),
            (Item::Gap(gap), _) => {
                batch.account.missed(&entry.node, gap.clone(), entry.arrived_at);
                return Ok(());
            }
            (Item::Tally(counts), _) => {
                batch.account.count_all(node, counts);
                return Ok(());
            }
            (Item::Message(_), None) => return Ok(()),
        };
        batch.account.count(node, entry, state, reason);
        Ok(())
    }

    /// Into quarantine, and on record as a gap until it is stored after all.
    fn set_aside(&mut self, entry: &Entry, why: &str, reason: Reason, batch: &mut Batch) -> State {
        let row = self.quarantine(entry, why, &batch.spool_id);
        let at = Some(entry.arrived_at);
        let gap = Gap { from: at, to: at, reason, lost: Some(1), detail: quarantine::detail(row.id) };
        batch.account.missed(&entry.node, gap, entry.arrived_at);
        batch.quarantine.push(row);
        if reason == Reason::Oversize { State::Lost } else { State::Quarantined }
    }

    async fn message<Q: Queries>(
        &mut self,
        db: &mut Q,
        entry: &Entry,
        message: &Message,
        keyed: &Keyed,
        batch: &mut Batch,
    ) -> QueryResult<State> {
        let verdict = self.identity.decide(message, keyed, self.last.message + 1);
        let conversation = conversation_of(message);
        let conversation_id = self.dictionary.conversation(&conversation).unwrap_or_default();
        if let Some(room) = &message.room {
            self.see_room(room, message.said_at(), 0, batch);
        }
        if verdict.is_new {
            self.last.message += 1;
            let row = self.message_row(entry, message, keyed, &verdict, conversation_id);
            batch.messages.push(row);
        } else {
            batch.committed.known += 1;
            self.name_people(db, message, &verdict, batch).await?;
        }
        let sender_id = message.sender.as_ref().and_then(|sender| self.dictionary.jid(&sender.bare));
        self.references.note(self.identity.keyring(), conversation_id, message, verdict.message_id, sender_id);
        for id in &verdict.new_ids {
            batch.keys.push(self.key_row(id, verdict.message_id));
        }
        batch.sightings.extend(feeds::sighting(entry, &verdict, self.dictionary.node(&entry.node)));
        if verdict.adds_copy {
            batch.deliveries.push(self.delivery_row(entry, message, &verdict));
        }
        Ok(match (verdict.is_new, message.is_replay()) {
            (true, _) => State::Archived,
            _ if !verdict.adds_copy => State::Repeated,
            (false, false) => State::Duplicate,
            (false, true) => State::Replayed,
        })
    }

    /// Fills in who wrote a message and whom it is for, where the copies before this one did not say.
    async fn name_people<Q: Queries>(&self, db: &mut Q, message: &Message, verdict: &Verdict, batch: &mut Batch) -> QueryResult<()> {
        if verdict.news == News::default() {
            return Ok(());
        }
        let address = |is_news: bool, address: &Option<Address>| {
            let address = address.as_ref().filter(|_| is_news)?;
            Some(Named { id: self.dictionary.jid(&address.bare)?, resource: address.resource.clone() })
        };
        let nick = |is_news: bool, nick: &Option<String>| nick.clone().filter(|_| is_news);
        let people = People {
            sender: address(verdict.news.sender, &message.sender),
            sender_nick: nick(verdict.news.sender_nick, &message.sender_nick),
            recipient: address(verdict.news.recipient, &message.recipient),
            recipient_nick: nick(verdict.news.recipient_nick, &message.recipient_nick),
        };
        match batch.messages.binary_search_by_key(&verdict.message_id, |row| row.id).ok().and_then(|index| batch.messages.get_mut(index)) {
            Some(row) => row.name(people),
            None => {
                batch.late.push(verdict.message_id);
                db.name_people(verdict.message_id, people).await?;
            }
        }
        Ok(())
    }

    fn message_row(&mut self, entry: &Entry, message: &Message, keyed: &Keyed, verdict: &Verdict, conversation_id: i32) -> MessageRow {
        let jid = |address: &crate::message::address::Address| self.dictionary.jid(&address.bare);
        let sender_id = message.sender.as_ref().and_then(jid);
        let recipient_id = message.recipient.as_ref().and_then(jid);
        let content = &message.content;
        let reference = content.refers_to_id.as_ref().and_then(|id| self.references.find(self.identity.keyring(), conversation_id, id));
        let mut bits = content.flags;
        if reference.as_ref().is_some_and(|reference| !may_change(message, sender_id, reference)) {
            bits |= flags::AUTHOR_MISMATCH;
        }
        let same_origin = message.origin_id.is_some() && message.origin_id == message.id;
        if same_origin {
            bits |= flags::ORIGIN_ID_IS_ID;
        }
        let sent_at = message.said_at();
        MessageRow {
            id: verdict.message_id,
            sent_at,
            received_at: message.arrived_at,
            refers_to: reference.map(|reference| reference.id),
            conversation_id,
            sender_id,
            recipient_id,
            flags: bits,
            node_id: self.dictionary.node(entry.itself()),
            kind: content.kind as i16,
            type_: message.message_type as i16,
            direction: route(message),
            via: via(message),
            content_key: keys::content_key(keys::bucket(sent_at), keyed.hash).to_vec(),
            sender_resource: message.sender.as_ref().and_then(|sender| sender.resource.clone()),
            sender_nick: message.sender_nick.clone(),
            recipient_resource: message.recipient.as_ref().and_then(|recipient| recipient.resource.clone()),
            recipient_nick: message.recipient_nick.clone(),
            stanza_id: message.id.clone(),
            origin_id: message.origin_id.clone().filter(|_| !same_origin),
            thread: content.thread.clone(),
            subject: content.subject.clone(),
            lang: message.lang.clone(),
            refers_to_id: content.refers_to_id.clone(),
            detail: content.detail.clone(),
            body: content.body.clone(),
            xml: self.packer.pack(entry.stanza(), &columns(message)),
        }
    }

    fn delivery_row(&mut self, entry: &Entry, message: &Message, verdict: &Verdict) -> DeliveryRow {
        let delivered = message.delivered_to.as_ref();
        DeliveryRow {
            message_id: verdict.message_id,
            at: message.arrived_at,
            seq: verdict.sequence,
            recipient_id: delivered.and_then(|to| self.dictionary.jid(&to.bare)),
            node_id: self.dictionary.node(entry.itself()),
            direction: verdict.direction as i16,
            source: source_number(message),
            send_no: i16::try_from(verdict.send).unwrap_or(i16::MAX),
            resource: delivered.and_then(|to| to.resource.clone()),
            xml: (!verdict.is_new && !verdict.shape_is_kept).then(|| self.packer.pack(entry.stanza(), &Columns::default())),
        }
    }

    fn key_row(&self, id: &ExactId, message_id: i64) -> KeyRow {
        let by_id = self.dictionary.jid(&id.by);
        let key = self.identity.keyring().exact(id).to_vec();
        KeyRow { message_id, by_id, kind: id.kind as i16, key, value: id.value.clone() }
    }

    async fn bounce<Q: Queries>(&mut self, db: &mut Q, entry: &Entry, bounce: &Bounce, batch: &mut Batch) -> QueryResult<State> {
        let mut message_id = None;
        for conversation in bounced_conversations(bounce) {
            let (Some(id), Some(conversation_id)) = (&bounce.id, self.dictionary.conversation(&conversation)) else { continue };
            let found = self.references.find(self.identity.keyring(), conversation_id, id);
            message_id = message_id.or(found.map(|reference| reference.id));
        }
        if let Some(id) = message_id {
            self.identity.bounced(id);
        }
        let row = BounceRow {
            id: self.last.bounce + 1,
            message_id,
            at: bounce.arrived_at,
            from_id: self.dictionary.jid(&bounce.from.bare),
            to_id: self.dictionary.jid(&bounce.to.bare),
            node_id: self.dictionary.node(entry.itself()),
            stanza_id: bounce.id.clone(),
            condition: bounce.condition.clone(),
            text: bounce.text.clone(),
            xml: self.packer.pack(entry.stanza(), &Columns::default()),
        };
        let feed = self.dictionary.node(&entry.node);
        if !self.feeds.has_bounced(db, feed, &row, &batch.bounces, &mut batch.sightings).await? {
            self.last.bounce = row.id;
            batch.bounces.push(row);
        }
        Ok(State::Bounce)
    }

    fn quarantine(&mut self, entry: &Entry, reason: &str, spool_id: &[u8]) -> QuarantineRow {
        self.last.quarantine += 1;
        QuarantineRow {
            id: self.last.quarantine,
            seq: entry.seq as i64,
            received_at: entry.arrived_at,
            node_id: Some(self.dictionary.node(&entry.node)).filter(|node| *node > 0),
            spool_id: spool_id.to_vec(),
            reason: reason.to_owned(),
            record: entry.record.clone(),
        }
    }
}
