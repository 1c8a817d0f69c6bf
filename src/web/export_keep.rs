//! Removes exports that have been kept for long enough (`[web] keep_exports_days`): they hold what people wrote, and the archive can make
//! them again.
//!
//! What is removed is in the audit trail before. Where that can't be written, the export stays until the next look.

use std::time::Duration;

use tokio::sync::watch;

use super::app::App;
use super::export_run::described;
use crate::access::{Action, Event, Viewer};
use crate::export::ExportError;
use crate::export::job::{Job, Shelf};
use crate::time::now;

/// How often it is looked whether there are any.
const LOOK: Duration = Duration::from_secs(3_600);

/// Looks at once and then each hour, until told to stop.
pub(super) async fn keep(app: App, mut stop: watch::Receiver<bool>) {
    if app.config.web.keep_exports_days == 0 {
        return;
    }
    loop {
        if let Err(error) = look(&app).await {
            log::error!("exports that were kept for long enough can't be removed: {error}");
        }
        if tokio::time::timeout(LOOK, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

async fn look(app: &App) -> Result<(), ExportError> {
    for job in app.exports.on_shelf(Shelf::list).await?.into_iter().filter(|job| is_over(app, job)) {
        if let Err(error) = remove(app, job.number).await {
            log::error!("export {} can't be removed: {error}", job.number);
        }
    }
    Ok(())
}

fn is_over(app: &App, job: &Job) -> bool {
    job.kept_until(app.config.web.keep_exports_days).is_some_and(|until| until <= now())
}

async fn remove(app: &App, number: u64) -> Result<(), ExportError> {
    let held = app.exports.on_shelf(move |shelf| Ok(shelf.hold(number)?.zip(shelf.get(number)?))).await;
    let (held, job) = match held {
        // Somebody may have had it go on since.
        Ok(Some((held, job))) if is_over(app, &job) => (held, job),
        Ok(_) | Err(ExportError::Busy(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let reason = format!("it was kept for {} days after its end", app.config.web.keep_exports_days);
    let event = Event::new(Action::ExportRemove, described(&job)).because(Some(reason));
    let recorded = app.access.record(&Viewer::service("export"), event).await;
    recorded.map_err(|error| ExportError::Refused(format!("the audit trail: {error}")))?;
    app.exports.on_shelf(move |shelf| shelf.remove(held)).await?;
    log::info!("export {number} was kept for long enough and is removed");
    Ok(())
}
