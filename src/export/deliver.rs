//! Hands finished exports of a series on to where they belong, each exactly once as far as the other side allows.
//!
//! How far an export is delivered stands in a file beside it, `.sent-FIRST-LAST`, and is made durable after each step. When the process dies
//! between the answer of the mail server and that, one mail comes twice, with the same `Message-ID`. When all is delivered, the export keeps its
//! manifest and its hashes here, and loses its other files.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::AsyncTransport;
use lettre::address::Envelope;
use lettre::message::Mailbox;

use super::daily::keep;
use super::manifest::SUMS;
use super::{ExportError, Progress, Stage, Watch, s3, series};
use crate::config::EmailConfig;
use crate::notify::email::{transport, with_sources};

/// What an export is of which all is delivered.
pub(super) const ALL: &str = "all";
/// The largest mail that is sent, as a bound on memory: a unit has at most 8 MiB of text, and stands in it three times.
const MAX_MAIL_BYTES: u64 = 256 << 20;

/// How long a mail server may take for a mail, and how many bytes a second it takes at least (RFC 5321 §4.5.3.2 allows ten minutes at the end).
const PATIENCE: Duration = Duration::from_secs(600);
const SLOWEST: u64 = 64 << 10;

/// What was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Exports that are delivered as a whole.
    pub exports: u64,
    /// Mails or objects.
    pub files: u64,
}

/// Sends the mails of each export that was not delivered yet to the recipients of the settings, whoever is named in the mails.
///
/// # Errors
/// When a file can't be read, or the mail server does not take a mail. What it has taken is not sent again.
pub async fn by_mail(series: &Path, mail: &EmailConfig, watch: Watch<'_>) -> Result<Delivered, ExportError> {
    let envelope = envelope(mail).map_err(ExportError::Undelivered)?;
    let transport = transport(mail).map_err(ExportError::Undelivered)?;
    let mut delivered = Delivered::default();
    for directory in series::finished(series)? {
        let note = note(&directory);
        let Some(done) = done(&note)? else { continue };
        let mut sent = 0;
        for name in mails(&directory)? {
            let name = name?;
            sent += 1;
            if sent <= done {
                continue;
            }
            tell(watch, &directory, sent)?;
            let bytes = letter(&directory.join(name))?;
            let patience = PATIENCE + Duration::from_secs(bytes.len() as u64 / SLOWEST);
            let sent_off = tokio::time::timeout(patience, transport.send_raw(&envelope, &bytes)).await;
            let silent = |_elapsed| ExportError::Undelivered(format!("the mail server did not answer within {} s", patience.as_secs()));
            sent_off.map_err(silent)?.map_err(|error| ExportError::Undelivered(with_sources(&error)))?;
            keep(&note, &sent.to_string())?;
            delivered.files += 1;
        }
        thin(&directory)?;
        keep(&note, ALL)?;
        delivered.exports += 1;
    }
    Ok(delivered)
}

fn envelope(mail: &EmailConfig) -> Result<Envelope, String> {
    let address = |text: &String| text.parse::<Mailbox>().map(|mailbox| mailbox.email).map_err(|error| format!("{text}: {error}"));
    let to = mail.to.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    Envelope::new(Some(address(&mail.from)?), to).map_err(|error| error.to_string())
}

/// The file that says how far an export is delivered.
pub(super) fn note(directory: &Path) -> PathBuf {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    directory.with_file_name(format!(".sent-{name}"))
}

/// Whether all of an export was delivered, so that its mails do not lie here any more.
pub(super) fn is_delivered(directory: &Path) -> Result<bool, ExportError> {
    Ok(done(&note(directory))?.is_none())
}

/// How many mails of an export were taken; none if all were.
fn done(note: &Path) -> Result<Option<u64>, ExportError> {
    match fs::read_to_string(note) {
        Ok(text) if text.trim() == ALL => Ok(None),
        // What was noted of a bucket says nothing of mails.
        Ok(text) if text.starts_with(s3::WORD) => Ok(Some(0)),
        Ok(text) => text.trim().parse().map(Some).map_err(|error| ExportError::damaged(note, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some(0)),
        Err(error) => Err(ExportError::file(note)(error)),
    }
}

/// The mails of an export, in its order.
fn mails(directory: &Path) -> Result<impl Iterator<Item = Result<String, ExportError>> + use<>, ExportError> {
    let path = directory.join(SUMS);
    let sums = File::open(&path).map_err(ExportError::file(&path))?;
    let name = move |line: std::io::Result<String>| match line {
        Ok(line) => line.split_once("  ").map(|(_, name)| name.to_owned()).filter(|name| name.ends_with(".eml")).map(Ok),
        Err(error) => Some(Err(ExportError::file(&path)(error))),
    };
    Ok(BufReader::new(sums).lines().filter_map(name))
}

fn letter(path: &Path) -> Result<Vec<u8>, ExportError> {
    let bytes = fs::metadata(path).map_err(ExportError::file(path))?.len();
    match bytes <= MAX_MAIL_BYTES {
        true => fs::read(path).map_err(ExportError::file(path)),
        false => Err(ExportError::Undelivered(format!("{} has {bytes} bytes, which no mail may have", path.display()))),
    }
}

/// Leaves only the account of an export.
fn thin(directory: &Path) -> Result<(), ExportError> {
    for entry in fs::read_dir(directory).map_err(ExportError::file(directory))? {
        let path = entry.map_err(ExportError::file(directory))?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(ExportError::file(&path))?;
        }
    }
    Ok(())
}

pub(super) fn tell(watch: Watch<'_>, directory: &Path, sent: u64) -> Result<(), ExportError> {
    match watch(Progress { stage: Stage::Delivering, messages: sent, total: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ExportError::Stopped(directory.to_owned())),
    }
}
