//! Sockets, TLS and the limits of connections.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::WebError;
use crate::config::WebConfig;

/// The most connections at once.
const MAX_CONNECTIONS: usize = 256;
/// How long the head of a request may take, and a connection lie idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection may last, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How long a listener that can't accept, for want of file descriptors, is left alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How often the files of the certificate are looked at.
const RENEWAL_LOOK: Duration = Duration::from_secs(60);
/// How long requests that have begun may still take when it ends.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until told to stop.
pub(super) async fn serve(
    config: &WebConfig,
    router: Router,
    mut stop: watch::Receiver<bool>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), WebError> {
    let tls = Tls::of(config)?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| WebError::Listen(config.listen, error))?;
    let open = listener.local_addr().map_err(|error| WebError::Listen(config.listen, error))?;
    log::info!("the console is at {}://{open}", if tls.is_some() { "https" } else { "http" });
    ready(open);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        if let Some((socket, peer, place)) = accepted {
            connections.spawn(connection(socket, peer, tls.clone(), router.clone(), place));
        }
        while connections.try_join_next().is_some() {}
    }
    let _those_that_are_left_are_dropped =
        tokio::time::timeout(LAST_REQUESTS, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, peer)) => Some((socket, peer, place)),
        Err(error) => {
            log::debug!("the console can't accept: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(socket: TcpStream, peer: SocketAddr, tls: Option<Tls>, router: Router, _place: OwnedSemaphorePermit) {
    let router = router.layer(Extension(Peer(peer.ip().to_canonical())));
    let Some(tls) = tls else { return speak(socket, router).await };
    let acceptor = TlsAcceptor::from(tls.current());
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => speak(socket, router).await,
        Ok(Err(error)) => log::debug!("a TLS handshake with the console failed: {error}"),
        Err(_elapsed) => {}
    }
}

async fn speak(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => log::debug!("a connection to the console ended: {error}"),
    }
}

/// The certificate in force. Its files are looked at now and then, so that a renewed one needs no restart.
#[derive(Clone)]
struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    fn of(config: &WebConfig) -> Result<Option<Self>, WebError> {
        let (Some(certificate), Some(key)) = (config.tls_cert.clone(), config.tls_key.clone()) else { return Ok(None) };
        let tls = Self(Arc::new(RwLock::new(read(&certificate, &key).map_err(WebError::Tls)?)));
        let renewed = Arc::downgrade(&tls.0);
        tokio::spawn(async move {
            let mut seen = (changed(&certificate), changed(&key));
            loop {
                tokio::time::sleep(RENEWAL_LOOK).await;
                let Some(current) = renewed.upgrade() else { return };
                let found = (changed(&certificate), changed(&key));
                if found == seen {
                    continue;
                }
                match read(&certificate, &key) {
                    Ok(config) => {
                        seen = found;
                        *current.write().unwrap_or_else(PoisonError::into_inner) = config;
                        log::info!("the console has taken up its new certificate");
                    }
                    Err(error) => log::warn!("the console stays with its old certificate: {error}"),
                }
            }
        });
        Ok(Some(tls))
    }

    fn current(&self) -> Arc<ServerConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let unreadable = |file: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let chain = CertificateDer::pem_file_iter(certificate).and_then(|chain| chain.collect::<Result<Vec<_>, _>>());
    let chain = chain.map_err(|error| unreadable(certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, secret).map_err(|error| unreadable(certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
