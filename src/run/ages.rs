//! How long the oldest record of a spool has waited, learned from nothing but the spool's numbers.
//!
//! Records have no time of their own that could be had without reading them. So the next number is noted with the time: a record
//! below it had arrived by then, one from it on had not. That is exact to the interval between two notes, and costs no disk.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most notes; beyond it every other one goes, since of what is old only about when matters.
const MAX_NOTES: usize = 4_096;

/// Notes of one spool.
#[derive(Debug, Default)]
pub struct Ages {
    /// The next number and when it was that, oldest first.
    notes: VecDeque<(u64, Instant)>,
}

impl Ages {
    /// At this moment the next record will be `next_seq`, and the oldest that waits is `oldest_seq`.
    pub fn note(&mut self, next_seq: u64, oldest_seq: u64, at: Instant) {
        while self.notes.get(1).is_some_and(|(next, _)| *next <= oldest_seq) {
            self.notes.pop_front();
        }
        match self.notes.back_mut() {
            Some((last, noted_at)) if *last == next_seq => *noted_at = at,
            _ => self.notes.push_back((next_seq, at)),
        }
        if self.notes.len() > MAX_NOTES {
            let mut index = 0_usize;
            self.notes.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// How long ago the record arrived, at the most. Of one from before the first note it is known only that it is older than that.
    pub fn age(&self, seq: u64, at: Instant) -> Duration {
        let before = self.notes.iter().take_while(|(next, _)| *next <= seq).last().or(self.notes.front());
        before.map_or(Duration::ZERO, |(_, noted_at)| at.saturating_duration_since(*noted_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_record_is_as_old_as_the_last_note_without_it() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        ages.note(10, 10, start);
        ages.note(10, 10, start + second(1));
        ages.note(20, 10, start + second(2));
        ages.note(30, 10, start + second(3));
        assert_eq!(ages.age(10, start + second(4)), second(3));
        assert_eq!(ages.age(20, start + second(4)), second(2));
        assert_eq!(ages.age(30, start + second(4)), second(1));
        assert_eq!(ages.age(5, start + second(4)), second(3));
        ages.note(30, 30, start + second(5));
        assert_eq!((ages.notes.len(), ages.age(30, start + second(5))), (1, second(0)));
    }

    #[test]
    fn notes_are_thinned_and_stay_true() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        for number in 0..3 * MAX_NOTES as u64 {
            ages.note(number, 0, start + second(number));
        }
        assert!(ages.notes.len() <= MAX_NOTES);
        let at = start + second(3 * MAX_NOTES as u64);
        for seq in [0, 1, 77, 5_000, 3 * MAX_NOTES as u64 - 1] {
            assert!(ages.age(seq, at) >= at - (start + second(seq)), "{seq}");
        }
    }
}
