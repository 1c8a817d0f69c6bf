//! A node's secret: where it comes from, and how it is read.
//!
//! It is read when a node is attached to, not when the configuration is: commands that only read the archive run for
//! people who may not see it, and a secret that was changed is found by the next connection.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Serialize, Serializer};

use super::defaults::SECRET_FILE_BYTES;
use super::url::HIDDEN;

/// Where a secret comes from.
#[derive(Clone, Debug, Serialize)]
pub enum SecretSource {
    /// It stands in the configuration.
    #[serde(rename = "secret", serialize_with = "hide")]
    Inline(SecretString),
    /// It is the content of a file, the line's end aside.
    #[serde(rename = "secret_file")]
    File(PathBuf),
    /// It is the value of an environment variable.
    #[serde(rename = "secret_env")]
    Env(String),
}

/// Why a secret can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("can't be read ({}): {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is larger than any secret.
    #[error("is no secret: {} is larger than 4 KiB", .0.display())]
    TooLarge(PathBuf),
    /// The variable isn't there, or isn't UTF-8.
    #[error("names the variable {0}, which is not set (or not UTF-8)")]
    NotSet(String),
    /// Nothing is in it.
    #[error("leads to an empty secret")]
    Empty,
}

impl SecretSource {
    /// The key that this kind of secret has in the configuration.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Inline(_) => "secret",
            Self::File(_) => "secret_file",
            Self::Env(_) => "secret_env",
        }
    }

    /// The secret itself.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = match self {
            Self::Inline(secret) => return Ok(secret.clone()),
            Self::File(path) => read_file(path)?,
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(_) => return Err(SecretError::NotSet(name.clone())),
            },
        };
        match text.is_empty() {
            true => Err(SecretError::Empty),
            false => Ok(text.into()),
        }
    }
}

fn read_file(path: &PathBuf) -> Result<String, SecretError> {
    let failed = |source| SecretError::File { path: path.clone(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(SECRET_FILE_BYTES + 1).read_to_string(&mut text)).map_err(failed)?;
    if text.len() as u64 > SECRET_FILE_BYTES {
        return Err(SecretError::TooLarge(path.clone()));
    }
    // Editors and `echo` end the file with a line's end, which is no part of the secret.
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn hide<S: Serializer>(_: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(HIDDEN)
}
