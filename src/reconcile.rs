//! Whether the numbers add up: what was counted, against what became of it and against the rows that are there.
//!
//! Pure: the store reads the numbers ([`crate::store::tallies`]), [`crate::history::compare`] asks the node's own archive, a command shows both.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

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
        let received = self.count(State::Received);
        let (made, rows) = (self.made(), self.rows);
        let pairs = [
            (true, received, "stanzas were received", fates, "have a fate on record"),
            (compares_rows, made.messages, "new messages were archived", rows.messages, "are in the table messages"),
            (compares_rows, made.deliveries, "copies were kept", rows.deliveries, "are in the table deliveries"),
            (compares_rows, made.bounces, "errors were kept", rows.bounces, "are in the table bounces"),
            (compares_rows, made.quarantined, "records were set aside", rows.quarantined, "are in the table quarantine"),
        ];
        let wrong = pairs.into_iter().filter(|(counts, one, _, other, _)| *counts && one != other);
        wrong.map(|(_, one, what, other, there)| format!("{one} {what}, {other} {there}")).collect()
    }

    /// The rows that the writer made, as it counted them.
    pub fn made(&self) -> Rows {
        Rows {
            messages: self.count(State::Archived),
            deliveries: self.count(State::Archived) + self.count(State::Duplicate) + self.count(State::Replayed),
            bounces: self.count(State::Bounce),
            quarantined: self.with_reason(State::Quarantined, "") + self.with_reason(State::Lost, crate::store::writer::OVERSIZE),
        }
    }

    fn with_reason(&self, state: State, reason: &str) -> i64 {
        self.of(state).filter(|(of, _)| *of == reason).map(|(_, count)| count).sum()
    }
}

/// What the node's own archive holds of one day, by when it was said, and what of it is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OwnDay {
    /// What it holds: one for each archive that a message stands in.
    pub entries: u64,
    /// Messages that these are of.
    pub messages: u64,
    /// Those of them that are here.
    pub here: u64,
    /// Those that are not.
    pub missing: u64,
    /// Entries that are not archived by policy, or say nothing.
    pub left_out: u64,
    /// Entries that nobody can read, and that are not in the quarantine either.
    pub unreadable: u64,
    /// Entries that nobody can read, which an earlier backfill has put into the quarantine.
    pub set_aside: u64,
    /// Messages here that it does not hold.
    pub only_here: u64,
}

/// A message of the node's own archive that is not here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// When it was said.
    #[serde(serialize_with = "as_stamp")]
    pub at: Micros,
    /// Whose archive holds it.
    pub archive: String,
    /// The stanza-id that it has there.
    pub stanza_id: String,
}

/// A comparison with the node's own archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// By day.
    pub days: BTreeMap<i32, OwnDay>,
    /// The first of those that are missing.
    pub first_missing: BTreeSet<Missing>,
    /// When the first and the last of all that are missing were said.
    pub missing_between: Option<(Micros, Micros)>,
    /// Whether more were missing than can be told apart, so that one may be counted for each archive that holds it.
    pub is_rough: bool,
    /// What could not be read, in words.
    pub not_read: Vec<String>,
}

impl Compared {
    /// Sums one number of all days.
    pub fn sum(&self, number: impl Fn(&OwnDay) -> u64) -> u64 {
        self.days.values().map(number).sum()
    }

    /// How many messages are missing.
    pub fn missing(&self) -> u64 {
        self.sum(|day| day.missing)
    }

    /// Whether everything was read, and all of it is here.
    pub fn is_well(&self) -> bool {
        self.missing() == 0 && self.sum(|day| day.unreadable) == 0 && self.not_read.is_empty()
    }

    /// Notes a message that is missing; the first `most` are kept.
    pub fn miss(&mut self, missing: Missing, most: usize) {
        let (first, last) = self.missing_between.unwrap_or((missing.at, missing.at));
        self.missing_between = Some((first.min(missing.at), last.max(missing.at)));
        self.first_missing.insert(missing);
        if self.first_missing.len() > most {
            self.first_missing.pop_last();
        }
    }
}

fn as_stamp<S: serde::Serializer>(at: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::time::rfc3339(*at))
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

    #[test]
    fn the_first_that_are_missing_are_kept_and_all_are_bounded() {
        let mut compared = Compared::default();
        for at in [30, 10, 20, 40] {
            compared.miss(Missing { at, archive: "bob@h".to_owned(), stanza_id: at.to_string() }, 2);
        }
        let kept: Vec<i64> = compared.first_missing.iter().map(|missing| missing.at).collect();
        assert_eq!((kept, compared.missing_between), (vec![10, 20], Some((10, 40))));
    }

    #[test]
    fn a_comparison_is_well_only_when_all_was_read_and_is_here() {
        let with = |day| Compared {
            days: [(1, OwnDay { entries: 4, messages: 2, here: 2, ..OwnDay::default() }), (2, day)].into(),
            ..Compared::default()
        };
        assert!(with(OwnDay { left_out: 1, set_aside: 1, only_here: 7, ..OwnDay::default() }).is_well());
        assert!(!with(OwnDay { missing: 1, ..OwnDay::default() }).is_well());
        assert!(!with(OwnDay { unreadable: 1, ..OwnDay::default() }).is_well());
        assert!(!Compared { not_read: vec!["r@m.h: forbidden".to_owned()], ..Compared::default() }.is_well());
    }
}
