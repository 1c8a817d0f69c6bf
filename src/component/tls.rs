//! TLS to a node's component port: from the first byte, the node proved by its certificate.
//!
//! XEP-0114 knows no STARTTLS, so this is for ports that speak TLS at once: the node's own or a wrapper's before it.
//! Trusted are the system's certificates, or those of one file and no others.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{SessionError, Settings, TlsSettings};

/// Puts TLS around a connection.
pub(super) async fn wrap(stream: TcpStream, settings: &Settings, tls: &TlsSettings) -> Result<TlsStream<TcpStream>, SessionError> {
    let name = tls.server_name.as_deref().unwrap_or_else(|| host_of(&settings.address));
    let server_name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&format!("{name:?}: {error}")))?;
    let connector = TlsConnector::from(Arc::new(client_config(tls)?));
    connector.connect(server_name, stream).await.map_err(|error| failed(&error.to_string()))
}

fn client_config(tls: &TlsSettings) -> Result<ClientConfig, SessionError> {
    let roots = match &tls.ca_file {
        Some(file) => roots_of_file(file)?,
        None => roots_of_system()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| failed(&error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn roots_of_file(file: &Path) -> Result<RootCertStore, SessionError> {
    let unreadable = |error: &dyn std::fmt::Display| failed(&format!("{}: {error}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() { Err(unreadable(&"no certificate in it")) } else { Ok(roots) }
}

fn roots_of_system() -> Result<RootCertStore, SessionError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(failed("the system has no trusted certificates; name a file with `ca_file`"));
    }
    Ok(roots)
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

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = roots_of_file(file.path()).unwrap_err().to_string();
        assert!(told.contains("no certificate in it"), "{told}");
        assert!(roots_of_file(Path::new("/does/not/exist")).is_err());
    }
}
