//! JSON Lines: `messages.jsonl`, one object a message (`export::record`), with what was done to it later.

use super::{Writer, each_line};
use crate::export::ExportError;
use crate::export::folder::Folder;
use crate::export::record::line_with;
use crate::export::unit::Unit;

const FILE: &str = "messages.jsonl";

/// Writes JSON Lines.
pub(crate) struct JsonLines;

impl Writer for JsonLines {
    fn begin(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.append(FILE, b"")
    }

    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        folder.append(FILE, lines(unit)?.as_bytes())
    }

    fn finish(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.close(FILE)
    }

    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError> {
        let mut count = 0;
        each_line(folder, FILE, &mut |line| {
            count += u64::from(serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok());
            Ok(())
        })?;
        Ok(Some(count))
    }
}

/// The messages of a unit.
pub(crate) fn lines(unit: &Unit) -> Result<String, ExportError> {
    let mut lines = String::new();
    for item in &unit.items {
        lines.push_str(&line_with(&item.found, &item.amendments).map_err(ExportError::format)?);
        lines.push('\n');
    }
    Ok(lines)
}
