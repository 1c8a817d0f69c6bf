//! The table of `search`, as wide as the terminal.

use super::Failure;
use super::output::Output;
use super::render::Render;
use super::table;
use super::when::Zone;
use super::words::{said, sender, shortened, time, visible, zone_name};
use crate::message::address::unescape;
use crate::retrieve::Found;

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

    fn table(&self, messages: &[Found]) -> String {
        let sent = format!("Sent ({})", zone_name(self.zone));
        table::render(["Id", &sent, "Sender", "Conversation", "Kind", "Text"], messages.iter().map(|found| self.row(found)))
    }

    fn row(&self, found: &Found) -> [String; 6] {
        [
            found.id.to_string(),
            time(found.sent_at, self.zone, "%F %T"),
            sender(found),
            visible(&unescape(&found.conversation)).replace(' ', "\n"),
            found.kind_name().to_owned(),
            shortened(&said(found), MAX_TEXT_CHARS),
        ]
    }
}

impl Render for MessageTable {
    fn messages(&mut self, messages: &[Found], output: &mut Output) -> Result<(), Failure> {
        match messages.is_empty() {
            true => Ok(()),
            false => output.write(self.table(messages).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::sample;

    #[test]
    fn a_table_says_who_wrote_what_when() {
        let found = Found { body: Some(format!("\u{1b}long\n{}", "x".repeat(1_000))), ..sample() };
        let shown = MessageTable::new(Zone::Utc).table(&[found]);
        assert!(shown.contains("2026-11-22 07:28:55") && shown.contains("d'artagnan@example.com") && shown.contains("␛long␊x"), "{shown}");
        assert!(shown.contains('…') && !shown.contains(&"x".repeat(MAX_TEXT_CHARS)), "{shown}");
    }
}
