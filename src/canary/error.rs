//! Why the canary could not log in, told apart by what the operator can do about it.

use crate::config::CanaryConfig;

/// Why a log-in failed, or a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogInError {
    /// Nobody answers at the address.
    #[error("the port for clients can't be reached: {0}")]
    Unreachable(String),
    /// TLS failed.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The server offers no STARTTLS.
    #[error("the server offers no STARTTLS")]
    NoStarttls,
    /// Something answers that is no XMPP server for clients, or ended the stream.
    #[error("the server can't be talked to: {0}")]
    Stream(String),
    /// The server does not offer a way to prove the password that is taken here.
    #[error("the server offers no mechanism that can be used (it offers {0})")]
    Mechanisms(String),
    /// The server refuses the password.
    #[error("the server refused the log-in ({0})")]
    Refused(String),
    /// The server could not prove that it knows the password.
    #[error("the server did not prove that it knows the account: {0}")]
    Unproven(String),
    /// The server gives no session.
    #[error("the server gave no session ({0})")]
    NoSession(String),
    /// It took too long.
    #[error("the server did not finish the log-in in time")]
    TooSlow,
}

impl LogInError {
    /// What happened and what to do about it.
    pub fn advice(&self, canary: &CanaryConfig) -> String {
        let CanaryConfig { jid, address, .. } = canary;
        let what = match self {
            Self::Unreachable(_) | Self::TooSlow => "check `address` of the canary, and that the node listens for clients there",
            Self::Tls(_) => "compare `tls`, `tls_ca` and `tls_name` of the canary with the node's port for clients and its certificate",
            Self::NoStarttls => {
                "let the node offer it (a certificate is needed there); or, with a node on this machine, set `tls = \"none\"` of the canary"
            }
            Self::Stream(_) => {
                "check that `address` of the canary is the node's port for clients, and that its `jid` is of a domain of the node"
            }
            Self::Mechanisms(_) => {
                "SCRAM-SHA-256, SCRAM-SHA-1 or, with TLS only, PLAIN is needed: see what the node allows, and how it keeps passwords"
            }
            Self::Refused(_) => "compare `jid` and the password of the canary with the account on the node",
            Self::Unproven(_) => "this may be another server than the node: check `address` of the canary, and what stands between",
            Self::NoSession(_) => "see the node's log: it may limit how many sessions an account has",
        };
        format!("{jid} could not log in at {address}: {self}; {what}")
    }
}
