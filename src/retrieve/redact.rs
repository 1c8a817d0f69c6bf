//! Stanzas for display: as they were received, but for the passwords of rooms.
//!
//! An invitation carries the password of a room in the clear (XEP-0045 §7.8, XEP-0249). The archive keeps it, since the stanza is the
//! record, and shows it nowhere. Everything else stays byte for byte.

use std::ops::Range;

use crate::message::content::REDACTED;
use crate::xml::{COMPONENT_NS, Document, Element};

const MUC_USER_NS: &str = "http://jabber.org/protocol/muc#user";
const CONFERENCE_NS: &str = "jabber:x:conference";
/// What stands in the place of a stanza that can't be read and speaks of a password.
const WITHHELD: &str = "[withheld: not readable as XML, and may hold a password]";

/// The stanza as text, redacted.
pub(crate) fn stanza(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("password") {
        return text.into_owned();
    }
    let Ok(document) = Document::parse(text.as_bytes(), COMPONENT_NS) else { return WITHHELD.to_owned() };
    let mut secrets = Vec::new();
    let mut open = vec![document.root()];
    while let Some(element) = open.pop() {
        secrets.extend(secret(&text, element));
        open.extend(element.children());
    }
    secrets.sort_unstable_by_key(|range| range.start);
    let mut shown = String::with_capacity(text.len());
    let mut done = 0;
    for range in secrets {
        shown.push_str(text.get(done..range.start).unwrap_or_default());
        shown.push_str(REDACTED);
        done = range.end;
    }
    shown.push_str(text.get(done..).unwrap_or_default());
    shown
}

/// Where the secret of this element lies in the text, if it has one.
fn secret(text: &str, element: Element<'_, '_>) -> Option<Range<usize>> {
    let source = element.source();
    let start = (source.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let within = if element.is("password", MUC_USER_NS) {
        let content = tag_end(source)?;
        content..source.rfind("</")?
    } else if element.is("x", CONFERENCE_NS) {
        attribute_value(source.get(..tag_end(source)?)?, "password")?
    } else {
        return None;
    };
    (within.start <= within.end).then(|| start + within.start..start + within.end)
}

/// Where the start tag ends: a `>` in an attribute's value is none.
fn tag_end(source: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in source.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Where the value of an attribute lies in a start tag.
fn attribute_value(tag: &str, name: &str) -> Option<Range<usize>> {
    let mut at = tag.find(char::is_whitespace)?;
    loop {
        let rest = tag.get(at..)?;
        let equals = at + rest.find('=')?;
        let open = equals + 1 + tag.get(equals + 1..)?.find(['"', '\''])?;
        let quote = tag.get(open..)?.chars().next()?;
        let close = open + 1 + tag.get(open + 1..)?.find(quote)?;
        if tag.get(at..equals)?.trim() == name {
            return Some(open + 1..close);
        }
        at = close + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, shown: &str) {
        assert_eq!(stanza(written.as_bytes()), shown);
    }

    #[test]
    fn passwords_of_rooms_are_not_shown() {
        check(
            "<message><x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/><password>a&amp;b</password></x></message>",
            "<message><x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/><password>[redacted]</password></x></message>",
        );
        check(
            "<message><x reason = 'password=&quot;x&quot; >' password = \"hunter2\" xmlns='jabber:x:conference' jid='r@m'/></message>",
            "<message><x reason = 'password=&quot;x&quot; >' password = \"[redacted]\" xmlns='jabber:x:conference' jid='r@m'/></message>",
        );
        check(
            "<f><message xmlns='jabber:client'><m:x xmlns:m='http://jabber.org/protocol/muc#user'><m:password ><![CDATA[</a>]]></m:password></m:x></message></f>",
            "<f><message xmlns='jabber:client'><m:x xmlns:m='http://jabber.org/protocol/muc#user'><m:password >[redacted]</m:password></m:x></message></f>",
        );
    }

    #[test]
    fn everything_else_stays() {
        for written in [
            "<message><body>the password is x</body></message>",
            "<message><x xmlns='http://jabber.org/protocol/muc#user'><password/></x></message>",
            "not <xml",
        ] {
            check(written, written);
        }
        check("<message><password>", WITHHELD);
    }
}
