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

#[derive(Debug, Default)]
pub(crate) struct References {
    by_name: HashMap<u64, Remembered>,
    order: VecDeque<u64>,
}

#[derive(Clone, Debug)]
struct Remembered {
    message_id: i64,
    sender: Option<String>,
    nick: Option<String>,
}

impl References {
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Remembers the names of a message, the first message for a call.
    pub(crate) fn note(&mut self, keyring: &Keyring, conversation: i32, message: &Message, message_id: i64) {
        let remembered =
            Remembered { message_id, sender: message.sender.as_ref().map(|sender| sender.bare.clone()), nick: message.sender_nick.clone() };
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
                known.sender = known.sender.take().or(remembered.sender);
                known.nick = known.nick.take().or(remembered.nick);
            }
            _ => {
                self.by_name.insert(key, remembered);
                self.order.push_back(key);
            }
        }
        while self.order.len() > MAX_REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.by_name.remove(&oldest);
            }
        }
    }

    /// The message that `id` means in a conversation.
    pub(crate) async fn find<Q: Queries>(
        &mut self,
        db: &mut Q,
        keyring: &Keyring,
        conversation: i32,
        room: &str,
        id: &str,
    ) -> QueryResult<Option<ReferenceRow>> {
        if let Some(known) = self.by_name.get(&name(keyring, conversation, id)) {
            let sender_id = match &known.sender {
                Some(sender) => db.jid_ids(std::slice::from_ref(sender)).await?.first().map(|row| row.id),
                None => None,
            };
            return Ok(Some(ReferenceRow { id: known.message_id, sender_id, sender_nick: known.nick.clone() }));
        }
        if !room.is_empty() {
            let exact = ExactId { kind: IdKind::StanzaId, by: room.to_owned(), value: id.to_owned() };
            let found = db.ids_by_exact(&[keyring.exact(&exact).to_vec()]).await?;
            if let Some(row) = found.first() {
                return db.reference(row.message_id).await;
            }
        }
        db.named_in(conversation, id).await
    }
}

fn name(keyring: &Keyring, conversation: i32, id: &str) -> u64 {
    keyring.hash(&[b"reference", &conversation.to_le_bytes(), id.as_bytes()])
}
