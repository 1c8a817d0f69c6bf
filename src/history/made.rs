//! Stanzas of rows: what stands in the start tag of one, and one made of columns where the row holds none.
//!
//! A stanza that was made says so: it has the child `<made xmlns='urn:xmpp-archiver:history:0' source='…'/>`. Its addresses are the columns' to the
//! letter, valid or not; only characters that XML can't hold (XML 1.0 §2.2) become U+FFFD.

use quick_xml::Reader;
use quick_xml::events::Event;

/// The namespace of the mark on a stanza that was made.
pub const NAMESPACE: &str = "urn:xmpp-archiver:history:0";

/// How far into a stanza its start tag is looked for.
const START_TAG_BYTES: usize = 16 * 1024;

/// What the columns of a row say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    /// Who wrote it.
    pub from: &'a str,
    /// Whom it is for.
    pub to: &'a str,
    /// RFC 6121 §5.2.2; empty for none.
    pub message_type: &'a str,
    /// The subject.
    pub subject: Option<&'a str>,
    /// The thread.
    pub thread: Option<&'a str>,
    /// The body.
    pub body: Option<&'a str>,
    /// Of which source the row is.
    pub source: &'a str,
}

/// A stanza of a row's columns.
pub fn message(columns: &Columns<'_>) -> Vec<u8> {
    let mut xml = String::from("<message xmlns='jabber:client'");
    for (name, value) in [("from", columns.from), ("to", columns.to), ("type", columns.message_type)] {
        if !value.is_empty() {
            xml.push_str(&format!(" {name}='{}'", escaped(value)));
        }
    }
    xml.push('>');
    for (name, text) in [("subject", columns.subject), ("body", columns.body), ("thread", columns.thread)] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            xml.push_str(&format!("<{name}>{}</{name}>", escaped(text)));
        }
    }
    xml.push_str(&format!("<made xmlns='{NAMESPACE}' source='{}'/></message>", escaped(columns.source)));
    xml.into_bytes()
}

/// The stanza with addresses from columns where it has none itself.
pub fn addressed(stanza: &str, from: &str, to: &str) -> String {
    let bytes = stanza.as_bytes();
    let missing = |name: &str, value: &str| match attribute(bytes, name) {
        None if !value.is_empty() => format!(" {name}='{}'", escaped(value)),
        _ => String::new(),
    };
    let added = missing("from", from) + &missing("to", to);
    let name_end = stanza.find(|character: char| character.is_whitespace() || matches!(character, '>' | '/')).unwrap_or(stanza.len());
    match stanza.split_at_checked(name_end) {
        Some((name, rest)) if !added.is_empty() => format!("{name}{added}{rest}"),
        _ => stanza.to_owned(),
    }
}

/// Who sent a stanza, empty if it does not say.
pub fn sender(stanza: &[u8]) -> String {
    attribute(stanza, "from").unwrap_or_default()
}

/// An attribute of a stanza's start tag.
pub fn attribute(stanza: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(stanza.get(..START_TAG_BYTES).unwrap_or(stanza));
    let mut reader = Reader::from_str(&text);
    let tag = loop {
        match reader.read_event().ok()? {
            Event::Start(tag) | Event::Empty(tag) => break tag,
            Event::Eof => return None,
            _ => {}
        }
    };
    let mut attributes = tag.attributes();
    let found = attributes.with_checks(false).flatten().find(|attribute| attribute.key.as_ref() == name)?;
    Some(quick_xml::escape::unescape(&found.value).map_or_else(|_unknown_entity| found.value.to_string(), |text| text.into_owned()))
}

fn escaped(text: &str) -> String {
    let is_xml = |character: char| matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
    let clean: String = text.chars().map(|character| if is_xml(character) { character } else { '\u{fffd}' }).collect();
    // A line end written as such would become a space in an attribute, and a lone CR a line end in text (XML 1.0 §2.11, §3.3.3).
    quick_xml::escape::escape(clean).replace('\r', "&#13;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{COMPONENT_NS, Document};

    #[test]
    fn a_made_stanza_holds_the_columns_to_the_letter_and_says_that_it_was_made() {
        let columns = Columns {
            from: "O'Neill <x>@H.Example/a&b",
            to: "bob\u{1}@h",
            message_type: "chat",
            body: Some("<HTML><b>hi</b>\r\n\u{0}</HTML>"),
            subject: Some(""),
            source: "cisco-jm",
            ..Columns::default()
        };
        let stanza = message(&columns);
        let document = Document::parse(&stanza, COMPONENT_NS).unwrap();
        let root = document.root();
        assert_eq!((root.attribute("from"), root.attribute("to")), (Some("O'Neill <x>@H.Example/a&b"), Some("bob\u{fffd}@h")));
        assert_eq!(root.child("body", "jabber:client").unwrap().text(), "<HTML><b>hi</b>\r\n\u{fffd}</HTML>");
        assert!(root.child("subject", "jabber:client").is_none());
        assert_eq!(root.child("made", NAMESPACE).unwrap().attribute("source"), Some("cisco-jm"));
    }

    #[test]
    fn addresses_are_added_only_where_there_are_none() {
        assert_eq!(addressed("<message to='b'><body/></message>", "a'", "c"), "<message from='a&apos;' to='b'><body/></message>");
        assert_eq!(addressed("<message/>", "a", "b"), "<message from='a' to='b'/>");
        assert_eq!(addressed("<message from='a' to='b'/>", "x", "y"), "<message from='a' to='b'/>");
    }

    #[test]
    fn the_start_tag_is_read_and_nothing_else() {
        assert_eq!(sender(b"<?xml version='1.0'?><message a='1' from='a&amp;b@h'><x from='z'"), "a&b@h");
        assert_eq!(sender(b"<message><x from='z'/></message>"), "");
        assert_eq!(sender(b"no xml"), "");
        assert_eq!(sender(b"\xff\x00"), "");
    }
}
