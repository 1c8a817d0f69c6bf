//! From the socket to the spool: tell what is worth keeping, and hand it over.
//!
//! Each stanza is looked at just far enough: presence and iq are dropped here (never stored, they carry passwords), but presence
//! into rooms is kept for the occupant map and a user's own presence is counted as a session. Messages go to the spool as they
//! came, with when they arrived and how many sessions of the recipient were known at that moment, since that can't be found out later.

mod clock;
pub mod record;
mod sessions;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use memchr::memmem;

use crate::alarm::{Alarms, Name};
use crate::component::{Intake, Taken};
use crate::message::address::Address;
use crate::message::content;
use crate::mirror::{self, Copy, ENVELOPE_NS, FORWARD_NS, Method, Recognised};
use crate::node::Node;
use crate::spool::{AppendError, Appender};
use crate::stats::{NodeStats, count};
use crate::time::Micros;
use crate::xml::{COMPONENT_NS, Document, Element};
pub use clock::StepWatch;
use record::Record;
use sessions::Sessions;

const MUC_NS: &str = "http://jabber.org/protocol/muc";
const MUC_USER_NS: &str = "http://jabber.org/protocol/muc#user";
const PERSISTENT_ROOM: &[u8] = b"muc#roomconfig_persistentroom";

/// The intake of one node.
pub struct NodeIntake {
    node: Arc<Node>,
    spool: Appender,
    sessions: Mutex<Sessions>,
    /// None where times of arrival are not those of now.
    clock: Option<Arc<Mutex<StepWatch>>>,
    stats: Arc<NodeStats>,
    alarms: Alarms,
    forgeries_logged: AtomicU64,
}

/// What the first look at a stanza found.
enum Look {
    /// Into the spool, with the number of sessions that were to receive it.
    Keep(Option<u16>),
    /// Into the spool, though nothing could be read.
    Unreadable,
    /// A room was said to be persistent or not.
    RoomKind {
        room: String,
        persistent: bool,
    },
    Skip(&'static str),
    Forged(&'static str),
}

impl NodeIntake {
    /// An intake that puts what `node` mirrors into `spool`.
    pub fn new(node: Arc<Node>, spool: Appender, stats: Arc<NodeStats>, alarms: Alarms) -> Self {
        Self { node, spool, sessions: Mutex::default(), clock: None, stats, alarms, forgeries_logged: AtomicU64::new(0) }
    }

    /// Has it notice when the system's clock is set.
    pub fn watching(self, clock: Arc<Mutex<StepWatch>>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    fn look(&self, stanza: &[u8]) -> Look {
        if is_plain_iq(stanza) {
            return Look::Skip("iq");
        }
        let document = match Document::parse(stanza, COMPONENT_NS) {
            Ok(document) => document,
            Err(_kept_raw) if stanza.starts_with(b"<message") || memmem::find(stanza, ENVELOPE_NS.as_bytes()).is_some() => {
                return Look::Unreadable;
            }
            Err(_not_a_message) => return Look::Skip("unreadable presence or iq"),
        };
        match mirror::recognise(document.root(), &self.node) {
            Recognised::Own => Look::Skip("addressed to the archive itself"),
            Recognised::Forged(why) => Look::Forged(why),
            Recognised::Copy(copy) => match copy.stanza.name() {
                "message" => self.message(&copy),
                "presence" => self.presence(copy.stanza),
                _ => room_kind(copy.stanza),
            },
        }
    }

    fn message(&self, copy: &Copy<'_, '_>) -> Look {
        let stanza = copy.stanza;
        if stanza.attribute("type") != Some("error") && !content::says_something(stanza) {
            return Look::Skip("nothing to read");
        }
        let to = stanza.attribute("to").unwrap_or_default();
        let needed = copy.method == Method::Forked && !to.contains('/');
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Look::Keep(if needed { sessions.receiving(&Address::parse(to).bare, stanza.attribute("type")) } else { None })
    }

    fn presence(&self, stanza: Element<'_, '_>) -> Look {
        if stanza.child("x", MUC_NS).is_some() || stanza.child("x", MUC_USER_NS).is_some() {
            return Look::Keep(None);
        }
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).presence(stanza, &self.node);
        Look::Skip("presence")
    }

    async fn keep(&self, record: &Record<'_>) -> Result<u64, AppendError> {
        let appended = self.spool.append(&record.encode()).await;
        match &appended {
            Ok(_) => count(&self.stats.spooled),
            Err(error) => {
                count(&self.stats.dropped);
                let text = format!("{error}; stanzas are being lost: free the disk, raise spool.limit, or bring the store back");
                self.alarms.raise(Name::StanzasDropped, &self.node.name, &text);
            }
        }
        appended
    }

    fn forged(&self, why: &'static str, stanza: &[u8]) {
        self.stats.forged.add(why, 1);
        // Whoever forges can do so often: the counts go on, the log does not.
        const MOST_LOGGED: u64 = 100;
        if self.forgeries_logged.fetch_add(1, Ordering::Relaxed) < MOST_LOGGED {
            let from = Document::parse(stanza, COMPONENT_NS).ok().and_then(|document| document.root().attribute("from").map(str::to_owned));
            log::warn!("node {}: kept out a forged stanza from {:?}: {why}", self.node.name, from.unwrap_or_default());
        }
    }
}

impl Intake for NodeIntake {
    async fn take(&self, stanza: &[u8], arrived_at: Micros) -> Taken {
        let sessions = match self.look(stanza) {
            Look::Skip(reason) => {
                self.stats.skipped.add(reason, 1);
                return acknowledge(stanza, None);
            }
            Look::Forged(why) => {
                self.forged(why, stanza);
                return Taken::Done;
            }
            Look::RoomKind { room, persistent } => {
                let _counted_already = self.keep(&Record::room_kind(&self.node.name, arrived_at, &room, persistent)).await;
                return Taken::Done;
            }
            Look::Unreadable => {
                count(&self.stats.unreadable);
                None
            }
            Look::Keep(sessions) => sessions,
        };
        let look = |clock: &Arc<Mutex<StepWatch>>| clock.lock().unwrap_or_else(PoisonError::into_inner).look(arrived_at, Instant::now());
        let step = self.clock.as_ref().and_then(look);
        match self.keep(&Record::stanza(&self.node.name, arrived_at, sessions, stanza).after(step)).await {
            Ok(seq) => acknowledge(stanza, Some((self.spool.clone(), seq))),
            Err(_counted_already) => Taken::Done,
        }
    }

    async fn oversize(&self, head: &[u8], total_bytes: u64, arrived_at: Micros) {
        count(&self.stats.oversize);
        let text = format!("a stanza of {total_bytes} bytes from {} was over the limit and is lost", head_sender(head));
        self.alarms.raise(Name::StanzaOversize, &self.node.name, &format!("{text}: raise max_stanza of the node"));
        // The loss itself is on record: in quarantine, with the head of the stanza.
        let _counted_already = self.keep(&Record::oversize(&self.node.name, arrived_at, &text, head)).await;
    }

    fn connected(&self) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).forget();
    }

    fn disconnected(&self) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).forget();
    }
}

/// A mirrored iq, told without parsing: most of an ejabberd's traffic besides messages.
fn is_plain_iq(stanza: &[u8]) -> bool {
    let Some(wrapper) = memmem::find(stanza, b"<forwarded") else { return false };
    let Some(inner) = stanza.get(wrapper + 1..).and_then(|rest| memchr::memchr(b'<', rest).and_then(|at| rest.get(at..))) else {
        return false;
    };
    inner.starts_with(b"<iq ") && memmem::find(inner, PERSISTENT_ROOM).is_none()
}

/// A room's owner submits the configuration form (XEP-0045 §10.2): the only way to learn on a stock mirror whether a room will stay.
fn room_kind(iq: Element<'_, '_>) -> Look {
    const SKIP: Look = Look::Skip("iq");
    if iq.attribute("type") != Some("set") {
        return SKIP;
    }
    let Some(query) = iq.child("query", "http://jabber.org/protocol/muc#owner") else { return SKIP };
    let Some(form) = query.child("x", "jabber:x:data") else { return SKIP };
    let field = form.children().find(|field| field.attribute("var") == Some("muc#roomconfig_persistentroom"));
    let value = field.and_then(|field| field.children().find(|child| child.name() == "value")).map(|value| value.text().into_owned());
    match (value.as_deref(), iq.attribute("to")) {
        (Some(value), Some(to)) => Look::RoomKind { room: Address::parse(to).bare, persistent: matches!(value, "1" | "true") },
        _ => SKIP,
    }
}

/// An envelope that came in an iq is answered with a result, once it is durable (`docs/MIRROR.md`).
fn acknowledge(stanza: &[u8], durable: Option<(Appender, u64)>) -> Taken {
    if !stanza.starts_with(b"<iq") {
        return Taken::Done;
    }
    let Ok(document) = Document::parse(stanza, COMPONENT_NS) else { return Taken::Done };
    let iq = document.root();
    let attribute = |name: &str| quick_xml::escape::escape(iq.attribute(name).unwrap_or_default()).into_owned();
    let result = format!("<iq type='result' id='{}' from='{}' to='{}'/>", attribute("id"), attribute("to"), attribute("from"));
    Taken::ReplyWhenDurable(Box::pin(async move {
        if let Some((spool, seq)) = durable {
            spool.durable(seq).await.ok()?;
        }
        Some(result.into_bytes())
    }))
}

/// The sender of a stanza of which only the head is known: the wrapped one's where it shows, else the node's.
fn head_sender(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let inner = head.split_once(FORWARD_NS).map_or(head.as_ref(), |(_, inner)| inner);
    let from =
        inner.split_once("from='").map(|(_, rest)| (rest, '\'')).or_else(|| inner.split_once("from=\"").map(|(_, rest)| (rest, '"')));
    let shown = from.and_then(|(rest, quote)| rest.split(quote).next()).unwrap_or("somebody");
    shown.chars().take(200).map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrored_iq_is_told_without_parsing_it() {
        assert!(is_plain_iq(b"<message><forwarded xmlns='urn:xmpp:forward:0'><iq type='get'/></forwarded></message>"));
        assert!(!is_plain_iq(b"<message><forwarded xmlns='urn:xmpp:forward:0'><message/></forwarded></message>"));
        assert!(!is_plain_iq(b"<message><forwarded><iq ><field var='muc#roomconfig_persistentroom'/></iq></forwarded></message>"));
        assert!(!is_plain_iq(b"<iq type='set'><mirror/></iq>"));
    }

    #[test]
    fn the_sender_of_a_cut_stanza_is_found() {
        let head = b"<message from='h' to='a'><forwarded xmlns='urn:xmpp:forward:0'><message from='alice@h/d' to='bob@h'><body>xx";
        assert_eq!(head_sender(head), "alice@h/d");
        assert_eq!(head_sender(b"<message"), "somebody");
    }
}
