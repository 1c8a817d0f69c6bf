//! What the appenders, the writer and the reader share: one mutex, held for a copy of a record at the longest.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::damage::Damage;
use super::segment::{HEADER_BYTES, Key, RECORD_HEAD_BYTES, Unnumbered, push_record};
use super::{Options, WhenFull};

/// A wholly released segment that is still written to is given up once it has this fraction of its full size.
const RECLAIM_FRACTION: u64 = 4;

/// A segment, as far as it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    pub(crate) first_seq: u64,
    pub(crate) end_seq: u64,
    pub(crate) bytes: u64,
}

impl SegmentMeta {
    /// How many of its records have at least this number.
    pub(crate) fn records_from(&self, seq: u64) -> u64 {
        self.end_seq.saturating_sub(self.first_seq.max(seq))
    }
}

/// Whether a record may be appended now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Yes,
    /// Not before space has been freed or bytes became durable.
    Wait,
    /// The policy is to refuse.
    Full,
    /// Never again.
    Closed,
}

/// What the mutex protects.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Framed records that the writer has not taken yet.
    pub(crate) pending: Vec<u8>,
    pub(crate) pending_first_seq: u64,
    pub(crate) pending_since: Option<Instant>,
    /// Bytes in memory that are not durable: those pending and those being written.
    pub(crate) buffered_bytes: usize,
    pub(crate) next_seq: u64,
    /// Every record below is durable.
    pub(crate) durable_seq: u64,
    pub(crate) segments: VecDeque<SegmentMeta>,
    pub(crate) disk_bytes: u64,
    pub(crate) released_seq: u64,
    /// What the `released` file says.
    pub(crate) persisted_seq: u64,
    pub(crate) paused: bool,
    /// The limit in force, where it was changed since the spool was opened.
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) last_error: Option<String>,
    /// What of the files was removed by somebody else.
    pub(crate) removed: Option<String>,
    /// Damage already reported, so that reading again does not report it again: by segment and offset, the number that it reaches.
    pub(crate) known_damage: BTreeMap<(u64, u64), u64>,
    /// No more records come.
    pub(crate) closing: bool,
    /// Nobody can wait for a record any more.
    pub(crate) abandoned: bool,
    pub(crate) reader_gone: bool,
    pub(crate) stopped: bool,
}

impl State {
    /// Whether a record that takes this many bytes may be appended; notes when the disk limit forbids it.
    pub(crate) fn admit(&mut self, framed_bytes: usize, options: &Options) -> Admission {
        if self.closing || self.stopped {
            return Admission::Closed;
        }
        // What is pending and what is being written may each begin a segment.
        let wanted = self.disk_bytes + (self.buffered_bytes + framed_bytes) as u64 + 2 * HEADER_BYTES;
        let limit_bytes = self.limit_bytes.unwrap_or(options.limit_bytes);
        self.paused = wanted > limit_bytes && self.disk_bytes + self.buffered_bytes as u64 > 0;
        let crowded = self.buffered_bytes + framed_bytes > options.buffer_bytes && self.buffered_bytes > 0;
        // A disk that refuses to write is full in every way that matters; a disk that is merely slow is waited for.
        let refuse = self.paused || (crowded && self.last_error.is_some());
        match (refuse && options.when_full == WhenFull::Drop, self.paused || crowded) {
            (true, _) => Admission::Full,
            (false, true) => Admission::Wait,
            (false, false) => Admission::Yes,
        }
    }

    /// Puts a record behind the others; answers its number.
    pub(crate) fn push(&mut self, record: &[u8], sum: Unnumbered) -> u64 {
        let seq = self.next_seq;
        if self.pending.is_empty() {
            self.pending_first_seq = seq;
            self.pending_since = Some(Instant::now());
        }
        push_record(&mut self.pending, record, sum, seq);
        self.buffered_bytes += RECORD_HEAD_BYTES + record.len();
        self.next_seq = seq + 1;
        seq
    }

    /// The wholly released segments at the front. The last one counts only when there is a reason to give it up, for it is written to.
    pub(crate) fn droppable(&self, options: &Options) -> usize {
        let released = self.segments.iter().take_while(|one| one.end_seq <= self.released_seq).count();
        let all = released == self.segments.len();
        let big = self.segments.back().is_some_and(|last| last.bytes >= options.segment_bytes / RECLAIM_FRACTION);
        let worth_it = self.paused || self.closing || big || self.last_error.is_some();
        if all && !worth_it { released.saturating_sub(1) } else { released }
    }

    /// Forgets the oldest segments.
    pub(crate) fn drop_front(&mut self, count: usize) {
        self.paused = false;
        for segment in self.segments.drain(..count.min(self.segments.len())) {
            self.disk_bytes = self.disk_bytes.saturating_sub(segment.bytes);
            self.known_damage.retain(|(damaged, _), _| *damaged != segment.first_seq);
        }
    }

    /// Whether this damage was reported, and has not grown since.
    pub(crate) fn knows(&self, segment: u64, offset: u64, missing_to: u64) -> bool {
        self.known_damage.get(&(segment, offset)).is_some_and(|known_to| *known_to >= missing_to)
    }

    /// Notes what was reported.
    pub(crate) fn note_damage(&mut self, damage: &[Damage]) {
        self.known_damage.extend(damage.iter().map(|one| ((one.segment, one.offset), one.missing.end)));
    }

    /// The segment that holds a record, or the next one behind a gap.
    pub(crate) fn segment_for(&self, seq: u64) -> Option<SegmentMeta> {
        self.segments.get(self.segments.partition_point(|one| one.end_seq <= seq)).cloned()
    }
}

/// What the three share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) key: Key,
    state: Mutex<State>,
    /// Wakes the writer.
    pub(crate) work: Condvar,
    /// Something became durable, or the end came.
    pub(crate) durable: Notify,
    /// There is room again.
    pub(crate) space: Notify,
}

impl Shared {
    pub(crate) fn new(options: Options, key: Key, state: State) -> Self {
        let (work, durable, space) = (Condvar::new(), Notify::new(), Notify::new());
        Self { options, key, state: Mutex::new(state), work, durable, space }
    }

    /// A panic elsewhere leaves the state usable: every change to it is complete before anything can panic.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the state gives an answer. Each notification makes it look again.
    pub(crate) async fn wait<T>(&self, wake: &Notify, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut notified = pin!(wake.notified());
            // Registered before looking: what happens in between is not missed.
            notified.as_mut().enable();
            if let Some(answer) = look(&mut self.lock()) {
                return answer;
            }
            notified.await;
        }
    }
}
