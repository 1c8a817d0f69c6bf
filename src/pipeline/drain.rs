//! The two threads of a pipeline: one reads, the other writes (see `work`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};

use super::damage::Damaged;
use super::read::RecordReader;
use super::{BATCH_BYTES, Settings, work};
use crate::alarm::Name;
use crate::spool::{self, Appender, ReadError, Reader};
use crate::store::batch::Entry;

/// Normalised records, and the spool's position after them.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) next_seq: u64,
}

/// A running pipeline.
pub struct Pipeline {
    threads: Vec<JoinHandle<()>>,
    pulse: Pulse,
}

/// Tells from outside whether both threads are there: each holds one share of what this looks at, and drops it however it ends.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Weak<()>);

impl Pulse {
    /// Whether no thread of the pipeline has ended.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() == 2
    }
}

/// What the two threads share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) spool_id: [u8; 16],
    runtime: Handle,
    pub(super) shutdown: watch::Receiver<bool>,
    /// Everything before this record is stored.
    pub(super) stored: AtomicU64,
    pub(super) news: Notify,
}

impl Pipeline {
    /// Starts to store what comes out of `reader`, until `shutdown` says true and the spool is drained, or the store is away by then.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        settings: Settings,
        reader: Reader,
        spool_id: [u8; 16],
        appender: Appender,
        runtime: Handle,
        shutdown: watch::Receiver<bool>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { settings, spool_id, runtime, shutdown, stored: AtomicU64::new(0), news: Notify::new() });
        // One is read when the one before it was taken: any more that wait between the threads would only take memory.
        let (to_writer, mut from_reader) = mpsc::channel(1);
        let (to_reader, from_writer) = sync_channel(1);
        let name = shared.settings.endpoint.name.clone();
        let (reading, writing) = (shared.clone(), shared);
        let share = Arc::new(());
        let (pulse, read_share, write_share) = (Pulse(Arc::downgrade(&share)), share.clone(), share);
        let read = std::thread::Builder::new().name(format!("read-{name}")).spawn(move || {
            let _until_it_ends = read_share;
            let runtime = reading.runtime.clone();
            runtime.block_on(read(&reading, reader, &appender, &from_writer, &to_writer));
        })?;
        let write = std::thread::Builder::new().name(format!("store-{name}")).spawn(move || {
            let _until_it_ends = write_share;
            let runtime = writing.runtime.clone();
            runtime.block_on(work::write(&writing, &mut from_reader, &to_reader));
        })?;
        Ok(Self { threads: vec![read, write], pulse })
    }

    /// Whether its threads are there.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Waits until both threads have ended.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a thread of the pipeline panicked; what it held stays in the spool");
            }
        }
    }
}

/// What the writer tells the reader once it has a database: where the spool stands, and who is in which room.
pub(super) struct Start {
    pub(super) position: u64,
    pub(super) occupants: Vec<(String, String, Option<crate::message::address::Address>)>,
}

async fn read(shared: &Shared, mut reader: Reader, appender: &Appender, start: &Receiver<Start>, batches: &mpsc::Sender<Batch>) {
    let Ok(start) = start.recv() else { return };
    let mut rules = shared.settings.rules.clone();
    let mut records = {
        let rules = rules.borrow_and_update();
        RecordReader::new(&rules.nodes, rules.policy)
    };
    for (room, nick, jid) in start.occupants {
        records.rooms().learn(&room, &nick, jid);
    }
    reader.release(start.position);
    reader.rewind(start.position);
    let mut released = start.position;
    let mut damaged = Damaged::new(&shared.settings.damage, start.position);
    let mut position = start.position;
    loop {
        let Ok(place) = batches.reserve().await else { return };
        let stored = shared.stored.load(Ordering::Acquire);
        if stored > released {
            reader.release(stored);
            released = stored;
        }
        let batch = match next(shared, &mut reader, appender).await {
            Some(Next::Batch(batch)) => batch,
            Some(Next::End) => {
                let entries = damaged.rest(&shared.settings);
                if !entries.is_empty() {
                    place.send(Batch { entries, next_seq: position });
                }
                return;
            }
            None => continue,
        };
        // Looked at only now: a node is made known before it is attached, so before the first of its records.
        if rules.has_changed().unwrap_or(false) {
            records.follow(&rules.borrow_and_update());
        }
        let mut entries: Vec<Entry> = batch.iter().map(|(seq, bytes)| records.read(seq, bytes)).collect();
        damaged.add_to(&mut entries, &batch.damage, batch.next_seq, &shared.settings);
        position = batch.next_seq;
        place.send(Batch { entries, next_seq: batch.next_seq });
    }
}

enum Next {
    Batch(spool::Batch),
    End,
}

/// The next batch; none when something was stored meanwhile that should be released first.
async fn next(shared: &Shared, reader: &mut Reader, appender: &Appender) -> Option<Next> {
    let mut shutdown = shared.shutdown.clone();
    let stopping = *shutdown.borrow();
    if stopping && reader_is_done(reader, appender) {
        return Some(Next::End);
    }
    let read = tokio::select! {
        biased;
        read = reader.next_batch(shared.settings.batch_records, BATCH_BYTES) => read,
        () = shared.news.notified() => return None,
        _stop = shutdown.changed(), if !stopping => return None,
        () = tokio::time::sleep(Duration::from_millis(100)), if stopping => return Some(Next::End),
    };
    match read {
        Ok(batch) => {
            for damage in &batch.damage {
                let text = format!("{damage}; the bytes were set aside: compare with the node's own archive");
                shared.settings.alarms.raise(Name::SpoolDamaged, &shared.settings.endpoint.name, &text);
            }
            Some(Next::Batch(batch))
        }
        Err(ReadError::Closed) => Some(Next::End),
        Err(error) => {
            let text = format!("the spool can't be read: {error}; it is tried again, nothing is released");
            shared.settings.alarms.raise(Name::SpoolDamaged, &shared.settings.endpoint.name, &text);
            tokio::time::sleep(Duration::from_secs(1)).await;
            None
        }
    }
}

fn reader_is_done(_reader: &Reader, appender: &Appender) -> bool {
    appender.depth().records == 0
}
