//! Notices when the system's clock is set, so that copies of one message are still told to be close together.
//!
//! Times of arrival are those of the system's clock, right or wrong. A second clock, which only ever goes on, says how much time has really
//! passed between two stanzas; what the first one says beyond that is a step. For a while after a step each record carries it, and identity
//! compares with what was said before it on the old clock's terms.

use std::time::Instant;

use crate::identity::FEDERATION_WINDOW;
use crate::time::{ClockStep, Micros, SECOND};

/// Clocks drift and are slewed; only more than this is a step.
const STEP_MIN: Micros = 2 * SECOND;
/// A clock that was set back by more than this says nothing about the days before.
const OVERLAP_MAX: Micros = 86_400 * SECOND;

/// Compares the two clocks, for all nodes of a process.
#[derive(Debug, Default)]
pub struct StepWatch {
    last: Option<(Micros, Instant)>,
    step: Option<(ClockStep, Instant)>,
}

impl StepWatch {
    /// How the clock was set lately, if it was. `wall` is what it shows, at `instant`.
    pub(super) fn look(&mut self, wall: Micros, instant: Instant) -> Option<ClockStep> {
        let before = self.last.replace((wall, instant));
        if let Some((last_wall, last_instant)) = before {
            let by = wall - last_wall - passed(last_instant, instant);
            if by.abs() > STEP_MIN {
                log::warn!("the system's clock was set by {} s; times of arrival follow it", by / SECOND);
                self.step = Some((ClockStep { by, noticed_at: wall }, instant));
            }
        }
        self.step = self.step.filter(|(step, since)| passed(*since, instant) <= lasts(*step));
        self.step.map(|(step, _)| step)
    }
}

/// Copies may come late, and a clock that was set back passes through the same hours once more.
fn lasts(step: ClockStep) -> Micros {
    FEDERATION_WINDOW + (-step.by).clamp(0, OVERLAP_MAX)
}

fn passed(from: Instant, to: Instant) -> Micros {
    Micros::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(Micros::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Micros = 3_600 * SECOND;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_that_runs_is_not_stepped() {
        let (mut watch, start) = (StepWatch::default(), Instant::now());
        for seconds in [0, 1, 2, 600, 100_000] {
            // It gains a second a day.
            let wall = seconds as Micros * SECOND + seconds as Micros * 12;
            assert_eq!(watch.look(wall, after(start, seconds)), None);
        }
    }

    #[test]
    fn a_step_is_told_for_a_while() {
        for by in [HOUR, -HOUR] {
            let (mut watch, start) = (StepWatch::default(), Instant::now());
            assert_eq!(watch.look(10 * HOUR, start), None);
            let lasting = (FEDERATION_WINDOW + (-by).max(0)) / SECOND;
            for seconds in [1, 2, lasting] {
                let told = watch.look(10 * HOUR + seconds * SECOND + by, after(start, seconds as u64));
                assert_eq!(told, Some(ClockStep { by, noticed_at: 10 * HOUR + SECOND + by }), "{seconds} s after");
            }
            let much_later = lasting + 2;
            assert_eq!(watch.look(10 * HOUR + much_later * SECOND + by, after(start, much_later as u64)), None);
        }
    }
}
