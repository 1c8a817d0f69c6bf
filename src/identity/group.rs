//! Messages with the same content, in the order of their ids.
//!
//! People say "ok" all day, and an import brings a year of it: each such row must not be compared with all before it. Rows of one archive have ids by it,
//! and a message that has one is no candidate for another row. So for each archive the group remembers up to where all have theirs.

use std::ops::{Deref, DerefMut};

use super::known::Known;

/// The messages.
#[derive(Debug, Default)]
pub(super) struct Group {
    all: Vec<Known>,
    /// For each archive: before which place every message has as many ids by it as it can have.
    full: Vec<(u64, usize)>,
}

impl Group {
    /// One that will mostly stay a group of one.
    pub(super) fn of_one() -> Self {
        Self { all: Vec::with_capacity(1), full: Vec::new() }
    }

    pub(super) fn push(&mut self, known: Known) {
        self.all.push(known);
    }

    /// Puts a message at its place, unless it is there.
    pub(super) fn insert(&mut self, known: Known) {
        if let Err(index) = self.all.binary_search_by_key(&known.id, |other| other.id) {
            self.full.iter_mut().for_each(|(_, place)| *place = (*place).min(index));
            self.all.insert(index, known);
        }
    }

    /// The first place at which a message may be the one of a copy with these ids: `(who gave it, value)`.
    pub(super) fn first_candidate(&mut self, ids: &[(u64, u64)], ids_in_an_archive: usize) -> usize {
        let mut first = 0;
        for (by, _) in ids {
            let index = self.full.iter().position(|(known, _)| known == by).unwrap_or_else(|| {
                self.full.push((*by, 0));
                self.full.len() - 1
            });
            let Some((_, place)) = self.full.get_mut(index) else { continue };
            while self.all.get(*place).is_some_and(|known| known.ids_by(*by).count() >= ids_in_an_archive) {
                *place += 1;
            }
            first = first.max(*place);
        }
        first
    }

    /// What was decided by ids alone may have to be found by content again.
    pub(super) fn forget_places(&mut self) {
        self.full.clear();
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
    fn those_that_have_their_ids_are_passed_over_once_and_for_all() {
        let mut group = Group::of_one();
        (1..=3).for_each(|id| group.push(known(id * 10, &[(7, id as u64)])));
        group.push(known(40, &[(8, 1)]));
        assert_eq!((group.first_candidate(&[(7, 99)], 1), group.first_candidate(&[(7, 99)], 2), group.first_candidate(&[], 1)), (3, 3, 0));
        assert_eq!((group.first_candidate(&[(8, 99)], 1), group.first_candidate(&[(8, 9), (7, 9)], 1)), (0, 3));
        group.insert(known(15, &[]));
        group.insert(known(15, &[]));
        assert_eq!((group.len(), group.first_candidate(&[(7, 99)], 1)), (5, 1));
    }
}
