//! The console: pages for people and an API for programs, over the archive.
//!
//! A request walks: `server` (sockets, TLS, limits) → `guard` (headers on every answer, time, number at once) → `caller` (whose session or
//! token it is, forged forms refused) → a page or a call of `api` → `desk`, the one way to what people wrote. Each page asks the
//! [`Viewer`](crate::access::Viewer) for its permission, and whatever shows content writes to the audit trail before it answers.
//!
//! Pages are made here and work without scripts: there are none. Everything that a page needs comes from this process.

mod account;
mod accounts;
mod api;
mod app;
mod audit;
mod caller;
mod clock;
mod conversation;
mod desk;
mod export_ask;
mod export_keep;
mod export_run;
mod exports;
mod exports_api;
mod figures_api;
mod find;
mod frame;
mod gaps;
mod groups;
mod groups_api;
mod guard;
mod links;
mod message;
mod overview;
mod params;
mod plot;
mod qr;
mod quarantine;
mod rooms;
mod routes;
mod scopes;
mod search;
mod server;
mod signin;
mod text;
mod thread;
mod trouble;
mod upkeep_api;
mod verification;

use std::net::SocketAddr;

use tokio::sync::watch;

use crate::access::AccessError;
use crate::config::Config;
use crate::retrieve::Query;

/// Why the console could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The accounts can't be reached.
    #[error("web.store: {0}")]
    Access(#[from] AccessError),
    /// The address can't be had.
    #[error("web.listen = {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The certificate or its key can't be used.
    #[error("{0}")]
    Tls(String),
}

/// The query of conditions as they stand in the address of a search, without times and order: `q=tea&room=tea%40rooms.example.com`.
///
/// # Errors
/// When there is anything else in it, or a condition is wrong; what, in words for whoever wrote it.
pub fn conditions(text: &str) -> Result<Query, String> {
    find::conditions(text)
}

/// Every method of every address that the console answers, as it stands in the router: `("POST", "/gaps/{id}/close")`.
pub fn routes() -> Vec<(&'static str, String)> {
    let pages = routes::pages().into_iter().map(|route| (route.method, route.path.to_owned()));
    pages.chain(api::calls().into_iter().map(|call| (call.method, format!("{}{}", routes::API_PATH, call.path)))).collect()
}

/// Serves the console until `stop` becomes true, or its sender is gone. `ready` is told where it listens.
///
/// # Errors
/// When it can't begin. Once it has begun, it goes on whatever single requests meet.
pub async fn serve(config: &Config, stop: watch::Receiver<bool>, ready: impl FnOnce(SocketAddr)) -> Result<(), WebError> {
    let app = app::App::open(config).await?;
    app.exports.go_on(&app).await;
    let keeping = tokio::spawn(export_keep::keep(app.clone(), stop.clone()));
    let served = server::serve(&config.web, routes::router(app.clone()), stop, ready).await;
    keeping.abort();
    app.exports.wind_up().await;
    served
}
