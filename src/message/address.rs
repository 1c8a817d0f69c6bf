//! JIDs as the archive compares them (RFC 7622): bare JID and resource apart, each normalised.
//!
//! Nearly every JID on the wire is lower-case ASCII already and is recognised as normal without any work. The rest goes
//! through the `jid` crate, and its domain through IDNA so that `xn--` labels and U-labels are one. A JID that no rule
//! accepts is kept as it came, cut to [`MAX_BYTES`]: a message is not lost because its address is odd, and the original
//! spelling stands in the stanza anyway.

use std::fmt;

/// Longest bare JID of RFC 7622 §3.1: 1,023 bytes for the localpart, `@`, 1,023 for the domain.
pub const MAX_BYTES: usize = 2047;

/// A normalised JID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// `localpart@domain`, or a domain alone.
    pub bare: String,
    /// The resource, in its own case.
    pub resource: Option<String>,
}

impl Address {
    /// Normalises `written`; never fails.
    pub fn parse(written: &str) -> Self {
        let (bare, resource) = match written.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (written, None),
        };
        if is_normal(bare) && resource.is_none_or(is_plain_resource) {
            return Self { bare: bare.to_owned(), resource: resource.map(str::to_owned) };
        }
        Self::prepare(bare, resource)
    }

    fn prepare(bare: &str, resource: Option<&str>) -> Self {
        let (local, domain) = bare.split_once('@').map_or((None, bare), |(local, domain)| (Some(local), domain));
        let domain = fold_domain(domain);
        let folded = local.map_or_else(|| domain.clone(), |local| format!("{local}@{domain}"));
        let bare = jid::BareJid::new(&folded).map_or_else(|_invalid| kept(&folded), |jid| jid.to_string());
        Self { bare, resource: resource.map(prepare_resource) }
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        self.bare.rsplit_once('@').map_or(self.bare.as_str(), |(_, domain)| domain)
    }

    /// The localpart, where there is one.
    pub fn local(&self) -> Option<&str> {
        self.bare.rsplit_once('@').map(|(local, _)| local)
    }

    /// Whether there is no resource.
    pub fn is_bare(&self) -> bool {
        self.resource.is_none()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Some(resource) => write!(out, "{}/{resource}", self.bare),
            None => out.write_str(&self.bare),
        }
    }
}

/// A domain in lower case, with U-labels and without a trailing dot (RFC 7622 §3.2).
pub fn fold_domain(written: &str) -> String {
    let trimmed = written.strip_suffix('.').unwrap_or(written);
    let (unicode, _errors_keep_their_labels) = idna::domain_to_unicode(trimmed);
    unicode
}

/// The escapes of XEP-0106 undone, for a person to read; never used for comparison.
pub fn unescape(jid: &str) -> String {
    const ESCAPES: [(&str, &str); 10] = [
        ("\\20", " "),
        ("\\22", "\""),
        ("\\26", "&"),
        ("\\27", "'"),
        ("\\2f", "/"),
        ("\\3a", ":"),
        ("\\3c", "<"),
        ("\\3e", ">"),
        ("\\40", "@"),
        ("\\5c", "\\"),
    ];
    if !jid.contains('\\') {
        return jid.to_owned();
    }
    let mut shown = String::with_capacity(jid.len());
    let mut rest = jid;
    while let Some(character) = rest.chars().next() {
        let escape = ESCAPES.iter().find(|(escaped, _)| rest.starts_with(escaped));
        let (read, plain) = escape.map_or((character.len_utf8(), None), |(escaped, plain)| (escaped.len(), Some(*plain)));
        let (head, tail) = rest.split_at(read);
        shown.push_str(plain.unwrap_or(head));
        rest = tail;
    }
    shown
}

/// Whether no rule could change this bare JID. `xn--` labels do not count as normal.
fn is_normal(bare: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' | b'+');
    !bare.is_empty()
        && bare.len() <= 255
        && bare.bytes().all(plain)
        && !bare.ends_with('.')
        && bare.bytes().filter(|byte| *byte == b'@').count() <= 1
        && !bare.starts_with('@')
        && !bare.contains("xn--")
}

fn is_plain_resource(resource: &str) -> bool {
    !resource.is_empty() && resource.len() <= 1023 && resource.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn prepare_resource(resource: &str) -> String {
    jid::ResourcePart::new(resource).map_or_else(|_invalid| kept(resource), |part| part.as_str().to_owned())
}

fn kept(text: &str) -> String {
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, bare: &str, resource: Option<&str>) {
        let address = Address::parse(written);
        assert_eq!((address.bare.as_str(), address.resource.as_deref()), (bare, resource), "{written}");
    }

    #[test]
    fn jids_are_normalised() {
        check("alice@example.com", "alice@example.com", None);
        check("BOB@LocalHost", "bob@localhost", None);
        check("Bob@EXAMPLE.com/Desk Top", "bob@example.com", Some("Desk Top"));
        check("alice@example.com./x", "alice@example.com", Some("x"));
        check("alice@xn--bcher-kva.example", "alice@bücher.example", None);
        check("alice@BÜCHER.example", "alice@bücher.example", None);
        check("example.com/a/b@c", "example.com", Some("a/b@c"));
        check("room@muc.example/Łukasz 👍", "room@muc.example", Some("Łukasz 👍"));
    }

    #[test]
    fn an_address_no_rule_accepts_is_kept() {
        check("@example.com", "@example.com", None);
        check("a b@example.com", "a b@example.com", None);
        check("", "", None);
        assert!(Address::parse(&"é".repeat(5000)).bare.len() <= MAX_BYTES);
    }

    #[test]
    fn escapes_are_undone_only_for_display() {
        assert_eq!(Address::parse("d\\27artagnan@example.com").bare, "d\\27artagnan@example.com");
        assert_eq!(unescape("d\\27artagnan@example.com"), "d'artagnan@example.com");
        assert_eq!(unescape("c\\5c20\\é"), "c\\20\\é");
    }

    #[test]
    fn parts_are_found() {
        let address = Address::parse("alice@example.com/desk");
        assert_eq!((address.local(), address.domain()), (Some("alice"), "example.com"));
        assert_eq!(Address::parse("example.com").local(), None);
    }
}
