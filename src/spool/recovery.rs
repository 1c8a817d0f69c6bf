//! What is done when a spool is opened: find out what is there, cut a torn tail, and see what is missing.
//!
//! Only the headers and the last segment are read, so that the archive is back within moments however long the backlog is. The records of the
//! other segments are verified when the reader comes to them. A crash shows in three ways: a tail that is torn, a last segment of which
//! nothing arrived, and segments that were already released and are still there. Everything else is damage, and reported.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;

use super::damage::{Damage, set_aside};
use super::disk::{Disk, DiskFile, read_full};
use super::released::{Released, ReleasedFile};
use super::segment::{Found, HEADER_BYTES, Header, Key, RECORD_HEAD_BYTES, Scan, SpoolId, parse_segment_name, segment_name};
use super::state::SegmentMeta;

/// After a crash this many sequence numbers are left out. A disk that lies about its syncs may have lost the last confirmed records, and a
/// database that knows their numbers would take new records under the same numbers for old ones.
pub const SKIP_AFTER_CRASH: u64 = 1 << 20;

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The random name of the spool.
    pub spool_id: SpoolId,
    /// Records that are not released.
    pub records: u64,
    /// Bytes of all segments on disk.
    pub bytes: u64,
    /// The number that the reader begins at.
    pub first_seq: u64,
    /// The number that the next record gets.
    pub next_seq: u64,
    /// Bytes behind the last sound record that were cut off.
    pub torn_tail_bytes: u64,
    /// Everything found damaged or missing.
    pub damaged: Vec<Damage>,
}

/// What the writer and the reader start from.
pub(crate) struct Opened {
    pub(crate) recovered: Recovered,
    pub(crate) segments: VecDeque<SegmentMeta>,
    pub(crate) released_seq: u64,
    pub(crate) last_end_seq: u64,
    pub(crate) released_file: ReleasedFile,
}

/// A segment's file as it was found.
struct Listed {
    first_seq: u64,
    header: Option<Header>,
    bytes: u64,
}

/// The work of one opening.
struct Recovery<'a> {
    disk: &'a dyn Disk,
    key: Key,
    damaged: Vec<Damage>,
    torn_tail_bytes: u64,
    /// Numbers below may have been given away.
    floor_seq: u64,
    /// Numbers below were confirmed durable once.
    confirmed_seq: u64,
}

/// Opens what is there.
pub(crate) fn recover(disk: &dyn Disk) -> io::Result<Opened> {
    // Files that a killed process made may have names that are not durable yet.
    disk.sync_names("")?;
    let (mut released_file, mark) = ReleasedFile::open(disk)?;
    let listed = list_segments(disk)?;
    let known_id = mark.as_ref().map(|mark| mark.spool_id);
    let spool_id = known_id.or_else(|| listed.iter().find_map(|one| one.header.as_ref().map(|header| header.spool_id)));
    let spool_id = spool_id.unwrap_or_else(random_id);
    let fresh = mark.is_none() && listed.is_empty();
    let clean = fresh || mark.as_ref().is_some_and(|mark| mark.clean);
    let mut recovery = Recovery::new(disk, Key::new(&spool_id), mark.as_ref());
    let listed = recovery.expel_foreign(listed, &spool_id)?;
    let mut segments = recovery.lay_out(listed)?;
    let released_seq = mark.as_ref().map(|mark| mark.before_seq);
    let (released_seq, last_end_seq) = recovery.find_holes(&mut segments, released_seq);
    let skip = if clean && recovery.torn_tail_bytes == 0 { 0 } else { SKIP_AFTER_CRASH };
    let next_seq = recovery.floor_seq.max(last_end_seq).saturating_add(skip);
    let before_seq = released_seq;
    released_file.write_twice(&Released { spool_id, before_seq, confirmed_seq: last_end_seq, next_seq, clean: false })?;
    let segments: VecDeque<_> = segments.into_iter().map(|one| one.meta).collect();
    let waiting = segments.iter().find(|one| one.end_seq > released_seq);
    let recovered = Recovered {
        spool_id,
        records: segments.iter().map(|one| one.records_from(released_seq)).sum(),
        bytes: segments.iter().map(|one| one.bytes).sum(),
        first_seq: waiting.map_or(next_seq, |one| one.first_seq.max(released_seq)),
        next_seq,
        torn_tail_bytes: recovery.torn_tail_bytes,
        damaged: recovery.damaged,
    };
    Ok(Opened { recovered, segments, released_seq, last_end_seq, released_file })
}

/// A segment that stays, and the number that it continues from.
struct Piece {
    meta: SegmentMeta,
    follows_seq: u64,
}

impl<'a> Recovery<'a> {
    fn new(disk: &'a dyn Disk, key: Key, mark: Option<&Released>) -> Self {
        let given = |mark: &Released| mark.next_seq.max(mark.confirmed_seq).max(mark.before_seq);
        Self {
            disk,
            key,
            damaged: Vec::new(),
            torn_tail_bytes: 0,
            floor_seq: mark.map_or(0, given),
            confirmed_seq: mark.map_or(0, |mark| mark.confirmed_seq),
        }
    }

    /// Moves segments of another spool out of the way: their numbers are not ours.
    fn expel_foreign(&mut self, listed: Vec<Listed>, spool_id: &SpoolId) -> io::Result<Vec<Listed>> {
        let mut ours = Vec::with_capacity(listed.len());
        for one in listed {
            if one.header.as_ref().is_none_or(|header| header.spool_id == *spool_id) {
                ours.push(one);
                continue;
            }
            let name = segment_name(one.first_seq);
            let damage = set_aside(self.disk, &*self.disk.open(&name)?, one.first_seq, 0..one.bytes, 0..0);
            if damage.copy.is_none() {
                return Err(io::Error::other(format!("{name} belongs to another spool and could not be moved to damaged/")));
            }
            self.disk.remove(&name)?;
            self.damaged.push(damage);
        }
        Ok(ours)
    }

    /// Finds out where each segment ends: a middle one where the next says that it does, the last one by reading it.
    fn lay_out(&mut self, mut listed: Vec<Listed>) -> io::Result<VecDeque<Piece>> {
        let mut pieces = VecDeque::new();
        while let Some(last) = listed.pop() {
            self.floor_seq = self.floor_seq.max(last.first_seq);
            self.confirmed_seq = self.confirmed_seq.max(last.header.as_ref().map_or(0, |header| header.follows_seq));
            if let Some(meta) = self.read_last(&last)? {
                pieces.push_front(self.piece(&last, meta)?);
                break;
            }
        }
        while let Some(one) = listed.pop() {
            let end_seq = pieces.front().map_or(one.first_seq, |next: &Piece| next.follows_seq).max(one.first_seq);
            let meta = SegmentMeta { first_seq: one.first_seq, end_seq, bytes: one.bytes };
            pieces.push_front(self.piece(&one, meta)?);
        }
        Ok(pieces)
    }

    /// Notes a damaged header. Without it the numbers are taken to go on without a gap.
    fn piece(&mut self, listed: &Listed, meta: SegmentMeta) -> io::Result<Piece> {
        if let Some(header) = &listed.header {
            return Ok(Piece { meta, follows_seq: header.follows_seq });
        }
        let file = self.disk.open(&segment_name(listed.first_seq))?;
        let range = 0..listed.bytes.min(HEADER_BYTES);
        self.damaged.push(set_aside(self.disk, &*file, listed.first_seq, range, 0..0));
        Ok(Piece { meta, follows_seq: listed.first_seq })
    }

    /// Reads the last segment to its end and cuts what is torn; `None` when not a single record arrived.
    fn read_last(&mut self, last: &Listed) -> io::Result<Option<SegmentMeta>> {
        let name = segment_name(last.first_seq);
        let file = self.disk.open(&name)?;
        let mut scan = Scan::new(file.clone(), self.key, HEADER_BYTES, last.first_seq);
        scan.extend(last.bytes, last.first_seq.saturating_add(last.bytes / RECORD_HEAD_BYTES as u64));
        let mut damaged = Vec::new();
        let rest = loop {
            match scan.next()? {
                Found::Record { length, .. } => scan.consume(length),
                Found::Damaged { range, missing } => damaged.push((range, missing)),
                Found::End { rest } => break rest,
            }
        };
        for (range, missing) in damaged {
            self.damaged.push(set_aside(self.disk, &*file, last.first_seq, range, missing));
        }
        let end_seq = scan.next_seq();
        let bytes = rest.start;
        let tail = if end_seq == last.first_seq { 0..last.bytes } else { rest };
        self.cut(&name, &*file, last.first_seq, tail)?;
        Ok((end_seq > last.first_seq).then_some(SegmentMeta { first_seq: last.first_seq, end_seq, bytes }))
    }

    /// Cuts a torn tail. It is copied first: whether its bytes were ever confirmed cannot be known.
    fn cut(&mut self, name: &str, file: &dyn DiskFile, segment: u64, tail: Range<u64>) -> io::Result<()> {
        let whole_file = tail.start == 0;
        let only_a_header = whole_file && tail.end <= HEADER_BYTES;
        if !only_a_header && !tail.is_empty() {
            self.torn_tail_bytes += tail.end - tail.start;
            let copied = set_aside(self.disk, file, segment, tail.clone(), 0..0).copy.is_some();
            if !copied && whole_file {
                log::warn!("{name} holds no sound record; it stays, because it could not be copied");
                self.floor_seq = self.floor_seq.max(segment + 1);
                return Ok(());
            }
        }
        if whole_file {
            self.disk.remove(name)?;
            return self.disk.sync_names("");
        }
        if !tail.is_empty() {
            file.set_len(tail.start)?;
        }
        // What a killed process wrote may stand in the page cache alone, and from now on it counts as durable.
        file.sync()
    }

    /// Reports the numbers missing in front of the first segment and behind the last one; answers from where to read and where the log ends.
    fn find_holes(&mut self, pieces: &mut VecDeque<Piece>, released_seq: Option<u64>) -> (u64, u64) {
        let first = pieces.front().map(|one| (one.meta.first_seq, one.follows_seq));
        let mut released_seq = released_seq.unwrap_or_else(|| first.map_or(0, |(first_seq, _)| first_seq));
        if let Some((first_seq, follows_seq)) = first.filter(|(_, follows_seq)| *follows_seq > released_seq) {
            self.damaged.push(Damage::hole(first_seq, 0, released_seq..follows_seq));
            released_seq = follows_seq;
        }
        let last = pieces.back().map_or(SegmentMeta::default(), |one| one.meta.clone());
        let end_seq = last.end_seq.max(if pieces.is_empty() { released_seq } else { 0 });
        let lost = end_seq.max(released_seq)..self.confirmed_seq;
        if !lost.is_empty() {
            self.damaged.push(Damage::hole(last.first_seq, last.bytes, lost));
        }
        let last_end_seq = end_seq.max(self.confirmed_seq);
        if pieces.is_empty() {
            released_seq = released_seq.max(last_end_seq);
        }
        (released_seq, last_end_seq)
    }
}

/// The segments in order, with their headers.
fn list_segments(disk: &dyn Disk) -> io::Result<Vec<Listed>> {
    let mut first_seqs: Vec<u64> = disk.list("")?.iter().filter_map(|name| parse_segment_name(name)).collect();
    first_seqs.sort_unstable();
    let mut listed = Vec::with_capacity(first_seqs.len());
    for first_seq in first_seqs {
        let file = disk.open(&segment_name(first_seq))?;
        let mut bytes = [0; HEADER_BYTES as usize];
        read_full(&*file, &mut bytes, 0)?;
        let header = Header::decode(&bytes).filter(|header| header.first_seq == first_seq);
        listed.push(Listed { first_seq, header, bytes: file.len()? });
    }
    Ok(listed)
}

/// Sixteen bytes from the keys that the operating system gives to the standard library's hash maps.
fn random_id() -> SpoolId {
    let half = || RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now())).to_le_bytes();
    let mut id = [0; 16];
    let (low, high) = id.split_at_mut(8);
    low.copy_from_slice(&half());
    high.copy_from_slice(&half());
    id
}
