//! Who is told that an account is locked, or not any more: the log of this process, and the archiver that runs with the same configuration, whose alarms reach people.

use std::net::IpAddr;

use super::{Access, Settings};
use crate::alarm::Name;
use crate::run::requests;
use crate::time::{Micros, rfc3339};

/// An account that is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub account: String,
    /// Failures in a row.
    pub failures: i32,
    /// Where the last one came from.
    pub address: IpAddr,
    /// Until then; [`Micros::MAX`] until somebody unlocks it.
    pub until: Micros,
}

impl Lock {
    /// What the alarm says.
    pub fn text(&self) -> String {
        let Self { failures, address, until, .. } = self;
        let until = if *until == Micros::MAX { "somebody unlocks it".to_owned() } else { rfc3339(*until) };
        format!("{failures} attempts to sign in failed in a row, the last one from {address}: locked until {until}")
    }
}

impl Access {
    pub(super) fn tell_locked(&self, lock: &Lock) {
        let settings = &self.inner.settings;
        settings.alarms.raise(Name::AccountLocked, &lock.account, &lock.text());
        tell(settings, |token| requests::locked(lock, token));
    }

    /// Its owner is in, or somebody has unlocked it.
    pub(super) fn tell_unlocked(&self, account: &str) {
        let settings = &self.inner.settings;
        settings.alarms.clear(Name::AccountLocked, account);
        tell(settings, |token| requests::unlocked(account, token));
    }
}

/// Without the directory no archiver runs beside this process, and its own log is all.
fn tell(settings: &Settings, request: impl FnOnce(&str) -> String) {
    let Some(directory) = settings.requests.as_ref().filter(|directory| directory.is_dir()) else { return };
    if let Err(error) = requests::leave(directory, request) {
        log::warn!("the archiver can't be told of an account that is locked or unlocked: {}: {error}", directory.display());
    }
}
