//! `export --output-dir`: an export that accounts for itself, or the rest of one that was broken off.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::args::ExportArgs;
use super::connect::block_on;
use super::output::tell;
use super::reading::{described, failure, know, open, query};
use super::when::Zone;
use super::{Failure, access};
use crate::access::{Action, Event, Outcome};
use crate::config::Config;
use crate::export::series::{self, Series};
use crate::export::{Export, ExportError, Produced, Progress, Stage, produce, resume};

/// How often the progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the command.
pub(super) fn execute(config: &Config, args: &ExportArgs, directory: &Path) -> Result<(), Failure> {
    let export = if args.resume { None } else { Some(request(config, args)?) };
    let progress = bar();
    let is_stopped = Arc::new(AtomicBool::new(false));
    let reached: Mutex<Option<Progress>> = Mutex::default();
    let watch = |now: Progress| {
        show(&progress, now);
        *reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        if is_stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let produced = block_on(async {
        let archive = open(config, args.store.as_deref()).await?;
        if let Some(export) = &export {
            know(config, &archive, &export.query).await?;
        }
        let target = target(args, export.as_ref(), directory);
        access::note(config, Event::new(Action::Export, target.clone()).because(args.reason.clone())).await;
        let flag = Arc::clone(&is_stopped);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
        let produced = match export {
            Some(export) if args.series => match Series::open(directory) {
                Ok(series) => series::add(&archive, export, &series, &watch).await,
                Err(error) => Err(error),
            },
            Some(export) => produce(&archive, export, directory, &watch).await.map(Some),
            None => resume(&archive, directory, &watch).await.map(Some),
        };
        let reached = *reached.lock().unwrap_or_else(PoisonError::into_inner);
        access::note(config, ended(target, &produced, reached)).await;
        produced.map_err(told)
    });
    progress.finish_and_clear();
    match produced? {
        Some(done) => {
            tell(&format!("{} messages in {} files: {}", done.messages, done.files, done.directory.display()));
            tell(&format!("SHA-256 of SHA256SUMS: {}", done.sums_sha256));
        }
        None => tell("nothing was stored since the last export of the series"),
    }
    Ok(())
}

/// What came of it: where it is and the hash by which it is known again, or how far it was.
fn ended(mut target: Value, produced: &Result<Option<Produced>, ExportError>, reached: Option<Progress>) -> Event {
    let (more, count) = match produced {
        Ok(Some(done)) => (json!({ "in": done.directory.display().to_string(), "sums_sha256": done.sums_sha256 }), Some(done.messages)),
        Ok(None) => (json!({ "exports": [] }), Some(0)),
        Err(error) => {
            let counts = error.counts(reached);
            let written = counts.get("written").and_then(Value::as_u64);
            (if counts.is_null() { json!({}) } else { json!({ "counts": counts }) }, written)
        }
    };
    if let (Some(target), Value::Object(more)) = (target.as_object_mut(), more) {
        target.extend(more);
    }
    // One that was stopped can go on.
    let outcome = if matches!(produced, Ok(_) | Err(ExportError::Stopped(_))) { Outcome::Done } else { Outcome::Failed };
    count.into_iter().fold(Event::new(Action::ExportEnd, target).ended(outcome), Event::of)
}

/// What the audit trail is told of what is asked for.
fn target(args: &ExportArgs, export: Option<&Export>, directory: &Path) -> Value {
    let mut target = match export {
        Some(export) => described(&export.query, &args.filter.text, Some(&export.store)),
        None => json!({ "resumed": true }),
    };
    if let Some(target) = target.as_object_mut() {
        target.insert("to".to_owned(), directory.display().to_string().into());
        target.extend(export.map(|export| ("format".to_owned(), json!(export.format))));
        target.extend(args.series.then(|| ("series".to_owned(), true.into())));
    }
    target
}

fn request(config: &Config, args: &ExportArgs) -> Result<Export, Failure> {
    let store = config.store(args.store.as_deref())?;
    let by = args.by.clone().unwrap_or_else(user);
    let export = Export {
        query: query(&args.filter, &args.time, &args.page)?,
        format: args.format.format(),
        zone: zone(args)?,
        reason: args.reason.clone(),
        with_xml: args.xml,
        fonts: args.font.clone(),
        ..Export::new(&store.name, &by)
    };
    export.check().map_err(told)?;
    Ok(export)
}

/// The zone by its name: a manifest is read on other machines.
fn zone(args: &ExportArgs) -> Result<String, Failure> {
    match (&args.zone_name, args.time.zone) {
        (Some(zone), _) => Ok(zone.clone()),
        (None, Zone::Utc) => Ok("UTC".to_owned()),
        (None, Zone::Local) => {
            let nameless = || Failure::Usage("this machine's time zone has no name: give one with --zone".to_owned());
            TimeZone::system().iana_name().map(str::to_owned).ok_or_else(nameless)
        }
        (None, Zone::Named(zone)) => Ok(zone.to_owned()),
    }
}

/// Who runs this.
fn user() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    names.into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty())).unwrap_or_else(|| "unknown".to_owned())
}

/// What went wrong, by what the caller can do about it.
pub(super) fn told(error: ExportError) -> Failure {
    match error {
        ExportError::Store(error) => failure(error),
        ExportError::Unfinished(path) => {
            Failure::Usage(format!("an unfinished export is there, {}: go on with --resume, or remove it", path.display()))
        }
        ExportError::Exists(_) | ExportError::NothingToResume(_) | ExportError::Refused(_) => Failure::Usage(error.to_string()),
        other => Failure::Runtime(other.to_string()),
    }
}

/// Draws itself only where standard error is a terminal.
fn bar() -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {human_pos} of {human_len} messages, {per_sec}, {elapsed}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(DRAW_INTERVAL);
    progress
}

fn show(progress: &ProgressBar, now: Progress) {
    progress.set_length(now.total);
    progress.set_position(now.messages);
    progress.set_message(match now.stage {
        Stage::Counting => "counting",
        Stage::Writing => "writing",
        Stage::Checking => "checking",
        Stage::Delivering => "delivering",
    });
}
