//! Exports by the clock (`[[export]]`), on a thread of their own, so that none holds up a node.
//!
//! Each turn is in the audit trail before it begins, and what came of it after. A turn that fails is tried again, and an alarm stands meanwhile.
//! A turn is a task of its own, so that even a mistake in the program that ends it ends neither the schedule nor the others.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Zoned;
use jiff::civil::Date;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::{Access, Action, Event, Outcome, Settings, Viewer};
use crate::alarm::{Alarms, Name};
use crate::config::{Config, ScheduleConfig};
use crate::export::daily::{self, Turn};
use crate::export::{ExportError, Produced, Progress};
use crate::retrieve::Archive;
use crate::store::Endpoint;

/// Connections to the store of an export.
const CONNECTIONS: u32 = 2;
/// The longest wait for the clock: it may be set meanwhile.
const NAP: Duration = Duration::from_secs(60);
/// How long until a turn that failed is tried again.
const RETRY: Duration = Duration::from_secs(600);

/// Begins to look at the clock, if there is anything to do.
pub(super) fn start(config: &Config, alarms: &Alarms, stop: watch::Receiver<bool>) {
    if config.exports.is_empty() {
        return;
    }
    let (config, alarms) = (config.clone(), alarms.clone());
    let spawned = std::thread::Builder::new().name("export".to_owned()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(keep(config, alarms, stop)),
            Err(error) => log::error!("exports can't be started: {error}"),
        }
    });
    if let Err(error) = spawned {
        log::error!("exports can't be started: {error}");
    }
}

async fn keep(config: Config, alarms: Alarms, stop: watch::Receiver<bool>) {
    let (mut schedules, mut names) = (JoinSet::new(), HashMap::new());
    for schedule in config.exports.clone() {
        let name = schedule.name.clone();
        let task = schedules.spawn(follow(config.clone(), schedule, alarms.clone(), stop.clone()));
        names.insert(task.id(), name);
    }
    while let Some(ended) = schedules.join_next().await {
        if let Err(error) = ended {
            let name = names.get(&error.id()).map_or("", String::as_str);
            log::error!("export {name}: its clock broke off: {error}");
            alarms.raise(Name::ExportFailed, name, "its clock broke off by a mistake in the program; it goes on with the next start");
        }
    }
}

async fn follow(config: Config, schedule: ScheduleConfig, alarms: Alarms, mut stop: watch::Receiver<bool>) {
    let zone = schedule.rules();
    let (mut is_looked_at, mut told_ahead) = (false, None);
    loop {
        if !is_looked_at {
            is_looked_at = warn_of_unknown_nodes(&config, &schedule).await;
        }
        let now = Zoned::now().with_time_zone(zone.clone());
        let last = daily::last_turn(&schedule.path);
        warn_of_clock(&schedule.name, &now, last, &mut told_ahead);
        let wait = match daily::due(&now, schedule.at, last) {
            Ok(due) if due <= now => {
                let turn = take_turn(config.clone(), schedule.clone(), now, alarms.clone(), stop.clone());
                guarded(&schedule.name, &alarms, turn).await
            }
            Ok(due) => Duration::try_from(now.duration_until(&due)).unwrap_or(NAP).min(NAP),
            Err(error) => {
                log::error!("export {}: {error}", schedule.name);
                RETRY
            }
        };
        if tokio::time::timeout(wait, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

/// Warns once of a last turn that is still to come.
fn warn_of_clock(name: &str, now: &Zoned, last: Option<Date>, told: &mut Option<Date>) {
    let Some(last) = last.filter(|last| daily::is_ahead(now, *last) && *told != Some(*last)) else { return };
    log::warn!(
        "export {name}: its last turn was made while the clock was ahead, for {last}; it does not count, and the next is made at its hour"
    );
    *told = Some(last);
}

/// Warns of nodes of which neither the configuration nor the archive knows: whoever misspells one gets exports without messages, and no other sign.
/// False while the store can't be asked.
async fn warn_of_unknown_nodes(config: &Config, schedule: &ScheduleConfig) -> bool {
    let strange = schedule.strange_nodes(&config.nodes);
    let Some(store) = config.store(Some(&schedule.store)).ok().filter(|_| !strange.is_empty()) else { return true };
    let unknown = async { Archive::open(&Endpoint::from_config(store), CONNECTIONS).await?.unknown_nodes(&strange).await };
    match unknown.await {
        Ok(unknown) => {
            for name in unknown {
                log::warn!(
                    "export {}: its conditions name the node {name:?}, of which neither the configuration nor the archive knows",
                    schedule.name
                );
            }
            true
        }
        Err(error) => {
            log::debug!("export {}: the nodes of its conditions are not looked at yet: {error}", schedule.name);
            false
        }
    }
}

/// Has a turn made by a task; one that panics has failed like any other.
async fn guarded(name: &str, alarms: &Alarms, turn: impl Future<Output = Duration> + Send + 'static) -> Duration {
    match tokio::spawn(turn).await {
        Ok(wait) => wait,
        Err(error) => {
            log::error!("export {name}: the turn broke off: {error}");
            failed(name, alarms, "the turn broke off by a mistake in the program, which the log tells");
            RETRY
        }
    }
}

fn failed(name: &str, alarms: &Alarms, said: &str) {
    let text = format!("{said}; nothing of it is lost, and it is tried again every {} min", RETRY.as_secs() / 60);
    alarms.raise(Name::ExportFailed, name, &text);
}

/// One turn; how long until the clock is looked at again.
async fn take_turn(config: Config, schedule: ScheduleConfig, now: Zoned, alarms: Alarms, stop: watch::Receiver<bool>) -> Duration {
    match turn(&config, &schedule, &now, &alarms, &stop).await {
        Ok(turn) => {
            let (exports, messages) = (turn.exports.len(), turn.messages());
            log::info!("export {}: {exports} exports of {messages} messages, {} delivered", schedule.name, turn.delivered.exports);
            alarms.clear(Name::ExportFailed, &schedule.name);
            Duration::ZERO
        }
        Err(ExportError::Stopped(_)) => RETRY,
        Err(ExportError::Busy(_)) => {
            log::info!("export {}: another process is at it", schedule.name);
            NAP
        }
        Err(error) => {
            log::error!("export {}: {error}", schedule.name);
            failed(&schedule.name, &alarms, &error.to_string());
            RETRY
        }
    }
}

async fn turn(
    config: &Config,
    schedule: &ScheduleConfig,
    now: &Zoned,
    alarms: &Alarms,
    stop: &watch::Receiver<bool>,
) -> Result<Turn, ExportError> {
    let refused = |said: String| ExportError::Refused(said);
    let store = config.store(Some(&schedule.store)).map_err(|error| refused(error.to_string()))?;
    let settings = Settings::from_config(config, alarms.clone()).map_err(|error| refused(error.to_string()))?;
    let access = Access::open(settings).map_err(|error| refused(error.to_string()))?;
    let viewer = Viewer::service("export");
    let target = target(schedule);
    let begun = Event::new(Action::Export, target.clone());
    access.record(&viewer, begun).await.map_err(|error| refused(format!("the audit trail: {error}")))?;
    let archive = Archive::open(&Endpoint::from_config(store), CONNECTIONS).await?;
    let reached: Mutex<Option<Progress>> = Mutex::default();
    let watch = |progress: Progress| {
        *reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        if *stop.borrow() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let day = daily::day_of(now, schedule.at).map_err(|error| refused(error.to_string()))?;
    let mut turn = Turn::default();
    let came = daily::turn(&archive, schedule, day, &watch, &mut turn).await;
    let reached = *reached.lock().unwrap_or_else(PoisonError::into_inner);
    let told = access.record(&viewer, ended(target, &came, &turn, reached)).await.map_err(|error| error.to_string());
    let told = told.and_then(|_row| daily::note_told(&schedule.path, &turn.exports).map_err(|error| error.to_string()));
    if let Err(error) = told {
        log::error!("export {}: its end is not in the audit trail, or will be once more: {error}", schedule.name);
    }
    came.map(|()| turn)
}

/// What came of a turn: the exports that it finished, each with the hash by which it is known again, and how far it was where it failed.
fn ended(mut target: Value, came: &Result<(), ExportError>, turn: &Turn, reached: Option<Progress>) -> Event {
    let name = |produced: &Produced| produced.directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let finished = turn
        .exports
        .iter()
        .map(|produced| json!({ "name": name(produced), "messages": produced.messages, "sums_sha256": produced.sums_sha256 }));
    if let Some(target) = target.as_object_mut() {
        target.insert("exports".to_owned(), finished.collect());
    }
    match came {
        Ok(()) => Event::new(Action::ExportEnd, target).of(turn.messages()),
        Err(error) => {
            let counts = error.counts(reached);
            let written = counts.get("written").and_then(Value::as_u64).unwrap_or_default();
            if let Some(target) = target.as_object_mut() {
                target.extend((!counts.is_null()).then(|| ("counts".to_owned(), counts)));
            }
            Event::new(Action::ExportEnd, target).of(turn.messages() + written).ended(Outcome::Failed)
        }
    }
}

fn target(schedule: &ScheduleConfig) -> Value {
    let mut target = json!({
        "schedule": schedule.name, "store": schedule.store, "query": schedule.query, "format": schedule.format,
        "to": schedule.path.display().to_string(),
    });
    if let (Some(mail), Some(target)) = (&schedule.mail, target.as_object_mut()) {
        target.insert("mail".to_owned(), json!(mail.to));
    }
    if let (Some(s3), Some(target)) = (&schedule.s3, target.as_object_mut()) {
        target.insert("s3".to_owned(), json!(s3.place()));
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Stage;

    fn finished(name: &str) -> Produced {
        Produced { directory: name.into(), messages: 4, files: 3, sums_sha256: "ab".repeat(32) }
    }

    #[tokio::test]
    async fn a_turn_that_panics_is_an_alarm_and_is_tried_again() {
        let alarms = Alarms::default();
        let wait = guarded("journal", &alarms, async { panic!("a mistake") }).await;
        assert_eq!(wait, RETRY);
        let raised = alarms.raised();
        assert!(raised.iter().any(|alarm| alarm.name == Name::ExportFailed && alarm.subject == "journal"), "{raised:?}");
        assert_eq!(guarded("journal", &alarms, async { NAP }).await, NAP, "the next one is made");
    }

    #[test]
    fn the_end_of_a_turn_tells_what_it_made_and_how_far_it_was() {
        let turn = Turn { exports: vec![finished("/x/001-004")], ..Turn::default() };
        let event = ended(json!({ "schedule": "journal", "query": "who=a" }), &Ok(()), &turn, None);
        assert_eq!((event.count, event.outcome), (Some(4), Outcome::Done));
        assert_eq!(event.target["exports"][0]["name"], "001-004");
        assert_eq!(event.target["exports"][0]["sums_sha256"], "ab".repeat(32));
        let reached = Some(Progress { stage: Stage::Writing, messages: 7, total: 9 });
        let broken = ended(json!({ "schedule": "journal" }), &Err(ExportError::Refused("x".to_owned())), &turn, reached);
        assert_eq!((broken.count, broken.outcome), (Some(11), Outcome::Failed));
        assert_eq!(broken.target["counts"], json!({ "query_finds": 9, "written": 7 }));
    }
}
