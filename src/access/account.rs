//! Accounts and groups: adding and changing them, passwords and second factors.
//!
//! Each change and its row in the audit trail are one transaction. Accounts are disabled and never removed, since the audit trail
//! names them.

use std::collections::BTreeSet;

use secrecy::SecretString;

use super::role::Roles;
use super::scope::{Groups, Scope};
use super::session::SessionInfo;
use super::viewer::Viewer;
use super::{Access, AccessError};
use crate::time::Micros;

/// An account, as those see it who manage accounts. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// The name to sign in with, in lower case.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// What it is there for.
    pub roles: Roles,
    /// Whose messages it may read, as far as its roles ask for that; none was set yet: nobody's.
    pub scope: Option<Scope>,
    /// Whether it has a password.
    pub has_password: bool,
    /// Whether the password must be changed first.
    pub must_change: bool,
    /// Whether a code is asked for beside the password.
    pub has_totp: bool,
    /// Who it is at the company's provider.
    pub oidc_subject: Option<String>,
    /// Whether nobody can sign in with it.
    pub disabled: bool,
    /// How often in a row signing in failed.
    pub failures: u32,
    /// Until when signing in with a password is refused.
    pub locked_until: Option<Micros>,
    /// When it was made.
    pub created_at: Micros,
    /// When it was last changed by somebody.
    pub changed_at: Micros,
    /// When somebody last signed in with it.
    pub signed_in_at: Option<Micros>,
}

/// An account to be made.
#[derive(Clone, Debug, Default)]
pub struct NewAccount {
    /// The name to sign in with.
    pub name: String,
    /// The name for people; the same, if empty.
    pub display_name: String,
    /// What it is there for.
    pub roles: Roles,
    /// Whose messages it may read.
    pub scope: Option<Scope>,
    /// The first password; without one, only the provider can vouch for it.
    pub password: Option<SecretString>,
    /// Whether it must be changed at the first sign-in; always so if it was set in the console.
    pub must_change: bool,
    /// Who it is at the company's provider.
    pub oidc_subject: Option<String>,
}

/// What is changed of an account.
#[derive(Clone, Debug)]
pub enum AccountChange {
    /// Its roles.
    Roles(Roles),
    /// Its scope.
    Scope(Scope),
    /// Its name for people.
    DisplayName(String),
    /// Who it is at the company's provider.
    OidcSubject(Option<String>),
    /// A password that somebody else chose, and whether it must be changed at the next sign-in. Ends all sessions.
    Password(SecretString, bool),
    /// No second factor any more, for somebody who lost it. Ends all sessions.
    NoTotp,
    /// Nobody can sign in any more, sessions end, tokens are refused.
    Disable,
    /// The opposite.
    Enable,
    /// Failed attempts are forgotten.
    Unlock,
}

/// A second factor that is offered and counts once a code of it was given ([`Access::totp_accept`]).
#[derive(Debug)]
pub struct TotpOffer {
    /// `otpauth://totp/…` for a QR code.
    pub url: SecretString,
    /// The secret in base32, to be typed.
    pub secret: SecretString,
    /// What has to come back with the first code; sealed, so it may stand in a form.
    pub sealed: String,
}

/// Recovery codes: shown once, each good for one sign-in in place of a code.
#[derive(Debug)]
pub struct Recovery(pub Vec<SecretString>);

impl Access {
    /// All accounts by name.
    ///
    /// # Errors
    /// When the viewer may not manage accounts, or the store fails.
    pub async fn accounts(&self, viewer: &Viewer) -> Result<Vec<Account>, AccessError> {
        let _ = viewer;
        Err(AccessError::unready())
    }

    /// One account. Everybody may see the own one.
    ///
    /// # Errors
    /// [`AccessError::Missing`] if there is none; else as [`Access::accounts`].
    pub async fn account(&self, viewer: &Viewer, name: &str) -> Result<Account, AccessError> {
        let _ = (viewer, name);
        Err(AccessError::unready())
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] with all that is wrong; else as [`Access::accounts`].
    pub async fn add_account(&self, viewer: &Viewer, account: NewAccount, reason: Option<String>) -> Result<Account, AccessError> {
        let _ = (viewer, account, reason);
        Err(AccessError::unready())
    }

    /// Changes an account. Nobody changes the roles or the scope of the own one, or enables or unlocks it.
    ///
    /// # Errors
    /// As [`Access::add_account`].
    pub async fn change_account(
        &self,
        viewer: &Viewer,
        name: &str,
        change: AccountChange,
        reason: Option<String>,
    ) -> Result<(), AccessError> {
        let _ = (viewer, name, change, reason);
        Err(AccessError::unready())
    }

    /// Changes the own password. All other sessions end.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] when the old one is wrong or the new one won't do.
    pub async fn change_own_password(&self, viewer: &Viewer, old: SecretString, new: SecretString) -> Result<(), AccessError> {
        let _ = (viewer, old, new);
        Err(AccessError::unready())
    }

    /// A new second factor for the own account, which does not count yet.
    ///
    /// # Errors
    /// When random numbers or the store fail.
    pub async fn totp_offer(&self, viewer: &Viewer) -> Result<TotpOffer, AccessError> {
        let _ = viewer;
        Err(AccessError::unready())
    }

    /// Makes the offered second factor count. Gives recovery codes, which are shown this once.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] when the code is not one of the offer, or the offer is too old.
    pub async fn totp_accept(&self, viewer: &Viewer, sealed: &str, code: &str) -> Result<Recovery, AccessError> {
        let _ = (viewer, sealed, code);
        Err(AccessError::unready())
    }

    /// All sessions of an account that are not over.
    ///
    /// # Errors
    /// As [`Access::account`].
    pub async fn sessions_of(&self, viewer: &Viewer, name: &str) -> Result<Vec<SessionInfo>, AccessError> {
        let _ = (viewer, name);
        Err(AccessError::unready())
    }

    /// Ends all sessions of an account, the own one or another's.
    ///
    /// # Errors
    /// As [`Access::account`].
    pub async fn end_sessions(&self, viewer: &Viewer, name: &str) -> Result<u64, AccessError> {
        let _ = (viewer, name);
        Err(AccessError::unready())
    }

    /// All groups.
    ///
    /// # Errors
    /// As [`Access::accounts`].
    pub async fn groups(&self, viewer: &Viewer) -> Result<Groups, AccessError> {
        let _ = viewer;
        Err(AccessError::unready())
    }

    /// Makes a group, or gives it other members (as [`Scope::who`]).
    ///
    /// # Errors
    /// As [`Access::add_account`].
    pub async fn set_group(
        &self,
        viewer: &Viewer,
        name: &str,
        members: BTreeSet<String>,
        reason: Option<String>,
    ) -> Result<(), AccessError> {
        let _ = (viewer, name, members, reason);
        Err(AccessError::unready())
    }

    /// Removes a group. Scopes that name it reach nobody by it from then on.
    ///
    /// # Errors
    /// As [`Access::account`].
    pub async fn remove_group(&self, viewer: &Viewer, name: &str, reason: Option<String>) -> Result<(), AccessError> {
        let _ = (viewer, name, reason);
        Err(AccessError::unready())
    }
}
