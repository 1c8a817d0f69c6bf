//! What is searched for, and whether a text has it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::parse::{TextError, parse};
use super::tokens;

/// One word of a phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) word: String,
    /// Whether the word may go on.
    pub(crate) is_prefix: bool,
}

impl Match {
    fn is(&self, word: &str) -> bool {
        if self.is_prefix { word.starts_with(&self.word) } else { word == self.word }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// All hold.
    All(Vec<Node>),
    /// One at least holds.
    Any(Vec<Node>),
    /// It does not hold.
    Not(Box<Node>),
    /// These words stand one after the other.
    Phrase(Vec<Match>),
}

/// What somebody searches for, as read from what they typed.
///
/// As JSON it is what was typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Text {
    typed: String,
    node: Node,
}

/// The words of the texts of one message.
#[derive(Clone, Debug, Default)]
pub struct Words {
    fields: Vec<Vec<String>>,
}

/// Where in a text the words stand that were searched for, in bytes.
pub type Spans = Vec<std::ops::Range<usize>>;

impl Words {
    /// Of these texts.
    pub fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        Self { fields: texts.into_iter().map(tokens).filter(|tokens| !tokens.is_empty()).collect() }
    }

    /// Each different word, sorted.
    pub fn set(&self) -> Vec<&str> {
        let mut set: Vec<&str> = self.fields.iter().flatten().map(String::as_str).collect();
        set.sort_unstable();
        set.dedup();
        set
    }
}

impl FromStr for Text {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        parse(text)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.typed
    }
}

impl TryFrom<String> for Text {
    type Error = TextError;

    fn try_from(typed: String) -> Result<Self, TextError> {
        parse(&typed)
    }
}

/// Which messages may have what is searched for, by single words: what a database's own index can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Candidates {
    All(Vec<Candidates>),
    Any(Vec<Candidates>),
    Word { word: String, is_prefix: bool },
}

impl Text {
    pub(super) fn new(typed: &str, node: Node) -> Self {
        Self { typed: typed.trim().to_owned(), node }
    }

    /// Whether there is nothing to search for.
    pub fn is_empty(&self) -> bool {
        self.node == Node::All(Vec::new())
    }

    /// Whether a message has it. A phrase stands in one of the texts; single words may stand in either.
    pub fn holds(&self, words: &Words) -> bool {
        holds(&self.node, words)
    }

    /// How well a message fits; it depends on nothing but the message itself, so that the order stays when the archive grows. Each
    /// phrase that is found counts, more often more, and in a short message more than in a long one.
    pub fn score(&self, words: &Words) -> i64 {
        let mut found = Vec::new();
        counts(&self.node, words, &mut found);
        let length: usize = words.fields.iter().map(Vec::len).sum();
        // BM25's two ideas: further finds count less and less, and length thins them out. In thousandths.
        let norm = 1.2 * (0.25 + 0.75 * length as f64 / 20.0);
        found.iter().map(|count| (1_000.0 * 2.2 * *count as f64 / (*count as f64 + norm)) as i64).sum()
    }

    /// What a database's index can narrow; none if nothing has to be there.
    pub(crate) fn candidates(&self) -> Option<Candidates> {
        candidates(&self.node)
    }

    /// Where the words stand in a text, for showing them.
    pub fn spans(&self, text: &str) -> Spans {
        let mut wanted = Vec::new();
        wanted_words(&self.node, &mut wanted);
        let mut spans = Spans::new();
        for (start, part) in unicode_segmentation::UnicodeSegmentation::split_word_bound_indices(text) {
            let found = tokens(part);
            if found.iter().any(|token| wanted.iter().any(|wanted| wanted.is(token) || is_part(wanted, token))) {
                match spans.last_mut() {
                    Some(last) if last.end == start => last.end = start + part.len(),
                    _ => spans.push(start..start + part.len()),
                }
            }
        }
        spans
    }
}

/// A single character of a pair that was searched for, where the text is cut into characters.
fn is_part(wanted: &Match, token: &str) -> bool {
    !token.is_ascii() && !wanted.word.is_ascii() && wanted.word.chars().count() == 2 && wanted.word.contains(token)
}

fn holds(node: &Node, words: &Words) -> bool {
    match node {
        Node::All(parts) => parts.iter().all(|part| holds(part, words)),
        Node::Any(parts) => parts.iter().any(|part| holds(part, words)),
        Node::Not(part) => !holds(part, words),
        Node::Phrase(phrase) => words.fields.iter().any(|field| count(phrase, field, 1) > 0),
    }
}

/// How often a phrase stands in a field, as far as anybody wants to know.
fn count(phrase: &[Match], field: &[String], most: usize) -> usize {
    let is_here = |window: &&[String]| phrase.iter().zip(*window).all(|(wanted, word)| wanted.is(word));
    if phrase.is_empty() { 0 } else { field.windows(phrase.len()).filter(is_here).take(most).count() }
}

fn counts(node: &Node, words: &Words, found: &mut Vec<usize>) {
    const MOST: usize = 20;
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|part| counts(part, words, found)),
        Node::Not(_) => {}
        Node::Phrase(phrase) => found.push(words.fields.iter().map(|field| count(phrase, field, MOST)).sum()),
    }
}

fn candidates(node: &Node) -> Option<Candidates> {
    match node {
        Node::All(parts) => {
            let mut parts: Vec<Candidates> = parts.iter().filter_map(candidates).collect();
            if parts.len() > 1 { Some(Candidates::All(parts)) } else { parts.pop() }
        }
        // One that anything may fulfil makes the others useless.
        Node::Any(parts) => parts.iter().map(candidates).collect::<Option<Vec<_>>>().map(Candidates::Any),
        Node::Not(_) => None,
        Node::Phrase(phrase) => {
            let is_needed = |index: usize, one: &Match| !(index > 0 && is_end_of_run(phrase.get(index - 1), one));
            let words = phrase.iter().enumerate().filter(|(index, one)| is_needed(*index, one)).map(|(_, one)| one.clone());
            let mut words: Vec<Candidates> = words.map(|Match { word, is_prefix }| Candidates::Word { word, is_prefix }).collect();
            if words.len() > 1 { Some(Candidates::All(words)) } else { words.pop() }
        }
    }
}

/// The last character of a run says nothing that the pair before it does not say.
fn is_end_of_run(before: Option<&Match>, one: &Match) -> bool {
    one.is_prefix
        && !one.word.is_ascii()
        && before.is_some_and(|before| before.word.ends_with(&one.word) && before.word.len() > one.word.len())
}

fn wanted_words<'n>(node: &'n Node, wanted: &mut Vec<&'n Match>) {
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|part| wanted_words(part, wanted)),
        Node::Not(_) => {}
        Node::Phrase(phrase) => wanted.extend(phrase),
    }
}
