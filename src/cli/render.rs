//! Messages as text, whatever the format.

use super::Failure;
use super::args::{ExportFormat, MessageFormat};
use super::output::Output;
use super::render_csv::Csv;
use super::render_json::JsonLines;
use super::render_table::MessageTable;
use super::when::Zone;
use crate::retrieve::Found;

/// Writes messages in one format.
pub(super) trait Render {
    /// What stands before the first message.
    fn begin(&mut self, _output: &mut Output) -> Result<(), Failure> {
        Ok(())
    }

    /// Some messages.
    fn messages(&mut self, messages: &[Found], output: &mut Output) -> Result<(), Failure>;
}

/// The format of `search` and `show`.
pub(super) fn renderer(format: MessageFormat, zone: Zone, xml: bool) -> Result<Box<dyn Render>, Failure> {
    match format {
        MessageFormat::Table if xml => Err(Failure::Usage("--xml needs --format jsonl or csv".to_owned())),
        MessageFormat::Table => Ok(Box::new(MessageTable::new(zone))),
        MessageFormat::Jsonl => Ok(Box::new(JsonLines)),
        MessageFormat::Csv => Ok(Box::new(Csv::new(xml))),
    }
}

/// The format of `export` to one file.
pub(super) fn export_renderer(format: ExportFormat, xml: bool) -> Result<Box<dyn Render>, Failure> {
    match format {
        ExportFormat::Jsonl => Ok(Box::new(JsonLines)),
        ExportFormat::Csv => Ok(Box::new(Csv::new(xml))),
        _ => Err(Failure::Usage("this format has several files and an account of them: name a directory with --output-dir".to_owned())),
    }
}
