//! XEP-0280: a copy of a message for another session of its sender or recipient, nested in what a node mirrored.

use super::{FORWARD_NS, forwarded};
use crate::message::address::Address;
use crate::node::Node;
use crate::xml::Element;

const NAMESPACE: &str = "urn:xmpp:carbons:2";

pub(super) enum Carbon<'d, 'a> {
    /// Not a carbon.
    None,
    /// A carbon that did not come from the user's own account: XEP-0280 §11 says to ignore it.
    Forged,
    Of {
        owner: Address,
        sent: bool,
        message: Element<'d, 'a>,
    },
}

pub(super) fn open<'d, 'a>(stanza: Element<'d, 'a>, node: &Node) -> Carbon<'d, 'a> {
    let sent = stanza.child("sent", NAMESPACE);
    let Some(carbon) = sent.or_else(|| stanza.child("received", NAMESPACE)) else { return Carbon::None };
    let from = Address::parse(stanza.attribute("from").unwrap_or_default());
    let owner = Address::parse(stanza.attribute("to").unwrap_or_default());
    if !from.is_bare() || from.bare != owner.bare || !node.is_local(&owner) {
        return Carbon::Forged;
    }
    match carbon.child("forwarded", FORWARD_NS).and_then(forwarded::stanza) {
        Some(message) if message.name() == "message" => Carbon::Of { owner, sent: sent.is_some(), message },
        _ => Carbon::Forged,
    }
}
