//! A message as a reader of an export needs it, before any format: a heading, what was said, and what must be known beside the words.
//!
//! Text, HTML, mail and PDF all show this. Nothing is replaced: a corrected or retracted message stands as it was written, and what was
//! done to it later stands below it.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::changes::Changes;
use super::columns::delivered_to;
use super::record::detail;
use super::unit::Item;
use super::words::{marks, plain, sender, time, visible};
use crate::message::content::Kind;
use crate::retrieve::{Found, names};

/// The most sessions named as receivers where people read; the data formats name all.
const MAX_RECEIVERS: usize = 50;

/// What a note is about; also its class in HTML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoteKind {
    Edit,
    Retraction,
    Reaction,
    Bounce,
    File,
    Delivery,
    Mark,
}

impl NoteKind {
    /// The word for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Retraction => "retraction",
            Self::Reaction => "reaction",
            Self::Bounce => "bounce",
            Self::File => "file",
            Self::Delivery => "delivery",
            Self::Mark => "mark",
        }
    }
}

/// A line below a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) kind: NoteKind,
    pub(crate) text: String,
}

/// A message to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The archive's number of it.
    pub(crate) id: i64,
    /// When it was sent, as the zone's clock showed it.
    pub(crate) clock: String,
    /// Who wrote it: nick, real JID, resource.
    pub(crate) sender: String,
    /// What it is where it is no plain message, and what it answers.
    pub(crate) what: String,
    /// What was said, control characters made visible.
    pub(crate) body: String,
    /// What must be known beside.
    pub(crate) notes: Vec<Note>,
}

impl Told {
    pub(crate) fn of(item: &Item, zone: &TimeZone) -> Self {
        let found = &item.found;
        Self {
            id: found.id,
            clock: time(found.sent_at, zone, "%T%.6f"),
            sender: full_sender(found),
            what: what(found),
            body: visible(&plain(found)),
            notes: notes(item, zone),
        }
    }

    /// The first line of it.
    pub(crate) fn heading(&self) -> String {
        let what = if self.what.is_empty() { String::new() } else { format!(" · {}", self.what) };
        format!("{} #{} {}{what}", self.clock, self.id, self.sender)
    }
}

/// Nick and JID as elsewhere, and the resource.
pub(crate) fn full_sender(found: &Found) -> String {
    match &found.sender_resource {
        Some(resource) => format!("{} [{}]", sender(found), line(resource)),
        None => sender(found),
    }
}

/// One line of text.
pub(crate) fn line(text: &str) -> String {
    visible(text).replace('\n', "␊")
}

fn what(found: &Found) -> String {
    const MESSAGE: i16 = Kind::Message as i16;
    let kind = (found.kind != MESSAGE).then(|| found.kind_name().to_owned());
    let about = match (found.refers_to, &found.refers_to_id) {
        (Some(id), _) => Some(format!("to #{id}")),
        (None, Some(id)) => Some(format!("to a message that is not here (its id: {})", line(id))),
        (None, None) => None,
    };
    kind.into_iter().chain(about).collect::<Vec<_>>().join(" ")
}

fn notes(item: &Item, zone: &TimeZone) -> Vec<Note> {
    let found = &item.found;
    let mut notes = Vec::new();
    let mut note = |kind, text: String| notes.push(Note { kind, text });
    let changes = Changes::of(item);
    for amendment in &item.amendments {
        let (kind, text) = amended(found, amendment, zone);
        note(kind, if changes.is_without_effect(amendment) { format!("{text} [without effect]") } else { text });
    }
    if item.amendments_cut {
        note(NoteKind::Mark, "more was done to it than stands here".to_owned());
    }
    if let Some(link) = file(found) {
        note(NoteKind::File, link);
    }
    for bounce in &found.bounces {
        let by = bounce.from.as_deref().unwrap_or("the server");
        let because = bounce.text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        note(NoteKind::Bounce, line(&format!("bounced at {}: {} from {by}{because}", time(bounce.at, zone, "%F %T"), bounce.condition)));
    }
    let all = marks(found);
    if !all.is_empty() {
        note(NoteKind::Mark, all.join("; "));
    }
    if found.via != LIVE {
        note(NoteKind::Mark, format!("known by {}, not live", names::via(found.via)));
    }
    note(NoteKind::Delivery, delivered(found));
    notes
}

/// `messages.via` of what was seen as it was said.
const LIVE: i16 = 1;

fn amended(original: &Found, amendment: &Found, zone: &TimeZone) -> (NoteKind, String) {
    let at = time(amendment.sent_at, zone, "%F %T");
    let by = if amendment.sender == original.sender && amendment.sender_nick == original.sender_nick {
        String::new()
    } else {
        format!(" by {}", sender(amendment))
    };
    let says = visible(&plain(amendment));
    let beside: String = marks(amendment).iter().map(|mark| format!(" [{mark}]")).collect();
    let (kind, did) = match amendment.kind {
        kind if kind == Kind::Correction as i16 => (NoteKind::Edit, "corrected"),
        kind if kind == Kind::Reaction as i16 => (NoteKind::Reaction, "reaction"),
        _ => (NoteKind::Retraction, "retracted (what was written stands above)"),
    };
    (kind, format!("{at} #{} {did}{by}: {says}{beside}", amendment.id))
}

/// The link to a file, whose content is not archived.
pub(crate) fn file(found: &Found) -> Option<String> {
    let detail = detail(found)?;
    let url = detail.get("url").and_then(Value::as_str)?;
    let name = detail.get("name").and_then(Value::as_str).map(|name| format!("{name}: ")).unwrap_or_default();
    Some(line(&format!("file, by its link only: {name}{url}")))
}

fn delivered(found: &Found) -> String {
    const RECEIVED: i16 = 2;
    let evidence =
        if found.deliveries.iter().any(|copy| copy.direction == RECEIVED) { "delivered to" } else { "no proof of delivery; seen at" };
    let all = delivered_to(found);
    if all.is_empty() {
        return "no copy names a receiver".to_owned();
    }
    let shown: Vec<&str> = all.iter().take(MAX_RECEIVERS).map(String::as_str).collect();
    let more = all.len().checked_sub(MAX_RECEIVERS).filter(|more| *more > 0).map(|more| format!(" and {more} more")).unwrap_or_default();
    line(&format!("{evidence} {}{more}", shown.join(", ")))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::retrieve::sample;

    /// A message with everything that can be done to one.
    pub(crate) fn rich() -> Item {
        let base = sample();
        let amendment = |id, kind: Kind, body: &str, detail: &str| Found {
            id,
            kind: kind as i16,
            refers_to: Some(17),
            body: Some(body.to_owned()),
            detail: Some(detail.to_owned()),
            sent_at: base.sent_at + id,
            ..base.clone()
        };
        let amendments = vec![
            amendment(18, Kind::Correction, "=1+2", "null"),
            amendment(19, Kind::Reaction, "", r#"{"reactions":["👍"]}"#),
            amendment(20, Kind::Retraction, "", "null"),
        ];
        Item { found: base, amendments: amendments.into_iter().map(Arc::new).collect(), amendments_cut: false }
    }

    #[test]
    fn everything_a_reader_needs_is_told() {
        let told = Told::of(&rich(), &TimeZone::UTC);
        assert_eq!(told.heading(), "07:28:55.173794 #17 d'artagnan@example.com [desk]");
        assert_eq!(told.body, "=1+1\n\"x\"");
        let notes: Vec<(&str, &str)> = told.notes.iter().map(|note| (note.kind.word(), note.text.as_str())).collect();
        assert_eq!(
            notes,
            [
                ("edit", "2026-11-22 07:28:55 #18 corrected: =1+2"),
                ("reaction", "2026-11-22 07:28:55 #19 reaction: 👍"),
                ("retraction", "2026-11-22 07:28:55 #20 retracted (what was written stands above): retracts it"),
                ("delivery", "delivered to bob@example.com/phone, bob@example.com"),
            ]
        );
    }
}
