//! The account of an export: what was asked for, by whom and when, what it holds, what may be missing, and the hash of each file.
//!
//! `manifest.json` is the only file that tells a time of its making. `SHA256SUMS` has the form that `sha256sum --check` reads. Both are
//! written file by file: there may be a million.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::changes::Changes;
use super::checkpoint::Checkpoint;
use super::folder::Folder;
use super::formats::Writer;
use super::unit::Unit;
use super::{ExportError, Produced};
use crate::gap::State;
use crate::message::content::{Kind, flags};
use crate::retrieve::{GapFound, names};
use crate::time::{Micros, now, rfc3339};

/// Their names.
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const SUMS: &str = "SHA256SUMS";
/// The version of the manifest's form.
pub(super) const VERSION: u32 = 1;
/// The line after which only files stand.
pub(super) const FILES: &str = "  \"files\": [";

/// How many messages of which sort an export holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) conversations: u64,
    pub(crate) units: u64,
    pub(crate) by_kind: BTreeMap<String, u64>,
    pub(crate) by_via: BTreeMap<String, u64>,
    pub(crate) corrected: u64,
    pub(crate) retracted: u64,
    /// Something was done to them that does not count.
    pub(crate) changed_without_effect: u64,
    pub(crate) reacted_to: u64,
    pub(crate) encrypted: u64,
    pub(crate) possibly_several: u64,
    pub(crate) bounced: u64,
    pub(crate) private_in_room: u64,
    pub(crate) author_mismatch: u64,
    pub(crate) fallback_body: u64,
    pub(crate) first_at: Option<Micros>,
    pub(crate) last_at: Option<Micros>,
}

impl Counts {
    /// Adds what a unit holds.
    pub(crate) fn add(&mut self, unit: &Unit) {
        self.units += 1;
        self.conversations = self.conversations.max(unit.conversation_number);
        for item in &unit.items {
            let found = &item.found;
            let changes = Changes::of(item);
            let flag = |bit: i32| u64::from(found.has(bit));
            self.messages += 1;
            *self.by_kind.entry(found.kind_name().to_owned()).or_default() += 1;
            *self.by_via.entry(names::via(found.via).to_owned()).or_default() += 1;
            self.corrected += u64::from(changes.corrections().next().is_some());
            self.retracted += u64::from(changes.is_retracted());
            self.changed_without_effect += u64::from(changes.without_effect().next().is_some());
            self.reacted_to += u64::from(item.amendments.iter().any(|amendment| amendment.kind == Kind::Reaction as i16));
            self.encrypted += flag(flags::ENCRYPTED);
            self.possibly_several += u64::from(found.possibly_several() > 1);
            self.bounced += u64::from(!found.bounces.is_empty());
            self.private_in_room += flag(flags::PRIVATE_IN_ROOM);
            self.author_mismatch += flag(flags::AUTHOR_MISMATCH);
            self.fallback_body += flag(flags::FALLBACK_BODY);
            self.first_at = Some(self.first_at.map_or(found.sent_at, |at| at.min(found.sent_at)));
            self.last_at = self.last_at.max(Some(found.sent_at));
        }
    }

    fn told(&self) -> Result<Value, ExportError> {
        let mut value = serde_json::to_value(self).map_err(ExportError::format)?;
        for (name, at) in [("first_at", self.first_at), ("last_at", self.last_at)] {
            if let Some(object) = value.as_object_mut() {
                object.insert(name.to_owned(), at.map(rfc3339).into());
            }
        }
        Ok(value)
    }
}

/// What was written.
pub(crate) struct Written {
    /// How many files there are in all.
    pub(crate) files: u64,
    /// The SHA-256 of `SHA256SUMS`.
    pub(crate) sums_sha256: String,
}

/// Writes both.
pub(crate) fn write(
    folder: &Folder,
    checkpoint: &Checkpoint,
    writer: &dyn Writer,
    gaps: &[GapFound],
    quarantined: u64,
) -> Result<Written, ExportError> {
    // What an earlier attempt left is no part of the export.
    for name in [MANIFEST, SUMS] {
        let _may_not_be_there = folder.remove(name);
    }
    let head = head(checkpoint, writer, gaps, quarantined)?;
    let (manifest_path, sums_path) = (folder.root().join(format!(".{MANIFEST}")), folder.root().join(format!(".{SUMS}")));
    let mut manifest = create(&manifest_path)?;
    let mut sums = create(&sums_path)?;
    let open = head.trim_end().trim_end_matches('}').trim_end();
    put(&mut manifest, &manifest_path, &format!("{open},\n{FILES}"))?;
    let mut files = 0;
    folder.each(&mut |name| {
        let (hash, bytes) = hash(&folder.root().join(name))?;
        let entry = json!({ "name": name, "bytes": bytes, "sha256": hash });
        put(&mut manifest, &manifest_path, &format!("{}\n    {entry}", if files == 0 { "" } else { "," }))?;
        files += 1;
        put(&mut sums, &sums_path, &format!("{hash}  {name}\n"))
    })?;
    put(&mut manifest, &manifest_path, "\n  ]\n}\n")?;
    close(manifest, folder, MANIFEST)?;
    let (manifest_hash, _) = hash(&folder.root().join(MANIFEST))?;
    put(&mut sums, &sums_path, &format!("{manifest_hash}  {MANIFEST}\n"))?;
    close(sums, folder, SUMS)?;
    Ok(Written { files: files + 2, sums_sha256: hash(&folder.root().join(SUMS))?.0 })
}

fn head(checkpoint: &Checkpoint, writer: &dyn Writer, gaps: &[GapFound], quarantined: u64) -> Result<String, ExportError> {
    let export = &checkpoint.export;
    let read_back = if writer.reads_back() { "read back from the files" } else { "counted while writing" };
    let head = json!({
        "manifest_version": VERSION,
        "generator": concat!("xmpp-archiver ", env!("CARGO_PKG_VERSION")),
        "made": { "begun_at": rfc3339(checkpoint.begun_at), "finished_at": rfc3339(now()) },
        "by": export.by,
        "reason": export.reason,
        "store": export.store,
        "format": export.format,
        "time_zone": export.zone,
        "query": export.query,
        "with_xml": export.with_xml,
        "amended_before": export.amended_before.map(rfc3339),
        "checked": { "query_finds": checkpoint.total, "written": checkpoint.counts.messages, "how": read_back },
        "counts": checkpoint.counts.told()?,
        "may_be_missing": { "gaps": gaps.iter().map(gap).collect::<Vec<_>>(), "records_in_quarantine": quarantined },
        "format_detail": writer.detail(),
    });
    serde_json::to_string_pretty(&head).map_err(ExportError::format)
}

fn gap(gap: &GapFound) -> Value {
    json!({
        "id": gap.id,
        "node": gap.node,
        "from": rfc3339(gap.from),
        "to": gap.to.map(rfc3339),
        "reason": gap.reason.map(|reason| reason.word()),
        "state": gap.state.map(State::word),
        "copies_lost": gap.lost,
    })
}

/// Hands on each line of the list of hashes, as a hash and the name of a file.
pub(super) fn each_sum(directory: &Path, each: &mut dyn FnMut(&str, &str) -> Result<(), ExportError>) -> Result<(), ExportError> {
    let path = directory.join(SUMS);
    let sums = std::fs::File::open(&path).map_err(ExportError::file(&path))?;
    for line in BufReader::new(sums).lines() {
        let line = line.map_err(ExportError::file(&path))?;
        let Some((hash, name)) = line.split_once("  ") else { return Err(ExportError::damaged(&path, "a line is none of a hash")) };
        if name.starts_with('/') || name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(ExportError::damaged(&path, "it names a file that is no part of an export"));
        }
        each(hash, name)?;
    }
    Ok(())
}

/// What a finished export says of itself, without the files that it names: there may be a million.
pub(super) fn told(directory: &Path) -> Result<Value, ExportError> {
    let path = directory.join(MANIFEST);
    let file = std::fs::File::open(&path).map_err(ExportError::file(&path))?;
    let mut head = String::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(ExportError::file(&path))?;
        if line == FILES {
            break;
        }
        head.push_str(&line);
    }
    let head = head.trim_end_matches(',').to_owned() + "}";
    serde_json::from_str(&head).map_err(|error| ExportError::damaged(&path, error))
}

/// An export that has its name, as it was told when it was finished.
///
/// # Errors
/// When its manifest or its list of hashes can't be read.
pub fn produced(directory: &Path) -> Result<Produced, ExportError> {
    let messages = told(directory)?.pointer("/checked/written").and_then(Value::as_u64).unwrap_or_default();
    let sums = directory.join(SUMS);
    let file = std::fs::File::open(&sums).map_err(ExportError::file(&sums))?;
    let files = BufReader::new(file).lines().count() as u64 + 1;
    Ok(Produced { directory: directory.to_owned(), messages, files, sums_sha256: hash(&sums)?.0 })
}

/// The SHA-256 and the length of a file.
pub(super) fn hash(path: &Path) -> Result<(String, u64), ExportError> {
    let mut file = std::fs::File::open(path).map_err(ExportError::file(path))?;
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer).map_err(ExportError::file(path))?;
        let Some(some) = buffer.get(..read).filter(|some| !some.is_empty()) else { break };
        hasher.update(some);
        bytes += read as u64;
    }
    Ok((hex(&hasher.finalize()), bytes))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type File = std::io::BufWriter<std::fs::File>;

fn create(path: &std::path::Path) -> Result<File, ExportError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(std::io::BufWriter::new).map_err(ExportError::file(path))
}

fn put(file: &mut File, path: &std::path::Path, text: &str) -> Result<(), ExportError> {
    file.write_all(text.as_bytes()).map_err(ExportError::file(path))
}

fn close(mut file: File, folder: &Folder, name: &str) -> Result<(), ExportError> {
    let (path, hidden) = (folder.root().join(name), folder.root().join(format!(".{name}")));
    file.flush().and_then(|()| std::fs::rename(&hidden, &path)).map_err(ExportError::file(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::changes::tests::attacked;
    use crate::export::unit::tests::unit;

    #[test]
    fn what_somebody_else_did_is_counted_by_itself() {
        let mut unit = unit(&["a", "b"]);
        unit.items.push(attacked());
        let mut counts = Counts::default();
        counts.add(&unit);
        assert_eq!(
            (counts.messages, counts.corrected, counts.retracted, counts.changed_without_effect, counts.reacted_to),
            (3, 2, 2, 1, 3)
        );
    }
}
