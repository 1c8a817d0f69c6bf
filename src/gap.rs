//! Intervals in which messages of a node may have been missed: why, and what has become of them.
//!
//! Whoever notices a gap writes it into the spool, in order with what came before and after, or, where only the database shows it, the
//! writer makes the row itself. The numbers are those of the table `gaps`.

use crate::time::Micros;

/// What a node was about to send, and the difference of two clocks that are both set by NTP: a gap begins this much before the last sign of life.
pub const MARGIN: Micros = 2 * crate::time::SECOND;

/// One gap, as it is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it began, or earlier. None: when the last message arrived that is stored of that node; if there is none, there is no gap.
    pub from: Option<Micros>,
    /// When it was over, or later; none while it lasts.
    pub to: Option<Micros>,
    /// Why.
    pub reason: Reason,
    /// How many copies were lost, where that is known.
    pub lost: Option<u64>,
    /// What is particular to the reason, as a JSON object; empty where there is nothing.
    pub detail: String,
}

/// Why messages may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Reason {
    /// The connection to a node that queues nothing was lost.
    ConnectionLost = 1,
    /// Numbers are missing in the node's own queue.
    SequenceJump = 2,
    /// The node began a new queue; what waited in the old one may be lost.
    NewEpoch = 3,
    /// A stanza was larger than the limit.
    Oversize = 4,
    /// A record could not be stored and was set aside.
    Quarantined = 5,
    /// The spool was at its limit and set to drop.
    SpoolLimit = 6,
    /// The archiver did not run, and the node queues nothing.
    NotRunning = 7,
    /// Bytes of the spool were damaged on disk.
    SpoolDamaged = 8,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ConnectionLost,
        Self::SequenceJump,
        Self::NewEpoch,
        Self::Oversize,
        Self::Quarantined,
        Self::SpoolLimit,
        Self::NotRunning,
        Self::SpoolDamaged,
    ];

    /// The reason with this number.
    pub fn of(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as i16 == number)
    }

    /// The word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::ConnectionLost => "connection-lost",
            Self::SequenceJump => "sequence-jump",
            Self::NewEpoch => "new-epoch",
            Self::Oversize => "oversize",
            Self::Quarantined => "quarantined",
            Self::SpoolLimit => "spool-limit",
            Self::NotRunning => "not-running",
            Self::SpoolDamaged => "spool-damaged",
        }
    }

    /// What happened, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::ConnectionLost => "the connection was lost, and the node queues nothing meanwhile",
            Self::SequenceJump => "numbers are missing in the node's queue",
            Self::NewEpoch => "the node began a new queue; what waited in the old one may be lost",
            Self::Oversize => "a stanza was larger than max_stanza",
            Self::Quarantined => "a record could not be stored and was set aside",
            Self::SpoolLimit => "the spool was at its limit and set to drop",
            Self::NotRunning => "the archiver did not run, and the node queues nothing meanwhile",
            Self::SpoolDamaged => "bytes of the spool were damaged on disk",
        }
    }

    /// What an operator can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Quarantined => "run `xmpp-archiver quarantine retry --all`, after an upgrade or when the database takes it",
            Self::Oversize => {
                "raise max_stanza of the node, and fetch the message from the node's own archive with `xmpp-archiver backfill`"
            }
            _ => {
                "fetch what is missing from the node's own archive with `xmpp-archiver backfill`, or close the gap with `xmpp-archiver gaps close`"
            }
        }
    }
}

/// What has become of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum State {
    /// Nothing yet.
    Open = 1,
    /// All that the source holds was fetched.
    Backfilled = 2,
    /// Some of it was.
    Partly = 3,
    /// Somebody said that it can't be had.
    Unrecoverable = 4,
    /// Somebody closed it.
    Closed = 5,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Open, Self::Backfilled, Self::Partly, Self::Unrecoverable, Self::Closed];

    /// The state with this number.
    pub fn of(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i16 == number)
    }

    /// The word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Backfilled => "backfilled",
            Self::Partly => "partly",
            Self::Unrecoverable => "unrecoverable",
            Self::Closed => "closed",
        }
    }

    /// Whether somebody still has to do something.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Partly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_what_they_were() {
        assert!(Reason::ALL.into_iter().all(|reason| Reason::of(reason as i16) == Some(reason)));
        assert!(State::ALL.into_iter().all(|state| State::of(state as i16) == Some(state)));
        assert_eq!((Reason::of(0), State::of(6)), (None, None));
    }
}
