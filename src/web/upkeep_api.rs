//! The calls for whoever keeps the archive whole: gaps, and what the database refused.

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::api::{answer, time};
use super::caller::Bearer;
use super::find;
use super::gaps::close_by_hand;
use super::quarantine::{MISSING, reads, reason};
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::gap::State;
use crate::store::gaps::{self, Filter, Gap};
use crate::store::quarantine::{self, Entry};
use crate::time::rfc3339;

/// The number after which a list goes on.
fn after(bearer: &Bearer) -> Result<i64, Trouble> {
    let wrong = |_no_number| Trouble::Wrong("The place to go on is no number.".to_owned());
    bearer.params.get("after").map_or(Ok(0), |after| after.parse().map_err(wrong))
}

/// `GET /gaps`.
pub(super) async fn gaps(bearer: Bearer) -> Response {
    answer(list_gaps(&bearer).await)
}

async fn list_gaps(bearer: &Bearer) -> Result<Value, Trouble> {
    bearer.require(Permission::ViewGaps, Action::ViewGaps, &json!({ "store": bearer.store() })).await?;
    find::only(&bearer.params, &["store", "state", "after"])?;
    let (store, after) = (bearer.store(), after(bearer)?);
    let states = match bearer.params.get("state") {
        None | Some("all") => Vec::new(),
        Some("open") => State::ALL.into_iter().filter(|state| state.is_open()).collect(),
        Some(other) => return Err(Trouble::Wrong(format!("There is no state “{other}”: open or all."))),
    };
    let filter = Filter { states, ..Filter::default() };
    let found = bearer.app.with_store(&store, async move |mut connection| gaps::list(&mut connection, &filter, after).await).await?;
    let next = (found.len() >= usize::try_from(gaps::PAGE_GAPS).unwrap_or(usize::MAX))
        .then(|| found.last().map(|gap| gap.id.to_string()))
        .flatten();
    Ok(json!({ "gaps": found.iter().map(gap).collect::<Vec<_>>(), "next": next }))
}

fn gap(gap: &Gap) -> Value {
    json!({
        "id": gap.id, "node": gap.node, "from": rfc3339(gap.from), "to": time(gap.to),
        "reason": gap.reason.map(|reason| reason.word()), "state": gap.state.map(|state| state.word()),
        "lost": gap.lost, "found": gap.found, "known": gap.known, "note": gap.note,
        "changed_by": gap.changed_by, "changed_at": rfc3339(gap.changed_at),
    })
}

/// `POST /gaps/{id}/close`.
pub(super) async fn close_gap(bearer: Bearer, Path(id): Path<String>, body: Bytes) -> Response {
    answer(make_closed(&bearer, &id, &body).await)
}

async fn make_closed(bearer: &Bearer, id: &str, body: &Bytes) -> Result<Value, Trouble> {
    let fields = bearer.fields(body);
    let named = fields.as_ref().ok().and_then(|fields| fields.get("store"));
    let store = named.unwrap_or_else(|| bearer.app.first_store()).to_owned();
    // Who may not is told so, and the audit trail as well, whatever else is wrong.
    bearer.require(Permission::CloseGap, Action::CloseGap, &json!({ "store": store, "gap": id })).await?;
    let fields = fields?;
    find::only(&fields, &["store", "note"])?;
    let number = close_by_hand(&bearer.app, &bearer.viewer, &store, id, fields.get("note")).await?;
    let closed = bearer.app.with_store(&store, async move |mut connection| gaps::get(&mut connection, number).await).await?;
    Ok(json!({ "gap": closed.as_ref().map(gap) }))
}

/// `GET /quarantine`.
pub(super) async fn quarantine(bearer: Bearer) -> Response {
    answer(list_quarantine(&bearer).await)
}

async fn list_quarantine(bearer: &Bearer) -> Result<Value, Trouble> {
    let (store, after) = (bearer.store(), after(bearer)?);
    let target = json!({ "store": store });
    bearer.require(Permission::SeeQuarantineCounts, Action::ViewQuarantine, &target).await?;
    find::only(&bearer.params, &["store", "after"])?;
    let found = bearer.app.with_store(&store, async move |mut connection| quarantine::list(&mut connection, after).await).await?;
    bearer.record(Event::new(Action::ViewQuarantine, target).of(found.len() as u64)).await?;
    let next = (found.len() >= usize::try_from(quarantine::PAGE_ENTRIES).unwrap_or(usize::MAX))
        .then(|| found.last().map(|entry| entry.id.to_string()))
        .flatten();
    let records: Vec<Map<String, Value>> = found.iter().map(|entry| head(bearer, entry)).collect();
    Ok(json!({ "records": records, "next": next }))
}

/// What everybody may see who sees what is in quarantine.
fn head(bearer: &Bearer, entry: &Entry) -> Map<String, Value> {
    Map::from_iter([
        ("id".to_owned(), entry.id.into()),
        ("node".to_owned(), entry.node.clone().into()),
        ("received_at".to_owned(), rfc3339(entry.received_at).into()),
        ("reason".to_owned(), reason(&bearer.viewer, &entry.reason).into()),
        ("bytes".to_owned(), entry.record_bytes.into()),
    ])
}

/// `GET /quarantine/{id}`.
pub(super) async fn record(bearer: Bearer, Path(id): Path<String>) -> Response {
    answer(one_record(&bearer, &id).await)
}

async fn one_record(bearer: &Bearer, id: &str) -> Result<Value, Trouble> {
    let store = bearer.store();
    let may_read = reads(&bearer.viewer);
    let target = match may_read {
        true => json!({ "store": store, "record": id }),
        false => json!({ "store": store, "record": id, "content": false }),
    };
    bearer.require(Permission::SeeQuarantineCounts, Action::ViewQuarantine, &target).await?;
    find::only(&bearer.params, &["store", "reason"])?;
    let why = if may_read { bearer.reason()? } else { bearer.params.get("reason").map(str::to_owned) };
    let found = match id.parse::<i64>() {
        Ok(number) => bearer.app.with_store(&store, async move |mut connection| quarantine::get(&mut connection, number).await).await?,
        Err(_no_number) => None,
    };
    let Some((entry, bytes)) = found else { return Err(bearer.missing(Action::ViewQuarantine, target, MISSING).await) };
    bearer.record(Event::new(Action::ViewQuarantine, target).because(why).of(1)).await?;
    let mut shown = head(bearer, &entry);
    let (text, base64) = match String::from_utf8(bytes) {
        _ if !may_read => (None, None),
        Ok(text) => (Some(text), None),
        Err(no_text) => (None, Some(STANDARD.encode(no_text.as_bytes()))),
    };
    shown.insert("text".to_owned(), text.into());
    shown.insert("base64".to_owned(), base64.into());
    Ok(json!({ "record": shown }))
}
