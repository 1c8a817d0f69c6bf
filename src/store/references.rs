//! Which message an id means that another message names: a correction's original, a reaction's object, what bounced.
//!
//! The id is that of the stanza, its origin-id, or the one that the room gave (XEP-0444 §4, XEP-0461 §3). Recent messages are
//! remembered, older ones are looked up in the conversation. An id that means nothing here is kept as text.

use std::collections::{HashMap, VecDeque};

use diesel::QueryResult;

use super::queries::Queries;
use super::rows::ReferenceRow;
use crate::identity::keys::Keyring;
use crate::message::content::Kind;
use crate::message::{ExactId, IdKind, Message};

/// Most ids remembered (about 60 bytes each).
const MAX_REMEMBERED: usize = 15_000;

#[derive(Debug)]
pub(crate) struct References {
    by_name: HashMap<u64, Remembered>,
    order: VecDeque<u64>,
    /// What the database says of the names that this batch asks for.
    looked_up: HashMap<u64, Option<ReferenceRow>>,
    /// How many names stay from one batch to the next.
    most: usize,
    batch: u64,
}

#[derive(Clone, Debug)]
struct Remembered {
    message_id: i64,
    sender_id: Option<i32>,
    nick: Option<String>,
    /// The batch that told it.
    told: u64,
}

/// An id, and where it was said.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    pub(crate) conversation: i32,
    /// The key of the id as one that a room gave.
    pub(crate) in_room: Option<Vec<u8>>,
    pub(crate) id: String,
}

impl Default for References {
    fn default() -> Self {
        let (by_name, order, looked_up) = Default::default();
        Self { by_name, order, looked_up, most: MAX_REMEMBERED, batch: 0 }
    }
}

impl References {
    /// Keeps this many names from one batch to the next instead of [`MAX_REMEMBERED`].
    pub(crate) fn keep(&mut self, most: usize) {
        self.most = most;
    }

    pub(crate) fn forget(&mut self) {
        *self = Self { batch: self.batch, most: self.most, ..Self::default() };
    }

    /// A batch begins: forgets the oldest names, but none that a batch after `stored` told.
    pub(crate) fn begin(&mut self, batch: u64, stored: u64) {
        self.batch = batch;
        self.looked_up.clear();
        for _ in 0..self.order.len() {
            if self.order.len() <= self.most {
                break;
            }
            let Some(oldest) = self.order.pop_front() else { break };
            if self.by_name.get(&oldest).is_some_and(|known| known.told > stored) {
                self.order.push_back(oldest);
            } else {
                self.by_name.remove(&oldest);
            }
        }
    }

    /// Remembers the names of a message, the first message for a call.
    pub(crate) fn note(&mut self, keyring: &Keyring, conversation: i32, message: &Message, message_id: i64, sender_id: Option<i32>) {
        let remembered = Remembered { message_id, sender_id, nick: message.sender_nick.clone(), told: self.batch };
        let room_id = message.exact_ids.iter().filter(|id| id.kind == IdKind::StanzaId).map(|id| &id.value);
        for id in message.id.iter().chain(&message.origin_id).chain(room_id) {
            self.remember(name(keyring, conversation, id), remembered.clone());
        }
        if message.content.kind == Kind::Call
            && let Some(call) = &message.content.refers_to_id
        {
            let key = name(keyring, conversation, call);
            if !self.by_name.contains_key(&key) {
                self.remember(key, remembered);
            }
        }
    }

    fn remember(&mut self, key: u64, remembered: Remembered) {
        match self.by_name.get_mut(&key) {
            // A later copy of the same message may know its sender.
            Some(known) if known.message_id == remembered.message_id => {
                known.sender_id = known.sender_id.or(remembered.sender_id);
                known.nick = known.nick.take().or(remembered.nick);
                known.told = remembered.told;
            }
            _ => {
                if self.by_name.insert(key, remembered).is_none() {
                    self.order.push_back(key);
                }
            }
        }
    }

    /// Looks up what this batch will ask for, all at once; `foreseen` was looked up before.
    pub(crate) async fn look_up<Q: Queries>(
        &mut self,
        db: &mut Q,
        keyring: &Keyring,
        wanted: Vec<(i32, &str, &str)>,
        foreseen: &HashMap<u64, Option<ReferenceRow>>,
    ) -> QueryResult<()> {
        let mut names = Vec::new();
        let mut unseen = Vec::new();
        for (conversation, room, id) in wanted {
            let key = name(keyring, conversation, id);
            if self.by_name.contains_key(&key) || self.looked_up.contains_key(&key) {
                continue;
            }
            self.looked_up.insert(key, foreseen.get(&key).cloned().flatten());
            if !foreseen.contains_key(&key) {
                names.push(key);
                unseen.push(sought(keyring, conversation, room, id));
            }
        }
        if !unseen.is_empty() {
            let found = db.references(&unseen).await?;
            self.looked_up.extend(names.into_iter().zip(found));
        }
        Ok(())
    }

    /// What is remembered of this name.
    pub(crate) fn remembered(&self, key: u64) -> Option<ReferenceRow> {
        let known = self.by_name.get(&key)?;
        Some(ReferenceRow { id: known.message_id, sender_id: known.sender_id, sender_nick: known.nick.clone() })
    }

    /// The message that `id` means in a conversation, as far as it is remembered or was looked up.
    pub(crate) fn find(&self, keyring: &Keyring, conversation: i32, id: &str) -> Option<ReferenceRow> {
        let key = name(keyring, conversation, id);
        self.remembered(key).or_else(|| self.looked_up.get(&key).cloned().flatten())
    }
}

/// An id in a conversation, as the database is asked for it.
pub(crate) fn sought(keyring: &Keyring, conversation: i32, room: &str, id: &str) -> Sought {
    let exact = ExactId { kind: IdKind::StanzaId, by: room.to_owned(), value: id.to_owned() };
    let in_room = (!room.is_empty()).then(|| keyring.exact(&exact).to_vec());
    Sought { conversation, in_room, id: id.to_owned() }
}

pub(crate) fn name(keyring: &Keyring, conversation: i32, id: &str) -> u64 {
    keyring.hash(&[b"reference", &conversation.to_le_bytes(), id.as_bytes()])
}
