//! A unit as plain text: what mails and load files show.
//!
//! A line that goes on a message begins with a bar, so that no message can look like the next one.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use crate::export::told::{NoteKind, Told};
use crate::export::unit::{Item, Unit};
use crate::export::words::zone_name;

/// The whole unit.
pub(crate) fn unit(unit: &Unit, zone: &TimeZone) -> String {
    let mut text = format!("{}\nTimes: {}\n\n", unit.title(), zone_name(zone));
    for item in &unit.items {
        text.push_str(&message(item, zone));
    }
    text
}

/// One message.
pub(crate) fn message(item: &Item, zone: &TimeZone) -> String {
    let told = Told::of(item, zone);
    let mut text = format!("{}\n", told.heading());
    for line in told.body.split('\n').filter(|_| !told.body.is_empty()) {
        let _ = writeln!(text, "│ {line}");
    }
    for note in &told.notes {
        let _ = writeln!(text, "  {} {}", sign(note.kind), note.text.replace('\n', "\n    │ "));
    }
    text.push('\n');
    text
}

/// The sign of a note where there are no colours.
pub(crate) fn sign(kind: NoteKind) -> &'static str {
    match kind {
        NoteKind::Edit => "✎",
        NoteKind::Retraction => "✗",
        NoteKind::Reaction => "☺",
        NoteKind::Bounce => "!",
        NoteKind::File => "⎘",
        NoteKind::Delivery => "→",
        NoteKind::Mark => "·",
    }
}
