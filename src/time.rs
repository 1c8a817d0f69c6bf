//! Instants as the archive keeps them: microseconds since the Unix epoch, UTC, in 64 bits on every database.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// One second.
pub const SECOND: Micros = 1_000_000;

/// The system's clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// By how much, back if negative.
    pub by: Micros,
    /// What it showed when that was noticed.
    pub noticed_at: Micros,
}

/// The time of the system clock.
pub fn now() -> Micros {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as Micros)
}

/// Parses a stamp of XEP-0082 (`2026-11-22T07:28:55.173794Z`) or of the older XEP-0091 (`20261122T07:28:55`); digits finer than microseconds are cut off.
pub fn parse_stamp(stamp: &str) -> Option<Micros> {
    let stamp = stamp.trim();
    if let Ok(timestamp) = stamp.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let legacy = jiff::civil::DateTime::strptime("%Y%m%dT%H:%M:%S", stamp.trim_end_matches('Z')).ok()?;
    let zoned = legacy.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

/// RFC 3339 in UTC with six digits after the point: the one form in which the archive prints times for programs.
pub fn rfc3339(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at).map_or_else(|_beyond_range| at.to_string(), |timestamp| format!("{timestamp:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_both_xeps_are_understood() {
        assert_eq!(parse_stamp("2026-11-22T07:28:55.173794Z"), Some(1_795_332_535_173_794));
        assert_eq!(parse_stamp("2026-11-22T08:28:55.173794+01:00"), Some(1_795_332_535_173_794));
        assert_eq!(parse_stamp("2026-11-22T07:28:55.1737949Z"), Some(1_795_332_535_173_794));
        assert_eq!(parse_stamp("20261122T07:28:55"), Some(1_795_332_535_000_000));
        assert_eq!(parse_stamp("yesterday"), None);
    }

    #[test]
    fn times_print_with_six_digits() {
        assert_eq!(rfc3339(1_795_332_535_173_794), "2026-11-22T07:28:55.173794Z");
        assert_eq!(rfc3339(1_795_332_535_000_000), "2026-11-22T07:28:55.000000Z");
    }
}
