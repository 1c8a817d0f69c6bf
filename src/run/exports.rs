//! Exports by the clock (`[[export]]`), on a thread of their own, so that none holds up a node.
//!
//! Each turn is in the audit trail before it begins, and what came of it after. A turn that fails is tried again, and an alarm stands meanwhile.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Zoned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::{Access, Action, Event, Outcome, Settings, Viewer};
use crate::alarm::{Alarms, Name};
use crate::config::{Config, ScheduleConfig};
use crate::export::daily::{self, Turn};
use crate::export::{ExportError, Progress};
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
    let mut schedules = JoinSet::new();
    for schedule in config.exports.clone() {
        schedules.spawn(follow(config.clone(), schedule, alarms.clone(), stop.clone()));
    }
    while schedules.join_next().await.is_some() {}
}

async fn follow(config: Config, schedule: ScheduleConfig, alarms: Alarms, mut stop: watch::Receiver<bool>) {
    let zone = schedule.rules();
    loop {
        let now = Zoned::now().with_time_zone(zone.clone());
        let wait = match daily::due(&now, schedule.at, daily::last_turn(&schedule.path)) {
            Ok(due) if due <= now => take_turn(&config, &schedule, &now, &alarms, &stop).await,
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

/// One turn; how long until the clock is looked at again.
async fn take_turn(config: &Config, schedule: &ScheduleConfig, now: &Zoned, alarms: &Alarms, stop: &watch::Receiver<bool>) -> Duration {
    match turn(config, schedule, now, alarms, stop).await {
        Ok(turn) => {
            let Turn { exports, messages, delivered } = turn;
            log::info!("export {}: {exports} exports of {messages} messages, {} delivered", schedule.name, delivered.exports);
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
            let text = format!("{error}; nothing of it is lost, and it is tried again every {} min", RETRY.as_secs() / 60);
            alarms.raise(Name::ExportFailed, &schedule.name, &text);
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
    let watch = |_: Progress| if *stop.borrow() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let day = daily::day_of(now, schedule.at).map_err(|error| refused(error.to_string()))?;
    let came = daily::turn(&archive, schedule, day, &watch).await;
    let ended = match &came {
        Ok(turn) => Event::new(Action::ExportEnd, target).of(turn.messages),
        Err(_) => Event::new(Action::ExportEnd, target).ended(Outcome::Failed),
    };
    if let Err(error) = access.record(&viewer, ended).await {
        log::error!("export {}: its end is not in the audit trail: {error}", schedule.name);
    }
    came
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
