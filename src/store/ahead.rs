//! A batch is decided before the one before it is stored.
//!
//! [`Ahead`] stands for the database while that happens: it asks through one connection what is asked, and keeps what is to be written
//! ([`Recorded`]), which another connection writes later, in one transaction. It does not see what is on its way; nothing asks it for that,
//! since memory keeps what is decided until it is stored. Should another writer have come in between, then what was asked is worth nothing: the
//! transaction begins with a check of that ([`Guard`]) and fails, and the batch is decided anew under the writers' lock.

use diesel::QueryResult;
use diesel::result::Error;

use super::batch::{Entry, Item};
use super::queries::{LastIds, Queries};
use super::reads::{Details, Reads};
use super::references::Sought;
use super::rows::*;

/// What a batch writes.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) jids: Vec<JidRow>,
    pub(crate) conversations: Vec<ConversationRow>,
    pub(crate) rooms: Vec<RoomRow>,
    pub(crate) messages: Vec<MessageRow>,
    pub(crate) deliveries: Vec<DeliveryRow>,
    pub(crate) keys: Vec<KeyRow>,
    pub(crate) bounces: Vec<BounceRow>,
    pub(crate) occupancies: Vec<OccupancyRow>,
    pub(crate) sightings: Vec<SightingRow>,
    pub(crate) late: Vec<LateRow>,
    pub(crate) senders: Vec<PersonRow>,
    pub(crate) recipients: Vec<PersonRow>,
    pub(crate) sender_nicks: Vec<NickRow>,
    pub(crate) recipient_nicks: Vec<NickRow>,
    pub(crate) tallies: Vec<TallyRow>,
    pub(crate) settings: Vec<SettingRow>,
    pub(crate) progress: Vec<ProgressRow>,
}

/// What must hold for a transaction that was decided ahead.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// This writer was the last one.
    pub(crate) token: Vec<u8>,
    /// The spool.
    pub(crate) spool_id: Vec<u8>,
    /// Everything before this batch is stored, and nothing of it.
    pub(crate) before: i64,
    /// The position that the batch moves to.
    pub(crate) after: i64,
}

/// Whether these records can be decided ahead: the rare ones look at what was written a moment ago.
pub(crate) fn is_possible(entries: &[Entry]) -> bool {
    entries.iter().all(|entry| match &entry.item {
        Item::Message(_) | Item::Bounce(_) | Item::Occupancy(_) | Item::Canary(_) | Item::Skipped(_) | Item::Tally(_) => true,
        Item::RoomKind { .. } | Item::Unreadable(_) | Item::Oversize(_) | Item::Gap(_) => false,
    })
}

/// The database as it is, and what is to be written.
pub(crate) struct Ahead<'d, Q> {
    db: &'d mut Q,
    pub(crate) recorded: Recorded,
}

impl<'d, Q> Ahead<'d, Q> {
    pub(crate) fn new(db: &'d mut Q) -> Self {
        Self { db, recorded: Recorded::default() }
    }
}

/// The questions are passed on.
macro_rules! passed_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(async fn $name(&mut self, $($argument: $type),*) -> QueryResult<$answer> {
            self.db.$name($($argument),*).await
        })*
    };
}

/// Rows are kept.
macro_rules! kept {
    ($($name:ident($row:ident) $field:ident;)*) => {
        $(async fn $name(&mut self, rows: Vec<$row>) -> QueryResult<()> {
            self.recorded.$field.extend(rows);
            Ok(())
        })*
    };
}

/// What the rare records need, see [`is_possible`].
macro_rules! impossible {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(async fn $name(&mut self, $($argument: $type),*) -> QueryResult<$answer> {
            Err(Error::RollbackTransaction)
        })*
    };
}

impl<Q: Queries> Reads for Ahead<'_, Q> {
    passed_on! {
        jid_ids(jids: &[String]) -> Vec<JidRow>;
        jids_of(ids: &[i32]) -> Vec<JidRow>;
        conversations_of(first: &[i32], second: &[i32]) -> Vec<ConversationRow>;
        known_rooms(rooms: &[i32]) -> Vec<(i32, i16)>;
        known_by_content(keys: &[Vec<u8>]) -> Vec<KnownRow>;
        known_by_id(ids: &[i64]) -> Vec<KnownRow>;
        ids_by_exact(keys: &[Vec<u8>]) -> Vec<KeyRow>;
        keys_of(ids: &[i64]) -> Vec<KeyRow>;
        counted(ids: &[i64]) -> Vec<CountedRow>;
        bounced(ids: &[i64]) -> Vec<Option<i64>>;
        named_in(conversation: i32, wanted: &str) -> Option<ReferenceRow>;
        reference(wanted: i64) -> Option<ReferenceRow>;
        latest_subject(conversation: i32) -> Option<i64>;
        latest_subjects(conversations: &[i32]) -> Vec<Option<i64>>;
        references(wanted: &[Sought]) -> Vec<Option<ReferenceRow>>;
        alike(content: &[Vec<u8>], exact: &[Vec<u8>]) -> (Vec<KnownRow>, Vec<KeyRow>);
        details(ids: &[i64], with_sightings: bool) -> Details;
        sightings_of(of: Sighted, ids: &[i64]) -> Vec<SightingRow>;
    }
}

impl<Q: Queries> Queries for Ahead<'_, Q> {
    passed_on! {
        setting(name: &str) -> Option<Vec<u8>>;
        progress(spool_id: &[u8]) -> Option<i64>;
        node_rows() -> Vec<NodeRow>;
        occupancies() -> Vec<OccupancyRow>;
        bounces_like(message: Option<i64>) -> Vec<BouncedRow>;
        occupancies_in(room: i32, from: i64, to: i64) -> Vec<OccupancyRow>;
    }

    kept! {
        insert_nodes(NodeRow) nodes;
        insert_jids(JidRow) jids;
        insert_conversations(ConversationRow) conversations;
        insert_rooms(RoomRow) rooms;
        insert_messages(MessageRow) messages;
        insert_deliveries(DeliveryRow) deliveries;
        insert_keys(KeyRow) keys;
        insert_bounces(BounceRow) bounces;
        insert_occupancies(OccupancyRow) occupancies;
        insert_sightings(SightingRow) sightings;
        insert_late(LateRow) late;
    }

    async fn name_people(&mut self, message_id: i64, people: People) -> QueryResult<()> {
        let row = |named: Named| PersonRow { message_id, id: named.id, resource: named.resource };
        let called = |nick: String| NickRow { message_id, nick };
        self.recorded.senders.extend(people.sender.map(row));
        self.recorded.recipients.extend(people.recipient.map(row));
        self.recorded.sender_nicks.extend(people.sender_nick.map(called));
        self.recorded.recipient_nicks.extend(people.recipient_nick.map(called));
        Ok(())
    }

    async fn add_tallies(&mut self, rows: &[TallyRow]) -> QueryResult<()> {
        self.recorded.tallies.extend_from_slice(rows);
        Ok(())
    }

    async fn set(&mut self, name: &str, value: &[u8]) -> QueryResult<()> {
        self.recorded.settings.push(SettingRow { name: name.to_owned(), value: value.to_vec() });
        Ok(())
    }

    async fn set_progress(&mut self, spool_id: &[u8], next_seq: i64, _exists: bool) -> QueryResult<()> {
        self.recorded.progress.push(ProgressRow { spool_id: spool_id.to_vec(), next_seq });
        Ok(())
    }

    async fn insert_quarantine(&mut self, rows: &[QuarantineRow]) -> QueryResult<()> {
        if rows.is_empty() { Ok(()) } else { Err(Error::RollbackTransaction) }
    }

    async fn rollback(&mut self) {}

    impossible! {
        begin() -> Vec<u8>;
        commit() -> ();
        last_ids() -> LastIds;
        set_room_kind(_room: i32, _kind: i16) -> ();
        insert_gaps(_rows: &[GapRow]) -> ();
        gaps_like(_node: i16, _from: i64, _reason: i16) -> Vec<GapRow>;
        end_gap(_gap: i64, _to: Option<i64>, _lost: Option<i64>, _at: i64) -> ();
        newest_arrival(_node: i16, _before: i64) -> Option<i64>;
    }
}
