//! `quarantine`: sees to the records that the database refused.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::json;

use super::args::{QuarantineAction, QuarantineArgs};
use super::output::Output;
use super::{Failure, access, connect, output, table};
use crate::access::{Action, Event};
use crate::config::{Config, StoreConfig};
use crate::pipeline::retry::Outcome;
use crate::run::retrying::Retrier;
use crate::store::quarantine::{self, Entry};
use crate::store::{Connection, StoreError, migrations};
use crate::time;

/// Most characters of a reason that `list` shows; `export` gives all.
const REASON_CHARS: usize = 200;

/// Runs the command.
pub fn execute(config: Config, args: QuarantineArgs) -> Result<(), Failure> {
    let store = config.store(args.store.as_deref())?;
    match args.action {
        QuarantineAction::List => connect::block_on(list(store)),
        QuarantineAction::Retry { ids, all } => connect::block_on(async {
            access::note(&config, Event::new(Action::RetryQuarantine, json!({ "ids": ids, "all": all, "store": store.name }))).await;
            retry(&config, store, &ids, all).await
        }),
        QuarantineAction::Export { output } => connect::block_on(async {
            access::note(&config, Event::new(Action::ViewQuarantine, json!({ "to": output, "store": store.name }))).await;
            export(store, output.as_deref()).await
        }),
    }
}

async fn open(store: &StoreConfig) -> Result<Connection, Failure> {
    if connect::is_absent(store) {
        return Err(Failure::Runtime(format!("store {}: there is no {} yet: run `xmpp-archiver migrate`", store.name, store.url)));
    }
    let mut connection = connect::open(store).await?;
    migrations::require_current(&mut connection).await.map_err(|error| connect::failure(store, &error))?;
    Ok(connection)
}

async fn list(store: &StoreConfig) -> Result<(), Failure> {
    let mut connection = open(store).await?;
    let mut rows = Vec::new();
    let mut after = 0;
    loop {
        let page = quarantine::list(&mut connection, after).await.map_err(|error| connect::failure(store, &error))?;
        let Some(last) = page.last() else { break };
        after = last.id;
        rows.extend(page.iter().map(row));
    }
    match rows.is_empty() {
        true => output::print("The quarantine is empty.\n"),
        false => output::print(&table::render(["ID", "NODE", "RECORD", "RECEIVED", "BYTES", "REASON"], rows)),
    }
}

fn row(entry: &Entry) -> [String; 6] {
    let mut reason: String = entry.reason.chars().take(REASON_CHARS).collect();
    if reason.len() < entry.reason.len() {
        reason.push('…');
    }
    [
        entry.id.to_string(),
        entry.node.clone().unwrap_or_default(),
        entry.seq.to_string(),
        time::rfc3339(entry.received_at),
        entry.record_bytes.to_string(),
        reason,
    ]
}

/// Hands the records to the pipeline once more. What still can't be stored stays where it is.
async fn retry(config: &Config, store: &StoreConfig, ids: &[i64], all: bool) -> Result<(), Failure> {
    let trouble = |error: StoreError| connect::failure(store, &error);
    let mut connection = open(store).await?;
    let ids = if all { all_ids(&mut connection).await.map_err(trouble)? } else { ids.to_vec() };
    let mut retrier = Retrier::new(config, connection).await.map_err(trouble)?;
    let mut kept = 0;
    for id in ids {
        match retrier.retry(id).await.map_err(trouble)? {
            Outcome::Stored => output::print(&format!("{id}: stored\n"))?,
            Outcome::Kept(why) => {
                kept += 1;
                output::print(&format!("{id}: stays in quarantine: {why}\n"))?;
            }
            Outcome::Missing => return Err(Failure::Usage(format!("there is no entry {id}: see `xmpp-archiver quarantine list`"))),
        }
    }
    if kept > 0 { Err(Failure::ProblemFound) } else { Ok(()) }
}

async fn all_ids(connection: &mut Connection) -> Result<Vec<i64>, StoreError> {
    let mut ids = Vec::new();
    loop {
        let page = quarantine::list(connection, ids.last().copied().unwrap_or(0)).await?;
        if page.is_empty() {
            return Ok(ids);
        }
        ids.extend(page.iter().map(|entry| entry.id));
    }
}

/// An entry as one JSON object. The record is text where it is UTF-8, else base64: one of the two is there.
#[derive(Serialize)]
struct Exported<'a> {
    id: i64,
    node: Option<&'a str>,
    spool: String,
    seq: i64,
    received_at: String,
    reason: &'a str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_base64: Option<String>,
}

async fn export(store: &StoreConfig, path: Option<&Path>) -> Result<(), Failure> {
    let mut connection = open(store).await?;
    let mut output = Output::file_or_stdout(path)?;
    let mut after = 0;
    loop {
        let page = quarantine::list(&mut connection, after).await.map_err(|error| connect::failure(store, &error))?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for entry in &page {
            // One that was retried in the meantime is no longer in quarantine.
            let found = quarantine::get(&mut connection, entry.id).await.map_err(|error| connect::failure(store, &error))?;
            if let Some((entry, record)) = found {
                output.line(&json(&entry, &record)?)?;
            }
        }
    }
    output.flush()
}

fn json(entry: &Entry, record: &[u8]) -> Result<String, Failure> {
    let text = std::str::from_utf8(record).ok();
    let exported = Exported {
        id: entry.id,
        node: entry.node.as_deref(),
        spool: hexadecimal(&entry.spool_id),
        seq: entry.seq,
        received_at: time::rfc3339(entry.received_at),
        reason: &entry.reason,
        bytes: record.len(),
        record: text,
        record_base64: text.is_none().then(|| STANDARD.encode(record)),
    };
    serde_json::to_string(&exported).map_err(|error| Failure::Runtime(format!("entry {}: {error}", entry.id)))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            id: 7,
            node: Some("a".to_owned()),
            spool_id: vec![0xab; 16],
            seq: 5,
            received_at: 1_795_332_535_173_794,
            reason: "x".repeat(300),
            record_bytes: 4,
        }
    }

    #[test]
    fn a_record_is_text_where_it_is_utf8() {
        let text: serde_json::Value = serde_json::from_str(&json(&entry(), "<a>é\n".as_bytes()).unwrap()).unwrap();
        assert_eq!((text["record"].as_str(), text["record_base64"].as_str()), (Some("<a>é\n"), None));
        assert_eq!(text["received_at"], "2026-11-22T07:28:55.173794Z");
        assert_eq!(text["spool"], "ab".repeat(16));
        let bytes: serde_json::Value = serde_json::from_str(&json(&entry(), b"<a>\xff").unwrap()).unwrap();
        assert_eq!((bytes["record"].as_str(), bytes["record_base64"].as_str()), (None, Some("PGE+/w==")));
    }

    #[test]
    fn a_long_reason_is_cut_in_the_list() {
        let [.., reason] = row(&entry());
        assert_eq!(reason.chars().count(), REASON_CHARS + 1);
    }
}
