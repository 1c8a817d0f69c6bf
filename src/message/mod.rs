//! Normalise a mirrored message: who, to whom, where, when, what.
//!
//! A [`Message`] is one copy, with everything that identity and storage need, independent of how it was mirrored. What only
//! a room's state can tell (whose nick this is) is asked of [`rooms::Rooms`]. No I/O, and nothing here fails: a value that
//! makes no sense is left out, the original stanza is kept beside.

pub mod address;
pub mod content;
pub mod links;
pub mod rooms;

use crate::mirror::{Copy, Method, SID_NS, Source};
use crate::node::Node;
use crate::time::Micros;
use crate::xml::Element;
use address::Address;
use content::{Content, flags};
use rooms::Rooms;

/// Longest id, thread or nick that the archive indexes; what is longer is cut in the columns and whole in the stanza.
pub const MAX_ID_BYTES: usize = 1024;

/// RFC 6121 §5.2.2, with the numbers of the column `messages.type`. `error` never stands there: it is a bounce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
#[expect(missing_docs, reason = "the names are those of RFC 6121")]
pub enum MessageType {
    Normal = 0,
    Chat = 1,
    Groupchat = 2,
    Headline = 3,
}

/// In which role of a conversation a copy was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Between two people.
    Direct,
    /// From an occupant into a room.
    IntoRoom,
    /// From a room to an occupant.
    FromRoom,
    /// From an occupant to another one's nick.
    PrivateInto,
    /// The same, as it reaches the other one.
    PrivateFrom,
    /// To a room itself: a mediated invitation, or a refusal of one.
    ServiceInto,
    /// The same, as the room passes it on.
    ServiceFrom,
}

impl Place {
    /// Whether the room has handled the message already.
    pub fn is_from_room(self) -> bool {
        matches!(self, Place::FromRoom | Place::PrivateFrom | Place::ServiceFrom)
    }

    /// Whether the message is on its way into the room.
    pub fn is_into_room(self) -> bool {
        matches!(self, Place::IntoRoom | Place::PrivateInto | Place::ServiceInto)
    }
}

/// What is known of a copy's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Direction {
    Unknown = 0,
    Sent = 1,
    Received = 2,
}

/// How many copies one send makes on the channel that this copy came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopiesPerSend {
    /// Exactly so many: the k-th group of them is the k-th message.
    Exactly(u16),
    /// About so many, as far as the known sessions of the recipient tell.
    About(u16),
    /// It can't be told.
    Unknown,
}

/// An id that can tell messages apart: two copies with the same namespace are one message if and only if the values are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExactId {
    /// Whether a stanza-id or a mirror's ref.
    pub kind: IdKind,
    /// The archive that gave a stanza-id, or the node that gave a ref.
    pub by: String,
    /// The id.
    pub value: String,
}

/// The kinds of [`ExactId`], with their numbers in `message_keys.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum IdKind {
    /// XEP-0359.
    StanzaId = 1,
    /// Our mirror envelope's `ref`.
    MirrorRef = 2,
    /// A row of another product's archive that has no id of its own (`history`).
    Row = 3,
}

impl IdKind {
    /// The kind with this number.
    pub fn of(number: i16) -> Self {
        match number {
            2 => Self::MirrorRef,
            3 => Self::Row,
            _ => Self::StanzaId,
        }
    }
}

/// What is known of a copy that came from another archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromHistory {
    /// `messages.via`.
    pub via: i16,
}

/// One copy of a message, normalised.
#[derive(Clone, Debug)]
pub struct Message {
    /// In which role of the conversation.
    pub place: Place,
    /// Where in the message's life.
    pub source: Source,
    /// What is known of its direction.
    pub direction: Direction,
    /// Whether the mirror itself told the direction of a direct copy.
    pub is_directed: bool,
    /// How far copies can be counted.
    pub per_send: CopiesPerSend,
    /// `from` as in the stanza.
    pub from: Address,
    /// `to` as in the stanza.
    pub to: Address,
    /// The room's JID.
    pub room: Option<String>,
    /// Who wrote it, where the real JID is known.
    pub sender: Option<Address>,
    /// The writer's nick in the room.
    pub sender_nick: Option<String>,
    /// Whom it is for: a person, or the room.
    pub recipient: Option<Address>,
    /// The nick that a private message in a room is for.
    pub recipient_nick: Option<String>,
    /// Whom this very copy went to.
    pub delivered_to: Option<Address>,
    /// The type.
    pub message_type: MessageType,
    /// The `id` attribute.
    pub id: Option<String>,
    /// XEP-0359 `origin-id`.
    pub origin_id: Option<String>,
    /// `xml:lang`.
    pub lang: Option<String>,
    /// What it says.
    pub content: Content,
    /// Ids that can be believed to be exact.
    pub exact_ids: Vec<ExactId>,
    /// When it was first sent, where a stamp that can be believed says so.
    pub stamp: Option<Micros>,
    /// When this copy arrived.
    pub arrived_at: Micros,
    /// Whether it was read from another archive.
    pub history: Option<FromHistory>,
    /// Who writes to whom, seen from the node: both, one or none of them its own.
    pub sender_is_local: bool,
    /// See [`Message::sender_is_local`].
    pub recipient_is_local: bool,
}

/// An error that came back for a message (RFC 6120 §8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// Who sent the error.
    pub from: Address,
    /// Who gets it: the sender of the message that bounced.
    pub to: Address,
    /// The id of the message that bounced.
    pub id: Option<String>,
    /// The defined condition, `item-not-found`.
    pub condition: String,
    /// The text beside it.
    pub text: Option<String>,
    /// When it arrived.
    pub arrived_at: Micros,
}

/// What a mirrored `<message/>` turned out to be.
#[derive(Clone, Debug)]
pub enum Normalised {
    /// A message with something in it.
    Message(Box<Message>),
    /// An error for an earlier message.
    Bounce(Box<Bounce>),
    /// Nothing that a person reads.
    Nothing,
}

/// Normalises one copy. `sessions` is how many of the recipient's sessions were to receive it, where known.
pub fn normalise(copy: &Copy<'_, '_>, node: &Node, rooms: &Rooms, arrived_at: Micros, sessions: Option<u16>) -> Normalised {
    let stanza = copy.stanza;
    let from = Address::parse(stanza.attribute("from").unwrap_or_default());
    let to = stanza.attribute("to").map(Address::parse).unwrap_or_else(|| own_account(copy, &from));
    if stanza.attribute("type") == Some("error") {
        return Normalised::Bounce(Box::new(bounce(stanza, from, to, arrived_at)));
    }
    let Some(mut content) = content::read(stanza) else { return Normalised::Nothing };
    let message_type = message_type(stanza);
    let place = place(&from, &to, message_type, &content, stanza, node);
    if matches!(place, Place::PrivateInto | Place::PrivateFrom) {
        content.flags |= flags::PRIVATE_IN_ROOM;
    }
    let people = people(place, &from, &to, rooms);
    let recipient_is_local = node.is_local(&to);
    let mut message = Message {
        place,
        source: copy.source,
        direction: direction(copy, place, node.is_local(&from), recipient_is_local),
        is_directed: tells_direction(copy),
        per_send: CopiesPerSend::Unknown,
        sender_is_local: people.sender.as_ref().map_or_else(|| place.is_from_room(), |sender| node.is_local(sender)),
        recipient_is_local: recipient_is_local || node.is_room(&to),
        room: people.room,
        sender: people.sender,
        sender_nick: people.sender_nick.map(shorten),
        recipient: people.recipient,
        recipient_nick: people.recipient_nick.map(shorten),
        delivered_to: None,
        message_type,
        id: attribute(stanza, "id"),
        origin_id: stanza.child("origin-id", SID_NS).and_then(|origin| attribute(origin, "id")),
        lang: attribute(stanza, "xml:lang"),
        exact_ids: exact_ids(copy, place, &from, node),
        stamp: stamp(copy, arrived_at),
        content,
        from,
        to,
        arrived_at,
        history: None,
    };
    message.per_send = copies_per_send(copy, &message, node, sessions);
    message.delivered_to = delivered_to(copy, &message);
    Normalised::Message(Box::new(message))
}

/// RFC 6120 §8.1.1.1: without `to` the stanza is for the sender's own account.
fn own_account(copy: &Copy<'_, '_>, from: &Address) -> Address {
    copy.owner.clone().unwrap_or_else(|| Address { bare: from.bare.clone(), resource: None })
}

fn message_type(stanza: Element<'_, '_>) -> MessageType {
    match stanza.attribute("type") {
        Some("chat") => MessageType::Chat,
        Some("groupchat") => MessageType::Groupchat,
        Some("headline") => MessageType::Headline,
        _ => MessageType::Normal,
    }
}

fn place(from: &Address, to: &Address, kind: MessageType, content: &Content, stanza: Element<'_, '_>, node: &Node) -> Place {
    if kind == MessageType::Groupchat {
        // A room's own archive may leave out whom it passed a message on to: then both are the room.
        let into = (node.is_room(to) && from.bare != to.bare) || (!node.is_room(from) && node.is_local(from));
        return if into { Place::IntoRoom } else { Place::FromRoom };
    }
    let mediated = content.invitee.is_some();
    let remote_occupant = !node.is_local(from) && !from.is_bare() && is_from_remote_room(stanza);
    match () {
        () if mediated && (node.is_room(to) || !node.is_room(from) && node.is_local(from)) => Place::ServiceInto,
        () if mediated => Place::ServiceFrom,
        () if node.is_room(to) && !to.is_bare() => Place::PrivateInto,
        () if node.is_room(to) => Place::ServiceInto,
        () if node.is_room(from) && !from.is_bare() || remote_occupant => Place::PrivateFrom,
        () if node.is_room(from) => Place::ServiceFrom,
        () => Place::Direct,
    }
}

/// XEP-0045 §7.5: a room marks the private messages that it passes on.
fn is_from_remote_room(stanza: Element<'_, '_>) -> bool {
    stanza.child("x", "http://jabber.org/protocol/muc#user").is_some()
}

struct People {
    room: Option<String>,
    sender: Option<Address>,
    sender_nick: Option<String>,
    recipient: Option<Address>,
    recipient_nick: Option<String>,
}

fn people(place: Place, from: &Address, to: &Address, rooms: &Rooms) -> People {
    let room = match place {
        Place::Direct => None,
        Place::IntoRoom | Place::PrivateInto | Place::ServiceInto => Some(to.bare.clone()),
        Place::FromRoom | Place::PrivateFrom | Place::ServiceFrom => Some(from.bare.clone()),
    };
    let Some(room) = room else {
        return People { room, sender: Some(from.clone()), sender_nick: None, recipient: Some(to.clone()), recipient_nick: None };
    };
    let the_room = Some(Address { bare: room.clone(), resource: None });
    let (sender, sender_nick) = if place.is_into_room() {
        (Some(from.clone()), rooms.nick(&room, from).map(str::to_owned))
    } else {
        let nick = from.resource.as_deref();
        (nick.and_then(|nick| rooms.real(&room, nick)).cloned(), nick.map(str::to_owned))
    };
    let (recipient, recipient_nick) = match place {
        Place::PrivateInto => {
            let nick = to.resource.as_deref();
            (nick.and_then(|nick| rooms.real(&room, nick)).map(without_resource), nick.map(str::to_owned))
        }
        Place::PrivateFrom => (Some(to.clone()), rooms.nick(&room, to).map(str::to_owned)),
        Place::ServiceFrom => (Some(to.clone()), None),
        _ => (the_room, None),
    };
    People { room: Some(room), sender, sender_nick, recipient, recipient_nick }
}

fn without_resource(address: &Address) -> Address {
    Address { bare: address.bare.clone(), resource: None }
}

fn direction(copy: &Copy<'_, '_>, place: Place, sender_is_local: bool, recipient_is_local: bool) -> Direction {
    let sent = |is_sent: bool| if is_sent { Direction::Sent } else { Direction::Received };
    match (&copy.method, copy.source) {
        (_, Source::Carbon) => sent(copy.sent_carbon),
        (_, Source::Late | Source::History | Source::Archive) => Direction::Received,
        (Method::Envelope(envelope), _) if envelope.sent.is_some() => sent(envelope.sent == Some(true)),
        // What comes into an Openfire comes from a user, from another server or from one of its rooms.
        (Method::Packet { incoming }, _) if !place.is_from_room() => sent(*incoming && sender_is_local),
        _ if place.is_into_room() => Direction::Sent,
        _ if place.is_from_room() => Direction::Received,
        _ if sender_is_local && !recipient_is_local => Direction::Sent,
        _ if recipient_is_local && !sender_is_local => Direction::Received,
        _ => Direction::Unknown,
    }
}

fn tells_direction(copy: &Copy<'_, '_>) -> bool {
    match &copy.method {
        Method::Packet { .. } => true,
        Method::Envelope(envelope) => envelope.sent.is_some(),
        Method::Forked | Method::Routed => false,
    }
}

/// `docs/MIRROR.md` has the table that this follows.
fn copies_per_send(copy: &Copy<'_, '_>, message: &Message, node: &Node, sessions: Option<u16>) -> CopiesPerSend {
    use CopiesPerSend::{About, Exactly, Unknown};
    if message.source == Source::Carbon || message.place.is_into_room() {
        return Exactly(1);
    }
    if message.place.is_from_room() {
        return if message.to.is_bare() { Unknown } else { Exactly(1) };
    }
    let to_a_person = node.is_local(&message.to) && message.to.local().is_some();
    let sent = u16::from(node.is_local(&message.from));
    match &copy.method {
        Method::Packet { incoming: true } => Exactly(1),
        Method::Packet { incoming: false } => Unknown,
        Method::Envelope(envelope) if envelope.sent == Some(true) || envelope.session.is_some() => Exactly(1),
        Method::Envelope(_) => Unknown,
        Method::Forked if !node.is_local(&message.to) => Exactly(1),
        Method::Forked if !to_a_person => Unknown,
        Method::Forked if !message.to.is_bare() => About(sent + 1),
        Method::Forked => sessions.map_or(Unknown, |sessions| About((sent + sessions).max(1))),
        Method::Routed if sent == 1 && to_a_person => Exactly(2),
        Method::Routed if !node.is_local(&message.to) || to_a_person => Exactly(1),
        Method::Routed => Unknown,
    }
}

fn delivered_to(copy: &Copy<'_, '_>, message: &Message) -> Option<Address> {
    if let Some(owner) = &copy.owner {
        return Some(owner.clone());
    }
    if let (Method::Envelope(envelope), Direction::Received) = (&copy.method, message.direction)
        && envelope.session.is_some()
    {
        return envelope.session.clone();
    }
    if message.place.is_into_room() { message.recipient.clone() } else { Some(message.to.clone()) }
}

/// Only ids that a server gave count, and only where a client can't have put them:
/// on a stock mirror a sent copy still carries whatever its sender forged.
fn exact_ids(copy: &Copy<'_, '_>, place: Place, from: &Address, node: &Node) -> Vec<ExactId> {
    let stanza_id = |(by, value): (String, String)| ExactId { kind: IdKind::StanzaId, by, value };
    let mut ids = Vec::new();
    if let Method::Envelope(envelope) = &copy.method {
        ids.extend(envelope.reference.iter().map(|value| ExactId {
            kind: IdKind::MirrorRef,
            by: shorten(envelope.host.clone().unwrap_or_else(|| node.itself().to_owned())),
            value: shorten(value.clone()),
        }));
        ids.extend(envelope.stanza_ids.iter().cloned().map(stanza_id));
    }
    ids.extend(copy.archive_id.clone().map(stanza_id));
    let by = match copy.source {
        Source::Carbon => copy.owner.as_ref().map(|owner| owner.bare.as_str()),
        Source::Direct | Source::History if place == Place::FromRoom && node.is_room(from) => Some(from.bare.as_str()),
        _ => None,
    };
    if let Some(by) = by {
        let given = copy.stanza.children().filter(|child| child.is("stanza-id", SID_NS));
        let own = given.filter(|id| id.attribute("by").is_some_and(|given| Address::parse(given).to_string() == by));
        ids.extend(own.filter_map(|id| id.attribute("id")).map(|id| stanza_id((by.to_owned(), shorten(id.to_owned())))));
    }
    ids.dedup();
    ids
}

/// A stamp from the future is no stamp: clocks differ by seconds, not by minutes.
fn stamp(copy: &Copy<'_, '_>, arrived_at: Micros) -> Option<Micros> {
    const TOLERANCE: Micros = 120 * crate::time::SECOND;
    let envelope_time = match &copy.method {
        Method::Envelope(envelope) => envelope.at,
        _ => None,
    };
    copy.stamp.or(envelope_time).filter(|stamp| *stamp > 0 && *stamp <= arrived_at + TOLERANCE)
}

fn bounce(stanza: Element<'_, '_>, from: Address, to: Address, arrived_at: Micros) -> Bounce {
    const STANZAS_NS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
    let error = stanza.children().find(|child| child.name() == "error");
    let conditions = || error.into_iter().flat_map(|error| error.children()).filter(|child| child.namespace() == STANZAS_NS);
    let condition = conditions().find(|child| child.name() != "text").map(|child| child.name().to_owned());
    let text = conditions().find(|child| child.name() == "text").map(|child| child.text().into_owned());
    Bounce {
        from,
        to,
        id: attribute(stanza, "id"),
        condition: shorten(condition.unwrap_or_else(|| "undefined-condition".to_owned())),
        text,
        arrived_at,
    }
}

fn attribute(element: Element<'_, '_>, name: &str) -> Option<String> {
    element.attribute(name).filter(|value| !value.is_empty()).map(|value| shorten(value.to_owned()))
}

/// Cut to [`MAX_ID_BYTES`] at a character's end.
pub(crate) fn shorten(mut text: String) -> String {
    if text.len() > MAX_ID_BYTES {
        let end = (0..=MAX_ID_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
