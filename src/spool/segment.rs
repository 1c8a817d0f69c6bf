//! The bytes of a segment: its header, the framing of its records, and the scan that reads them back.
//!
//! The layout is told in the head of the parent module. A scan goes from record to record; where the bytes do not make a record, it looks for
//! the next place where they do, and says what lies between.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::disk::{DiskFile, read_full};

/// Bytes of a segment's header.
pub(crate) const HEADER_BYTES: u64 = 48;
/// Bytes in front of every record's payload.
pub(crate) const RECORD_HEAD_BYTES: usize = 16;
/// The longest record that the format allows, whatever the options say: a reader must hold one in memory.
pub(crate) const FORMAT_RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

const MAGIC: [u8; 8] = *b"xaspool\n";
const VERSION: u32 = 1;
/// A scan reads this much at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// The random name of a spool.
pub(crate) type SpoolId = [u8; 16];

/// Takes a fixed number of bytes at an offset.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// Reads a little-endian number at an offset.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes_at(bytes, offset)?))
}

/// Reads a little-endian number at an offset.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes_at(bytes, offset)?))
}

/// The checksum of a spool's records.
///
/// It starts from the spool's random name, so that bytes that somebody sends us never pass for a record of ours when a scan looks for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(u32);

/// The checksum of a record that has no number yet: the costly part, done outside the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unnumbered(u32);

impl Key {
    /// The key of the spool of this name.
    pub(crate) fn new(id: &SpoolId) -> Self {
        Self(crc32c::crc32c(id))
    }

    /// Sums the length and the payload.
    pub(crate) fn sum(self, payload: &[u8]) -> Unnumbered {
        let length = payload.len() as u32;
        let sum = crc32c::crc32c_append(self.0, &length.to_le_bytes());
        Unnumbered(crc32c::crc32c_append(sum, payload))
    }
}

impl Unnumbered {
    /// Sums the sequence number at last.
    fn number(self, seq: u64) -> u32 {
        crc32c::crc32c_append(self.0, &seq.to_le_bytes())
    }
}

/// Frames a record behind those that a buffer holds.
pub(crate) fn push_record(into: &mut Vec<u8>, payload: &[u8], sum: Unnumbered, seq: u64) {
    let length = payload.len() as u32;
    into.reserve(RECORD_HEAD_BYTES + payload.len());
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&sum.number(seq).to_le_bytes());
    into.extend_from_slice(&seq.to_le_bytes());
    into.extend_from_slice(payload);
}

/// What stands at the beginning of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The spool that the segment belongs to.
    pub(crate) spool_id: SpoolId,
    /// The number of the first record.
    pub(crate) first_seq: u64,
    /// The number behind the last record of the segment before: the numbers from it up to `first_seq` were never given away.
    pub(crate) follows_seq: u64,
}

impl Header {
    /// The header's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.spool_id);
        bytes.extend_from_slice(&self.first_seq.to_le_bytes());
        bytes.extend_from_slice(&self.follows_seq.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a header back; `None` when it is damaged or of another format.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let sum_at = HEADER_BYTES as usize - 4;
        let sound = crc32c::crc32c(bytes.get(..sum_at)?) == u32_at(bytes, sum_at)?;
        let ours = bytes.starts_with(&MAGIC) && u32_at(bytes, 8)? == VERSION;
        (sound && ours).then_some(())?;
        Some(Self { spool_id: bytes_at(bytes, 12)?, first_seq: u64_at(bytes, 28)?, follows_seq: u64_at(bytes, 36)? })
    }
}

/// The file name of the segment that begins with a record.
pub(crate) fn segment_name(first_seq: u64) -> String {
    format!("{first_seq:016x}.log")
}

/// The first record's number out of a segment's file name; `None` for any other file.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let hex = name.strip_suffix(".log").filter(|hex| hex.len() == 16)?;
    u64::from_str_radix(hex, 16).ok().filter(|first_seq| segment_name(*first_seq) == name)
}

/// What a scan meets next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A sound record; [`Scan::payload`] gives its bytes, [`Scan::consume`] goes past it.
    Record {
        /// Its number.
        seq: u64,
        /// Bytes of its payload.
        length: usize,
    },
    /// Bytes that are no record, with a sound record behind them. Without any bytes: numbers are missing between two records.
    Damaged {
        /// Where in the file.
        range: Range<u64>,
        /// The numbers that should have stood there.
        missing: Range<u64>,
    },
    /// No record follows.
    End {
        /// Where the last sound record ends, up to the end of the file.
        rest: Range<u64>,
    },
}

/// Walks over the records of a segment with a bounded buffer.
pub(crate) struct Scan {
    file: Arc<dyn DiskFile>,
    key: Key,
    /// Nothing is read from here on.
    end: u64,
    /// The number behind the last that the segment may hold.
    limit_seq: u64,
    /// The number that is expected next.
    next_seq: u64,
    /// The place in the file of the first byte of `window`.
    offset: u64,
    buffer: Vec<u8>,
    /// How much of `buffer` lies behind us.
    passed: usize,
}

impl Scan {
    /// Begins at a record's place.
    pub(crate) fn new(file: Arc<dyn DiskFile>, key: Key, offset: u64, next_seq: u64) -> Self {
        Self { file, key, end: offset, limit_seq: next_seq, next_seq, offset, buffer: Vec::new(), passed: 0 }
    }

    /// Says how far the segment is known to reach.
    pub(crate) fn extend(&mut self, end: u64, limit_seq: u64) {
        self.end = end;
        self.limit_seq = limit_seq;
    }

    /// The place of the next record.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number that is expected next.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Looks at what comes next. A record is met again and again until it is consumed.
    pub(crate) fn next(&mut self) -> io::Result<Found> {
        // Behind the last number there may be a torn tail, or records that were written again into the next segment.
        if self.next_seq >= self.limit_seq {
            return Ok(Found::End { rest: self.offset..self.end.max(self.offset) });
        }
        match self.record_here()? {
            Some((seq, length)) if seq == self.next_seq => Ok(Found::Record { seq, length }),
            Some((seq, _)) => Ok(self.damaged(self.offset, seq)),
            None => self.resynchronise(),
        }
    }

    /// The payload of the record that was found last.
    pub(crate) fn payload(&self, length: usize) -> &[u8] {
        let start = self.passed + RECORD_HEAD_BYTES;
        self.buffer.get(start..start + length).unwrap_or_default()
    }

    /// Goes past the record that was found last.
    pub(crate) fn consume(&mut self, length: usize) {
        self.skip(RECORD_HEAD_BYTES + length);
        self.next_seq += 1;
    }

    fn skip(&mut self, bytes: usize) {
        self.passed += bytes;
        self.offset += bytes as u64;
    }

    /// Makes the bytes from here on available, as many as asked for where the segment has them.
    fn window(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let held = self.buffer.len().saturating_sub(self.passed);
        if held < bytes.min(left) {
            self.fill(bytes.max(CHUNK_BYTES).min(left), held)?;
        }
        let window = self.buffer.get(self.passed..).unwrap_or_default();
        Ok(window.get(..left).unwrap_or(window))
    }

    /// Moves what is held to the front and reads more behind it.
    fn fill(&mut self, wanted: usize, held: usize) -> io::Result<()> {
        self.buffer.drain(..self.passed.min(self.buffer.len()));
        self.passed = 0;
        self.buffer.resize(wanted, 0);
        let room = self.buffer.get_mut(held..).unwrap_or_default();
        let count = read_full(&*self.file, room, self.offset + held as u64)?;
        self.buffer.truncate(held + count);
        if held + count < wanted {
            // The file is shorter than it was: somebody cut it.
            self.end = self.offset + (held + count) as u64;
        }
        Ok(())
    }

    /// The number and length of the record that begins here, if a sound one does.
    fn record_here(&mut self) -> io::Result<Option<(u64, usize)>> {
        let Some((seq, length)) = self.plausible_head()? else {
            return Ok(None);
        };
        let key = self.key;
        let window = self.window(RECORD_HEAD_BYTES + length)?;
        let payload = window.get(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + length);
        let sound = payload.is_some_and(|payload| u32_at(window, 4) == Some(key.sum(payload).number(seq)));
        Ok(sound.then_some((seq, length)))
    }

    fn plausible_head(&mut self) -> io::Result<Option<(u64, usize)>> {
        let seqs = self.next_seq..self.limit_seq;
        let left = self.end.saturating_sub(self.offset);
        Ok(plausible_head(self.window(RECORD_HEAD_BYTES)?, &seqs, left))
    }

    /// Looks for the next sound record, byte by byte. What is found stays ahead of us.
    fn resynchronise(&mut self) -> io::Result<Found> {
        let (start, seqs) = (self.offset, self.next_seq..self.limit_seq);
        loop {
            self.skip(1);
            let left = self.end.saturating_sub(self.offset);
            let window = self.window(CHUNK_BYTES.min(RECORD_HEAD_BYTES * 64))?;
            let Some(last) = window.len().checked_sub(RECORD_HEAD_BYTES) else {
                break;
            };
            let head_at = |at: usize| plausible_head(window.get(at..).unwrap_or_default(), &seqs, left - at as u64);
            match (0..=last).find(|at| head_at(*at).is_some()) {
                None => self.skip(last),
                Some(at) => {
                    self.skip(at);
                    if let Some((seq, _)) = self.record_here()? {
                        return Ok(self.damaged(start, seq));
                    }
                }
            }
        }
        self.offset = start;
        self.buffer.clear();
        self.passed = 0;
        Ok(Found::End { rest: start..self.end.max(start) })
    }

    fn damaged(&mut self, start: u64, found_seq: u64) -> Found {
        let missing = self.next_seq..found_seq;
        self.next_seq = found_seq;
        Found::Damaged { range: start..self.offset, missing }
    }
}

/// The number and length that stand in a record's head, if they can be meant: a number that may come here, a length that fits.
fn plausible_head(bytes: &[u8], seqs: &Range<u64>, left: u64) -> Option<(u64, usize)> {
    let seq = u64_at(bytes, 8).filter(|seq| seqs.contains(seq))?;
    let length = u32_at(bytes, 0)? as usize;
    let fits = length <= FORMAT_RECORD_BYTES_MAX && (RECORD_HEAD_BYTES + length) as u64 <= left;
    fits.then_some((seq, length))
}
