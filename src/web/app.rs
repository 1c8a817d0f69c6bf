//! What all pages share: accounts, the stores, and the settings that they need.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::export_run::Exports;
use super::trouble::Trouble;
use crate::access::{Access, AccessError, Settings};
use crate::alarm::Alarms;
use crate::config::Config;
use crate::retrieve::Archive;
use crate::store::{Connection, Endpoint, StoreError};

/// Handed to every request. Clones share it.
#[derive(Clone)]
pub(super) struct App(Arc<Inner>);

/// What is shared.
pub(super) struct Inner {
    pub(super) access: Access,
    pub(super) config: Config,
    pub(super) exports: Exports,
    stores: BTreeMap<String, Store>,
}

struct Store {
    endpoint: Endpoint,
    pool: u32,
    archive: OnceCell<Archive>,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    pub(super) async fn open(config: &Config) -> Result<Self, AccessError> {
        let stores = config.stores.iter().map(|store| (store.name.clone(), Store::of(store))).collect();
        let settings = Settings::from_config(config, Alarms::default()).map_err(|error| AccessError::Broken(error.to_string()))?;
        let access = Access::open(settings)?;
        access.ready().await?;
        Ok(Self(Arc::new(Inner { access, config: config.clone(), exports: Exports::new(&config.web.exports), stores })))
    }
}

impl Store {
    fn of(config: &crate::config::StoreConfig) -> Self {
        Self { endpoint: Endpoint::from_config(config), pool: config.pool, archive: OnceCell::new() }
    }
}

impl Inner {
    /// The names of the stores, in the order of the configuration.
    pub(super) fn store_names(&self) -> impl Iterator<Item = &str> {
        self.config.stores.iter().map(|store| store.name.as_str())
    }

    /// The store that links lead to where nobody has chosen one.
    pub(super) fn first_store(&self) -> &str {
        self.store_names().next().unwrap_or_default()
    }

    /// A store, for reading. A store that was away is tried again by the next request.
    pub(super) async fn archive(&self, name: &str) -> Result<Archive, Trouble> {
        let store = self.stores.get(name).ok_or_else(|| Trouble::Missing(format!("There is no store “{name}”.")))?;
        let open = store.archive.get_or_try_init(|| Archive::open(&store.endpoint, store.pool));
        Ok(open.await?.clone())
    }

    /// Does something with a connection of its own to a store. SQLite blocks, so it is done on a thread for such work.
    pub(super) async fn with_store<T, W>(&self, name: &str, work: W) -> Result<T, Trouble>
    where
        T: Send + 'static,
        W: AsyncFnOnce(Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let store = self.stores.get(name).ok_or_else(|| Trouble::Missing(format!("There is no store “{name}”.")))?;
        let endpoint = store.endpoint.clone();
        let work = move || Handle::current().block_on(async { work(Connection::open(&endpoint).await?).await });
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Ok(done?),
            Err(error) => Err(Trouble::Broken(format!("a thread for the store {name}: {error}"))),
        }
    }

    /// Whether browsers reach the console over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.config.web.is_secure()
    }

    /// Whether an address is a proxy that is believed when it says for whom it asks.
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        self.config.web.trusted_proxies.contains(&address)
    }
}
