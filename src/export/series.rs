//! A series of exports: each holds what is new since the one before, so that together they hold no message twice.
//!
//! Each lies in a directory named by the numbers of messages that it looked at, `FIRST-LAST`. Numbers are given in the order of commits,
//! so a range that was looked at never gets another message. An export has its name only when it is whole, and the next one begins behind
//! the last. One that was broken off is finished first. What began to match only later is taken from the ranges before (`late`).
//!
//! Numbers begin anew in another database, and are given once more in one that was restored from a backup: there what gets a number of a range
//! that was looked at would be in no export. Therefore it is noted when the last message of a range was received (`.newest`).

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::checkpoint::Checkpoint;
use super::daily::keep;
use super::late::{self, Looked};
use super::{Export, ExportError, Produced, Watch, manifest, partial, produce, resume};
use crate::retrieve::{Archive, Query};
use crate::time::Micros;

/// Keeps a second process away.
const LOCK: &str = ".lock";

/// The last messages of the last ranges, one a line: its number, and when it was received. A series that an earlier version began has it not yet.
const NEWEST: &str = ".newest";

/// Digits of a number in a name: names are in the order of numbers.
const DIGITS: usize = 15;

/// A series that no other process adds to.
#[derive(Debug)]
pub struct Series {
    path: PathBuf,
    _lock: File,
}

impl Series {
    /// The one in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// When another process is at it, or the directory can't be made.
    pub fn open(path: &Path) -> Result<Self, ExportError> {
        make(path)?;
        let file = path.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&file).map_err(ExportError::file(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(ExportError::Busy(path.to_owned())),
            Err(fs::TryLockError::Error(error)) => Err(ExportError::file(&file)(error)),
        }
    }
}

/// Adds what is new since the last export of the series, or begins the series; none if nothing was stored since. One that was withheld is made anew:
/// a copy that came while it was counted is no reason to stop for ever.
///
/// # Errors
/// As [`produce`] and [`resume`], and when the series was begun otherwise, one of it is missing, or the store does not have the messages any more that
/// it was made of.
pub async fn add(archive: &Archive, export: Export, series: &Series, watch: Watch<'_>) -> Result<Option<Produced>, ExportError> {
    export.check()?;
    let series = series.path.as_path();
    let found = Found::of(series)?;
    if let Some(((_, last), directory)) = &found.unfinished {
        if let Some(checkpoint) = Checkpoint::load(&partial(directory))? {
            require_same_store(archive, series, *last).await?;
            require_same(&asked(&checkpoint.export)?, &asked(&export)?, directory)?;
            return match resume(archive, directory, watch).await {
                Err(ExportError::Withheld { partial, .. }) => {
                    fs::remove_dir_all(&partial).map_err(ExportError::file(&partial))?;
                    produce(archive, checkpoint.export, directory, watch).await.map(Some)
                }
                resumed => resumed.map(Some),
            };
        }
        // It was broken off before anything was written.
        fs::remove_dir_all(partial(directory)).map_err(ExportError::file(directory))?;
    }
    if let Some((_, directory)) = found.finished.last() {
        require_same(&told(directory)?, &asked(&export)?, directory)?;
    }
    let done = found.done();
    let newest = require_same_store(archive, series, done).await?;
    if newest == done {
        return Ok(None);
    }
    let export = Export { lists_numbers: late::may_come_late(archive, &export.query), ..export };
    let late = late::of_series(archive, &export, &found.finished).await?;
    note_newest(archive, series, done, newest).await?;
    let directory = series.join(format!("{:0DIGITS$}-{newest:0DIGITS$}", done + 1));
    let query = Query { newer_than: Some(done), newest: Some(newest), late, ..export.query };
    produce(archive, Export { query, ..export }, &directory, watch).await.map(Some)
}

/// That the store has what the series looked at, up to this number; the number of its newest message.
async fn require_same_store(archive: &Archive, series: &Path, done: i64) -> Result<i64, ExportError> {
    let newest = archive.newest().await?;
    let is_other = match noted(series)?.get(&done) {
        Some(then) => archive.received_at(done).await? != Some(*then),
        None => false,
    };
    if newest >= done && !is_other {
        return Ok(newest);
    }
    let has = if newest < done { format!("has them up to {newest} only") } else { "does not have the one that had this number".to_owned() };
    Err(ExportError::Refused(format!(
        "{}: the series has looked at messages up to number {done}, and the store {has}: was it restored from a backup, or is it another database? \
         Messages that are stored with numbers up to {done} would be in no export; begin a new series, in a new directory",
        series.display()
    )))
}

/// Notes the last message of the range that is begun, beside that of the range before.
async fn note_newest(archive: &Archive, series: &Path, done: i64, newest: i64) -> Result<(), ExportError> {
    let before = noted(series)?.remove_entry(&done);
    let now = archive.received_at(newest).await?.map(|at| (newest, at));
    let lines = before.into_iter().chain(now).map(|(number, at)| format!("{number} {at}\n"));
    keep(&series.join(NEWEST), &lines.collect::<String>())
}

/// When the messages were received that are noted.
fn noted(series: &Path) -> Result<HashMap<i64, Micros>, ExportError> {
    let path = series.join(NEWEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(ExportError::file(&path)(error)),
    };
    let pair = |line: &str| line.split_once(' ').and_then(|(number, at)| Some((number.parse().ok()?, at.parse().ok()?)));
    let pairs = text.lines().map(|line| pair(line).ok_or_else(|| ExportError::damaged(&path, "it does not hold numbers")));
    pairs.collect()
}

fn make(series: &Path) -> Result<(), ExportError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(series).map_err(ExportError::file(series))
}

/// Whether an export of the series was broken off.
pub(super) fn is_unfinished(series: &Series) -> Result<bool, ExportError> {
    Ok(Found::of(&series.path)?.unfinished.is_some())
}

/// The finished exports of a series, in their order.
pub(super) fn finished(series: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(series).map_err(ExportError::file(series))? {
        let name = entry.map_err(ExportError::file(series))?.file_name().to_string_lossy().into_owned();
        names.extend(Some(name).filter(|name| range(name).is_some()));
    }
    names.sort_unstable();
    Ok(names.iter().map(|name| series.join(name)).collect())
}

/// What a series consists of.
#[derive(Default)]
struct Found {
    /// The finished exports, in their order.
    finished: Vec<Looked>,
    /// An unfinished export, with the name that it will have.
    unfinished: Option<Looked>,
}

impl Found {
    fn of(series: &Path) -> Result<Self, ExportError> {
        let mut found = Self::default();
        for entry in fs::read_dir(series).map_err(ExportError::file(series))? {
            let name = entry.map_err(ExportError::file(series))?.file_name().to_string_lossy().into_owned();
            let unfinished = name.strip_prefix('.').and_then(|name| name.strip_suffix(".part"));
            if let Some(range) = range(&name) {
                found.finished.push((range, series.join(&name)));
            } else if let Some((name, range)) = unfinished.and_then(|name| Some((name, range(name)?))) {
                found.unfinished = Some((range, series.join(name)));
            }
        }
        found.finished.sort_unstable();
        let mut done = 0;
        for ((first, last), _) in &found.finished {
            if *first != done + 1 || last < first {
                let said = format!("{}: the exports of the messages from {} to {} are missing", series.display(), done + 1, first - 1);
                return Err(ExportError::Refused(said));
            }
            done = *last;
        }
        Ok(found)
    }

    /// The last number that was looked at.
    fn done(&self) -> i64 {
        self.finished.last().map_or(0, |((_, last), _)| *last)
    }
}

/// The numbers in a name.
fn range(name: &str) -> Option<(i64, i64)> {
    let (first, last) = name.split_once('-')?;
    let number = |text: &str| text.parse().ok().filter(|_| text.len() >= DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()));
    Some((number(first)?, number(last)?))
}

/// What of a query is different in each export of a series.
const OF_ONE: [&str; 3] = ["newer_than", "newest", "late"];

/// What makes the exports of a series one: all that was asked for but the numbers and who asked.
fn asked(export: &Export) -> Result<Value, ExportError> {
    let query = serde_json::to_value(&export.query).map_err(ExportError::format)?;
    Ok(serde_json::json!({
        "query": of_all(query), "format": export.format, "time_zone": export.zone, "store": export.store, "with_xml": export.with_xml,
    }))
}

/// The same of an export that is complete, as its manifest tells it.
fn told(directory: &Path) -> Result<Value, ExportError> {
    let manifest = manifest::told(directory)?;
    let part = |name: &str| manifest.get(name).cloned().unwrap_or_default();
    Ok(serde_json::json!({
        "query": of_all(part("query")),
        "format": part("format"),
        "time_zone": part("time_zone"),
        "store": part("store"),
        "with_xml": part("with_xml"),
    }))
}

fn of_all(mut query: Value) -> Value {
    if let Some(query) = query.as_object_mut() {
        query.retain(|name, _| !OF_ONE.contains(&name.as_str()));
    }
    query
}

fn require_same(then: &Value, now: &Value, directory: &Path) -> Result<(), ExportError> {
    if then == now {
        return Ok(());
    }
    let said =
        format!("{} was asked for otherwise: a series has the same conditions, format, zone and store throughout", directory.display());
    Err(ExportError::Refused(said))
}
