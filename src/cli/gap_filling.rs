//! What a backfill says in the rows of the gaps that lie within its interval.
//!
//! A gap counts as backfilled when all of the source was read and nothing refused; else as partly so. No source holds everything: its note says what this one lacks.

use crate::gap::{Reason, State};
use crate::history::Interval;
use crate::store::gaps::{self, Change, Filter, Gap};
use crate::store::{Connection, StoreError, fetched};
use crate::time::SECOND;

/// How a backfill went.
pub(super) struct Filling<'f> {
    pub(super) node: &'f str,
    pub(super) interval: Interval,
    /// Whether all of it was read and stored.
    pub(super) is_whole: bool,
    /// The source.
    pub(super) source: &'f str,
    /// What it can't hold.
    pub(super) lacks: &'f str,
}

impl Filling<'_> {
    /// Brings the rows up to date; tells how many there are.
    pub(super) async fn note(&self, connection: &mut Connection) -> Result<u64, StoreError> {
        let filter = Filter {
            node: Some(self.node.to_owned()),
            states: vec![State::Open, State::Partly, State::Backfilled],
            from: self.interval.from,
            to: self.interval.to,
        };
        let mut changed = 0;
        for gap in gaps::all(connection, &filter).await? {
            let Some(to) = gap.to.filter(|_| self.covers(&gap)) else { continue };
            // Some archives know whole seconds only.
            let (found, known) = fetched::count(connection, self.node, gap.from - SECOND, to).await?;
            let state = if self.is_whole || gap.state == Some(State::Backfilled) { State::Backfilled } else { State::Partly };
            if (found, known) == (gap.found, gap.known) && gap.state == Some(state) {
                continue;
            }
            let change = Change {
                state,
                found: found - gap.found,
                known: known - gap.known,
                by: format!("backfill from {}", self.source),
                note: Some(format!("can't be in it: {}", self.lacks)),
            };
            changed += u64::from(gaps::change(connection, gap.id, &change).await?);
        }
        Ok(changed)
    }

    /// A record in quarantine is no matter of the node's archive.
    fn covers(&self, gap: &Gap) -> bool {
        let is_within = self.interval.from.is_none_or(|from| gap.from >= from) && gap.to.is_some_and(|to| self.interval.holds(to));
        is_within && gap.reason != Some(Reason::Quarantined)
    }
}
