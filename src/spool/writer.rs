//! The thread that owns the files: it writes and syncs what the appenders gathered, and deletes what the reader released.
//!
//! One write and one fdatasync carry everything that was appended while the one before ran. When either fails, nothing is known about what the
//! disk holds of that segment any more: a second fdatasync may succeed without having written a thing. So the segment ends at its last
//! confirmed record, and the same records are written again into a new one, every second until that succeeds.
//!
//! Somebody may remove the file that is written to, or its directory, and no write fails for that. So nothing is confirmed before the file's
//! name was seen to lead to it, and once a second it is looked at anyway. As long as the file is open nothing of it is lost: it is
//! written anew under its name, if need be as soon as its directory is back.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::{Disk, DiskFile, read_full};
use super::recovery::Opened;
use super::released::{Released, ReleasedFile};
use super::segment::{HEADER_BYTES, Header, SpoolId, segment_name};
use super::state::{SegmentMeta, Shared, State};

/// A failed write is tried again after this time.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How often it is looked whether the files are still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What to do when they are not.
const REMOVED_ADVICE: &str = "do not stop the archiver, which still holds what it wrote last: put the spool's directory back (mount its disk, or make it \
                              anew for the archiver's user), and it is written there again";
/// What to do when those are gone that nobody holds open.
const LOST_ADVICE: &str =
    "put them back if you can, else fetch the messages of that time from the node's own archive with `xmpp-archiver backfill`";
/// The bytes that are copied at a time.
const COPY_BYTES: usize = 1024 * 1024;
/// The `released` file is at most this much behind.
const PERSIST_DELAY: Duration = Duration::from_secs(1);

/// The segment that is written to.
struct Active {
    file: Arc<dyn DiskFile>,
    first_seq: u64,
    /// The number behind the last confirmed record.
    end_seq: u64,
    /// Confirmed bytes, the header included.
    bytes: u64,
}

/// What the thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Commit,
    Housekeep,
    Look,
    Stop,
}

/// The owner of the files.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    spool_id: SpoolId,
    released_file: ReleasedFile,
    active: Option<Active>,
    /// Records taken from the appenders that are not confirmed yet.
    in_flight: Vec<u8>,
    in_flight_seqs: std::ops::Range<u64>,
    /// Whether they are written, into a file whose name does not lead to it.
    awaits_name: bool,
    look_at: Instant,
    /// The number behind the last confirmed record.
    last_end_seq: u64,
    retry_at: Option<Instant>,
    housekeep_after: Instant,
    /// Held as long as the spool is open.
    _lock: Box<dyn Send>,
}

/// Says that the writer has ended, in whatever way it did.
struct SayStopped(Arc<Shared>);

impl Drop for SayStopped {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.durable.notify_waiters();
        self.0.space.notify_waiters();
    }
}

impl Writer {
    /// A writer for a spool that was opened. It begins a segment of its own with the first record.
    pub(crate) fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, opened: Opened, lock: Box<dyn Send>) -> Self {
        Self {
            shared,
            disk,
            spool_id: opened.recovered.spool_id,
            released_file: opened.released_file,
            active: None,
            in_flight: Vec::new(),
            in_flight_seqs: 0..0,
            awaits_name: false,
            look_at: Instant::now() + LOOK_INTERVAL,
            last_end_seq: opened.last_end_seq,
            retry_at: None,
            housekeep_after: Instant::now(),
            _lock: lock,
        }
    }

    /// Works until the spool is closed.
    pub(crate) fn run(mut self) {
        let stopped = SayStopped(self.shared.clone());
        loop {
            match self.wait_for_work() {
                Work::Commit => _ = self.commit(),
                Work::Housekeep => self.housekeep(),
                Work::Look => self.look(),
                Work::Stop => break,
            }
        }
        self.finish();
        // The lock is free before anybody hears of the end, so that the spool can be opened again at once.
        drop(self);
        drop(stopped);
    }

    fn wait_for_work(&self) -> Work {
        let mut state = self.shared.lock();
        loop {
            let now = Instant::now();
            if let Some(work) = self.due(&state, now) {
                return work;
            }
            state = match self.next_look(&state) {
                None => self.shared.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(at) => {
                    let patience = at.saturating_duration_since(now);
                    self.shared.work.wait_timeout(state, patience).unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
            };
        }
    }

    /// What has to be done now.
    fn due(&self, state: &State, now: Instant) -> Option<Work> {
        let unwritten = !self.in_flight.is_empty() || !state.pending.is_empty();
        if state.closing && state.reader_gone && (!unwritten || (state.abandoned && self.retry_at.is_some())) {
            return Some(Work::Stop);
        }
        if now >= self.housekeep_after && state.droppable(&self.shared.options) > 0 {
            return Some(Work::Housekeep);
        }
        if now >= self.look_at {
            return Some(Work::Look);
        }
        let full = state.closing || state.pending.len() >= self.shared.options.commit_bytes;
        let late = self.commit_at(state).is_some_and(|at| at <= now);
        if late || (full && unwritten && self.retry_at.is_none()) {
            return Some(Work::Commit);
        }
        self.persist_at(state).is_some_and(|at| at <= now).then_some(Work::Housekeep)
    }

    /// When to look again without being woken.
    fn next_look(&self, state: &State) -> Option<Instant> {
        let drop_at = (state.droppable(&self.shared.options) > 0).then_some(self.housekeep_after);
        [self.commit_at(state), self.persist_at(state), drop_at, Some(self.look_at)].into_iter().flatten().min()
    }

    /// When what is pending has to be written at the latest.
    fn commit_at(&self, state: &State) -> Option<Instant> {
        self.retry_at.or_else(|| state.pending_since.map(|since| since + self.shared.options.commit_delay))
    }

    /// When the `released` file has to be written at the latest.
    fn persist_at(&self, state: &State) -> Option<Instant> {
        (state.released_seq != state.persisted_seq).then_some(self.housekeep_after + PERSIST_DELAY)
    }

    /// Writes what was appended; answers whether all that was taken is durable now.
    pub(crate) fn commit(&mut self) -> bool {
        // A file that was given up meanwhile, since all before was released, is not waited for.
        self.awaits_name &= self.active.is_some();
        if !self.awaits_name {
            self.take_pending();
            if self.in_flight.is_empty() {
                return true;
            }
            if let Err(error) = self.write_in_flight() {
                self.give_up_segment(&error);
                return false;
            }
        }
        self.confirm_if_there();
        self.retry_at.is_none()
    }

    /// What stands in a file without a name would not survive the process.
    fn confirm_if_there(&mut self) {
        match self.keep_name() {
            Ok(was_written_anew) => {
                self.awaits_name = false;
                self.confirm();
                if was_written_anew {
                    self.active = None;
                }
            }
            Err(error) => {
                self.awaits_name = true;
                self.retry_at = Some(Instant::now() + RETRY_DELAY);
                self.tell_removed(Some(format!(
                    "the file that is written to was removed, and can't be written anew ({error}); {REMOVED_ADVICE}"
                )));
            }
        }
    }

    /// Makes sure that the file that is written to can be found by its name; says whether it had to be written anew. The reader may go on
    /// with the file that has no name: both hold the same, and nothing more is written to either.
    fn keep_name(&self) -> io::Result<bool> {
        let Some(active) = &self.active else { return Ok(false) };
        let name = segment_name(active.first_seq);
        if self.disk.leads_to(&name, &*active.file)? {
            return Ok(false);
        }
        let copy = self.disk.create(&name)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut done = 0;
        while done < active.bytes {
            let wanted = usize::try_from(active.bytes - done).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            let count = read_full(&*active.file, part, done)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copy.write_at(part.get(..count).unwrap_or_default(), done)?;
            done += count as u64;
        }
        copy.sync()?;
        self.disk.sync_names("")?;
        log::error!("the spool's file {name} was removed by somebody else; what it held is written anew");
        Ok(true)
    }

    /// Looks whether the files are there.
    fn look(&mut self) {
        self.look_at = Instant::now() + LOOK_INTERVAL;
        if self.awaits_name {
            return;
        }
        let removed = match self.keep_name() {
            Ok(was_written_anew) => {
                if was_written_anew {
                    self.active = None;
                }
                self.lost_files()
            }
            Err(error) => Some(format!("the file that is written to was removed, and can't be written anew ({error}); {REMOVED_ADVICE}")),
        };
        self.tell_removed(removed);
    }

    /// What became of files that are not written to any more.
    fn lost_files(&self) -> Option<String> {
        let wanted: Vec<(String, u64)> = {
            let state = self.shared.lock();
            let with_records = state.segments.iter().map(|one| (segment_name(one.first_seq), one.records_from(state.released_seq)));
            with_records.filter(|(_, records)| *records > 0).collect()
        };
        let there = match self.disk.list("") {
            Ok(there) => there,
            Err(error) => return Some(format!("the spool's directory can't be read ({error}); {REMOVED_ADVICE}")),
        };
        let there: HashSet<&str> = there.iter().map(String::as_str).collect();
        let lost: Vec<u64> = wanted.iter().filter(|(name, _)| !there.contains(name.as_str())).map(|(_, records)| *records).collect();
        let records: u64 = lost.iter().sum();
        (!lost.is_empty()).then(|| format!("{} files with {records} records that are not stored were removed: {LOST_ADVICE}", lost.len()))
    }

    fn tell_removed(&self, removed: Option<String>) {
        let mut state = self.shared.lock();
        if state.removed != removed {
            if let Some(removed) = &removed {
                log::error!("{removed}");
            }
            state.removed = removed;
        }
    }

    /// Takes the appenders' buffer and leaves the empty one.
    fn take_pending(&mut self) {
        if !self.in_flight.is_empty() {
            return;
        }
        // A burst must not hold its memory for ever.
        self.in_flight.shrink_to(self.shared.options.commit_bytes.saturating_mul(2));
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.pending, &mut self.in_flight);
        self.in_flight_seqs = state.pending_first_seq..state.next_seq;
        state.pending_since = None;
    }

    /// Writes and syncs, into a new segment where one is due.
    fn write_in_flight(&mut self) -> io::Result<()> {
        let length = self.in_flight.len() as u64;
        let segment_bytes = self.shared.options.segment_bytes;
        let first_seq = self.in_flight_seqs.start;
        let fits =
            |active: &Active| active.end_seq == first_seq && (active.bytes + length <= segment_bytes || active.end_seq == active.first_seq);
        if !self.active.as_ref().is_some_and(fits) {
            self.begin_segment(first_seq)?;
        }
        let Some(active) = self.active.as_mut() else {
            return Ok(());
        };
        let new = active.end_seq == active.first_seq;
        active.file.write_at(&self.in_flight, active.bytes)?;
        active.file.sync()?;
        if new {
            self.disk.sync_names("")?;
        }
        active.bytes += length;
        active.end_seq = self.in_flight_seqs.end;
        Ok(())
    }

    fn begin_segment(&mut self, first_seq: u64) -> io::Result<()> {
        self.active = None;
        let file = self.disk.create(&segment_name(first_seq))?;
        self.active = Some(Active { file: file.clone(), first_seq, end_seq: first_seq, bytes: HEADER_BYTES });
        let header = Header { spool_id: self.spool_id, first_seq, follows_seq: self.last_end_seq };
        file.write_at(&header.encode(), 0)
    }

    /// Tells the others what is durable now.
    fn confirm(&mut self) {
        let Some(active) = &self.active else { return };
        let meta = SegmentMeta { first_seq: active.first_seq, end_seq: active.end_seq, bytes: active.bytes };
        self.last_end_seq = meta.end_seq;
        let mut state = self.shared.lock();
        state.buffered_bytes -= self.in_flight.len().min(state.buffered_bytes);
        state.durable_seq = meta.end_seq;
        state.disk_bytes += meta.bytes;
        match state.segments.back_mut().filter(|last| last.first_seq == meta.first_seq) {
            Some(last) => {
                let before = std::mem::replace(last, meta).bytes;
                state.disk_bytes -= before;
            }
            None => state.segments.push_back(meta),
        }
        if state.last_error.take().is_some() {
            log::info!("the spool is written again");
        }
        drop(state);
        self.in_flight.clear();
        self.retry_at = None;
        self.shared.durable.notify_waiters();
        self.shared.space.notify_waiters();
    }

    /// Ends the segment at its last confirmed record, as far as the disk lets us: whoever reads it knows from the next one where it ends.
    fn give_up_segment(&mut self, error: &io::Error) {
        if let Some(active) = self.active.take() {
            let tidied = if active.end_seq == active.first_seq {
                self.disk.remove(&segment_name(active.first_seq))
            } else {
                active.file.set_len(active.bytes)
            };
            if let Err(second) = tidied {
                log::debug!("the end of a segment could not be removed: {second}");
            }
        }
        self.retry_at = Some(Instant::now() + RETRY_DELAY);
        self.complain("write", error);
    }

    /// Shows an error where an operator sees it, and logs it once.
    fn complain(&self, what: &str, error: &io::Error) {
        let message = format!("the spool could not {what}: {error}");
        let mut state = self.shared.lock();
        if state.last_error.as_ref() != Some(&message) {
            log::error!("{message}");
            state.last_error = Some(message);
        }
        drop(state);
        // Appenders that would rather drop than wait learn of it.
        self.shared.space.notify_waiters();
    }

    /// Notes what was released and deletes the segments that hold nothing else.
    pub(crate) fn housekeep(&mut self) {
        self.housekeep_after = Instant::now();
        match self.delete_released() {
            Err(error) => {
                self.housekeep_after += RETRY_DELAY;
                self.complain("delete what was released", &error);
            }
            Ok(()) if self.retry_at.is_none() => self.shared.lock().last_error = None,
            Ok(()) => {}
        }
    }

    fn delete_released(&mut self) -> io::Result<()> {
        let (doomed, all) = {
            let state = self.shared.lock();
            let count = state.droppable(&self.shared.options);
            let doomed: Vec<u64> = state.segments.iter().take(count).map(|one| one.first_seq).collect();
            (doomed, count == state.segments.len())
        };
        let noted = self.note_released(false, all);
        // The next segment's name tells what the file would: on a full disk its deletion goes first. The last one has no next.
        if let Err(error) = noted
            && (all || error.kind() != io::ErrorKind::StorageFull)
        {
            return Err(error);
        }
        let mut result = Ok(());
        let mut gone = 0;
        for first_seq in &doomed {
            match self.disk.remove(&segment_name(*first_seq)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    result = Err(error);
                    break;
                }
                _ => gone += 1,
            }
        }
        self.forget(gone, all && gone == doomed.len())?;
        result
    }

    /// Forgets the deleted segments, and the one written to if it is among them.
    fn forget(&mut self, count: usize, all: bool) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        if all {
            self.active = None;
        }
        self.shared.lock().drop_front(count);
        self.shared.space.notify_waiters();
        self.disk.sync_names("")
    }

    /// Writes the `released` file; twice where nothing else will tell the numbers.
    fn note_released(&mut self, clean: bool, twice: bool) -> io::Result<()> {
        let (before_seq, next_seq) = {
            let state = self.shared.lock();
            (state.released_seq, state.next_seq)
        };
        let released = Released { spool_id: self.spool_id, before_seq, confirmed_seq: self.last_end_seq, next_seq, clean };
        if twice {
            self.released_file.write_twice(&released)?;
        } else {
            self.released_file.write(&released)?;
        }
        self.shared.lock().persisted_seq = before_seq;
        Ok(())
    }

    /// Leaves the spool in order. What could not be written is lost, and was never confirmed.
    pub(crate) fn finish(&mut self) {
        self.housekeep();
        let clean = self.in_flight.is_empty() && self.shared.lock().pending.is_empty();
        if let Err(error) = self.note_released(clean, true) {
            log::warn!("the spool could not note that it was closed: {error}");
        }
    }
}
