//! Who asks, and whether a form is one of ours.
//!
//! [`Caller`] is for pages (a session's cookie), [`Posted`] for their forms, which must bring the token that the page was given,
//! [`Stranger`] for the forms of the sign-in, where there is no session yet: its token is in a cookie and in the form. [`Bearer`] is for the API, which knows
//! no cookies, so that no page elsewhere can make a browser ask it.

use std::net::IpAddr;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::app::App;
use super::clock::{self, Clock};
use super::frame::{Frame, Place};
use super::params::Params;
use super::server::Peer;
use super::trouble::Trouble;
use crate::access::{Action, Event, Outcome, Permission, Session, Viewer};

/// The most bytes of a form.
const MAX_FORM_BYTES: usize = 256 * 1024;
/// What a page asks for that looks again by itself.
pub(super) const LOOK_AGAIN: &str = "look=again";
/// Random bytes of the token of a sign-in form.
const TOKEN_BYTES: usize = 24;
/// The field of a form that holds the token.
pub(super) const CSRF: &str = "csrf";

/// What is said where a reason is wanted.
pub(super) const REASON_WANTED: &str =
    "Nothing that people wrote is shown without a reason: a case or a matter. It is kept in the audit trail.";

/// Somebody who is signed in, and what they ask for.
pub(super) struct Caller {
    pub(super) app: App,
    pub(super) session: Session,
    pub(super) clock: Clock,
    pub(super) params: Params,
    pub(super) address: Option<IpAddr>,
    pub(super) cookie: String,
    /// Which page this is.
    path: String,
}

/// A form of somebody who is signed in.
pub(super) struct Posted {
    pub(super) caller: Caller,
    pub(super) form: Params,
}

/// Somebody who is about to sign in.
pub(super) struct Stranger {
    pub(super) app: App,
    pub(super) address: IpAddr,
    pub(super) params: Params,
    /// The form, if it is one.
    pub(super) form: Params,
    /// The cookie of a session that came with the request.
    pub(super) previous: Option<String>,
    pub(super) headers: HeaderMap,
}

/// A program with a token.
pub(super) struct Bearer {
    pub(super) app: App,
    pub(super) viewer: Viewer,
    pub(super) params: Params,
}

/// The name of the session's cookie. With the prefix, browsers take it over TLS alone, from this host alone.
pub(super) fn session_cookie(is_secure: bool) -> &'static str {
    if is_secure { "__Host-session" } else { "session" }
}

/// The name of the cookie with the token of a sign-in form.
pub(super) fn form_cookie(is_secure: bool) -> &'static str {
    if is_secure { "__Host-form" } else { "form" }
}

/// A cookie for `Set-Cookie`; `seconds` of 0 takes it back, none is for as long as the browser runs.
pub(super) fn set_cookie(name: &str, value: &str, seconds: Option<u32>, same_site: &str, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    let age = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}{age}{secure}")
}

/// A cookie of a request.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(';'));
    all.filter_map(|pair| pair.trim().split_once('=')).find(|(other, _)| *other == name).map(|(_, value)| value)
}

/// A new token for a sign-in form.
pub(super) fn form_token() -> Result<String, Trouble> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Trouble::Broken(format!("random numbers: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// From where a request comes: what a proxy says is believed if it is one of ours, and of several the last that is none of ours.
fn address(app: &App, parts: &Parts) -> Option<IpAddr> {
    let peer = parts.extensions.get::<Peer>()?.0;
    if !app.is_proxy(peer) {
        return Some(peer);
    }
    let said: Vec<&str> =
        parts.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(',')).collect();
    for entry in said.iter().rev() {
        match entry.trim().parse::<IpAddr>() {
            Ok(address) if app.is_proxy(address.to_canonical()) => {}
            Ok(address) => return Some(address.to_canonical()),
            Err(_unreadable) => return Some(peer),
        }
    }
    Some(peer)
}

/// Whether a form comes from a page of ours, as far as the browser says.
fn is_ours(app: &App, headers: &HeaderMap) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let Some(origin) = header(ORIGIN.as_str()) else { return true };
    let own = app.config.web.public_url.as_str();
    let host = header(HOST.as_str()).unwrap_or_default();
    origin == own || origin.split_once("://").is_some_and(|(_, authority)| !host.is_empty() && authority == host)
}

impl Caller {
    pub(super) fn viewer(&self) -> &Viewer {
        &self.session.viewer
    }

    /// The frame of a page.
    pub(super) fn frame(&self, place: Place, title: impl Into<String>) -> Frame {
        Frame::of(&self.session, &self.clock).at(place).titled(title).noticing(self.notice())
    }

    /// What a form before this page has done: a word of the address that stands for one of these sentences.
    fn notice(&self) -> Option<&'static str> {
        let word = self.params.get("done")?;
        NOTICES.iter().find(|(other, _)| *other == word).map(|(_, sentence)| *sentence)
    }

    /// Why somebody wants to read what people wrote, as they say.
    ///
    /// # Errors
    /// When nothing is shown without a reason, and none was given: the page that asks for it.
    pub(super) fn reason(&self) -> Result<Option<String>, Trouble> {
        match self.params.get("reason") {
            None if self.app.config.web.require_reason => {
                let fields = self.params.pairs().filter(|(name, _)| *name != "reason");
                let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                Err(Trouble::ReasonWanted { path: self.path.clone(), fields })
            }
            reason => Ok(reason.map(str::to_owned)),
        }
    }

    /// What was filled in, under the names that people read.
    pub(super) fn asked(&self, names: &[(&str, &str)]) -> Vec<(String, String)> {
        let given = names.iter().filter_map(|(name, label)| Some((label, self.params.get(name)?)));
        given.map(|(label, value)| ((*label).to_owned(), super::text::name(value))).collect()
    }

    /// Makes sure that something is allowed, and records it where it is not.
    pub(super) async fn require(&self, permission: Permission, action: Action, target: Value) -> Result<(), Trouble> {
        Ok(self.app.access.require(self.viewer(), permission, action, &target).await?)
    }

    /// Writes to the audit trail. What it tells of is given out only after this.
    pub(super) async fn record(&self, event: Event) -> Result<(), Trouble> {
        self.app.access.record(self.viewer(), event).await?;
        Ok(())
    }

    /// Tells that something was asked for that may not be seen, or is not there.
    pub(super) async fn missing(&self, action: Action, target: Value, said: &str) -> Trouble {
        match self.record(Event::new(action, target).ended(Outcome::Denied)).await {
            Ok(()) => Trouble::Missing(said.to_owned()),
            Err(trouble) => trouble,
        }
    }

    /// The answer to a page's trouble, with the menu around it.
    pub(super) fn answer(&self, result: Result<Response, Trouble>) -> Response {
        result.unwrap_or_else(|trouble| trouble.page(Frame::of(&self.session, &self.clock)))
    }
}

/// What forms have done, by the word that stands for it.
const NOTICES: [(&str, &str); 20] = [
    ("password", "Your password is changed. All your other sessions have ended."),
    ("totp", "From the next sign-in on, a code of your device is asked for."),
    ("zone", "Times are shown in your time zone now."),
    ("sessions", "All sessions of the account have ended."),
    ("token-revoked", "The token is revoked."),
    ("account", "The account is changed."),
    ("added", "The account is made."),
    ("group", "The group is changed."),
    ("group-removed", "The group is removed."),
    ("gap", "The gap is closed."),
    ("quarantine-stored", "The record is stored, and no longer in quarantine."),
    ("quarantine-kept", "The record still can’t be stored. It stays in quarantine."),
    ("export-stopped", "The export is told to stop."),
    ("export-goes-on", "The export goes on."),
    ("export-removed", "The export is removed with its files."),
    ("signed-out", "You are signed out."),
    ("disabled", "The account is disabled. Its sessions have ended and its tokens are refused."),
    ("enabled", "The account is enabled."),
    ("unlocked", "The account is unlocked."),
    ("reset", "The password is set. It must be changed at the next sign-in."),
];

impl FromRequestParts<App> for Caller {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let path = parts.uri.path();
        let wanted = || match parts.method {
            Method::GET => Trouble::SignIn(parts.uri.path_and_query().map_or(path, |all| all.as_str()).to_owned()),
            _ => Trouble::SignIn("/".to_owned()),
        };
        let address = address(app, parts);
        let value = cookie(&parts.headers, session_cookie(app.is_secure())).ok_or_else(wanted)?;
        let by_itself = parts.method == Method::GET && parts.uri.query() == Some(LOOK_AGAIN);
        let session = app.access.session(value, address, by_itself).await?.ok_or_else(wanted)?;
        let is_own = path.starts_with("/account/password") || path == "/sign-out";
        if session.viewer.must_change_password() && !is_own {
            return Err(Trouble::PasswordFirst);
        }
        let clock = cookie(&parts.headers, clock::COOKIE).and_then(Clock::of).unwrap_or_default();
        let params = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(Self { app: app.clone(), session, clock, params, address, cookie: value.to_owned(), path: path.to_owned() })
    }
}

impl FromRequest<App> for Posted {
    type Rejection = Trouble;

    async fn from_request(request: Request, app: &App) -> Result<Self, Trouble> {
        let (mut parts, body) = request.into_parts();
        if !is_ours(app, &parts.headers) {
            return Err(Trouble::Forged);
        }
        let caller = Caller::from_request_parts(&mut parts, app).await?;
        let form = form(body).await?;
        match caller.session.csrf_holds(form.exact(CSRF)) {
            true => Ok(Self { caller, form }),
            false => Err(Trouble::Forged),
        }
    }
}

impl FromRequest<App> for Stranger {
    type Rejection = Trouble;

    async fn from_request(request: Request, app: &App) -> Result<Self, Trouble> {
        let (parts, body) = request.into_parts();
        let mut given = Params::default();
        if parts.method == Method::POST {
            given = form(body).await?;
            let known = cookie(&parts.headers, form_cookie(app.is_secure())).unwrap_or_default();
            let holds = bool::from(known.as_bytes().ct_eq(given.exact(CSRF).as_bytes()));
            if known.is_empty() || !holds || !is_ours(app, &parts.headers) {
                return Err(Trouble::Forged);
            }
        }
        Ok(Self {
            app: app.clone(),
            address: address(app, &parts).ok_or_else(|| Trouble::Broken("a connection without an address".to_owned()))?,
            params: Params::parse(parts.uri.query().unwrap_or_default().as_bytes()),
            form: given,
            previous: cookie(&parts.headers, session_cookie(app.is_secure())).map(str::to_owned),
            headers: parts.headers,
        })
    }
}

async fn form(body: axum::body::Body) -> Result<Params, Trouble> {
    let bytes = to_bytes(body, MAX_FORM_BYTES).await.map_err(|_too_large_or_cut| Trouble::Large)?;
    Ok(Params::parse(&bytes))
}

impl FromRequestParts<App> for Bearer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else { return Err(Trouble::NoToken.json()) };
        match app.access.bearer(token.trim(), address(app, parts)).await {
            Ok(Some(viewer)) if viewer.must_change_password() => Err(Trouble::PasswordFirst.json()),
            Ok(Some(viewer)) => {
                let params = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
                Ok(Self { app: app.clone(), viewer, params })
            }
            Ok(None) => Err(Trouble::NoToken.json()),
            Err(error) => Err(Trouble::from(error).json()),
        }
    }
}
