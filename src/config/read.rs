//! From the tree of values to the typed settings.

use std::path::PathBuf;

use config::{Map, Value};
use log::LevelFilter;

use super::mistake::Mistake;
use super::read_node::read_node;
use super::read_operation::{read_alarm, read_http};
use super::read_web::read_web;
use super::schedule::{ScheduleConfig, read_schedule};
use super::section::{Section, entry_text};
use super::{ArchiveConfig, Config, LogConfig, NodeConfig, RunConfig, SpoolConfig, StoreConfig, StoreUrl, WhenFull, checks, defaults, url};

/// The levels of the log.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

/// What can be done when the spool is full.
const WHEN_FULL: [(&str, WhenFull); 2] = [("pause", WhenFull::Pause), ("drop", WhenFull::Drop)];

/// What came of the tree.
pub(super) struct ReadTree {
    /// The settings, if each that must be there could be read.
    pub(super) config: Option<Config>,
    /// True if a secret stands in the file itself.
    pub(super) secret_in_file: bool,
}

/// What is learned while reading, beside the settings.
#[derive(Default)]
pub(super) struct Remarks {
    pub(super) secret_in_file: bool,
    pub(super) warnings: Vec<String>,
    pub(super) notices: Vec<String>,
}

/// Reads the whole tree. The settings hold only if no mistake was added.
pub(super) fn read(tree: Map<String, Value>, mistakes: &mut Vec<Mistake>) -> ReadTree {
    let mut remarks = Remarks::default();
    let mut root = Section::new(String::new(), tree, mistakes);
    let store_tables = root.tables("store", defaults::STORES);
    let export_tables = root.tables("export", defaults::EXPORTS);
    let node_tables = root.tables("node", defaults::NODES);
    let spool = read_spool(root.table("spool"));
    let archive = read_archive(root.table("archive"));
    let log = read_log(root.table("log"));
    let run = read_run(root.table("run"));
    let alarm = read_alarm(root.table("alarm"), &mut remarks);
    let http = read_http(root.table("http"));
    let known_stores = StoreNames::of(&store_tables);
    let web = read_web(root.table("web"), &known_stores.0, &mut remarks);
    root.finish();

    let stores: Vec<Option<StoreConfig>> =
        store_tables.into_iter().map(|(path, table)| read_store(Section::new(path, table, mistakes), &mut remarks)).collect();
    let nodes: Vec<Option<NodeConfig>> =
        node_tables.into_iter().map(|(path, table)| read_node(Section::new(path, table, mistakes), &known_stores, &mut remarks)).collect();
    let exports: Vec<Option<ScheduleConfig>> = export_tables
        .into_iter()
        .map(|(path, table)| read_schedule(Section::new(path, table, mistakes), &known_stores.0, &mut remarks))
        .collect();
    checks::check_exports(&exports, mistakes);
    checks::check_stores(&stores, mistakes);
    checks::check_nodes(&nodes, mistakes);
    checks::check_feeds(&nodes, mistakes);
    checks::check_spool(&spool, &nodes, mistakes);

    let config = both(stores, nodes).map(|(stores, nodes)| Config {
        stores,
        nodes,
        spool,
        archive,
        log,
        run,
        exports: exports.into_iter().flatten().collect(),
        alarm,
        http,
        web,
        file: None,
        warnings: remarks.warnings,
        notices: remarks.notices,
    });
    ReadTree { config, secret_in_file: remarks.secret_in_file }
}

type Read = (Vec<StoreConfig>, Vec<NodeConfig>);

fn both(stores: Vec<Option<StoreConfig>>, nodes: Vec<Option<NodeConfig>>) -> Option<Read> {
    let stores = stores.into_iter().collect::<Option<_>>()?;
    let nodes = nodes.into_iter().collect::<Option<_>>()?;
    Some((stores, nodes))
}

/// The names that nodes can write to, known before the stores are read, so that a mistake in a store is told once.
pub(super) struct StoreNames(pub(super) Vec<String>);

impl StoreNames {
    fn of(tables: &[(String, Map<String, Value>)]) -> Self {
        let name = |table: &Map<String, Value>| match table.get("name") {
            Some(name) => name.clone().into_string().unwrap_or_default(),
            None => defaults::STORE_NAME.to_owned(),
        };
        Self(tables.iter().map(|(_, table)| name(table)).collect())
    }
}

fn read_spool(mut section: Section<'_>) -> SpoolConfig {
    let spool = SpoolConfig {
        path: section.text("path").map_or_else(|| PathBuf::from(defaults::SPOOL_PATH), PathBuf::from),
        limit: section.size("limit", defaults::SPOOL_LIMIT),
        when_full: section.choice("when_full", &WHEN_FULL, WhenFull::Pause),
        commit_delay: section.duration("commit_delay", defaults::SPOOL_COMMIT_DELAY),
        segment: section.size("segment", defaults::SPOOL_SEGMENT),
    };
    section.finish();
    spool
}

fn read_archive(mut section: Section<'_>) -> ArchiveConfig {
    let archive = ArchiveConfig {
        receipts: section.truth("receipts", false),
        markers: section.truth("markers", false),
        chat_states: section.truth("chat_states", false),
        join_window: section.duration("join_window", defaults::ARCHIVE_JOIN_WINDOW),
    };
    section.finish();
    archive
}

fn read_log(mut section: Section<'_>) -> LogConfig {
    let level = section.choice("level", &LEVELS, LevelFilter::Info);
    section.finish();
    LogConfig { level }
}

fn read_run(mut section: Section<'_>) -> RunConfig {
    let run = RunConfig {
        status_interval: section.duration("status_interval", defaults::RUN_STATUS_INTERVAL),
        shutdown_timeout: section.duration("shutdown_timeout", defaults::RUN_SHUTDOWN_TIMEOUT),
    };
    section.finish();
    run
}

fn read_store(mut section: Section<'_>, remarks: &mut Remarks) -> Option<StoreConfig> {
    let name = store_name(&mut section);
    let url = store_url(&mut section, remarks);
    let tls_ca = section.text("tls_ca").map(PathBuf::from);
    if tls_ca.is_some() && matches!(url, Some(StoreUrl::Sqlite(_))) {
        let key = section.key("tls_ca");
        section.push(Mistake::at(key, "has no meaning for sqlite: leave it out"));
    }
    let pool = section.number("pool", defaults::STORE_POOL);
    let batch = section.number("batch_messages", defaults::STORE_BATCH_MESSAGES);
    let migrate = section.truth("migrate", true);
    let index = section.truth("index", true);
    let connect_timeout = section.duration("connect_timeout", defaults::STORE_CONNECT_TIMEOUT);
    let statement_timeout = section.duration("statement_timeout", defaults::STORE_STATEMENT_TIMEOUT);
    section.finish();
    Some(StoreConfig {
        name: name?,
        url: url?,
        pool: u32::try_from(pool).ok()?,
        connect_timeout,
        statement_timeout,
        tls_ca,
        batch_messages: usize::try_from(batch).ok()?,
        migrate,
        index,
    })
}

/// A store's name is also a directory's, so it is kept to what every file system takes.
fn store_name(section: &mut Section<'_>) -> Option<String> {
    plain_name(section, defaults::STORE_NAME)
}

/// A name of letters and digits that every file system takes.
pub(super) fn plain_name(section: &mut Section<'_>, default: &str) -> Option<String> {
    let Some(found) = section.take("name") else {
        return Some(default.to_owned());
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    match entry_text(&found) {
        Ok(name)
            if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed) && name.len() <= defaults::NAME_BYTES =>
        {
            Some(name.to_owned())
        }
        _ => {
            section.push(found.mistake("must be a name of a-z, 0-9, \"-\", \"_\" and \".\", beginning with a letter or digit"));
            None
        }
    }
}

fn store_url(section: &mut Section<'_>, remarks: &mut Remarks) -> Option<StoreUrl> {
    let known = section.has("url");
    let Some((text, from_environment)) = section.hidden_text("url") else {
        if !known {
            let key = section.key("url");
            section.push(Mistake::at(key, "missing; must be a URL such as sqlite:archive.sqlite"));
        }
        return None;
    };
    match StoreUrl::parse(&text) {
        Ok(url) => {
            remarks.secret_in_file |= url.holds_password() && !from_environment;
            Some(url)
        }
        Err(right) => {
            let mut mistake = Mistake::at(section.key("url"), right);
            mistake.from_environment = from_environment;
            section.push(mistake.with_text(&url::repeatable(&text)));
            None
        }
    }
}
