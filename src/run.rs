//! The daemon: everything started in the order in which a message walks, and stopped in the same order.

mod ages;
mod canary;
mod exports;
mod gaps;
mod http;
mod life;
pub(crate) mod look;
mod reload;
pub mod requests;
pub mod retrying;
mod status;
mod systemd;
pub mod view;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::ages::Ages;
use self::canary::OpenCanary;
use self::look::Watch;
use self::view::{NodeView, Shown, StoreView, View};
use crate::alarm::{Alarms, Name};
use crate::canary::Canaries;
use crate::component;
use crate::config::{ByteSize, Config, ConfigErrors, Directions, HttpConfig, NodeConfig, NodeKind, StoreConfig, StoreUrl, WhenFull};
use crate::indexer::{self, IndexStats};
use crate::intake::link::Link;
use crate::intake::{NodeIntake, StepWatch};
use crate::node::{Kind, Node};
use crate::notify::Notifier;
use crate::notify::xmpp::Courier;
use crate::pipeline::drain::Pipeline;
use crate::pipeline::{self, Rules};
use crate::policy::Policy;
use crate::spool::{self, Appender, Spool, SpoolError};
use crate::stats::{NodeStats, StoreStats};
use crate::store::Endpoint;
use crate::time::Micros;

pub use canary::canaries;
pub(crate) use status::lag_seconds;
pub use status::{FILE as STATUS_FILE, Snapshot};

/// Why the daemon could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A spool can't be opened.
    #[error("store {store}: {error}; {}", spool_advice(error))]
    Spool {
        /// The store whose spool it is.
        store: String,
        /// Why.
        error: SpoolError,
    },
    /// A node's secret can't be read.
    #[error("node {node}: {why}")]
    Secret {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// The system refuses a thread.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

fn spool_advice(error: &SpoolError) -> &'static str {
    match error {
        SpoolError::InUse(_) => "stop the other archiver, or give this one a spool.path of its own",
        SpoolError::Options(_) => "mend the section [spool]",
        SpoolError::Io { .. } => "spool.path must name a directory on a local disk, mounted, in which this user may write",
    }
}

/// One store with its spool.
struct OpenStore {
    appender: Appender,
    stats: Arc<StoreStats>,
    pipeline: Pipeline,
    /// Trails the pipeline; none before it has started, and where the system gave no thread.
    indexer: Option<std::thread::JoinHandle<()>>,
    index: Arc<IndexStats>,
    rules: watch::Sender<Arc<Rules>>,
    ages: Arc<Mutex<Ages>>,
    disks: Vec<PathBuf>,
}

/// One node with its session.
struct OpenNode {
    config: NodeConfig,
    stats: Arc<NodeStats>,
    status: component::Status,
    settings: watch::Sender<component::Settings>,
    intake: Arc<NodeIntake>,
    account: JoinHandle<()>,
    stop: watch::Sender<bool>,
    session: JoinHandle<()>,
    /// Who writes probes there, if anybody does.
    canary: Option<OpenCanary>,
}

/// How the configuration is read again while the daemon runs.
pub struct Reloads {
    /// Somebody wants that.
    pub wanted: mpsc::Receiver<()>,
    /// Reads it.
    pub load: Box<dyn Fn() -> Result<Config, ConfigErrors> + Send>,
}

/// Runs until `stop` says true: sessions are closed first, then what was received is made durable and stored as far as the stores answer.
///
/// # Errors
/// When something that it needs can't be had at the start.
pub async fn run(config: &Config, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let (_nobody, wanted) = mpsc::channel(1);
    let unchanged = config.clone();
    run_with(config, stop, Reloads { wanted, load: Box::new(move || Ok(unchanged.clone())) }).await
}

/// The same, and reads the configuration again when that is wanted.
///
/// # Errors
/// When something that it needs can't be had at the start.
pub async fn run_with(config: &Config, mut stop: watch::Receiver<bool>, mut reloads: Reloads) -> Result<(), RunError> {
    let (stop_pipelines, pipelines_stopped) = watch::channel(false);
    let mut running = Running::start(config, pipelines_stopped)?;
    let _notices = running.shown.notifier().start();
    let watching = tokio::spawn(keep_watching(running.shown.clone(), running.config.subscribe()));
    exports::start(config, running.shown.alarms(), stop.clone());
    systemd::ready();
    loop {
        tokio::select! {
            biased;
            // What it gives holds a lock on the channel, and a sender that went away means stop, too.
            () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
            Some(()) = reloads.wanted.recv() => {
                systemd::reloading();
                running.reload((reloads.load)()).await;
                systemd::ready();
            }
        }
    }
    systemd::stopping();
    running.shown.stopping();
    running.close_sessions().await;
    log::info!("stopping: storing what was received");
    let patience = running.config.borrow().run.shutdown_timeout;
    // A pipeline that is to stop waits for no record that is not durable.
    let _said_when_it_is_closed = tokio::time::timeout(patience, running.make_durable()).await;
    let _nobody_listens = stop_pipelines.send(true);
    close_stores(std::mem::take(&mut running.stores), patience).await;
    running.shown.notifier().finish().await;
    watching.abort();
    running.stop_watching_gaps();
    if let Some(life) = running.life.take() {
        life.finish().await;
    }
    // Whatever it was writing is written by then.
    let _aborted = watching.await;
    running.reporter().write("stopped");
    log::info!("stopped");
    Ok(())
}

/// The daemon, while it runs.
struct Running {
    /// The settings in force.
    config: watch::Sender<Arc<Config>>,
    shown: Shown,
    stores: BTreeMap<String, OpenStore>,
    nodes: Vec<OpenNode>,
    http: Option<http::Server>,
    /// The nodes' last signs of life, until the end.
    life: Option<life::Keeper>,
    /// What is known of probe messages.
    canaries: Canaries,
    /// Compares the system's clock with one that only goes on.
    clock: Arc<Mutex<StepWatch>>,
    /// Looks for open gaps.
    gaps: Option<JoinHandle<()>>,
    /// What the records of the spools are long enough for.
    largest_stanza: ByteSize,
}

impl Running {
    fn start(config: &Config, stop: watch::Receiver<bool>) -> Result<Self, RunError> {
        let alarms = Alarms::default();
        let notifier = Notifier::new(config.alarm.clone());
        alarms.tell(Arc::new(notifier.clone()));
        let shown = Shown::new(alarms, notifier);
        let mut running = Self {
            config: watch::Sender::new(Arc::new(config.clone())),
            stores: BTreeMap::new(),
            nodes: Vec::new(),
            http: None,
            life: Some(life::Keeper::start(&config.spool.path, config.run.status_interval)),
            canaries: Canaries::default(),
            clock: Arc::default(),
            gaps: None,
            shown,
            largest_stanza: largest_stanza(config),
        };
        canary::know(&running.canaries, config);
        for store in config.stores.iter().filter(|store| config.nodes.iter().any(|node| node.store == store.name)) {
            let opened = open_store(config, store, &running, stop.clone())?;
            running.stores.insert(store.name.clone(), opened);
        }
        for node in &config.nodes {
            running.attach(node)?;
        }
        running.start_canaries();
        running.watch_gaps(config);
        running.listen(&config.http);
        running.show();
        make_requests_directory(config);
        Ok(running)
    }

    fn attach(&mut self, node: &NodeConfig) -> Result<(), RunError> {
        let Some(store) = self.stores.get(&node.store) else { return Ok(()) };
        let facts = Arc::new(facts(node, &self.canaries));
        let stats = Arc::new(NodeStats::default());
        let status = component::Status::new();
        let settings = settings(node)?;
        let asked = node.kind != NodeKind::Openfire;
        let module_interval = asked.then_some(self.config.borrow().run.status_interval);
        let (settings, current) = watch::channel(component::Settings { module_interval, ..settings });
        let (stop, stopped) = watch::channel(false);
        let link = self.life.as_ref().map_or_else(|| Arc::new(Link::restored(None)), |life| life.attach(&node.name, &store.appender));
        let alarms = self.shown.alarms().clone();
        let intake = NodeIntake::new(facts, store.appender.clone(), stats.clone(), alarms, link).watching(self.clock.clone());
        let intake = Arc::new(intake);
        let session = tokio::spawn(component::follow(current, intake.clone(), status.clone(), stopped));
        let account = tokio::spawn({
            let intake = intake.clone();
            async move { intake.keep_account().await }
        });
        let canary = None;
        self.nodes.push(OpenNode { config: node.clone(), stats, status, settings, intake, account, stop, session, canary });
        Ok(())
    }

    /// Opens the HTTP port where the settings say, in place of the one that is open.
    fn listen(&mut self, settings: &HttpConfig) {
        self.http = settings.listen.map(|address| http::Server::start(address, self.shown.clone()));
    }

    /// Looks for open gaps of these nodes from now on.
    fn watch_gaps(&mut self, config: &Config) {
        self.stop_watching_gaps();
        let gaps = gaps::Watch::new(config, &self.stores, self.shown.alarms());
        self.shown.set_gaps(gaps.clone());
        self.gaps = Some(tokio::spawn(gaps.keep_looking()));
    }

    fn stop_watching_gaps(&mut self) {
        if let Some(gaps) = self.gaps.take() {
            gaps.abort();
        }
    }

    /// Makes what is running visible to whoever looks.
    fn show(&self) {
        let nodes: Vec<NodeView> = self.nodes.iter().map(|node| node_view(node, &self.canaries)).collect();
        let courier = |node: &NodeView| Courier { domain: node.domain.clone(), hosts: node.hosts.clone(), session: node.status.clone() };
        self.shown.notifier().set_couriers(nodes.iter().map(courier).collect());
        self.shown.set_view(View { nodes, stores: self.stores.iter().map(store_view).collect() });
    }

    fn reporter(&self) -> status::Reporter {
        status::Reporter::new(&self.config.borrow().spool.path, self.shown.clone())
    }

    async fn make_durable(&self) {
        for store in self.stores.values() {
            if let Some(last) = store.appender.depth().next_seq.checked_sub(1) {
                let _closed_already = store.appender.durable(last).await;
            }
        }
    }

    async fn close_sessions(&mut self) {
        log::info!("stopping: closing the sessions");
        let patience = self.config.borrow().run.shutdown_timeout;
        for node in &mut self.nodes {
            // Nothing that does not come back from here on tells anything.
            node.canary = None;
            node.intake.link().stopping();
            node.stop.send_replace(true);
        }
        for node in self.nodes.drain(..) {
            close_session(node, patience).await;
        }
    }
}

async fn close_session(node: OpenNode, patience: Duration) {
    drop(node.canary);
    node.intake.link().stopping();
    node.stop.send_replace(true);
    if tokio::time::timeout(patience, node.session).await.is_err() {
        log::warn!("node {}: the session did not close in time", node.config.name);
    }
    node.account.abort();
    if tokio::time::timeout(ACCOUNT_PATIENCE, node.intake.finish_account()).await.is_err() {
        log::warn!("node {}: what was counted last could not be written: the spool is full", node.config.name);
    }
}

/// Writes the status at its interval, looks at everything each second, sees to requests, and gives signs of life while all is well.
async fn keep_watching(shown: Shown, config: watch::Receiver<Arc<Config>>) {
    let settings = config.borrow().clone();
    let reporter = status::Reporter::new(&settings.spool.path, shown.clone());
    let requests = requests::directory(&settings.spool.path);
    let (mut watch, mut tests, mut mismatches) = (Watch::new(shown.clone()), JoinSet::new(), requests::Mismatches::default());
    let signs = systemd::watchdog_interval();
    let (mut next_status, mut next_sign) = (Instant::now(), Instant::now());
    loop {
        let settings = config.borrow().clone();
        watch.look(&settings.alarm);
        for request in requests::take(&requests, shown.alarms()) {
            match request {
                requests::Request::Test { answer } => _ = tests.spawn(test(shown.notifier().clone(), answer)),
                requests::Request::Reconciled(found) => {
                    let view = shown.view();
                    if let Some(node) = view.nodes.iter().find(|node| requests::mark(&node.name) == found.node) {
                        mismatches.note(found, &node.name, shown.alarms());
                    }
                }
                requests::Request::Acknowledge { .. } | requests::Request::Locked(_) | requests::Request::Unlocked { .. } => {}
            }
        }
        while tests.try_join_next().is_some() {}
        if Instant::now() >= next_status {
            reporter.write("running");
            systemd::doing(&reporter.line());
            next_status = Instant::now() + settings.run.status_interval;
        }
        if signs.is_some() && Instant::now() >= next_sign && shown.illness().is_empty() {
            systemd::alive();
            next_sign = Instant::now() + signs.unwrap_or_default();
        }
        let tick = look::INTERVAL.min(settings.run.status_interval).min(signs.unwrap_or(look::INTERVAL));
        tokio::time::sleep(tick).await;
    }
}

/// Tries every way out, and writes what happened where it was asked for.
async fn test(notifier: Notifier, answer: PathBuf) {
    let tried = notifier.test().await;
    let next = answer.with_extension("new");
    let written = serde_json::to_vec(&tried).map_err(std::io::Error::other).and_then(|text| std::fs::write(&next, text));
    if let Err(error) = written.and_then(|()| std::fs::rename(&next, &answer)) {
        log::warn!("the outcome of a test of the alarms can't be written: {error}");
    }
}

/// What other commands ask is put there by its owner, and by root.
fn make_requests_directory(config: &Config) {
    let directory = requests::directory(&config.spool.path);
    if let Err(error) = std::fs::create_dir_all(&directory) {
        log::warn!("{}: {error}; alarms can't be acknowledged", directory.display());
    }
}

fn node_view(node: &OpenNode, canaries: &Canaries) -> NodeView {
    let NodeConfig { name, address, domain, hosts, .. } = node.config.clone();
    NodeView { name, address, domain, hosts, stats: node.stats.clone(), status: node.status.clone(), canaries: canaries.clone() }
}

fn store_view((name, open): (&String, &OpenStore)) -> StoreView {
    StoreView {
        name: name.clone(),
        spool: open.appender.clone(),
        stats: open.stats.clone(),
        pulse: open.pipeline.pulse(),
        ages: open.ages.clone(),
        disks: open.disks.clone(),
        index: open.index.clone(),
    }
}

async fn close_stores(stores: BTreeMap<String, OpenStore>, patience: Duration) {
    for (name, store) in stores {
        let joined = tokio::task::spawn_blocking(move || {
            store.pipeline.join();
            if store.indexer.is_some_and(|indexer| indexer.join().is_err()) {
                log::error!("the thread that indexes panicked; what it was at is indexed after the next start");
            }
        });
        if tokio::time::timeout(patience, joined).await.is_err() {
            log::warn!("store {name}: not everything could be stored in time; it stays in the spool for the next start");
        }
        if store.appender.close().await.is_err() {
            log::error!("store {name}: the last records could not be made durable");
        }
    }
}

fn open_store(config: &Config, store: &StoreConfig, running: &Running, stop: watch::Receiver<bool>) -> Result<OpenStore, RunError> {
    let alarms = running.shown.alarms();
    let dir = config.spool.directory(store);
    let failed = |error| RunError::Spool { store: store.name.clone(), error };
    let (appender, reader, recovered) = Spool::open(&dir, spool_options(config)).map_err(failed)?;
    tell(&recovered, store, alarms);
    let stats = Arc::new(StoreStats::default());
    let (rules, current_rules) = watch::channel(Arc::new(rules_of(config, &store.name, &running.canaries)));
    let settings = pipeline::Settings {
        endpoint: Endpoint::from_config(store),
        migrates: store.migrate,
        rules: current_rules,
        join_window: config.archive.join_window.as_micros() as Micros,
        batch_records: store.batch_messages,
        quarantine_dir: dir.join("quarantine"),
        damage: recovered.damaged.clone(),
        stats: stats.clone(),
        alarms: alarms.clone(),
    };
    let index = Arc::new(IndexStats::default());
    let indexer = if store.index { Some(start_indexer(store, &appender, &stats, &index, stop.clone())?) } else { None };
    let pipeline = Pipeline::start(settings, reader, recovered.spool_id, appender.clone(), Handle::current(), stop)?;
    let disks = disks(dir, store);
    Ok(OpenStore { appender, stats, pipeline, indexer, index, rules, ages: Arc::default(), disks })
}

/// The indexer lets the pipeline go first while records wait for longer than this.
const INDEX_YIELDS_AFTER_SECONDS: f64 = 2.0;

fn start_indexer(
    store: &StoreConfig,
    spool: &Appender,
    stats: &Arc<StoreStats>,
    index: &Arc<IndexStats>,
    stop: watch::Receiver<bool>,
) -> Result<std::thread::JoinHandle<()>, std::io::Error> {
    let (ready, busy, spool) = (stats.clone(), stats.clone(), spool.clone());
    let settings = indexer::Settings {
        endpoint: Endpoint::from_config(store),
        is_ready: Box::new(move || ready.is_connected()),
        is_busy: Box::new(move || status::lag_of(&spool, &busy) > INDEX_YIELDS_AFTER_SECONDS),
        stats: index.clone(),
    };
    indexer::start(settings, Handle::current(), stop)
}

/// What a store fills: the disk of its spool, and of its file if it is one.
fn disks(spool: PathBuf, store: &StoreConfig) -> Vec<PathBuf> {
    let mut disks = vec![spool];
    if let StoreUrl::Sqlite(file) = &store.url {
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Two places on one disk would be told of twice.
        if disks.iter().all(|disk| device(disk).is_none_or(|one| device(directory) != Some(one))) {
            disks.push(directory.to_owned());
        }
    }
    disks
}

fn device(directory: &Path) -> Option<u64> {
    std::fs::metadata(directory).ok().map(|found| found.dev())
}

/// Who writes to this store, and what is archived.
fn rules_of(config: &Config, store: &str, canaries: &Canaries) -> Rules {
    let nodes = config.nodes.iter().filter(|node| node.store == store);
    Rules { nodes: nodes.map(|node| Arc::new(facts(node, canaries))).collect(), policy: policy(config) }
}

fn spool_options(config: &Config) -> spool::Options {
    spool::Options {
        segment_bytes: config.spool.segment.0,
        limit_bytes: config.spool.limit.0,
        when_full: match config.spool.when_full {
            WhenFull::Pause => spool::WhenFull::Pause,
            WhenFull::Drop => spool::WhenFull::Drop,
        },
        commit_delay: config.spool.commit_delay,
        max_record_bytes: max_record_bytes(config),
        buffer_bytes: (max_record_bytes(config) + 64 * 1024).max(SPOOL_BUFFER_BYTES),
        ..spool::Options::default()
    }
}

/// How long the last counts may wait for a spool that is full.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(2);

/// Records in memory that wait for the disk; a burst beyond it waits in the socket.
const SPOOL_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// A record is the stanza and a few bytes more.
fn max_record_bytes(config: &Config) -> usize {
    largest_stanza(config).as_usize() + 64 * 1024
}

fn largest_stanza(config: &Config) -> ByteSize {
    config.nodes.iter().map(|node| node.max_stanza).max().unwrap_or(ByteSize(0))
}

fn tell(recovered: &spool::Recovered, store: &StoreConfig, alarms: &Alarms) {
    if recovered.records > 0 {
        log::info!("store {}: {} records in the spool are to be stored", store.name, recovered.records);
    }
    if recovered.torn_tail_bytes > 0 {
        log::warn!("store {}: {} bytes of an unfinished write were cut off the spool", store.name, recovered.torn_tail_bytes);
    }
    for damage in &recovered.damaged {
        let text = format!("{damage}; the bytes were set aside: compare with the node's own archive");
        alarms.raise(Name::SpoolDamaged, &store.name, &text);
    }
}

/// How to reach a node.
///
/// # Errors
/// When its secret can't be read.
pub fn settings(node: &NodeConfig) -> Result<component::Settings, RunError> {
    let secret = node.secret.read().map_err(|error| RunError::Secret { node: node.name.clone(), why: error.to_string() })?;
    let tls = node.tls.then(|| component::TlsSettings { ca_file: node.tls_ca.clone(), server_name: node.tls_name.clone() });
    Ok(component::Settings {
        hosts: node.hosts.clone(),
        kind_openfire: node.kind == NodeKind::Openfire,
        tls,
        max_stanza_bytes: node.max_stanza.as_usize(),
        connect_timeout: node.connect_timeout,
        ping_interval: node.ping_interval,
        ping_timeout: node.ping_timeout,
        ..component::Settings::new(&node.name, &node.address, &node.domain, secret)
    })
}

/// What parsing and identity need to know of a node.
pub fn facts(node: &NodeConfig, canaries: &Canaries) -> Node {
    Node {
        name: node.name.clone(),
        domain: node.domain.clone(),
        same_as: node.same_as.clone(),
        hosts: node.hosts.iter().cloned().collect(),
        muc: node.muc.iter().cloned().collect(),
        trusted: node.trusted.iter().cloned().collect(),
        kind: match node.kind {
            NodeKind::Auto => Kind::Auto,
            NodeKind::Ejabberd => Kind::Ejabberd,
            NodeKind::Prosody => Kind::Prosody,
            NodeKind::Openfire => Kind::Openfire,
        },
        canaries: canaries.clone(),
        incoming_only: node.direction == Directions::Incoming,
    }
}

/// What is archived.
pub fn policy(config: &Config) -> Policy {
    Policy { receipts: config.archive.receipts, markers: config.archive.markers, chat_states: config.archive.chat_states }
}
