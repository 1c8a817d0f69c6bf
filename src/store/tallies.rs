//! The counts: added to by the writer, read for `reconcile`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::rows::TallyRow;

/// Rows of one statement; a transaction has a dozen.
pub(crate) const ROWS_PER_STATEMENT: usize = 200;
/// Most characters of a reason: the column's length where it has one.
const REASON_CHARS: usize = 191;

/// The statement that adds these rows, as plain text: it goes to the server in one round trip, and is never prepared.
pub(crate) fn addition(rows: &[TallyRow], on_conflict: &str) -> String {
    let mut sql = "INSERT INTO tallies (node_id, day, state, reason, count) VALUES ".to_owned();
    for (index, row) in rows.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let TallyRow { node_id, day, state, count, .. } = row;
        let _ = write!(sql, "{comma}({node_id}, {day}, {state}, '{}', {count})", literal(&row.reason));
    }
    sql.push(' ');
    sql.push_str(on_conflict);
    sql
}

/// What stands between the quotes of a literal, the same under every setting of every database: no backslash is left in it.
fn literal(reason: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " -_.,:()".contains(c);
    if reason.len() <= REASON_CHARS && reason.chars().all(is_plain) {
        return Cow::Borrowed(reason);
    }
    let kept = reason.chars().take(REASON_CHARS).map(|c| if c.is_control() || c == '\\' { '?' } else { c });
    Cow::Owned(kept.collect::<String>().replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_between_its_quotes() {
        assert_eq!(literal("nothing to read"), "nothing to read");
        assert_eq!(literal("the user's \\'; DROP\u{0}"), "the user''s ?''; DROP?");
        assert_eq!(literal(&"é".repeat(500)).chars().count(), REASON_CHARS);
    }

    #[test]
    fn rows_are_added_in_one_statement() {
        let row = |state, reason| TallyRow { node_id: 1, day: 20_779, state, reason: Cow::Borrowed(reason), count: 5 };
        let sql = addition(&[row(1, ""), row(5, "iq")], "ON CONFLICT");
        assert_eq!(
            sql,
            "INSERT INTO tallies (node_id, day, state, reason, count) VALUES (1, 20779, 1, '', 5), (1, 20779, 5, 'iq', 5) ON CONFLICT"
        );
    }
}
