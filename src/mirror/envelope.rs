//! Our own mirror envelope, `urn:xmpp-archiver:mirror:0` (`docs/MIRROR.md`): what a node module can say and a stock mirror can't.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::{FORWARD_NS, Method, SID_NS, forwarded};
use crate::message::address::Address;
use crate::time::{Micros, parse_stamp};
use crate::xml::{COMPONENT_NS, Document, Element};

/// The envelope's namespace.
pub const NAMESPACE: &str = "urn:xmpp-archiver:mirror:0";

/// How far the start of a stanza is read.
const START_BYTES: usize = 16 * 1024;
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

/// What the start of an iq tells, of which the rest may be missing or can't be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The iq's id.
    pub id: String,
    /// Who sent it.
    pub from: String,
    /// Whom it was sent to.
    pub to: String,
    /// The envelope in it, as far as its own attributes tell.
    pub envelope: Option<Envelope>,
}

/// Reads the start of an iq; none where it is none.
pub fn start(stanza: &[u8]) -> Option<Start> {
    if !stanza.starts_with(b"<iq") {
        return None;
    }
    let text = String::from_utf8_lossy(stanza.get(..START_BYTES).unwrap_or(stanza));
    let mut reader = Reader::from_str(&text);
    let tag = next_tag(&mut reader, &text)?;
    let iq = Document::parse(tag.as_bytes(), COMPONENT_NS).ok()?;
    let attribute = |name: &str| iq.root().attribute(name).unwrap_or_default().to_owned();
    let started = Start { id: attribute("id"), from: attribute("from"), to: attribute("to"), envelope: None };
    let envelope = next_tag(&mut reader, &text).and_then(|tag| {
        let child = Document::parse(tag.as_bytes(), COMPONENT_NS).ok()?;
        let is_mirror = child.root().is("mirror", NAMESPACE);
        if let (true, (Method::Envelope(envelope), _)) = (is_mirror, open(child.root())) { Some(*envelope) } else { None }
    });
    Some(Start { envelope, ..started })
}

/// The next start tag as an element of its own.
fn next_tag(reader: &mut Reader<&[u8]>, text: &str) -> Option<String> {
    loop {
        let start = usize::try_from(reader.buffer_position()).ok()?;
        let event = reader.read_event().ok()?;
        let end = usize::try_from(reader.buffer_position()).ok()?;
        match event {
            Event::Start(_) => return text.get(start..end)?.strip_suffix('>').map(|tag| tag.to_owned() + "/>"),
            Event::Empty(_) => return text.get(start..end).map(str::to_owned),
            Event::End(_) | Event::Eof => return None,
            _ => {}
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_an_iq_is_read_though_the_rest_is_not_there() {
        let whole = "<iq type='set' id='e&amp;1:7' from='h' to='archive.h'><mirror xmlns='urn:xmpp-archiver:mirror:0' epoch='e&amp;1' seq='7' \
                     at='2026-11-22T07:28:55Z'><forwarded xmlns='urn:xmpp:forward:0'><message><body>";
        let started = start(whole.as_bytes()).unwrap();
        assert_eq!((started.id.as_str(), started.from.as_str(), started.to.as_str()), ("e&1:7", "h", "archive.h"));
        let envelope = started.envelope.unwrap();
        assert_eq!((envelope.epoch.as_deref(), envelope.sequence, envelope.at.is_some()), (Some("e&1"), Some(7), true));
        let cut = whole.split_once("<mirror").unwrap().0;
        assert_eq!(start(cut.as_bytes()).unwrap(), Start { envelope: None, ..start(whole.as_bytes()).unwrap() });
        let empty = cut.replace('>', "/>");
        assert_eq!(start(empty.as_bytes()), start(cut.as_bytes()));
        for other in ["<message from='h'><mirror/></message>", "<iq type='set", "<iq type='set' id='a", "", "<iq <<"] {
            assert_eq!(start(other.as_bytes()), None, "{other}");
        }
        let stranger = whole.replace("urn:xmpp-archiver:mirror:0", "urn:another");
        assert_eq!(start(stranger.as_bytes()).unwrap().envelope, None);
    }
}
