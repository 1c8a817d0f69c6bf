//! A record of the spool, read and normalised: pure, in order, and without a way to fail.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Rules, past};
use crate::canary;
use crate::history;
use crate::intake;
use crate::intake::record::{Payload, Record};
use crate::message::content::flags;
use crate::message::rooms::Rooms;
use crate::message::{Message, Normalised, Place, normalise};
use crate::mirror::{self, Copy, Method, Recognised};
use crate::node::Node;
use crate::policy::{Policy, Verdict};
use crate::store::batch::{Entry, Item, Queued};
use crate::tally::Count;
use crate::time::Micros;
use crate::xml::{COMPONENT_NS, Document, Element};

/// Reads records; knows who is in which room.
pub struct RecordReader {
    nodes: HashMap<String, Arc<Node>>,
    rooms: Rooms,
    policy: Policy,
    /// Only compared within this process, so any key will do.
    shapes: RandomState,
}

impl RecordReader {
    /// A reader for what these nodes mirrored.
    pub fn new(nodes: &[Arc<Node>], policy: Policy) -> Self {
        let nodes = nodes.iter().map(|node| (node.name.clone(), node.clone())).collect();
        Self { nodes, rooms: Rooms::default(), policy, shapes: RandomState::new() }
    }

    /// Goes on by these rules; nodes that are not among them any more stay known, since their records may still come.
    pub fn follow(&mut self, rules: &Rules) {
        self.nodes.extend(rules.nodes.iter().map(|node| (node.name.clone(), node.clone())));
        self.policy = rules.policy;
    }

    /// Who is in which room, to be filled with what the database knows.
    pub fn rooms(&mut self) -> &mut Rooms {
        &mut self.rooms
    }

    /// Reads one record. Whatever is in it, something comes out.
    pub fn read(&mut self, seq: u64, bytes: &[u8]) -> Entry {
        let Some(record) = Record::decode(bytes) else {
            return unreadable(seq, bytes, &Node::default(), 0, 0..0, "not a record of this version".to_owned());
        };
        let node = self.node(record.node);
        let read = match &record.payload {
            Payload::RoomKind { room, persistent } => Ok((Item::RoomKind { room: (*room).to_owned(), persistent: *persistent }, 0, None)),
            Payload::History(item, range) => return self.history(seq, bytes, &record, item, range.start),
            Payload::Oversize { text, .. } => Ok((Item::Oversize((*text).to_owned()), 0, None)),
            Payload::Gap(gap) => Ok((Item::Gap(gap.clone()), 0, None)),
            Payload::Passed { sequence, at, reason, epoch } => {
                let queued = Queued { epoch: (*epoch).to_owned(), sequence: *sequence, at: Some(*at) };
                Ok((Item::Skipped(intake::known_reason(reason)), 0, Some(queued)))
            }
            Payload::Tally(counts) => Ok((Item::Tally(counts.iter().map(owned).collect()), 0, None)),
            // A defect in reading must cost one record, not the process: the record is set aside with all its bytes.
            Payload::Stanza(stanza, _) => catch_unwind(AssertUnwindSafe(|| self.stanza(stanza, &node, record.arrived_at, record.sessions)))
                .unwrap_or_else(|_panic| Err("reading it failed inside the program: please report this".to_owned())),
        };
        let stanza = match &record.payload {
            Payload::Stanza(_, range) => range.clone(),
            _ => 0..0,
        };
        match read {
            Ok((item, shape, queued)) => {
                let (node, same_as) = (Arc::from(record.node), node.same_as.as_deref().map(Arc::from));
                Entry {
                    seq,
                    node,
                    same_as,
                    arrived_at: record.arrived_at,
                    step: record.step,
                    record: bytes.to_vec(),
                    stanza,
                    shape,
                    queued,
                    retried: false,
                    item,
                }
            }
            Err(why) => {
                let queued = bytes.get(stanza.clone()).and_then(|stanza| started(stanza, &node, record.arrived_at));
                Entry { queued, ..unreadable(seq, bytes, &node, record.arrived_at, stanza, why) }
            }
        }
    }

    /// Reads an item of history. What can't be understood is named by its content, so that it goes to the quarantine once however often it is read.
    fn history(&mut self, seq: u64, bytes: &[u8], record: &Record<'_>, item: &[u8], start: usize) -> Entry {
        let node = self.node(record.node);
        let Some(past) = history::record::decode(item) else {
            return unreadable(seq, bytes, &node, record.arrived_at, 0..0, "not an item of this version".to_owned());
        };
        let stanza = start + past.range.start..start + past.range.end;
        let read = catch_unwind(AssertUnwindSafe(|| self.past(&past, &node, record.arrived_at)))
            .unwrap_or_else(|_panic| Err("reading it failed inside the program: please report this".to_owned()));
        match read {
            Ok((item, shape)) => {
                // An archive is that of the node, by whichever feed it is named.
                let node = Arc::from(node.itself());
                Entry {
                    seq,
                    node,
                    same_as: None,
                    arrived_at: record.arrived_at,
                    step: None,
                    record: bytes.to_vec(),
                    stanza,
                    shape,
                    queued: None,
                    retried: false,
                    item,
                }
            }
            Err(why) => {
                let queued = Queued { epoch: format!("history {:x}", Sha256::digest(item)), sequence: 0, at: None };
                Entry { queued: Some(queued), ..unreadable(seq, bytes, &node, record.arrived_at, stanza, why) }
            }
        }
    }

    fn past(&self, past: &history::record::Past<'_>, node: &Node, read_at: Micros) -> Result<(Item, u64), String> {
        if let Some(fault) = past.fault {
            return Err(fault.to_owned());
        }
        let document = Document::parse(past.stanza, COMPONENT_NS).map_err(|error| error.to_string())?;
        if node.canaries.recognise(&node.name, document.root()).is_some() {
            return Ok((Item::Skipped(canary::SKIPPED), 0));
        }
        let item = match past::read(past, document.root(), node, read_at)? {
            past::Read::Skipped(reason) => Item::Skipped(reason),
            past::Read::Message(mut message) => {
                if document.unbound_prefix {
                    message.content.flags |= flags::UNBOUND_PREFIX;
                }
                match self.policy.judge(&message, node) {
                    Verdict::Archive => Item::Message(message),
                    Verdict::Skip(reason) => Item::Skipped(reason),
                }
            }
        };
        Ok((item, self.shape(document.root())))
    }

    /// A record may outlive its node's place in the configuration; what the intake believed stays believed.
    fn node(&mut self, name: &str) -> Arc<Node> {
        self.nodes.entry(name.to_owned()).or_insert_with(|| Arc::new(Node { name: name.to_owned(), ..Node::default() })).clone()
    }

    fn stanza(
        &mut self,
        stanza: &[u8],
        node: &Arc<Node>,
        arrived_at: Micros,
        sessions: Option<u16>,
    ) -> Result<(Item, u64, Option<Queued>), String> {
        let document = Document::parse(stanza, COMPONENT_NS).map_err(|error| error.to_string())?;
        let node = believed(node, document.root());
        let copy = match mirror::recognise(document.root(), &node) {
            Recognised::Copy(copy) => copy,
            Recognised::Forged(why) | Recognised::Empty(_, why) => return Ok((Item::Skipped(why), 0, None)),
            Recognised::Own => return Ok((Item::Skipped("addressed to the archive itself"), 0, None)),
        };
        let mut events = Vec::new();
        let mut queued = None;
        if let Method::Envelope(envelope) = &copy.method {
            queued = intake::position(envelope, arrived_at);
            if let Some(room) = &envelope.room {
                events = self.rooms.occupants(room, &envelope.occupants, envelope.at.unwrap_or(arrived_at));
            }
        }
        if copy.stanza.name() == "presence" {
            events.extend(self.rooms.presence(copy.stanza, &node, arrived_at));
            let item = if events.is_empty() { Item::Skipped("presence") } else { Item::Occupancy(events) };
            return Ok((item, 0, queued));
        }
        let shape = self.shape(copy.stanza);
        Ok((self.message(&copy, &node, arrived_at, sessions, document.unbound_prefix), shape, queued))
    }

    fn message(&mut self, copy: &Copy<'_, '_>, node: &Node, arrived_at: Micros, sessions: Option<u16>, unbound_prefix: bool) -> Item {
        if copy.stanza.name() != "message" {
            return Item::Skipped("iq");
        }
        if mirror::is_own(copy.stanza, node) {
            return Item::Skipped("addressed to the archive itself");
        }
        if let Some(probe) = node.canaries.recognise(&node.name, copy.stanza) {
            return Item::Canary(probe);
        }
        match normalise(copy, node, &self.rooms, arrived_at, sessions) {
            Normalised::Nothing => Item::Skipped("nothing to read"),
            Normalised::Bounce(bounce) => Item::Bounce(bounce),
            Normalised::Message(mut message) => {
                if unbound_prefix {
                    message.content.flags |= flags::UNBOUND_PREFIX;
                }
                self.learn(&message);
                match self.policy.judge(&message, node) {
                    Verdict::Archive => Item::Message(message),
                    Verdict::Skip(reason) => Item::Skipped(reason),
                }
            }
        }
    }

    fn learn(&mut self, message: &Message) {
        let (Some(room), Some(id)) = (&message.room, &message.id) else { return };
        match message.place {
            Place::IntoRoom => self.rooms.said(room, id, &message.from),
            Place::FromRoom => {
                if let Some(nick) = &message.sender_nick {
                    self.rooms.heard(room, id, nick);
                }
            }
            _ => {}
        }
    }

    /// A hash of the mirrored stanza without the value of its `to`.
    fn shape(&self, stanza: Element<'_, '_>) -> u64 {
        let source = stanza.source().as_bytes();
        let mut hasher = self.shapes.build_hasher();
        match stanza.attribute("to").and_then(|to| memchr::memmem::find(source, to.as_bytes()).map(|at| (at, to.len()))) {
            Some((at, length)) => {
                hasher.write(source.get(..at).unwrap_or_default());
                hasher.write(source.get(at + length..).unwrap_or_default());
            }
            None => hasher.write(source),
        }
        hasher.finish()
    }
}

/// Where in its node's own queue a copy stands of which nothing but the start can be read.
fn started(stanza: &[u8], node: &Node, arrived_at: Micros) -> Option<Queued> {
    let start = mirror::start(stanza).filter(|start| node.hosts.is_empty() || node.trusts(&start.from))?;
    intake::position(&start.envelope?, arrived_at)
}

/// A node that is no longer configured is believed for the domain that it spoke for when the record was taken.
fn believed(node: &Arc<Node>, outer: Element<'_, '_>) -> Arc<Node> {
    if !node.hosts.is_empty() {
        return node.clone();
    }
    let from = outer.attribute("from").unwrap_or_default().to_owned();
    Arc::new(Node { hosts: [from].into(), ..Node::clone(node) })
}

fn owned(count: &Count<&str>) -> Count<String> {
    Count { day: count.day, state: count.state, reason: count.reason.to_owned(), count: count.count }
}

fn unreadable(seq: u64, bytes: &[u8], node: &Node, arrived_at: Micros, stanza: std::ops::Range<usize>, why: String) -> Entry {
    let item = Item::Unreadable(why);
    let (node, same_as) = (Arc::from(node.name.as_str()), node.same_as.as_deref().map(Arc::from));
    Entry { seq, node, same_as, arrived_at, step: None, record: bytes.to_vec(), stanza, shape: 0, queued: None, retried: false, item }
}
