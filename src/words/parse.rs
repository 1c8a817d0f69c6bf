//! Reading what somebody typed to search for.

use super::fold;
use super::segment::{Piece, pieces};
use super::text::{Match, Node, Text};

/// The longest text that is read.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// The most words of one text.
pub const MAX_TERMS: usize = 100;
/// How deep brackets may stand in each other.
const MAX_DEPTH: usize = 16;

/// Why a text can't be searched for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It is too long.
    #[error("is longer than {MAX_TEXT_BYTES} bytes")]
    Long,
    /// It has too many words.
    #[error("has more than {MAX_TERMS} words")]
    Terms,
    /// A quotation mark or a bracket stands alone.
    #[error("has a {0} without its other half")]
    Unpaired(char),
    /// `OR` or `-` has nothing beside it.
    #[error("has {0} with nothing beside it")]
    Lonely(&'static str),
    /// It has brackets in brackets in brackets.
    #[error("has too many brackets in each other")]
    Deep,
}

/// A sign of the language, or what stands between them.
#[derive(Clone, Debug, PartialEq)]
enum Sign {
    Open,
    Close,
    Or,
    Not,
    /// Words to be found; quoted ones as a phrase, and the last one may be only the begin of a word.
    Term {
        text: String,
        is_prefix: bool,
    },
}

/// Reads a text: words, "phrases", begin*, -without, OR and brackets.
pub(crate) fn parse(text: &str) -> Result<Text, TextError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(TextError::Long);
    }
    let signs = signs(text)?;
    let mut reader = Reader { signs: &signs, at: 0, terms: 0 };
    let node = reader.all(0)?;
    match reader.peek() {
        None => Ok(Text::new(text, node)),
        Some(_) => Err(TextError::Unpaired(')')),
    }
}

fn signs(text: &str) -> Result<Vec<Sign>, TextError> {
    let mut signs = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (sign, after) = match first {
            '(' => (Some(Sign::Open), rest.get(1..)),
            ')' => (Some(Sign::Close), rest.get(1..)),
            '-' | '\u{2212}' if stands_before_something(rest) => (Some(Sign::Not), rest.get(first.len_utf8()..)),
            quote if is_quote(quote) => quoted(rest)?,
            _ => word(rest),
        };
        signs.extend(sign);
        rest = after.unwrap_or_default().trim_start();
    }
    Ok(signs)
}

fn stands_before_something(rest: &str) -> bool {
    rest.chars().nth(1).is_some_and(|next| !next.is_whitespace() && next != '-')
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}')
}

fn quoted(rest: &str) -> Result<(Option<Sign>, Option<&str>), TextError> {
    let mut inside = rest.chars();
    let opening = inside.next().unwrap_or('"');
    let inside = inside.as_str();
    let end = inside.find(is_quote).ok_or(TextError::Unpaired(opening))?;
    let mut after = inside.get(end..).unwrap_or_default().chars();
    after.next();
    let after = after.as_str();
    let (is_prefix, after) = after.strip_prefix('*').map_or((false, after), |after| (true, after));
    let text = inside.get(..end).unwrap_or_default().to_owned();
    Ok((Some(Sign::Term { text, is_prefix }), Some(after)))
}

/// A word ends at a space, a bracket or a quotation mark.
fn word(rest: &str) -> (Option<Sign>, Option<&str>) {
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')') || is_quote(c)).unwrap_or(rest.len()).max(1);
    let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let sign = match word {
        "OR" | "|" => Sign::Or,
        // All must hold anyway.
        "AND" => return (None, Some(after)),
        _ => Sign::Term { text: word.to_owned(), is_prefix: word.ends_with('*') },
    };
    (Some(sign), Some(after))
}

struct Reader<'s> {
    signs: &'s [Sign],
    at: usize,
    terms: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Sign> {
        self.signs.get(self.at)
    }

    /// Everything up to the end or a closing bracket: all of it must hold.
    fn all(&mut self, depth: usize) -> Result<Node, TextError> {
        let mut parts = Vec::new();
        while !matches!(self.peek(), None | Some(Sign::Close)) {
            parts.extend(self.any(depth)?);
        }
        Ok(Node::All(parts))
    }

    /// `a OR b OR c`, which binds closer than what stands side by side.
    fn any(&mut self, depth: usize) -> Result<Option<Node>, TextError> {
        let mut parts: Vec<Node> = self.one(depth)?.into_iter().collect();
        while self.peek() == Some(&Sign::Or) {
            self.at += 1;
            if parts.is_empty() {
                return Err(TextError::Lonely("OR"));
            }
            parts.push(self.one(depth)?.ok_or(TextError::Lonely("OR"))?);
        }
        Ok(if parts.len() > 1 { Some(Node::Any(parts)) } else { parts.pop() })
    }

    /// One term; none where it has no letter, digit or sign.
    fn one(&mut self, depth: usize) -> Result<Option<Node>, TextError> {
        let sign = self.peek().cloned();
        self.at += 1;
        match sign {
            None | Some(Sign::Close) => Err(TextError::Lonely("an operator")),
            Some(Sign::Or) => Err(TextError::Lonely("OR")),
            Some(Sign::Not) => Ok(self.one(depth)?.map(|node| Node::Not(Box::new(node)))),
            Some(Sign::Open) if depth >= MAX_DEPTH => Err(TextError::Deep),
            Some(Sign::Open) => {
                let inside = self.all(depth + 1)?;
                if self.peek() != Some(&Sign::Close) {
                    return Err(TextError::Unpaired('('));
                }
                self.at += 1;
                Ok(Some(inside).filter(|inside| *inside != Node::All(Vec::new())))
            }
            Some(Sign::Term { text, is_prefix }) => self.term(&text, is_prefix),
        }
    }

    fn term(&mut self, text: &str, is_prefix: bool) -> Result<Option<Node>, TextError> {
        let phrase = phrase(text, is_prefix);
        self.terms += phrase.len();
        if self.terms > MAX_TERMS {
            return Err(TextError::Terms);
        }
        Ok((!phrase.is_empty()).then_some(Node::Phrase(phrase)))
    }
}

/// What has to stand side by side. The last character of a run without spaces may go on in the text.
fn phrase(text: &str, is_prefix: bool) -> Vec<Match> {
    let mut phrase = Vec::new();
    for piece in pieces(&fold(text)) {
        match piece {
            Piece::Word(word) => phrase.push(Match { word, is_prefix: false }),
            Piece::Run(units) => {
                let pairs =
                    units.iter().zip(units.iter().skip(1)).map(|(one, next)| Match { word: format!("{one}{next}"), is_prefix: false });
                phrase.extend(pairs);
                phrase.extend(units.last().map(|last| Match { word: last.clone(), is_prefix: true }));
            }
        }
    }
    if let (true, Some(last)) = (is_prefix, phrase.last_mut()) {
        last.is_prefix = true;
    }
    phrase
}
