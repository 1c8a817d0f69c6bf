//! Openfire's packet notification: `<copy xmlns='http://jabber.org/protocol/packet#event' incoming='' processed='' date=''>STANZA</copy>`.
//!
//! `incoming` tells whether the packet came into the server (from its sender) or went out of it (to one receiving session).

use super::{Method, forwarded};
use crate::time::{Micros, parse_stamp};
use crate::xml::Element;

pub(super) const NAMESPACE: &str = "http://jabber.org/protocol/packet#event";

pub(super) fn open<'d, 'a>(copy: Element<'d, 'a>) -> (Method, Option<Element<'d, 'a>>) {
    let incoming = copy.attribute("incoming").is_some_and(|value| value == "true");
    (Method::Packet { incoming }, forwarded::stanza(copy))
}

/// When the packet passed: copies leave in batches, seconds later.
pub(super) fn date(outer: Element<'_, '_>) -> Option<Micros> {
    outer.child("copy", NAMESPACE)?.attribute("date").and_then(parse_stamp)
}
