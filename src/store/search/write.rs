//! The statements that write a batch of the index.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::OVERFLOW;
use super::read::{Found, Message};
use crate::message::content::file_name;
use crate::store::Connection;
use crate::words::{Words, plain};

/// A message with more than this of different words is found by each search and looked at: a tsvector may have 1 MiB.
const MAX_WORDS_BYTES: usize = 256 * 1024;
/// Most bytes of a statement, below every server's limit.
const STATEMENT_BYTES: usize = 1024 * 1024;

/// `participations.roles`: wrote it.
pub(crate) const WROTE: i16 = 1;
/// `participations.roles`: it was for them, or a copy went to them.
pub(crate) const GOT: i16 = 2;

/// Every statement of a batch that begins at `first`; messages before that have their words already.
pub(super) fn statements(connection: &Connection, found: &Found, first: i64) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(participations(connection, found));
    let new = || found.messages.iter().filter(|message| message.id >= first);
    let words: Vec<(&Message, String)> = new().filter_map(|message| Some((message, words(connection, message)?))).collect();
    match connection {
        Connection::Sqlite(_) => {
            let rows = words.iter().map(|(message, _)| format!("({}, {})", message.id, message.sent_at));
            all.extend(inserts("INSERT INTO search_index (message_id, sent_at) VALUES ", rows, ""));
            let rows = words.iter().map(|(message, words)| format!("({}, '{words}')", message.id));
            all.extend(inserts("INSERT INTO search_words (rowid, words) VALUES ", rows, ""));
        }
        Connection::Postgres(_) => {
            let rows = words.iter().map(|(message, words)| format!("({}, {}, '{words}')", message.id, message.sent_at));
            let head = "INSERT INTO search_index (message_id, sent_at, words) \
                SELECT v.m, v.s, array_to_tsvector(string_to_array(v.w, ' ')) FROM (VALUES ";
            all.extend(inserts(head, rows, ") AS v (m, s, w)"));
        }
        Connection::Mysql(_) => {
            let rows = words.iter().map(|(message, words)| format!("({}, {}, '{words}')", message.id, message.sent_at));
            all.extend(inserts("INSERT INTO search_index (message_id, sent_at, words) VALUES ", rows, ""));
        }
    }
    all
}

/// The different words of a message with spaces between them; none where it has none.
fn words(connection: &Connection, message: &Message) -> Option<String> {
    let file = message.detail.as_deref().and_then(file_name);
    let words = Words::of([message.body.as_deref(), message.subject.as_deref(), file.as_deref()].into_iter().flatten());
    let mut line = String::new();
    for word in words.set().into_iter().filter(|word| !word.contains(['\'', '\\', ' ', '\0'])) {
        if !line.is_empty() {
            line.push(' ');
        }
        match connection {
            Connection::Mysql(_) => line.push_str(&plain(word)),
            _ => line.push_str(word),
        }
        if line.len() > MAX_WORDS_BYTES {
            let code = if matches!(connection, Connection::Mysql(_)) { plain(OVERFLOW) } else { OVERFLOW.to_owned() };
            return Some(code);
        }
    }
    (!line.is_empty()).then_some(line)
}

fn participations(connection: &Connection, found: &Found) -> Vec<String> {
    let conflict = match connection {
        Connection::Mysql(_) => " ON DUPLICATE KEY UPDATE roles = roles | VALUES(roles)",
        _ => " ON CONFLICT (jid_id, sent_at, message_id) DO UPDATE SET roles = participations.roles | excluded.roles",
    };
    let mut rows: Vec<(i32, i64, i64, i16)> = Vec::new();
    for message in &found.messages {
        let reached = found.reached.get(&message.id).map(Vec::as_slice).unwrap_or_default();
        rows.extend(people(message, reached).into_iter().map(|(jid, roles)| (jid, message.sent_at, message.id, roles)));
    }
    // In the order of the key a B-tree is filled with the fewest steps.
    rows.sort_unstable();
    let rows = rows.into_iter().map(|(jid, sent_at, message, roles)| format!("({jid}, {sent_at}, {message}, {roles})"));
    inserts("INSERT INTO participations (jid_id, sent_at, message_id, roles) VALUES ", rows, conflict)
}

/// Everybody who took part, with what they did.
fn people(message: &Message, reached: &[i32]) -> BTreeMap<i32, i16> {
    let mut people = BTreeMap::new();
    if let Some(sender) = message.sender_id {
        people.insert(sender, WROTE);
    }
    let mut add = |jid: i32| *people.entry(jid).or_insert(0) |= GOT;
    message.recipient_id.into_iter().for_each(&mut add);
    let others = [message.first_id, message.second_id].into_iter().flatten().chain(reached.iter().copied());
    others.filter(|jid| message.sender_id != Some(*jid)).for_each(&mut add);
    people
}

/// Statements of at most so many bytes that insert these rows.
fn inserts(head: &str, rows: impl Iterator<Item = String>, tail: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut statement = String::new();
    for row in rows {
        let between = if statement.is_empty() { head } else { ", " };
        let _ = write!(statement, "{between}{row}");
        if statement.len() > STATEMENT_BYTES {
            all.push(std::mem::take(&mut statement) + tail);
        }
    }
    if !statement.is_empty() {
        all.push(statement + tail);
    }
    all
}
