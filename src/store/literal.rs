//! Rows into MySQL as plain text: a transaction with everything in it is one packet and one round trip, where prepared statements take two
//! for each list of rows. What stands in it is escaped here, for a session in utf8mb4 whose backslashes escape (see `mysql`).

use std::fmt::Write as _;

use super::rows::*;

/// Rows of one statement: enough that its head weighs nothing.
const ROWS_PER_STATEMENT: usize = 1_000;
/// A statement ends when it is so long, and a text soon after: below `max_allowed_packet`, which is 16 MiB by default, with room for the largest row.
const STATEMENT_BYTES: usize = 2 * 1024 * 1024;
const TEXT_BYTES: usize = 8 * 1024 * 1024;

/// A value as SQL.
pub(super) trait Literal {
    fn write(&self, sql: &mut String);
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Literal for $number {
            fn write(&self, sql: &mut String) {
                let _never_fails = write!(sql, "{self}");
            }
        })*
    };
}

numbers!(i16, i32, i64);

impl Literal for String {
    fn write(&self, sql: &mut String) {
        sql.push('\'');
        let mut rest = self.as_str();
        while let Some(at) = rest.find(['\'', '\\', '\0']) {
            let (plain, special) = rest.split_at(at);
            sql.push_str(plain);
            sql.push_str(match special.as_bytes().first() {
                Some(b'\'') => "''",
                Some(b'\\') => "\\\\",
                _ => "\\0",
            });
            rest = special.get(1..).unwrap_or_default();
        }
        sql.push_str(rest);
        sql.push('\'');
    }
}

impl Literal for Vec<u8> {
    fn write(&self, sql: &mut String) {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        sql.push_str("X'");
        for byte in self {
            sql.extend(DIGITS.get(usize::from(byte >> 4)));
            sql.extend(DIGITS.get(usize::from(byte & 15)));
        }
        sql.push('\'');
    }
}

impl<T: Literal> Literal for Option<T> {
    fn write(&self, sql: &mut String) {
        match self {
            Some(value) => value.write(sql),
            None => sql.push_str("NULL"),
        }
    }
}

/// Bytes as SQL.
pub(super) fn bytes(value: &[u8]) -> String {
    let mut sql = String::with_capacity(2 * value.len() + 3);
    value.to_vec().write(&mut sql);
    sql
}

/// A text as SQL.
pub(super) fn text(value: &str) -> String {
    let mut sql = String::with_capacity(value.len() + 2);
    value.to_owned().write(&mut sql);
    sql
}

/// Values as what follows `IN`.
pub(super) fn list(values: &[impl Literal]) -> String {
    let mut sql = String::with_capacity(16 * values.len());
    for value in values {
        sql.push(if sql.is_empty() { '(' } else { ',' });
        value.write(&mut sql);
    }
    sql.push(')');
    sql
}

/// Rows that can be written as statements.
pub(super) trait Written: Sized {
    /// The statement up to its rows, and after them.
    const HEAD: &'static str;
    const TAIL: &'static str;
    fn write(&self, sql: &mut String);
}

/// Statements, each text of them one packet.
#[derive(Debug, Default)]
pub(super) struct Texts {
    full: Vec<String>,
    last: String,
}

impl Texts {
    /// The statements for these rows, none for none.
    pub(super) fn insert<R: Written>(&mut self, rows: &[R]) {
        let mut rest = rows;
        while !rest.is_empty() {
            let begin = self.last.len();
            let mut written = 0;
            self.last.push_str(R::HEAD);
            for row in rest.iter().take(ROWS_PER_STATEMENT) {
                self.last.push_str(if written == 0 { "(" } else { ",(" });
                row.write(&mut self.last);
                self.last.push(')');
                written += 1;
                if self.last.len() - begin > STATEMENT_BYTES {
                    break;
                }
            }
            self.last.push_str(R::TAIL);
            self.end();
            rest = rest.get(written..).unwrap_or_default();
        }
    }

    /// One more statement.
    pub(super) fn statement(&mut self, sql: &str) {
        self.last.push_str(sql);
        self.end();
    }

    /// Fills in somebody who was not known when the message was stored; `column` is `sender` or `recipient`.
    pub(super) fn name_person(&mut self, row: &PersonRow, column: &str) {
        let sql = &mut self.last;
        let _never_fails = write!(sql, "UPDATE messages SET {column}_id={},{column}_resource=", row.id);
        row.resource.write(sql);
        let _never_fails = write!(sql, " WHERE id={} AND {column}_id IS NULL", row.message_id);
        self.end();
    }

    /// The same for a nick.
    pub(super) fn name_nick(&mut self, row: &NickRow, column: &str) {
        let sql = &mut self.last;
        let _never_fails = write!(sql, "UPDATE messages SET {column}_nick=");
        row.nick.write(sql);
        let _never_fails = write!(sql, " WHERE id={} AND {column}_nick IS NULL", row.message_id);
        self.end();
    }

    fn end(&mut self) {
        self.last.push(';');
        if self.last.len() > TEXT_BYTES {
            self.full.push(std::mem::take(&mut self.last));
        }
    }

    /// The texts, in their order.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.full.push(self.last);
        self.full.retain(|text| !text.is_empty());
        self.full
    }
}

macro_rules! written {
    ($row:ident, $table:literal, $tail:literal, $first:ident $first_column:literal $(, $field:ident $column:literal)*) => {
        impl Written for $row {
            const HEAD: &'static str = concat!("INSERT INTO ", $table, " (", $first_column, $(",", $column,)* ") VALUES ");
            const TAIL: &'static str = $tail;
            fn write(&self, sql: &mut String) {
                Literal::write(&self.$first, sql);
                $(
                    sql.push(',');
                    Literal::write(&self.$field, sql);
                )*
            }
        }
    };
}

written!(NodeRow, "nodes", "", id "id", name "name");
written!(JidRow, "jids", "", id "id", jid "jid");
written!(ConversationRow, "conversation_names", "", id "id", kind "kind", first_id "first_id", second_id "second_id", name "name");
written!(RoomRow, "rooms", "", jid_id "jid_id", kind "kind", first_seen_at "first_seen_at");
written!(
    MessageRow, "messages", "",
    id "id", sent_at "sent_at", received_at "received_at", refers_to "refers_to", conversation_id "conversation_id", sender_id "sender_id",
    recipient_id "recipient_id", flags "flags", node_id "node_id", kind "kind", type_ "`type`", direction "direction", via "via",
    content_key "content_key", sender_resource "sender_resource", sender_nick "sender_nick", recipient_resource "recipient_resource",
    recipient_nick "recipient_nick", stanza_id "stanza_id", origin_id "origin_id", thread "thread", subject "subject", lang "lang",
    refers_to_id "refers_to_id", detail "detail", body "body", xml "xml"
);
written!(
    DeliveryRow, "deliveries", "",
    message_id "message_id", at "`at`", seq "seq", recipient_id "recipient_id", node_id "node_id", direction "direction", source "source",
    send_no "send_no", resource "resource", xml "xml"
);
written!(KeyRow, "message_keys", "", message_id "message_id", by_id "by_id", kind "kind", key "`key`", value "value");
written!(
    BounceRow, "bounces", "",
    id "id", message_id "message_id", at "`at`", from_id "from_id", to_id "to_id", node_id "node_id", stanza_id "stanza_id",
    condition "`condition`", text "text", xml "xml"
);
written!(
    OccupancyRow, "occupancy_events", "",
    id "id", at "`at`", room_id "room_id", jid_id "jid_id", event "event", node_id "node_id", nick "nick", resource "resource"
);
written!(SightingRow, "sightings", "", row_id "row_id", at "`at`", seq "seq", kind "kind", node_id "node_id", is_first "is_first");
written!(LateRow, "search_late", "", message_id "message_id");
written!(SettingRow, "settings", " ON DUPLICATE KEY UPDATE value = VALUES(value)", name "name", value "value");
written!(ProgressRow, "progress", " ON DUPLICATE KEY UPDATE next_seq = VALUES(next_seq)", spool_id "spool_id", next_seq "next_seq");

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(value: impl Literal) -> String {
        let mut sql = String::new();
        value.write(&mut sql);
        sql
    }

    #[test]
    fn a_text_stays_between_its_quotes() {
        assert_eq!(sql("it's \\ a \0 \u{1f600}\n".to_owned()), "'it''s \\\\ a \\0 \u{1f600}\n'");
        assert_eq!(sql("\\'".to_owned()), "'\\\\'''");
        assert_eq!(sql(None::<String>), "NULL");
        assert_eq!(sql(vec![0_u8, 255, 16]), "X'00ff10'");
        assert_eq!(sql(-5_i64), "-5");
    }

    #[test]
    fn rows_become_statements() {
        let rows: Vec<JidRow> = (1..=2).map(|id| JidRow { id, jid: format!("a{id}@b") }).collect();
        let mut texts = Texts::default();
        texts.insert(&rows);
        texts.insert::<NodeRow>(&[]);
        texts.name_person(&PersonRow { message_id: 7, id: 2, resource: Some("desk".to_owned()) }, "sender");
        let insert = "INSERT INTO jids (id,jid) VALUES (1,'a1@b'),(2,'a2@b');";
        let update = "UPDATE messages SET sender_id=2,sender_resource='desk' WHERE id=7 AND sender_id IS NULL;";
        assert_eq!(texts.finish(), [format!("{insert}{update}")]);
    }

    #[test]
    fn no_text_is_longer_than_a_packet() {
        let rows: Vec<JidRow> = (0..40).map(|id| JidRow { id, jid: "a".repeat(300_000) }).collect();
        let mut texts = Texts::default();
        texts.insert(&rows);
        let texts = texts.finish();
        // 16 MiB by default, and the last statement of a text may end with one of the largest rows.
        assert!(texts.iter().all(|text| text.len() < 12 * 1024 * 1024 && text.ends_with(");")));
        assert!(texts.len() > 1);
        assert_eq!(texts.iter().map(|text| text.matches("'a").count()).sum::<usize>(), 40);
    }
}
