//! One message with all that is known of it: its versions, who got it and when, who was in the room, its original XML.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde_json::json;

use super::caller::Caller;
use super::clock::Shown;
use super::desk::Desk;
use super::find::Hits;
use super::frame::{Frame, Place, page};
use super::search::{links, store};
use super::text;
use super::thread::{self, Line, Loom, Who};
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::retrieve::{Delivery, Found, Stay, names};

/// A copy of the message.
struct Copy {
    at: Shown,
    who: String,
    resource: String,
    direction: &'static str,
    source: &'static str,
    node: String,
    is_replay: bool,
    send_no: i16,
}

/// What somebody's program said of it.
struct Said {
    at: Shown,
    who: Who,
    what: String,
}

/// Somebody who was in the room.
pub(super) struct Occupant {
    pub(super) nick: String,
    pub(super) jid: String,
    pub(super) from: Shown,
    pub(super) to: Option<Shown>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    /// As it was written, with all that was done to it.
    line: Option<Line>,
    conversation: String,
    href: String,
    sent: Shown,
    received: Shown,
    facts: Vec<(&'static str, String)>,
    copies: Vec<Copy>,
    said: Vec<Said>,
    room: Option<String>,
    occupants: Vec<Occupant>,
    /// Whether there may have been others, beyond what may be seen.
    is_partial: bool,
    xml: Option<String>,
    xml_href: String,
    is_xml_asked: bool,
}

/// `GET /message/{id}`.
pub(super) async fn show(caller: Caller, Path(id): Path<String>) -> Response {
    let result = make(&caller, &id).await;
    caller.answer(result)
}

async fn make(caller: &Caller, id: &str) -> Result<Response, Trouble> {
    let store = store(caller);
    let is_xml_asked = caller.params.get("xml") == Some("1");
    let action = if is_xml_asked { Action::ViewXml } else { Action::ViewMessage };
    let target = json!({ "store": store, "message": id });
    caller.require(Permission::ViewContent, action, target.clone()).await?;
    let reason = caller.reason()?;
    let desk = Desk::open(&caller.app, caller.viewer(), &store).await?;
    let found = match id.parse() {
        Ok(id) => desk.message(id, is_xml_asked).await?,
        Err(_no_number) => None,
    };
    let Some(found) = found else { return Err(caller.missing(action, target, "There is no such message.").await) };
    let amendments = desk.amendments(&found.conversation, std::slice::from_ref(&found)).await?;
    let receipts = desk.receipts(&found).await?;
    let stays = desk.occupants(&found).await?;
    caller.record(Event::new(action, target).because(reason).of(1)).await?;
    let links = links(caller, &store);
    let hits = Hits::of(&caller.params);
    let loom = Loom { clock: &caller.clock, links: &links, hits: &hits, sought: None };
    page(&MessagePage {
        frame: caller.frame(Place::Search, format!("Message {}", found.id)),
        line: loom.lines(std::slice::from_ref(&found), &amendments).into_iter().next(),
        conversation: text::conversation(&found.conversation),
        href: links.conversation(&found.conversation, Some(found.id)),
        sent: caller.clock.exact(found.sent_at),
        received: caller.clock.exact(found.received_at),
        facts: facts(&found),
        copies: found.deliveries.iter().map(|delivery| copy(caller, delivery)).collect(),
        said: receipts.iter().map(|receipt| said(caller, receipt)).collect(),
        room: found.room().map(|room| links.room(room)),
        occupants: stays.iter().map(|stay| occupant(caller, stay)).collect(),
        is_partial: found.room().is_some_and(|room| !desk.sees_all_stays(room)),
        xml: found.xml().map(|xml| text::whole(&xml)),
        xml_href: links.marking(&format!("/message/{}", found.id), &[("xml", "1")]) + "#xml",
        is_xml_asked,
    })
}

fn copy(caller: &Caller, delivery: &Delivery) -> Copy {
    Copy {
        at: caller.clock.exact(delivery.at),
        who: delivery.recipient.as_deref().map(text::jid).unwrap_or_default(),
        resource: delivery.resource.as_deref().map(text::name).unwrap_or_default(),
        direction: names::delivery_direction(delivery.direction),
        source: where_seen(names::source(delivery.source)),
        node: delivery.node.as_deref().map(text::name).unwrap_or_default(),
        is_replay: delivery.replay,
        send_no: delivery.send_no,
    }
}

/// The names of the data formats, as people say it.
fn where_seen(source: &'static str) -> &'static str {
    match source {
        "into-room" => "into the room",
        "from-room" => "from the room",
        "history" => "room history",
        "carbon" => "carbon copy",
        "late" => "late copy",
        "archive" => "the server’s archive",
        other => other,
    }
}

fn said(caller: &Caller, receipt: &Found) -> Said {
    Said { at: caller.clock.exact(receipt.sent_at), who: thread::who(receipt), what: thread::action(receipt) }
}

/// A stay for a page.
pub(super) fn occupant(caller: &Caller, stay: &Stay) -> Occupant {
    let jid = stay.jid.as_deref().map(text::jid).unwrap_or_default();
    let resource = stay.resource.as_deref().map(|resource| format!("/{}", text::name(resource))).unwrap_or_default();
    Occupant {
        nick: text::name(&stay.nick),
        jid: jid + &resource,
        from: caller.clock.full(stay.joined_at),
        to: stay.left_at.map(|at| caller.clock.full(at)),
    }
}

/// What is known beside the words; what is not known is left out.
fn facts(found: &Found) -> Vec<(&'static str, String)> {
    let full = |jid: &Option<String>, resource: &Option<String>| {
        let jid = jid.as_deref().map(text::jid)?;
        Some(jid + &resource.as_deref().map(|resource| format!("/{}", text::name(resource))).unwrap_or_default())
    };
    let name = |text: &Option<String>| text.as_deref().map(text::name);
    let ids: Vec<String> = found
        .stanza_ids
        .iter()
        .map(|id| format!("{} by {}", text::name(&id.id), id.by.as_deref().map_or_else(|| "unknown".to_owned(), text::jid)))
        .collect();
    let all = [
        ("Sender", full(&found.sender, &found.sender_resource)),
        ("Sender’s nick", name(&found.sender_nick)),
        ("Recipient", full(&found.recipient, &found.recipient_resource)),
        ("Recipient’s nick", name(&found.recipient_nick)),
        ("Kind", Some(found.kind_name().to_owned())),
        ("Type", Some(names::message_type(found.message_type).to_owned())),
        ("Direction", Some(names::direction(found.direction).to_owned())),
        ("Came to the archive", Some(names::via(found.via).to_owned())),
        ("Node", name(&found.node)),
        ("Thread", name(&found.thread)),
        ("Language", name(&found.lang)),
        ("Id of the stanza", name(&found.stanza_id)),
        ("Origin id", found.origin_id().map(text::name)),
        ("Stanza ids", Some(ids.join("; ")).filter(|ids| !ids.is_empty())),
        (
            "Refers to",
            found
                .refers_to
                .map(|id| format!("message {id}"))
                .or_else(|| name(&found.refers_to_id).map(|id| format!("id {id}, not in the archive"))),
        ),
        ("Hints", Some(found.hints().join(", ")).filter(|hints| !hints.is_empty())),
    ];
    all.into_iter().filter_map(|(label, value)| Some((label, value?))).collect()
}
