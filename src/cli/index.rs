//! `index`: how far the index for searches is, and bringing it there.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::args::ReportFormat;
use super::gaps::open;
use super::index_args::{IndexAction, IndexArgs};
use super::{Failure, connect, output, table};
use crate::config::{Config, StoreConfig};
use crate::indexer;
use crate::store::search::{self, Progress};
use crate::store::{Endpoint, StoreError};

/// How often the progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the command.
pub fn execute(config: &Config, args: &IndexArgs) -> Result<(), Failure> {
    let stores = connect::stores(config, args.store.as_deref())?;
    match args.action {
        IndexAction::Status { format } => connect::block_on(status(&stores, format)),
        IndexAction::Build => connect::block_on(build(&stores, false)),
        IndexAction::Rebuild => connect::block_on(build(&stores, true)),
    }
}

async fn status(stores: &[&StoreConfig], format: ReportFormat) -> Result<(), Failure> {
    let mut found = Vec::new();
    for store in stores {
        let mut connection = open(store).await?;
        let progress = search::progress(&mut connection).await.map_err(|error| connect::failure(store, &error))?;
        found.push((store.name.as_str(), progress));
    }
    output::print(&match format {
        ReportFormat::Table => table::render(["Store", "Messages", "Indexed", "To do", "Changed since"], found.iter().map(row)),
        ReportFormat::Json => {
            let stores: Vec<_> = found.iter().map(|(store, progress)| object(store, progress)).collect();
            format!("{}\n", json!({ "stores": stores }))
        }
    })
}

fn row((store, progress): &(&str, Progress)) -> [String; 5] {
    let Progress { last_id, next_id, late, .. } = progress;
    let indexed =
        if progress.is_current() { (next_id - 1).max(0).to_string() } else { "of an older version: run `index rebuild`".to_owned() };
    [(*store).to_owned(), last_id.to_string(), indexed, progress.behind().to_string(), late.to_string()]
}

fn object(store: &str, progress: &Progress) -> serde_json::Value {
    let Progress { last_id, next_id, late, version } = progress;
    json!({
        "name": store, "last_id": last_id, "next_id": next_id, "behind": progress.behind(), "late": late, "version": version,
        "is_current": progress.is_current(),
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

/// Draws itself only where standard error is a terminal.
fn bar(messages: u64) -> ProgressBar {
    let bar = ProgressBar::new(messages);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} messages, {per_sec}, {eta} to go") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(DRAW_INTERVAL);
    bar
}
