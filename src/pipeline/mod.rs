//! From the spool to the store, one pipeline for each store.
//!
//! Two threads: one reads records and normalises them, which is pure work; the other decides and writes, which waits for the
//! database. The next batch is ready in the hands of the reader when the last is taken; on a server
//! some are asked for and some on their way meanwhile (`work`). A record is released to the spool
//! only after the commit that holds it. When the store is away the batch waits, and is given again; when the store refuses a
//! batch it is halved until the record is found that it refuses, which is set aside.

mod damage;
pub mod drain;
mod past;
pub mod read;
pub mod retry;
mod storing;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::alarm::Alarms;
use crate::node::Node;
use crate::policy::Policy;
use crate::spool::Damage;
use crate::stats::StoreStats;
use crate::store::Endpoint;
use crate::time::Micros;

/// What a pipeline needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Where the store is.
    pub endpoint: Endpoint,
    /// Whether pending migrations are run when the store is first reached.
    pub migrates: bool,
    /// Who mirrors, and what is archived; may change at any time.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// How far apart copies of one message may be.
    pub join_window: Micros,
    /// Most records of one transaction.
    pub batch_records: usize,
    /// Where records go that not even the quarantine takes.
    pub quarantine_dir: PathBuf,
    /// What was damaged in the spool when it was opened.
    pub damage: Vec<Damage>,
    /// Counts.
    pub stats: Arc<StoreStats>,
    /// Alarms.
    pub alarms: Alarms,
}

/// What may change while a pipeline runs.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The nodes that write to the store.
    pub nodes: Vec<Arc<Node>>,
    /// What is archived.
    pub policy: Policy,
}

/// Most bytes of one transaction: enough for any batch of ordinary messages, and little enough for any memory limit.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Most batches that are asked for before it is their turn: the answers take a few round trips.
pub const AHEAD_BATCHES: usize = 6;

/// Most bytes of the records in all batches that the writer of a server has in hand, beyond one batch.
pub const AHEAD_BYTES: usize = 14 * 1024 * 1024;

/// Waits between attempts to reach a store: short at first, since most outages are restarts.
pub const RETRY_WAITS: [Duration; 5] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];
