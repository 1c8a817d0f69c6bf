//! PDF to file: `pdf/volume-NNNN.pdf`, A4, each volume with a cover that says what it holds, with the time zone and the hash of its
//! messages.
//!
//! A volume ends with the unit that fills it, and is laid out and written at once; an export goes on after a break with the volume that
//! was in hand. Text can be searched and copied. There is no date and no chance in the file.

mod fonts;
mod layout;

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use krilla::Document;
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::fonts::Fonts;
use self::layout::{Faces, Line, Style};
use super::{Writer, html, jsonl};
use crate::export::ExportError;
use crate::export::checkpoint::Checkpoint;
use crate::export::folder::Folder;
use crate::export::manifest::hex;
use crate::export::told::Told;
use crate::export::unit::{Unit, stamp};
use crate::export::words::zone_name;
use crate::time::Micros;

/// A volume with this many messages or this much text is full.
const VOLUME_MESSAGES: u64 = 2_000;
const VOLUME_BYTES: usize = 2 << 20;
/// A4 in points.
const PAGE: (f32, f32) = (595.0, 842.0);
const MARGIN: f32 = 50.0;
const FOOTER: f32 = 28.0;
/// The most lines of the query, of the reason and of anything else on a cover, which is one page: the query may name a thousand people.
const QUERY_LINES: usize = 20;
const REASON_LINES: usize = 8;
const OTHER_LINES: usize = 3;

const TITLE: Style = Style { size: 18.0, is_bold: true, indent: 0.0, is_said: false, above: 0.0 };
const SECTION: Style = Style { size: 12.0, is_bold: true, indent: 0.0, is_said: false, above: 14.0 };
const HEADING: Style = Style { size: 9.0, is_bold: true, indent: 0.0, is_said: false, above: 5.0 };
const BODY: Style = Style { size: 9.0, is_bold: false, indent: 12.0, is_said: true, above: 0.0 };
const NOTE: Style = Style { size: 7.5, is_bold: false, indent: 12.0, is_said: false, above: 0.0 };
const SMALL: Style = Style { size: 7.0, is_bold: false, indent: 0.0, is_said: false, above: 0.0 };

/// Writes PDF.
pub(crate) struct Pdf {
    zone: TimeZone,
    cover: Vec<(&'static str, String)>,
    total: u64,
    faces: Faces,
    volumes: u64,
    pages: u64,
    volume: Volume,
    /// The fonts of volumes that were written before it was gone on with, with their hashes.
    earlier: Vec<UsedFont>,
}

/// A font as the checkpoint and the manifest name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct UsedFont {
    file: String,
    sha256: String,
}

/// The volume in hand.
#[derive(Default)]
struct Volume {
    /// Paragraphs with their styles.
    text: Vec<(Style, String)>,
    bytes: usize,
    messages: u64,
    first: Option<(i64, Micros)>,
    last: Option<(i64, Micros)>,
    hash: Sha256,
    conversation: String,
}

impl Pdf {
    pub(crate) fn new(checkpoint: &Checkpoint, zone: TimeZone) -> Result<Self, ExportError> {
        let plain = Fonts::new(&checkpoint.export.fonts)?;
        let bold = plain.bold();
        let cover = html::cover_rows(&checkpoint.export, checkpoint.total, &zone)?;
        let fonts = checkpoint.format.get("fonts").cloned().unwrap_or_else(|| json!([]));
        let earlier = serde_json::from_value(fonts).map_err(ExportError::format)?;
        let number = |name: &str| checkpoint.format.get(name).and_then(Value::as_u64).unwrap_or_default();
        Ok(Self {
            zone,
            cover,
            total: checkpoint.total,
            faces: Faces { plain, bold },
            volumes: number("volumes"),
            pages: number("pages"),
            volume: Volume::default(),
            earlier,
        })
    }

    /// Every font that was used so far.
    fn fonts(&self) -> Vec<UsedFont> {
        let used = self.faces.plain.used().into_iter().chain(self.faces.bold.used());
        let mut fonts: Vec<UsedFont> = used.map(|(file, sha256)| UsedFont { file, sha256 }).chain(self.earlier.iter().cloned()).collect();
        fonts.sort_unstable();
        fonts.dedup();
        fonts
    }

    fn flush(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        let volume = std::mem::take(&mut self.volume);
        self.volumes += 1;
        let hash = hex(&volume.hash.clone().finalize());
        let mut pages = vec![self.cover(&volume, &hash)];
        pages.extend(self.paged(&volume));
        let count = pages.len();
        let mut document = Document::new();
        let title = format!("Exported messages, volume {}", self.volumes);
        document.set_metadata(Metadata::new().title(title).creator("xmpp-archiver".to_owned()).language("en".to_owned()));
        for (number, lines) in pages.into_iter().enumerate() {
            let short = hash.get(..16).unwrap_or_default();
            let footer = format!(
                "Volume {} · page {} of {count} · SHA-256 of its messages {short}… · times: {}",
                self.volumes,
                number + 1,
                zone_name(&self.zone)
            );
            self.page(&mut document, &lines, &footer)?;
        }
        self.pages += count as u64;
        let bytes = document.finish().map_err(|error| ExportError::Format(format!("PDF: {error:?}")))?;
        folder.write(&format!("pdf/volume-{:04}.pdf", self.volumes), &bytes)
    }

    fn cover(&mut self, volume: &Volume, hash: &str) -> Vec<Line> {
        let width = PAGE.0 - 2.0 * MARGIN;
        let mut lines = self.faces.lines("Exported messages", TITLE, width);
        let told = |place: Option<(i64, Micros)>, zone: &TimeZone| {
            place.map_or_else(|| "none".to_owned(), |(id, at)| format!("#{id} of {}", stamp(at, zone)))
        };
        let mut rows = self.cover.clone();
        rows.push(("Volume", format!("{} with {} of {} messages", self.volumes, volume.messages, self.total)));
        rows.push(("First message", told(volume.first, &self.zone)));
        rows.push(("Last message", told(volume.last, &self.zone)));
        rows.push(("SHA-256 of its messages as JSON Lines", hash.to_owned()));
        rows.push(("What may be missing, and all hashes", "manifest.json beside this file".to_owned()));
        for (name, value) in rows {
            lines.extend(self.faces.lines(name, HEADING, width));
            lines.extend(self.shortened(name, &value, width));
        }
        lines
    }

    /// What stands on a cover, with a line at its end that says so if there is more.
    fn shortened(&mut self, name: &str, value: &str, width: f32) -> Vec<Line> {
        let most = match name {
            html::ASKED_FOR => QUERY_LINES,
            html::REASON => REASON_LINES,
            _ => OTHER_LINES,
        };
        let mut lines = self.faces.lines(value, BODY, width);
        if lines.len() > most {
            lines.truncate(most - 1);
            lines.extend(self.faces.lines("… (not all of it: the rest stands in manifest.json)", NOTE, width));
        }
        lines
    }

    /// The lines of the text, cut into pages.
    fn paged(&mut self, volume: &Volume) -> Vec<Vec<Line>> {
        let (width, room) = (PAGE.0 - 2.0 * MARGIN, PAGE.1 - 2.0 * MARGIN);
        let (mut pages, mut page, mut used) = (Vec::new(), Vec::new(), 0.0);
        for (style, text) in &volume.text {
            for line in self.faces.lines(text, *style, width) {
                // A heading does not stay behind alone at the end of a page.
                let needed = line.height() + if style.is_bold { BODY.size * 1.35 } else { 0.0 };
                if used + needed > room && !page.is_empty() {
                    pages.push(std::mem::take(&mut page));
                    used = 0.0;
                }
                used += line.height();
                page.push(line);
            }
        }
        if !page.is_empty() {
            pages.push(page);
        }
        pages
    }

    fn page(&mut self, document: &mut Document, lines: &[Line], footer: &str) -> Result<(), ExportError> {
        let settings = PageSettings::from_wh(PAGE.0, PAGE.1).ok_or_else(|| ExportError::Format("PDF: no such page".to_owned()))?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        let mut y = MARGIN;
        for line in lines {
            y += line.height();
            self.faces.draw(&mut surface, line, MARGIN, PAGE.0 - MARGIN, y);
        }
        for line in self.faces.lines(footer, SMALL, PAGE.0 - 2.0 * MARGIN).iter().take(1) {
            self.faces.draw(&mut surface, line, MARGIN, PAGE.0 - MARGIN, PAGE.1 - FOOTER);
        }
        surface.finish();
        page.finish();
        Ok(())
    }
}

impl Volume {
    fn put(&mut self, style: Style, text: String) {
        self.bytes += text.len();
        self.text.push((style, text));
    }

    fn add(&mut self, unit: &Unit, zone: &TimeZone) -> Result<(), ExportError> {
        self.hash.update(jsonl::lines(unit)?.as_bytes());
        if self.conversation == unit.conversation && unit.part > 1 {
            self.put(SECTION, format!("{}, part {}", unit.day, unit.part));
        } else {
            self.put(SECTION, unit.title());
        }
        self.conversation.clone_from(&unit.conversation);
        for item in &unit.items {
            let told = Told::of(item, zone);
            self.put(HEADING, told.heading());
            if !told.body.is_empty() {
                self.put(BODY, told.body.clone());
            }
            let mut notes = String::new();
            for note in &told.notes {
                let _ = write!(notes, "{}{}: {}", if notes.is_empty() { "" } else { "\n" }, note.kind.word(), note.text);
            }
            self.put(NOTE, notes);
            self.messages += 1;
            let place = Some((item.found.id, item.found.sent_at));
            self.first = self.first.or(place);
            self.last = place;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.messages >= VOLUME_MESSAGES || self.bytes >= VOLUME_BYTES
    }
}

impl Writer for Pdf {
    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        self.volume.add(unit, &self.zone)?;
        if self.volume.is_full() {
            self.flush(folder)?;
        }
        Ok(())
    }

    fn finish(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        if self.volume.messages > 0 || self.volumes == 0 {
            self.flush(folder)?;
        }
        Ok(())
    }

    fn state(&self) -> Option<Value> {
        (self.volume.messages == 0).then(|| self.detail())
    }

    fn read_back(&self, _folder: &Folder) -> Result<Option<u64>, ExportError> {
        Ok(None)
    }

    fn reads_back(&self) -> bool {
        false
    }

    fn detail(&self) -> Value {
        json!({ "volumes": self.volumes, "pages": self.pages, "fonts": self.fonts() })
    }
}

#[cfg(test)]
mod tests;
