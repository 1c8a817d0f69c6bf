//! A released export as one file: a ZIP archive, made while it is handed on.
//!
//! Nothing is compressed and nothing is put on disk. Each file is compared with `SHA256SUMS` while it is read, so what was changed since the
//! release is not given out. Memory: 24 bytes for each file, for the directory at the end (APPNOTE.TXT 4.3.12). Sizes and places beyond
//! what 32 bits hold are written as ZIP64 (4.5.3).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::manifest::{SUMS, hex};
use super::{ExportError, manifest};

/// Bytes read at a time.
const CHUNK: usize = 1 << 16;
/// What a 32 bit field holds where the truth is in ZIP64.
const BEYOND: u32 = u32::MAX;
/// 1980-01-01: an archive tells no time of its own.
const DOS_DATE: u16 = 0x21;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
/// A reader must know ZIP64.
const VERSION: u16 = 45;
/// Made on Unix, where [`MODE`] means something.
const MADE_BY: u16 = (3 << 8) | VERSION;
/// A file that its owner alone can read.
const MODE: u32 = 0o100_600 << 16;

/// What the directory at the end needs to know of a file.
struct Entry {
    crc: u32,
    bytes: u64,
    at: u64,
}

/// Writes the export in a directory as a ZIP archive, its files in the order of `SHA256SUMS`, which itself must have this hash, where one
/// is known. Returns how many they are.
///
/// # Errors
/// When a file can't be read, is not what was released, or the archive can't be written.
pub fn pack(directory: &Path, sums_sha256: Option<&str>, out: &mut dyn Write) -> Result<u64, ExportError> {
    let written = |error| ExportError::file(Path::new("the archive"))(error);
    // Before anything is given out: who changes a file can change the list as well.
    look(directory, SUMS, sums_sha256)?;
    let (mut entries, mut at) = (Vec::new(), 0);
    each(directory, sums_sha256, &mut |name, hash| {
        let (crc, bytes) = look(directory, name, hash)?;
        let head = local_head(name, crc, bytes);
        out.write_all(&head).map_err(written)?;
        copy(directory, name, bytes, hash, out)?;
        entries.push(Entry { crc, bytes, at });
        at += head.len() as u64 + bytes;
        Ok(())
    })?;
    let (begin, mut length, mut place) = (at, 0, entries.iter());
    each(directory, sums_sha256, &mut |name, _hash| {
        let Some(entry) = place.next() else { return Err(ExportError::damaged(directory, "it was changed while it was read")) };
        let record = central_record(name, entry);
        length += record.len() as u64;
        out.write_all(&record).map_err(written)
    })?;
    out.write_all(&end(entries.len() as u64, begin, length)).and_then(|()| out.flush()).map_err(written)?;
    Ok(entries.len() as u64)
}

/// Is handed the name of a file and its hash.
type Each<'a> = &'a mut dyn FnMut(&str, Option<&str>) -> Result<(), ExportError>;

/// Each file with its hash; the list itself at last, whose hash is known from elsewhere or not at all.
fn each(directory: &Path, sums_sha256: Option<&str>, each: Each<'_>) -> Result<(), ExportError> {
    manifest::each_sum(directory, &mut |hash, name| each(name, Some(hash)))?;
    each(SUMS, sums_sha256)
}

/// The checksum and the length of a file, which must have this hash.
fn look(directory: &Path, name: &str, hash: Option<&str>) -> Result<(u32, u64), ExportError> {
    let (mut crc, mut sha, mut bytes) = (crc32fast::Hasher::new(), Sha256::new(), 0);
    read(directory, name, &mut |some| {
        crc.update(some);
        sha.update(some);
        bytes += some.len() as u64;
        Ok(())
    })?;
    match hash.is_none_or(|hash| hash == hex(&sha.finalize())) {
        true => Ok((crc.finalize(), bytes)),
        false => Err(ExportError::damaged(&directory.join(name), "it was changed after the release")),
    }
}

/// Hands a file on; what changed since it was looked at breaks the archive off.
fn copy(directory: &Path, name: &str, bytes: u64, hash: Option<&str>, out: &mut dyn Write) -> Result<(), ExportError> {
    let path = directory.join(name);
    let (mut left, mut sha) = (bytes, Sha256::new());
    read(directory, name, &mut |some| {
        left = left.checked_sub(some.len() as u64).ok_or_else(|| io::Error::other("it grows while it is read"))?;
        sha.update(some);
        out.write_all(some)
    })?;
    match left == 0 && hash.is_none_or(|hash| hash == hex(&sha.finalize())) {
        true => Ok(()),
        false => Err(ExportError::damaged(&path, "it was changed while it was read")),
    }
}

fn read(directory: &Path, name: &str, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), ExportError> {
    let path = directory.join(name);
    let mut file = File::open(&path).map_err(ExportError::file(&path))?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let some = file.read(&mut buffer).map_err(ExportError::file(&path))?;
        let Some(some) = buffer.get(..some).filter(|some| !some.is_empty()) else { return Ok(()) };
        each(some).map_err(ExportError::file(&path))?;
    }
}

/// Little endian numbers, one after the other.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn long(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn huge(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn text(mut self, text: &[u8]) -> Self {
        self.0.extend(text);
        self
    }
}

/// As 32 bits, or what says that ZIP64 knows.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(BEYOND)
}

fn name_length(name: &str) -> u16 {
    // Names are made here and short.
    u16::try_from(name.len()).unwrap_or(u16::MAX)
}

/// The ZIP64 field of these values, which did not fit elsewhere.
fn extra(values: &[u64]) -> Vec<u8> {
    if values.is_empty() {
        return Vec::new();
    }
    let head = Bytes::default().short(1).short(u16::try_from(values.len() * 8).unwrap_or_default());
    values.iter().fold(head, |bytes, value| bytes.huge(*value)).0
}

fn local_head(name: &str, crc: u32, bytes: u64) -> Vec<u8> {
    let size = narrow(bytes);
    let extra = if size == BEYOND { extra(&[bytes, bytes]) } else { Vec::new() };
    let head = Bytes::default().long(0x0403_4b50).short(VERSION).short(FLAGS).short(0).short(0).short(DOS_DATE);
    let head = head.long(crc).long(size).long(size).short(name_length(name)).short(u16::try_from(extra.len()).unwrap_or_default());
    head.text(name.as_bytes()).text(&extra).0
}

fn central_record(name: &str, entry: &Entry) -> Vec<u8> {
    let (size, at) = (narrow(entry.bytes), narrow(entry.at));
    let mut values = if size == BEYOND { vec![entry.bytes, entry.bytes] } else { Vec::new() };
    values.extend((at == BEYOND).then_some(entry.at));
    let extra = extra(&values);
    let record = Bytes::default().long(0x0201_4b50).short(MADE_BY).short(VERSION).short(FLAGS).short(0).short(0).short(DOS_DATE);
    let record =
        record.long(entry.crc).long(size).long(size).short(name_length(name)).short(u16::try_from(extra.len()).unwrap_or_default());
    record.short(0).short(0).short(0).long(MODE).long(at).text(name.as_bytes()).text(&extra).0
}

fn end(files: u64, begin: u64, length: u64) -> Vec<u8> {
    let few = u16::try_from(files).unwrap_or(u16::MAX);
    let mut end = Bytes::default();
    if few == u16::MAX || narrow(begin) == BEYOND || narrow(length) == BEYOND {
        end = end.long(0x0606_4b50).huge(44).short(MADE_BY).short(VERSION).long(0).long(0).huge(files).huge(files).huge(length).huge(begin);
        end = end.long(0x0706_4b50).long(0).huge(begin + length).long(1);
    }
    end.long(0x0605_4b50).short(0).short(0).short(few).short(few).long(narrow(length)).long(narrow(begin)).short(0).0
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn released(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut sums = String::new();
        for (name, bytes) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            sums += &format!("{}  {name}\n", hex(&Sha256::digest(bytes)));
        }
        fs::write(directory.path().join(SUMS), sums).unwrap();
        directory
    }

    #[test]
    fn a_reader_of_other_peoples_finds_every_file() {
        let large = vec![7; 3 * CHUNK + 1];
        let directory = released(&[("a/ü.txt", b"one"), ("empty", b""), ("large", &large)]);
        let mut out = Vec::new();
        assert_eq!(pack(directory.path(), None, &mut out).unwrap(), 4);
        let mut archive = zip::ZipArchive::new(io::Cursor::new(out)).unwrap();
        let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["a/ü.txt", "empty", "large", SUMS]);
        let mut found = Vec::new();
        archive.by_name("large").unwrap().read_to_end(&mut found).unwrap();
        assert_eq!(found, large);
    }

    #[test]
    fn what_was_changed_is_not_given_out() {
        let directory = released(&[("a", b"one")]);
        fs::write(directory.path().join("a"), "two").unwrap();
        assert!(matches!(pack(directory.path(), None, &mut Vec::new()), Err(ExportError::Damaged { .. })));
        let directory = released(&[("a", b"one")]);
        let known = hex(&Sha256::digest(fs::read(directory.path().join(SUMS)).unwrap()));
        assert_eq!(pack(directory.path(), Some(&known), &mut Vec::new()).unwrap(), 2);
        let forged = released(&[("a", b"two")]);
        assert!(
            matches!(pack(forged.path(), Some(&known), &mut Vec::new()), Err(ExportError::Damaged { .. })),
            "the list was changed, too"
        );
        fs::write(directory.path().join(SUMS), "00  ../a\n").unwrap();
        assert!(matches!(pack(directory.path(), None, &mut Vec::new()), Err(ExportError::Damaged { .. })));
    }

    #[test]
    fn what_is_beyond_32_bits_is_told_in_zip64() {
        let entry = Entry { crc: 1, bytes: 5 << 32, at: 6 << 32 };
        let record = central_record("a", &entry);
        let tail: Vec<u8> = [1_u16.to_le_bytes(), 24_u16.to_le_bytes()].concat();
        assert!(record.windows(4).any(|four| four == tail));
        assert!(record.ends_with(&(6_u64 << 32).to_le_bytes()));
        assert_eq!(end(70_000, 1, 1).len(), 56 + 20 + 22);
        assert_eq!(end(7, 1, 1).len(), 22);
    }
}
