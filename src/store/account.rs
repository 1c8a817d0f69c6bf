//! What the writer keeps account of beside the messages: gaps, and the counts of what became of every stanza.
//!
//! Both go into the transaction that stores what they are about, so that a spool that is read again neither counts twice nor
//! tells a gap twice. A gap that was told by somebody else (through the spool) may be told again after a crash, and it is
//! told when it begins and again when it ends: the row that is there is changed then.

use std::borrow::Cow;
use std::sync::Arc;

use diesel::QueryResult;

use super::batch::Entry;
use super::dictionary::Dictionary;
use super::queries::{LastIds, Queries};
use super::rows::{GapRow, TallyRow};
use crate::gap::{self, Gap, Reason};
use crate::tally::{Count, State, day_of};
use crate::time::Micros;

/// Why nothing could come by a node's link.
const LINK_REASONS: [Reason; 2] = [Reason::ConnectionLost, Reason::NotRunning];

/// The account of one transaction.
#[derive(Debug, Default)]
pub(super) struct Account {
    missed: Vec<Missed>,
    repeated: Vec<(Arc<str>, i32, i64)>,
    tallies: Vec<TallyRow>,
}

/// A gap of a node, and when it was noticed.
#[derive(Debug)]
struct Missed {
    node: Arc<str>,
    gap: Gap,
    noticed_at: Micros,
}

impl Account {
    /// Messages of the node may have been missed.
    pub(super) fn missed(&mut self, node: &Arc<str>, gap: Gap, noticed_at: Micros) {
        self.missed.push(Missed { node: node.clone(), gap, noticed_at });
    }

    /// The node sent again what was stored before.
    pub(super) fn repeated(&mut self, entry: &Entry) {
        let day = day_of(entry.arrived_at);
        match self.repeated.last_mut().filter(|(node, of, _)| *of == day && *node == entry.node) {
            Some((.., count)) => *count += 1,
            None => self.repeated.push((entry.node.clone(), day, 1)),
        }
    }

    /// The nodes that this account names, which must have numbers before it is stored.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.missed.iter().map(|missed| &missed.node).chain(self.repeated.iter().map(|(node, ..)| node))
    }

    /// What became of a record.
    pub(super) fn count(&mut self, node: i16, entry: &Entry, state: State, reason: &'static str) {
        let day = day_of(entry.arrived_at);
        self.add(node, day, state, Cow::Borrowed(reason), 1);
        if entry.retried {
            // It was counted when it came, and leaves the quarantine now.
            self.add(node, day, State::Quarantined, Cow::Borrowed(""), -1);
        }
    }

    /// What the intake counted.
    pub(super) fn count_all(&mut self, node: i16, counts: &[Count<String>]) {
        for count in counts {
            self.add(node, count.day, count.state, Cow::Owned(count.reason.clone()), i64::try_from(count.count).unwrap_or(i64::MAX));
        }
    }

    fn add(&mut self, node_id: i16, day: i32, state: State, reason: Cow<'static, str>, count: i64) {
        let state = state as i16;
        let same = |row: &&mut TallyRow| row.node_id == node_id && row.day == day && row.state == state && row.reason == reason;
        match self.tallies.iter_mut().find(same) {
            Some(row) => row.count = row.count.saturating_add(count),
            None => self.tallies.push(TallyRow { node_id, day, state, reason, count }),
        }
    }

    /// Stores it; tells how many gaps are new or have changed.
    pub(super) async fn store<Q: Queries>(mut self, db: &mut Q, dictionary: &Dictionary, last: &mut LastIds) -> QueryResult<u64> {
        for (node, day, count) in std::mem::take(&mut self.repeated) {
            self.add(dictionary.node(&node), day, State::Repeated, Cow::Borrowed(""), count);
        }
        let tallies = with_received(std::mem::take(&mut self.tallies));
        if !tallies.is_empty() {
            db.add_tallies(&tallies).await?;
        }
        let mut changed = 0;
        for missed in self.missed {
            changed += missed.store(db, dictionary, last).await?;
        }
        Ok(changed)
    }
}

/// Adds the sums: whatever became of it, it was received.
fn with_received(fates: Vec<TallyRow>) -> Vec<TallyRow> {
    let mut sums: Vec<TallyRow> = Vec::new();
    for fate in &fates {
        match sums.iter_mut().find(|sum| sum.node_id == fate.node_id && sum.day == fate.day) {
            Some(sum) => sum.count = sum.count.saturating_add(fate.count),
            None => sums.push(TallyRow { state: State::Received as i16, reason: Cow::Borrowed(""), ..fate.clone() }),
        }
    }
    sums.extend(fates);
    sums.retain(|row| row.count != 0);
    sums
}

impl Missed {
    /// Makes the row, or changes those that are there; tells how many.
    async fn store<Q: Queries>(&self, db: &mut Q, dictionary: &Dictionary, last: &mut LastIds) -> QueryResult<u64> {
        let node_id = dictionary.node(&self.node);
        let own = self.note(db, node_id, last).await?;
        let others = match self.gap.to.filter(|_| self.is_of_link()) {
            Some(to) => self.end_others(db, node_id, to).await?,
            None => 0,
        };
        Ok(u64::from(own) + others)
    }

    async fn note<Q: Queries>(&self, db: &mut Q, node_id: i16, last: &mut LastIds) -> QueryResult<bool> {
        let from = match self.gap.from {
            Some(from) => from,
            // Nothing was ever stored of this node: there is nothing before which something could be missing.
            None => match db.newest_arrival(node_id, self.gap.to.unwrap_or(self.noticed_at)).await? {
                Some(from) => from,
                None => return Ok(false),
            },
        };
        let from_at = self.gap.to.map_or(from, |to| from.min(to));
        if self.is_told()
            && let Some(row) = self.known(db.gaps_like(node_id, from_at, self.gap.reason as i16).await?, from_at)
        {
            return self.change(db, &row).await;
        }
        last.gap += 1;
        let row = GapRow {
            id: last.gap,
            from_at,
            to_at: self.gap.to,
            lost: self.lost(),
            found: 0,
            known: 0,
            changed_at: self.noticed_at,
            node_id,
            reason: self.gap.reason as i16,
            state: gap::State::Open as i16,
            note: None,
            changed_by: None,
            detail: self.detail(),
        };
        db.insert_gaps(&[row]).await?;
        Ok(true)
    }

    /// A link that is up has ended every gap that began before, whoever told it: a process that was killed may have told a begin of which the next one
    /// does not know.
    async fn end_others<Q: Queries>(&self, db: &mut Q, node_id: i16, to: Micros) -> QueryResult<u64> {
        let mut ended = 0;
        for reason in LINK_REASONS {
            let rows = db.gaps_like(node_id, to, reason as i16).await?;
            for row in rows.iter().filter(|row| row.to_at.is_none() && row.from_at <= to) {
                db.end_gap(row.id, Some(to), row.lost, self.noticed_at).await?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    fn is_of_link(&self) -> bool {
        LINK_REASONS.contains(&self.gap.reason)
    }

    /// The others are found in the very transaction that moves the position past them.
    fn is_told(&self) -> bool {
        self.is_of_link() || matches!(self.gap.reason, Reason::SpoolLimit | Reason::SpoolDamaged)
    }

    fn known(&self, rows: Vec<GapRow>, from_at: Micros) -> Option<GapRow> {
        let is_same = |row: &GapRow| match self.gap.reason {
            // Where it begins is estimated, and may be estimated otherwise the next time.
            Reason::SpoolDamaged => row.detail == self.detail(),
            _ => row.from_at == from_at || (self.gap.from.is_none() && row.to_at.is_none()),
        };
        rows.into_iter().find(is_same)
    }

    async fn change<Q: Queries>(&self, db: &mut Q, row: &GapRow) -> QueryResult<bool> {
        let (to, lost) = (row.to_at.max(self.gap.to), row.lost.max(self.lost()));
        if (to, lost) == (row.to_at, row.lost) {
            return Ok(false);
        }
        db.end_gap(row.id, to, lost, self.noticed_at).await?;
        Ok(true)
    }

    fn lost(&self) -> Option<i64> {
        self.gap.lost.map(|lost| i64::try_from(lost).unwrap_or(i64::MAX))
    }

    fn detail(&self) -> Option<String> {
        Some(self.gap.detail.clone()).filter(|detail| !detail.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node_id: i16, day: i32, state: State, count: i64) -> TallyRow {
        TallyRow { node_id, day, state: state as i16, reason: Cow::Borrowed(""), count }
    }

    #[test]
    fn the_received_are_the_sum_of_what_became_of_them() {
        let fates = vec![row(1, 5, State::Archived, 3), row(1, 5, State::Duplicate, 4), row(2, 5, State::Archived, 1)];
        let expected = [row(1, 5, State::Received, 7), row(2, 5, State::Received, 1)];
        assert_eq!(with_received(fates)[..2], expected);
    }

    #[test]
    fn what_leaves_the_quarantine_was_received_before() {
        let fates = vec![row(1, 5, State::Archived, 1), row(1, 5, State::Quarantined, -1)];
        assert_eq!(with_received(fates.clone()), fates);
    }
}
