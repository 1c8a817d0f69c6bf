//! What is around every page: the title, the menu of what this person may, and the style.

use std::sync::LazyLock;

use askama::Template;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::clock::{Clock, Shown};
use super::trouble::Trouble;
use crate::access::{Permission, Session, Viewer};

/// What pages are.
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// The style of all pages.
pub(super) const STYLE: &str = include_str!("style.css");
/// The sign in the browser's tab.
pub(super) const ICON: &str = include_str!("icon.svg");

/// Where the style is: another path for each text of it, so that browsers may keep it for ever.
pub(super) static STYLE_PATH: LazyLock<String> = LazyLock::new(|| {
    let hash: String = Sha256::digest(STYLE).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/style-{hash}.css")
});

/// A page's entry in the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Search,
    Rooms,
    Exports,
    Gaps,
    Quarantine,
    Accounts,
    Audit,
    Verification,
    Account,
}

/// An entry of the menu.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) href: &'static str,
    pub(super) label: &'static str,
    pub(super) is_here: bool,
}

/// What is around a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) menu: Vec<Entry>,
    /// The name of who is signed in.
    pub(super) who: Option<String>,
    /// What that account is there for.
    pub(super) roles: String,
    /// For the forms of the page.
    pub(super) csrf: String,
    pub(super) zone: String,
    /// When the page was made.
    pub(super) made: Shown,
    /// Something that was just done.
    pub(super) notice: Option<String>,
}

const MENU: [(Place, Permission, &str, &str); 9] = [
    (Place::Overview, Permission::ViewHealth, "/overview", "Overview"),
    (Place::Search, Permission::ViewContent, "/search", "Search"),
    (Place::Rooms, Permission::ViewContent, "/rooms", "Rooms"),
    (Place::Exports, Permission::Export, "/exports", "Exports"),
    (Place::Gaps, Permission::ViewGaps, "/gaps", "Gaps"),
    (Place::Quarantine, Permission::SeeQuarantineCounts, "/quarantine", "Quarantine"),
    (Place::Accounts, Permission::ManageAccounts, "/accounts", "Accounts"),
    (Place::Audit, Permission::ViewAudit, "/audit", "Audit trail"),
    (Place::Verification, Permission::Verify, "/verification", "Verification"),
];

/// The first page of what somebody may.
pub(super) fn home(viewer: &Viewer) -> &'static str {
    let first = MENU.iter().find(|(_, permission, ..)| viewer.may(*permission));
    first.map_or("/account", |(_, _, href, _)| href)
}

impl Frame {
    pub(super) fn of(session: &Session, clock: &Clock) -> Self {
        let viewer = &session.viewer;
        let allowed = MENU.iter().filter(|(_, permission, ..)| viewer.may(*permission));
        Self {
            title: String::new(),
            menu: allowed.map(|(_, _, href, label)| Entry { href, label, is_here: false }).collect(),
            who: Some(viewer.display_name().to_owned()),
            roles: viewer.roles().to_string(),
            // Without a token no form is taken.
            csrf: session.csrf_token().unwrap_or_default(),
            zone: clock.name().to_owned(),
            made: clock.full(crate::time::now()),
            notice: None,
        }
    }

    pub(super) fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Marks where in the menu this page is.
    pub(super) fn at(mut self, place: Place) -> Self {
        let href = MENU.iter().find(|(other, ..)| *other == place).map(|(_, _, href, _)| *href);
        self.menu.iter_mut().for_each(|entry| entry.is_here = Some(entry.href) == href);
        self
    }

    pub(super) fn noticing(mut self, notice: Option<&str>) -> Self {
        self.notice = notice.map(str::to_owned);
        self
    }

    /// Where the style is.
    pub(super) fn style(&self) -> &str {
        &STYLE_PATH
    }
}

/// A page that was made.
pub(super) fn page(template: &impl Template) -> Result<Response, Trouble> {
    Ok(([(CONTENT_TYPE, HTML)], template.render()?).into_response())
}
