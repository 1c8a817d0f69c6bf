//! Accounts in a store of a test's own, with a clock that the test sets.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use xmpp_archiver::access::{
    Access, Attempt, AuditFilter, AuditRow, NewAccount, NewSession, Role, Roles, Settings, SignIn, SignInError, Viewer,
};
use xmpp_archiver::alarm::Alarms;
use xmpp_archiver::config::OidcConfig;
use xmpp_archiver::store::{Connection, migrations};
use xmpp_archiver::time::{Micros, SECOND};

use crate::support::archiver::{Store, StoreKind};
use crate::support::process::Directory;

/// Long enough, and nobody's name.
pub(super) const PASSWORD: &str = "horse staple cable";
pub(super) const STORES: [StoreKind; 3] = [StoreKind::Sqlite, StoreKind::Postgres, StoreKind::MariaDb];
/// When the tests begin: 2100, later than the row that the database stamped itself when the tables were made.
const BEGIN: Micros = 4_102_444_800_000_000;

pub(super) struct Stage {
    pub(super) access: Access,
    pub(super) alarms: Alarms,
    pub(super) store: Store,
    pub(super) console: Viewer,
    clock: Arc<AtomicI64>,
    directory: Directory,
}

impl Stage {
    pub(super) async fn new(kind: StoreKind) -> Stage {
        Stage::with_provider(kind, None).await
    }

    pub(super) async fn with_provider(kind: StoreKind, oidc: Option<OidcConfig>) -> Stage {
        let directory = Directory::new(None);
        let store = Store::new(kind, &directory);
        let mut connection = Connection::open(&store.endpoint()).await.expect("a connection");
        migrations::up(&mut connection, None).await.expect("tables");
        let (clock, alarms) = (Arc::new(AtomicI64::new(BEGIN)), Alarms::default());
        let access = Access::open(settings(&store, &directory, &clock, &alarms, oidc)).expect("access");
        access.ready().await.expect("a store and a key");
        Stage { access, alarms, store, console: Viewer::console("tester"), clock, directory }
    }

    /// The same store, as another process has it.
    pub(super) fn another(&self) -> Access {
        Access::open(settings(&self.store, &self.directory, &self.clock, &self.alarms, None)).expect("access")
    }

    /// The same store, as somebody has it who works in another directory.
    pub(super) fn elsewhere(&self, directory: &str) -> Access {
        let own = settings(&self.store, &self.directory, &self.clock, &self.alarms, None);
        Access::open(Settings { key_file: self.key_file(directory), ..own }).expect("access")
    }

    /// Where the key is in another directory.
    pub(super) fn key_file(&self, directory: &str) -> PathBuf {
        self.directory.path().join(directory).join("access.key")
    }

    pub(super) fn now(&self) -> Micros {
        self.clock.load(Ordering::Relaxed)
    }

    pub(super) fn wait(&self, seconds: i64) {
        self.clock.fetch_add(seconds * SECOND, Ordering::Relaxed);
    }

    pub(super) async fn account(&self, name: &str, roles: &[Role]) {
        let account = NewAccount {
            name: name.to_owned(),
            roles: Roles::of(roles.iter().copied()),
            password: Some(PASSWORD.to_owned().into()),
            ..NewAccount::default()
        };
        self.access.add_account(&self.console, account, None).await.expect("an account");
    }

    pub(super) async fn try_sign_in(&self, name: &str, password: &str) -> Result<SignIn, SignInError> {
        self.access.sign_in(attempt(name, password, "192.0.2.1", None)).await
    }

    pub(super) async fn sign_in(&self, name: &str) -> NewSession {
        match self.try_sign_in(name, PASSWORD).await.expect("a right password") {
            SignIn::Done(session) => session,
            SignIn::CodeWanted(_) => panic!("{name} has a second factor"),
        }
    }

    pub(super) async fn viewer(&self, name: &str) -> Viewer {
        self.sign_in(name).await.session.viewer
    }

    /// The audit trail, the oldest row first.
    pub(super) async fn audit(&self) -> Vec<AuditRow> {
        let filter = AuditFilter { oldest_first: true, ..AuditFilter::default() };
        self.access.audit(&self.console, &filter).await.expect("the audit trail")
    }

    /// Action, actor and outcome of the newest rows, the newest last.
    pub(super) async fn newest(&self, count: usize) -> Vec<String> {
        let rows = self.audit().await;
        let shown = |row: &AuditRow| format!("{} {} {}", row.action, row.actor, row.outcome.expect("an outcome").word());
        rows[rows.len() - count..].iter().map(shown).collect()
    }
}

fn settings(store: &Store, directory: &Directory, clock: &Arc<AtomicI64>, alarms: &Alarms, oidc: Option<OidcConfig>) -> Settings {
    let clock = Arc::clone(clock);
    Settings {
        store: store.endpoint(),
        key_file: directory.path().join("access.key"),
        session_idle: Duration::from_secs(900),
        session_lifetime: Duration::from_secs(36_000),
        public_url: "https://archive.example.com".to_owned(),
        oidc,
        alarms: alarms.clone(),
        requests: None,
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
    }
}

pub(super) fn attempt(name: &str, password: &str, address: &str, previous: Option<&SecretString>) -> Attempt {
    Attempt {
        name: name.to_owned(),
        password: password.to_owned().into(),
        address: address.parse().expect("an address"),
        previous: previous.map(|cookie| cookie.expose_secret().to_owned()),
    }
}

pub(super) fn address() -> Option<IpAddr> {
    "192.0.2.1".parse().ok()
}

/// Does the same on each database.
pub(super) fn on_each(work: impl AsyncFn(Stage)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for kind in STORES {
        eprintln!("on {kind:?}");
        runtime.block_on(async { work(Stage::new(kind).await).await });
    }
}
