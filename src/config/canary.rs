//! Settings of a node's canary (`[node.canary]`): an account that writes probe messages, and how it logs in.

use std::path::PathBuf;
use std::time::Duration;

use jid::BareJid;
use serde::{Serialize, Serializer};

use super::mistake::Mistake;
use super::operation::secret_entry;
use super::read::Remarks;
use super::read_node::host_and_port;
use super::read_operation::{is_this_machine, optional_secret, require};
use super::section::{Section, entry_text};
use super::values::serialize_duration;
use super::{SecretSource, defaults};
use crate::message::address::Address;

/// The keys by which the password is given.
const PASSWORD: [&str; 3] = ["password", "password_file", "password_env"];
/// How the connection can be protected.
const TLS: [(&str, CanaryTls); 3] = [("starttls", CanaryTls::Starttls), ("tls", CanaryTls::Tls), ("none", CanaryTls::None)];
const ACCOUNT: &str = "must be the JID of an account, such as canary@example.com, without a resource";

/// An account that writes probe messages.
#[derive(Clone, Debug, Serialize)]
pub struct CanaryConfig {
    /// The account's bare JID.
    pub jid: String,
    /// Its password.
    #[serde(flatten, serialize_with = "password")]
    pub password: SecretSource,
    /// To whom it writes; to itself, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The node's port for clients, `host:port`.
    pub address: String,
    /// How the connection is protected.
    pub tls: CanaryTls,
    /// PEM certificates to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// The name in the server's certificate, where it isn't the account's domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_name: Option<String>,
    /// How often it writes.
    #[serde(serialize_with = "serialize_duration")]
    pub every: Duration,
    /// How long a probe may take to come back.
    #[serde(serialize_with = "serialize_duration")]
    pub timeout: Duration,
}

impl CanaryConfig {
    /// The bare JID that is written to.
    pub fn to(&self) -> &str {
        self.to.as_deref().unwrap_or(&self.jid)
    }

    /// The account's domain.
    pub fn domain(&self) -> &str {
        self.jid.rsplit_once('@').map_or(self.jid.as_str(), |(_, domain)| domain)
    }

    /// The key by which the password is given.
    pub fn password_key(&self) -> &'static str {
        let [inline, file, variable] = PASSWORD;
        match self.password {
            SecretSource::Inline(_) => inline,
            SecretSource::File(_) => file,
            SecretSource::Env(_) => variable,
        }
    }
}

/// How the connection to a node's port for clients is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CanaryTls {
    /// STARTTLS (RFC 6120 section 5), which must succeed.
    Starttls,
    /// TLS from the first byte (XEP-0368).
    Tls,
    /// None; only to this machine itself.
    None,
}

impl CanaryTls {
    /// The port that servers have for it.
    fn port(self) -> u16 {
        match self {
            Self::Starttls | Self::None => 5222,
            Self::Tls => 5223,
        }
    }
}

/// What is known of the node, as far as it could be read.
pub(super) struct CanaryPlace<'n> {
    pub(super) hosts: Option<&'n [String]>,
    pub(super) node_address: Option<&'n str>,
}

/// An empty table is no canary; one in which anything stands must be complete.
pub(super) fn read_canary(mut section: Section<'_>, place: CanaryPlace<'_>, remarks: &mut Remarks) -> Option<CanaryConfig> {
    let is_wanted = !section.is_empty();
    let jid = account(&mut section, "jid");
    let to = account(&mut section, "to");
    let password = optional_secret(&mut section, PASSWORD, remarks);
    let tls = section.choice("tls", &TLS, CanaryTls::Starttls);
    let address = address(&mut section, tls, place.node_address);
    let tls_ca = section.text("tls_ca").map(PathBuf::from);
    let tls_name = section.text("tls_name");
    let every = section.duration("every", defaults::CANARY_EVERY);
    let timeout = section.duration("timeout", defaults::CANARY_TIMEOUT);
    if is_wanted {
        require(&mut section, "jid", jid.is_some(), ACCOUNT);
        require(&mut section, "password", password.is_some(), "must be exactly one of password, password_file and password_env");
        check_domain(&mut section, jid.as_deref(), place.hosts);
        check_protection(&mut section, tls, address.as_deref(), tls_ca.is_some() || tls_name.is_some());
        if timeout > every {
            let key = section.key("timeout");
            section.push(Mistake::at(
                key,
                format!("is {} s; must not be longer than every, {} s", timeout.as_secs_f64(), every.as_secs_f64()),
            ));
        }
    }
    section.finish();
    Some(CanaryConfig { jid: jid?, password: password?, to, address: address?, tls, tls_ca, tls_name, every, timeout })
}

/// The JID of an account, normalised.
fn account(section: &mut Section<'_>, name: &'static str) -> Option<String> {
    let found = section.take(name)?;
    match entry_text(&found).map(BareJid::new) {
        // Compared with what comes from the node, so in the spelling that all domains have here.
        Ok(Ok(jid)) if jid.node().is_some() => Some(Address::parse(jid.as_str()).bare),
        _ => {
            section.push(found.mistake(ACCOUNT));
            None
        }
    }
}

/// Where clients log in; on the host of the component port, if nothing is said.
fn address(section: &mut Section<'_>, tls: CanaryTls, node_address: Option<&str>) -> Option<String> {
    let Some(found) = section.take("address") else {
        let host = node_address?.rsplit_once(':')?.0;
        return Some(format!("{host}:{}", tls.port()));
    };
    let address = entry_text(&found).ok().and_then(host_and_port);
    if address.is_none() {
        section.push(found.mistake("must be the node's port for clients as host:port, such as 127.0.0.1:5222"));
    }
    address
}

fn check_domain(section: &mut Section<'_>, jid: Option<&str>, hosts: Option<&[String]>) {
    let (Some(jid), Some(hosts)) = (jid, hosts) else { return };
    let domain = jid.rsplit_once('@').map_or(jid, |(_, domain)| domain);
    if !hosts.iter().any(|host| host == domain) {
        let key = section.key("jid");
        section.push(Mistake::at(key, "is no user of this node: its domain must stand in hosts").with_text(jid));
    }
}

fn check_protection(section: &mut Section<'_>, tls: CanaryTls, address: Option<&str>, is_described: bool) {
    if tls != CanaryTls::None {
        return;
    }
    let key = section.key("tls");
    if is_described {
        section.push(Mistake::at(&key, "is none, with which tls_ca and tls_name have no meaning"));
    }
    let host = address.and_then(|address| address.rsplit_once(':')).map(|(host, _)| host);
    if let Some(host) = host.filter(|host| !is_this_machine(host)) {
        section.push(Mistake::at(key, format!("is none, which only a server on this machine may have, and {host} is not localhost")));
    }
}

fn password<S: Serializer>(secret: &SecretSource, serializer: S) -> Result<S::Ok, S::Error> {
    secret_entry(Some(secret), PASSWORD, serializer)
}
