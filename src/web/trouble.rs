//! What goes wrong, as a page or as JSON: in plain words, with what to do next, and nothing of how it looks inside.
//!
//! What is for operators alone goes to the log under a number that the page names.

use std::time::Duration;

use askama::Template;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::frame::Frame;
use super::params::link;
use crate::access::{AccessError, Denied};
use crate::store::StoreError;

/// Why a request is not met.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody is signed in; after that, go on there.
    SignIn(String),
    /// The token of the API is missing or does not hold.
    NoToken,
    /// The password must be changed first.
    PasswordFirst,
    /// Nothing is shown without a reason; what was asked for, to ask it again with one.
    ReasonWanted {
        /// The page.
        path: String,
        /// What it was asked with.
        fields: Vec<(String, String)>,
    },
    /// It is not allowed.
    Denied(Denied),
    /// The form was not made for this session.
    Forged,
    /// There is no such thing, or it is beyond what may be seen.
    Missing(String),
    /// What was given is wrong.
    Wrong(String),
    /// Too much at once.
    Busy(Duration),
    /// It took too long.
    Slow,
    /// The request is too large.
    Large,
    /// A store does not answer.
    Away(String),
    /// Something is broken.
    Broken(String),
}

impl From<Denied> for Trouble {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<AccessError> for Trouble {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(denied) => Self::Denied(denied),
            AccessError::Invalid(said) => Self::Wrong(said),
            AccessError::Missing(said) => Self::Missing(said),
            AccessError::Store(error) => error.into(),
            AccessError::Broken(said) => Self::Broken(said),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(said) if said.starts_with("the query ") => Self::Wrong(said),
            other => Self::Away(other.to_string()),
        }
    }
}

impl From<askama::Error> for Trouble {
    fn from(error: askama::Error) -> Self {
        Self::Broken(format!("a page can't be made: {error}"))
    }
}

/// What an answer says.
struct Told {
    status: StatusCode,
    /// A word for programs.
    code: &'static str,
    title: &'static str,
    text: String,
    next: String,
}

impl Trouble {
    fn told(&self) -> Told {
        let told = |status, code, title, text: &str, next: &str| Told { status, code, title, text: text.to_owned(), next: next.to_owned() };
        match self {
            Self::SignIn(_) => told(StatusCode::UNAUTHORIZED, "sign-in", "Sign in", "Nobody is signed in.", "Sign in and try again."),
            Self::NoToken => told(
                StatusCode::UNAUTHORIZED,
                "no-token",
                "No valid token",
                "The request has no token, or one that does not hold any more.",
                "Send the header Authorization: Bearer with a token that you made on the page of your account.",
            ),
            Self::PasswordFirst => told(
                StatusCode::FORBIDDEN,
                "password-first",
                "Change your password first",
                "Somebody else chose your password.",
                "Choose one of your own on the page of your account.",
            ),
            Self::Denied(denied) => told(
                StatusCode::FORBIDDEN,
                "denied",
                "Not allowed",
                &format!("Your account may not {}.", denied.permission.word()),
                "If your work asks for it, ask an administrator of this archive for the role. That you asked is in the audit trail.",
            ),
            Self::ReasonWanted { .. } => told(
                StatusCode::BAD_REQUEST,
                "reason-wanted",
                "Why do you want to see this?",
                super::caller::REASON_WANTED,
                "Give a reason and try again.",
            ),
            Self::Forged => told(
                StatusCode::FORBIDDEN,
                "forged",
                "The form is not valid any more",
                "The form was made for another session, or the page was open for too long. Nothing was changed.",
                "Go back, load the page again, and send the form once more.",
            ),
            Self::Missing(said) => told(
                StatusCode::NOT_FOUND,
                "missing",
                "Not found",
                said,
                "It may not exist, or lie beyond what your account may see. Begin anew from the first page.",
            ),
            Self::Wrong(said) => told(StatusCode::BAD_REQUEST, "wrong", "That can't be done as it stands", said, "Go back and correct it."),
            Self::Busy(after) => told(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "Too much at once",
                "There are more requests than can be met.",
                &format!("Try again in {} s.", after.as_secs().max(1)),
            ),
            Self::Slow => told(
                StatusCode::GATEWAY_TIMEOUT,
                "slow",
                "It took too long",
                "The request was given up.",
                "Narrow it: a shorter time, a person or a room make a search quick.",
            ),
            Self::Large => told(
                StatusCode::PAYLOAD_TOO_LARGE,
                "large",
                "Too large",
                "The request is larger than what is accepted.",
                "Send less at once.",
            ),
            Self::Away(_) => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "away",
                "A store does not answer",
                "The database can't be asked at the moment. Nothing was changed or shown.",
                "Try again in a minute.",
            ),
            Self::Broken(_) => told(
                StatusCode::INTERNAL_SERVER_ERROR,
                "broken",
                "Something is broken",
                "The request could not be met. Nothing was shown.",
                "Try again.",
            ),
        }
    }

    /// Logs what is for operators alone; the number under which it stands in the log.
    fn log(&self) -> Option<String> {
        let (Self::Away(said) | Self::Broken(said)) = self else { return None };
        let mut bytes = [0; 4];
        let number = match getrandom::fill(&mut bytes) {
            Ok(()) => format!("{:08x}", u32::from_be_bytes(bytes)),
            Err(_no_random_numbers) => "00000000".to_owned(),
        };
        log::error!("console: request {number}: {said}");
        Some(number)
    }

    fn finish(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        match self {
            Self::NoToken => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Busy(after) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
            }
            _ => {}
        }
        response
    }

    /// The answer of a page.
    pub(super) fn page(self, frame: Frame) -> Response {
        if let Some(target) = self.elsewhere() {
            return see_other(&target);
        }
        let told = self.told();
        let reference = self.log();
        let status = told.status;
        let ask = match &self {
            Self::ReasonWanted { path, fields } => Some((path.clone(), fields.clone())),
            _ => None,
        };
        let page = TroublePage { frame: frame.titled(told.title), told, reference, ask };
        match page.render() {
            Ok(html) => self.finish((status, [(CONTENT_TYPE, super::frame::HTML)], html).into_response()),
            Err(_no_page) => status.into_response(),
        }
    }

    fn elsewhere(&self) -> Option<String> {
        match self {
            Self::SignIn(next) if next == "/" => Some("/sign-in".to_owned()),
            Self::SignIn(next) => Some(link("/sign-in", &[("next", next)])),
            Self::PasswordFirst => Some("/account/password".to_owned()),
            _ => None,
        }
    }

    /// The answer of the API.
    pub(super) fn json(self) -> Response {
        let told = self.told();
        let body = json!({ "error": { "code": told.code, "text": told.text, "next": told.next, "reference": self.log() } });
        self.finish((told.status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response())
    }
}

/// A trouble outside any session's page.
impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        self.page(Frame::default())
    }
}

/// The browser is to get another page.
pub(super) fn see_other(target: &str) -> Response {
    match HeaderValue::from_str(target) {
        Ok(target) => (StatusCode::SEE_OTHER, [(LOCATION, target)]).into_response(),
        Err(_no_header) => (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static("/"))]).into_response(),
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage {
    frame: Frame,
    told: Told,
    reference: Option<String>,
    /// A page with what it was asked with, to which only the reason is wanting.
    ask: Option<(String, Vec<(String, String)>)>,
}
