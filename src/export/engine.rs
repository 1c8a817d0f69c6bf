//! Builds an export: count, walk and write, check, release.
//!
//! While one unit is written, the next one is read. Whatever touches files happens on a thread for blocking work, so whoever serves other
//! people meanwhile goes on.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::checkpoint::{Checkpoint, Place};
use super::folder::{Folder, partial};
use super::formats::{Writer, writer};
use super::late::{self, NUMBERS};
use super::manifest::{self, Counts};
use super::request::Export;
use super::unit::Unit;
use super::walk::Walk;
use super::{ExportError, Produced, Progress, Stage, Watch};
use crate::retrieve::Archive;
use crate::time::now;

/// How often it is written down how far the export is.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// Builds an export in a directory that must not be there yet.
///
/// # Errors
/// When the archive can't be read, the files can't be written, or the counts do not agree, in which case nothing gets that name.
pub async fn produce(archive: &Archive, mut export: Export, directory: &Path, watch: Watch<'_>) -> Result<Produced, ExportError> {
    export.check()?;
    if directory.file_name().is_none() {
        return Err(ExportError::Refused(format!("{} names no directory", directory.display())));
    }
    let wanted = directory.to_owned();
    let root = blocking(move || new_root(&wanted)).await?;
    tell(watch, &root, Progress::default())?;
    let newest = archive.newest().await?;
    export.query.newest = Some(export.query.newest.map_or(newest, |given| given.min(newest)));
    let total = archive.count_all(&export.query).await?;
    let (work, checkpoint) = blocking(move || begin(export, total, &root)).await?;
    run(archive, work, checkpoint, directory, watch).await
}

/// Where an export is built of which there is nothing yet.
fn new_root(directory: &Path) -> Result<PathBuf, ExportError> {
    let root = partial(directory);
    match (directory.exists(), root.exists()) {
        (true, _) => Err(ExportError::Exists(directory.to_owned())),
        (false, true) => Err(ExportError::Unfinished(root)),
        (false, false) => Ok(root),
    }
}

fn begin(export: Export, total: u64, root: &Path) -> Result<(Work, Checkpoint), ExportError> {
    let mut checkpoint = Checkpoint::new(export, now(), total);
    let lists_numbers = checkpoint.export.lists_numbers;
    let mut work = Work { writer: writer(&checkpoint)?, folder: Folder::create(root)?, lists_numbers };
    work.writer.begin(&mut work.folder)?;
    if lists_numbers {
        // It is there even if it stays empty.
        work.folder.append(NUMBERS, b"")?;
    }
    checkpoint.lengths = work.folder.sync()?;
    checkpoint.format = work.writer.state().unwrap_or_default();
    checkpoint.save(&work.folder)?;
    Ok((work, checkpoint))
}

/// Goes on with an export that was stopped or broken off, as it was asked for.
///
/// # Errors
/// As [`produce`], and when there is nothing to go on with or it was damaged.
pub async fn resume(archive: &Archive, directory: &Path, watch: Watch<'_>) -> Result<Produced, ExportError> {
    let wanted = directory.to_owned();
    let (work, checkpoint) = blocking(move || reopen(&wanted)).await?;
    run(archive, work, checkpoint, directory, watch).await
}

fn reopen(directory: &Path) -> Result<(Work, Checkpoint), ExportError> {
    let root = partial(directory);
    if directory.exists() {
        return Err(ExportError::Exists(directory.to_owned()));
    }
    if !root.exists() {
        return Err(ExportError::NothingToResume(root));
    }
    let mut folder = Folder::lock(&root)?;
    let Some(checkpoint) = Checkpoint::load(&root)? else {
        return Err(ExportError::damaged(&root, "it was broken off before anything was written"));
    };
    folder.reopen(&checkpoint.lengths)?;
    Ok((Work { writer: writer(&checkpoint)?, folder, lists_numbers: checkpoint.export.lists_numbers }, checkpoint))
}

/// What a thread for blocking work takes and gives back.
struct Work {
    writer: Box<dyn Writer>,
    folder: Folder,
    lists_numbers: bool,
}

async fn run(
    archive: &Archive,
    mut work: Work,
    mut checkpoint: Checkpoint,
    directory: &Path,
    watch: Watch<'_>,
) -> Result<Produced, ExportError> {
    if !checkpoint.is_written {
        work = write_all(archive, work, &mut checkpoint, watch).await?;
    }
    let progress = Progress { stage: Stage::Checking, messages: checkpoint.counts.messages, total: checkpoint.total };
    tell(watch, work.folder.root(), progress)?;
    let gaps = archive.gaps(checkpoint.export.query.from, checkpoint.export.query.to).await?;
    let quarantined = archive.quarantined(checkpoint.export.query.from, checkpoint.export.query.to).await?;
    let directory = directory.to_owned();
    blocking(move || release(&work, &checkpoint, &gaps, quarantined).and_then(|produced| finish(work, &directory, produced))).await
}

/// Walks and writes to the end.
async fn write_all(archive: &Archive, mut work: Work, checkpoint: &mut Checkpoint, watch: Watch<'_>) -> Result<Work, ExportError> {
    let mut walk = Walk::new(archive, &checkpoint.export, checkpoint.place.clone())?;
    let mut saved_at = Instant::now();
    let mut counts = checkpoint.counts.clone();
    let mut next = walk.next().await?;
    while let Some((unit, place)) = next.take() {
        let written = blocking(move || write_unit(work, unit));
        let (written, read) = tokio::join!(written, walk.next());
        let (back, unit) = written?;
        (work, next) = (back, read?);
        counts.add(&unit);
        let progress = Progress { stage: Stage::Writing, messages: counts.messages, total: checkpoint.total };
        let told = tell(watch, work.folder.root(), progress);
        if told.is_err() || saved_at.elapsed() >= CHECKPOINT_EVERY {
            let is_saved;
            (work, is_saved) = save(work, checkpoint, &counts, place).await?;
            saved_at = if is_saved { Instant::now() } else { saved_at };
        }
        told?;
    }
    let mut new = Checkpoint { counts, is_written: true, ..checkpoint.clone() };
    let (work, new) = blocking(move || {
        work.writer.finish(&mut work.folder)?;
        new.lengths = work.folder.sync()?;
        new.format = work.writer.state().unwrap_or_default();
        new.save(&work.folder)?;
        Ok((work, new))
    })
    .await?;
    *checkpoint = new;
    Ok(work)
}

fn write_unit(mut work: Work, unit: Unit) -> Result<(Work, Unit), ExportError> {
    work.writer.unit(&unit, &mut work.folder)?;
    if work.lists_numbers {
        let mut numbers = String::new();
        for item in &unit.items {
            let _never_fails = writeln!(numbers, "{}", item.found.id);
        }
        work.folder.append(NUMBERS, numbers.as_bytes())?;
    }
    Ok((work, unit))
}

/// Writes down how far it is, if the format can go on from here.
async fn save(mut work: Work, checkpoint: &mut Checkpoint, counts: &Counts, place: Place) -> Result<(Work, bool), ExportError> {
    let Some(state) = work.writer.state() else { return Ok((work, false)) };
    let mut new = Checkpoint { place, counts: counts.clone(), format: state, ..checkpoint.clone() };
    let (work, new) = blocking(move || {
        new.lengths = work.folder.sync()?;
        new.save(&work.folder)?;
        Ok((work, new))
    })
    .await?;
    *checkpoint = new;
    Ok((work, true))
}

/// Counts once more from the files, and adds the account of all; nothing is released that does not add up.
fn release(work: &Work, checkpoint: &Checkpoint, gaps: &[crate::retrieve::GapFound], quarantined: u64) -> Result<Produced, ExportError> {
    let (expected, written) = (checkpoint.total, checkpoint.counts.messages);
    let mut read_back = work.writer.read_back(&work.folder)?.unwrap_or(written);
    if work.lists_numbers && read_back == written {
        read_back = 0;
        late::each_number(work.folder.root(), &mut |_number| read_back += 1)?;
    }
    if expected != written || expected != read_back {
        return Err(ExportError::Withheld { partial: work.folder.root().to_owned(), expected, written, read_back });
    }
    let manifest::Written { files, sums_sha256 } = manifest::write(&work.folder, checkpoint, work.writer.as_ref(), gaps, quarantined)?;
    Ok(Produced { directory: Default::default(), messages: written, files, sums_sha256 })
}

fn finish(work: Work, directory: &Path, produced: Produced) -> Result<Produced, ExportError> {
    work.folder.finish(directory)?;
    // Until it has its name, it can be gone on with.
    Checkpoint::remove(directory)?;
    Ok(Produced { directory: directory.to_owned(), ..produced })
}

fn tell(watch: Watch<'_>, root: &Path, progress: Progress) -> Result<(), ExportError> {
    match watch(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ExportError::Stopped(root.to_owned())),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, ExportError> + Send + 'static) -> Result<T, ExportError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ExportError::Refused(format!("the export broke off: {error}")))?
}
