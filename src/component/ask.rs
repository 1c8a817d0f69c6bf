//! A connection of its own on which questions are asked and answers waited for: for commands, not for the daemon.
//!
//! Nothing that comes unasked is kept: it must not be the connection that a node mirrors to.

use std::collections::HashSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::framing::Frame;
use super::iq::{self, Sorted};
use super::session::Connection;
use super::{SessionError, Settings};
use crate::history::made;

/// How long the next stanza of an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// How many messages to ourselves must come back.
const PROBES: usize = 16;
/// How long they may take, and how often that is tried: a node may take a moment to notice that an earlier connection is gone.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_ATTEMPTS: usize = 20;

/// Such a connection.
pub struct Asker {
    connection: Connection,
    domain: String,
    opened_at: Instant,
    asked: u64,
}

impl Asker {
    /// Connects and authenticates.
    ///
    /// # Errors
    /// When the node can't be reached, or refuses.
    pub async fn open(settings: &Settings) -> Result<Self, SessionError> {
        let connection = Connection::open(settings).await?;
        let mut asker = Self { connection, domain: settings.domain.clone(), opened_at: Instant::now(), asked: 0 };
        for attempt in 0..PROBE_ATTEMPTS {
            if asker.is_alone(attempt).await? {
                return Ok(asker);
            }
        }
        Err(SessionError::Conflict)
    }

    /// Whether all that is for this component comes on this connection. ejabberd lets several in, and gives each a part of it.
    async fn is_alone(&mut self, attempt: usize) -> Result<bool, SessionError> {
        let mut waiting: HashSet<String> = (0..PROBES).map(|probe| format!("alone-{attempt}-{probe}")).collect();
        let domain = iq::attribute_text(&self.domain);
        let probes: String = waiting.iter().map(|id| format!("<message id='{id}' from='{domain}' to='{domain}'/>")).collect();
        self.send(probes.as_bytes()).await?;
        let all = async {
            while !waiting.is_empty() {
                let stanza = self.next().await?;
                waiting.remove(&made::attribute(&stanza, "id").unwrap_or_default());
            }
            Ok(true)
        };
        timeout(PROBE_TIMEOUT, all).await.unwrap_or(Ok(false))
    }

    /// The component's own domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Sends an iq with this content, and returns its id.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn ask(&mut self, kind: &str, to: &str, content: &str) -> Result<String, SessionError> {
        self.asked += 1;
        let id = format!("ask-{}", self.asked);
        let request = iq::envelope(kind, &id, &self.domain, Some(to), content);
        self.send(request.as_bytes()).await?;
        Ok(id)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let lost = |error: std::io::Error| SessionError::Closed(error.to_string());
        self.connection.socket.write_all(bytes).await.map_err(lost)?;
        self.connection.socket.flush().await.map_err(lost)
    }

    /// The next stanza; requests of the node are answered on the way.
    ///
    /// # Errors
    /// When the connection is lost, or nothing comes.
    pub async fn next(&mut self) -> Result<Vec<u8>, SessionError> {
        loop {
            while let Some(frame) = self.connection.framer.next_frame() {
                let stanza = match frame {
                    Frame::Stanza(stanza) => stanza.to_vec(),
                    Frame::StreamClose => return Err(SessionError::Closed("the node closed the stream".to_owned())),
                    Frame::Violation(violation) if violation.is_fatal() => return Err(SessionError::OutOfStep(violation.to_string())),
                    _ => continue,
                };
                if let Sorted::Iq(iq) = iq::sort(&stanza)
                    && let Some(reply) = iq.reply(&self.domain, self.opened_at)
                {
                    self.send(&reply).await?;
                    continue;
                }
                return Ok(stanza);
            }
            let read = timeout(ANSWER_TIMEOUT, self.connection.socket.read_buf(self.connection.framer.room())).await;
            match read {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) => return Err(SessionError::Closed(String::new())),
                Ok(Err(error)) => return Err(SessionError::Closed(error.to_string())),
                Err(_elapsed) => return Err(SessionError::Silent),
            }
        }
    }

    /// Closes the stream.
    pub async fn close(self) {
        self.connection.close().await;
    }
}
