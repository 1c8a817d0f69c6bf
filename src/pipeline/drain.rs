//! The two threads of a pipeline, and what they do when the store fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::damage::Damaged;
use super::read::RecordReader;
use super::{BATCH_BYTES, RETRY_WAITS, Settings};
use crate::alarm::Name;
use crate::spool::{self, Appender, ReadError, Reader};
use crate::store::batch::{Committed, Entry, Item};
use crate::store::writer::SET_ASIDE_IN_FILE;
use crate::store::{Connection, StoreError, Writer};

/// A transaction has many statements: it may take this many times longer, beyond the time of one, before it is given up.
const PATIENCE_FACTOR: u32 = 4;

/// Normalised records, and the spool's position after them.
struct Batch {
    entries: Vec<Entry>,
    next_seq: u64,
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
struct Shared {
    settings: Settings,
    spool_id: [u8; 16],
    runtime: Handle,
    shutdown: watch::Receiver<bool>,
    /// Everything before this record is stored.
    stored: AtomicU64,
    news: Notify,
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
        // Handed over from hand to hand: a batch that waits between the threads would be a third one in memory.
        let (to_writer, from_reader) = sync_channel(0);
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
            runtime.block_on(write(&writing, &from_reader, &to_reader));
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
struct Start {
    position: u64,
    occupants: Vec<(String, String, Option<crate::message::address::Address>)>,
}

async fn read(shared: &Shared, mut reader: Reader, appender: &Appender, start: &Receiver<Start>, batches: &SyncSender<Batch>) {
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
                    let _writer_ended = batches.send(Batch { entries, next_seq: position });
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
        if batches.send(Batch { entries, next_seq: batch.next_seq }).is_err() {
            return;
        }
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

async fn write(shared: &Shared, batches: &Receiver<Batch>, start: &SyncSender<Start>) {
    let mut start = Some(start);
    let mut writer = None;
    let mut waiting: Option<Batch> = None;
    let mut attempt = 0;
    loop {
        let ready = match writer.take() {
            Some(writer) => writer,
            None => match connect(shared, start).await {
                Ok(connected) => {
                    start = None;
                    // With a batch in hand only its commit tells whether the store is well again.
                    if waiting.is_none() {
                        attempt = 0;
                        well(shared);
                    }
                    connected
                }
                Err(error) => {
                    if !trouble(shared, &error, &mut attempt).await {
                        return;
                    }
                    continue;
                }
            },
        };
        let mut ready = ready;
        let batch = match waiting.take() {
            Some(batch) => batch,
            None => match batches.recv() {
                Ok(batch) => batch,
                Err(_reader_ended) => return,
            },
        };
        shared.settings.stats.waits_for(batch.entries.first().map(|entry| entry.arrived_at));
        match store(shared, &mut ready, &batch.entries, batch.next_seq).await {
            Ok(()) => {
                shared.settings.stats.waits_for(None);
                well(shared);
                attempt = 0;
                writer = Some(ready);
            }
            Err(error) => {
                waiting = Some(batch);
                if !trouble(shared, &error, &mut attempt).await {
                    return;
                }
            }
        }
    }
}

async fn connect(shared: &Shared, start: Option<&SyncSender<Start>>) -> Result<Writer, StoreError> {
    let endpoint = &shared.settings.endpoint;
    let mut connection = Connection::open(endpoint).await?;
    if shared.settings.migrates {
        crate::store::migrations::up(&mut connection, None).await?;
    }
    let patience = endpoint.statement_timeout * PATIENCE_FACTOR;
    let begun = tokio::time::timeout(patience, begin(shared, connection, start)).await;
    let writer = begun.unwrap_or_else(|_elapsed| Err(StoreError::Unreachable(format!("no answer within {patience:?}"))))?;
    shared.settings.stats.set_connected(true);
    log::info!("store {}: connected", endpoint.name);
    Ok(writer)
}

async fn begin(shared: &Shared, mut connection: Connection, start: Option<&SyncSender<Start>>) -> Result<Writer, StoreError> {
    crate::store::migrations::require_current(&mut connection).await?;
    let mut writer = Writer::new(connection, shared.settings.join_window).await?;
    if let Some(start) = start {
        let position = writer.progress(&shared.spool_id).await?;
        let occupants = writer.occupants().await?;
        shared.settings.stats.starts_at(position);
        let _reader_ended = start.send(Start { position, occupants });
    }
    Ok(writer)
}

/// The store does what it should.
fn well(shared: &Shared) {
    for name in [Name::StoreUnreachable, Name::StoreRefusing, Name::StoreSchema] {
        shared.settings.alarms.clear(name, &shared.settings.endpoint.name);
    }
}

/// Says what is wrong and waits; false when it is time to stop.
async fn trouble(shared: &Shared, error: &StoreError, attempt: &mut usize) -> bool {
    let name = &shared.settings.endpoint.name;
    let advice = "chat goes on and everything is kept in the spool; it is tried again";
    shared.settings.stats.set_connected(false);
    shared.settings.stats.failed(error.word());
    match error {
        StoreError::Schema(said) => shared.settings.alarms.raise(Name::StoreSchema, name, said),
        StoreError::CannotWrite(said) => {
            let text = format!("the database answers but can't write: {said}; free its disk, or give back the rights to write; {advice}");
            shared.settings.alarms.raise(Name::StoreRefusing, name, &text);
        }
        error => shared.settings.alarms.raise(Name::StoreUnreachable, name, &format!("{error}; {advice}")),
    }
    let wait = RETRY_WAITS.get(*attempt).or(RETRY_WAITS.last()).copied().unwrap_or_default();
    *attempt += 1;
    let mut shutdown = shared.shutdown.clone();
    if *shutdown.borrow() {
        return false;
    }
    tokio::select! {
        () = tokio::time::sleep(wait) => true,
        _stop = shutdown.changed() => false,
    }
}

/// Stores a batch; what the database refuses is found by halving, and set aside.
async fn store(shared: &Shared, writer: &mut Writer, entries: &[Entry], next_seq: u64) -> Result<(), StoreError> {
    let mut parts = vec![(entries, next_seq)];
    let mut was_refused = false;
    while let Some((part, next)) = parts.pop() {
        match commit(shared, writer, part, next).await {
            Ok(committed) => {
                let newest = part.last().map_or(0, |entry| entry.arrived_at);
                if committed.quarantined > 0 {
                    quarantine_grew(shared, part);
                }
                shared.settings.stats.committed(&committed, next, newest);
                tell_canaries(part);
                shared.stored.store(next, Ordering::Release);
                shared.news.notify_one();
            }
            // Once more as a whole: the refusal may have come from what another writer did in between.
            Err(error @ StoreError::Refused(_)) if !was_refused => {
                shared.settings.stats.failed(error.word());
                was_refused = true;
                parts.push((part, next));
            }
            Err(StoreError::Refused(_)) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                let between = second.first().map_or(next, |entry| entry.seq);
                parts.push((second, next));
                parts.push((first, between));
            }
            Err(StoreError::Refused(why)) => match part.first() {
                Some(entry) => set_aside(shared, writer, entry, &why, next).await?,
                None => return Err(StoreError::Refused(why)),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Probes that were in a transaction have come back.
fn tell_canaries(part: &[Entry]) {
    for entry in part {
        if let Item::Canary(probe) = &entry.item {
            probe.stored();
        }
    }
}

/// Says that records were set aside because they could not be read.
fn quarantine_grew(shared: &Shared, part: &[Entry]) {
    let name = &shared.settings.endpoint.name;
    let last = part.iter().rev().find_map(|entry| if let Item::Unreadable(why) = &entry.item { Some(why) } else { None });
    if let Some(last) = last {
        let text = format!("records that could not be read were set aside, the last one: {last}; see `xmpp-archiver quarantine list`");
        shared.settings.alarms.raise(Name::QuarantineGrew, name, &text);
    }
}

/// Commits, and says so when that takes longer than a statement may; a database that does not answer at all is given up after a while, since a
/// machine that lost its power, or a network that drops everything, would otherwise be waited for without end.
async fn commit(shared: &Shared, writer: &mut Writer, part: &[Entry], next: u64) -> Result<Committed, StoreError> {
    let Settings { endpoint, alarms, .. } = &shared.settings;
    let patience = endpoint.statement_timeout;
    let _measured = Measured { shared, began: Instant::now(), records: part.len() };
    let mut commit = std::pin::pin!(writer.commit(part, &shared.spool_id, next));
    if let Ok(outcome) = tokio::time::timeout(patience, &mut commit).await {
        return outcome;
    }
    let text = format!("no answer within {patience:?}; chat goes on and everything is kept in the spool");
    alarms.raise(Name::StoreUnreachable, &endpoint.name, &text);
    match tokio::time::timeout(patience * PATIENCE_FACTOR, commit).await {
        Ok(outcome) => outcome,
        // Should it have been committed all the same, then the same batch is known for what it is when it is given again.
        Err(_elapsed) => Err(StoreError::Unreachable(format!("no answer within {:?}", patience * (PATIENCE_FACTOR + 1)))),
    }
}

/// Takes down how long a transaction took, and how much was in it.
struct Measured<'s> {
    shared: &'s Shared,
    began: Instant,
    records: usize,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.shared.settings.stats.took(self.records, self.began.elapsed());
    }
}

async fn set_aside(shared: &Shared, writer: &mut Writer, entry: &Entry, why: &str, next: u64) -> Result<(), StoreError> {
    let name = &shared.settings.endpoint.name;
    let text = format!("record {} was refused and set aside: {why}; see `xmpp-archiver quarantine list`", entry.seq);
    shared.settings.alarms.raise(Name::RecordQuarantined, name, &text);
    let outcome = match writer.set_aside(entry, why, &shared.spool_id).await {
        Err(StoreError::Refused(_)) => {
            to_file(shared, entry, why)?;
            let skipped = Entry { item: Item::Skipped(SET_ASIDE_IN_FILE), ..entry.clone() };
            writer.commit(std::slice::from_ref(&skipped), &shared.spool_id, next).await
        }
        outcome => outcome,
    }?;
    shared.settings.stats.committed(&outcome, next, entry.arrived_at);
    shared.stored.store(next, Ordering::Release);
    shared.news.notify_one();
    Ok(())
}

/// What not even the quarantine table takes goes to a file beside the spool.
fn to_file(shared: &Shared, entry: &Entry, why: &str) -> Result<(), StoreError> {
    let dir = &shared.settings.quarantine_dir;
    let file = dir.join(format!("{:020}.record", entry.seq));
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, &entry.record));
    written.map_err(|error| StoreError::CannotWrite(format!("{}: {error} (the record was refused: {why})", file.display())))
}
