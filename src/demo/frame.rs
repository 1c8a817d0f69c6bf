//! Cuts what a component sends into stanzas, for the demonstration node.
//!
//! The node only ever talks to a component of ours, over loopback, so this is a scanner for the restricted XML of
//! RFC 6120 section 11.1 and not a parser: it follows tags, quoted attribute values and CDATA, counts depth, and
//! refuses comments, processing instructions (but for the declaration) and document types.

/// What lies at the start of the bytes received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A complete piece: that many bytes.
    Complete(usize),
    /// Not complete yet: read more.
    More,
    /// The closing tag of the stream: that many bytes, nothing follows.
    End(usize),
    /// Not what RFC 6120 allows on a stream.
    Malformed,
}

/// Finds the end of the stream's opening tag, with the XML declaration that may stand before it.
pub fn header(bytes: &[u8]) -> Frame {
    let mut at = skip_space(bytes, 0);
    if rest(bytes, at).starts_with(b"<?") {
        match find(bytes, at, b"?>") {
            Some(end) => at = skip_space(bytes, end),
            None => return Frame::More,
        }
    }
    match tag(bytes, at) {
        Tag::Open(end) => Frame::Complete(end),
        Tag::More => Frame::More,
        _ => Frame::Malformed,
    }
}

/// Finds the end of the first stanza. White space between stanzas, which keeps a stream alive, belongs to the one after it.
pub fn stanza(bytes: &[u8]) -> Frame {
    let mut at = skip_space(bytes, 0);
    let mut depth = 0_usize;
    while at < bytes.len() {
        if depth > 0 && !rest(bytes, at).starts_with(b"<") {
            match memchr::memchr(b'<', rest(bytes, at)) {
                Some(text) => at += text,
                None => return Frame::More,
            }
        }
        match tag(bytes, at) {
            Tag::Open(end) => (depth, at) = (depth + 1, end),
            Tag::Empty(end) | Tag::Text(end) => at = end,
            Tag::Close(end) if depth == 0 => return Frame::End(end),
            Tag::Close(end) => (depth, at) = (depth - 1, end),
            Tag::More => return Frame::More,
            Tag::Malformed => return Frame::Malformed,
        }
        if depth == 0 {
            return Frame::Complete(at);
        }
    }
    Frame::More
}

/// One piece of markup and where it ends.
enum Tag {
    Open(usize),
    Empty(usize),
    Close(usize),
    Text(usize),
    More,
    Malformed,
}

/// Reads the markup at `at`, which has to be a `<`.
fn tag(bytes: &[u8], at: usize) -> Tag {
    const CDATA: &[u8] = b"<![CDATA[";
    let rest = rest(bytes, at);
    match rest {
        [] | [b'<'] => Tag::More,
        [b'<', b'/', ..] => memchr::memchr(b'>', rest).map_or(Tag::More, |end| Tag::Close(at + end + 1)),
        [b'<', b'!', ..] if rest.starts_with(CDATA) => find(bytes, at, b"]]>").map_or(Tag::More, Tag::Text),
        [b'<', b'!', ..] if CDATA.starts_with(rest) => Tag::More,
        [b'<', b'!' | b'?', ..] => Tag::Malformed,
        [b'<', ..] => opening(rest, at),
        _ => Tag::Malformed,
    }
}

/// Reads an opening or empty tag: a `>` inside a quoted attribute value does not end it.
fn opening(rest: &[u8], at: usize) -> Tag {
    let mut quote = None;
    let mut before = 0;
    for (offset, byte) in rest.iter().copied().enumerate() {
        match (quote, byte) {
            (None, b'>') if before == b'/' => return Tag::Empty(at + offset + 1),
            (None, b'>') => return Tag::Open(at + offset + 1),
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
        before = byte;
    }
    Tag::More
}

/// The bytes from `at` on; none when `at` is past the end.
fn rest(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// The position just after the first `needle` at or after `at`.
fn find(bytes: &[u8], at: usize, needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(rest(bytes, at), needle).map(|found| at + found + needle.len())
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let space = rest(bytes, at).iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    at + space
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_at_its_tag() {
        let text = b"<?xml version='1.0'?>\n<stream:stream to='a>b' xmlns:stream='x'><handshake/>";
        assert_eq!(header(text), Frame::Complete(text.len() - "<handshake/>".len()));
        assert_eq!(header(&text[..30]), Frame::More);
        assert_eq!(header(b"hello"), Frame::Malformed);
    }

    #[test]
    fn every_prefix_of_a_stanza_asks_for_more() {
        let text = "<iq id='1' to=\"a'/>b\"><q><![CDATA[</q>]]>é<r/></q></iq>".as_bytes();
        for cut in 0..text.len() {
            assert_eq!(stanza(&text[..cut]), Frame::More, "cut at {cut}");
        }
        assert_eq!(stanza(text), Frame::Complete(text.len()));
    }

    #[test]
    fn the_first_of_several_is_found() {
        assert_eq!(stanza(b" \n<a/><b/>"), Frame::Complete(6));
        assert_eq!(stanza(b"</stream:stream>"), Frame::End(16));
    }

    #[test]
    fn what_xmpp_forbids_is_refused() {
        assert_eq!(stanza(b"<a><!-- no --></a>"), Frame::Malformed);
        assert_eq!(stanza(b"<?php ?>"), Frame::Malformed);
        assert_eq!(stanza(b"text"), Frame::Malformed);
    }
}
