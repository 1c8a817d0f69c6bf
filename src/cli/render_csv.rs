//! CSV (RFC 4180): a header line, then a line a message, in UTF-8.
//!
//! Fields hold exactly what was written, also where a spreadsheet would take it for a formula (`=…`): this is evidence. Import such a
//! file as text.

use csv::{Terminator, Writer, WriterBuilder};

use super::Failure;
use super::output::Output;
use super::render::Render;
use crate::export::columns::{COLUMNS, record};
use crate::retrieve::Found;

/// Writes CSV.
pub(super) struct Csv {
    with_xml: bool,
}

impl Csv {
    pub(super) fn new(with_xml: bool) -> Self {
        Self { with_xml }
    }
}

impl Render for Csv {
    fn begin(&mut self, output: &mut Output) -> Result<(), Failure> {
        let xml = self.with_xml.then_some("xml");
        write(output, |writer| writer.write_record(COLUMNS.into_iter().chain(xml)))
    }

    fn messages(&mut self, messages: &[Found], output: &mut Output) -> Result<(), Failure> {
        let with_xml = self.with_xml;
        write(output, |writer| messages.iter().try_for_each(|found| writer.write_record(record(found, with_xml))))
    }
}

fn write(output: &mut Output, records: impl FnOnce(&mut Writer<Vec<u8>>) -> csv::Result<()>) -> Result<(), Failure> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    let written = records(&mut writer).map_err(|error| error.to_string());
    let bytes = written.and_then(|()| writer.into_inner().map_err(|error| error.to_string()));
    output.write(&bytes.map_err(|error| Failure::Runtime(format!("CSV: {error}")))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::sample;

    #[test]
    fn texts_come_back_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.csv");
        let mut output = Output::file(&path).unwrap();
        let mut csv = Csv::new(false);
        csv.begin(&mut output).unwrap();
        csv.messages(&[sample()], &mut output).unwrap();
        output.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("id,kind,conversation,") && text.ends_with("\r\n"), "{text}");
        assert!(text.contains(",\"=1+1\n\"\"x\"\"\","), "{text}");
        assert!(text.contains(",bob@example.com/phone;bob@example.com,"), "{text}");
    }
}
