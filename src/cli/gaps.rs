//! `gaps`: lists the intervals in which messages may have been missed, shows one, and closes one with who says so and why.

use jiff::Zoned;
use serde_json::{Value, json};

use super::args::{GapState, GapsAction, GapsArgs, MessageFormat, TimeArgs};
use super::{Failure, access, connect, output, table};
use crate::access::{Action, Event};
use crate::config::{Config, StoreConfig};
use crate::gap::State;
use crate::store::gaps::{self, Change, Filter, Gap};
use crate::store::{Connection, StoreError, migrations};
use crate::time::{Micros, rfc3339};

/// Runs the command.
pub fn execute(config: &Config, args: GapsArgs) -> Result<(), Failure> {
    let store = args.store.as_deref();
    match args.action {
        GapsAction::List { node, state, time, format } => {
            let (from, to) = span(&time)?;
            let states = state.into_iter().map(GapState::state).collect();
            let filter = Filter { node, states, from, to };
            connect::block_on(list(&connect::stores(config, store)?, &filter, format))
        }
        GapsAction::Show { id } => connect::block_on(show(config.store(store)?, id)),
        GapsAction::Close { id, by, note, unrecoverable } => {
            let state = if unrecoverable { State::Unrecoverable } else { State::Closed };
            let change = Change { state, found: 0, known: 0, by, note: Some(note) };
            connect::block_on(async {
                close(config.store(store)?, id, &change).await?;
                let target = json!({ "gap": id, "state": change.state.word(), "by": change.by, "store": store });
                access::note(config, Event::new(Action::CloseGap, target).because(change.note)).await;
                Ok(())
            })
        }
    }
}

/// The begin and the end that were given, as instants.
pub(super) fn span(time: &TimeArgs) -> Result<(Option<Micros>, Option<Micros>), Failure> {
    let now = Zoned::now().with_time_zone(time.zone.rules());
    let out_of_range = |name: &str, error| Failure::Usage(format!("{name} {error}"));
    let from = time.from.as_ref().map(|when| when.begin(&now)).transpose().map_err(|error| out_of_range("--from", error))?;
    let to = time.to.as_ref().map(|when| when.end(&now)).transpose().map_err(|error| out_of_range("--to", error))?;
    match (from, to) {
        (Some(from), Some(to)) if from >= to => Err(Failure::Usage("--from is later than --to".to_owned())),
        both => Ok(both),
    }
}

/// Connects to a store whose tables are those of this version.
pub(super) async fn open(store: &StoreConfig) -> Result<Connection, Failure> {
    if connect::is_absent(store) {
        return Err(Failure::Runtime(format!("store {}: there is no {} yet: run `xmpp-archiver migrate`", store.name, store.url)));
    }
    let mut connection = connect::open(store).await?;
    migrations::require_current(&mut connection).await.map_err(|error| connect::failure(store, &error))?;
    Ok(connection)
}

async fn list(stores: &[&StoreConfig], filter: &Filter, format: MessageFormat) -> Result<(), Failure> {
    let mut found = Vec::new();
    for store in stores {
        let mut connection = open(store).await?;
        let gaps = gaps::all(&mut connection, filter).await.map_err(|error| connect::failure(store, &error))?;
        found.extend(gaps.into_iter().map(|gap| (store.name.as_str(), gap)));
    }
    match format {
        MessageFormat::Table => output::print(&as_table(&found)),
        MessageFormat::Jsonl => output::print(&found.iter().map(|(store, gap)| format!("{}\n", as_json(store, gap))).collect::<String>()),
        MessageFormat::Csv => output::print(&as_csv(&found)?),
    }
}

/// Gaps as people read them.
pub(super) fn as_table(found: &[(&str, Gap)]) -> String {
    if found.is_empty() {
        return "There is no such gap.\n".to_owned();
    }
    let headings = ["ID", "STORE", "NODE", "FROM", "TO", "WHY", "STATE", "LOST", "FOUND"];
    table::render(headings, found.iter().map(|(store, gap)| row(store, gap)))
}

fn row(store: &str, gap: &Gap) -> [String; 9] {
    [
        gap.id.to_string(),
        store.to_owned(),
        gap.node.clone().unwrap_or_else(|| "?".to_owned()),
        rfc3339(gap.from),
        gap.to.map_or_else(|| "still".to_owned(), rfc3339),
        gap.reason.map_or("?", |reason| reason.word()).to_owned(),
        gap.state.map_or("?", State::word).to_owned(),
        gap.lost.map_or_else(|| "?".to_owned(), |lost| lost.to_string()),
        gap.found.to_string(),
    ]
}

/// A gap as programs read it.
pub(super) fn as_json(store: &str, gap: &Gap) -> Value {
    let detail: Option<Value> = gap.detail.as_deref().and_then(|detail| serde_json::from_str(detail).ok());
    json!({
        "id": gap.id,
        "store": store,
        "node": gap.node,
        "from": rfc3339(gap.from),
        "to": gap.to.map(rfc3339),
        "reason": gap.reason.map(|reason| reason.word()),
        "state": gap.state.map(State::word),
        "lost": gap.lost,
        "found": gap.found,
        "known": gap.known,
        "note": gap.note,
        "changed_by": gap.changed_by,
        "changed_at": rfc3339(gap.changed_at),
        "detail": detail,
    })
}

fn as_csv(found: &[(&str, Gap)]) -> Result<String, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |error: &dyn std::fmt::Display| Failure::Runtime(format!("CSV: {error}"));
    let headings =
        ["id", "store", "node", "from", "to", "reason", "state", "lost", "found", "known", "note", "changed_by", "changed_at", "detail"];
    writer.write_record(headings).map_err(|error| failed(&error))?;
    for (store, gap) in found {
        let object = as_json(store, gap);
        let field = |name: &str| match object.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        writer.write_record(headings.map(field)).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn missing(store: &StoreConfig, id: i64) -> Failure {
    Failure::Usage(format!("store {}: there is no gap {id}: see `xmpp-archiver gaps list`", store.name))
}

async fn show(store: &StoreConfig, id: i64) -> Result<(), Failure> {
    let mut connection = open(store).await?;
    let found = gaps::get(&mut connection, id).await.map_err(|error| connect::failure(store, &error))?;
    let gap = found.ok_or_else(|| missing(store, id))?;
    output::print(&described(&gap))
}

/// All that is known of a gap, for people.
fn described(gap: &Gap) -> String {
    let number = |count: Option<i64>| count.map_or_else(|| "not known".to_owned(), |count| count.to_string());
    let mut rows = vec![
        ["node".to_owned(), gap.node.clone().unwrap_or_else(|| "not known".to_owned())],
        ["from".to_owned(), rfc3339(gap.from)],
        ["to".to_owned(), gap.to.map_or_else(|| "it lasts still".to_owned(), rfc3339)],
        ["why".to_owned(), gap.reason.map_or("of a newer version", |reason| reason.text()).to_owned()],
        ["state".to_owned(), gap.state.map_or("of a newer version", State::word).to_owned()],
        ["copies lost".to_owned(), number(gap.lost)],
        ["messages added since".to_owned(), gap.found.to_string()],
        ["messages there already".to_owned(), gap.known.to_string()],
        ["last changed".to_owned(), rfc3339(gap.changed_at)],
    ];
    rows.extend(gap.changed_by.iter().map(|by| ["by".to_owned(), by.clone()]));
    rows.extend(gap.note.iter().map(|note| ["note".to_owned(), note.clone()]));
    rows.extend(gap.detail.iter().map(|detail| ["details".to_owned(), detail.clone()]));
    if let (Some(reason), true) = (gap.reason, gap.state.is_some_and(State::is_open)) {
        rows.push(["what to do".to_owned(), reason.advice().to_owned()]);
    }
    table::render([&format!("Gap {}", gap.id), ""], rows)
}

async fn close(store: &StoreConfig, id: i64, change: &Change) -> Result<(), Failure> {
    let trouble = |error: StoreError| connect::failure(store, &error);
    let mut connection = open(store).await?;
    let gap = gaps::get(&mut connection, id).await.map_err(trouble)?.ok_or_else(|| missing(store, id))?;
    if !gap.state.is_some_and(State::is_open) {
        let state = gap.state.map_or("?", State::word);
        let by = gap.changed_by.unwrap_or_else(|| "somebody".to_owned());
        return Err(Failure::Usage(format!("gap {id} is {state} already, by {by}")));
    }
    gaps::change(&mut connection, id, change).await.map_err(trouble)?;
    output::print(&format!("gap {id} is {} now\n", change.state.word()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gap::Reason;

    fn gap() -> Gap {
        Gap {
            id: 7,
            node: Some("main".to_owned()),
            from: 1_795_332_535_173_794,
            to: None,
            reason: Some(Reason::SequenceJump),
            state: Some(State::Open),
            lost: Some(3),
            found: 0,
            known: 0,
            note: None,
            changed_by: None,
            changed_at: 1_795_332_535_173_794,
            detail: Some(r#"{"first":6,"last":8}"#.to_owned()),
        }
    }

    #[test]
    fn a_gap_is_written_for_people_and_programs() {
        let text = as_table(&[("a", gap())]);
        assert!(text.contains("2026-11-22T07:28:55.173794Z") && text.contains("still") && text.contains("sequence-jump"), "{text}");
        assert_eq!(as_json("a", &gap())["detail"]["last"], 8);
        let csv = as_csv(&[("a", gap())]).unwrap();
        assert_eq!(csv.lines().count(), 2);
        assert!(csv.contains(r#""{""first"":6,""last"":8}""#), "{csv}");
        assert!(described(&gap()).contains("xmpp-archiver backfill"));
        assert!(as_table(&[]).starts_with("There is no"));
    }
}
