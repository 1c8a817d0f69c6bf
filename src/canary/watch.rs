//! Writes one probe after the other to a node, and raises the alarm when none comes back.
//!
//! A round is judged at its end, `timeout` after it was due: whatever went wrong before may have been a server that was just starting. While the link with the
//! node is down nothing is written and nothing judged, since there is an alarm for that; and a round in which it was lost tells nothing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::client::{Session, condition};
use super::probe::fresh_id;
use super::{Account, Canaries, LogInError, Progress};
use crate::alarm::{Alarms, Name};
use crate::component;
use crate::config::CanaryConfig;
use crate::intake::link::Link;
use crate::xml::Document;

/// How often the link is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Who was refused is not to try again sooner: servers shut out those who do.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);
/// How long a probe that is stored already may take to be delivered as well. What is not delivered then may wait on the server.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(2);

/// Why no probe came back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Missing {
    LogIn(LogInError),
    /// The session ended before the probe was on its way.
    Lost(LogInError),
    Refused(String),
    NotMirrored,
    NotStored,
    Altered(String),
}

/// Who writes to one node.
pub struct Watch {
    /// The node's name.
    pub node: String,
    /// How it is done.
    pub config: CanaryConfig,
    /// Who writes.
    pub account: Arc<Account>,
    /// Where it is told what comes back.
    pub canaries: Canaries,
    /// The link by which it comes back.
    pub link: Arc<Link>,
    /// How often that link was made.
    pub status: component::Status,
    /// Alarms.
    pub alarms: Alarms,
}

/// A watch that goes on until this is dropped.
#[derive(Debug)]
pub struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    /// Begins.
    pub fn start(self) -> Running {
        self.canaries.begin(&self.node, &self.config.jid);
        Running(tokio::spawn(self.keep_writing()))
    }

    async fn keep_writing(self) {
        loop {
            while !self.link.is_up() {
                sleep(LOOK_EVERY).await;
            }
            let due = Instant::now();
            let mut pause = self.config.every;
            let links = self.links();
            tokio::select! {
                outcome = self.round(due) => {
                    // The link may have been lost and found while nobody looked.
                    if self.link.is_up() && self.links() == links {
                        pause = pause.max(self.judge(outcome));
                    }
                }
                () = self.loss(links) => {}
            }
            sleep_until(due + pause).await;
        }
    }

    /// How often the link was made.
    fn links(&self) -> u64 {
        self.status.counters().sessions.get()
    }

    /// Waits until the link is another one than it was, or none.
    async fn loss(&self, links: u64) {
        while self.link.is_up() && self.links() == links {
            sleep(LOOK_EVERY).await;
        }
    }

    /// One probe; ends when it is back, else when it is too late.
    async fn round(&self, due: Instant) -> Result<Duration, Missing> {
        let deadline = due + self.config.timeout;
        let outcome = self.write(deadline).await;
        if outcome.is_err() {
            sleep_until(deadline).await;
        }
        outcome
    }

    async fn write(&self, deadline: Instant) -> Result<Duration, Missing> {
        let subject = format!("canary of node {}", self.node);
        let opened = timeout_at(deadline, Session::open(&self.config, self.account.password(), &subject)).await;
        let mut session = opened.unwrap_or(Err(LogInError::TooSlow)).map_err(Missing::LogIn)?;
        let id = fresh_id().map_err(|error| Missing::Lost(LogInError::NoSession(error.to_string())))?;
        self.canaries.sent(&self.node, &id);
        let sent = timeout_at(deadline, session.send(&self.account.message(&id))).await;
        sent.unwrap_or(Err(LogInError::TooSlow)).map_err(Missing::Lost)?;
        let mut heard = Heard::default();
        let _until_it_is_too_late = timeout_at(deadline, self.listen(&mut session, &id, &mut heard)).await;
        let outcome = match (self.canaries.progress(&self.node, &id), heard.refused) {
            (Progress::Returned(took), _) => Ok(took),
            (Progress::Altered(what), _) => Err(Missing::Altered(what)),
            (Progress::Mirrored, _) => Err(Missing::NotStored),
            (Progress::Sent, Some(condition)) => Err(Missing::Refused(condition)),
            (Progress::Sent, None) => Err(Missing::NotMirrored),
        };
        if !heard.has_ended {
            session.close().await;
        }
        outcome
    }

    /// Waits until the probe is stored, and then a little until it is delivered.
    async fn listen(&self, session: &mut Session, id: &str, heard: &mut Heard) {
        loop {
            let mut news = pin!(self.canaries.0.news.notified());
            // From here on no news is missed, so the state is looked at only now.
            news.as_mut().enable();
            if matches!(self.canaries.progress(&self.node, id), Progress::Returned(_)) {
                break;
            }
            tokio::select! {
                () = news => {}
                // Without a session the probe may be on its way all the same.
                stanza = session.next(), if !heard.has_ended => heard.hear(stanza, id),
            }
        }
        let delivery = async {
            while !heard.has_ended && !heard.is_delivered && self.config.to() == self.config.jid {
                let stanza = session.next().await;
                heard.hear(stanza, id);
            }
        };
        let _it_is_archived_anyway = timeout(DELIVERY_PATIENCE, delivery).await;
    }

    /// Raises or clears the alarm, and tells how long to wait at least.
    fn judge(&self, outcome: Result<Duration, Missing>) -> Duration {
        let trouble = outcome.as_ref().err().map(|missing| self.text(missing));
        self.canaries.judge(&self.node, trouble.as_deref());
        self.alarms.set(Name::CanaryMissing, &self.node, trouble.as_deref());
        if matches!(outcome, Err(Missing::LogIn(LogInError::Refused(_)))) { REFUSED_PAUSE } else { Duration::ZERO }
    }

    /// What is wrong and what to do about it.
    fn text(&self, missing: &Missing) -> String {
        let CanaryConfig { jid, timeout, .. } = &self.config;
        let (to, seconds, node) = (self.config.to(), timeout.as_secs_f64(), &self.node);
        match missing {
            Missing::LogIn(error) => {
                format!("no probe could be written, so nobody knows whether users' messages are archived: {}", error.advice(&self.config))
            }
            Missing::Lost(error) => format!("no probe could be written: the session of {jid} ended ({error}); see the node's log"),
            Missing::Refused(condition) => format!(
                "the node refused the probe from {jid} to {to} ({condition}): see that {to} is there and that {jid} may write to it"
            ),
            Missing::NotMirrored => format!(
                "a probe from {jid} was sent and was not mirrored within {seconds} s: users' messages may be missing from the archive. See that the mirror is \
                 loaded and set up on the node for its domain, that it names the component of [[node]] {node}, and that no other connection \
                 takes a part of the copies"
            ),
            Missing::NotStored => format!(
                "a probe from {jid} was mirrored and was not stored within {seconds} s: see whether the store is away or slow (`xmpp-archiver status`); what \
                 came waits in the spool"
            ),
            Missing::Altered(what) => format!(
                "a probe from {jid} came back with {what}, which was not written, so that it is archived like any message: see which module of \
                 the node does that, and keep it from this account"
            ),
        }
    }
}

/// What the account's session has received.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    is_delivered: bool,
    /// Why the probe came back as an error, which ends the wait for it as well.
    refused: Option<String>,
    has_ended: bool,
}

impl Heard {
    fn hear(&mut self, stanza: Result<Vec<u8>, LogInError>, id: &str) {
        let Ok(stanza) = stanza else {
            self.has_ended = true;
            return;
        };
        let Ok(document) = Document::parse(&stanza, "jabber:client") else { return };
        let root = document.root();
        if root.name() != "message" || root.attribute("id") != Some(id) {
            return;
        }
        self.is_delivered = true;
        if root.attribute("type") == Some("error") {
            self.refused = Some(condition(root));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(stanza: &str) -> Heard {
        let mut heard = Heard::default();
        heard.hear(Ok(stanza.as_bytes().to_vec()), "1");
        heard
    }

    #[test]
    fn an_error_for_the_probe_is_a_refusal() {
        let error =
            "<message id='1' type='error'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>";
        assert_eq!(heard(error).refused.as_deref(), Some("forbidden"));
        assert!(heard("<message id='1' type='chat'/>").is_delivered);
        for other in [error.replacen("'1'", "'2'", 1).as_str(), "<iq id='1' type='get'/>", "<<", ""] {
            assert_eq!(heard(other), Heard::default(), "{other}");
        }
    }
}
