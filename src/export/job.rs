//! Exports that were asked for and are made in the background, as they lie on disk: one directory for each, named by its number.
//!
//! `job.json` says what was asked for, by whom, and what became of it; `export` beside it is the finished export, and has that name only when
//! it was released. There is no other state, so whoever is started again finds what was in work and goes on with it.
//!
//! Whoever makes, changes or removes an export holds the lock of its directory ([`Held`]), from its first moment on. A directory
//! without `job.json` is one whose begin was broken off, and one that is being removed has another name first: [`Shelf::tidy`]
//! removes both at the next start.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::daily::keep;
use super::{Export, ExportError, partial};
use crate::retrieve::Restriction;
use crate::time::{Micros, SECOND};

/// The most exports that are kept at a time.
pub const MAX_JOBS: usize = 1_000;
/// The version of what is written here.
const VERSION: u32 = 1;
const FILE: &str = "job.json";
const NEW_FILE: &str = ".job.json";
const EXPORT: &str = "export";
/// Holds the last number that was given.
const LAST: &str = ".last";
/// Of an export: held by whoever works on it. Of the shelf: held while a number is given, or while it is tidied.
const LOCK: &str = ".lock";
/// How the name of a directory begins that is being removed.
const REMOVED: &str = ".removed-";

/// What has become of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for its turn, or is being made.
    Working,
    /// Somebody stopped it; it can go on.
    Stopped,
    /// Its counts agree: it can be fetched.
    Released,
    /// Its counts do not agree: nobody gets it.
    Withheld,
    /// It broke off; it can go on.
    Failed,
}

impl State {
    /// The word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Stopped => "stopped",
            Self::Released => "released",
            Self::Withheld => "withheld",
            Self::Failed => "failed",
        }
    }
}

/// An export that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The version of what is written of it.
    pub version: u32,
    /// Its number, from 1; 0 until it is kept.
    pub number: u64,
    /// When it was asked for.
    pub asked_at: Micros,
    /// What was asked for.
    pub export: Export,
    /// The conditions as they were filled in.
    pub asked: Value,
    /// What whoever asked may see; none if everything.
    pub within: Option<Restriction>,
    /// What has become of it.
    pub state: State,
    /// Why it was withheld or failed.
    pub said: Option<String>,
    /// When that was.
    pub ended_at: Option<Micros>,
    /// How many messages it holds.
    pub messages: Option<u64>,
    /// How many files it has.
    pub files: Option<u64>,
    /// The SHA-256 of its `SHA256SUMS`; none if it was made by a version that did not keep it.
    #[serde(default)]
    pub sums_sha256: Option<String>,
}

impl Job {
    /// A new one.
    pub fn new(export: Export, asked: Value, within: Option<Restriction>, asked_at: Micros) -> Self {
        Self {
            version: VERSION,
            number: 0,
            asked_at,
            export,
            asked,
            within,
            state: State::Working,
            said: None,
            ended_at: None,
            messages: None,
            files: None,
            sums_sha256: None,
        }
    }

    /// Until when it is kept, where what has ended is kept for so many days; none: for ever, or as long as it is in work.
    pub fn kept_until(&self, days: u64) -> Option<Micros> {
        let ended = self.ended_at.filter(|_| days > 0 && self.state != State::Working)?;
        ended.checked_add(i64::try_from(days).ok()?.checked_mul(86_400 * SECOND)?)
    }
}

/// An export that nobody else works on meanwhile.
#[derive(Debug)]
pub struct Held {
    number: u64,
    _lock: File,
}

impl Held {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// Where exports are kept.
#[derive(Clone, Debug)]
pub struct Shelf {
    root: PathBuf,
}

impl Shelf {
    /// The exports of a directory, which is made with the first of them.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// All that can be read, the newest first.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn list(&self) -> Result<Vec<Job>, ExportError> {
        let mut numbers = self.numbers()?;
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let job = |number| match self.get(number) {
            Ok(job) => job,
            Err(error) => {
                log::warn!("an export is left out: {error}");
                None
            }
        };
        Ok(numbers.into_iter().filter_map(job).collect())
    }

    fn numbers(&self) -> Result<Vec<u64>, ExportError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ExportError::file(&self.root)(error)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(ExportError::file(&self.root))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()).filter(|number| *number > 0));
        }
        Ok(numbers)
    }

    /// One of them; none if it is not there.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn get(&self, number: u64) -> Result<Option<Job>, ExportError> {
        let path = self.home(number).join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ExportError::file(&path)(error)),
        };
        let job: Job = serde_json::from_slice(&text).map_err(|error| ExportError::damaged(&path, error))?;
        match job.version {
            VERSION => Ok(Some(job)),
            other => Err(ExportError::damaged(&path, format!("it is of version {other}, and this program knows {VERSION}"))),
        }
    }

    /// Keeps a new one, and gives it its number.
    ///
    /// # Errors
    /// When there are too many, or it can't be written.
    pub fn add(&self, job: Job) -> Result<Job, ExportError> {
        job.export.check()?;
        let held = self.reserve()?;
        let job = Job { number: held.number, ..job };
        self.save(&job)?;
        Ok(job)
    }

    /// Gives a number, which is an export's once it is [saved](Shelf::save).
    ///
    /// # Errors
    /// When there are too many, or it can't be written.
    pub fn reserve(&self) -> Result<Held, ExportError> {
        make(&self.root, true).map_err(ExportError::file(&self.root))?;
        let _alone = self.alone()?;
        let numbers = self.numbers()?;
        if numbers.len() >= MAX_JOBS {
            return Err(ExportError::Refused(format!("{MAX_JOBS} exports are kept already; remove some first")));
        }
        // A number is never given twice, since the audit trail names it.
        let last = self.root.join(LAST);
        let given = fs::read_to_string(&last).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let number = numbers.into_iter().max().unwrap_or(0).max(given) + 1;
        keep(&last, &number.to_string())?;
        let home = self.home(number);
        make(&home, false).map_err(ExportError::file(&home))?;
        self.hold(number)?.ok_or_else(|| ExportError::damaged(&home, "somebody has removed it"))
    }

    /// Keeps everybody else away from one; none if it is not there.
    ///
    /// # Errors
    /// [`ExportError::Busy`] when somebody else works on it.
    pub fn hold(&self, number: u64) -> Result<Option<Held>, ExportError> {
        let home = self.home(number);
        let path = home.join(LOCK);
        let lock = match File::options().create(true).truncate(false).write(true).open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ExportError::file(&path)(error)),
        };
        match lock.try_lock() {
            // Whoever had it may have removed all of it.
            Ok(()) if !path.exists() => Ok(None),
            Ok(()) => Ok(Some(Held { number, _lock: lock })),
            Err(TryLockError::WouldBlock) => Err(ExportError::Busy(home)),
            Err(TryLockError::Error(error)) => Err(ExportError::file(&path)(error)),
        }
    }

    /// Waits until nobody else gives a number or tidies.
    fn alone(&self) -> Result<File, ExportError> {
        let path = self.root.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(ExportError::file(&path))?;
        file.lock().map_err(ExportError::file(&path))?;
        Ok(file)
    }

    /// Removes what a crash has left of exports that were being begun or removed. Returns how many these were.
    ///
    /// # Errors
    /// When that can't be done.
    pub fn tidy(&self) -> Result<u64, ExportError> {
        if !self.root.exists() {
            return Ok(0);
        }
        let _alone = self.alone()?;
        let mut removed = 0;
        for entry in fs::read_dir(&self.root).map_err(ExportError::file(&self.root))? {
            let entry = entry.map_err(ExportError::file(&self.root))?;
            if entry.file_name().to_string_lossy().starts_with(REMOVED) {
                fs::remove_dir_all(entry.path()).map_err(ExportError::file(&entry.path()))?;
                removed += 1;
            }
        }
        for number in self.numbers()? {
            if self.home(number).join(FILE).exists() {
                continue;
            }
            match self.hold(number) {
                Ok(Some(held)) if !self.home(number).join(FILE).exists() => {
                    self.remove(held)?;
                    removed += 1;
                }
                // It is being begun just now.
                Ok(_) | Err(ExportError::Busy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Writes down what has become of one.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, job: &Job) -> Result<(), ExportError> {
        let home = self.home(job.number);
        let (new, path) = (home.join(NEW_FILE), home.join(FILE));
        let text = serde_json::to_vec_pretty(job).map_err(ExportError::format)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&new).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written.and_then(|()| fs::rename(&new, &path)).map_err(ExportError::file(&path))
    }

    /// Where the export is when it is finished.
    pub fn directory(&self, number: u64) -> PathBuf {
        self.home(number).join(EXPORT)
    }

    /// Removes one with all of its files.
    ///
    /// # Errors
    /// When that can't be done. Once it has begun it is none any more, and [`Shelf::tidy`] removes the rest.
    pub fn remove(&self, held: Held) -> Result<(), ExportError> {
        let (home, gone) = (self.home(held.number), self.root.join(format!("{REMOVED}{}", held.number)));
        fs::rename(&home, &gone).map_err(ExportError::file(&home))?;
        fs::remove_dir_all(&gone).map_err(ExportError::file(&gone))
    }

    /// Removes what an export has written so far, for a new begin; for whoever holds it.
    ///
    /// # Errors
    /// When that can't be done.
    pub fn clear(&self, number: u64) -> Result<(), ExportError> {
        let part = partial(&self.directory(number));
        match fs::remove_dir_all(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ExportError::file(&part)(error)),
            _ => Ok(()),
        }
    }

    fn home(&self, number: u64) -> PathBuf {
        self.root.join(number.to_string())
    }
}

fn make(directory: &Path, with_parents: bool) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(with_parents).create(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_kept_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(&directory.path().join("exports"));
        assert_eq!(shelf.list().unwrap(), []);
        let job = |by: &str| Job::new(Export::new("main", by), serde_json::json!({ "q": "tea" }), None, 7);
        let first = shelf.add(job("ann")).unwrap();
        let mut second = shelf.add(job("bob")).unwrap();
        assert_eq!((first.number, second.number), (1, 2));
        (second.state, second.said) = (State::Withheld, Some("3 are not 4".to_owned()));
        shelf.save(&second).unwrap();
        assert_eq!(shelf.list().unwrap(), [second.clone(), first]);
        let remove = |number: u64| shelf.remove(shelf.hold(number).unwrap().unwrap());
        remove(1).unwrap();
        assert_eq!((shelf.get(1).unwrap(), shelf.get(2).unwrap()), (None, Some(second)));
        assert_eq!(shelf.add(job("eve")).unwrap().number, 3);
        remove(3).unwrap();
        assert_eq!(shelf.add(job("eve")).unwrap().number, 4);
        assert!(shelf.add(Job::new(Export { zone: "Moon".to_owned(), ..Export::new("main", "x") }, Value::Null, None, 7)).is_err());
    }

    #[test]
    fn whoever_works_on_one_is_alone() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(&directory.path().join("exports"));
        let held = shelf.reserve().unwrap();
        assert_eq!(held.number(), 1);
        assert!(matches!(shelf.hold(1), Err(ExportError::Busy(_))), "another process neither makes nor removes it");
        assert_eq!(shelf.tidy().unwrap(), 0, "it is being begun");
        assert!(shelf.hold(7).unwrap().is_none());
        shelf.save(&Job { number: 1, ..Job::new(Export::new("main", "ann"), Value::Null, None, 7) }).unwrap();
        drop(held);
        shelf.remove(shelf.hold(1).unwrap().unwrap()).unwrap();
        assert_eq!((shelf.get(1).unwrap(), shelf.hold(1).unwrap().is_none()), (None, true));
    }

    #[test]
    fn what_a_crash_left_is_removed_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("exports");
        let shelf = Shelf::new(&root);
        assert_eq!(shelf.tidy().unwrap(), 0);
        let kept = shelf.add(Job::new(Export::new("main", "ann"), Value::Null, None, 7)).unwrap();
        // One broke off between its number and its file, one while its files were removed.
        drop(shelf.reserve().unwrap());
        fs::create_dir_all(root.join(".removed-9/export")).unwrap();
        fs::write(root.join(".removed-9/export/messages.jsonl"), "{}").unwrap();
        assert_eq!(shelf.tidy().unwrap(), 2);
        assert_eq!(shelf.list().unwrap(), [kept]);
        assert_eq!((root.join("2").exists(), root.join(".removed-9").exists()), (false, false));
        assert_eq!(shelf.reserve().unwrap().number(), 3, "no number is given twice");
    }
}
