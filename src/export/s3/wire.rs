//! How a bucket's server is reached: HTTP/1.1 over one connection that is kept, by the same TLS as everything else here.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// The largest answer that is read: we ask for no objects.
const MOST_BYTES: usize = 1 << 20;
/// How long an answer may take, and how many bytes a second go there at least.
const PATIENCE: Duration = Duration::from_secs(60);
const SLOWEST: u64 = 64 << 10;

/// A server.
pub(super) struct Wire {
    host: String,
    port: u16,
    tls: Option<Arc<rustls::ClientConfig>>,
    open: Mutex<Option<Open>>,
}

/// A connection; it ends with this.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Wire {
    pub(super) fn new(host: String, port: u16, tls: Option<rustls::ClientConfig>) -> Self {
        Self { host, port, tls: tls.map(Arc::new), open: Mutex::new(None) }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub(super) async fn exchange(&self, request: Request<Full<Bytes>>, body_bytes: u64) -> Result<Answer, String> {
        let patience = PATIENCE + Duration::from_secs(body_bytes / SLOWEST);
        let late = |_elapsed| format!("{}:{}: no answer within {} s", self.host, self.port, patience.as_secs());
        tokio::time::timeout(patience, self.answered(request))
            .await
            .map_err(late)?
            .map_err(|said| format!("{}:{}: {said}", self.host, self.port))
    }

    async fn answered(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let mut kept = self.open.lock().await;
        // Whatever goes wrong from here on, the next request has a connection of its own.
        let mut open = match kept.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        if open.sender.ready().await.is_err() {
            open = self.connect().await?;
        }
        let answer = open.sender.send_request(request).await.map_err(|error| said(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|error| said(error.as_ref()))?;
        *kept = Some(open);
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }

    async fn connect(&self) -> Result<Open, String> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| error.to_string())?;
        // Requests are written whole; nothing is gained by waiting for more.
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(config) = &self.tls else { return begin(socket).await };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        let socket = TlsConnector::from(Arc::clone(config)).connect(name, socket).await.map_err(|error| format!("TLS: {error}"))?;
        begin(socket).await
    }
}

async fn begin<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(socket: S) -> Result<Open, String> {
    let (sender, connection) = handshake(TokioIo::new(socket)).await.map_err(|error| said(&error))?;
    // Its error is told by the request that it breaks.
    let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    Ok(Open { sender, driver })
}

fn said(error: &(dyn std::error::Error + 'static)) -> String {
    crate::notify::email::with_sources(error)
}
