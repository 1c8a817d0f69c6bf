//! What is exported, how, by whom and why.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::ExportError;
use crate::retrieve::Query;
use crate::time::Micros;

/// The longest reason and the longest name of whoever asks.
const MAX_TEXT_BYTES: usize = 2_000;

/// A request for an export. It is kept with the unfinished export and told in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Which messages. How they are paged and sorted is the export's own affair.
    pub query: Query,
    /// In which format.
    pub format: Format,
    /// The time zone of days and of the times that people read, by its IANA name.
    pub zone: String,
    /// The store that it is from.
    pub store: String,
    /// Who asks for it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Whether each message comes with its original stanza, passwords of rooms redacted.
    pub with_xml: bool,
    /// What was done to messages at this time or later is not told; none tells all.
    pub amended_before: Option<Micros>,
    /// Fonts for PDF, tried in this order before those of the system.
    pub fonts: Vec<PathBuf>,
    /// Whether the numbers of its messages stand in a file of their own, by which a series knows what it has.
    #[serde(default)]
    pub lists_numbers: bool,
}

impl Export {
    /// Everything, as JSON Lines, UTC.
    pub fn new(store: &str, by: &str) -> Self {
        Self {
            query: Query::default(),
            format: Format::Jsonl,
            zone: "UTC".to_owned(),
            store: store.to_owned(),
            by: by.to_owned(),
            reason: None,
            with_xml: false,
            amended_before: None,
            fonts: Vec::new(),
            lists_numbers: false,
        }
    }

    /// What is wrong with it.
    ///
    /// # Errors
    /// When the query exceeds a limit, the zone is not known or a text is too long.
    pub fn check(&self) -> Result<(), ExportError> {
        self.query.check().map_err(|mistake| ExportError::Refused(format!("the query {mistake}")))?;
        let texts = [Some(&self.by), self.reason.as_ref()];
        if texts.into_iter().flatten().any(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(ExportError::Refused(format!("who asks, and why, may have at most {MAX_TEXT_BYTES} bytes each")));
        }
        self.rules().map(|_| ())
    }

    /// The zone's rules.
    ///
    /// # Errors
    /// When the zone is not known.
    pub fn rules(&self) -> Result<TimeZone, ExportError> {
        if self.zone == "UTC" {
            return Ok(TimeZone::UTC);
        }
        TimeZone::get(&self.zone).map_err(|error| ExportError::Refused(format!("time zone: {error}")))
    }
}

/// In which format an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values.
    Csv,
    /// A mail for each conversation and day.
    Eml,
    /// These mails in one file.
    Mbox,
    /// Pages to read.
    Html,
    /// Pages to file.
    Pdf,
    /// Relativity Short Message Format.
    Rsmf,
    /// A Concordance load file.
    Dat,
    /// XML as Actiance's products read it.
    Xml,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] = [Self::Jsonl, Self::Csv, Self::Eml, Self::Mbox, Self::Html, Self::Pdf, Self::Rsmf, Self::Dat, Self::Xml];
}
