//! The formats: one file each, all written unit by unit.

mod actiance;
mod csv;
mod dat;
mod eml;
mod html;
mod jsonl;
mod mail;
mod mbox;
mod pdf;
mod rsmf;
mod text;

use serde_json::Value;

use super::ExportError;
use super::checkpoint::Checkpoint;
use super::folder::Folder;
use super::request::Format;
use super::unit::Unit;

/// Writes an export in one format.
pub(crate) trait Writer: Send {
    /// Writes what stands before the first unit.
    fn begin(&mut self, _folder: &mut Folder) -> Result<(), ExportError> {
        Ok(())
    }

    /// Writes a unit.
    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError>;

    /// Writes what stands after the last unit.
    fn finish(&mut self, _folder: &mut Folder) -> Result<(), ExportError> {
        Ok(())
    }

    /// What it must remember to go on after the last unit; none where it can't go on from there.
    fn state(&self) -> Option<Value> {
        Some(Value::Null)
    }

    /// Counts the messages in the files that were written; none where only the writing can be counted.
    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError>;

    /// Whether [`Writer::read_back`] counts.
    fn reads_back(&self) -> bool {
        true
    }

    /// What the manifest should tell of the format.
    fn detail(&self) -> Value {
        Value::Null
    }
}

/// The writer of an export, at its begin or where it was left.
pub(crate) fn writer(checkpoint: &Checkpoint) -> Result<Box<dyn Writer>, ExportError> {
    let export = &checkpoint.export;
    let zone = export.rules()?;
    Ok(match export.format {
        Format::Jsonl => Box::new(jsonl::JsonLines),
        Format::Csv => Box::new(csv::Csv::new(export.with_xml)),
        Format::Eml => Box::new(eml::Eml::new(zone)),
        Format::Mbox => Box::new(mbox::Mbox::new(zone)),
        Format::Html => Box::new(html::Html::new(checkpoint, zone)?),
        Format::Pdf => Box::new(pdf::Pdf::new(checkpoint, zone)?),
        Format::Rsmf => Box::new(rsmf::Rsmf::new(zone)),
        Format::Dat => Box::new(dat::Dat::new(zone)),
        Format::Xml => Box::new(actiance::Actiance::new(zone)),
    })
}

/// The lines of a file, each without its end; constant memory but for the longest line.
fn each_line(folder: &Folder, name: &str, each: &mut dyn FnMut(&[u8]) -> Result<(), ExportError>) -> Result<(), ExportError> {
    let path = folder.root().join(name);
    let (mut file, mut line) = (folder.read(name)?, Vec::new());
    loop {
        line.clear();
        let read = std::io::BufRead::read_until(&mut file, b'\n', &mut line).map_err(ExportError::file(&path))?;
        if read == 0 {
            return Ok(());
        }
        let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        each(line.get(..end).unwrap_or_default())?;
    }
}
