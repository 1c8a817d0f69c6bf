//! Accounts: adding and changing them, passwords and second factors.
//!
//! Each change and its row in the audit trail are one transaction. Accounts are disabled and never removed, since the audit trail
//! names them.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audit::{Action, Event, Outcome};
use super::change::{self, By, account_of, folded, named, words, written};
use super::crypt::Purpose;
use super::role::{Permission, Roles};
use super::scope::Scope;
use super::session::SessionInfo;
use super::signin::Who;
use super::viewer::{CONSOLE_ACCOUNT, Viewer, Way};
use super::{Access, AccessError, password, totp};
use crate::store::Connection;
use crate::store::access::rows::AccountRow;
use crate::store::access::{accounts, sessions};
use crate::time::{Micros, SECOND};

/// The most bytes of a name to sign in with.
pub const MAX_NAME_BYTES: usize = 100;
/// The most bytes of a name for people.
pub const MAX_DISPLAY_BYTES: usize = 200;
/// The most bytes of a subject (OpenID Connect Core 1.0 section 2).
pub const MAX_SUBJECT_BYTES: usize = 255;
/// For how long an offered second factor can be accepted.
const OFFER_LASTS: Micros = 900 * SECOND;

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
        viewer.require(Permission::ManageAccounts)?;
        self.ask(async |connection| accounts::all(connection).await?.iter().map(account_of).collect()).await
    }

    /// One account. Everybody may see the own one.
    ///
    /// # Errors
    /// [`AccessError::Missing`] if there is none; else as [`Access::accounts`].
    pub async fn account(&self, viewer: &Viewer, name: &str) -> Result<Account, AccessError> {
        let name = self.own_or_managed(viewer, name)?;
        self.ask(async move |connection| account_of(&named(connection, &name).await?)).await
    }

    /// The name of an account, if it is the viewer's or the viewer may manage accounts.
    pub(super) fn own_or_managed(&self, viewer: &Viewer, name: &str) -> Result<String, AccessError> {
        let name = folded(name);
        if name != viewer.name() || viewer.account() == CONSOLE_ACCOUNT {
            viewer.require(Permission::ManageAccounts)?;
        }
        Ok(name)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] with all that is wrong; else as [`Access::accounts`].
    pub async fn add_account(&self, viewer: &Viewer, account: NewAccount, reason: Option<String>) -> Result<Account, AccessError> {
        let target = json!({ "account": folded(&account.name), "roles": words(account.roles) });
        self.require(viewer, Permission::ManageAccounts, Action::AccountAdd, &target).await?;
        let account = checked(account)?;
        let mut row = self.row_of(viewer.way(), &account);
        if let Some(password) = &account.password {
            row.password_hash = Some(self.inner.hasher.hash(password).await?);
        }
        row.scope = written(account.scope.as_ref())?;
        let by = By::viewer(viewer, reason, self.now());
        self.change(async move |connection| {
            if accounts::named(connection, &row.name).await?.is_some() {
                return Err(AccessError::Invalid(format!("there is an account \"{}\" already", row.name)));
            }
            refuse_taken_subject(connection, &row).await?;
            row.id = accounts::insert(connection, &row).await?;
            let target = json!({ "account": row.name, "roles": words(account.roles), "scope": account.scope, "subject": row.oidc_subject });
            by.note(connection, Event::new(Action::AccountAdd, target)).await?;
            account_of(&row)
        })
        .await
    }

    /// The row of an account that is made in this way.
    pub(super) fn row_of(&self, way: Way, account: &NewAccount) -> AccountRow {
        let now = self.now();
        let has_password = account.password.is_some();
        let issuer = self.inner.settings.oidc.as_ref().map(|oidc| oidc.issuer.clone());
        AccountRow {
            id: 0,
            created_at: now,
            changed_at: now,
            signed_in_at: None,
            locked_until: None,
            totp_step: 0,
            roles: account.roles.number(),
            failures: 0,
            disabled: 0,
            must_change: i16::from(has_password && (account.must_change || way != Way::Console)),
            name: account.name.clone(),
            display_name: account.display_name.clone(),
            scope: None,
            password_hash: None,
            oidc_issuer: issuer.filter(|_| account.oidc_subject.is_some()),
            oidc_subject: account.oidc_subject.clone(),
            totp_secret: None,
        }
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
        let name = folded(name);
        let action = change.action();
        self.require(viewer, Permission::ManageAccounts, action, &json!({ "account": name })).await?;
        if viewer.account() != CONSOLE_ACCOUNT && name == viewer.name() && !matches!(change, AccountChange::DisplayName(_)) {
            return Err(AccessError::Invalid("nobody changes the own account so: another administrator has to".to_owned()));
        }
        let change = self.prepared(viewer, &name, change).await?;
        let by = By::viewer(viewer, reason, self.now());
        let issuer = self.inner.settings.oidc.as_ref().map(|oidc| oidc.issuer.clone());
        let unlocked = self.change(async move |connection| {
            let mut row = named(connection, &name).await?;
            let was_locked = row.locked_until.is_some();
            let target = change.apply(&mut row, issuer)?;
            row.changed_at = by.now;
            if matches!(change, Prepared::OidcSubject(_)) {
                refuse_taken_subject(connection, &row).await?;
            }
            accounts::save(connection, &row).await?;
            if change.ends_sessions() {
                sessions::remove_all(connection, row.id, None).await?;
            }
            if matches!(change, Prepared::NoTotp) {
                accounts::set_codes(connection, row.id, &[]).await?;
            }
            by.note(connection, Event::new(action, target)).await?;
            Ok(Some(row.name).filter(|_| was_locked && row.locked_until.is_none()))
        });
        if let Some(name) = unlocked.await? {
            self.tell_unlocked(&name);
        }
        Ok(())
    }

    /// Checks a change and hashes what is to be hashed, outside of any transaction.
    async fn prepared(&self, viewer: &Viewer, name: &str, change: AccountChange) -> Result<Prepared, AccessError> {
        Ok(match change {
            AccountChange::Roles(roles) => {
                roles.check().map_err(|exclusion| AccessError::Invalid(exclusion.to_string()))?;
                Prepared::Roles(roles)
            }
            AccountChange::Scope(scope) => Prepared::Scope(scope.checked().map_err(AccessError::Invalid)?),
            AccountChange::DisplayName(text) => Prepared::DisplayName(display_name(&text, name).map_err(AccessError::Invalid)?),
            AccountChange::OidcSubject(subject) => {
                subject.as_deref().map_or(Ok(()), check_subject).map_err(AccessError::Invalid)?;
                Prepared::OidcSubject(subject)
            }
            AccountChange::Password(password, must_change) => {
                password::check(&password, name).map_err(AccessError::Invalid)?;
                Prepared::Password(self.inner.hasher.hash(&password).await?, must_change || viewer.way() != Way::Console)
            }
            AccountChange::NoTotp => Prepared::NoTotp,
            AccountChange::Disable => Prepared::Disable,
            AccountChange::Enable => Prepared::Enable,
            AccountChange::Unlock => Prepared::Unlock,
        })
    }

    /// Changes the own password. All other sessions end.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] when the old one is wrong or the new one won't do.
    pub async fn change_own_password(&self, viewer: &Viewer, old: SecretString, new: SecretString) -> Result<(), AccessError> {
        let (account, own) = (own_session(viewer)?, viewer.session);
        password::check(&new, viewer.name()).map_err(AccessError::Invalid)?;
        // Whoever found a screen unlocked guesses no better than at the door.
        let reserved = self.reserve(Who::Number(account)).await?;
        let kept = reserved.as_ref().and_then(|row| row.password_hash.as_deref());
        let is_right = self.inner.hasher.verify(&old, kept).await?.is_right;
        let by = By::viewer(viewer, None, self.now());
        let target = json!({ "account": viewer.name(), "own": true });
        if !is_right {
            self.record(viewer, Event::new(Action::AccountPassword, target).ended(Outcome::Failed)).await?;
            return Err(AccessError::Invalid("the old password is not right".to_owned()));
        }
        let hash = self.inner.hasher.hash(&new).await?;
        self.change(async move |connection| {
            let mut row = by_number(connection, account).await?;
            (row.failures, row.locked_until) = (0, None);
            (row.password_hash, row.must_change, row.changed_at) = (Some(hash), 0, by.now);
            accounts::save(connection, &row).await?;
            sessions::remove_all(connection, account, own.as_ref().map(<[u8; 32]>::as_slice)).await?;
            by.note(connection, Event::new(Action::AccountPassword, target)).await
        })
        .await
    }

    /// Makes sure that whoever sits at an open session knows the password as well, before something is done by which an account could be kept for good.
    /// Where the company's provider vouches, there is none to ask for.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] when it is wrong; else when the store fails.
    pub async fn confirm(&self, viewer: &Viewer, password: &SecretString, action: Action) -> Result<(), AccessError> {
        let account = own_session(viewer)?;
        if viewer.way() == Way::Provider {
            return Ok(());
        }
        // Whoever found a screen unlocked guesses no better than at the door.
        let reserved = self.reserve(Who::Number(account)).await?;
        let kept = reserved.as_ref().and_then(|row| row.password_hash.as_deref());
        if self.inner.hasher.verify(password, kept).await?.is_right {
            return self.give_back(account).await;
        }
        let target = json!({ "account": viewer.name(), "own": true, "by": "password" });
        self.record(viewer, Event::new(action, target).ended(Outcome::Failed)).await?;
        Err(AccessError::Invalid("the password is not right".to_owned()))
    }

    /// A new second factor for the own account, which does not count yet.
    ///
    /// # Errors
    /// When random numbers or the store fail.
    pub async fn totp_offer(&self, viewer: &Viewer) -> Result<TotpOffer, AccessError> {
        let account = own_session(viewer)?;
        let secret = totp::new_key()?;
        let until = self.now() + OFFER_LASTS;
        let offer = Offer { account, until, secret };
        let sealed = self.key().await?.seal_text(Purpose::TotpOffer, &offer)?;
        let (url, secret) = totp::shown(&offer.secret, viewer.name(), &self.issuer_name());
        Ok(TotpOffer { url, secret, sealed })
    }

    /// An offer once more, for whoever mistyped its first code.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] when it is too old.
    pub async fn totp_again(&self, viewer: &Viewer, sealed: &str) -> Result<TotpOffer, AccessError> {
        let offer = self.offered(viewer, sealed).await?;
        let (url, secret) = totp::shown(&offer.secret, viewer.name(), &self.issuer_name());
        Ok(TotpOffer { url, secret, sealed: sealed.to_owned() })
    }

    async fn offered(&self, viewer: &Viewer, sealed: &str) -> Result<Offer, AccessError> {
        let (account, now) = (own_session(viewer)?, self.now());
        let offer: Option<Offer> = self.key().await?.unseal_text(Purpose::TotpOffer, sealed);
        let offer = offer.filter(|offer| offer.account == account && offer.until > now);
        offer.ok_or_else(|| AccessError::Invalid("the page was open for too long: begin anew".to_owned()))
    }

    /// What apps call this archive.
    fn issuer_name(&self) -> String {
        let url = &self.inner.settings.public_url;
        let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        format!("xmpp-archiver {host}")
    }

    /// Makes the offered second factor count. Gives recovery codes, which are shown this once.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] when the code is not one of the offer, or the offer is too old.
    pub async fn totp_accept(&self, viewer: &Viewer, sealed: &str, code: &str) -> Result<Recovery, AccessError> {
        let (account, now) = (own_session(viewer)?, self.now());
        let offer = self.offered(viewer, sealed).await?;
        let Some(step) = totp::step_of(&offer.secret, code, now) else {
            return Err(AccessError::Invalid("that is not the code of now".to_owned()));
        };
        let by = By::viewer(viewer, None, now);
        self.set_totp_row(account, &offer.secret, step, by, viewer.session).await
    }

    /// Gives an account a second factor that counts at once, for whoever sets it up at the machine and hands it over.
    ///
    /// # Errors
    /// When it is not the command line that asks; else as [`Access::account`].
    pub async fn set_totp(&self, viewer: &Viewer, name: &str) -> Result<(TotpOffer, Recovery), AccessError> {
        if viewer.way() != Way::Console {
            return Err(AccessError::Invalid("everybody sets the own second factor up".to_owned()));
        }
        let account = self.account(viewer, name).await?;
        let secret = totp::new_key()?;
        let by = By::viewer(viewer, None, self.now());
        let recovery = self.set_totp_row(account.id, &secret, 0, by, None).await?;
        let (url, secret) = totp::shown(&secret, &account.name, &self.issuer_name());
        Ok((TotpOffer { url, secret, sealed: String::new() }, recovery))
    }

    async fn set_totp_row(&self, account: i64, secret: &[u8], step: i64, by: By, own: Option<[u8; 32]>) -> Result<Recovery, AccessError> {
        let sealed = self.key().await?.seal(Purpose::Totp, account, secret)?;
        let (codes, hashes) = totp::recovery()?;
        self.change(async move |connection| {
            let mut row = by_number(connection, account).await?;
            (row.totp_secret, row.totp_step, row.changed_at) = (Some(sealed), step, by.now);
            accounts::save(connection, &row).await?;
            accounts::set_codes(connection, account, &hashes).await?;
            sessions::remove_all(connection, account, own.as_ref().map(<[u8; 32]>::as_slice)).await?;
            by.note(connection, Event::new(Action::AccountTotp, json!({ "account": row.name, "set": true }))).await
        })
        .await?;
        Ok(codes)
    }

    /// All sessions of an account that are not over.
    ///
    /// # Errors
    /// As [`Access::account`].
    pub async fn sessions_of(&self, viewer: &Viewer, name: &str) -> Result<Vec<SessionInfo>, AccessError> {
        let name = self.own_or_managed(viewer, name)?;
        let (now, idle_since) = (self.now(), self.idle_since());
        self.ask(async move |connection| {
            let row = named(connection, &name).await?;
            let rows = sessions::of(connection, row.id).await?;
            let in_force = rows.into_iter().filter(|row| row.expires_at > now && row.used_at > idle_since);
            Ok(in_force.map(SessionInfo::from).collect())
        })
        .await
    }

    /// Ends all sessions of an account, the own one or another's.
    ///
    /// # Errors
    /// As [`Access::account`].
    pub async fn end_sessions(&self, viewer: &Viewer, name: &str) -> Result<u64, AccessError> {
        let name = self.own_or_managed(viewer, name)?;
        let by = By::viewer(viewer, None, self.now());
        self.change(async move |connection| {
            let row = named(connection, &name).await?;
            let ended = sessions::remove_all(connection, row.id, None).await?;
            by.note(connection, Event::new(Action::SessionsEnd, json!({ "account": name })).of(ended)).await?;
            Ok(ended)
        })
        .await
    }
}

/// What is sealed into an offer.
#[derive(Serialize, Deserialize)]
struct Offer {
    account: i64,
    until: Micros,
    secret: Vec<u8>,
}

/// Tokens and the command line have no account of their own to see to.
fn own_session(viewer: &Viewer) -> Result<i64, AccessError> {
    match viewer.way() {
        Way::Password | Way::Provider => Ok(viewer.account()),
        Way::Token | Way::Console | Way::Service => Err(AccessError::Invalid("only whoever has signed in can do this".to_owned())),
    }
}

async fn by_number(connection: &mut Connection, account: i64) -> Result<AccountRow, AccessError> {
    accounts::get(connection, account).await?.ok_or_else(|| AccessError::Missing("the account is gone".to_owned()))
}

async fn refuse_taken_subject(connection: &mut Connection, row: &AccountRow) -> Result<(), AccessError> {
    let (Some(issuer), Some(subject)) = (&row.oidc_issuer, &row.oidc_subject) else { return Ok(()) };
    match accounts::of_subject(connection, issuer, subject).await? {
        Some(other) if other.id != row.id => Err(AccessError::Invalid(format!("\"{subject}\" is {} already", other.name))),
        _ => Ok(()),
    }
}

/// A new account with everything as it is kept, or all that is wrong with it.
fn checked(mut account: NewAccount) -> Result<NewAccount, AccessError> {
    let mut wrong = Vec::new();
    account.name = folded(&account.name);
    let mut note = |outcome: Result<(), String>| wrong.extend(outcome.err());
    note(check_name(&account.name));
    note(account.roles.check().map_err(|exclusion| exclusion.to_string()));
    note(display_name(&account.display_name, &account.name).map(|text| account.display_name = text));
    note(account.password.as_ref().map_or(Ok(()), |password| password::check(password, &account.name)));
    note(account.scope.as_ref().map_or(Ok(None), |scope| scope.checked().map(Some)).map(|scope| account.scope = scope));
    note(match (&account.password, &account.oidc_subject) {
        (None, None) => Err("an account needs a password, or a subject at the provider".to_owned()),
        (_, Some(subject)) => check_subject(subject),
        _ => Ok(()),
    });
    if wrong.is_empty() { Ok(account) } else { Err(AccessError::Invalid(wrong.join("; "))) }
}

fn check_subject(subject: &str) -> Result<(), String> {
    match (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) {
        true => Ok(()),
        false => Err(format!("a subject has 1 to {MAX_SUBJECT_BYTES} bytes")),
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_alphanumeric() || "-_.@+".contains(c);
    let is_right = !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(allowed);
    // The audit trail calls the command line `cli:USER`; no account can be mistaken for it.
    match is_right {
        true => Ok(()),
        false => Err(format!("a name has up to {MAX_NAME_BYTES} bytes of letters, digits, \"-\", \"_\", \".\", \"@\" and \"+\"")),
    }
}

pub(super) fn display_name(text: &str, name: &str) -> Result<String, String> {
    let text = text.trim();
    match text {
        "" => Ok(name.to_owned()),
        _ if text.len() > MAX_DISPLAY_BYTES => Err(format!("a name for people has at most {MAX_DISPLAY_BYTES} bytes")),
        _ if text.chars().any(char::is_control) => Err("a name for people has no control characters".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// A change whose parts were checked.
enum Prepared {
    Roles(Roles),
    Scope(Scope),
    DisplayName(String),
    OidcSubject(Option<String>),
    Password(String, bool),
    NoTotp,
    Disable,
    Enable,
    Unlock,
}

impl Prepared {
    /// Makes the change, and tells what the audit trail says of it.
    fn apply(&self, row: &mut AccountRow, issuer: Option<String>) -> Result<Value, AccessError> {
        let name = row.name.clone();
        Ok(match self {
            Self::Roles(roles) => {
                let before = std::mem::replace(&mut row.roles, roles.number());
                json!({ "account": name, "from": words(Roles::of_number(before)), "to": words(*roles) })
            }
            Self::Scope(scope) => {
                let before: Option<Scope> = change::scope_of(row.scope.as_ref())?;
                row.scope = written(Some(scope))?;
                json!({ "account": name, "from": before, "to": scope })
            }
            Self::DisplayName(text) => {
                let before = std::mem::replace(&mut row.display_name, text.clone());
                json!({ "account": name, "from": before, "to": text })
            }
            Self::OidcSubject(subject) => {
                let before = std::mem::replace(&mut row.oidc_subject, subject.clone());
                row.oidc_issuer = issuer.filter(|_| subject.is_some());
                json!({ "account": name, "from_subject": before, "to_subject": subject })
            }
            Self::Password(hash, must_change) => {
                row.password_hash = Some(hash.clone());
                row.must_change = i16::from(*must_change);
                (row.failures, row.locked_until) = (0, None);
                json!({ "account": name, "must_change": must_change })
            }
            Self::NoTotp => {
                row.totp_secret = None;
                json!({ "account": name, "set": false })
            }
            Self::Disable => {
                row.disabled = 1;
                json!({ "account": name })
            }
            Self::Enable => {
                row.disabled = 0;
                json!({ "account": name })
            }
            Self::Unlock => {
                (row.failures, row.locked_until) = (0, None);
                json!({ "account": name })
            }
        })
    }

    fn ends_sessions(&self) -> bool {
        matches!(self, Self::Password(..) | Self::NoTotp | Self::Disable | Self::OidcSubject(_))
    }
}

impl AccountChange {
    fn action(&self) -> Action {
        match self {
            Self::Roles(_) => Action::AccountRoles,
            Self::Scope(_) => Action::AccountScope,
            Self::DisplayName(_) | Self::OidcSubject(_) => Action::AccountChange,
            Self::Password(..) => Action::AccountPassword,
            Self::NoTotp => Action::AccountTotp,
            Self::Disable => Action::AccountDisable,
            Self::Enable => Action::AccountEnable,
            Self::Unlock => Action::AccountUnlock,
        }
    }
}
