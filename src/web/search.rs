//! The search: a form, and what it finds with the hits marked.

use askama::Template;
use axum::response::Response;

use super::caller::{Caller, REASON_WANTED};
use super::clock::Shown;
use super::desk::Desk;
use super::exports;
use super::find::{self, Asked, Hits};
use super::frame::{Frame, Place, page};
use super::params::Params;
use super::text::{self, Body};
use super::thread::{self, Links, Mark, Who};
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::message::content::Kind;
use crate::retrieve::{Count, Found};

/// Parameters that begin a search. A page without any shows the form alone.
const BEGINNERS: [&str; 13] = ["q", "who", "sender", "recipient", "room", "from", "to", "kind", "has", "direction", "id", "after", "go"];

/// Fields that are folded away as long as nothing stands in them.
const MORE: [&str; 8] = ["sender", "recipient", "kind", "has", "direction", "order", "id", "reason"];

/// A hit.
struct Hit {
    id: i64,
    at: Shown,
    who: Who,
    conversation: String,
    kind: &'static str,
    action: String,
    body: Body,
    marks: Vec<Mark>,
    /// The conversation at this message.
    href: String,
    evidence: String,
}

/// A box to tick.
struct Choice {
    word: &'static str,
    is_chosen: bool,
}

/// What the form was filled in with.
struct Form {
    store: String,
    stores: Vec<String>,
    q: String,
    who: String,
    room: String,
    from: String,
    to: String,
    id: String,
    reason: String,
    order: String,
    sender: String,
    recipient: String,
    kinds: Vec<Choice>,
    has: Vec<Choice>,
    directions: Vec<Choice>,
    has_more: bool,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    form: Form,
    mistake: Option<String>,
    is_asked: bool,
    hits: Vec<Hit>,
    next: Option<String>,
    first: Option<String>,
    /// Where an export of this begins, for whoever may.
    export: Option<String>,
    /// How many there are on all pages.
    count: Option<String>,
    /// What was asked for, for paper, where forms are left out.
    asked: Vec<(String, String)>,
}

impl Form {
    fn of(caller: &Caller, store: &str) -> Self {
        let params = &caller.params;
        let choices = |name: &str, words: &[&'static str]| -> Vec<Choice> {
            words.iter().map(|word| Choice { word, is_chosen: params.all(name).any(|chosen| chosen == *word) }).collect()
        };
        let kinds = choices("kind", &Kind::NAMES.map(|(_, word)| word));
        let stores: Vec<String> = caller.app.store_names().map(str::to_owned).collect();
        let has_more = MORE.iter().any(|name| params.get(name).is_some());
        Self {
            store: store.to_owned(),
            stores: if stores.len() > 1 { stores } else { Vec::new() },
            q: params.text("q"),
            who: params.words("who").join(", "),
            room: params.text("room"),
            from: params.text("from"),
            to: params.text("to"),
            id: params.text("id"),
            reason: params.text("reason"),
            order: params.text("order"),
            sender: params.words("sender").join(", "),
            recipient: params.words("recipient").join(", "),
            kinds,
            has: choices("has", &["file", "link", "encryption"]),
            directions: choices("direction", &["incoming", "outgoing", "internal"]),
            has_more,
        }
    }
}

/// The store that the parameters name, or the first.
pub(super) fn store(caller: &Caller) -> String {
    caller.params.get("store").unwrap_or_else(|| caller.app.first_store()).to_owned()
}

/// Links within a store.
pub(super) fn links(caller: &Caller, store: &str) -> Links {
    let several = caller.app.store_names().nth(1).is_some();
    Links { store: if several { store.to_owned() } else { String::new() }, reason: caller.params.text("reason") }
}

/// `GET /search`.
pub(super) async fn show(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    let store = store(caller);
    let target = find::target(&store, &caller.params);
    caller.require(Permission::ViewContent, Action::Search, target.clone()).await?;
    let desk = Desk::open(&caller.app, caller.viewer(), &store).await?;
    let is_asked = BEGINNERS.iter().any(|name| caller.params.get(name).is_some());
    let mut shown = SearchPage {
        frame: caller.frame(Place::Search, "Search"),
        form: Form::of(caller, &store),
        mistake: None,
        is_asked,
        hits: Vec::new(),
        next: None,
        first: None,
        export: None,
        count: None,
        asked: exports::conditions(&target),
    };
    shown.asked.extend(caller.asked(&[("order", "Order"), ("reason", "Reason")]));
    if !is_asked {
        return page(&shown);
    }
    let Asked { query, hits } = match find::asked(&caller.params, &caller.clock) {
        Ok(asked) => asked,
        Err(Trouble::Wrong(said)) => {
            (shown.mistake, shown.is_asked) = (Some(said), false);
            return page(&shown);
        }
        Err(other) => return Err(other),
    };
    let reason = match caller.reason() {
        Ok(reason) => reason,
        Err(_asks_for_one) => {
            (shown.mistake, shown.is_asked, shown.form.has_more) = (Some(REASON_WANTED.to_owned()), false, true);
            return page(&shown);
        }
    };
    let found = desk.search(&query).await?;
    if query.after.is_none() {
        shown.count = Some(counted(desk.count(&query).await?));
    }
    caller.record(Event::new(Action::Search, target).because(reason).of(found.messages.len() as u64)).await?;
    let links = links(caller, &store);
    shown.hits = found.messages.iter().map(|message| hit(caller, &links, &hits, message)).collect();
    shown.next = found.next.map(|next| more(&caller.params, Some(&next.to_string())));
    shown.export =
        caller.viewer().may(Permission::Export).then(|| format!("/exports/new?{}", caller.params.query(&["after", "done", "go"], None)));
    shown.first = query.after.map(|_| more(&caller.params, None));
    page(&shown)
}

pub(super) fn counted(count: Count) -> String {
    match (count.messages, count.is_exact) {
        (1, true) => "1 message".to_owned(),
        (messages, true) => format!("{messages} messages"),
        (messages, false) => format!("About {messages} messages"),
    }
}

fn more(params: &Params, after: Option<&str>) -> String {
    format!("/search?{}", params.query(&["after", "done"], after.map(|after| ("after", after))))
}

fn hit(caller: &Caller, links: &Links, hits: &Hits, found: &Found) -> Hit {
    let texts = [found.subject.as_deref(), found.body.as_deref()];
    let said = texts.into_iter().flatten().collect::<Vec<_>>().join(" — ");
    Hit {
        id: found.id,
        at: caller.clock.full(found.sent_at),
        who: thread::who(found),
        conversation: text::conversation(&found.conversation),
        kind: found.kind_name(),
        action: if found.kind == Kind::Subject as i16 { "sets the subject".to_owned() } else { thread::action(found) },
        body: Body::snippet(&said, hits),
        marks: thread::marks(found),
        href: links.conversation(&found.conversation, Some(found.id)),
        evidence: links.message(found.id),
    }
}
