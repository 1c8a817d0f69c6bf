//! The API: the same questions as the pages, answered with JSON, for programs with a token.
//!
//! It is described by `openapi.json`, which is served beside it and which the tests compare with every route and every answer.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::app::App;
use super::audit::filter;
use super::caller::Bearer;
use super::clock::Clock;
use super::desk::{Desk, knows};
use super::find;
use super::params::Params;
use super::rooms::{after, kind};
use super::routes::{Route, routed};
use super::search::note_total;
use super::trouble::Trouble;
use super::{exports_api, figures_api, groups_api, upkeep_api};
use crate::access::{Account, Action, AuditRow, Event, Outcome, Permission, Scope};
use crate::cli::render_json;
use crate::message::address::Address;
use crate::retrieve::{Change, Found, Occupancy, Room, Stay, StayQuery, names};
use crate::time::{Micros, rfc3339};

/// The description.
const DESCRIPTION: &str = include_str!("openapi.json");
/// Rooms of an answer.
const ROOMS: usize = 200;
/// Stays of an answer.
const STAYS: usize = 1_000;
/// What a search takes beside the conditions.
const BESIDE: [&str; 8] = ["store", "order", "after", "limit", "reason", "zone", "count", "context"];
/// The most messages that are shown before and after each that is found, and the most of a page that shows them.
const MAX_CONTEXT: usize = 20;
const MAX_WITH_CONTEXT: usize = 50;

/// Every call, with its address below `/api/v1`.
pub(super) fn calls() -> Vec<Route> {
    vec![
        Route::get("/openapi.json", description),
        Route::get("/me", me),
        Route::get("/messages", messages),
        Route::get("/messages/{id}", message),
        Route::get("/rooms", rooms),
        Route::get("/stays", stays),
        Route::get("/exports", exports_api::list),
        Route::post("/exports", exports_api::begin),
        Route::get("/exports/{id}", exports_api::show),
        Route::get("/exports/{id}/download", exports_api::download),
        Route::get("/status", status),
        Route::get("/days", figures_api::days),
        Route::get("/busiest", figures_api::busiest),
        Route::get("/gaps", upkeep_api::gaps),
        Route::post("/gaps/{id}/close", upkeep_api::close_gap),
        Route::get("/quarantine", upkeep_api::quarantine),
        Route::get("/quarantine/{id}", upkeep_api::record),
        Route::get("/accounts", accounts),
        Route::get("/groups", groups_api::list),
        Route::get("/groups/{name}", groups_api::show),
        Route::put("/groups/{name}", groups_api::set),
        Route::delete("/groups/{name}", groups_api::remove),
        Route::get("/audit", audit),
    ]
}

/// The router of the calls.
pub(super) fn router() -> Router<App> {
    routed(calls()).fallback(nothing).method_not_allowed_fallback(other_method)
}

async fn nothing() -> Response {
    Trouble::Missing("There is no such call.".to_owned()).json()
}

async fn other_method() -> Response {
    // Which methods there are is told by the router, in the header `Allow`.
    let mut response = Trouble::Wrong("This call can’t be asked with that method.".to_owned()).json();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

async fn description() -> Response {
    ([(CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}

pub(super) fn answer(result: Result<Value, Trouble>) -> Response {
    match result {
        Ok(value) => ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response(),
        Err(trouble) => trouble.json(),
    }
}

impl Bearer {
    pub(super) fn store(&self) -> String {
        self.params.get("store").unwrap_or_else(|| self.app.first_store()).to_owned()
    }

    pub(super) async fn require(&self, permission: Permission, action: Action, target: &Value) -> Result<(), Trouble> {
        Ok(self.app.access.require(&self.viewer, permission, action, target).await?)
    }

    pub(super) async fn record(&self, event: Event) -> Result<(), Trouble> {
        self.app.access.record(&self.viewer, event).await?;
        Ok(())
    }

    pub(super) async fn missing(&self, action: Action, target: Value, said: &str) -> Trouble {
        match self.record(Event::new(action, target).ended(Outcome::Denied)).await {
            Ok(()) => Trouble::Missing(said.to_owned()),
            Err(trouble) => trouble,
        }
    }

    /// The fields of something that is changed: they stand in a form or in the address.
    pub(super) fn fields(&self, body: &Bytes) -> Result<Params, Trouble> {
        match (self.params.pairs().next().is_some(), body.is_empty()) {
            (true, false) => Err(Trouble::Wrong("Give the fields as a form or in the address, not both.".to_owned())),
            (_, true) => Ok(self.params.clone()),
            (false, false) => Ok(Params::parse(body)),
        }
    }

    /// The zone in which times are read that have none.
    pub(super) fn clock(&self) -> Result<Clock, Trouble> {
        match self.params.get("zone") {
            None => Ok(Clock::default()),
            Some(zone) => Clock::of(zone).ok_or_else(|| Trouble::Wrong(format!("There is no time zone “{}”.", super::text::name(zone)))),
        }
    }

    /// A parameter that is true or false.
    fn is_true(&self, name: &str) -> Result<bool, Trouble> {
        match self.params.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Trouble::Wrong(format!("“{name}” is true or false."))),
        }
    }

    /// Why a program wants to read what people wrote.
    pub(super) fn reason(&self) -> Result<Option<String>, Trouble> {
        match self.params.get("reason") {
            None if self.app.config.web.require_reason => Err(Trouble::ReasonWanted { path: String::new(), fields: Vec::new() }),
            reason => Ok(reason.map(str::to_owned)),
        }
    }
}

async fn me(bearer: Bearer) -> Response {
    answer(own(&bearer))
}

fn own(bearer: &Bearer) -> Result<Value, Trouble> {
    find::only(&bearer.params, &[])?;
    let viewer = &bearer.viewer;
    let may = Permission::ALL.into_iter().filter(|permission| viewer.may(*permission)).map(Permission::word);
    let roles: Vec<&str> = viewer.roles().iter().map(|role| role.word()).collect();
    let stores: Vec<&str> = bearer.app.store_names().collect();
    Ok(json!({ "name": viewer.name(), "roles": roles, "may": may.collect::<Vec<_>>(), "stores": stores }))
}

async fn messages(bearer: Bearer) -> Response {
    answer(search(&bearer).await)
}

async fn search(bearer: &Bearer) -> Result<Value, Trouble> {
    let store = bearer.store();
    let clock = bearer.clock();
    let asked = find::asked(&bearer.params, clock.as_ref().unwrap_or(&Clock::default()), &BESIDE);
    let query = asked.as_ref().ok().map(|asked| &asked.query);
    let mut target = find::target(&store, &bearer.params, clock.as_ref().unwrap_or(&Clock::default()), query);
    bearer.require(Permission::ViewContent, Action::Search, &target).await?;
    clock?;
    let query = asked?.query;
    let around = around(bearer, query.limit)?;
    let is_counted = bearer.is_true("count")?;
    knows(&bearer.app, &store, &query).await?;
    let desk = Desk::open(&bearer.app, &bearer.viewer, &store).await?;
    let page = desk.search(&query).await?;
    let changes = desk.changes(&page.messages).await?;
    let mut answer = Map::from_iter([
        ("messages".to_owned(), values(&page.messages)?.into()),
        ("next".to_owned(), json!(page.next.map(|next| next.to_string()))),
        ("is_cut".to_owned(), page.is_cut.into()),
        ("changes".to_owned(), changes.iter().map(change).collect::<Vec<_>>().into()),
    ]);
    let mut shown = page.messages.len();
    if is_counted {
        let count = desk.count(&query).await?;
        note_total(&mut target, count);
        answer.insert("count".to_owned(), json!({ "messages": count.messages, "is_exact": count.is_exact }));
    }
    if let Some(around) = around {
        let mut contexts = Vec::new();
        for message in &page.messages {
            let Some(context) = desk.around(message, around).await? else { continue };
            shown += context.before.len() + context.after.len();
            contexts.push(json!({ "id": message.id, "before": values(&context.before)?, "after": values(&context.after)? }));
        }
        if let Some(target) = target.as_object_mut() {
            target.insert("context".to_owned(), around.into());
        }
        answer.insert("contexts".to_owned(), contexts.into());
    }
    bearer.record(Event::new(Action::Search, target).because(bearer.reason()?).of(shown as u64)).await?;
    Ok(Value::Object(answer))
}

/// How many messages around each are wanted.
fn around(bearer: &Bearer, limit: usize) -> Result<Option<usize>, Trouble> {
    let Some(typed) = bearer.params.get("context") else { return Ok(None) };
    match typed.parse() {
        Ok(around) if (1..=MAX_CONTEXT).contains(&around) && limit <= MAX_WITH_CONTEXT => Ok(Some(around)),
        Ok(around) if (1..=MAX_CONTEXT).contains(&around) => {
            Err(Trouble::Wrong(format!("With a context a page has at most {MAX_WITH_CONTEXT} messages.")))
        }
        _ => Err(Trouble::Wrong(format!("The context must be a number from 1 to {MAX_CONTEXT}."))),
    }
}

fn change(change: &Change) -> Value {
    json!({ "id": change.id, "refers_to": change.refers_to, "kind": names::kind(change.kind), "author_mismatch": !change.holds() })
}

fn values(messages: &[Found]) -> Result<Vec<Value>, Trouble> {
    messages.iter().map(value).collect()
}

fn value(found: &Found) -> Result<Value, Trouble> {
    render_json::value(found).map_err(|error| Trouble::Broken(error.to_string()))
}

async fn message(bearer: Bearer, Path(id): Path<String>) -> Response {
    answer(one_message(&bearer, &id).await)
}

async fn one_message(bearer: &Bearer, id: &str) -> Result<Value, Trouble> {
    find::only(&bearer.params, &["store", "xml", "reason"])?;
    let store = bearer.store();
    let with_xml = bearer.is_true("xml")?;
    let action = if with_xml { Action::ViewXml } else { Action::ViewMessage };
    let target = json!({ "store": store, "message": id });
    bearer.require(Permission::ViewContent, action, &target).await?;
    let desk = Desk::open(&bearer.app, &bearer.viewer, &store).await?;
    let found = match id.parse() {
        Ok(id) => desk.message(id, with_xml).await?,
        Err(_no_number) => None,
    };
    let Some(found) = found else { return Err(bearer.missing(action, target, "There is no such message.").await) };
    let amendments = desk.amendments(&found.conversation, std::slice::from_ref(&found)).await?;
    let receipts = desk.receipts(&found).await?;
    let occupants = desk.occupants(&found).await?;
    let shown = json!({
        "message": value(&found)?, "amendments": values(&amendments)?, "receipts": values(&receipts)?,
        "occupants": occupants.iter().map(stay).collect::<Vec<_>>(),
        "is_partial": found.room().is_some_and(|room| !desk.sees_all_stays(room)),
    });
    bearer.record(Event::new(action, target).because(bearer.reason()?).of(1)).await?;
    Ok(shown)
}

async fn rooms(bearer: Bearer) -> Response {
    answer(room_list(&bearer).await)
}

async fn room_list(bearer: &Bearer) -> Result<Value, Trouble> {
    let store = bearer.store();
    let part = bearer.params.text("part");
    let target = json!({ "store": store, "rooms": if part.is_empty() { "all" } else { part.as_str() } });
    bearer.require(Permission::ViewContent, Action::ViewRoom, &target).await?;
    find::only(&bearer.params, &["store", "part", "after", "reason"])?;
    let desk = Desk::open(&bearer.app, &bearer.viewer, &store).await?;
    let found = desk.rooms(&part, bearer.params.exact("after"), ROOMS).await?;
    let occupancies = desk.occupancies(&found.rooms).await?;
    bearer.record(Event::new(Action::ViewRoom, target).because(bearer.reason()?).of(found.rooms.len() as u64)).await?;
    let now = |now: &Occupancy| json!({ "occupants": now.occupants, "is_exact": now.is_exact });
    let room = |room: &Room| {
        let occupancy = occupancies.get(&room.name).map(now);
        json!({ "jid": room.name, "kind": kind(room.kind), "first_seen_at": time(room.first_seen_at), "now": occupancy })
    };
    Ok(json!({ "rooms": found.rooms.iter().map(room).collect::<Vec<_>>(), "next": found.next }))
}

async fn stays(bearer: Bearer) -> Response {
    answer(stay_list(&bearer).await)
}

async fn stay_list(bearer: &Bearer) -> Result<Value, Trouble> {
    find::only(&bearer.params, &["store", "room", "from", "to", "after", "zone", "reason"])?;
    let (store, room) = (bearer.store(), Address::parse(&bearer.params.text("room")).bare);
    let target = json!({ "store": store, "room": room });
    bearer.require(Permission::ViewContent, Action::ViewRoom, &target).await?;
    let desk = Desk::open(&bearer.app, &bearer.viewer, &store).await?;
    if room.is_empty() || room.contains(' ') || !desk.sees_conversation(&room).await? {
        return Err(bearer.missing(Action::ViewRoom, target, "There is no such room.").await);
    }
    let clock = bearer.clock()?;
    let from = clock.read("from", bearer.params.get("from"), false)?;
    let to = clock.read("to", bearer.params.get("to"), true)?;
    let found = desk.stays(&room, &StayQuery { from, before: to, after: after(&bearer.params)?, limit: STAYS }).await?;
    bearer.record(Event::new(Action::ViewRoom, target).because(bearer.reason()?).of(found.stays.len() as u64)).await?;
    let next = found.next.map(|next| next.to_string());
    let stays: Vec<Value> = found.stays.iter().map(stay).collect();
    Ok(json!({ "stays": stays, "is_partial": !desk.sees_all_stays(&room), "next": next }))
}

fn stay(stay: &Stay) -> Value {
    json!({
        "nick": stay.nick, "jid": stay.jid, "resource": stay.resource,
        "joined_at": rfc3339(stay.joined_at), "left_at": time(stay.left_at),
    })
}

pub(super) fn time(at: Option<Micros>) -> Option<String> {
    at.map(rfc3339)
}

async fn status(bearer: Bearer) -> Response {
    answer(look(&bearer).await)
}

async fn look(bearer: &Bearer) -> Result<Value, Trouble> {
    bearer.require(Permission::ViewHealth, Action::ViewOverview, &Value::Null).await?;
    find::only(&bearer.params, &[])?;
    let app = bearer.app.clone();
    let look = tokio::task::spawn_blocking(move || crate::cli::status::look(&app.config)).await;
    let (mut status, why_not) = look.map_err(|error| Trouble::Broken(format!("the status: {error}")))?;
    let part =
        |status: &mut Value, key: &str| status.get_mut(key).map(Value::take).filter(|value| !value.is_null()).unwrap_or_else(|| json!([]));
    let [nodes, stores, mut alarms] = ["nodes", "stores", "alarms"].map(|key| part(&mut status, key));
    if !super::overview::sees_everybody(&bearer.viewer) {
        super::overview::hide_people(&mut alarms);
    }
    bearer.record(Event::new(Action::ViewOverview, json!({ "conversations": false }))).await?;
    let word = |key: &str| status.get(key).and_then(Value::as_str);
    Ok(json!({
        "is_running": why_not.is_none(), "state": word("state"), "version": word("version"), "written": word("written"),
        "nodes": nodes, "stores": stores, "alarms": alarms,
    }))
}

async fn accounts(bearer: Bearer) -> Response {
    answer(list_accounts(&bearer).await)
}

async fn list_accounts(bearer: &Bearer) -> Result<Value, Trouble> {
    bearer.require(Permission::ManageAccounts, Action::AccountChange, &Value::Null).await?;
    find::only(&bearer.params, &[])?;
    let found = bearer.app.access.accounts(&bearer.viewer).await?;
    Ok(json!({ "accounts": found.iter().map(account).collect::<Vec<_>>() }))
}

fn account(account: &Account) -> Value {
    let roles: Vec<&str> = account.roles.iter().map(|role| role.word()).collect();
    json!({
        "name": account.name, "display_name": account.display_name, "roles": roles, "scope": account.scope.as_ref().map(scope),
        "has_password": account.has_password, "must_change": account.must_change, "has_totp": account.has_totp,
        "disabled": account.disabled, "locked_until": time(account.locked_until), "created_at": rfc3339(account.created_at),
        "changed_at": rfc3339(account.changed_at), "signed_in_at": time(account.signed_in_at),
    })
}

fn scope(scope: &Scope) -> Value {
    let list = |entries: &BTreeSet<String>| entries.iter().cloned().collect::<Vec<_>>();
    json!({
        "who": list(&scope.who), "groups": list(&scope.groups), "rooms": list(&scope.rooms), "from": time(scope.from), "to": time(scope.to),
    })
}

async fn audit(bearer: Bearer) -> Response {
    answer(list_audit(&bearer).await)
}

async fn list_audit(bearer: &Bearer) -> Result<Value, Trouble> {
    bearer.require(Permission::ViewAudit, Action::ViewAudit, &Value::Null).await?;
    find::only(&bearer.params, &["actor", "action", "outcome", "address", "text", "from", "to", "order", "after", "zone"])?;
    let filter = filter(&bearer.params, &bearer.clock()?)?;
    let found = bearer.app.access.audit(&bearer.viewer, &filter).await?;
    let next = (found.len() >= filter.limit as usize).then(|| found.last().map(|row| row.id.to_string())).flatten();
    Ok(json!({ "rows": found.iter().map(row).collect::<Vec<_>>(), "next": next }))
}

fn row(row: &AuditRow) -> Value {
    let roles: Vec<&str> = row.roles.iter().map(|role| role.word()).collect();
    json!({
        "id": row.id, "at": rfc3339(row.at), "actor": row.actor, "roles": roles, "way": row.way, "address": row.address,
        "action": row.action, "target": row.target, "reason": row.reason, "outcome": row.outcome.map(Outcome::word), "count": row.count,
    })
}
