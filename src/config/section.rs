//! Reads one table of the value tree, key by key, and gathers mistakes instead of stopping at the first.
//!
//! Every key that is asked for becomes known; what is left at the end is unknown, and the known keys are what it may have
//! been meant for. Values from the environment are texts: they are read as numbers, truth values or lists (split at the commas)
//! where one is wanted. In a file, the types are TOML's.

use std::time::Duration;

use config::{Map, Value, ValueKind};

use super::defaults::Bounds;
use super::environment::ORIGIN;
use super::mistake::{Mistake, did_you_mean};
use super::values::{ByteSize, parse_duration, parse_size, show_duration};

/// A value together with the path to it.
pub(super) struct Found {
    pub(super) key: String,
    pub(super) kind: ValueKind,
    pub(super) from_environment: bool,
}

impl Found {
    fn new(key: String, value: Value) -> Self {
        Self { key, from_environment: value.origin() == Some(ORIGIN), kind: value.kind }
    }

    /// A mistake here, without the value.
    pub(super) fn hidden_mistake(&self, right: impl Into<String>) -> Mistake {
        let mut mistake = Mistake::at(&self.key, right);
        mistake.from_environment = self.from_environment;
        mistake
    }

    /// A mistake here, with the value.
    pub(super) fn mistake(&self, right: impl Into<String>) -> Mistake {
        let mistake = self.hidden_mistake(right);
        match &self.kind {
            ValueKind::String(text) => mistake.with_text(text),
            ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => mistake,
            other => Mistake { value: Some(other.to_string()), ..mistake },
        }
    }

    fn text(&self) -> Option<&str> {
        match &self.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    fn whole_number(&self) -> Option<u64> {
        match &self.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::String(text) if self.from_environment => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn truth(&self) -> Option<bool> {
        match &self.kind {
            ValueKind::Boolean(truth) => Some(*truth),
            ValueKind::String(text) if self.from_environment => text.trim().to_lowercase().parse().ok(),
            _ => None,
        }
    }
}

/// One table, being read.
pub(super) struct Section<'m> {
    path: String,
    table: Map<String, Value>,
    known: Vec<&'static str>,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'m> Section<'m> {
    /// Begins to read a table; the root has an empty path.
    pub(super) fn new(path: String, table: Map<String, Value>, mistakes: &'m mut Vec<Mistake>) -> Self {
        Self { path, table, known: Vec::new(), mistakes }
    }

    /// The path of a key of this table.
    pub(super) fn key(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// True if nothing stands in it.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// True if a mistake was told of this key or of something in it.
    pub(super) fn was_told(&self, key: &str) -> bool {
        let is_of_key = |told: &str| told.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.mistakes.iter().any(|mistake| is_of_key(&mistake.key))
    }

    /// True if a key that was not taken yet is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// The text of a key that was not taken yet.
    pub(super) fn peek_text(&self, name: &str) -> Option<String> {
        match &self.table.get(name)?.kind {
            ValueKind::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// How many mistakes there are so far.
    pub(super) fn mistake_count(&self) -> usize {
        self.mistakes.len()
    }

    pub(super) fn push(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Takes a key out, whatever stands there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Found> {
        self.known.push(name);
        let value = self.table.remove(name)?;
        Some(Found::new(self.key(name), value))
    }

    /// A table inside this one, empty if it isn't there.
    pub(super) fn table(&mut self, name: &'static str) -> Section<'_> {
        let path = self.key(name);
        let table = match self.take(name) {
            None => Map::new(),
            Some(Found { kind: ValueKind::Table(table), .. }) => table,
            Some(found) => {
                self.push(found.mistake(format!("must be a table: [{name}]")));
                Map::new()
            }
        };
        Section::new(path, table, self.mistakes)
    }

    /// The tables of an array such as `[[node]]`, each with its path.
    pub(super) fn tables(&mut self, name: &'static str, most: usize) -> Vec<(String, Map<String, Value>)> {
        let found = match self.take(name) {
            None => return Vec::new(),
            Some(found) => found,
        };
        let right = format!("must be tables, each headed [[{name}]]");
        let ValueKind::Array(values) = found.kind else {
            self.push(found.mistake(right));
            return Vec::new();
        };
        if values.len() > most {
            self.push(Mistake::at(found.key, format!("must be {most} at most")));
            return Vec::new();
        }
        let mut tables = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let found = Found::new(format!("{}.{index}", found.key), value);
            match found.kind {
                ValueKind::Table(table) => tables.push((found.key, table)),
                _ => self.push(found.mistake(&right)),
            }
        }
        tables
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let found = self.take(name)?;
        match found.text() {
            Some(text) if !text.trim().is_empty() => Some(text.to_owned()),
            _ => {
                self.push(found.mistake("must be a text in quotes, not empty"));
                None
            }
        }
    }

    /// A text that no mistake repeats.
    pub(super) fn hidden_text(&mut self, name: &'static str) -> Option<(String, bool)> {
        let found = self.take(name)?;
        match found.text() {
            Some(text) if !text.is_empty() => Some((text.to_owned(), found.from_environment)),
            _ => {
                self.push(found.hidden_mistake("must be a text in quotes, not empty"));
                None
            }
        }
    }

    pub(super) fn truth(&mut self, name: &'static str, default: bool) -> bool {
        let Some(found) = self.take(name) else {
            return default;
        };
        found.truth().unwrap_or_else(|| {
            self.push(found.mistake("must be true or false, without quotes"));
            default
        })
    }

    /// A whole number within its bounds.
    pub(super) fn number(&mut self, name: &'static str, bounds: Bounds<u64>) -> u64 {
        let Bounds { least, most, .. } = bounds;
        let right = format!("must be a whole number from {least} to {most}");
        self.bounded(name, bounds, &right, Found::whole_number)
    }

    /// A duration within its bounds; a plain number counts seconds.
    pub(super) fn duration(&mut self, name: &'static str, bounds: Bounds<Duration>) -> Duration {
        let (least, most) = (show_duration(bounds.least), show_duration(bounds.most));
        let right = format!("must be a duration such as \"10 s\" (units us, ms, s, min, h, d), from {least} to {most}");
        self.bounded(name, bounds, &right, |found| match found.whole_number() {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => found.text().and_then(parse_duration),
        })
    }

    /// A number of bytes within its bounds.
    pub(super) fn size(&mut self, name: &'static str, bounds: Bounds<ByteSize>) -> ByteSize {
        let Bounds { least, most, .. } = bounds;
        let right = format!("must be a size such as \"10 GiB\" (units B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), from {least} to {most}");
        self.bounded(name, bounds, &right, |found| match found.whole_number() {
            Some(bytes) => Some(ByteSize(bytes)),
            None => found.text().and_then(parse_size),
        })
    }

    fn bounded<T: PartialOrd + Copy>(
        &mut self,
        name: &'static str,
        bounds: Bounds<T>,
        right: &str,
        read: impl Fn(&Found) -> Option<T>,
    ) -> T {
        let Some(found) = self.take(name) else {
            return bounds.default;
        };
        match read(&found) {
            Some(value) if value >= bounds.least && value <= bounds.most => value,
            _ => {
                self.push(found.mistake(right));
                bounds.default
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&'static str, T)], default: T) -> T {
        let Some(found) = self.take(name) else {
            return default;
        };
        let text = found.text().unwrap_or_default();
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return *choice;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let mut right = format!("must be one of {}", words.join(", "));
        if let Some(meant) = did_you_mean(text, words) {
            right.push_str(&format!("; did you mean \"{meant}\"?"));
        }
        self.push(found.mistake(right));
        default
    }

    /// A list of texts, `None` if the key isn't there.
    pub(super) fn list(&mut self, name: &'static str, most: usize) -> Option<Vec<Found>> {
        let found = self.take(name)?;
        let values = match &found.kind {
            ValueKind::Array(values) => values.clone(),
            ValueKind::String(text) if found.from_environment => split_at_commas(text),
            _ => {
                self.push(found.mistake("must be a list of texts, such as [\"example.com\"]"));
                return None;
            }
        };
        if values.len() > most {
            self.push(found.hidden_mistake(format!("must hold {most} at most")));
            return None;
        }
        let entries = values.into_iter().enumerate();
        Some(entries.map(|(index, value)| Found::new(format!("{}.{index}", found.key), value)).collect())
    }

    /// Ends the table: what was not asked for is a mistake. Its value is not shown, since it may be a secret under a mistyped key.
    pub(super) fn finish(mut self) {
        let mut unknown: Vec<(String, Value)> = self.table.drain().collect();
        unknown.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, value) in unknown {
            let found = Found::new(self.key(&name), value);
            let right = match did_you_mean(&name, self.known.iter().copied()) {
                Some(meant) => format!("unknown; did you mean \"{meant}\"?"),
                None => format!("unknown; known here are {}", self.known.join(", ")),
            };
            self.push(found.hidden_mistake(right));
        }
    }
}

fn split_at_commas(text: &str) -> Vec<Value> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| Value::new(Some(&ORIGIN.to_owned()), part)).collect()
}

/// The text of a list's entry.
pub(super) fn entry_text(found: &Found) -> Result<&str, Mistake> {
    found.text().ok_or_else(|| found.mistake("must be a text in quotes"))
}
