//! How one file becomes one object: never over another one, never twice, held as asked, and with the bytes whose hash the export names.
//!
//! First it is looked whether the object is there. One with the same bytes is taken for delivered, whoever put it; one with others stays, and is told.
//! A file larger than a part is sent in parts, one at a time in memory. What an upload leaves that was broken off is removed by the next one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use jiff::Timestamp;
use quick_xml::escape::escape;
use sha2::{Digest, Sha256};

use super::bucket::{Bucket, Found, Put, SHA256_METADATA};
use super::lock::{Lack, Lock};
use super::said::Failure;
use crate::config::S3Config;
use crate::export::ExportError;
use crate::export::manifest::hex;

/// An object has 10,000 parts at most.
const MOST_PARTS: u64 = 10_000;

/// A file and what it becomes.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) path: PathBuf,
    pub(super) key: String,
    /// Its SHA-256, as the export names it.
    pub(super) sha256: String,
}

/// Is told what an upload of several parts is named before its first part is sent, and whether to go on before each.
pub(super) trait Notes {
    fn begun(&mut self, upload: &str) -> Result<(), ExportError>;
    fn go_on(&self) -> Result<(), ExportError>;
}

/// Puts files into a bucket.
pub(super) struct Uploader {
    pub(super) bucket: Bucket,
    lock: Lock,
    part_bytes: u64,
}

/// The checksum of an object of several parts: the SHA-256 of their hashes, and how many they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OfParts(String, u32);

/// A file that is read part by part.
struct Parts {
    file: File,
    bytes: u64,
    part_bytes: u64,
    whole: Sha256,
    of_parts: Sha256,
    last: [u8; 32],
    count: u32,
}

impl Uploader {
    pub(super) fn new(bucket: Bucket, config: &S3Config) -> Self {
        Self { bucket, lock: Lock::new(config), part_bytes: config.part_size.0 }
    }

    /// Has the file in the bucket, held.
    pub(super) async fn deliver(&self, parcel: &Parcel, notes: &mut (dyn Notes + Send)) -> Result<(), ExportError> {
        if let Some(found) = self.find(parcel).await? {
            self.compare(parcel, &found, None).await?;
            return self.hold(parcel, found).await;
        }
        let of_parts = self.put(parcel, notes).await?;
        let found = self.find(parcel).await?.ok_or_else(|| self.wrong(parcel, "it was taken and is not there", SEE_BUCKET))?;
        self.compare(parcel, &found, of_parts).await?;
        self.hold(parcel, found).await
    }

    async fn find(&self, parcel: &Parcel) -> Result<Option<Found>, ExportError> {
        self.bucket.find(&parcel.key).await.map_err(|failure| self.failed(parcel, &failure))
    }

    /// Whether it is ours that is there then is seen in a moment.
    async fn put(&self, parcel: &Parcel, notes: &mut (dyn Notes + Send)) -> Result<Option<OfParts>, ExportError> {
        let parts = Parts::of(&parcel.path, self.part_bytes)?;
        if parts.bytes > parts.part_bytes {
            return self.put_parts(parcel, parts, notes).await.map(Some);
        }
        let (parts, body) = parts.next(&parcel.path).await?;
        unchanged(parcel, &parts.sha256())?;
        let put = self.bucket.put(&parcel.key, body, self.headers(parcel)).await;
        put.map(|_done_or_there| None).map_err(|failure| self.failed(parcel, &failure))
    }

    /// What an upload of several parts left is removed, whatever became of it.
    async fn put_parts(&self, parcel: &Parcel, parts: Parts, notes: &mut (dyn Notes + Send)) -> Result<OfParts, ExportError> {
        let begun = self.bucket.begin(&parcel.key, self.headers(parcel)).await;
        let upload = begun.map_err(|failure| self.failed(parcel, &failure))?;
        let sent = match notes.begun(&upload) {
            Ok(()) => self.send_parts(parcel, parts, &upload, notes).await,
            Err(error) => Err(error),
        };
        if !matches!(sent, Ok((Put::Done, _))) {
            self.forget(&parcel.key, &upload).await;
        }
        sent.map(|(_done_or_there, of_parts)| of_parts)
    }

    async fn send_parts(
        &self,
        parcel: &Parcel,
        mut parts: Parts,
        upload: &str,
        notes: &mut (dyn Notes + Send),
    ) -> Result<(Put, OfParts), ExportError> {
        let failed = |failure: Failure| self.failed(parcel, &failure);
        let mut list = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        while parts.has_more() {
            notes.go_on()?;
            let body;
            (parts, body) = parts.next(&parcel.path).await?;
            let tag = self.bucket.part(&parcel.key, upload, parts.count, body).await.map_err(failed)?;
            let (number, tag, checksum) = (parts.count, escape(&tag), STANDARD.encode(parts.last));
            list.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag><ChecksumSHA256>{checksum}</ChecksumSHA256></Part>"
            ));
        }
        list.push_str("</CompleteMultipartUpload>");
        unchanged(parcel, &parts.sha256())?;
        let put = match self.bucket.complete(&parcel.key, upload, list).await {
            // The answer to an earlier try may have been lost.
            Err(failure) if failure.is("NoSuchUpload", 404) => Put::Done,
            other => other.map_err(failed)?,
        };
        Ok((put, parts.of_parts()))
    }

    /// Has the server forget an upload. If it does not, the bucket's own rules do some day.
    pub(super) async fn forget(&self, key: &str, upload: &str) {
        if let Err(failure) = self.bucket.abort(key, upload).await {
            log::warn!("{}: what was sent of it is still there: {failure}", self.bucket.place(key));
        }
    }

    fn headers(&self, parcel: &Parcel) -> super::bucket::Headers {
        let mut headers = self.lock.headers(Timestamp::now());
        headers.insert(SHA256_METADATA, parcel.sha256.clone());
        headers
    }

    /// Whether the object that is there is the file; `of_parts` is the checksum of its parts, if they have just been sent.
    async fn compare(&self, parcel: &Parcel, found: &Found, of_parts: Option<OfParts>) -> Result<(), ExportError> {
        let bytes = std::fs::metadata(&parcel.path).map_err(ExportError::file(&parcel.path))?.len();
        if found.bytes == bytes && self.has_hash(parcel, found, of_parts).await? {
            return Ok(());
        }
        let theirs = found.sha256.as_deref().or(found.checksum.as_deref()).unwrap_or("no hash");
        let (file, ours) = (parcel.path.display(), &parcel.sha256);
        let said = format!("another object is there ({} bytes, {theirs}) than {file} ({bytes} bytes, {ours})", found.bytes);
        Err(self.wrong(parcel, &said, "it stays as it is; find out who put it there, and choose another `prefix` or `bucket`"))
    }

    /// The server's checksum counts before what stands beside the object, which anybody may have written.
    async fn has_hash(&self, parcel: &Parcel, found: &Found, of_parts: Option<OfParts>) -> Result<bool, ExportError> {
        let beside = found.sha256.as_deref() == Some(parcel.sha256.as_str());
        let Some(checksum) = found.checksum.as_deref() else { return Ok(beside) };
        let (value, count) = checksum.split_once('-').map_or((checksum, None), |(value, count)| (value, Some(count)));
        if count.is_none() && STANDARD.decode(value).is_ok_and(|hash| hex(&hash) == parcel.sha256) {
            return Ok(true);
        }
        let OfParts(ours, our_count) = match of_parts {
            Some(of_parts) => of_parts,
            None => Parts::of(&parcel.path, self.part_bytes)?.read_all(parcel).await?,
        };
        // One that was put with parts of another size has a checksum that can't be compared.
        let is_of_other_parts = count.is_some_and(|count| count != our_count.to_string());
        Ok(if is_of_other_parts { beside } else { value == ours })
    }

    /// Sees that the object is held; what is wanting is asked for once more by itself, as some servers need for objects of several parts.
    async fn hold(&self, parcel: &Parcel, mut found: Found) -> Result<(), ExportError> {
        // Time and mark are two things to mend.
        for _ in 0..2 {
            let Some(lack) = self.lock.lacks(&found.held, Timestamp::now()) else { return Ok(()) };
            let Some((what, xml)) = self.lock.mending(&lack, Timestamp::now()) else { return Err(self.not_held(parcel, &lack)) };
            let set = self.bucket.set(&parcel.key, found.version.as_deref(), what, xml).await;
            set.map_err(|failure| self.failed(parcel, &failure))?;
            found = self.find(parcel).await?.ok_or_else(|| self.wrong(parcel, "it is gone", SEE_BUCKET))?;
        }
        self.lock.lacks(&found.held, Timestamp::now()).map_or(Ok(()), |lack| Err(self.not_held(parcel, &lack)))
    }

    fn not_held(&self, parcel: &Parcel, lack: &Lack) -> ExportError {
        let advice = match self.lock.is_left_to_bucket() {
            true => "give the bucket a default retention, or set `lock` to compliance or governance",
            false => "see whether the bucket has Object Lock, and what its default retention and this key's rights are",
        };
        self.wrong(parcel, &format!("it is there, but not locked: {lack}"), advice)
    }

    fn failed(&self, parcel: &Parcel, failure: &Failure) -> ExportError {
        self.wrong(parcel, &failure.to_string(), failure.advice())
    }

    fn wrong(&self, parcel: &Parcel, said: &str, advice: &str) -> ExportError {
        ExportError::Undelivered(format!("{}: {said}; {advice}", self.bucket.place(&parcel.key)))
    }
}

const SEE_BUCKET: &str = "see who else writes to that bucket";

/// A file that was changed since the export was made is no part of it.
fn unchanged(parcel: &Parcel, sha256: &str) -> Result<(), ExportError> {
    if sha256 == parcel.sha256 {
        return Ok(());
    }
    let said = format!("{} was changed after the export was made: its SHA-256 is {sha256}, not {}", parcel.path.display(), parcel.sha256);
    Err(ExportError::Undelivered(said))
}

impl Parts {
    fn of(path: &Path, part_bytes: u64) -> Result<Self, ExportError> {
        let file = File::open(path).map_err(ExportError::file(path))?;
        let bytes = file.metadata().map_err(ExportError::file(path))?.len();
        let part_bytes = part_bytes.max(bytes.div_ceil(MOST_PARTS));
        Ok(Self { file, bytes, part_bytes, whole: Sha256::new(), of_parts: Sha256::new(), last: [0; 32], count: 0 })
    }

    fn has_more(&self) -> bool {
        u64::from(self.count) * self.part_bytes < self.bytes
    }

    /// Reads and hashes the next part, on a thread that may wait.
    async fn next(mut self, path: &Path) -> Result<(Self, Bytes), ExportError> {
        let read = tokio::task::spawn_blocking(move || {
            let mut body = Vec::with_capacity(usize::try_from(self.part_bytes.min(self.bytes)).unwrap_or_default());
            let read = (&mut self.file).take(self.part_bytes).read_to_end(&mut body);
            self.last = Sha256::digest(&body).into();
            self.whole.update(&body);
            self.of_parts.update(self.last);
            self.count += 1;
            read.map(|_| (self, Bytes::from(body)))
        });
        let read = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        read.map_err(ExportError::file(path))
    }

    /// The checksum that S3 has for a file that is sent in these parts.
    async fn read_all(mut self, parcel: &Parcel) -> Result<OfParts, ExportError> {
        while self.has_more() {
            (self, _) = self.next(&parcel.path).await?;
        }
        unchanged(parcel, &self.sha256())?;
        Ok(self.of_parts())
    }

    /// The SHA-256 of all that was read.
    fn sha256(&self) -> String {
        hex(&self.whole.clone().finalize())
    }

    fn of_parts(&self) -> OfParts {
        OfParts(STANDARD.encode(self.of_parts.clone().finalize()), self.count)
    }
}
