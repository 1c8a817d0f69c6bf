//! `export`: writes messages to a file, page by page, so that memory does not grow with the archive.
//!
//! A file gets its name only when it is whole: until then it lies beside under another name, and nobody takes half an export for one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::ExportArgs;
use super::connect::block_on;
use super::output::{Output, tell};
use super::production;
use super::reading::{described, know, open, pages, query, tell_more};
use super::render::{Render, export_renderer};
use super::{Failure, access, verifying};
use crate::access::{Action, Event};
use crate::config::Config;
use crate::retrieve::{Archive, Cursor, Query};

/// How often the progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the command.
pub fn execute(config: Config, args: ExportArgs) -> Result<(), Failure> {
    super::memory::give_back_at_once();
    if let Some(directory) = &args.verify {
        return verifying::execute(&config, directory);
    }
    if let Some(directory) = &args.output_dir {
        return production::execute(&config, &args, directory);
    }
    let mut query = query(&args.filter, &args.time, &args.page)?;
    query.with_xml = args.xml;
    let mut render = export_renderer(args.format, args.xml)?;
    let limit = args.limit.map(std::num::NonZeroU64::get);
    let target = args.output.as_deref().map(Target::new).transpose()?;
    block_on(async {
        let archive = open(&config, args.store.as_deref()).await?;
        know(&config, &archive, &query).await?;
        access::note(&config, Event::new(Action::Export, described(&query, &args.filter.text, args.store.as_deref()))).await;
        let mut output = Output::file_or_stdout(target.as_ref().map(|target| target.partial.as_path()))?;
        let (count, next) = write(&archive, query, limit, render.as_mut(), &mut output).await?;
        output.flush()?;
        if let Some(target) = target {
            drop(output);
            target.finish()?;
            tell(&format!("{count} messages written"));
        }
        tell_more(next, count);
        Ok(())
    })
}

async fn write(
    archive: &Archive,
    query: Query,
    limit: Option<u64>,
    render: &mut dyn Render,
    output: &mut Output,
) -> Result<(u64, Option<Cursor>), Failure> {
    let progress = progress(limit);
    render.begin(output)?;
    let mut count = 0;
    let next = pages(archive, query, limit, async |messages| {
        count += messages.len() as u64;
        progress.set_position(count);
        render.messages(messages, output)
    })
    .await;
    progress.finish_and_clear();
    Ok((count, next?))
}

/// Draws itself only where standard error is a terminal.
fn progress(limit: Option<u64>) -> ProgressBar {
    let progress = match limit {
        Some(limit) => ProgressBar::new(limit),
        None => ProgressBar::new_spinner(),
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} messages, {per_sec}, {elapsed}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(DRAW_INTERVAL);
    progress
}

/// A file on its way to its name.
struct Target {
    partial: PathBuf,
    /// None where there is something else than a file, such as a pipe: it is written to as it is.
    name: Option<PathBuf>,
}

impl Target {
    fn new(path: &Path) -> Result<Self, Failure> {
        // What a link points to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_not_there_yet| path.to_owned());
        if path.exists() && !path.is_file() {
            return Ok(Self { partial: path, name: None });
        }
        let Some(file) = path.file_name() else {
            return Err(Failure::Usage(format!("--output: {} names no file", path.display())));
        };
        let partial = path.with_file_name(format!(".{}.{}.part", file.to_string_lossy(), std::process::id()));
        Ok(Self { partial, name: Some(path) })
    }

    /// Makes it durable and gives it its name.
    fn finish(mut self) -> Result<(), Failure> {
        let Some(name) = self.name.take() else { return Ok(()) };
        let named = File::open(&self.partial).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&self.partial, &name));
        named.map_err(|error| {
            let _ = fs::remove_file(&self.partial);
            Failure::Output(name.display().to_string(), error)
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.name.is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        fs::write(&path, "old").unwrap();
        let target = Target::new(&path).unwrap();
        fs::write(&target.partial, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        target.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        let broken_off = Target::new(&path).unwrap();
        fs::write(&broken_off.partial, "half").unwrap();
        drop(broken_off);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
