//! What holds for every answer, whoever asked for what: headers, time, how many at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::routes::MAX_BODY_BYTES;
use super::trouble::Trouble;

/// The most requests that are worked on at once; the next ones wait a moment, and are then refused.
const MAX_REQUESTS: usize = 32;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// How long one request may take.
const MOST_TIME: Duration = Duration::from_secs(60);
/// How long the body of a request may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);
/// When to come back to a console that is busy.
const COME_BACK: Duration = Duration::from_secs(5);

/// No script at all, nothing from elsewhere, forms that go nowhere else, no frame around a page.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// What no page ever asks a browser for.
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), payment=(), usb=(), interest-cohort=()";

/// What the guard knows.
#[derive(Clone)]
pub(super) struct Guard {
    places: Arc<Semaphore>,
    is_secure: bool,
}

impl Guard {
    pub(super) fn new(is_secure: bool) -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_REQUESTS)), is_secure }
    }
}

/// Stands before all routes.
pub(super) async fn stand(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let told = |trouble: Trouble| if is_api { trouble.json() } else { trouble.into_response() };
    let mut response = match whole(request).await {
        Ok(request) => serve(&guard, request, next).await.unwrap_or_else(told),
        Err(trouble) => told(trouble),
    };
    secure(response.headers_mut(), guard.is_secure);
    response
}

/// The request with its body, which is waited for before the request takes a place that others wait for.
async fn whole(request: Request) -> Result<Request, Trouble> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await.map_err(|_elapsed| Trouble::Slow)?;
    Ok(Request::from_parts(parts, read.map_err(|_too_large_or_cut| Trouble::Large)?.into()))
}

async fn serve(guard: &Guard, request: Request, next: Next) -> Result<Response, Trouble> {
    let busy = || Trouble::Busy(COME_BACK);
    let _place = tokio::time::timeout(TURN, guard.places.acquire()).await.map_err(|_elapsed| busy())?.map_err(|_closed| busy())?;
    tokio::time::timeout(MOST_TIME, next.run(request)).await.map_err(|_elapsed| Trouble::Slow)
}

fn secure(headers: &mut HeaderMap, is_secure: bool) {
    let fixed: [(HeaderName, &'static str); 8] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // Not no-referrer: with that, browsers send `Origin: null` with our own forms, and say nothing of where they come from.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (VARY, "Cookie, Authorization"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // What people wrote stays in no cache, on no disk of a browser.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
