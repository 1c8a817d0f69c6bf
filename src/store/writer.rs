//! From decided copies to rows, one transaction a batch.
//!
//! The order inside the transaction: exclude other writers; forget what another one may have changed; leave out what this
//! spool has stored before; number the names; look up what might be the same message; decide copy by copy; insert; move the
//! spool's position; commit. When any of it fails everything is rolled back and forgotten, and the same batch can be given again.

mod rooms;

use std::collections::{HashMap, HashSet};

use diesel::QueryResult;

use super::account::Account;
use super::batch::{Committed, Entry, Item};
use super::codec::{Columns, Packer};
use super::derive::{
    bounced_conversations, columns, conversation_of, may_change, message_jids, queue_key, route, source_number, token, via,
};
use super::dictionary::Dictionary;
use super::feeds::{self, Feeds, way};
use super::insertion::Batch;
use super::queries::{LastIds, Queries};
use super::queues::{Position, Queues};
use super::references::References;
use super::rows::*;
use super::{Connection, StoreError, lookup, on_connection, quarantine};
use crate::canary;
use crate::gap::{Gap, Reason};
use crate::identity::keys::{self, Keyring};
use crate::identity::{Feed, Identity, Keyed, News, Verdict};
use crate::message::address::Address;
use crate::message::content::flags;
use crate::message::rooms::Event;
use crate::message::{Bounce, ExactId, Message};
use crate::tally::State;
use crate::time::Micros;

/// Why a record was skipped that not even the quarantine takes.
pub const SET_ASIDE_IN_FILE: &str = "set aside in a file";
/// Why a stanza over the size limit is counted as lost.
pub const OVERSIZE: &str = "over the size limit";

/// Writes to one database. There may be any number of writers, in any number of processes.
pub struct Writer {
    connection: Connection,
    memory: Memory,
}

/// What a writer remembers between batches; all of it can be read again from the database.
struct Memory {
    /// Tells this writer from all others.
    token: Vec<u8>,
    /// Whether the rest is what the database says.
    is_current: bool,
    identity: Identity,
    dictionary: Dictionary,
    references: References,
    feeds: Feeds,
    rooms: HashSet<i32>,
    last: LastIds,
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
            identity: Identity::new(Keyring::new(secret), join_window),
            dictionary: Dictionary::default(),
            references: References::default(),
            feeds: Feeds::default(),
            rooms: HashSet::new(),
            last: LastIds::default(),
            progress: HashMap::new(),
            queues: Queues::default(),
            packer: Packer::default(),
        };
        Ok(Self { connection, memory })
    }

    /// Stores a batch; `next_seq` is the spool's position after it.
    ///
    /// # Errors
    /// Nothing of the batch is stored then, and it can be given again.
    pub async fn commit(&mut self, entries: &[Entry], spool_id: &[u8], next_seq: u64) -> Result<Committed, StoreError> {
        let memory = &mut self.memory;
        on_connection!(&mut self.connection, db => {
            let outcome = memory.store(db, entries, spool_id, next_seq as i64).await;
            if outcome.is_err() {
                db.rollback().await;
                memory.forget();
            }
            outcome.map_err(|error| StoreError::of(&error))
        })
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
    fn forget(&mut self) {
        self.is_current = false;
        self.identity.forget();
        self.dictionary.forget();
        self.references.forget();
        self.rooms.clear();
        self.progress.clear();
        self.queues.forget();
    }

    async fn store<Q: Queries>(&mut self, db: &mut Q, entries: &[Entry], spool_id: &[u8], next_seq: i64) -> QueryResult<Committed> {
        let last_writer = db.begin().await?;
        if last_writer != self.token || !self.is_current {
            self.forget();
            self.last = db.last_ids().await?;
            self.feeds = Feeds::read(db).await?;
            db.set("writer", &self.token).await?;
            self.is_current = true;
        }
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
        db.commit().await?;
        Ok(committed)
    }

    /// As [`Memory::store`], up to where rows would be inserted.
    async fn try_out<Q: Queries>(&mut self, db: &mut Q, entries: &[Entry]) -> QueryResult<Committed> {
        db.begin().await?;
        // Others may have taken numbers since; those of earlier attempts are remembered and stand for nothing.
        self.last = self.last.later_of(&db.last_ids().await?);
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

    /// A node that has a further feed from now on is looked at with other eyes.
    async fn know_feeds<Q: Queries>(&mut self, db: &mut Q, entries: &[&Entry]) -> QueryResult<()> {
        let nodes = entries.iter().filter(|entry| entry.same_as.is_some()).map(|entry| self.dictionary.node(entry.itself()));
        let nodes: HashSet<i16> = nodes.collect();
        if self.feeds.add(db, nodes).await? {
            self.identity.forget();
        }
        Ok(())
    }

    async fn number_names<Q: Queries>(&mut self, db: &mut Q, entries: &[&Entry], account: &Account) -> QueryResult<()> {
        let mut nodes: Vec<String> = account.nodes().map(|node| node.to_string()).collect();
        let mut jids = Vec::with_capacity(entries.len() * 3);
        let mut conversations = Vec::with_capacity(entries.len());
        let mut bounced = Vec::new();
        for entry in entries {
            for name in [&*entry.node, entry.itself()] {
                if !nodes.iter().any(|node| node == name) {
                    nodes.push(name.to_owned());
                }
            }
            match &entry.item {
                Item::Message(message) => {
                    jids.extend(message_jids(message));
                    conversations.push(conversation_of(message));
                }
                Item::Bounce(bounce) => {
                    jids.extend([bounce.from.bare.clone(), bounce.to.bare.clone()]);
                    bounced.extend(bounced_conversations(bounce));
                }
                Item::Occupancy(events) => {
                    jids.extend(
                        events
                            .iter()
                            .flat_map(|event| [Some(event.room.clone()), event.jid.as_ref().map(|jid| jid.bare.clone())])
                            .flatten(),
                    );
                }
                Item::RoomKind { room, .. } => jids.push(room.clone()),
                Item::Canary(_) | Item::Skipped(_) | Item::Unreadable(_) | Item::Oversize(_) | Item::Gap(_) | Item::Tally(_) => {}
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        // The name of one that is unreadable.
        nodes.retain(|node| !node.is_empty());
        self.dictionary.need_nodes(db, &nodes, &mut self.last).await?;
        self.dictionary.need_jids(db, jids, &mut self.last).await?;
        self.dictionary.need_conversations(db, &conversations, &mut self.last).await?;
        // An error alone makes no conversation.
        self.dictionary.know_conversations(db, &bounced).await
    }

    /// The entries in the order in which they are to be decided on, with their keys.
    async fn look_up<'e, Q: Queries>(&mut self, db: &mut Q, entries: &[&'e Entry]) -> QueryResult<Vec<(&'e Entry, Option<Keyed>)>> {
        self.identity.make_room();
        let mut content = Vec::new();
        let mut exact = Vec::new();
        let mut subjects = Vec::new();
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let Item::Message(message) = &entry.item else {
                all.push((*entry, None));
                continue;
            };
            let keyed = self.key(message, entry);
            self.identity.wanted(message, &keyed, &mut content, &mut exact);
            if message.is_subject_on_join() {
                subjects.extend(self.dictionary.conversation(&conversation_of(message)));
            }
            all.push((*entry, Some(keyed)));
        }
        lookup::known(db, &mut self.identity, &self.feeds, content, exact, subjects).await?;
        all.sort_by_cached_key(|(entry, keyed)| match (&entry.item, keyed) {
            (Item::Message(message), Some(keyed)) => self.identity.distance(message, keyed).unwrap_or(Micros::MAX),
            _ => 0,
        });
        Ok(all)
    }

    fn key(&self, message: &Message, entry: &Entry) -> Keyed {
        let keyring = self.identity.keyring();
        let id = self.dictionary.node(&entry.node);
        let (source, direction) = (source_number(message), message.direction as i16);
        let recipient = message.delivered_to.as_ref().map(|to| to.bare.as_str());
        let resource = message.delivered_to.as_ref().and_then(|to| to.resource.as_deref());
        let channel = lookup::channel(keyring, id, source, direction, recipient, resource);
        let has_feeds = self.feeds.contains(self.dictionary.node(entry.itself()));
        let feed = has_feeds.then(|| Feed { id, way: way(keyring, source, direction, recipient, resource) });
        Keyed {
            hash: keyring.content(message),
            exact: message.exact_ids.iter().map(|id| keyring.exact(id)).collect(),
            channel,
            shape: entry.shape,
            feed,
            step: entry.step,
        }
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
                (if *reason == SET_ASIDE_IN_FILE { State::Quarantined } else { State::Skipped }, *reason)
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
            self.see_room(db, room, message.said_at(), 0, batch).await?;
        }
        if verdict.is_new {
            self.last.message += 1;
            let row = self.message_row(db, entry, message, keyed, &verdict, conversation_id).await?;
            batch.messages.push(row);
        } else {
            batch.committed.known += 1;
            self.name_people(db, message, &verdict, batch).await?;
        }
        self.references.note(self.identity.keyring(), conversation_id, message, verdict.message_id);
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

    async fn message_row<Q: Queries>(
        &mut self,
        db: &mut Q,
        entry: &Entry,
        message: &Message,
        keyed: &Keyed,
        verdict: &Verdict,
        conversation_id: i32,
    ) -> QueryResult<MessageRow> {
        let jid = |address: &crate::message::address::Address| self.dictionary.jid(&address.bare);
        let sender_id = message.sender.as_ref().and_then(jid);
        let recipient_id = message.recipient.as_ref().and_then(jid);
        let content = &message.content;
        let room = message.room.as_deref().unwrap_or_default();
        let reference = match &content.refers_to_id {
            Some(id) => self.references.find(db, self.identity.keyring(), conversation_id, room, id).await?,
            None => None,
        };
        let mut bits = content.flags;
        if reference.as_ref().is_some_and(|reference| !may_change(message, sender_id, reference)) {
            bits |= flags::AUTHOR_MISMATCH;
        }
        let same_origin = message.origin_id.is_some() && message.origin_id == message.id;
        if same_origin {
            bits |= flags::ORIGIN_ID_IS_ID;
        }
        let sent_at = message.said_at();
        Ok(MessageRow {
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
        })
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
            let found = self.references.find(db, self.identity.keyring(), conversation_id, "", id).await?;
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
