//! What was counted since the process started, by node and by store, for `status`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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

/// What one store's pipeline counted.
#[derive(Debug, Default)]
pub struct StoreStats {
    counts: Mutex<StoreCounts>,
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

    /// All counts.
    pub fn get(&self) -> StoreCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
