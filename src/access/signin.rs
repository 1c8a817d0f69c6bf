//! Signing in with a name and a password, and a code where the account has a second factor.
//!
//! Whoever tries is told nothing but that it was wrong: an unknown name, a wrong password, a disabled and a locked account look and
//! take alike.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit::{Action, Actor, Event, Outcome};
use super::change::{By, folded};
use super::crypt::Purpose;
use super::role::Roles;
use super::session::{self, Begin, Session, micros};
use super::viewer::Way;
use super::{Access, AccessError, Lock, limit, totp};
use crate::store::Connection;
use crate::store::access::accounts;
use crate::store::access::rows::AccountRow;
use crate::time::{Micros, SECOND, rfc3339};

/// For how long a code can follow the password.
const PENDING_LASTS: Micros = 300 * SECOND;

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
#[expect(clippy::large_enum_variant, reason = "there is one for each sign-in, and it is taken apart at once")]
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
    /// The provider can't be asked, or does not answer as it should. What it says is for operators, who find it in the log as well.
    #[error("{0}")]
    Away(String),
    /// Something is broken here.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Whose account.
#[derive(Clone)]
pub(super) enum Who {
    /// Of this name.
    Name(String),
    /// Of this number.
    Number(i64),
}

/// What is sealed while a code is awaited.
#[derive(Serialize, Deserialize)]
struct Pending {
    account: i64,
    until: Micros,
    /// A password that was changed meanwhile is no longer right.
    changed_at: Micros,
}

/// How a sign-in ends well.
pub(super) struct Entry {
    pub(super) account: i64,
    pub(super) way: Way,
    pub(super) address: IpAddr,
    pub(super) previous: Option<String>,
    pub(super) with: Proof,
}

/// What is changed in the account by signing in.
pub(super) enum Proof {
    /// The password, with its new hash where the old one was made with old parameters.
    Password(Option<String>),
    /// The code of this step.
    Step(i64),
    /// A recovery code, by its hash.
    Recovery([u8; 32]),
    /// The provider, with the roles that it gives.
    Provider(Option<Roles>),
}

impl Access {
    /// Signs in with a password.
    ///
    /// # Errors
    /// As [`SignInError`] says.
    pub async fn sign_in(&self, attempt: Attempt) -> Result<SignIn, SignInError> {
        let Attempt { name, password, address, previous } = attempt;
        self.enter(address)?;
        let who = Who::Name(folded(&name));
        let reserved = self.reserve(who.clone()).await?;
        let kept = reserved.as_ref().and_then(|row| row.password_hash.as_deref());
        let verdict = self.inner.hasher.verify(&password, kept).await?;
        let Some(row) = reserved.filter(|_| verdict.is_right) else {
            return Err(self.refuse(who, address, "password").await?);
        };
        self.inner.gate.leave(address, self.now());
        if row.totp_secret.is_some() {
            self.give_back(row.id).await?;
            let pending = Pending { account: row.id, until: self.now() + PENDING_LASTS, changed_at: row.changed_at };
            return Ok(SignIn::CodeWanted(self.key().await?.seal_text(Purpose::Pending, &pending)?));
        }
        let newer = if verdict.is_outdated { Some(self.inner.hasher.hash(&password).await?) } else { None };
        let entry = Entry { account: row.id, way: Way::Password, address, previous, with: Proof::Password(newer) };
        self.admit(entry).await.map(SignIn::Done)
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
        let now = self.now();
        let pending: Option<Pending> = self.key().await?.unseal_text(Purpose::Pending, pending);
        let pending = pending.filter(|pending| pending.until > now).ok_or_else(stale)?;
        self.enter(address)?;
        let who = Who::Number(pending.account);
        let reserved = self.reserve(who.clone()).await?.filter(|row| row.changed_at == pending.changed_at);
        let proof = match reserved {
            Some(row) => self.proof(&row, code).await?,
            None => None,
        };
        let Some(with) = proof else { return Err(self.refuse(who, address, "code").await?) };
        let entry = Entry { account: pending.account, way: Way::Password, address, previous: previous.map(str::to_owned), with };
        let session = self.admit(entry).await?;
        self.inner.gate.leave(address, self.now());
        Ok(session)
    }

    async fn proof(&self, row: &AccountRow, code: &str) -> Result<Option<Proof>, AccessError> {
        let Some(sealed) = &row.totp_secret else { return Ok(None) };
        let secret = self.key().await?.unseal(Purpose::Totp, row.id, sealed);
        let secret =
            secret.ok_or_else(|| AccessError::Broken("the key file is not the one that second factors were sealed with".to_owned()))?;
        let step = totp::step_of(&secret, code, self.now()).map(Proof::Step);
        Ok(step.or_else(|| totp::recovery_hash(code).map(Proof::Recovery)))
    }

    pub(super) fn enter(&self, address: IpAddr) -> Result<(), SignInError> {
        self.inner.gate.enter(address, self.now()).map_err(|retry_after| {
            log::warn!("too many failed attempts to sign in from {address}");
            SignInError::TooMany { retry_after }
        })
    }

    /// Counts an attempt before it is looked at, so that any number at once are that number. Gives the account if it may be tried at all.
    pub(super) async fn reserve(&self, who: Who) -> Result<Option<AccountRow>, AccessError> {
        let now = self.now();
        let (found, locked) = self
            .change(async move |connection| {
                let row = found(connection, &who).await?;
                let is_locked = |row: &AccountRow| row.locked_until.is_some_and(|until| until > now);
                let open = row.filter(|row| row.disabled == 0 && !is_locked(row) && row.password_hash.is_some());
                let Some(mut row) = open else {
                    // A commit takes time, by which nobody is to learn which names there are.
                    crate::store::access::pretend(connection, now).await?;
                    return Ok((None, None));
                };
                row.failures = row.failures.saturating_add(1);
                row.locked_until = limit::lock_after(row.failures).map(|lock| now.saturating_add(lock));
                accounts::save(connection, &row).await?;
                let locked = row.locked_until.map(|_| (row.name.clone(), row.failures));
                Ok((Some(row), locked))
            })
            .await?;
        if let Some((name, failures)) = locked {
            log::debug!("the account {name} is locked unless this attempt is right, after {failures} in a row");
        }
        Ok(found)
    }

    /// The password was right, and now the code is tried, which is counted for itself.
    pub(super) async fn give_back(&self, account: i64) -> Result<(), AccessError> {
        self.change(async move |connection| {
            let Some(mut row) = accounts::get(connection, account).await? else { return Ok(()) };
            row.failures = row.failures.saturating_sub(1).max(0);
            // Nobody is let try while a lock lasts, so this one is of the attempt that is taken back.
            row.locked_until = None;
            Ok(accounts::save(connection, &row).await?)
        })
        .await
    }

    /// Writes down that somebody was refused. The name is written only if there is such an account: else it may be a password that was typed
    /// into the wrong field.
    pub(super) async fn refuse(&self, who: Who, address: IpAddr, by: &'static str) -> Result<SignInError, AccessError> {
        let now = self.now();
        let locked = self
            .change(async move |connection| {
                let row = found(connection, &who).await?;
                let locked_until = row.as_ref().and_then(|row| row.locked_until).filter(|until| *until > now);
                let target = json!({ "by": by, "locked_until": locked_until.map(shown), "disabled": row.as_ref().is_some_and(|row| row.disabled != 0) });
                let actor = Actor {
                    account: row.as_ref().map(|row| row.id),
                    name: row.as_ref().map_or_else(|| "?".to_owned(), |row| row.name.clone()),
                    roles: Roles::default(),
                    way: "",
                    address: Some(address.to_string()),
                };
                let by = By { actor, reason: None, now };
                by.note(connection, Event::new(Action::SignIn, target).ended(Outcome::Failed)).await?;
                Ok(row.and_then(|row| locked_until.map(|until| (row.name, row.failures, until))))
            })
            .await?;
        if let Some((account, failures, until)) = locked {
            self.tell_locked(&Lock { account, failures, address, until });
        }
        Ok(SignInError::Refused)
    }

    /// Begins a session for somebody who has proved to be the one.
    pub(super) async fn admit(&self, entry: Entry) -> Result<NewSession, SignInError> {
        let settings = &self.inner.settings;
        let (lifetime, idle, now) = (micros(settings.session_lifetime), micros(settings.session_idle), self.now());
        let (account, address) = (entry.account, entry.address);
        let admitted = self
            .change(async move |connection| {
                let Some(mut row) = accounts::get(connection, entry.account).await?.filter(|row| row.disabled == 0) else {
                    return Ok(None);
                };
                let roles_before = row.roles;
                let Some(by) = prove(connection, &mut row, &entry.with).await? else { return Ok(None) };
                let was_locked = row.locked_until.is_some();
                (row.failures, row.locked_until, row.signed_in_at) = (0, None, Some(now));
                accounts::save(connection, &row).await?;
                let begin = Begin { way: entry.way, address: entry.address, previous: entry.previous, now, lifetime, idle };
                let session = session::begin(connection, &row, begin).await?;
                let by_viewer = By::viewer(&session.session.viewer, None, now);
                if row.roles != roles_before {
                    let words = |roles: i32| Roles::of_number(roles).iter().map(|role| role.word()).collect::<Vec<_>>();
                    let target = json!({ "account": row.name, "from": words(roles_before), "to": words(row.roles), "by": "provider" });
                    by_viewer.note(connection, Event::new(Action::AccountRoles, target)).await?;
                }
                by_viewer.note(connection, Event::new(Action::SignIn, json!({ "by": by }))).await?;
                Ok(Some((session, was_locked)))
            })
            .await?;
        match admitted {
            Some((session, was_locked)) => {
                if was_locked {
                    self.tell_unlocked(session.session.viewer.name());
                }
                Ok(session)
            }
            None => Err(self.refuse(Who::Number(account), address, "code").await?),
        }
    }
}

/// Uses up what is good once, and changes in the row what the proof changes. None if it was used already.
async fn prove(connection: &mut Connection, row: &mut AccountRow, proof: &Proof) -> Result<Option<&'static str>, AccessError> {
    match proof {
        Proof::Password(newer) => {
            row.password_hash = newer.clone().or(row.password_hash.take());
            Ok(Some("password"))
        }
        Proof::Step(step) if *step > row.totp_step => {
            row.totp_step = *step;
            Ok(Some("code"))
        }
        Proof::Step(_) => Ok(None),
        Proof::Recovery(hash) => Ok(accounts::use_code(connection, row.id, hash).await?.then_some("recovery-code")),
        Proof::Provider(roles) => {
            row.roles = roles.map_or(row.roles, Roles::number);
            Ok(Some("provider"))
        }
    }
}

async fn found(connection: &mut Connection, who: &Who) -> Result<Option<AccountRow>, AccessError> {
    Ok(match who {
        Who::Name(name) => accounts::named(connection, name).await?,
        Who::Number(number) => accounts::get(connection, *number).await?,
    })
}

fn shown(at: Micros) -> String {
    if at == Micros::MAX { "unlocked".to_owned() } else { rfc3339(at) }
}

pub(super) fn stale() -> SignInError {
    SignInError::Stale("the page was open for too long: begin anew".to_owned())
}
