//! What `demo` tells about the archive as a whole: how many messages of which kind, in which conversations.

use std::collections::{BTreeMap, BTreeSet};

use super::table;
use crate::demo::corpus::Corpus;
use crate::retrieve::Found;

/// The counts, a table by kind and one by conversation.
pub(super) fn summary(corpus: &Corpus, found: &[Found]) -> String {
    let copies: usize = found.iter().map(|message| message.deliveries.len()).sum();
    let bounces: usize = found.iter().map(|message| message.bounces.len()).sum();
    format!(
        "{} stanzas mirrored, {copies} of them copies of messages, {bounces} an error for one.\n\
         {} messages archived, each once, each copy a delivery of its message: exactly what was said.\n\n{}\n{}",
        corpus.lines().len(),
        found.len(),
        by_kind(found),
        by_conversation(found),
    )
}

fn by_kind(found: &[Found]) -> String {
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for message in found {
        let (messages, copies) = kinds.entry(message.kind_name()).or_default();
        *messages += 1;
        *copies += message.deliveries.len();
    }
    let row = |(kind, (messages, copies)): (&str, (usize, usize))| [kind.to_owned(), messages.to_string(), copies.to_string()];
    table::render(["Kind", "Messages", "Copies"], kinds.into_iter().map(row))
}

fn by_conversation(found: &[Found]) -> String {
    let mut conversations: BTreeMap<(bool, &str), (usize, BTreeSet<&str>)> = BTreeMap::new();
    for message in found {
        let (messages, people) = conversations.entry((message.in_room, &message.conversation)).or_default();
        *messages += 1;
        people.extend(message.sender.as_deref());
    }
    let row = |((in_room, name), (messages, people)): ((bool, &str), (usize, BTreeSet<&str>))| {
        let kind = if in_room { "room" } else { "direct" };
        [name.replace(' ', " and "), kind.to_owned(), messages.to_string(), people.len().to_string()]
    };
    table::render(["Conversation", "Kind", "Messages", "Writers"], conversations.into_iter().map(row))
}
