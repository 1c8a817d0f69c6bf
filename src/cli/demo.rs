//! `demo`: shows all of it without any set-up.
//!
//! A built-in node mirrors a week of a small firm's conversation into the real daemon, which stores it in a SQLite file of a directory made
//! for that. What was archived is then compared with what was said, shown by the very commands that an operator would type, and left
//! behind with the configuration, so that each of these commands can be tried.

use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::{Arguments, Command, DemoArgs};
use super::output::{Output, print, tell};
use super::{Failure, demo_report, search, show};
use crate::config::Config;
use crate::demo::corpus::{COMPONENT, Corpus, HOST, ROOMS};
use crate::demo::node::DemoNode;
use crate::demo::run::{DemoError, Demonstration};
use crate::demo::truth;
use crate::retrieve::{Archive, Found, Query};
use crate::store::Endpoint;
use crate::time::{Micros, SECOND, now};

/// How many times a line tells the progress where there is no terminal.
const PROGRESS_LINES: usize = 4;

/// Runs the command.
pub fn execute(args: DemoArgs) -> Result<(), Failure> {
    let place = Place::make(args.dir.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Runtime(format!("can't start: {error}")))?;
    let (demonstration, week) = runtime.block_on(perform(&place, args.rate))?;
    if let Err(wrong) = truth::compare(&week.corpus, &week.found) {
        wrong.iter().for_each(|line| tell(line));
        let _stopped_or_not = runtime.block_on(demonstration.stop());
        return Err(Failure::Runtime("what was archived is not what was said: please report this".to_owned()));
    }
    if !args.keep {
        runtime.block_on(demonstration.stop()).map_err(failure)?;
        return report(&place, &week, false);
    }
    report(&place, &week, true)?;
    runtime.block_on(async {
        let _interrupted = tokio::signal::ctrl_c().await;
        tell("stopping");
        demonstration.stop().await.map_err(failure)
    })
}

/// A week that was archived.
struct Week {
    config: Config,
    corpus: Corpus,
    found: Vec<Found>,
}

/// Has the week said and archived, and reads back what is in the archive.
async fn perform(place: &Place, rate: u32) -> Result<(Demonstration, Week), Failure> {
    let secret = random_word()?;
    let node = DemoNode::listen(COMPONENT, &secret).await;
    let node = node.map_err(|error| Failure::Runtime(format!("no port of 127.0.0.1 can be had: {error}")))?;
    let config = place.configure(&node, &secret)?;
    tell(&format!("a node listens on {}, the archiver attaches to it; all files are in {}", node.address(), place.dir.display()));
    let mut demonstration = Demonstration::start(config.clone(), &node).await.map_err(failure)?;
    let pace = (SECOND / Micros::from(rate)).max(1);
    let corpus = Corpus::new(now(), pace);
    let progress = Progress::new(corpus.lines().len());
    demonstration.replay(&corpus, |sent| progress.sent(sent)).await.map_err(failure)?;
    demonstration.settle().await.map_err(failure)?;
    progress.end();
    let found = everything(&config).await?;
    Ok((demonstration, Week { config, corpus, found }))
}

fn failure(error: DemoError) -> Failure {
    Failure::Runtime(error.to_string())
}

async fn everything(config: &Config) -> Result<Vec<Found>, Failure> {
    let unreadable = |error: crate::store::StoreError| Failure::Runtime(error.to_string());
    let archive = Archive::open(&Endpoint::from_config(config.store(None)?), 1).await.map_err(unreadable)?;
    let mut query = Query { all: true, ..Query::default() };
    let mut found = Vec::new();
    loop {
        let page = archive.search(&query).await.map_err(unreadable)?;
        found.extend(page.messages);
        query.after = page.next;
        if query.after.is_none() {
            return Ok(found);
        }
    }
}

/// Tells what was archived, then what to try.
fn report(place: &Place, week: &Week, is_kept: bool) -> Result<(), Failure> {
    print(&demo_report::summary(&week.corpus, &week.found))?;
    let workshop = format!("workshop@{ROOMS}");
    let (anna, chloe) = (format!("anna@{HOST}"), format!("chloe@{HOST}"));
    place.try_out(&week.config, "Between two people, with what became of each message:", &["show", &anna, &chloe])?;
    place.try_out(&week.config, "In a room, with who was there:", &["show", &workshop, "--occupants", "--limit", "12"])?;
    place.try_out(&week.config, "Found by words:", &["search", "oak"])?;
    print(&place.advice(is_kept))
}

/// The directory of a demonstration.
struct Place {
    dir: PathBuf,
}

impl Place {
    /// Makes the directory; one that is there already must not hold an archive, since the week would be found in it twice.
    fn make(dir: Option<&Path>) -> Result<Self, Failure> {
        let dir = match dir {
            Some(dir) => std::path::absolute(dir),
            None => Ok(std::env::temp_dir().join(format!("xmpp-archiver-demo-{}", random_word()?))),
        };
        let dir = dir.map_err(|error| Failure::Runtime(format!("the directory can't be named: {error}")))?;
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(&dir).map_err(|error| Failure::Runtime(format!("{} can't be made: {error}", dir.display())))?;
        if dir.to_str().is_none() {
            return Err(Failure::Usage(format!("{} is not UTF-8, which a configuration file must be", dir.display())));
        }
        let place = Self { dir };
        match place.archive().exists() {
            true => Err(Failure::Usage(format!("{} is there already: choose another --dir", place.archive().display()))),
            false => Ok(place),
        }
    }

    fn archive(&self) -> PathBuf {
        self.dir.join("archive.sqlite")
    }

    fn config_file(&self) -> PathBuf {
        self.dir.join("archiver.toml")
    }

    /// Writes the configuration as an operator would, and reads it as `run` does, but for the environment.
    fn configure(&self, node: &DemoNode, secret: &str) -> Result<Config, Failure> {
        let quoted = |text: String| toml::Value::String(text).to_string();
        let text = format!(
            "# Made by `xmpp-archiver demo`.\n\n\
             [[store]]\nname = \"demo\"\nurl = {url}\n\n\
             [[node]]\nname = \"demo\"\naddress = \"{address}\"\ndomain = \"{COMPONENT}\"\nsecret = \"{secret}\"\n\
             hosts = [\"{HOST}\"]\nmuc = [\"{ROOMS}\"]\nstore = \"demo\"\nkind = \"ejabberd\"\n\n\
             [spool]\npath = {spool}\n\n\
             [run]\nstatus_interval = \"200 ms\"\n",
            url = quoted(format!("sqlite:{}", self.archive().display())),
            spool = quoted(self.dir.join("spool").display().to_string()),
            address = node.address(),
        );
        let file = self.config_file();
        let mut output = Output::file(&file)?;
        output.write(text.as_bytes())?;
        output.flush()?;
        Ok(Config::from_text(&text, Some(file), std::iter::empty())?)
    }

    /// Shows a command as it would be typed, and what it prints.
    fn try_out(&self, config: &Config, why: &str, words: &[&str]) -> Result<(), Failure> {
        print(&format!("\n{why}\n$ {}\n", self.command(words)))?;
        let line = ["xmpp-archiver"].iter().chain(words);
        let arguments = Arguments::try_parse_from(line).map_err(|error| Failure::Runtime(error.to_string()))?;
        match arguments.command {
            Command::Show(args) => show::execute(config.clone(), args),
            Command::Search(args) => search::execute(config.clone(), args),
            _ => Ok(()),
        }
    }

    /// A command line that can be pasted into a shell.
    fn command(&self, words: &[&str]) -> String {
        let program = std::env::args().next().unwrap_or_else(|| "xmpp-archiver".to_owned());
        let config = self.config_file().display().to_string();
        let (first, rest) = words.split_first().unwrap_or((&"help", &[]));
        let line = [program.as_str(), first, "--config", &config].into_iter().chain(rest.iter().copied());
        line.map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn advice(&self, is_kept: bool) -> String {
        let nadia = format!("nadia@{HOST}");
        let table = self.dir.join("week.csv").display().to_string();
        let mut commands = vec![
            self.command(&["search", "--participant", &nadia, "--order", "desc", "--limit", "5"]),
            self.command(&["search", "--kind", "correction", "--kind", "retraction", "--format", "jsonl"]),
            self.command(&["export", "--format", "csv", "--output", &table]),
        ];
        if is_kept {
            commands.insert(0, self.command(&["status"]));
        }
        let query = "SELECT sent_at, sender, conversation, kind, body FROM conversations ORDER BY sent_at_us";
        commands.push(format!("sqlite3 -box {} {}", quoted(&self.archive().display().to_string()), quoted(query)));
        commands.push(self.command(&["user", "add", "ann", "--role", "officer"]));
        commands.push(self.command(&["web"]));
        let end = match is_kept {
            true => "Node and archiver go on running until you press Ctrl-C; the files stay.".to_owned(),
            false => format!("Nothing runs any more. The files stay in {} until you delete them.", self.dir.display()),
        };
        format!("\nTry next:\n  {}\n\n{end} To archive a server of your own, read README.md.\n", commands.join("\n  "))
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A word that nobody guesses.
fn random_word() -> Result<String, Failure> {
    let random = getrandom::u64().map_err(|error| Failure::Runtime(format!("the system gives no random numbers: {error}")))?;
    Ok(format!("{random:016x}"))
}

/// How far the week has got: a bar on a terminal, else a few lines.
struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
}

impl Progress {
    fn new(total: usize) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} stanzas mirrored");
            let bar = ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, total }
    }

    fn sent(&self, count: usize) {
        match &self.bar {
            Some(bar) => bar.set_position(count as u64),
            None if count.is_multiple_of(self.total.div_ceil(PROGRESS_LINES).max(1)) || count == self.total => {
                tell(&format!("{count} of {} stanzas mirrored", self.total));
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(dir: &Path) -> DemoArgs {
        DemoArgs { keep: false, dir: Some(dir.to_owned()), rate: 1_000_000 }
    }

    #[test]
    fn the_week_is_archived_as_it_was_said() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::make(Some(directory.path())).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (demonstration, week) = runtime.block_on(perform(&place, 1_000_000)).unwrap();
        runtime.block_on(demonstration.stop()).unwrap();
        assert_eq!(truth::compare(&week.corpus, &week.found), Ok(()));
        let again = execute(arguments(directory.path())).unwrap_err();
        assert_eq!(again.exit_code(), 2, "{again}");
    }

    #[test]
    fn a_loss_is_noticed() {
        let corpus = Corpus::new(0, 1);
        let wrong = truth::compare(&corpus, &[]).unwrap_err();
        assert_eq!(wrong.len(), corpus.messages().len() + 1);
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("/tmp/a-b.c"), "/tmp/a-b.c");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
