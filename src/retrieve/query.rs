//! What can be asked of an archive: one type for the command line, for pages and for exports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::people::People;
use crate::message::address::Address;
use crate::time::Micros;
use crate::words::Text;

/// The most messages of one page; whoever wants more goes on after the page's cursor.
pub const MAX_PAGE: usize = 500;
/// The most participants that one query names.
pub const MAX_PARTICIPANTS: usize = 50;
/// The most people, rooms and nodes that one query names.
pub const MAX_NAMED: usize = 500;
/// Stands among kinds for whatever is encrypted.
pub const ENCRYPTED_KIND: i16 = -1;
/// The most words that one query names.
pub const MAX_WORDS: usize = 50;
/// The longest word: databases limit the length of a pattern, SQLite to 50,000 bytes.
pub const MAX_WORD_BYTES: usize = 1_000;

/// The most messages that one query names as late ([`Query::late`]).
pub const MAX_LATE: usize = 10_000;

/// Kinds that say nothing and are left out unless asked for: receipts, markers, chat states.
pub(crate) const SILENT_KINDS: [i16; 3] = [10, 11, 12];

/// Which messages. All conditions must hold; the default finds everything that says something, the oldest first.
///
/// As JSON it is what was asked for, without how it is paged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Texts that the body or the subject holds, each in any place, also within a word. Upper and lower case are the same.
    pub text: Vec<String>,
    /// Words, as somebody typed them.
    pub words: Option<Text>,
    /// People who took part, each of these in some way.
    pub people: Vec<People>,
    /// Rooms in which it was said: any of them. None means all.
    pub rooms: Vec<String>,
    /// Numbers of directions (`messages.direction`): any of them. None means all.
    pub directions: Vec<i16>,
    /// Names of nodes that mirrored it first: any of them. None means all.
    pub nodes: Vec<String>,
    /// Whether its content is encrypted.
    pub encrypted: Option<bool>,
    /// Only what has a file attached, or links to one that was shared.
    pub has_file: bool,
    /// Only what has a link in its text.
    pub has_link: bool,
    /// People who sent or got it, in a conversation between two or in a room; all of them.
    #[serde(with = "addresses")]
    pub participants: Vec<Address>,
    /// The room in which it was said, by its bare JID.
    pub room: Option<String>,
    /// The conversation by its exact name.
    pub conversation: Option<String>,
    /// Sent at this time or later.
    #[serde(with = "instant")]
    pub from: Option<Micros>,
    /// Sent before this time.
    #[serde(with = "instant")]
    pub to: Option<Micros>,
    /// The archive's number of it, or one of the ids that its stanza had.
    pub id: Option<String>,
    /// Numbers of kinds (`messages.kind`), and [`ENCRYPTED_KIND`]: any of them. None means all that say something.
    pub kinds: Vec<i16>,
    /// Only records that refer to one of these messages; none means all.
    pub refers_to: Vec<i64>,
    /// Include what says nothing: receipts, markers, chat states.
    pub all: bool,
    /// Only messages with a higher number than this.
    pub newer_than: Option<i64>,
    /// Messages with these numbers as well, although they are not newer than that.
    pub late: Vec<i64>,
    /// Only messages with this number or a lower one. Numbers are given in the order of commits, so this fixes what is found.
    pub newest: Option<i64>,
    /// Go on after this place.
    #[serde(skip)]
    pub after: Option<Cursor>,
    /// In which order.
    #[serde(skip)]
    pub order: Order,
    /// What fits best first, in place of the order of time. Needs [`Query::words`].
    #[serde(skip)]
    pub by_relevance: bool,
    /// The most messages of a page, at most [`MAX_PAGE`].
    #[serde(skip)]
    pub limit: usize,
    /// Whether the original stanza is wanted.
    #[serde(skip)]
    pub with_xml: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            words: None,
            people: Vec::new(),
            rooms: Vec::new(),
            directions: Vec::new(),
            nodes: Vec::new(),
            encrypted: None,
            has_file: false,
            has_link: false,
            by_relevance: false,
            participants: Vec::new(),
            room: None,
            conversation: None,
            from: None,
            to: None,
            id: None,
            kinds: Vec::new(),
            refers_to: Vec::new(),
            all: false,
            newer_than: None,
            late: Vec::new(),
            newest: None,
            after: None,
            order: Order::Ascending,
            limit: MAX_PAGE,
            with_xml: false,
        }
    }
}

impl Query {
    /// What is wrong with it, in words for whoever asked.
    ///
    /// # Errors
    /// When a limit is exceeded, or a JID or word is empty.
    pub fn check(&self) -> Result<(), String> {
        if self.participants.len() > MAX_PARTICIPANTS {
            return Err(format!("names more than {MAX_PARTICIPANTS} participants"));
        }
        let named = self.people.iter().map(|people| people.any.len()).sum::<usize>() + self.rooms.len() + self.nodes.len();
        if named > MAX_NAMED || self.people.len() > MAX_PARTICIPANTS {
            return Err(format!("names more than {MAX_NAMED} people, rooms and nodes"));
        }
        if self.late.len() > MAX_LATE {
            return Err(format!("names more than {MAX_LATE} late messages"));
        }
        if self.by_relevance && self.words.as_ref().is_none_or(Text::is_empty) {
            return Err("asks for what fits best, and names no words".to_owned());
        }
        if self.text.len() > MAX_WORDS {
            return Err(format!("names more than {MAX_WORDS} words"));
        }
        match self.text.iter().find(|word| word.is_empty() || word.len() > MAX_WORD_BYTES || word.contains('\0')) {
            Some(_) => Err(format!("a word must have 1 to {MAX_WORD_BYTES} bytes")),
            None => Ok(()),
        }
    }
}

/// JIDs as texts.
mod addresses {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Address;

    pub(super) fn serialize<S: Serializer>(addresses: &[Address], out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(addresses.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Address>, D::Error> {
        Ok(Vec::<String>::deserialize(input)?.iter().map(|text| Address::parse(text)).collect())
    }
}

/// An instant as RFC 3339.
mod instant {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::time::{Micros, parse_stamp, rfc3339};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(at: &Option<Micros>, out: S) -> Result<S::Ok, S::Error> {
        at.map(rfc3339).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Micros>, D::Error> {
        let Some(text) = Option::<String>::deserialize(input)? else { return Ok(None) };
        // A time beyond the calendar is written as its number.
        let at = parse_stamp(&text).or_else(|| text.parse().ok());
        at.map(Some).ok_or_else(|| D::Error::custom(format!("\"{text}\" is no time")))
    }
}

/// The order by time sent, then by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    #[default]
    Ascending,
    /// The newest first.
    Descending,
}

/// A place in the order: that of one message. Printed and read back as one word without meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the message was sent.
    pub sent_at: Micros,
    /// Its number.
    pub id: i64,
    /// Its place by how well it fits, where that is the order.
    pub rank: Option<Rank>,
}

/// A place in the order of what fits best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// How well the message fits.
    pub score: i64,
    /// The newest message when the first page was made: what came since is not put in order among the others.
    pub as_of: i64,
}

impl Cursor {
    /// A place in the order of time.
    pub fn new(sent_at: Micros, id: i64) -> Self {
        Self { sent_at, id, rank: None }
    }

    /// Whether it stands behind another one.
    pub(crate) fn is_behind(&self, other: &Self, order: Order) -> bool {
        match order {
            Order::Ascending => (self.sent_at, self.id) > (other.sent_at, other.id),
            Order::Descending => (self.sent_at, self.id) < (other.sent_at, other.id),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.sent_at, self.id)?;
        match self.rank {
            Some(Rank { score, as_of }) => write!(out, ":{score}:{as_of}"),
            None => Ok(()),
        }
    }
}

/// A text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no cursor: it must be one that a page before named")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let numbers: Result<Vec<i64>, _> = text.trim().split(':').map(str::parse).collect();
        match numbers.or(Err(CursorError))?.as_slice() {
            [sent_at, id] => Ok(Self::new(*sent_at, *id)),
            [sent_at, id, score, as_of] => Ok(Self { sent_at: *sent_at, id: *id, rank: Some(Rank { score: *score, as_of: *as_of }) }),
            _ => Err(CursorError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_printed() {
        let ranked = Cursor { rank: Some(Rank { score: 7, as_of: 9 }), ..Cursor::new(1, 2) };
        for cursor in [Cursor::new(1_795_332_536_173_794, 17), Cursor::new(-5, i64::MAX), ranked] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", ":", "1", "1:", "1:a", "1:2:3"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }

    #[test]
    fn as_json_it_is_read_as_it_was_written() {
        let query = Query {
            text: vec!["a".to_owned()],
            participants: vec![Address::parse("a@b/C"), Address::parse("d@e")],
            from: Some(1_795_332_536_173_794),
            to: Some(i64::MAX),
            newest: Some(7),
            ..Query::default()
        };
        let json = serde_json::to_value(&query).unwrap();
        assert_eq!((&json["participants"][0], &json["from"]), (&"a@b/C".into(), &"2026-11-22T07:28:56.173794Z".into()));
        let read: Query = serde_json::from_value(json).unwrap();
        assert_eq!(Query { limit: MAX_PAGE, ..read }, query);
        assert!(serde_json::from_str::<Query>(r#"{"from":"soon"}"#).is_err());
    }

    #[test]
    fn limits_are_kept() {
        assert_eq!(Query::default().check(), Ok(()));
        for text in [vec![String::new()], vec!["a".repeat(MAX_WORD_BYTES + 1)], vec!["a".to_owned(); MAX_WORDS + 1]] {
            assert!(Query { text, ..Query::default() }.check().is_err());
        }
        let participants = vec![Address::parse("a@b"); MAX_PARTICIPANTS + 1];
        assert!(Query { participants, ..Query::default() }.check().is_err());
    }
}
