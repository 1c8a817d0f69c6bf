//! Whom a query names: a person, a domain, or what a wildcard stands for.

use serde::{Deserialize, Serialize};

use crate::config::domain;
use crate::message::address::Address;

/// On which side of a message somebody is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Wrote it, was to get it, or got it.
    #[default]
    Any,
    /// Wrote it.
    Sender,
    /// Was to get it or got it, and is not who wrote it.
    Recipient,
}

/// People of whom one at least took part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// How.
    pub side: Side,
    /// Any of these.
    pub any: Vec<Pattern>,
}

/// Whom a text names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// One bare JID.
    Jid(String),
    /// Everybody of a domain, and the domain itself.
    Domain(String),
    /// Bare JIDs with anything in the place of each `*`.
    Wildcard(String),
}

impl Pattern {
    /// Reads `alice@example.com`, `example.com` or `@example.com`, `al*@*.example.com`. A resource is left out.
    ///
    /// # Errors
    /// When it can't be a JID.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains('*') {
            let pattern = text.split('/').next().unwrap_or_default().to_lowercase();
            return if pattern.contains('\0') { Err("holds a character that no JID has".to_owned()) } else { Ok(Self::Wildcard(pattern)) };
        }
        if let Some(name) = text.strip_prefix('@') {
            return domain::normalise(name).map(Self::Domain).map_err(|error| error.to_string());
        }
        let bare = text.split('/').next().unwrap_or_default();
        let jid = match bare.rsplit_once('@') {
            None => return domain::normalise(bare).map(Self::Domain).map_err(|error| error.to_string()),
            Some((local, host)) => format!("{local}@{}", domain::normalise(host).map_err(|error| format!("its domain {error}"))?),
        };
        jid::BareJid::new(&jid).map_err(|error| error.to_string())?;
        Ok(Self::Jid(Address::parse(&jid).bare))
    }

    /// What it says.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Jid(text) | Self::Domain(text) | Self::Wildcard(text) => text,
        }
    }

    /// The JID that it names.
    pub(crate) fn jid(&self) -> Option<&str> {
        match self {
            Self::Jid(jid) => Some(jid),
            Self::Domain(_) | Self::Wildcard(_) => None,
        }
    }

    /// What LIKE has to match.
    pub(crate) fn likes(&self) -> Vec<String> {
        match self {
            Self::Jid(_) => Vec::new(),
            Self::Domain(domain) => vec![escaped(domain), format!("%@{}", escaped(domain))],
            Self::Wildcard(pattern) => vec![escaped(pattern).replace('*', "%")],
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | super::text::ESCAPE) {
            escaped.push(super::text::ESCAPE);
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_named_in_three_ways() {
        for (text, expected) in [
            ("Alice@Example.COM/desk", Pattern::Jid("alice@example.com".to_owned())),
            ("Example.com", Pattern::Domain("example.com".to_owned())),
            ("@Example.com", Pattern::Domain("example.com".to_owned())),
            ("AL*@*.example", Pattern::Wildcard("al*@*.example".to_owned())),
        ] {
            assert_eq!(Pattern::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "a@@b", "a@", "@", "a b@c"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert_eq!(Pattern::Wildcard("a_*".to_owned()).likes(), ["a!_%"]);
        assert_eq!(Pattern::Domain("x.y".to_owned()).likes(), ["x.y", "%@x.y"]);
    }
}
