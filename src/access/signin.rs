//! Signing in with a name and a password, and a code where the account has a second factor.
//!
//! Whoever tries is told nothing but that it was wrong: an unknown name, a wrong password, a disabled and a locked account look and
//! take alike.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::session::Session;
use super::{Access, AccessError};

/// A name and a password.
#[derive(Debug)]
pub struct Attempt {
    /// The name.
    pub name: String,
    /// The password.
    pub password: SecretString,
    /// From where.
    pub address: IpAddr,
    /// The cookie that came with the request, whose session ends.
    pub previous: Option<String>,
}

/// What a right password leads to.
#[derive(Debug)]
pub enum SignIn {
    /// A session.
    Done(NewSession),
    /// A code is wanted, or a recovery code. The text has to come back with it ([`Access::sign_in_code`]); it is sealed and holds for five minutes.
    CodeWanted(String),
}

/// A session that has just begun.
#[derive(Debug)]
pub struct NewSession {
    /// The value of the cookie. `Secure`, `HttpOnly`, `SameSite=Lax`, and `__Host-` in its name are the caller's.
    pub cookie: SecretString,
    /// The session.
    pub session: Session,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown, wrong, disabled or locked: nobody is told which.
    #[error("that is not right; after several failures an account is locked for some time")]
    Refused,
    /// Too much was tried from this address.
    #[error("too many attempts: try again in {} s", retry_after.as_secs().max(1))]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// The page was open for too long, or the answer of the provider does not fit: begin anew.
    #[error("{0}")]
    Stale(String),
    /// Something is broken here or at the provider.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl Access {
    /// Signs in with a password.
    ///
    /// # Errors
    /// As [`SignInError`] says.
    pub async fn sign_in(&self, attempt: Attempt) -> Result<SignIn, SignInError> {
        let _ = attempt;
        Err(AccessError::unready().into())
    }

    /// Goes on with a code, or a recovery code.
    ///
    /// # Errors
    /// As [`SignInError`] says.
    pub async fn sign_in_code(
        &self,
        pending: &str,
        code: &str,
        address: IpAddr,
        previous: Option<&str>,
    ) -> Result<NewSession, SignInError> {
        let _ = (pending, code, address, previous);
        Err(AccessError::unready().into())
    }
}
