//! What a batch of the index is made of.

use std::collections::HashMap;

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use crate::store::Connection;
use crate::store::statement::run;

/// Most text of one batch; a batch of long messages ends early. Its words and the statements are in memory beside it.
const MAX_TEXT_BYTES: i64 = 1024 * 1024;

/// A message to index.
#[derive(Debug, diesel::QueryableByName)]
pub(super) struct Message {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) sent_at: i64,
    #[diesel(sql_type = Nullable<Integer>)]
    pub(super) sender_id: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    pub(super) recipient_id: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    pub(super) first_id: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    pub(super) second_id: Option<i32>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) body: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) subject: Option<String>,
    /// Of files alone.
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) detail: Option<String>,
}

/// A message that has to be looked at again.
#[derive(Debug, diesel::QueryableByName)]
pub(super) struct Late {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    message_id: i64,
}

#[derive(diesel::QueryableByName)]
struct Reached {
    #[diesel(sql_type = BigInt)]
    message_id: i64,
    #[diesel(sql_type = Integer)]
    recipient_id: i32,
}

#[derive(diesel::QueryableByName)]
struct Size {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) messages: Vec<Message>,
    /// Whom copies went to, by message.
    pub(super) reached: HashMap<i64, Vec<i32>>,
    /// The number behind the last message.
    pub(super) next: i64,
}

/// The oldest notes.
pub(super) async fn late(connection: &mut Connection, most: i64) -> QueryResult<Vec<Late>> {
    let sql = format!("SELECT id, message_id FROM search_late ORDER BY id LIMIT {most}");
    run!(connection, load, diesel::sql_query(sql))
}

/// The statement that takes notes away.
pub(super) fn forget(late: &[Late]) -> Option<String> {
    let ids: Vec<String> = late.iter().map(|note| note.id.to_string()).collect();
    (!ids.is_empty()).then(|| format!("DELETE FROM search_late WHERE id IN ({})", ids.join(", ")))
}

/// The messages from this number on, and those of the notes that lie before it.
pub(super) async fn messages(connection: &mut Connection, from: i64, most: i64, late: &[Late]) -> QueryResult<Found> {
    let (next, is_new) = end(connection, from, most).await?;
    let mut old: Vec<i64> = late.iter().map(|note| note.message_id).filter(|id| *id < from).collect();
    old.sort_unstable();
    old.dedup();
    let mut ranges = Vec::new();
    if is_new {
        ranges.push(format!("BETWEEN {from} AND {}", next - 1));
    }
    if !old.is_empty() {
        let old: Vec<String> = old.iter().map(i64::to_string).collect();
        ranges.push(format!("IN ({})", old.join(", ")));
    }
    let mut found = Found { next, ..Found::default() };
    for range in ranges {
        let sql = format!(
            "SELECT m.id, m.sent_at, m.sender_id, m.recipient_id, c.first_id, c.second_id, m.body, m.subject, \
             CASE WHEN m.kind = 13 OR (m.flags & 1024) <> 0 THEN m.detail END AS detail \
             FROM messages m LEFT JOIN conversation_names c ON c.id = m.conversation_id WHERE m.id {range} ORDER BY m.id"
        );
        let messages: Vec<Message> = run!(connection, load, diesel::sql_query(sql))?;
        found.messages.extend(messages);
        let sql = format!("SELECT DISTINCT message_id, recipient_id FROM deliveries WHERE message_id {range} AND recipient_id IS NOT NULL");
        let reached: Vec<Reached> = run!(connection, load, diesel::sql_query(sql))?;
        for Reached { message_id, recipient_id } in reached {
            found.reached.entry(message_id).or_default().push(recipient_id);
        }
    }
    Ok(found)
}

/// Where the batch ends, and whether anything lies before that.
async fn end(connection: &mut Connection, from: i64, most: i64) -> QueryResult<(i64, bool)> {
    let sql = format!(
        "SELECT m.id, CAST(COALESCE(OCTET_LENGTH(m.body), 0) + COALESCE(OCTET_LENGTH(m.subject), 0) + \
         COALESCE(OCTET_LENGTH(m.detail), 0) AS {}) AS bytes \
         FROM messages m WHERE m.id >= {from} ORDER BY m.id LIMIT {most}",
        if matches!(connection, Connection::Mysql(_)) { "SIGNED" } else { "BIGINT" }
    );
    let sizes: Vec<Size> = run!(connection, load, diesel::sql_query(sql))?;
    let (mut bytes, mut next) = (0, from);
    for size in &sizes {
        bytes += size.bytes;
        if bytes > MAX_TEXT_BYTES && next > from {
            break;
        }
        next = size.id + 1;
    }
    Ok((next, !sizes.is_empty()))
}
