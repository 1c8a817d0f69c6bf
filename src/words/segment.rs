//! Cutting a folded text into words.

use unicode_segmentation::UnicodeSegmentation;

use super::fold;

/// What is longer counts by its first characters: no database takes words of any length, and nobody types them.
pub const MAX_WORD_CHARS: usize = 64;

/// Joins letters and pictures; within a word it only asks for another shape.
const JOINER: char = '\u{200d}';
/// The letter of Ukrainian and others that most people write as an apostrophe, which divides words.
const APOSTROPHE: char = '\u{2bc}';

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A word with spaces around it, a number, or an emoji.
    Word(String),
    /// A run of characters without spaces, each with the signs on it.
    Run(Vec<String>),
}

/// The words of a text, each at its place.
pub fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::with_capacity(text.len() / 5);
    for piece in pieces(&fold(text)) {
        match piece {
            Piece::Word(word) => all.push(word),
            Piece::Run(units) => {
                let pairs = units.iter().zip(units.iter().skip(1).map(Some).chain(std::iter::once(None)));
                all.extend(pairs.map(|(unit, next)| next.map_or_else(|| unit.clone(), |next| format!("{unit}{next}"))));
            }
        }
    }
    all
}

/// The pieces of a folded text.
pub(crate) fn pieces(folded: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if folded.is_ascii() {
        let words = folded.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        pieces.extend(words.map(|word| Piece::Word(cut(word.to_owned()))));
        return pieces;
    }
    let mut run: Vec<String> = Vec::new();
    for segment in folded.split_word_bounds() {
        if is_emoji(segment) {
            end_run(&mut run, &mut pieces);
            pieces.push(Piece::Word(without_tone(segment)));
        } else {
            segment_pieces(segment, &mut run, &mut pieces);
        }
    }
    end_run(&mut run, &mut pieces);
    pieces
}

/// A segment may hold points, underscores, and letters of scripts with and without spaces.
fn segment_pieces(segment: &str, run: &mut Vec<String>, pieces: &mut Vec<Piece>) {
    let mut word = String::new();
    for c in segment.chars() {
        if c == JOINER {
            continue;
        }
        if is_unspaced(c) {
            end_word(&mut word, pieces);
            run.push(c.to_string());
        } else if is_sign(c) {
            match run.last_mut() {
                Some(unit) if word.is_empty() => unit.push(c),
                _ => word.push(c),
            }
        } else if c.is_alphanumeric() && c != APOSTROPHE {
            end_run(run, pieces);
            word.push(c);
        } else if is_symbol(c) {
            end_word(&mut word, pieces);
            end_run(run, pieces);
            pieces.push(Piece::Word(c.to_string()));
        } else {
            end_word(&mut word, pieces);
            end_run(run, pieces);
        }
    }
    end_word(&mut word, pieces);
}

fn end_word(word: &mut String, pieces: &mut Vec<Piece>) {
    if word.chars().any(char::is_alphanumeric) {
        pieces.push(Piece::Word(cut(std::mem::take(word))));
    }
    word.clear();
}

fn end_run(run: &mut Vec<String>, pieces: &mut Vec<Piece>) {
    if !run.is_empty() {
        pieces.push(Piece::Run(std::mem::take(run)));
    }
}

fn cut(mut word: String) -> String {
    if let Some((end, _)) = word.char_indices().nth(MAX_WORD_CHARS) {
        word.truncate(end);
    }
    word
}

/// A character that belongs to the one before it: combining marks as far as [`fold`] leaves them.
fn is_sign(c: char) -> bool {
    matches!(c,
        '\u{3099}' | '\u{309a}' | '\u{e31}' | '\u{e34}'..='\u{e3a}' | '\u{e47}'..='\u{e4e}' | '\u{eb1}' | '\u{eb4}'..='\u{ebc}'
        | '\u{ec8}'..='\u{ecd}' | '\u{102b}'..='\u{103e}' | '\u{1056}'..='\u{1059}' | '\u{105e}'..='\u{1060}' | '\u{1062}'..='\u{1064}'
        | '\u{1067}'..='\u{106d}' | '\u{1071}'..='\u{1074}' | '\u{1082}'..='\u{108d}' | '\u{17b4}'..='\u{17d3}' | '\u{17dd}')
        || is_mark(c)
}

/// Vowels and other signs of the scripts of India and Tibet.
fn is_mark(c: char) -> bool {
    let within_block = |c: char| matches!(u32::from(c) & 0x7f, 0x00..=0x03 | 0x3a..=0x3c | 0x3e..=0x4f | 0x55..=0x57 | 0x62 | 0x63);
    match c {
        '\u{900}'..='\u{97f}' => within_block(c) && c != '\u{93d}',
        '\u{980}'..='\u{dff}' => within_block(c) || matches!(c, '\u{dca}'..='\u{ddf}' | '\u{df2}' | '\u{df3}'),
        '\u{f71}'..='\u{f84}' | '\u{f90}'..='\u{fbc}' | '\u{f18}' | '\u{f19}' | '\u{f35}' | '\u{f37}' | '\u{f39}' => true,
        _ => false,
    }
}

/// Scripts without spaces between words, and Korean, whose words carry endings.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e01}'..='\u{e30}' | '\u{e32}' | '\u{e33}' | '\u{e40}'..='\u{e46}' | '\u{e81}'..='\u{eb0}' | '\u{eb2}' | '\u{eb3}'
        | '\u{ec0}'..='\u{ec6}' | '\u{edc}'..='\u{edf}' | '\u{1000}'..='\u{102a}' | '\u{103f}' | '\u{1050}'..='\u{1055}'
        | '\u{1100}'..='\u{11ff}' | '\u{1780}'..='\u{17b3}' | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{3096}' | '\u{309d}'..='\u{309f}'
        | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' | '\u{3105}'..='\u{318e}' | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{a960}'..='\u{a97c}' | '\u{ac00}'..='\u{d7fb}' | '\u{f900}'..='\u{faff}'
        | '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{323af}')
}

/// A symbol that people look for: arrows, mathematics, money, pictures.
fn is_symbol(c: char) -> bool {
    is_picture(c) || matches!(c, '¢'..='¥' | '§' | '©' | '®' | '°' | '±' | '\u{20a0}'..='\u{20cf}' | '\u{2190}'..='\u{23ff}')
}

fn is_picture(c: char) -> bool {
    matches!(c, '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

fn is_emoji(segment: &str) -> bool {
    segment.chars().next().is_some_and(is_picture)
}

/// An emoji without the colour of its skin, and without the sign that only asks for colours.
fn without_tone(emoji: &str) -> String {
    let kept: String = emoji.chars().filter(|c| !matches!(c, '\u{1f3fb}'..='\u{1f3ff}' | '\u{fe0e}' | '\u{fe0f}')).collect();
    if kept.is_empty() { emoji.to_owned() } else { cut(kept) }
}
