//! Relativity Short Message Format 2.0: `rsmf/NNNN/NNNNNN-DAY-PART.rsmf`, one for each conversation and day.
//!
//! Each is a mail whose one attachment, `rsmf.zip`, holds `rsmf_manifest.json`: the participants, the conversation and its events, as the
//! published JSON Schema of version 2.0.0 has them. Every message is an event. What was done to it later stands with it: corrections
//! as `edits`, reactions, a retraction as `deleted`, and in `custom` what does not count since somebody else did it; whoever got a copy has
//! a read receipt that says so. Joins and leaves of a room are events of their own, and not counted as messages.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Cursor, Read, Write};

use jiff::tz::TimeZone;
use mail_builder::headers::HeaderType;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::text::Text;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{Writer, each_line, eml, mail, text};
use crate::export::ExportError;
use crate::export::changes::Changes;
use crate::export::folder::Folder;
use crate::export::manifest::hex;
use crate::export::record::detail;
use crate::export::told::{file, full_sender, line};
use crate::export::unit::{Item, Unit};
use crate::export::words::{marks, plain};
use crate::message::content::Kind;
use crate::retrieve::{Found, names};
use crate::time::{Micros, rfc3339};

const VERSION: &str = "2.0.0";
const ATTACHMENT: &str = "rsmf.zip";
const MANIFEST: &str = "rsmf_manifest.json";
/// The one conversation of a file.
const CONVERSATION: &str = "C1";
/// The largest manifest that is read back: a unit at its limits, each character escaped.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;

/// Writes RSMF files.
pub(crate) struct Rsmf {
    zone: TimeZone,
}

impl Rsmf {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }
}

impl Writer for Rsmf {
    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        folder.write(&eml::name(unit, "rsmf", "rsmf"), &rsmf(unit, &self.zone)?)
    }

    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError> {
        let mut total = 0;
        folder.each(&mut |name| {
            let mut attachments = mail::Attachments::new(ATTACHMENT);
            each_line(folder, name, &mut |line| {
                if let Some(zip) = attachments.line(line) {
                    total += count(&zip).map_err(|said| ExportError::damaged(&folder.root().join(name), said))?;
                }
                Ok(())
            })
        })?;
        Ok(Some(total))
    }
}

fn rsmf(unit: &Unit, zone: &TimeZone) -> Result<Vec<u8>, ExportError> {
    let people = Numbers::of(unit);
    let manifest = manifest(unit, &people);
    let bytes = serde_json::to_vec(&manifest).map_err(ExportError::format)?;
    let hash = hex(&Sha256::digest(&bytes));
    let events = manifest.get("events").and_then(Value::as_array).map_or(0, Vec::len);
    let names: Vec<String> = unit.people().iter().take(mail::MAX_PEOPLE).map(|person| line(&person.jid).replace(',', " ")).collect();
    let mut message = mail::headers(unit, zone, &hash);
    for (name, value) in [
        ("X-RSMF-Version", VERSION.to_owned()),
        ("X-RSMF-Generator", concat!("xmpp-archiver ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("X-RSMF-BeginDate", rfc3339(unit.first_at())),
        ("X-RSMF-EndDate", rfc3339(unit.last_at())),
        ("X-RSMF-EventCount", events.to_string()),
        ("X-RSMF-AttachmentCount", "0".to_owned()),
        ("X-RSMF-Application", "XMPP".to_owned()),
        ("X-RSMF-Participants", names.join(", ")),
        ("X-RSMF-EventCollectionID", collection(unit)),
    ] {
        message = message.header(name, HeaderType::Text(Text::new(value)));
    }
    let words = ContentType::new("text/plain").attribute("charset", "utf-8");
    let readable = mail::encoded(words, text::unit(unit, zone).as_bytes());
    let zip = mail::encoded(ContentType::new("application/zip"), &zipped(&bytes)?).attachment(ATTACHMENT);
    message.body(mail::multipart("mixed", &hash, vec![readable, zip])).write_to_vec().map_err(ExportError::format)
}

/// The same for all files of a conversation.
fn collection(unit: &Unit) -> String {
    hex(&Sha256::digest(unit.conversation.as_bytes())).get(..32).unwrap_or_default().to_owned()
}

/// Without a time of its own: the earliest that the form knows.
fn zipped(manifest: &[u8]) -> Result<Vec<u8>, ExportError> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    writer.start_file(MANIFEST, options).map_err(ExportError::format)?;
    writer.write_all(manifest).map_err(ExportError::format)?;
    Ok(writer.finish().map_err(ExportError::format)?.into_inner())
}

/// Messages in a zip.
fn count(zip: &[u8]) -> Result<u64, String> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let file = archive.by_name(MANIFEST).map_err(|error| error.to_string())?;
    file.take(MAX_MANIFEST_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let manifest: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let events = manifest.get("events").and_then(Value::as_array).ok_or("it has no events")?;
    let is_message = |event: &&Value| matches!(event.get("type").and_then(Value::as_str), Some("message" | "unknown"));
    Ok(events.iter().filter(is_message).count() as u64)
}

/// The ids of participants.
struct Numbers {
    by_key: HashMap<String, String>,
    participants: Vec<Value>,
}

impl Numbers {
    fn of(unit: &Unit) -> Self {
        let mut numbers = Self { by_key: HashMap::new(), participants: Vec::new() };
        for person in unit.people() {
            let shown = person.nick.as_ref().map_or_else(|| person.jid.clone(), |nick| format!("{nick} ({})", person.jid));
            numbers.add(&person.jid, &shown);
        }
        numbers
    }

    fn add(&mut self, key: &str, shown: &str) {
        if self.by_key.contains_key(key) {
            return;
        }
        let id = format!("P{}", self.by_key.len() + 1);
        self.participants.push(json!({ "id": id, "display": line(shown), "account_id": key }));
        self.by_key.insert(key.to_owned(), id);
    }

    fn id(&self, key: &str) -> Option<&String> {
        self.by_key.get(key)
    }
}

fn manifest(unit: &Unit, people: &Numbers) -> Value {
    let joining = joining(unit);
    let is_there = |person: &&Value| person.get("account_id").and_then(Value::as_str).is_none_or(|key| !joining.contains(key));
    let ids: Vec<&Value> = people.participants.iter().filter(is_there).filter_map(|person| person.get("id")).collect();
    let conversation = json!({
        "id": CONVERSATION,
        "display": line(&unit.conversation),
        "platform": "XMPP",
        "type": if unit.in_room { "channel" } else { "direct" },
        "participants": ids,
        "custom": custom([("Conversation", unit.conversation.clone()), ("Day", unit.day.to_string()), ("Part", unit.part.to_string())]),
    });
    let here: HashMap<i64, ()> = unit.items.iter().map(|item| (item.found.id, ())).collect();
    let mut events: Vec<(i64, u8, Value)> =
        unit.items.iter().map(|item| (item.found.sent_at, 1, event(unit, item, people, &here))).collect();
    for stay in &unit.stays {
        let key = unit.occupant(stay);
        let moved = |kind: &str, at| json!({ "type": kind, "participant": people.id(&key), "conversation": CONVERSATION, "timestamp": rfc3339(at), "custom": custom([("Nick", stay.nick.clone())]) });
        events.extend(Some(stay.joined_at).filter(|at| is_during(unit, *at)).map(|at| (at, 0, moved("join", at))));
        events.extend(stay.left_at.filter(|at| is_during(unit, *at)).map(|at| (at, 2, moved("leave", at))));
    }
    events.sort_by_key(|(at, order, _)| (*at, *order));
    json!({
        "version": VERSION,
        "eventcollectionid": collection(unit),
        "participants": people.participants,
        "conversations": [conversation],
        "events": events.into_iter().map(|(_, _, event)| event).collect::<Vec<_>>(),
    })
}

fn is_during(unit: &Unit, at: Micros) -> bool {
    (unit.first_at()..=unit.last_at()).contains(&at)
}

/// Who comes into a room by an event of this file and was not there before: a channel lists who was in it when the first event happened.
fn joining(unit: &Unit) -> HashSet<String> {
    let (joining, there): (Vec<_>, Vec<_>) = unit.stays.iter().partition(|stay| is_during(unit, stay.joined_at));
    let there: HashSet<String> = there.into_iter().map(|stay| unit.occupant(stay)).collect();
    joining.into_iter().map(|stay| unit.occupant(stay)).filter(|key| !there.contains(key)).collect()
}

fn event(unit: &Unit, item: &Item, people: &Numbers, here: &HashMap<i64, ()>) -> Value {
    let (found, changes) = (&item.found, Changes::of(item));
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| {
        let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !is_empty {
            event.insert(name.to_owned(), value);
        }
    };
    put("id", format!("m{}", found.id).into());
    put("type", if found.kind_name() == "unreadable" { "unknown" } else { "message" }.into());
    put("parent", found.refers_to.filter(|id| here.contains_key(id)).map(|id| format!("m{id}")).into());
    put("body", plain(found).into());
    put("participant", people.id(&unit.key_of(found)).cloned().into());
    put("conversation", CONVERSATION.into());
    put("timestamp", rfc3339(found.sent_at).into());
    put("deleted", changes.is_retracted().then_some(true).into());
    put("edits", edits(unit, item, &changes, people).into());
    put("reactions", reactions(unit, item, people).into());
    put("read_receipts", receipts(item, people).into());
    put("custom", about(item, &changes));
    Value::Object(event)
}

fn edits(unit: &Unit, item: &Item, changes: &Changes, people: &Numbers) -> Vec<Value> {
    let mut previous = item.found.body.clone().unwrap_or_default();
    let edit = |amendment: &Found| {
        let new = amendment.body.clone().unwrap_or_default();
        let by = people.id(&unit.key_of(amendment));
        let edit = json!({ "participant": by, "timestamp": rfc3339(amendment.sent_at), "previous": previous, "new": new });
        previous = new;
        edit
    };
    changes.corrections().map(edit).collect()
}

/// The last reactions of each person (XEP-0444 §4.2: they replace those before), counted by emoji.
fn reactions(unit: &Unit, item: &Item, people: &Numbers) -> Vec<Value> {
    let mut last: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for reaction in item.amendments.iter().filter(|amendment| amendment.kind == Kind::Reaction as i16) {
        let list = detail(reaction).and_then(|detail| detail.get("reactions").cloned());
        let emoji = list.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str).filter(|one| !one.is_empty());
        last.insert(unit.key_of(reaction), emoji.map(str::to_owned).collect());
    }
    let mut by_emoji: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (key, list) in &last {
        for emoji in list {
            by_emoji.entry(emoji).or_default().extend(people.id(key));
        }
    }
    by_emoji.into_iter().map(|(value, ids)| json!({ "value": value, "count": ids.len(), "participants": ids })).collect()
}

/// Who got a copy, and when the first one.
fn receipts(item: &Item, people: &Numbers) -> Vec<Value> {
    const RECEIVED: i16 = 2;
    let mut first: BTreeMap<&String, i64> = BTreeMap::new();
    for copy in item.found.deliveries.iter().filter(|copy| copy.direction == RECEIVED) {
        if let Some(recipient) = &copy.recipient {
            let at = first.entry(recipient).or_insert(copy.at);
            *at = (*at).min(copy.at);
        }
    }
    let receipt =
        |(jid, at): (&String, i64)| people.id(jid).map(|id| json!({ "participant": id, "timestamp": rfc3339(at), "action": "delivered" }));
    first.into_iter().filter_map(receipt).collect()
}

/// What the form has no place for.
fn about(item: &Item, changes: &Changes) -> Value {
    let found = &item.found;
    let mut all = vec![
        ("Message number", found.id.to_string()),
        ("Kind", found.kind_name().to_owned()),
        ("Known by", names::via(found.via).to_owned()),
    ];
    let mut put = |name, value: Option<String>| all.extend(value.map(|value| (name, value)));
    put("Resource", found.sender_resource.clone());
    put("Direction", Some(names::direction(found.direction).to_owned()));
    put("Refers to", found.refers_to.map(|id| id.to_string()));
    put("Stanza id", found.stanza_id.clone());
    put("File", file(found));
    put("Marks", Some(marks(found).join("; ")).filter(|marks| !marks.is_empty()));
    for bounce in &found.bounces {
        put("Bounced", Some(format!("{} from {}", bounce.condition, bounce.from.as_deref().unwrap_or("the server"))));
    }
    for change in changes.without_effect() {
        put("Change without effect", Some(without_effect(change)));
    }
    custom(all)
}

/// It may be no event of this export.
fn without_effect(change: &Found) -> String {
    let beside: String = marks(change).iter().map(|mark| format!(" [{mark}]")).collect();
    let (at, kind, by) = (rfc3339(change.sent_at), change.kind_name(), full_sender(change));
    format!("{at} #{} {kind} by {by}: {}{beside}", change.id, plain(change))
}

/// Pairs of a name and a value; values must not be empty.
fn custom<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Value {
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    pairs.map(|(name, value)| json!({ "name": name, "value": line(&value) })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::changes::tests::attacked;
    use crate::export::unit::tests::unit;
    use crate::retrieve::Stay;

    #[test]
    fn an_event_tells_what_became_of_it() {
        let unit = unit(&["a"]);
        let manifest = manifest(&unit, &Numbers::of(&unit));
        let event = &manifest["events"][0];
        assert_eq!((&event["id"], &event["type"], &event["participant"]), (&"m17".into(), &"message".into(), &"P1".into()));
        assert_eq!((&event["edits"][0]["previous"], &event["edits"][0]["new"]), (&"a".into(), &"=1+2".into()));
        assert_eq!((&event["reactions"][0]["value"], &event["deleted"]), (&"👍".into(), &true.into()));
        assert_eq!((&event["read_receipts"][0]["participant"], &manifest["conversations"][0]["type"]), (&"P2".into(), &"direct".into()));
    }

    #[test]
    fn whoever_joins_during_a_file_was_not_there_before() {
        let mut unit = unit(&["a", "b"]);
        (unit.in_room, unit.conversation) = (true, "room@rooms.example.com".to_owned());
        let stay = |nick: &str, joined_at| Stay { nick: nick.to_owned(), jid: None, resource: None, joined_at, left_at: None };
        let (before, during) = (unit.first_at() - 1, unit.first_at() + 1);
        unit.stays = vec![stay("old", before), stay("new", during), stay("twice", before), stay("twice", during)];
        let manifest = manifest(&unit, &Numbers::of(&unit));
        let id = |nick: &str| {
            let found = manifest["participants"]
                .as_array()
                .unwrap()
                .iter()
                .find(|person| person["account_id"] == format!("{}/{nick}", unit.conversation));
            found.unwrap()["id"].clone()
        };
        let there = manifest["conversations"][0]["participants"].as_array().unwrap();
        assert!(there.contains(&id("old")) && there.contains(&id("twice")) && !there.contains(&id("new")), "{there:?}");
        assert_eq!(manifest["events"].as_array().unwrap().iter().filter(|event| event["type"] == "join").count(), 2);
    }

    #[test]
    fn what_somebody_else_did_deletes_and_edits_nothing_and_is_told() {
        let mut unit = unit(&["a"]);
        unit.items = vec![attacked()];
        let event = &manifest(&unit, &Numbers::of(&unit))["events"][0];
        assert_eq!((event.get("deleted"), event.get("edits")), (None, None), "{event}");
        let custom: Vec<&Value> =
            event["custom"].as_array().unwrap().iter().filter(|pair| pair["name"] == "Change without effect").collect();
        let told: Vec<&str> = custom.iter().filter_map(|pair| pair["value"].as_str()).collect();
        assert_eq!(told.len(), 4, "{event}");
        assert!(told[0].contains("#31 retraction by mallory@example.com") && told[0].contains("[not by the author"), "{told:?}");
        assert!(told[1].contains("#32 correction by mallory@example.com [desk]: forged 32 [not by the author"), "{told:?}");
    }

    /// What the attachments of a file hold.
    fn read_back(file: &[u8]) -> Vec<Result<u64, String>> {
        let mut attachments = mail::Attachments::new(ATTACHMENT);
        let lines = file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.filter_map(|line| attachments.line(line)).map(|zip| count(&zip)).collect()
    }

    #[test]
    fn the_same_unit_gives_the_same_file_and_its_events_are_counted() {
        let unit = unit(&["a", "b"]);
        let file = rsmf(&unit, &TimeZone::UTC).unwrap();
        assert_eq!(file, rsmf(&unit, &TimeZone::UTC).unwrap());
        assert_eq!(read_back(&file), [Ok(2)]);
    }

    #[test]
    fn no_nick_looks_like_a_boundary_or_a_file() {
        for nick in
            ["boundary=\"x\"", "filename=\"rsmf.zip\"", "Content-Type: a; boundary=\"x\"", "Content-Disposition: filename=\"rsmf.zip\""]
        {
            let mut unit = unit(&["a", "b"]);
            (unit.in_room, unit.conversation) = (true, "room@rooms.example.com".to_owned());
            // A header that is longer than a line would be encoded.
            for item in &mut unit.items {
                (item.found.sender, item.found.sender_nick, item.found.recipient) = (None, Some(nick.to_owned()), None);
                (item.found.deliveries, item.amendments) = (Vec::new(), Vec::new());
            }
            let file = rsmf(&unit, &TimeZone::UTC).unwrap();
            let is_there = String::from_utf8_lossy(&file)
                .replace("\r\n ", " ")
                .contains(&format!("\nX-RSMF-Participants: {}/{nick}\r\n", unit.conversation));
            assert!(is_there, "{nick}: the headers do not have it as it is any more");
            assert_eq!(read_back(&file), [Ok(2)], "{nick}");
        }
    }
}
