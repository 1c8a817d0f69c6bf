//! Checks of what lies on this machine's disks: the spool, and the file of a SQLite database.
//!
//! Nothing is written. A directory that is not there yet is judged by the nearest one above it, in which it would be made.

use std::path::{Path, PathBuf};

use super::finding::{About, Findings};
use crate::config::{SpoolConfig, StoreConfig, StoreUrl};

/// With less than this free, nothing more is safe.
const LEAST_FREE_BYTES: u64 = 64 << 20;
/// With less than this free, somebody should know.
const LOW_FREE_BYTES: u64 = 1 << 30;

/// What a file system is made of, as far as it matters for what must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    /// A disk, as far as is known.
    Disk,
    /// Memory: gone when the machine stops.
    Memory,
    /// Another machine's disk.
    Network,
}

pub(super) fn check_spool(spool: &SpoolConfig, store: &StoreConfig, findings: &mut Findings) {
    let directory = spool.directory(store);
    let mut about = findings.about(format!("spool {}", store.name));
    let Some(existing) = check_directory(&directory, "directory", &mut about) else { return };
    match free_bytes(&existing) {
        None => {}
        Some(free) if free < LEAST_FREE_BYTES => about.fail("free space", human(free), "make room, or point `spool.path` to a larger disk"),
        Some(free) if free.saturating_add(used_bytes(&directory)) < spool.limit.0 => about.warn(
            "free space",
            format!("{}, less than `spool.limit` ({})", human(free), spool.limit),
            "lower `spool.limit`, or point `spool.path` to a larger disk: the disk would be full before the limit is reached",
        ),
        Some(free) => about.ok("free space", format!("{}, enough for the limit of {}", human(free), spool.limit)),
    }
    match medium(&existing) {
        Medium::Disk => {}
        Medium::Memory => about.warn(
            "file system",
            "it lies in memory (tmpfs)",
            "point `spool.path` to a disk: what is not stored yet is lost when this machine stops",
        ),
        Medium::Network => about.warn(
            "file system",
            "it lies on a network file system",
            "point `spool.path` to a local disk: what a server confirms it need not have written",
        ),
    }
}

pub(super) fn check_database_file(store: &StoreConfig, findings: &mut Findings) {
    let StoreUrl::Sqlite(path) = &store.url else { return };
    let mut about = findings.about(format!("store {}", store.name));
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(existing) = check_directory(directory, "directory", &mut about) else { return };
    let advice = "make room, or move the database to a larger disk: 700 bytes a message are needed";
    match free_bytes(&existing) {
        None => {}
        Some(free) if free < LEAST_FREE_BYTES => about.fail("free space", human(free), advice),
        Some(free) if free < LOW_FREE_BYTES => about.warn("free space", human(free), advice),
        Some(free) => about.ok("free space", human(free)),
    }
    match medium(&existing) {
        Medium::Disk => {}
        Medium::Memory => about.warn("file system", "it lies in memory (tmpfs)", "move it to a disk: it is lost when this machine stops"),
        Medium::Network => about.warn(
            "file system",
            "it lies on a network file system",
            "move it to a local disk, or use PostgreSQL or MariaDB: SQLite's write-ahead log does not work across a network",
        ),
    }
}

/// Whether files can be made in the directory; gives it, or the one above it that exists.
pub(super) fn check_directory(directory: &Path, check: &'static str, about: &mut About<'_>) -> Option<PathBuf> {
    let directory = absolute(directory);
    let existing = existing(&directory);
    let is_there = existing == directory;
    if !existing.is_dir() {
        about.fail(check, format!("{} is no directory", existing.display()), "choose another path");
        return None;
    }
    match writable(&existing) {
        Ok(()) if is_there => about.ok(check, format!("{} is writable", directory.display())),
        Ok(()) => about.ok(check, format!("{} will be made", directory.display())),
        Err(error) => {
            let advice = format!("give the user that runs the archiver the right to write in {}", existing.display());
            about.fail(check, format!("{}: {error}", existing.display()), advice);
            return None;
        }
    }
    Some(existing)
}

/// The path with the working directory in front of it where it is relative.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_no_directory| path.to_owned())
}

/// The path, or the nearest one above it that exists.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|ancestor| ancestor.exists());
    match found {
        Some(found) if !found.as_os_str().is_empty() => found.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn used_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(unix)]
fn writable(directory: &Path) -> Result<(), String> {
    use rustix::fs::{Access, access};
    access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| error.to_string())
}

#[cfg(not(unix))]
fn writable(directory: &Path) -> Result<(), String> {
    match directory.metadata() {
        Ok(metadata) if metadata.permissions().readonly() => Err("is read-only".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What an ordinary user may still write there; none where the system does not say.
#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn medium(path: &Path) -> Medium {
    /// tmpfs and ramfs (statfs(2)).
    const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    /// NFS, SMB and CIFS.
    const NETWORK: [u32; 4] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42];
    // The numbers have 32 bits; what type the field has is the platform's business.
    match rustix::fs::statfs(path).map(|found| found.f_type as u32) {
        Ok(kind) if MEMORY.contains(&kind) => Medium::Memory,
        Ok(kind) if NETWORK.contains(&kind) => Medium::Network,
        _ => Medium::Disk,
    }
}

#[cfg(not(target_os = "linux"))]
fn medium(_path: &Path) -> Medium {
    Medium::Disk
}

/// A size with one digit after the point.
fn human(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit} free", bytes as f64 / *size as f64),
        None => format!("{bytes} B free"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_judged_by_the_one_above() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(existing(&directory.path().join("a/b")), directory.path());
        assert_eq!(existing(Path::new("no-such-directory/b")), Path::new("."));
        let mut findings = Findings::default();
        assert!(check_directory(&directory.path().join("a/b"), "directory", &mut findings.about("x")).is_some());
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(check_directory(&file, "directory", &mut findings.about("x")).is_none());
        assert!(check_directory(&file.join("a"), "directory", &mut findings.about("x")).is_none());
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(human(3 << 29), "1.5 GiB free");
        assert_eq!(human(1000), "1000 B free");
    }
}
