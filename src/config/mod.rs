//! The configuration: typed settings with named defaults, and every mistake reported at once.
//!
//! A TOML file and the environment are read through the `config` crate into one tree of values (`load`, `environment`). The tree is
//! then read key by key into the types below (`section`, `read`), which gathers all mistakes, unknown keys among them, and
//! says what would be right. Defaults and limits have their names in [`defaults`]. Secrets lie in [`SecretString`](secrecy::SecretString)s and never
//! appear in a mistake, in `Debug`, or in what [`Config::effective_toml`] shows.

pub mod canary;
mod checks;
pub mod defaults;
pub mod domain;
mod environment;
mod load;
mod mistake;
mod operation;
mod read;
mod read_node;
mod read_operation;
mod read_web;
mod schedule;
mod secret;
mod section;
#[cfg(test)]
mod tests;
mod url;
mod values;
mod web;

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::Serialize;

pub use canary::{CanaryConfig, CanaryTls};
pub use load::SEARCHED_FILES;
pub use mistake::{ConfigErrors, Mistake};
pub use operation::{AlarmConfig, EmailConfig, EmailTls, HttpConfig};
pub use schedule::ScheduleConfig;
pub use secret::{SecretError, SecretSource};
pub use url::StoreUrl;
pub use values::ByteSize;
use values::serialize_duration;
pub use web::{OidcConfig, WebConfig};

/// All settings.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The databases, at least one.
    #[serde(rename = "store")]
    pub stores: Vec<StoreConfig>,
    /// The nodes to attach to; none is enough for commands that only read.
    #[serde(rename = "node")]
    pub nodes: Vec<NodeConfig>,
    /// What is received is durable here before it is stored.
    pub spool: SpoolConfig,
    /// What is archived.
    pub archive: ArchiveConfig,
    /// The program's own log.
    pub log: LogConfig,
    /// How `run` behaves as a process.
    pub run: RunConfig,
    /// Exports by the clock.
    #[serde(rename = "export", skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ScheduleConfig>,
    /// When alarms are raised, and whom they are sent to.
    pub alarm: AlarmConfig,
    /// The HTTP port.
    pub http: HttpConfig,
    /// The console for people, and who may see what in it.
    pub web: WebConfig,
    /// The file that was read, if one was.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// What is no mistake but should be mended, for the log at level `warn`.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// What was assumed where nothing was said, for the log at level `info`.
    #[serde(skip)]
    pub notices: Vec<String>,
}

/// One database.
#[derive(Clone, Debug, Serialize)]
pub struct StoreConfig {
    /// What nodes and commands call it; also the name of its spool directory.
    pub name: String,
    /// Where it is.
    pub url: StoreUrl,
    /// Connections kept open.
    pub pool: u32,
    /// How long connecting may take.
    #[serde(serialize_with = "serialize_duration")]
    pub connect_timeout: Duration,
    /// How long one statement may take.
    #[serde(serialize_with = "serialize_duration")]
    pub statement_timeout: Duration,
    /// PEM certificates to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// Spool records that one transaction writes at most.
    pub batch_messages: usize,
    /// Whether `run` runs pending migrations when it first reaches the database.
    pub migrate: bool,
    /// Whether `run` keeps the index for searches up to date; else `index build` does.
    pub index: bool,
}

/// One IM node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeConfig {
    /// What the log and the archive call it.
    pub name: String,
    /// Its component port, `host:port`.
    pub address: String,
    /// The domain that this component has there, normalised like all domains here ([`domain::normalise`]).
    pub domain: String,
    /// The secret shared with the node.
    #[serde(flatten)]
    pub secret: SecretSource,
    /// The domains of its users, at least one.
    pub hosts: Vec<String>,
    /// The domains of its rooms.
    pub muc: Vec<String>,
    /// The domains whose mirror wrappers are accepted: the hosts and any others configured.
    pub trusted: Vec<String>,
    /// The name of the store that it writes to; one of [`Config::stores`].
    pub store: String,
    /// The name of the node entry, here or in another archiver's configuration, that is attached to the same node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    /// What software it runs.
    pub kind: NodeKind,
    /// Which messages are kept.
    pub direction: Directions,
    /// The largest stanza that is read.
    pub max_stanza: ByteSize,
    /// How long connecting may take, the handshake included.
    #[serde(serialize_with = "serialize_duration")]
    pub connect_timeout: Duration,
    /// How long the node may be silent before it is pinged.
    #[serde(serialize_with = "serialize_duration")]
    pub ping_interval: Duration,
    /// How long the answer to a ping may take.
    #[serde(serialize_with = "serialize_duration")]
    pub ping_timeout: Duration,
    /// Whether the port speaks TLS from the first byte.
    pub tls: bool,
    /// PEM certificates to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// The name in the node's certificate, where it isn't the host of `address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_name: Option<String>,
    /// Who writes probe messages there, if anybody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryConfig>,
}

/// The software of a node, which decides how it is made to mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// Found out from what the node says of itself.
    Auto,
    /// ejabberd.
    Ejabberd,
    /// Prosody.
    Prosody,
    /// Openfire: its mirror is subscribed to on every connect.
    Openfire,
}

/// Which messages of a node are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Directions {
    /// All.
    Both,
    /// Those that reach the node's users.
    Incoming,
}

/// The spool.
#[derive(Clone, Debug, Serialize)]
pub struct SpoolConfig {
    /// Its directory, with one directory a store in it.
    pub path: PathBuf,
    /// The disk that the spool of one store may fill.
    pub limit: ByteSize,
    /// What happens then.
    pub when_full: WhenFull,
    /// How long a stanza may wait for others that are made durable with it.
    #[serde(serialize_with = "serialize_duration")]
    pub commit_delay: Duration,
    /// The size of one file of it.
    pub segment: ByteSize,
}

/// What happens when the spool is at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The node is not read until there is room.
    Pause,
    /// What arrives is dropped, counted and alarmed.
    Drop,
}

/// What is archived.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveConfig {
    /// Delivery receipts (XEP-0184).
    pub receipts: bool,
    /// Read markers (XEP-0333).
    pub markers: bool,
    /// "Is typing" and the like (XEP-0085).
    pub chat_states: bool,
    /// How long the copies of one message may be apart on one node.
    #[serde(serialize_with = "serialize_duration")]
    pub join_window: Duration,
}

/// The program's own log.
#[derive(Clone, Debug, Serialize)]
pub struct LogConfig {
    /// The least severe level that is written.
    #[serde(serialize_with = "serialize_level")]
    pub level: LevelFilter,
}

/// How `run` behaves as a process.
#[derive(Clone, Debug, Serialize)]
pub struct RunConfig {
    /// How often it renews what `status` shows.
    #[serde(serialize_with = "serialize_duration")]
    pub status_interval: Duration,
    /// How long an orderly stop may take.
    #[serde(serialize_with = "serialize_duration")]
    pub shutdown_timeout: Duration,
}

impl Config {
    /// The settings as TOML, secrets hidden: what is in force after the file, the environment and the defaults.
    pub fn effective_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The store of a name; without a name, the only one.
    pub fn store(&self, name: Option<&str>) -> Result<&StoreConfig, StoreChoiceError> {
        match (name, self.stores.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(StoreChoiceError::Several(self.store_names())),
            (Some(name), stores) => {
                stores.iter().find(|store| store.name == name).ok_or_else(|| StoreChoiceError::Unknown(name.to_owned(), self.store_names()))
            }
        }
    }

    /// For commands that attach to nodes: there is one, and each secret can be read.
    pub fn require_nodes(&self) -> Result<(), ConfigErrors> {
        let mut mistakes: Vec<Mistake> = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| {
                let error = node.secret.read().err()?;
                let key = format!("node.{index}.{}", node.secret.key());
                Some(Mistake::at(key, error.to_string()))
            })
            .collect();
        mistakes.extend(self.unreadable_canary_passwords());
        mistakes.extend(self.unreadable_alarm_secrets());
        mistakes.extend(self.unreadable_export_passwords());
        if self.nodes.is_empty() {
            let mut right = "missing; this command needs at least one [[node]]".to_owned();
            if self.file.is_none() {
                let searched = SEARCHED_FILES.join(" nor ");
                right.push_str(&format!(", and there is neither --config nor {searched}"));
            }
            mistakes.push(Mistake::at("node", right));
        }
        match mistakes.is_empty() {
            true => Ok(()),
            false => Err(ConfigErrors { file: self.file.clone(), mistakes }),
        }
    }

    /// The passwords of those who write probes.
    fn unreadable_canary_passwords(&self) -> impl Iterator<Item = Mistake> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let canary = node.canary.as_ref()?;
            Some(Mistake::at(format!("node.{index}.canary.{}", canary.password_key()), canary.password.read().err()?.to_string()))
        })
    }

    /// The secrets that alarms need on their way.
    fn unreadable_alarm_secrets(&self) -> impl Iterator<Item = Mistake> {
        let email = self.alarm.email.as_ref().and_then(|email| email.password.as_ref());
        let secrets = [("alarm.webhook_secret", self.alarm.webhook_secret.as_ref()), ("alarm.email.password", email)];
        secrets.into_iter().filter_map(|(key, secret)| {
            let secret = secret?;
            Some(Mistake::at(format!("{key}{}", secret.key().trim_start_matches("secret")), secret.read().err()?.to_string()))
        })
    }

    /// The passwords for the mail servers of exports.
    fn unreadable_export_passwords(&self) -> impl Iterator<Item = Mistake> {
        self.exports.iter().enumerate().filter_map(|(index, export)| {
            let password = export.mail.as_ref()?.password.as_ref()?;
            Some(Mistake::at(format!("export.{index}.mail.password"), password.read().err()?.to_string()))
        })
    }

    fn store_names(&self) -> String {
        let names: Vec<&str> = self.stores.iter().map(|store| store.name.as_str()).collect();
        names.join(", ")
    }
}

impl NodeConfig {
    /// The name that the node's certificate must hold.
    pub fn tls_server_name(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let unbracketed = host.trim_start_matches('[').trim_end_matches(']');
        self.tls_name.as_deref().unwrap_or(unbracketed)
    }
}

impl SpoolConfig {
    /// The directory of one store's spool.
    pub fn directory(&self, store: &StoreConfig) -> PathBuf {
        self.path.join(&store.name)
    }
}

/// Why `--store` names no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreChoiceError {
    /// None was named, and there are several.
    #[error("there are several stores: say --store with one of {0}")]
    Several(String),
    /// There is none of this name.
    #[error("there is no store \"{0}\"; configured are {1}")]
    Unknown(String, String),
}

fn serialize_level<S: serde::Serializer>(level: &LevelFilter, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&level.as_str().to_lowercase())
}
