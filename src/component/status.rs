//! How one node is doing: its state and its counters, shared between the session and whoever asks.
//!
//! A change of state is logged once, with what to do about it; the same failure again is not news and goes to the
//! debug log only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{debug, info, warn};

use super::module::Presence;
use super::session::Outgoing;
use super::{SessionError, Settings};
use crate::time::{self, Micros};

/// Where the session with a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// An attempt is under way; the error is what ended the last one.
    Connecting(Option<SessionError>),
    /// Authenticated and reading.
    Online {
        /// Since when.
        since: Micros,
    },
    /// Not connected.
    Down {
        /// Why.
        error: SessionError,
        /// Why, and what to do about it.
        advice: String,
        /// When the session was lost or the first attempt failed.
        since: Micros,
        /// When the next attempt will be made.
        next_attempt: Micros,
    },
    /// The archiver ended the session.
    Stopped,
}

/// Whether the node was asked to mirror, where it has to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mirror {
    /// Nothing was asked: the node mirrors by its own configuration.
    NotAsked,
    /// The node confirmed it.
    Subscribed,
    /// The node refused or did not answer.
    Refused(String),
}

/// One count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count by now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

/// What was counted since the archiver started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Complete stanzas read.
    pub stanzas: Counter,
    /// Bytes read from the socket.
    pub bytes: Counter,
    /// Stanzas that were over the size limit, and lost.
    pub oversize: Counter,
    /// Things that a stream may not contain.
    pub violations: Counter,
    /// Sessions opened, the first one included.
    pub sessions: Counter,
    /// Pings that we sent.
    pub pings_sent: Counter,
    /// Requests (pings, discovery, version) that were answered.
    pub requests_answered: Counter,
    /// Acknowledgements sent for stanzas that became durable.
    pub acknowledged: Counter,
    /// Acknowledgements not sent because too many were pending or the stanza did not become durable. The node sends those stanzas again.
    pub unacknowledged: Counter,
}

impl Counters {
    /// How often the session had to be opened again.
    pub fn reconnects(&self) -> u64 {
        self.sessions.get().saturating_sub(1)
    }
}

#[derive(Debug)]
struct Inner {
    /// The way out of the session that is open.
    outgoing: Mutex<Option<Outgoing>>,
    state: Mutex<State>,
    mirror: Mutex<Mirror>,
    module: Mutex<Presence>,
    counters: Counters,
}

/// A handle on how one node is doing. Clones show the same node.
#[derive(Debug, Clone)]
pub struct Status(Arc<Inner>);

impl Status {
    /// A node that nothing was tried with yet.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            outgoing: Mutex::new(None),
            state: Mutex::new(State::Connecting(None)),
            mirror: Mutex::new(Mirror::NotAsked),
            module: Mutex::default(),
            counters: Counters::default(),
        }))
    }

    /// Where the session stands.
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// Whether the node agreed to mirror.
    pub fn mirror(&self) -> Mirror {
        self.0.mirror.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the node's module said of itself in this session.
    pub fn module(&self) -> Presence {
        self.0.module.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Sends a stanza of our own to the node, without waiting. False when there is no session, or it has no room.
    pub fn send(&self, stanza: Vec<u8>) -> bool {
        let outgoing = self.0.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        outgoing.as_ref().is_some_and(|outgoing| outgoing.send(stanza))
    }

    pub(super) fn opened(&self, outgoing: Outgoing) {
        *self.0.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = Some(outgoing);
    }

    /// The writer ends when nobody can send any more, so the way out must not outlive the session.
    pub(super) fn closed(&self) {
        *self.0.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn connecting(&self) {
        let mut state = self.lock();
        let last = match &*state {
            State::Down { error, .. } => Some(error.clone()),
            _ => None,
        };
        *state = State::Connecting(last);
    }

    pub(super) fn online(&self, settings: &Settings) {
        self.counters().sessions.add(1);
        *self.0.module.lock().unwrap_or_else(PoisonError::into_inner) = Presence::Unknown;
        *self.lock() = State::Online { since: time::now() };
        info!("node {}: connected to {} as {}", settings.name, settings.address, settings.domain);
    }

    pub(super) fn down(&self, settings: &Settings, error: SessionError, wait: Duration) {
        let advice = error.advice(settings);
        let mut state = self.lock();
        let again = matches!(&*state, State::Connecting(Some(last)) if last.word() == error.word());
        let wait_seconds = wait.as_secs_f64();
        if again {
            debug!("node {}: {advice}; next attempt in {wait_seconds:.1} s", settings.name);
        } else {
            warn!("node {}: {advice}; next attempt in {wait_seconds:.1} s, and so on until it works", settings.name);
        }
        let since = time::now();
        let next_attempt = since.saturating_add(Micros::try_from(wait.as_micros()).unwrap_or(Micros::MAX));
        *state = State::Down { error, advice, since, next_attempt };
    }

    /// Takes down what the node's module said of itself; what is new about it is logged.
    pub(super) fn set_module(&self, settings: &Settings, presence: Presence) {
        let mut current = self.0.module.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*current, &presence) {
            (Presence::Present(before), Presence::Present(now)) if (&before.epoch, &before.mode) == (&now.epoch, &now.mode) => {}
            (_, Presence::Present(now)) => {
                let (node, name, version, mode, epoch) = (&settings.name, &now.name, &now.version, &now.mode, &now.epoch);
                info!("node {node}: its module {name} {version} is there, mode {mode}, epoch {epoch}, {} copies in its queue", now.depth);
            }
            _ => debug!("node {}: no module of ours", settings.name),
        }
        *current = presence;
    }

    pub(super) fn stopped(&self) {
        *self.lock() = State::Stopped;
    }

    /// Takes down what the node said to being asked to mirror; tells whether that is news.
    pub(super) fn set_mirror(&self, mirror: Mirror) -> bool {
        let mut current = self.0.mirror.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *current != mirror;
        *current = mirror;
        news
    }

    /// A panic elsewhere leaves the state as it was: it is only shown, so showing it on is right.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}
