//! A message in few words, for people: what it says, or what it does where it says nothing.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::record::detail;
use crate::message::address::unescape;
use crate::message::content::{Kind, flags};
use crate::retrieve::Found;
use crate::time::Micros;

/// What it says or does, control characters made visible; line feeds stay.
pub(crate) fn said(found: &Found) -> String {
    let mut words = visible(&plain(found));
    for mark in marks(found) {
        let _ = write!(words, " [{mark}]");
    }
    words.trim_start().to_owned()
}

pub(crate) fn plain(found: &Found) -> String {
    let detail = detail(found).unwrap_or_default();
    let part = |key: &str| detail.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let body = || found.body.clone().unwrap_or_default();
    let reason = match part("reason") {
        reason if reason.is_empty() => reason,
        reason => format!(": {reason}"),
    };
    let is = |kind: Kind| kind as i16 == found.kind;
    if is(Kind::Reaction) {
        let all: Vec<&str> = detail.get("reactions").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        return if all.is_empty() { "takes reactions back".to_owned() } else { all.join(" ") };
    }
    match () {
        () if is(Kind::Retraction) => "retracts it".to_owned(),
        () if is(Kind::Moderation) => format!("retracts it as a moderator{reason}"),
        () if is(Kind::Subject) => format!("sets the subject: {}", found.subject.as_deref().unwrap_or_default()),
        () if is(Kind::Invitation) => format!("invites {}{reason}", part("room")),
        () if is(Kind::Declined) => format!("declines the invitation{reason}"),
        () if is(Kind::Call) => format!("call: {}", part("action")),
        () if is(Kind::Receipt) => "has received it".to_owned(),
        () if is(Kind::Marker) => format!("marks it as {}", part("marker")),
        () if is(Kind::ChatState) => format!("is {}", part("state")),
        () if is(Kind::File) && found.body.is_none() => format!("file: {} {}", part("name"), part("url")),
        () => found.subject.as_ref().map_or_else(body, |subject| format!("{subject}: {}", body())),
    }
}

/// What a reader must know beside the words.
pub(crate) fn marks(found: &Found) -> Vec<String> {
    let mut marks = Vec::new();
    let mut mark = |holds: bool, text: &str| marks.extend(holds.then(|| text.to_owned()));
    mark(found.is_encrypted(), "encrypted");
    mark(found.kind_name() == "unreadable", "unreadable, kept as received");
    mark(found.has(flags::PRIVATE_IN_ROOM), "private");
    mark(found.has(flags::FALLBACK_BODY), "fallback text");
    mark(found.has(flags::AUTHOR_MISMATCH), "not by the author of the message it refers to");
    mark(found.possibly_several() > 1, &format!("possibly {} sends", found.possibly_several()));
    mark(!found.bounces.is_empty(), "bounced");
    marks
}

/// Who wrote it: the nick in a room, and the JID where it is known, XEP-0106 escapes undone.
pub(crate) fn sender(found: &Found) -> String {
    let jid = found.sender.as_deref().map(unescape);
    let shown = match (found.sender_nick.as_deref(), jid) {
        (Some(nick), Some(jid)) => format!("{nick} ({jid})"),
        (Some(nick), None) => nick.to_owned(),
        (None, Some(jid)) => jid,
        (None, None) => "unknown".to_owned(),
    };
    visible(&shown).replace('\n', "␊")
}

/// A time of a zone, to the second.
pub(crate) fn time(at: Micros, zone: &TimeZone, format: &str) -> String {
    let Ok(timestamp) = jiff::Timestamp::from_microsecond(at) else { return at.to_string() };
    timestamp.to_zoned(zone.clone()).strftime(format).to_string()
}

/// The name of a zone for people.
pub(crate) fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(|| "local time".to_owned(), str::to_owned)
}

/// Characters that a terminal would obey (control characters, marks that turn the direction of writing) in a form that it shows.
/// A message must not be able to look like another.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push('\n'),
            '\t' => shown.push(' '),
            '\0'..='\u{1f}' => shown.extend(char::from_u32(0x2400 + u32::from(character))),
            '\u{7f}' => shown.push('␡'),
            '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(shown, "<U+{:04X}>", u32::from(character));
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// At most so many characters, on one line.
pub(crate) fn shortened(text: &str, characters: usize) -> String {
    let mut line: String = text.chars().take(characters).map(|character| if character == '\n' { '␊' } else { character }).collect();
    if text.chars().nth(characters).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::sample;

    #[test]
    fn a_terminal_obeys_no_message() {
        assert_eq!(visible("a\u{1b}[2Jb\r\u{7f}\u{202e}c\td\ne"), "a␛[2Jb␍␡<U+202E>c d\ne");
        assert_eq!(shortened("a\nbcdef", 4), "a␊bc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }

    #[test]
    fn each_kind_says_something() {
        let with = |kind: Kind, detail: &str| {
            said(&Found { kind: kind as i16, body: None, subject: None, detail: Some(detail.to_owned()), flags: 0, ..sample() })
        };
        assert_eq!(with(Kind::Reaction, r#"{"reactions":["👍","❤"]}"#), "👍 ❤");
        assert_eq!(with(Kind::Moderation, r#"{"reason":"spam"}"#), "retracts it as a moderator: spam");
        assert_eq!(with(Kind::Invitation, r#"{"room":"r@m"}"#), "invites r@m");
        assert_eq!(with(Kind::Call, r#"{"action":"propose"}"#), "call: propose");
        let encrypted = Found { body: None, flags: flags::ENCRYPTED, ..sample() };
        assert_eq!(said(&encrypted), "[encrypted]");
    }

    #[test]
    fn senders_and_times_are_for_people() {
        assert_eq!(sender(&sample()), "d'artagnan@example.com");
        assert_eq!(sender(&Found { sender: None, sender_nick: Some("A\u{1b}".into()), ..sample() }), "A␛");
        assert_eq!(time(1_795_332_535_173_794, &TimeZone::UTC, "%F %T"), "2026-11-22 07:28:55");
    }
}
