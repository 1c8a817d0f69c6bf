//! `XMPP_ARCHIVER__…` variables, laid over the tree that the file gave.
//!
//! `__` stands between the keys: `XMPP_ARCHIVER__SPOOL__PATH` is `spool.path`. An entry of `[[node]]`, `[[store]]` or `[[export]]` is named by its
//! position (`NODE__0__SECRET`; the position after the last adds one) or by its name in upper case, with `_` for whatever is
//! neither letter nor digit (`NODE__ARCHIVE_EXAMPLE_COM__SECRET`). An empty variable counts as not set.

use std::ffi::OsString;

use config::{Environment, Map, Source, Value, ValueKind};

use super::defaults;
use super::mistake::Mistake;

/// What every variable's name begins with.
pub(super) const PREFIX: &str = "XMPP_ARCHIVER__";

/// What the `config` crate calls the origin of these values.
pub(super) const ORIGIN: &str = "the environment";

/// The arrays of tables.
const ARRAYS: [&str; 3] = ["store", "node", "export"];

/// The ways to give one secret: each one given here replaces those of the file.
const SECRET_KEYS: [[&str; 3]; 6] = [
    ["secret", "secret_file", "secret_env"],
    ["webhook_secret", "webhook_secret_file", "webhook_secret_env"],
    ["password", "password_file", "password_env"],
    ["client_secret", "client_secret_file", "client_secret_env"],
    ["secret_access_key", "secret_access_key_file", "secret_access_key_env"],
    ["session_token", "session_token_file", "session_token_env"],
];

/// Lays the variables over `root`.
pub(super) fn merge(root: &mut Map<String, Value>, variables: impl Iterator<Item = (OsString, OsString)>, mistakes: &mut Vec<Mistake>) {
    let ours = readable(variables, mistakes);
    let source = Environment::with_prefix("XMPP_ARCHIVER").prefix_separator("__").separator("__").ignore_empty(true).source(Some(ours));
    let values = match source.collect() {
        Ok(values) => values,
        Err(error) => {
            mistakes.push(Mistake::at(PREFIX, error.to_string()));
            return;
        }
    };
    let mut values: Vec<(Vec<String>, Value)> =
        values.into_iter().map(|(key, value)| (key.split('.').map(str::to_owned).collect(), value)).collect();
    values.sort_by_cached_key(|(path, _)| path.iter().map(|key| order(key)).collect::<Vec<_>>());
    for (path, value) in values {
        if let Err(right) = set(root, &path, value) {
            let mut mistake = Mistake::at(path.join("."), right);
            mistake.from_environment = true;
            mistakes.push(mistake);
        }
    }
}

/// Positions in the order of the numbers, so that 0 to 10 can all be added.
fn order(key: &str) -> (usize, String) {
    (key.parse().unwrap_or(usize::MAX), key.to_owned())
}

/// The variables that are meant for us, as text.
fn readable(variables: impl Iterator<Item = (OsString, OsString)>, mistakes: &mut Vec<Mistake>) -> Map<String, String> {
    let mut ours = Map::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                ours.insert(name.to_owned(), value);
            }
            Err(_) => mistakes.push(Mistake::at(name, "must be UTF-8")),
        }
    }
    ours
}

fn set(root: &mut Map<String, Value>, path: &[String], value: Value) -> Result<(), String> {
    match path {
        [array, entry, rest @ ..] if ARRAYS.contains(&array.as_str()) && !rest.is_empty() => {
            let entries = array_of(root, array)?;
            let table = entry_of(entries, array, entry)?;
            set_plain(table, rest, value)
        }
        [array, ..] if ARRAYS.contains(&array.as_str()) => {
            Err(format!("must name an entry and its key: {PREFIX}{}__0__NAME", array.to_uppercase()))
        }
        _ => set_plain(root, path, value),
    }
}

fn set_plain(table: &mut Map<String, Value>, path: &[String], value: Value) -> Result<(), String> {
    match path {
        [] => Err("must name a key".to_owned()),
        [key] => {
            drop_other_secrets(table, key);
            table.insert(key.clone(), value);
            Ok(())
        }
        [key, rest @ ..] => {
            let inner = table.entry(key.clone()).or_insert_with(|| environment_value(Map::<String, Value>::new()));
            match &mut inner.kind {
                ValueKind::Table(inner) => set_plain(inner, rest, value),
                _ => Err(format!("unknown; \"{key}\" is no table")),
            }
        }
    }
}

fn environment_value(kind: impl Into<ValueKind>) -> Value {
    Value::new(Some(&ORIGIN.to_owned()), kind)
}

fn array_of<'t>(root: &'t mut Map<String, Value>, name: &str) -> Result<&'t mut Vec<Value>, String> {
    let value = root.entry(name.to_owned()).or_insert_with(|| environment_value(Vec::<Value>::new()));
    match &mut value.kind {
        ValueKind::Array(entries) => Ok(entries),
        _ => Err(format!("can't be set: \"{name}\" is no array of tables")),
    }
}

/// The entry at a position or of a name.
fn entry_of<'t>(entries: &'t mut Vec<Value>, array: &str, entry: &str) -> Result<&'t mut Map<String, Value>, String> {
    let names: Vec<String> = entries.iter().map(|value| variable_name(array, value)).collect();
    let index = match entry.parse::<usize>() {
        Ok(index) => index,
        Err(_) => position_of(&names, entry)?,
    };
    if index == entries.len() {
        entries.push(environment_value(Map::<String, Value>::new()));
    }
    let count = entries.len();
    match entries.get_mut(index).map(|value| &mut value.kind) {
        Some(ValueKind::Table(table)) => Ok(table),
        Some(_) => Err("can't be set: this entry is no table".to_owned()),
        None => Err(format!("there are only {count} of [[{array}]]")),
    }
}

fn position_of(names: &[String], wanted: &str) -> Result<usize, String> {
    let mut matches = names.iter().enumerate().filter(|(_, name)| *name == wanted).map(|(index, _)| index);
    match (matches.next(), matches.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => Err("means several entries; use the position".to_owned()),
        (None, _) if names.is_empty() => Err("names no entry: none is configured; use the position, 0 for the first".to_owned()),
        (None, _) => Err(format!("names no entry; there are {}", names.join(", "))),
    }
}

/// An entry's name as it stands in a variable, in lower case. A node without one is named after its domain.
fn variable_name(array: &str, value: &Value) -> String {
    let ValueKind::Table(table) = &value.kind else {
        return String::new();
    };
    let text = |key: &str| match table.get(key).map(|value| &value.kind) {
        Some(ValueKind::String(text)) => Some(text.clone()),
        _ => None,
    };
    let name = text("name").unwrap_or_else(|| match array {
        "node" => text("domain").unwrap_or_default(),
        "export" => defaults::EXPORT_NAME.to_owned(),
        _ => defaults::STORE_NAME.to_owned(),
    });
    let fold = |c: char| if c.is_alphanumeric() { c } else { '_' };
    name.to_lowercase().chars().map(fold).collect()
}

fn drop_other_secrets(table: &mut Map<String, Value>, key: &str) {
    let ways = SECRET_KEYS.iter().find(|ways| ways.contains(&key));
    for other in ways.into_iter().flatten().copied() {
        let from_file = table.get(other).is_some_and(|value| value.origin() != Some(ORIGIN));
        if from_file {
            table.remove(other);
        }
    }
}
