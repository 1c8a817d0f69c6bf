//! Rows of other products' archives as items: Cisco's `jm` and `tc_msgarchive`, Openfire's `ofMessageArchive`, from a database or a CSV export.
//!
//! What the columns say is kept: where a row holds the stanza it is taken as it is, else one is made of the columns ([`super::made`]), and where it was made
//! or a JID is not in its normal form the small columns stand in the message's detail as they were.
//!
//! Which rows are one message: Cisco's `jm` has a row for the sender and one for the recipient, and more where a message was forked or went to a room.
//! They join by what they say and by the stanza's id. Rows whose stanza has no id are told apart by all that stands in them, and by
//! which of several equal rows it is. The other two tables hold each message once, under a number.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::made::{self, Columns};
use super::sql::ReadRow;
use super::{Direction, Interval, Item};
use crate::message::address::Address;
use crate::node::Node;
use crate::time::{Micros, parse_stamp};
use crate::xml::{COMPONENT_NS, Document};

/// Most rows that are remembered to tell equal ones apart: they stand close together in any export.
const MAX_SEEN: usize = 200_000;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cisco's Message Archiver.
    CiscoJm,
    /// Cisco's persistent chat.
    CiscoTc,
    /// Openfire's Monitoring plugin.
    Openfire,
}

impl Kind {
    /// Its usual name.
    pub fn table(self) -> &'static str {
        match self {
            Self::CiscoJm => "jm",
            Self::CiscoTc => "tc_msgarchive",
            Self::Openfire => "ofMessageArchive",
        }
    }

    /// The source's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CiscoJm => "cisco-jm",
            Self::CiscoTc => "cisco-tc",
            Self::Openfire => "openfire",
        }
    }

    /// The columns that are read; the first three must be there. The third is the time.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::CiscoJm => &[
                "from_jid",
                "to_jid",
                "sent_date",
                "subject",
                "thread_id",
                "msg_type",
                "direction",
                "body_string",
                "body_text",
                "message_string",
                "message_text",
                "history_flag",
            ],
            Self::CiscoTc => &[
                "from_jid",
                "to_jid",
                "sent_date",
                "msg_id",
                "nick_jid",
                "msg_type",
                "subject",
                "body_string",
                "body_text",
                "message_string",
                "message_text",
            ],
            Self::Openfire => {
                &["fromJID", "toJID", "sentDate", "messageID", "conversationID", "fromJIDResource", "toJIDResource", "stanza", "body"]
            }
        }
    }

    /// What this archive can't hold.
    pub fn lacks(self) -> &'static str {
        match self {
            Self::CiscoJm => {
                "what was not logged: outgoing messages unless that was set, and whatever was said while the database was away"
            }
            Self::CiscoTc => "conversations between two people, and what was purged",
            Self::Openfire => "what was not archived by the plugin's settings, or has expired",
        }
    }
}

/// Reads rows.
pub struct Reader {
    kind: Kind,
    node: Arc<Node>,
    zone: TimeZone,
    interval: Interval,
    seen: Seen,
}

/// One row, column by column in the order of [`Kind::columns`].
struct Row<'r> {
    kind: Kind,
    cells: &'r [Option<String>],
}

impl<'r> Row<'r> {
    fn get(&self, name: &str) -> Option<&'r str> {
        let index = self.kind.columns().iter().position(|column| *column == name)?;
        self.cells.get(index)?.as_deref().filter(|text| !text.is_empty())
    }

    fn either(&self, short: &str, long: &str) -> Option<&'r str> {
        self.get(short).or_else(|| self.get(long))
    }

    fn address(&self, bare: &str, resource: &str) -> String {
        let bare = self.get(bare).unwrap_or_default();
        match self.get(resource) {
            // Some rows have the resource in the column of the bare JID as well.
            Some(resource) if !bare.contains('/') => format!("{bare}/{resource}"),
            _ => bare.to_owned(),
        }
    }

    /// The columns but for the long texts, and for the stanza where it is of no use.
    fn original(&self, stanza_is_odd: bool) -> String {
        const TEXTS: [&str; 6] = ["body_string", "body_text", "body", "message_string", "message_text", "stanza"];
        let mut columns = Map::new();
        for (name, cell) in self.kind.columns().iter().zip(self.cells) {
            let is_stanza = matches!(*name, "message_string" | "message_text" | "stanza");
            if let Some(text) = cell.as_ref().filter(|_| !TEXTS.contains(name) || (is_stanza && stanza_is_odd)) {
                columns.insert((*name).to_owned(), Value::String(text.clone()));
            }
        }
        columns.insert("table".to_owned(), Value::String(self.kind.table().to_owned()));
        Value::Object(columns).to_string()
    }
}

/// How often each of the latest rows was seen.
#[derive(Default)]
struct Seen {
    counts: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

impl Seen {
    /// The name of a row, and which of several equal ones it is.
    fn name(&mut self, cells: &[Option<String>]) -> String {
        let mut hash = Sha256::new();
        for cell in cells {
            let text = cell.as_deref().unwrap_or_default();
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let digest = hash.finalize();
        let key = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let count = self.counts.entry(key).or_default();
        *count += 1;
        if *count == 1 {
            self.order.push_back(key);
        }
        let name = format!("{hex}#{count}");
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        name
    }
}

/// The parts of an item that differ from table to table.
struct Parts<'r> {
    from: String,
    to: String,
    message_type: &'static str,
    xml: Option<&'r str>,
    body: Option<&'r str>,
    archive: String,
    direction: Direction,
}

impl Reader {
    /// A reader of this table's rows; `zone` is that of times without one.
    pub fn new(kind: Kind, node: Arc<Node>, zone: TimeZone, interval: Interval) -> Self {
        Self { kind, node, zone, interval, seen: Seen::default() }
    }

    fn parts<'r>(&self, row: &Row<'r>) -> Parts<'r> {
        match self.kind {
            Kind::CiscoJm => cisco(row, self.jm_side(row)),
            Kind::CiscoTc => cisco(row, (bare(row.get("to_jid")), Direction::Sent)),
            Kind::Openfire => self.openfire(row),
        }
    }

    /// A row is of the sender's side (O) or of the recipient's (I). What goes into a room comes back to its sender, too: so that is the room's side.
    fn jm_side(&self, row: &Row<'_>) -> (String, Direction) {
        let recipient = bare(row.get("to_jid"));
        if self.node.is_room(&Address::parse(&recipient)) {
            return (recipient, Direction::Sent);
        }
        match row.get("direction").and_then(|direction| direction.chars().next()) {
            Some('O' | 'o') => (bare(row.get("from_jid")), Direction::Sent),
            Some('I' | 'i') => (bare(row.get("to_jid")), Direction::Received),
            _ => (bare(row.get("to_jid")), Direction::Unknown),
        }
    }

    fn openfire<'r>(&self, row: &Row<'r>) -> Parts<'r> {
        let (from, to) = (row.address("fromJID", "fromJIDResource"), row.address("toJID", "toJIDResource"));
        let (sender, recipient) = (Address::parse(&from), Address::parse(&to));
        let to_room = self.node.is_room(&recipient);
        let is_sent = self.node.is_local(&sender);
        let archive = match () {
            () if to_room => recipient.bare.clone(),
            () if is_sent => sender.domain().to_owned(),
            () => recipient.domain().to_owned(),
        };
        Parts {
            message_type: if to_room { "groupchat" } else { "chat" },
            // Into a room one writes without a nick; the resource here is the sender's nick or nothing.
            to: if to_room { recipient.bare } else { to },
            from,
            xml: row.get("stanza"),
            body: row.get("body"),
            archive,
            direction: if is_sent { Direction::Sent } else { Direction::Received },
        }
    }

    /// The archive's own name for a row: a number, or all that stands in it.
    fn name(&mut self, row: &Row<'_>, stanza: &[u8]) -> Option<String> {
        let number = match self.kind {
            Kind::CiscoTc => row.get("msg_id"),
            Kind::Openfire => row.get("messageID"),
            Kind::CiscoJm => None,
        };
        // Counted whether it is needed or not, so that equal rows have the same names wherever the reading begins.
        let by_content = self.seen.name(row.cells);
        match number {
            Some(number) => Some(format!("{}:{number}", self.kind.table())),
            None if made::attribute(stanza, "id").is_none_or(|id| id.is_empty()) => Some(by_content),
            None => None,
        }
    }

    fn time(&self, row: &Row<'_>, stanza: &[u8]) -> (Micros, Option<&'static str>) {
        let column = self.kind.columns().get(2).copied().unwrap_or_default();
        let at = row.get(column).and_then(|text| when(text, &self.zone)).unwrap_or_default();
        if row.get("history_flag").is_none_or(|flag| !flag.starts_with(['H', 'h'])) {
            return (at, None);
        }
        // A room's history for somebody who joined: the row tells when that was, the stamp when it was said.
        match stamp(stanza) {
            Some(stamp) => (stamp, None),
            None => (at, Some("a room's history, shown to somebody who joined")),
        }
    }
}

impl ReadRow for Reader {
    fn item(&mut self, cells: &[Option<String>]) -> Option<Item> {
        let row = Row { kind: self.kind, cells };
        let parts = self.parts(&row);
        let read = parts.xml.filter(|xml| is_message(xml)).map(|xml| made::addressed(xml.trim(), &parts.from, &parts.to).into_bytes());
        let is_made = read.is_none();
        let stanza = read.unwrap_or_else(|| {
            made::message(&Columns {
                from: &parts.from,
                to: &parts.to,
                message_type: parts.message_type,
                subject: row.get("subject"),
                thread: row.get("thread_id"),
                body: parts.body,
                source: self.kind.name(),
            })
        });
        let name = self.name(&row, &stanza);
        let (at, skip) = self.time(&row, &stanza);
        if at > 0 && !self.interval.holds(at) {
            return None;
        }
        let is_dirty = [&parts.from, &parts.to].iter().any(|jid| Address::parse(jid).to_string() != **jid || jid::Jid::new(jid).is_err());
        let nobody = parts.from.is_empty() && parts.to.is_empty() && made::sender(&stanza).is_empty();
        Some(Item {
            at,
            archive: Some(parts.archive),
            direction: parts.direction,
            row: name,
            sender: Some(parts.from.clone()).filter(|from| !from.is_empty() && !self.node.is_room(&Address::parse(from))),
            nick: row.get("nick_jid").and_then(|nick| Address::parse(nick).resource),
            original: (is_made || is_dirty).then(|| row.original(is_made && parts.xml.is_some())),
            fault: nobody.then(|| "a row without any address".to_owned()),
            skip,
            stanza,
            ..Item::default()
        })
    }

    fn lacks(&self) -> &'static str {
        self.kind.lacks()
    }
}

fn cisco<'r>(row: &Row<'r>, (archive, direction): (String, Direction)) -> Parts<'r> {
    let text = |name| row.get(name).unwrap_or_default().to_owned();
    Parts {
        from: text("from_jid"),
        to: text("to_jid"),
        message_type: match row.get("msg_type").and_then(|letter| letter.chars().next()) {
            Some('c' | 'C') => "chat",
            Some('g' | 'G') => "groupchat",
            Some('h' | 'H') => "headline",
            Some('e' | 'E') => "error",
            _ => "",
        },
        xml: row.either("message_string", "message_text"),
        body: row.either("body_string", "body_text"),
        archive,
        direction,
    }
}

fn bare(jid: Option<&str>) -> String {
    Address::parse(jid.unwrap_or_default()).bare
}

fn is_message(xml: &str) -> bool {
    Document::parse(xml.trim().as_bytes(), COMPONENT_NS).is_ok_and(|document| document.root().name() == "message")
}

/// The stamp of a delay (XEP-0203, XEP-0091), whoever wrote it: the row says that there must be one.
fn stamp(stanza: &[u8]) -> Option<Micros> {
    let document = Document::parse(stanza, COMPONENT_NS).ok()?;
    let root = document.root();
    let delay = root.child("delay", "urn:xmpp:delay").or_else(|| root.child("x", "jabber:x:delay"))?;
    parse_stamp(delay.attribute("stamp")?)
}

/// A time as databases write it: with or without a zone, or milliseconds since the epoch.
pub(super) fn when(text: &str, zone: &TimeZone) -> Option<Micros> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(1_000);
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let civil: DateTime = text.parse().ok()?;
    civil.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests;
