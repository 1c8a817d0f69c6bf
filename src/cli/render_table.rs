//! The table of `search`, as wide as the terminal.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

use super::Failure;
use super::output::Output;
use super::render::Render;
use super::when::Zone;
use super::words::{said, sender, shortened, time, visible, zone_name};
use crate::message::address::unescape;
use crate::retrieve::Found;

/// A line below the header, none between rows: what is said is long enough as it is.
const STYLE: TableStyle = UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());
/// How much of a text a table shows.
const MAX_TEXT_CHARS: usize = 300;

/// Writes tables, one for each page.
pub(super) struct MessageTable {
    zone: Zone,
}

impl MessageTable {
    pub(super) fn new(zone: Zone) -> Self {
        Self { zone }
    }

    fn table(&self, messages: &[Found]) -> Table {
        let mut table = Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([
            "Id".to_owned(),
            format!("Sent ({})", zone_name(self.zone)),
            "Sender".into(),
            "Conversation".into(),
            "Kind".into(),
            "Text".into(),
        ]);
        for found in messages {
            table.add_row([
                found.id.to_string(),
                time(found.sent_at, self.zone, "%F %T"),
                sender(found),
                visible(&unescape(&found.conversation)).replace(' ', "\n"),
                found.kind_name().to_owned(),
                shortened(&said(found), MAX_TEXT_CHARS),
            ]);
        }
        table
    }
}

impl Render for MessageTable {
    fn messages(&mut self, messages: &[Found], output: &mut Output) -> Result<(), Failure> {
        match messages.is_empty() {
            true => Ok(()),
            false => output.line(&self.table(messages).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::sample;

    #[test]
    fn a_table_fits_its_width() {
        let found = Found { body: Some("long ".repeat(200)), subject: None, ..sample() };
        let mut table = MessageTable::new(Zone::Utc).table(&[found]);
        let shown = table.set_width(100).to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
        assert!(shown.contains("2026-11-22") && shown.contains('…'));
    }
}
