//! The intervals in which messages may have been missed, and what became of each.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde_json::json;

use super::app::App;
use super::caller::{Caller, Posted};
use super::clock::Shown;
use super::frame::{Frame, Place, page};
use super::params::link;
use super::search::{links, store};
use super::trouble::{Trouble, see_other};
use crate::access::{Action, Event, Permission, Viewer};
use crate::gap::State;
use crate::store::gaps::{self, Change, Filter, Gap};

/// Gaps of a page.
const PAGE: usize = 100;
/// The most bytes of a note.
const MAX_NOTE_BYTES: usize = 2_000;

struct Entry {
    id: i64,
    node: String,
    from: Shown,
    to: Option<Shown>,
    reason: &'static str,
    advice: &'static str,
    state: &'static str,
    is_open: bool,
    lost: String,
    found: i64,
    known: i64,
    note: String,
    changed_by: String,
    changed: Shown,
}

#[derive(Template)]
#[template(path = "gaps.html")]
struct GapsPage {
    frame: Frame,
    store: String,
    shows_all: bool,
    gaps: Vec<Entry>,
    next: Option<String>,
    may_close: bool,
    toggle: String,
}

/// `GET /gaps`.
pub(super) async fn list(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    let store = store(caller);
    caller.require(Permission::ViewGaps, Action::ViewGaps, json!({ "store": store })).await?;
    let shows_all = caller.params.get("state") == Some("all");
    let after: i64 = caller.params.get("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let open = State::ALL.into_iter().filter(|state| state.is_open()).collect();
    let filter = Filter { states: if shows_all { Vec::new() } else { open }, ..Filter::default() };
    let mut found = caller.app.with_store(&store, async move |mut connection| gaps::list(&mut connection, &filter, after).await).await?;
    let has_more = found.len() > PAGE;
    found.truncate(PAGE);
    let links = links(caller, &store);
    let state = if shows_all { "all" } else { "" };
    let next = found.last().filter(|_| has_more).map(|last| {
        let after = last.id.to_string();
        link("/gaps", &[("store", &links.store), ("state", state), ("after", &after)])
    });
    page(&GapsPage {
        frame: caller.frame(Place::Gaps, "Gaps"),
        store: store.clone(),
        shows_all,
        gaps: found.into_iter().map(|gap| entry(caller, gap)).collect(),
        next,
        may_close: caller.viewer().may(Permission::CloseGap),
        toggle: link("/gaps", &[("store", &links.store), ("state", if shows_all { "" } else { "all" })]),
    })
}

fn entry(caller: &Caller, gap: Gap) -> Entry {
    Entry {
        id: gap.id,
        node: gap.node.unwrap_or_else(|| "unknown".to_owned()),
        from: caller.clock.full(gap.from),
        to: gap.to.map(|to| caller.clock.full(to)),
        reason: gap.reason.map_or("not known to this version", |reason| reason.text()),
        advice: gap.reason.map_or("", |reason| reason.advice()),
        state: gap.state.map_or("not known to this version", |state| state.word()),
        is_open: gap.state.is_some_and(State::is_open),
        lost: gap.lost.map_or_else(|| "not known".to_owned(), |lost| lost.to_string()),
        found: gap.found,
        known: gap.known,
        note: gap.note.unwrap_or_default(),
        changed_by: gap.changed_by.unwrap_or_default(),
        changed: caller.clock.full(gap.changed_at),
    }
}

/// `POST /gaps/{id}/close`.
pub(super) async fn close(Path(id): Path<String>, posted: Posted) -> Response {
    let result = make_closed(&posted, &id).await;
    posted.caller.answer(result)
}

async fn make_closed(posted: &Posted, id: &str) -> Result<Response, Trouble> {
    let Posted { caller, form } = posted;
    let store = form.get("store").unwrap_or_else(|| caller.app.first_store());
    close_by_hand(&caller.app, caller.viewer(), store, id, form.get("note")).await?;
    let links = links(caller, store);
    Ok(see_other(&link("/gaps", &[("store", &links.store), ("done", "gap")])))
}

/// Closes a gap for somebody who says why, and tells its number.
pub(super) async fn close_by_hand(app: &App, viewer: &Viewer, store: &str, id: &str, note: Option<&str>) -> Result<i64, Trouble> {
    let target = json!({ "store": store, "gap": id });
    app.access.require(viewer, Permission::CloseGap, Action::CloseGap, &target).await?;
    let Some(note) = note.filter(|note| note.len() <= MAX_NOTE_BYTES).map(str::to_owned) else {
        return Err(Trouble::Wrong(format!("A gap is closed with a note of up to {MAX_NOTE_BYTES} bytes that says why.")));
    };
    let missing = || Trouble::Missing("There is no such gap.".to_owned());
    let number: i64 = id.parse().map_err(|_no_number| missing())?;
    let gap = app.with_store(store, async move |mut connection| gaps::get(&mut connection, number).await).await?.ok_or_else(missing)?;
    if !gap.state.is_some_and(State::is_open) {
        // Whoever closed it first is named in it, and said why.
        return Err(Trouble::Wrong(format!("Gap {number} is not open any more.")));
    }
    // The row comes first: a change that can't be told is not made.
    app.access.record(viewer, Event::new(Action::CloseGap, target).because(Some(note.clone()))).await?;
    let change = Change { state: State::Closed, found: 0, known: 0, by: viewer.name().to_owned(), note: Some(note) };
    app.with_store(store, async move |mut connection| gaps::change(&mut connection, number, &change).await).await?;
    Ok(number)
}
