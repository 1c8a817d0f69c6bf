//! Trails the writer and indexes what it has stored, so that searches are quick and capture does not pay for it.
//!
//! One thread for each store, with a connection of its own. It works in small batches, and lets the writer go first: while records wait
//! in the spool for longer than a moment it waits as well, though not for ever, lest searches get slower all the time. What it has not
//! reached is found all the same (`retrieve`), only not by the index.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::store::search::{self, Progress};
use crate::store::{Connection, Endpoint, StoreError, migrations};

/// Messages of one transaction where one lock serves all who write: it is held for some milliseconds.
pub const SMALL_BATCH: i64 = 250;
/// Messages of one transaction elsewhere.
pub const BATCH: i64 = 1_000;
/// How often it is looked whether there is something to do.
const IDLE: Duration = Duration::from_millis(500);
/// Between two batches.
const BREATH: Duration = Duration::from_millis(5);
/// How long the writer goes first at most.
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits after a failure; the pipeline says what is wrong with a store.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How often it is counted what is left to do.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// How far the index is, for whoever looks.
#[derive(Debug, Default)]
pub struct IndexStats {
    indexed: AtomicI64,
    progress: Mutex<Option<Progress>>,
}

impl IndexStats {
    /// Messages indexed since the start.
    pub fn indexed(&self) -> i64 {
        self.indexed.load(Ordering::Relaxed)
    }

    /// How far it is; none before that is known.
    pub fn progress(&self) -> Option<Progress> {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }
}

/// What it has to know.
pub struct Settings {
    /// Where the store is.
    pub endpoint: Endpoint,
    /// Says whether the store was reached, and its tables are those of this version.
    pub is_ready: Box<dyn Fn() -> bool + Send>,
    /// Says whether the writer should go first.
    pub is_busy: Box<dyn Fn() -> bool + Send>,
    /// How far it is.
    pub stats: Arc<IndexStats>,
}

/// Starts to index one store, until `stop` says true. SQLite blocks whoever calls it, so this has a thread of its own.
///
/// # Errors
/// When no thread can be started.
pub fn start(settings: Settings, runtime: Handle, mut stop: watch::Receiver<bool>) -> std::io::Result<JoinHandle<()>> {
    let name = format!("index-{}", settings.endpoint.name);
    std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = async { drop(stop.wait_for(|stop| *stop).await) } => {}
                () = keep_indexing(&settings) => {}
            }
        });
    })
}

async fn keep_indexing(settings: &Settings) {
    loop {
        while !(settings.is_ready)() {
            sleep(IDLE).await;
        }
        if let Err(error) = follow(settings).await {
            log::debug!("store {}: the index waits: {error}", settings.endpoint.name);
        }
        sleep(AFTER_FAILURE).await;
    }
}

async fn follow(settings: &Settings) -> Result<(), StoreError> {
    let Settings { endpoint, is_busy, stats, .. } = settings;
    let most = batch_size(endpoint);
    let mut connection = Connection::open(endpoint).await?;
    migrations::require_current(&mut connection).await?;
    connection.go_by_indexes().await.map_err(|error| StoreError::of(&error))?;
    let mut counted = Instant::now();
    let mut progress = search::progress(&mut connection).await?;
    if !progress.is_current() {
        log::info!("store {}: words are cut by new rules, so the index is made anew", endpoint.name);
        search::clear(&mut connection).await?;
        progress = search::progress(&mut connection).await?;
    }
    stats.set(progress);
    let mut waits_since = Instant::now();
    loop {
        if is_busy() && waits_since.elapsed() < MOST_PATIENCE {
            sleep(IDLE).await;
            continue;
        }
        waits_since = Instant::now();
        let done = search::index(&mut connection, most).await?;
        stats.indexed.fetch_add(done.messages, Ordering::Relaxed);
        if counted.elapsed() > COUNT_EVERY || done.messages > 0 && !done.has_more {
            stats.set(search::progress(&mut connection).await?);
            counted = Instant::now();
        }
        if done.has_more {
            // Whoever waits for the one lock of SQLite looks again only now and then.
            sleep(BREATH).await;
        } else {
            sleep(IDLE).await;
        }
    }
}

/// As many messages as a transaction on this store should have.
pub fn batch_size(endpoint: &Endpoint) -> i64 {
    match endpoint.backend {
        crate::store::Backend::Sqlite(_) => SMALL_BATCH,
        _ => BATCH,
    }
}
