//! What can be said to `search` and `show`, and the conditions that `export` takes as well.

use std::num::NonZeroU64;

use clap::{Args, ValueEnum};
use jid::BareJid;

use super::args::{MessageFormat, PageArgs, TimeArgs, bare_jid};
use crate::retrieve::{ENCRYPTED_KIND, Pattern};

/// The conditions of `search` and `export`.
#[derive(Args, Debug, Default)]
pub struct Filter {
    /// What the body or the subject says; see above for what can be written
    #[arg(value_name = "TEXT")]
    pub text: Vec<String>,
    /// Take TEXT for parts of the text that are found anywhere, also within words; slow in a large archive
    #[arg(long)]
    pub substring: bool,
    /// Who wrote or got it, in a room too: a JID, a domain, or either with *; several: all of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub participant: Vec<Pattern>,
    /// The same; several: any of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub any_participant: Vec<Pattern>,
    /// Who wrote it; several: any of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub sender: Vec<Pattern>,
    /// Who was to get it or got it; several: any of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub recipient: Vec<Pattern>,
    /// The room in which it was said; several: any of them
    #[arg(long, value_name = "JID", value_parser = bare_jid)]
    pub room: Vec<BareJid>,
    /// The archive's id of the message, or one of its stanza ids
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub id: Option<String>,
    /// What kind of record it is; several: any of them
    #[arg(long, value_enum, value_name = "KIND")]
    pub kind: Vec<Kind>,
    /// Which way it went; several: any of them
    #[arg(long, value_enum, value_name = "WAY")]
    pub direction: Vec<Direction>,
    /// The node that mirrored it first; several: any of them
    #[arg(long, value_name = "NAME")]
    pub node: Vec<String>,
    /// What it has; several: all of them
    #[arg(long, value_enum, value_name = "WHAT")]
    pub has: Vec<Has>,
    /// Only what is encrypted end to end
    #[arg(long)]
    pub encrypted: bool,
    /// Include receipts, markers and chat states
    #[arg(long)]
    pub all: bool,
}

/// `search`.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// Which messages.
    #[command(flatten)]
    pub filter: Filter,
    /// When.
    #[command(flatten)]
    pub time: TimeArgs,
    /// In which order.
    #[command(flatten)]
    pub page: PageArgs,
    /// What comes first: what --order says of the time, or what fits TEXT best (among the newest 2000 that do)
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Only say how many there are: counted up to 10,000, beyond that estimated
    #[arg(long, conflicts_with_all = ["after", "context", "xml"])]
    pub count: bool,
    /// Show so many messages before and after each that is found; not in csv
    #[arg(long, value_name = "N", conflicts_with = "xml")]
    pub context: Option<usize>,
    /// The most messages to print
    #[arg(long, value_name = "N", default_value = "50")]
    pub limit: NonZeroU64,
    /// How they are written
    #[arg(long, value_enum, default_value_t)]
    pub format: MessageFormat,
    /// Add the original stanza, passwords of rooms redacted; not in a table
    #[arg(long)]
    pub xml: bool,
    /// The store, if several are configured
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// `show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A room's JID, or the two JIDs of a conversation between two people; or the name of a conversation as `search` shows it
    #[arg(required_unless_present = "id", conflicts_with = "id", num_args = 1..=2, value_name = "CONVERSATION")]
    pub conversation: Vec<String>,
    /// One message instead, by the archive's id: its versions, who got it, who was in the room, and what was said around it
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub id: Option<i64>,
    /// With --id: how many messages before and after it are shown
    #[arg(long, value_name = "N", default_value_t = 3, requires = "id")]
    pub context: usize,
    /// When.
    #[command(flatten)]
    pub time: TimeArgs,
    /// In which order.
    #[command(flatten)]
    pub page: PageArgs,
    /// The most messages to print
    #[arg(long, value_name = "N", default_value = "50")]
    pub limit: NonZeroU64,
    /// How they are written
    #[arg(long, value_enum, default_value_t)]
    pub format: MessageFormat,
    /// Include receipts, markers and chat states
    #[arg(long)]
    pub all: bool,
    /// Add the original stanza, passwords of rooms redacted; not in a table
    #[arg(long)]
    pub xml: bool,
    /// Tell who was in the room, too
    #[arg(long)]
    pub occupants: bool,
    /// The store, if several are configured
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// In the order of time
    #[default]
    Time,
    /// What fits best
    Relevance,
}

/// Which way a message went; the numbers are those of `messages.direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(i16)]
pub enum Direction {
    /// From elsewhere to a user here
    Incoming = 1,
    /// From a user here to elsewhere
    Outgoing = 2,
    /// Between users here
    Internal = 3,
    /// Not known
    Unknown = 0,
}

/// What a message can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Has {
    /// A file that was shared
    #[value(alias = "attachment")]
    File,
    /// A link in its text
    Link,
}

/// The kinds of record; the numbers are those of `messages.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(i16)]
pub enum Kind {
    /// A message with a body
    Message = 1,
    /// A room's subject
    Subject = 2,
    /// A correction (XEP-0308)
    #[value(alias = "edit")]
    Correction = 3,
    /// A retraction (XEP-0424)
    Retraction = 4,
    /// A retraction by a moderator (XEP-0425)
    Moderation = 5,
    /// A reaction (XEP-0444)
    Reaction = 6,
    /// An invitation to a room
    Invitation = 7,
    /// A declined invitation
    InvitationDeclined = 8,
    /// The start or end of a call (XEP-0353)
    Call = 9,
    /// A delivery receipt (XEP-0184)
    Receipt = 10,
    /// A read marker (XEP-0333)
    Marker = 11,
    /// "Is typing" and the like (XEP-0085)
    ChatState = 12,
    /// A link to a file (XEP-0066, XEP-0447)
    File = 13,
    /// A reply (XEP-0461)
    Reply = 14,
    /// What could not be read, kept as received
    Unreadable = 99,
    /// Whatever is encrypted, of any kind
    Encrypted = ENCRYPTED_KIND,
}

impl Kind {
    /// The number in `messages.kind`.
    pub fn code(self) -> i16 {
        self as i16
    }
}
