//! What the daemon tells about itself: a small JSON file beside the spool, replaced every second, that `status` reads.
//!
//! A file needs no port, no permission but the spool's own, and can still be read when the daemon hangs or is gone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::view::{NodeView, Shown, StoreView};
use crate::canary::Report;
use crate::component::module::Presence;
use crate::component::status::State;
use crate::spool::Appender;
use crate::stats::StoreStats;
use crate::time::{Micros, SECOND, now, rfc3339};

/// The file's name in the directory of the spools.
pub const FILE: &str = "status.json";
/// What disks give out at once.
const FILE_BLOCK_BYTES: usize = 4_096;

/// What the file holds.
pub type Snapshot = Value;

#[derive(Clone)]
pub(super) struct Reporter {
    file: PathBuf,
    shown: Shown,
}

impl Reporter {
    pub(super) fn new(spools: &Path, shown: Shown) -> Self {
        Self { file: spools.join(FILE), shown }
    }

    pub(super) fn write(&self, state: &str) {
        let snapshot = padded(self.snapshot(state).to_string());
        let next = self.file.with_extension("json.new");
        let written = std::fs::write(&next, &snapshot).and_then(|()| std::fs::rename(&next, &self.file));
        let written = written.or_else(|_disk_full| {
            let _nothing_to_remove = std::fs::remove_file(&next);
            overwrite(&self.file, &snapshot)
        });
        if let Err(error) = written {
            log::debug!("{} can't be written: {error}", self.file.display());
        }
    }

    /// The same in a line.
    pub(super) fn line(&self) -> String {
        let view = self.shown.view();
        let online = view.nodes.iter().filter(|node| matches!(node.status.state(), State::Online { .. })).count();
        let waiting: u64 = view.stores.iter().map(|store| store.spool.depth().records).sum();
        let alarms = self.shown.alarms().raised().len();
        format!("nodes online: {online} of {}; records waiting for a store: {waiting}; alarms: {alarms}", view.nodes.len())
    }

    fn snapshot(&self, state: &str) -> Snapshot {
        let view = self.shown.view();
        json!({
            "state": state,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "started": rfc3339(self.shown.started()),
            "written": rfc3339(now()),
            "http": self.shown.http(),
            "nodes": view.nodes.iter().map(|one| node(one, self.shown.gaps(&one.name))).collect::<Vec<_>>(),
            "stores": view.stores.iter().map(store).collect::<Vec<_>>(),
            "alarms": self.shown.alarms().raised(),
            "alarms_sent": self.shown.notifier().sent().into_iter().map(|(way, sent)| (way.label().to_owned(), json!(sent))).collect::<Map<_, _>>(),
        })
    }
}

/// The file has room to spare, so that it can be written over on a full disk. White space behind it is no part of a JSON text.
fn padded(mut snapshot: String) -> String {
    let blocks = snapshot.len() / FILE_BLOCK_BYTES + 2;
    let missing = (blocks * FILE_BLOCK_BYTES).saturating_sub(snapshot.len() + 1);
    snapshot.extend(std::iter::repeat_n(' ', missing));
    snapshot.push('\n');
    snapshot
}

/// Replaces the text in the blocks that the file has: whoever reads at this very moment reads again.
fn overwrite(file: &Path, snapshot: &str) -> std::io::Result<()> {
    let mut open = std::fs::OpenOptions::new().write(true).open(file)?;
    open.write_all(snapshot.as_bytes())?;
    open.set_len(snapshot.len() as u64)
}

fn node(view: &NodeView, gaps: Value) -> Value {
    let NodeView { name, address, domain, stats, status, .. } = view;
    let counters = status.counters();
    let (state, since, advice) = match status.state() {
        State::Connecting(_) => ("connecting", None, None),
        State::Online { since } => ("online", Some(rfc3339(since)), None),
        State::Down { advice, since, .. } => ("down", Some(rfc3339(since)), Some(advice)),
        State::Stopped => ("stopped", None, None),
    };
    json!({
        "name": name,
        "address": address,
        "domain": domain,
        "state": state,
        "since": since,
        "advice": advice,
        "stanzas": counters.stanzas.get(),
        "bytes": counters.bytes.get(),
        "reconnects": counters.reconnects(),
        "violations": counters.violations.get(),
        "spooled": stats.spooled.load(Ordering::Relaxed),
        "oversize": stats.oversize.load(Ordering::Relaxed),
        "dropped": stats.dropped.load(Ordering::Relaxed),
        "unreadable": stats.unreadable.load(Ordering::Relaxed),
        "skipped": stats.skipped.get(),
        "forged": stats.forged.get(),
        "gaps": gaps,
        "module": module(status.module()),
        "canary": view.canary().map(|report| canary(&report)),
    })
}

fn canary(report: &Report) -> Value {
    let since = |at: Option<Micros>| at.map(|at| (now() - at).max(0) as f64 / SECOND as f64);
    json!({
        "account": report.account,
        "sent": report.sent_at.map(rfc3339),
        "returned": report.returned_at.map(rfc3339),
        "seconds": report.took.map(|took| took.as_secs_f64()),
        "age_seconds": since(report.returned_at),
        "returned_count": report.returned,
        "missing_count": report.missing,
        "trouble": report.trouble,
    })
}

/// Nothing as long as the node has not answered.
fn module(presence: Presence) -> Value {
    match presence {
        Presence::Unknown => Value::Null,
        Presence::Absent => json!({ "present": false }),
        Presence::Present(module) => json!({
            "present": true,
            "name": module.name,
            "version": module.version,
            "mode": module.mode,
            "epoch": module.epoch,
            "next": module.next,
            "depth": module.depth,
            "bytes": module.bytes,
            "in_flight": module.in_flight,
            "dropped": module.dropped,
            "oldest": module.oldest,
        }),
    }
}

fn store(view: &StoreView) -> Value {
    let StoreView { name, spool, stats, .. } = view;
    let counts = stats.get();
    let depth = spool.depth();
    let lag_seconds = lag_seconds(view);
    json!({
        "name": name,
        "committed_seq": counts.committed_seq,
        "connected": stats.is_connected(),
        "lag_seconds": lag_seconds,
        "oldest_age_seconds": view.oldest_age().map_or(0.0, |age| age.as_secs_f64()),
        "errors": stats.errors(),
        "spool": {
            "records": depth.records,
            "bytes": depth.bytes,
            "limit_bytes": depth.limit_bytes,
            "next_seq": depth.next_seq,
            "durable_seq": depth.durable_seq,
            "paused": depth.paused,
            "error": depth.last_error,
        },
        "counts": counts,
        "index": index(view),
    })
}

/// How far the index for searches is; nothing before that is known.
fn index(view: &StoreView) -> Value {
    view.index.progress().map_or(Value::Null, |progress| {
        json!({
            "next_id": progress.next_id,
            "behind": progress.behind(),
            "late": progress.late,
            "indexed": view.index.indexed(),
        })
    })
}

/// How old the newest stored record is while others wait.
pub(crate) fn lag_seconds(store: &StoreView) -> f64 {
    lag_of(&store.spool, &store.stats)
}

pub(super) fn lag_of(spool: &Appender, stats: &StoreStats) -> f64 {
    let (depth, counts) = (spool.depth(), stats.get());
    // Numbers are skipped after a crash, so the difference of two positions counts no records.
    let behind = depth.records > 0 && depth.next_seq > counts.committed_seq && counts.newest_arrival > 0;
    if behind { (now() - counts.newest_arrival).max(0) as f64 / 1e6 } else { 0.0 }
}
