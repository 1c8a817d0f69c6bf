//! What a word is: one tokeniser of our own, so that a word means the same on every database.
//!
//! A text is folded ([`fold`]): compatibility forms, upper and lower case, accents. Then it is cut ([`tokens`]): where UAX #29 sees the
//! ends of words, and at every character that is neither letter, digit nor sign. Scripts that put no spaces between their words (Chinese,
//! Japanese, Korean, Thai, Lao, Khmer, Burmese) become overlapping pairs of characters, so that any part of them can be found. Each
//! emoji is a word of its own.
//!
//! Every word stands at a place of its own, from 0: a phrase is words at places one after the other ([`Text`]). The databases keep only
//! the set of a message's words and tell which messages may be meant; whether one is meant is decided here.

mod encode;
mod fold;
mod parse;
mod segment;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use encode::plain;
pub use fold::fold;
pub use parse::{MAX_TERMS, MAX_TEXT_BYTES, TextError};
pub use segment::{MAX_WORD_CHARS, tokens};
pub(crate) use text::Candidates;
pub use text::{Spans, Text, Words};

/// The version of what a word is, and of where words are taken from. An index that another version wrote is not asked.
pub const VERSION: i32 = 2;
