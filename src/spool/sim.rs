//! A simulated disk for the tests: it keeps apart what was written and what is durable, and forgets or tears the difference in a crash.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

/// A small generator of numbers that look random, the same for the same seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below the bound (splitmix64).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What has happened to `live` since the last sync.
    unsynced: Vec<Change>,
}

#[derive(Default)]
struct Inner {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    inodes: Vec<Inode>,
    /// All files together take no more than this.
    capacity: Option<u64>,
    /// So many syncs fail.
    failing_syncs: u32,
    locked: bool,
    /// The machine this disk was in is gone.
    dead: bool,
}

/// A handle on the disk.
#[derive(Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<Inner>>);

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, data) => {
            let (start, end) = (*offset as usize, *offset as usize + data.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(data);
        }
        Change::Cut(length) => bytes.resize(*length as usize, 0),
    }
}

/// Of an unsynced change all, nothing, a beginning, or an end may have arrived.
fn tear(bytes: &mut Vec<u8>, change: &Change, dice: &mut Dice) {
    match (change, dice.below(4)) {
        (_, 0) => {}
        (Change::Write(offset, data), 1) => {
            let kept = dice.below(data.len() as u64 + 1) as usize;
            apply(bytes, &Change::Write(*offset, data[..kept].to_vec()));
        }
        (Change::Write(offset, data), 2) => {
            let lost = dice.below(data.len() as u64 + 1);
            apply(bytes, &Change::Write(offset + lost, data[lost as usize..].to_vec()));
        }
        (change, _) => apply(bytes, change),
    }
}

impl SimDisk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        if inner.dead { Err(io::Error::other("the machine is gone")) } else { Ok(inner) }
    }

    /// The power fails: answers the disk as the next boot finds it.
    pub(super) fn crash(&self, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut inner = self.lock();
        inner.dead = true;
        let mut names = inner.durable_names.clone();
        let all: Vec<String> = inner.names.keys().chain(inner.durable_names.keys()).cloned().collect();
        for name in all {
            match inner.names.get(&name) {
                Some(inode) if dice.below(2) == 0 => _ = names.insert(name, *inode),
                None if dice.below(2) == 0 => _ = names.remove(&name),
                _ => {}
            }
        }
        let mut inodes = inner.inodes.clone();
        for inode in &mut inodes {
            for change in std::mem::take(&mut inode.unsynced) {
                tear(&mut inode.durable, &change, &mut dice);
            }
            inode.live = inode.durable.clone();
        }
        let durable_names = names.clone();
        let next = Inner { names, durable_names, inodes, ..Inner::default() };
        Self(Arc::new(Mutex::new(next)))
    }

    /// The process is killed: the page cache survives, and with it everything that was written.
    pub(super) fn kill(&self) -> Self {
        let mut inner = self.lock();
        inner.dead = true;
        let (names, durable_names) = (inner.names.clone(), inner.durable_names.clone());
        let next = Inner { names, durable_names, inodes: inner.inodes.clone(), ..Inner::default() };
        Self(Arc::new(Mutex::new(next)))
    }

    pub(super) fn set_capacity(&self, capacity: Option<u64>) {
        self.lock().capacity = capacity;
    }

    pub(super) fn fail_syncs(&self, count: u32) {
        self.lock().failing_syncs = count;
    }

    /// The names that end in this.
    pub(super) fn names(&self, suffix: &str) -> Vec<String> {
        self.lock().names.keys().filter(|name| name.ends_with(suffix)).cloned().collect()
    }

    /// Bytes in all files.
    pub(super) fn used(&self) -> u64 {
        used(&self.lock())
    }

    /// Length of a file.
    pub(super) fn length(&self, name: &str) -> u64 {
        let inner = self.lock();
        inner.inodes[inner.names[name]].live.len() as u64
    }

    /// A bit turns over on the platter.
    pub(super) fn flip(&self, name: &str, offset: u64, mask: u8) {
        let mut inner = self.lock();
        let inode = inner.names[name];
        let inode = &mut inner.inodes[inode];
        for bytes in [&mut inode.live, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= mask;
            }
        }
    }

    /// Somebody cuts a file, durably.
    pub(super) fn cut(&self, name: &str, length: u64) {
        let mut inner = self.lock();
        let inode = inner.names[name];
        inner.inodes[inode].live.truncate(length as usize);
        inner.inodes[inode].durable.truncate(length as usize);
    }

    /// Somebody deletes a file, durably.
    pub(super) fn delete(&self, name: &str) {
        let mut inner = self.lock();
        inner.names.remove(name);
        inner.durable_names.remove(name);
    }
}

fn used(inner: &Inner) -> u64 {
    inner.names.values().map(|inode| inner.inodes[*inode].live.len() as u64).sum()
}

/// Gives the lock back.
struct Unlock(SimDisk);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.lock().locked = false;
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.alive()?;
        inner.inodes.push(Inode::default());
        let inode = inner.inodes.len() - 1;
        inner.names.insert(name.to_owned(), inode);
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.alive()?;
        let inode = *inner.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.alive()?.names.remove(name);
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        let inner = self.alive()?;
        let inside = |name: &String| match (sub, name.split_once('/')) {
            ("", None) => Some(name.clone()),
            (sub, Some((dir, rest))) if dir == sub => Some(rest.to_owned()),
            _ => None,
        };
        Ok(inner.names.keys().filter_map(inside).collect())
    }

    fn sync_names(&self, sub: &str) -> io::Result<()> {
        let mut inner = self.alive()?;
        let here = |name: &String| name.split_once('/').map_or("", |(dir, _)| dir) == sub;
        inner.durable_names.retain(|name, _| !here(name));
        let new: Vec<_> = inner.names.iter().filter(|(name, _)| here(name)).map(|(name, inode)| (name.clone(), *inode)).collect();
        inner.durable_names.extend(new);
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Send>>> {
        let mut inner = self.alive()?;
        if std::mem::replace(&mut inner.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Unlock(self.clone()))))
    }
}

/// An open file of the disk.
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.alive()?;
        let rest = inner.inodes[self.inode].live.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.disk.alive()?;
        let free = inner.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used(&inner)));
        let inode = &mut inner.inodes[self.inode];
        let room = free.saturating_add(inode.live.len() as u64).saturating_sub(offset);
        let written = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let change = Change::Write(offset, written.to_vec());
        apply(&mut inode.live, &change);
        inode.unsynced.push(change);
        if written.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.alive()?;
        let inode = &mut inner.inodes[self.inode];
        apply(&mut inode.live, &Change::Cut(bytes));
        inode.unsynced.push(Change::Cut(bytes));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.alive()?.inodes[self.inode].live.len() as u64)
    }

    /// A sync that fails forgets what it should have written, as Linux does: the next one succeeds and has written nothing of it.
    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.alive()?;
        let fails = inner.failing_syncs > 0;
        inner.failing_syncs = inner.failing_syncs.saturating_sub(1);
        let inode = &mut inner.inodes[self.inode];
        let unsynced = std::mem::take(&mut inode.unsynced);
        if fails {
            return Err(io::Error::other("input/output error"));
        }
        for change in unsynced {
            apply(&mut inode.durable, &change);
        }
        Ok(())
    }
}
