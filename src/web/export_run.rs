//! Makes exports in the background, a few at a time, and goes on with those that a restart broke off.
//!
//! Each has a task. What a task knows that is not on disk is only how far it is, and whether somebody wants it to stop.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::Frame as Chunk;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use super::app::App;
use super::trouble::Trouble;
use crate::access::{Action, Event, Outcome, Viewer};
use crate::export::job::{Job, Shelf, State};
use crate::export::{ExportError, Produced, Progress, parcel, partial, produce, resume};
use crate::time::now;

/// Exports that are made at once; others wait.
const AT_ONCE: usize = 2;
/// How long exports are waited for that were told to stop.
const WIND_UP: Duration = Duration::from_secs(8);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(20);
/// Parts of an archive that wait for a slow reader, each of at most 64 KiB.
const PARTS: usize = 16;

/// Exports in work.
pub(super) struct Exports {
    pub(super) shelf: Shelf,
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
            places: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: Mutex::default(),
            is_ending: AtomicBool::new(false),
        }
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

    /// Goes on with what was in work when the process ended.
    pub(super) fn go_on(&self, app: &App) {
        match self.shelf.list() {
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

async fn run(app: &App, number: u64, task: &Task) {
    let Ok(_place) = app.exports.places.clone().acquire_owned().await else { return };
    let shelf = &app.exports.shelf;
    let job = match shelf.get(number) {
        Ok(Some(job)) => job,
        Ok(None) => return,
        Err(error) => return log::error!("export {number}: {error}"),
    };
    let made = make(app, &job, task).await;
    if app.exports.is_ending.load(Ordering::Relaxed) && matches!(made, Err(ExportError::Stopped(_))) {
        return;
    }
    if let Err(ExportError::Busy(_)) = made {
        return log::info!("export {number} is made by another process");
    }
    let ended = ended(job, made);
    log::info!("export {number}: {}", ended.state.word());
    tell(app, &ended).await;
    if let Err(error) = shelf.save(&ended) {
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
    if partial(&directory).exists() {
        match resume(&archive, &directory, &watch).await {
            // It was broken off before there was anything to go on with.
            Err(ExportError::Damaged { .. }) => app.exports.shelf.clear(job.number)?,
            other => return other,
        }
    }
    match produce(&archive, job.export.clone(), &directory, &watch).await {
        // It was whole when the process ended.
        Err(ExportError::Exists(_)) => crate::export::produced(&directory),
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
    let (messages, files) = produced.map_or((None, None), |produced| (Some(produced.messages), Some(produced.files)));
    Job { state, said, messages, files, ended_at: Some(now()), ..job }
}

/// What came of it is in the audit trail, too. Who asked may be gone by now, so the row names them beside.
async fn tell(app: &App, job: &Job) {
    let outcome = if job.state == State::Released || job.state == State::Stopped { Outcome::Done } else { Outcome::Failed };
    let target = json!({ "store": job.export.store, "export": job.number, "state": job.state.word(), "for": job.export.by });
    let event = Event::new(Action::ExportEnd, target).ended(outcome);
    let event = job.messages.into_iter().fold(event, Event::of);
    if let Err(error) = app.access.record(&Viewer::service("export"), event).await {
        log::error!("export {}: its end is not in the audit trail: {error}", job.number);
    }
}

/// A released export as a ZIP archive, which is made while it is sent.
pub(super) fn packed(app: &App, number: u64) -> Body {
    let directory = app.exports.shelf.directory(number);
    let (send, parts) = mpsc::channel(PARTS);
    tokio::task::spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(1 << 16, Sender(send.clone()));
        if let Err(error) = parcel::pack(&directory, &mut out) {
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
struct Parts(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Chunk<Bytes>>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| part.map(Chunk::data)))
    }
}
