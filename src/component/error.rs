//! Why there is no session with a node, told apart by what the operator can do about it.

use super::Settings;

/// Why a session could not be opened or has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Nobody answers at the address.
    #[error("the node can't be reached: {0}")]
    Unreachable(String),
    /// TLS to the port failed.
    #[error("TLS to the node failed: {0}")]
    Tls(String),
    /// Something answers that does not speak XEP-0114.
    #[error("what answers is not an XMPP component port: {0}")]
    NotAComponentPort(String),
    /// `not-authorized`, or the connection was closed in answer to the handshake.
    #[error("the node refused the secret ({0})")]
    SecretRefused(String),
    /// `conflict`: the domain is in use by another connection.
    #[error("another connection holds the component's domain")]
    Conflict,
    /// `host-unknown`: the node has no such component.
    #[error("the node does not know the component's domain")]
    HostUnknown,
    /// Any other stream error (RFC 6120 section 4.9.3).
    #[error("the node ended the stream with {condition}{}", text_after(text))]
    StreamError {
        /// The defined condition.
        condition: String,
        /// What the node said about it, often nothing.
        text: String,
    },
    /// The stream can't be followed any further.
    #[error("the stream from the node is out of step: {0}")]
    OutOfStep(String),
    /// Not a byte came, not even in answer to a ping.
    #[error("the node fell silent and did not answer a ping")]
    Silent,
    /// The node does not read what we answer, and the queue is full.
    #[error("the node does not read what it is sent")]
    NotReading,
    /// The connection ended without a reason given.
    #[error("the connection was closed{}", text_after(.0))]
    Closed(String),
}

/// A detail put behind a message, if there is one.
fn text_after(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl SessionError {
    /// What a stream error means.
    pub(super) fn from_stream_error(condition: String, text: String) -> Self {
        match condition.as_str() {
            "not-authorized" if text.is_empty() => Self::SecretRefused(condition),
            "not-authorized" => Self::SecretRefused(text),
            "conflict" => Self::Conflict,
            "host-unknown" => Self::HostUnknown,
            _ => Self::StreamError { condition, text },
        }
    }

    /// Whether asking again soon is pointless, because somebody has to change something first.
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::SecretRefused(_) | Self::Conflict | Self::HostUnknown | Self::NotAComponentPort(_))
    }

    /// The condition as one word, for counters and for telling one outage from another.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::NotAComponentPort(_) => "not-a-component-port",
            Self::SecretRefused(_) => "secret-refused",
            Self::Conflict => "conflict",
            Self::HostUnknown => "host-unknown",
            Self::StreamError { .. } => "stream-error",
            Self::OutOfStep(_) => "out-of-step",
            Self::Silent => "silent",
            Self::NotReading => "not-reading",
            Self::Closed(_) => "closed",
        }
    }

    /// What happened and what to do about it, in a sentence for the log, `status` and `check`.
    pub fn advice(&self, settings: &Settings) -> String {
        let Settings { name, address, domain, .. } = settings;
        match self {
            Self::Unreachable(reason) => format!(
                "the node at {address} can't be reached ({reason}): check `address` of [[node]] {name}, that the node \
                 is up and listens for components there, and that no firewall is between"
            ),
            Self::Tls(reason) => format!(
                "TLS to the node at {address} failed ({reason}): compare `tls` of [[node]] {name} with the node's \
                 component port and its certificate"
            ),
            Self::NotAComponentPort(reason) => format!(
                "what answers at {address} is not an XMPP component port ({reason}): check the port in `address` of \
                 [[node]] {name}"
            ),
            Self::SecretRefused(reason) => format!(
                "the node at {address} refused the secret of {domain} ({reason}): compare `secret` of [[node]] {name} \
                 with the node's component configuration"
            ),
            Self::Conflict => format!(
                "another connection holds {domain} at the node at {address}: see whether a second archiver runs with \
                 the `domain` of [[node]] {name}, or wait until the node has noticed that the old connection is dead"
            ),
            Self::HostUnknown => format!(
                "the node at {address} does not know the component {domain}: compare `domain` of [[node]] {name} with \
                 the node's component configuration"
            ),
            Self::StreamError { .. } | Self::OutOfStep(_) | Self::Silent | Self::NotReading | Self::Closed(_) => {
                format!("the session of {domain} with the node at {address} ended: {self}")
            }
        }
    }
}
