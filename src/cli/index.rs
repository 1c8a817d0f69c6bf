//! `index`: how far the index for searches is, and bringing it there.

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;

use super::args::ReportFormat;
use super::gaps::open;
use super::index_args::{IndexAction, IndexArgs};
use super::{Failure, connect, output, table};
use crate::config::{Config, StoreConfig};
use crate::indexer;
use crate::store::search::{self, Progress, Trigrams};
use crate::store::{Connection, Endpoint, StoreError};

/// What is said when trigrams can't be made or removed.
const TRIGRAMS_WANT: &str = "Wanted are the role that owns the table messages, the extension pg_trgm (`CREATE EXTENSION pg_trgm` by whoever may; \
    packages often call it postgresql-contrib), and room for indexes as large as the texts. What is unfinished is made anew by the same command.";
/// How often the progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the command.
pub fn execute(config: &Config, args: &IndexArgs) -> Result<(), Failure> {
    let stores = connect::stores(config, args.store.as_deref())?;
    match args.action {
        IndexAction::Status { format } => connect::block_on(status(&stores, format)),
        IndexAction::Build => connect::block_on(build(&stores, false)),
        IndexAction::Rebuild => connect::block_on(build(&stores, true)),
        IndexAction::Trigrams { drop } => connect::block_on(trigrams(&stores, drop)),
    }
}

/// What is told of a store.
struct Found<'s> {
    store: &'s str,
    progress: Progress,
    trigrams: Trigrams,
}

async fn status(stores: &[&StoreConfig], format: ReportFormat) -> Result<(), Failure> {
    let mut found = Vec::new();
    for store in stores {
        let trouble = |error: StoreError| connect::failure(store, &error);
        let mut connection = open(store).await?;
        let progress = search::progress(&mut connection).await.map_err(trouble)?;
        let trigrams = search::trigrams(&mut connection).await.map_err(trouble)?;
        found.push(Found { store: &store.name, progress, trigrams });
    }
    output::print(&match format {
        ReportFormat::Table => {
            table::render(["Store", "Messages", "Indexed", "To do", "Changed since", "Parts of words"], found.iter().map(row))
        }
        ReportFormat::Json => {
            let stores: Vec<_> = found.iter().map(object).collect();
            format!("{}\n", json!({ "stores": stores }))
        }
    })
}

fn row(found: &Found) -> [String; 6] {
    let Progress { last_id, next_id, late, .. } = &found.progress;
    let indexed =
        if found.progress.is_current() { (next_id - 1).max(0).to_string() } else { "of an older version: run `index rebuild`".to_owned() };
    let parts = match found.trigrams {
        Trigrams::Unknown | Trigrams::None => "not indexed".to_owned(),
        Trigrams::Unfinished => "unfinished: run `index trigrams`".to_owned(),
        Trigrams::Made { bytes } => format!("trigrams, {}", HumanBytes(bytes.unsigned_abs())),
    };
    [found.store.to_owned(), last_id.to_string(), indexed, found.progress.behind().to_string(), late.to_string(), parts]
}

fn object(found: &Found) -> serde_json::Value {
    let Progress { last_id, next_id, late, version } = &found.progress;
    let (trigrams, bytes) = match found.trigrams {
        Trigrams::Unknown => ("not supported", None),
        Trigrams::None => ("none", None),
        Trigrams::Unfinished => ("unfinished", None),
        Trigrams::Made { bytes } => ("made", Some(bytes)),
    };
    json!({
        "name": found.store, "last_id": last_id, "next_id": next_id, "behind": found.progress.behind(), "late": late, "version": version,
        "is_current": found.progress.is_current(), "trigrams": trigrams, "trigrams_bytes": bytes,
    })
}

async fn build(stores: &[&StoreConfig], anew: bool) -> Result<(), Failure> {
    for store in stores {
        let trouble = |error: StoreError| connect::failure(store, &error);
        let mut connection = open(store).await?;
        let before = search::progress(&mut connection).await.map_err(trouble)?;
        if anew || !before.is_current() {
            search::clear(&mut connection).await.map_err(trouble)?;
        }
        let before = search::progress(&mut connection).await.map_err(trouble)?;
        let progress = bar(before.behind().unsigned_abs());
        let most = indexer::batch_size(&Endpoint::from_config(store));
        let mut indexed = 0;
        loop {
            let done = search::index(&mut connection, most).await.map_err(trouble)?;
            indexed += done.messages;
            progress.set_position(indexed.unsigned_abs());
            if !done.has_more {
                break;
            }
        }
        progress.finish_and_clear();
        output::print(&format!("store {}: {indexed} messages indexed\n", store.name))?;
    }
    Ok(())
}

async fn trigrams(stores: &[&StoreConfig], is_drop: bool) -> Result<(), Failure> {
    let mut is_any = false;
    for store in stores {
        let mut connection = open(store).await?;
        if !matches!(connection, Connection::Postgres(_)) {
            continue;
        }
        is_any = true;
        let done = if is_drop {
            search::drop_trigrams(&mut connection).await
        } else {
            let progress = spinner();
            let made = search::make_trigrams(&mut connection, |column| progress.set_message(format!("{}: {column}", store.name))).await;
            progress.finish_and_clear();
            made
        };
        done.map_err(|error| Failure::Runtime(format!("store {}: {error}\n{TRIGRAMS_WANT}", store.name)))?;
        let trigrams = search::trigrams(&mut connection).await.map_err(|error| connect::failure(store, &error))?;
        output::print(&match trigrams {
            Trigrams::Made { bytes } => format!("store {}: parts of words are indexed, {}\n", store.name, HumanBytes(bytes.unsigned_abs())),
            _ => format!("store {}: parts of words are not indexed\n", store.name),
        })?;
    }
    match is_any {
        true => Ok(()),
        false => Err(Failure::Usage("only PostgreSQL has indexes of trigrams: elsewhere --substring reads the messages".to_owned())),
    }
}

/// Draws itself only where standard error is a terminal.
fn bar(messages: u64) -> ProgressBar {
    let bar = ProgressBar::new(messages);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} messages, {per_sec}, {eta} to go") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(DRAW_INTERVAL);
    bar
}

fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(DRAW_INTERVAL);
    spinner
}
