//! Signing in and out.
//!
//! Who tries is told nothing but that it was wrong ([`SignInError`]); the number of tries is the business of `access`.

use std::time::Duration;

use askama::Template;
use axum::extract::FromRequest;
use axum::extract::{Request, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};

use super::app::App;
use super::caller::{Posted, Stranger, cookie, form_cookie, form_token, session_cookie, set_cookie};
use super::frame::{Frame, home, page};
use super::trouble::{Trouble, see_other};
use crate::access::{Attempt, NewSession, OidcReturn, SignIn, SignInError};

/// Seconds for which the cookie of the way to the company's provider holds.
const PROVIDER_SECONDS: u32 = 600;
/// Seconds for which the token of a form holds: a page that was open over lunch still works.
const FORM_SECONDS: u32 = 43_200;

/// The provider can't be asked.
const AWAY: &str =
    "The company’s log-in can’t be asked at the moment. Try again later; whoever has a password of this archive can sign in with it.";

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignInPage {
    frame: Frame,
    mistake: Option<String>,
    name: String,
    next: String,
    has_provider: bool,
    /// What has to come back with a code, where a code is wanted.
    pending: Option<String>,
}

/// The name of the cookie that leads back from the provider.
fn provider_cookie(is_secure: bool) -> &'static str {
    if is_secure { "__Host-provider" } else { "provider" }
}

/// Where to go after: a path of this console, or nothing.
fn local(next: &str) -> String {
    let is_local = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if is_local { next.to_owned() } else { String::new() }
}

/// A page of the sign-in, with a token of its own.
fn form(app: &App, mut shown: SignInPage, status: StatusCode) -> Result<Response, Trouble> {
    let token = form_token()?;
    shown.frame.csrf.clone_from(&token);
    shown.has_provider = app.access.has_provider();
    let is_secure = app.is_secure();
    let mut response = page(&shown)?;
    *response.status_mut() = status;
    with_cookie(response, &set_cookie(form_cookie(is_secure), &token, Some(FORM_SECONDS), "Strict", is_secure))
}

fn blank(next: String) -> SignInPage {
    SignInPage { frame: Frame::default().titled("Sign in"), mistake: None, name: String::new(), next, has_provider: false, pending: None }
}

fn with_cookie(mut response: Response, cookie: &str) -> Result<Response, Trouble> {
    let value = HeaderValue::from_str(cookie).map_err(|error| Trouble::Broken(format!("a cookie: {error}")))?;
    response.headers_mut().append(SET_COOKIE, value);
    Ok(response)
}

/// Tells programs as well when to try again.
fn later(mut response: Response, retry_after: Duration) -> Response {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
    response
}

fn answer(result: Result<Response, Trouble>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

/// `GET /sign-in`.
pub(super) async fn show(stranger: Stranger) -> Response {
    let mut shown = blank(local(&stranger.params.text("next")));
    if stranger.params.get("done") == Some("signed-out") {
        shown.frame.notice = Some("You are signed out.".to_owned());
    }
    answer(form(&stranger.app, shown, StatusCode::OK))
}

/// `POST /sign-in`.
pub(super) async fn enter(State(app): State<App>, request: Request) -> Response {
    let stranger = match Stranger::from_request(request, &app).await {
        Ok(stranger) => stranger,
        Err(Trouble::Forged) => {
            let stale = Some("This page was open for too long, or your browser takes no cookies. Please try again.".to_owned());
            return answer(form(&app, SignInPage { mistake: stale, ..blank(String::new()) }, StatusCode::FORBIDDEN));
        }
        Err(trouble) => return trouble.into_response(),
    };
    answer(make(stranger).await)
}

async fn make(stranger: Stranger) -> Result<Response, Trouble> {
    let Stranger { app, form: given, .. } = &stranger;
    let next = local(&given.text("next"));
    let name = given.text("name");
    let pending = given.get("pending").map(str::to_owned);
    let done = match &pending {
        Some(pending) => {
            let code = given.text("code").replace(' ', "");
            app.access.sign_in_code(pending, &code, stranger.address, stranger.previous.as_deref()).await.map(SignIn::Done)
        }
        None => {
            let password = SecretString::from(given.exact("password").to_owned());
            let attempt = Attempt { name: name.clone(), password, address: stranger.address, previous: stranger.previous.clone() };
            app.access.sign_in(attempt).await
        }
    };
    let retry = |said: String, pending: Option<String>, status| {
        form(app, SignInPage { mistake: Some(said), name: name.clone(), pending, ..blank(next.clone()) }, status)
    };
    match done {
        Ok(SignIn::Done(session)) => begin(app, &session, &next),
        Ok(SignIn::CodeWanted(pending)) => form(app, SignInPage { pending: Some(pending), ..blank(next) }, StatusCode::OK),
        Err(SignInError::Refused) => retry(
            "That is not right. After several failures an account is locked for some time.".to_owned(),
            pending,
            StatusCode::FORBIDDEN,
        ),
        Err(SignInError::TooMany { retry_after }) => {
            let said = format!("Too many attempts from here: try again in {} s.", retry_after.as_secs().max(1));
            Ok(later(retry(said, pending, StatusCode::TOO_MANY_REQUESTS)?, retry_after))
        }
        Err(SignInError::Stale(said) | SignInError::Away(said)) => retry(said, None, StatusCode::FORBIDDEN),
        Err(SignInError::Access(error)) => Err(error.into()),
    }
}

fn begin(app: &App, new: &NewSession, next: &str) -> Result<Response, Trouble> {
    let is_secure = app.is_secure();
    let target = if next.is_empty() { home(&new.session.viewer) } else { next };
    let target = if new.session.viewer.must_change_password() { "/account/password" } else { target };
    let response =
        with_cookie(see_other(target), &set_cookie(session_cookie(is_secure), new.cookie.expose_secret(), None, "Lax", is_secure))?;
    with_cookie(response, &set_cookie(form_cookie(is_secure), "", Some(0), "Strict", is_secure))
}

/// `GET /sign-in/provider`.
pub(super) async fn provider(stranger: Stranger) -> Response {
    let app = &stranger.app;
    if !app.access.has_provider() {
        return Trouble::Missing("There is no such page.".to_owned()).into_response();
    }
    match app.access.oidc_start().await {
        Ok(start) => {
            let is_secure = app.is_secure();
            let cookie = set_cookie(provider_cookie(is_secure), &start.cookie, Some(PROVIDER_SECONDS), "Lax", is_secure);
            answer(with_cookie(see_other(&start.url), &cookie))
        }
        Err(error) => refused(app, error),
    }
}

/// `GET /sign-in/provider/return`.
pub(super) async fn provider_return(stranger: Stranger) -> Response {
    let app = &stranger.app;
    let is_secure = app.is_secure();
    let back = OidcReturn {
        cookie: cookie(&stranger.headers, provider_cookie(is_secure)).unwrap_or_default(),
        state: stranger.params.exact("state"),
        code: stranger.params.exact("code"),
        error: stranger.params.get("error"),
        issuer: stranger.params.get("iss"),
        address: stranger.address,
        previous: stranger.previous.as_deref(),
    };
    match app.access.oidc_finish(back).await {
        Ok(session) => {
            let done = begin(app, &session, "");
            answer(done.and_then(|response| with_cookie(response, &set_cookie(provider_cookie(is_secure), "", Some(0), "Lax", is_secure))))
        }
        Err(error) => refused(app, error),
    }
}

fn refused(app: &App, error: SignInError) -> Response {
    let (said, status) = match error {
        SignInError::Access(error) => return Trouble::from(error).into_response(),
        SignInError::Refused => ("The company’s log-in vouches for nobody who has an account here.".to_owned(), StatusCode::FORBIDDEN),
        SignInError::TooMany { retry_after } => {
            let said = format!("Too many attempts from here: try again in {} s.", retry_after.as_secs().max(1));
            let page = form(app, SignInPage { mistake: Some(said), ..blank(String::new()) }, StatusCode::TOO_MANY_REQUESTS);
            return answer(page.map(|response| later(response, retry_after)));
        }
        SignInError::Stale(said) => (said, StatusCode::FORBIDDEN),
        SignInError::Away(_in_the_log) => (AWAY.to_owned(), StatusCode::SERVICE_UNAVAILABLE),
    };
    answer(form(app, SignInPage { mistake: Some(said), ..blank(String::new()) }, status))
}

/// `POST /sign-out`.
pub(super) async fn leave(posted: Posted) -> Response {
    let caller = &posted.caller;
    let is_secure = caller.app.is_secure();
    match caller.app.access.sign_out(&caller.cookie, caller.address).await {
        Ok(()) => answer(with_cookie(
            see_other("/sign-in?done=signed-out"),
            &set_cookie(session_cookie(is_secure), "", Some(0), "Lax", is_secure),
        )),
        Err(error) => caller.answer(Err(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for next in ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", "", "/a\r\nb"] {
            assert_eq!(local(next), "", "{next}");
        }
        assert_eq!(local("/search?q=a"), "/search?q=a");
    }
}
