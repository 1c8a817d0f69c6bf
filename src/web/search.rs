//! The search: a form, and what it finds with the hits marked.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::caller::{Caller, REASON_WANTED};
use super::clock::Shown;
use super::desk::{Desk, knows};
use super::exports;
use super::find::{self, Asked, Hits};
use super::frame::{Frame, Place, page};
use super::params::Params;
use super::text::{self, Body};
use super::thread::{self, Links, Mark, Who};
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::message::content::Kind;
use crate::retrieve::vocabulary::{CONDITIONS, DIRECTIONS, HAS, KINDS, Word};
use crate::retrieve::{Change, Count, Found, MAX_RANKED};

/// What stands in the address of a search beside the conditions.
const BESIDE: [&str; 7] = ["order", "after", "limit", "store", "reason", "go", "done"];
/// Those of them that begin a search, as any condition does. A page without any shows the form alone.
const BEGINNERS: [&str; 2] = ["after", "go"];

/// Conditions that are always seen; the others are folded away as long as nothing stands in them.
const SEEN: [&str; 5] = ["q", "who", "room", "from", "to"];

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
    about: &'static str,
    is_chosen: bool,
}

/// What the form was filled in with.
struct Form {
    store: String,
    stores: Vec<String>,
    q: String,
    is_substring: bool,
    who: String,
    any: String,
    room: String,
    conversation: String,
    from: String,
    to: String,
    id: String,
    node: String,
    reason: String,
    order: String,
    sender: String,
    recipient: String,
    every_recipient: String,
    is_all: bool,
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
    /// How many of the newest were put in order, where more fit.
    ranked: Option<usize>,
}

impl Form {
    fn of(caller: &Caller, store: &str) -> Self {
        let params = &caller.params;
        let choices = |name: &str, words: &'static [Word]| -> Vec<Choice> {
            let is_chosen = |word: &Word| params.all(name).any(|chosen| chosen == word.word || word.aliases.contains(&chosen));
            words.iter().map(|word| Choice { word: word.word, about: word.about, is_chosen: is_chosen(word) }).collect()
        };
        let list = |name: &str| params.words(name).join(", ");
        let is_true = |name: &str| params.get(name).is_some_and(|value| value == "1" || value == "true");
        let stores: Vec<String> = caller.app.store_names().map(str::to_owned).collect();
        let folded = CONDITIONS.iter().map(|condition| condition.name).filter(|name| !SEEN.contains(name));
        let has_more = folded.chain(["order", "reason"]).any(|name| params.get(name).is_some());
        Self {
            store: store.to_owned(),
            stores: if stores.len() > 1 { stores } else { Vec::new() },
            q: params.all("q").collect::<Vec<_>>().join(" "),
            is_substring: is_true("substring"),
            who: list("who"),
            any: list("any"),
            room: list("room"),
            conversation: params.text("conversation"),
            from: params.text("from"),
            to: params.text("to"),
            id: params.text("id"),
            node: list("node"),
            reason: params.text("reason"),
            order: params.text("order"),
            sender: list("sender"),
            recipient: list("recipient"),
            every_recipient: list("every-recipient"),
            is_all: is_true("all"),
            kinds: choices("kind", &KINDS),
            has: choices("has", &HAS),
            directions: choices("direction", &DIRECTIONS),
            has_more,
        }
    }
}

/// The store that the parameters name, or the first.
pub(super) fn store(caller: &Caller) -> String {
    caller.params.get("store").unwrap_or_else(|| caller.app.first_store()).to_owned()
}

/// Links within a store, on which what was searched for stays marked.
pub(super) fn links(caller: &Caller, store: &str) -> Links {
    let several = caller.app.store_names().nth(1).is_some();
    let marked = caller.params.all("q").collect::<Vec<_>>().join(" ");
    let is_substring = caller.params.get("substring").filter(|_| !marked.is_empty());
    Links {
        store: if several { store.to_owned() } else { String::new() },
        marked,
        is_substring: is_substring.map(str::to_owned).unwrap_or_default(),
        reason: caller.params.text("reason"),
    }
}

/// `GET /search`.
pub(super) async fn show(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    let store = store(caller);
    let asked = find::asked(&caller.params, &caller.clock, &BESIDE);
    let mut target = find::target(&store, &caller.params, &caller.clock, asked.as_ref().ok().map(|asked| &asked.query));
    caller.require(Permission::ViewContent, Action::Search, target.clone()).await?;
    let desk = Desk::open(&caller.app, caller.viewer(), &store).await?;
    let begins = CONDITIONS.iter().map(|condition| condition.name).chain(BEGINNERS);
    let is_asked = begins.into_iter().any(|name| caller.params.get(name).is_some());
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
        ranked: None,
        asked: exports::conditions(&target),
    };
    let known = match asked {
        Ok(asked) => knows(&caller.app, &store, &asked.query).await.map(|()| asked),
        Err(trouble) => Err(trouble),
    };
    let Asked { query, hits } = match known {
        Ok(asked) => asked,
        Err(Trouble::Wrong(said)) => {
            (shown.mistake, shown.is_asked) = (Some(said), false);
            let mut answer = page(&shown)?;
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(answer);
        }
        Err(other) => return Err(other),
    };
    shown.asked.extend(caller.asked(&[("order", "Order"), ("reason", "Reason")]));
    if !is_asked {
        return page(&shown);
    }
    let reason = match caller.reason() {
        Ok(reason) => reason,
        Err(_asks_for_one) => {
            (shown.mistake, shown.is_asked, shown.form.has_more) = (Some(REASON_WANTED.to_owned()), false, true);
            let mut answer = page(&shown)?;
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(answer);
        }
    };
    let found = desk.search(&query).await?;
    if query.after.is_none() {
        let count = desk.count(&query).await?;
        note_total(&mut target, count);
        shown.count = Some(counted(count));
    }
    let changes = desk.changes(&found.messages).await?;
    shown.ranked = found.is_cut.then_some(MAX_RANKED);
    caller.record(Event::new(Action::Search, target).because(reason).of(found.messages.len() as u64)).await?;
    let links = links(caller, &store);
    shown.hits = found.messages.iter().map(|message| hit(caller, &links, &hits, message, &changes)).collect();
    shown.next = found.next.map(|next| more(&caller.params, Some(&next.to_string())));
    shown.export = caller
        .viewer()
        .may(Permission::Export)
        .then(|| format!("/exports/new?{}", caller.params.query(&["after", "done", "go", "order", "limit"], None)));
    shown.first = query.after.map(|_| more(&caller.params, None));
    page(&shown)
}

/// Adds how many there are on all pages to what the audit trail is told, as far as they were counted.
pub(super) fn note_total(target: &mut Value, count: Count) {
    if let Some(target) = target.as_object_mut() {
        target.insert("total".to_owned(), count.messages.into());
        target.extend((!count.is_exact).then(|| ("total_is_estimate".to_owned(), true.into())));
    }
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

fn hit(caller: &Caller, links: &Links, hits: &Hits, found: &Found, changes: &[Change]) -> Hit {
    let file = found.file_name();
    let texts = [found.subject.as_deref(), found.body.as_deref(), file.as_deref()];
    let said = texts.into_iter().flatten().collect::<Vec<_>>().join(" — ");
    Hit {
        id: found.id,
        at: caller.clock.full(found.sent_at),
        who: thread::who(found),
        conversation: text::conversation(&found.conversation),
        kind: found.kind_name(),
        action: if found.kind == Kind::Subject as i16 { "sets the subject".to_owned() } else { thread::action(found) },
        body: Body::snippet(&said, hits),
        marks: thread::changed(found, changes).into_iter().chain(thread::marks(found)).collect(),
        href: links.conversation(&found.conversation, Some(found.id)),
        evidence: links.message(found.id),
    }
}
