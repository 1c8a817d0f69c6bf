//! What `backfill`, `import` and `reconcile` share: from the arguments to a source, with which each has an errand of its own.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Zoned;
use jiff::tz::TimeZone;
use secrecy::ExposeSecret;

use super::history_args::{BackfillSource, HistoryArgs, ImportArgs, MamArgs, SourceArgs};
use super::{Failure, connect};
use crate::config::{Config, NodeConfig, SecretSource, StoreConfig, StoreUrl};
use crate::history::csv::CsvSource;
use crate::history::feed::Progress;
use crate::history::prosody_files::ProsodyFiles;
use crate::history::table::{Kind, Reader};
use crate::history::xep0227::Xep0227;
use crate::history::{Interval, Source, SourceError, ejabberd, prosody, tables};
use crate::identity::REPLAY_WINDOW;
use crate::message::address::Address;
use crate::node::Node;
use crate::store::foreign::Foreign;
use crate::store::{Backend, migrations};
use crate::time::{self, Micros};

/// How often the progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// What a command does with a source.
pub(super) trait Errand: Sized {
    /// What it comes to.
    type Told;

    /// Does it; `open` opens the source for a part of the time, behind a position.
    async fn run<S: Source>(
        &self,
        job: &Job<'_, Self>,
        what: &str,
        open: impl AsyncFnOnce(Interval, Option<&str>) -> Result<S, SourceError>,
    ) -> Result<Self::Told, Failure>;
}

/// One command, as far as the source does not matter.
pub(super) struct Job<'c, E> {
    pub(super) config: &'c Config,
    pub(super) node: &'c NodeConfig,
    pub(super) store: &'c StoreConfig,
    pub(super) facts: Arc<Node>,
    /// What was asked for.
    pub(super) interval: Interval,
    pub(super) began_at: Micros,
    source: &'c SourceArgs,
    errand: E,
}

impl<'c, E: Errand> Job<'c, E> {
    /// Looks at what every source needs.
    pub(super) fn new(
        config: &'c Config,
        node: Option<&str>,
        source: &'c SourceArgs,
        interval: Interval,
        errand: E,
    ) -> Result<Self, Failure> {
        let node = self::node(config, node)?;
        let store = config.store(Some(&node.store))?;
        let facts = Arc::new(crate::run::facts(node, &crate::run::canaries(config)));
        Ok(Self { config, node, store, facts, interval, began_at: time::now(), source, errand })
    }

    /// The source that a backfill reads.
    pub(super) fn backfill(&self, source: BackfillSource, mam: &MamArgs) -> Result<E::Told, Failure> {
        match source {
            BackfillSource::ProsodySql => self.prosody_sql(),
            BackfillSource::EjabberdSql => self.ejabberd_sql(),
            BackfillSource::ProsodyFiles => self.prosody_files(),
            BackfillSource::Mam => super::mam::execute(self, mam),
            BackfillSource::Xep0227 => self.xep0227(),
        }
    }

    /// Prosody's table.
    pub(super) fn prosody_sql(&self) -> Result<E::Told, Failure> {
        let url = self.url()?;
        let what = format!("prosody-sql {url}");
        self.run(&what, async |wide, position| {
            let db = self.foreign(&url).await?;
            prosody::open(db, &self.facts, wide, position).await
        })
    }

    /// ejabberd's table.
    pub(super) fn ejabberd_sql(&self) -> Result<E::Told, Failure> {
        let url = self.url()?;
        let host = self.host()?;
        let what = format!("ejabberd-sql {url} {}", host.as_deref().unwrap_or_default());
        self.run(&what, async |wide, position| {
            let db = self.foreign(&url).await?;
            ejabberd::open(db, &self.facts, host.as_deref(), wide, position).await
        })
    }

    /// Prosody's own files.
    pub(super) fn prosody_files(&self) -> Result<E::Told, Failure> {
        let path = self.path()?;
        self.run(&format!("prosody-files {}", absolute(path)), async |wide, position| ProsodyFiles::open(path, &self.facts, wide, position))
    }

    /// A portable file.
    pub(super) fn xep0227(&self) -> Result<E::Told, Failure> {
        let path = self.path()?;
        self.run(&format!("xep0227 {}", absolute(path)), async |wide, position| Xep0227::open(path, &self.facts, wide, position))
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
    pub(super) fn table(&self, kind: Kind, args: &ImportArgs) -> Result<E::Told, Failure> {
        let zone = &args.source_zone;
        let zone = TimeZone::get(zone).map_err(|error| Failure::Usage(format!("--source-zone: {error}")))?;
        let reader = |wide| Reader::new(kind, self.facts.clone(), zone, wide);
        if let Some(path) = &self.source.path {
            let what = format!("{} {} {}", kind.name(), absolute(path), args.source_zone);
            return self.run(&what, async |wide, position| CsvSource::open(path, kind, reader(wide), position));
        }
        let url = self.url()?;
        let name = args.table.as_deref();
        let what = format!("{} {url} {} {}", kind.name(), name.unwrap_or_default(), args.source_zone);
        self.run(&what, async |wide, position| tables::open(self.foreign(&url).await?, kind, name, reader(wide), position).await)
    }

    /// A little more than was asked for: equal messages are told apart by those before and after them. What is said after the reading
    /// began is the running archiver's business.
    pub(super) fn wide(&self, began_at: Micros) -> Interval {
        let wide = self.interval.widened(REPLAY_WINDOW);
        Interval { to: Some(wide.to.map_or(began_at, |to| to.min(began_at))), ..wide }
    }

    fn host(&self) -> Result<Option<String>, Failure> {
        let Some(host) = &self.source.host else { return Ok(None) };
        let host = crate::config::domain::normalise(host).map_err(|error| Failure::Usage(format!("--host {error}")))?;
        match self.facts.hosts.contains(&host) {
            true => Ok(Some(host)),
            false => Err(Failure::Usage(format!("--host: {host} is none of the hosts of node {}", self.node.name))),
        }
    }

    /// The database's URL, wherever it is given.
    pub(super) fn url(&self) -> Result<StoreUrl, Failure> {
        let text = match (&self.source.url, &self.source.url_file, &self.source.url_env) {
            (Some(url), ..) => url.clone(),
            (_, Some(file), _) => secret("--url-file", &SecretSource::File(file.clone()))?,
            (.., Some(variable)) => secret("--url-env", &SecretSource::Env(variable.clone()))?,
            _ => return Err(Failure::Usage("this source needs a database: --url, --url-file or --url-env".to_owned())),
        };
        StoreUrl::parse(&text).map_err(|right| Failure::Usage(format!("the source's URL {right}")))
    }

    /// The file or directory.
    pub(super) fn path(&self) -> Result<&Path, Failure> {
        self.source.path.as_deref().ok_or_else(|| Failure::Usage("this source needs --path".to_owned()))
    }

    pub(super) async fn foreign(&self, url: &StoreUrl) -> Result<Foreign, SourceError> {
        Ok(Foreign::open(&Backend::of(url), self.source.tls_ca.as_deref()).await?)
    }

    /// Does the errand on the source.
    fn run<S: Source>(
        &self,
        what: &str,
        open: impl AsyncFnOnce(Interval, Option<&str>) -> Result<S, SourceError>,
    ) -> Result<E::Told, Failure> {
        self.run_on(&simple_runtime()?, what, open)
    }

    /// The same on a runtime that something of the source lives on already.
    pub(super) fn run_on<S: Source>(
        &self,
        runtime: &tokio::runtime::Runtime,
        what: &str,
        open: impl AsyncFnOnce(Interval, Option<&str>) -> Result<S, SourceError>,
    ) -> Result<E::Told, Failure> {
        runtime.block_on(async {
            self.require_store().await?;
            self.errand.run(self, what, open).await
        })
    }

    async fn require_store(&self) -> Result<(), Failure> {
        let absent = format!("store {}: there is no {} yet: run `xmpp-archiver migrate`", self.store.name, self.store.url);
        if connect::is_absent(self.store) {
            return Err(Failure::Runtime(absent));
        }
        let mut connection = connect::open(self.store).await?;
        migrations::require_current(&mut connection).await.map_err(|error| connect::failure(self.store, &error))
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
pub(super) fn interval(args: &HistoryArgs) -> Result<Interval, Failure> {
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

/// Draws itself only where standard error is a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(total: Option<u64>) -> Self {
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

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn so_far(&self, read: u64, stored: u64) {
        self.0.set_position(read);
        self.0.set_message(format!("({stored} dealt with)"));
    }
}
