//! What somebody may see: a part of the archive that bounds whatever is asked through a handle.
//!
//! A restriction belongs to the [`Archive`](super::Archive) and not to a query, so that no page can forget it: every statement that
//! reads messages has it among its conditions, in the database. By default everything may be seen.

use serde::{Deserialize, Serialize};

use super::people::Pattern;
use crate::time::Micros;

/// A part of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restriction {
    /// Whose messages.
    pub reach: Reach,
    /// Only what was sent at this time or later.
    pub from: Option<Micros>,
    /// Only what was sent before this time.
    pub to: Option<Micros>,
}

/// Whose messages may be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// All.
    #[default]
    Everybody,
    /// Those in which one of these people took part, and those said in one of these rooms. Nobody and no room is nothing.
    Only {
        /// People, groups as the lists of their members, and domains.
        people: Vec<Pattern>,
        /// Rooms by their bare JIDs.
        rooms: Vec<String>,
    },
}

impl Restriction {
    /// Whether it leaves anything out.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
