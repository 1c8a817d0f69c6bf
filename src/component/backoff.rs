//! How long to wait before the next attempt to reach a node: doubling from one second to one minute, for ever.
//!
//! The waits are jittered over the upper half of each step, so that archivers and nodes that restart together do not
//! knock in step. A node that refuses us for a reason that only a person can mend is asked less eagerly. A session
//! that lived a minute counts as success: the next wait is short again.

use std::time::Duration;

use crate::time;

/// The first wait, before jitter.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The shortest wait after the node refused the secret or said that the domain is taken.
pub const REFUSED_WAIT: Duration = Duration::from_secs(5);
/// A session that lived this long was a good one.
pub const GOOD_SESSION: Duration = Duration::from_secs(60);

/// After this many doublings the longest wait is reached whatever the first one was.
const MOST_DOUBLINGS: u32 = 6;

/// The waits of one node.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// A fresh start, its jitter seeded by the clock.
    pub fn new() -> Self {
        Self::seeded(time::now().unsigned_abs())
    }

    fn seeded(seed: u64) -> Self {
        // Zero is the one seed from which a xorshift never gets away.
        Self { failures: 0, random: seed | 1 }
    }

    /// Tells how long the session that just ended had lived, if there was one.
    pub fn session_lived(&mut self, lived: Duration) {
        if lived >= GOOD_SESSION {
            self.failures = 0;
        }
    }

    /// The wait before the next attempt; `refused` when asking again soon cannot help.
    pub fn next_wait(&mut self, refused: bool) -> Duration {
        let step = FIRST_WAIT.saturating_mul(1 << self.failures.min(MOST_DOUBLINGS)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        let wait = step / 2 + (step / 2).mul_f64(self.fraction());
        if refused { wait.max(REFUSED_WAIT) } else { wait }
    }

    /// A number from 0 to 1, by xorshift64.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u32::try_from(self.random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_stay_there() {
        for seed in [0, 1, 7, u64::MAX] {
            let mut backoff = Backoff::seeded(seed);
            for step in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
                let wait = backoff.next_wait(false);
                assert!(wait >= Duration::from_secs(step) / 2 && wait <= Duration::from_secs(step), "{step}: {wait:?}");
            }
            backoff.failures = u32::MAX;
            assert!(backoff.next_wait(false) <= LONGEST_WAIT);
        }
    }

    #[test]
    fn a_refusal_is_never_asked_again_at_once() {
        let mut backoff = Backoff::seeded(3);
        assert_eq!(backoff.next_wait(true), REFUSED_WAIT);
    }

    #[test]
    fn only_a_session_that_lived_makes_the_next_wait_short() {
        let mut backoff = Backoff::seeded(5);
        for _ in 0..10 {
            backoff.next_wait(false);
        }
        backoff.session_lived(Duration::from_secs(59));
        assert!(backoff.next_wait(false) > Duration::from_secs(29));
        backoff.session_lived(GOOD_SESSION);
        assert!(backoff.next_wait(false) <= FIRST_WAIT);
    }

    #[test]
    fn the_jitter_spreads() {
        let mut backoff = Backoff::seeded(9);
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| backoff.next_wait(false)).collect();
        assert!(waits.len() > 40);
    }
}
