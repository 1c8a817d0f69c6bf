//! A Concordance load file: `loadfile.dat` with a line for each message, the text of each in `text/`, and the mail of its conversation
//! and day in `natives/`.
//!
//! UTF-8 with a byte order mark. Fields stand between þ (U+00FE) and are parted by U+0014; ® (U+00AE) stands for a line feed within a
//! field, as RelativityOne reads such files by default. The three can't occur in a field, so in a field þ becomes "th", ® becomes "(R)",
//! and every control character its picture (U+2400 and on). The files in `text/` and `natives/` hold the text as it was.

use jiff::tz::TimeZone;

use super::{Writer, each_line, eml, mail, text};
use crate::export::ExportError;
use crate::export::changes::Changes;
use crate::export::columns::delivered_to;
use crate::export::folder::Folder;
use crate::export::told::full_sender;
use crate::export::unit::{Item, Unit, stamp};
use crate::export::words::{marks, plain, time};
use crate::message::content::Kind;
use crate::retrieve::names;

const FILE: &str = "loadfile.dat";
const QUOTE: char = '\u{fe}';
const SEPARATOR: char = '\u{14}';
const LINE_FEED: char = '\u{ae}';
/// Texts of one directory.
const PER_DIRECTORY: i64 = 1_000;

const FIELDS: [&str; 27] = [
    "BEGDOC",
    "ENDDOC",
    "GROUPID",
    "MESSAGEID",
    "CONVERSATION",
    "CONVERSATIONTYPE",
    "DATESENT",
    "TIMESENT",
    "TIMEZONE",
    "DATETIMESENT",
    "DATETIMERECEIVED",
    "FROM",
    "FROMJID",
    "FROMNICK",
    "TO",
    "DELIVEREDTO",
    "KIND",
    "SUBJECT",
    "BODY",
    "REFERSTO",
    "EDITED",
    "DELETED",
    "REACTIONS",
    "BOUNCES",
    "MARKS",
    "TEXTPATH",
    "NATIVEPATH",
];

/// Writes a load file.
pub(crate) struct Dat {
    zone: TimeZone,
}

impl Dat {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }
}

impl Writer for Dat {
    fn begin(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.append(FILE, format!("\u{feff}{}", line(FIELDS.map(str::to_owned).iter())).as_bytes())
    }

    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        let native = eml::name(unit, "natives", "eml");
        folder.write(&native, &mail::mail(unit, &self.zone)?)?;
        for item in &unit.items {
            let text_path = format!("text/{:07}/{}.txt", item.found.id / PER_DIRECTORY, control_number(item.found.id));
            folder.write(&text_path, text::message(item, &self.zone).as_bytes())?;
            let fields = fields(unit, item, &self.zone, &text_path, &native);
            folder.append(FILE, line(fields.iter()).as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.close(FILE)
    }

    /// Lines whose text is there.
    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError> {
        let mut lines: u64 = 0;
        each_line(folder, FILE, &mut |line| {
            let separators = String::from_utf8_lossy(line).matches(SEPARATOR).count();
            lines += u64::from(separators == FIELDS.len() - 1);
            Ok(())
        })?;
        let mut texts = 0;
        folder.each(&mut |name| {
            texts += u64::from(name.starts_with("text/"));
            Ok(())
        })?;
        Ok(Some(lines.saturating_sub(1).min(texts)))
    }
}

/// The same message has the same number in every export.
fn control_number(id: i64) -> String {
    format!("XA{id:012}")
}

fn fields(unit: &Unit, item: &Item, zone: &TimeZone, text_path: &str, native: &str) -> Vec<String> {
    let found = &item.found;
    let number = control_number(found.id);
    let changes = Changes::of(item);
    let yes = |holds: bool| if holds { "Y" } else { "N" };
    let reactions =
        item.amendments.iter().filter(|one| one.kind == Kind::Reaction as i16).map(|one| format!("{}: {}", full_sender(one), plain(one)));
    let bounces =
        found.bounces.iter().map(|bounce| format!("{} from {}", bounce.condition, bounce.from.as_deref().unwrap_or("the server")));
    let mut marks = marks(found);
    marks.extend(without_effect(&changes));
    marks.push(format!("via {}", names::via(found.via)));
    vec![
        number.clone(),
        number,
        format!("XA{}", unit.file_stem()),
        found.id.to_string(),
        unit.conversation.clone(),
        if unit.in_room { "room" } else { "direct" }.to_owned(),
        time(found.sent_at, zone, "%m/%d/%Y"),
        time(found.sent_at, zone, "%T"),
        crate::export::words::zone_name(zone),
        stamp(found.sent_at, zone),
        stamp(found.received_at, zone),
        full_sender(found),
        found.sender.clone().unwrap_or_default(),
        found.sender_nick.clone().unwrap_or_default(),
        found.recipient.clone().unwrap_or_default(),
        delivered_to(found).join("; "),
        found.kind_name().to_owned(),
        found.subject.clone().unwrap_or_default(),
        plain(found),
        found.refers_to.map(control_number).unwrap_or_default(),
        yes(changes.corrections().next().is_some()).to_owned(),
        yes(changes.is_retracted()).to_owned(),
        reactions.collect::<Vec<_>>().join("; "),
        bounces.collect::<Vec<_>>().join("; "),
        marks.join("; "),
        windows(text_path),
        windows(native),
    ]
}

/// That somebody did something to it that does not count.
fn without_effect(changes: &Changes) -> Option<String> {
    let count = changes.without_effect().count();
    (count > 0).then(|| format!("{count} {} without effect", if count == 1 { "change" } else { "changes" }))
}

/// Review tools run on Windows.
fn windows(path: &str) -> String {
    path.replace('/', "\\")
}

fn line<'a>(fields: impl Iterator<Item = &'a String>) -> String {
    let mut line = String::new();
    for (at, field) in fields.enumerate() {
        if at > 0 {
            line.push(SEPARATOR);
        }
        line.push(QUOTE);
        escape(field, &mut line);
        line.push(QUOTE);
    }
    line.push_str("\r\n");
    line
}

fn escape(field: &str, line: &mut String) {
    let mut characters = field.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => line.push(LINE_FEED),
            QUOTE => line.push_str("th"),
            LINE_FEED => line.push_str("(R)"),
            '\t' => line.push(' '),
            '\0'..='\u{1f}' => line.extend(char::from_u32(0x2400 + u32::from(character))),
            _ => line.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::changes::tests::attacked;
    use crate::export::unit::tests::unit;

    #[test]
    fn fields_hold_no_delimiter() {
        let mut text = String::new();
        escape("a\r\nb\nþ\u{14}®\0c", &mut text);
        assert_eq!(text, "a®b®th␔(R)␀c");
        let unit = unit(&["x"]);
        let fields = fields(&unit, &unit.items[0], &TimeZone::UTC, "text/a", "natives/b");
        assert_eq!(fields.len(), FIELDS.len());
        assert_eq!(fields[0], "XA000000000017");
        assert_eq!(line(fields.iter()).matches(SEPARATOR).count(), FIELDS.len() - 1);
    }

    #[test]
    fn what_somebody_else_did_edits_and_deletes_nothing_and_is_marked() {
        let unit = unit(&["x"]);
        let of = |item: &Item| {
            let fields = fields(&unit, item, &TimeZone::UTC, "text/a", "natives/b");
            let named = |name: &str| fields[FIELDS.iter().position(|field| *field == name).unwrap()].clone();
            [named("EDITED"), named("DELETED"), named("MARKS")]
        };
        assert_eq!(of(&unit.items[0]), ["Y", "Y", "via live"]);
        assert_eq!(of(&attacked()), ["N", "N", "4 changes without effect; via live"]);
    }
}
