//! What `export::words` says, with the time zones of the command line.

pub(super) use crate::export::words::{said, sender, shortened, visible};

use super::when::Zone;
use crate::export::words;
use crate::time::Micros;

/// A time of a zone, to the second.
pub(super) fn time(at: Micros, zone: Zone, format: &str) -> String {
    words::time(at, &zone.rules(), format)
}

/// The name of a zone for people.
pub(super) fn zone_name(zone: Zone) -> String {
    words::zone_name(&zone.rules())
}
