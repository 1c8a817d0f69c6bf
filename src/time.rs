//! Instants as this archive writes them: microseconds since the Unix epoch, UTC, in an `i64`.
//!
//! One integer type from the socket to the databases, so that no precision is lost or invented on the way and
//! a key computed from a time is the same everywhere.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;

/// The present, by the clock of this machine. A clock set before 1970 gives negative numbers rather than a panic.
pub fn now() -> Micros {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX),
        Err(before) => {
            Micros::try_from(before.duration().as_micros()).map_or(Micros::MIN, |micros| -micros)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_lies_between_2020_and_2200() {
        let present = now();
        assert!(present > 1_577_836_800_000_000, "{present}");
        assert!(present < 7_258_118_400_000_000, "{present}");
    }
}
