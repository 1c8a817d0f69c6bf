//! A CSV export of another product's table. Its first line names the columns; commas, semicolons, tabs or bars may separate them.
//!
//! The file is read from its begin again when it is gone on with: only so is known which of several equal rows comes next. The position is a number of rows.

use std::fs::File;
use std::path::Path;

use csv::{ByteRecord, Reader as CsvReader, ReaderBuilder};

use super::sql::ReadRow;
use super::table::{Kind, Reader};
use super::{Item, Position, Source, SourceError};

const DELIMITERS: [u8; 4] = *b",;\t|";
/// What MySQL writes for NULL.
const NULL: &[u8] = b"\\N";

/// An export as a source.
pub struct CsvSource {
    rows: CsvReader<File>,
    reader: Reader,
    /// For each column of the table, which one of the file it is.
    places: Vec<Option<usize>>,
    /// Rows behind us.
    count: u64,
    /// Rows that were read before.
    behind: u64,
}

impl CsvSource {
    /// Opens an export.
    ///
    /// # Errors
    /// When it can't be read, or lacks a column that must be there.
    pub fn open(path: &Path, kind: Kind, reader: Reader, position: Option<&str>) -> Result<Self, SourceError> {
        let behind = match position {
            None => 0,
            Some(text) => {
                let unknown = |_| SourceError::Mistaken(format!("{text:?} is no position in this file: begin anew with --restart"));
                text.parse().map_err(unknown)?
            }
        };
        let mut missing = String::new();
        for delimiter in DELIMITERS {
            let (mut rows, names) = head(path, delimiter)?;
            rows.set_headers(csv::StringRecord::new());
            match places(kind, &names) {
                Ok(places) => return Ok(Self { rows, reader, places, count: 0, behind }),
                Err(column) if missing.is_empty() => missing = column.to_owned(),
                Err(_) => {}
            }
        }
        Err(SourceError::Mistaken(format!(
            "{}: its first line names no column {missing}: is it an export of {}?",
            path.display(),
            kind.table()
        )))
    }

    fn cells(&self, record: &ByteRecord) -> Vec<Option<String>> {
        let cell = |place: &Option<usize>| {
            let bytes = record.get((*place)?)?;
            (!bytes.is_empty() && bytes != NULL).then(|| String::from_utf8_lossy(bytes).into_owned())
        };
        self.places.iter().map(cell).collect()
    }
}

fn head(path: &Path, delimiter: u8) -> Result<(CsvReader<File>, Vec<String>), SourceError> {
    let failed = |error: &dyn std::fmt::Display| SourceError::Unreachable(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut rows = ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(true).from_reader(file);
    let names = rows.byte_headers().map_err(|error| failed(&error))?;
    let names =
        names.iter().map(|name| String::from_utf8_lossy(name).trim().trim_start_matches('\u{feff}').trim_matches('"').to_owned()).collect();
    Ok((rows, names))
}

/// Which column of the file each of the table's is; the name of one that is missing and must not be.
fn places(kind: Kind, names: &[String]) -> Result<Vec<Option<usize>>, &'static str> {
    let place = |column: &&str| names.iter().position(|name| name.eq_ignore_ascii_case(column));
    let places: Vec<Option<usize>> = kind.columns().iter().map(place).collect();
    let needed = kind.columns().iter().zip(&places).take(3).find(|(_, place)| place.is_none());
    match needed {
        Some((column, _)) => Err(column),
        None => Ok(places),
    }
}

impl Source for CsvSource {
    async fn next(&mut self, most: usize) -> Result<Vec<(Position, Item)>, SourceError> {
        let mut items = Vec::new();
        let mut record = ByteRecord::new();
        while items.len() < most {
            match self.rows.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(SourceError::Unreachable(error.to_string())),
            }
            self.count += 1;
            let cells = self.cells(&record);
            let item = self.reader.item(&cells);
            if self.count > self.behind {
                items.extend(item.map(|item| (self.count.to_string(), item)));
            }
        }
        Ok(items)
    }

    fn lacks(&self) -> &'static str {
        self.reader.lacks()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::history::Interval;
    use crate::node::Node;

    fn open(text: &str, position: Option<&str>) -> Result<Vec<(Position, Item)>, SourceError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jm.csv");
        std::fs::write(&path, text).unwrap();
        let node = Node { hosts: ["h".to_owned()].into(), ..Node::default() };
        let reader = Reader::new(Kind::CiscoJm, Arc::new(node), TimeZone::UTC, Interval::default());
        let mut source = CsvSource::open(&path, Kind::CiscoJm, reader, position)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut all = Vec::new();
        loop {
            let some = runtime.block_on(source.next(2))?;
            if some.is_empty() {
                return Ok(all);
            }
            all.extend(some);
        }
    }

    #[test]
    fn any_order_and_separator_of_columns_will_do() {
        for separator in [',', ';', '\t'] {
            let text = "\u{feff}SENT_DATE,To_Jid,\"from_jid\",other,body_string\n2026-11-22 07:28:55,b@h,a@h,x,\"two\nlines, \"\"quoted\"\"\"\n\
                        2026-11-22 07:28:56,b@h,a@h,x,\\N\n";
            let items = open(&text.replace(',', &separator.to_string()), None).unwrap();
            assert_eq!(items.len(), 2);
            let stanza = String::from_utf8_lossy(&items[0].1.stanza).into_owned();
            assert!(stanza.contains(&format!("two\nlines{separator} &quot;quoted&quot;</body>")), "{stanza}");
            assert!(!String::from_utf8_lossy(&items[1].1.stanza).contains("<body>"));
        }
    }

    #[test]
    fn going_on_gives_the_same_rows_the_same_names() {
        let row = "2026-11-22 07:28:55,b@h,a@h,ok\n";
        let text = format!("sent_date,to_jid,from_jid,body_string\n{}", row.repeat(4));
        let all = open(&text, None).unwrap();
        let rest = open(&text, Some(&all[1].0)).unwrap();
        assert_eq!(rest, all[2..]);
        assert!(matches!(open(&text, Some("x")), Err(SourceError::Mistaken(_))));
    }

    #[test]
    fn another_file_is_refused() {
        assert!(matches!(open("a,b,c\n1,2,3\n", None), Err(SourceError::Mistaken(_))));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.csv");
        std::fs::write(&path, b"sent_date,to_jid,from_jid,body_string\n\xff,\xfe,a@h\n1,2,3,4,5,6\n").unwrap();
        let node = Arc::new(Node::default());
        let reader = Reader::new(Kind::CiscoJm, node, TimeZone::UTC, Interval::default());
        let mut source = CsvSource::open(&path, Kind::CiscoJm, reader, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(source.next(10)).unwrap().len(), 2);
    }
}
