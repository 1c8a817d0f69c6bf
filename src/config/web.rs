//! Settings of the console for people: where it listens, how long sessions last, who vouches for people.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::SecretSource;
use super::operation::secret_entry;
use super::values::serialize_duration;
use crate::access::{Role, Roles};

/// The console.
#[derive(Clone, Debug, Serialize)]
pub struct WebConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether `run` serves it as well.
    pub with_run: bool,
    /// Whether that may be an address that other machines reach without TLS of its own, since a proxy before it has that.
    pub allow_remote: bool,
    /// PEM certificates of its own TLS, its own first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// The PEM key that belongs to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Where people reach it, without a slash at the end.
    pub public_url: String,
    /// The addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// The store that holds accounts, sessions, tokens and the audit trail; one of [`Config::stores`](super::Config::stores).
    pub store: String,
    /// The file with the key that secrets in that store are sealed with.
    pub key_file: PathBuf,
    /// The directory with the exports that are made in the console.
    pub exports: PathBuf,
    /// So many days after its end such an export is removed; 0: never.
    pub keep_exports_days: u64,
    /// Whether nothing that people wrote is shown to somebody who gives no reason.
    pub require_reason: bool,
    /// A session ends when it was not used for so long.
    #[serde(serialize_with = "serialize_duration")]
    pub session_idle: Duration,
    /// A session ends after so long.
    #[serde(serialize_with = "serialize_duration")]
    pub session_lifetime: Duration,
    /// The company's provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcConfig>,
}

impl WebConfig {
    /// Whether it speaks TLS itself.
    pub fn has_tls(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Whether browsers reach it over TLS, so that cookies may be `Secure`.
    pub fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

/// A provider of OpenID Connect.
#[derive(Clone, Debug, Serialize)]
pub struct OidcConfig {
    /// Its issuer URL, below which `.well-known/openid-configuration` lies.
    pub issuer: String,
    /// What this client is called there.
    pub client_id: String,
    /// What it shows there; without one, PKCE alone protects the code.
    #[serde(flatten, serialize_with = "client_secret")]
    pub client_secret: Option<SecretSource>,
    /// PEM certificates to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that names an account which is made.
    pub name_claim: String,
    /// Whether an account is made for somebody who has none.
    pub create: bool,
    /// The claim that lists what `roles` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles_claim: Option<String>,
    /// By how much the provider's clock may differ.
    #[serde(serialize_with = "serialize_duration")]
    pub clock_skew: Duration,
    /// For each role the values of that claim that give it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<&'static str, Vec<String>>,
}

impl OidcConfig {
    /// The roles that values of the claim give; none where roles are set in the account alone.
    pub fn roles_of(&self, values: &[String]) -> Option<Roles> {
        self.roles_claim.as_ref()?;
        let given = Role::ALL.into_iter().filter(|role| {
            let wanted = self.roles.get(role.word());
            wanted.is_some_and(|wanted| wanted.iter().any(|value| values.contains(value)))
        });
        Some(Roles::of(given))
    }
}

fn client_secret<S: Serializer>(secret: &Option<SecretSource>, serializer: S) -> Result<S::Ok, S::Error> {
    secret_entry(secret.as_ref(), ["client_secret", "client_secret_file", "client_secret_env"], serializer)
}
