//! What `backfill` and `import` share: from the arguments to a source, its feeding, and the result.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Zoned;
use jiff::tz::TimeZone;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::args::ReportFormat;
use super::gap_filling::Filling;
use super::history_args::{HistoryArgs, ImportArgs};
use super::{Failure, connect, output};
use crate::config::{Config, NodeConfig, SecretSource, StoreConfig, StoreUrl};
use crate::history::csv::CsvSource;
use crate::history::feed::{self, FeedError, Outcome, Plan, Progress};
use crate::history::place::{Place, State};
use crate::history::prosody_files::ProsodyFiles;
use crate::history::table::{Kind, Reader};
use crate::history::xep0227::Xep0227;
use crate::history::{Interval, Source, SourceError, Via, ejabberd, prosody, tables};
use crate::identity::REPLAY_WINDOW;
use crate::message::address::Address;
use crate::node::Node;
use crate::store::foreign::Foreign;
use crate::store::{Backend, Endpoint, migrations};
use crate::time::{self, Micros};

/// How often the progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// One command, as far as the source does not matter.
pub(super) struct Job<'c> {
    config: &'c Config,
    args: &'c HistoryArgs,
    node: &'c NodeConfig,
    store: &'c StoreConfig,
    facts: Arc<Node>,
    via: Via,
    /// What was asked for.
    interval: Interval,
    began_at: Micros,
}

impl<'c> Job<'c> {
    /// Looks at what every source needs.
    pub(super) fn new(config: &'c Config, args: &'c HistoryArgs, via: Via) -> Result<Self, Failure> {
        let node = node(config, args.node.as_deref())?;
        let store = config.store(Some(&node.store))?;
        let facts = Arc::new(crate::run::facts(node, &crate::run::canaries(config)));
        let interval = interval(args)?;
        Ok(Self { config, args, node, store, facts, via, interval, began_at: time::now() })
    }

    /// Prosody's table.
    pub(super) fn prosody_sql(&self) -> Result<(), Failure> {
        let url = self.url()?;
        let what = format!("prosody-sql {url}");
        self.run(&what, async |position| {
            let db = self.foreign(&url).await?;
            prosody::open(db, &self.facts, self.wide(), position).await
        })
    }

    /// ejabberd's table.
    pub(super) fn ejabberd_sql(&self) -> Result<(), Failure> {
        let url = self.url()?;
        let host = self.host()?;
        let what = format!("ejabberd-sql {url} {}", host.as_deref().unwrap_or_default());
        self.run(&what, async |position| {
            let db = self.foreign(&url).await?;
            ejabberd::open(db, &self.facts, host.as_deref(), self.wide(), position).await
        })
    }

    /// Prosody's own files.
    pub(super) fn prosody_files(&self) -> Result<(), Failure> {
        let path = self.path()?;
        self.run(&format!("prosody-files {}", absolute(path)), async |position| {
            ProsodyFiles::open(path, &self.facts, self.wide(), position)
        })
    }

    /// A portable file.
    pub(super) fn xep0227(&self) -> Result<(), Failure> {
        let path = self.path()?;
        self.run(&format!("xep0227 {}", absolute(path)), async |position| Xep0227::open(path, &self.facts, self.wide(), position))
    }

    pub(super) fn node(&self) -> &'c NodeConfig {
        self.node
    }

    pub(super) fn store(&self) -> &'c StoreConfig {
        self.store
    }

    /// Whether this is a room of the node.
    pub(super) fn is_room(&self, jid: &str) -> bool {
        self.facts.is_room(&Address::parse(jid))
    }

    /// A second connection as the archive itself would be refused, or take copies away from the first.
    pub(super) fn require_nobody_attached(&self) -> Result<(), Failure> {
        let advice = "an archiver is attached as this component: stop it, or attach as another with --component and --secret-file";
        match super::status::running(self.config) {
            Some(_) => Err(Failure::Usage(advice.to_owned())),
            None => Ok(()),
        }
    }

    /// Another product's table, in a database or exported.
    pub(super) fn table(&self, kind: Kind, args: &ImportArgs) -> Result<(), Failure> {
        let zone = &args.source_zone;
        let zone = TimeZone::get(zone).map_err(|error| Failure::Usage(format!("--source-zone: {error}")))?;
        let reader = Reader::new(kind, self.facts.clone(), zone, self.wide());
        if let Some(path) = &self.args.path {
            let what = format!("{} {} {}", kind.name(), absolute(path), args.source_zone);
            return self.run(&what, async |position| CsvSource::open(path, kind, reader, position));
        }
        let url = self.url()?;
        let name = args.table.as_deref();
        let what = format!("{} {url} {} {}", kind.name(), name.unwrap_or_default(), args.source_zone);
        self.run(&what, async |position| tables::open(self.foreign(&url).await?, kind, name, reader, position).await)
    }

    /// A little more than was asked for: equal messages are told apart by those before and after them. What is said after the command
    /// began is the running archiver's business.
    pub(super) fn wide(&self) -> Interval {
        let wide = self.interval.widened(REPLAY_WINDOW);
        Interval { to: Some(wide.to.map_or(self.began_at, |to| to.min(self.began_at))), ..wide }
    }

    fn host(&self) -> Result<Option<String>, Failure> {
        let Some(host) = &self.args.host else { return Ok(None) };
        let host = crate::config::domain::normalise(host).map_err(|error| Failure::Usage(format!("--host {error}")))?;
        match self.facts.hosts.contains(&host) {
            true => Ok(Some(host)),
            false => Err(Failure::Usage(format!("--host: {host} is none of the hosts of node {}", self.node.name))),
        }
    }

    /// The database's URL, wherever it is given.
    pub(super) fn url(&self) -> Result<StoreUrl, Failure> {
        let text = match (&self.args.url, &self.args.url_file, &self.args.url_env) {
            (Some(url), ..) => url.clone(),
            (_, Some(file), _) => secret("--url-file", &SecretSource::File(file.clone()))?,
            (.., Some(variable)) => secret("--url-env", &SecretSource::Env(variable.clone()))?,
            _ => return Err(Failure::Usage("this source needs a database: --url, --url-file or --url-env".to_owned())),
        };
        StoreUrl::parse(&text).map_err(|right| Failure::Usage(format!("the source's URL {right}")))
    }

    /// The file or directory.
    pub(super) fn path(&self) -> Result<&Path, Failure> {
        self.args.path.as_deref().ok_or_else(|| Failure::Usage("this source needs --path".to_owned()))
    }

    pub(super) async fn foreign(&self, url: &StoreUrl) -> Result<Foreign, SourceError> {
        Ok(Foreign::open(&Backend::of(url), self.args.tls_ca.as_deref()).await?)
    }

    /// Opens the source where an earlier attempt left it, and feeds it to its end.
    pub(super) fn run<S: Source>(&self, what: &str, open: impl AsyncFnOnce(Option<&str>) -> Result<S, SourceError>) -> Result<(), Failure> {
        self.run_on(&simple_runtime()?, what, open)
    }

    /// The same on a runtime that something of the source lives on already.
    pub(super) fn run_on<S: Source>(
        &self,
        runtime: &tokio::runtime::Runtime,
        what: &str,
        open: impl AsyncFnOnce(Option<&str>) -> Result<S, SourceError>,
    ) -> Result<(), Failure> {
        runtime.block_on(async {
            self.require_store().await?;
            let place = Place::new(&self.config.spool.path, &self.store.name, &self.node.name, what);
            let before = place.state(what, self.interval).filter(|_| !self.args.restart && !self.args.dry_run);
            let position = before.as_ref().and_then(|state| state.position.clone());
            let mut source = open(position.as_deref()).await.map_err(failure)?;
            let total = source.total().await.map_err(failure)?;
            let bar = Bar::new(total);
            let state = before.unwrap_or_else(|| State { what: what.to_owned(), ..State::default() });
            let plan = self.plan(place, State { from: self.interval.from, to: self.interval.to, ..state });
            let outcome =
                if self.args.dry_run { feed::try_out(&mut source, &plan, &bar).await } else { feed::feed(&mut source, plan, &bar).await };
            bar.0.finish_and_clear();
            let troubles = source.troubles();
            let outcome = outcome.map_err(feed_failure)?;
            let gaps = self.note_gaps(what, &outcome, &source).await?;
            self.report(&outcome, gaps, &source)?;
            if troubles.is_empty() { Ok(()) } else { Err(Failure::ProblemFound) }
        })
    }

    fn plan(&self, place: Place, state: State) -> Plan {
        Plan {
            endpoint: Endpoint::from_config(self.store),
            batch_records: self.store.batch_messages,
            node: self.facts.clone(),
            policy: crate::run::policy(self.config),
            join_window: self.config.archive.join_window.as_micros() as Micros,
            via: self.via,
            place,
            state,
        }
    }

    async fn require_store(&self) -> Result<(), Failure> {
        let absent = format!("store {}: there is no {} yet: run `xmpp-archiver migrate`", self.store.name, self.store.url);
        if connect::is_absent(self.store) {
            return Err(Failure::Runtime(absent));
        }
        let mut connection = connect::open(self.store).await?;
        migrations::require_current(&mut connection).await.map_err(|error| connect::failure(self.store, &error))
    }

    /// Says in the gaps of the interval what was found.
    async fn note_gaps<S: Source>(&self, what: &str, outcome: &Outcome, source: &S) -> Result<u64, Failure> {
        if self.via != Via::Backfill || self.args.dry_run {
            return Ok(0);
        }
        let is_whole = outcome.refused + outcome.refused_before == 0 && source.troubles().is_empty() && !source.is_partial();
        let name = what.split(' ').next().unwrap_or_default();
        let interval = Interval { to: self.interval.to.or(Some(self.began_at)), ..self.interval };
        let filling = Filling { node: &self.node.name, interval, is_whole, source: name, lacks: source.lacks() };
        let mut connection = connect::open(self.store).await?;
        filling.note(&mut connection).await.map_err(|error| connect::failure(self.store, &error))
    }

    fn report<S: Source>(&self, outcome: &Outcome, gaps: u64, source: &S) -> Result<(), Failure> {
        let name = match self.via {
            Via::Backfill => "backfill",
            Via::Import => "import",
        };
        let report = Report {
            command: name,
            node: &self.node.name,
            store: &self.store.name,
            dry_run: self.args.dry_run,
            outcome,
            gaps,
            not_read: source.troubles(),
            lacks: source.lacks(),
        };
        match self.args.format {
            ReportFormat::Json => output::print(&format!("{}\n", report.json()?)),
            ReportFormat::Table => output::print(&report.text()),
        }
    }
}

pub(super) fn simple_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure::Runtime(format!("can't start: {error}")))
}

/// The only node, or the one of this name.
fn node<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c NodeConfig, Failure> {
    let names = || config.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, config.nodes.as_slice()) {
        (_, []) => Err(Failure::Usage("no [[node]] is configured: the messages must belong to one".to_owned())),
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::Usage(format!("there are several nodes: say --node with one of {}", names()))),
        (Some(name), nodes) => {
            let unknown = || Failure::Usage(format!("there is no node \"{name}\"; configured are {}", names()));
            nodes.iter().find(|node| node.name == name).ok_or_else(unknown)
        }
    }
}

/// The part of the time that was asked for.
fn interval(args: &HistoryArgs) -> Result<Interval, Failure> {
    let now = Zoned::now().with_time_zone(args.zone.rules());
    let wrong = |name: &str, error| Failure::Usage(format!("{name} {error}"));
    let from = args.from.as_ref().map(|when| when.begin(&now)).transpose().map_err(|error| wrong("--from", error))?;
    let to = args.to.as_ref().map(|when| when.end(&now)).transpose().map_err(|error| wrong("--to", error))?;
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(Failure::Usage("--from is later than --to".to_owned()));
    }
    Ok(Interval { from, to })
}

/// A path as it is named wherever one stands.
fn absolute(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_not_there| path.to_owned()).display().to_string()
}

pub(super) fn secret(flag: &str, source: &SecretSource) -> Result<String, Failure> {
    let secret = source.read().map_err(|error| Failure::Usage(format!("{flag} {error}")))?;
    Ok(secret.expose_secret().to_owned())
}

pub(super) fn failure(error: SourceError) -> Failure {
    match error {
        SourceError::Mistaken(said) => Failure::Usage(said),
        SourceError::Unreachable(said) => Failure::Runtime(format!("the source: {said}")),
    }
}

fn feed_failure(error: FeedError) -> Failure {
    match error {
        FeedError::Source(error) => failure(error),
        other => Failure::Runtime(other.to_string()),
    }
}

/// Draws itself only where standard error is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{wide_bar} {human_pos}/{human_len} {msg}, {per_sec}, {eta}"),
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} read {msg}, {per_sec}, {elapsed}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(DRAW_INTERVAL);
        Self(bar)
    }
}

impl Progress for Bar {
    fn so_far(&self, read: u64, stored: u64) {
        self.0.set_position(read);
        self.0.set_message(format!("({stored} dealt with)"));
    }
}

/// The result as it is told.
#[derive(Serialize)]
struct Report<'r> {
    command: &'static str,
    node: &'r str,
    store: &'r str,
    dry_run: bool,
    #[serde(flatten)]
    outcome: &'r Outcome,
    /// How many rows of gaps were brought up to date.
    gaps: u64,
    /// What of the source could not be read.
    not_read: Vec<String>,
    /// What the source can't hold.
    lacks: &'r str,
}

impl Report<'_> {
    fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| Failure::Runtime(error.to_string()))
    }

    fn text(&self) -> String {
        let Outcome { read, read_before, added, known, skipped, refused, refused_before, first_at, last_at } = self.outcome;
        let mut lines = vec![format!("read          {read}")];
        if *read_before > 0 {
            lines.push(format!("              after {read_before} that were read before it was broken off"));
        }
        if let (Some(first), Some(last)) = (first_at, last_at) {
            lines.push(format!("              said from {} to {}", time::rfc3339(*first), time::rfc3339(*last)));
        }
        lines.push(format!("{} {added}", if self.dry_run { "would be added" } else { "added        " }));
        lines.push(format!("known already {known}"));
        lines.extend(skipped.iter().map(|(reason, count)| format!("skipped       {count} ({reason})")));
        lines.push(format!("refused       {refused}{}", if *refused > 0 { " (see `xmpp-archiver quarantine list`)" } else { "" }));
        if *refused_before > 0 {
            lines.push(format!("              and {refused_before} that had been refused before"));
        }
        lines.push(format!("gaps noted    {}", self.gaps));
        lines.extend(self.not_read.iter().map(|archive| format!("not read      {archive}")));
        lines.push(format!("not in the source: {}", self.lacks));
        lines.join("\n") + "\n"
    }
}
