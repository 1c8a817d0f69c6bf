//! Messages with the same content, in the order of their ids.
//!
//! People say "ok" all day, and an import brings a year of it: each such row must not be compared with all before it. Rows of one archive have ids by it,
//! and a message that has another one is no candidate for a row. So for each archive a large group remembers up to where all have theirs, and which.

use std::collections::HashSet;
use std::ops::{Deref, DerefMut};

use super::known::Known;

/// Groups smaller than this are looked through.
const LARGE: usize = 16;

/// The messages.
#[derive(Debug, Default)]
pub(super) struct Group {
    all: Vec<Known>,
    /// What is passed over, for each archive that was asked for.
    passed: Vec<Passed>,
}

/// The messages before a place, each of which has as many ids by one archive as it can have.
#[derive(Debug)]
struct Passed {
    /// Who gave the ids.
    by: u64,
    place: usize,
    /// The ids that they have: a copy with one of these may be a message before the place.
    ids: HashSet<u64>,
}

impl Group {
    /// One that will mostly stay a group of one.
    pub(super) fn of_one() -> Self {
        Self { all: Vec::with_capacity(1), passed: Vec::new() }
    }

    pub(super) fn push(&mut self, known: Known) {
        self.all.push(known);
    }

    /// Puts a message at its place, unless it is there.
    pub(super) fn insert(&mut self, known: Known) {
        if let Err(index) = self.all.binary_search_by_key(&known.id, |other| other.id) {
            self.passed.iter_mut().for_each(|passed| passed.place = passed.place.min(index));
            self.all.insert(index, known);
        }
    }

    /// One of the messages got this id: `(who gave it, value)`.
    pub(super) fn learnt(&mut self, (by, value): (u64, u64)) {
        for passed in self.passed.iter_mut().filter(|passed| passed.by == by) {
            passed.ids.insert(value);
        }
    }

    /// The first place at which a message may be the one of a copy with these ids: `(who gave it, value)`.
    pub(super) fn first_candidate(&mut self, ids: &[(u64, u64)], ids_in_an_archive: usize) -> usize {
        if self.all.len() < LARGE {
            return 0;
        }
        let mut first = 0;
        for (by, value) in ids {
            let index = self.passed.iter().position(|passed| passed.by == *by).unwrap_or_else(|| {
                self.passed.push(Passed { by: *by, place: 0, ids: HashSet::new() });
                self.passed.len() - 1
            });
            let Some(passed) = self.passed.get_mut(index) else { continue };
            while let Some(known) = self.all.get(passed.place)
                && known.ids_by(*by).count() >= ids_in_an_archive
            {
                passed.ids.extend(known.ids_by(*by));
                passed.place += 1;
            }
            if !passed.ids.contains(value) {
                first = first.max(passed.place);
            }
        }
        first
    }
}

impl Deref for Group {
    type Target = [Known];

    fn deref(&self) -> &[Known] {
        &self.all
    }
}

impl DerefMut for Group {
    fn deref_mut(&mut self) -> &mut [Known] {
        &mut self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: i64, exact: &[(u64, u64)]) -> Known {
        Known { id, exact: exact.to_vec(), ..Known::default() }
    }

    #[test]
    fn those_that_have_other_ids_are_passed_over_once_and_for_all() {
        let mut group = Group::of_one();
        let large = LARGE as i64;
        (1..=large).for_each(|id| group.push(known(id * 10, &[(7, id as u64)])));
        group.push(known(large * 10 + 10, &[(8, 1)]));
        let others = LARGE;
        assert_eq!(
            (group.first_candidate(&[(7, 99)], 1), group.first_candidate(&[(7, 99)], 2), group.first_candidate(&[], 1)),
            (others, others, 0)
        );
        assert_eq!((group.first_candidate(&[(8, 99)], 1), group.first_candidate(&[(8, 9), (7, 99)], 1)), (0, others));
        group.insert(known(15, &[]));
        group.insert(known(15, &[]));
        assert_eq!((group.len(), group.first_candidate(&[(7, 99)], 1)), (LARGE + 2, 1));
    }

    #[test]
    fn one_that_has_this_very_id_is_not_passed_over() {
        let mut group = Group::of_one();
        (1..=LARGE as i64).for_each(|id| group.push(known(id, &[(7, id as u64)])));
        assert_eq!((group.first_candidate(&[(7, 3)], 1), group.first_candidate(&[(7, 99)], 1)), (0, LARGE));
        group.learnt((7, 99));
        assert_eq!(group.first_candidate(&[(7, 99)], 1), 0);
    }

    #[test]
    fn a_small_group_is_looked_through() {
        let mut group = Group::of_one();
        group.push(known(1, &[(7, 1)]));
        assert_eq!(group.first_candidate(&[(7, 2)], 1), 0);
    }
}
