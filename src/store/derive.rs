//! Columns that follow from a normalised message.

use super::codec::Columns;
use super::dictionary::Conversation;
use super::rows::ReferenceRow;
use super::writer::SET_ASIDE_IN_FILE;
use crate::identity::keys::Keyring;
use crate::message::content::Kind;
use crate::message::{Bounce, Direction, Message, Place};
use crate::mirror::{self, Source};
use crate::tally::State;

/// What a record that is not archived for this reason counts as.
pub(super) fn counted_as(reason: &str) -> State {
    match reason {
        SET_ASIDE_IN_FILE => State::Quarantined,
        _ if mirror::EMPTY.contains(&reason) => State::Forged,
        _ => State::Skipped,
    }
}

/// The texts that a message's row holds beside the stanza.
pub(super) fn columns(message: &Message) -> Columns<'_> {
    let content = &message.content;
    let same_origin = message.origin_id == message.id;
    let texts = [
        content.body.as_deref(),
        content.subject.as_deref(),
        content.thread.as_deref(),
        message.id.as_deref(),
        message.origin_id.as_deref().filter(|_| !same_origin),
        message.sender.as_ref().and_then(|sender| sender.resource.as_deref()),
        content.refers_to_id.as_deref(),
    ];
    let sender = message.sender.as_ref().map(|sender| sender.bare.as_str());
    let recipient = message.recipient.as_ref().map(|recipient| recipient.bare.as_str());
    Columns::new(texts, sender, recipient)
}

/// `deliveries.source`.
pub(super) fn source_number(message: &Message) -> i16 {
    match message.source {
        Source::Carbon => 2,
        Source::Late => 3,
        Source::History => 4,
        Source::Archive => 5,
        Source::Direct if message.place.is_into_room() => 6,
        Source::Direct if message.place.is_from_room() => 7,
        Source::Direct if message.is_directed && message.direction != Direction::Unknown => 8,
        Source::Direct => 1,
    }
}

/// `messages.via`.
pub(super) fn via(message: &Message) -> i16 {
    match message.history {
        Some(history) => history.via,
        None if message.is_replay() || message.is_subject_on_join() => 2,
        None => 1,
    }
}

/// `messages.direction`, seen from the nodes that the archive serves.
pub(super) fn route(message: &Message) -> i16 {
    match (message.sender_is_local, message.recipient_is_local) {
        (false, true) => 1,
        (true, false) => 2,
        (true, true) => 3,
        (false, false) => 0,
    }
}

pub(super) fn conversation_of(message: &Message) -> Conversation {
    match (&message.room, message.place) {
        (Some(room), _) => Conversation::Room(room.clone()),
        (None, _) => Conversation::direct(&message.from.bare, &message.to.bare),
    }
}

/// The message that bounced went to a person or into a room.
pub(super) fn bounced_conversations(bounce: &Bounce) -> [Conversation; 2] {
    [Conversation::direct(&bounce.from.bare, &bounce.to.bare), Conversation::Room(bounce.from.bare.clone())]
}

pub(super) fn message_jids(message: &Message) -> Vec<String> {
    let mut jids = vec![message.from.bare.clone(), message.to.bare.clone()];
    let people = [&message.sender, &message.recipient, &message.delivered_to];
    jids.extend(people.into_iter().flatten().map(|address| address.bare.clone()));
    jids.extend(message.exact_ids.iter().map(|id| id.by.clone()));
    jids
}

/// XEP-0308 §4, XEP-0424 §5: only the author may change a message; XEP-0425: only the room moderates.
pub(super) fn may_change(message: &Message, sender_id: Option<i32>, of: &ReferenceRow) -> bool {
    let same_nick = of.sender_nick.is_some() && of.sender_nick == message.sender_nick;
    let same_jid = of.sender_id.is_some() && of.sender_id == sender_id;
    match message.content.kind {
        Kind::Correction | Kind::Retraction => same_jid || (same_nick && (of.sender_id.is_none() || sender_id.is_none())),
        Kind::Moderation => message.place == Place::FromRoom && message.sender_nick.is_none(),
        _ => true,
    }
}

pub(super) fn queue_key(keyring: &Keyring, node: &str, epoch: &str) -> Vec<u8> {
    let one = keyring.hash(&[b"queue", node.as_bytes(), epoch.as_bytes()]);
    let other = keyring.hash(&[b"epoch", epoch.as_bytes(), node.as_bytes()]);
    [one.to_be_bytes(), other.to_be_bytes()].concat()
}

/// Random enough to tell writers apart: process, time, and the address of a fresh allocation through the hasher's random state.
pub(super) fn token() -> Vec<u8> {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one((std::process::id(), crate::time::now()));
    [random.to_be_bytes().to_vec(), std::process::id().to_be_bytes().to_vec()].concat()
}
