//! Exports: which there are, a form to begin one, one of them with its progress, and its files as one.
//!
//! Whoever may export sees the exports of everybody who may see no more than oneself.

use askama::Template;
use axum::extract::Path;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, REFRESH};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::caller::{Caller, LOOK_AGAIN, Posted};
use super::clock::Shown;
use super::desk::Desk;
use super::export_ask::{FORMATS, label, start, within, word};
use super::export_run::{described, packed};
use super::find;
use super::frame::{Frame, Place, page};
use super::params::{Params, link};
use super::search::counted;
use super::text;
use super::trouble::{Trouble, see_other};
use crate::access::{Action, Event, Outcome, Permission, Viewer};
use crate::export::job::{Held, Job, Shelf, State};
use crate::export::{ExportError, Progress, Stage};

/// What a form for an export has beside the fields of a search.
const OWN_FIELDS: [&str; 10] = ["csrf", "reason", "format", "xml", "done", "go", "store", "order", "after", "limit"];

/// The page of an export in work is loaded anew after so many seconds.
const LOOK_AGAIN_SECONDS: u32 = 5;

/// An export in the list or on its own page.
struct Entry {
    number: u64,
    store: String,
    format: &'static str,
    by: String,
    reason: String,
    asked: Shown,
    ended: Option<Shown>,
    state: &'static str,
    is_good: bool,
    said: String,
    messages: String,
    files: String,
    /// The hash of its list of hashes.
    sums: String,
    kept_until: Option<Shown>,
    /// Of what was asked for, each condition with its values.
    conditions: Vec<(String, String)>,
    progress: Option<Bar>,
}

/// How far an export is.
struct Bar {
    stage: &'static str,
    messages: u64,
    total: u64,
}

#[derive(Template)]
#[template(path = "exports.html")]
struct ListPage {
    frame: Frame,
    exports: Vec<Entry>,
}

#[derive(Template)]
#[template(path = "export_new.html")]
struct NewPage {
    frame: Frame,
    mistake: Option<String>,
    store: String,
    conditions: Vec<(String, String)>,
    /// The same as fields of the form, one for each value.
    fields: Vec<(String, String)>,
    count: String,
    formats: Vec<(&'static str, &'static str, bool)>,
    reason: String,
    with_xml: bool,
    search: String,
}

#[derive(Template)]
#[template(path = "export.html")]
struct ExportPage {
    frame: Frame,
    export: Entry,
    may_stop: bool,
    may_go_on: bool,
    may_begin_anew: bool,
    is_released: bool,
}

/// `GET /exports`.
pub(super) async fn list(caller: Caller) -> Response {
    let result = make_list(&caller).await;
    caller.answer(result)
}

async fn make_list(caller: &Caller) -> Result<Response, Trouble> {
    let target = json!({ "exports": "all" });
    caller.require(Permission::Export, Action::ViewExport, target.clone()).await?;
    let jobs = seen(caller.viewer(), caller.app.exports.on_shelf(Shelf::list).await?)?;
    caller.record(Event::new(Action::ViewExport, target).of(jobs.len() as u64)).await?;
    page(&ListPage { frame: caller.frame(Place::Exports, "Exports"), exports: jobs.iter().map(|job| entry(caller, job)).collect() })
}

/// Those whose content the viewer may see.
pub(super) fn seen(viewer: &Viewer, jobs: Vec<Job>) -> Result<Vec<Job>, Trouble> {
    let within = within(viewer)?;
    Ok(jobs.into_iter().filter(|job| within.is_none() || job.within == within).collect())
}

/// One of them, if the viewer may see it.
pub(super) async fn one(app: &super::app::App, viewer: &Viewer, number: &str) -> Result<Option<Job>, Trouble> {
    let Ok(number) = number.parse() else { return Ok(None) };
    let job = app.exports.get(number).await?.into_iter().collect();
    Ok(seen(viewer, job)?.pop())
}

/// Writes down that somebody looks at an export, unless they did a moment ago.
pub(super) async fn note_look(app: &super::app::App, viewer: &Viewer, job: &Job) -> Result<(), Trouble> {
    if app.exports.looks.is_row(viewer, job.number) {
        let target = json!({ "export": job.number, "store": job.export.store });
        app.access.record(viewer, Event::new(Action::ViewExport, target).of(1)).await?;
        app.exports.looks.note(viewer, job.number);
    }
    Ok(())
}

fn entry(caller: &Caller, job: &Job) -> Entry {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    Entry {
        number: job.number,
        store: job.export.store.clone(),
        format: label(job.export.format),
        by: text::name(&job.export.by),
        reason: text::name(job.export.reason.as_deref().unwrap_or_default()),
        asked: caller.clock.full(job.asked_at),
        ended: job.ended_at.map(|at| caller.clock.full(at)),
        state: job.state.word(),
        is_good: matches!(job.state, State::Released | State::Working),
        said: job.said.clone().unwrap_or_default(),
        messages: number(job.messages),
        files: number(job.files),
        sums: job.sums_sha256.clone().unwrap_or_default(),
        kept_until: job.kept_until(caller.app.config.web.keep_exports_days).map(|at| caller.clock.full(at)),
        conditions: conditions(&job.asked),
        progress: (job.state == State::Working)
            .then(|| caller.app.exports.task(job.number).and_then(|task| task.progress()))
            .flatten()
            .map(bar),
    }
}

fn bar(progress: Progress) -> Bar {
    Bar { stage: stage(progress.stage), messages: progress.messages, total: progress.total }
}

/// The word for a stage.
pub(super) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Counting => "counting",
        Stage::Writing => "writing",
        Stage::Checking => "checking",
        Stage::Delivering => "delivering",
    }
}

/// What was asked for, to read: each condition with its values.
pub(super) fn conditions(asked: &Value) -> Vec<(String, String)> {
    let said = |value: &Value| match value {
        Value::String(text) => text::name(text),
        Value::Array(values) => values.iter().filter_map(Value::as_str).map(text::name).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    asked
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !["store", "order", "after"].contains(&name.as_str()))
        .map(|(name, value)| (find::label(name).to_owned(), said(value)))
        .collect()
}

/// `GET /exports/new`.
pub(super) async fn new(caller: Caller) -> Response {
    let result = form(&caller, &caller.params, None).await;
    caller.answer(result)
}

/// The form, filled in with the conditions of a search.
async fn form(caller: &Caller, params: &Params, mistake: Option<String>) -> Result<Response, Trouble> {
    let store = params.get("store").unwrap_or_else(|| caller.app.first_store()).to_owned();
    let read = find::asked(params, &caller.clock, &OWN_FIELDS);
    let target = find::target(&store, params, &caller.clock, read.as_ref().ok().map(|asked| &asked.query));
    caller.require(Permission::Export, Action::Export, target.clone()).await?;
    let (count, mistake) = match read {
        Ok(asked) => (counted(Desk::open(&caller.app, caller.viewer(), &store).await?.count(&asked.query).await?), mistake),
        Err(Trouble::Wrong(said)) => (String::new(), Some(said)),
        Err(other) => return Err(other),
    };
    caller.record(Event::new(Action::Count, target.clone())).await?;
    let chosen = params.get("format").unwrap_or("jsonl");
    let fields = params.pairs().filter(|(name, value)| !value.is_empty() && !OWN_FIELDS.contains(name));
    page(&NewPage {
        frame: caller.frame(Place::Exports, "Begin an export"),
        mistake,
        conditions: conditions(&target),
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        count,
        formats: FORMATS.iter().map(|(_, word, label)| (*word, *label, *word == chosen)).collect(),
        reason: params.text("reason"),
        with_xml: params.get("xml").is_some(),
        search: format!("/search?{}", params.query(&["csrf", "format", "xml", "done", "go", "after"], None)),
        store,
    })
}

/// `POST /exports/new`.
pub(super) async fn begin(posted: Posted) -> Response {
    let Posted { caller, form: filled } = &posted;
    let result = match start(&caller.app, caller.viewer(), filled, &caller.clock, &OWN_FIELDS, Vec::new()).await {
        Ok(job) => Ok(see_other(&format!("/exports/{}", job.number))),
        Err(Trouble::Wrong(said)) => form(caller, filled, Some(said)).await,
        Err(other) => Err(other),
    };
    posted.caller.answer(result)
}

/// `GET /exports/{id}`.
pub(super) async fn show(caller: Caller, Path(id): Path<String>) -> Response {
    let result = make(&caller, &id).await;
    caller.answer(result)
}

pub(super) const MISSING: &str = "There is no such export.";

async fn make(caller: &Caller, id: &str) -> Result<Response, Trouble> {
    let target = json!({ "export": id });
    caller.require(Permission::Export, Action::ViewExport, target.clone()).await?;
    let Some(job) = one(&caller.app, caller.viewer(), id).await? else {
        return Err(caller.missing(Action::ViewExport, target, MISSING).await);
    };
    note_look(&caller.app, caller.viewer(), &job).await?;
    let is_here = caller.app.exports.task(job.number).is_some();
    let mut response = page(&ExportPage {
        frame: caller.frame(Place::Exports, format!("Export {}", job.number)),
        export: entry(caller, &job),
        may_stop: is_here,
        // One in work that is not in work here is another process's, or was given up by one: then going on disturbs nobody.
        may_go_on: !is_here && matches!(job.state, State::Working | State::Stopped | State::Failed),
        may_begin_anew: !is_here && job.state == State::Withheld,
        is_released: job.state == State::Released,
    })?;
    if job.state == State::Working {
        let again = format!("{LOOK_AGAIN_SECONDS}; url=/exports/{}?{LOOK_AGAIN}", job.number);
        response.headers_mut().extend(HeaderValue::try_from(again).ok().map(|again| (REFRESH, again)));
    }
    Ok(response)
}

/// `POST /exports/{id}`.
pub(super) async fn change(Path(id): Path<String>, posted: Posted) -> Response {
    let result = make_changed(&posted, &id).await;
    posted.caller.answer(result)
}

async fn make_changed(posted: &Posted, id: &str) -> Result<Response, Trouble> {
    let Posted { caller, form } = posted;
    let change = form.get("change").unwrap_or_default();
    let action = if change == "remove" { Action::ExportRemove } else { Action::Export };
    let target = json!({ "export": id, "change": change });
    caller.require(Permission::Export, action, target.clone()).await?;
    let Some(job) = one(&caller.app, caller.viewer(), id).await? else { return Err(caller.missing(action, target, MISSING).await) };
    let exports = &caller.app.exports;
    let is_here = exports.task(job.number).is_some();
    match change {
        "stop" if is_here => {
            caller.record(Event::new(action, target)).await?;
            exports.stop(job.number);
            Ok(see_other(&link(&format!("/exports/{}", job.number), &[("done", "export-stopped")])))
        }
        "go-on" if !is_here && job.state != State::Released => {
            let held = hold(caller, job.number).await?;
            caller.record(Event::new(action, target)).await?;
            exports.on_shelf(move |shelf| go_on(shelf, &held)).await?;
            exports.start(&caller.app, job.number);
            Ok(see_other(&link(&format!("/exports/{}", job.number), &[("done", "export-goes-on")])))
        }
        "remove" if !is_here => {
            let held = hold(caller, job.number).await?;
            caller.record(Event::new(action, described(&job))).await?;
            exports.on_shelf(move |shelf| shelf.remove(held)).await?;
            Ok(see_other("/exports?done=export-removed"))
        }
        _ => Err(Trouble::Wrong("That can’t be done with this export now. Load its page again.".to_owned())),
    }
}

/// Keeps other processes away from an export.
async fn hold(caller: &Caller, number: u64) -> Result<Held, Trouble> {
    let held = caller.app.exports.on_shelf(move |shelf| shelf.hold(number)).await?;
    held.ok_or_else(|| Trouble::Missing(MISSING.to_owned()))
}

/// Has it go on, unless another process has finished it meanwhile; one that was withheld begins anew.
fn go_on(shelf: &Shelf, held: &Held) -> Result<(), ExportError> {
    let Some(job) = shelf.get(held.number())?.filter(|job| job.state != State::Released) else { return Ok(()) };
    if job.state == State::Withheld {
        shelf.clear(job.number)?;
    }
    shelf.save(&Job { state: State::Working, said: None, ended_at: None, ..job })
}

/// `GET /exports/{id}/download`.
pub(super) async fn download(caller: Caller, Path(id): Path<String>) -> Response {
    let result = fetch(&caller.app, caller.viewer(), &id).await;
    caller.answer(result)
}

/// The files of a released export, for the page and for the API. That they were fetched is in the audit trail before.
pub(super) async fn fetch(app: &super::app::App, viewer: &Viewer, id: &str) -> Result<Response, Trouble> {
    let target = json!({ "export": id });
    app.access.require(viewer, Permission::Export, Action::ExportFetch, &target).await?;
    let Some(job) = one(app, viewer, id).await?.filter(|job| job.state == State::Released) else {
        app.access.record(viewer, Event::new(Action::ExportFetch, target).ended(Outcome::Denied)).await?;
        return Err(Trouble::Missing("There is no such export, or it is not released.".to_owned()));
    };
    let target = json!({
        "export": job.number, "store": job.export.store, "format": word(job.export.format), "sums_sha256": job.sums_sha256,
    });
    let event = job.messages.into_iter().fold(Event::new(Action::ExportFetch, target), Event::of);
    app.access.record(viewer, event.because(job.export.reason.clone())).await?;
    let name = format!("attachment; filename=\"export-{}.zip\"", job.number);
    Ok(([(CONTENT_TYPE, "application/zip".to_owned()), (CONTENT_DISPOSITION, name)], packed(app, &job)).into_response())
}

impl From<ExportError> for Trouble {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Refused(said) => Self::Wrong(format!("The export can’t be made: {said}.")),
            ExportError::Busy(_) => Self::Wrong("Another process is working on this export. Try again later.".to_owned()),
            other => Self::Broken(format!("exports: {other}")),
        }
    }
}
