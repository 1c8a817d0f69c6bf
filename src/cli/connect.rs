//! How commands reach the stores that the configuration names.

use super::Failure;
use crate::config::{Config, StoreConfig, StoreUrl};
use crate::store::{Connection, Endpoint, StoreError};

/// Runs a command's asynchronous part to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Runtime(format!("can't start: {error}")))?.block_on(work)
}

/// The store of that name, or all of them.
pub(crate) fn stores<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a StoreConfig>, Failure> {
    match name {
        Some(_) => Ok(vec![config.store(name)?]),
        None => Ok(config.stores.iter().collect()),
    }
}

/// True if the store is a file that nothing has made yet. To open it would make it.
pub(crate) fn is_absent(store: &StoreConfig) -> bool {
    matches!(&store.url, StoreUrl::Sqlite(path) if !path.exists())
}

/// Connects to a store.
pub(crate) async fn open(store: &StoreConfig) -> Result<Connection, Failure> {
    Connection::open(&Endpoint::from_config(store)).await.map_err(|error| failure(store, &error))
}

/// What a store's trouble means for a command.
pub(crate) fn failure(store: &StoreConfig, error: &StoreError) -> Failure {
    let said = format!("store {}: {error}", store.name);
    match error {
        StoreError::Misconfigured(_) => Failure::Usage(said),
        _ => Failure::Runtime(said),
    }
}
