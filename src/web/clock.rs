//! Times as somebody wants to read them: in a time zone that a cookie names.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::trouble::Trouble;
use crate::cli::when::When;
use crate::time::{Micros, rfc3339};

/// The cookie with the zone's name.
pub(super) const COOKIE: &str = "zone";

/// A time for a page: for people, and for the attribute `datetime`.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) machine: String,
}

/// A time zone.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    zone: TimeZone,
    name: String,
}

impl Default for Clock {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, name: "UTC".to_owned() }
    }
}

impl Clock {
    /// The zone of this IANA name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let is_name = name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+-/".contains(c));
        let zone = if is_name { TimeZone::get(name).ok()? } else { return None };
        let name = zone.iana_name().unwrap_or("UTC").to_owned();
        Some(Self { zone, name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn show(&self, at: Micros, format: &str) -> Shown {
        let Ok(timestamp) = Timestamp::from_microsecond(at) else { return Shown { text: at.to_string(), machine: String::new() } };
        let text = timestamp.to_zoned(self.zone.clone()).strftime(format).to_string();
        Shown { text, machine: rfc3339(at) }
    }

    /// The day and the time to the second.
    pub(super) fn full(&self, at: Micros) -> Shown {
        self.show(at, "%F %T")
    }

    /// The day and the time to the microsecond.
    pub(super) fn exact(&self, at: Micros) -> Shown {
        self.show(at, "%F %T%.6f %:z")
    }

    /// The time of day.
    pub(super) fn time(&self, at: Micros) -> Shown {
        self.show(at, "%T")
    }

    /// The day, to read.
    pub(super) fn day(&self, at: Micros) -> Shown {
        self.show(at, "%A, %-d %B %Y")
    }

    /// The day as a number, to be compared.
    pub(super) fn date(&self, at: Micros) -> String {
        self.show(at, "%F").text
    }

    /// The begin (or the end) of the stretch of time that a text names, in this zone.
    pub(super) fn read(&self, label: &str, text: Option<&str>, is_end: bool) -> Result<Option<Micros>, Trouble> {
        let Some(text) = text else { return Ok(None) };
        let now = Zoned::now().with_time_zone(self.zone.clone());
        // Where a shell takes them away, people have learned to write them.
        let when =
            text.trim_matches(['"', '“', '”']).parse::<When>().and_then(|when| if is_end { when.end(&now) } else { when.begin(&now) });
        when.map(Some).map_err(|error| Trouble::Wrong(format!("{label}: “{text}” {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone() {
        let at = 1_795_332_535_173_794;
        let berlin = Clock::of("Europe/Berlin").unwrap();
        assert_eq!(berlin.full(at).text, "2026-11-22 08:28:55");
        assert_eq!(berlin.exact(at).text, "2026-11-22 08:28:55.173794 +01:00");
        assert_eq!(Clock::default().day(at).text, "Sunday, 22 November 2026");
        assert_eq!(berlin.full(at).machine, "2026-11-22T07:28:55.173794Z");
        for name in ["", "Nowhere/None", "../../etc/passwd", "Europe/Berlin;x"] {
            assert!(Clock::of(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_day_is_a_day_of_the_zone() {
        let berlin = Clock::of("Europe/Berlin").unwrap();
        let begin = berlin.read("From", Some("2026-11-22"), false).unwrap().unwrap();
        let end = berlin.read("To", Some("2026-11-22"), true).unwrap().unwrap();
        assert_eq!(end - begin, 86_400 * crate::time::SECOND);
        assert_eq!(rfc3339(begin), "2026-11-21T23:00:00.000000Z");
        assert!(berlin.read("From", Some("once"), false).is_err());
    }
}
