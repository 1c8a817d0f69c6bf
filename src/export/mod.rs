//! Exports: what a query finds, as files for other people's programs, with an account of what they hold.
//!
//! An [`Export`] says what, how, by whom and why. [`produce`] builds it in a directory beside the one that is asked for, which gets
//! its name only when everything is there and counted. In the order in which an export walks: `request` is what was asked for;
//! `walk` reads conversation by conversation, with what was done to its messages (`amended`), and hands on units (`unit`: one conversation, one day); a format (`formats`) writes each
//! unit into the `folder`; `checkpoint` remembers how far it is, so that [`resume`] goes on after a power cut with the same bytes;
//! `manifest` counts what was written once more, from the files, and says what the export holds and what may be missing.
//!
//! What is written depends on the archive and the request alone: no clock, no chance, no machine. Only the manifest tells when.

mod amended;
mod changes;
mod checkpoint;
pub(crate) mod columns;
pub mod daily;
pub mod deliver;
mod engine;
mod folder;
mod formats;
pub mod job;
mod late;
mod manifest;
pub mod parcel;
pub(crate) mod record;
mod request;
pub(crate) mod s3;
pub mod series;
#[cfg(test)]
mod tests;
mod told;
mod unit;
pub mod verify;
mod walk;
pub(crate) mod words;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub use engine::{produce, resume};
pub use folder::partial;
pub use manifest::produced;
pub use request::{Export, Format};

use crate::store::StoreError;

/// How far an export is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Messages written so far.
    pub messages: u64,
    /// Messages that the query finds.
    pub total: u64,
}

/// What an export is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Counting what the query finds.
    #[default]
    Counting,
    /// Writing messages.
    Writing,
    /// Reading back what was written.
    Checking,
    /// Handing on what was finished.
    Delivering,
}

/// Is told now and then how far it is; may have it stop, to be resumed later.
pub type Watch<'a> = &'a (dyn Fn(Progress) -> ControlFlow<()> + Send + Sync);

/// A finished export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Where it is.
    pub directory: PathBuf,
    /// How many messages it holds.
    pub messages: u64,
    /// How many files, the manifest and the list of hashes included.
    pub files: u64,
    /// The SHA-256 of `SHA256SUMS`, which names all other files: whoever keeps this elsewhere can tell whether anything was changed.
    pub sums_sha256: String,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The archive can't be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A file can't be written or read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// There is something by that name already.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// A part of an earlier export is there.
    #[error("an unfinished export is there, {}: resume it, or remove it", .0.display())]
    Unfinished(PathBuf),
    /// Nothing to resume.
    #[error("there is no unfinished export {}", .0.display())]
    NothingToResume(PathBuf),
    /// Another process builds it.
    #[error("another process is writing {}", .0.display())]
    Busy(PathBuf),
    /// What is there is not what was written.
    #[error("{} can't be resumed: {said}; remove it and begin anew", path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        said: String,
    },
    /// The request can't be met.
    #[error("{0}")]
    Refused(String),
    /// A format can't express something.
    #[error("{0}")]
    Format(String),
    /// Whoever should get it did not take it.
    #[error("not delivered: {0}")]
    Undelivered(String),
    /// It was stopped, and can be resumed.
    #[error("stopped; what is written so far is in {} and can be resumed", .0.display())]
    Stopped(PathBuf),
    /// The counts do not agree.
    #[error(
        "withheld: the query finds {expected} messages, {written} were written, and {read_back} are in the files; what there is stays in {}",
        partial.display()
    )]
    Withheld {
        /// Where it lies.
        partial: PathBuf,
        /// What the query finds.
        expected: u64,
        /// What was handed to the format.
        written: u64,
        /// What the files hold.
        read_back: u64,
    },
}

impl ExportError {
    /// How far the export was that failed, as the audit trail is told it: what the query finds, what was written, and what is in the files, as far
    /// as that is known; null if none of it is.
    pub fn counts(&self, progress: Option<Progress>) -> serde_json::Value {
        match (self, progress) {
            (Self::Withheld { expected, written, read_back, .. }, _) => {
                serde_json::json!({ "query_finds": expected, "written": written, "in_files": read_back })
            }
            (_, Some(Progress { stage: Stage::Writing | Stage::Checking, messages, total })) => {
                serde_json::json!({ "query_finds": total, "written": messages })
            }
            _ => serde_json::Value::Null,
        }
    }

    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }

    fn damaged(path: &Path, said: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), said: said.to_string() }
    }

    fn format(error: impl ToString) -> Self {
        Self::Format(error.to_string())
    }
}
