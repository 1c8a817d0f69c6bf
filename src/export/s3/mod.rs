//! Puts the exports of a series into a bucket of S3 or of a server that speaks it, each file as one object that is locked.
//!
//! In the order in which a file goes: `upload` has it there once, `lock` says how it is held, `bucket` asks the server, `said` is what the server says
//! when it refuses, `sign` is by what it knows us, `wire` the connection. The list of hashes is put there last, so an export in which it stands is whole.

mod bucket;
mod lock;
mod said;
mod sign;
mod upload;
mod wire;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

pub(crate) use self::bucket::{Bucket, Rule};
use self::upload::{Notes, Parcel, Uploader};
use super::daily::keep;
use super::deliver::{ALL, Delivered, note, tell};
use super::late::NUMBERS;
use super::manifest::{MANIFEST, SUMS, hex};
use super::{ExportError, Watch, series};
use crate::config::{S3Config, S3Lock};

/// How often it is noted how far an export is. More seldom than after each file: what is there already is found there.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// What the note of a bucket begins with; a mail's is a number.
pub(super) const WORD: &str = "s3";

/// Puts each export that was not delivered yet into the bucket of the settings.
///
/// # Errors
/// When a file can't be read, or the server does not take it, has another one in its place, or does not lock it. What is there is not sent again.
pub(super) async fn by_s3(series: &Path, config: &S3Config, watch: Watch<'_>) -> Result<Delivered, ExportError> {
    let mut uploader = None;
    let mut delivered = Delivered::default();
    for directory in series::finished(series)? {
        let mut hand = Hand { note: note(&directory), done: 0, noted_at: Instant::now(), directory, watch };
        let Some(torn) = hand.take_up()? else { continue };
        let uploader = match &mut uploader {
            Some(uploader) => uploader,
            none => none.insert(open(config).await?),
        };
        if let Some((key, upload)) = torn {
            uploader.forget(&key, &upload).await;
        }
        delivered.files += hand.deliver(uploader, &config.prefix).await?;
        thin(&hand.directory)?;
        keep(&hand.note, ALL)?;
        delivered.exports += 1;
    }
    Ok(delivered)
}

/// A bucket that can lock nothing is told before anything is sent. Whether it does is seen from each object.
async fn open(config: &S3Config) -> Result<Uploader, ExportError> {
    let bucket = Bucket::new(config).map_err(ExportError::Undelivered)?;
    let (said, advice) = match bucket.rule().await {
        Ok(rule) => match judge(config, &rule) {
            Ok(_) => return Ok(Uploader::new(bucket, config)),
            Err((said, advice)) => (said.to_owned(), advice),
        },
        // This key may put objects there and not see the bucket's settings, or the server has no such question.
        Err(failure) if failure.is("AccessDenied", 403) || failure.is("NotImplemented", 501) => return Ok(Uploader::new(bucket, config)),
        Err(failure) => (failure.to_string(), failure.advice()),
    };
    Err(ExportError::Undelivered(format!("s3://{}: {said}; {advice}", config.bucket)))
}

/// Whether a bucket can lock as the settings want it: what it does by itself, or what is wrong and what to do.
pub(crate) fn judge(config: &S3Config, rule: &Rule) -> Result<String, (&'static str, &'static str)> {
    match rule {
        Rule::Off => Err(("the bucket has no Object Lock", "turn on Object Lock (and versioning) for it, or make a bucket with it")),
        Rule::On if config.lock == S3Lock::Bucket => Err((
            "the bucket has Object Lock and no default retention, so nothing would be locked",
            "give it a default retention, or set `lock` to compliance or governance",
        )),
        Rule::On => Ok("Object Lock is on".to_owned()),
        Rule::Default(rule) => Ok(format!("Object Lock is on, by default {rule}")),
    }
}

/// An export in hand, and how far it is.
struct Hand<'a> {
    directory: PathBuf,
    note: PathBuf,
    /// Files that are there.
    done: u64,
    noted_at: Instant,
    watch: Watch<'a>,
}

/// An upload that was broken off: the key, and what the server calls it.
type Torn = Option<(String, String)>;

impl Hand<'_> {
    /// Reads the note; none if all is delivered.
    fn take_up(&mut self) -> Result<Option<Torn>, ExportError> {
        let text = match fs::read_to_string(&self.note) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some(None)),
            Err(error) => return Err(ExportError::file(&self.note)(error)),
        };
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        if head == ALL {
            return Ok(None);
        }
        // Whatever was noted of a mail says nothing of the bucket.
        self.done = head.strip_prefix(WORD).and_then(|rest| rest.trim().parse().ok()).unwrap_or_default();
        Ok(Some(lines.next().and_then(|line| line.split_once(' ')).map(|(upload, key)| (key.to_owned(), upload.to_owned()))))
    }

    fn keep(&mut self, torn: &str) -> Result<(), ExportError> {
        self.noted_at = Instant::now();
        keep(&self.note, &format!("{WORD} {}\n{torn}", self.done))
    }

    /// How many files were put there now.
    async fn deliver(&mut self, uploader: &Uploader, prefix: &str) -> Result<u64, ExportError> {
        let (mut number, mut put) = (0, 0);
        for parcel in parcels(&self.directory, prefix)? {
            let parcel = parcel?;
            number += 1;
            if number <= self.done {
                continue;
            }
            tell(self.watch, &self.directory, number)?;
            let mut notes = UploadNotes { key: parcel.key.clone(), number, is_torn: false, hand: self };
            uploader.deliver(&parcel, &mut notes).await?;
            let was_torn = notes.is_torn;
            (self.done, put) = (number, put + 1);
            if was_torn || self.noted_at.elapsed() >= NOTE_EVERY {
                self.keep("")?;
            }
        }
        // What is removed now is not looked for again.
        self.keep("")?;
        Ok(put)
    }
}

/// What is noted of the upload of one file.
struct UploadNotes<'h, 'w> {
    hand: &'h mut Hand<'w>,
    key: String,
    number: u64,
    is_torn: bool,
}

impl Notes for UploadNotes<'_, '_> {
    fn begun(&mut self, upload: &str) -> Result<(), ExportError> {
        self.is_torn = true;
        self.hand.keep(&format!("{upload} {}", self.key))
    }

    fn go_on(&self) -> Result<(), ExportError> {
        tell(self.hand.watch, &self.hand.directory, self.number)
    }
}

/// The files of an export in the order in which they go: as the list of hashes names them, its manifest last, and then the list itself.
fn parcels(directory: &Path, prefix: &str) -> Result<impl Iterator<Item = Result<Parcel, ExportError>> + use<>, ExportError> {
    let path = directory.join(SUMS);
    let sums = File::open(&path).map_err(ExportError::file(&path))?;
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let place = format!("{prefix}/{name}");
    let list = Parcel { path: path.clone(), key: format!("{place}/{SUMS}"), sha256: hash_of_list(&path)? };
    let directory = directory.to_owned();
    let parcel = move |line: std::io::Result<String>| {
        let line = line.map_err(ExportError::file(&path))?;
        let (sha256, name) = line.split_once("  ").ok_or_else(|| ExportError::damaged(&path, "a line without a hash"))?;
        Ok(Parcel { path: directory.join(name), key: format!("{place}/{name}"), sha256: sha256.to_owned() })
    };
    Ok(BufReader::new(sums).lines().map(parcel).chain([Ok(list)]))
}

/// The list may have a million lines.
fn hash_of_list(path: &Path) -> Result<String, ExportError> {
    let mut file = File::open(path).map_err(ExportError::file(path))?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer).map_err(ExportError::file(path))?;
        let Some(some) = buffer.get(..read).filter(|some| !some.is_empty()) else { break };
        hasher.update(some);
    }
    Ok(hex(&hasher.finalize()))
}

/// Leaves only the account of an export, and the numbers from which the next one knows what was in it.
fn thin(directory: &Path) -> Result<(), ExportError> {
    for entry in fs::read_dir(directory).map_err(ExportError::file(directory))? {
        let entry = entry.map_err(ExportError::file(directory))?;
        let path = entry.path();
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(ExportError::file(&path))?;
        } else if ![MANIFEST, SUMS, NUMBERS].iter().any(|kept| entry.file_name() == *kept) {
            fs::remove_file(&path).map_err(ExportError::file(&path))?;
        }
    }
    Ok(())
}
