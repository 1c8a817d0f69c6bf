//! Whose messages an account may read: people, domains, groups and rooms, within a time.
//!
//! A [`Scope`] is what is written down for an account or a token, groups by their names. A [`Reach`] is what a request may see in the
//! end, groups replaced by who is in them, and is what the search engine takes. A scope in which nothing stands reaches nothing: who was forgotten reads too little
//! rather than too much.

use std::collections::{BTreeMap, BTreeSet};

use jid::BareJid;
use serde::{Deserialize, Serialize};

use crate::config::domain;
use crate::time::Micros;

/// The most entries of a scope, and the most members of a group.
pub const MAX_ENTRIES: usize = 10_000;
/// The most bytes of the name of a group.
pub const MAX_GROUP_NAME_BYTES: usize = 100;

/// What was written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Bare JIDs (`alice@example.com`), domains (`example.com`), domains with all below them (`*.example.com`).
    pub who: BTreeSet<String>,
    /// Names of groups.
    pub groups: BTreeSet<String>,
    /// Bare JIDs of rooms.
    pub rooms: BTreeSet<String>,
    /// Sent at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Micros>,
    /// Sent before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Micros>,
}

/// The groups by name, each with its members (as [`Scope::who`]).
pub type Groups = BTreeMap<String, BTreeSet<String>>;

/// What a request may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No message.
    Nothing,
    /// All messages.
    Everything,
    /// The messages within these limits.
    Within(Limits),
}

/// A message is within them if it was sent within the time, and one of the JIDs or somebody of one of the domains wrote or got it, or it was said
/// in one of the rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bare JIDs.
    pub jids: Vec<String>,
    /// Domains; one that begins with `*.` means all domains below it, but not itself.
    pub domains: Vec<String>,
    /// Bare JIDs of rooms.
    pub rooms: Vec<String>,
    /// Sent at this time or later.
    pub from: Option<Micros>,
    /// Sent before this time.
    pub to: Option<Micros>,
}

impl Limits {
    /// True if no message can be within them.
    pub fn is_empty(&self) -> bool {
        let no_time = matches!((self.from, self.to), (Some(from), Some(to)) if from >= to);
        no_time || (self.jids.is_empty() && self.domains.is_empty() && self.rooms.is_empty())
    }

    fn has_person(&self, jid: &str) -> bool {
        let own = jid.rsplit_once('@').map_or(jid, |(_, domain)| domain);
        self.jids.iter().any(|other| other == jid) || self.domains.iter().any(|domain| covers(domain, own))
    }
}

/// Whether a domain, which may begin with `*.`, stands for another, which may as well.
fn covers(domain: &str, other: &str) -> bool {
    match domain.strip_prefix("*.") {
        None => domain == other,
        Some(above) => other.strip_suffix(above).is_some_and(|below| below.len() > 1 && below.ends_with('.')),
    }
}

/// A bare JID, a domain, or `*.` and a domain, in the spelling of the archive.
///
/// # Errors
/// What is wrong with it.
pub fn person(text: &str) -> Result<String, String> {
    let right = |error: &dyn std::fmt::Display| format!("\"{text}\" is neither a JID, nor a domain, nor \"*.\" and a domain: {error}");
    if let Some(above) = text.strip_prefix("*.") {
        return domain::normalise(above).map(|above| format!("*.{above}")).map_err(|error| right(&error));
    }
    let Some((node, host)) = text.rsplit_once('@') else { return domain::normalise(text).map_err(|error| right(&error)) };
    bare(node, host).map_err(|error| right(&error))
}

/// The bare JID of a room in the spelling of the archive.
///
/// # Errors
/// What is wrong with it.
pub fn room(text: &str) -> Result<String, String> {
    let right = |error: &str| format!("\"{text}\" is no JID of a room: {error}");
    let (node, host) = text.rsplit_once('@').ok_or_else(|| right("there is no @ in it"))?;
    bare(node, host).map_err(|error| right(&error))
}

fn bare(node: &str, host: &str) -> Result<String, String> {
    let host = domain::normalise(host).map_err(|error| format!("its domain {error}"))?;
    BareJid::new(&format!("{node}@{host}")).map(|jid| jid.to_string()).map_err(|error| error.to_string())
}

/// The name of a group: letters, digits, `-`, `_` and `.`.
///
/// # Errors
/// What is wrong with it.
pub fn group_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    match !text.is_empty() && text.len() <= MAX_GROUP_NAME_BYTES && text.chars().all(allowed) {
        true => Ok(text.to_lowercase()),
        false => {
            Err(format!("\"{text}\" is no name of a group: up to {MAX_GROUP_NAME_BYTES} bytes of letters, digits, \"-\", \"_\" and \".\""))
        }
    }
}

impl Scope {
    /// The same with everything in the spelling of the archive.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(&self) -> Result<Self, String> {
        if self.who.len() + self.groups.len() + self.rooms.len() > MAX_ENTRIES {
            return Err(format!("a scope has {MAX_ENTRIES} entries at most"));
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err("the scope ends before it begins".to_owned());
        }
        Ok(Self {
            who: self.who.iter().map(|text| person(text)).collect::<Result<_, _>>()?,
            groups: self.groups.iter().map(|text| group_name(text)).collect::<Result<_, _>>()?,
            rooms: self.rooms.iter().map(|text| room(text)).collect::<Result<_, _>>()?,
            from: self.from,
            to: self.to,
        })
    }

    /// What it means today, groups replaced by their members. A group that is no more has none.
    pub fn resolved(&self, groups: &Groups) -> Limits {
        let members = self.groups.iter().filter_map(|name| groups.get(name)).flatten();
        let who: BTreeSet<&String> = self.who.iter().chain(members).collect();
        let (jids, domains) = who.into_iter().cloned().partition(|entry| entry.contains('@'));
        Limits { jids, domains, rooms: self.rooms.iter().cloned().collect(), from: self.from, to: self.to }
    }
}

impl Reach {
    /// What is left of it for a token that was given a scope of its own: those entries of the token that are within this reach.
    #[must_use]
    pub fn narrowed(self, own: &Limits) -> Self {
        let narrowed = match self {
            Self::Nothing => return Self::Nothing,
            Self::Everything => own.clone(),
            Self::Within(limits) => Limits {
                jids: own.jids.iter().filter(|jid| limits.has_person(jid)).cloned().collect(),
                domains: own
                    .domains
                    .iter()
                    .filter(|own| limits.domains.iter().any(|domain| domain == *own || covers(domain, own)))
                    .cloned()
                    .collect(),
                rooms: own.rooms.iter().filter(|room| limits.rooms.contains(room)).cloned().collect(),
                from: limits.from.max(own.from),
                to: earlier(limits.to, own.to),
            },
        };
        Self::within(narrowed)
    }

    /// Nothing, where no message can be within the limits.
    pub fn within(limits: Limits) -> Self {
        if limits.is_empty() { Self::Nothing } else { Self::Within(limits) }
    }
}

fn earlier(one: Option<Micros>, other: Option<Micros>) -> Option<Micros> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &[&str]) -> BTreeSet<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    #[test]
    fn entries_are_spelled_as_in_the_archive() {
        for (text, expected) in
            [("Alice@XN--bcher-kva.Example.", "alice@bücher.example"), ("Example.COM", "example.com"), ("*.Example.COM", "*.example.com")]
        {
            assert_eq!(person(text).as_deref(), Ok(expected));
        }
        for text in ["", "@example.com", "alice@", "*.", "a b@example.com", "alice@example.com/desk"] {
            assert!(person(text).is_err(), "{text}");
        }
        assert_eq!(room("Tea@Rooms.Example").as_deref(), Ok("tea@rooms.example"));
        assert!(room("rooms.example").is_err());
        assert_eq!(group_name("Sales").as_deref(), Ok("sales"));
        assert!(group_name("").is_err() && group_name("a b").is_err() && group_name(&"x".repeat(101)).is_err());
    }

    #[test]
    fn groups_become_their_members() {
        let groups = Groups::from([("sales".to_owned(), set(&["bob@example.com", "*.shop.example"]))]);
        let scope = Scope { who: set(&["alice@example.com", "bob@example.com"]), groups: set(&["sales", "gone"]), ..Scope::default() };
        let limits = scope.resolved(&groups);
        assert_eq!(limits.jids, ["alice@example.com", "bob@example.com"]);
        assert_eq!(limits.domains, ["*.shop.example"]);
        assert!(!limits.is_empty());
        let empty = Scope { groups: set(&["gone"]), ..Scope::default() };
        assert_eq!(Reach::within(empty.resolved(&groups)), Reach::Nothing);
    }

    #[test]
    fn a_scope_that_makes_no_sense_is_refused() {
        assert!(Scope { from: Some(5), to: Some(5), ..Scope::default() }.checked().is_err());
        assert!(Scope { who: set(&["two words"]), ..Scope::default() }.checked().is_err());
        let many = (0..=MAX_ENTRIES).map(|number| format!("a{number}.example")).collect();
        assert!(Scope { who: many, ..Scope::default() }.checked().is_err());
        assert!(serde_json::from_str::<Scope>(r#"{"everybody":true}"#).is_err());
    }

    #[test]
    fn a_token_reaches_no_further_than_its_account() {
        let limits = Limits {
            jids: vec!["alice@example.com".to_owned()],
            domains: vec!["shop.example".to_owned(), "*.firm.example".to_owned()],
            rooms: vec!["tea@rooms.example".to_owned()],
            from: Some(10),
            to: None,
        };
        let own = Limits {
            jids: ["alice@example.com", "eve@example.com", "bob@shop.example", "ann@a.firm.example", "root@firm.example"]
                .map(str::to_owned)
                .to_vec(),
            domains: ["a.firm.example", "*.a.firm.example", "firm.example", "*.shop.example", "*.firm.example"].map(str::to_owned).to_vec(),
            rooms: ["tea@rooms.example", "board@rooms.example"].map(str::to_owned).to_vec(),
            from: Some(5),
            to: Some(50),
        };
        let Reach::Within(left) = Reach::Within(limits.clone()).narrowed(&own) else { panic!("something is left") };
        assert_eq!(left.jids, ["alice@example.com", "bob@shop.example", "ann@a.firm.example"]);
        assert_eq!(left.domains, ["a.firm.example", "*.a.firm.example", "*.firm.example"]);
        assert_eq!(left.rooms, ["tea@rooms.example"]);
        assert_eq!((left.from, left.to), (Some(10), Some(50)));
        assert_eq!(Reach::Everything.narrowed(&own), Reach::Within(own.clone()));
        assert_eq!(Reach::Nothing.narrowed(&own), Reach::Nothing);
        let late = Limits { from: Some(60), ..own };
        assert_eq!(Reach::Within(Limits { to: Some(55), ..limits }).narrowed(&late), Reach::Nothing);
    }
}
