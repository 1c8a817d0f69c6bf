//! What was done to the messages of a conversation: read when a message's turn comes, and held once.
//!
//! A correction may name the correction before it, and that the one before, so that each message of the chain has all that follow. Therefore
//! what an amendment says is shared by the messages that it belongs to, and its text has a bound. What is told of a message depends on
//! that message alone, not on what was read before it: so an export that is resumed ends with the same bytes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::ExportError;
use super::unit::{Item, text_bytes};
use crate::retrieve::{Amends, Archive, Found, MAX_NUMBERS};

/// The most amendments of one conversation that are known at a time: 32 MiB.
pub(crate) const MAX_AMENDS: usize = 2 << 20;
/// The most amendments that are told of one message.
const MAX_AMENDMENTS: usize = 200;
/// The most text of them, reached with the amendment that exceeds it: 200 of 10 KiB.
const MAX_TOLD_BYTES: usize = 2 << 20;
/// Amendments that are read first at a time; later as many as their texts allow.
const FIRST_READ: usize = 50;
/// The text that is read at a time.
const READ_BYTES: usize = 2 << 20;
/// What is kept of earlier reads, reached with the read that exceeds it.
const KEPT_BYTES: usize = 16 << 20;

/// A message of which it is known by numbers what was done to it.
pub(crate) struct Numbered {
    found: Found,
    /// Its amendments and those of its corrections, each after the one that it refers to.
    amendments: Vec<i64>,
    is_cut: bool,
}

/// All amendments of a conversation by their numbers, and those that were read last.
pub(crate) struct Amended {
    pairs: Vec<Amends>,
    /// None where there is no such message any more.
    kept: HashMap<i64, Option<Arc<Found>>>,
    kept_bytes: usize,
    at_a_time: usize,
}

impl Amended {
    /// `pairs` in their order.
    pub(crate) fn new(pairs: Vec<Amends>) -> Self {
        Self { pairs, kept: HashMap::new(), kept_bytes: 0, at_a_time: FIRST_READ }
    }

    /// A message with the numbers of what was done to it.
    pub(crate) fn numbered(&self, found: Found) -> Numbered {
        let (amendments, is_cut) = amending(&self.pairs, found.id);
        Numbered { found, amendments, is_cut: is_cut || self.pairs.len() >= MAX_AMENDS }
    }

    /// Takes the first message with what was done to it; none after the last. What the others will need is read with it.
    pub(crate) async fn next(&mut self, archive: &Archive, waiting: &mut VecDeque<Numbered>) -> Result<Option<Item>, ExportError> {
        let Some(Numbered { found, amendments: ids, is_cut }) = waiting.pop_front() else { return Ok(None) };
        let (mut amendments, mut bytes, mut amendments_cut) = (Vec::new(), 0, is_cut);
        for (at, id) in ids.iter().enumerate() {
            if bytes >= MAX_TOLD_BYTES {
                amendments_cut = true;
                break;
            }
            if !self.kept.contains_key(id) {
                let wanted = ids.iter().skip(at).chain(waiting.iter().flat_map(|later| &later.amendments));
                let missing = self.missing(wanted);
                self.read(archive, &missing).await?;
            }
            if let Some(Some(amendment)) = self.kept.get(id) {
                bytes += text_bytes(amendment);
                amendments.push(Arc::clone(amendment));
            }
        }
        amendments.sort_unstable_by_key(|amendment| amendment.place());
        Ok(Some(Item { found, amendments, amendments_cut }))
    }

    /// The first of these that are not kept.
    fn missing<'a>(&self, wanted: impl Iterator<Item = &'a i64>) -> Vec<i64> {
        let mut seen = HashSet::new();
        wanted.copied().filter(|id| !self.kept.contains_key(id) && seen.insert(*id)).take(self.at_a_time).collect()
    }

    async fn read(&mut self, archive: &Archive, ids: &[i64]) -> Result<(), ExportError> {
        if self.kept_bytes >= KEPT_BYTES {
            self.kept.clear();
            self.kept_bytes = 0;
        }
        let read = archive.numbered(ids).await?;
        let text: usize = read.iter().map(text_bytes).sum();
        self.kept_bytes += text + ids.len() * size_of::<Found>();
        self.at_a_time = if text > READ_BYTES { (self.at_a_time / 2).max(1) } else { (self.at_a_time * 2).min(MAX_NUMBERS) };
        self.kept.extend(ids.iter().map(|id| (*id, None)));
        self.kept.extend(read.into_iter().map(|found| (found.id, Some(Arc::new(found)))));
        Ok(())
    }
}

/// The amendments of a message and those of its corrections, and whether there are more.
fn amending(amends: &[Amends], id: i64) -> (Vec<i64>, bool) {
    let (mut found, mut seen, mut open) = (Vec::new(), HashSet::from([id]), vec![id]);
    while let Some(at) = open.pop() {
        let begin = amends.partition_point(|pair| pair.refers_to < at);
        for pair in amends.iter().skip(begin).take_while(|pair| pair.refers_to == at) {
            if found.len() >= MAX_AMENDMENTS {
                return (found, true);
            }
            if seen.insert(pair.id) {
                found.push(pair.id);
                open.push(pair.id);
            }
        }
    }
    (found, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_of_corrections_belong_to_the_message() {
        let pair = |refers_to, id| Amends { refers_to, id };
        let mut amends = vec![pair(1, 3), pair(3, 5), pair(2, 6), pair(5, 1), pair(9, 9)];
        amends.sort_unstable();
        assert_eq!(amending(&amends, 1), (vec![3, 5], false));
        assert_eq!(amending(&amends, 2), (vec![6], false));
        assert_eq!(amending(&amends, 9), (vec![], false));
        assert_eq!(amending(&amends, 4), (vec![], false));
        let many: Vec<Amends> = (2..1_000).map(|id| pair(1, id)).collect();
        let (found, is_cut) = amending(&many, 1);
        assert!(found.len() == MAX_AMENDMENTS && is_cut);
    }
}
