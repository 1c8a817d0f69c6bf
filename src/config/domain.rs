//! One spelling for each domain, so that two ways to write it are one domain.
//!
//! RFC 7622 section 3.2 asks for U-labels in lower case and cuts one trailing dot. The `jid` crate checks a domain but
//! keeps `xn--` labels and the dot as they came, so the folding stands here: IDNA mapping, then the dot, then `jid`.

use std::net::IpAddr;

use idna::AsciiDenyList;
use jid::DomainPart;

/// The most bytes of a domain in its ASCII form (RFC 1035 section 2.3.4, without the root's dot).
const MAX_DOMAIN_BYTES: usize = 253;

/// The most bytes of one label in its ASCII form (RFC 1035 section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// Why a text is no domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing is left once the trailing dot is cut.
    #[error("is empty")]
    Empty,
    /// Two dots in a row, or one in front.
    #[error("has an empty label")]
    EmptyLabel,
    /// Longer than the name system allows.
    #[error("is longer than 253 bytes, or has a label longer than 63")]
    TooLong,
    /// A character that no domain may hold, or a label that IDNA refuses.
    #[error("is not a domain (RFC 7622 section 3.2)")]
    Invalid,
}

/// Folds a domain to U-labels in lower case without a trailing dot.
pub fn normalise(text: &str) -> Result<String, DomainError> {
    if let Some(address) = ip_literal(text) {
        return Ok(address);
    }
    let (mapped, outcome) = idna::domain_to_unicode(text);
    outcome.or(Err(DomainError::Invalid))?;
    // After the mapping, since it turns other full stops (U+3002) into dots.
    let domain = mapped.strip_suffix('.').unwrap_or(&mapped);
    check_labels(domain)?;
    match DomainPart::new(domain) {
        Ok(part) => Ok(part.as_str().to_owned()),
        Err(_) => Err(DomainError::Invalid),
    }
}

/// The domain one label up, `example.com` of `archive.example.com`, if there is one.
pub fn parent(domain: &str) -> Option<&str> {
    if ip_literal(domain).is_some() {
        return None;
    }
    domain.split_once('.').map(|(_, parent)| parent)
}

/// An IPv4 address, or an IPv6 address in brackets, is a domain of its own (RFC 7622 section 3.2).
fn ip_literal(text: &str) -> Option<String> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(v6) => match v6.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => Some(format!("[{address}]")),
            _ => None,
        },
        None => match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Some(address.to_string()),
            _ => None,
        },
    }
}

fn check_labels(domain: &str) -> Result<(), DomainError> {
    if domain.is_empty() {
        return Err(DomainError::Empty);
    }
    if domain.split('.').any(str::is_empty) {
        return Err(DomainError::EmptyLabel);
    }
    let ascii = idna::domain_to_ascii_cow(domain.as_bytes(), AsciiDenyList::URL).or(Err(DomainError::Invalid))?;
    let too_long = ascii.len() > MAX_DOMAIN_BYTES || ascii.split('.').any(|label| label.len() > MAX_LABEL_BYTES);
    if too_long {
        return Err(DomainError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_domain_are_one_domain() {
        for text in ["Bücher.Example", "xn--bcher-kva.example", "XN--BCHER-KVA.example.", "bücher。example。"] {
            assert_eq!(normalise(text).as_deref(), Ok("bücher.example"), "{text}");
        }
    }

    #[test]
    fn plain_domains_and_addresses_stay() {
        for text in ["localhost", "chat_server.local", "a-b.example", "127.0.0.1", "[::1]"] {
            assert_eq!(normalise(text).as_deref(), Ok(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_domain = vec!["abcdefg"; 40].join(".");
        for (text, error) in [
            ("", DomainError::Empty),
            (".", DomainError::Empty),
            ("a..b", DomainError::EmptyLabel),
            (".a", DomainError::EmptyLabel),
            ("alice@example.com", DomainError::Invalid),
            ("example.com/desk", DomainError::Invalid),
            ("two words", DomainError::Invalid),
            ("xn--a", DomainError::Invalid),
            ("[::1", DomainError::Invalid),
            (&long_label, DomainError::TooLong),
            (&long_domain, DomainError::TooLong),
        ] {
            assert_eq!(normalise(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_parent_is_one_label_up() {
        assert_eq!(parent("archive.example.com"), Some("example.com"));
        assert_eq!(parent("archive"), None);
        assert_eq!(parent("127.0.0.1"), None);
    }
}
