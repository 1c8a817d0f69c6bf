//! Sessions of browsers: a random cookie, of which the store keeps only the SHA-256, and tokens against forged requests.
//!
//! A session ends when it was idle for too long (HIPAA calls that automatic log-off), after its lifetime, when its owner signs out, and when the account
//! is disabled or its password or second factor is set. Each sign-in begins a new one.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::audit::{Action, Event};
use super::change::{self, By};
use super::crypt::{self, sha256};
use super::signin::NewSession;
use super::viewer::{Viewer, Way};
use super::{Access, AccessError};
use crate::store::Connection;
use crate::store::access::rows::{AccountRow, SessionRow};
use crate::store::access::{accounts, sessions as store};
use crate::time::{Micros, SECOND};

/// The most sessions of one account.
const MOST_SESSIONS: usize = 20;
/// The use of a session is noted so often.
const TOUCH: Micros = 60 * SECOND;
/// `sessions.way`.
const BY_PASSWORD: i16 = 1;
const BY_PROVIDER: i16 = 2;

/// A session in force, for one request.
#[derive(Clone)]
pub struct Session {
    /// Who asks.
    pub viewer: Viewer,
    /// When it ends if it is not used before.
    pub idle_until: Micros,
    /// When it ends at the latest.
    pub expires_at: Micros,
    pub(super) csrf: Vec<u8>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("viewer", &self.viewer.name()).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
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
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn csrf_token(&self) -> Result<String, AccessError> {
        crypt::csrf_token(&self.csrf)
    }

    /// Whether a token that came with a request was made for this session. In constant time.
    pub fn csrf_holds(&self, token: &str) -> bool {
        crypt::csrf_holds(&self.csrf, token)
    }
}

impl From<SessionRow> for SessionInfo {
    fn from(row: SessionRow) -> Self {
        Self { created_at: row.created_at, used_at: row.used_at, expires_at: row.expires_at, address: row.address }
    }
}

/// Why a session began, as `sessions.way` has it.
fn way_number(way: Way) -> i16 {
    if way == Way::Provider { BY_PROVIDER } else { BY_PASSWORD }
}

/// A session to be begun.
pub(super) struct Begin {
    pub(super) way: Way,
    pub(super) address: IpAddr,
    pub(super) previous: Option<String>,
    pub(super) now: Micros,
    pub(super) lifetime: Micros,
    pub(super) idle: Micros,
}

/// Begins a session within the transaction of a sign-in. The one that came with the request ends, and with it the oldest where there are too many.
pub(super) async fn begin(connection: &mut Connection, account: &AccountRow, begin: Begin) -> Result<NewSession, AccessError> {
    if let Some(previous) = &begin.previous {
        store::remove(connection, &sha256(previous.as_bytes())).await?;
    }
    store::sweep(connection, begin.now, begin.now.saturating_sub(begin.idle)).await?;
    for row in store::of(connection, account.id).await?.iter().skip(MOST_SESSIONS - 1) {
        store::remove(connection, &row.hash).await?;
    }
    let cookie = crypt::random_text()?;
    let row = SessionRow {
        hash: sha256(cookie.as_bytes()).to_vec(),
        csrf: crypt::random::<32>()?.to_vec(),
        account_id: account.id,
        created_at: begin.now,
        used_at: begin.now,
        expires_at: begin.now.saturating_add(begin.lifetime),
        way: way_number(begin.way),
        address: Some(begin.address.to_string()),
    };
    store::insert(connection, &row).await?;
    let session = session_of(connection, &row, account, Some(begin.address), begin.idle).await?;
    Ok(NewSession { cookie: cookie.into(), session })
}

async fn session_of(
    connection: &mut Connection,
    row: &SessionRow,
    account: &AccountRow,
    address: Option<IpAddr>,
    idle: Micros,
) -> Result<Session, AccessError> {
    let groups = change::groups(connection).await?;
    let way = if row.way == BY_PROVIDER { Way::Provider } else { Way::Password };
    let mut viewer = change::viewer_of(account, &groups, way, address)?;
    viewer.session = row.hash.as_slice().try_into().ok();
    let idle_until = row.used_at.saturating_add(idle).min(row.expires_at);
    Ok(Session { viewer, idle_until, expires_at: row.expires_at, csrf: row.csrf.clone() })
}

impl Access {
    /// The session of a cookie, if it is in force. Marks it as used, unless nobody did anything and a page merely looked again by itself: a screen
    /// that was left is not to stay open for that.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn session(&self, cookie: &str, address: Option<IpAddr>, by_itself: bool) -> Result<Option<Session>, AccessError> {
        let hash = sha256(cookie.as_bytes());
        let (now, idle) = (self.now(), micros(self.inner.settings.session_idle));
        self.ask(async move |connection| {
            let Some(mut row) = store::get(connection, &hash).await? else { return Ok(None) };
            let account = accounts::get(connection, row.account_id).await?;
            let is_over = now >= row.expires_at || now - row.used_at >= idle;
            let Some(account) = account.filter(|account| account.disabled == 0 && !is_over) else {
                store::remove(connection, &hash).await?;
                return Ok(None);
            };
            if !by_itself && now - row.used_at >= TOUCH.min(idle / 10) {
                store::touch(connection, &hash, now).await?;
                row.used_at = now;
            }
            session_of(connection, &row, &account, address, idle).await.map(Some)
        })
        .await
    }

    /// Ends the session of a cookie.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out(&self, cookie: &str, address: Option<IpAddr>) -> Result<(), AccessError> {
        let Some(session) = self.session(cookie, address, false).await? else { return Ok(()) };
        let hash = sha256(cookie.as_bytes());
        let by = By::viewer(&session.viewer, None, self.now());
        self.change(async move |connection| {
            store::remove(connection, &hash).await?;
            by.note(connection, Event::new(Action::SignOut, json!({}))).await
        })
        .await
    }

    /// Who was last active before this has no session any more.
    pub(super) fn idle_since(&self) -> Micros {
        self.now().saturating_sub(micros(self.inner.settings.session_idle))
    }
}

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
