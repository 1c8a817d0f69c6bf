//! Looks at everything once a second, and raises and clears the alarms that nobody else would notice.
//!
//! Nothing is asked of anybody: all that is looked at lies in memory, but for the free space of the disks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::alarm::{Alarms, Name};
use crate::certificate;
use crate::component::SessionError;
use crate::component::status::State;
use crate::config::AlarmConfig;
use crate::spool::Depth;
use crate::time::{Micros, SECOND, now};

use super::view::{NodeView, Shown, StoreView};

/// How often it looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// What is cleared only this many percent below its mark, so that it does not come and go.
const MARGIN_PERCENT: u64 = 5;
/// One day.
const DAY: Micros = 86_400 * SECOND;

/// What is remembered from one look to the next.
pub(super) struct Watch {
    shown: Shown,
    /// Nodes without a session: since when, and what was last said about it.
    down: BTreeMap<String, Down>,
    clock: (Instant, Micros),
}

struct Down {
    since: Instant,
    name: Name,
    text: String,
}

impl Watch {
    pub(super) fn new(shown: Shown) -> Self {
        Self { shown, down: BTreeMap::new(), clock: (Instant::now(), now()) }
    }

    /// Looks once.
    pub(super) fn look(&mut self, settings: &AlarmConfig) {
        let view = self.shown.view();
        let alarms = self.shown.alarms().clone();
        self.look_at_clock(settings, &alarms);
        for node in &view.nodes {
            self.look_at_node(node, settings, &alarms);
        }
        self.forget_nodes(|name| view.nodes.iter().any(|node| node.name == name), &alarms);
        for store in &view.stores {
            look_at_spool(store, settings, &alarms);
            look_at_lag(store, settings, &alarms);
            for disk in &store.disks {
                look_at_disk(disk, settings, &alarms);
            }
        }
        look_at_certificates(settings, &alarms);
        alarms.expire(settings.clear_after);
        self.shown.watched();
    }

    /// The wall clock and the clock that only runs differ by more than any correction.
    fn look_at_clock(&mut self, settings: &AlarmConfig, alarms: &Alarms) {
        let (before, shown_before) = std::mem::replace(&mut self.clock, (Instant::now(), now()));
        let passed = self.clock.0.saturating_duration_since(before);
        if let Some(text) = jump(self.clock.1 - shown_before, passed, settings.clock_jump) {
            alarms.raise(Name::ClockJumped, "this machine", &text);
        }
    }

    fn look_at_node(&mut self, node: &NodeView, settings: &AlarmConfig, alarms: &Alarms) {
        let (error, advice) = match node.status.state() {
            // The session was ended by us, which tells nothing of the node.
            State::Stopped => return,
            State::Online { .. } => {
                self.down.remove(&node.name);
                return NODE_ALARMS.iter().for_each(|name| alarms.clear(*name, &node.name));
            }
            State::Down { error, advice, .. } => (Some(error), advice),
            State::Connecting(_) => (None, format!("no session with {} yet: see that it is up and takes components", node.address)),
        };
        let down = self.down.entry(node.name.clone()).or_insert_with(|| Down {
            since: Instant::now(),
            name: Name::NodeUnreachable,
            text: advice.clone(),
        });
        // While the next attempt is under way, what ended the last one still holds.
        if let Some(error) = error {
            down.name = node_alarm(&error);
            down.text = advice;
        }
        // To wait helps with a node that restarts, and not with a wrong secret.
        if down.name != Name::SecretRefused && down.since.elapsed() < settings.node_down_after {
            return;
        }
        for name in NODE_ALARMS.into_iter().filter(|name| *name != down.name) {
            alarms.clear(name, &node.name);
        }
        alarms.raise(down.name, &node.name, &down.text);
    }

    /// What is not configured any more is no trouble any more.
    fn forget_nodes(&mut self, is_there: impl Fn(&str) -> bool, alarms: &Alarms) {
        self.down.retain(|node, _| {
            let stays = is_there(node);
            if !stays {
                NODE_ALARMS.iter().for_each(|name| alarms.clear(*name, node));
            }
            stays
        });
    }
}

/// The alarms about a session, of which at most one is raised.
const NODE_ALARMS: [Name; 3] = [Name::NodeUnreachable, Name::SecretRefused, Name::SecondInstance];

fn node_alarm(error: &SessionError) -> Name {
    match error {
        SessionError::SecretRefused(_) => Name::SecretRefused,
        SessionError::Conflict => Name::SecondInstance,
        _ => Name::NodeUnreachable,
    }
}

/// What to say of a clock that moved by `shown` while `passed` passed.
fn jump(shown: Micros, passed: Duration, most: Duration) -> Option<String> {
    let off = shown.saturating_sub(passed.as_micros() as Micros);
    if off.unsigned_abs() <= most.as_micros() as u64 {
        return None;
    }
    let (seconds, way) = (off.unsigned_abs() as f64 / SECOND as f64, if off > 0 { "forward" } else { "back" });
    Some(format!(
        "the system's clock went {way} by {seconds:.1} s (or the machine slept): times of messages around now are off by that; keep the clock \
         right with NTP (chrony, systemd-timesyncd)"
    ))
}

/// A spool at its limit, or on a full disk, is an alarm as long as it lasts, and so is one on its way there.
fn look_at_spool(store: &StoreView, settings: &AlarmConfig, alarms: &Alarms) {
    let (name, depth) = (&store.name, store.spool.depth());
    alarms.set(Name::SpoolRemoved, name, depth.removed.as_deref());
    match &depth.last_error {
        // That there is no directory to write to is said already.
        Some(_) if depth.removed.is_some() => alarms.clear(Name::SpoolFull, name),
        Some(error) => alarms.raise(Name::SpoolFull, name, &format!("the spool can't be written: {error}; free the disk")),
        None if depth.paused => {
            let text = "the spool holds as much as it may and takes no more: bring the store back, or raise spool.limit";
            alarms.raise(Name::SpoolFull, name, text);
        }
        None => alarms.clear(Name::SpoolFull, name),
    }
    for (alarm, mark) in [(Name::SpoolHigh, settings.spool_high), (Name::SpoolNearlyFull, settings.spool_nearly_full)] {
        match beyond(&depth, mark) {
            Some(true) => {
                let text = format!("the spool holds more than {mark} % of what it may: bring the store back, or raise spool.limit");
                alarms.raise(alarm, name, &text);
            }
            Some(false) => alarms.clear(alarm, name),
            None => {}
        }
    }
    store.ages.lock().unwrap_or_else(PoisonError::into_inner).note(depth.next_seq, depth.oldest_seq, Instant::now());
}

/// Whether a spool is filled beyond a mark; none just below it.
fn beyond(depth: &Depth, mark_percent: u64) -> Option<bool> {
    // Segments are freed as a whole, so bytes without records are on their way out.
    let filled = if depth.records == 0 { 0 } else { u128::from(depth.bytes) * 100 };
    let of = |percent: u64| u128::from(percent) * u128::from(depth.limit_bytes);
    match filled {
        filled if filled > of(mark_percent) => Some(true),
        filled if filled <= of(mark_percent.saturating_sub(MARGIN_PERCENT)) => Some(false),
        _ => None,
    }
}

fn look_at_lag(store: &StoreView, settings: &AlarmConfig, alarms: &Alarms) {
    let limit = settings.lag_limit;
    let text = format!(
        "records have waited for more than {} s to be stored: see whether the database is away or slow (`xmpp-archiver status`), and how long \
         the spool will do",
        limit.as_secs()
    );
    let is_late = store.oldest_age().is_some_and(|age| age > limit);
    alarms.set(Name::ArchiveLag, &store.name, is_late.then_some(text.as_str()));
}

fn look_at_disk(disk: &Path, settings: &AlarmConfig, alarms: &Alarms) {
    let (Some(free), least) = (free_bytes(disk), settings.disk_low.0) else { return };
    let subject = disk.display().to_string();
    if free < least {
        let text = format!("less than {} is free on its disk: make room, or move it to a larger disk", settings.disk_low);
        alarms.raise(Name::DiskLow, &subject, &text);
    } else if free >= least.saturating_add(least / 100 * MARGIN_PERCENT) {
        alarms.clear(Name::DiskLow, &subject);
    }
}

/// The bytes that are free on the disk of a directory, for a user who is not root.
pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(directory).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn look_at_certificates(settings: &AlarmConfig, alarms: &Alarms) {
    let days = settings.certificate_days;
    for (subject, end) in certificate::ends() {
        let is_near = end - now() < i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(DAY);
        let text = format!("its certificate ends at {}: renew it, or the connection will be refused", crate::time::rfc3339(end));
        alarms.set(Name::CertificateNearEnd, &subject, is_near.then_some(text.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(bytes: u64) -> Depth {
        Depth {
            records: 1,
            bytes,
            oldest_seq: 0,
            next_seq: 1,
            durable_seq: 1,
            limit_bytes: 1000,
            paused: false,
            last_error: None,
            removed: None,
            is_written: true,
        }
    }

    #[test]
    fn a_mark_is_crossed_once_and_left_below_it() {
        for (bytes, expected) in [(0, Some(false)), (700, Some(false)), (701, None), (750, None), (751, Some(true)), (1000, Some(true))] {
            assert_eq!(beyond(&depth(bytes), 75), expected, "{bytes}");
        }
        assert_eq!(beyond(&Depth { records: 0, ..depth(1000) }, 75), Some(false));
    }

    #[test]
    fn only_a_step_of_the_clock_is_a_jump() {
        let (second, most) = (Duration::from_secs(1), Duration::from_secs(5));
        assert_eq!(jump(SECOND, second, most), None);
        assert_eq!(jump(6 * SECOND, second, most), None);
        assert!(jump(6 * SECOND + 1, second, most).unwrap().contains("forward by 5.0 s"));
        assert!(jump(-3600 * SECOND, second, most).unwrap().contains("back by 3601.0 s"));
    }

    #[test]
    fn the_free_space_of_what_is_not_there_is_unknown() {
        assert!(free_bytes(Path::new("/")).is_some_and(|bytes| bytes > 0));
        assert_eq!(free_bytes(Path::new("/does/not/exist")), None);
    }
}
