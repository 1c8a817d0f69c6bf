//! Makes exports in the background, a few at a time, and goes on with those that a restart broke off.
//!
//! Each has a task, which holds the lock of the export's directory, so that no other process makes or removes it meanwhile. What a task knows
//! that is not on disk is only how far it is, and whether somebody wants it to stop.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::Frame as Chunk;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::app::App;
use super::trouble::Trouble;
use crate::access::{Action, Event, Outcome, Viewer};
use crate::export::job::{Held, Job, Shelf, State};
use crate::export::{ExportError, Produced, Progress, parcel, partial, produce, resume};
use crate::time::now;

/// Exports that are made at once; others wait.
const AT_ONCE: usize = 2;
/// How long exports are waited for that were told to stop.
const WIND_UP: Duration = Duration::from_secs(8);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(20);
/// So long a further look at the same export is no row of the audit trail.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// The most looks that are remembered.
const MAX_LOOKS: usize = 10_000;
/// Parts of an archive that wait for a slow reader, each of at most 64 KiB.
const PARTS: usize = 16;

/// Exports in work.
pub(super) struct Exports {
    shelf: Shelf,
    pub(super) looks: Looks,
    places: Arc<Semaphore>,
    tasks: Mutex<BTreeMap<u64, Arc<Task>>>,
    is_ending: AtomicBool,
}

/// What is known of an export in work.
#[derive(Default)]
pub(super) struct Task {
    progress: Mutex<Option<Progress>>,
    is_stopped: AtomicBool,
}

impl Task {
    /// How far it is; none while it waits for its turn.
    pub(super) fn progress(&self) -> Option<Progress> {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exports {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            shelf: Shelf::new(root),
            looks: Looks::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: Mutex::default(),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Does something with what is on disk, on a thread for such work.
    pub(super) async fn on_shelf<T, W>(&self, work: W) -> Result<T, ExportError>
    where
        T: Send + 'static,
        W: FnOnce(&Shelf) -> Result<T, ExportError> + Send + 'static,
    {
        let shelf = self.shelf.clone();
        let done = tokio::task::spawn_blocking(move || work(&shelf)).await;
        done.map_err(|error| ExportError::Format(format!("a thread for exports: {error}")))?
    }

    /// One of them, if it is there.
    pub(super) async fn get(&self, number: u64) -> Result<Option<Job>, ExportError> {
        self.on_shelf(move |shelf| shelf.get(number)).await
    }

    /// Writes down what has become of one.
    pub(super) async fn save(&self, job: &Job) -> Result<(), ExportError> {
        let job = job.clone();
        self.on_shelf(move |shelf| shelf.save(&job)).await
    }

    /// The task of an export, if it is in work here.
    pub(super) fn task(&self, number: u64) -> Option<Arc<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Tells an export to stop; false if it is not in work here.
    pub(super) fn stop(&self, number: u64) -> bool {
        self.task(number).inspect(|task| task.is_stopped.store(true, Ordering::Relaxed)).is_some()
    }

    /// Has an export made. It is not begun twice.
    pub(super) fn start(&self, app: &App, number: u64) {
        let task = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if tasks.contains_key(&number) || self.is_ending.load(Ordering::Relaxed) {
                return;
            }
            tasks.entry(number).or_default().clone()
        };
        let app = app.clone();
        tokio::spawn(async move {
            run(&app, number, &task).await;
            app.exports.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        });
    }

    /// Removes what a crash has left, and goes on with what was in work when the process ended.
    pub(super) async fn go_on(&self, app: &App) {
        match self.on_shelf(Shelf::tidy).await {
            Ok(0) => {}
            Ok(removed) => log::info!("{removed} exports that were being begun or removed when a process ended are removed"),
            Err(error) => log::error!("what is left of removed exports can't be removed: {error}"),
        }
        match self.on_shelf(Shelf::list).await {
            Ok(jobs) => {
                jobs.iter().rev().filter(|job| job.state == State::Working).for_each(|job| self.start(app, job.number));
            }
            Err(error) => log::error!("exports can't be gone on with: {error}"),
        }
    }

    /// Stops what is in work, which goes on with the next start.
    pub(super) async fn wind_up(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let all_ended = async {
            while !self.tasks.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _goes_on_later_anyway = tokio::time::timeout(WIND_UP, all_ended).await;
    }
}

/// Who has looked at which export lately, so that whoever asks every second how far one is does not fill the audit trail.
#[derive(Default)]
pub(super) struct Looks(Mutex<BTreeMap<(String, u64), Instant>>);

impl Looks {
    /// Whether a look is a row: the first in a while of the same viewer, by the same way, at the same export.
    pub(super) fn is_row(&self, viewer: &Viewer, number: u64) -> bool {
        let key = (Self::who(viewer), number);
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.get(&key).is_none_or(|at| at.elapsed() >= LOOK_AGAIN)
    }

    /// The row is written.
    pub(super) fn note(&self, viewer: &Viewer, number: u64) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() >= MAX_LOOKS {
            looks.retain(|_, at| at.elapsed() < LOOK_AGAIN);
        }
        if looks.len() < MAX_LOOKS {
            looks.insert((Self::who(viewer), number), Instant::now());
        }
    }

    fn who(viewer: &Viewer) -> String {
        format!("{} {} {:?}", viewer.name(), viewer.way().word(), viewer.address())
    }
}

async fn run(app: &App, number: u64, task: &Task) {
    let Ok(_place) = app.exports.places.clone().acquire_owned().await else { return };
    let held = app.exports.on_shelf(move |shelf| Ok(shelf.hold(number)?.zip(shelf.get(number)?))).await;
    let (_held, job): (Held, Job) = match held {
        Ok(Some((held, job))) if job.state == State::Working => (held, job),
        // Somebody else has removed it, or has come to its end.
        Ok(_) => return,
        Err(ExportError::Busy(_)) => return log::info!("export {number} is made by another process"),
        Err(error) => return log::error!("export {number}: {error}"),
    };
    let made = make(app, &job, task).await;
    if app.exports.is_ending.load(Ordering::Relaxed) && matches!(made, Err(ExportError::Stopped(_))) {
        return;
    }
    if let Err(ExportError::Busy(_)) = made {
        return log::info!("export {number} is made by another process");
    }
    let counts = match &made {
        Ok(produced) => json!({ "query_finds": produced.messages, "written": produced.messages, "in_files": produced.messages }),
        Err(error) => error.counts(task.progress()),
    };
    let ended = ended(job, made);
    log::info!("export {number}: {}", ended.state.word());
    tell(app, &ended, counts).await;
    if let Err(error) = app.exports.save(&ended).await {
        log::error!("export {number}: {error}");
    }
}

async fn make(app: &App, job: &Job, task: &Task) -> Result<Produced, ExportError> {
    let archive = match app.archive(&job.export.store).await {
        Ok(archive) => archive,
        Err(Trouble::Missing(said) | Trouble::Away(said)) => return Err(ExportError::Refused(said)),
        Err(_other) => return Err(ExportError::Refused("the store can't be opened".to_owned())),
    };
    let archive = archive.restricted(job.within.clone().unwrap_or_default());
    let watch = |progress: Progress| {
        *task.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        let is_stopped = task.is_stopped.load(Ordering::Relaxed) || app.exports.is_ending.load(Ordering::Relaxed);
        if is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let directory = app.exports.shelf.directory(job.number);
    let (number, part) = (job.number, partial(&directory));
    if app.exports.on_shelf(move |_| Ok(part.exists())).await? {
        match resume(&archive, &directory, &watch).await {
            // It was broken off before there was anything to go on with.
            Err(ExportError::Damaged { .. }) => app.exports.on_shelf(move |shelf| shelf.clear(number)).await?,
            other => return other,
        }
    }
    match produce(&archive, job.export.clone(), &directory, &watch).await {
        // It was whole when the process ended.
        Err(ExportError::Exists(_)) => app.exports.on_shelf(move |_| crate::export::produced(&directory)).await,
        other => other,
    }
}

/// The job with what has become of it.
fn ended(job: Job, made: Result<Produced, ExportError>) -> Job {
    let (state, said, produced) = match made {
        Ok(produced) => (State::Released, None, Some(produced)),
        Err(ExportError::Stopped(_)) => (State::Stopped, None, None),
        Err(ExportError::Withheld { expected, written, read_back, .. }) => {
            let said = format!(
                "The counts do not agree: the query finds {expected} messages, {written} were written, and {read_back} are in the files."
            );
            (State::Withheld, Some(said), None)
        }
        Err(error) => {
            log::error!("export {}: {error}", job.number);
            (State::Failed, Some("It broke off; the log of the console says why.".to_owned()), None)
        }
    };
    let (messages, files) = produced.as_ref().map_or((None, None), |produced| (Some(produced.messages), Some(produced.files)));
    let sums_sha256 = produced.map(|produced| produced.sums_sha256);
    Job { state, said, messages, files, sums_sha256, ended_at: Some(now()), ..job }
}

/// What came of it is in the audit trail, too. Who asked may be gone by now, so the row names them beside.
async fn tell(app: &App, job: &Job, counts: Value) {
    let outcome = if job.state == State::Released || job.state == State::Stopped { Outcome::Done } else { Outcome::Failed };
    let mut target = described(job);
    if let Some(target) = target.as_object_mut() {
        target.insert("state".to_owned(), job.state.word().into());
        target.insert("counts".to_owned(), counts.clone());
        target.insert("sums_sha256".to_owned(), job.sums_sha256.clone().into());
        target.retain(|_, value| !value.is_null());
    }
    let event = Event::new(Action::ExportEnd, target).ended(outcome).because(job.export.reason.clone());
    let written = counts.get("written").and_then(Value::as_u64);
    let event = written.into_iter().fold(event, Event::of);
    if let Err(error) = app.access.record(&Viewer::service("export"), event).await {
        log::error!("export {}: its end is not in the audit trail: {error}", job.number);
    }
}

/// An export as rows of the program's own name it: which, for whom, and what was asked for.
pub(super) fn described(job: &Job) -> Value {
    json!({
        "export": job.number, "store": job.export.store, "format": job.export.format, "xml": job.export.with_xml.then_some(true),
        "for": job.export.by, "query": job.asked,
    })
}

/// A released export as a ZIP archive, which is made while it is sent.
pub(super) fn packed(app: &App, job: &Job) -> Body {
    let (number, hash) = (job.number, job.sums_sha256.clone());
    let directory = app.exports.shelf.directory(number);
    let (send, parts) = mpsc::channel(PARTS);
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(1 << 16, Sender(send.clone()));
        if let Err(error) = parcel::pack(&directory, hash.as_deref(), &mut out) {
            log::warn!("export {number} was not sent whole: {error}");
            let _the_reader_is_gone = send.blocking_send(Err(io::Error::other("it broke off")));
        }
    });
    Body::new(Parts(parts))
}

/// Hands bytes on to a body.
struct Sender(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_gone| io::Error::from(io::ErrorKind::BrokenPipe)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body of parts that are yet to come.
pub(super) struct Parts(pub(super) mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk<Bytes>>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| part.map(Chunk::data)))
    }
}
