//! Nodes that mirror the same to several component domains: what several feeds bring stands once.
//!
//! A further feed is a node entry with `same_as`. Its rows are those of the node itself. The setting `feeds` lists the nodes that have any, so
//! that every writer of the database knows, whatever its own configuration says, and nodes with one feed cost nothing. The table `sightings`
//! holds what the first entry of the node alone would not explain: who else brought a row, and who brought it first.

use std::collections::HashMap;

use diesel::QueryResult;

use super::batch::Entry;
use super::queries::Queries;
use super::rows::{BounceRow, BouncedRow, OccupancyRow, Sighted, SightingRow};
use crate::identity::keys::Keyring;
use crate::identity::{FEED_WINDOW, Verdict};
use crate::time::Micros;

/// Where the list of nodes stands.
const SETTING: &str = "feeds";

/// The nodes that have further feeds, by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Feeds {
    nodes: Vec<i16>,
}

impl Feeds {
    /// What the database says.
    pub(super) async fn read<Q: Queries>(db: &mut Q) -> QueryResult<Self> {
        let value = db.setting(SETTING).await?.unwrap_or_default();
        let numbers = value.chunks_exact(2).filter_map(|pair| Some(i16::from_be_bytes(pair.try_into().ok()?)));
        Ok(Self { nodes: numbers.collect() })
    }

    /// Adds nodes; says whether any was new.
    pub(super) async fn add<Q: Queries>(&mut self, db: &mut Q, nodes: impl IntoIterator<Item = i16>) -> QueryResult<bool> {
        let known = self.nodes.len();
        for node in nodes {
            if !self.contains(node) {
                self.nodes.push(node);
            }
        }
        if self.nodes.len() == known {
            return Ok(false);
        }
        let value: Vec<u8> = self.nodes.iter().flat_map(|node| node.to_be_bytes()).collect();
        db.set(SETTING, &value).await?;
        Ok(true)
    }

    /// Whether another feed of the node has brought this error already. `pending` are the errors of this transaction, `sightings` grows.
    pub(super) async fn has_bounced<Q: Queries>(
        &self,
        db: &mut Q,
        feed: i16,
        row: &BounceRow,
        pending: &[BounceRow],
        sightings: &mut Vec<SightingRow>,
    ) -> QueryResult<bool> {
        if !self.contains(row.node_id) {
            return Ok(false);
        }
        let mut found = db.bounces_like(row.message_id).await?;
        found.extend(pending.iter().map(BouncedRow::from));
        let equal = found.iter().filter(|other| other.is_like(row)).map(|other| (other.id, other.at));
        let brought = Brought { of: Sighted::Bounce, feed, id: row.id, node: row.node_id, at: row.at };
        brought.is_sighting(db, equal, sightings).await
    }

    /// The same for a join or a leave.
    pub(super) async fn has_occurred<Q: Queries>(
        &self,
        db: &mut Q,
        feed: i16,
        row: &OccupancyRow,
        pending: &[OccupancyRow],
        sightings: &mut Vec<SightingRow>,
    ) -> QueryResult<bool> {
        if !self.contains(row.node_id) {
            return Ok(false);
        }
        let mut found = db.occupancies_in(row.room_id, row.at - FEED_WINDOW, row.at + FEED_WINDOW).await?;
        found.extend(pending.iter().cloned());
        let equal = found.iter().filter(|other| other.is_like(row)).map(|other| (other.id, other.at));
        let brought = Brought { of: Sighted::Occupancy, feed, id: row.id, node: row.node_id, at: row.at };
        brought.is_sighting(db, equal, sightings).await
    }

    pub(super) fn contains(&self, node: i16) -> bool {
        self.nodes.contains(&node)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// What the copies of one message that two feeds bring have in common, from the columns of the delivery.
pub(super) fn way(keyring: &Keyring, source: i16, direction: i16, recipient: Option<&str>, resource: Option<&str>) -> u64 {
    // Where the mirror does not tell the direction, the column holds a guess.
    let direction = if source == 8 { direction } else { 0 };
    let numbers = [source.to_le_bytes(), direction.to_le_bytes()].concat();
    keyring.hash(&[b"way", &numbers, recipient.unwrap_or_default().as_bytes(), resource.unwrap_or_default().as_bytes()])
}

/// That a feed has brought a copy, where that can't be told from the delivery.
pub(super) fn sighting(entry: &Entry, verdict: &Verdict, feed: i16) -> Option<SightingRow> {
    (verdict.is_sighting || entry.same_as.is_some()).then(|| SightingRow {
        row_id: verdict.message_id,
        at: entry.arrived_at,
        seq: verdict.sequence,
        kind: Sighted::Delivery as i16,
        node_id: feed,
        is_first: i16::from(!verdict.is_sighting),
    })
}

/// Rows of `sightings`, by what they are of.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    rows: HashMap<(i64, i32), Vec<SightingRow>>,
}

impl Sightings {
    pub(super) fn new(rows: Vec<SightingRow>) -> Self {
        let mut sorted: HashMap<(i64, i32), Vec<SightingRow>> = HashMap::new();
        for row in rows {
            sorted.entry((row.row_id, row.seq)).or_default().push(row);
        }
        Self { rows: sorted }
    }

    /// The feeds that brought a row of the node `node`, and when; at `at` by the first of them.
    pub(super) fn brought(&self, row_id: i64, seq: i32, node: i16, at: Micros) -> Vec<(i16, Micros)> {
        let rows = self.rows.get(&(row_id, seq)).map(Vec::as_slice).unwrap_or_default();
        let by_node = (!rows.iter().any(|row| row.is_first == 1)).then_some((node, at));
        by_node.into_iter().chain(rows.iter().map(|row| (row.node_id, row.at))).collect()
    }
}

/// An error, a join or a leave that came, before it is known whether another feed has brought it already.
struct Brought {
    /// Which table its row belongs to.
    of: Sighted,
    /// By which feed it came.
    feed: i16,
    /// The number that its row would get.
    id: i64,
    /// The node.
    node: i16,
    /// When it came.
    at: Micros,
}

impl Brought {
    /// Whether a row of it is there: one of `equal`, as `(id, at)`, that this feed has not brought yet; the first of several.
    async fn is_sighting<Q: Queries>(
        &self,
        db: &mut Q,
        equal: impl Iterator<Item = (i64, Micros)>,
        sightings: &mut Vec<SightingRow>,
    ) -> QueryResult<bool> {
        let near: Vec<(i64, Micros)> = equal.filter(|(_, at)| (at - self.at).abs() <= FEED_WINDOW).collect();
        let ids: Vec<i64> = near.iter().map(|(id, _)| *id).collect();
        let mut rows = if ids.is_empty() { Vec::new() } else { db.sightings_of(self.of, &ids).await? };
        rows.extend(sightings.iter().filter(|row| row.kind == self.of as i16).cloned());
        let known = Sightings::new(rows);
        let is_news = |(id, at): &(i64, Micros)| known.brought(*id, 0, self.node, *at).iter().all(|(feed, _)| *feed != self.feed);
        let found = near.into_iter().find(is_news);
        match found {
            Some((id, _)) => sightings.push(self.row(id, 0)),
            None if self.feed != self.node => sightings.push(self.row(self.id, 1)),
            None => {}
        }
        Ok(found.is_some())
    }

    fn row(&self, row_id: i64, is_first: i16) -> SightingRow {
        SightingRow { row_id, at: self.at, seq: 0, kind: self.of as i16, node_id: self.feed, is_first }
    }
}
