//! The end of the spool that takes records.
//!
//! Appending is a copy into the pending buffer under the mutex, without a channel or an allocation for each record. The writer takes the whole
//! buffer at once and leaves an empty one behind.

use std::sync::Arc;

use super::SEGMENTS_IN_LIMIT_MIN;
use super::segment::{RECORD_HEAD_BYTES, Unnumbered};
use super::state::{Admission, Shared, State};

/// Why a record was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk limit is reached, or the disk is full, and the policy is to drop.
    #[error("the spool is full")]
    Full,
    /// The record is longer than allowed.
    #[error("the record has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes of the record.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The spool was closed.
    #[error("the spool is closed")]
    Closed,
}

/// The spool was closed before the record was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spool was closed before the record was durable")]
pub struct NotDurable;

/// How full the spool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Records that are not released.
    pub records: u64,
    /// Bytes of the segments on disk.
    pub bytes: u64,
    /// The oldest record that is not released.
    pub oldest_seq: u64,
    /// The number of the next record.
    pub next_seq: u64,
    /// Every record below is durable.
    pub durable_seq: u64,
    /// The limit for `bytes`.
    pub limit_bytes: u64,
    /// The limit is reached: appenders wait, or their records are refused.
    pub paused: bool,
    /// Why the last write failed, until one succeeds.
    pub last_error: Option<String>,
    /// What of its files somebody else removed, with what to do, as long as they are not there.
    pub removed: Option<String>,
    /// The thread that writes is there.
    pub is_written: bool,
}

/// Takes records. Cheap to clone; all clones stand for the same spool.
#[derive(Clone)]
pub struct Appender {
    handle: Arc<Handle>,
}

/// Lives as long as the last clone.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        state.abandoned = true;
        drop(state);
        self.shared.work.notify_one();
        self.shared.durable.notify_waiters();
    }
}

impl Appender {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Appends a record and answers its sequence number; it is durable only when [`Appender::durable`] says so.
    ///
    /// Waits while too much is in memory that is not durable, and, unless the policy is to drop, while the disk limit is reached.
    /// Nothing is appended when the future is dropped before it resolves.
    pub async fn append(&self, record: &[u8]) -> Result<u64, AppendError> {
        let shared = &*self.handle.shared;
        let max = shared.options.max_record_bytes;
        if record.len() > max {
            return Err(AppendError::TooLong { bytes: record.len(), max });
        }
        let sum = shared.key.sum(record);
        if let Some(result) = attempt(shared, &mut shared.lock(), record, sum) {
            return result;
        }
        shared.wait(&shared.space, |state| attempt(shared, state, record, sum)).await
    }

    /// Resolves when the record, and every record before it, would survive the loss of power.
    pub async fn durable(&self, seq: u64) -> Result<(), NotDurable> {
        let shared = &*self.handle.shared;
        let look = |state: &mut State| match (state.durable_seq > seq, state.stopped) {
            (true, _) => Some(Ok(())),
            (false, true) => Some(Err(NotDurable)),
            (false, false) => None,
        };
        shared.wait(&shared.durable, look).await
    }

    /// How full the spool is.
    pub fn depth(&self) -> Depth {
        let shared = &*self.handle.shared;
        let state = shared.lock();
        let stored: u64 = state.segments.iter().map(|one| one.records_from(state.released_seq)).sum();
        let first = state.segments.iter().find(|one| one.end_seq > state.released_seq);
        Depth {
            records: stored + (state.next_seq - state.durable_seq),
            bytes: state.disk_bytes,
            oldest_seq: first.map_or(state.durable_seq, |one| one.first_seq.max(state.released_seq)),
            next_seq: state.next_seq,
            durable_seq: state.durable_seq,
            limit_bytes: state.limit_bytes.unwrap_or(shared.options.limit_bytes),
            paused: state.paused,
            last_error: state.last_error.clone(),
            removed: state.removed.clone(),
            is_written: !state.stopped,
        }
    }

    /// Changes the disk limit. False, and nothing is changed, where it does not leave room for the segments as they are.
    pub fn set_limit(&self, limit_bytes: u64) -> bool {
        let shared = &*self.handle.shared;
        if limit_bytes / SEGMENTS_IN_LIMIT_MIN < shared.options.segment_bytes {
            return false;
        }
        shared.lock().limit_bytes = Some(limit_bytes);
        // Whoever waits looks again, and whether it is paused is found out by that.
        shared.space.notify_waiters();
        true
    }

    /// Takes no more records, through any clone, and resolves when all that were appended are durable. The reader may go on.
    ///
    /// It lasts as long as the disk refuses to write: whoever cannot wait for that bounds it with a time.
    pub async fn close(self) -> Result<(), NotDurable> {
        let shared = &*self.handle.shared;
        shared.lock().closing = true;
        shared.work.notify_one();
        shared.space.notify_waiters();
        shared.durable.notify_waiters();
        let look = |state: &mut State| {
            let flushed = state.durable_seq == state.next_seq;
            match (state.stopped, flushed && !state.reader_gone) {
                (true, _) => Some(if flushed { Ok(()) } else { Err(NotDurable) }),
                (false, true) => Some(Ok(())),
                (false, false) => None,
            }
        };
        shared.wait(&shared.durable, look).await
    }
}

/// Appends if that is possible now; `None` when it has to wait.
fn attempt(shared: &Shared, state: &mut State, record: &[u8], sum: Unnumbered) -> Option<Result<u64, AppendError>> {
    let framed_bytes = RECORD_HEAD_BYTES + record.len();
    let refusal = match state.admit(framed_bytes, &shared.options) {
        Admission::Yes => {
            let before = state.pending.len();
            let seq = state.push(record, sum);
            let crossed = before < shared.options.commit_bytes && state.pending.len() >= shared.options.commit_bytes;
            if before == 0 || crossed {
                shared.work.notify_one();
            }
            return Some(Ok(seq));
        }
        Admission::Closed => return Some(Err(AppendError::Closed)),
        Admission::Full => Some(Err(AppendError::Full)),
        Admission::Wait => None,
    };
    // The writer may be able to give up a segment that is released and still written to.
    if state.droppable(&shared.options) > 0 {
        shared.work.notify_one();
    }
    refusal
}
