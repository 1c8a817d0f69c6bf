//! Copies of messages that were sent before: archive results (XEP-0313), room history, late deliveries.
//!
//! Each says when the message was first sent by a delay stamp (XEP-0203). The stamp counts only when an address of this
//! node gave it: anybody can put a `<delay/>` into a message.

use super::{Copy, DELAY_NS, EMPTY_RESULT, FORGED_RESULT, FORWARD_NS, Recognised, SID_NS, Source, forged_inside, forwarded};
use crate::message::address::Address;
use crate::node::Node;
use crate::time::{Micros, parse_stamp};
use crate::xml::Element;

const ARCHIVE_NS: [&str; 4] = ["urn:xmpp:mam:2", "urn:xmpp:mam:1", "urn:xmpp:mam:0", "urn:xmpp:mam:tmp"];
const LEGACY_DELAY_NS: &str = "jabber:x:delay";

/// Tells a direct copy from a replay, opening an archive result.
pub(super) fn open<'d, 'a>(copy: Copy<'d, 'a>, node: &Node) -> Recognised<'d, 'a> {
    if let Some(result) = copy.stanza.children().find(|child| child.name() == "result" && ARCHIVE_NS.contains(&child.namespace())) {
        return archive_result(copy, result, node);
    }
    let from = Address::parse(copy.stanza.attribute("from").unwrap_or_default());
    let to = Address::parse(copy.stanza.attribute("to").unwrap_or_default());
    let Some((stamp, by)) = delay(copy.stanza) else { return Recognised::Copy(Box::new(copy)) };
    if node.is_room(&to) {
        // On its way into a room: whoever wrote the stamp, it was not the room.
        return Recognised::Copy(Box::new(copy));
    }
    if copy.stanza.attribute("type") == Some("groupchat") {
        let from_the_room = by.is_empty() || by.bare_is(&from.bare) || by.bare_is(from.domain());
        return if from_the_room && !node.is_local(&from) {
            replayed(copy, Source::History, stamp, None)
        } else {
            Recognised::Copy(Box::new(copy))
        };
    }
    let from_the_server = by.is_empty() || node.hosts.contains(&by.0) || by.bare_is(&to.bare);
    if !from_the_server || !node.is_local(&to) {
        return Recognised::Copy(Box::new(copy));
    }
    let archive_id = stanza_id(copy.stanza, &to.bare);
    replayed(copy, Source::Late, stamp, archive_id)
}

fn replayed<'d, 'a>(copy: Copy<'d, 'a>, source: Source, stamp: Micros, archive_id: Option<(String, String)>) -> Recognised<'d, 'a> {
    Recognised::Copy(Box::new(Copy { source, stamp: Some(stamp), archive_id, ..copy }))
}

/// XEP-0313 §3.1: the result comes from the archive's own address, that is the user's account or the room.
fn archive_result<'d, 'a>(copy: Copy<'d, 'a>, result: Element<'d, 'a>, node: &Node) -> Recognised<'d, 'a> {
    let owner = Address::parse(copy.stanza.attribute("to").unwrap_or_default());
    let archive = copy.stanza.attribute("from").map_or_else(|| owner.bare.clone(), |from| Address::parse(from).to_string());
    let own_account = archive == owner.bare && node.is_local(&owner);
    let room = node.is_room(&Address::parse(&archive)) && !archive.contains('/');
    if !own_account && !room {
        return forged_inside(copy, FORGED_RESULT);
    }
    let Some(forwarded) = result.child("forwarded", FORWARD_NS) else { return forged_inside(copy, EMPTY_RESULT) };
    let Some(message) = forwarded::stanza(forwarded) else { return forged_inside(copy, EMPTY_RESULT) };
    let stamp = delay(forwarded).map(|(stamp, _)| stamp);
    let archive_id = result.attribute("id").map(|id| (archive, id.to_owned()));
    Recognised::Copy(Box::new(Copy { source: Source::Archive, stanza: message, owner: Some(owner), stamp, archive_id, ..copy }))
}

/// Who wrote a delay stamp; the empty address where it does not say.
struct By(String);

impl By {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bare_is(&self, address: &str) -> bool {
        self.0 == address
    }
}

fn delay(parent: Element<'_, '_>) -> Option<(Micros, By)> {
    let delay = parent.child("delay", DELAY_NS).or_else(|| parent.child("x", LEGACY_DELAY_NS))?;
    let by = delay.attribute("from").map(|from| Address::parse(from).bare).unwrap_or_default();
    Some((parse_stamp(delay.attribute("stamp")?)?, By(by)))
}

/// The id that the archive of `by` gave this stanza (XEP-0359).
pub(super) fn stanza_id(stanza: Element<'_, '_>, by: &str) -> Option<(String, String)> {
    let ids = stanza.children().filter(|child| child.is("stanza-id", SID_NS));
    let mut own = ids.filter(|id| id.attribute("by").is_some_and(|given| Address::parse(given).to_string() == by));
    own.find_map(|id| Some((by.to_owned(), id.attribute("id")?.to_owned())))
}
