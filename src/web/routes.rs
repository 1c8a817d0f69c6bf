//! Every address of the console.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};

use super::app::App;
use super::caller::Caller;
use super::frame::{ICON, STYLE, STYLE_PATH, home};
use super::guard::{self, Guard};
use super::trouble::{Trouble, see_other};
use super::{
    account, accounts, api, audit, conversation, exports, gaps, groups, message, overview, quarantine, rooms, search, signin, verification,
};
use crate::access::oidc::RETURN_PATH;

/// The most bytes of a request's body, whatever it is for.
pub(super) const MAX_BODY_BYTES: usize = 512 * 1024;
/// Below it are the calls of the API.
pub(super) const API_PATH: &str = "/api/v1";
/// The style's path names its text, so it never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// A method of an address, and what answers it.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    answers: MethodRouter<App>,
}

impl Route {
    pub(super) fn get<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "GET", path, answers: get(handler) }
    }

    pub(super) fn post<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "POST", path, answers: post(handler) }
    }

    pub(super) fn put<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "PUT", path, answers: put(handler) }
    }

    pub(super) fn delete<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "DELETE", path, answers: delete(handler) }
    }
}

/// Every page and every form. There is no other list: the router is made from it, and the tests want a row in their tables for each.
pub(super) fn pages() -> Vec<Route> {
    vec![
        Route::get("/", front),
        Route::get("/sign-in", signin::show),
        Route::post("/sign-in", signin::enter),
        Route::get("/sign-in/provider", signin::provider),
        Route::get(RETURN_PATH, signin::provider_return),
        Route::post("/sign-out", signin::leave),
        Route::get("/overview", overview::show),
        Route::get("/search", search::show),
        Route::get("/conversation", conversation::show),
        Route::get("/message/{id}", message::show),
        Route::get("/rooms", rooms::list),
        Route::get("/room", rooms::show),
        Route::get("/exports", exports::list),
        Route::get("/exports/new", exports::new),
        Route::post("/exports/new", exports::begin),
        Route::get("/exports/{id}", exports::show),
        Route::post("/exports/{id}", exports::change),
        Route::get("/exports/{id}/download", exports::download),
        Route::get("/gaps", gaps::list),
        Route::post("/gaps/{id}/close", gaps::close),
        Route::get("/quarantine", quarantine::list),
        Route::get("/quarantine/{id}", quarantine::show),
        Route::post("/quarantine/{id}/retry", quarantine::retry),
        Route::get("/accounts", accounts::list),
        Route::get("/accounts/new", accounts::new),
        Route::post("/accounts/new", accounts::add),
        Route::get("/accounts/one", accounts::show),
        Route::post("/accounts/one", accounts::change),
        Route::get("/accounts/group", groups::show),
        Route::post("/accounts/group", groups::change),
        Route::get("/audit", audit::list),
        Route::get("/audit/export", audit::export),
        Route::get("/verification", verification::show),
        Route::get("/account", account::show),
        Route::post("/account/zone", account::zone),
        Route::get("/account/password", account::password),
        Route::post("/account/password", account::set_password),
        Route::post("/account/totp", account::totp),
        Route::post("/account/sessions", account::end_sessions),
        Route::get("/account/tokens", account::token),
        Route::post("/account/tokens", account::add_token),
        Route::post("/account/tokens/{id}/revoke", account::revoke_token),
        Route::get(STYLE_PATH.as_str(), style),
        Route::get("/icon.svg", icon),
    ]
}

/// The router of a list.
pub(super) fn routed(routes: Vec<Route>) -> Router<App> {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.answers))
}

/// All routes with the guard before them.
pub(super) fn router(app: App) -> Router {
    let guard = Guard::new(app.is_secure());
    routed(pages())
        .nest(API_PATH, api::router())
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

async fn nothing(caller: Result<Caller, Trouble>) -> Response {
    let trouble = Trouble::Missing("There is no such page.".to_owned());
    match caller {
        Ok(caller) => caller.answer(Err(trouble)),
        Err(_nobody) => trouble.into_response(),
    }
}

async fn other_method() -> Response {
    let mut response = Trouble::Wrong("This address can’t be asked that way.".to_owned()).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().entry(ALLOW).or_insert(HeaderValue::from_static("GET, POST"));
    response
}
