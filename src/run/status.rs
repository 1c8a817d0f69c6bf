//! What the daemon tells about itself: a small JSON file beside the spool, replaced every second, that `status` reads.
//!
//! A file needs no port, no permission but the spool's own, and can still be read when the daemon hangs or is gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::{OpenNode, OpenStore, gaps};
use crate::alarm::{Alarms, Name};
use crate::component;
use crate::component::module::Presence;
use crate::component::status::State;
use crate::config::Config;
use crate::spool::Appender;
use crate::stats::{NodeStats, StoreStats};
use crate::time::{now, rfc3339};

/// The file's name in the directory of the spools.
pub const FILE: &str = "status.json";

/// What the file holds.
pub type Snapshot = Value;

#[derive(Clone)]
pub(super) struct Reporter {
    file: PathBuf,
    started: String,
    nodes: Vec<(String, String, String, Arc<NodeStats>, component::Status)>,
    stores: Vec<(String, Appender, Arc<StoreStats>)>,
    alarms: Alarms,
    gaps: gaps::Watch,
}

impl Reporter {
    pub(super) fn new(
        config: &Config,
        nodes: &[OpenNode],
        stores: &BTreeMap<String, OpenStore>,
        alarms: Alarms,
        gaps: gaps::Watch,
    ) -> Self {
        let node = |(open, configured): (&OpenNode, &crate::config::NodeConfig)| {
            (open.facts.name.clone(), configured.address.clone(), open.facts.domain.clone(), open.stats.clone(), open.status.clone())
        };
        let store = |(name, open): (&String, &OpenStore)| (name.clone(), open.appender.clone(), open.stats.clone());
        Self {
            file: config.spool.path.join(FILE),
            started: rfc3339(now()),
            nodes: nodes.iter().zip(&config.nodes).map(node).collect(),
            stores: stores.iter().map(store).collect(),
            alarms,
            gaps,
        }
    }

    pub(super) async fn keep_writing(self, interval: Duration) {
        loop {
            self.watch_spools();
            self.write("running");
            tokio::time::sleep(interval).await;
        }
    }

    pub(super) fn write_stopped(&self) {
        self.write("stopped");
    }

    /// A spool at its limit, or on a full disk, is an alarm as long as it lasts.
    fn watch_spools(&self) {
        for (name, spool, _) in &self.stores {
            let depth = spool.depth();
            match &depth.last_error {
                Some(error) => self.alarms.raise(Name::SpoolFull, name, &format!("the spool can't be written: {error}; free the disk")),
                None if depth.paused => {
                    let text = "the spool holds as much as it may and takes no more: bring the store back, or raise spool.limit";
                    self.alarms.raise(Name::SpoolFull, name, text);
                }
                None => self.alarms.clear(Name::SpoolFull, name),
            }
        }
    }

    fn write(&self, state: &str) {
        let snapshot = self.snapshot(state).to_string();
        let next = self.file.with_extension("json.new");
        let written = std::fs::write(&next, snapshot).and_then(|()| std::fs::rename(&next, &self.file));
        if let Err(error) = written {
            log::debug!("{} can't be written: {error}", self.file.display());
        }
    }

    fn snapshot(&self, state: &str) -> Snapshot {
        json!({
            "state": state,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "started": self.started,
            "written": rfc3339(now()),
            "nodes": self.nodes.iter().map(|one| node(one, self.gaps.of(&one.0))).collect::<Vec<_>>(),
            "stores": self.stores.iter().map(store).collect::<Vec<_>>(),
            "alarms": self.alarms.raised(),
        })
    }
}

fn node((name, address, domain, stats, status): &(String, String, String, Arc<NodeStats>, component::Status), gaps: Value) -> Value {
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

fn store((name, spool, stats): &(String, Appender, Arc<StoreStats>)) -> Value {
    let counts = stats.get();
    let depth = spool.depth();
    // Numbers are skipped after a crash, so the difference of two positions counts no records.
    let behind = depth.records > 0 && depth.next_seq > counts.committed_seq && counts.newest_arrival > 0;
    let lag_seconds = if behind { (now() - counts.newest_arrival).max(0) as f64 / 1e6 } else { 0.0 };
    json!({
        "name": name,
        "committed_seq": counts.committed_seq,
        "lag_seconds": lag_seconds,
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
    })
}
