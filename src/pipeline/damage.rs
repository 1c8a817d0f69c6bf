//! Damage in the spool as entries for the writer, which makes gaps of them.
//!
//! They stand where the lost records stood, so that the position moves past both in one transaction and a spool that is read again tells
//! them once. A spool serves all nodes of a store, and nothing tells whose records were lost: each node gets a gap.

use std::sync::Arc;

use serde_json::json;

use super::Settings;
use crate::gap::{Gap, Reason};
use crate::spool::Damage;
use crate::store::batch::{Entry, Item};
use crate::time::{Micros, now};

/// Damage that no entry was made of yet.
pub(super) struct Damaged {
    waiting: Vec<Damage>,
    /// When the last record arrived that was read.
    last_arrival: Option<Micros>,
}

impl Damaged {
    /// What was found when the spool was opened, as far as it lies behind what is stored.
    pub(super) fn new(found: &[Damage], stored: u64) -> Self {
        let behind = found.iter().filter(|one| one.missing.end > stored).cloned();
        let clipped = behind.map(|one| Damage { missing: one.missing.start.max(stored)..one.missing.end, ..one });
        Self { waiting: clipped.collect(), last_arrival: None }
    }

    /// Puts entries for what was damaged before `next_seq` among those of the batch that ends there.
    pub(super) fn add_to(&mut self, entries: &mut Vec<Entry>, found: &[Damage], next_seq: u64, settings: &Settings) {
        self.waiting.extend(found.iter().cloned());
        let (due, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|one| one.missing.start < next_seq);
        self.waiting = waiting;
        let due: Vec<Damage> = due;
        let made: Vec<Entry> =
            due.iter().filter(|one| !one.missing.is_empty()).flat_map(|one| self.entries(one, entries, settings)).collect();
        self.last_arrival = entries.iter().map(|entry| entry.arrived_at).max().max(self.last_arrival);
        if !made.is_empty() {
            entries.extend(made);
            entries.sort_by_key(|entry| entry.seq);
        }
    }

    /// Entries for what lies behind the last record that was read, when no more are.
    pub(super) fn rest(&mut self, settings: &Settings) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.add_to(&mut entries, &[], u64::MAX, settings);
        entries
    }

    fn entries(&self, damage: &Damage, around: &[Entry], settings: &Settings) -> Vec<Entry> {
        let before = around.iter().rfind(|entry| entry.seq < damage.missing.start).map(|entry| entry.arrived_at).or(self.last_arrival);
        let after = around.iter().find(|entry| entry.seq >= damage.missing.end).map_or_else(now, |entry| entry.arrived_at);
        let nodes = settings.rules.borrow().nodes.clone();
        let is_sole = nodes.len() == 1;
        nodes.iter().map(|node| entry(&node.name, damage, before, after, is_sole)).collect()
    }
}

fn entry(node: &str, damage: &Damage, from: Option<Micros>, to: Micros, is_sole: bool) -> Entry {
    let detail = json!({
        "segment": format!("{:016x}", damage.segment),
        "offset": damage.offset,
        "bytes": damage.length,
        "records": [damage.missing.start, damage.missing.end],
        "copy": damage.copy,
    });
    let lost = is_sole.then_some(damage.missing.end - damage.missing.start);
    let gap = Gap { from, to: Some(to), reason: Reason::SpoolDamaged, lost, detail: detail.to_string() };
    Entry {
        seq: damage.missing.start,
        node: Arc::from(node),
        same_as: None,
        step: None,
        arrived_at: to,
        record: Vec::new(),
        stanza: 0..0,
        shape: 0,
        queued: None,
        retried: false,
        item: Item::Gap(gap),
    }
}
