//! Times as people give them: an instant, a day or minute of some time zone, or so long ago.
//!
//! Where the text names a whole day, minute or second, it is that whole stretch: `--from` takes its begin and `--to` its
//! end, so that `--from 2026-11-22 --to 2026-11-22` is that day.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// What is accepted, for the mistake's text.
const FORMS: &str = "must be a time such as 2026-11-22T07:28:55Z, 2026-11-22, \"2026-11-22 07:28\", today, yesterday, now, or -2h";

/// The time zone in which times are shown, and read where they have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// Coordinated universal time.
    #[default]
    Utc,
    /// The time zone of this machine.
    Local,
    /// A zone of the IANA's database.
    Named(&'static str),
}

impl Zone {
    /// The zone's rules.
    pub fn rules(self) -> TimeZone {
        match self {
            Self::Utc => TimeZone::UTC,
            Self::Local => TimeZone::system(),
            Self::Named(name) => TimeZone::get(name).unwrap_or(TimeZone::UTC),
        }
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "utc" => Ok(Self::Utc),
            "local" => Ok(Self::Local),
            _ => {
                let unknown = |_error| "must be utc, local, or a zone such as Europe/Berlin".to_owned();
                let name = TimeZone::get(text).map_err(unknown)?.iana_name().unwrap_or(text).to_owned();
                // A command line names one, and a process has one command line.
                Ok(Self::Named(Box::leak(name.into_boxed_str())))
            }
        }
    }
}

/// A time as given.
#[derive(Clone, Debug)]
pub struct When(Given);

/// Why a time can't be read.
#[derive(Debug, thiserror::Error)]
pub enum WhenError {
    /// It has none of the forms.
    #[error("{FORMS}")]
    Form,
    /// It is outside the years that can be counted.
    #[error("is too far from now")]
    Range,
}

#[derive(Clone, Debug)]
enum Given {
    Instant(Timestamp, Unit),
    Civil(DateTime, Unit),
    DaysAgo(i64),
    /// A negative span.
    Ago(Span),
}

/// How long the stretch is that a text names.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Microsecond,
    Second,
    Minute,
    Day,
}

impl Unit {
    fn span(self) -> Span {
        match self {
            Self::Microsecond => Span::new().microseconds(1),
            Self::Second => Span::new().seconds(1),
            Self::Minute => Span::new().minutes(1),
            Self::Day => Span::new().days(1),
        }
    }

    /// What the clock's part of a text (`07:28:55.1Z`) names.
    fn of_clock(clock: &str) -> Self {
        let end = clock.find(|c: char| !(c.is_ascii_digit() || ":.,".contains(c))).unwrap_or(clock.len());
        let (clock, _) = clock.split_at_checked(end).unwrap_or((clock, ""));
        match clock.matches(':').count() {
            _ if clock.contains(['.', ',']) => Self::Microsecond,
            0 | 1 => Self::Minute,
            _ => Self::Second,
        }
    }
}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "now" => return Ok(Self(Given::Ago(Span::new()))),
            "today" => return Ok(Self(Given::DaysAgo(0))),
            "yesterday" => return Ok(Self(Given::DaysAgo(1))),
            _ => {}
        }
        if text.starts_with('-') || text.ends_with("ago") {
            return match text.parse::<Span>() {
                Ok(span) => Ok(Self(Given::Ago(span))),
                Err(_) => Err(WhenError::Form),
            };
        }
        absolute(text).map(Self).ok_or(WhenError::Form)
    }
}

fn absolute(text: &str) -> Option<Given> {
    let unit = match text.split_once(['T', 't', ' ']) {
        Some((_, clock)) => Unit::of_clock(clock),
        None => Unit::Day,
    };
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(Given::Instant(instant, unit));
    }
    let civil = text.parse::<DateTime>().ok()?;
    Some(Given::Civil(civil, unit))
}

impl When {
    /// Where the stretch begins, in microseconds since the epoch; `now` names the zone too.
    pub fn begin(&self, now: &Zoned) -> Result<i64, WhenError> {
        self.stretch(now).map(|(begin, _)| begin)
    }

    /// Where the stretch ends: the first microsecond after it.
    pub fn end(&self, now: &Zoned) -> Result<i64, WhenError> {
        self.stretch(now).map(|(_, end)| end)
    }

    fn stretch(&self, now: &Zoned) -> Result<(i64, i64), WhenError> {
        self.try_stretch(now).or(Err(WhenError::Range))
    }

    fn try_stretch(&self, now: &Zoned) -> Result<(i64, i64), jiff::Error> {
        let zone = now.time_zone();
        let (begin, unit) = match &self.0 {
            Given::Instant(instant, unit) => (instant.to_zoned(zone.clone()), *unit),
            Given::Civil(civil, unit) => (civil.to_zoned(zone.clone())?, *unit),
            Given::DaysAgo(days) => {
                let day = now.date().checked_sub(Span::new().try_days(*days)?)?;
                (day.to_zoned(zone.clone())?, Unit::Day)
            }
            Given::Ago(span) => (now.checked_add(*span)?, Unit::Microsecond),
        };
        let end = begin.checked_add(unit.span())?;
        Ok((begin.timestamp().as_microsecond(), end.timestamp().as_microsecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begin and end of a text in a zone, as instants; now is 2026-11-22 09:00 UTC.
    fn stretch_in(text: &str, zone: &TimeZone) -> (String, String) {
        let now = "2026-11-22T09:00:00Z".parse::<Timestamp>().unwrap().to_zoned(zone.clone());
        let when: When = text.parse().unwrap();
        let show = |micros| Timestamp::from_microsecond(micros).unwrap().to_string();
        (show(when.begin(&now).unwrap()), show(when.end(&now).unwrap()))
    }

    fn check(text: &str, begin: &str, end: &str) {
        let expected = (begin.to_owned(), end.to_owned());
        assert_eq!(stretch_in(text, &TimeZone::UTC), expected, "{text}");
    }

    #[test]
    fn a_text_names_the_stretch_of_its_precision() {
        check("2026-11-22", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
        for text in ["2026-11-22 07:28", "2026-11-22T07:28", "2026-11-22T07:28Z"] {
            check(text, "2026-11-22T07:28:00Z", "2026-11-22T07:29:00Z");
        }
        for text in ["2026-11-22 07:28:55", "2026-11-22T08:28:55+01:00"] {
            check(text, "2026-11-22T07:28:55Z", "2026-11-22T07:28:56Z");
        }
        check("2026-11-22T07:28:55.173794Z", "2026-11-22T07:28:55.173794Z", "2026-11-22T07:28:55.173795Z");
    }

    #[test]
    fn words_and_spans_count_from_now() {
        check("today", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
        check("Yesterday", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z");
        check("now", "2026-11-22T09:00:00Z", "2026-11-22T09:00:00.000001Z");
        for (text, begin) in [
            ("-2h", "2026-11-22T07:00:00"),
            ("-90m", "2026-11-22T07:30:00"),
            ("-7d", "2026-11-15T09:00:00"),
            ("2 hours ago", "2026-11-22T07:00:00"),
        ] {
            check(text, &format!("{begin}Z"), &format!("{begin}.000001Z"));
        }
    }

    #[test]
    fn a_day_is_as_long_as_its_zone_has_it() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let (begin, end) = stretch_in("2026-10-25", &berlin);
        assert_eq!(begin, "2026-10-24T22:00:00Z");
        assert_eq!(end, "2026-10-25T23:00:00Z");
        let (begin, _) = stretch_in("2026-11-22T07:28:00Z", &berlin);
        assert_eq!(begin, "2026-11-22T07:28:00Z");
    }

    #[test]
    fn zones_have_names() {
        assert_eq!("UTC".parse(), Ok(Zone::Utc));
        assert_eq!("local".parse(), Ok(Zone::Local));
        assert!("Atlantis/Capital".parse::<Zone>().is_err());
        if let Ok(zone) = "europe/berlin".parse::<Zone>() {
            assert_eq!(zone, Zone::Named("Europe/Berlin"));
            assert_eq!(stretch_in("2026-11-22 07:28", &zone.rules()).0, "2026-11-22T06:28:00Z");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "soon", "2026", "2026-13-01", "22.11.2026", "2h", "-2", "07:28", "2026-11-22 25:00"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_counted_is_refused() {
        let far: When = "-15000y".parse().unwrap();
        assert!(matches!(far.begin(&Zoned::now()), Err(WhenError::Range)));
        let last: When = "9999-12-31".parse().unwrap();
        assert!(matches!(last.end(&Zoned::now()), Err(WhenError::Range)));
    }
}
