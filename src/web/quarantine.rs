//! The records that the database refused: how many, since when and why; for whoever may, the records themselves.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde_json::json;

use super::caller::{Caller, Posted};
use super::clock::Shown;
use super::frame::{Frame, Place, page};
use super::params::link;
use super::search::{links, store};
use super::text;
use super::thread::bytes;
use super::trouble::{Trouble, see_other};
use crate::access::{Action, Event, Permission, Reach, Viewer};
use crate::pipeline::retry::Outcome;
use crate::run::retrying::Retrier;
use crate::store::quarantine::{self, Entry};

/// Records of a page.
const PAGE: usize = 100;
/// What is said where there is none, or none for this viewer.
pub(super) const MISSING: &str = "There is no such record in quarantine.";
/// Characters of a reason in the list.
const REASON_CHARS: usize = 300;

struct Shelf {
    id: i64,
    node: String,
    received: Shown,
    size: String,
    reason: String,
    href: Option<String>,
}

#[derive(Template)]
#[template(path = "quarantine.html")]
struct QuarantinePage {
    frame: Frame,
    records: Vec<Shelf>,
    next: Option<String>,
    store: String,
    may_read: bool,
    may_retry: bool,
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    record: Shelf,
    reason: String,
    text: String,
    is_text: bool,
}

/// `GET /quarantine`.
pub(super) async fn list(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    let store = store(caller);
    let target = json!({ "store": store });
    caller.require(Permission::SeeQuarantineCounts, Action::ViewQuarantine, target.clone()).await?;
    let after: i64 = caller.params.get("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let mut found = caller.app.with_store(&store, async move |mut connection| quarantine::list(&mut connection, after).await).await?;
    let has_more = found.len() > PAGE;
    found.truncate(PAGE);
    caller.record(Event::new(Action::ViewQuarantine, target).of(found.len() as u64)).await?;
    let links = links(caller, &store);
    let may_read = reads(caller.viewer());
    let next = found.last().filter(|_| has_more).map(|last| {
        let after = last.id.to_string();
        link("/quarantine", &[("store", &links.store), ("after", &after)])
    });
    page(&QuarantinePage {
        frame: caller.frame(Place::Quarantine, "Quarantine"),
        records: found.iter().map(|entry| shelf(caller, entry, may_read.then_some(links.store.as_str()))).collect(),
        next,
        store,
        may_read,
        may_retry: caller.viewer().may(Permission::RetryQuarantine),
    })
}

/// A record can be anybody's, so only who sees everything reads it.
pub(super) fn reads(viewer: &Viewer) -> bool {
    matches!(viewer.reach(Permission::SeeQuarantineContent), Ok(Reach::Everything))
}

fn shelf(caller: &Caller, entry: &Entry, store: Option<&str>) -> Shelf {
    let told = reason(caller.viewer(), &entry.reason);
    let mut reason: String = text::name(&told).chars().take(REASON_CHARS).collect();
    if reason.len() < told.len() {
        reason.push('…');
    }
    Shelf {
        id: entry.id,
        node: entry.node.clone().unwrap_or_else(|| "unknown".to_owned()),
        received: caller.clock.full(entry.received_at),
        size: bytes(u64::try_from(entry.record_bytes).unwrap_or(0)),
        reason,
        href: store.map(|store| link(&format!("/quarantine/{}", entry.id), &[("store", store)])),
    }
}

/// Why a record is there. Who sent it is for those who may read it: a reason may name them.
pub(super) fn reason(viewer: &Viewer, reason: &str) -> String {
    if reads(viewer) { reason.to_owned() } else { text::without_people(reason) }
}

/// `POST /quarantine/{id}/retry`: hands a record to the pipeline once more, without showing it.
pub(super) async fn retry(Path(id): Path<String>, posted: Posted) -> Response {
    let result = make_retried(&posted, &id).await;
    posted.caller.answer(result)
}

async fn make_retried(posted: &Posted, id: &str) -> Result<Response, Trouble> {
    let Posted { caller, form } = posted;
    let store = form.get("store").unwrap_or_else(|| caller.app.first_store()).to_owned();
    let target = json!({ "store": store, "record": id });
    caller.require(Permission::RetryQuarantine, Action::RetryQuarantine, target.clone()).await?;
    let missing = || Trouble::Missing(MISSING.to_owned());
    let number: i64 = id.parse().map_err(|_no_number| missing())?;
    // The row comes first: a change that can't be told is not made.
    caller.record(Event::new(Action::RetryQuarantine, target)).await?;
    let app = caller.app.clone();
    let outcome =
        caller.app.with_store(&store, async move |connection| Retrier::new(&app.config, connection).await?.retry(number).await).await?;
    let done = match outcome {
        Outcome::Stored => "quarantine-stored",
        Outcome::Kept(_why) => "quarantine-kept",
        Outcome::Missing => return Err(missing()),
    };
    Ok(see_other(&link("/quarantine", &[("store", &links(caller, &store).store), ("done", done)])))
}

/// `GET /quarantine/{id}`.
pub(super) async fn show(caller: Caller, Path(id): Path<String>) -> Response {
    let result = make_record(&caller, &id).await;
    caller.answer(result)
}

async fn make_record(caller: &Caller, id: &str) -> Result<Response, Trouble> {
    let store = store(caller);
    let target = json!({ "store": store, "record": id });
    caller.require(Permission::SeeQuarantineContent, Action::ViewQuarantine, target.clone()).await?;
    let reason = caller.reason()?;
    let number = match id.parse::<i64>() {
        Ok(number) if reads(caller.viewer()) => number,
        _ => return Err(caller.missing(Action::ViewQuarantine, target, MISSING).await),
    };
    let found = caller.app.with_store(&store, async move |mut connection| quarantine::get(&mut connection, number).await).await?;
    let Some((entry, record)) = found else { return Err(caller.missing(Action::ViewQuarantine, target, MISSING).await) };
    caller.record(Event::new(Action::ViewQuarantine, target).because(reason).of(1)).await?;
    let is_text = std::str::from_utf8(&record).is_ok();
    page(&RecordPage {
        frame: caller.frame(Place::Quarantine, format!("Record {} in quarantine", entry.id)),
        record: shelf(caller, &entry, None),
        reason: text::whole(&entry.reason),
        text: text::whole(&String::from_utf8_lossy(&record)),
        is_text,
    })
}
