//! Rows as they are inserted and read: one struct a table, the same for the three databases.

use std::borrow::Cow;

use diesel::prelude::*;

use super::schema::*;

/// A row of `jids`.
#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = jids, treat_none_as_default_value = false)]
pub(crate) struct JidRow {
    pub(crate) id: i32,
    pub(crate) jid: String,
}

/// A row of `nodes`.
#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = nodes, treat_none_as_default_value = false)]
pub(crate) struct NodeRow {
    pub(crate) id: i16,
    pub(crate) name: String,
}

/// A row of `conversation_names`.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = conversation_names, treat_none_as_default_value = false)]
pub(crate) struct ConversationRow {
    pub(crate) id: i32,
    pub(crate) kind: i16,
    pub(crate) first_id: Option<i32>,
    pub(crate) second_id: Option<i32>,
    pub(crate) name: String,
}

/// A row of `messages`.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = messages, treat_none_as_default_value = false)]
pub(crate) struct MessageRow {
    pub(crate) id: i64,
    pub(crate) sent_at: i64,
    pub(crate) received_at: i64,
    pub(crate) refers_to: Option<i64>,
    pub(crate) conversation_id: i32,
    pub(crate) sender_id: Option<i32>,
    pub(crate) recipient_id: Option<i32>,
    pub(crate) flags: i32,
    pub(crate) node_id: i16,
    pub(crate) kind: i16,
    pub(crate) type_: i16,
    pub(crate) direction: i16,
    pub(crate) via: i16,
    pub(crate) content_key: Vec<u8>,
    pub(crate) sender_resource: Option<String>,
    pub(crate) sender_nick: Option<String>,
    pub(crate) recipient_resource: Option<String>,
    pub(crate) recipient_nick: Option<String>,
    pub(crate) stanza_id: Option<String>,
    pub(crate) origin_id: Option<String>,
    pub(crate) thread: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) lang: Option<String>,
    pub(crate) refers_to_id: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) xml: Vec<u8>,
}

impl MessageRow {
    /// Fills in people who were not known when the row was made.
    pub(crate) fn name(&mut self, people: People) {
        if let Some(sender) = people.sender {
            (self.sender_id, self.sender_resource) = (Some(sender.id), sender.resource);
        }
        if let Some(recipient) = people.recipient {
            (self.recipient_id, self.recipient_resource) = (Some(recipient.id), recipient.resource);
        }
        self.sender_nick = self.sender_nick.take().or(people.sender_nick);
        self.recipient_nick = self.recipient_nick.take().or(people.recipient_nick);
    }
}

/// Who wrote a message and whom it is for, where a later copy was the first to say.
#[derive(Debug, Default)]
pub(crate) struct People {
    pub(crate) sender: Option<Named>,
    pub(crate) sender_nick: Option<String>,
    pub(crate) recipient: Option<Named>,
    pub(crate) recipient_nick: Option<String>,
}

/// Somebody's number, and the session.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) id: i32,
    pub(crate) resource: Option<String>,
}

/// A row of `search_late`, whose number the database gives.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = search_late, treat_none_as_default_value = false)]
pub(crate) struct LateRow {
    pub(crate) message_id: i64,
}

/// A row of `deliveries`.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = deliveries, treat_none_as_default_value = false)]
pub(crate) struct DeliveryRow {
    pub(crate) message_id: i64,
    pub(crate) at: i64,
    pub(crate) seq: i32,
    pub(crate) recipient_id: Option<i32>,
    pub(crate) node_id: i16,
    pub(crate) direction: i16,
    pub(crate) source: i16,
    pub(crate) send_no: i16,
    pub(crate) resource: Option<String>,
    pub(crate) xml: Option<Vec<u8>>,
}

/// A row of `message_keys`.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = message_keys, treat_none_as_default_value = false)]
pub(crate) struct KeyRow {
    pub(crate) message_id: i64,
    pub(crate) by_id: Option<i32>,
    pub(crate) kind: i16,
    pub(crate) key: Vec<u8>,
    pub(crate) value: String,
}

/// A row of `bounces`.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = bounces, treat_none_as_default_value = false)]
pub(crate) struct BounceRow {
    pub(crate) id: i64,
    pub(crate) message_id: Option<i64>,
    pub(crate) at: i64,
    pub(crate) from_id: Option<i32>,
    pub(crate) to_id: Option<i32>,
    pub(crate) node_id: i16,
    pub(crate) stanza_id: Option<String>,
    pub(crate) condition: String,
    pub(crate) text: Option<String>,
    pub(crate) xml: Vec<u8>,
}

/// A row of `rooms`.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = rooms, treat_none_as_default_value = false)]
pub(crate) struct RoomRow {
    pub(crate) jid_id: i32,
    pub(crate) kind: i16,
    pub(crate) first_seen_at: i64,
}

/// A row of `occupancy_events`.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = occupancy_events, treat_none_as_default_value = false)]
pub(crate) struct OccupancyRow {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) room_id: i32,
    pub(crate) jid_id: Option<i32>,
    pub(crate) event: i16,
    pub(crate) node_id: i16,
    pub(crate) nick: String,
    pub(crate) resource: Option<String>,
}

/// A row of `quarantine`.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = quarantine, treat_none_as_default_value = false)]
pub(crate) struct QuarantineRow {
    pub(crate) id: i64,
    pub(crate) seq: i64,
    pub(crate) received_at: i64,
    pub(crate) node_id: Option<i16>,
    pub(crate) spool_id: Vec<u8>,
    pub(crate) reason: String,
    pub(crate) record: Vec<u8>,
}

/// What `sightings.kind` says its row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighted {
    Delivery = 1,
    Bounce = 2,
    Occupancy = 3,
}

/// A row of `sightings`.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = sightings, treat_none_as_default_value = false)]
pub(crate) struct SightingRow {
    pub(crate) row_id: i64,
    pub(crate) at: i64,
    pub(crate) seq: i32,
    pub(crate) kind: i16,
    pub(crate) node_id: i16,
    pub(crate) is_first: i16,
}

/// A bounce, as far as it tells another one from it.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = bounces)]
pub(crate) struct BouncedRow {
    pub(crate) id: i64,
    pub(crate) message_id: Option<i64>,
    pub(crate) at: i64,
    pub(crate) from_id: Option<i32>,
    pub(crate) to_id: Option<i32>,
    pub(crate) node_id: i16,
    pub(crate) stanza_id: Option<String>,
    pub(crate) condition: String,
}

impl BouncedRow {
    /// Whether it says the same as another one.
    pub(crate) fn is_like(&self, other: &BounceRow) -> bool {
        (self.message_id, self.from_id, self.to_id, self.node_id) == (other.message_id, other.from_id, other.to_id, other.node_id)
            && (&self.stanza_id, &self.condition) == (&other.stanza_id, &other.condition)
    }
}

impl From<&BounceRow> for BouncedRow {
    fn from(row: &BounceRow) -> Self {
        Self {
            id: row.id,
            message_id: row.message_id,
            at: row.at,
            from_id: row.from_id,
            to_id: row.to_id,
            node_id: row.node_id,
            stanza_id: row.stanza_id.clone(),
            condition: row.condition.clone(),
        }
    }
}

impl OccupancyRow {
    /// Whether it says the same as another one.
    pub(crate) fn is_like(&self, other: &OccupancyRow) -> bool {
        (self.room_id, self.event, self.jid_id, self.node_id) == (other.room_id, other.event, other.jid_id, other.node_id)
            && (&self.nick, &self.resource) == (&other.nick, &other.resource)
    }
}

/// A row of `gaps`.
#[derive(Clone, Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = gaps, treat_none_as_default_value = false)]
pub(crate) struct GapRow {
    pub(crate) id: i64,
    pub(crate) from_at: i64,
    pub(crate) to_at: Option<i64>,
    pub(crate) lost: Option<i64>,
    pub(crate) found: i64,
    pub(crate) known: i64,
    pub(crate) changed_at: i64,
    pub(crate) node_id: i16,
    pub(crate) reason: i16,
    pub(crate) state: i16,
    pub(crate) note: Option<String>,
    pub(crate) changed_by: Option<String>,
    pub(crate) detail: Option<String>,
}

/// A row of `tallies`, or what is to be added to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TallyRow {
    pub(crate) node_id: i16,
    pub(crate) day: i32,
    pub(crate) state: i16,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) count: i64,
}

/// What identity needs of a stored message.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = messages)]
pub(crate) struct KnownRow {
    pub(crate) id: i64,
    pub(crate) content_key: Vec<u8>,
    pub(crate) sent_at: i64,
    pub(crate) sender_id: Option<i32>,
    pub(crate) recipient_id: Option<i32>,
    pub(crate) sender_resource: Option<String>,
    pub(crate) sender_nick: Option<String>,
    pub(crate) recipient_resource: Option<String>,
    pub(crate) recipient_nick: Option<String>,
    pub(crate) stanza_id: Option<String>,
}

/// What identity needs of a stored delivery.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = deliveries)]
pub(crate) struct CountedRow {
    pub(crate) message_id: i64,
    pub(crate) at: i64,
    pub(crate) seq: i32,
    pub(crate) recipient_id: Option<i32>,
    pub(crate) node_id: i16,
    pub(crate) direction: i16,
    pub(crate) source: i16,
    pub(crate) send_no: i16,
    pub(crate) resource: Option<String>,
}

/// A message that another one may refer to.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = messages)]
pub(crate) struct ReferenceRow {
    pub(crate) id: i64,
    pub(crate) sender_id: Option<i32>,
    pub(crate) sender_nick: Option<String>,
}
