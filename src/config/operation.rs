//! Settings of what watches the archive: alarms, whom they are sent to, and the HTTP port.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::SecretSource;
use super::url::HIDDEN;
use super::values::{ByteSize, serialize_duration};

/// When alarms are raised, and whom they are sent to beside the log and `status`.
#[derive(Clone, Debug, Serialize)]
pub struct AlarmConfig {
    /// Where each change is sent by an HTTP POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// What that request carries as a bearer token.
    #[serde(flatten, serialize_with = "webhook_secret")]
    pub webhook_secret: Option<SecretSource>,
    /// PEM certificates that the webhook's server is checked with, in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_tls_ca: Option<PathBuf>,
    /// Operators who are sent an XMPP message.
    pub jids: Vec<String>,
    /// After this quiet time an alarm about what has merely happened is cleared.
    #[serde(serialize_with = "serialize_duration")]
    pub clear_after: Duration,
    /// So long a node may be without a session.
    #[serde(serialize_with = "serialize_duration")]
    pub node_down_after: Duration,
    /// Percent of the spool's limit: the first mark.
    pub spool_high: u64,
    /// Percent of the spool's limit: the second mark.
    pub spool_nearly_full: u64,
    /// So much must be free on the disks of the spool and of a SQLite archive.
    pub disk_low: ByteSize,
    /// So long a record may wait to be stored.
    #[serde(serialize_with = "serialize_duration")]
    pub lag_limit: Duration,
    /// So many days before its end a certificate is told of.
    pub certificate_days: u64,
    /// By so much the system's clock may differ from the time that has passed.
    #[serde(serialize_with = "serialize_duration")]
    pub clock_jump: Duration,
    /// Who is sent an e-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailConfig>,
}

/// How alarms are sent by e-mail.
#[derive(Clone, Debug, Serialize)]
pub struct EmailConfig {
    /// The mail server's host.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: EmailTls,
    /// PEM certificates to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// The account there; without one, no password is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its password.
    #[serde(flatten, serialize_with = "password")]
    pub password: Option<SecretSource>,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailTls {
    /// STARTTLS, which must succeed.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None; only to this machine itself.
    None,
}

impl EmailTls {
    /// The port that mail servers have for it.
    pub fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

/// The HTTP port: metrics and health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpConfig {
    /// Where it listens; nowhere, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Whether that may be an address that other machines reach.
    pub allow_remote: bool,
}

fn webhook_secret<S: Serializer>(secret: &Option<SecretSource>, serializer: S) -> Result<S::Ok, S::Error> {
    secret_entry(secret.as_ref(), ["webhook_secret", "webhook_secret_file", "webhook_secret_env"], serializer)
}

fn password<S: Serializer>(secret: &Option<SecretSource>, serializer: S) -> Result<S::Ok, S::Error> {
    secret_entry(secret.as_ref(), ["password", "password_file", "password_env"], serializer)
}

/// A secret under whichever of its three keys it was given by.
pub(super) fn secret_entry<S: Serializer>(
    secret: Option<&SecretSource>,
    keys: [&'static str; 3],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let [inline, file, variable] = keys;
    let mut map = serializer.serialize_map(None)?;
    match secret {
        None => {}
        Some(SecretSource::Inline(_)) => map.serialize_entry(inline, HIDDEN)?,
        Some(SecretSource::File(path)) => map.serialize_entry(file, path)?,
        Some(SecretSource::Env(name)) => map.serialize_entry(variable, name)?,
    }
    map.end()
}
