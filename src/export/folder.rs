//! The directory in which an export is built.
//!
//! It lies beside the one that was asked for and has another name until it is complete. A lock keeps a second process away. Only its
//! owner can read what is in it. Files whose names begin with a dot are no part of the export.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::ExportError;

/// The lock's file.
pub(super) const LOCK: &str = ".lock";

/// Where an export is built before it has its name.
pub fn partial(directory: &Path) -> PathBuf {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    directory.with_file_name(format!(".{name}.part"))
}

/// An export under construction.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    _lock: File,
    open: BTreeMap<String, Growing>,
}

/// A file that grows.
#[derive(Debug)]
struct Growing {
    writer: BufWriter<File>,
    length: u64,
}

impl Folder {
    /// A new one; there must be nothing by its name.
    pub(crate) fn create(root: &Path) -> Result<Self, ExportError> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(root).map_err(ExportError::file(root))?;
        Self::lock(root)
    }

    /// The one that is there.
    pub(crate) fn lock(root: &Path) -> Result<Self, ExportError> {
        let path = root.join(LOCK);
        let lock = private().create(true).truncate(false).open(&path).map_err(ExportError::file(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock, open: BTreeMap::new() }),
            Err(TryLockError::WouldBlock) => Err(ExportError::Busy(root.to_owned())),
            Err(TryLockError::Error(error)) => Err(ExportError::file(&path)(error)),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cuts growing files back to these lengths and goes on with them.
    pub(crate) fn reopen(&mut self, lengths: &BTreeMap<String, u64>) -> Result<(), ExportError> {
        for (name, length) in lengths {
            let path = self.root.join(name);
            let mut file = private().open(&path).map_err(ExportError::file(&path))?;
            let there = file.metadata().map_err(ExportError::file(&path))?.len();
            if there < *length {
                return Err(ExportError::damaged(&path, format!("it has {there} bytes, and had {length}")));
            }
            file.set_len(*length).and_then(|()| file.seek(SeekFrom::End(0))).map_err(ExportError::file(&path))?;
            self.open.insert(name.clone(), Growing { writer: BufWriter::new(file), length: *length });
        }
        Ok(())
    }

    /// Adds to a file that grows; the first time makes it anew.
    pub(crate) fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        if !self.open.contains_key(name) {
            let file = self.make(name)?;
            self.open.insert(name.to_owned(), Growing { writer: BufWriter::new(file), length: 0 });
        }
        let Some(growing) = self.open.get_mut(name) else { return Ok(()) };
        growing.length += bytes.len() as u64;
        growing.writer.write_all(bytes).map_err(ExportError::file(&self.root.join(name)))
    }

    /// A growing file has all that it will have.
    pub(crate) fn close(&mut self, name: &str) -> Result<(), ExportError> {
        match self.open.remove(name) {
            Some(mut growing) => growing.writer.flush().map_err(ExportError::file(&self.root.join(name))),
            None => Ok(()),
        }
    }

    /// Writes a whole file.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let mut file = self.make(name)?;
        file.write_all(bytes).map_err(ExportError::file(&self.root.join(name)))
    }

    /// Puts a whole file in the place of an older one in one step.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let (path, new) = (self.root.join(name), self.root.join(format!("{name}.new")));
        let mut file = private().create(true).truncate(true).open(&new).map_err(ExportError::file(&new))?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, &path));
        written.map_err(ExportError::file(&path))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), ExportError> {
        let path = self.root.join(name);
        fs::remove_file(&path).map_err(ExportError::file(&path))
    }

    /// Puts everything on disk and returns the lengths of the files that grow.
    pub(crate) fn sync(&mut self) -> Result<BTreeMap<String, u64>, ExportError> {
        for (name, growing) in &mut self.open {
            growing.writer.flush().map_err(ExportError::file(&self.root.join(name)))?;
        }
        sync_all(&self.root, self.open.values().map(|growing| growing.writer.get_ref())).map_err(ExportError::file(&self.root))?;
        Ok(self.open.iter().map(|(name, growing)| (name.clone(), growing.length)).collect())
    }

    /// Reads a file back.
    pub(crate) fn read(&self, name: &str) -> Result<BufReader<File>, ExportError> {
        let path = self.root.join(name);
        File::open(&path).map(|file| BufReader::with_capacity(1 << 16, file)).map_err(ExportError::file(&path))
    }

    /// Calls `each` with every file of the export, sorted by name; only one directory's names are held at a time.
    pub(crate) fn each(&self, each: &mut dyn FnMut(&str) -> Result<(), ExportError>) -> Result<(), ExportError> {
        self.each_below("", each)
    }

    fn each_below(&self, below: &str, each: &mut dyn FnMut(&str) -> Result<(), ExportError>) -> Result<(), ExportError> {
        let path = self.root.join(below);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(ExportError::file(&path))? {
            let entry = entry.map_err(ExportError::file(&path))?;
            let is_directory = entry.file_type().map_err(ExportError::file(&path))?.is_dir();
            names.push((entry.file_name().to_string_lossy().into_owned(), is_directory));
        }
        names.sort_unstable();
        for (name, is_directory) in names.into_iter().filter(|(name, _)| !name.starts_with('.')) {
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            if is_directory {
                self.each_below(&name, each)?;
            } else {
                each(&name)?;
            }
        }
        Ok(())
    }

    /// Gives it its name. Nothing may be written any more.
    pub(crate) fn finish(mut self, directory: &Path) -> Result<(), ExportError> {
        self.sync()?;
        if directory.exists() {
            return Err(ExportError::Exists(directory.to_owned()));
        }
        fs::rename(&self.root, directory).map_err(ExportError::file(directory))?;
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(ExportError::file(parent))?;
        let lock = directory.join(LOCK);
        fs::remove_file(&lock).map_err(ExportError::file(&lock))
    }

    fn make(&self, name: &str) -> Result<File, ExportError> {
        let path = self.root.join(name);
        let made = private().create(true).truncate(true).open(&path);
        let made = match (made, path.parent()) {
            (Err(error), Some(parent)) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir_all(parent).and_then(|()| private().create(true).truncate(true).open(&path))
            }
            (made, _) => made,
        };
        made.map_err(ExportError::file(&path))
    }
}

/// For reading and writing, by the owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// One call for all files: there may be a million.
#[cfg(target_os = "linux")]
fn sync_all<'a>(root: &Path, _growing: impl Iterator<Item = &'a File>) -> std::io::Result<()> {
    let root = File::open(root)?;
    rustix::fs::syncfs(&root).map_err(std::io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn sync_all<'a>(_root: &Path, mut growing: impl Iterator<Item = &'a File>) -> std::io::Result<()> {
    growing.try_for_each(File::sync_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_kept_away_and_files_are_cut_back() {
        let directory = tempfile::tempdir().unwrap();
        let root = partial(&directory.path().join("out"));
        let mut folder = Folder::create(&root).unwrap();
        assert!(matches!(Folder::lock(&root), Err(ExportError::Busy(_))));
        folder.append("a", b"one").unwrap();
        let lengths = folder.sync().unwrap();
        folder.append("a", b"two").unwrap();
        folder.write("b/c", b"whole").unwrap();
        drop(folder);
        let mut folder = Folder::lock(&root).unwrap();
        folder.reopen(&lengths).unwrap();
        folder.append("a", b"2").unwrap();
        let mut names = Vec::new();
        let mut collect = |name: &str| {
            names.push(name.to_owned());
            Ok(())
        };
        folder.each(&mut collect).unwrap();
        assert_eq!(names, ["a", "b/c"]);
        folder.finish(&directory.path().join("out")).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("out/a")).unwrap(), "one2");
        assert!(!root.exists() && !directory.path().join("out/.lock").exists());
    }

    #[test]
    fn a_file_that_lost_bytes_is_not_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(&directory.path().join("part")).unwrap();
        folder.write("a", b"1").unwrap();
        let error = folder.reopen(&BTreeMap::from([("a".to_owned(), 2)])).unwrap_err();
        assert!(matches!(error, ExportError::Damaged { .. }));
    }
}
