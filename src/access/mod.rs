//! Who may look at the archive: accounts, roles, scopes, sessions, tokens, and the audit trail.
//!
//! Pages, the API and the command line share this module, so that a limit holds on every path. A request becomes a [`Viewer`] by a
//! session's cookie ([`Access::session`]), by a token ([`Access::bearer`]), or at the machine itself ([`Viewer::console`]). Whatever reads messages asks the viewer for its
//! reach ([`Viewer::reach`]) and writes to the audit trail before it gives anything out ([`Access::reveal`]).
//!
//! [`role`] is the table of who may what, [`scope`] whose messages; neither does I/O. [`Access`] is the one way to the tables, which lie in a store of the configuration:
//! one thread with one connection, so that neither SQLite nor a slow server holds up the threads that answer requests.

pub mod account;
pub mod audit;
mod change;
mod crypt;
mod desk;
mod group;
mod keeping;
mod limit;
mod lockout;
pub mod oidc;
mod oidc_http;
pub mod password;
pub mod role;
pub mod scope;
pub mod session;
pub mod signin;
pub mod token;
mod totp;
pub mod viewer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use account::{Account, AccountChange, NewAccount, Recovery, TotpOffer};
pub use audit::{Action, AuditFilter, AuditRow, Event, Outcome};
pub use lockout::Lock;
pub use oidc::{OidcReturn, OidcStart};
pub use role::{Exclusion, Permission, Role, Roles};
pub use scope::{Groups, Limits, Reach, Scope};
pub use session::{Session, SessionInfo};
pub use signin::{Attempt, NewSession, SignIn, SignInError};
pub use token::{NewToken, Token};
pub use viewer::{Denied, Viewer, Way};

use tokio::sync::OnceCell;

use self::crypt::Key;
use self::desk::Desk;
use self::keeping::Keeper;
use self::limit::Gate;
use self::password::Hasher;
use crate::alarm::Alarms;
use crate::config::{Config, StoreChoiceError};
use crate::run::requests;
use crate::store::access::changing;
use crate::store::{Connection, Endpoint, StoreError};
use crate::time::Micros;

/// Tells the time; tests have their own.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// What this module needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The store that holds the tables.
    pub store: Endpoint,
    /// The file with the key that secrets in the tables are sealed with; made when it is not there.
    pub key_file: PathBuf,
    /// A session ends when it was not used for so long.
    pub session_idle: Duration,
    /// A session ends after so long, used or not.
    pub session_lifetime: Duration,
    /// Where people reach the console, without a slash at the end: `https://archive.example.com`.
    pub public_url: String,
    /// The company's provider, if there is one.
    pub oidc: Option<crate::config::OidcConfig>,
    /// Whom to tell when an account is locked.
    pub alarms: Alarms,
    /// Where the archiver takes requests that runs with the same configuration, if one does: it is told, too.
    pub requests: Option<PathBuf>,
    /// The time.
    pub clock: Clock,
}

impl Settings {
    /// The settings of a configuration.
    ///
    /// # Errors
    /// When it names a store that it does not have; reading it sees to that.
    pub fn from_config(config: &Config, alarms: Alarms) -> Result<Self, StoreChoiceError> {
        let web = &config.web;
        Ok(Self {
            store: Endpoint::from_config(config.store(Some(&web.store))?),
            key_file: web.key_file.clone(),
            session_idle: web.session_idle,
            session_lifetime: web.session_lifetime,
            public_url: web.public_url.clone(),
            oidc: web.oidc.clone(),
            alarms,
            requests: Some(requests::directory(&config.spool.path)),
            clock: Arc::new(crate::time::now),
        })
    }
}

/// Why something was not done, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It is not allowed.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What was given is wrong; the text is for whoever gave it.
    #[error("{0}")]
    Invalid(String),
    /// There is no such account, token or group.
    #[error("{0}")]
    Missing(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key file, random numbers, a thread: an operator must act.
    #[error("{0}")]
    Broken(String),
}

/// The one way to accounts, sessions, tokens, groups and the audit trail. Clones share it.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    desk: Desk,
    key: OnceCell<Key>,
    hasher: Hasher,
    gate: Gate,
    provider: oidc::Provider,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({})", self.inner.settings.store.name)
    }
}

impl Access {
    /// Makes ready to work with a store, which the first question contacts. Its tables must be those of this version then.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn open(settings: Settings) -> Result<Self, AccessError> {
        let desk = Desk::open(settings.store.clone())?;
        let hasher = Hasher::new()?;
        let provider = oidc::Provider::default();
        Ok(Self { inner: Arc::new(Inner { settings, desk, key: OnceCell::new(), hasher, gate: Gate::default(), provider }) })
    }

    /// Contacts the store and reads the key file, or makes it, so that what is wrong with them shows at the start.
    ///
    /// # Errors
    /// When the store can't be reached or is not migrated, or there is no usable key.
    pub async fn ready(&self) -> Result<(), AccessError> {
        self.key_of(Keeper::Console).await?;
        self.inner.hasher.warm().await?;
        self.ask(async |_| Ok(())).await
    }

    /// Whether the database itself refuses to change rows of the audit trail.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_audit_guarded(&self) -> Result<bool, AccessError> {
        self.ask(async |connection| Ok(crate::store::access::audit::is_guarded(connection).await)).await
    }

    async fn ask<T, W>(&self, work: W) -> Result<T, AccessError>
    where
        T: Send + 'static,
        W: AsyncFnOnce(&mut Connection) -> Result<T, AccessError> + Send + 'static,
    {
        self.inner.desk.ask(work).await
    }

    /// In a transaction that overlaps no other change of accounts.
    async fn change<T, W>(&self, work: W) -> Result<T, AccessError>
    where
        T: Send + 'static,
        W: AsyncFnOnce(&mut Connection) -> Result<T, AccessError> + Send + 'static,
    {
        self.ask(async move |connection| changing(connection, work).await).await
    }

    /// The time as this module sees it.
    pub fn now(&self) -> Micros {
        (self.inner.settings.clock)()
    }
}
