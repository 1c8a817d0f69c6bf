//! Every address of the console.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::app::App;
use super::caller::Caller;
use super::frame::{ICON, STYLE, STYLE_PATH, home};
use super::guard::{self, Guard};
use super::trouble::{Trouble, see_other};
use super::{account, accounts, api, audit, conversation, exports, gaps, groups, message, overview, quarantine, rooms, search, signin};

/// The most bytes of a request's body, whatever it is for.
const MAX_BODY_BYTES: usize = 512 * 1024;
/// The style's path names its text, so it never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// All routes with the guard before them.
pub(super) fn router(app: App) -> Router {
    let guard = Guard::new(app.is_secure());
    Router::new()
        .route("/", get(front))
        .route("/sign-in", get(signin::show).post(signin::enter))
        .route("/sign-in/provider", get(signin::provider))
        .route(crate::access::oidc::RETURN_PATH, get(signin::provider_return))
        .route("/sign-out", post(signin::leave))
        .route("/overview", get(overview::show))
        .route("/search", get(search::show))
        .route("/conversation", get(conversation::show))
        .route("/message/{id}", get(message::show))
        .route("/rooms", get(rooms::list))
        .route("/room", get(rooms::show))
        .route("/exports", get(exports::list))
        .route("/exports/new", get(exports::new).post(exports::begin))
        .route("/exports/{id}", get(exports::show).post(exports::change))
        .route("/exports/{id}/download", get(exports::download))
        .route("/gaps", get(gaps::list))
        .route("/gaps/{id}/close", post(gaps::close))
        .route("/quarantine", get(quarantine::list))
        .route("/quarantine/{id}", get(quarantine::show))
        .route("/accounts", get(accounts::list))
        .route("/accounts/new", get(accounts::new).post(accounts::add))
        .route("/accounts/one", get(accounts::show).post(accounts::change))
        .route("/accounts/group", get(groups::show).post(groups::change))
        .route("/audit", get(audit::list))
        .route("/account", get(account::show))
        .route("/account/zone", post(account::zone))
        .route("/account/password", get(account::password).post(account::set_password))
        .route("/account/totp", post(account::totp))
        .route("/account/sessions", post(account::end_sessions))
        .route("/account/tokens", get(account::token).post(account::add_token))
        .route("/account/tokens/{id}/revoke", post(account::revoke_token))
        .nest("/api/v1", api::router())
        .route(&STYLE_PATH, get(style))
        .route("/icon.svg", get(icon))
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(guard, guard::stand))
        .with_state(app)
}

async fn front(caller: Caller) -> Response {
    see_other(home(caller.viewer()))
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, FOR_EVER)], STYLE).into_response()
}

async fn icon() -> Response {
    ([(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "public, max-age=86400")], ICON).into_response()
}

async fn nothing() -> Response {
    Trouble::Missing("There is no such page.".to_owned()).into_response()
}

async fn other_method() -> Response {
    let mut response = Trouble::Wrong("This address can’t be asked that way.".to_owned()).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().entry(ALLOW).or_insert(HeaderValue::from_static("GET, POST"));
    response
}
