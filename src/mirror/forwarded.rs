//! XEP-0297: the stanza inside `<forwarded/>`, as ejabberd's mod_service_log and Prosody's mod_firewall send it.

use crate::xml::Element;

/// The one stanza in a `<forwarded/>`.
pub(super) fn stanza<'d, 'a>(forwarded: Element<'d, 'a>) -> Option<Element<'d, 'a>> {
    forwarded.children().find(|child| matches!(child.name(), "message" | "presence" | "iq"))
}
