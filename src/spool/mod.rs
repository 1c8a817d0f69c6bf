//! The spool: nothing that was received is lost while the database is away.
//!
//! An append-only log of byte records on disk. It knows nothing of XMPP: a record is bytes, and gets a sequence number, a `u64` that begins at
//! 0, grows, and is never used twice. [`Spool::open`] gives an [`Appender`], which any number of tasks share, and one [`Reader`].
//! What follows is the specification of what is on disk, of the limits, and of who deletes what and when.
//!
//! # Layout
//! One directory for each spool, readable by its owner alone:
//!
//! | name | what it is |
//! |---|---|
//! | `lock` | locked as long as a process has the spool open |
//! | `released` | how far the records are committed elsewhere, and the high-water marks of the numbering |
//! | `0000000000000000.log` | a segment, named after its first sequence number in 16 hexadecimal digits |
//! | `damaged/SEGMENT-OFFSET.bin` | a copy of a byte range that held no record where one should have been |
//!
//! All numbers are little-endian; every checksum is CRC-32C.
//!
//! A **segment** is a header of 48 bytes and then records, without padding, up to its end:
//!
//! | bytes | header |
//! |---|---|
//! | 8 | `xaspool\n` |
//! | 4 | format version, 1 |
//! | 16 | spool id: random, the same in every segment |
//! | 8 | sequence number of the first record |
//! | 8 | the number behind the last record of the segment before. From here up to the first record no number was given away |
//! | 4 | checksum of the 44 bytes before |
//!
//! | bytes | record |
//! |---|---|
//! | 4 | length of the payload |
//! | 4 | checksum of the spool id, the length, the payload, and the sequence number |
//! | 8 | sequence number: one more than that of the record before |
//! | length | payload |
//!
//! The checksum begins with the spool id, which nobody outside knows: bytes inside a payload never pass for a record when a scan looks for one.
//! A segment ends where the next one says that it does. What stands behind that end is not read: it was never confirmed, or was written again.
//!
//! **`released`** has two slots of 64 bytes, at 0 and at 4096, written in turn: `xarelsd\n`, the spool id, a counter of the writes, the number
//! below which all is released, the number behind the last confirmed record, the next number (8 bytes each), 1 if closed in order (4 bytes), checksum.
//! The sound slot with the higher counter holds. It is written in place, because a full disk must not refuse it. It is a hint: it is written at
//! most every second and before a deletion, so records are read again after a crash, and whoever stores them must tolerate that.
//!
//! # Who does what
//! - **Appenders** copy a record into memory and give it its number.
//! - **The writer**, a thread, owns the files. It writes what has gathered after `commit_delay` or `commit_bytes`, whichever comes first, with one
//!   fdatasync; meanwhile the next batch gathers. A record is durable when its bytes, and the name of a new segment, are synced. A segment is
//!   full when the next batch would take it over `segment_bytes`; a process never writes to a segment that another one began.
//!   After a failed write or fdatasync the segment ends at its last confirmed record, and the same records go into a new one, again every
//!   second until it succeeds ([`Depth::last_error`] says why it does not).
//! - **The reader** reads up to the last durable record. What it finds damaged it copies to `damaged/`, reports once in [`Batch::damage`], and
//!   goes on at the next sound record.
//! - **Deleting** is done by the writer alone: segments all of whose records are released, after `released` says so. The one that is written to
//!   goes too once it has a quarter of its size, or when space is short, or at the end. Nothing deletes the copies in `damaged/`.
//!
//! # Opening
//! Only the headers and the last segment are read, so it takes moments whatever the backlog. Behind the last sound record of the last segment
//! lies a torn tail: it is copied, cut and counted. A last segment without any sound record is removed in the same way. What is damaged inside
//! the last segment, a damaged header, a segment of another spool, and numbers missing in front or behind are reported in [`Recovered::damaged`];
//! damage and holes in the middle show when the reader comes there. None of it is fatal. After a crash the numbering leaves out
//! [`SKIP_AFTER_CRASH`] numbers.
//!
//! # Limits
//! [`Options`] names them all: the bytes on disk (`limit_bytes`, with what to do when they are reached), in memory (`buffer_bytes`), in a segment,
//! in a record (16 MiB whatever the options say), and [`DAMAGED_FILES_MAX`] for the copies.
//! Memory is bounded by twice the buffer and a batch, at any backlog.

mod appender;
mod damage;
mod disk;
#[cfg(test)]
mod model;
mod reader;
#[cfg(test)]
mod real;
mod recovery;
mod released;
mod segment;
#[cfg(test)]
mod sim;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use appender::{AppendError, Appender, Depth, NotDurable};
pub use damage::{DAMAGED_FILES_MAX, Damage};
pub use reader::{Batch, ReadError, Reader};
pub use recovery::{Recovered, SKIP_AFTER_CRASH};

use disk::{Disk, RealDisk};
use segment::{FORMAT_RECORD_BYTES_MAX, HEADER_BYTES, Key, RECORD_HEAD_BYTES};
use state::{Shared, State};
use writer::Writer;

/// A limit must leave room for this many segments, or nothing could be released before the limit is reached.
const SEGMENTS_IN_LIMIT_MIN: u64 = 4;

/// What happens when the disk limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Appending waits until the reader has released something.
    #[default]
    Pause,
    /// Appending fails with [`AppendError::Full`].
    Drop,
}

/// The limits of a spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment is closed before it grows over this; made smaller where `limit_bytes` asks for it.
    pub segment_bytes: u64,
    /// All segments together, with what is in memory, take no more than this.
    pub limit_bytes: u64,
    /// What happens then.
    pub when_full: WhenFull,
    /// A record waits at most this long for others before it is written.
    pub commit_delay: Duration,
    /// What has gathered is written at once when it has this size.
    pub commit_bytes: usize,
    /// At most this much is in memory that is not durable.
    pub buffer_bytes: usize,
    /// The longest record.
    pub max_record_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            limit_bytes: 10 * 1024 * 1024 * 1024,
            when_full: WhenFull::Pause,
            commit_delay: Duration::from_millis(5),
            commit_bytes: 1024 * 1024,
            buffer_bytes: 16 * 1024 * 1024,
            max_record_bytes: 4 * 1024 * 1024,
        }
    }
}

impl Options {
    /// The options with a segment size that fits the limit, or why they cannot be.
    fn checked(mut self) -> Result<Self, SpoolError> {
        let longest = RECORD_HEAD_BYTES + self.max_record_bytes;
        let wrong = if self.max_record_bytes > FORMAT_RECORD_BYTES_MAX {
            "max_record_bytes is over 16 MiB"
        } else if self.buffer_bytes < longest {
            "buffer_bytes does not hold the longest record"
        } else if self.limit_bytes < 2 * HEADER_BYTES + longest as u64 {
            "limit_bytes does not hold the longest record"
        } else {
            self.segment_bytes = self.segment_bytes.min(self.limit_bytes / SEGMENTS_IN_LIMIT_MIN);
            return Ok(self);
        };
        Err(SpoolError::Options(wrong))
    }
}

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has it open.
    #[error("the spool {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The options contradict each other.
    #[error("the spool's limits do not fit together: {0}")]
    Options(&'static str),
    /// The directory or a file in it cannot be used.
    #[error("the spool {} cannot be opened: {error}", dir.display())]
    Io {
        /// The spool's directory.
        dir: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}

/// The durable log; see the head of the module.
#[derive(Debug)]
pub struct Spool;

impl Spool {
    /// Opens the spool in a directory, which is made if it is not there. It reads the last segment, so it blocks for a moment.
    pub fn open(dir: &Path, options: Options) -> Result<(Appender, Reader, Recovered), SpoolError> {
        let options = options.checked()?;
        let failed = |error| SpoolError::Io { dir: dir.to_owned(), error };
        let disk = Arc::new(RealDisk::open(dir).map_err(failed)?);
        let parts = open_on(disk, options).map_err(failed)?;
        let (appender, reader, recovered, writer) = parts.ok_or_else(|| SpoolError::InUse(dir.to_owned()))?;
        std::thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run()).map_err(failed)?;
        Ok((appender, reader, recovered))
    }
}

/// The parts of an open spool; the writer does not run yet.
type Parts = (Appender, Reader, Recovered, Writer);

/// Opens the spool on any disk; `None` when it is in use.
fn open_on(disk: Arc<dyn Disk>, options: Options) -> io::Result<Option<Parts>> {
    let Some(lock) = disk.lock()? else {
        return Ok(None);
    };
    let mut opened = recovery::recover(&*disk)?;
    let recovered = opened.recovered.clone();
    for damage in &recovered.damaged {
        log::error!(
            "damage in the spool: segment {:016x}, offset {}, {} bytes, records {:?}",
            damage.segment,
            damage.offset,
            damage.length,
            damage.missing
        );
    }
    let mut state = State {
        next_seq: recovered.next_seq,
        durable_seq: recovered.next_seq,
        segments: std::mem::take(&mut opened.segments),
        disk_bytes: recovered.bytes,
        released_seq: opened.released_seq,
        persisted_seq: opened.released_seq,
        ..State::default()
    };
    state.note_damage(&recovered.damaged);
    let shared = Arc::new(Shared::new(options, Key::new(&recovered.spool_id), state));
    let appender = Appender::new(shared.clone());
    let reader = Reader::new(shared.clone(), disk.clone(), recovered.first_seq);
    let writer = Writer::new(shared, disk, opened, lock);
    Ok(Some((appender, reader, recovered, writer)))
}
