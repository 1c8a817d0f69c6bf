//! An HTTP POST of one JSON object a change, over TLS where the URL says so.
//!
//! One connection a request: alarms are rare, and a connection that was kept would be dead when it is needed. Any status of 2xx is
//! success; redirects are not followed, since they would carry the token elsewhere.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::text;
use crate::alarm::Change;
use crate::config::AlarmConfig;
use crate::tls;

/// The host and port of a URL.
pub(super) fn host(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.authority().map(|authority| authority.as_str().to_owned())
}

pub(super) async fn send(settings: &AlarmConfig, change: &Change) -> Result<(), String> {
    let url: Uri = settings.webhook.as_deref().unwrap_or_default().parse().map_err(|_no_url| "the webhook is no URL".to_owned())?;
    let request = request(settings, &url, change)?;
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let socket = TcpStream::connect((host.as_str(), port)).await.map_err(|error| format!("{host}:{port}: {error}"))?;
    if !is_tls {
        return post(socket, request).await;
    }
    let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
    let config = tls::client("webhook", settings.webhook_tls_ca.as_deref())?;
    let socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| format!("TLS to {host}: {error}"))?;
    post(socket, request).await
}

fn request(settings: &AlarmConfig, url: &Uri, change: &Change) -> Result<Request<Full<Bytes>>, String> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("xmpp-archiver/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json");
    if let Some(secret) = &settings.webhook_secret {
        let secret = secret.read().map_err(|error| format!("webhook_secret {error}"))?;
        let value = HeaderValue::try_from(format!("Bearer {}", secret.expose_secret()));
        let mut value = value.map_err(|_holds_control_characters| "webhook_secret can't stand in a header".to_owned())?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let body = Full::new(Bytes::from(text::json(change).to_string()));
    request.body(body).map_err(|error| error.to_string())
}

async fn post<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(socket: S, request: Request<Full<Bytes>>) -> Result<(), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answered = tokio::select! {
        answer = &mut answer => answer,
        // The connection is driven here, and ends with us: nothing is left behind. The answer may have come with its end.
        _ended = connection => answer.await,
    };
    let status = answered.map_err(|error| error.to_string())?.status();
    if status.is_success() { Ok(()) } else { Err(format!("the server answered {status}")) }
}
