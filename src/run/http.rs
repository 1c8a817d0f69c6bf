//! The HTTP port: `/metrics`, `/healthz`, `/readyz`.
//!
//! Without a password, so it listens on loopback unless the configuration says otherwise, and shows numbers and names of nodes and
//! stores, never what people wrote. Archiving does not depend on it: a port that is taken is tried again, and told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::view::Shown;
use crate::metrics;

/// The most connections at once: a few scrapers and people.
const MAX_CONNECTIONS: usize = 64;
/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection may last, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// How long until a port that was taken is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How long a listener that can't accept, for want of file descriptors, is left alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What the metrics are written in (OpenMetrics 1.0).
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A listener that ends with this.
pub(super) struct Server(JoinHandle<()>);

impl Server {
    pub(super) fn start(address: SocketAddr, shown: Shown) -> Self {
        Self(tokio::spawn(listen(address, shown)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(address: SocketAddr, shown: Shown) {
    shown.set_http(None);
    let listener = bind(address).await;
    let open = listener.local_addr().unwrap_or(address);
    log::info!("metrics and health are at http://{open}");
    shown.set_http(Some(open.to_string()));
    let router = router(shown);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    serve(socket, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                log::debug!("the HTTP port can't accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !told => {
                told = true;
                log::error!("http.listen = {address}: {error}; archiving goes on, and the port is tried again every {} s", RETRY.as_secs());
            }
            Err(_the_same_again) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn serve(socket: TcpStream, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => log::debug!("a connection to the HTTP port ended: {error}"),
    }
}

fn router(shown: Shown) -> Router {
    Router::new().route("/metrics", get(metrics_page)).route("/healthz", get(health)).route("/readyz", get(readiness)).with_state(shown)
}

async fn metrics_page(State(shown): State<Shown>) -> Response {
    match metrics::render(&shown) {
        Ok(text) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether the process is alive: if not, it should be started anew.
async fn health(State(shown): State<Shown>) -> Response {
    verdict(shown.illness())
}

/// Whether messages are received and stored at this moment.
async fn readiness(State(shown): State<Shown>) -> Response {
    verdict(shown.not_ready())
}

fn verdict(reasons: Vec<String>) -> Response {
    let (status, word) = if reasons.is_empty() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failing") };
    let body = json!({ "status": word, "reasons": reasons }).to_string();
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}
