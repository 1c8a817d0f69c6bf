//! Folding: what differs only in how it is written becomes the same.
//!
//! NFKC (UAX #15) makes one of full-width and half-width forms, of ligatures, and of letters with their accents apart or together. Case
//! is folded by going to upper case and back, which is what full case folding does for every letter that people write: ß becomes ss, the
//! final ς a σ, and the Turkish İ and ı an i, so that everybody finds what everybody wrote. Accents, Hebrew points and Arabic vowel
//! signs are left out: whoever searches leaves them out as well, and an archive should rather find too much. Signs that make another
//! letter in their script (Indic vowels, the Japanese dakuten) stay.

use unicode_normalization::UnicodeNormalization;

/// The folded text.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower = text.nfkd().filter(|c| !is_left_out(*c)).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    // The upper case of some letters has accents of its own (İ), and some letters are two (æ).
    let mut folded = String::with_capacity(text.len());
    for c in lower.nfkd().filter(|c| !is_left_out(*c)) {
        match pair(c) {
            Some(pair) => folded.push_str(pair),
            None => folded.push(c),
        }
    }
    folded.nfc().collect()
}

/// Letters with a stroke and the like, which no normalisation takes apart.
fn pair(c: char) -> Option<&'static str> {
    Some(match c {
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        // The lower case of the capital ẞ.
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        // A sigma is one letter wherever it stands.
        'ς' => "σ",
        _ => return None,
    })
}

/// Accents, points, vowel signs, and what is not seen at all.
fn is_left_out(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}'
        | '\u{6e7}' | '\u{6e8}' | '\u{6ea}'..='\u{6ed}'
        | '\u{ad}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}')
}
