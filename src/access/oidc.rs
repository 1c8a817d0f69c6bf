//! Signing in by the company's provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636) and nonce.

use std::net::IpAddr;

use super::Access;
use super::signin::{NewSession, SignInError};

/// The way to the provider.
#[derive(Debug)]
pub struct OidcStart {
    /// Where the browser is sent.
    pub url: String,
    /// What has to stand in a cookie of its own until it comes back (`HttpOnly`, `Secure`, `SameSite=Lax`, ten minutes); sealed.
    pub cookie: String,
}

/// What the browser brings back.
#[derive(Debug)]
pub struct OidcReturn<'a> {
    /// The cookie of [`OidcStart`].
    pub cookie: &'a str,
    /// `state` of the query.
    pub state: &'a str,
    /// `code` of the query.
    pub code: &'a str,
    /// From where.
    pub address: IpAddr,
    /// The cookie of a session that came with the request, which ends.
    pub previous: Option<&'a str>,
}

/// The path, below the public URL, to which the provider sends the browser back.
pub const RETURN_PATH: &str = "/sign-in/provider/return";

impl Access {
    /// Whether there is a provider.
    pub fn has_provider(&self) -> bool {
        self.inner.settings.oidc.is_some()
    }

    /// Begins.
    ///
    /// # Errors
    /// When there is no provider, or it does not answer.
    pub async fn oidc_start(&self) -> Result<OidcStart, SignInError> {
        Err(super::AccessError::unready().into())
    }

    /// Ends: asks the provider for the token, checks it, finds the account.
    ///
    /// # Errors
    /// As [`SignInError`] says.
    pub async fn oidc_finish(&self, back: OidcReturn<'_>) -> Result<NewSession, SignInError> {
        let _ = back;
        Err(super::AccessError::unready().into())
    }
}
