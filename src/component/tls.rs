//! TLS to a node's component port: from the first byte, the node proved by its certificate.
//!
//! XEP-0114 knows no STARTTLS, so this is for ports that speak TLS at once: the node's own or a wrapper's before it.
//! Trusted are the system's certificates, or those of one file and no others.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{SessionError, Settings, TlsSettings};
use crate::tls;

/// Puts TLS around a connection.
pub(super) async fn wrap(stream: TcpStream, settings: &Settings, wanted: &TlsSettings) -> Result<TlsStream<TcpStream>, SessionError> {
    let name = wanted.server_name.as_deref().unwrap_or_else(|| host_of(&settings.address));
    let server_name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&format!("{name:?}: {error}")))?;
    let config = tls::client(&format!("node {}", settings.name), wanted.ca_file.as_deref()).map_err(|error| failed(&error))?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(server_name, stream).await.map_err(|error| failed(&error.to_string()))
}

fn failed(reason: &str) -> SessionError {
    SessionError::Tls(reason.to_owned())
}

/// The host of `host:port`, an IPv6 address without its brackets.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (address, host) in [("a.example:5347", "a.example"), ("[::1]:5347", "::1"), ("127.0.0.1:1", "127.0.0.1")] {
            assert_eq!(host_of(address), host);
        }
    }
}
