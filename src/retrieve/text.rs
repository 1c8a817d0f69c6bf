//! Words in texts, the same on every database.
//!
//! Databases disagree about upper and lower case: SQLite knows it for ASCII alone, PostgreSQL asks a locale, MySQL a
//! collation. So [`holds`] decides, here, and the database only leaves out what can't hold the word ([`pattern`]): it
//! compares ASCII without case and takes any character in the place of another letter that has a case.

use std::ops::Range;

/// Each character in lower case. ASCII stays ASCII and the rest stays the rest (so the Kelvin sign is no k, and İ is no i), and
/// one character stays one: [`pattern`] relies on both.
pub(crate) fn fold(text: &str) -> String {
    text.chars().map(fold_char).collect()
}

fn fold_char(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) if !lower.is_ascii() => lower,
        _ => character,
    }
}

/// Whether one of the texts holds the word, which is folded already.
pub(crate) fn holds<'t>(word: &str, texts: impl IntoIterator<Item = &'t str>) -> bool {
    texts.into_iter().any(|text| fold(text).contains(word))
}

/// Where any of these parts stand in a text, in bytes, in order, none within another.
pub(crate) fn spans(parts: &[String], text: &str) -> Vec<Range<usize>> {
    let folded: Vec<char> = text.chars().map(fold_char).collect();
    let parts: Vec<Vec<char>> = parts.iter().map(|part| fold(part).chars().collect()).collect();
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).chain([text.len()]).collect();
    let mut spans = Vec::new();
    let mut at = 0;
    while at < folded.len() {
        let rest = folded.get(at..).unwrap_or_default();
        let longest = parts.iter().filter(|part| rest.starts_with(part)).map(Vec::len).max().unwrap_or(0);
        if longest > 0
            && let (Some(start), Some(end)) = (starts.get(at), starts.get(at + longest))
        {
            spans.push(*start..*end);
        }
        at += longest.max(1);
    }
    spans
}

/// The escape character of [`pattern`].
pub(crate) const ESCAPE: char = '!';

/// A pattern for LIKE without regard to the case of ASCII: every text that holds the folded word matches it.
pub(crate) fn pattern(word: &str) -> String {
    let mut pattern = String::with_capacity(word.len() + 2);
    pattern.push('%');
    for character in word.chars() {
        match character {
            '%' | '_' | ESCAPE => pattern.extend([ESCAPE, character]),
            _ if needs_check(character) => pattern.push('_'),
            _ => pattern.push(character),
        }
    }
    pattern.push('%');
    pattern
}

/// The same for a text within JSON.
pub(crate) fn pattern_in_json(word: &str) -> String {
    let quoted = serde_json::Value::from(word).to_string();
    pattern(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default())
}

/// Whether texts that match the pattern may lack the word all the same.
pub(crate) fn is_vague(word: &str) -> bool {
    word.chars().any(needs_check)
}

fn needs_check(character: char) -> bool {
    let has_no_case = || character.to_uppercase().eq([character]) && character.to_lowercase().eq([character]);
    !(character.is_ascii() || has_no_case())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_folds_to_one_of_its_own_sort() {
        for character in '\0'..=char::MAX {
            let folded = fold_char(character);
            assert_eq!(character.is_ascii(), folded.is_ascii());
            assert_eq!(fold_char(folded), folded);
            assert!(folded == character || folded.is_ascii() || needs_check(folded), "{character:?} would be missed");
        }
    }

    #[test]
    fn words_are_found_in_any_case() {
        for (word, text) in [("GRÖSSE", "Ihre grösse"), ("привет", "ПРИВЕТ!"), ("ok", "OK"), ("你好", "你好吗"), ("k", "k\u{212a}")]
        {
            assert!(holds(&fold(word), ["", text]), "{word} {text}");
        }
        assert!(!holds("k", ["\u{212a}"]));
        assert!(!holds("a b", ["a", "b"]));
    }

    #[test]
    fn parts_are_marked_where_they_stand() {
        let of = |parts: &[&str], text: &str| spans(&parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>(), text);
        assert_eq!(of(&["RÖ", "öss"], "Die größe, grö"), [5..8, 14..17]);
        assert_eq!(of(&["a", "aa"], "aaa b"), [0..2, 2..3]);
        assert!(of(&["", "x"], "abc").is_empty());
    }

    #[test]
    fn patterns_escape_what_means_something() {
        assert_eq!(pattern("100%_a!"), "%100!%!_a!!%");
        assert_eq!(pattern(&fold("Größe")), "%gr__e%");
        assert_eq!(pattern("你好"), "%你好%");
        assert_eq!(pattern_in_json("a\"b\\"), "%a\\\"b\\\\%");
        assert!(is_vague("größe") && !is_vague("plain") && !is_vague("你好"));
    }
}
