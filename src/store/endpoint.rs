//! From the configuration of a store to where it is.

use secrecy::ExposeSecret;

use super::{Backend, Endpoint};
use crate::config::{StoreConfig, StoreUrl};

impl Backend {
    /// The database that a URL means.
    pub fn of(url: &StoreUrl) -> Self {
        match url {
            StoreUrl::Sqlite(path) => Self::Sqlite(path.clone()),
            StoreUrl::Postgres(url) => Self::Postgres(url.expose_secret().to_owned()),
            StoreUrl::Mysql(url) => Self::Mysql(url.expose_secret().to_owned()),
        }
    }
}

impl Endpoint {
    /// Where this store is and how to reach it.
    pub fn from_config(store: &StoreConfig) -> Self {
        Self {
            name: store.name.clone(),
            backend: Backend::of(&store.url),
            tls_ca: store.tls_ca.clone(),
            connect_timeout: store.connect_timeout,
            statement_timeout: store.statement_timeout,
        }
    }
}
