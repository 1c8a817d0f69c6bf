//! What was counted and measured since the process started, by node and by store, for `status` and the metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use serde::Serialize;

use crate::store::batch::Committed;
use crate::time::Micros;

/// Counts by reason.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    /// One more, or several.
    pub fn add(&self, reason: &'static str, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += count;
    }

    /// All counts.
    pub fn get(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the intake of one node counted.
#[derive(Debug, Default)]
pub struct NodeStats {
    /// Stanzas put into the spool.
    pub spooled: AtomicU64,
    /// Stanzas that were larger than the limit, and lost.
    pub oversize: AtomicU64,
    /// Stanzas lost because the spool was full and set to drop.
    pub dropped: AtomicU64,
    /// Stanzas that could not be parsed; they are kept raw.
    pub unreadable: AtomicU64,
    /// Not kept, by reason.
    pub skipped: Reasons,
    /// Kept out because they may not be believed, by reason.
    pub forged: Reasons,
}

/// What one store's pipeline counted and measured.
#[derive(Debug)]
pub struct StoreStats {
    counts: Mutex<StoreCounts>,
    connected: AtomicBool,
    /// When the oldest record arrived that the writer holds and has not stored.
    waits_since: Mutex<Option<Micros>>,
    errors: Reasons,
    /// Records of a transaction.
    pub batch_records: Histogram,
    /// Seconds that a transaction took.
    pub commit_seconds: Histogram,
}

impl Default for StoreStats {
    fn default() -> Self {
        Self {
            counts: Mutex::default(),
            connected: AtomicBool::new(false),
            waits_since: Mutex::default(),
            errors: Reasons::default(),
            // 1 to 65,536 records; 1 ms to 65 s.
            batch_records: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            commit_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
        }
    }
}

/// The counts of a store.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreCounts {
    /// The first record of the spool that is not stored yet.
    pub committed_seq: u64,
    /// New messages.
    pub messages: u64,
    /// Copies of messages that were there before.
    pub known: u64,
    /// Copies.
    pub deliveries: u64,
    /// Errors attached to messages.
    pub bounces: u64,
    /// Records set aside.
    pub quarantined: u64,
    /// Records that had been stored before.
    pub repeated: u64,
    /// Gaps that were new, or of which more became known.
    pub gaps: u64,
    /// Not archived, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Transactions committed.
    pub commits: u64,
    /// When the newest stored record arrived, microseconds.
    pub newest_arrival: Micros,
}

impl StoreStats {
    /// Adds what a commit did.
    pub fn committed(&self, committed: &Committed, next_seq: u64, newest_arrival: Micros) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.messages += committed.messages;
        counts.known += committed.known;
        counts.deliveries += committed.deliveries;
        counts.bounces += committed.bounces;
        counts.quarantined += committed.quarantined;
        counts.repeated += committed.repeated;
        counts.gaps += committed.gaps;
        counts.commits += 1;
        counts.committed_seq = counts.committed_seq.max(next_seq);
        counts.newest_arrival = counts.newest_arrival.max(newest_arrival);
        for (reason, count) in &committed.skipped {
            *counts.skipped.entry(reason).or_default() += count;
        }
    }

    /// The position that the database had when the pipeline connected.
    pub fn starts_at(&self, seq: u64) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).committed_seq = seq;
    }

    /// The store was reached, and its tables are those of this version; or it is away.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Whether the store was reached, and its tables are those of this version.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// The writer holds a record that arrived then, or none.
    pub fn waits_for(&self, arrived_at: Option<Micros>) {
        *self.waits_since.lock().unwrap_or_else(PoisonError::into_inner) = arrived_at;
    }

    /// When the oldest record arrived that the writer holds.
    pub fn waits_since(&self) -> Option<Micros> {
        *self.waits_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database failed in this way.
    pub fn failed(&self, kind: &'static str) {
        self.errors.add(kind, 1);
    }

    /// The database's failures by kind.
    pub fn errors(&self) -> BTreeMap<&'static str, u64> {
        self.errors.get()
    }

    /// A transaction with so many records took so long, whatever came of it.
    pub fn took(&self, records: usize, time: Duration) {
        self.batch_records.observe(records as f64);
        self.commit_seconds.observe(time.as_secs_f64());
    }

    /// All counts.
    pub fn get(&self) -> StoreCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
