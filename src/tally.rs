//! Counts of what became of every stanza, by node and UTC day of arrival: the numbers that must add up.
//!
//! What reaches the spool is counted by the store's writer in the transaction that stores it. What never does (skipped at sight, forged,
//! dropped) is counted here in memory, and goes through the spool as a record every few seconds. Only what becomes of a stanza is counted:
//! the number of those received is their sum, and moves with them.

use std::sync::{Mutex, PoisonError};

use crate::time::{Micros, SECOND};

/// One day.
pub const DAY: Micros = 86_400 * SECOND;

/// The day since 1970-01-01 UTC in which this moment lies.
pub fn day_of(at: Micros) -> i32 {
    i32::try_from(at.div_euclid(DAY)).unwrap_or(0)
}

/// What became of a stanza. The numbers are those of `tallies.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum State {
    /// All of them: the sum of the others.
    Received = 1,
    /// A new message.
    Archived = 2,
    /// A further copy of a message.
    Duplicate = 3,
    /// A replayed copy of a message that is known.
    Replayed = 4,
    /// Not archived; the reason says why.
    Skipped = 5,
    /// Set aside.
    Quarantined = 6,
    /// Lost; the reason says why.
    Lost = 7,
    /// Kept out because it may not be believed; the reason says why.
    Forged = 8,
    /// An error for a message.
    Bounce = 9,
    /// Sent again by the node, and stored before.
    Repeated = 10,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Received,
        Self::Archived,
        Self::Duplicate,
        Self::Replayed,
        Self::Skipped,
        Self::Quarantined,
        Self::Lost,
        Self::Forged,
        Self::Bounce,
        Self::Repeated,
    ];

    /// The state with this number.
    pub fn of(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i16 == number)
    }

    /// The word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Archived => "archived",
            Self::Duplicate => "duplicate",
            Self::Replayed => "replayed",
            Self::Skipped => "skipped",
            Self::Quarantined => "quarantined",
            Self::Lost => "lost",
            Self::Forged => "forged",
            Self::Bounce => "bounce",
            Self::Repeated => "repeated",
        }
    }
}

/// One count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count<R> {
    /// The day of arrival.
    pub day: i32,
    /// What became of the stanzas.
    pub state: State,
    /// Why; empty where there is no more to say.
    pub reason: R,
    /// How many.
    pub count: u64,
}

/// Counts in memory that are not in the spool yet. The reasons are a handful, so a list is searched faster than a map.
#[derive(Debug, Default)]
pub struct Pending(Mutex<Vec<Count<&'static str>>>);

impl Pending {
    /// One more.
    pub fn add(&self, at: Micros, state: State, reason: &'static str) {
        self.add_all([Count { day: day_of(at), state, reason, count: 1 }]);
    }

    /// These more.
    pub fn add_all(&self, more: impl IntoIterator<Item = Count<&'static str>>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for new in more {
            let same = |old: &&mut Count<&'static str>| old.day == new.day && old.state == new.state && old.reason == new.reason;
            match counts.iter_mut().find(same) {
                Some(old) => old.count += new.count,
                None => counts.push(new),
            }
        }
    }

    /// What was counted since the last time.
    pub fn take(&self) -> Vec<Count<&'static str>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_utc() {
        assert_eq!((day_of(0), day_of(DAY - 1), day_of(DAY), day_of(-1)), (0, 0, 1, -1));
        assert_eq!(day_of(1_795_332_535_173_794), 20_779);
    }

    #[test]
    fn equal_counts_are_added_up() {
        let pending = Pending::default();
        for at in [0, 1, DAY] {
            pending.add(at, State::Skipped, "iq");
        }
        pending.add(0, State::Forged, "iq");
        let counts: Vec<(i32, State, u64)> = pending.take().into_iter().map(|count| (count.day, count.state, count.count)).collect();
        assert_eq!(counts, [(0, State::Skipped, 2), (1, State::Skipped, 1), (0, State::Forged, 1)]);
        assert!(pending.take().is_empty());
    }
}
