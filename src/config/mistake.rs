//! What is wrong with a configuration: gathered while it is read, told all at once.

use std::fmt;
use std::path::PathBuf;

/// The longest part of a value that a mistake repeats, in characters.
const SHOWN_CHARS: usize = 80;

/// One thing that is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, as a path of keys: `node.0.kind`. Empty for the file as a whole.
    pub key: String,
    /// What stands there, ready to be shown; `None` for secrets and where nothing stands.
    pub value: Option<String>,
    /// What is right, as the rest of a sentence: "must be …".
    pub right: String,
    /// True if the value comes from the environment.
    pub from_environment: bool,
}

impl Mistake {
    /// A mistake that shows no value.
    pub(super) fn at(key: impl Into<String>, right: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, right: right.into(), from_environment: false }
    }

    /// The same, with the text that stands there.
    pub(super) fn with_text(mut self, text: &str) -> Self {
        let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        self.value = Some(format!("{shown:?}"));
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if self.from_environment {
            f.write_str(" (from the environment)")?;
        }
        if !self.key.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.right)
    }
}

/// All mistakes of a configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// The mistakes, in the order of the settings; never empty.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in the configuration")?;
        match &self.file {
            Some(file) => write!(f, " ({})", file.display())?,
            None => f.write_str(" (no file; defaults and environment)")?,
        }
        for mistake in &self.mistakes {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

/// The nearest of the known words, if one is near enough to be what was meant.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(SHOWN_CHARS).collect();
    let most = (word.len() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, row by row.
fn distance(word: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for letter in candidate.chars() {
        let mut diagonal = row.first().copied().unwrap_or(0);
        let mut left = diagonal + 1;
        let mut next = vec![left];
        for (above, own) in row.iter().skip(1).zip(word) {
            let replaced = diagonal + usize::from(*own != letter);
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let known = ["secret", "secret_file", "hosts", "muc"];
        for (word, meant) in [
            ("secrt", Some("secret")),
            ("secret-file", Some("secret_file")),
            ("host", Some("hosts")),
            ("MUC", Some("muc")),
            ("nothing", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(word, known), meant, "{word}");
        }
    }

    #[test]
    fn a_long_value_is_cut_and_escaped() {
        let mistake = Mistake::at("a", "must be short").with_text(&"x\n".repeat(100));
        assert!(mistake.to_string().len() < 200);
        assert!(!mistake.to_string().contains('\n'));
    }
}
