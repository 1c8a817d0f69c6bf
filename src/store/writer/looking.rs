//! What a writer must know before it decides on a batch: numbers of names, what may be the same message, rooms, what is referred to.

use std::collections::HashSet;

use diesel::QueryResult;

use super::{Account, Entry, Item, Keyed, Memory, Message, Micros, Queries, bounced_conversations, conversation_of, lookup, source_number};
use crate::identity::Feed;
use crate::identity::keys::Key;
use crate::store::derive::message_jids;
use crate::store::dictionary::Conversation;
use crate::store::feeds::way;
use crate::store::lookup::FoundMessage;

impl Memory {
    /// A node that has a further feed from now on is looked at with other eyes.
    pub(super) async fn know_feeds<Q: Queries>(&mut self, db: &mut Q, entries: &[&Entry]) -> QueryResult<()> {
        let nodes = entries.iter().filter(|entry| entry.same_as.is_some()).map(|entry| self.dictionary.node(entry.itself()));
        let nodes: HashSet<i16> = nodes.collect();
        if self.feeds.add(db, nodes).await? {
            self.identity.forget();
            self.asked.clear();
        }
        Ok(())
    }

    pub(super) async fn number_names<Q: Queries>(&mut self, db: &mut Q, entries: &[&Entry], account: &Account) -> QueryResult<()> {
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
        let Self { dictionary, foreseen, horizon, last, .. } = self;
        dictionary.need_jids(db, jids, foreseen, last).await?;
        let known = (&*foreseen, &horizon.ids);
        dictionary.need_conversations(db, &conversations, known, last).await?;
        // An error alone makes no conversation.
        dictionary.know_conversations(db, &bounced, known).await
    }

    /// The entries in the order in which they are to be decided on, with their keys.
    pub(super) async fn look_up<'e, Q: Queries>(
        &mut self,
        db: &mut Q,
        entries: &[&'e Entry],
    ) -> QueryResult<Vec<(&'e Entry, Option<Keyed>)>> {
        let mut content = Vec::new();
        let mut exact = Vec::new();
        let mut subjects = HashSet::new();
        let mut rooms = Vec::new();
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let Item::Message(message) = &entry.item else {
                rooms.extend(rooms_of(&entry.item));
                all.push((*entry, None));
                continue;
            };
            rooms.extend(message.room.as_deref());
            let keyed = self.key(message, entry);
            self.identity.wanted(message, &keyed, &mut content, &mut exact);
            if message.is_subject_on_join() {
                subjects.extend(self.dictionary.conversation(&conversation_of(message)));
            }
            all.push((*entry, Some(keyed)));
        }
        self.know_messages(db, content, exact, subjects).await?;
        self.know_rooms(db, rooms).await?;
        self.know_references(db, entries).await?;
        all.sort_by_cached_key(|(entry, keyed)| match (&entry.item, keyed) {
            (Item::Message(message), Some(keyed)) => self.identity.distance(message, keyed).unwrap_or(Micros::MAX),
            _ => 0,
        });
        Ok(all)
    }

    /// Brings back into memory what copies of the batch may belong to: what was foreseen, and what nobody foresaw.
    async fn know_messages<Q: Queries>(
        &mut self,
        db: &mut Q,
        content: Vec<Key>,
        exact: Vec<Key>,
        subjects: HashSet<i32>,
    ) -> QueryResult<()> {
        let content: HashSet<Key> = content.into_iter().collect();
        let exact: HashSet<Key> = exact.into_iter().collect();
        let Self { identity, foreseen, feeds, horizon, .. } = self;
        let latest: HashSet<i64> = subjects.iter().filter_map(|subject| foreseen.subjects.get(subject).copied().flatten()).collect();
        for FoundMessage { content: key, known, exact: keys } in std::mem::take(&mut foreseen.messages) {
            if content.contains(&key) || keys.iter().any(|key| exact.contains(key)) || latest.contains(&known.id) {
                identity.found(known, keys);
            }
        }
        let content: Vec<Key> = content.into_iter().filter(|key| !foreseen.content.contains(key)).collect();
        let exact: Vec<Key> = exact.into_iter().filter(|key| !foreseen.exact.contains(key)).collect();
        // A conversation that is newer than what was stored has no subject in the database.
        let is_open = |subject: &i32| *subject <= horizon.ids.conversation && !foreseen.subjects.contains_key(subject);
        let subjects: HashSet<i32> = subjects.into_iter().filter(is_open).collect();
        if !content.is_empty() || !exact.is_empty() || !subjects.is_empty() {
            lookup::known(db, identity, feeds, content, exact, subjects).await?;
        }
        Ok(())
    }

    async fn know_rooms<Q: Queries>(&mut self, db: &mut Q, rooms: Vec<&str>) -> QueryResult<()> {
        let ids: HashSet<i32> = rooms.into_iter().filter_map(|room| self.dictionary.jid(room)).collect();
        let missing = ids.into_iter().filter(|id| *id <= self.horizon.ids.jid && !self.rooms.contains_key(id));
        let (seen, unseen): (Vec<i32>, Vec<i32>) = missing.partition(|id| self.foreseen.rooms.contains_key(id));
        self.rooms.extend(seen.into_iter().filter(|id| self.foreseen.rooms.get(id) == Some(&true)).map(|id| (id, 0)));
        if !unseen.is_empty() {
            self.rooms.extend(db.known_rooms(&unseen).await?.into_iter().map(|(room, _)| (room, 0)));
        }
        Ok(())
    }

    /// Looks up the messages that these refer to.
    async fn know_references<Q: Queries>(&mut self, db: &mut Q, entries: &[&Entry]) -> QueryResult<()> {
        let mut wanted = Vec::new();
        let mut bounced = Vec::new();
        // Nothing refers to a message in a conversation that has none yet.
        let known =
            |conversation: &Conversation| self.dictionary.conversation(conversation).filter(|id| *id <= self.horizon.ids.conversation);
        for entry in entries {
            match &entry.item {
                Item::Message(message) => {
                    if let Some(id) = &message.content.refers_to_id
                        && let Some(conversation) = known(&conversation_of(message))
                    {
                        wanted.push((conversation, message.room.as_deref().unwrap_or_default(), id.as_str()));
                    }
                }
                Item::Bounce(bounce) => {
                    if let Some(id) = &bounce.id {
                        let conversations = bounced_conversations(bounce);
                        bounced.extend(conversations.iter().filter_map(known).map(|conversation| (conversation, "", id.as_str())));
                    }
                }
                _ => {}
            }
        }
        wanted.append(&mut bounced);
        let Self { references, identity, foreseen, .. } = self;
        references.look_up(db, identity.keyring(), wanted, &foreseen.references).await
    }

    pub(super) fn key(&self, message: &Message, entry: &Entry) -> Keyed {
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
}

/// The rooms of what is no message.
pub(super) fn rooms_of(item: &Item) -> Vec<&str> {
    match item {
        Item::Occupancy(events) => events.iter().map(|event| event.room.as_str()).collect(),
        Item::RoomKind { room, .. } => vec![room],
        _ => Vec::new(),
    }
}
