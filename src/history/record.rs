//! An item of history as the payload of a spool record of kind 6.
//!
//! Layout, little-endian: via `u8`, direction `u8`, when it was said `i64` (microseconds), then seven texts (archive, id, row, sender, nick, original,
//! fault), each as its length `u32` (4,294,967,295: none) and its bytes, then the stanza to the end. As all formats of the spool this one
//! is never changed.

use std::ops::Range;

use super::{Direction, Item, Via};
use crate::time::Micros;

const NONE: u32 = u32::MAX;
const HEAD_BYTES: usize = 10;

/// An item, borrowed from the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past<'r> {
    /// How it came.
    pub via: Via,
    /// Seen from the archive that held it.
    pub direction: Direction,
    /// When it was said.
    pub at: Micros,
    /// See [`Item`].
    pub archive: Option<&'r str>,
    /// See [`Item`].
    pub id: Option<&'r str>,
    /// See [`Item`].
    pub row: Option<&'r str>,
    /// See [`Item`].
    pub sender: Option<&'r str>,
    /// See [`Item`].
    pub nick: Option<&'r str>,
    /// See [`Item`].
    pub original: Option<&'r str>,
    /// See [`Item`].
    pub fault: Option<&'r str>,
    /// The stanza.
    pub stanza: &'r [u8],
    /// Where in the payload the stanza stands.
    pub range: Range<usize>,
}

/// The payload of an item's record.
pub fn encode(item: &Item, via: Via) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 128 + item.stanza.len());
    bytes.extend([via as u8, item.direction as u8]);
    bytes.extend(item.at.to_le_bytes());
    for text in [&item.archive, &item.id, &item.row, &item.sender, &item.nick, &item.original, &item.fault] {
        match text {
            Some(text) => {
                bytes.extend((text.len() as u32).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            None => bytes.extend(NONE.to_le_bytes()),
        }
    }
    bytes.extend(&item.stanza);
    bytes
}

/// Reads a payload; none if it is none.
pub fn decode(payload: &[u8]) -> Option<Past<'_>> {
    let (head, mut rest) = payload.split_at_checked(HEAD_BYTES)?;
    let (&[via, direction], at) = head.split_first_chunk::<2>()?;
    let mut texts = [None; 7];
    for text in &mut texts {
        let (length, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        let length = u32::from_le_bytes(*length);
        if length != NONE {
            let (bytes, after) = rest.split_at_checked(length as usize)?;
            *text = Some(std::str::from_utf8(bytes).ok()?);
            rest = after;
        }
    }
    let [archive, id, row, sender, nick, original, fault] = texts;
    Some(Past {
        via: match via {
            3 => Via::Import,
            4 => Via::Backfill,
            _ => return None,
        },
        direction: match direction {
            1 => Direction::Sent,
            2 => Direction::Received,
            _ => Direction::Unknown,
        },
        at: Micros::from_le_bytes(at.try_into().ok()?),
        archive,
        id,
        row,
        sender,
        nick,
        original,
        fault,
        stanza: rest,
        range: payload.len() - rest.len()..payload.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Item {
        Item {
            stanza: b"<message/>".to_vec(),
            at: 1_795_332_535_173_794,
            archive: Some("alice@h".into()),
            id: Some("17".into()),
            direction: Direction::Received,
            nick: Some(String::new()),
            original: Some("{}".into()),
            ..Item::default()
        }
    }

    #[test]
    fn an_item_comes_back_as_it_was() {
        let bytes = encode(&item(), Via::Backfill);
        let past = decode(&bytes).unwrap();
        assert_eq!((past.via, past.direction, past.at), (Via::Backfill, Direction::Received, 1_795_332_535_173_794));
        assert_eq!((past.archive, past.id, past.row, past.sender), (Some("alice@h"), Some("17"), None, None));
        assert_eq!((past.nick, past.original, past.fault), (Some(""), Some("{}"), None));
        assert_eq!((past.stanza, &bytes[past.range.clone()]), (&b"<message/>"[..], &b"<message/>"[..]));
    }

    #[test]
    fn what_is_no_item_is_refused() {
        let bytes = encode(&item(), Via::Import);
        for cut in 0..bytes.len() - 10 {
            assert_eq!(decode(&bytes[..cut]), None, "{cut}");
        }
        let mut other = bytes.clone();
        other[0] = 9;
        assert_eq!(decode(&other), None);
    }
}
