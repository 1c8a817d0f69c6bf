//! A session with the node's port for clients, as any user has one: connection, TLS, log-in, a resource, presence (RFC 6120, RFC 6121).
//!
//! It is opened for one probe and closed after it, so nothing has to be kept alive, and each probe tries the log-in as well. Why this is no library's
//! client is in `docs/decisions/canary.md`.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;

use super::LogInError;
use super::login::LogIn;
use super::probe::fresh_id;
use crate::component::framing::{Frame, Framer};
use crate::config::{CanaryConfig, CanaryTls};
use crate::tls;
use crate::xml::{Document, Element};

const CLIENT_NS: &str = "jabber:client";
const TLS_NS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const SASL_NS: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND_NS: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// RFC 3921 section 3, which some servers still want.
const SESSION_NS: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Nothing that is longer is of interest.
const STANZA_BYTES: usize = 64 * 1024;
/// More challenges than any mechanism has.
const MOST_CHALLENGES: usize = 8;
/// How long the last words may take to be written.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// The name of our protocol in TLS (XEP-0368).
const ALPN: &[u8] = b"xmpp-client";

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A connection, and the stream on it.
struct Stream {
    socket: Box<dyn Socket>,
    framer: Framer,
    is_protected: bool,
}

/// A session that receives.
pub struct Session(Stream);

impl Session {
    /// Logs in and becomes available. `subject` is whose certificate it is that ends.
    ///
    /// # Errors
    /// When that fails; it does not end by itself if the server says nothing.
    pub async fn open(canary: &CanaryConfig, password: &SecretString, subject: &str) -> Result<Self, LogInError> {
        let mut stream = Stream::connect(canary, subject).await?;
        let mut features = stream.open(canary.domain()).await?;
        if canary.tls == CanaryTls::Starttls {
            stream = stream.starttls(&features, canary, subject).await?;
            features = stream.open(canary.domain()).await?;
        }
        stream.log_in(&features, canary, password).await?;
        let features = stream.open(canary.domain()).await?;
        stream.bind(&features).await?;
        // Available, so that what is written to the account is delivered at once and waits nowhere.
        stream.send("<presence><priority>0</priority></presence>").await?;
        Ok(Self(stream))
    }

    /// Sends a stanza.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn send(&mut self, stanza: &str) -> Result<(), LogInError> {
        self.0.send(stanza).await
    }

    /// The next stanza. May be given up at any time, and nothing is lost.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn next(&mut self) -> Result<Vec<u8>, LogInError> {
        self.0.next().await
    }

    /// Ends it politely.
    pub async fn close(mut self) {
        let _it_ends_anyway = timeout(CLOSE_WAIT, async {
            self.0.send("<presence type='unavailable'/></stream:stream>").await?;
            self.0.socket.shutdown().await.map_err(lost)
        })
        .await;
    }
}

impl Stream {
    async fn connect(canary: &CanaryConfig, subject: &str) -> Result<Self, LogInError> {
        let socket = TcpStream::connect(&canary.address).await.map_err(|error| LogInError::Unreachable(error.to_string()))?;
        let stream = Self { socket: Box::new(socket), framer: Framer::new(STANZA_BYTES), is_protected: false };
        if canary.tls == CanaryTls::Tls { stream.protect(canary, subject).await } else { Ok(stream) }
    }

    /// Opens the stream, for the first time or anew, and reads what the server offers.
    async fn open(&mut self, domain: &str) -> Result<Vec<u8>, LogInError> {
        // What came before TLS or the log-in is no part of what comes now.
        self.framer = Framer::new(STANZA_BYTES);
        let to = quick_xml::escape::escape(domain);
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{to}' version='1.0' xmlns='{CLIENT_NS}' xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        self.send(&header).await?;
        loop {
            let features = self.next().await?;
            if parse(&features)?.root().name() == "features" {
                return Ok(features);
            }
        }
    }

    async fn starttls(mut self, features: &[u8], canary: &CanaryConfig, subject: &str) -> Result<Self, LogInError> {
        if parse(features)?.root().child("starttls", TLS_NS).is_none() {
            return Err(LogInError::NoStarttls);
        }
        self.send(&format!("<starttls xmlns='{TLS_NS}'/>")).await?;
        let answer = self.next().await?;
        if !parse(&answer)?.root().is("proceed", TLS_NS) {
            return Err(LogInError::Tls("the server refused it".to_owned()));
        }
        self.protect(canary, subject).await
    }

    async fn protect(self, canary: &CanaryConfig, subject: &str) -> Result<Self, LogInError> {
        let failed = |error: &dyn std::fmt::Display| LogInError::Tls(error.to_string());
        let name = canary.tls_name.as_deref().unwrap_or(canary.domain());
        // Certificates hold the ASCII form of a domain.
        let ascii = idna::domain_to_ascii(name).unwrap_or_else(|_as_it_is| name.to_owned());
        let server_name = ServerName::try_from(ascii).map_err(|error| failed(&format!("{name:?}: {error}")))?;
        let mut config = tls::client(subject, canary.tls_ca.as_deref()).map_err(|error| failed(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let socket = TlsConnector::from(Arc::new(config)).connect(server_name, self.socket).await.map_err(|error| failed(&error))?;
        Ok(Self { socket: Box::new(socket), framer: Framer::new(STANZA_BYTES), is_protected: true })
    }

    async fn log_in(&mut self, features: &[u8], canary: &CanaryConfig, password: &SecretString) -> Result<(), LogInError> {
        let offered = mechanisms(parse(features)?.root());
        let user = canary.jid.split('@').next().unwrap_or_default();
        let mut log_in = LogIn::new(&offered, self.is_protected, user, password)?;
        let (name, initial) = (log_in.name(), log_in.initial());
        self.send(&format!("<auth xmlns='{SASL_NS}' mechanism='{name}'>{initial}</auth>")).await?;
        for _ in 0..MOST_CHALLENGES {
            let answer = self.next().await?;
            let document = parse(&answer)?;
            let root = document.root();
            match root.name() {
                "challenge" => {
                    let response = log_in.respond(&root.text())?;
                    self.send(&format!("<response xmlns='{SASL_NS}'>{response}</response>")).await?;
                }
                "success" => return log_in.succeed(&root.text()),
                "failure" => return Err(LogInError::Refused(told(root))),
                _ => {}
            }
        }
        Err(LogInError::Stream("its log-in has no end".to_owned()))
    }

    async fn bind(&mut self, features: &[u8]) -> Result<(), LogInError> {
        let resource = fresh_id().map_err(|error| LogInError::NoSession(error.to_string()))?;
        self.ask("bind", &format!("<bind xmlns='{BIND_NS}'><resource>canary-{resource}</resource></bind>")).await?;
        let wants_session =
            parse(features)?.root().child("session", SESSION_NS).is_some_and(|session| session.child("optional", SESSION_NS).is_none());
        if wants_session {
            self.ask("session", &format!("<session xmlns='{SESSION_NS}'/>")).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, id: &str, content: &str) -> Result<(), LogInError> {
        self.send(&format!("<iq type='set' id='{id}'>{content}</iq>")).await?;
        loop {
            let answer = self.next().await?;
            let document = parse(&answer)?;
            let root = document.root();
            match root.attribute("type") {
                Some("result") if root.attribute("id") == Some(id) => return Ok(()),
                Some("error") if root.attribute("id") == Some(id) => return Err(LogInError::NoSession(condition(root))),
                _ => {}
            }
        }
    }

    async fn send(&mut self, text: &str) -> Result<(), LogInError> {
        self.socket.write_all(text.as_bytes()).await.map_err(lost)?;
        self.socket.flush().await.map_err(lost)
    }

    async fn next(&mut self) -> Result<Vec<u8>, LogInError> {
        loop {
            while let Some(frame) = self.framer.next_frame() {
                match frame {
                    Frame::Stanza(stanza) => {
                        let document = parse(stanza)?;
                        if document.root().name() == "error" {
                            return Err(LogInError::Stream(format!("it ended the stream with {}", told(document.root()))));
                        }
                        return Ok(stanza.to_vec());
                    }
                    Frame::StreamClose => return Err(LogInError::Stream("it closed the stream".to_owned())),
                    Frame::Violation(violation) => return Err(LogInError::Stream(violation.to_string())),
                    Frame::StreamOpen(_) | Frame::Oversize { .. } => {}
                }
            }
            if self.socket.read_buf(self.framer.room()).await.map_err(lost)? == 0 {
                return Err(LogInError::Stream("it closed the connection".to_owned()));
            }
        }
    }
}

fn lost(error: std::io::Error) -> LogInError {
    LogInError::Stream(error.to_string())
}

fn parse(stanza: &[u8]) -> Result<Document<'_>, LogInError> {
    Document::parse(stanza, CLIENT_NS).map_err(|error| LogInError::Stream(error.to_string()))
}

fn mechanisms(features: Element<'_, '_>) -> Vec<String> {
    let listed = features.child("mechanisms", SASL_NS).into_iter().flat_map(|list| list.children());
    listed.filter(|child| child.is("mechanism", SASL_NS)).map(|mechanism| mechanism.text().trim().to_owned()).collect()
}

/// The condition in a stream error or a failure, with what the server says of it.
fn told(element: Element<'_, '_>) -> String {
    let name = element.children().find(|child| child.name() != "text").map_or("no reason", |condition| condition.name());
    let text = element.children().find(|child| child.name() == "text").map(|text| text.text().trim().to_owned());
    text.filter(|text| !text.is_empty()).map_or_else(|| name.to_owned(), |text| format!("{name}: {text}"))
}

/// The condition of a stanza error (RFC 6120 section 8.3).
pub(super) fn condition(stanza: Element<'_, '_>) -> String {
    stanza.children().find(|child| child.name() == "error").map_or_else(|| "no reason".to_owned(), told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_offers_and_refuses_is_read() {
        let features =
            b"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism><mechanism> SCRAM-SHA-1\n\
            </mechanism></mechanisms><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
        let document = parse(features).unwrap();
        assert_eq!(mechanisms(document.root()), ["PLAIN", "SCRAM-SHA-1"]);
        assert!(document.root().child("starttls", TLS_NS).is_some());
        let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>No such user</text></failure>";
        assert_eq!(told(parse(failure.as_bytes()).unwrap().root()), "not-authorized: No such user");
        let error = "<message type='error'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>";
        assert_eq!(condition(parse(error.as_bytes()).unwrap().root()), "forbidden");
        assert_eq!(condition(parse(b"<message/>").unwrap().root()), "no reason");
    }
}
