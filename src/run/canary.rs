//! Who writes probe messages, as the configuration has it now.

use std::sync::Arc;

use super::{OpenNode, Running};
use crate::alarm::{Alarms, Name};
use crate::canary::watch::{self, Watch};
use crate::canary::{Account, Canaries};
use crate::config::{CanaryConfig, Config, SecretError};

/// Somebody who writes to a node.
pub(super) struct OpenCanary {
    account: Arc<Account>,
    shown: String,
    _until_dropped: watch::Running,
}

/// Whose messages are probes by this configuration. Whose password can't be read is left out: what he wrote is archived then.
pub fn canaries(config: &Config) -> Canaries {
    let canaries = Canaries::default();
    know(&canaries, config);
    canaries
}

/// Makes the accounts known, before any record of theirs is read.
pub(super) fn know(canaries: &Canaries, config: &Config) {
    for node in &config.nodes {
        let Some(canary) = &node.canary else { continue };
        if let Err(error) = account(canaries, canary) {
            log::warn!("node {}: the canary's {} {error}; its probes are archived like any message", node.name, canary.password_key());
        }
    }
}

fn account(canaries: &Canaries, canary: &CanaryConfig) -> Result<Arc<Account>, SecretError> {
    Ok(canaries.add(Account::new(&canary.jid, canary.to(), canary.password.read()?)))
}

impl Running {
    /// Lets those write who are configured, and those go on who are as they were.
    pub(super) fn start_canaries(&mut self) {
        let (canaries, alarms) = (self.canaries.clone(), self.shown.alarms().clone());
        for node in &mut self.nodes {
            let Some(config) = node.config.canary.clone() else {
                if node.canary.take().is_some() {
                    forget(&canaries, &alarms, &node.config.name);
                }
                continue;
            };
            match account(&canaries, &config) {
                Ok(account) => renew(node, config, account, &canaries, &alarms),
                Err(error) => log::error!("node {}: the canary's {} {error}; nothing changes", node.config.name, config.password_key()),
            }
        }
    }
}

fn renew(node: &mut OpenNode, config: CanaryConfig, account: Arc<Account>, canaries: &Canaries, alarms: &Alarms) {
    let shown = super::reload::shown(&config);
    let is_same = |open: &OpenCanary| open.shown == shown && Arc::ptr_eq(&open.account, &account);
    if node.canary.as_ref().is_some_and(is_same) {
        return;
    }
    // The one before must not judge what the new one does.
    node.canary = None;
    let watch = Watch {
        node: node.config.name.clone(),
        config,
        account: account.clone(),
        canaries: canaries.clone(),
        link: node.intake.link().clone(),
        status: node.status.clone(),
        alarms: alarms.clone(),
    };
    node.canary = Some(OpenCanary { account, shown, _until_dropped: watch.start() });
}

/// Nobody writes to this node any more.
pub(super) fn forget(canaries: &Canaries, alarms: &Alarms, node: &str) {
    canaries.end(node);
    alarms.clear(Name::CanaryMissing, node);
}
