//! Whether the archive can be relied on, for auditors: whether counts and rows add up, which gaps are open, and whether the audit trail is whole and guarded.
//!
//! Nothing of it tells what people wrote or who they are. It is what `xmpp-archiver reconcile` shows, without a comparison with the nodes' own archives.

use askama::Template;
use axum::response::Response;
use serde_json::json;

use super::caller::Caller;
use super::frame::{Frame, Place, page};
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission};
use crate::store::{StoreError, gaps, tallies};
use crate::tally::{DAY, State, day_of};
use crate::time::rfc3339;

/// How many days back can be chosen, and the first is taken where nothing is.
const SPANS: [i32; 4] = [7, 1, 30, 90];

/// What was found in a store.
struct Store {
    name: String,
    days: usize,
    received: i64,
    archived: i64,
    problems: Vec<Problem>,
    open_gaps: u64,
    is_away: bool,
}

/// Something that does not add up.
struct Problem {
    node: String,
    day: String,
    said: String,
}

#[derive(Template)]
#[template(path = "verification.html")]
struct VerificationPage {
    frame: Frame,
    spans: Vec<(i32, bool)>,
    stores: Vec<Store>,
    rows: i64,
    is_whole: bool,
    is_guarded: bool,
}

/// `GET /verification`.
pub(super) async fn show(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    let span = caller.params.get("days").and_then(|days| days.parse().ok()).filter(|days| SPANS.contains(days)).unwrap_or(SPANS[0]);
    let target = json!({ "days": span });
    caller.require(Permission::Verify, Action::Verify, target.clone()).await?;
    let last = day_of(caller.app.access.now());
    let mut stores = Vec::new();
    for name in caller.app.store_names() {
        stores.push(store(caller, name, last - span + 1, last).await?);
    }
    let trail = caller.app.access.trail(caller.viewer()).await?;
    let wrong = stores.iter().map(|store| store.problems.len() as u64).sum();
    caller.record(Event::new(Action::Verify, target).of(wrong)).await?;
    let mut spans: Vec<(i32, bool)> = SPANS.iter().map(|days| (*days, *days == span)).collect();
    spans.sort_unstable();
    page(&VerificationPage {
        frame: caller.frame(Place::Verification, "Verification"),
        spans,
        stores,
        rows: trail.rows,
        is_whole: trail.rows == trail.last,
        is_guarded: trail.is_guarded,
    })
}

async fn store(caller: &Caller, name: &str, first: i32, last: i32) -> Result<Store, Trouble> {
    let mut shown = Store { name: name.to_owned(), days: 0, received: 0, archived: 0, problems: Vec::new(), open_gaps: 0, is_away: false };
    let looked = caller.app.with_store(name, async move |mut connection| {
        let since = tallies::counted_since(&mut connection).await?;
        let found = tallies::days(&mut connection, first, last, since).await?;
        let open = gaps::open(&mut connection).await?;
        Ok::<_, StoreError>((since, found, open))
    });
    let (since, found, open) = match looked.await {
        Ok(looked) => looked,
        Err(Trouble::Away(said)) => {
            log::warn!("console: store {name}: {said}");
            shown.is_away = true;
            return Ok(shown);
        }
        Err(other) => return Err(other),
    };
    shown.open_gaps = open.iter().map(|open| open.gaps).sum();
    for ((node, day), numbers) in found {
        shown.days += 1;
        shown.received += numbers.count(State::Received);
        shown.archived += numbers.count(State::Archived);
        let named = |said| Problem { node: node.clone(), day: rfc3339(i64::from(day) * DAY).chars().take(10).collect(), said };
        // Rows of days that began before everything was counted can't be compared.
        shown.problems.extend(numbers.problems(since == 0 || day > day_of(since)).into_iter().map(named));
    }
    Ok(shown)
}
