//! What can be asked for, and the words for it: one table behind the command line, the console, the API, exports and `[[export]]`.
//!
//! Whoever reads a query by name takes the names and the words from here, and tests hold the form, the description of the API, the command
//! line's options and the documentation against it. So what one of them knows all of them know, and what none knows is refused.

use super::query::ENCRYPTED_KIND;

/// A word that somebody can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub word: &'static str,
    /// Others for the same.
    pub aliases: &'static [&'static str],
    /// The number that it stands for.
    pub number: i16,
    /// What it means.
    pub about: &'static str,
}

/// What a condition is given as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A text.
    Text,
    /// JIDs, domains or patterns.
    People,
    /// JIDs of rooms.
    Rooms,
    /// Names.
    Names,
    /// A time.
    Time,
    /// Some of these words.
    Words(&'static [Word]),
    /// Yes or no.
    Truth,
}

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its name in addresses, in forms and in the audit trail.
    pub name: &'static str,
    /// Its name on the command line; that of words has no dashes there.
    pub option: &'static str,
    /// Its name for people.
    pub label: &'static str,
    /// How it is given.
    pub takes: Takes,
    /// Whether it holds at any time, so that a series of exports can have it.
    pub is_lasting: bool,
}

const fn condition(name: &'static str, option: &'static str, label: &'static str, takes: Takes) -> Condition {
    Condition { name, option, label, takes, is_lasting: true }
}

const fn of_once(name: &'static str, option: &'static str, label: &'static str, takes: Takes) -> Condition {
    Condition { is_lasting: false, ..condition(name, option, label, takes) }
}

/// Every condition.
pub const CONDITIONS: [Condition; 17] = [
    condition("q", "text", "Words", Takes::Text),
    condition("substring", "substring", "Also within words", Takes::Truth),
    condition("who", "participant", "People, each of them", Takes::People),
    condition("any", "any-participant", "People, any of them", Takes::People),
    condition("sender", "sender", "Written by any of", Takes::People),
    condition("recipient", "recipient", "Written to or got by any of", Takes::People),
    condition("every-recipient", "every-recipient", "Written to or got by each of", Takes::People),
    condition("room", "room", "Rooms", Takes::Rooms),
    condition("conversation", "conversation", "Conversation", Takes::Text),
    of_once("from", "from", "From", Takes::Time),
    of_once("to", "to", "To", Takes::Time),
    condition("kind", "kind", "Kinds", Takes::Words(&KINDS)),
    condition("direction", "direction", "Direction", Takes::Words(&DIRECTIONS)),
    condition("node", "node", "Nodes", Takes::Names),
    condition("has", "has", "Only what has", Takes::Words(&HAS)),
    of_once("id", "id", "Id", Takes::Text),
    condition("all", "all", "With receipts, markers and chat states", Takes::Truth),
];

const fn word(word: &'static str, number: i16, about: &'static str) -> Word {
    Word { word, aliases: &[], number, about }
}

/// The kinds of record; the numbers are those of `messages.kind`.
pub const KINDS: [Word; 16] = [
    word("message", 1, "A message with a body"),
    word("subject", 2, "A room's subject"),
    Word { aliases: &["edit"], ..word("correction", 3, "A correction (XEP-0308)") },
    word("retraction", 4, "A retraction (XEP-0424)"),
    word("moderation", 5, "A retraction by a moderator (XEP-0425)"),
    word("reaction", 6, "A reaction (XEP-0444)"),
    word("invitation", 7, "An invitation to a room"),
    word("invitation-declined", 8, "A declined invitation"),
    word("call", 9, "The start or end of a call (XEP-0353)"),
    word("receipt", 10, "A delivery receipt (XEP-0184)"),
    word("marker", 11, "A read marker (XEP-0333)"),
    word("chat-state", 12, "\"Is typing\" and the like (XEP-0085)"),
    word("file", 13, "A link to a file (XEP-0066, XEP-0447)"),
    word("reply", 14, "A reply (XEP-0461)"),
    word("unreadable", 99, "What could not be read, kept as received"),
    word("encrypted", ENCRYPTED_KIND, "Whatever is encrypted, of any kind"),
];

/// Which way a message went; the numbers are those of `messages.direction`.
pub const DIRECTIONS: [Word; 4] = [
    word("incoming", 1, "From elsewhere to a user here"),
    word("outgoing", 2, "From a user here to elsewhere"),
    word("internal", 3, "Between users here"),
    word("unknown", 0, "Not known"),
];

/// What a message can have.
pub const HAS: [Word; 3] = [
    Word { aliases: &["attachment"], ..word("file", HAS_FILE, "A file that was shared") },
    word("link", HAS_LINK, "A link in its text"),
    word("encryption", HAS_ENCRYPTION, "Content that is encrypted end to end"),
];

/// Number of a file among what a message can have.
pub const HAS_FILE: i16 = 1;
/// Number of a link.
pub const HAS_LINK: i16 = 2;
/// Number of encryption.
pub const HAS_ENCRYPTION: i16 = 3;

/// The condition of this name.
pub fn named(name: &str) -> Option<&'static Condition> {
    CONDITIONS.iter().find(|condition| condition.name == name)
}

/// The number that a word of a list stands for.
pub fn number(words: &[Word], text: &str) -> Option<i16> {
    words.iter().find(|word| word.word == text || word.aliases.contains(&text)).map(|word| word.number)
}

/// Every word of a list, with those that mean the same.
pub fn spellings(words: &'static [Word]) -> impl Iterator<Item = &'static str> {
    words.iter().flat_map(|word| std::iter::once(word.word).chain(word.aliases.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::content::Kind;
    use crate::retrieve::names;

    #[test]
    fn words_are_those_by_which_the_archive_calls_things() {
        for (kind, name) in Kind::NAMES {
            assert_eq!(number(&KINDS, name), Some(kind as i16));
        }
        for word in KINDS.iter().filter(|word| word.number != ENCRYPTED_KIND) {
            assert_eq!(names::kind(word.number), word.word);
        }
        for word in DIRECTIONS {
            assert_eq!(names::direction(word.number), word.word);
        }
        assert_eq!((number(&KINDS, "edit"), number(&HAS, "attachment"), number(&HAS, "wings")), (Some(3), Some(HAS_FILE), None));
    }

    #[test]
    fn no_name_stands_for_two() {
        for (index, one) in CONDITIONS.iter().enumerate() {
            assert!(CONDITIONS.iter().skip(index + 1).all(|other| other.name != one.name && other.option != one.option), "{}", one.name);
        }
        for list in [&KINDS[..], &DIRECTIONS, &HAS] {
            let mut all: Vec<&str> = spellings(Box::leak(list.to_vec().into_boxed_slice())).collect();
            let before = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), before);
        }
    }

    #[test]
    fn the_documentation_knows_every_condition() {
        let text = include_str!("../../docs/SEARCH.md");
        for condition in CONDITIONS {
            let option = if condition.takes == Takes::Text && condition.name == "q" {
                "`search 'TEXT'`".to_owned()
            } else {
                format!("`--{}", condition.option)
            };
            assert!(text.contains(&option), "docs/SEARCH.md lacks {option}");
            assert!(text.contains(&format!("`{}`", condition.name)) || condition.name == "q", "docs/SEARCH.md lacks `{}`", condition.name);
        }
    }
}
