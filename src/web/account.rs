//! The own account: password, second factor, time zone, sessions, tokens.

use askama::Template;
use axum::extract::Path;
use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};

use super::caller::{Caller, Posted, set_cookie};
use super::clock::{self, Clock, Shown};
use super::find;
use super::frame::{Frame, Place, page};
use super::params::Params;
use super::qr::Picture;
use super::scopes::{self, RoleChoice, ScopeForm};
use super::trouble::{Trouble, see_other};
use crate::access::{Action, NewToken, Recovery, Roles, Scope, SessionInfo, Token, TotpOffer, Way};

/// Seconds for which a browser remembers a time zone.
const ZONE_SECONDS: u32 = 31_536_000;

/// A session of somebody.
pub(super) struct Sitting {
    pub(super) since: Shown,
    pub(super) used: Shown,
    pub(super) until: Shown,
    pub(super) address: String,
}

/// A token, without its secret.
pub(super) struct Pass {
    pub(super) id: i64,
    pub(super) account: String,
    pub(super) name: String,
    pub(super) roles: String,
    pub(super) scope: &'static str,
    pub(super) created: Shown,
    pub(super) expires: Option<Shown>,
    pub(super) used: Option<Shown>,
    pub(super) revoked: Option<Shown>,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    name: String,
    roles: String,
    has_password: bool,
    has_totp: bool,
    zone: String,
    sessions: Vec<Sitting>,
    tokens: Vec<Pass>,
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    frame: Frame,
    name: String,
    must_change: bool,
    mistake: Option<String>,
}

#[derive(Template)]
#[template(path = "totp.html")]
struct TotpPage {
    frame: Frame,
    mistake: Option<String>,
    name: String,
    /// None until the password was given.
    offer: Option<Offer>,
}

/// A second factor that is offered.
struct Offer {
    picture: Option<Picture>,
    url: String,
    secret: String,
    sealed: String,
}

impl From<TotpOffer> for Offer {
    fn from(offer: TotpOffer) -> Self {
        let url = offer.url.expose_secret().to_owned();
        Self { picture: Picture::of(&url), url, secret: offer.secret.expose_secret().to_owned(), sealed: offer.sealed }
    }
}

/// Whether the password that a form brings is that of who sits there.
async fn confirm(caller: &Caller, form: &Params, action: Action) -> Result<(), Trouble> {
    let password = SecretString::from(form.exact("password").to_owned());
    Ok(caller.app.access.confirm(caller.viewer(), &password, action).await?)
}

/// Something that is shown this once.
#[derive(Template)]
#[template(path = "secrets.html")]
struct SecretsPage {
    frame: Frame,
    about: &'static str,
    secrets: Vec<String>,
}

#[derive(Template)]
#[template(path = "token.html")]
struct TokenPage {
    frame: Frame,
    mistake: Option<String>,
    name: String,
    choices: Vec<RoleChoice>,
    scope: ScopeForm,
    expires: String,
    account: String,
    asks_password: bool,
}

/// A session for a page.
pub(super) fn sitting(clock: &Clock, info: SessionInfo) -> Sitting {
    Sitting {
        since: clock.full(info.created_at),
        used: clock.full(info.used_at),
        until: clock.full(info.expires_at),
        address: info.address.unwrap_or_default(),
    }
}

/// A token for a page.
pub(super) fn pass(clock: &Clock, token: Token) -> Pass {
    Pass {
        id: token.id,
        account: token.account,
        name: token.name,
        roles: if token.roles.is_empty() { "all of the account".to_owned() } else { token.roles.to_string() },
        scope: if token.scope.is_some() { "its own" } else { "that of the account" },
        created: clock.full(token.created_at),
        expires: token.expires_at.map(|at| clock.full(at)),
        used: token.used_at.map(|at| clock.full(at)),
        revoked: token.revoked_at.map(|at| clock.full(at)),
    }
}

/// `GET /account`.
pub(super) async fn show(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    let (access, viewer) = (&caller.app.access, caller.viewer());
    let account = access.account(viewer, viewer.name()).await?;
    let sessions = access.sessions_of(viewer, viewer.name()).await?;
    let tokens = access.tokens(viewer, Some(viewer.name())).await?;
    page(&AccountPage {
        frame: caller.frame(Place::Account, "Your account"),
        name: account.name,
        roles: account.roles.to_string(),
        has_password: account.has_password,
        has_totp: account.has_totp,
        zone: caller.clock.name().to_owned(),
        sessions: sessions.into_iter().map(|info| sitting(&caller.clock, info)).collect(),
        tokens: tokens.into_iter().map(|token| pass(&caller.clock, token)).collect(),
    })
}

/// The roles that somebody has, none chosen.
fn own_roles(own: Roles) -> Vec<RoleChoice> {
    let mut choices = scopes::choices(Roles::default());
    choices.retain(|choice| own.iter().any(|role| role.word() == choice.word));
    choices
}

/// `POST /account/zone`.
pub(super) async fn zone(posted: Posted) -> Response {
    let caller = &posted.caller;
    let result = match Clock::of(&posted.form.text("zone")) {
        None => Err(Trouble::Wrong("There is no such time zone. Names are such as Europe/Berlin, America/New_York or UTC.".to_owned())),
        Some(clock) => {
            let cookie = set_cookie(clock::COOKIE, clock.name(), Some(ZONE_SECONDS), "Lax", caller.app.is_secure());
            let mut response = see_other("/account?done=zone");
            if let Ok(value) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(SET_COOKIE, value);
            }
            Ok(response)
        }
    };
    caller.answer(result)
}

/// `GET /account/password`.
pub(super) async fn password(caller: Caller) -> Response {
    let result = password_page(&caller, None);
    caller.answer(result)
}

fn password_page(caller: &Caller, mistake: Option<String>) -> Result<Response, Trouble> {
    let frame = caller.frame(Place::Account, "Change your password");
    let name = caller.viewer().name().to_owned();
    page(&PasswordPage { frame, name, must_change: caller.viewer().must_change_password(), mistake })
}

/// `POST /account/password`.
pub(super) async fn set_password(posted: Posted) -> Response {
    let caller = &posted.caller;
    let result = make_password(caller, &posted.form).await;
    caller.answer(result)
}

async fn make_password(caller: &Caller, form: &Params) -> Result<Response, Trouble> {
    let secret = |name: &str| SecretString::from(form.exact(name).to_owned());
    if form.exact("new") != form.exact("again") {
        return password_page(caller, Some("The new password is not the same both times.".to_owned()));
    }
    match caller.app.access.change_own_password(caller.viewer(), secret("old"), secret("new")).await.map_err(Trouble::from) {
        Ok(()) => Ok(see_other("/account?done=password")),
        Err(Trouble::Wrong(said)) => password_page(caller, Some(said)),
        Err(other) => Err(other),
    }
}

/// `POST /account/totp`: a new second factor is offered, or counts once a code of it is given.
pub(super) async fn totp(posted: Posted) -> Response {
    let caller = &posted.caller;
    let result = make_totp(caller, &posted.form).await;
    caller.answer(result)
}

async fn make_totp(caller: &Caller, form: &Params) -> Result<Response, Trouble> {
    let access = &caller.app.access;
    let mut shown = TotpPage {
        frame: caller.frame(Place::Account, "Set up a second factor"),
        mistake: None,
        name: caller.viewer().name().to_owned(),
        offer: None,
    };
    if let (Some(sealed), Some(code)) = (form.get("sealed"), form.get("code")) {
        match access.totp_accept(caller.viewer(), sealed, &code.replace(' ', "")).await.map_err(Trouble::from) {
            Ok(recovery) => return recovery_page(caller, &recovery),
            Err(Trouble::Wrong(said)) => shown.mistake = Some(said),
            Err(other) => return Err(other),
        }
        // One that is too old is not shown again: then the password is asked for anew.
        shown.offer = access.totp_again(caller.viewer(), sealed).await.ok().map(Offer::from);
    } else if !form.exact("password").is_empty() {
        match confirm(caller, form, Action::AccountTotp).await {
            Ok(()) => shown.offer = Some(access.totp_offer(caller.viewer()).await?.into()),
            Err(Trouble::Wrong(said)) => shown.mistake = Some(said),
            Err(other) => return Err(other),
        }
    }
    page(&shown)
}

fn recovery_page(caller: &Caller, recovery: &Recovery) -> Result<Response, Trouble> {
    page(&SecretsPage {
        frame: caller.frame(Place::Account, "Recovery codes"),
        about: "The second factor counts from now on. Each of these codes is good for one sign-in in place of a code of your device. \
                They are shown this once: keep them where you will find them without the device.",
        secrets: recovery.0.iter().map(|code| code.expose_secret().to_owned()).collect(),
    })
}

/// `POST /account/sessions`: ends all of them, this one too.
pub(super) async fn end_sessions(posted: Posted) -> Response {
    let caller = &posted.caller;
    let ended = caller.app.access.end_sessions(caller.viewer(), caller.viewer().name()).await;
    caller.answer(ended.map(|_count| see_other("/sign-in?done=signed-out")).map_err(Trouble::from))
}

/// `GET /account/tokens`.
pub(super) async fn token(caller: Caller) -> Response {
    let shown = TokenPage {
        frame: caller.frame(Place::Account, "Make a token"),
        mistake: None,
        name: String::new(),
        choices: own_roles(caller.viewer().roles()),
        scope: ScopeForm::default(),
        expires: String::new(),
        account: caller.viewer().name().to_owned(),
        asks_password: caller.viewer().way() != Way::Provider,
    };
    caller.answer(page(&shown))
}

/// `POST /account/tokens`.
pub(super) async fn add_token(posted: Posted) -> Response {
    let caller = &posted.caller;
    let result = make_token(caller, &posted.form).await;
    caller.answer(result)
}

async fn make_token(caller: &Caller, form: &Params) -> Result<Response, Trouble> {
    match new_token(caller, form).await {
        Ok(secret) => page(&SecretsPage {
            frame: caller.frame(Place::Account, "The new token"),
            about: "Programs send it with each request, as Authorization: Bearer and the token. It is shown this once: copy it now.",
            secrets: vec![secret.expose_secret().to_owned()],
        }),
        Err(Trouble::Wrong(said)) => {
            let chosen = scopes::roles(form).unwrap_or_default();
            let mut choices = scopes::choices(chosen);
            choices.retain(|choice| caller.viewer().roles().iter().any(|role| role.word() == choice.word));
            page(&TokenPage {
                frame: caller.frame(Place::Account, "Make a token"),
                mistake: Some(said),
                name: form.text("name"),
                choices,
                scope: ScopeForm::given(form),
                expires: form.text("expires"),
                account: caller.viewer().name().to_owned(),
                asks_password: caller.viewer().way() != Way::Provider,
            })
        }
        Err(other) => Err(other),
    }
}

async fn new_token(caller: &Caller, form: &Params) -> Result<SecretString, Trouble> {
    let scope = find::scope(form, &caller.clock)?;
    confirm(caller, form, Action::TokenAdd).await?;
    let token = NewToken {
        name: form.text("name"),
        roles: scopes::roles(form)?,
        scope: (scope != Scope::default()).then_some(scope),
        expires_at: caller.clock.read("Ends", form.get("expires"), true)?,
    };
    let (_token, secret) = caller.app.access.add_token(caller.viewer(), caller.viewer().name(), token).await?;
    Ok(secret)
}

/// `POST /account/tokens/{id}/revoke`.
pub(super) async fn revoke_token(Path(id): Path<String>, posted: Posted) -> Response {
    let caller = &posted.caller;
    let result = match id.parse() {
        Ok(id) => caller.app.access.revoke_token(caller.viewer(), id).await.map_err(Trouble::from),
        Err(_no_number) => Err(Trouble::Missing("There is no such token.".to_owned())),
    };
    let back = match posted.form.get("account") {
        Some(account) => super::accounts::path(account, "token-revoked"),
        None => "/account?done=token-revoked".to_owned(),
    };
    caller.answer(result.map(|()| see_other(&back)))
}
