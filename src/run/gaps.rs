//! Looks which gaps are open, for `status` and the alarm `gap-opened`.
//!
//! Others close gaps, with the commands, so the stores themselves are asked: soon after a gap was stored, and now and then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::OpenStore;
use crate::alarm::{Alarms, Name};
use crate::config::Config;
use crate::stats::StoreStats;
use crate::store::gaps::{self, Open};
use crate::store::{Connection, Endpoint, StoreError};
use crate::time::rfc3339;

/// How often it is asked whether there are gaps to ask for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a store is asked though nothing happened here.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// What was found, shared with whoever shows it.
#[derive(Clone)]
pub(super) struct Watch {
    stores: Vec<Watched>,
    alarms: Alarms,
    /// By node.
    found: Arc<Mutex<BTreeMap<String, Open>>>,
    has_asked: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Watched {
    endpoint: Endpoint,
    stats: Arc<StoreStats>,
    nodes: Vec<String>,
}

impl Watch {
    pub(super) fn new(config: &Config, stores: &BTreeMap<String, OpenStore>, alarms: &Alarms) -> Self {
        let watched = config.stores.iter().filter_map(|store| {
            let nodes = config.nodes.iter().filter(|node| node.store == store.name).map(|node| node.name.clone()).collect();
            Some(Watched { endpoint: Endpoint::from_config(store), stats: stores.get(&store.name)?.stats.clone(), nodes })
        });
        Self { stores: watched.collect(), alarms: alarms.clone(), found: Arc::default(), has_asked: Arc::default() }
    }

    /// What is open at a node, for `status`.
    pub(super) fn of(&self, node: &str) -> Value {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let open = found.get(node);
        json!({ "open": open.map_or(0, |open| open.gaps), "oldest": open.map(|open| rfc3339(open.oldest)) })
    }

    /// How many gaps of a node are open; none before that was asked.
    pub(super) fn count(&self, node: &str) -> Option<u64> {
        if !self.has_asked.load(Ordering::Relaxed) {
            return None;
        }
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        Some(found.get(node).map_or(0, |open| open.gaps))
    }

    pub(super) async fn keep_looking(self) {
        let mut asked: Vec<Option<(u64, Instant)>> = vec![None; self.stores.len()];
        loop {
            for (store, asked) in self.stores.iter().zip(&mut asked) {
                let counts = store.stats.get();
                let is_news = asked.is_none_or(|(gaps, at)| gaps != counts.gaps || at.elapsed() > ASK_EVERY);
                // Before the first commit nobody knows whether the store is there, or migrated.
                if is_news && counts.commits > 0 {
                    *asked = Some((counts.gaps, Instant::now()));
                    if let Err(error) = self.ask(store).await {
                        log::debug!("store {}: the gaps can't be read: {error}", store.endpoint.name);
                    }
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn ask(&self, store: &Watched) -> Result<(), StoreError> {
        let mut connection = Connection::open(&store.endpoint).await?;
        let open = gaps::open(&mut connection).await?;
        self.has_asked.store(true, Ordering::Relaxed);
        for node in &store.nodes {
            self.show(node, open.iter().find(|open| open.node.as_deref() == Some(node)));
        }
        Ok(())
    }

    fn show(&self, node: &str, open: Option<&Open>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match open {
            Some(open) => {
                found.insert(node.to_owned(), open.clone());
                self.alarms.raise(Name::GapOpened, node, &text(open));
            }
            None => {
                found.remove(node);
                self.alarms.clear(Name::GapOpened, node);
            }
        }
    }
}

fn text(open: &Open) -> String {
    let why = open.newest.map(|reason| format!(": {}", reason.text())).unwrap_or_default();
    let advice = open.newest.map(|reason| reason.advice()).unwrap_or("see `xmpp-archiver gaps list`");
    let since = rfc3339(open.oldest);
    match open.gaps {
        1 => format!("1 gap is open since {since}{why}; see `xmpp-archiver gaps list`, then {advice}"),
        gaps => format!("{gaps} gaps are open, the oldest since {since}, the newest{why}; see `xmpp-archiver gaps list`, then {advice}"),
    }
}
