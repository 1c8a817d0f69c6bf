//! What `search`, `show` and `export` share: from arguments to a query, and page after page to whoever writes them.

use jiff::Zoned;
use serde_json::{Value, json};

use super::args::{Filter, Order, PageArgs, TimeArgs};
use super::output::tell;
use super::{Failure, connect};
use crate::config::Config;
use crate::message::address::Address;
use crate::retrieve::vocabulary::{HAS_ENCRYPTION, HAS_FILE, HAS_LINK};
use crate::retrieve::{self, Archive, Cursor, Found, Pattern, People, Query, Side};
use crate::store::{Endpoint, StoreError};
use crate::time::rfc3339;
use crate::words::Text;

/// Opens the store of this name for reading.
pub(super) async fn open(config: &Config, store: Option<&str>) -> Result<Archive, Failure> {
    let store = config.store(store)?;
    Archive::open(&Endpoint::from_config(store), store.pool).await.map_err(|error| connect::failure(store, &error))
}

/// Refuses nodes of which neither the configuration nor the store knows: whoever misspells one would find nothing, and not see why.
pub(super) async fn know(config: &Config, archive: &Archive, query: &Query) -> Result<(), Failure> {
    let strange: Vec<String> = query.nodes.iter().filter(|name| config.nodes.iter().all(|node| node.name != **name)).cloned().collect();
    match archive.unknown_nodes(&strange).await.map_err(failure)?.first() {
        Some(name) => Err(Failure::Usage(format!("--node {name:?}: there is no such node"))),
        None => Ok(()),
    }
}

/// What a store says, by what the caller can do about it.
pub(super) fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Misconfigured(said) => Failure::Usage(said),
        other => Failure::Runtime(other.to_string()),
    }
}

/// The query of `search` and `export`.
pub(super) fn query(filter: &Filter, time: &TimeArgs, page: &PageArgs) -> Result<Query, Failure> {
    let (text, words) = match filter.substring {
        true => (filter.text.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect(), None),
        false => (Vec::new(), words(&filter.text)?),
    };
    let query = Query {
        text,
        words,
        people: people(filter),
        rooms: filter.room.iter().map(|room| Address::parse(room.as_str()).bare).collect(),
        conversation: filter.conversation.clone(),
        id: filter.id.clone(),
        kinds: filter.kind.clone(),
        directions: filter.direction.clone(),
        nodes: filter.node.clone(),
        encrypted: (filter.encrypted || filter.has.contains(&HAS_ENCRYPTION)).then_some(true),
        has_file: filter.has.contains(&HAS_FILE),
        has_link: filter.has.contains(&HAS_LINK),
        all: filter.all,
        ..Query::default()
    };
    placed(query, time, page)
}

fn words(typed: &[String]) -> Result<Option<Text>, Failure> {
    let typed = typed.join(" ");
    if typed.trim().is_empty() {
        return Ok(None);
    }
    let words: Text = typed.parse().map_err(|error| Failure::Usage(format!("TEXT {error}")))?;
    match words.is_empty() {
        true => Err(Failure::Usage("TEXT has no letter, digit or picture; --substring finds other signs".to_owned())),
        false => Ok(Some(words)),
    }
}

fn people(filter: &Filter) -> Vec<People> {
    let each = |side, all: &[Pattern]| all.iter().map(|one| People { side, any: vec![one.clone()] }).collect::<Vec<_>>();
    let mut people = [each(Side::Any, &filter.participant), each(Side::Recipient, &filter.every_recipient)].concat();
    for (side, any) in [(Side::Any, &filter.any_participant), (Side::Sender, &filter.sender), (Side::Recipient, &filter.recipient)] {
        if !any.is_empty() {
            people.push(People { side, any: any.clone() });
        }
    }
    people
}

/// The query with its times, its order and its begin.
pub(super) fn placed(mut query: Query, time: &TimeArgs, page: &PageArgs) -> Result<Query, Failure> {
    let now = Zoned::now().with_time_zone(time.zone.rules());
    let out_of_range = |name: &str, error| Failure::Usage(format!("{name} {error}"));
    query.from = time.from.as_ref().map(|when| when.begin(&now)).transpose().map_err(|error| out_of_range("--from", error))?;
    query.to = time.to.as_ref().map(|when| when.end(&now)).transpose().map_err(|error| out_of_range("--to", error))?;
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from >= to
    {
        return Err(Failure::Usage("--from is later than --to".to_owned()));
    }
    query.order = match page.order {
        Order::Asc => retrieve::Order::Ascending,
        Order::Desc => retrieve::Order::Descending,
    };
    query.after = match &page.after {
        None => None,
        Some(cursor) => Some(cursor.parse().map_err(|error| Failure::Usage(format!("--after {error}")))?),
    };
    query.check().map_err(|mistake| Failure::Usage(format!("the command line {mistake}")))?;
    Ok(query)
}

/// A query as the audit trail names it, without what was not said. Which words were wanted is told as it was typed.
pub(super) fn described(query: &Query, typed: &[String], store: Option<&str>) -> Value {
    let people: Vec<Value> = query.people.iter().map(|people| json!({ "side": side(people.side), "any": names(&people.any) })).collect();
    let mut target = json!({
        "text": typed,
        "substring": (!query.text.is_empty()).then_some(true),
        "people": people,
        "rooms": query.rooms,
        "nodes": query.nodes,
        "directions": query.directions,
        "all": query.all.then_some(true),
        "encrypted": query.encrypted,
        "file": query.has_file.then_some(true),
        "link": query.has_link.then_some(true),
        "participants": query.participants.iter().map(|address| address.bare.as_str()).collect::<Vec<_>>(),
        "kinds": query.kinds,
        "room": query.room,
        "conversation": query.conversation,
        "id": query.id,
        "from": query.from.map(rfc3339),
        "to": query.to.map(rfc3339),
        "xml": query.with_xml.then_some(true),
        "store": store,
    });
    if let Some(map) = target.as_object_mut() {
        map.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|array| !array.is_empty()));
    }
    target
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Any => "any",
        Side::Sender => "sender",
        Side::Recipient => "recipient",
    }
}

fn names(patterns: &[Pattern]) -> Vec<&str> {
    patterns.iter().map(Pattern::as_str).collect()
}

/// Hands page after page to `each`, at most `limit` messages, and returns where to go on if there are more.
pub(super) async fn pages(
    archive: &Archive,
    mut query: Query,
    limit: Option<u64>,
    mut each: impl AsyncFnMut(&[Found]) -> Result<(), Failure>,
) -> Result<Option<Cursor>, Failure> {
    let mut left = limit.unwrap_or(u64::MAX);
    loop {
        query.limit = usize::try_from(left).unwrap_or(usize::MAX).min(retrieve::MAX_PAGE);
        let page = archive.search(&query).await.map_err(failure)?;
        each(&page.messages).await?;
        left = left.saturating_sub(page.messages.len() as u64);
        if page.next.is_none() || left == 0 {
            if page.is_cut {
                tell(&format!("more fit than are put in order: these are from the newest {}", retrieve::MAX_RANKED));
            }
            return Ok(page.next);
        }
        query.after = page.next;
    }
}

/// Says how to go on where there is more than was asked for.
pub(super) fn tell_more(next: Option<Cursor>, limit: u64) {
    if let Some(cursor) = next {
        tell(&format!("there are more than these {limit}: go on with --after {cursor}"));
    }
}
