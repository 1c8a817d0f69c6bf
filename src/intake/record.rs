//! A record of the spool as bytes: what the intake knew, then the stanza as it came.
//!
//! Layout, little-endian: format `u8` (1), kind `u8`, arrival `i64` (microseconds), sessions `u16` (65,535: not known), length of the node's name
//! `u16`, the name, the payload to the end. Kind 1: the payload is a stanza. Kind 2: it is `0` or `1` (persistent) and a room's JID.
//! Kind 3: a stanza that was too large, of which only the head was kept: length of the text `u16`, the text that says so, the head.
//! Kind 6: an item of history from elsewhere ([`crate::history::record`]).
//! Kind 4: a gap: reason `u8`, begin `i64`, end `i64`, copies lost `u64` (the lowest `i64`, the highest `u64`: not known), details to the end.
//! Kind 7: a numbered copy that is not worth keeping, so that its number is not missed: number `u64`, time `i64`, length of the reason `u16`, the
//! reason, the epoch. Kind 5: counts of what never came here: one after the other day `i32`, state `u8`, count `u64`, length of the reason `u16`, the reason.
//! Kind 8: a stanza that came shortly after the clock was set: by how much `i64`, what it
//! showed when that was noticed `i64`, then the stanza.
//! A format is never changed; a new one gets a new number, and the old ones stay readable.

use std::ops::Range;

use crate::gap::{Gap, Reason};
use crate::store::batch::Queued;
use crate::tally::{Count, State};
use crate::time::{ClockStep, Micros};

const FORMAT: u8 = 1;
const STANZA: u8 = 1;
const ROOM_KIND: u8 = 2;
const OVERSIZE: u8 = 3;
const HISTORY: u8 = 6;
const GAP: u8 = 4;
const TALLY: u8 = 5;
const PASSED: u8 = 7;
const UNKNOWN_TIME: i64 = i64::MIN;
const UNKNOWN_COUNT: u64 = u64::MAX;
const STEPPED: u8 = 8;
/// How and when the clock was set.
const STEP_BYTES: usize = 16;
const UNKNOWN_SESSIONS: u16 = u16::MAX;
/// Everything before the node's name.
const HEAD_BYTES: usize = 14;

/// A record, borrowed from where its parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'r> {
    /// The node's name.
    pub node: &'r str,
    /// When it arrived.
    pub arrived_at: Micros,
    /// How many of the recipient's sessions were to receive it, where known.
    pub sessions: Option<u16>,
    /// How the clock was set shortly before it arrived, if it was.
    pub step: Option<ClockStep>,
    /// What it holds.
    pub payload: Payload<'r>,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'r> {
    /// A stanza, and where in the record it stands.
    Stanza(&'r [u8], Range<usize>),
    /// A room was said to be persistent or not.
    RoomKind {
        /// The room's JID.
        room: &'r str,
        /// Whether it stays when everybody has left.
        persistent: bool,
    },
    /// A stanza over the size limit, which is lost.
    Oversize {
        /// What was lost, whose and how large.
        text: &'r str,
        /// Its first bytes.
        head: &'r [u8],
    },
    /// An item of history, as [`crate::history::record`] has it, and where in the record it stands.
    History(&'r [u8], Range<usize>),
    /// Messages of the node may have been missed.
    Gap(Gap),
    /// A copy from the node's own queue that is not worth keeping.
    Passed {
        /// Its number.
        sequence: u64,
        /// When the node handled it.
        at: Micros,
        /// Why it is not kept.
        reason: &'r str,
        /// The queue.
        epoch: &'r str,
    },
    /// What was counted and not spooled.
    Tally(Vec<Count<&'r str>>),
}

impl<'r> Record<'r> {
    /// A stanza from `node`.
    pub fn stanza(node: &'r str, arrived_at: Micros, sessions: Option<u16>, stanza: &'r [u8]) -> Self {
        let start = HEAD_BYTES + node.len();
        Self { node, arrived_at, sessions, step: None, payload: Payload::Stanza(stanza, start..start + stanza.len()) }
    }

    /// The same shortly after the clock was set, if it was.
    pub fn after(self, step: Option<ClockStep>) -> Self {
        let payload = match self.payload {
            Payload::Stanza(stanza, range) if step.is_some() => Payload::Stanza(stanza, range.start + STEP_BYTES..range.end + STEP_BYTES),
            other => return Self { payload: other, ..self },
        };
        Self { step, payload, ..self }
    }

    /// What `node` let know about a room.
    pub fn room_kind(node: &'r str, arrived_at: Micros, room: &'r str, persistent: bool) -> Self {
        Self { node, arrived_at, sessions: None, step: None, payload: Payload::RoomKind { room, persistent } }
    }

    /// A stanza that was too large for `node`'s limit.
    pub fn oversize(node: &'r str, arrived_at: Micros, text: &'r str, head: &'r [u8]) -> Self {
        Self { node, arrived_at, sessions: None, step: None, payload: Payload::Oversize { text, head } }
    }

    /// An item of history that belongs to `node`, read at `read_at`.
    pub fn history(node: &'r str, read_at: Micros, item: &'r [u8]) -> Self {
        let start = HEAD_BYTES + node.len();
        Self { node, arrived_at: read_at, sessions: None, step: None, payload: Payload::History(item, start..start + item.len()) }
    }

    /// A gap in what came from `node`.
    pub fn gap(node: &'r str, arrived_at: Micros, gap: Gap) -> Self {
        Self { node, arrived_at, sessions: None, step: None, payload: Payload::Gap(gap) }
    }

    /// The number of a copy from `node` that is not kept.
    pub fn passed(node: &'r str, arrived_at: Micros, queued: &'r Queued, reason: &'r str) -> Self {
        let payload = Payload::Passed { sequence: queued.sequence, at: queued.at.unwrap_or(arrived_at), reason, epoch: &queued.epoch };
        Self { node, arrived_at, sessions: None, step: None, payload }
    }

    /// Counts of what came from `node` and was not spooled.
    pub fn tally(node: &'r str, arrived_at: Micros, counts: Vec<Count<&'r str>>) -> Self {
        Self { node, arrived_at, sessions: None, step: None, payload: Payload::Tally(counts) }
    }

    /// The bytes that go into the spool.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, prefix, payload): (u8, Vec<u8>, &[u8]) = match &self.payload {
            Payload::Stanza(stanza, _) => match self.step {
                Some(step) => (STEPPED, [step.by.to_le_bytes(), step.noticed_at.to_le_bytes()].concat(), stanza),
                None => (STANZA, Vec::new(), stanza),
            },
            Payload::RoomKind { room, persistent } => (ROOM_KIND, vec![b'0' + u8::from(*persistent)], room.as_bytes()),
            Payload::Oversize { text, head } => (OVERSIZE, [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat(), head),
            Payload::History(item, _) => (HISTORY, Vec::new(), item),
            Payload::Gap(gap) => (GAP, gap_bytes(gap), gap.detail.as_bytes()),
            Payload::Passed { sequence, at, reason, epoch } => (PASSED, passed_bytes(*sequence, *at, reason), epoch.as_bytes()),
            Payload::Tally(counts) => (TALLY, counts.iter().flat_map(count_bytes).collect(), &[]),
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.node.len() + prefix.len() + payload.len());
        bytes.extend([FORMAT, kind]);
        bytes.extend(self.arrived_at.to_le_bytes());
        bytes.extend(self.sessions.map_or(UNKNOWN_SESSIONS, |sessions| sessions.min(UNKNOWN_SESSIONS - 1)).to_le_bytes());
        bytes.extend((self.node.len() as u16).to_le_bytes());
        bytes.extend(self.node.as_bytes());
        bytes.extend(prefix);
        bytes.extend(payload);
        bytes
    }

    /// Reads a record; none if it is not of a known format.
    pub fn decode(bytes: &'r [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let (start, numbers) = head.split_at_checked(2)?;
        let arrived_at = Micros::from_le_bytes(numbers.get(..8)?.try_into().ok()?);
        let sessions = u16::from_le_bytes(numbers.get(8..10)?.try_into().ok()?);
        let name_bytes = usize::from(u16::from_le_bytes(numbers.get(10..12)?.try_into().ok()?));
        let (name, payload) = rest.split_at_checked(name_bytes)?;
        let mut step = None;
        let payload = match start {
            [FORMAT, STANZA] => Payload::Stanza(payload, HEAD_BYTES + name_bytes..bytes.len()),
            [FORMAT, STEPPED] => {
                let (numbers, stanza) = payload.split_at_checked(STEP_BYTES)?;
                let number = |from: usize| Some(Micros::from_le_bytes(numbers.get(from..from + 8)?.try_into().ok()?));
                step = Some(ClockStep { by: number(0)?, noticed_at: number(8)? });
                Payload::Stanza(stanza, HEAD_BYTES + name_bytes + STEP_BYTES..bytes.len())
            }
            [FORMAT, ROOM_KIND] => {
                let (flag, room) = payload.split_first()?;
                Payload::RoomKind { room: std::str::from_utf8(room).ok()?, persistent: *flag == b'1' }
            }
            [FORMAT, OVERSIZE] => {
                let (length, rest) = payload.split_at_checked(2)?;
                let (text, head) = rest.split_at_checked(usize::from(u16::from_le_bytes(length.try_into().ok()?)))?;
                Payload::Oversize { text: std::str::from_utf8(text).ok()?, head }
            }
            [FORMAT, HISTORY] => Payload::History(payload, HEAD_BYTES + name_bytes..bytes.len()),
            [FORMAT, GAP] => Payload::Gap(read_gap(payload)?),
            [FORMAT, PASSED] => read_passed(payload)?,
            [FORMAT, TALLY] => Payload::Tally(read_counts(payload)?),
            _ => return None,
        };
        let sessions = (sessions != UNKNOWN_SESSIONS).then_some(sessions);
        Some(Self { node: std::str::from_utf8(name).ok()?, arrived_at, sessions, step, payload })
    }
}

fn gap_bytes(gap: &Gap) -> Vec<u8> {
    let mut bytes = vec![gap.reason as u8];
    bytes.extend(gap.from.unwrap_or(UNKNOWN_TIME).to_le_bytes());
    bytes.extend(gap.to.unwrap_or(UNKNOWN_TIME).to_le_bytes());
    bytes.extend(gap.lost.unwrap_or(UNKNOWN_COUNT).to_le_bytes());
    bytes
}

fn read_gap(payload: &[u8]) -> Option<Gap> {
    let (reason, rest) = payload.split_first()?;
    let (from, rest) = rest.split_first_chunk()?;
    let (to, rest) = rest.split_first_chunk()?;
    let (lost, detail) = rest.split_first_chunk()?;
    let time = |bytes: &[u8; 8]| Some(i64::from_le_bytes(*bytes)).filter(|time| *time != UNKNOWN_TIME);
    Some(Gap {
        from: time(from),
        to: time(to),
        reason: Reason::of(i16::from(*reason))?,
        lost: Some(u64::from_le_bytes(*lost)).filter(|lost| *lost != UNKNOWN_COUNT),
        detail: std::str::from_utf8(detail).ok()?.to_owned(),
    })
}

fn passed_bytes(sequence: u64, at: Micros, reason: &str) -> Vec<u8> {
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.extend(at.to_le_bytes());
    bytes.extend((reason.len() as u16).to_le_bytes());
    bytes.extend(reason.as_bytes());
    bytes
}

fn read_passed(payload: &[u8]) -> Option<Payload<'_>> {
    let (sequence, rest) = payload.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (reason, epoch) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let (sequence, at) = (u64::from_le_bytes(*sequence), i64::from_le_bytes(*at));
    Some(Payload::Passed { sequence, at, reason: text(reason)?, epoch: text(epoch)? })
}

fn count_bytes(count: &Count<&str>) -> Vec<u8> {
    let mut bytes = count.day.to_le_bytes().to_vec();
    bytes.push(count.state as u8);
    bytes.extend(count.count.to_le_bytes());
    bytes.extend((count.reason.len() as u16).to_le_bytes());
    bytes.extend(count.reason.as_bytes());
    bytes
}

fn read_counts(mut payload: &[u8]) -> Option<Vec<Count<&str>>> {
    let mut counts = Vec::new();
    while !payload.is_empty() {
        let (day, rest) = payload.split_first_chunk()?;
        let (state, rest) = rest.split_first()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (reason, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let (day, state, count) = (i32::from_le_bytes(*day), State::of(i16::from(*state))?, u64::from_le_bytes(*count));
        counts.push(Count { day, state, reason: std::str::from_utf8(reason).ok()?, count });
        payload = rest;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        for record in [
            Record::stanza("main", 1_795_332_535_173_794, Some(3), b"<message/>"),
            Record::stanza("main", 5, Some(3), b"<message/>").after(Some(ClockStep { by: -3_600_000_000, noticed_at: 4 })),
            Record::stanza("main", 5, Some(3), b"<message/>").after(None),
            Record::stanza("", -1, None, b""),
            Record::room_kind("main", 5, "room@muc.example", true),
            Record::room_kind("main", 5, "room@muc.example", false),
            Record::oversize("main", 5, "too large", b"<message to='"),
            Record::history("main", 5, b"any bytes"),
            Record::gap("main", 5, Gap { from: Some(-3), to: None, reason: Reason::SpoolDamaged, lost: Some(7), detail: "{}".to_owned() }),
            Record::gap("main", 5, Gap { from: None, to: Some(9), reason: Reason::ConnectionLost, lost: None, detail: String::new() }),
            Record::tally(
                "main",
                5,
                vec![
                    Count { day: 20_779, state: State::Skipped, reason: "iq", count: 70_000 },
                    Count { day: -1, state: State::Forged, reason: "", count: 1 },
                ],
            ),
            Record::tally("main", 5, Vec::new()),
            Record::passed("main", 5, &Queued { epoch: "é".to_owned(), sequence: 9, at: Some(4) }, "presence"),
        ] {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert_eq!(Record::decode(b""), None);
        assert_eq!(Record::decode(&[0; 40]), None);
        let cut = Record::stanza("a long name", 1, None, b"").encode();
        assert_eq!(Record::decode(&cut[..HEAD_BYTES + 3]), None);
        let counts = vec![Count { day: 1, state: State::Lost, reason: "why", count: 1 }];
        for whole in [
            Record::tally("", 1, counts).encode(),
            Record::gap("", 1, Gap { from: None, to: None, reason: Reason::NewEpoch, lost: None, detail: String::new() }).encode(),
        ] {
            assert!((HEAD_BYTES + 1..whole.len()).all(|end| Record::decode(&whole[..end]).is_none()));
        }
    }
}
