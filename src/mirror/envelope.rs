//! Our own mirror envelope, `urn:xmpp-archiver:mirror:0` (`docs/MIRROR.md`): what a node module can say and a stock mirror can't.

use super::{FORWARD_NS, Method, SID_NS, forwarded};
use crate::message::address::Address;
use crate::time::{Micros, parse_stamp};
use crate::xml::Element;

/// The envelope's namespace.
pub const NAMESPACE: &str = "urn:xmpp-archiver:mirror:0";

/// Most occupants that one envelope may list.
const MAX_OCCUPANTS: usize = 10_000;

/// What the envelope says about the copy in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `sent` as true, `received` as false, neither as none.
    pub sent: Option<bool>,
    /// The node's name for itself.
    pub host: Option<String>,
    /// Changes when the node lost its queue.
    pub epoch: Option<String>,
    /// Counts the copies of an epoch.
    pub sequence: Option<u64>,
    /// When the node handled the stanza.
    pub at: Option<Micros>,
    /// Shared by all the copies of one message on that node.
    pub reference: Option<String>,
    /// The session that sent or received it.
    pub session: Option<Address>,
    /// Stanza ids that the node's own archives gave: `(by, id)`.
    pub stanza_ids: Vec<(String, String)>,
    /// A room's occupants at that moment.
    pub occupants: Vec<Occupant>,
    /// The room that they are in.
    pub room: Option<String>,
}

/// One occupant of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The nick in the room.
    pub nick: String,
    /// The real JID.
    pub jid: Address,
}

pub(super) fn open<'d, 'a>(mirror: Element<'d, 'a>) -> (Method, Option<Element<'d, 'a>>) {
    let text = |name: &str| mirror.attribute(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let occupants = mirror.child("occupants", NAMESPACE);
    let envelope = Envelope {
        sent: match mirror.attribute("direction") {
            Some("sent") => Some(true),
            Some("received") => Some(false),
            _ => None,
        },
        host: text("host"),
        epoch: text("epoch"),
        sequence: mirror.attribute("seq").and_then(|value| value.parse().ok()),
        at: mirror.attribute("at").and_then(parse_stamp),
        reference: text("ref"),
        session: mirror.attribute("session").map(Address::parse),
        stanza_ids: stanza_ids(mirror),
        occupants: occupants.map(read_occupants).unwrap_or_default(),
        room: occupants.and_then(|list| list.attribute("room")).map(|room| Address::parse(room).bare),
    };
    (Method::Envelope(Box::new(envelope)), mirror.child("forwarded", FORWARD_NS).and_then(forwarded::stanza))
}

fn stanza_ids(mirror: Element<'_, '_>) -> Vec<(String, String)> {
    let ids = mirror.children().filter(|child| child.is("stanza-id", SID_NS));
    ids.filter_map(|id| Some((Address::parse(id.attribute("by")?).bare, id.attribute("id")?.to_owned()))).collect()
}

fn read_occupants(list: Element<'_, '_>) -> Vec<Occupant> {
    let occupants = list.children().filter(|child| child.is("occupant", NAMESPACE));
    let read = occupants.filter_map(|occupant| {
        Some(Occupant { nick: occupant.attribute("nick")?.to_owned(), jid: Address::parse(occupant.attribute("jid")?) })
    });
    read.take(MAX_OCCUPANTS).collect()
}
