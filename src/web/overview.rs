//! How the archive is doing: nodes, lag, spools, alarms, gaps, messages per day, and for whoever reads everything where most is said.

use askama::Template;
use axum::response::Response;
use serde_json::{Value, json};

use super::app::App;
use super::caller::Caller;
use super::clock::Shown;
use super::desk::Desk;
use super::frame::{Frame, Place, page};
use super::plot::{DAYS, Plot, day_of};
use super::search::links;
use super::text;
use super::thread::{Links, bytes};
use super::trouble::Trouble;
use crate::access::{Action, Event, Permission, Reach, Viewer};
use crate::retrieve::Busy;
use crate::store::gaps;
use crate::time::{Micros, SECOND, parse_stamp};

/// Conversations of a list of where most is said.
pub(super) const BUSIEST: usize = 10;
/// Since when that is counted: a week.
pub(super) const BUSY_SPAN: Micros = 7 * 86_400 * SECOND;

/// What is well, what is not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Poor,
    /// The archiver does not tell.
    Unknown,
}

struct Node {
    name: String,
    health: Health,
    state: String,
    advice: String,
    since: Option<Shown>,
    stanzas: String,
    lost: u64,
    gaps: String,
}

struct Store {
    name: String,
    /// What is known of the database, of the lag and of the spool; nothing where the archiver does not tell.
    vitals: Option<Vitals>,
    messages: String,
    quarantined: String,
    days: Option<Plot>,
    rooms: Vec<Talk>,
    pairs: Vec<Talk>,
    gaps: Vec<GapCount>,
    is_away: bool,
}

/// What the archiver that runs says of a store.
struct Vitals {
    health: Health,
    is_connected: bool,
    lag: String,
    waiting: String,
    size: String,
    /// Of a hundred.
    full: u64,
}

/// The open gaps of a node.
struct GapCount {
    node: String,
    gaps: u64,
    oldest: Shown,
}

struct Talk {
    name: String,
    messages: i64,
    href: String,
}

struct Alarm {
    severity: String,
    name: String,
    subject: String,
    text: String,
    since: Option<Shown>,
    is_seen: bool,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    why_not: Option<String>,
    state: String,
    version: String,
    written: Option<Shown>,
    nodes: Vec<Node>,
    stores: Vec<Store>,
    alarms: Vec<Alarm>,
    /// Whether the archiver runs and says how it is.
    is_news: bool,
    reads_content: bool,
}

impl Health {
    fn of(is_good: bool) -> Self {
        if is_good { Self::Good } else { Self::Poor }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Poor => "poor",
            Self::Unknown => "unknown",
        }
    }
}

/// `GET /overview`.
pub(super) async fn show(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    caller.require(Permission::ViewHealth, Action::ViewOverview, Value::Null).await?;
    let (status, why_not) = status(caller).await?;
    let is_news = why_not.is_none();
    let reads_content = caller.viewer().may(Permission::ViewContent) && caller.reason().is_ok();
    let mut stores = Vec::new();
    for name in caller.app.store_names() {
        let told = list(&status, "stores").iter().find(|store| word(store, "name") == name);
        stores.push(store(caller, name, told.unwrap_or(&Value::Null), is_news).await?);
    }
    caller
        .record(
            Event::new(Action::ViewOverview, json!({ "conversations": reads_content }))
                .because(caller.params.get("reason").map(str::to_owned)),
        )
        .await?;
    page(&OverviewPage {
        frame: caller.frame(Place::Overview, "Overview"),
        why_not,
        state: word(&status, "state"),
        version: word(&status, "version"),
        written: time(caller, &status, "written"),
        nodes: list(&status, "nodes").iter().map(|node| self::node(caller, node, &stores, is_news)).collect(),
        alarms: if is_news { alarms(caller, &status) } else { Vec::new() },
        is_news,
        stores,
        reads_content,
    })
}

/// What the archiver says of itself, from its file.
async fn status(caller: &Caller) -> Result<(Value, Option<String>), Trouble> {
    let app = caller.app.clone();
    let look = tokio::task::spawn_blocking(move || crate::cli::status::look(&app.config)).await;
    let (status, why_not) = look.map_err(|error| Trouble::Broken(format!("the status: {error}")))?;
    Ok((
        status,
        why_not.map(|_path_and_all| {
            "The archiver does not run, or this console is not on its machine: what stands here is not of now.".to_owned()
        }),
    ))
}

fn node(caller: &Caller, node: &Value, stores: &[Store], is_news: bool) -> Node {
    let (name, state) = (word(node, "name"), word(node, "state"));
    let lost = number(node, "oversize") + number(node, "dropped");
    Node {
        health: if is_news { Health::of(state == "online") } else { Health::Unknown },
        advice: if is_news { word(node, "advice") } else { String::new() },
        since: time(caller, node, "since").filter(|_| is_news),
        stanzas: word(node, "stanzas"),
        state: if is_news { state } else { "not known".to_owned() },
        lost,
        gaps: open_gaps(&name, stores),
        name,
    }
}

/// The open gaps of a node, as the databases have them: what the archiver says of itself may be older.
fn open_gaps(node: &str, stores: &[Store]) -> String {
    if stores.iter().any(|store| store.is_away) {
        return "not known".to_owned();
    }
    let gaps: u64 = stores.iter().flat_map(|store| &store.gaps).filter(|open| open.node == node).map(|open| open.gaps).sum();
    gaps.to_string()
}

async fn store(caller: &Caller, name: &str, told: &Value, is_news: bool) -> Result<Store, Trouble> {
    let empty = Value::Null;
    let counts = told.get("counts").unwrap_or(&empty);
    let mut shown = Store {
        name: name.to_owned(),
        vitals: (is_news && !told.is_null()).then(|| vitals(told)),
        messages: word(counts, "messages"),
        quarantined: word(counts, "quarantined"),
        days: None,
        rooms: Vec::new(),
        pairs: Vec::new(),
        gaps: Vec::new(),
        is_away: false,
    };
    match fill(caller, name, &mut shown).await {
        Ok(()) => {}
        // The page of what is wrong must not be among what is wrong.
        Err(Trouble::Away(said)) => {
            log::warn!("console: store {name}: {said}");
            shown.is_away = true;
        }
        Err(other) => return Err(other),
    }
    Ok(shown)
}

fn vitals(told: &Value) -> Vitals {
    let empty = Value::Null;
    let spool = told.get("spool").unwrap_or(&empty);
    let lag = told.get("lag_seconds").and_then(Value::as_f64).unwrap_or_default();
    let (size, limit) = (number(spool, "bytes"), number(spool, "limit_bytes"));
    let is_connected = told.get("connected").and_then(Value::as_bool).unwrap_or(false);
    Vitals {
        health: Health::of(is_connected && spool.get("error").is_none_or(Value::is_null)),
        is_connected,
        lag: format!("{lag:.1} s"),
        waiting: word(spool, "records"),
        size: bytes(size),
        full: size.saturating_mul(100).checked_div(limit).unwrap_or(0),
    }
}

/// Messages per day, up to today.
pub(super) async fn per_day(app: &App, store: &str) -> Result<Plot, Trouble> {
    let last = day_of(app.access.now());
    let day = |day: i64| i32::try_from(day).unwrap_or(i32::MAX);
    let counts = app.archive(store).await?.days(day(last - DAYS + 1), day(last)).await?;
    Ok(Plot::of(&counts, last))
}

/// What stands in the database alone.
async fn fill(caller: &Caller, name: &str, shown: &mut Store) -> Result<(), Trouble> {
    let now = caller.app.access.now();
    shown.days = Some(per_day(&caller.app, name).await?);
    let open = caller.app.with_store(name, async |mut connection| gaps::open(&mut connection).await).await?;
    shown.gaps = open
        .into_iter()
        .map(|open| GapCount {
            node: open.node.unwrap_or_else(|| "unknown".to_owned()),
            gaps: open.gaps,
            oldest: caller.clock.full(open.oldest),
        })
        .collect();
    if caller.viewer().may(Permission::ViewContent) && caller.reason().is_ok() {
        let desk = Desk::open(&caller.app, caller.viewer(), name).await?;
        let links = links(caller, name);
        shown.rooms = talks(&links, desk.busiest(true, now - BUSY_SPAN, BUSIEST).await?);
        shown.pairs = talks(&links, desk.busiest(false, now - BUSY_SPAN, BUSIEST).await?);
    }
    Ok(())
}

fn talks(links: &Links, busy: Vec<Busy>) -> Vec<Talk> {
    let talk =
        |busy: Busy| Talk { name: text::conversation(&busy.name), messages: busy.messages, href: links.conversation(&busy.name, None) };
    busy.into_iter().map(talk).collect()
}

fn alarms(caller: &Caller, status: &Value) -> Vec<Alarm> {
    let mut alarms = Value::from(list(status, "alarms").to_vec());
    if !sees_everybody(caller.viewer()) {
        hide_people(&mut alarms);
    }
    alarms.as_array().into_iter().flatten().map(|alarm| self::alarm(caller, alarm)).collect()
}

/// Whether whoever looks may know of everybody who writes.
pub(super) fn sees_everybody(viewer: &Viewer) -> bool {
    matches!(viewer.reach(Permission::ViewContent), Ok(Reach::Everything))
}

/// Takes the addresses of people out of alarms: who writes is content.
pub(super) fn hide_people(alarms: &mut Value) {
    for alarm in alarms.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        for (_, value) in alarm.iter_mut().filter(|(name, _)| ["subject", "text"].contains(&name.as_str())) {
            if let Some(said) = value.as_str() {
                *value = text::without_people(said).into();
            }
        }
    }
}

fn alarm(caller: &Caller, alarm: &Value) -> Alarm {
    Alarm {
        severity: word(alarm, "severity"),
        name: word(alarm, "name"),
        subject: word(alarm, "subject"),
        text: word(alarm, "text"),
        since: time(caller, alarm, "since"),
        is_seen: alarm.get("acknowledged").and_then(Value::as_bool) == Some(true),
    }
}

fn time(caller: &Caller, object: &Value, key: &str) -> Option<Shown> {
    parse_stamp(object.get(key)?.as_str()?).map(|at| caller.clock.full(at))
}

fn number(object: &Value, key: &str) -> u64 {
    object.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn word(object: &Value, key: &str) -> String {
    match object.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text::name(text),
        Some(value) => value.to_string(),
    }
}

fn list<'v>(object: &'v Value, key: &str) -> &'v [Value] {
    object.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
