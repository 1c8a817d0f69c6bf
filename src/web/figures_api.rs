//! The calls for what the overview shows of a store: messages per day, and where most is said.

use axum::response::Response;
use serde_json::{Value, json};

use super::api::answer;
use super::caller::Bearer;
use super::desk::Desk;
use super::find;
use super::overview::{BUSIEST, BUSY_SPAN, per_day};
use super::plot::Bar;
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::retrieve::Busy;
use crate::time::rfc3339;

/// `GET /days`.
pub(super) async fn days(bearer: Bearer) -> Response {
    answer(count_days(&bearer).await)
}

async fn count_days(bearer: &Bearer) -> Result<Value, Trouble> {
    let store = bearer.store();
    let target = json!({ "store": store, "conversations": false });
    bearer.require(Permission::ViewHealth, Action::ViewOverview, &target).await?;
    find::only(&bearer.params, &["store"])?;
    let plot = per_day(&bearer.app, &store).await?;
    bearer.record(Event::new(Action::ViewOverview, target)).await?;
    let day = |bar: &Bar| json!({ "day": bar.day, "messages": bar.messages });
    Ok(json!({ "days": plot.bars.iter().map(day).collect::<Vec<_>>() }))
}

/// `GET /busiest`.
pub(super) async fn busiest(bearer: Bearer) -> Response {
    answer(talks(&bearer).await)
}

async fn talks(bearer: &Bearer) -> Result<Value, Trouble> {
    let store = bearer.store();
    let target = json!({ "store": store, "conversations": true });
    // As on the overview: whoever may see how much is said, and between whom.
    for permission in [Permission::ViewHealth, Permission::ViewContent] {
        bearer.require(permission, Action::ViewOverview, &target).await?;
    }
    find::only(&bearer.params, &["store", "reason"])?;
    let reason = bearer.reason()?;
    let since = bearer.app.access.now() - BUSY_SPAN;
    let desk = Desk::open(&bearer.app, &bearer.viewer, &store).await?;
    let (rooms, pairs) = (desk.busiest(true, since, BUSIEST).await?, desk.busiest(false, since, BUSIEST).await?);
    bearer.record(Event::new(Action::ViewOverview, target).because(reason).of((rooms.len() + pairs.len()) as u64)).await?;
    let talk = |busy: &Busy| json!({ "conversation": busy.name, "messages": busy.messages });
    let list = |busy: &[Busy]| busy.iter().map(talk).collect::<Vec<_>>();
    Ok(json!({ "since": rfc3339(since), "rooms": list(&rooms), "pairs": list(&pairs) }))
}
