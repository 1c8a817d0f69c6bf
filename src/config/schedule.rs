//! `[[export]]`: exports by the clock, and where they are delivered.

use std::path::PathBuf;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::mistake::Mistake;
use super::operation::EmailConfig;
use super::read::Remarks;
use super::read_operation::{read_email, require};
use super::s3::{S3Config, read_s3};
use super::section::{Section, entry_text};
use super::{NodeConfig, defaults, read};
use crate::export::Format;

/// The formats by their words.
const FORMATS: [(&str, Format); 9] = [
    ("jsonl", Format::Jsonl),
    ("csv", Format::Csv),
    ("eml", Format::Eml),
    ("mbox", Format::Mbox),
    ("html", Format::Html),
    ("pdf", Format::Pdf),
    ("rsmf", Format::Rsmf),
    ("dat", Format::Dat),
    ("xml", Format::Xml),
];

/// An export that is made each day, of what is new since the one before.
#[derive(Clone, Debug, Serialize)]
pub struct ScheduleConfig {
    /// What logs, alarms and the audit trail call it.
    pub name: String,
    /// The store.
    pub store: String,
    /// The conditions as they stand in the address of a search in the console; empty is everything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// The format.
    pub format: Format,
    /// Whether each message comes with its original stanza.
    pub xml: bool,
    /// When, each day.
    #[serde(serialize_with = "clock")]
    pub at: Time,
    /// The time zone of that, of days in the export, and of the times that people read, by its IANA name.
    pub zone: String,
    /// The directory with the exports, or with what is known of those that were delivered elsewhere.
    pub path: PathBuf,
    /// The journal mailbox that it is sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<EmailConfig>,
    /// The bucket that it is put into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Config>,
}

impl ScheduleConfig {
    /// The zone's rules.
    pub fn rules(&self) -> TimeZone {
        TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC)
    }

    /// The nodes that its conditions name and the configuration does not have. That is no mistake: the archive may hold messages of a node that is
    /// no longer there.
    pub fn strange_nodes(&self, nodes: &[NodeConfig]) -> Vec<String> {
        let named = crate::web::conditions(&self.query).map(|query| query.nodes).unwrap_or_default();
        named.into_iter().filter(|name| nodes.iter().all(|node| node.name != *name)).collect()
    }
}

fn clock<S: Serializer>(at: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.strftime("%H:%M").to_string())
}

/// Reads the table; `None` if a key that must be there is missing or wrong.
pub(super) fn read_schedule(mut section: Section<'_>, stores: &[String], remarks: &mut Remarks) -> Option<ScheduleConfig> {
    let mail = read_email(section.table("mail"), remarks);
    let name = read::plain_name(&mut section, defaults::EXPORT_NAME);
    let s3 = read_s3(section.table("s3"), name.as_deref(), remarks);
    let store = store(&mut section, stores);
    let query = query(&mut section);
    let format = section.choice("format", &FORMATS, if mail.is_some() { Format::Eml } else { Format::Jsonl });
    let at = at(&mut section);
    let zone = zone(&mut section);
    let path = section.text("path").map(PathBuf::from);
    require(&mut section, "path", path.is_some(), "must be a directory for the exports");
    if mail.is_some() && format != Format::Eml {
        let key = section.key("format");
        section.push(Mistake::at(key, "must be eml where the export is sent by mail"));
    }
    if mail.is_some() && s3.is_some() {
        let key = section.key("s3");
        section.push(Mistake::at(key, "stands beside mail; must be one of the two: make two exports of the same conditions"));
    }
    let xml = section.truth("xml", false);
    section.finish();
    Some(ScheduleConfig { name: name?, store: store?, query: query?, format, xml, at, zone: zone?, path: path?, mail, s3 })
}

fn store(section: &mut Section<'_>, stores: &[String]) -> Option<String> {
    let Some(found) = section.take("store") else { return stores.first().cloned() };
    match entry_text(&found) {
        Ok(name) if stores.iter().any(|store| store == name) => Some(name.to_owned()),
        _ => {
            section.push(found.mistake(format!("must be one of the stores: {}", stores.join(", "))));
            None
        }
    }
}

fn query(section: &mut Section<'_>) -> Option<String> {
    let Some(text) = section.text("query") else { return Some(String::new()) };
    match crate::web::conditions(&text) {
        Ok(_query) => Some(text),
        Err(said) => {
            let key = section.key("query");
            section.push(Mistake::at(key, format!("must be conditions such as room=legal@rooms.example.com&has=file: {said}")));
            None
        }
    }
}

fn at(section: &mut Section<'_>) -> Time {
    let [hour, minute] = defaults::EXPORT_AT;
    let default = Time::constant(hour, minute, 0, 0);
    let Some(found) = section.take("at") else { return default };
    match entry_text(&found).map(|text| Time::strptime("%H:%M", text)) {
        Ok(Ok(at)) => at,
        _ => {
            section.push(found.mistake("must be a time of the day such as \"02:00\""));
            default
        }
    }
}

fn zone(section: &mut Section<'_>) -> Option<String> {
    let zone = section.text("zone").unwrap_or_else(|| "UTC".to_owned());
    match zone == "UTC" || TimeZone::get(&zone).is_ok() {
        true => Some(zone),
        false => {
            let key = section.key("zone");
            section.push(Mistake::at(key, "must be the IANA name of a time zone, such as Europe/Berlin").with_text(&zone));
            None
        }
    }
}
