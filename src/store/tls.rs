//! TLS to a database server: rustls, the system's certificate authorities or one of the operator's own.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::StoreError;
use crate::certificate::Noting;

/// How far the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// The chain and the name (`verify-full`).
    Full,
    /// Nothing: the line is encrypted, but to whom is not known (`require`).
    Nothing,
}

/// The client side of a TLS connection to the store of this name; notes when the server's certificate ends.
///
/// # Errors
/// When the file with the certificate authority can't be read or holds none.
pub fn client(store: &str, ca_file: Option<&Path>, verify: Verify) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Misconfigured(format!("TLS: {error}")))?;
    let judge: Arc<dyn ServerCertVerifier> = match verify == Verify::Nothing && ca_file.is_none() {
        true => Arc::new(Unchecked(provider)),
        false => WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca_file)?), provider)
            .build()
            .map_err(|error| StoreError::Misconfigured(format!("TLS: {error}")))?,
    };
    let noting = Arc::new(Noting::new(&format!("store {store}"), judge));
    Ok(builder.dangerous().with_custom_certificate_verifier(noting).with_no_client_auth())
}

/// The trusted authorities: those of `ca_file`, else the system's.
///
/// # Errors
/// When the file can't be read or holds no certificate.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca_file else {
        let (_added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong = |what: String| StoreError::Misconfigured(format!("{}: {what}", file.display()));
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(roots)
}

#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
