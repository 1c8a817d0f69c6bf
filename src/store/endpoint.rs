//! From the configuration of a store to where it is and how to reach it.

use secrecy::ExposeSecret;

use super::{Backend, Endpoint};
use crate::config::{StoreConfig, StoreUrl};

impl Endpoint {
    /// Where the store of this configuration is. The URL of a server holds its password: an endpoint is never shown.
    pub fn from_config(config: &StoreConfig) -> Self {
        let backend = match &config.url {
            StoreUrl::Sqlite(path) => Backend::Sqlite(path.clone()),
            StoreUrl::Postgres(url) => Backend::Postgres(url.expose_secret().to_owned()),
            StoreUrl::Mysql(url) => Backend::Mysql(url.expose_secret().to_owned()),
        };
        Self {
            name: config.name.clone(),
            backend,
            tls_ca: config.tls_ca.clone(),
            connect_timeout: config.connect_timeout,
            statement_timeout: config.statement_timeout,
        }
    }
}
