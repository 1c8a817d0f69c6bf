//! Rows into PostgreSQL as one array for each column (`unnest`): one statement text for any number of rows, which is half again as fast as a
//! long list of VALUES. Diesel takes it for a static query, so that it is prepared once for a connection.

use std::borrow::Cow;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, SmallInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::rows::*;

/// Statements that take columns.
pub(super) trait Columns: QueryFragment<Pg> + QueryId + Send {
    /// Whether there is nothing to do.
    fn is_empty(&self) -> bool;
}

/// Runs a statement, unless it has no rows.
pub(super) async fn insert(mut connection: &AsyncPgConnection, columns: impl Columns) -> QueryResult<()> {
    if columns.is_empty() {
        return Ok(());
    }
    columns.execute(&mut connection).await.map(drop)
}

/// A list's separator: nothing before the first.
fn comma(is_first: &mut bool) -> &'static str {
    if std::mem::take(is_first) { "" } else { ", " }
}

/// One vector for each column, and the statement that takes them.
macro_rules! columns {
    ($name:ident, $row:ident, $verb:ident $table:literal, $tail:literal; $($field:ident $column:literal $sql:ty => $rust:ty, $array:literal;)*) => {
        #[derive(Debug, Default)]
        pub(super) struct $name {
            rows: usize,
            $($field: Vec<$rust>,)*
        }

        impl $name {
            pub(super) fn of(rows: Vec<$row>) -> Self {
                let mut columns = Self { rows: rows.len(), $($field: Vec::with_capacity(rows.len()),)* };
                for row in rows {
                    $(columns.$field.push(row.$field);)*
                }
                columns
            }
        }

        impl Columns for $name {
            fn is_empty(&self) -> bool {
                self.rows == 0
            }
        }

        impl QueryId for $name {
            type QueryId = Self;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl QueryFragment<Pg> for $name {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                columns!(@head out, $verb $table, $($column),*);
                let mut is_first = true;
                $(
                    out.push_sql(comma(&mut is_first));
                    out.push_bind_param::<Array<$sql>, _>(&self.$field)?;
                    out.push_sql(concat!("::", $array, "[]"));
                )*
                out.push_sql(concat!(")", $tail));
                Ok(())
            }
        }
    };
    (@head $out:ident, insert $table:literal, $($column:literal),*) => {
        $out.push_sql(concat!("INSERT INTO ", $table, " ("));
        $out.push_sql(&[$($column),*].join(", "));
        $out.push_sql(") SELECT * FROM unnest(");
    };
    (@head $out:ident, update $statement:literal, $($column:literal),*) => {
        $out.push_sql(concat!($statement, " FROM unnest("));
    };
}

columns! {
    Nodes, NodeRow, insert "nodes", "";
    id "id" SmallInt => i16, "int2";
    name "name" Text => String, "text";
}

columns! {
    Jids, JidRow, insert "jids", "";
    id "id" Integer => i32, "int4";
    jid "jid" Text => String, "text";
}

columns! {
    Conversations, ConversationRow, insert "conversation_names", "";
    id "id" Integer => i32, "int4";
    kind "kind" SmallInt => i16, "int2";
    first_id "first_id" Nullable<Integer> => Option<i32>, "int4";
    second_id "second_id" Nullable<Integer> => Option<i32>, "int4";
    name "name" Text => String, "text";
}

columns! {
    Rooms, RoomRow, insert "rooms", "";
    jid_id "jid_id" Integer => i32, "int4";
    kind "kind" SmallInt => i16, "int2";
    first_seen_at "first_seen_at" BigInt => i64, "int8";
}

columns! {
    Messages, MessageRow, insert "messages", "";
    id "id" BigInt => i64, "int8";
    sent_at "sent_at" BigInt => i64, "int8";
    received_at "received_at" BigInt => i64, "int8";
    refers_to "refers_to" Nullable<BigInt> => Option<i64>, "int8";
    conversation_id "conversation_id" Integer => i32, "int4";
    sender_id "sender_id" Nullable<Integer> => Option<i32>, "int4";
    recipient_id "recipient_id" Nullable<Integer> => Option<i32>, "int4";
    flags "flags" Integer => i32, "int4";
    node_id "node_id" SmallInt => i16, "int2";
    kind "kind" SmallInt => i16, "int2";
    type_ "type" SmallInt => i16, "int2";
    direction "direction" SmallInt => i16, "int2";
    via "via" SmallInt => i16, "int2";
    content_key "content_key" Binary => Vec<u8>, "bytea";
    sender_resource "sender_resource" Nullable<Text> => Option<String>, "text";
    sender_nick "sender_nick" Nullable<Text> => Option<String>, "text";
    recipient_resource "recipient_resource" Nullable<Text> => Option<String>, "text";
    recipient_nick "recipient_nick" Nullable<Text> => Option<String>, "text";
    stanza_id "stanza_id" Nullable<Text> => Option<String>, "text";
    origin_id "origin_id" Nullable<Text> => Option<String>, "text";
    thread "thread" Nullable<Text> => Option<String>, "text";
    subject "subject" Nullable<Text> => Option<String>, "text";
    lang "lang" Nullable<Text> => Option<String>, "text";
    refers_to_id "refers_to_id" Nullable<Text> => Option<String>, "text";
    detail "detail" Nullable<Text> => Option<String>, "text";
    body "body" Nullable<Text> => Option<String>, "text";
    xml "xml" Binary => Vec<u8>, "bytea";
}

columns! {
    Deliveries, DeliveryRow, insert "deliveries", "";
    message_id "message_id" BigInt => i64, "int8";
    at "at" BigInt => i64, "int8";
    seq "seq" Integer => i32, "int4";
    recipient_id "recipient_id" Nullable<Integer> => Option<i32>, "int4";
    node_id "node_id" SmallInt => i16, "int2";
    direction "direction" SmallInt => i16, "int2";
    source "source" SmallInt => i16, "int2";
    send_no "send_no" SmallInt => i16, "int2";
    resource "resource" Nullable<Text> => Option<String>, "text";
    xml "xml" Nullable<Binary> => Option<Vec<u8>>, "bytea";
}

columns! {
    Keys, KeyRow, insert "message_keys", "";
    message_id "message_id" BigInt => i64, "int8";
    by_id "by_id" Nullable<Integer> => Option<i32>, "int4";
    kind "kind" SmallInt => i16, "int2";
    key "key" Binary => Vec<u8>, "bytea";
    value "value" Text => String, "text";
}

columns! {
    Bounces, BounceRow, insert "bounces", "";
    id "id" BigInt => i64, "int8";
    message_id "message_id" Nullable<BigInt> => Option<i64>, "int8";
    at "at" BigInt => i64, "int8";
    from_id "from_id" Nullable<Integer> => Option<i32>, "int4";
    to_id "to_id" Nullable<Integer> => Option<i32>, "int4";
    node_id "node_id" SmallInt => i16, "int2";
    stanza_id "stanza_id" Nullable<Text> => Option<String>, "text";
    condition "condition" Text => String, "text";
    text "text" Nullable<Text> => Option<String>, "text";
    xml "xml" Binary => Vec<u8>, "bytea";
}

columns! {
    Occupancies, OccupancyRow, insert "occupancy_events", "";
    id "id" BigInt => i64, "int8";
    at "at" BigInt => i64, "int8";
    room_id "room_id" Integer => i32, "int4";
    jid_id "jid_id" Nullable<Integer> => Option<i32>, "int4";
    event "event" SmallInt => i16, "int2";
    node_id "node_id" SmallInt => i16, "int2";
    nick "nick" Text => String, "text";
    resource "resource" Nullable<Text> => Option<String>, "text";
}

columns! {
    Sightings, SightingRow, insert "sightings", "";
    row_id "row_id" BigInt => i64, "int8";
    at "at" BigInt => i64, "int8";
    seq "seq" Integer => i32, "int4";
    kind "kind" SmallInt => i16, "int2";
    node_id "node_id" SmallInt => i16, "int2";
    is_first "is_first" SmallInt => i16, "int2";
}

columns! {
    Late, LateRow, insert "search_late", "";
    message_id "message_id" BigInt => i64, "int8";
}

columns! {
    Senders, PersonRow, update "UPDATE messages SET sender_id = news.id, sender_resource = news.resource",
    " AS news (message_id, id, resource) WHERE messages.id = news.message_id AND messages.sender_id IS NULL";
    message_id "message_id" BigInt => i64, "int8";
    id "id" Integer => i32, "int4";
    resource "resource" Nullable<Text> => Option<String>, "text";
}

columns! {
    Recipients, PersonRow, update "UPDATE messages SET recipient_id = news.id, recipient_resource = news.resource",
    " AS news (message_id, id, resource) WHERE messages.id = news.message_id AND messages.recipient_id IS NULL";
    message_id "message_id" BigInt => i64, "int8";
    id "id" Integer => i32, "int4";
    resource "resource" Nullable<Text> => Option<String>, "text";
}

columns! {
    SenderNicks, NickRow, update "UPDATE messages SET sender_nick = news.nick",
    " AS news (message_id, nick) WHERE messages.id = news.message_id AND messages.sender_nick IS NULL";
    message_id "message_id" BigInt => i64, "int8";
    nick "nick" Text => String, "text";
}

columns! {
    RecipientNicks, NickRow, update "UPDATE messages SET recipient_nick = news.nick",
    " AS news (message_id, nick) WHERE messages.id = news.message_id AND messages.recipient_nick IS NULL";
    message_id "message_id" BigInt => i64, "int8";
    nick "nick" Text => String, "text";
}

columns! {
    Settings, SettingRow, insert "settings", " ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    name "name" Text => String, "text";
    value "value" Binary => Vec<u8>, "bytea";
}

columns! {
    Progress, ProgressRow, insert "progress", " ON CONFLICT (spool_id) DO UPDATE SET next_seq = excluded.next_seq";
    spool_id "spool_id" Binary => Vec<u8>, "bytea";
    next_seq "next_seq" BigInt => i64, "int8";
}

columns! {
    Tallies, TallyRow, insert "tallies", " ON CONFLICT (node_id, day, state, reason) DO UPDATE SET count = tallies.count + excluded.count";
    node_id "node_id" SmallInt => i16, "int2";
    day "day" Integer => i32, "int4";
    state "state" SmallInt => i16, "int2";
    reason "reason" Text => Cow<'static, str>, "text";
    count "count" BigInt => i64, "int8";
}

/// A statement without values that is prepared once, as all of these are.
#[derive(Debug)]
pub(super) struct Plain<const WHICH: usize>;

/// Begins a transaction.
pub(super) const BEGIN: Plain<0> = Plain;
/// Waits for its turn among the writers: an advisory lock is granted in the order of asking, which the lock of a row is not.
pub(super) const QUEUE: Plain<1> = Plain;
/// Locks the row that says who wrote last.
pub(super) const LOCK: Plain<2> = Plain;
/// Commits.
pub(super) const COMMIT: Plain<3> = Plain;

const PLAIN: [&str; 4] = [
    "BEGIN",
    // 'xmpparch' as a number.
    "SELECT pg_advisory_xact_lock(8677715684986348392)",
    "SELECT 1 FROM settings WHERE name = 'writer' FOR UPDATE",
    "COMMIT",
];

impl<const WHICH: usize> QueryId for Plain<WHICH> {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const WHICH: usize> QueryFragment<Pg> for Plain<WHICH> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(PLAIN.get(WHICH).copied().unwrap_or_default());
        Ok(())
    }
}

/// Fails unless this writer was the last one and the position is this one.
#[derive(Debug, QueryId)]
pub(super) struct Check {
    pub(super) token: Vec<u8>,
    pub(super) spool_id: Vec<u8>,
    pub(super) next_seq: i64,
}

impl QueryFragment<Pg> for Check {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT 1 / count(*) FROM settings s, progress p WHERE s.name = 'writer' AND s.value = ");
        out.push_bind_param::<Binary, _>(&self.token)?;
        out.push_sql(" AND p.spool_id = ");
        out.push_bind_param::<Binary, _>(&self.spool_id)?;
        out.push_sql(" AND p.next_seq = ");
        out.push_bind_param::<BigInt, _>(&self.next_seq)
    }
}

/// Prepares all of them, by running them without rows, in one go.
pub(super) async fn prepare(connection: &AsyncPgConnection) -> QueryResult<()> {
    let all: [Outcome<'_>; 21] = [
        run(connection, BEGIN),
        run(connection, Nodes::default()),
        run(connection, Jids::default()),
        run(connection, Conversations::default()),
        run(connection, Rooms::default()),
        run(connection, Messages::default()),
        run(connection, Deliveries::default()),
        run(connection, Keys::default()),
        run(connection, Bounces::default()),
        run(connection, Occupancies::default()),
        run(connection, Sightings::default()),
        run(connection, Late::default()),
        run(connection, Senders::default()),
        run(connection, Recipients::default()),
        run(connection, SenderNicks::default()),
        run(connection, RecipientNicks::default()),
        run(connection, Settings::default()),
        run(connection, Progress::default()),
        run(connection, Tallies::default()),
        run(connection, QUEUE),
        run(connection, LOCK),
    ];
    for outcome in super::postgres::all(all.into_iter()).await {
        outcome?;
    }
    run(connection, COMMIT).await
}

type Outcome<'c> = std::pin::Pin<Box<dyn Future<Output = QueryResult<()>> + Send + 'c>>;

fn run(mut connection: &AsyncPgConnection, statement: impl QueryFragment<Pg> + QueryId + Send + 'static) -> Outcome<'_> {
    Box::pin(async move { statement.execute(&mut connection).await.map(drop) })
}
