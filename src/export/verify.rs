//! Whether a finished export is still what it was: every file against `SHA256SUMS`, the manifest against both, and nothing beside them.
//!
//! Who changes a file can change the list of hashes as well. So the hash of the list itself is told ([`Verified::sums_sha256`]), which the
//! audit trail, whoever asked for the export, or a notary has kept. Memory: 16 bytes for the name of each file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::manifest::{self, FILES, MANIFEST, SUMS, hash};
use super::{ExportError, checkpoint, deliver, folder, late};

/// The most problems that are told; further ones are counted.
const MAX_TOLD: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that are there and are what the list says, the list itself included.
    pub files: u64,
    /// Files that were delivered elsewhere and do not lie here any more.
    pub delivered: u64,
    /// Messages, by the manifest.
    pub messages: u64,
    /// The SHA-256 of `SHA256SUMS`.
    pub sums_sha256: String,
    /// What is wrong, a sentence each, at most a hundred.
    pub problems: Vec<String>,
    /// How many things are wrong.
    pub wrong: u64,
}

impl Verified {
    fn wrong(&mut self, said: String) {
        self.wrong += 1;
        if self.problems.len() < MAX_TOLD {
            self.problems.push(said);
        }
    }
}

/// Looks at every file of an export.
///
/// # Errors
/// When there is no export, or a file that is there can't be read. What is wrong with the export is no error, but told.
pub fn verify(directory: &Path) -> Result<Verified, ExportError> {
    let sums = directory.join(SUMS);
    let mut found = Verified { sums_sha256: hash(&sums)?.0, files: 1, ..Verified::default() };
    let (names, list) = files(directory, &mut found)?;
    match manifest::told(directory) {
        Ok(manifest) => counts(directory, &manifest, &mut found)?,
        Err(ExportError::File { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => found.wrong(error.to_string()),
    }
    if !list {
        found.wrong(format!("{MANIFEST} does not name the files that {SUMS} names, with the same hashes and lengths"));
    }
    beside(directory, "", &names, &mut found)?;
    Ok(found)
}

/// A name, short enough for a million of them to be kept.
type Name = [u8; 16];

fn short(name: &str) -> Name {
    let mut short = Name::default();
    short.iter_mut().zip(Sha256::digest(name)).for_each(|(to, from)| *to = from);
    short
}

/// Each file of the list; the names that it has, and whether the manifest has the same ones.
fn files(directory: &Path, found: &mut Verified) -> Result<(HashSet<Name>, bool), ExportError> {
    let is_delivered = deliver::is_delivered(directory)?;
    let mut entries = Entries::of(directory);
    let (mut names, mut agree, mut is_last) = (HashSet::from([short(SUMS)]), true, false);
    let looked = manifest::each_sum(directory, &mut |expected, name| {
        if !names.insert(short(name)) {
            found.wrong(format!("{name}: {SUMS} names it twice"));
        }
        is_last = name == MANIFEST;
        let entry = if is_last { None } else { entries.next() };
        let told = |key: &str| entry.as_ref().and_then(|entry| entry.get(key));
        agree &= is_last || (told("name") == Some(&name.into()) && told("sha256") == Some(&expected.into()));
        match hash(&directory.join(name)) {
            Ok((now, bytes)) if now == expected => {
                found.files += 1;
                agree &= is_last || told("bytes") == Some(&bytes.into());
            }
            Ok(_) => found.wrong(format!("{name}: it was changed")),
            Err(ExportError::File { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                match is_delivered && ![MANIFEST, late::NUMBERS].contains(&name) {
                    true => found.delivered += 1,
                    false => found.wrong(format!("{name}: it is missing")),
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    });
    match looked {
        Err(ExportError::Damaged { said, .. }) => found.wrong(format!("{SUMS}: {said}")),
        looked => looked?,
    }
    Ok((names, agree && is_last && entries.next().is_none()))
}

/// The files that a manifest names, in its order.
struct Entries(Option<Lines<BufReader<File>>>);

impl Entries {
    fn of(directory: &Path) -> Self {
        let mut lines = File::open(directory.join(MANIFEST)).ok().map(|file| BufReader::new(file).lines());
        let mut head = lines.iter_mut().flatten().map_while(Result::ok);
        let _what_follows_are_files = head.find(|line| line == FILES);
        Self(lines)
    }
}

impl Iterator for Entries {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let line = self.0.as_mut()?.next()?.ok()?;
        serde_json::from_str(line.trim().trim_end_matches(',')).ok().filter(Value::is_object)
    }
}

/// What the manifest says was counted must agree, with the list of numbers too where there is one.
fn counts(directory: &Path, manifest: &Value, found: &mut Verified) -> Result<(), ExportError> {
    if manifest.get("manifest_version") != Some(&manifest::VERSION.into()) {
        found.wrong(format!("{MANIFEST}: its version is not known"));
    }
    let number = |place: &str| manifest.pointer(place).and_then(Value::as_u64);
    let numbers = [number("/checked/query_finds"), number("/checked/written"), number("/counts/messages")];
    found.messages = numbers.iter().flatten().copied().max().unwrap_or_default();
    if numbers.iter().any(|number| *number != Some(found.messages)) {
        found.wrong(format!("{MANIFEST}: its counts do not agree"));
    }
    let mut listed = 0;
    match late::each_number(directory, &mut |_number| listed += 1) {
        Ok(()) if listed != found.messages => found.wrong(format!("{}: it lists {listed} messages", late::NUMBERS)),
        Err(ExportError::Damaged { said, .. }) => found.wrong(format!("{}: {said}", late::NUMBERS)),
        Ok(()) | Err(_) => {}
    }
    Ok(())
}

/// What a process leaves that dies between giving an export its name and clearing up behind itself.
const LEFT: [&str; 2] = [folder::LOCK, checkpoint::FILE];

/// Whatever lies there and is on no list.
fn beside(directory: &Path, below: &str, names: &HashSet<Name>, found: &mut Verified) -> Result<(), ExportError> {
    let path = directory.join(below);
    for entry in fs::read_dir(&path).map_err(ExportError::file(&path))? {
        let entry = entry.map_err(ExportError::file(&path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type().map_err(ExportError::file(&path))?;
        if kind.is_dir() {
            beside(directory, &name, names, found)?;
        } else if !names.contains(&short(&name)) && !LEFT.contains(&name.as_str()) {
            found.wrong(format!("{name}: it is no file of the export"));
        } else if !kind.is_file() {
            found.wrong(format!("{name}: it is no plain file"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::produced_for_a_test;

    #[test]
    fn whatever_was_done_to_an_export_is_found() {
        let (_directory, out) = produced_for_a_test();
        let whole = verify(&out).unwrap();
        assert_eq!((whole.problems.as_slice(), whole.messages, whole.wrong), ([].as_slice(), 16, 0));
        assert_eq!((whole.files, whole.sums_sha256.as_str()), (3, hash(&out.join(SUMS)).unwrap().0.as_str()));
        let after = |change: &dyn Fn()| {
            let before: Vec<(std::path::PathBuf, Vec<u8>)> = fs::read_dir(&out)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect();
            change();
            let found = verify(&out).unwrap();
            fs::remove_dir_all(&out).unwrap();
            fs::create_dir(&out).unwrap();
            before.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
            found
        };
        let (messages, manifest, sums) = (out.join("messages.jsonl"), out.join(MANIFEST), out.join(SUMS));
        let one = |found: Verified, said: &str| assert!(found.wrong == 1 && found.problems[0].contains(said), "{found:?}");
        one(after(&|| fs::write(&messages, "{}\n").unwrap()), "messages.jsonl: it was changed");
        one(after(&|| fs::remove_file(&messages).unwrap()), "messages.jsonl: it is missing");
        one(after(&|| fs::write(out.join("more.txt"), "").unwrap()), "more.txt: it is no file of the export");
        one(after(&|| fs::write(out.join(".more"), "").unwrap()), ".more: it is no file of the export");
        let left = after(&|| LEFT.iter().for_each(|name| fs::write(out.join(name), "").unwrap()));
        assert_eq!(left, whole, "a process died just before its end");
        let manifest_text = fs::read_to_string(&manifest).unwrap();
        let counted_otherwise = || fs::write(&manifest, manifest_text.replace("\"written\": 16", "\"written\": 15")).unwrap();
        let found = after(&counted_otherwise);
        assert!(found.problems.iter().any(|said| said.contains("counts do not agree")), "{found:?}");
        // A message less, and a list of hashes made to fit: the manifest still tells, and so does the hash of the list.
        let forged = after(&|| {
            let text = fs::read_to_string(&messages).unwrap();
            fs::write(&messages, text.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
            let list = fs::read_to_string(&sums).unwrap();
            let (old, _) = list.split_once("  ").unwrap();
            fs::write(&sums, list.replacen(old, &hash(&messages).unwrap().0, 1)).unwrap();
        });
        one(forged.clone(), "does not name the files");
        assert_ne!(forged.sums_sha256, whole.sums_sha256);
        let found = after(&|| fs::write(&sums, "nonsense\n").unwrap());
        assert!(found.problems[0].contains("SHA256SUMS: a line is none of a hash"), "{found:?}");
        assert!(verify(&out.join("nowhere")).is_err());
        assert_eq!(verify(&out).unwrap(), whole);
    }
}
