//! Exports: which there are, a form to begin one, one of them with its progress, and its files as one.
//!
//! Whoever may export sees the exports of everybody who may see no more than oneself.

use askama::Template;
use axum::extract::Path;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::caller::{Caller, Posted};
use super::clock::{Clock, Shown};
use super::desk::{Desk, restriction};
use super::export_run::packed;
use super::find;
use super::frame::{Frame, Place, page};
use super::params::{Params, link};
use super::search::counted;
use super::text;
use super::trouble::{Trouble, see_other};
use crate::access::{Action, Event, Permission, Reach, Viewer};
use crate::export::job::{Job, State};
use crate::export::{Export, ExportError, Format, Progress, Stage};
use crate::retrieve::{Order, Restriction};
use crate::time::now;

/// What a form for an export has beside the fields of a search.
const OWN_FIELDS: [&str; 6] = ["csrf", "reason", "format", "xml", "done", "go"];
/// The most bytes of a reason.
const MAX_REASON_BYTES: usize = 2_000;

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
    caller.require(Permission::Export, Action::Export, target).await?;
    let jobs = seen(caller.viewer(), caller.app.exports.shelf.list()?)?;
    page(&ListPage { frame: caller.frame(Place::Exports, "Exports"), exports: jobs.iter().map(|job| entry(caller, job)).collect() })
}

/// Those whose content the viewer may see.
pub(super) fn seen(viewer: &Viewer, jobs: Vec<Job>) -> Result<Vec<Job>, Trouble> {
    let within = within(viewer)?;
    Ok(jobs.into_iter().filter(|job| within.is_none() || job.within == within).collect())
}

/// What an export of this viewer is bounded by.
fn within(viewer: &Viewer) -> Result<Option<Restriction>, Trouble> {
    let reach = viewer.reach(Permission::Export)?;
    Ok((*reach != Reach::Everything).then(|| restriction(reach)))
}

/// One of them, if the viewer may see it.
pub(super) fn one(app: &super::app::App, viewer: &Viewer, number: &str) -> Result<Option<Job>, Trouble> {
    let Ok(number) = number.parse() else { return Ok(None) };
    let job = app.exports.shelf.get(number)?.into_iter().collect();
    Ok(seen(viewer, job)?.pop())
}

fn entry(caller: &Caller, job: &Job) -> Entry {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    Entry {
        number: job.number,
        store: job.export.store.clone(),
        format: word(job.export.format),
        by: text::name(&job.export.by),
        reason: text::name(job.export.reason.as_deref().unwrap_or_default()),
        asked: caller.clock.full(job.asked_at),
        ended: job.ended_at.map(|at| caller.clock.full(at)),
        state: job.state.word(),
        is_good: matches!(job.state, State::Released | State::Working),
        said: job.said.clone().unwrap_or_default(),
        messages: number(job.messages),
        files: number(job.files),
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
fn conditions(asked: &Value) -> Vec<(String, String)> {
    let said = |value: &Value| match value {
        Value::String(text) => text::name(text),
        Value::Array(values) => values.iter().filter_map(Value::as_str).map(text::name).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let label = |name: &str| find::LABELS.iter().find(|(field, _)| *field == name).map_or(name, |(_, label)| label).to_owned();
    asked
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !["store", "order", "after"].contains(&name.as_str()))
        .map(|(name, value)| (label(name), said(value)))
        .collect()
}

/// The formats with what they are.
const FORMATS: [(Format, &str, &str); 9] = [
    (Format::Jsonl, "jsonl", "JSON Lines: everything that is known, for programs"),
    (Format::Csv, "csv", "CSV: a table with a line for each message"),
    (Format::Eml, "eml", "EML: a mail for each conversation and day"),
    (Format::Mbox, "mbox", "mbox: these mails in one file"),
    (Format::Html, "html", "HTML: pages to read in a browser"),
    (Format::Pdf, "pdf", "PDF: pages to file, with a cover"),
    (Format::Rsmf, "rsmf", "RSMF: for Relativity"),
    (Format::Dat, "dat", "DAT: a Concordance load file with texts and natives"),
    (Format::Xml, "xml", "XML: as Actiance’s products read it"),
];

/// The word for a format.
pub(super) fn word(format: Format) -> &'static str {
    FORMATS.iter().find(|(other, ..)| *other == format).map_or("", |(_, word, _)| word)
}

/// `GET /exports/new`.
pub(super) async fn new(caller: Caller) -> Response {
    let result = form(&caller, &caller.params, None).await;
    caller.answer(result)
}

/// The form, filled in with the conditions of a search.
async fn form(caller: &Caller, params: &Params, mistake: Option<String>) -> Result<Response, Trouble> {
    let store = params.get("store").unwrap_or_else(|| caller.app.first_store()).to_owned();
    let target = find::target(&store, params);
    caller.require(Permission::Export, Action::Export, target.clone()).await?;
    let (count, mistake) = match find::asked(params, &caller.clock) {
        Ok(asked) => (counted(Desk::open(&caller.app, caller.viewer(), &store).await?.count(&asked.query).await?), mistake),
        Err(Trouble::Wrong(said)) => (String::new(), Some(said)),
        Err(other) => return Err(other),
    };
    caller.record(Event::new(Action::Count, target.clone())).await?;
    let chosen = params.get("format").unwrap_or("jsonl");
    let fields = params.pairs().filter(|(name, _)| !OWN_FIELDS.contains(name) && *name != "store" && *name != "after" && *name != "order");
    page(&NewPage {
        frame: caller.frame(Place::Exports, "Begin an export"),
        mistake,
        conditions: conditions(&target),
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        count,
        formats: FORMATS.iter().map(|(_, word, label)| (*word, *label, *word == chosen)).collect(),
        reason: params.text("reason"),
        with_xml: params.get("xml").is_some(),
        search: format!("/search?{}", params.query(&[&OWN_FIELDS[..], &["after"]].concat(), None)),
        store,
    })
}

/// `POST /exports/new`.
pub(super) async fn begin(posted: Posted) -> Response {
    let Posted { caller, form: filled } = &posted;
    let result = match start(&caller.app, caller.viewer(), filled, &caller.clock).await {
        Ok(job) => Ok(see_other(&format!("/exports/{}", job.number))),
        Err(Trouble::Wrong(said)) => form(caller, filled, Some(said)).await,
        Err(other) => Err(other),
    };
    posted.caller.answer(result)
}

/// Has an export begun, for the page and for the API. That it was asked for is in the audit trail before.
pub(super) async fn start(app: &super::app::App, viewer: &Viewer, params: &Params, clock: &Clock) -> Result<Job, Trouble> {
    let store = params.get("store").unwrap_or_else(|| app.first_store()).to_owned();
    let asked = find::target(&store, params);
    app.access.require(viewer, Permission::Export, Action::Export, &asked).await?;
    if !app.store_names().any(|name| name == store) {
        return Err(Trouble::Missing(format!("There is no store “{store}”.")));
    }
    let query = find::asked(params, clock)?.query;
    let wanted = params.get("format").unwrap_or("jsonl");
    let Some((format, word, _)) = FORMATS.iter().find(|(_, word, _)| *word == wanted) else {
        return Err(Trouble::Wrong(format!("There is no format “{wanted}”.")));
    };
    let Some(reason) = params.get("reason").filter(|reason| reason.len() <= MAX_REASON_BYTES).map(str::to_owned) else {
        return Err(Trouble::Wrong(format!("An export needs a reason of up to {MAX_REASON_BYTES} bytes, such as a case or a matter.")));
    };
    let query = crate::retrieve::Query { after: None, by_relevance: false, order: Order::Ascending, ..query };
    let export = Export {
        query,
        format: *format,
        zone: clock.name().to_owned(),
        reason: Some(reason.clone()),
        with_xml: params.get("xml").is_some_and(|xml| xml != "false"),
        ..Export::new(&store, viewer.name())
    };
    let mut target = asked.clone();
    if let Some(target) = target.as_object_mut() {
        target.insert("format".to_owned(), (*word).into());
        target.extend(export.with_xml.then(|| ("xml".to_owned(), true.into())));
    }
    app.access.record(viewer, Event::new(Action::Export, target).because(Some(reason))).await?;
    let job = app.exports.shelf.add(Job::new(export, asked, within(viewer)?, now()))?;
    app.exports.start(app, job.number);
    Ok(job)
}

/// `GET /exports/{id}`.
pub(super) async fn show(caller: Caller, Path(id): Path<String>) -> Response {
    let result = make(&caller, &id).await;
    caller.answer(result)
}

pub(super) const MISSING: &str = "There is no such export.";

async fn make(caller: &Caller, id: &str) -> Result<Response, Trouble> {
    let target = json!({ "export": id });
    caller.require(Permission::Export, Action::Export, target.clone()).await?;
    let Some(job) = one(&caller.app, caller.viewer(), id)? else { return Err(caller.missing(Action::Export, target, MISSING).await) };
    let is_here = caller.app.exports.task(job.number).is_some();
    page(&ExportPage {
        frame: caller.frame(Place::Exports, format!("Export {}", job.number)),
        export: entry(caller, &job),
        may_stop: is_here,
        // One in work that is not in work here is another process's, or was given up by one: then going on disturbs nobody.
        may_go_on: !is_here && matches!(job.state, State::Working | State::Stopped | State::Failed),
        may_begin_anew: !is_here && job.state == State::Withheld,
        is_released: job.state == State::Released,
    })
}

/// `POST /exports/{id}`.
pub(super) async fn change(Path(id): Path<String>, posted: Posted) -> Response {
    let result = make_changed(&posted, &id).await;
    posted.caller.answer(result)
}

async fn make_changed(posted: &Posted, id: &str) -> Result<Response, Trouble> {
    let Posted { caller, form } = posted;
    let change = form.get("change").unwrap_or_default();
    let target = json!({ "export": id, "change": change });
    caller.require(Permission::Export, Action::Export, target.clone()).await?;
    let Some(job) = one(&caller.app, caller.viewer(), id)? else { return Err(caller.missing(Action::Export, target, MISSING).await) };
    let exports = &caller.app.exports;
    let is_here = exports.task(job.number).is_some();
    let own = |done: &str| see_other(&link(&format!("/exports/{}", job.number), &[("done", done)]));
    match change {
        "stop" if is_here => {
            caller.record(Event::new(Action::Export, target)).await?;
            exports.stop(job.number);
            Ok(own("export-stopped"))
        }
        "go-on" if !is_here && job.state != State::Released => {
            caller.record(Event::new(Action::Export, target)).await?;
            if job.state == State::Withheld {
                exports.shelf.clear(job.number)?;
            }
            let number = job.number;
            exports.shelf.save(&Job { state: State::Working, said: None, ended_at: None, ..job })?;
            exports.start(&caller.app, number);
            Ok(see_other(&link(&format!("/exports/{number}"), &[("done", "export-goes-on")])))
        }
        "remove" if !is_here => {
            caller.record(Event::new(Action::Export, target)).await?;
            let (shelf, number) = (exports.shelf.clone(), job.number);
            let removed = tokio::task::spawn_blocking(move || shelf.remove(number)).await;
            removed.map_err(|error| Trouble::Broken(format!("an export can't be removed: {error}")))??;
            Ok(see_other("/exports?done=export-removed"))
        }
        _ => Err(Trouble::Wrong("That can’t be done with this export now. Load its page again.".to_owned())),
    }
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
    let Some(job) = one(app, viewer, id)?.filter(|job| job.state == State::Released) else {
        app.access.record(viewer, Event::new(Action::ExportFetch, target).ended(crate::access::Outcome::Denied)).await?;
        return Err(Trouble::Missing("There is no such export, or it is not released.".to_owned()));
    };
    let target = json!({ "export": job.number, "store": job.export.store, "format": word(job.export.format) });
    let event = job.messages.into_iter().fold(Event::new(Action::ExportFetch, target), Event::of);
    app.access.record(viewer, event.because(job.export.reason.clone())).await?;
    let name = format!("attachment; filename=\"export-{}.zip\"", job.number);
    Ok(([(CONTENT_TYPE, "application/zip".to_owned()), (CONTENT_DISPOSITION, name)], packed(app, job.number)).into_response())
}

impl From<ExportError> for Trouble {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Refused(said) => Self::Wrong(format!("The export can’t be made: {said}.")),
            other => Self::Broken(format!("exports: {other}")),
        }
    }
}
