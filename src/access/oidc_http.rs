//! How the provider is asked: HTTPS by the same TLS as everything else here, one connection a request, no redirects.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::OidcConfig;
use crate::tls;

/// The largest answer that is read.
const MOST_BYTES: usize = 1 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a provider.
pub(super) struct HttpClient {
    tls_ca: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(String);

impl HttpClient {
    pub(super) fn new(config: &OidcConfig) -> Self {
        Self { tls_ca: config.tls_ca.clone() }
    }

    async fn fetch(&self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let late = |_elapsed| NoAnswer(format!("no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, self.exchange(request)).await.map_err(late)?
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let url = request.uri().clone();
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = url.scheme_str() == Some("https");
        if !is_tls && !is_this_machine(&host) {
            return Err(NoAnswer(format!("{host} is not asked without TLS")));
        }
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let socket = TcpStream::connect((host.as_str(), port)).await.map_err(|error| NoAnswer(format!("{host}:{port}: {error}")))?;
        let request = prepared(request, &url)?;
        if !is_tls {
            return send(socket, request).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|error| NoAnswer(format!("{host}: {error}")))?;
        let config = tls::client("web.oidc", self.tls_ca.as_deref()).map_err(NoAnswer)?;
        let socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
        send(socket.map_err(|error| NoAnswer(format!("TLS to {host}: {error}")))?, request).await
    }
}

impl<'c> AsyncHttpClient<'c> for HttpClient {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.fetch(request))
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The request as it stands on the wire: a path, and the host beside it.
fn prepared(request: HttpRequest, url: &Uri) -> Result<Request<Full<Bytes>>, NoAnswer> {
    let wrong = |error: &dyn std::fmt::Display| NoAnswer(error.to_string());
    let (mut parts, body) = request.into_parts();
    parts.uri = url.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|error| wrong(&error))?;
    let authority = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    parts.headers.insert(HOST, HeaderValue::from_str(authority).map_err(|error| wrong(&error))?);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(Request::from_parts(parts, Full::new(Bytes::from(body))))
}

async fn send<S>(socket: S, request: Request<Full<Bytes>>) -> Result<HttpResponse, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let wrong = |error: &dyn std::fmt::Display| NoAnswer(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|error| wrong(&error))?;
    let answered = async move {
        let answer = sender.send_request(request).await.map_err(|error| wrong(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|error| wrong(&error))?;
        Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The connection is driven here, and ends with us. What it brought may still have to be read.
        _ended = connection => answered.await,
    }
}
