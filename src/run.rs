//! The daemon: everything started in the order in which a message walks, and stopped in the same order.

mod gaps;
mod life;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::alarm::{Alarms, Name};
use crate::component;
use crate::config::{Config, Directions, NodeConfig, NodeKind, StoreConfig, WhenFull};
use crate::intake::NodeIntake;
use crate::intake::link::Link;
use crate::node::{Kind, Node};
use crate::pipeline::{self, drain::Pipeline};
use crate::policy::Policy;
use crate::spool::{self, Appender, Spool, SpoolError};
use crate::stats::{NodeStats, StoreStats};
use crate::store::Endpoint;
use crate::time::Micros;

pub use status::{FILE as STATUS_FILE, Snapshot};

/// Why the daemon could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A spool can't be opened.
    #[error("store {store}: the spool {path} can't be opened: {error}")]
    Spool {
        /// The store whose spool it is.
        store: String,
        /// Where it is.
        path: String,
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

/// One store with its spool.
struct OpenStore {
    appender: Appender,
    stats: Arc<StoreStats>,
    pipeline: Pipeline,
}

/// One node with its session.
struct OpenNode {
    facts: Arc<Node>,
    stats: Arc<NodeStats>,
    status: component::Status,
    intake: Arc<NodeIntake>,
    account: JoinHandle<()>,
    session: JoinHandle<()>,
}

/// Runs until `stop` says true: sessions are closed first, then what was received is made durable and stored as far as the stores answer.
///
/// # Errors
/// When something that it needs can't be had at the start.
pub async fn run(config: &Config, mut stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let alarms = Alarms::default();
    let (stop_sessions, sessions_stopped) = watch::channel(false);
    let (stop_pipelines, pipelines_stopped) = watch::channel(false);
    let mut stores = BTreeMap::new();
    for store in config.stores.iter().filter(|store| config.nodes.iter().any(|node| node.store == store.name)) {
        stores.insert(store.name.clone(), open_store(config, store, &alarms, pipelines_stopped.clone())?);
    }
    let mut nodes = Vec::new();
    let life = life::Keeper::start(&config.spool.path, config.run.status_interval);
    for node in &config.nodes {
        if let Some(store) = stores.get(&node.store) {
            let link = life.link(&node.name, store.appender.clone());
            nodes.push(attach(config, node, store.appender.clone(), &alarms, link, sessions_stopped.clone())?);
        }
    }
    let gaps = gaps::Watch::new(config, &stores, &alarms);
    let reporter = status::Reporter::new(config, &nodes, &stores, alarms.clone(), gaps.clone());
    let watching = tokio::spawn(reporter.clone().keep_writing(config.run.status_interval));
    let watching_gaps = tokio::spawn(gaps.keep_looking());
    // What it gives holds a lock on the channel, and a sender that went away means stop, too.
    drop(stop.wait_for(|stop| *stop).await);
    log::info!("stopping: closing the sessions");
    nodes.iter().for_each(|node| node.intake.link().stopping());
    let _nobody_listens = stop_sessions.send(true);
    for node in nodes {
        if tokio::time::timeout(config.run.shutdown_timeout, node.session).await.is_err() {
            log::warn!("node {}: the session did not close in time", node.facts.name);
        }
        node.account.abort();
        if tokio::time::timeout(ACCOUNT_PATIENCE, node.intake.finish_account()).await.is_err() {
            log::warn!("node {}: what was counted last could not be written: the spool is full", node.facts.name);
        }
    }
    log::info!("stopping: storing what was received");
    let _nobody_listens = stop_pipelines.send(true);
    close_stores(stores, config.run.shutdown_timeout).await;
    watching.abort();
    watching_gaps.abort();
    life.finish().await;
    reporter.write_stopped();
    log::info!("stopped");
    Ok(())
}

async fn close_stores(stores: BTreeMap<String, OpenStore>, patience: Duration) {
    for (name, store) in stores {
        let joined = tokio::task::spawn_blocking(move || store.pipeline.join());
        if tokio::time::timeout(patience, joined).await.is_err() {
            log::warn!("store {name}: not everything could be stored in time; it stays in the spool for the next start");
        }
        if store.appender.close().await.is_err() {
            log::error!("store {name}: the last records could not be made durable");
        }
    }
}

fn open_store(config: &Config, store: &StoreConfig, alarms: &Alarms, stop: watch::Receiver<bool>) -> Result<OpenStore, RunError> {
    let dir = config.spool.directory(store);
    let options = spool::Options {
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
    };
    let failed = |error| RunError::Spool { store: store.name.clone(), path: dir.display().to_string(), error };
    let (appender, reader, recovered) = Spool::open(&dir, options).map_err(failed)?;
    tell(&recovered, store, alarms);
    let stats = Arc::new(StoreStats::default());
    let settings = pipeline::Settings {
        endpoint: Endpoint::from_config(store),
        migrates: store.migrate,
        nodes: config.nodes.iter().filter(|node| node.store == store.name).map(|node| Arc::new(facts(node))).collect(),
        policy: policy(config),
        join_window: config.archive.join_window.as_micros() as Micros,
        batch_records: store.batch_messages,
        quarantine_dir: dir.join("quarantine"),
        damage: recovered.damaged.clone(),
        stats: stats.clone(),
        alarms: alarms.clone(),
    };
    let pipeline = Pipeline::start(settings, reader, recovered.spool_id, appender.clone(), Handle::current(), stop)?;
    Ok(OpenStore { appender, stats, pipeline })
}

/// How long the last counts may wait for a spool that is full.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(2);

/// Records in memory that wait for the disk; a burst beyond it waits in the socket.
const SPOOL_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// A record is the stanza and a few bytes more.
fn max_record_bytes(config: &Config) -> usize {
    let largest = config.nodes.iter().map(|node| node.max_stanza.as_usize()).max().unwrap_or_default();
    largest + 64 * 1024
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

fn attach(
    config: &Config,
    node: &NodeConfig,
    spool: Appender,
    alarms: &Alarms,
    link: Arc<Link>,
    stop: watch::Receiver<bool>,
) -> Result<OpenNode, RunError> {
    let facts = Arc::new(facts(node));
    let stats = Arc::new(NodeStats::default());
    let status = component::Status::new();
    let intake = Arc::new(NodeIntake::new(facts.clone(), spool, stats.clone(), alarms.clone(), link));
    let asked = node.kind != NodeKind::Openfire;
    let settings = component::Settings { module_interval: asked.then_some(config.run.status_interval), ..settings(node)? };
    let session = tokio::spawn(component::run(settings, intake.clone(), status.clone(), stop));
    let account = tokio::spawn({
        let intake = intake.clone();
        async move { intake.keep_account().await }
    });
    Ok(OpenNode { facts, stats, status, intake, account, session })
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
pub fn facts(node: &NodeConfig) -> Node {
    Node {
        name: node.name.clone(),
        domain: node.domain.clone(),
        hosts: node.hosts.iter().cloned().collect(),
        muc: node.muc.iter().cloned().collect(),
        trusted: node.trusted.iter().cloned().collect(),
        kind: match node.kind {
            NodeKind::Auto => Kind::Auto,
            NodeKind::Ejabberd => Kind::Ejabberd,
            NodeKind::Prosody => Kind::Prosody,
            NodeKind::Openfire => Kind::Openfire,
        },
        incoming_only: node.direction == Directions::Incoming,
    }
}

/// What is archived.
pub fn policy(config: &Config) -> Policy {
    Policy { receipts: config.archive.receipts, markers: config.archive.markers, chat_states: config.archive.chat_states }
}
