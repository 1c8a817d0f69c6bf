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

/// What a node sends.
pub enum Came {
    /// A stanza.
    Stanza(Vec<u8>),
    /// One over the limit; its start tag and its whole length.
    Oversize(Vec<u8>, u64),
}

impl Came {
    /// The stanza, or what is left of it.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Stanza(bytes) | Self::Oversize(bytes, _) => bytes,
        }
    }
}

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
                let came = self.next().await?;
                waiting.remove(&made::attribute(came.bytes(), "id").unwrap_or_default());
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
    pub async fn next(&mut self) -> Result<Came, SessionError> {
        loop {
            while let Some(frame) = self.connection.framer.next_frame() {
                let stanza = match frame {
                    Frame::Stanza(stanza) => stanza.to_vec(),
                    Frame::Oversize { head, total_bytes } => return Ok(Came::Oversize(head, total_bytes)),
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
                return Ok(Came::Stanza(stanza));
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::super::fake_node::{FakeNode, Talk, settings};
    use super::*;
    use crate::history::mam::Mam;
    use crate::history::{Interval, Source};

    const MAX_STANZA_BYTES: usize = 512 * 1024;

    fn result(id: &str, content: &str) -> String {
        format!(
            "<message from='r@m.h' to='archive.example'><result xmlns='urn:xmpp:mam:2' id='{id}'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='r@m.h/Al' type='groupchat'><body>hi</body>{content}</message></forwarded></result></message>"
        )
    }

    async fn give_page(talk: &mut Talk<TcpStream>, number: usize, results: &[String], last: &str, is_complete: bool) {
        talk.hear("</iq>").await;
        talk.say(&results.concat()).await;
        talk.say(&format!(
            "<iq type='result' id='ask-{number}' from='r@m.h' to='archive.example'><fin xmlns='urn:xmpp:mam:2' complete='{is_complete}'>\
             <set xmlns='http://jabber.org/protocol/rsm'><last>{last}</last></set></fin></iq>"
        ))
        .await;
    }

    #[tokio::test]
    async fn what_an_archive_gives_and_nobody_can_read_is_told() {
        let node = FakeNode::start().await;
        let settings = Settings { max_stanza_bytes: MAX_STANZA_BYTES, ..settings(&node) };
        let playing = async {
            let mut talk = node.welcome().await;
            let probes: String = (0..PROBES).map(|probe| format!("<message id='alone-0-{probe}'/>")).collect();
            talk.say(&probes).await;
            let unreadable = result("2", &"<x/>".repeat(70_000));
            let oversize = result("3", &"x".repeat(MAX_STANZA_BYTES));
            give_page(&mut talk, 1, &[result("1", ""), unreadable, oversize.clone()], "3", false).await;
            give_page(&mut talk, 2, &[oversize], "4", false).await;
            give_page(&mut talk, 3, &[result("5", "")], "5", true).await;
            talk
        };
        let asking = async {
            let asker = Asker::open(&settings).await.unwrap();
            let troubles = vec!["m.h does not tell its rooms".to_owned()];
            let mut mam = Mam::new(asker, vec!["r@m.h".to_owned()], true, troubles, Interval::default(), None).unwrap();
            let mut all = Vec::new();
            loop {
                let some = mam.next(1_000).await.unwrap();
                if some.is_empty() {
                    return (all, mam.troubles());
                }
                all.extend(some);
            }
        };
        let (_talk, (items, troubles)) = tokio::join!(playing, asking);
        let told: Vec<_> = items.iter().map(|(position, item)| (position.as_str(), item.fault.is_some())).collect();
        assert_eq!(told, [("r@m.h 1", false), ("r@m.h 1", true), ("r@m.h 5", false)]);
        assert!(items[1].1.stanza.len() > 70_000, "its bytes go to the quarantine");
        assert_eq!(troubles, ["m.h does not tell its rooms", "r@m.h: messages over max_stanza of the node"]);
    }
}
