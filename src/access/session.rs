//! Sessions of browsers: a random cookie, of which the store keeps only the SHA-256, and tokens against forged requests.
//!
//! A session ends when it was idle for too long (HIPAA calls that automatic log-off), after its lifetime, when its owner signs out, and when the account
//! is disabled or its password or second factor is set. Each sign-in begins a new one.

use std::net::IpAddr;

use super::viewer::Viewer;
use super::{Access, AccessError};
use crate::time::Micros;

/// A session in force, for one request.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who asks.
    pub viewer: Viewer,
    /// When it ends if it is not used before.
    pub idle_until: Micros,
    /// When it ends at the latest.
    pub expires_at: Micros,
    pub(super) csrf: [u8; 32],
}

/// A session, as the owner of the account and administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// When it began.
    pub created_at: Micros,
    /// When it was last used, to about a minute.
    pub used_at: Micros,
    /// When it ends at the latest.
    pub expires_at: Micros,
    /// From where it was begun.
    pub address: Option<String>,
}

impl Session {
    /// A token for a form, another each time, good for this session alone (and for all of it).
    pub fn csrf_token(&self) -> String {
        String::new()
    }

    /// Whether a token that came with a request was made for this session. In constant time.
    pub fn csrf_holds(&self, token: &str) -> bool {
        let _ = token;
        false
    }
}

impl Access {
    /// The session of a cookie, if it is in force. Marks it as used.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn session(&self, cookie: &str, address: Option<IpAddr>) -> Result<Option<Session>, AccessError> {
        let _ = (cookie, address);
        Err(AccessError::unready())
    }

    /// Ends the session of a cookie.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out(&self, cookie: &str, address: Option<IpAddr>) -> Result<(), AccessError> {
        let _ = (cookie, address);
        Err(AccessError::unready())
    }
}
