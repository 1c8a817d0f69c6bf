//! From the socket to the spool: tell what is worth keeping, and hand it over.
//!
//! Each stanza is looked at just far enough: presence and iq are dropped here (never stored, they carry passwords), but presence
//! into rooms is kept for the occupant map and a user's own presence is counted as a session. Messages go to the spool as they
//! came, with when they arrived and how many sessions of the recipient were known at that moment, since that can't be found out later.

mod clock;
pub mod link;
pub mod record;
mod sessions;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::alarm::{Alarms, Name};
use crate::component::{Intake, Taken};
use crate::message::address::Address;
use crate::message::content;
use crate::mirror::{self, Copy, ENVELOPE_NS, Envelope, FORWARD_NS, Method, Recognised};
use crate::node::Node;
use crate::notify::xmpp;
use crate::spool::{AppendError, Appender};
use crate::stats::{NodeStats, count};
use crate::store::batch::Queued;
use crate::tally::{self, Count, State};
use crate::time::{Micros, now};
use crate::xml::{COMPONENT_NS, Document, Element};
pub use clock::StepWatch;
use link::Link;
use record::Record;
use sessions::Sessions;

const MUC_NS: &str = "http://jabber.org/protocol/muc";
const MUC_USER_NS: &str = "http://jabber.org/protocol/muc#user";
const PERSISTENT_ROOM: &[u8] = b"muc#roomconfig_persistentroom";

/// How often a copy that its node keeps until it is taken is offered to a spool that is full.
const FULL_PAUSE: Duration = Duration::from_millis(200);
/// How often what was counted goes into the spool: this much of it a `kill -9` can cost.
const TALLY_INTERVAL: Duration = Duration::from_secs(10);

const IQ: &str = "iq";
const PRESENCE: &str = "presence";
const NOTHING: &str = "nothing to read";
const UNREADABLE: &str = "unreadable presence or iq";
const OWN: &str = "addressed to the archive itself";
pub(crate) const ROOM_KIND: &str = "what kind of room it is";
const FULL: &str = "spool full";
const TOO_LONG: &str = "too long for the spool";

/// In the answer to a copy that is not kept and would not be the next time.
const REFUSED: &str = "<refused xmlns='urn:xmpp-archiver:mirror:0'/>";

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
    link: Arc<Link>,
    /// What was counted, and what of it is on its way into the spool.
    tally: tally::Pending,
    leaving: Mutex<Vec<Count<&'static str>>>,
}

/// What is known of a stanza after the first look.
struct Seen {
    look: Look,
    /// The node mirrored it. None for what somebody else made, or what could not be read.
    copy: Option<Option<Queued>>,
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
    pub fn new(node: Arc<Node>, spool: Appender, stats: Arc<NodeStats>, alarms: Alarms, link: Arc<Link>) -> Self {
        Self {
            node,
            spool,
            sessions: Mutex::default(),
            stats,
            alarms,
            forgeries_logged: AtomicU64::new(0),
            link,
            clock: None,
            tally: tally::Pending::default(),
            leaving: Mutex::default(),
        }
    }

    /// Has it notice when the system's clock is set.
    pub fn watching(self, clock: Arc<Mutex<StepWatch>>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The link with the node.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Puts gaps into the spool as they are noticed, and counts now and then, for as long as it is let.
    pub async fn keep_account(&self) {
        let mut due = tokio::time::Instant::now() + TALLY_INTERVAL;
        loop {
            self.write_gaps().await;
            if tokio::time::Instant::now() >= due {
                self.write_tally().await;
                due = tokio::time::Instant::now() + TALLY_INTERVAL;
            }
            let _time_to_look_again = tokio::time::timeout(TALLY_INTERVAL / 10, self.link.news.notified()).await;
        }
    }

    /// The last gaps and counts, once the session is over.
    pub async fn finish_account(&self) {
        self.write_gaps().await;
        self.write_tally().await;
    }

    async fn write_gaps(&self) {
        while let Some(gap) = self.link.unwritten() {
            let record = Record::gap(&self.node.name, now(), gap).encode();
            if self.spool.append(&record).await.is_err() {
                return;
            }
            self.link.written();
        }
    }

    /// What can't be written now stays counted. Nothing is lost when this is cancelled while it waits for the spool.
    async fn write_tally(&self) {
        let counts = {
            let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            if leaving.is_empty() {
                *leaving = self.tally.take();
            }
            leaving.clone()
        };
        if counts.is_empty() {
            return;
        }
        let record = Record::tally(&self.node.name, now(), counts).encode();
        if self.spool.append(&record).await.is_ok() {
            self.leaving.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn look(&self, stanza: &[u8], arrived_at: Micros) -> Seen {
        if is_plain_iq(stanza) && !stanza.starts_with(b"<iq") {
            return Seen { look: Look::Skip(IQ), copy: Some(None) };
        }
        let document = match Document::parse(stanza, COMPONENT_NS) {
            Ok(document) => document,
            Err(_kept_raw) if stanza.starts_with(b"<message") || memmem::find(stanza, ENVELOPE_NS.as_bytes()).is_some() => {
                return Seen { look: Look::Unreadable, copy: self.started(stanza, arrived_at) };
            }
            Err(_not_a_message) => return Seen { look: Look::Skip(UNREADABLE), copy: None },
        };
        match mirror::recognise(document.root(), &self.node) {
            Recognised::Own => {
                if let Some((jid, why)) = xmpp::refusal(document.root()) {
                    self.alarms.refused(&jid, &why);
                }
                Seen { look: Look::Skip(OWN), copy: None }
            }
            Recognised::Forged(why) => Seen { look: Look::Forged(why), copy: None },
            Recognised::Empty(method, why) => Seen { look: Look::Forged(why), copy: Some(queued(stanza, &method, arrived_at)) },
            Recognised::Copy(copy) => {
                let look = match copy.stanza.name() {
                    "message" if mirror::is_own(copy.stanza, &self.node) => Look::Skip(OWN),
                    "message" => self.message(&copy),
                    "presence" => self.presence(copy.stanza),
                    _ => room_kind(copy.stanza),
                };
                Seen { look, copy: Some(queued(stanza, &copy.method, arrived_at)) }
            }
        }
    }

    /// What is known of a copy that can't be read: the node sent it, and where it stands in its queue. None for what somebody else sent.
    fn started(&self, stanza: &[u8], arrived_at: Micros) -> Option<Option<Queued>> {
        let start = mirror::start(stanza).filter(|start| self.node.trusts(&start.from))?;
        Some(start.envelope.and_then(|envelope| position(&envelope, arrived_at)))
    }

    fn message(&self, copy: &Copy<'_, '_>) -> Look {
        let stanza = copy.stanza;
        if stanza.attribute("type") != Some("error") && !content::says_something(stanza) {
            return Look::Skip(NOTHING);
        }
        self.node.canaries.mirrored(&self.node.name, stanza);
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
        Look::Skip(PRESENCE)
    }

    /// Into the spool. What its node keeps until it is taken is never dropped, but waited for, whatever is done when the spool is full: a later copy
    /// would move the position past it.
    async fn keep(&self, record: &Record<'_>, queued: Option<&Queued>) -> Result<u64, AppendError> {
        let bytes = record.encode();
        let mut appended = self.spool.append(&bytes).await;
        while queued.is_some() && appended == Err(AppendError::Full) {
            tokio::time::sleep(FULL_PAUSE).await;
            appended = self.spool.append(&bytes).await;
        }
        match &appended {
            Ok(_) => {
                count(&self.stats.spooled);
                self.link.taken(record.arrived_at);
            }
            Err(error) => self.lose(*error, record.arrived_at),
        }
        appended
    }

    fn lose(&self, error: AppendError, arrived_at: Micros) {
        count(&self.stats.dropped);
        self.tally.add(arrived_at, State::Lost, if matches!(error, AppendError::TooLong { .. }) { TOO_LONG } else { FULL });
        self.link.dropped(arrived_at);
        let text = format!("{error}; stanzas are being lost: free the disk, raise spool.limit, or bring the store back");
        self.alarms.raise(Name::StanzasDropped, &self.node.name, &text);
    }

    /// Not kept, and counted as this. A number from the node's own queue goes into the spool all the same, or it would be missed.
    async fn skip(&self, stanza: &[u8], arrived_at: Micros, (state, reason): (State, &'static str), queued: Option<&Queued>) -> Taken {
        let Some(queued) = queued else {
            self.tally.add(arrived_at, state, reason);
            return acknowledge(stanza, None);
        };
        match self.keep(&Record::passed(&self.node.name, arrived_at, queued, reason), Some(queued)).await {
            Ok(seq) => acknowledge(stanza, Some((self.spool.clone(), seq))),
            Err(_counted_already) => Taken::Done,
        }
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
        let Seen { look, copy } = self.look(stanza, arrived_at);
        if let Some(queued) = &copy {
            self.link.came(queued.is_some());
        }
        let is_nodes = copy.is_some();
        let queued = copy.flatten();
        let sessions = match look {
            Look::Skip(reason) => {
                self.stats.skipped.add(reason, 1);
                return self.skip(stanza, arrived_at, (State::Skipped, reason), queued.as_ref()).await;
            }
            Look::Forged(why) => {
                self.forged(why, stanza);
                let taken = self.skip(stanza, arrived_at, (State::Forged, why), queued.as_ref()).await;
                // Whoever forges is not answered; what the node itself sent is, or it would keep it for ever.
                return if is_nodes { taken } else { Taken::Done };
            }
            Look::RoomKind { room, persistent } => {
                let _counted_already = self.keep(&Record::room_kind(&self.node.name, arrived_at, &room, persistent), None).await;
                if queued.is_none() {
                    return Taken::Done;
                }
                self.stats.skipped.add(ROOM_KIND, 1);
                return self.skip(stanza, arrived_at, (State::Skipped, ROOM_KIND), queued.as_ref()).await;
            }
            Look::Unreadable => {
                count(&self.stats.unreadable);
                None
            }
            Look::Keep(sessions) => sessions,
        };
        let look = |clock: &Arc<Mutex<StepWatch>>| clock.lock().unwrap_or_else(PoisonError::into_inner).look(arrived_at, Instant::now());
        let step = self.clock.as_ref().and_then(look);
        match self.keep(&Record::stanza(&self.node.name, arrived_at, sessions, stanza).after(step), queued.as_ref()).await {
            Ok(seq) if is_nodes => acknowledge(stanza, Some((self.spool.clone(), seq))),
            Ok(_) | Err(_) => Taken::Done,
        }
    }

    async fn oversize(&self, head: &[u8], total_bytes: u64, arrived_at: Micros) -> Taken {
        count(&self.stats.oversize);
        let text = format!("a stanza of {total_bytes} bytes from {} was over the limit and is lost", head_sender(head));
        self.alarms.raise(Name::StanzaOversize, &self.node.name, &format!("{text}: raise max_stanza of the node"));
        // The loss itself is on record: in quarantine, with the head of the stanza.
        match self.keep(&Record::oversize(&self.node.name, arrived_at, &text, head), None).await {
            Ok(seq) if self.started(head, arrived_at).is_some() => answer(head, REFUSED, Some((self.spool.clone(), seq))),
            Ok(_) | Err(_) => Taken::Done,
        }
    }

    fn connected(&self) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).forget();
    }

    fn disconnected(&self) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).forget();
        self.link.down();
    }

    fn mirrors(&self, at: Micros) {
        self.link.up(at);
    }

    fn caught_up(&self, at: Micros) {
        self.link.caught_up(at);
    }
}

/// Where in its node's own queue a copy stands that can be acknowledged, and is sent again when it is not: only what came in an iq can.
fn queued(stanza: &[u8], method: &Method, arrived_at: Micros) -> Option<Queued> {
    match method {
        Method::Envelope(envelope) if stanza.starts_with(b"<iq") => position(envelope, arrived_at),
        _ => None,
    }
}

/// Where in its node's own queue a copy stands, where the envelope says so.
pub(crate) fn position(envelope: &Envelope, arrived_at: Micros) -> Option<Queued> {
    // A node whose clock is ahead says nothing about when it was.
    let at = envelope.at.filter(|at| *at <= arrived_at).unwrap_or(arrived_at);
    Some(Queued { epoch: envelope.epoch.clone()?, sequence: envelope.sequence?, at: Some(at) })
}

/// A reason that comes back from the spool.
pub(crate) fn known_reason(reason: &str) -> &'static str {
    [IQ, PRESENCE, NOTHING, OWN, ROOM_KIND].into_iter().chain(mirror::EMPTY).find(|known| *known == reason).unwrap_or("not worth keeping")
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
    const SKIP: Look = Look::Skip(IQ);
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
    answer(stanza, "", durable)
}

/// Answers an iq of which at least the start is there, once something is durable.
fn answer(stanza: &[u8], content: &'static str, durable: Option<(Appender, u64)>) -> Taken {
    let Some(iq) = mirror::start(stanza) else { return Taken::Done };
    let [id, from, to] = [&iq.id, &iq.to, &iq.from].map(|text| quick_xml::escape::escape(text.as_str()));
    let end = if content.is_empty() { "/>".to_owned() } else { format!(">{content}</iq>") };
    let result = format!("<iq type='result' id='{id}' from='{from}' to='{to}'{end}");
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
    let full = from.and_then(|(rest, quote)| rest.split(quote).next()).unwrap_or("somebody");
    let shown = full.split('/').next().unwrap_or(full);
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
        assert_eq!(head_sender(head), "alice@h");
        assert_eq!(head_sender(b"<message"), "somebody");
    }
}
