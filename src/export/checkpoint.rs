//! How far an unfinished export is: everything that is needed to go on with it.
//!
//! It is written after what it speaks of is on disk, under another name first, so that there is always a whole one. Files that grow are
//! cut back to the lengths that it names; whole files that came after it are written once more, with the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ExportError;
use super::folder::Folder;
use super::manifest::Counts;
use super::request::Export;
use crate::time::Micros;

/// Its file, in the unfinished export.
pub(super) const FILE: &str = ".checkpoint.json";
/// The version of what is written here.
const VERSION: u32 = 1;

/// Where a walk is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The conversation in which it is, or with which it is done; 0 at the begin.
    pub(crate) conversation_id: i32,
    /// The last message handed on, as a cursor; none when the conversation is done.
    pub(crate) after: Option<String>,
    /// The day of the last unit.
    pub(crate) day: Option<String>,
    /// The part of that day.
    pub(crate) part: u32,
    /// Units handed on.
    pub(crate) units: u64,
    /// Conversations begun.
    pub(crate) conversations: u64,
}

/// An unfinished export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) version: u32,
    pub(crate) export: Export,
    pub(crate) begun_at: Micros,
    /// What the query finds, by a statement of its own.
    pub(crate) total: u64,
    pub(crate) place: Place,
    pub(crate) counts: Counts,
    /// The files that are still written to, with their lengths.
    pub(crate) lengths: BTreeMap<String, u64>,
    /// What the format must remember.
    pub(crate) format: Value,
    /// Whether all is written and only the check is left.
    pub(crate) is_written: bool,
}

impl Checkpoint {
    pub(crate) fn new(export: Export, begun_at: Micros, total: u64) -> Self {
        Self {
            version: VERSION,
            export,
            begun_at,
            total,
            place: Place::default(),
            counts: Counts::default(),
            lengths: BTreeMap::new(),
            format: Value::Null,
            is_written: false,
        }
    }

    /// Makes it durable.
    pub(crate) fn save(&self, folder: &Folder) -> Result<(), ExportError> {
        let text = serde_json::to_vec(self).map_err(ExportError::format)?;
        folder.replace(FILE, &text)
    }

    /// The one that is there; none if the export was broken off before there was any.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>, ExportError> {
        let path = directory.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ExportError::file(&path)(error)),
        };
        let checkpoint: Self = serde_json::from_slice(&text).map_err(|error| ExportError::damaged(&path, error))?;
        match checkpoint.version {
            VERSION => Ok(Some(checkpoint)),
            other => Err(ExportError::damaged(&path, format!("it is of version {other}, and this program knows {VERSION}"))),
        }
    }

    /// Removes it from an export that is complete.
    pub(crate) fn remove(directory: &Path) -> Result<(), ExportError> {
        let path = directory.join(FILE);
        std::fs::remove_file(&path).map_err(ExportError::file(&path))
    }
}
