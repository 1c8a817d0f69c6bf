//! The statements of the writer, once for three databases.
//!
//! Diesel's query builder is the same for SQLite, PostgreSQL and MySQL, but a connection is either blocking (SQLite) or
//! asynchronous (the other two), and no type covers both. So the statements stand in a macro that is expanded for each
//! connection with its own way to run a query. What is truly different (locks, bulk inserts) stands in the database's own file.

use diesel::QueryResult;

use super::reads::Reads;
use super::rows::*;

/// How many errors are looked through for the one that another feed of the node has brought.
pub(crate) const MAX_BOUNCE_SCAN: i64 = 1_000;

/// What the writer asks of a connection inside one transaction.
pub(crate) trait Queries: Reads {
    /// Begins a transaction that no other writer can overlap, and returns who wrote last (the setting `writer`).
    async fn begin(&mut self) -> QueryResult<Vec<u8>>;
    async fn commit(&mut self) -> QueryResult<()>;
    async fn rollback(&mut self);

    async fn setting(&mut self, name: &str) -> QueryResult<Option<Vec<u8>>>;
    async fn set(&mut self, name: &str, value: &[u8]) -> QueryResult<()>;
    async fn progress(&mut self, spool_id: &[u8]) -> QueryResult<Option<i64>>;
    async fn set_progress(&mut self, spool_id: &[u8], next_seq: i64, exists: bool) -> QueryResult<()>;
    async fn last_ids(&mut self) -> QueryResult<LastIds>;

    async fn node_rows(&mut self) -> QueryResult<Vec<NodeRow>>;
    async fn set_room_kind(&mut self, room: i32, kind: i16) -> QueryResult<()>;
    async fn occupancies(&mut self) -> QueryResult<Vec<OccupancyRow>>;

    /// The errors for one message; without one, the latest [`MAX_BOUNCE_SCAN`] of all.
    async fn bounces_like(&mut self, message: Option<i64>) -> QueryResult<Vec<BouncedRow>>;
    async fn occupancies_in(&mut self, room: i32, from: i64, to: i64) -> QueryResult<Vec<OccupancyRow>>;

    /// Fills in people who were not known when the message was stored.
    async fn name_people(&mut self, message: i64, people: People) -> QueryResult<()>;

    async fn insert_jids(&mut self, rows: Vec<JidRow>) -> QueryResult<()>;
    async fn insert_nodes(&mut self, rows: Vec<NodeRow>) -> QueryResult<()>;
    async fn insert_conversations(&mut self, rows: Vec<ConversationRow>) -> QueryResult<()>;
    async fn insert_rooms(&mut self, rows: Vec<RoomRow>) -> QueryResult<()>;
    async fn insert_keys(&mut self, rows: Vec<KeyRow>) -> QueryResult<()>;
    async fn insert_bounces(&mut self, rows: Vec<BounceRow>) -> QueryResult<()>;
    async fn insert_occupancies(&mut self, rows: Vec<OccupancyRow>) -> QueryResult<()>;
    async fn insert_sightings(&mut self, rows: Vec<SightingRow>) -> QueryResult<()>;
    async fn insert_late(&mut self, rows: Vec<LateRow>) -> QueryResult<()>;
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
    ($connection:ty, $dsl:path, $simple:path, [$($wait:tt)*], $conflict:expr, { $($own:tt)* }) => {
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
                // All in one round trip.
                let highest = diesel::select((
                    messages::table.select(max(messages::id)).single_value(),
                    bounces::table.select(max(bounces::id)).single_value(),
                    occupancy_events::table.select(max(occupancy_events::id)).single_value(),
                    quarantine::table.select(max(quarantine::id)).single_value(),
                    gaps::table.select(max(gaps::id)).single_value(),
                    jids::table.select(max(jids::id)).single_value(),
                    conversation_names::table.select(max(conversation_names::id)).single_value(),
                    nodes::table.select(max(nodes::id)).single_value(),
                ));
                type Highest = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i32>, Option<i32>, Option<i16>);
                let (message, bounce, occupancy, quarantine, gap, jid, conversation, node): Highest = highest.get_result(self)$($wait)*?;
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

            async fn node_rows(&mut self) -> diesel::QueryResult<Vec<NodeRow>> {
                use $dsl as _;
                use crate::store::schema::nodes::dsl::*;
                nodes.select((id, name)).load(self)$($wait)*
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

/// The smaller tables' inserts, as lists of rows.
macro_rules! inserts {
    ($dsl:path, [$($wait:tt)*], $most:expr, $name:ident $row:ident $table:ident) => {
        async fn $name(&mut self, rows: Vec<$row>) -> diesel::QueryResult<()> {
            use $dsl as _;
            for part in rows.chunks($most) {
                diesel::insert_into(crate::store::schema::$table::table).values(part).execute(self)$($wait)*?;
            }
            Ok(())
        }
    };
    ($dsl:path, $wait:tt, $most:expr) => {
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_jids JidRow jids);
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_nodes NodeRow nodes);
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_conversations ConversationRow conversation_names);
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_rooms RoomRow rooms);
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_keys KeyRow message_keys);
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_bounces BounceRow bounces);
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_occupancies OccupancyRow occupancy_events);
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_sightings SightingRow sightings);
        $crate::store::queries::inserts!($dsl, $wait, $most, insert_late LateRow search_late);
    };
}
pub(crate) use inserts;
