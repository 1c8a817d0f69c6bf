//! Rows as the statements of `sql` give them, the same on the three databases.

use std::borrow::Cow;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, SmallInt, Text};

use super::found::{Bounce, Delivery, Found};
use super::query::Cursor;
use crate::message::content::file_name;

/// One number.
#[derive(Debug, QueryableByName)]
pub(crate) struct NumberRow {
    #[diesel(sql_type = BigInt)]
    pub(crate) number: i64,
}

/// A migration that was run.
#[derive(Debug, QueryableByName)]
pub(crate) struct VersionRow {
    #[diesel(sql_type = Text)]
    pub(crate) version: String,
}

/// A name with its number.
#[derive(Debug, QueryableByName)]
pub(crate) struct NameRow {
    #[diesel(sql_type = Integer)]
    pub(crate) id: i32,
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
}

/// Where a message stands in the order of time.
#[derive(Debug, QueryableByName)]
pub(crate) struct PlaceRow {
    #[diesel(sql_type = BigInt)]
    sent_at: i64,
    #[diesel(sql_type = BigInt)]
    message_id: i64,
}

impl PlaceRow {
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor::new(self.sent_at, self.message_id)
    }
}

/// What a row of any sort has that may be in a page.
pub(crate) trait Placed {
    /// Where it stands in the order of time.
    fn cursor(&self) -> Cursor;
    /// What somebody wrote.
    fn written(&self) -> [Option<&str>; 2];
    /// What is told of it, as JSON.
    fn detail(&self) -> Option<&str>;
    /// What may hold a word that is searched for: what somebody wrote, and the name of a file.
    fn texts(&self) -> Vec<Cow<'_, str>> {
        let name = self.detail().and_then(file_name).map(Cow::Owned);
        self.written().into_iter().flatten().map(Cow::Borrowed).chain(name).collect()
    }
}

/// The texts of a message.
#[derive(Debug, QueryableByName)]
pub(crate) struct TextRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    sent_at: i64,
    #[diesel(sql_type = Nullable<Text>)]
    body: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    subject: Option<String>,
    /// Of files alone.
    #[diesel(sql_type = Nullable<Text>)]
    detail: Option<String>,
}

impl Placed for TextRow {
    fn cursor(&self) -> Cursor {
        Cursor::new(self.sent_at, self.id)
    }

    fn written(&self) -> [Option<&str>; 2] {
        [self.body.as_deref(), self.subject.as_deref()]
    }

    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

/// A message.
#[derive(Debug, QueryableByName)]
pub(crate) struct MessageRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    sent_at: i64,
    #[diesel(sql_type = BigInt)]
    received_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    refers_to: Option<i64>,
    #[diesel(sql_type = Integer)]
    flags: i32,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = SmallInt)]
    type_: i16,
    #[diesel(sql_type = SmallInt)]
    direction: i16,
    #[diesel(sql_type = SmallInt)]
    via: i16,
    #[diesel(sql_type = Nullable<Text>)]
    sender_resource: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    sender_nick: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    recipient_resource: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    recipient_nick: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    stanza_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    origin_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    thread: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    subject: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    lang: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    refers_to_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    detail: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    body: Option<String>,
    #[diesel(sql_type = Nullable<Binary>)]
    xml: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Text>)]
    conversation: Option<String>,
    #[diesel(sql_type = Nullable<SmallInt>)]
    conversation_kind: Option<i16>,
    #[diesel(sql_type = Nullable<Text>)]
    sender: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    recipient: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    node: Option<String>,
}

impl Placed for MessageRow {
    fn cursor(&self) -> Cursor {
        Cursor::new(self.sent_at, self.id)
    }

    fn written(&self) -> [Option<&str>; 2] {
        [self.body.as_deref(), self.subject.as_deref()]
    }

    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

impl MessageRow {
    /// The message, its copies yet to come.
    pub(crate) fn into_found(self) -> Found {
        Found {
            id: self.id,
            kind: self.kind,
            conversation: self.conversation.unwrap_or_default(),
            in_room: self.conversation_kind == Some(ROOM),
            sender: some(self.sender),
            sender_resource: some(self.sender_resource),
            sender_nick: some(self.sender_nick),
            recipient: some(self.recipient),
            recipient_resource: some(self.recipient_resource),
            recipient_nick: some(self.recipient_nick),
            direction: self.direction,
            via: self.via,
            message_type: self.type_,
            flags: self.flags,
            sent_at: self.sent_at,
            received_at: self.received_at,
            node: some(self.node),
            stanza_id: some(self.stanza_id),
            own_origin_id: some(self.origin_id),
            thread: some(self.thread),
            subject: some(self.subject),
            body: some(self.body),
            lang: some(self.lang),
            refers_to: self.refers_to,
            refers_to_id: some(self.refers_to_id),
            detail: some(self.detail),
            packed_xml: self.xml,
            deliveries: Vec::new(),
            stanza_ids: Vec::new(),
            bounces: Vec::new(),
        }
    }
}

/// `conversation_names.kind` of a room.
pub(crate) const ROOM: i16 = 2;

/// The empty text means the same as none in every column that may be NULL.
pub(super) fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A copy.
#[derive(Debug, QueryableByName)]
pub(crate) struct DeliveryRow {
    #[diesel(sql_type = BigInt)]
    pub(crate) message_id: i64,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = SmallInt)]
    direction: i16,
    #[diesel(sql_type = SmallInt)]
    source: i16,
    #[diesel(sql_type = SmallInt)]
    send_no: i16,
    #[diesel(sql_type = Nullable<Text>)]
    resource: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    recipient: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    node: Option<String>,
}

impl DeliveryRow {
    pub(crate) fn into_delivery(self) -> Delivery {
        Delivery {
            recipient: some(self.recipient),
            resource: some(self.resource),
            node: some(self.node),
            direction: self.direction,
            source: self.source,
            at: self.at,
            replay: matches!(self.source, 3..=5),
            send_no: self.send_no,
        }
    }
}

/// A stanza-id.
#[derive(Debug, QueryableByName)]
pub(crate) struct KeyRow {
    #[diesel(sql_type = BigInt)]
    pub(crate) message_id: i64,
    #[diesel(sql_type = Text)]
    pub(crate) value: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) given_by: Option<String>,
}

/// A bounce.
#[derive(Debug, QueryableByName)]
pub(crate) struct BounceRow {
    #[diesel(sql_type = BigInt)]
    pub(crate) message_id: i64,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Text)]
    defined: String,
    #[diesel(sql_type = Nullable<Text>)]
    said: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    sender: Option<String>,
}

impl BounceRow {
    pub(crate) fn into_bounce(self) -> Bounce {
        Bounce { at: self.at, from: some(self.sender), condition: self.defined, text: some(self.said) }
    }
}
