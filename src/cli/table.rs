//! Tables for people.

use comfy_table::{ContentArrangement, Table, presets};

/// Rows below their headings, fitted to the terminal where there is one. Each line ends without blanks.
pub(crate) fn render<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(headings);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What others wrote must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_below_their_headings() {
        let text = render(["Name", "Size"], [["a".to_owned(), "1".to_owned()], ["bb\u{1b}[2J".to_owned(), "22".to_owned()]]);
        assert_eq!(text, " Name    Size\n a       1\n bb\u{fffd}[2J  22\n");
    }
}
