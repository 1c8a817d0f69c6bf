//! A session with the component port of one IM node (XEP-0114), kept up for as long as the archiver runs.
//!
//! [`run`] connects, authenticates, reads, and when the connection is lost begins again, for ever, waiting between the
//! attempts as [`backoff`] says. What the session reads it hands to an [`Intake`] and nothing else: it knows sockets
//! and streams, and does not know what a mirrored message is. The way of the bytes:
//!
//! - [`session`] owns the socket: reads, answers, keeps the liveness clock, closes politely;
//! - [`tls`] wraps the socket where the node wants that; [`handshake`] opens the stream and proves the secret;
//! - [`framing`] cuts the bytes into stanzas and keeps them verbatim, well-formed or not;
//! - [`iq`] answers the few requests that a component owes an answer to;
//! - [`openfire`] asks an Openfire node to mirror at all;
//! - [`ask`] is a connection on which commands ask the node something;
//! - [`module`] asks a node how its own module is doing, if it has one;
//! - [`status`] tells everybody else how the node is doing, [`error`] why a session ended and what to do about it.
//!
//! Nothing here slows the reader but [`Intake::take`]: what is written goes through a bounded queue, and a node that does
//! not read its answers is disconnected rather than waited for.

pub mod ask;
pub mod backoff;
pub mod error;
pub mod framing;
mod handshake;
mod iq;
pub mod module;
mod openfire;
mod session;
pub mod status;
mod tls;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::time::Micros;
use backoff::Backoff;
pub use error::SessionError;
pub use status::Status;

/// The default of [`Settings::max_stanza_bytes`].
pub const DEFAULT_MAX_STANZA_BYTES: usize = 10 * 1024 * 1024;
/// The default of [`Settings::connect_timeout`].
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The default of [`Settings::ping_interval`].
pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(30);
/// The default of [`Settings::ping_timeout`].
pub const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(30);

/// The namespace of this project's own mirror envelope.
pub const MIRROR_NAMESPACE: &str = "urn:xmpp-archiver:mirror:0";

/// What becomes of each stanza that a session reads.
pub trait Intake: Send + Sync + 'static {
    /// One complete top-level stanza (message, presence, or iq that the session does not answer itself), the bytes as
    /// received, without the stream's default namespace. Waits only while the spool is at its disk limit.
    fn take(&self, stanza: &[u8], arrived_at: Micros) -> impl Future<Output = Taken> + Send;
    /// A stanza over the size limit: it was skipped, only its head (start tag, at most 4 KiB) is known.
    fn oversize(&self, head: &[u8], total_bytes: u64, arrived_at: Micros) -> impl Future<Output = Taken> + Send;
    /// The stream was opened: sequence state, such as known sessions, is reset.
    fn connected(&self);
    /// The stream was closed.
    fn disconnected(&self);
    /// The node mirrors to us from now on: at once when the stream is opened, or when it has agreed to.
    fn mirrors(&self, _at: Micros) {}
    /// Everything that had come from the node by then was handed over.
    fn caught_up(&self, _at: Micros) {}
}

/// A reply to be sent once the stanza it answers is durable; none when that stanza can't be made durable.
pub type DurableReply = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>;

/// What an [`Intake`] did with a stanza.
pub enum Taken {
    /// Nothing to send back.
    Done,
    /// Send these bytes (an iq result) when the future resolves, i.e. when the stanza is durable; resolves to none when
    /// it can't be made durable.
    ReplyWhenDurable(DurableReply),
}

/// How to reach one node and what to ask of the connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of the node in the configuration.
    pub name: String,
    /// Where its component port listens, as `host:port`.
    pub address: String,
    /// The domain that we are there.
    pub domain: String,
    /// The secret shared with the node.
    pub secret: SecretString,
    /// The domains that the node hosts; the first is the one we ping.
    pub hosts: Vec<String>,
    /// Whether the node is an Openfire that has to be asked to mirror.
    pub kind_openfire: bool,
    /// TLS to the port, where the node or a wrapper before it speaks that.
    pub tls: Option<TlsSettings>,
    /// The longest stanza that is taken; a longer one is skipped and told as a loss.
    pub max_stanza_bytes: usize,
    /// How long connecting, TLS and the handshake together may take.
    pub connect_timeout: Duration,
    /// After this long without a byte from the node it is pinged (XEP-0199).
    pub ping_interval: Duration,
    /// After this long without a byte since that ping the connection is given up.
    pub ping_timeout: Duration,
    /// How often the node is asked how its module is doing, if at all.
    pub module_interval: Option<Duration>,
}

/// How to trust a node's component port over TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// Certificates (PEM) to trust instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// The name in the node's certificate, where it is not the host of the address.
    pub server_name: Option<String>,
}

impl Settings {
    /// Settings with every default.
    pub fn new(name: &str, address: &str, domain: &str, secret: SecretString) -> Self {
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            domain: domain.to_owned(),
            secret,
            hosts: Vec::new(),
            kind_openfire: false,
            tls: None,
            max_stanza_bytes: DEFAULT_MAX_STANZA_BYTES,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            ping_interval: DEFAULT_PING_INTERVAL,
            ping_timeout: DEFAULT_PING_TIMEOUT,
            module_interval: None,
        }
    }

    /// The node's own domain: the first of its hosts, else the parent of the component's domain.
    pub fn node_domain(&self) -> &str {
        let parent = || self.domain.split_once('.').map_or(self.domain.as_str(), |(_, parent)| parent);
        self.hosts.first().map_or_else(parent, String::as_str)
    }
}

/// Keeps a session with the node up until `shutdown` says true (or its sender is gone), then closes it politely.
pub async fn run<I: Intake>(settings: Settings, intake: Arc<I>, status: Status, shutdown: watch::Receiver<bool>) {
    let (_settings_stay, settings) = watch::channel(settings);
    follow(settings, intake, status, shutdown).await;
}

/// The same with settings that may change: each attempt to connect takes those that hold then, and a change makes it try at once.
pub async fn follow<I: Intake>(
    mut current: watch::Receiver<Settings>,
    intake: Arc<I>,
    status: Status,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new();
    loop {
        let settings = current.borrow_and_update().clone();
        status.connecting();
        let attempt = tokio::select! {
            attempt = session::Connection::open(&settings) => attempt,
            () = stopped(&mut shutdown) => break,
        };
        let ended = match attempt {
            Ok(connection) => live(connection, &settings, &intake, &status, &mut shutdown, &mut backoff).await,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { break };
        let wait = backoff.next_wait(error.needs_a_person());
        status.down(&settings, error, wait);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = changed(&mut current) => backoff = Backoff::new(),
            () = stopped(&mut shutdown) => break,
        }
    }
    status.stopped();
}

/// One authenticated session from its first stanza to its end.
async fn live<I: Intake>(
    connection: session::Connection,
    settings: &Settings,
    intake: &Arc<I>,
    status: &Status,
    shutdown: &mut watch::Receiver<bool>,
    backoff: &mut Backoff,
) -> Result<(), SessionError> {
    let began = Instant::now();
    status.online(settings);
    intake.connected();
    if !settings.kind_openfire {
        intake.mirrors(crate::time::now());
    }
    let ended = session::serve(connection, settings, intake.as_ref(), status, shutdown).await;
    intake.disconnected();
    backoff.session_lived(began.elapsed());
    ended
}

/// Resolves when the settings change, which they do not any more once nobody can change them.
async fn changed(settings: &mut watch::Receiver<Settings>) {
    if settings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Connects to the node, sends these stanzas, waits until it has read them and closes again. As [`probe`], only where no archiver runs.
pub async fn send_once(settings: &Settings, stanzas: &[Vec<u8>]) -> Result<(), SessionError> {
    let mut connection = session::Connection::open(settings).await?;
    let sent = tokio::time::timeout(settings.connect_timeout, connection.send(settings, stanzas)).await;
    connection.close().await;
    sent.unwrap_or(Err(SessionError::Silent))
}

/// Connects to the node, proves the secret, asks whether a module of ours runs there, and closes again.
///
/// On a live node this may get in the way of an archiver that is running: Prosody refuses the second connection with a
/// conflict, ejabberd lets it in and sends it half of the copies for as long as it lasts, which are then lost. Use it
/// where no archiver runs for that domain.
pub async fn probe(settings: &Settings) -> Result<module::Presence, SessionError> {
    let mut connection = session::Connection::open(settings).await?;
    let module = connection.ask_module(settings).await;
    connection.close().await;
    Ok(module)
}

/// Resolves when it is time to stop; a sender that went away without a word counts as that.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _sender_gone = shutdown.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod fake_node;
#[cfg(test)]
mod tests;
