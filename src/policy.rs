//! What is archived, and why: one pure function from a message to a verdict with its reason.
//!
//! Hints by which users ask servers not to store (XEP-0334) are recorded and not obeyed: an archive that the archived can
//! switch off is none.

use crate::message::content::Kind;
use crate::message::{Message, Place};
use crate::node::Node;

/// Which kinds are archived beside those that a person reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Delivery receipts (XEP-0184).
    pub receipts: bool,
    /// Chat markers (XEP-0333).
    pub markers: bool,
    /// Chat states (XEP-0085).
    pub chat_states: bool,
}

/// What becomes of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is archived.
    Archive,
    /// It is counted under this reason, and not archived.
    Skip(&'static str),
}

impl Policy {
    /// Judges one copy.
    pub fn judge(&self, message: &Message, node: &Node) -> Verdict {
        match message.content.kind {
            Kind::Receipt if !self.receipts => return Verdict::Skip("receipt"),
            Kind::Marker if !self.markers => return Verdict::Skip("marker"),
            Kind::ChatState if !self.chat_states => return Verdict::Skip("chat state"),
            Kind::Subject if is_no_subject(message) => return Verdict::Skip("a room without a subject was joined"),
            _ => {}
        }
        if node.incoming_only && !message.recipient_is_local {
            return Verdict::Skip("outgoing");
        }
        if node.incoming_only && message.place == Place::IntoRoom {
            return Verdict::Skip("outgoing");
        }
        Verdict::Archive
    }
}

/// XEP-0045 §7.2.15: a room sends its subject to everyone who joins, and an empty one when there is none; nobody said that.
fn is_no_subject(message: &Message) -> bool {
    message.place == Place::FromRoom && message.content.subject.is_none() && message.sender_nick.is_none() && message.exact_ids.is_empty()
}
