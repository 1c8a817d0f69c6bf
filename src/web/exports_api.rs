//! The calls for exports.

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::api::{answer, time};
use super::caller::Bearer;
use super::clock::Clock;
use super::export_ask::{start, word};
use super::exports::{MISSING, fetch, note_look, one, seen, stage};
use super::find;
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::export::job::{Job, Shelf};
use crate::time::rfc3339;

/// What can be given beside the conditions.
const OWN_FIELDS: [&str; 5] = ["store", "format", "xml", "zone", "reason"];

/// `GET /exports`.
pub(super) async fn list(bearer: Bearer) -> Response {
    answer(all(&bearer).await)
}

async fn all(bearer: &Bearer) -> Result<Value, Trouble> {
    let target = json!({ "exports": "all" });
    bearer.require(Permission::Export, Action::ViewExport, &target).await?;
    find::only(&bearer.params, &[])?;
    let jobs = seen(&bearer.viewer, bearer.app.exports.on_shelf(Shelf::list).await?)?;
    bearer.record(Event::new(Action::ViewExport, target).of(jobs.len() as u64)).await?;
    Ok(json!({ "exports": jobs.iter().map(|job| value(bearer, job)).collect::<Vec<_>>() }))
}

/// `POST /exports`: the fields of a search, and `format`, `reason`, `xml`, as a form or in the address.
pub(super) async fn begin(bearer: Bearer, body: Bytes) -> Response {
    let params = match bearer.fields(&body) {
        Ok(params) => params,
        Err(trouble) => return trouble.json(),
    };
    let mut mistakes = Vec::new();
    let clock = params.get("zone").map_or_else(|| Some(Clock::default()), Clock::of).unwrap_or_else(|| {
        mistakes.push(format!("There is no time zone “{}”.", params.text("zone")));
        Clock::default()
    });
    if params.get("xml").is_some_and(|xml| xml != "true" && xml != "false") {
        mistakes.push("“xml” is true or false.".to_owned());
    }
    match start(&bearer.app, &bearer.viewer, &params, &clock, &OWN_FIELDS, mistakes).await {
        Ok(job) => (StatusCode::CREATED, answer(Ok(json!({ "export": value(&bearer, &job) })))).into_response(),
        Err(trouble) => trouble.json(),
    }
}

/// `GET /exports/{id}`.
pub(super) async fn show(bearer: Bearer, Path(id): Path<String>) -> Response {
    answer(shown(&bearer, &id).await)
}

async fn shown(bearer: &Bearer, id: &str) -> Result<Value, Trouble> {
    let target = json!({ "export": id });
    bearer.require(Permission::Export, Action::ViewExport, &target).await?;
    find::only(&bearer.params, &[])?;
    let Some(job) = one(&bearer.app, &bearer.viewer, id).await? else {
        return Err(bearer.missing(Action::ViewExport, target, MISSING).await);
    };
    note_look(&bearer.app, &bearer.viewer, &job).await?;
    Ok(json!({ "export": value(bearer, &job) }))
}

/// `GET /exports/{id}/download`.
pub(super) async fn download(bearer: Bearer, Path(id): Path<String>) -> Response {
    match find::only(&bearer.params, &[]) {
        Ok(()) => fetch(&bearer.app, &bearer.viewer, &id).await.unwrap_or_else(Trouble::json),
        Err(trouble) => trouble.json(),
    }
}

fn value(bearer: &Bearer, job: &Job) -> Value {
    let progress = bearer.app.exports.task(job.number).and_then(|task| task.progress());
    json!({
        "id": job.number, "store": job.export.store, "format": word(job.export.format), "xml": job.export.with_xml,
        "state": job.state.word(), "said": job.said, "by": job.export.by, "reason": job.export.reason, "time_zone": job.export.zone,
        "asked_at": rfc3339(job.asked_at), "ended_at": time(job.ended_at), "messages": job.messages, "files": job.files,
        "sums_sha256": job.sums_sha256, "kept_until": time(job.kept_until(bearer.app.config.web.keep_exports_days)),
        "progress": progress.map(|progress| {
            json!({ "stage": stage(progress.stage), "messages": progress.messages, "total": progress.total })
        }),
        "query": job.asked,
    })
}
