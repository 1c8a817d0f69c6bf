//! Messages per day as a plot: bars that are made here, with a table of the same numbers beside them.

use crate::retrieve::DayCount;
use crate::time::{Micros, SECOND};

/// Microseconds of a day.
const DAY: Micros = 86_400 * SECOND;
/// Days of the plot.
pub(super) const DAYS: i64 = 30;
/// Units of the drawing in which a day is as wide as it is.
const STEP: u32 = 20;
/// Units of the space between two bars.
const SPACE: u32 = 4;
/// Units of the highest bar.
const HEIGHT: u64 = 160;

/// A day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: u32,
    pub(super) y: u64,
    pub(super) height: u64,
    pub(super) day: String,
    pub(super) messages: i64,
}

/// The plot.
#[derive(Clone, Debug, Default)]
pub(super) struct Plot {
    pub(super) bars: Vec<Bar>,
    pub(super) most: i64,
    pub(super) total: i64,
}

/// The number of the day of a time, from 1970-01-01, UTC.
pub(super) fn day_of(at: Micros) -> i64 {
    at.div_euclid(DAY)
}

impl Plot {
    /// The days up to `last`, those without messages among them.
    pub(super) fn of(counts: &[DayCount], last: i64) -> Self {
        let count = |day: i64| counts.iter().find(|count| count.day == day).map_or(0, |count| count.messages.max(0));
        let days: Vec<(i64, i64)> = (last - DAYS + 1..=last).map(|day| (day, count(day))).collect();
        let most = days.iter().map(|(_, messages)| *messages).max().unwrap_or(0);
        let bars = days.iter().zip(0..).map(|((day, messages), place)| bar(place, *day, *messages, most)).collect();
        Self { bars, most, total: days.iter().map(|(_, messages)| messages).sum() }
    }

    /// Units of the whole width.
    pub(super) fn width(&self) -> u32 {
        STEP * u32::try_from(self.bars.len()).unwrap_or(0)
    }

    pub(super) fn height(&self) -> u64 {
        HEIGHT
    }

    pub(super) fn bar_width(&self) -> u32 {
        STEP - SPACE
    }

    pub(super) fn first_day(&self) -> &str {
        self.bars.first().map(|bar| bar.day.as_str()).unwrap_or_default()
    }

    pub(super) fn last_day(&self) -> &str {
        self.bars.last().map(|bar| bar.day.as_str()).unwrap_or_default()
    }
}

/// A day on which anything came has a bar that is seen.
fn bar(place: u32, day: i64, messages: i64, most: i64) -> Bar {
    let share = u64::try_from(messages).unwrap_or(0).saturating_mul(HEIGHT) / u64::try_from(most.max(1)).unwrap_or(1);
    let height = if messages > 0 { share.max(2) } else { 0 };
    let date =
        jiff::Timestamp::from_second(day.saturating_mul(86_400)).map_or_else(|_| day.to_string(), |at| at.strftime("%F").to_string());
    Bar { x: place * STEP + SPACE / 2, y: HEIGHT - height.min(HEIGHT), height, day: date, messages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_its_place() {
        let last = day_of(1_795_332_535_000_000);
        let counts =
            [DayCount { day: last, messages: 1_000 }, DayCount { day: last - 1, messages: 1 }, DayCount { day: last - 40, messages: 9 }];
        let plot = Plot::of(&counts, last);
        assert_eq!((plot.bars.len(), plot.most, plot.total, plot.last_day()), (30, 1_000, 1_001, "2026-11-22"));
        assert_eq!((plot.bars[29].height, plot.bars[29].y, plot.bars[28].height, plot.bars[0].height), (160, 0, 2, 0));
        assert_eq!(Plot::of(&[], last).most, 0);
    }
}
