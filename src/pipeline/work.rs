//! The thread that writes: which batch is asked for, decided, sent off and stored when, and what is done when the store fails.
//!
//! On a server batches overlap ([`crate::store::overlap`]): some are asked for, one is decided, some are on their way. Where that is of no use, on
//! SQLite and while several processes write, one batch after another is stored by itself.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use tokio::sync::mpsc::Receiver;

use super::drain::{Batch, Shared, Start};
use super::storing::{PATIENCE_FACTOR, patiently, store, stored};
use super::{AHEAD_BATCHES, AHEAD_BYTES, RETRY_WAITS};
use crate::alarm::Name;
use crate::store::overlap::{Foresight, MAX_IN_FLIGHT};
use crate::store::{Connection, StoreError, Writer};

pub(super) async fn write(shared: &Shared, batches: &mut Receiver<Batch>, start: &SyncSender<Start>) {
    let mut start = Some(start);
    let mut writer = None;
    let mut work = Work::default();
    let mut attempt = 0;
    loop {
        let mut ready = match writer.take() {
            Some(ready) => ready,
            None => match connect(shared, start).await {
                Ok(connected) => {
                    start = None;
                    // With a batch in hand only its commit tells whether the store is well again.
                    if work.is_empty() {
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
        match work.step(shared, &mut ready, batches).await {
            Ok(Step::Stored) => {
                well(shared);
                attempt = 0;
                writer = Some(ready);
            }
            Ok(Step::Going) => writer = Some(ready),
            Ok(Step::End) => return,
            Err(error) => {
                work.starts_anew();
                if !trouble(shared, &error, &mut attempt).await {
                    return;
                }
            }
        }
    }
}

/// What a step has done.
enum Step {
    /// A batch was stored.
    Stored,
    /// Something else.
    Going,
    /// There will be no more.
    End,
}

/// A batch that the writer has.
struct InHand {
    batch: Batch,
    bytes: usize,
    /// The answers that it waits for.
    foresight: Option<Foresight>,
    /// When it was sent off.
    sent: Instant,
}

/// The batches that the writer has and that are not known to be stored, in their order: those on their way, then those that wait.
#[derive(Default)]
struct Work {
    flying: VecDeque<InHand>,
    waiting: VecDeque<InHand>,
    has_ended: bool,
}

/// What happened first.
enum Event {
    Batch(Option<Batch>),
    Foreseen,
    Landed,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.flying.is_empty() && self.waiting.is_empty()
    }

    /// Waits for whatever comes next, and does what is to be done then.
    async fn step(&mut self, shared: &Shared, writer: &mut Writer, batches: &mut Receiver<Batch>) -> Result<Step, StoreError> {
        if self.is_empty() && self.has_ended {
            return Ok(Step::End);
        }
        self.foresee(writer);
        if writer.in_flight() == 0 && !writer.looks_ahead() && !self.waiting.is_empty() {
            return self.store_first(shared, writer).await;
        }
        let waits_for_reader_only = self.is_empty();
        let event = self.next_event(writer, batches);
        match if waits_for_reader_only { event.await } else { patiently(shared, async { Ok(event.await) }).await? } {
            Event::Batch(None) => self.has_ended = true,
            Event::Batch(Some(batch)) => {
                let bytes = batch.entries.iter().map(|entry| entry.record.len()).sum();
                self.waiting.push_back(InHand { batch, bytes, foresight: None, sent: Instant::now() });
                self.tell_oldest(shared);
            }
            Event::Foreseen => return self.submit(shared, writer).await,
            Event::Landed => return self.land(shared, writer).await,
        }
        Ok(Step::Going)
    }

    /// Has everything asked that the waiting batches will ask.
    fn foresee(&mut self, writer: &mut Writer) {
        for waiting in &mut self.waiting {
            if waiting.foresight.as_ref().is_none_or(|foresight| !writer.is_current(foresight)) {
                waiting.foresight = writer.foresee(&waiting.batch.entries);
            }
        }
    }

    /// What comes first of: answers for the batch that is next, the oldest one on its way has landed, another one from the reader.
    async fn next_event(&mut self, writer: &mut Writer, batches: &mut Receiver<Batch>) -> Event {
        let takes_more = !self.has_ended && self.takes_more(writer);
        let first = self.waiting.front_mut().filter(|_| self.flying.len() < MAX_IN_FLIGHT);
        let may_submit = first.is_some();
        let is_ready = async {
            if let Some(foresight) = first.and_then(|first| first.foresight.as_mut()) {
                foresight.is_ready().await;
            }
        };
        tokio::select! {
            biased;
            () = writer.landing() => Event::Landed,
            () = is_ready, if may_submit => Event::Foreseen,
            batch = batches.recv(), if takes_more => Event::Batch(batch),
        }
    }

    fn takes_more(&self, writer: &Writer) -> bool {
        if !writer.looks_ahead() {
            return self.is_empty();
        }
        let bytes: usize = self.flying.iter().chain(&self.waiting).map(|in_hand| in_hand.bytes).sum();
        self.is_empty() || (self.waiting.len() < AHEAD_BATCHES && bytes < AHEAD_BYTES)
    }

    /// Decides the first batch that waits, and sends it off.
    async fn submit(&mut self, shared: &Shared, writer: &mut Writer) -> Result<Step, StoreError> {
        // It stays where it is until it is on its way: should the database not answer, it is still there.
        let Some(first) = self.waiting.front_mut() else { return Ok(Step::Going) };
        first.sent = Instant::now();
        let foresight = first.foresight.take();
        let Batch { entries, next_seq } = &first.batch;
        if patiently(shared, async { Ok(writer.submit(entries, &shared.spool_id, *next_seq, foresight).await) }).await? {
            self.flying.extend(self.waiting.pop_front());
            return Ok(Step::Going);
        }
        while !self.flying.is_empty() {
            self.land(shared, writer).await?;
        }
        self.store_first(shared, writer).await
    }

    /// Stores the first batch by itself.
    async fn store_first(&mut self, shared: &Shared, writer: &mut Writer) -> Result<Step, StoreError> {
        let Some(first) = self.waiting.front_mut() else { return Ok(Step::Going) };
        first.foresight = None;
        store(shared, writer, &first.batch.entries, first.batch.next_seq).await?;
        self.waiting.pop_front();
        self.tell_oldest(shared);
        let endpoint = &shared.settings.endpoint;
        match tokio::time::timeout(endpoint.statement_timeout, writer.open_lane(endpoint)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::info!("store {}: no further connections, batches are stored one by one: {error}", endpoint.name),
            Err(_elapsed) => log::debug!("store {}: no further connections in {:?}", endpoint.name, endpoint.statement_timeout),
        }
        Ok(Step::Stored)
    }

    /// Waits for the oldest batch on its way. Should it not have been stored, then all of them wait again.
    async fn land(&mut self, shared: &Shared, writer: &mut Writer) -> Result<Step, StoreError> {
        let landed = patiently(shared, async { Ok(writer.land().await) }).await?;
        match landed {
            Some(Ok(committed)) => {
                if let Some(InHand { batch, sent, .. }) = self.flying.pop_front() {
                    shared.settings.stats.took(batch.entries.len(), sent.elapsed());
                    stored(shared, &committed, &batch.entries, batch.next_seq);
                }
                self.tell_oldest(shared);
                Ok(Step::Stored)
            }
            Some(Err(error)) => {
                log::debug!("store {}: batches are stored one by one again: {error}", shared.settings.endpoint.name);
                self.starts_anew();
                Ok(Step::Going)
            }
            None => {
                self.starts_anew();
                Ok(Step::Going)
            }
        }
    }

    /// Nothing is on its way any more, and nothing was asked.
    fn starts_anew(&mut self) {
        while let Some(batch) = self.flying.pop_back() {
            self.waiting.push_front(batch);
        }
        self.waiting.iter_mut().for_each(|waiting| waiting.foresight = None);
    }

    fn tell_oldest(&self, shared: &Shared) {
        let oldest = self.flying.front().or(self.waiting.front()).and_then(|oldest| oldest.batch.entries.first());
        shared.settings.stats.waits_for(oldest.map(|entry| entry.arrived_at));
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
