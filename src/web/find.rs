//! From what somebody filled in to a query.
//!
//! Names and words are those of `retrieve::vocabulary`. What is not among them, and whatever else is wrong, is refused, all at once: whoever
//! misspells a condition must not be shown everything, nor have the audit trail tell of a condition that was not applied.

use std::ops::Range;

use serde_json::{Map, Value};

use super::clock::Clock;
use super::params::{MAX_VALUES, Params};
use super::trouble::Trouble;
use crate::access::Scope;
use crate::message::address::Address;
use crate::retrieve::vocabulary::{self, CONDITIONS, DIRECTIONS, HAS, HAS_ENCRYPTION, HAS_FILE, HAS_LINK, KINDS, Word};
use crate::retrieve::{MAX_PAGE, Order, Pattern, People, Query, Side};
use crate::time::rfc3339;
use crate::words::Text;

/// Messages of a page of the console.
pub(super) const PAGE_MESSAGES: usize = 50;
/// The most characters of a name or a word that is told back, and the most unknown names that are told.
const MAX_TOLD_CHARS: usize = 60;
const MAX_TOLD_NAMES: usize = 20;

/// A query with what is marked in what it finds.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) query: Query,
    pub(super) hits: Hits,
}

/// What is marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Hits {
    /// Nothing.
    #[default]
    None,
    /// Whatever fits the words that were searched for.
    Words(Text),
    /// These parts of the text.
    Parts(Vec<String>),
}

impl Hits {
    /// What a search for these parameters marks; nothing if they can't be read.
    pub(super) fn of(params: &Params) -> Self {
        let only = params.only_these(&["q", "substring"]);
        read(&only, &Clock::default(), &[]).map(|asked| asked.hits).unwrap_or_default()
    }

    /// Where they stand in a text, in bytes.
    pub(super) fn spans(&self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::None => Vec::new(),
            Self::Words(words) => words.spans(text),
            Self::Parts(parts) => crate::retrieve::parts(parts, text),
        }
    }
}

/// The query of the parameters, of which `beside` are no conditions. Without an order, the newest are first.
pub(super) fn asked(params: &Params, clock: &Clock, beside: &[&str]) -> Result<Asked, Trouble> {
    read(params, clock, beside).map_err(|mistakes| Trouble::Wrong(mistakes.join(" ")))
}

/// The same, or every mistake.
pub(super) fn read(params: &Params, clock: &Clock, beside: &[&str]) -> Result<Asked, Vec<String>> {
    let mut reader = Reader { params, clock, mistakes: unknown(params, beside) };
    let has = reader.words("has", &HAS);
    let is_substring = reader.truth("substring");
    let (words, text) = reader.text(is_substring);
    let query = Query {
        people: reader.people(),
        rooms: reader.rooms(),
        conversation: params.get("conversation").map(str::to_owned),
        from: reader.time("from", false),
        to: reader.time("to", true),
        id: params.get("id").map(str::to_owned),
        kinds: reader.words("kind", &KINDS),
        directions: reader.words("direction", &DIRECTIONS),
        nodes: params.words("node"),
        encrypted: has.contains(&HAS_ENCRYPTION).then_some(true),
        has_file: has.contains(&HAS_FILE),
        has_link: has.contains(&HAS_LINK),
        all: reader.truth("all"),
        order: if params.get("order") == Some("oldest") { Order::Ascending } else { Order::Descending },
        by_relevance: reader.order(words.is_some()),
        after: reader.after(),
        limit: reader.limit(),
        words: words.clone(),
        text: text.clone(),
        ..Query::default()
    };
    if reader.mistakes.is_empty() {
        reader.mistakes.extend(query.check().err().map(|mistake| format!("The search {mistake}.")));
    }
    match (reader.mistakes, words) {
        (mistakes, _) if !mistakes.is_empty() => Err(mistakes),
        (_, Some(words)) => Ok(Asked { query, hits: Hits::Words(words) }),
        (_, None) if text.is_empty() => Ok(Asked { query, hits: Hits::None }),
        (_, None) => Ok(Asked { query, hits: Hits::Parts(text) }),
    }
}

/// A sentence for each name that means nothing here, and for values that were too many to be read.
pub(super) fn unknown(params: &Params, beside: &[&str]) -> Vec<String> {
    let is_known = |name: &str| vocabulary::named(name).is_some() || beside.contains(&name);
    told(params, is_known)
}

/// The same for a call that has no conditions.
pub(super) fn only(params: &Params, names: &[&str]) -> Result<(), Trouble> {
    let mistakes = told(params, |name| names.contains(&name));
    if mistakes.is_empty() { Ok(()) } else { Err(Trouble::Wrong(mistakes.join(" "))) }
}

fn told(params: &Params, is_known: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names: Vec<&str> = params.pairs().map(|(name, _)| name).filter(|name| !is_known(name)).collect();
    names.sort_unstable();
    names.dedup();
    let mut told: Vec<String> = names.iter().take(MAX_TOLD_NAMES).map(|name| format!("There is no field “{}”.", short(name))).collect();
    told.extend((names.len() > MAX_TOLD_NAMES).then(|| format!("There are {} more unknown fields.", names.len() - MAX_TOLD_NAMES)));
    told.extend(params.is_cut().then(|| format!("There are more than {MAX_VALUES} values.")));
    told
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TOLD_CHARS).collect()
}

/// Reads one condition after the other, and remembers what is wrong.
struct Reader<'p> {
    params: &'p Params,
    clock: &'p Clock,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    /// What was read, or what stands in the place of it.
    fn take<T: Default>(&mut self, read: Result<T, String>) -> T {
        read.unwrap_or_else(|mistake| {
            self.mistakes.push(mistake);
            T::default()
        })
    }

    fn words(&mut self, name: &str, list: &'static [Word]) -> Vec<i16> {
        let known = || vocabulary::spellings(list).collect::<Vec<_>>().join(", ");
        let number =
            |word: &str| vocabulary::number(list, word).ok_or_else(|| format!("There is no {name} “{}”, only {}.", short(word), known()));
        let read = self.params.all(name).map(number).collect();
        self.take(read)
    }

    fn truth(&mut self, name: &str) -> bool {
        let read = match self.params.get(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(other) => Err(format!("“{name}” is true or false, and not “{}”.", short(other))),
        };
        self.take(read)
    }

    fn time(&mut self, name: &str, is_end: bool) -> Option<i64> {
        let label = vocabulary::named(name).map_or(name, |condition| condition.label);
        let read = self.clock.read(label, self.params.get(name), is_end).map_err(said);
        let at = self.take(read);
        if let (true, Some(to), Ok(Some(from))) = (is_end, at, self.clock.read("From", self.params.get("from"), false))
            && from >= to
        {
            self.mistakes.push("The time ends before it begins.".to_owned());
        }
        at
    }

    /// The words to search for, or the parts of the text.
    fn text(&mut self, is_substring: bool) -> (Option<Text>, Vec<String>) {
        let typed = self.params.all("q").collect::<Vec<_>>().join(" ");
        if is_substring {
            return (None, typed.split_whitespace().map(str::to_owned).collect());
        }
        if typed.is_empty() {
            return (None, Vec::new());
        }
        let read = match typed.parse::<Text>() {
            Err(error) => Err(format!("What is searched for {error}.")),
            Ok(words) if words.is_empty() => Err("There is no letter, digit or picture in what is searched for.".to_owned()),
            Ok(words) => Ok(Some(words)),
        };
        (self.take(read), Vec::new())
    }

    /// Each of `who` and of `every-recipient`; of the others any.
    fn people(&mut self) -> Vec<People> {
        let mut people = Vec::new();
        for (name, side, is_each) in [
            ("who", Side::Any, true),
            ("any", Side::Any, false),
            ("sender", Side::Sender, false),
            ("recipient", Side::Recipient, false),
            ("every-recipient", Side::Recipient, true),
        ] {
            let read = self.params.words(name).iter().map(|word| pattern(word)).collect();
            let any: Vec<Pattern> = self.take(read);
            match is_each {
                true => people.extend(any.into_iter().map(|one| People { side, any: vec![one] })),
                false if any.is_empty() => {}
                false => people.push(People { side, any }),
            }
        }
        people
    }

    fn rooms(&mut self) -> Vec<String> {
        let read = self.params.words("room").iter().map(|room| jid("Room", room)).collect();
        self.take(read)
    }

    /// Whether what fits best comes first.
    fn order(&mut self, has_words: bool) -> bool {
        let read = match self.params.get("order") {
            None | Some("newest" | "oldest") => Ok(false),
            Some("best") if has_words => Ok(true),
            Some("best") => Err("What fits best can come first only where words are searched for.".to_owned()),
            Some(other) => Err(format!("There is no order “{}”: newest, oldest or best.", short(other))),
        };
        self.take(read)
    }

    fn after(&mut self) -> Option<crate::retrieve::Cursor> {
        let read = self.params.get("after").map(str::parse).transpose().map_err(|error| format!("The place to go on {error}."));
        self.take(read)
    }

    fn limit(&mut self) -> usize {
        match self.params.get("limit").map(str::parse::<usize>) {
            None => PAGE_MESSAGES,
            Some(Ok(limit)) if (1..=MAX_PAGE).contains(&limit) => limit,
            Some(_) => self.take(Err(format!("The limit must be a number from 1 to {MAX_PAGE}."))),
        }
    }
}

fn said(trouble: Trouble) -> String {
    match trouble {
        Trouble::Wrong(said) => said,
        _ => "It can’t be read.".to_owned(),
    }
}

fn pattern(word: &str) -> Result<Pattern, String> {
    let form = "is no JID, domain or pattern such as alice@example.com, example.com, al*@example.com";
    Pattern::parse(word).map_err(|error| format!("People: “{}” {form}: {error}.", short(word)))
}

/// A JID in the spelling of the archive.
fn jid(label: &str, text: &str) -> Result<String, String> {
    let bare = Address::parse(text).bare;
    match bare.parse::<jid::BareJid>() {
        Ok(_) => Ok(bare),
        Err(_no_jid) => Err(format!("{label}: “{}” is no JID, such as alice@example.com.", short(text))),
    }
}

/// Conditions that hold at any time, for a series of exports.
pub(super) fn conditions(text: &str) -> Result<Query, String> {
    let params = Params::parse(text.trim_start_matches('?').as_bytes());
    let once = CONDITIONS.iter().filter(|condition| !condition.is_lasting).map(|condition| condition.name);
    if let Some(name) = once.into_iter().find(|name| params.get(name).is_some()) {
        let lasting: Vec<&str> = CONDITIONS.iter().filter(|condition| condition.is_lasting).map(|condition| condition.name).collect();
        return Err(format!("\"{name}\" is no condition here; there are {}", lasting.join(", ")));
    }
    let without = params.without_empty();
    match read(&without, &Clock::default(), &["go"]) {
        Ok(asked) => Ok(Query { order: Order::Ascending, limit: MAX_PAGE, ..asked.query }),
        Err(mistakes) => Err(mistakes.join(" ")),
    }
}

/// The search as the audit trail keeps it, so that it can be made again: times as they were meant, not as they were typed.
pub(super) fn target(store: &str, params: &Params, clock: &Clock, query: Option<&Query>) -> Value {
    let mut target = Map::from_iter([("store".to_owned(), Value::from(store))]);
    for field in CONDITIONS.iter().map(|condition| condition.name).chain(["order", "after"]) {
        let values: Vec<&str> = params.all(field).collect();
        match values.as_slice() {
            [] => {}
            [one] => drop(target.insert(field.to_owned(), Value::from(*one))),
            several => drop(target.insert(field.to_owned(), Value::from(several.to_vec()))),
        }
    }
    if let Some(query) = query.filter(|query| query.from.is_some() || query.to.is_some()) {
        let times = [("from", query.from), ("to", query.to)];
        target.extend(times.into_iter().filter_map(|(name, at)| Some((name.to_owned(), Value::from(rfc3339(at?))))));
        target.insert("zone".to_owned(), Value::from(clock.name()));
    }
    Value::Object(target)
}

/// A condition's name for people.
pub(super) fn label(name: &str) -> &str {
    match name {
        "zone" => "Time zone of the form",
        _ => vocabulary::named(name).map_or(name, |condition| condition.label),
    }
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
    use crate::retrieve::ENCRYPTED_KIND;
    use crate::retrieve::vocabulary::Takes;

    /// What stands beside the conditions.
    const PAGING: [&str; 3] = ["order", "after", "limit"];

    fn of(query: &str) -> Result<Asked, Trouble> {
        asked(&Params::parse(query.as_bytes()), &Clock::default(), &PAGING)
    }

    /// Something that fits, for each condition.
    fn example(takes: Takes) -> Vec<&'static str> {
        match takes {
            Takes::Text => vec!["tea"],
            Takes::People | Takes::Rooms => vec!["bob@example.com"],
            Takes::Names => vec!["demo"],
            Takes::Time => vec!["2026-11-22"],
            Takes::Truth => vec!["true", "1"],
            Takes::Words(words) => vocabulary::spellings(words).collect(),
        }
    }

    #[test]
    fn every_condition_of_the_table_is_applied() {
        let nothing = of("").unwrap().query;
        for condition in CONDITIONS {
            for value in example(condition.takes) {
                // A part is one of something.
                let beside = if condition.name == "substring" { "&q=tea" } else { "" };
                let query = of(&format!("{}={value}{beside}", condition.name)).unwrap().query;
                assert_ne!(query, nothing, "{} = {value} has no effect", condition.name);
                assert_ne!(Some(query), of(beside.trim_start_matches('&')).ok().map(|asked| asked.query));
                let lasting = conditions(&format!("{}={value}{beside}", condition.name));
                assert_eq!(lasting.is_ok(), condition.is_lasting, "{}: {lasting:?}", condition.name);
            }
        }
    }

    #[test]
    fn the_form_has_every_condition() {
        let form = include_str!("../../templates/search.html");
        for condition in CONDITIONS {
            assert!(form.contains(&format!("name=\"{}\"", condition.name)), "the form lacks {}", condition.name);
        }
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
    fn people_are_asked_for_together_and_in_the_alternative() {
        let query = of("who=a%40x&any=b%40x%2Cc%40x&every-recipient=d%40x%2Ce%40x").unwrap().query;
        let told: Vec<(Side, usize)> = query.people.iter().map(|people| (people.side, people.any.len())).collect();
        assert_eq!(told, [(Side::Any, 1), (Side::Any, 2), (Side::Recipient, 1), (Side::Recipient, 1)]);
    }

    #[test]
    fn words_are_those_of_the_command_line() {
        let query = of("kind=edit&kind=encrypted&kind=unreadable&direction=unknown&has=attachment&all=1&node=a,b").unwrap().query;
        assert_eq!((query.kinds.as_slice(), query.directions.as_slice()), ([3, ENCRYPTED_KIND, 99].as_slice(), [0].as_slice()));
        assert!(query.has_file && query.all && query.nodes == ["a", "b"]);
        let part = of("q=EA+ime&substring=1").unwrap();
        assert_eq!((part.query.text.len(), part.query.words.is_none()), (2, true));
        assert_eq!(part.hits.spans("Tea time"), [1..3, 5..8]);
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in [
            "who=a%40%40b",
            "any=a%40%40b",
            "every-recipient=a%40%40b",
            "room=a%40%40b",
            "kind=x",
            "from=then",
            "from=2026-11-22&to=2026-11-21",
            "after=x",
            "order=up",
            "order=best",
            "order=best&q=a&substring=1",
            "limit=0",
            "limit=501",
            "q=%22a",
            "q=%2C",
            "direction=up",
            "has=wings",
            "substring=perhaps",
            "sendr=a%40b",
            "nodes=a",
            "format=pdf",
        ] {
            assert!(matches!(of(wrong), Err(Trouble::Wrong(_))), "{wrong}");
        }
        assert!(of(&"room=a%40b&".repeat(MAX_VALUES + 1)).is_err(), "what is left out is told");
        for wrong in ["from=2026-11-22", "id=7", "order=oldest", "rom=a%40b", "has=wings"] {
            assert!(conditions(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let of = |query: &str| read(&Params::parse(query.as_bytes()), &Clock::default(), &PAGING).map(|_| ()).unwrap_err();
        let found = of("who=a%40%40b&kind=x&from=then&to=now&direction=up&has=files&q=tea&romo=x");
        assert_eq!(found.len(), 6, "{found:?}");
        assert_eq!(of("from=2026-11-22&to=2026-11-21").len(), 1, "what does not go together");
    }

    #[test]
    fn the_audit_trail_keeps_the_query() {
        let params = Params::parse(b"q=tea&kind=file&kind=reply&from=2026-11-22&to=2026-11-22&any=a%40b&reason=x&csrf=secret&after=");
        let clock = Clock::of("Europe/Berlin").unwrap();
        let query = read(&params, &clock, &["reason", "csrf", "after"]).unwrap().query;
        let expected = serde_json::json!({
            "store": "main", "q": "tea", "any": "a@b", "kind": ["file", "reply"],
            "from": "2026-11-21T23:00:00.000000Z", "to": "2026-11-22T23:00:00.000000Z", "zone": "Europe/Berlin",
        });
        assert_eq!(target("main", &params, &clock, Some(&query)), expected);
    }
}
