//! The statements of the writer, once for three databases.
//!
//! Diesel's query builder is the same for SQLite, PostgreSQL and MySQL, but a connection is either blocking (SQLite) or
//! asynchronous (the other two), and no type covers both. So the statements stand in a macro that is expanded for each
//! connection with its own way to run a query. What is truly different (locks, bulk inserts) stands in the database's own file.

use diesel::QueryResult;

use super::rows::*;

/// Most values in one `IN (…)`: SQLite allows 32,766 variables in a statement.
pub(crate) const MAX_IN: usize = 8_000;
/// How far back in a conversation a message is looked for that another one refers to.
pub(crate) const MAX_REFERENCE_SCAN: i64 = 5_000;
/// How many errors are looked through for the one that another feed of the node has brought.
pub(crate) const MAX_BOUNCE_SCAN: i64 = 1_000;

/// What the writer asks of a connection inside one transaction.
pub(crate) trait Queries {
    /// Begins a transaction that no other writer can overlap, and returns who wrote last (the setting `writer`).
    async fn begin(&mut self) -> QueryResult<Vec<u8>>;
    async fn commit(&mut self) -> QueryResult<()>;
    async fn rollback(&mut self);

    async fn setting(&mut self, name: &str) -> QueryResult<Option<Vec<u8>>>;
    async fn set(&mut self, name: &str, value: &[u8]) -> QueryResult<()>;
    async fn progress(&mut self, spool_id: &[u8]) -> QueryResult<Option<i64>>;
    async fn set_progress(&mut self, spool_id: &[u8], next_seq: i64, exists: bool) -> QueryResult<()>;
    async fn last_ids(&mut self) -> QueryResult<LastIds>;

    async fn jid_ids(&mut self, jids: &[String]) -> QueryResult<Vec<JidRow>>;
    async fn jids_of(&mut self, ids: &[i32]) -> QueryResult<Vec<JidRow>>;
    async fn node_rows(&mut self) -> QueryResult<Vec<NodeRow>>;
    async fn conversations_of(&mut self, first: &[i32], second: &[i32]) -> QueryResult<Vec<ConversationRow>>;
    async fn known_rooms(&mut self, rooms: &[i32]) -> QueryResult<Vec<(i32, i16)>>;
    async fn set_room_kind(&mut self, room: i32, kind: i16) -> QueryResult<()>;
    async fn occupancies(&mut self) -> QueryResult<Vec<OccupancyRow>>;

    async fn known_by_content(&mut self, keys: &[Vec<u8>]) -> QueryResult<Vec<KnownRow>>;
    async fn known_by_id(&mut self, ids: &[i64]) -> QueryResult<Vec<KnownRow>>;
    async fn ids_by_exact(&mut self, keys: &[Vec<u8>]) -> QueryResult<Vec<KeyRow>>;
    async fn keys_of(&mut self, ids: &[i64]) -> QueryResult<Vec<KeyRow>>;
    async fn counted(&mut self, ids: &[i64]) -> QueryResult<Vec<CountedRow>>;
    async fn bounced(&mut self, ids: &[i64]) -> QueryResult<Vec<Option<i64>>>;
    /// The latest message of a conversation, among its [`MAX_REFERENCE_SCAN`] latest, with this id.
    async fn named_in(&mut self, conversation: i32, wanted: &str) -> QueryResult<Option<ReferenceRow>>;
    async fn reference(&mut self, wanted: i64) -> QueryResult<Option<ReferenceRow>>;
    async fn latest_subject(&mut self, conversation: i32) -> QueryResult<Option<i64>>;

    async fn sightings_of(&mut self, of: Sighted, ids: &[i64]) -> QueryResult<Vec<SightingRow>>;
    /// The errors for one message; without one, the latest [`MAX_BOUNCE_SCAN`] of all.
    async fn bounces_like(&mut self, message: Option<i64>) -> QueryResult<Vec<BouncedRow>>;
    async fn occupancies_in(&mut self, room: i32, from: i64, to: i64) -> QueryResult<Vec<OccupancyRow>>;

    /// Fills in people who were not known when the message was stored.
    async fn name_people(&mut self, message: i64, people: People) -> QueryResult<()>;

    async fn insert_jids(&mut self, rows: &[JidRow]) -> QueryResult<()>;
    async fn insert_nodes(&mut self, rows: &[NodeRow]) -> QueryResult<()>;
    async fn insert_conversations(&mut self, rows: &[ConversationRow]) -> QueryResult<()>;
    async fn insert_rooms(&mut self, rows: &[RoomRow]) -> QueryResult<()>;
    async fn insert_keys(&mut self, rows: &[KeyRow]) -> QueryResult<()>;
    async fn insert_bounces(&mut self, rows: &[BounceRow]) -> QueryResult<()>;
    async fn insert_occupancies(&mut self, rows: &[OccupancyRow]) -> QueryResult<()>;
    async fn insert_sightings(&mut self, rows: &[SightingRow]) -> QueryResult<()>;
    async fn insert_late(&mut self, rows: &[LateRow]) -> QueryResult<()>;
    async fn insert_quarantine(&mut self, rows: &[QuarantineRow]) -> QueryResult<()>;
    async fn insert_gaps(&mut self, rows: &[GapRow]) -> QueryResult<()>;
    /// The gaps of a node for this reason that began at this moment, that last, or, where a spool was damaged, all.
    async fn gaps_like(&mut self, node: i16, from: i64, reason: i16) -> QueryResult<Vec<GapRow>>;
    /// Says when a gap ended, and how much was lost.
    async fn end_gap(&mut self, gap: i64, to: Option<i64>, lost: Option<i64>, at: i64) -> QueryResult<()>;
    /// When the newest message arrived that a node mirrored before this moment.
    async fn newest_arrival(&mut self, node: i16, before: i64) -> QueryResult<Option<i64>>;
    /// Adds to the counts.
    async fn add_tallies(&mut self, rows: &[TallyRow]) -> QueryResult<()>;
    async fn insert_messages(&mut self, rows: Vec<MessageRow>) -> QueryResult<()>;
    async fn insert_deliveries(&mut self, rows: Vec<DeliveryRow>) -> QueryResult<()>;
}

/// The highest ids in use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastIds {
    pub(crate) message: i64,
    pub(crate) bounce: i64,
    pub(crate) occupancy: i64,
    pub(crate) quarantine: i64,
    pub(crate) gap: i64,
    pub(crate) jid: i32,
    pub(crate) conversation: i32,
    pub(crate) node: i16,
}

impl LastIds {
    /// The higher one of each.
    pub(crate) fn later_of(&self, other: &Self) -> Self {
        Self {
            message: self.message.max(other.message),
            bounce: self.bounce.max(other.bounce),
            occupancy: self.occupancy.max(other.occupancy),
            quarantine: self.quarantine.max(other.quarantine),
            gap: self.gap.max(other.gap),
            jid: self.jid.max(other.jid),
            conversation: self.conversation.max(other.conversation),
            node: self.node.max(other.node),
        }
    }
}

macro_rules! queries {
    ($connection:ty, $dsl:path, $simple:path, [$($wait:tt)*], $conflict:literal, { $($own:tt)* }) => {
        impl crate::store::queries::Queries for $connection {
            $($own)*

            async fn commit(&mut self) -> diesel::QueryResult<()> {
                use $simple as _;
                self.batch_execute("COMMIT")$($wait)*
            }

            async fn rollback(&mut self) {
                use $simple as _;
                if let Err(error) = self.batch_execute("ROLLBACK")$($wait)* {
                    log::debug!("the transaction could not be rolled back, the connection will be dropped: {error}");
                }
            }

            async fn setting(&mut self, wanted: &str) -> diesel::QueryResult<Option<Vec<u8>>> {
                use $dsl as _;
                use crate::store::schema::settings::dsl::*;
                settings.filter(name.eq(wanted)).select(value).first(self)$($wait)*.optional()
            }

            async fn set(&mut self, wanted: &str, new: &[u8]) -> diesel::QueryResult<()> {
                use $dsl as _;
                use crate::store::schema::settings::dsl::*;
                let exists: i64 = settings.filter(name.eq(wanted)).count().get_result(self)$($wait)*?;
                if exists > 0 {
                    diesel::update(settings.filter(name.eq(wanted))).set(value.eq(new)).execute(self)$($wait)*?;
                } else {
                    diesel::insert_into(settings).values((name.eq(wanted), value.eq(new))).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn progress(&mut self, spool: &[u8]) -> diesel::QueryResult<Option<i64>> {
                use $dsl as _;
                use crate::store::schema::progress::dsl::*;
                progress.filter(spool_id.eq(spool)).select(next_seq).first(self)$($wait)*.optional()
            }

            async fn set_progress(&mut self, spool: &[u8], next: i64, exists: bool) -> diesel::QueryResult<()> {
                use $dsl as _;
                use crate::store::schema::progress::dsl::*;
                if exists {
                    diesel::update(progress.filter(spool_id.eq(spool))).set(next_seq.eq(next)).execute(self)$($wait)*?;
                } else {
                    diesel::insert_into(progress).values((spool_id.eq(spool), next_seq.eq(next))).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn last_ids(&mut self) -> diesel::QueryResult<crate::store::queries::LastIds> {
                use $dsl as _;
                use crate::store::schema::*;
                use diesel::dsl::max;
                let message: Option<i64> = messages::table.select(max(messages::id)).first(self)$($wait)*?;
                let bounce: Option<i64> = bounces::table.select(max(bounces::id)).first(self)$($wait)*?;
                let occupancy: Option<i64> = occupancy_events::table.select(max(occupancy_events::id)).first(self)$($wait)*?;
                let quarantine: Option<i64> = quarantine::table.select(max(quarantine::id)).first(self)$($wait)*?;
                let gap: Option<i64> = gaps::table.select(max(gaps::id)).first(self)$($wait)*?;
                let jid: Option<i32> = jids::table.select(max(jids::id)).first(self)$($wait)*?;
                let conversation: Option<i32> = conversation_names::table.select(max(conversation_names::id)).first(self)$($wait)*?;
                let node: Option<i16> = nodes::table.select(max(nodes::id)).first(self)$($wait)*?;
                Ok(crate::store::queries::LastIds {
                    message: message.unwrap_or(0),
                    bounce: bounce.unwrap_or(0),
                    occupancy: occupancy.unwrap_or(0),
                    quarantine: quarantine.unwrap_or(0),
                    gap: gap.unwrap_or(0),
                    jid: jid.unwrap_or(0),
                    conversation: conversation.unwrap_or(0),
                    node: node.unwrap_or(0),
                })
            }

            async fn jid_ids(&mut self, wanted: &[String]) -> diesel::QueryResult<Vec<JidRow>> {
                use $dsl as _;
                use crate::store::schema::jids::dsl::*;
                let mut found = Vec::new();
                for part in wanted.chunks(crate::store::queries::MAX_IN) {
                    found.extend(jids.filter(jid.eq_any(part)).select((id, jid)).load::<JidRow>(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn jids_of(&mut self, wanted: &[i32]) -> diesel::QueryResult<Vec<JidRow>> {
                use $dsl as _;
                use crate::store::schema::jids::dsl::*;
                let mut found = Vec::new();
                for part in wanted.chunks(crate::store::queries::MAX_IN) {
                    found.extend(jids.filter(id.eq_any(part)).select((id, jid)).load::<JidRow>(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn node_rows(&mut self) -> diesel::QueryResult<Vec<NodeRow>> {
                use $dsl as _;
                use crate::store::schema::nodes::dsl::*;
                nodes.select((id, name)).load(self)$($wait)*
            }

            async fn conversations_of(&mut self, first: &[i32], second: &[i32]) -> diesel::QueryResult<Vec<ConversationRow>> {
                use $dsl as _;
                use crate::store::schema::conversation_names::dsl::*;
                let mut found = Vec::new();
                for part in first.chunks(crate::store::queries::MAX_IN) {
                    for other in second.chunks(crate::store::queries::MAX_IN) {
                        let either = second_id.is_null().or(second_id.eq_any(other));
                        let query = conversation_names.filter(first_id.eq_any(part).and(either)).select(ConversationRow::as_select());
                        found.extend(query.load(self)$($wait)*?);
                    }
                }
                Ok(found)
            }

            async fn known_rooms(&mut self, wanted: &[i32]) -> diesel::QueryResult<Vec<(i32, i16)>> {
                use $dsl as _;
                use crate::store::schema::rooms::dsl::*;
                let mut found = Vec::new();
                for part in wanted.chunks(crate::store::queries::MAX_IN) {
                    found.extend(rooms.filter(jid_id.eq_any(part)).select((jid_id, kind)).load::<(i32, i16)>(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn set_room_kind(&mut self, room: i32, new: i16) -> diesel::QueryResult<()> {
                use $dsl as _;
                use crate::store::schema::rooms::dsl::*;
                diesel::update(rooms.filter(jid_id.eq(room))).set(kind.eq(new)).execute(self)$($wait)*?;
                Ok(())
            }

            async fn occupancies(&mut self) -> diesel::QueryResult<Vec<OccupancyRow>> {
                use $dsl as _;
                use crate::store::schema::occupancy_events::dsl::*;
                let limit = crate::message::rooms::MAX_OCCUPANTS as i64;
                let mut newest: Vec<OccupancyRow> =
                    occupancy_events.order(id.desc()).limit(limit).select(OccupancyRow::as_select()).load(self)$($wait)*?;
                newest.reverse();
                Ok(newest)
            }

            async fn known_by_content(&mut self, keys: &[Vec<u8>]) -> diesel::QueryResult<Vec<KnownRow>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                let mut found = Vec::new();
                for part in keys.chunks(crate::store::queries::MAX_IN) {
                    found.extend(messages.filter(content_key.eq_any(part)).select(KnownRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn known_by_id(&mut self, ids: &[i64]) -> diesel::QueryResult<Vec<KnownRow>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::queries::MAX_IN) {
                    found.extend(messages.filter(id.eq_any(part)).select(KnownRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn ids_by_exact(&mut self, keys: &[Vec<u8>]) -> diesel::QueryResult<Vec<KeyRow>> {
                use $dsl as _;
                use crate::store::schema::message_keys::dsl::*;
                let mut found = Vec::new();
                for part in keys.chunks(crate::store::queries::MAX_IN) {
                    found.extend(message_keys.filter(key.eq_any(part)).select(KeyRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn keys_of(&mut self, ids: &[i64]) -> diesel::QueryResult<Vec<KeyRow>> {
                use $dsl as _;
                use crate::store::schema::message_keys::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::queries::MAX_IN) {
                    found.extend(message_keys.filter(message_id.eq_any(part)).select(KeyRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn counted(&mut self, ids: &[i64]) -> diesel::QueryResult<Vec<CountedRow>> {
                use $dsl as _;
                use crate::store::schema::deliveries::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::queries::MAX_IN) {
                    let query = deliveries.filter(message_id.eq_any(part)).order((message_id, seq)).select(CountedRow::as_select());
                    found.extend(query.load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn bounced(&mut self, ids: &[i64]) -> diesel::QueryResult<Vec<Option<i64>>> {
                use $dsl as _;
                use crate::store::schema::bounces::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::queries::MAX_IN) {
                    found.extend(bounces.filter(message_id.eq_any(part)).select(message_id).load::<Option<i64>>(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn named_in(&mut self, conversation: i32, wanted: &str) -> diesel::QueryResult<Option<ReferenceRow>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                // The bound is looked up first: no database but PostgreSQL takes a LIMIT inside an IN.
                let bound: Option<i64> = messages
                    .filter(conversation_id.eq(conversation))
                    .order(sent_at.desc())
                    .offset(crate::store::queries::MAX_REFERENCE_SCAN)
                    .limit(1)
                    .select(sent_at)
                    .first(self)$($wait)*
                    .optional()?;
                let call = kind.eq(crate::message::content::Kind::Call as i16).and(refers_to_id.eq(wanted));
                messages
                    .filter(conversation_id.eq(conversation).and(sent_at.ge(bound.unwrap_or(0))))
                    .filter(stanza_id.eq(wanted).or(origin_id.eq(wanted)).or(call))
                    .order(sent_at.desc())
                    .select(ReferenceRow::as_select())
                    .first(self)$($wait)*
                    .optional()
            }

            async fn reference(&mut self, wanted: i64) -> diesel::QueryResult<Option<ReferenceRow>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                messages.filter(id.eq(wanted)).select(ReferenceRow::as_select()).first(self)$($wait)*.optional()
            }

            async fn latest_subject(&mut self, conversation: i32) -> diesel::QueryResult<Option<i64>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                let subject_kind = crate::message::content::Kind::Subject as i16;
                messages
                    .filter(conversation_id.eq(conversation).and(kind.eq(subject_kind)))
                    .order(sent_at.desc())
                    .select(id)
                    .first(self)$($wait)*
                    .optional()
            }

            async fn sightings_of(&mut self, of: Sighted, ids: &[i64]) -> diesel::QueryResult<Vec<SightingRow>> {
                use $dsl as _;
                use crate::store::schema::sightings::dsl::*;
                let mut found = Vec::new();
                for part in ids.chunks(crate::store::queries::MAX_IN) {
                    let query = sightings.filter(kind.eq(of as i16).and(row_id.eq_any(part)));
                    found.extend(query.select(SightingRow::as_select()).load(self)$($wait)*?);
                }
                Ok(found)
            }

            async fn bounces_like(&mut self, message: Option<i64>) -> diesel::QueryResult<Vec<BouncedRow>> {
                use $dsl as _;
                use crate::store::schema::bounces::dsl::*;
                let latest = bounces.order(id.desc()).limit(crate::store::queries::MAX_BOUNCE_SCAN).select(BouncedRow::as_select());
                let mut found: Vec<BouncedRow> = match message {
                    Some(message) => latest.filter(message_id.eq(message)).load(self)$($wait)*?,
                    None => latest.load(self)$($wait)*?,
                };
                found.reverse();
                Ok(found)
            }

            async fn occupancies_in(&mut self, room: i32, from: i64, to: i64) -> diesel::QueryResult<Vec<OccupancyRow>> {
                use $dsl as _;
                use crate::store::schema::occupancy_events::dsl::*;
                let query = occupancy_events.filter(room_id.eq(room).and(at.between(from, to))).order(id);
                query.select(OccupancyRow::as_select()).load(self)$($wait)*
            }

            async fn name_people(&mut self, message: i64, people: People) -> diesel::QueryResult<()> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                if let Some(sender) = people.sender {
                    let unknown = messages.filter(id.eq(message).and(sender_id.is_null()));
                    let values = (sender_id.eq(sender.id), sender_resource.eq(sender.resource));
                    diesel::update(unknown).set(values).execute(self)$($wait)*?;
                }
                if let Some(recipient) = people.recipient {
                    let unknown = messages.filter(id.eq(message).and(recipient_id.is_null()));
                    let values = (recipient_id.eq(recipient.id), recipient_resource.eq(recipient.resource));
                    diesel::update(unknown).set(values).execute(self)$($wait)*?;
                }
                if let Some(nick) = people.sender_nick {
                    let unknown = messages.filter(id.eq(message).and(sender_nick.is_null()));
                    diesel::update(unknown).set(sender_nick.eq(nick)).execute(self)$($wait)*?;
                }
                if let Some(nick) = people.recipient_nick {
                    let unknown = messages.filter(id.eq(message).and(recipient_nick.is_null()));
                    diesel::update(unknown).set(recipient_nick.eq(nick)).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_jids(&mut self, rows: &[JidRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::jids::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_nodes(&mut self, rows: &[NodeRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                diesel::insert_into(crate::store::schema::nodes::table).values(rows).execute(self)$($wait)*.map(drop)
            }

            async fn insert_conversations(&mut self, rows: &[ConversationRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::conversation_names::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_rooms(&mut self, rows: &[RoomRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::rooms::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_keys(&mut self, rows: &[KeyRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::message_keys::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_bounces(&mut self, rows: &[BounceRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::bounces::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_occupancies(&mut self, rows: &[OccupancyRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::occupancy_events::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_sightings(&mut self, rows: &[SightingRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::sightings::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_late(&mut self, rows: &[LateRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::search_late::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_quarantine(&mut self, rows: &[QuarantineRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(10) {
                    diesel::insert_into(crate::store::schema::quarantine::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn insert_gaps(&mut self, rows: &[GapRow]) -> diesel::QueryResult<()> {
                use $dsl as _;
                for part in rows.chunks(1_000) {
                    diesel::insert_into(crate::store::schema::gaps::table).values(part).execute(self)$($wait)*?;
                }
                Ok(())
            }

            async fn gaps_like(&mut self, node: i16, from: i64, why: i16) -> diesel::QueryResult<Vec<GapRow>> {
                use $dsl as _;
                use crate::store::schema::gaps::dsl::*;
                let is_any = why == crate::gap::Reason::SpoolDamaged as i16;
                let alike = from_at.eq(from).or(to_at.is_null()).or(is_any.into_sql::<diesel::sql_types::Bool>());
                gaps.filter(node_id.eq(node).and(reason.eq(why)).and(alike)).order(id).select(GapRow::as_select()).load(self)$($wait)*
            }

            async fn end_gap(&mut self, gap: i64, to: Option<i64>, number: Option<i64>, at: i64) -> diesel::QueryResult<()> {
                use $dsl as _;
                use crate::store::schema::gaps::dsl::*;
                let end = (to_at.eq(to), lost.eq(number), changed_at.eq(at));
                diesel::update(gaps.filter(id.eq(gap))).set(end).execute(self)$($wait)*.map(drop)
            }

            async fn newest_arrival(&mut self, node: i16, before: i64) -> diesel::QueryResult<Option<i64>> {
                use $dsl as _;
                use crate::store::schema::messages::dsl::*;
                let earlier = messages.filter(node_id.eq(node).and(received_at.lt(before)));
                earlier.order(id.desc()).select(received_at).first(self)$($wait)*.optional()
            }

            async fn add_tallies(&mut self, rows: &[TallyRow]) -> diesel::QueryResult<()> {
                use $simple as _;
                for part in rows.chunks(crate::store::tallies::ROWS_PER_STATEMENT) {
                    self.batch_execute(&crate::store::tallies::addition(part, $conflict))$($wait)*?;
                }
                Ok(())
            }
        }
    };
}
pub(crate) use queries;
