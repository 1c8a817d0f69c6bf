//! What is set aside when bytes of the spool turn out to be damaged.

use std::io;
use std::ops::Range;

use super::disk::{DAMAGED_DIR, Disk, DiskFile, read_full};
use super::segment::segment_name;

/// At most this many copies are kept in `damaged/`; further damage is reported but not copied.
pub const DAMAGED_FILES_MAX: usize = 1000;
/// Copies are made in pieces of this size.
const COPY_BYTES: usize = 64 * 1024;

/// A place in the spool that holds no record where one should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first sequence number of the segment, which its file is named after.
    pub segment: u64,
    /// Where in the segment's file.
    pub offset: u64,
    /// How many bytes; 0 where records are missing without a trace.
    pub length: u64,
    /// The sequence numbers that are lost; empty when only a segment's header is damaged.
    pub missing: Range<u64>,
    /// The copy of the bytes, relative to the spool's directory, where one could be made.
    pub copy: Option<String>,
}

impl Damage {
    /// A gap in the numbers, with no bytes to show for it.
    pub(crate) fn hole(segment: u64, offset: u64, missing: Range<u64>) -> Self {
        Self { segment, offset, length: 0, missing, copy: None }
    }
}

/// Copies a damaged range, and describes it. A copy that fails is logged: reading goes on all the same.
pub(crate) fn set_aside(disk: &dyn Disk, file: &dyn DiskFile, segment: u64, range: Range<u64>, missing: Range<u64>) -> Damage {
    let copy = match copy_range(disk, file, segment, &range) {
        Ok(copy) => copy,
        Err(error) => {
            log::error!("a damaged range of the spool could not be copied: segment {segment:016x}, offset {}: {error}", range.start);
            None
        }
    };
    Damage { segment, offset: range.start, length: range.end - range.start, missing, copy }
}

/// Copies a range into `damaged/`; `None` when there is nothing to copy or the directory is full.
fn copy_range(disk: &dyn Disk, file: &dyn DiskFile, segment: u64, range: &Range<u64>) -> io::Result<Option<String>> {
    if range.is_empty() {
        return Ok(None);
    }
    let name = format!("{}-{:x}.bin", segment_name(segment).trim_end_matches(".log"), range.start);
    let path = format!("{DAMAGED_DIR}/{name}");
    let present = disk.list(DAMAGED_DIR)?;
    if present.contains(&name) {
        return Ok(Some(path));
    }
    if present.len() >= DAMAGED_FILES_MAX {
        return Ok(None);
    }
    let copy = disk.create(&path)?;
    if let Err(error) = copy_bytes(file, &*copy, range) {
        // A half copy would pass for a whole one at the next opening.
        disk.remove(&path)?;
        return Err(error);
    }
    disk.sync_names(DAMAGED_DIR)?;
    Ok(Some(path))
}

fn copy_bytes(from: &dyn DiskFile, to: &dyn DiskFile, range: &Range<u64>) -> io::Result<()> {
    let mut piece = vec![0; COPY_BYTES];
    let mut offset = range.start;
    while offset < range.end {
        let wanted = usize::try_from(range.end - offset).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let room = piece.get_mut(..wanted).unwrap_or_default();
        let count = read_full(from, room, offset)?;
        if count == 0 {
            break;
        }
        to.write_at(room.get(..count).unwrap_or_default(), offset - range.start)?;
        offset += count as u64;
    }
    to.sync()
}

impl std::fmt::Display for Damage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = segment_name(self.segment);
        write!(out, "segment {name}: {} bytes at offset {} are damaged", self.length, self.offset)?;
        if !self.missing.is_empty() {
            write!(out, ", records {} to {} are lost", self.missing.start, self.missing.end - 1)?;
        }
        match &self.copy {
            Some(copy) => write!(out, ", a copy is in {copy}"),
            None => Ok(()),
        }
    }
}
