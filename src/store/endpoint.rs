//! From the configuration of a store to where it is.

use secrecy::ExposeSecret;

use super::{Backend, Endpoint};
use crate::config::{StoreConfig, StoreUrl};

impl Endpoint {
    /// Where this store is and how to reach it.
    pub fn from_config(store: &StoreConfig) -> Self {
        let backend = match &store.url {
            StoreUrl::Sqlite(path) => Backend::Sqlite(path.clone()),
            StoreUrl::Postgres(url) => Backend::Postgres(url.expose_secret().to_owned()),
            StoreUrl::Mysql(url) => Backend::Mysql(url.expose_secret().to_owned()),
        };
        Self {
            name: store.name.clone(),
            backend,
            tls_ca: store.tls_ca.clone(),
            connect_timeout: store.connect_timeout,
            statement_timeout: store.statement_timeout,
        }
    }
}
