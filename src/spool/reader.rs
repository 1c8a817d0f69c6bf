//! The end of the spool that gives records back, in order, as soon as they are durable.
//!
//! Reading happens on a blocking thread with a bounded buffer. The position moves only when a batch is handed over, so that a call that is
//! cancelled loses nothing. A batch never spans two segments.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::damage::{Damage, set_aside};
use super::disk::{Disk, DiskFile};
use super::segment::{Found, HEADER_BYTES, Key, Scan, segment_name};
use super::state::{SegmentMeta, Shared, State};

/// Why no batch came.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The spool was closed, and everything in it has been read.
    #[error("the spool is closed and read to its end")]
    Closed,
    /// The disk failed. The position is unchanged: reading may be tried again.
    #[error("the spool could not be read: {0}")]
    Io(#[from] io::Error),
}

/// Records in order, in one piece of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Each record's number and the end of its bytes.
    ends: Vec<(u64, usize)>,
    /// What turned out to be damaged on the way, each place once.
    pub damage: Vec<Damage>,
    /// Everything below was in this batch or in one before it, or is lost: what to release when the batch is committed.
    pub next_seq: u64,
}

impl Batch {
    /// Records in the batch; there may be none when there is damage to report.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is nothing but damage in it.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all the records.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A record's number and bytes.
    pub fn get(&self, index: usize) -> Option<(u64, &[u8])> {
        let (seq, end) = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        Some((seq, self.bytes.get(start..end)?))
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (0..self.ends.len()).filter_map(|index| self.get(index))
    }

    fn push(&mut self, seq: u64, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
        self.ends.push((seq, self.bytes.len()));
    }
}

/// A record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    segment: u64,
    offset: u64,
    /// The number behind the last record before this place.
    place_seq: u64,
    /// The first record that is wanted.
    seq: u64,
}

/// How much a batch may hold.
#[derive(Clone, Copy, Debug)]
struct Measure {
    records: usize,
    bytes: usize,
}

/// Gives records back. There is one for each spool.
pub struct Reader {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    position: Position,
    scan: Option<Scan>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.lock().reader_gone = true;
        self.shared.work.notify_one();
        self.shared.durable.notify_waiters();
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, seq: u64) -> Self {
        let position = Position { segment: u64::MAX, offset: HEADER_BYTES, place_seq: seq, seq };
        Self { shared, disk, position, scan: None }
    }

    /// The next durable records: at least one, or at least one damage; more than `max_bytes` only when a single record is longer.
    ///
    /// Waits until there are some. Dropping the future loses nothing. The last error is [`ReadError::Closed`].
    pub async fn next_batch(&mut self, max_records: usize, max_bytes: usize) -> Result<Batch, ReadError> {
        let measure = Measure { records: max_records.max(1), bytes: max_bytes };
        loop {
            let seq = self.position.seq;
            let look = |state: &mut State| match state.segment_for(seq) {
                Some(meta) => Some(Some(meta)),
                None => (state.stopped || (state.closing && state.durable_seq == state.next_seq)).then_some(None),
            };
            let Some(meta) = self.shared.wait(&self.shared.durable, look).await else {
                return Err(ReadError::Closed);
            };
            let reading = self.begin(meta);
            let read = tokio::task::spawn_blocking(move || reading.run(measure));
            let done = read.await.map_err(io::Error::other)??;
            if let Some(batch) = self.finish(done) {
                return Ok(batch);
            }
        }
    }

    /// The same without waiting: `None` when nothing durable is left to read.
    #[cfg(test)]
    pub(crate) fn read_now(&mut self, max_records: usize, max_bytes: usize) -> io::Result<Option<Batch>> {
        let measure = Measure { records: max_records, bytes: max_bytes };
        loop {
            let meta = self.shared.lock().segment_for(self.position.seq);
            let Some(meta) = meta else { return Ok(None) };
            let done = self.begin(meta).run(measure)?;
            if let Some(batch) = self.finish(done) {
                return Ok(Some(batch));
            }
        }
    }

    /// Reads again from this record on. What is no longer there is passed over.
    pub fn rewind(&mut self, seq: u64) {
        let seq = seq.min(self.shared.lock().durable_seq);
        self.scan = None;
        if seq < self.position.place_seq {
            self.position.segment = u64::MAX;
        }
        self.position.seq = seq;
    }

    /// Everything below is committed elsewhere, and its segments may go.
    ///
    /// The store may know of more than the spool does, when the disk was restored from a copy: then numbering goes on from there, so that
    /// new records are not taken for old ones. That needs a spool into which nothing is being appended, hence the first release belongs before
    /// the first append.
    pub fn release(&mut self, before_seq: u64) {
        let mut state = self.shared.lock();
        if before_seq > state.next_seq && state.durable_seq == state.next_seq {
            log::warn!("the store holds records up to {before_seq}, the spool only up to {}: numbering goes on there", state.next_seq);
            (state.next_seq, state.durable_seq) = (before_seq, before_seq);
        }
        if before_seq > state.durable_seq {
            log::error!("records up to {before_seq} were released, but only those up to {} are durable", state.durable_seq);
        }
        let unnoted = state.released_seq == state.persisted_seq;
        state.released_seq = before_seq.min(state.durable_seq).max(state.released_seq);
        if unnoted || state.droppable(&self.shared.options) > 0 {
            self.shared.work.notify_one();
        }
    }

    /// Ends reading. When the appender was closed too, resolves when the files are closed and the spool may be opened again.
    pub async fn close(self) {
        self.shared.lock().reader_gone = true;
        self.shared.work.notify_one();
        self.shared.durable.notify_waiters();
        self.shared.wait(&self.shared.durable, |state| (state.stopped || !state.closing).then_some(())).await;
    }

    fn begin(&mut self, meta: SegmentMeta) -> Reading {
        if self.position.segment != meta.first_seq {
            self.scan = None;
            let seq = self.position.seq.max(meta.first_seq);
            self.position = Position { segment: meta.first_seq, offset: HEADER_BYTES, place_seq: meta.first_seq, seq };
        }
        let (shared, disk) = (self.shared.clone(), self.disk.clone());
        Reading { key: shared.key, shared, disk, meta, position: self.position, scan: self.scan.take() }
    }

    /// Takes over the new position, and only now counts damage as reported; `None` when there is nothing to tell.
    fn finish(&mut self, (batch, scan, position): (Batch, Option<Scan>, Position)) -> Option<Batch> {
        self.scan = scan;
        self.position = position;
        self.shared.lock().note_damage(&batch.damage);
        (!batch.is_empty() || !batch.damage.is_empty()).then_some(batch)
    }
}

/// The reading of one batch out of one segment.
struct Reading {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    key: Key,
    meta: SegmentMeta,
    position: Position,
    scan: Option<Scan>,
}

impl Reading {
    fn run(mut self, measure: Measure) -> io::Result<(Batch, Option<Scan>, Position)> {
        let mut batch = Batch::default();
        let mut scan = match self.scan.take() {
            Some(scan) => scan,
            None => match self.disk.open(&segment_name(self.meta.first_seq)) {
                Ok(file) => Scan::new(file, self.key, self.position.offset, self.position.place_seq),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(self.vanished(batch));
                }
                Err(error) => return Err(error),
            },
        };
        scan.extend(self.meta.bytes, self.meta.end_seq);
        self.gather(&mut scan, &mut batch, measure)?;
        (self.position.offset, self.position.place_seq) = (scan.offset(), scan.next_seq());
        self.position.seq = self.position.seq.max(scan.next_seq());
        batch.next_seq = self.position.seq;
        Ok((batch, Some(scan), self.position))
    }

    /// Reads until the batch is full or the segment ends.
    fn gather(&mut self, scan: &mut Scan, batch: &mut Batch, measure: Measure) -> io::Result<()> {
        while batch.len() < measure.records {
            match scan.next()? {
                Found::Record { length, .. } if !batch.is_empty() && batch.bytes() + length > measure.bytes => {
                    break;
                }
                Found::Record { seq, length } => {
                    if seq >= self.position.seq {
                        batch.push(seq, scan.payload(length));
                    }
                    scan.consume(length);
                }
                Found::Damaged { range, missing } => self.report(batch, range, missing)?,
                Found::End { rest } => {
                    let missing = scan.next_seq()..self.meta.end_seq;
                    if !missing.is_empty() {
                        self.report(batch, rest, missing)?;
                        self.position.seq = self.meta.end_seq;
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sets a damaged range aside, unless that was done before.
    fn report(&self, batch: &mut Batch, range: Range<u64>, missing: Range<u64>) -> io::Result<()> {
        let segment = self.meta.first_seq;
        if !self.shared.lock().knows(segment, range.start, missing.end) {
            let file: Arc<dyn DiskFile> = self.disk.open(&segment_name(segment))?;
            let damage = set_aside(&*self.disk, &*file, segment, range, missing);
            log::error!(
                "damage in the spool: segment {segment:016x}, offset {}, {} bytes, records {:?}",
                damage.offset,
                damage.length,
                damage.missing
            );
            batch.damage.push(damage);
        }
        Ok(())
    }

    /// Somebody deleted the file under us.
    fn vanished(mut self, mut batch: Batch) -> (Batch, Option<Scan>, Position) {
        let missing = self.position.seq..self.meta.end_seq;
        if !self.shared.lock().knows(self.meta.first_seq, self.position.offset, missing.end) {
            log::error!("a segment of the spool has vanished: {:016x}, records {missing:?}", self.meta.first_seq);
            batch.damage.push(Damage::hole(self.meta.first_seq, self.position.offset, missing));
        }
        self.position.seq = self.meta.end_seq;
        batch.next_seq = self.position.seq;
        (batch, None, self.position)
    }
}
