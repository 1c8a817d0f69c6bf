//! CSV (RFC 4180): `messages.csv`, a header line, then a line a message, in UTF-8 (`export::columns`).

use csv::{Terminator, WriterBuilder};

use super::Writer;
use crate::export::columns::{COLUMNS, record};
use crate::export::folder::Folder;
use crate::export::unit::Unit;
use crate::export::{ExportError, record as json};

const FILE: &str = "messages.csv";
/// The column after the common ones: what was done to the message, as JSON.
const AMENDMENTS: &str = "amendments";

/// Writes CSV.
pub(crate) struct Csv {
    with_xml: bool,
}

impl Csv {
    pub(crate) fn new(with_xml: bool) -> Self {
        Self { with_xml }
    }

    fn write(folder: &mut Folder, records: impl Iterator<Item = Result<Vec<String>, ExportError>>) -> Result<(), ExportError> {
        let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
        for record in records {
            writer.write_record(record?).map_err(ExportError::format)?;
        }
        folder.append(FILE, &writer.into_inner().map_err(ExportError::format)?)
    }
}

impl Writer for Csv {
    fn begin(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        let columns = COLUMNS.into_iter().chain(self.with_xml.then_some("xml")).chain([AMENDMENTS]);
        Self::write(folder, std::iter::once(Ok(columns.map(str::to_owned).collect())))
    }

    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        let with_xml = self.with_xml;
        let records = unit.items.iter().map(|item| {
            let mut record = record(&item.found, with_xml);
            record.push(json::amendments(&item.amendments).map_err(ExportError::format)?);
            Ok(record)
        });
        Self::write(folder, records)
    }

    fn finish(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.close(FILE)
    }

    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError> {
        let mut reader = csv::Reader::from_reader(folder.read(FILE)?);
        let (mut count, mut record) = (0, csv::ByteRecord::new());
        while reader.read_byte_record(&mut record).map_err(|error| ExportError::damaged(&folder.root().join(FILE), error))? {
            count += 1;
        }
        Ok(Some(count))
    }
}
