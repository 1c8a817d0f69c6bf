//! What a search finds: messages with everything that is known of them, numbers resolved to names.

use super::query::Cursor;
use super::{names, redact};
use crate::message::content::{Kind, file_name, flags};
use crate::store::codec::{self, Columns};
use crate::time::Micros;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The archive's number of it.
    pub id: i64,
    /// Number of its kind; [`Found::kind_name`] has the name.
    pub kind: i16,
    /// The conversation's name: a room, or two JIDs.
    pub conversation: String,
    /// Whether the conversation is a room.
    pub in_room: bool,
    /// Bare JID of who wrote it, where it is known.
    pub sender: Option<String>,
    /// What it was written with.
    pub sender_resource: Option<String>,
    /// The writer's nick in the room.
    pub sender_nick: Option<String>,
    /// Bare JID of whom it is for: a person or the room.
    pub recipient: Option<String>,
    /// The resource that it was addressed to.
    pub recipient_resource: Option<String>,
    /// The nick that a private message in a room is for.
    pub recipient_nick: Option<String>,
    /// Number of its direction.
    pub direction: i16,
    /// Number of how it came to be known.
    pub via: i16,
    /// Number of the stanza's type.
    pub message_type: i16,
    /// Bits of [`flags`].
    pub flags: i32,
    /// When it was sent.
    pub sent_at: Micros,
    /// When its first copy came.
    pub received_at: Micros,
    /// The node that mirrored the first copy.
    pub node: Option<String>,
    /// The `id` of the stanza.
    pub stanza_id: Option<String>,
    /// The origin-id, where the column has one; see [`Found::origin_id`].
    pub(crate) own_origin_id: Option<String>,
    /// The thread.
    pub thread: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// What was written.
    pub body: Option<String>,
    /// The language.
    pub lang: Option<String>,
    /// The message that it corrects, retracts, answers or reacts to.
    pub refers_to: Option<i64>,
    /// The id by which the stanza itself names that message.
    pub refers_to_id: Option<String>,
    /// More, by kind, as JSON.
    pub detail: Option<String>,
    /// The stanza as it is stored, where the query asked for it.
    pub(crate) packed_xml: Option<Vec<u8>>,
    /// Its copies, in the order in which they came.
    pub deliveries: Vec<Delivery>,
    /// The ids that rooms and accounts gave it (XEP-0359).
    pub stanza_ids: Vec<StanzaId>,
    /// The errors that came back for it.
    pub bounces: Vec<Bounce>,
}

/// A copy of a message: evidence of who sent or got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Bare JID of the account that it went to.
    pub recipient: Option<String>,
    /// The resource that it went to.
    pub resource: Option<String>,
    /// The node that mirrored it.
    pub node: Option<String>,
    /// Number of its direction.
    pub direction: i16,
    /// Number of where in the message's life it was seen.
    pub source: i16,
    /// When it came.
    pub at: Micros,
    /// Whether it was a replay of something said earlier.
    pub replay: bool,
    /// Which send it belongs to, from 1.
    pub send_no: i16,
}

/// An id with who gave it (XEP-0359).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaId {
    /// Who gave it.
    pub by: Option<String>,
    /// The id.
    pub id: String,
}

/// An error that came back (RFC 6120 §8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// When it came.
    pub at: Micros,
    /// Bare JID of who sent the error.
    pub from: Option<String>,
    /// The defined condition.
    pub condition: String,
    /// The text beside it.
    pub text: Option<String>,
}

/// A stay in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Under which nick.
    pub nick: String,
    /// Bare JID, where it is known.
    pub jid: Option<String>,
    /// The resource, where it is known.
    pub resource: Option<String>,
    /// From when on.
    pub joined_at: Micros,
    /// Until when; none while it lasts.
    pub left_at: Option<Micros>,
}

impl Found {
    /// Its place in the order.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.sent_at, self.id)
    }

    /// Its place in the order, to sort by.
    pub(crate) fn place(&self) -> (Micros, i64) {
        (self.sent_at, self.id)
    }

    /// A private message in a room is addressed to a nick. Whose nick that is may be known only from the copy that reached them,
    /// which came after the message was stored.
    pub(crate) fn name_recipient(&mut self) {
        if self.recipient.is_none() && self.has(flags::PRIVATE_IN_ROOM) {
            const RECEIVED: i16 = 2;
            let reached = self.deliveries.iter().find(|delivery| delivery.direction == RECEIVED);
            self.recipient = reached.and_then(|delivery| delivery.recipient.clone());
        }
    }

    /// Whether a bit of [`flags`] is set.
    pub fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }

    /// Whether its content is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.has(flags::ENCRYPTED)
    }

    /// Whether a file is attached, or a link to one that was shared.
    pub fn has_file(&self) -> bool {
        self.kind == Kind::File as i16 || self.has(flags::FILE)
    }

    /// The name of that file, where it has one.
    pub fn file_name(&self) -> Option<String> {
        self.detail.as_deref().filter(|_| self.has_file()).and_then(file_name)
    }

    /// The room in which it was said.
    pub fn room(&self) -> Option<&str> {
        self.in_room.then_some(self.conversation.as_str())
    }

    /// The id that the sender's client gave (XEP-0359).
    pub fn origin_id(&self) -> Option<&str> {
        let own = self.own_origin_id.as_deref();
        own.or(self.stanza_id.as_deref().filter(|_| self.has(flags::ORIGIN_ID_IS_ID)))
    }

    /// The number of sends that its copies may stem from, or 0 where they are surely of one.
    pub fn possibly_several(&self) -> i16 {
        let sends = self.deliveries.iter().map(|delivery| delivery.send_no).max().unwrap_or(0);
        if sends > 1 { sends } else { 0 }
    }

    /// The name of its kind.
    pub fn kind_name(&self) -> &'static str {
        names::kind(self.kind)
    }

    /// The XEP-0334 hints that it carried.
    pub fn hints(&self) -> Vec<&'static str> {
        names::HINTS.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name).collect()
    }

    /// The original stanza for display, passwords of rooms redacted; none where it was not asked for or is damaged.
    pub fn xml(&self) -> Option<String> {
        let texts = [
            self.body.as_deref(),
            self.subject.as_deref(),
            self.thread.as_deref(),
            self.stanza_id.as_deref(),
            self.own_origin_id.as_deref(),
            self.sender_resource.as_deref(),
            self.refers_to_id.as_deref(),
        ];
        let columns = Columns::new(texts, self.sender.as_deref(), self.recipient.as_deref());
        let stanza = codec::unpack(self.packed_xml.as_deref()?, &columns)?;
        Some(redact::stanza(&stanza))
    }
}

/// A message for tests of whatever shows messages.
#[cfg(test)]
pub(crate) fn sample() -> Found {
    let text = |text: &str| Some(text.to_owned());
    let at = 1_795_332_535_173_794;
    let copy = Delivery {
        recipient: text("bob@example.com"),
        resource: text("phone"),
        node: text("n"),
        direction: 2,
        source: 1,
        at,
        replay: false,
        send_no: 1,
    };
    let twin = Delivery { resource: None, ..copy.clone() };
    Found {
        id: 17,
        kind: 1,
        conversation: "bob@example.com d\\27artagnan@example.com".to_owned(),
        in_room: false,
        sender: text("d\\27artagnan@example.com"),
        sender_resource: text("desk"),
        sender_nick: None,
        recipient: text("bob@example.com"),
        recipient_resource: None,
        recipient_nick: None,
        direction: 3,
        via: 1,
        message_type: 1,
        flags: flags::NO_STORE,
        sent_at: at,
        received_at: at + 5,
        node: text("n"),
        stanza_id: text("s1"),
        own_origin_id: None,
        thread: None,
        subject: None,
        body: text("=1+1\n\"x\""),
        lang: None,
        refers_to: None,
        refers_to_id: None,
        detail: text("{\"a\":1}"),
        packed_xml: None,
        deliveries: vec![copy.clone(), twin, copy],
        stanza_ids: Vec::new(),
        bounces: Vec::new(),
    }
}
