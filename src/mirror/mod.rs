//! Recognise what a node mirrored: which stanza, by which way of wrapping, from which of a user's sessions.
//!
//! Every way that a node wraps a copy has a file here. Recognition works on the parsed stanza, does no I/O and never fails:
//! it ends in a copy, in a forgery that is counted and kept out, or in a stanza that is no mirrored one. Two rules keep
//! liars out (`docs/MIRROR.md`): the outer `from` must be a bare domain that the configuration names, and exactly one mirror level is undone.
//! What a user's server itself nests (carbons, archive results) is undone once more, when its own sender check holds.

mod carbon;
mod envelope;
mod forwarded;
mod openfire;
mod replay;

use crate::message::address::Address;
use crate::node::{Kind, Node};
use crate::time::Micros;
use crate::xml::Element;

pub use envelope::{Envelope, NAMESPACE as ENVELOPE_NS, Occupant, Start, start};

/// XEP-0297.
pub const FORWARD_NS: &str = "urn:xmpp:forward:0";
/// XEP-0203.
pub const DELAY_NS: &str = "urn:xmpp:delay";
/// XEP-0359.
pub const SID_NS: &str = "urn:xmpp:sid:0";

const NO_STANZA: &str = "wrapper without a stanza";
const FORGED_CARBON: &str = "carbon that is not from the user's own account";
const FORGED_RESULT: &str = "archive result from an address that is not the archive's";
const EMPTY_RESULT: &str = "archive result without a message";
/// Why there is nothing to believe in what a node mirrored.
pub const EMPTY: [&str; 4] = [NO_STANZA, FORGED_CARBON, FORGED_RESULT, EMPTY_RESULT];

/// How a copy was mirrored, which decides what one can know from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// XEP-0297, one copy as sent and one for each receiving session, no direction (ejabberd's mod_service_log).
    Forked,
    /// XEP-0297, one copy as sent and one as delivered, no direction (Prosody's mod_firewall).
    Routed,
    /// Openfire's packet copy, with its direction.
    Packet {
        /// Whether the packet came into the server, that is from its sender.
        incoming: bool,
    },
    /// Our own envelope.
    Envelope(Box<Envelope>),
}

/// Where in a message's life a copy was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// As sent or as delivered.
    Direct,
    /// A carbon (XEP-0280) for another session of sender or recipient.
    Carbon,
    /// Delivered late: from offline storage or after a resumed stream (XEP-0160, XEP-0198).
    Late,
    /// A room's history for one who joins (XEP-0045 §7.2.13).
    History,
    /// A result of an archive query (XEP-0313).
    Archive,
}

/// One mirrored stanza.
#[derive(Debug)]
pub struct Copy<'d, 'a> {
    /// How it was mirrored.
    pub method: Method,
    /// Where in the message's life it was made.
    pub source: Source,
    /// The innermost stanza: message, presence or iq.
    pub stanza: Element<'d, 'a>,
    /// For carbons and archive results, the session they went to.
    pub owner: Option<Address>,
    /// For a carbon, whether its owner is the message's sender.
    pub sent_carbon: bool,
    /// An id that the owner's own archive gave the message, with the archive's address.
    pub archive_id: Option<(String, String)>,
    /// When the message was first sent, by a delay stamp that can be believed.
    pub stamp: Option<Micros>,
}

/// What a stanza on the component stream is.
#[derive(Debug)]
pub enum Recognised<'d, 'a> {
    /// A mirrored stanza.
    Copy(Box<Copy<'d, 'a>>),
    /// Looks like a mirrored stanza but may not be believed; why.
    Forged(&'static str),
    /// The node did mirror it, but there is nothing in it that may be believed; how it was mirrored, and why not.
    Empty(Method, &'static str),
    /// Addressed to the component itself.
    Own,
}

/// Tells what `outer`, a stanza that `node` sent over its component stream, is.
pub fn recognise<'d, 'a>(outer: Element<'d, 'a>, node: &Node) -> Recognised<'d, 'a> {
    let Some((method, stanza)) = unwrap(outer, node) else { return Recognised::Own };
    if !node.trusts(outer.attribute("from").unwrap_or_default()) {
        return Recognised::Forged("wrapper from an address that is not trusted");
    }
    let Some(stanza) = stanza else { return Recognised::Empty(method, NO_STANZA) };
    let copy =
        Copy { method, source: Source::Direct, stanza, owner: None, sent_carbon: false, archive_id: None, stamp: openfire::date(outer) };
    if stanza.name() != "message" {
        return Recognised::Copy(Box::new(copy));
    }
    match carbon::open(stanza, node) {
        carbon::Carbon::None => replay::open(copy, node),
        carbon::Carbon::Forged => forged_inside(copy, FORGED_CARBON),
        carbon::Carbon::Of { owner, sent, message } => {
            Recognised::Copy(Box::new(Copy { source: Source::Carbon, stanza: message, owner: Some(owner), sent_carbon: sent, ..copy }))
        }
    }
}

/// Whether the archive itself wrote this message, or it is the error that came back for one: alarms are no conversation, however they are
/// mirrored. What a person writes to the archive is archived like anything else that people write.
pub fn is_own(stanza: Element<'_, '_>, node: &Node) -> bool {
    let is_archive = |end: &str| {
        let address = stanza.attribute(end).unwrap_or_default();
        // The cheap look first: nearly no message has anything to do with the archive.
        !node.domain.is_empty() && address.contains(node.domain.as_str()) && Address::parse(address).domain() == node.domain
    };
    is_archive("from") || (stanza.attribute("type") == Some("error") && is_archive("to"))
}

/// A stanza that really was sent, with a forgery in it: what its sender wrote beside the forgery still counts.
fn forged_inside<'d, 'a>(copy: Copy<'d, 'a>, why: &'static str) -> Recognised<'d, 'a> {
    let written = |child: Element<'_, '_>| child.name() == "body" && child.namespace() == copy.stanza.namespace();
    if copy.stanza.children().any(written) { Recognised::Copy(Box::new(copy)) } else { Recognised::Empty(copy.method, why) }
}

type Unwrapped<'d, 'a> = (Method, Option<Element<'d, 'a>>);

fn unwrap<'d, 'a>(outer: Element<'d, 'a>, node: &Node) -> Option<Unwrapped<'d, 'a>> {
    if let Some(mirror) = outer.child("mirror", ENVELOPE_NS) {
        return Some(envelope::open(mirror));
    }
    if outer.name() != "message" {
        return None;
    }
    if let Some(copy) = outer.child("copy", openfire::NAMESPACE) {
        return Some(openfire::open(copy));
    }
    let wrapper = outer.child("forwarded", FORWARD_NS)?;
    // ejabberd gives each wrapper a random id, Prosody's FORWARD gives none.
    let method = match node.kind {
        Kind::Ejabberd => Method::Forked,
        Kind::Prosody => Method::Routed,
        Kind::Auto | Kind::Openfire if outer.attribute("id").is_some() => Method::Forked,
        Kind::Auto | Kind::Openfire => Method::Routed,
    };
    Some((method, forwarded::stanza(wrapper)))
}
