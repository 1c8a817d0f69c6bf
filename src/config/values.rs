//! Durations and sizes as people write them: "10 s", "5 ms", "10 GiB"; a plain number counts seconds, or bytes.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The units of a duration and how many microseconds each has, smallest first.
const DURATION_UNITS: [(&str, u64); 9] = [
    ("us", 1),
    ("µs", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("sec", 1_000_000),
    ("min", 60_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// The units of a size and how many bytes each has.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// A number of bytes, shown in the largest binary unit that divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(
    /// The bytes.
    pub u64,
);

impl ByteSize {
    /// So many MiB.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many GiB.
    pub const fn gibibytes(count: u64) -> Self {
        Self(count << 30)
    }

    /// The bytes as a length in memory; a size that no memory could hold becomes the largest length.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes)) {
            Some((name, bytes)) => write!(f, "{} {name}", self.0 / bytes),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a duration with its unit; `None` if it is none or too long to count.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let micros = match unit.as_str() {
        "" => 1_000_000,
        _ => unit_factor(&DURATION_UNITS, &unit)?,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

/// Reads a size with its unit; `None` if it is none or too large to count.
pub(super) fn parse_size(text: &str) -> Option<ByteSize> {
    let (number, unit) = split(text)?;
    let bytes = match unit.as_str() {
        "" => 1,
        _ => unit_factor(&SIZE_UNITS, &unit)?,
    };
    number.checked_mul(bytes).map(ByteSize)
}

/// Writes a duration so that [`parse_duration`] reads the same again.
pub(super) fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros.is_multiple_of(1_000_000) {
        format!("{} s", micros / 1_000_000)
    } else if micros.is_multiple_of(1_000) {
        format!("{} ms", micros / 1_000)
    } else {
        format!("{micros} us")
    }
}

/// For `#[serde(serialize_with)]`.
pub(super) fn serialize_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show_duration(*duration))
}

/// The number in front and the unit after it, in lower case.
fn split(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let number = digits.parse().ok()?;
    Some((number, unit.trim().to_lowercase()))
}

fn unit_factor(units: &[(&str, u64)], wanted: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == wanted).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        for (text, micros) in [
            ("10", 10_000_000),
            ("10 s", 10_000_000),
            ("5ms", 5_000),
            (" 250 us ", 250),
            ("2 min", 120_000_000),
            ("1 H", 3_600_000_000),
            ("1 d", 86_400_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_micros(micros)), "{text}");
        }
        for text in ["", "s", "-1 s", "1.5 s", "10 parsecs", "99999999999999999999", "18446744073709551615 d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [("10", 10), ("10 GiB", 10 << 30), ("64MiB", 64 << 20), ("1 kB", 1000), ("3 B", 3)] {
            assert_eq!(parse_size(text), Some(ByteSize(bytes)), "{text}");
        }
        for text in ["", "GiB", "1 G", "1.5 GiB", "18446744073709551615 TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for micros in [0, 1, 1_500, 5_000, 1_000_000, 61_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }
        for bytes in [0, 1, 1023, 1024, 1 << 20, 10 << 30, (1 << 30) + 1] {
            assert_eq!(parse_size(&ByteSize(bytes).to_string()), Some(ByteSize(bytes)));
        }
    }
}
