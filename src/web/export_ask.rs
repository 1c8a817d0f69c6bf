//! From what somebody asked to be exported to an export that is made: every mistake is named before anything begins, and the audit trail
//! knows of it before it does.

use serde_json::Value;

use super::app::App;
use super::clock::Clock;
use super::desk::{knows, restriction};
use super::find;
use super::params::Params;
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission, Reach, Viewer};
use crate::export::job::{Held, Job, Shelf};
use crate::export::{Export, Format};
use crate::retrieve::{Order, Query, Restriction};
use crate::time::now;

/// The most bytes of a reason.
const MAX_REASON_BYTES: usize = 2_000;

/// The formats with what they are.
pub(super) const FORMATS: [(Format, &str, &str); 9] = [
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

/// The name of a format.
pub(super) fn label(format: Format) -> &'static str {
    let label = FORMATS.iter().find(|(other, ..)| *other == format).map_or("", |(_, _, label)| label);
    label.split_once(':').map_or(label, |(name, _)| name)
}

/// What an export of this viewer is bounded by.
pub(super) fn within(viewer: &Viewer) -> Result<Option<Restriction>, Trouble> {
    let reach = viewer.reach(Permission::Export)?;
    Ok((*reach != Reach::Everything).then(|| restriction(reach)))
}

/// What is wrong with what was asked for; `mistakes` were found before.
fn check(params: &Params, read: Result<find::Asked, Vec<String>>, mut mistakes: Vec<String>) -> Result<Asked, Trouble> {
    let query = read.map(|asked| asked.query).map_err(|more| mistakes.extend(more));
    let wanted = params.get("format").unwrap_or("jsonl");
    let format = FORMATS.iter().find(|(_, word, _)| *word == wanted).map(|(format, ..)| *format);
    if format.is_none() {
        mistakes.push(format!("There is no format “{wanted}”."));
    }
    let reason = params.get("reason").filter(|reason| reason.len() <= MAX_REASON_BYTES).map(str::to_owned);
    if reason.is_none() {
        mistakes.push(format!("An export needs a reason of up to {MAX_REASON_BYTES} bytes, such as a case or a matter."));
    }
    match (query, format, reason) {
        (Ok(query), Some(format), Some(reason)) if mistakes.is_empty() => Ok(Asked { query, format, reason }),
        _ => Err(Trouble::Wrong(mistakes.join(" "))),
    }
}

/// What was asked for.
struct Asked {
    query: Query,
    format: Format,
    reason: String,
}

/// Has an export begun, for the page and for the API, which has found these mistakes before and takes the fields `beside` conditions. That it was
/// asked for is in the audit trail, under its number, before.
pub(super) async fn start(
    app: &App,
    viewer: &Viewer,
    params: &Params,
    clock: &Clock,
    beside: &[&str],
    mistakes: Vec<String>,
) -> Result<Job, Trouble> {
    let store = params.get("store").unwrap_or_else(|| app.first_store()).to_owned();
    let read = find::read(params, clock, beside);
    let target = find::target(&store, params, clock, read.as_ref().ok().map(|asked| &asked.query));
    app.access.require(viewer, Permission::Export, Action::Export, &target).await?;
    let asked = check(params, read, mistakes)?;
    if !app.store_names().any(|name| name == store) {
        return Err(Trouble::Missing(format!("There is no store “{store}”.")));
    }
    knows(app, &store, &asked.query).await?;
    let query = Query { after: None, by_relevance: false, order: Order::Ascending, ..asked.query };
    let export = Export {
        query,
        format: asked.format,
        zone: clock.name().to_owned(),
        reason: Some(asked.reason),
        with_xml: params.get("xml").is_some_and(|xml| xml != "false"),
        ..Export::new(&store, viewer.name())
    };
    export.check()?;
    let held = app.exports.on_shelf(Shelf::reserve).await?;
    let job = Job { number: held.number(), ..Job::new(export, target, within(viewer)?, now()) };
    let kept = keep(app, viewer, job, held).await;
    if let Ok(job) = &kept {
        app.exports.start(app, job.number);
    }
    kept
}

/// Writes it down; without a row in the audit trail there is none.
async fn keep(app: &App, viewer: &Viewer, job: Job, held: Held) -> Result<Job, Trouble> {
    if let Err(error) = app.access.record(viewer, asked_for(&job)).await {
        if let Err(error) = app.exports.on_shelf(move |shelf| shelf.remove(held)).await {
            log::warn!("the empty directory of export {} stays until the next start: {error}", job.number);
        }
        return Err(error.into());
    }
    let kept = job.clone();
    app.exports.on_shelf(move |shelf| shelf.save(&kept).map(|()| drop(held))).await?;
    Ok(job)
}

/// The row of the audit trail.
fn asked_for(job: &Job) -> Event {
    let mut target = job.asked.clone();
    if let Some(target) = target.as_object_mut() {
        target.insert("export".to_owned(), job.number.into());
        target.insert("format".to_owned(), word(job.export.format).into());
        target.extend(job.export.with_xml.then(|| ("xml".to_owned(), Value::Bool(true))));
    }
    Event::new(Action::Export, target).because(job.export.reason.clone())
}
