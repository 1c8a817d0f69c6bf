//! The mails in one file: `messages.mbox`, in the form called mboxrd: a line that begins with "From ", or with that behind any number
//! of ">", gets one more ">" in front.

use jiff::tz::TimeZone;

use super::{Writer, each_line, mail};
use crate::export::ExportError;
use crate::export::folder::Folder;
use crate::export::unit::Unit;
use crate::export::words::time;

const FILE: &str = "messages.mbox";

/// Writes an mbox.
pub(crate) struct Mbox {
    zone: TimeZone,
}

impl Mbox {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }
}

impl Writer for Mbox {
    fn begin(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.append(FILE, b"")
    }

    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        folder.append(FILE, &quoted(unit, &mail::mail(unit, &self.zone)?))
    }

    fn finish(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.close(FILE)
    }

    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError> {
        let (mut total, mut attachments) = (0, mail::attachments());
        each_line(folder, FILE, &mut |line| {
            if line.starts_with(b"From ") {
                attachments.begin();
            } else {
                total += attachments.line(line).map_or(0, |found| mail::count(&found));
            }
            Ok(())
        })?;
        Ok(Some(total))
    }
}

fn quoted(unit: &Unit, mail: &[u8]) -> Vec<u8> {
    let from = unit.items.first().map(|item| mail::addr_spec(&unit.key_of(&item.found))).unwrap_or_default();
    let mut text = format!("From {from} {}\n", time(unit.first_at(), &TimeZone::UTC, "%a %b %e %T %Y")).into_bytes();
    for line in mail.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let behind = line.iter().position(|byte| *byte != b'>').and_then(|at| line.get(at..)).unwrap_or_default();
        if behind.starts_with(b"From ") {
            text.push(b'>');
        }
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    // The mail ends with an end of line, after which the split gave an empty line: the one that must stand before the next mail.
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::unit::tests::unit;

    #[test]
    fn lines_that_begin_a_mail_are_quoted() {
        let text = String::from_utf8(quoted(&unit(&["a"]), b"A: b\r\n\r\nFrom x\r\n>From y\r\n> From z\r\n")).unwrap();
        assert_eq!(text, "From d%5C27artagnan@example.com Sun Nov 22 07:28:55 2026\nA: b\n\n>From x\n>>From y\n> From z\n\n");
    }
}
