//! Links from page to page, which carry along what stays the same: the store, what was searched for, and why.

use super::params::link;

/// Where links to messages lead, in which store.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    /// Named in links if there are several.
    pub(super) store: String,
    /// Why all of this is looked at: each page that is reached from here is for the same reason.
    pub(super) reason: String,
    /// What was searched for, and is marked where they lead.
    pub(super) marked: String,
    /// Whether these are parts of words.
    pub(super) is_substring: String,
}

impl Links {
    pub(super) fn message(&self, id: i64) -> String {
        self.marking(&format!("/message/{id}"), &[])
    }

    /// A conversation, opened at a message.
    pub(super) fn conversation(&self, name: &str, at: Option<i64>) -> String {
        let id = at.map(|id| id.to_string()).unwrap_or_default();
        let place = if id.is_empty() { String::new() } else { format!("#m{id}") };
        self.marking("/conversation", &[("name", name), ("at", &id)]) + &place
    }

    /// A link to a page that marks what was searched for.
    pub(super) fn marking(&self, path: &str, values: &[(&str, &str)]) -> String {
        let own = [("store", self.store.as_str()), ("q", &self.marked), ("substring", &self.is_substring), ("reason", &self.reason)];
        link(path, &own.into_iter().chain(values.iter().copied()).collect::<Vec<_>>())
    }

    pub(super) fn room(&self, name: &str) -> String {
        link("/room", &[("store", &self.store), ("name", name), ("reason", &self.reason)])
    }
}
