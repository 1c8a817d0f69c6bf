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
use crate::time::now;

/// The entries for damage in which records were lost, those before `stored` left out; `around` are the records of the same batch.
pub(super) fn entries(settings: &Settings, damage: &[Damage], stored: u64, around: &[Entry]) -> Vec<Entry> {
    let lost = damage.iter().filter(|one| one.missing.end > one.missing.start.max(stored));
    lost.flat_map(|one| settings.nodes.iter().map(move |node| entry(&node.name, settings.nodes.len(), one, stored, around))).collect()
}

fn entry(node: &str, nodes: usize, damage: &Damage, stored: u64, around: &[Entry]) -> Entry {
    let seq = damage.missing.start.max(stored);
    let before = around.iter().rfind(|entry| entry.seq < seq);
    let after = around.iter().find(|entry| entry.seq >= damage.missing.end);
    let to = after.map_or_else(now, |entry| entry.arrived_at);
    let detail = json!({
        "segment": format!("{:016x}", damage.segment),
        "offset": damage.offset,
        "bytes": damage.length,
        "records": [damage.missing.start, damage.missing.end],
        "copy": damage.copy,
    });
    let gap = Gap {
        from: before.map(|entry| entry.arrived_at),
        to: Some(to),
        reason: Reason::SpoolDamaged,
        lost: (nodes == 1).then_some(damage.missing.end - seq),
        detail: detail.to_string(),
    };
    Entry {
        seq,
        node: Arc::from(node),
        arrived_at: to,
        record: Vec::new(),
        stanza: 0..0,
        shape: 0,
        queued: None,
        retried: false,
        item: Item::Gap(gap),
    }
}
