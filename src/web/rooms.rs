//! Rooms, and who was in them when.

use askama::Template;
use axum::response::Response;
use serde_json::json;

use super::caller::Caller;
use super::clock::Shown;
use super::desk::Desk;
use super::frame::{Frame, Place, page};
use super::message::{Occupant, occupant};
use super::params::{Params, link};
use super::search::{links, store};
use super::text;
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::message::address::Address;
use crate::retrieve::{Cursor, CursorError, Occupancy, Room, StayQuery};

/// Rooms of a page.
const PAGE: usize = 100;
/// Stays of a page.
const STAYS: usize = 100;
/// What a link to a room says itself, and what a page of its own has no use for.
const OF_LINK: [&str; 5] = ["store", "name", "reason", "after", "done"];

/// A room of the list.
struct Entry {
    name: String,
    kind: &'static str,
    first_seen: Option<Shown>,
    /// How many are in it now; none where that is beyond what may be seen.
    now: Option<String>,
    conversation: String,
    stays: String,
}

#[derive(Template)]
#[template(path = "rooms.html")]
struct RoomsPage {
    frame: Frame,
    store: String,
    reason: String,
    part: String,
    rooms: Vec<Entry>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "room.html")]
struct RoomPage {
    frame: Frame,
    name: String,
    jid: String,
    store: String,
    reason: String,
    from: String,
    to: String,
    occupants: Vec<Occupant>,
    /// Whether there may have been others, beyond what may be seen.
    is_partial: bool,
    next: Option<String>,
    conversation: String,
    /// What was asked for, for paper, where forms are left out.
    asked: Vec<(String, String)>,
}

/// What kind of a room it is, for people.
pub(super) fn kind(number: Option<i16>) -> &'static str {
    match number {
        Some(1) => "persistent",
        Some(2) => "ad hoc",
        _ => "not known",
    }
}

/// How many are in a room, for people.
fn now(occupancy: &Occupancy) -> String {
    match occupancy.is_exact {
        true => occupancy.occupants.to_string(),
        false => format!("at least {}", occupancy.occupants),
    }
}

/// `GET /rooms`.
pub(super) async fn list(caller: Caller) -> Response {
    let result = make_list(&caller).await;
    caller.answer(result)
}

async fn make_list(caller: &Caller) -> Result<Response, Trouble> {
    let store = store(caller);
    let part = caller.params.text("part");
    let target = json!({ "store": store, "rooms": if part.is_empty() { "all" } else { part.as_str() } });
    caller.require(Permission::ViewContent, Action::ViewRoom, target.clone()).await?;
    let reason = caller.reason()?;
    let desk = Desk::open(&caller.app, caller.viewer(), &store).await?;
    let found = desk.rooms(&part, caller.params.exact("after"), PAGE).await?;
    let occupancies = desk.occupancies(&found.rooms).await?;
    caller.record(Event::new(Action::ViewRoom, target).because(reason).of(found.rooms.len() as u64)).await?;
    let links = links(caller, &store);
    let entry = |room: &Room| Entry {
        name: text::jid(&room.name),
        kind: kind(room.kind),
        first_seen: room.first_seen_at.map(|at| caller.clock.full(at)),
        now: occupancies.get(&room.name).map(now),
        conversation: links.conversation(&room.name, None),
        stays: links.room(&room.name),
    };
    page(&RoomsPage {
        frame: caller.frame(Place::Rooms, "Rooms"),
        rooms: found.rooms.iter().map(entry).collect(),
        store: links.store.clone(),
        reason: links.reason.clone(),
        part: part.clone(),
        next: found
            .next
            .map(|next| link("/rooms", &[("store", &links.store), ("part", &part), ("after", &next), ("reason", &links.reason)])),
    })
}

/// Where the page before of stays ended.
pub(super) fn after(params: &Params) -> Result<Option<Cursor>, Trouble> {
    let wrong = |error: CursorError| Trouble::Wrong(format!("The place to go on {error}."));
    params.get("after").map(|after| after.parse().map_err(wrong)).transpose()
}

/// `GET /room`.
pub(super) async fn show(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    let (store, jid) = (store(caller), Address::parse(&caller.params.text("name")).bare);
    let target = json!({ "store": store, "room": jid });
    caller.require(Permission::ViewContent, Action::ViewRoom, target.clone()).await?;
    let reason = caller.reason()?;
    let desk = Desk::open(&caller.app, caller.viewer(), &store).await?;
    if jid.is_empty() || jid.contains(' ') || !desk.sees_conversation(&jid).await? {
        return Err(caller.missing(Action::ViewRoom, target, "There is no such room.").await);
    }
    let from = caller.clock.read("From", caller.params.get("from"), false)?;
    let to = caller.clock.read("To", caller.params.get("to"), true)?;
    let page_of_stays = desk.stays(&jid, &StayQuery { from, before: to, after: after(&caller.params)?, limit: STAYS }).await?;
    caller.record(Event::new(Action::ViewRoom, target).because(reason).of(page_of_stays.stays.len() as u64)).await?;
    let links = links(caller, &store);
    let name = text::jid(&jid);
    let next = page_of_stays.next.map(|next| links.room(&jid) + "&" + &caller.params.query(&OF_LINK, Some(("after", &next.to_string()))));
    page(&RoomPage {
        frame: caller.frame(Place::Rooms, format!("Who was in {name}")),
        conversation: links.conversation(&jid, None),
        reason: links.reason,
        store: links.store,
        from: caller.params.text("from"),
        to: caller.params.text("to"),
        asked: caller.asked(&[("from", "From"), ("to", "To"), ("reason", "Reason")]),
        next,
        is_partial: !desk.sees_all_stays(&jid),
        occupants: page_of_stays.stays.iter().map(|stay| occupant(caller, stay)).collect(),
        name,
        jid,
    })
}
