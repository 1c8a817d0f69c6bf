//! History from elsewhere: messages that the archiver did not see live, read from a node's own archive or from another product's.
//!
//! A [`Source`] gives [`Item`]s, in an order of its own that is the same each time, each with a [`Position`] to go on from. [`feed`] puts them
//! as records of their own kind ([`record`]) into a spool of their own, from where they take the same way as what is mirrored: read, normalised,
//! decided on by identity, stored. So a crash loses nothing, and whatever is read twice is stored once:
//!
//! - an item with the id that its archive gave it is the message with this id; without one it is the message with the same content that was said
//!   at about the same time (`identity`), and only else a new one, marked `via` backfill or import;
//! - rows that carry no id of any kind are told apart by what stands in the row, and by which of several equal rows it is;
//! - a message that came live gets no further delivery, only the archive's id; one that is known from history alone gets a delivery for
//!   each archive that holds it.
//!
//! Nothing here knows Diesel: databases of other programs are read through [`crate::store::foreign`].

pub mod compare;
pub mod csv;
pub mod ejabberd;
pub mod feed;
pub mod lua;
pub mod made;
pub mod mam;
pub mod marks;
pub mod place;
pub mod prosody;
pub mod prosody_files;
pub mod record;
pub mod sql;
pub mod table;
pub mod tables;
pub mod xep0227;

use crate::message::address::Address;
use crate::time::Micros;

/// Where a source stands: opaque to everybody but the source that gave it.
pub type Position = String;

/// From which side a message is seen in the archive that held it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// It can't be told.
    #[default]
    Unknown = 0,
    /// The archive's owner wrote it.
    Sent = 1,
    /// It reached the archive's owner.
    Received = 2,
}

/// How history came into the archive, with the numbers of `messages.via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Via {
    /// From another product, or from before the archiver was there.
    Import = 3,
    /// From the node's own archive, after an outage.
    Backfill = 4,
}

/// One message as another archive holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// A whole `<message/>` in `jabber:client`.
    pub stanza: Vec<u8>,
    /// When the archive says it was said.
    pub at: Micros,
    /// The bare JID of the account, room or server whose archive held it.
    pub archive: Option<String>,
    /// The stanza-id (XEP-0359) that this archive gave it.
    pub id: Option<String>,
    /// Seen from `archive`.
    pub direction: Direction,
    /// What names the row where there is no such id: the same whenever the same rows are read.
    pub row: Option<String>,
    /// The real JID of who wrote it, where the archive keeps that beside the stanza.
    pub sender: Option<String>,
    /// The writer's nick in the room, likewise.
    pub nick: Option<String>,
    /// The columns of the source as a JSON object, where there was no XML or where its JIDs are not in their normal form.
    pub original: Option<String>,
    /// Why it can't be understood: it goes to the quarantine then.
    pub fault: Option<String>,
    /// Why it is left out, and only counted.
    pub skip: Option<&'static str>,
}

impl Item {
    /// Which side of the message the owner of an archive is.
    pub fn seen_from(archive: &str, from: &str) -> Direction {
        if from.is_empty() {
            Direction::Unknown
        } else if Address::parse(from).bare == archive {
            Direction::Sent
        } else {
            Direction::Received
        }
    }
}

/// Which part of the time is wanted: from the first, up to and without the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Said at this time or later.
    pub from: Option<Micros>,
    /// Said before this time.
    pub to: Option<Micros>,
}

impl Interval {
    /// Whether the instant is in it.
    pub fn holds(&self, at: Micros) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }

    /// The same with so much more on both sides.
    pub fn widened(&self, by: Micros) -> Self {
        Self { from: self.from.map(|from| from.saturating_sub(by).max(0)), to: self.to.map(|to| to.saturating_add(by)) }
    }
}

/// Why a source gives nothing more, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It can't be reached or read now.
    #[error("{0}")]
    Unreachable(String),
    /// It is not what it should be, or the command line is mistaken.
    #[error("{0}")]
    Mistaken(String),
}

/// Something that holds messages.
pub trait Source: Send {
    /// The next items, at most so many; none at the end. Each comes with the position behind it.
    fn next(&mut self, most: usize) -> impl Future<Output = Result<Vec<(Position, Item)>, SourceError>> + Send;

    /// How many items there are from the beginning to the end, where that can be told at little cost.
    fn total(&mut self) -> impl Future<Output = Result<Option<u64>, SourceError>> + Send {
        async { Ok(None) }
    }

    /// Whether it is known to be a part of what the node keeps.
    fn is_partial(&self) -> bool {
        false
    }

    /// What of it could not be read, in words.
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }

    /// What this source can't hold, for whoever judges whether a gap is closed.
    fn lacks(&self) -> &'static str;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_half_open() {
        let interval = Interval { from: Some(10), to: Some(20) };
        assert_eq!([9, 10, 19, 20].map(|at| interval.holds(at)), [false, true, true, false]);
        assert_eq!(interval.widened(15), Interval { from: Some(0), to: Some(35) });
        assert!(Interval::default().holds(i64::MIN));
    }

    #[test]
    fn the_owner_of_an_archive_has_sent_or_received() {
        assert_eq!(Item::seen_from("alice@h", "Alice@H/desk"), Direction::Sent);
        assert_eq!(Item::seen_from("bob@h", "alice@h/desk"), Direction::Received);
        assert_eq!(Item::seen_from("bob@h", ""), Direction::Unknown);
    }
}
