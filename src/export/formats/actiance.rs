//! XML as the products that were Actiance's read it: `messages.xml`, a `FileDump` with a `Conversation` for each conversation and day:
//! who entered, what was said, who left. Times are milliseconds since 1970, UTC.
//!
//! What that form has no place for stands in elements of a namespace of our own, which a reader that does not know it can leave out.
//! Characters that XML 1.0 forbids (§2.2) become their pictures (U+2400 and on) or U+FFFD.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::Writer;
use crate::export::ExportError;
use crate::export::columns::delivered_to;
use crate::export::folder::Folder;
use crate::export::record::amendments;
use crate::export::told::file;
use crate::export::unit::{Item, Unit};
use crate::export::words::{marks, plain};
use crate::retrieve::names;
use crate::time::{Micros, rfc3339};

const FILE: &str = "messages.xml";
/// The namespace of what is our own.
const NAMESPACE: &str = "urn:xmpp-archiver:export:0";

/// Writes XML.
pub(crate) struct Actiance {
    zone: TimeZone,
}

impl Actiance {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }
}

impl Writer for Actiance {
    fn begin(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        let head =
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<FileDump xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xa=\"";
        folder.append(FILE, format!("{head}{NAMESPACE}\">\n").as_bytes())
    }

    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        folder.append(FILE, conversation(unit, &self.zone)?.as_bytes())
    }

    fn finish(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.append(FILE, b"</FileDump>\n")?;
        folder.close(FILE)
    }

    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError> {
        let mut reader = Reader::from_reader(folder.read(FILE)?);
        let (mut total, mut buffer) = (0, Vec::new());
        loop {
            buffer.clear();
            match reader.read_event_into(&mut buffer).map_err(|error| ExportError::damaged(&folder.root().join(FILE), error))? {
                Event::Start(element) if element.name().as_ref() == "Message" => total += 1,
                Event::Eof => return Ok(Some(total)),
                _ => {}
            }
        }
    }
}

fn conversation(unit: &Unit, zone: &TimeZone) -> Result<String, ExportError> {
    let mut text = format!("  <Conversation Perspective=\"{}\">\n", escape(&unit.title()));
    element(&mut text, 4, "RoomID", &unit.conversation);
    element(&mut text, 4, "StartTimeUTC", &milliseconds(unit.first_at()));
    element(&mut text, 4, "xa:Day", &format!("{} {}", unit.day, crate::export::words::zone_name(zone)));
    let (first, last) = (unit.first_at(), unit.last_at());
    let mut present: Vec<(String, Micros, Option<Micros>)> = Vec::new();
    for stay in &unit.stays {
        present.push((unit.occupant(stay), stay.joined_at.max(first), stay.left_at.filter(|left| *left <= last)));
    }
    for person in unit.people() {
        if present.iter().all(|(who, ..)| *who != person.jid) {
            present.push((person.jid, first, None));
        }
    }
    for (who, at, _) in &present {
        participant(&mut text, "ParticipantEntered", who, *at);
    }
    for item in &unit.items {
        message(&mut text, unit, item)?;
    }
    for (who, _, left) in &present {
        participant(&mut text, "ParticipantLeft", who, left.unwrap_or(last));
    }
    element(&mut text, 4, "EndTimeUTC", &milliseconds(last));
    text.push_str("  </Conversation>\n");
    Ok(text)
}

fn participant(text: &mut String, name: &str, who: &str, at: Micros) {
    let _ = writeln!(text, "    <{name}>");
    element(text, 6, "LoginName", who);
    element(text, 6, "UserType", "user");
    element(text, 6, "DateTimeUTC", &milliseconds(at));
    element(text, 6, "CorporateEmailID", who);
    let _ = writeln!(text, "    </{name}>");
}

fn message(text: &mut String, unit: &Unit, item: &Item) -> Result<(), ExportError> {
    let found = &item.found;
    text.push_str("    <Message>\n");
    element(text, 6, "MessageId", &found.id.to_string());
    element(text, 6, "LoginName", &unit.key_of(found));
    element(text, 6, "UserType", "user");
    element(text, 6, "DateTimeUTC", &milliseconds(found.sent_at));
    element(text, 6, "Content", &plain(found));
    let refers_to = found.refers_to.map(|id| id.to_string());
    let amendments = if item.amendments.is_empty() { None } else { Some(amendments(&item.amendments).map_err(ExportError::format)?) };
    let bounces =
        found.bounces.iter().map(|bounce| format!("{} from {}", bounce.condition, bounce.from.as_deref().unwrap_or("the server")));
    let to = delivered_to(found);
    for (name, value) in [
        ("xa:Kind", Some(found.kind_name().to_owned())),
        ("xa:SentAt", Some(rfc3339(found.sent_at))),
        ("xa:Via", Some(names::via(found.via).to_owned())),
        ("xa:Nick", found.sender_nick.clone()),
        ("xa:Resource", found.sender_resource.clone()),
        ("xa:RefersTo", refers_to),
        ("xa:DeliveredTo", Some(to.join("; ")).filter(|to| !to.is_empty())),
        ("xa:File", file(found)),
        ("xa:Bounces", Some(bounces.collect::<Vec<_>>().join("; ")).filter(|bounces| !bounces.is_empty())),
        ("xa:Marks", Some(marks(found).join("; ")).filter(|marks| !marks.is_empty())),
        ("xa:Amendments", amendments),
    ] {
        if let Some(value) = value {
            element(text, 6, name, &value);
        }
    }
    text.push_str("    </Message>\n");
    Ok(())
}

fn element(text: &mut String, indent: usize, name: &str, value: &str) {
    let _ = writeln!(text, "{:indent$}<{name}>{}</{name}>", "", escape(value));
}

fn milliseconds(at: Micros) -> String {
    at.div_euclid(1_000).to_string()
}

/// Text that XML 1.0 can hold. A carriage return would come back as a line feed (§2.11) unless written as a reference.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(character),
            '\r' => escaped.push_str("&#13;"),
            '\0'..='\u{1f}' => escaped.extend(char::from_u32(0x2400 + u32::from(character))),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::unit::tests::unit;

    #[test]
    fn whatever_is_said_it_is_xml() {
        let hostile = "</Content><Message>\0\u{1}\u{ffff}]]>&amp;\r\n";
        let text = conversation(&unit(&[hostile]), &TimeZone::UTC).unwrap();
        assert_eq!(text.matches("<Message>").count(), 1);
        assert!(text.contains("<Content>&lt;/Content&gt;&lt;Message&gt;␀␁\u{fffd}]]&gt;&amp;amp;&#13;\n</Content>"), "{text}");
        assert_eq!(text.matches("<ParticipantEntered>").count(), 2);
    }
}
