//! From what somebody filled in to a query.

use std::ops::Range;

use serde_json::{Map, Value};

use super::clock::Clock;
use super::params::Params;
use super::trouble::Trouble;
use crate::access::Scope;
use crate::message::address::Address;
use crate::message::content::Kind;
use crate::retrieve::{MAX_PAGE, Order, Pattern, People, Query, Side, names};
use crate::words::Text;

/// Messages of a page of the console.
pub(super) const PAGE_MESSAGES: usize = 50;
/// The fields that say what is searched, as they are in the audit trail.
pub(super) const FIELDS: [&str; 14] =
    ["q", "who", "sender", "recipient", "room", "conversation", "from", "to", "kind", "direction", "has", "id", "order", "after"];

/// The fields as people read them.
pub(super) const LABELS: [(&str, &str); 12] = [
    ("q", "Words"),
    ("who", "People"),
    ("sender", "Written by"),
    ("recipient", "Written to or got by"),
    ("room", "Room"),
    ("conversation", "Conversation"),
    ("from", "From"),
    ("to", "To"),
    ("kind", "Kinds"),
    ("direction", "Direction"),
    ("has", "Only what has"),
    ("id", "Id"),
];

/// A query with what is marked in what it finds.
pub(super) struct Asked {
    pub(super) query: Query,
    pub(super) hits: Hits,
}

/// What is marked.
#[derive(Clone, Debug, Default)]
pub(super) enum Hits {
    /// Nothing.
    #[default]
    None,
    /// Whatever fits the words that were searched for.
    Words(Text),
}

impl Hits {
    /// Where they stand in a text, in bytes.
    pub(super) fn spans(&self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::None => Vec::new(),
            Self::Words(words) => words.spans(text),
        }
    }
}

/// The query of the parameters. Without an order, the newest are first.
pub(super) fn asked(params: &Params, clock: &Clock) -> Result<Asked, Trouble> {
    let words = words(params)?;
    let query = Query {
        people: people(params)?,
        rooms: params.words("room").iter().map(|room| jid("Room", room)).collect::<Result<_, _>>()?,
        conversation: params.get("conversation").map(str::to_owned),
        from: clock.read("From", params.get("from"), false)?,
        to: clock.read("To", params.get("to"), true)?,
        id: params.get("id").map(str::to_owned),
        kinds: kinds(params)?,
        directions: directions(params)?,
        encrypted: has(params, "encryption")?.then_some(true),
        has_file: has(params, "file")?,
        has_link: has(params, "link")?,
        order: if params.get("order") == Some("oldest") { Order::Ascending } else { Order::Descending },
        by_relevance: order(params, words.is_some())?,
        after: params.get("after").map(str::parse).transpose().map_err(|error| Trouble::Wrong(format!("The place to go on {error}.")))?,
        limit: limit(params)?,
        words: words.clone(),
        ..Query::default()
    };
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from >= to
    {
        return Err(Trouble::Wrong("The time ends before it begins.".to_owned()));
    }
    query.check().map_err(|mistake| Trouble::Wrong(format!("The search {mistake}.")))?;
    Ok(Asked { query, hits: words.map_or(Hits::None, Hits::Words) })
}

/// Every mistake in the conditions, field by field; where there is none, what does not go together.
pub(super) fn mistakes(params: &Params, clock: &Clock) -> Vec<String> {
    let wrong = |params: &Params| match asked(params, clock) {
        Err(Trouble::Wrong(said)) => Some(said),
        _ => None,
    };
    // That one wants another field beside it.
    let fields = FIELDS.into_iter().filter(|field| *field != "order");
    let alone: Vec<String> = fields.filter_map(|field| wrong(&params.only(field))).collect();
    if alone.is_empty() { wrong(params).into_iter().collect() } else { alone }
}

/// What a search without a place, a time or an order is made of.
const CONDITIONS: [&str; 9] = ["q", "who", "sender", "recipient", "room", "conversation", "kind", "direction", "has"];

/// Conditions that hold at any time.
pub(super) fn conditions(text: &str) -> Result<Query, String> {
    let params = Params::parse(text.trim_start_matches('?').as_bytes());
    let beside = params.pairs().find(|(name, value)| !value.trim().is_empty() && *name != "go" && !CONDITIONS.contains(name));
    if let Some((name, _)) = beside {
        return Err(format!("\"{name}\" is no condition here; there are {}", CONDITIONS.join(", ")));
    }
    match asked(&params, &Clock::default()) {
        Ok(asked) => Ok(Query { order: Order::Ascending, limit: MAX_PAGE, ..asked.query }),
        Err(Trouble::Wrong(said)) => Err(said),
        Err(_other) => Err("they can't be read".to_owned()),
    }
}

/// A JID in the spelling of the archive.
fn jid(label: &str, text: &str) -> Result<String, Trouble> {
    let bare = Address::parse(text).bare;
    match bare.parse::<jid::BareJid>() {
        Ok(_) => Ok(bare),
        Err(_no_jid) => Err(Trouble::Wrong(format!("{label}: “{text}” is no JID, such as alice@example.com."))),
    }
}

fn kinds(params: &Params) -> Result<Vec<i16>, Trouble> {
    let number = |word: &str| Kind::NAMES.iter().find(|(_, name)| *name == word).map(|(kind, _)| *kind as i16);
    params.all("kind").map(|word| number(word).ok_or_else(|| Trouble::Wrong(format!("There is no kind “{word}”.")))).collect()
}

/// Whether what fits best comes first.
fn order(params: &Params, has_words: bool) -> Result<bool, Trouble> {
    match params.get("order") {
        None | Some("newest" | "oldest") => Ok(false),
        Some("best") if has_words => Ok(true),
        Some("best") => Err(Trouble::Wrong("What fits best can come first only where words are searched for.".to_owned())),
        Some(other) => Err(Trouble::Wrong(format!("There is no order “{other}”: newest, oldest or best."))),
    }
}

fn words(params: &Params) -> Result<Option<Text>, Trouble> {
    let typed = params.all("q").collect::<Vec<_>>().join(" ");
    if typed.is_empty() {
        return Ok(None);
    }
    let words: Text = typed.parse().map_err(|error| Trouble::Wrong(format!("What is searched for {error}.")))?;
    match words.is_empty() {
        true => Err(Trouble::Wrong("There is no letter, digit or picture in what is searched for.".to_owned())),
        false => Ok(Some(words)),
    }
}

/// All of `who` took part; of `sender` and `recipient` any.
fn people(params: &Params) -> Result<Vec<People>, Trouble> {
    let pattern = |word: &String| {
        let wrong = |error| {
            Trouble::Wrong(format!(
                "People: “{word}” is no JID, domain or pattern such as alice@example.com, example.com, al*@example.com: {error}."
            ))
        };
        Pattern::parse(word).map_err(wrong)
    };
    let mut people = Vec::new();
    for word in &params.words("who") {
        people.push(People { side: Side::Any, any: vec![pattern(word)?] });
    }
    for (name, side) in [("sender", Side::Sender), ("recipient", Side::Recipient)] {
        let any: Vec<Pattern> = params.words(name).iter().map(pattern).collect::<Result<_, _>>()?;
        if !any.is_empty() {
            people.push(People { side, any });
        }
    }
    Ok(people)
}

fn directions(params: &Params) -> Result<Vec<i16>, Trouble> {
    let number = |word: &str| (1..=3).find(|number| names::direction(*number) == word);
    params.all("direction").map(|word| number(word).ok_or_else(|| Trouble::Wrong(format!("There is no direction “{word}”.")))).collect()
}

/// Whether only what has this is wanted.
fn has(params: &Params, wanted: &str) -> Result<bool, Trouble> {
    match params.all("has").find(|word| !["file", "link", "encryption"].contains(word)) {
        Some(other) => Err(Trouble::Wrong(format!("There is no “{other}” that a message could have: file, link or encryption."))),
        None => Ok(params.all("has").any(|word| word == wanted)),
    }
}

fn limit(params: &Params) -> Result<usize, Trouble> {
    match params.get("limit").map(str::parse::<usize>) {
        None => Ok(PAGE_MESSAGES),
        Some(Ok(limit)) if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
        Some(_) => Err(Trouble::Wrong(format!("The limit must be a number from 1 to {MAX_PAGE}."))),
    }
}

/// The search as the audit trail keeps it.
pub(super) fn target(store: &str, params: &Params) -> Value {
    let mut target = Map::from_iter([("store".to_owned(), Value::from(store))]);
    for field in FIELDS {
        let values: Vec<&str> = params.all(field).collect();
        match values.as_slice() {
            [] => {}
            [one] => drop(target.insert(field.to_owned(), Value::from(*one))),
            several => drop(target.insert(field.to_owned(), Value::from(several.to_vec()))),
        }
    }
    Value::Object(target)
}

/// A scope as it is written in a form.
pub(super) fn scope(form: &Params, clock: &Clock) -> Result<Scope, Trouble> {
    let scope = Scope {
        who: form.words("who").into_iter().collect(),
        groups: form.words("groups").into_iter().collect(),
        rooms: form.words("rooms").into_iter().collect(),
        from: clock.read("From", form.get("from"), false)?,
        to: clock.read("To", form.get("to"), true)?,
    };
    scope.checked().map_err(Trouble::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Asked, Trouble> {
        asked(&Params::parse(query.as_bytes()), &Clock::default())
    }

    #[test]
    fn a_form_becomes_a_query() {
        let asked =
            of("q=tea+time&who=Bob%40Example.com%2Fdesk%2C+example.org&kind=file&from=2026-11-22&order=oldest&after=1:2&has=link").unwrap();
        let one = |pattern| People { side: Side::Any, any: vec![pattern] };
        let expected = [one(Pattern::Jid("bob@example.com".to_owned())), one(Pattern::Domain("example.org".to_owned()))];
        assert_eq!(asked.query.people, expected);
        assert_eq!((asked.query.kinds.as_slice(), asked.query.order, asked.query.has_link), ([13].as_slice(), Order::Ascending, true));
        assert!(asked.query.from.is_some() && asked.query.after.is_some());
        assert_eq!(asked.hits.spans("Time for tea"), [0..4, 9..12]);
        assert_eq!(of("").unwrap().query.limit, PAGE_MESSAGES);
        assert!(of("q=tea&order=best").unwrap().query.by_relevance);
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in [
            "who=a%40%40b",
            "room=a%40%40b",
            "kind=x",
            "from=then",
            "from=2026-11-22&to=2026-11-21",
            "after=x",
            "order=up",
            "order=best",
            "limit=0",
            "limit=501",
            "q=%22a",
            "q=%2C",
            "direction=up",
            "has=files",
        ] {
            assert!(matches!(of(wrong), Err(Trouble::Wrong(_))), "{wrong}");
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let of = |query: &str| mistakes(&Params::parse(query.as_bytes()), &Clock::default());
        let found = of("who=a%40%40b&kind=x&from=then&to=now&direction=up&has=files&q=tea");
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(of("from=2026-11-22&to=2026-11-21").len(), 1, "what does not go together");
        assert_eq!(of("q=tea&order=best"), Vec::<String>::new());
    }

    #[test]
    fn the_audit_trail_keeps_the_query() {
        let params = Params::parse(b"q=tea&kind=file&kind=reply&reason=x&csrf=secret&after=");
        let expected = serde_json::json!({ "store": "main", "q": "tea", "kind": ["file", "reply"] });
        assert_eq!(target("main", &params), expected);
    }
}
