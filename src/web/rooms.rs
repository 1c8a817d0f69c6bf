//! Rooms, and who was in them when.

use askama::Template;
use axum::response::Response;
use serde_json::json;

use super::caller::Caller;
use super::clock::Shown;
use super::desk::Desk;
use super::frame::{Frame, Place, page};
use super::message::{Occupant, occupant};
use super::params::link;
use super::search::{links, store};
use super::text;
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::message::address::Address;
use crate::retrieve::Room;

/// Rooms of a page.
const PAGE: usize = 100;

/// A room of the list.
struct Entry {
    name: String,
    kind: &'static str,
    first_seen: Option<Shown>,
    conversation: String,
    occupancy: String,
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
    is_cut: bool,
    conversation: String,
    /// What was asked for, for paper, where forms are left out.
    asked: Vec<(String, String)>,
}

/// What kind of a room it is, for people.
pub(super) fn kind(number: i16) -> &'static str {
    match number {
        1 => "persistent",
        2 => "ad hoc",
        _ => "not known",
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
    caller.record(Event::new(Action::ViewRoom, target).because(reason).of(found.rooms.len() as u64)).await?;
    let links = links(caller, &store);
    let entry = |room: &Room| Entry {
        name: text::jid(&room.name),
        kind: kind(room.kind),
        first_seen: room.first_seen_at.map(|at| caller.clock.full(at)),
        conversation: links.conversation(&room.name, None),
        occupancy: links.room(&room.name),
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
    let stays = desk.stays(&jid, from, to).await?;
    caller.record(Event::new(Action::ViewRoom, target).because(reason).of(stays.len() as u64)).await?;
    let links = links(caller, &store);
    let name = text::jid(&jid);
    page(&RoomPage {
        frame: caller.frame(Place::Rooms, format!("Who was in {name}")),
        conversation: links.conversation(&jid, None),
        reason: links.reason,
        store: links.store,
        from: caller.params.text("from"),
        to: caller.params.text("to"),
        asked: caller.asked(&[("from", "From"), ("to", "To"), ("reason", "Reason")]),
        is_cut: stays.len() >= crate::retrieve::MAX_STAYS,
        occupants: stays.iter().map(|stay| occupant(caller, stay)).collect(),
        name,
        jid,
    })
}
