//! A changed configuration, taken up while the daemon runs.
//!
//! It is read as a whole and taken up only if nothing in it is wrong. What can change without a stop does: the log's level, alarms, the
//! policy, the nodes, the spool's limit, the HTTP port. What can't is said in the log, and stays as it was until the next start.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tokio::task::JoinSet;

use super::{OpenNode, Running, canary, close_session, component, rules_of, settings};
use crate::alarm::Name;
use crate::config::{Config, ConfigErrors, NodeConfig, StoreConfig};
use crate::logging;

impl Running {
    /// Takes up what has changed, if the configuration could be read.
    pub(super) async fn reload(&mut self, loaded: Result<Config, ConfigErrors>) {
        let loaded = loaded.map_err(|errors| errors.to_string());
        let loaded = loaded.and_then(|config| config.require_nodes().map(|()| config).map_err(|errors| errors.to_string()));
        match loaded {
            Ok(wanted) => self.take_up(wanted).await,
            Err(errors) => log::error!("the configuration was not taken up, and the one before goes on: {}", errors.replace("\n  ", "; ")),
        }
    }

    async fn take_up(&mut self, mut wanted: Config) {
        let current = self.config.borrow().clone();
        wanted.warnings.iter().for_each(|warning| log::warn!("configuration: {warning}"));
        keep_what_stays(&current, &mut wanted);
        self.keep_impossible_nodes(&current, &mut wanted);
        if !logging::set_level(wanted.log.level) && wanted.log.level != current.log.level {
            log::warn!("log.level is not taken up, since RUST_LOG goes before it");
        }
        self.shown.notifier().set(wanted.alarm.clone());
        if wanted.spool.limit != current.spool.limit {
            self.set_limits(&current, &mut wanted);
        }
        canary::know(&self.canaries, &wanted);
        // Before any node is attached, so that the first of its records is understood.
        for (name, store) in &self.stores {
            store.rules.send_replace(Arc::new(rules_of(&wanted, name, &self.canaries)));
        }
        self.take_up_nodes(&wanted).await;
        self.start_canaries();
        if wanted.http != current.http {
            self.listen(&wanted.http);
        }
        self.watch_gaps(&wanted);
        self.show();
        self.config.send_replace(Arc::new(wanted));
        log::info!("the configuration was taken up");
    }

    fn set_limits(&self, current: &Config, wanted: &mut Config) {
        let limit = wanted.spool.limit;
        if self.stores.values().all(|store| store.appender.set_limit(limit.0)) {
            log::info!("the spool may fill {limit} from now on");
        } else {
            log::warn!("spool.limit = {limit} does not leave room for the spool's segments: it needs a restart");
            wanted.spool.limit = current.spool.limit;
            self.stores.values().for_each(|store| {
                store.appender.set_limit(current.spool.limit.0);
            });
        }
    }

    /// A node whose store is not open, or whose stanzas are longer than the spool's records, has to wait for a restart.
    fn keep_impossible_nodes(&self, current: &Config, wanted: &mut Config) {
        let mut possible = Vec::new();
        for mut node in std::mem::take(&mut wanted.nodes) {
            let before = current.nodes.iter().find(|before| before.name == node.name);
            if !self.stores.contains_key(&node.store) {
                log::warn!("node {}: its store {} is not open: it needs a restart", node.name, node.store);
                possible.extend(before.cloned());
                continue;
            }
            if node.max_stanza > self.largest_stanza {
                log::warn!("node {}: max_stanza = {} needs a restart", node.name, node.max_stanza);
                node.max_stanza = before.map_or(self.largest_stanza, |before| before.max_stanza);
            }
            possible.push(node);
        }
        wanted.nodes = possible;
    }

    async fn take_up_nodes(&mut self, wanted: &Config) {
        let mut closing = JoinSet::new();
        for node in std::mem::take(&mut self.nodes) {
            match wanted.nodes.iter().find(|one| one.name == node.config.name) {
                Some(one) if attachment(one) == attachment(&node.config) => self.nodes.push(renewed(node, one)),
                Some(_changed) => self.detach(node, "has changed: the session begins anew", &mut closing),
                None => self.detach(node, "is not configured any more", &mut closing),
            }
        }
        // One domain must not be attached twice, not even for a moment: ejabberd would give each session half of the copies.
        while let Some(closed) = closing.join_next().await {
            if let (Ok(node), Some(life)) = (closed, &self.life) {
                life.detach(&node);
                self.shown.alarms().clear(Name::GapOpened, &node);
                canary::forget(&self.canaries, self.shown.alarms(), &node);
            }
        }
        for node in &wanted.nodes {
            if self.nodes.iter().any(|open| open.config.name == node.name) {
                continue;
            }
            // The secret was readable a moment ago.
            if let Err(error) = self.attach(node) {
                log::error!("{error}; it is not attached");
            }
        }
        let place = |node: &OpenNode| wanted.nodes.iter().position(|one| one.name == node.config.name);
        self.nodes.sort_by_key(place);
    }

    /// Ends a session politely, while everything else goes on.
    fn detach(&self, node: OpenNode, why: &str, closing: &mut JoinSet<String>) {
        log::info!("node {}: {why}", node.config.name);
        let patience = self.config.borrow().run.shutdown_timeout;
        let name = node.config.name.clone();
        closing.spawn(async move {
            close_session(node, patience).await;
            name
        });
    }
}

/// The same session goes on; its next connection has the secret that holds then.
fn renewed(node: OpenNode, wanted: &NodeConfig) -> OpenNode {
    match settings(wanted) {
        Ok(renewed) => {
            node.settings.send_if_modified(|current| replace_secret(current, renewed));
        }
        Err(error) => log::error!("{error}; the secret before is used on"),
    }
    OpenNode { config: wanted.clone(), ..node }
}

fn replace_secret(current: &mut component::Settings, wanted: component::Settings) -> bool {
    let is_new = current.secret.expose_secret() != wanted.secret.expose_secret();
    if is_new {
        log::info!("node {}: its secret has changed", wanted.name);
        current.secret = wanted.secret;
    }
    is_new
}

/// What can't change while the daemon runs is put back to what it is, and said.
fn keep_what_stays(current: &Config, wanted: &mut Config) {
    let restart = |what: &str| log::warn!("{what} has changed: that needs a restart, and until then the value before holds");
    if shown(&current.stores) != shown(&wanted.stores) || exposed(&current.stores) != exposed(&wanted.stores) {
        restart("[[store]]");
    }
    wanted.stores = current.stores.clone();
    if shown(&current.exports) != shown(&wanted.exports) {
        restart("[[export]]");
    }
    wanted.exports = current.exports.clone();
    if (current.web.with_run || wanted.web.with_run) && shown(&current.web) != shown(&wanted.web) {
        restart("[web]");
    }
    wanted.web = current.web.clone();
    let limit = wanted.spool.limit;
    wanted.spool.limit = current.spool.limit;
    if shown(&current.spool) != shown(&wanted.spool) {
        restart("[spool], apart from its limit,");
    }
    wanted.spool = current.spool.clone();
    wanted.spool.limit = limit;
    if current.archive.join_window != wanted.archive.join_window {
        restart("archive.join_window");
        wanted.archive.join_window = current.archive.join_window;
    }
}

/// What must be the same for a session to go on. Who else logs in at the node does not matter to it.
fn attachment(node: &NodeConfig) -> String {
    shown(&NodeConfig { canary: None, ..node.clone() })
}

/// Settings as they are compared; secrets look the same here.
pub(super) fn shown<T: serde::Serialize>(settings: &T) -> String {
    serde_json::to_string(settings).unwrap_or_default()
}

/// The addresses of the stores with their passwords.
fn exposed(stores: &[StoreConfig]) -> Vec<crate::store::Backend> {
    stores.iter().map(|store| crate::store::Endpoint::from_config(store).backend).collect()
}
