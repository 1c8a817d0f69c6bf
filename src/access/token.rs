//! Tokens of the API: `Authorization: Bearer xa_…`.
//!
//! A token belongs to an account and can do no more than it: of its roles those that the token was given, within its scope what the
//! token was given of it. Both are looked up anew with each request.

use std::net::IpAddr;

use secrecy::SecretString;

use super::role::Roles;
use super::scope::Scope;
use super::viewer::Viewer;
use super::{Access, AccessError};
use crate::time::Micros;

/// What every token begins with, so that one that leaked can be searched for.
pub const PREFIX: &str = "xa_";

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// The name of the account.
    pub account: String,
    /// What it is for.
    pub name: String,
    /// The roles that it was given.
    pub roles: Roles,
    /// The scope that it was given, if it has one of its own.
    pub scope: Option<Scope>,
    /// When it was made.
    pub created_at: Micros,
    /// When it ends.
    pub expires_at: Option<Micros>,
    /// When it was last used, to about a minute.
    pub used_at: Option<Micros>,
    /// When it was revoked.
    pub revoked_at: Option<Micros>,
}

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// Roles of the account; empty: all that it has at each moment.
    pub roles: Roles,
    /// Within the account's scope; none: all of it.
    pub scope: Option<Scope>,
    /// When it ends.
    pub expires_at: Option<Micros>,
}

impl Access {
    /// Who a token stands for; none if it is unknown, revoked or over, or its account disabled. `token` is what follows `Bearer `.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn bearer(&self, token: &str, address: Option<IpAddr>) -> Result<Option<Viewer>, AccessError> {
        let _ = (token, address);
        Err(AccessError::unready())
    }

    /// The tokens of an account, the own one or, for those who manage accounts, any; without a name, all.
    ///
    /// # Errors
    /// When it is not allowed, or the store fails.
    pub async fn tokens(&self, viewer: &Viewer, account: Option<&str>) -> Result<Vec<Token>, AccessError> {
        let _ = (viewer, account);
        Err(AccessError::unready())
    }

    /// Makes a token for the own account (at the command line, for any). Its text is shown this once.
    ///
    /// # Errors
    /// When what is asked for is more than the account has, or the store fails.
    pub async fn add_token(&self, viewer: &Viewer, account: &str, token: NewToken) -> Result<(Token, SecretString), AccessError> {
        let _ = (viewer, account, token);
        Err(AccessError::unready())
    }

    /// Revokes a token for good: of the own account or, for those who manage accounts, any.
    ///
    /// # Errors
    /// As [`Access::tokens`].
    pub async fn revoke_token(&self, viewer: &Viewer, id: i64) -> Result<(), AccessError> {
        let _ = (viewer, id);
        Err(AccessError::unready())
    }
}
