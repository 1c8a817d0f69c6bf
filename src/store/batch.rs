//! What the writer is given: spool records, read and normalised, in the order of the spool.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::canary::Probe;
use crate::gap::Gap;
use crate::message::rooms::Event;
use crate::message::{Bounce, Message};
use crate::tally::Count;
use crate::time::{ClockStep, Micros};

/// One record of the spool.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the spool.
    pub seq: u64,
    /// The node that it came from, by its name in the configuration.
    pub node: Arc<str>,
    /// The node that `node` is a further feed of, where it is one.
    pub same_as: Option<Arc<str>>,
    /// When it arrived.
    pub arrived_at: Micros,
    /// How the clock was set shortly before, if it was.
    pub step: Option<ClockStep>,
    /// The record as it stood in the spool.
    pub record: Vec<u8>,
    /// The stanza inside the record.
    pub stanza: Range<usize>,
    /// A hash of the mirrored message but for its `to`: copies with the same hash need not be kept twice.
    pub shape: u64,
    /// Which record of the node's own queue it is, where the mirror says so.
    pub queued: Option<Queued>,
    /// Whether it comes out of the quarantine, and was counted when it went there.
    pub retried: bool,
    /// What it turned out to be.
    pub item: Item,
}

/// A position in a node's own queue (`docs/MIRROR.md`): what comes again after a reconnect has the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The queue.
    pub epoch: String,
    /// The position.
    pub sequence: u64,
    /// When the node handled it, as far as it says so; else when it arrived. None for what is numbered so that it is known again and for no
    /// other reason: nothing is missed where such numbers jump.
    pub at: Option<Micros>,
}

/// What a record turned out to be.
#[derive(Clone, Debug)]
pub enum Item {
    /// A copy of a message that is archived.
    Message(Box<Message>),
    /// An error for an earlier message.
    Bounce(Box<Bounce>),
    /// Somebody came into rooms or left them.
    Occupancy(Vec<Event>),
    /// A room was said to be persistent or not.
    RoomKind {
        /// The room's JID.
        room: String,
        /// Whether it stays when everybody has left.
        persistent: bool,
    },
    /// A probe message, which is not archived and whose author waits for the commit.
    Canary(Probe),
    /// Not archived; why.
    Skipped(&'static str),
    /// Could not be understood; why. It is kept as it is, in quarantine.
    Unreadable(String),
    /// Was too large and is lost, as this text says. What is left of it is kept in quarantine.
    Oversize(String),
    /// Messages of the node may have been missed.
    Gap(Gap),
    /// Counts of what the node sent and nobody spooled.
    Tally(Vec<Count<String>>),
}

impl Entry {
    /// The node whose rows these are, whichever of its feeds brought them.
    pub fn itself(&self) -> &str {
        self.same_as.as_deref().unwrap_or(&self.node)
    }

    /// The stanza as it was received.
    pub fn stanza(&self) -> &[u8] {
        self.record.get(self.stanza.clone()).unwrap_or_default()
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// New messages.
    pub messages: u64,
    /// Copies of messages that were there before.
    pub known: u64,
    /// Deliveries, those of the new messages included.
    pub deliveries: u64,
    /// Errors kept.
    pub bounces: u64,
    /// Records set aside.
    pub quarantined: u64,
    /// Records that had been stored before.
    pub repeated: u64,
    /// Gaps that are new, or of which more is known now.
    pub gaps: u64,
    /// Records not archived, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
}
