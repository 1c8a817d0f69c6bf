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
pub mod oidc;
pub mod role;
pub mod scope;
pub mod session;
pub mod signin;
pub mod token;
pub mod viewer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use account::{Account, AccountChange, NewAccount, Recovery, TotpOffer};
pub use audit::{Action, AuditFilter, AuditRow, Event, Outcome};
pub use oidc::{OidcReturn, OidcStart};
pub use role::{Exclusion, Permission, Role, Roles};
pub use scope::{Groups, Limits, Reach, Scope};
pub use session::{Session, SessionInfo};
pub use signin::{Attempt, NewSession, SignIn, SignInError};
pub use token::{NewToken, Token};
pub use viewer::{Denied, Viewer, Way};

use crate::store::{Endpoint, StoreError};
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
    /// The time.
    pub clock: Clock,
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

impl AccessError {
    fn unready() -> Self {
        Self::Broken("not made yet".to_owned())
    }
}

/// The one way to accounts, sessions, tokens, groups and the audit trail. Clones share it.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({})", self.inner.settings.store.name)
    }
}

impl Access {
    /// Opens the store, whose tables must be those of this version, and reads the key file.
    ///
    /// # Errors
    /// When the store can't be reached or is not migrated, or when there is no usable key.
    pub async fn open(settings: Settings) -> Result<Self, AccessError> {
        Ok(Self { inner: Arc::new(Inner { settings }) })
    }

    /// The time as this module sees it.
    pub fn now(&self) -> Micros {
        (self.inner.settings.clock)()
    }
}
