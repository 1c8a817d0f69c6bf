//! The rows of one transaction, as the writer gathers them.

use diesel::QueryResult;

use super::account::Account;
use super::batch::Committed;
use super::queries::Queries;
use super::rows::*;

/// Rows to insert.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) spool_id: Vec<u8>,
    pub(super) messages: Vec<MessageRow>,
    pub(super) deliveries: Vec<DeliveryRow>,
    pub(super) keys: Vec<KeyRow>,
    pub(super) bounces: Vec<BounceRow>,
    pub(super) occupancies: Vec<OccupancyRow>,
    pub(super) rooms: Vec<RoomRow>,
    pub(super) quarantine: Vec<QuarantineRow>,
    pub(super) sightings: Vec<SightingRow>,
    /// Messages of earlier batches that got to know somebody.
    pub(super) late: Vec<i64>,
    pub(super) account: Account,
    pub(super) committed: Committed,
}

impl Batch {
    pub(super) async fn insert<Q: Queries>(mut self, db: &mut Q) -> QueryResult<Committed> {
        // In the order of the primary keys a B-tree fills its pages; in the order of arrival it splits them, and they stay half empty.
        self.deliveries.sort_unstable_by_key(|row| (row.message_id, row.seq));
        self.keys.sort_unstable_by(|one, other| (one.message_id, &one.key).cmp(&(other.message_id, &other.key)));
        let late = self.late();
        let mut committed = self.committed;
        committed.messages = self.messages.len() as u64;
        committed.deliveries = self.deliveries.len() as u64;
        committed.bounces = self.bounces.len() as u64;
        committed.quarantined = self.quarantine.len() as u64;
        db.insert_messages(self.messages).await?;
        db.insert_deliveries(self.deliveries).await?;
        db.insert_keys(&self.keys).await?;
        db.insert_rooms(&self.rooms).await?;
        db.insert_bounces(&self.bounces).await?;
        db.insert_occupancies(&self.occupancies).await?;
        db.insert_quarantine(&self.quarantine).await?;
        db.insert_sightings(&self.sightings).await?;
        db.insert_late(&late).await?;
        Ok(committed)
    }

    /// What the index for searches may have to look at again.
    fn late(&mut self) -> Vec<LateRow> {
        let new = self.messages.first().map_or(i64::MAX, |row| row.id);
        let mut late = std::mem::take(&mut self.late);
        late.extend(self.deliveries.iter().map(|row| row.message_id).filter(|id| *id < new));
        late.sort_unstable();
        late.dedup();
        late.into_iter().map(|message_id| LateRow { message_id }).collect()
    }
}
