//! A small firm's week of conversation, as the component port delivers it, with the truth beside it.
//!
//! [`Corpus::new`] performs the play of [`week`] on the [`stage`], which expands each thing that somebody says into the
//! copies that ejabberd's `mod_service_log` mirrors of it: the sent copy, one per receiving session, carbons, late copies after
//! an offline spell, the room's copies and its history for whoever joins later, and all the presence and iq around them.
//! The same start and pace give the same bytes. Because the stage writes the copies, it knows which of them are one message:
//! the demonstration and the tests hold the archive's answer against [`Corpus::messages`].
//!
//! All people, names and sentences are invented, and the domains are reserved for documentation (RFC 2606).

pub mod draft;
pub mod stage;
mod week;

use stage::Stage;

/// Microseconds since the Unix epoch, UTC.
type Micros = i64;

/// The server's host.
pub const HOST: &str = "lindqvist.example";
/// The server's room service.
pub const ROOMS: &str = "rooms.lindqvist.example";
/// The archive's component domain.
pub const COMPONENT: &str = "archive.lindqvist.example";

/// What a message is: the names are those of the archive's message kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is named for what it is")]
pub enum Kind {
    Message,
    Subject,
    Correction,
    Retraction,
    Reaction,
    Invitation,
    InvitationDeclined,
    File,
    Reply,
}

impl Kind {
    /// The kind's name as `search --format jsonl` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Subject => "subject",
            Self::Correction => "correction",
            Self::Retraction => "retraction",
            Self::Reaction => "reaction",
            Self::Invitation => "invitation",
            Self::InvitationDeclined => "invitation-declined",
            Self::File => "file",
            Self::Reply => "reply",
        }
    }
}

/// How a copy came to be mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Sent by, or delivered to, a session.
    Direct,
    /// A carbon (XEP-0280) for another session of either side.
    Carbon,
    /// Delivered after the recipient came back, with the original's time stamp (XEP-0203).
    Late,
    /// Room history for somebody who joined later (XEP-0045 section 7.2.13).
    History,
    /// On its way into a room.
    IntoRoom,
    /// From the room to an occupant.
    FromRoom,
}

/// What one mirrored stanza is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A copy of the message with this index in [`Corpus::messages`].
    Copy(usize, Source),
    /// The error that came back for that message.
    Bounce(usize),
    /// Nothing that an archive of messages keeps by default: presence, iq, chat states, receipts, empty subjects.
    Noise,
}

/// One stanza of the component's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the node sends it.
    pub at: Micros,
    /// The stanza, without the stream's default namespace.
    pub xml: String,
    /// What it is.
    pub role: Role,
}

/// One message as the people meant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// When it was sent.
    pub at: Micros,
    /// The sender's full JID.
    pub sender: String,
    /// Whom it was sent to: as the sender wrote it, so a bare or full JID, a room or an occupant.
    pub to: String,
    /// The stanza's id.
    pub id: String,
    /// The body as it was sent, quotations and fallback texts included; none for an encrypted message, since the archive can't
    /// read it.
    pub body: Option<String>,
    /// The subject, if it sets one.
    pub subject: Option<String>,
    /// Whether its content is encrypted end to end.
    pub encrypted: bool,
    /// The positions of its copies in [`Corpus::lines`].
    pub copies: Vec<usize>,
}

/// The whole week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    lines: Vec<Line>,
    messages: Vec<Message>,
}

impl Corpus {
    /// Performs the week from `start` on, one stanza every `pace` microseconds: a demonstration has no week's time, and time
    /// stamps inside late copies and room history have to agree with when the archive saw the original.
    pub fn new(start: Micros, pace: Micros) -> Self {
        let mut stage = Stage::new(start, pace);
        week::perform(&mut stage);
        let (lines, messages) = stage.finish();
        Self { lines, messages }
    }

    /// Every stanza, in the order in which the node sends them.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Every distinct message, in the order in which they were sent.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// How many of the stanzas are copies of messages.
    pub fn copies(&self) -> usize {
        self.messages.iter().map(|message| message.copies.len()).sum()
    }

    /// How many of the stanzas are bounces.
    pub fn bounces(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line.role, Role::Bounce(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const START: Micros = 1_772_438_400_000_000;
    const PACE: Micros = 10_000;

    fn corpus() -> Corpus {
        Corpus::new(START, PACE)
    }

    fn parsed(xml: &str) -> minidom::Element {
        let whole = format!("<s xmlns='jabber:component:accept'>{xml}</s>");
        let stream: minidom::Element = whole.parse().unwrap_or_else(|error| panic!("{error}: {xml}"));
        stream.children().next().unwrap().clone()
    }

    /// The bodies and subjects anywhere in the stanza.
    fn texts(element: &minidom::Element, name: &str) -> Vec<String> {
        let mut found: Vec<String> = element.children().flat_map(|child| texts(child, name)).collect();
        if element.name() == name {
            found.push(element.text());
        }
        found
    }

    #[test]
    fn the_same_start_gives_the_same_bytes() {
        assert_eq!(corpus(), corpus());
        let later = Corpus::new(START + 1_000_000, PACE);
        assert_eq!(corpus().messages().len(), later.messages().len());
        assert_ne!(corpus(), later);
    }

    #[test]
    fn it_is_as_large_as_a_demonstration_needs() {
        let corpus = corpus();
        println!("{} messages, {} copies, {} lines", corpus.messages().len(), corpus.copies(), corpus.lines().len());
        assert!((60..=140).contains(&corpus.messages().len()), "{} messages", corpus.messages().len());
        assert!((250..=900).contains(&corpus.copies()), "{} copies", corpus.copies());
        assert!(corpus.lines().len() > corpus.copies() + corpus.bounces());
    }

    #[test]
    fn every_stanza_is_well_formed_and_from_the_server_to_the_component() {
        for line in corpus().lines() {
            let stanza = parsed(&line.xml);
            assert_eq!((stanza.attr("from"), stanza.attr("to")), (Some(HOST), Some(COMPONENT)), "{}", line.xml);
        }
    }

    #[test]
    fn roles_and_copies_tell_the_same_story() {
        let corpus = corpus();
        for (index, message) in corpus.messages().iter().enumerate() {
            assert!(!message.copies.is_empty(), "{message:?}");
            for copy in &message.copies {
                assert!(matches!(corpus.lines()[*copy].role, Role::Copy(of, _) if of == index), "{message:?}");
            }
        }
        let told = corpus.lines().iter().filter(|line| matches!(line.role, Role::Copy(..))).count();
        assert_eq!(told, corpus.copies());
    }

    #[test]
    fn every_copy_carries_its_messages_words() {
        let corpus = corpus();
        for message in corpus.messages() {
            for copy in &message.copies {
                let stanza = parsed(&corpus.lines()[*copy].xml);
                if let Some(body) = &message.body {
                    assert!(texts(&stanza, "body").contains(body), "{}", corpus.lines()[*copy].xml);
                }
                if let Some(subject) = &message.subject {
                    assert!(texts(&stanza, "subject").contains(subject), "{}", corpus.lines()[*copy].xml);
                }
            }
        }
    }

    #[test]
    fn times_and_ids_never_repeat() {
        let corpus = corpus();
        assert!(corpus.lines().windows(2).all(|pair| pair[0].at < pair[1].at));
        let ids: BTreeSet<&str> = corpus.messages().iter().map(|message| message.id.as_str()).collect();
        assert_eq!(ids.len(), corpus.messages().len());
    }

    #[test]
    fn everything_that_it_promises_is_in_it() {
        let corpus = corpus();
        let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
        corpus.messages().iter().for_each(|message| *kinds.entry(message.kind).or_default() += 1);
        assert_eq!(kinds.len(), 9, "{kinds:?}");
        let mut sources: BTreeMap<Source, usize> = BTreeMap::new();
        for line in corpus.lines() {
            if let Role::Copy(_, source) = line.role {
                *sources.entry(source).or_default() += 1;
            }
        }
        assert_eq!(sources.len(), 6, "{sources:?}");
        assert!(corpus.messages().iter().any(|message| message.encrypted));
        assert_eq!(corpus.bounces(), 1);
        let ok = corpus.messages().iter().filter(|message| message.body.as_deref() == Some("ok")).count();
        assert_eq!(ok, 2, "two people may say ok twice");
    }

    #[test]
    fn late_copies_carry_the_time_of_their_original() {
        let corpus = corpus();
        for message in corpus.messages() {
            let stamp = stage::stamp(message.at);
            for copy in &message.copies {
                let line = &corpus.lines()[*copy];
                if matches!(line.role, Role::Copy(_, Source::Late | Source::History)) && line.xml.contains("<delay ") {
                    assert!(line.xml.contains(&stamp), "{stamp}: {}", line.xml);
                }
            }
        }
    }
}
