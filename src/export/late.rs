//! What a series has to look at again: messages of earlier exports that did not match when these were made, and match now.
//!
//! A message never changes, but more becomes known of it: a copy that is stored later tells of one more person who got it, of who wrote
//! it, or of one more id. So each export of a series that asks for people or an id lists the numbers of its messages ([`NUMBERS`]),
//! and the next one takes what an earlier one looked at, what matches now, and what is in none of these lists. Each message is
//! in one export, and anybody can see that from the lists.
//!
//! Only exports of the last [`DAYS`] days are looked at again, so that the work does not grow with the archive.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::request::Export;
use super::{ExportError, manifest};
use crate::retrieve::{Archive, MAX_LATE, Query};
use crate::time::{Micros, SECOND, now, parse_stamp};

/// The file of an export that lists the numbers of its messages, in the order in which they were written.
pub(super) const NUMBERS: &str = "numbers.txt";
/// How long an export is looked at again.
const DAYS: i64 = 30;
/// The most numbers that are looked at again: a bit for each is held in memory.
const MAX_NUMBERS: i64 = 100_000_000;

/// An export of a series: the numbers that it looked at, and where it is.
pub(super) type Looked = ((i64, i64), PathBuf);

/// Whether a message may begin to match what is asked for after it was stored.
pub(super) fn may_come_late(archive: &Archive, query: &Query) -> bool {
    archive.is_restricted() || !query.people.is_empty() || !query.participants.is_empty() || query.id.is_some()
}

/// The numbers of the messages that a series should have by now and has not, the oldest [`MAX_LATE`] of them.
pub(super) async fn of_series(archive: &Archive, export: &Export, exports: &[Looked]) -> Result<Vec<i64>, ExportError> {
    if !export.lists_numbers {
        return Ok(Vec::new());
    }
    let exports = exports.to_vec();
    let known = tokio::task::spawn_blocking(move || Known::of(&exports, now() - DAYS * 86_400 * SECOND)).await;
    let known = known.map_err(|error| ExportError::Refused(format!("the series can't be read: {error}")))??;
    let Some(known) = known else { return Ok(Vec::new()) };
    let mut late = Vec::new();
    let query = Query { newer_than: Some(known.floor), newest: Some(known.last), late: Vec::new(), ..export.query.clone() };
    archive
        .each_number(&query, &mut |number| {
            late.extend((!known.has(number)).then_some(number));
            if late.len() < MAX_LATE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
    Ok(late)
}

/// Which messages of a range the exports hold.
struct Known {
    /// The range begins behind this number.
    floor: i64,
    /// The last number of the range.
    last: i64,
    /// A bit for each number of the range.
    bits: Vec<u64>,
}

impl Known {
    /// Of the exports that were finished at this time or later, back to the first that lists no numbers; none where that is none.
    fn of(exports: &[Looked], since: Micros) -> Result<Option<Self>, ExportError> {
        let Some(((_, last), _)) = exports.last() else { return Ok(None) };
        let (mut floor, mut looked_at) = (*last, Vec::new());
        for ((first, _), directory) in exports.iter().rev() {
            if !directory.join(NUMBERS).exists() || finished_at(directory)? < since {
                break;
            }
            floor = first - 1;
            looked_at.push(directory);
        }
        let floor = floor.max(last - MAX_NUMBERS);
        if floor >= *last {
            return Ok(None);
        }
        let words = usize::try_from((last - floor) / 64 + 1).unwrap_or_default();
        let mut known = Self { floor, last: *last, bits: vec![0; words] };
        looked_at.into_iter().try_for_each(|directory| each_number(directory, &mut |number| known.add(number)))?;
        Ok(Some(known))
    }

    /// Where the bit of a number is; none if the number is beyond the range.
    fn place(&self, number: i64) -> Option<(usize, u64)> {
        let place = number.checked_sub(self.floor + 1).filter(|place| *place >= 0 && number <= self.last)?;
        Some((usize::try_from(place / 64).ok()?, 1 << (place % 64)))
    }

    fn add(&mut self, number: i64) {
        if let Some((at, bit)) = self.place(number)
            && let Some(word) = self.bits.get_mut(at)
        {
            *word |= bit;
        }
    }

    fn has(&self, number: i64) -> bool {
        self.place(number).is_some_and(|(at, bit)| self.bits.get(at).is_some_and(|word| word & bit != 0))
    }
}

fn finished_at(directory: &Path) -> Result<Micros, ExportError> {
    let manifest = manifest::told(directory)?;
    let at = manifest.pointer("/made/finished_at").and_then(serde_json::Value::as_str).and_then(parse_stamp);
    at.ok_or_else(|| ExportError::damaged(directory, "its manifest does not tell when it was finished"))
}

/// The numbers that an export lists.
pub(super) fn each_number(directory: &Path, each: &mut dyn FnMut(i64)) -> Result<(), ExportError> {
    let path = directory.join(NUMBERS);
    let file = File::open(&path).map_err(ExportError::file(&path))?;
    for line in BufReader::new(file).lines() {
        let line = line.map_err(ExportError::file(&path))?;
        each(line.parse().map_err(|error| ExportError::damaged(&path, error))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(root: &Path, range: (i64, i64), numbers: Option<&str>, finished: &str) -> Looked {
        let directory = root.join(format!("{}-{}", range.0, range.1));
        std::fs::create_dir(&directory).unwrap();
        let manifest = format!("{{\n  \"made\": {{ \"finished_at\": \"{finished}\" }},\n  \"files\": [\n  ]\n}}\n");
        std::fs::write(directory.join("manifest.json"), manifest).unwrap();
        numbers.iter().for_each(|numbers| std::fs::write(directory.join(NUMBERS), numbers).unwrap());
        (range, directory)
    }

    #[test]
    fn what_is_listed_is_known_and_what_is_old_or_unlisted_is_not_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let day = |day: u32| format!("2026-11-{day:02}T02:00:00Z");
        let all = [
            export(root.path(), (1, 100), None, &day(1)),
            export(root.path(), (101, 200), Some("101\n"), &day(2)),
            export(root.path(), (201, 300), Some("300\n205\n"), &day(3)),
            export(root.path(), (301, 301), Some("207\n105\n"), &day(4)),
        ];
        let known = |since: u32| Known::of(&all, parse_stamp(&day(since)).unwrap()).unwrap().unwrap();
        let found = known(3);
        assert_eq!((found.floor, found.last), (200, 301));
        let has: Vec<i64> = (1..400).filter(|number| found.has(*number)).collect();
        assert_eq!(has, [205, 207, 300]);
        assert_eq!(known(1).floor, 100, "the first lists none");
        assert!(known(1).has(105));
        assert!(Known::of(&all, i64::MAX).unwrap().is_none());
        assert!(Known::of(&all[..1], 0).unwrap().is_none());
        assert!(Known::of(&[], 0).unwrap().is_none());
    }
}
