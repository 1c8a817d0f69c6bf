//! What people wrote, cut into pieces for a page: plain, a hit of the search, a target of a link.
//!
//! Targets are shown whole and lead nowhere: whoever reviews messages must neither be led to a page that imitates another, nor tell the owner of
//! a page that the message is being read. Everything is escaped by the templates.

use std::ops::Range;

use super::find::Hits;
use crate::message::address::unescape;
use crate::message::links;

/// Longer texts are folded.
const FOLD_CHARS: usize = 3_000;
/// So much of a folded text is seen at once.
const FOLDED_CHARS: usize = 1_200;
/// Characters around the first hit in a list of what was found.
const SNIPPET_CHARS: usize = 320;
/// Characters of the snippet before the hit.
const BEFORE_HIT: usize = 80;
/// The most hits that are marked in one text.
const MAX_HITS: usize = 500;

/// How a piece is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Hit,
    Target,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Piece {
    pub(super) fn is_hit(&self) -> bool {
        self.style == Style::Hit
    }

    pub(super) fn is_target(&self) -> bool {
        self.style == Style::Target
    }
}

/// A text for a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) pieces: Vec<Piece>,
    /// What is folded away.
    pub(super) rest: Vec<Piece>,
    /// How many characters there are in all, where some are folded away.
    pub(super) characters: usize,
}

impl Body {
    /// A whole text.
    pub(super) fn of(text: &str, hits: &Hits) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let hits = places(text, hits);
        if characters.len() <= FOLD_CHARS {
            return Self { pieces: pieces(&characters, &hits, 0..characters.len()), ..Self::default() };
        }
        Self {
            pieces: pieces(&characters, &hits, 0..FOLDED_CHARS),
            rest: pieces(&characters, &hits, FOLDED_CHARS..characters.len()),
            characters: characters.len(),
        }
    }

    /// The part of a text in which the first hit is.
    pub(super) fn snippet(text: &str, hits: &Hits) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let hits = places(text, hits);
        let first = hits.first().map_or(0, |hit| hit.start);
        let start = if characters.len() <= SNIPPET_CHARS { 0 } else { first.saturating_sub(BEFORE_HIT) };
        let end = characters.len().min(start + SNIPPET_CHARS);
        let mut shown = pieces(&characters, &hits, start..end);
        let dots = || Piece { text: "…".to_owned(), style: Style::Plain };
        if start > 0 {
            shown.insert(0, dots());
        }
        if end < characters.len() {
            shown.push(dots());
        }
        Self { pieces: shown, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Where the hits stand, in characters, in order, none within another.
fn places(text: &str, hits: &Hits) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut characters, mut bytes) = (0, 0);
    for span in hits.spans(text).into_iter().take(MAX_HITS) {
        let Some((before, hit)) = text.get(bytes..span.start).zip(text.get(span.clone())) else { continue };
        let start = characters + before.chars().count();
        (characters, bytes) = (start + hit.chars().count(), span.end);
        found.push(start..characters);
    }
    found
}

fn pieces(characters: &[char], hits: &[Range<usize>], within: Range<usize>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = within.start;
    for hit in hits.iter().filter(|hit| hit.start >= within.start && hit.end <= within.end) {
        plain(characters.get(at..hit.start).unwrap_or_default(), &mut pieces);
        push(characters.get(hit.clone()).unwrap_or_default(), Style::Hit, &mut pieces);
        at = hit.end;
    }
    plain(characters.get(at..within.end).unwrap_or_default(), &mut pieces);
    pieces
}

/// Text without hits; targets of links stand out.
fn plain(characters: &[char], pieces: &mut Vec<Piece>) {
    let mut done = 0;
    let mut at = 0;
    while at < characters.len() {
        let Some(end) = links::end(characters, at) else {
            at += 1;
            continue;
        };
        push(characters.get(done..at).unwrap_or_default(), Style::Plain, pieces);
        push(characters.get(at..end).unwrap_or_default(), Style::Target, pieces);
        (done, at) = (end, end);
    }
    push(characters.get(done..).unwrap_or_default(), Style::Plain, pieces);
}

fn push(characters: &[char], style: Style, pieces: &mut Vec<Piece>) {
    if !characters.is_empty() {
        pieces.push(Piece { text: visible(characters.iter().copied(), false), style });
    }
}

/// Control characters in a form that is seen. In names also everything that turns the direction of writing; in texts only what
/// forces it upon others' characters: the marks that right-to-left writing needs stay.
fn visible(characters: impl Iterator<Item = char>, is_name: bool) -> String {
    let mut shown = String::new();
    for character in characters {
        match character {
            '\n' if is_name => shown.push('␊'),
            '\n' | '\t' => shown.push(character),
            '\r' => {}
            '\0'..='\u{1f}' => shown.extend(char::from_u32(0x2400 + u32::from(character))),
            '\u{7f}' => shown.push('␡'),
            '\u{80}'..='\u{9f}' | '\u{2028}'..='\u{202e}' => shown.push_str(&format!("<U+{:04X}>", u32::from(character))),
            '\u{200e}' | '\u{200f}' | '\u{2066}'..='\u{2069}' | '\u{feff}' if is_name => {
                shown.push_str(&format!("<U+{:04X}>", u32::from(character)));
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// A nick, a file's name or the like, on one line.
pub(super) fn name(text: &str) -> String {
    visible(text.chars(), true)
}

/// A JID for people: XEP-0106 escapes undone.
pub(super) fn jid(text: &str) -> String {
    name(&unescape(text))
}

/// A conversation's name for people.
pub(super) fn conversation(text: &str) -> String {
    text.split(' ').map(jid).collect::<Vec<_>>().join(" and ")
}

/// A long text as it is, control characters made visible.
pub(super) fn whole(text: &str) -> String {
    visible(text.chars(), false)
}

/// A text of the archiver's own without the addresses of people in it: for those who keep the archive running and may not know who writes.
pub(super) fn without_people(text: &str) -> String {
    let is_address = |word: &str| word.split_once('@').is_some_and(|(one, other)| !one.is_empty() && !other.is_empty());
    let shown = |word: &str| if is_address(word.trim_matches(|c: char| c.is_ascii_punctuation())) { "(somebody)" } else { word }.to_owned();
    text.split(' ').map(shown).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &Body) -> Vec<(&str, Style)> {
        body.pieces.iter().map(|piece| (piece.text.as_str(), piece.style)).collect()
    }

    fn words(text: &str) -> Hits {
        Hits::Words(text.parse().unwrap())
    }

    #[test]
    fn hits_are_marked_whatever_their_case() {
        let body = Body::of("Die GRÖßE von X", &words("größe x"));
        assert_eq!(shown(&body), [("Die ", Style::Plain), ("GRÖßE", Style::Hit), (" von ", Style::Plain), ("X", Style::Hit)]);
        assert_eq!(shown(&Body::of("", &words("a"))), []);
        assert_eq!(shown(&Body::of("a", &Hits::None)), [("a", Style::Plain)]);
    }

    #[test]
    fn targets_stand_out_whole() {
        let body = Body::of("see https://evil.example/\u{202e}gpj.exe<b> and nohttp://x", &Hits::None);
        assert_eq!(
            shown(&body),
            [("see ", Style::Plain), ("https://evil.example/<U+202E>gpj.exe", Style::Target), ("<b> and nohttp://x", Style::Plain)]
        );
        assert_eq!(shown(&Body::of("http://", &Hits::None)), [("http://", Style::Plain)]);
    }

    #[test]
    fn long_texts_are_folded_and_whole() {
        let text = "aß ".repeat(100_000);
        let body = Body::of(&text, &words("aß"));
        let all: String = body.pieces.iter().chain(&body.rest).map(|piece| piece.text.as_str()).collect();
        assert_eq!((body.characters, all == text), (300_000, true));
        let snippet = Body::snippet(&format!("{} needle {}", "x".repeat(1_000), "y".repeat(1_000)), &words("needle"));
        let text: String = snippet.pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert!(text.starts_with('…') && text.ends_with('…') && text.contains("needle") && text.chars().count() < 330, "{text}");
    }

    #[test]
    fn names_are_one_line_that_obeys_nobody() {
        assert_eq!(name("a\u{202e}b\nc\u{200f}\u{1b}"), "a<U+202E>b␊c<U+200F>␛");
        assert_eq!(jid("d\\27artagnan@example.com"), "d'artagnan@example.com");
        assert_eq!(whole("שלום\u{200f}!"), "שלום\u{200f}!");
    }
}
