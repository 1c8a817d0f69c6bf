//! Mails: `eml/NNNN/NNNNNN-DAY-PART.eml`, one for each conversation and day.

use jiff::tz::TimeZone;

use super::{Writer, each_line, mail};
use crate::export::ExportError;
use crate::export::folder::Folder;
use crate::export::unit::Unit;

/// Files of one directory.
const PER_DIRECTORY: u64 = 1_000;

/// Writes mails.
pub(crate) struct Eml {
    zone: TimeZone,
}

impl Eml {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }
}

impl Writer for Eml {
    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        folder.write(&name(unit, "eml", "eml"), &mail::mail(unit, &self.zone)?)
    }

    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError> {
        let mut total = 0;
        folder.each(&mut |name| {
            let mut attachments = mail::attachments();
            each_line(folder, name, &mut |line| {
                total += attachments.line(line).map_or(0, |found| mail::count(&found));
                Ok(())
            })
        })?;
        Ok(Some(total))
    }
}

/// The file of a unit: a directory for each thousand.
pub(crate) fn name(unit: &Unit, below: &str, extension: &str) -> String {
    format!("{below}/{:04}/{}.{extension}", (unit.number.saturating_sub(1)) / PER_DIRECTORY + 1, unit.file_stem())
}
