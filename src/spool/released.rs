//! The `released` file: how far the records are committed elsewhere, and the high-water marks that keep a number from being used twice.
//!
//! It has two slots, written in turn and in place. A torn write harms one slot only, and a full disk cannot refuse it, which matters because
//! releasing is what frees a full disk.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_full};
use super::segment::{SpoolId, bytes_at, u32_at, u64_at};

/// The name of the file.
pub(crate) const RELEASED_FILE: &str = "released";

const MAGIC: [u8; 8] = *b"xarelsd\n";
const SLOT_BYTES: usize = 64;
/// The slots are this far apart, so that no sector holds both.
const SLOT_STRIDE_BYTES: u64 = 4096;

/// What a slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Released {
    /// The spool that it belongs to.
    pub(crate) spool_id: SpoolId,
    /// Everything below is committed elsewhere.
    pub(crate) before_seq: u64,
    /// The number behind the last record that was confirmed durable.
    pub(crate) confirmed_seq: u64,
    /// The next number to give away.
    pub(crate) next_seq: u64,
    /// The spool was closed in order and has not been opened since.
    pub(crate) clean: bool,
}

impl Released {
    fn encode(&self, turn: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.spool_id);
        for number in [turn, self.before_seq, self.confirmed_seq, self.next_seq] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&u32::from(self.clean).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<(u64, Self)> {
        let sum_at = SLOT_BYTES - 4;
        let sound = crc32c::crc32c(bytes.get(..sum_at)?) == u32_at(bytes, sum_at)?;
        (sound && bytes.starts_with(&MAGIC)).then_some(())?;
        let released = Self {
            spool_id: bytes_at(bytes, 8)?,
            before_seq: u64_at(bytes, 32)?,
            confirmed_seq: u64_at(bytes, 40)?,
            next_seq: u64_at(bytes, 48)?,
            clean: u32_at(bytes, 56)? == 1,
        };
        Some((u64_at(bytes, 24)?, released))
    }
}

/// The open file.
pub(crate) struct ReleasedFile {
    file: Arc<dyn DiskFile>,
    /// Counts the writes; its parity chooses the slot.
    turn: u64,
}

impl ReleasedFile {
    /// Opens the file, or makes an empty one; answers what the newest sound slot says.
    pub(crate) fn open(disk: &dyn Disk) -> io::Result<(Self, Option<Released>)> {
        let file = match disk.open(RELEASED_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(RELEASED_FILE)?;
                disk.sync_names("")?;
                file
            }
            other => other?,
        };
        let mut newest: Option<(u64, Released)> = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            read_full(&*file, &mut bytes, slot * SLOT_STRIDE_BYTES)?;
            let found = Released::decode(&bytes);
            if found.as_ref().map(|(turn, _)| *turn) > newest.as_ref().map(|(turn, _)| *turn) {
                newest = found;
            }
        }
        let turn = newest.as_ref().map_or(0, |(turn, _)| *turn);
        Ok((Self { file, turn }, newest.map(|(_, released)| released)))
    }

    /// Writes into the older slot and makes it durable.
    pub(crate) fn write(&mut self, released: &Released) -> io::Result<()> {
        let turn = self.turn + 1;
        self.file.write_at(&released.encode(turn), turn % 2 * SLOT_STRIDE_BYTES)?;
        self.file.sync()?;
        self.turn = turn;
        Ok(())
    }

    /// Writes into both slots: for marks that nothing else on the disk tells any more.
    pub(crate) fn write_twice(&mut self, released: &Released) -> io::Result<()> {
        self.write(released)?;
        self.write(released)
    }
}
