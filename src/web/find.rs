//! From what somebody filled in to a query.

use serde_json::{Map, Value};

use super::clock::Clock;
use super::params::Params;
use super::trouble::Trouble;
use crate::access::Scope;
use crate::message::address::Address;
use crate::message::content::Kind;
use crate::retrieve::{MAX_PAGE, Order, Query};

/// Messages of a page of the console.
pub(super) const PAGE_MESSAGES: usize = 50;
/// The fields that say what is searched, as they are in the audit trail.
pub(super) const FIELDS: [&str; 10] = ["q", "who", "room", "conversation", "from", "to", "kind", "id", "order", "after"];

/// A query with what is marked in what it finds.
pub(super) struct Asked {
    pub(super) query: Query,
    pub(super) terms: Vec<String>,
}

/// The query of the parameters. Without an order, the newest are first.
pub(super) fn asked(params: &Params, clock: &Clock) -> Result<Asked, Trouble> {
    let terms: Vec<String> = params.all("q").flat_map(str::split_whitespace).map(str::to_owned).collect();
    let mut participants = Vec::new();
    for word in params.words("who") {
        participants.push(Address::parse(&jid("People", &word)?));
    }
    let query = Query {
        text: terms.clone(),
        participants,
        room: params.get("room").map(|room| jid("Room", room)).transpose()?,
        conversation: params.get("conversation").map(str::to_owned),
        from: clock.read("From", params.get("from"), false)?,
        to: clock.read("To", params.get("to"), true)?,
        id: params.get("id").map(str::to_owned),
        kinds: kinds(params)?,
        order: order(params)?,
        after: params.get("after").map(str::parse).transpose().map_err(|error| Trouble::Wrong(format!("The place to go on {error}.")))?,
        limit: limit(params)?,
        ..Query::default()
    };
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from >= to
    {
        return Err(Trouble::Wrong("The time ends before it begins.".to_owned()));
    }
    query.check().map_err(|mistake| Trouble::Wrong(format!("The search {mistake}.")))?;
    Ok(Asked { query, terms })
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

fn order(params: &Params) -> Result<Order, Trouble> {
    match params.get("order") {
        None | Some("newest") => Ok(Order::Descending),
        Some("oldest") => Ok(Order::Ascending),
        Some(other) => Err(Trouble::Wrong(format!("There is no order “{other}”: newest or oldest."))),
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
        let asked = of("q=tea+time&who=Bob%40Example.com%2Fdesk%2C+eve%40example.com&kind=file&from=2026-11-22&order=oldest&after=1:2").unwrap();
        assert_eq!(asked.terms, ["tea", "time"]);
        let people: Vec<&str> = asked.query.participants.iter().map(|address| address.bare.as_str()).collect();
        assert_eq!(people, ["bob@example.com", "eve@example.com"]);
        assert_eq!((asked.query.kinds.as_slice(), asked.query.order), ([13].as_slice(), Order::Ascending));
        assert!(asked.query.from.is_some() && asked.query.after.is_some());
        assert_eq!(of("").unwrap().query.limit, PAGE_MESSAGES);
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in ["who=a%40%40b", "kind=x", "from=then", "from=2026-11-22&to=2026-11-21", "after=x", "order=up", "limit=0", "limit=501"] {
            assert!(matches!(of(wrong), Err(Trouble::Wrong(_))), "{wrong}");
        }
    }

    #[test]
    fn the_audit_trail_keeps_the_query() {
        let params = Params::parse(b"q=tea&kind=file&kind=reply&reason=x&csrf=secret&after=");
        let expected = serde_json::json!({ "store": "main", "q": "tea", "kind": ["file", "reply"] });
        assert_eq!(target("main", &params), expected);
    }
}
