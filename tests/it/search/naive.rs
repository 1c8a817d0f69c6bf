//! The same query, evaluated message by message.

use std::collections::HashSet;

use xmpp_archiver::retrieve::{ENCRYPTED_KIND, Order, Pattern, Query, Reach, Restriction, Side};
use xmpp_archiver::words::Words;

use super::corpus::{Corpus, Message, PEOPLE, ROOMS};

/// The numbers of what a query finds, in its order.
pub(crate) fn find(corpus: &Corpus, query: &Query, restriction: Option<&Restriction>) -> Vec<i64> {
    let fits = |message: &&Message| fits(message, query) && restriction.is_none_or(|restriction| may_see(message, restriction));
    let mut found: Vec<&Message> = corpus.messages.iter().filter(fits).collect();
    found.sort_by_key(|message| (message.sent_at, message.id));
    if query.order == Order::Descending {
        found.reverse();
    }
    found.iter().map(|message| message.id).collect()
}

pub(crate) fn inside(corpus: &Corpus, restriction: &Restriction) -> HashSet<i64> {
    corpus.messages.iter().filter(|message| may_see(message, restriction)).map(|message| message.id).collect()
}

fn may_see(message: &Message, restriction: &Restriction) -> bool {
    let in_reach = match &restriction.reach {
        Reach::Everybody => true,
        Reach::Only { people, rooms } => {
            let in_room = message.room.is_some_and(|room| rooms.iter().any(|one| one == ROOMS[room]));
            in_room || took_part(message, Side::Any).iter().any(|jid| people.iter().any(|pattern| is(pattern, jid)))
        }
    };
    in_reach && in_time(message, restriction.from, restriction.to)
}

fn in_time(message: &Message, from: Option<i64>, to: Option<i64>) -> bool {
    from.is_none_or(|from| message.sent_at >= from) && to.is_none_or(|to| message.sent_at < to)
}

fn fits(message: &Message, query: &Query) -> bool {
    let written = || [message.body.as_deref(), message.subject.as_deref()].into_iter().flatten();
    let texts = || written().chain(message.file);
    let is_encrypted = message.flags & 1 != 0;
    let has_kind = match query.kinds.as_slice() {
        [] => query.all || !matches!(message.kind, 10..=12),
        kinds => kinds.contains(&message.kind) || (kinds.contains(&ENCRYPTED_KIND) && is_encrypted),
    };
    let node = ["one", "two"][message.node as usize - 1];
    has_kind
        && in_time(message, query.from, query.to)
        && query.words.as_ref().is_none_or(|text| text.is_empty() || text.holds(&Words::of(texts())))
        && query.text.iter().all(|wanted| texts().any(|text| text.to_lowercase().contains(&wanted.to_lowercase())))
        && query.people.iter().all(|people| {
            let there = took_part(message, people.side);
            people.any.iter().any(|pattern| there.iter().any(|jid| is(pattern, jid)))
        })
        && (query.rooms.is_empty() || message.room.is_some_and(|room| query.rooms.iter().any(|one| one == ROOMS[room])))
        && query.conversation.as_ref().is_none_or(|name| *name == name_of(message))
        && (query.directions.is_empty() || query.directions.contains(&message.direction))
        && (query.nodes.is_empty() || query.nodes.iter().any(|one| one == node))
        && query.encrypted.is_none_or(|encrypted| encrypted == is_encrypted)
        && (!query.has_file || message.has_file())
        && (!query.has_link || written().any(|text| text.contains("https://") || text.to_lowercase().contains("mailto:")))
}

fn name_of(message: &Message) -> String {
    match (message.room, message.ends) {
        (Some(room), _) => ROOMS[room].to_owned(),
        (None, Some((one, other))) => {
            let mut ends = [PEOPLE[one], PEOPLE[other]];
            ends.sort_unstable();
            ends.join(" ")
        }
        (None, None) => String::new(),
    }
}

fn took_part(message: &Message, side: Side) -> Vec<&'static str> {
    let person = |index: usize| PEOPLE[index];
    let sender = message.sender.map(person);
    let recipient = message.room.map(|room| ROOMS[room]).or(message.recipient.map(person));
    let reached = message.reached.iter().map(|index| person(*index));
    match side {
        Side::Sender => sender.into_iter().collect(),
        Side::Recipient => recipient.into_iter().chain(reached.filter(|jid| Some(*jid) != sender)).collect(),
        Side::Any => {
            let ends = message.ends.into_iter().flat_map(|(one, other)| [person(one), person(other)]);
            sender.into_iter().chain(recipient).chain(reached).chain(ends).collect()
        }
    }
}

fn is(pattern: &Pattern, jid: &str) -> bool {
    match pattern {
        Pattern::Jid(one) => one == jid,
        Pattern::Domain(domain) => jid == domain || jid.ends_with(&format!("@{domain}")),
        Pattern::Wildcard(pattern) => matches(pattern, jid),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            starts.any(|at| matches(rest, &text[at..]))
        }),
    }
}
