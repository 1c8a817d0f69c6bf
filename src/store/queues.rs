//! The nodes' own queues (`docs/MIRROR.md`): what comes again is known by its position, what is missing by a jump.
//!
//! The position in each queue stands in `progress`, under a hash of the node's name and the epoch. Which queue of a node was the last,
//! and when the node handled the last copy in it, stands in `settings`; that is written when it has grown old, so that after a
//! restart a gap begins a little early rather than late.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::QueryResult;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::account::Account;
use super::batch::{Entry, Queued};
use super::queries::Queries;
use crate::gap::{Gap, Reason};
use crate::time::{Micros, SECOND};

/// The row of `settings` is at most this much behind.
const MOST_BEHIND: Micros = 10 * SECOND;
/// Most characters of an epoch that a gap names.
const EPOCH_CHARS: usize = 100;

/// What is remembered of the nodes' queues.
#[derive(Debug, Default)]
pub(super) struct Queues {
    last: HashMap<Arc<str>, Last>,
}

/// The last copy of a node that had a position.
#[derive(Clone, Debug, Default)]
struct Last {
    stored: Option<Stored>,
    epoch: String,
    at: Micros,
}

/// What stands in `settings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    epoch: String,
    at: Micros,
}

/// Where a queue stands within a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The first number that is not stored.
    pub(super) next: i64,
    /// Whether there is a row for it.
    pub(super) exists: bool,
    is_new: bool,
}

impl Position {
    pub(super) fn of(stored: Option<i64>) -> Self {
        Self { next: stored.unwrap_or(0), exists: stored.is_some(), is_new: stored.is_none() }
    }
}

impl Queues {
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }

    /// Moves the position past this copy, and tells the account what is missing before it; false if the copy was stored before.
    pub(super) async fn pass<Q: Queries>(
        &mut self,
        db: &mut Q,
        entry: &Entry,
        queued: &Queued,
        position: &mut Position,
        account: &mut Account,
    ) -> QueryResult<bool> {
        let sequence = queued.sequence as i64;
        if sequence < position.next {
            return Ok(false);
        }
        let Some(at) = queued.at else {
            *position = Position { next: sequence + 1, exists: position.exists, is_new: false };
            return Ok(true);
        };
        if !self.last.contains_key(&entry.node) {
            let last = load(db, &entry.node).await?;
            self.last.insert(entry.node.clone(), last);
        }
        let last = self.last.entry(entry.node.clone()).or_default();
        if let Some(gap) = missing(last, queued, position) {
            account.missed(&entry.node, gap, entry.arrived_at);
        }
        *position = Position { next: sequence + 1, exists: position.exists, is_new: false };
        if last.epoch != queued.epoch {
            last.epoch.clone_from(&queued.epoch);
        }
        last.at = at;
        Ok(true)
    }

    /// Writes down what has grown old.
    pub(super) async fn store<Q: Queries>(&mut self, db: &mut Q) -> QueryResult<()> {
        for (node, last) in &mut self.last {
            let is_current = |stored: &Stored| stored.epoch == last.epoch && (last.at - stored.at).abs() < MOST_BEHIND;
            if last.stored.as_ref().is_some_and(is_current) || last.epoch.is_empty() {
                continue;
            }
            let stored = Stored { epoch: last.epoch.clone(), at: last.at };
            db.set(&setting(node), json!(stored).to_string().as_bytes()).await?;
            last.stored = Some(stored);
        }
        Ok(())
    }
}

/// What is missing before this copy.
fn missing(last: &Last, queued: &Queued, position: &Position) -> Option<Gap> {
    let to = queued.at;
    if !position.is_new {
        let lost = queued.sequence.checked_sub(position.next as u64).filter(|lost| *lost > 0)?;
        let detail = json!({ "epoch": shown(&queued.epoch), "first": position.next, "last": queued.sequence - 1 }).to_string();
        let from = if last.epoch.is_empty() { None } else { Some(last.at) };
        return Some(Gap { from, to, reason: Reason::SequenceJump, lost: Some(lost), detail });
    }
    if last.epoch.is_empty() || last.epoch == queued.epoch {
        // The first queue that was ever seen of this node: whatever went before it went elsewhere.
        return None;
    }
    let detail = json!({ "epoch": shown(&queued.epoch), "before": shown(&last.epoch), "begins": queued.sequence }).to_string();
    Some(Gap { from: Some(last.at), to, reason: Reason::NewEpoch, lost: None, detail })
}

fn shown(epoch: &str) -> String {
    epoch.chars().take(EPOCH_CHARS).collect()
}

async fn load<Q: Queries>(db: &mut Q, node: &str) -> QueryResult<Last> {
    let found = db.setting(&setting(node)).await?;
    let stored: Option<Stored> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let (epoch, at) = stored.as_ref().map_or_else(Default::default, |stored| (stored.epoch.clone(), stored.at));
    Ok(Last { stored, epoch, at })
}

/// The name of the setting: at most 255 characters, as the column has it.
fn setting(node: &str) -> String {
    let name: String = node.chars().take(249).collect();
    format!("queue {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(epoch: &str, sequence: u64, at: Micros) -> Queued {
        Queued { epoch: epoch.to_owned(), sequence, at: Some(at) }
    }

    fn last(epoch: &str, at: Micros) -> Last {
        Last { epoch: epoch.to_owned(), at, stored: None }
    }

    fn at(next: i64) -> Position {
        Position { next, exists: true, is_new: false }
    }

    #[test]
    fn a_jump_tells_how_many_are_missing_and_since_when() {
        let gap = missing(&last("e", 100), &queued("e", 9, 200), &at(6)).unwrap();
        assert_eq!((gap.from, gap.to, gap.reason, gap.lost), (Some(100), Some(200), Reason::SequenceJump, Some(3)));
        assert_eq!(gap.detail, r#"{"epoch":"e","first":6,"last":8}"#);
        assert_eq!(missing(&last("e", 100), &queued("e", 6, 200), &at(6)), None);
    }

    #[test]
    fn only_a_later_queue_is_a_new_one() {
        let new = Position::of(None);
        assert_eq!(missing(&Last::default(), &queued("a", 40, 200), &new), None);
        let gap = missing(&last("a", 100), &queued("b", 1, 200), &new).unwrap();
        assert_eq!((gap.from, gap.to, gap.reason, gap.lost), (Some(100), Some(200), Reason::NewEpoch, None));
    }
}
