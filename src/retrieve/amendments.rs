//! What was done to messages later: corrected, retracted, reacted to.
//!
//! There is no index of references, which few rows have. Whoever walks a whole conversation reads all of them at once, as pairs of
//! numbers, and then the amendments of each page by their numbers.

use std::collections::{HashMap, HashSet};

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Integer, SmallInt};

use super::Archive;
use super::conditions::{Scope, conditions};
use super::found::Found;
use super::row::MessageRow;
use super::sql::{self, Columns, Statement, bound};
use crate::message::content::{Kind, flags};
use crate::store::StoreError;
use crate::time::{Micros, SECOND};

/// Kinds that do something to an earlier message.
pub const AMENDMENTS: [i16; 4] = [Kind::Correction as i16, Kind::Retraction as i16, Kind::Moderation as i16, Kind::Reaction as i16];
/// Those that make another version of it, or take it back.
pub(super) const CHANGES: [i16; 3] = [Kind::Correction as i16, Kind::Retraction as i16, Kind::Moderation as i16];
/// The most changes of the messages of one page.
const MAX_CHANGES: usize = 5_000;
/// How far a change may seem to come before its message.
const CLOCKS_DIFFER: Micros = 86_400 * SECOND;
/// Pairs read at a time.
const PAIRS: usize = 50_000;
/// The most messages read by their numbers at a time.
pub const MAX_NUMBERS: usize = 500;

/// An amendment and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
pub struct Amends {
    /// Number of the message.
    #[diesel(sql_type = BigInt)]
    pub refers_to: i64,
    /// Number of the amendment.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
}

/// What was done to a message, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryableByName)]
pub struct Change {
    /// Number of the correction, retraction or moderation.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// Number of the message.
    #[diesel(sql_type = BigInt)]
    pub refers_to: i64,
    /// Number of its kind.
    #[diesel(sql_type = SmallInt)]
    pub kind: i16,
    /// Bits of [`flags`].
    #[diesel(sql_type = Integer)]
    pub flags: i32,
}

impl Change {
    /// Whether it counts: it is by whoever may.
    pub fn holds(&self) -> bool {
        self.flags & flags::AUTHOR_MISMATCH == 0
    }

    /// Whether it is another version of the message, and does not take it back.
    pub fn is_correction(&self) -> bool {
        self.kind == Kind::Correction as i16
    }
}

/// The numbers of the corrections, retractions and moderations of a message that count.
///
/// Anybody in a room can send one of what somebody else wrote. Whether its sender may is decided when it is stored ([`flags::AUTHOR_MISMATCH`]). One that has no
/// effect makes no message a corrected or a retracted one, nor does whatever its sender does to it afterwards; and a change of a reaction is none of the message.
pub fn effective<'f>(message: i64, amendments: impl IntoIterator<Item = &'f Found>) -> HashSet<i64> {
    let mut below: HashMap<i64, Vec<i64>> = HashMap::new();
    for change in amendments.into_iter().filter(|one| CHANGES.contains(&one.kind) && !one.has(flags::AUTHOR_MISMATCH)) {
        below.entry(change.refers_to.unwrap_or_default()).or_default().push(change.id);
    }
    let (mut effective, mut open) = (HashSet::new(), vec![message]);
    while let Some(at) = open.pop() {
        // What was taken out is not met again, so references in a circle end.
        let changes = below.remove(&at).unwrap_or_default();
        effective.extend(changes.iter().copied());
        open.extend(changes);
    }
    effective
}

impl Archive {
    /// What was done to messages of any conversations, or to those that they change: corrections, retractions, moderations, at most
    /// [`MAX_CHANGES`].
    ///
    /// # Errors
    /// When the store can't be reached or is not migrated.
    pub async fn changes_of(&self, messages: &[Found]) -> Result<Vec<Change>, StoreError> {
        let Some(first) = messages.iter().map(|message| message.sent_at).min() else { return Ok(Vec::new()) };
        let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
        let roots = messages.iter().filter(|message| AMENDMENTS.contains(&message.kind)).filter_map(|message| message.refers_to);
        let scope = Scope {
            kinds: CHANGES.to_vec(),
            refers_to: ids.iter().copied().chain(roots).collect(),
            fence: self.fence().await?,
            ..Scope::default()
        };
        // No index leads from a message to its changes, but they are in its conversation and not long before it, whatever the clocks say.
        let select = "SELECT m.id, m.refers_to, m.kind, m.flags FROM messages m WHERE m.conversation_id IN \
             (SELECT x.conversation_id FROM messages x WHERE x.id IN ";
        let statement = conditions(Statement::new(self.dialect(), select).numbers(&ids).sql(") AND "), &scope);
        let in_time = bound(statement, " AND m.sent_at >= ", first.checked_sub(CLOCKS_DIFFER));
        self.pool.load(in_time.sql(" ORDER BY m.id").limit(MAX_CHANGES)).await
    }

    /// All amendments of a conversation that were sent in a range of time, up to the message numbered `newest`, by what they are about.
    /// Stops after `most`.
    ///
    /// # Errors
    /// When the store can't be reached or is not migrated.
    pub async fn amends(
        &self,
        conversation_id: i32,
        from: Option<Micros>,
        before: Option<Micros>,
        newest: i64,
        most: usize,
    ) -> Result<Vec<Amends>, StoreError> {
        let scope = Scope {
            conversations: vec![conversation_id],
            kinds: AMENDMENTS.to_vec(),
            as_of: Some(newest),
            fence: self.fence().await?,
            ..Scope::default()
        };
        self.pairs(scope, from, before, most).await
    }

    /// What refers to something in a scope, by what that is. Stops after `most`.
    pub(super) async fn pairs(
        &self,
        mut scope: Scope,
        from: Option<Micros>,
        before: Option<Micros>,
        most: usize,
    ) -> Result<Vec<Amends>, StoreError> {
        let mut all: Vec<Amends> = Vec::new();
        while all.len() < most {
            let wanted = PAIRS.min(most - all.len());
            let referring = Statement::new(self.dialect(), "SELECT m.id, m.refers_to FROM messages m WHERE m.refers_to IS NOT NULL AND ");
            let in_time = bound(conditions(referring, &scope), " AND m.sent_at >= ", from);
            let page: Vec<Amends> = self.pool.load(bound(in_time, " AND m.sent_at < ", before).sql(" ORDER BY m.id").limit(wanted)).await?;
            let is_last = page.len() < wanted;
            scope.newer_than = page.last().map(|last| last.id).or(scope.newer_than);
            all.extend(page);
            if is_last {
                break;
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Messages by their numbers, in the order of time, without their copies; at most [`MAX_NUMBERS`].
    ///
    /// # Errors
    /// When the store can't be reached or is not migrated.
    pub async fn numbered(&self, ids: &[i64]) -> Result<Vec<Found>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = ids.iter().copied().take(MAX_NUMBERS).collect();
        let scope = Scope { all: true, fence: self.fence().await?, ..Scope::default() };
        let rows: Vec<MessageRow> = self.pool.load(sql::messages_of(Columns::All, self.dialect(), &scope, &ids)).await?;
        Ok(rows.into_iter().map(MessageRow::into_found).collect())
    }
}
