//! Reviewers with a scope of each sort, and by hand which messages are within it.

use std::collections::BTreeSet;

use serde_json::Value;
use xmpp_archiver::access::Scope;
use xmpp_archiver::time::{parse_stamp, rfc3339};

use super::site::WITHIN;

/// The accounts, each with a scope of another sort: a person, a domain, a group, a room, a time.
pub(super) const REVIEWERS: [&str; 5] = ["reviewer", "of-domain", "of-group", "of-room", "of-time"];
/// A domain of which nobody has an account here.
const ABROAD: &str = "nordtimber.example";
const HERE: &str = "lindqvist.example";
const ROOM: &str = "workshop@rooms.lindqvist.example";
/// The group that a scope names, and who is in it.
pub(super) const GROUP: &str = "visitors";
pub(super) const MEMBER: &str = "eve@lindqvist.example";

fn set(entry: &str) -> BTreeSet<String> {
    [entry.to_owned()].into()
}

/// The scope of an account.
pub(super) fn scope(account: &str, messages: &[Value]) -> Scope {
    match account {
        "reviewer" => Scope { who: set(WITHIN), ..Scope::default() },
        "of-domain" => Scope { who: set(ABROAD), ..Scope::default() },
        "of-group" => Scope { groups: set(GROUP), ..Scope::default() },
        "of-room" => Scope { rooms: set(ROOM), ..Scope::default() },
        "of-time" => {
            let mut times: Vec<&str> = messages.iter().filter_map(|message| message["sent_at"].as_str()).collect();
            times.sort_unstable();
            // What is hostile came last.
            let third = |number: usize| parse_stamp(times[number * times.len() / 3]);
            Scope { who: set(HERE), from: third(1), to: third(2), ..Scope::default() }
        }
        other => panic!("{other} is no reviewer"),
    }
}

/// Whether somebody is one whose messages the scope holds.
pub(super) fn has_person(scope: &Scope, jid: &str) -> bool {
    let domain = jid.split('@').next_back().expect("a domain");
    scope.who.contains(jid) || scope.who.contains(domain) || (scope.groups.contains(GROUP) && jid == MEMBER)
}

/// Whether a scope holds a message, by what the command line says of the message.
pub(super) fn holds(scope: &Scope, message: &Value) -> bool {
    let is_one = |value: &Value| value.as_str().is_some_and(|jid| has_person(scope, jid));
    let got = message["deliveries"].as_array().expect("copies").iter().any(|copy| is_one(&copy["recipient"]));
    let name = message["conversation"].as_str().expect("a name");
    let ends = message["room"].is_null() && name.split(' ').any(|end| has_person(scope, end));
    let in_room = message["room"].as_str().is_some_and(|room| scope.rooms.contains(room));
    let at = message["sent_at"].as_str().expect("a time");
    let in_time = scope.from.is_none_or(|from| at >= rfc3339(from).as_str()) && scope.to.is_none_or(|to| at < rfc3339(to).as_str());
    in_time && (is_one(&message["sender"]) || is_one(&message["recipient"]) || got || ends || in_room)
}
