//! What the daemon consists of at the moment, for whoever only looks: `status`, the metrics, the health checks and the watch.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alarm::Alarms;
use crate::canary::{Canaries, Report};
use crate::component;
use crate::component::status::State;
use crate::indexer::IndexStats;
use crate::notify::Notifier;
use crate::pipeline::drain::Pulse;
use crate::spool::Appender;
use crate::stats::{NodeStats, StoreStats};
use crate::time::{Micros, now};

use super::ages::Ages;
use super::gaps;

/// The watch looks every second; one that has not for so long hangs.
const MOST_SILENCE: Duration = Duration::from_secs(30);

/// One node.
#[derive(Clone)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Where its component port is.
    pub address: String,
    /// The component's domain there.
    pub domain: String,
    /// The domains of its users.
    pub hosts: Vec<String>,
    /// What its intake counted.
    pub stats: Arc<NodeStats>,
    /// Its session.
    pub status: component::Status,
    /// What is known of the probes that are written there.
    pub canaries: Canaries,
}

impl NodeView {
    /// What can be told of the probes; none where none are written.
    pub fn canary(&self) -> Option<Report> {
        self.canaries.report(&self.name)
    }
}

/// One store.
#[derive(Clone)]
pub struct StoreView {
    /// Its name.
    pub name: String,
    /// Its spool.
    pub spool: Appender,
    /// What its pipeline counted.
    pub stats: Arc<StoreStats>,
    /// Whether the pipeline's threads are there.
    pub pulse: Pulse,
    /// How long its records have waited.
    pub ages: Arc<Mutex<Ages>>,
    /// The directories whose disks it fills.
    pub disks: Vec<PathBuf>,
    /// How far its index for searches is.
    pub index: Arc<IndexStats>,
}

impl StoreView {
    /// How long the oldest record has waited to be stored; none if none waits.
    pub fn oldest_age(&self) -> Option<Duration> {
        let depth = self.spool.depth();
        if depth.records == 0 {
            return None;
        }
        let by_sequence = self.ages.lock().unwrap_or_else(PoisonError::into_inner).age(depth.oldest_seq, Instant::now());
        // The writer knows better where it holds the record: it may stem from before this process.
        let since = self.stats.waits_since().map(|since| Duration::from_micros(u64::try_from(now() - since).unwrap_or(0)));
        Some(since.unwrap_or_default().max(by_sequence))
    }
}

/// Everything that is running.
#[derive(Clone, Default)]
pub struct View {
    /// The nodes, in the order of the configuration.
    pub nodes: Vec<NodeView>,
    /// The stores, by name.
    pub stores: Vec<StoreView>,
}

struct Inner {
    view: RwLock<Arc<View>>,
    alarms: Alarms,
    notifier: Notifier,
    started: Micros,
    http: Mutex<Option<String>>,
    gaps: Mutex<Option<gaps::Watch>>,
    is_stopping: AtomicBool,
    /// When the watch last looked, in microseconds since `began`.
    watched: AtomicI64,
    began: Instant,
}

/// A handle on what is running. Clones show the same.
#[derive(Clone)]
pub struct Shown(Arc<Inner>);

impl Shown {
    /// Nothing is running yet.
    pub fn new(alarms: Alarms, notifier: Notifier) -> Self {
        let inner = Inner {
            view: RwLock::default(),
            alarms,
            notifier,
            started: now(),
            http: Mutex::default(),
            gaps: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            watched: AtomicI64::new(0),
            began: Instant::now(),
        };
        Self(Arc::new(inner))
    }

    /// What is running.
    pub fn view(&self) -> Arc<View> {
        self.0.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_view(&self, view: View) {
        *self.0.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// The alarms.
    pub fn alarms(&self) -> &Alarms {
        &self.0.alarms
    }

    /// Whoever sends them.
    pub fn notifier(&self) -> &Notifier {
        &self.0.notifier
    }

    /// Since when.
    pub fn started(&self) -> Micros {
        self.0.started
    }

    /// Where the HTTP port is, once it is open.
    pub fn http(&self) -> Option<String> {
        self.0.http.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_http(&self, address: Option<String>) {
        *self.0.http.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    pub(super) fn set_gaps(&self, gaps: gaps::Watch) {
        *self.0.gaps.lock().unwrap_or_else(PoisonError::into_inner) = Some(gaps);
    }

    /// What gaps of a node are open, for `status`.
    pub(super) fn gaps(&self, node: &str) -> Value {
        self.0.gaps.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(Value::Null, |gaps| gaps.of(node))
    }

    /// How many gaps of a node are open, once that is known.
    pub fn open_gaps(&self, node: &str) -> Option<u64> {
        self.0.gaps.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.count(node)
    }

    pub(super) fn stopping(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Relaxed)
    }

    pub(super) fn watched(&self) {
        self.0.watched.store(self.0.began.elapsed().as_micros() as i64, Ordering::Relaxed);
    }

    /// Why the process should be started anew; nothing if it is well. A node or a database that is away is no reason.
    pub fn illness(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let silence = self.0.began.elapsed().as_micros() as i64 - self.0.watched.load(Ordering::Relaxed);
        if silence > MOST_SILENCE.as_micros() as i64 {
            reasons.push("the watch hangs".to_owned());
        }
        // At the end the threads end one after the other.
        let stores = if self.is_stopping() { Vec::new() } else { self.view().stores.clone() };
        for store in &stores {
            if !store.pulse.is_alive() {
                reasons.push(format!("store {}: a thread of the pipeline has ended", store.name));
            }
            if !store.spool.depth().is_written {
                reasons.push(format!("store {}: the thread that writes the spool has ended", store.name));
            }
        }
        reasons
    }

    /// What keeps a message from being received and stored at this moment; nothing if all is ready.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = self.illness();
        if self.is_stopping() {
            reasons.push("the archiver is stopping".to_owned());
        }
        let view = self.view();
        let away = |store: &&StoreView| !store.stats.is_connected();
        reasons.extend(view.stores.iter().filter(away).map(|store| format!("store {}: not reached, or not migrated", store.name)));
        let detached = |node: &&NodeView| !matches!(node.status.state(), State::Online { .. });
        reasons.extend(view.nodes.iter().filter(detached).map(|node| format!("node {}: not attached", node.name)));
        reasons
    }
}
