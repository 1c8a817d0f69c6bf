//! Whether the numbers add up: what was counted, against what became of it and against the rows that are there.
//!
//! Pure: the store reads the numbers ([`crate::store::tallies`]), a command shows them. What the node's own archive holds is compared by whoever
//! implements [`OwnArchive`].

use std::collections::BTreeMap;
use std::future::Future;

use crate::tally::State;
use crate::time::Micros;

/// All that was counted at one node on one day, and the rows that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// The counts, by state and reason.
    pub counts: BTreeMap<(State, String), i64>,
    /// The rows.
    pub rows: Rows,
}

/// Rows that arrived from one node on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// In `messages`.
    pub messages: i64,
    /// In `deliveries`.
    pub deliveries: i64,
    /// In `bounces`.
    pub bounces: i64,
    /// In `quarantine`.
    pub quarantined: i64,
}

impl Day {
    /// The count of a state, for whatever reason.
    pub fn count(&self, state: State) -> i64 {
        self.of(state).map(|(_, count)| count).sum()
    }

    /// The counts of a state by reason.
    pub fn of(&self, state: State) -> impl Iterator<Item = (&str, i64)> {
        self.counts.iter().filter(move |((of, _), _)| *of == state).map(|((_, reason), count)| (reason.as_str(), *count))
    }

    /// What does not add up. The rows count only where everything that made them was counted (`compares_rows`).
    pub fn problems(&self, compares_rows: bool) -> Vec<String> {
        let fates: i64 = State::ALL.into_iter().filter(|state| *state != State::Received).map(|state| self.count(state)).sum();
        let kept = self.count(State::Archived) + self.count(State::Duplicate) + self.count(State::Replayed);
        let in_quarantine = self.with_reason(State::Quarantined, "") + self.with_reason(State::Lost, crate::store::writer::OVERSIZE);
        let received = self.count(State::Received);
        let pairs = [
            (true, received, "stanzas were received", fates, "have a fate on record"),
            (compares_rows, self.count(State::Archived), "new messages were archived", self.rows.messages, "are in the table messages"),
            (compares_rows, kept, "copies were kept", self.rows.deliveries, "are in the table deliveries"),
            (compares_rows, self.count(State::Bounce), "errors were kept", self.rows.bounces, "are in the table bounces"),
            (compares_rows, in_quarantine, "records were set aside", self.rows.quarantined, "are in the table quarantine"),
        ];
        let wrong = pairs.into_iter().filter(|(counts, one, _, other, _)| *counts && one != other);
        wrong.map(|(_, one, what, other, there)| format!("{one} {what}, {other} {there}")).collect()
    }

    fn with_reason(&self, state: State, reason: &str) -> i64 {
        self.of(state).filter(|(of, _)| *of == reason).map(|(_, count)| count).sum()
    }
}

/// What a comparison with the node's own archive came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Messages of the node's archive that were looked for.
    pub looked_for: u64,
    /// Those of them that are not archived here.
    pub missing: u64,
    /// What that archive can't tell, for people.
    pub cannot_tell: Option<String>,
}

/// The node's own archive, where it can be reached.
pub trait OwnArchive {
    /// What it is, for people.
    fn name(&self) -> String;
    /// Looks for everything that it holds of this time.
    fn compare(&mut self, node: &str, from: Micros, to: Micros) -> impl Future<Output = Result<Compared, String>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(counts: &[(State, &str, i64)], rows: Rows) -> Day {
        Day { counts: counts.iter().map(|(state, reason, count)| ((*state, (*reason).to_owned()), *count)).collect(), rows }
    }

    #[test]
    fn a_day_adds_up() {
        let rows = Rows { messages: 3, deliveries: 6, bounces: 1, quarantined: 3 };
        let counts = [
            (State::Received, "", 22),
            (State::Archived, "", 3),
            (State::Duplicate, "", 2),
            (State::Replayed, "", 1),
            (State::Bounce, "", 1),
            (State::Quarantined, "", 2),
            (State::Quarantined, crate::store::writer::SET_ASIDE_IN_FILE, 1),
            (State::Lost, crate::store::writer::OVERSIZE, 1),
            (State::Lost, "spool full", 4),
            (State::Skipped, "iq", 5),
            (State::Forged, "a", 1),
            (State::Repeated, "", 1),
        ];
        assert_eq!(day(&counts, rows).problems(true), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_told() {
        let counts = [(State::Received, "", 2), (State::Archived, "", 1)];
        let rows = Rows { messages: 1, deliveries: 2, ..Rows::default() };
        let problems = day(&counts, rows).problems(true);
        assert_eq!(problems, ["2 stanzas were received, 1 have a fate on record", "1 copies were kept, 2 are in the table deliveries"]);
        assert_eq!(day(&counts, rows).problems(false).len(), 1);
    }
}
