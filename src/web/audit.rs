//! The audit trail, for those who may read it.

use std::io;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::caller::Caller;
use super::clock::Shown;
use super::export_run::Parts;
use super::frame::{Frame, Place, page};
use super::params::Params;
use super::text;
use super::trouble::Trouble;
use crate::access::audit::MAX_AUDIT_PAGE;
use crate::access::{Action, AuditFilter, AuditRow, Event, Outcome, Permission};
use crate::cli::audit::{COLUMNS as CSV_COLUMNS, as_csv};

/// Rows of a page.
pub(super) const PAGE: u32 = 100;
/// Parts of a file that wait for whoever fetches it.
const PARTS: usize = 2;
/// Characters of a target in the list; the rest is folded.
const TARGET_CHARS: usize = 160;

/// The fields of the form as people read them.
const LABELS: [(&str, &str); 8] = [
    ("actor", "Account"),
    ("text", "Text"),
    ("action", "Action"),
    ("outcome", "Outcome"),
    ("address", "Address"),
    ("from", "From"),
    ("to", "To"),
    ("order", "Order"),
];

struct Row {
    id: i64,
    at: Shown,
    actor: String,
    roles: String,
    way: String,
    address: String,
    action: String,
    target: String,
    /// All of it, where the list shows a part.
    whole: Option<String>,
    reason: String,
    outcome: &'static str,
    count: String,
}

struct Choice {
    word: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    rows: Vec<Row>,
    actor: String,
    text: String,
    address: String,
    is_oldest_first: bool,
    from: String,
    to: String,
    actions: Vec<Choice>,
    outcomes: Vec<Choice>,
    next: Option<String>,
    first: Option<String>,
    /// The same rows as a file.
    file: String,
    /// What was asked for, for paper, where forms are left out.
    asked: Vec<(String, String)>,
}

/// `GET /audit`.
pub(super) async fn list(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

/// The filter of the parameters.
pub(super) fn filter(params: &Params, clock: &super::clock::Clock) -> Result<AuditFilter, Trouble> {
    let action = |word: &str| Action::of_word(word).ok_or_else(|| Trouble::Wrong(format!("There is no action “{word}”.")));
    let outcome = |word: &str| {
        let found = [Outcome::Done, Outcome::Denied, Outcome::Failed].into_iter().find(|outcome| outcome.word() == word);
        found.ok_or_else(|| Trouble::Wrong(format!("There is no outcome “{word}”.")))
    };
    Ok(AuditFilter {
        from: clock.read("From", params.get("from"), false)?,
        to: clock.read("To", params.get("to"), true)?,
        actor: params.get("actor").map(str::to_owned),
        actions: params.all("action").map(action).collect::<Result<_, _>>()?,
        outcome: params.get("outcome").map(outcome).transpose()?,
        address: params.get("address").map(str::to_owned),
        text: params.get("text").map(str::to_owned),
        after: params
            .get("after")
            .map(str::parse)
            .transpose()
            .map_err(|_no_number| Trouble::Wrong("The place to go on is no number.".to_owned()))?,
        oldest_first: params.get("order") == Some("oldest"),
        limit: PAGE,
    })
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    caller.require(Permission::ViewAudit, Action::ViewAudit, Value::Null).await?;
    let params = &caller.params;
    let rows = caller.app.access.audit(caller.viewer(), &filter(params, &caller.clock)?).await?;
    let is_full = rows.len() >= PAGE as usize;
    let more = |after: Option<i64>| {
        let after = after.map(|after| after.to_string());
        format!("/audit?{}", params.query(&["after", "done"], after.as_deref().map(|after| ("after", after))))
    };
    let chosen = |name: &str, word: &str| params.get(name) == Some(word);
    page(&AuditPage {
        frame: caller.frame(Place::Audit, "Audit trail"),
        next: rows.last().filter(|_| is_full).map(|last| more(Some(last.id))),
        first: params.get("after").map(|_| more(None)),
        rows: rows.into_iter().map(|found| row(caller, found)).collect(),
        actor: params.text("actor"),
        text: params.text("text"),
        address: params.text("address"),
        is_oldest_first: params.get("order") == Some("oldest"),
        file: format!("/audit/export?{}", params.query(&["after", "done", "order"], None)),
        asked: caller.asked(&LABELS),
        from: params.text("from"),
        to: params.text("to"),
        actions: Action::ALL.iter().map(|action| Choice { word: action.word(), is_chosen: chosen("action", action.word()) }).collect(),
        outcomes: ["done", "denied", "failed"].map(|word| Choice { word, is_chosen: chosen("outcome", word) }).into(),
    })
}

/// `GET /audit/export`: all rows that the filter finds, the oldest first, as CSV.
pub(super) async fn export(caller: Caller) -> Response {
    let result = make_file(&caller).await;
    caller.answer(result)
}

async fn make_file(caller: &Caller) -> Result<Response, Trouble> {
    let filter = filter(&caller.params, &caller.clock)?;
    let mut target = Map::new();
    target.extend(caller.params.pairs().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), Value::from(value))));
    let target = Value::Object(target);
    caller.require(Permission::ViewAudit, Action::ExportAudit, target.clone()).await?;
    caller.record(Event::new(Action::ExportAudit, target).because(caller.params.get("reason").map(str::to_owned))).await?;
    let (access, viewer) = (caller.app.access.clone(), caller.viewer().clone());
    // What is written while this goes on is not read any more: else it would never end, since reading writes rows itself.
    let to = Some(filter.to.unwrap_or(i64::MAX).min(access.now()));
    let mut filter = AuditFilter { to, oldest_first: true, after: None, limit: MAX_AUDIT_PAGE, ..filter };
    let (send, parts) = mpsc::channel(PARTS);
    tokio::spawn(async move {
        let mut part = Ok(Bytes::from(CSV_COLUMNS.join(",") + "\n"));
        while send.send(part).await.is_ok() {
            part = match access.audit(&viewer, &filter).await {
                Ok(rows) if rows.is_empty() => return,
                Ok(rows) => {
                    filter.after = rows.last().map(|row| row.id);
                    as_csv(&rows).map(Bytes::from).map_err(|error| io::Error::other(error.to_string()))
                }
                Err(error) => Err(io::Error::other(error.to_string())),
            };
        }
    });
    let name = "attachment; filename=\"audit.csv\"";
    Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, name)], Body::new(Parts(parts))).into_response())
}

fn row(caller: &Caller, row: AuditRow) -> Row {
    let target = told(&row.target);
    let is_long = target.chars().nth(TARGET_CHARS).is_some();
    let mut short: String = target.chars().take(TARGET_CHARS).collect();
    if is_long {
        short.push('…');
    }
    Row {
        id: row.id,
        at: caller.clock.full(row.at),
        actor: text::name(&row.actor),
        roles: row.roles.to_string(),
        way: row.way,
        address: row.address.unwrap_or_default(),
        action: row.action,
        target: short,
        whole: is_long.then_some(target),
        reason: text::name(row.reason.as_deref().unwrap_or_default()),
        outcome: row.outcome.map_or("not known to this version", Outcome::word),
        count: row.count.map(|count| count.to_string()).unwrap_or_default(),
    }
}

/// What it was about: names with values rather than JSON.
fn told(target: &Value) -> String {
    let shown = |value: &Value| match value {
        Value::String(said) => text::name(said),
        other => text::name(&other.to_string()),
    };
    match target {
        Value::Null => String::new(),
        Value::Object(parts) => {
            parts.iter().map(|(name, value)| format!("{}: {}", text::name(name), shown(value))).collect::<Vec<_>>().join("; ")
        }
        other => shown(other),
    }
}
