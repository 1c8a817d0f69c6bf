//! A conversation as a person expects a chat, page by page, opened at its end, at a day, or at a message.

use askama::Template;
use axum::response::Response;
use serde_json::json;

use super::caller::Caller;
use super::desk::Desk;
use super::find::Hits;
use super::frame::{Frame, Place, page};
use super::search::{links, store};
use super::text;
use super::thread::{Line, Links, Loom};
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::retrieve::{Cursor, Found, Order, Query};

/// Messages of a page.
const PAGE: usize = 100;
/// Messages before and after the one at which a page is opened.
const AROUND: usize = 40;

/// A part of a conversation, in the order of time.
struct Part {
    messages: Vec<Found>,
    /// Where what was said before ends, if there is any.
    before: Option<Cursor>,
    /// Where what was said after begins, if there is any.
    after: Option<Cursor>,
}

#[derive(Template)]
#[template(path = "conversation.html")]
struct ConversationPage {
    frame: Frame,
    name: String,
    links: Links,
    room: Option<String>,
    date: String,
    lines: Vec<Line>,
    older: Option<String>,
    newer: Option<String>,
    newest: Option<String>,
}

/// `GET /conversation`.
pub(super) async fn show(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    let (store, name) = (store(caller), caller.params.text("name"));
    let target = json!({ "store": store, "conversation": name });
    caller.require(Permission::ViewContent, Action::ViewConversation, target.clone()).await?;
    let reason = caller.reason()?;
    let desk = Desk::open(&caller.app, caller.viewer(), &store).await?;
    if !desk.sees_conversation(&name).await? {
        return Err(caller.missing(Action::ViewConversation, target, "There is no such conversation.").await);
    }
    let sought = caller.params.get("at").and_then(|id| id.parse().ok());
    let part = match part(caller, &desk, &name, sought).await? {
        Some(part) => part,
        None => return Err(caller.missing(Action::ViewConversation, target, "There is no such message in this conversation.").await),
    };
    let amendments = desk.amendments(&name, &part.messages).await?;
    let ends = (part.messages.first(), part.messages.last());
    let shown =
        json!({ "store": store, "conversation": name, "first": ends.0.map(|found| found.id), "last": ends.1.map(|found| found.id) });
    caller.record(Event::new(Action::ViewConversation, shown).because(reason).of((part.messages.len() + amendments.len()) as u64)).await?;
    let links = links(caller, &store);
    let hits = Hits::of(&caller.params);
    let loom = Loom { clock: &caller.clock, links: &links, hits: &hits, sought };
    page(&ConversationPage {
        frame: caller.frame(Place::Search, text::conversation(&name)),
        lines: loom.lines(&part.messages, &amendments),
        room: ends.0.is_some_and(|found| found.in_room).then(|| links.room(&name)),
        date: caller.params.text("date"),
        older: part.before.map(|cursor| beside(&links, &name, "before", cursor)),
        newer: part.after.map(|cursor| beside(&links, &name, "after", cursor)),
        newest: part.after.map(|_| links.conversation(&name, None)),
        links,
        name,
    })
}

fn beside(links: &Links, name: &str, way: &str, cursor: Cursor) -> String {
    links.marking("/conversation", &[("name", name), (way, &cursor.to_string())])
}

/// The part that is asked for; none if it is one around a message that is not there.
async fn part(caller: &Caller, desk: &Desk, name: &str, sought: Option<i64>) -> Result<Option<Part>, Trouble> {
    let cursor = |way: &str| -> Result<Option<Cursor>, Trouble> {
        caller.params.get(way).map(str::parse).transpose().map_err(|error| Trouble::Wrong(format!("The place to go on {error}.")))
    };
    if let Some(id) = sought {
        return around(desk, name, id).await;
    }
    if let Some(after) = cursor("after")? {
        return Ok(Some(forward(desk, name, Some(after), None).await?));
    }
    if let Some(before) = cursor("before")? {
        return Ok(Some(backward(desk, name, Some(before), PAGE).await?));
    }
    match caller.clock.read("Day", caller.params.get("date"), false)? {
        Some(from) => Ok(Some(forward(desk, name, None, Some(from)).await?)),
        None => Ok(Some(backward(desk, name, None, PAGE).await?)),
    }
}

fn query(name: &str, after: Option<Cursor>, order: Order, limit: usize) -> Query {
    Query { conversation: Some(name.to_owned()), after, order, limit, ..Query::default() }
}

async fn forward(desk: &Desk, name: &str, after: Option<Cursor>, from: Option<i64>) -> Result<Part, Trouble> {
    let found = desk.search(&Query { from, ..query(name, after, Order::Ascending, PAGE) }).await?;
    let before = found.messages.first().map(Found::cursor).or(after);
    Ok(Part { before, after: found.next, messages: found.messages })
}

async fn backward(desk: &Desk, name: &str, before: Option<Cursor>, limit: usize) -> Result<Part, Trouble> {
    let mut found = desk.search(&query(name, before, Order::Descending, limit)).await?;
    found.messages.reverse();
    let after = before.and_then(|before| found.messages.last().map(Found::cursor).or(Some(before)));
    Ok(Part { before: found.next, after, messages: found.messages })
}

async fn around(desk: &Desk, name: &str, id: i64) -> Result<Option<Part>, Trouble> {
    let Some(message) = desk.message(id, false).await?.filter(|found| found.conversation == name) else { return Ok(None) };
    let at = message.cursor();
    let earlier = backward(desk, name, Some(at), AROUND).await?;
    let later = desk.search(&query(name, Some(at), Order::Ascending, AROUND)).await?;
    let messages = earlier.messages.into_iter().chain([message]).chain(later.messages).collect();
    Ok(Some(Part { messages, before: earlier.before, after: later.next }))
}
