//! What a service manager is told (sd_notify(3)). Without one, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// How many signs of life are given in the time after which the service manager acts.
const SIGNS_A_TIMEOUT: u32 = 3;

/// Everything is started.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again. systemd wants the time with it (`Type=notify-reload`).
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_no_clock) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// All is well.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How it goes, in a line, for `systemctl status`.
pub(super) fn doing(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// How often [`alive`] is to be told; none if nobody watches.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / SIGNS_A_TIMEOUT)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager can't be told: {error}");
    }
}
