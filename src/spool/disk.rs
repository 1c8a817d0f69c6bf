//! The few things that the spool asks of a file system.
//!
//! They stand behind two small traits, so that the tests can put a simulated disk underneath: one that forgets, tears and refuses writes
//! as a real one does at the worst moment. Names are relative to the spool's directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The sub-directory that keeps copies of damaged byte ranges.
pub(crate) const DAMAGED_DIR: &str = "damaged";
/// The name of the file whose lock keeps a second process out.
const LOCK_FILE: &str = "lock";

/// A directory with files in it.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Creates an empty file, or empties the one that is there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names in a sub-directory (`""` for the directory itself).
    fn list(&self, sub: &str) -> io::Result<Vec<String>>;
    /// Makes the names created and removed in a sub-directory durable.
    fn sync_names(&self, sub: &str) -> io::Result<()>;
    /// Whether a name still leads to this open file: somebody else may have removed or replaced it.
    fn leads_to(&self, _name: &str, _file: &dyn DiskFile) -> io::Result<bool> {
        Ok(true)
    }
    /// Takes the lock, which lasts as long as the answer; `None` when another process holds it.
    fn lock(&self) -> io::Result<Option<Box<dyn Send>>>;
}

/// An open file.
pub(crate) trait DiskFile: Send + Sync {
    /// Reads some bytes; 0 at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all the bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// The length of the file in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Makes what was written durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// What tells it from all other files, whatever name it has.
    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((0, 0))
    }
}

/// Reads until the buffer is full or the file ends; answers how many bytes were read.
pub(crate) fn read_full(file: &dyn DiskFile, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A directory of the real file system.
pub(crate) struct RealDisk {
    dir: PathBuf,
}

impl RealDisk {
    /// Makes the directory and its sub-directory where they are missing, and makes their names durable.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir.join(DAMAGED_DIR))?;
        if let Some(parent) = dir.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
        let disk = Self { dir: dir.to_owned() };
        disk.sync_names("")?;
        Ok(disk)
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        private(&mut options);
        Ok(Arc::new(options.open(self.dir.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        Ok(Arc::new(options.read(true).write(true).open(self.dir.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }

    fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.dir.join(sub))? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn sync_names(&self, sub: &str) -> io::Result<()> {
        File::open(self.dir.join(sub))?.sync_all()
    }

    fn leads_to(&self, name: &str, file: &dyn DiskFile) -> io::Result<bool> {
        match std::fs::metadata(self.dir.join(name)) {
            Ok(found) => Ok(identity(&found) == file.identity()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Send>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let file = options.open(self.dir.join(LOCK_FILE))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn identity(found: &std::fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// What is spooled is what people wrote to each other: nobody but the archive's own user may read it.
fn private(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

impl DiskFile for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok(identity(&self.metadata()?))
    }
}
