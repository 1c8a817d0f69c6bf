//! What comes in over an XMPP stream, cut into stanzas without an XML parser: servers do send XML that is not namespace-well-formed, and a test
//! wants to see that too.

use minidom::Element;

/// A top-level element as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Stanza {
    pub(crate) raw: String,
    /// The parsed element, where it is namespace-well-formed.
    pub(crate) element: Option<Element>,
}

impl Stanza {
    fn new(raw: String, default_namespace: &str) -> Stanza {
        let wrapped = format!("<w xmlns='{default_namespace}' xmlns:stream='http://etherx.jabber.org/streams'>{raw}</w>");
        let parsed: Option<Element> = wrapped.parse().ok();
        let element = parsed.and_then(|wrapper| wrapper.children().next().cloned());
        Stanza { raw, element }
    }

    pub(crate) fn name(&self) -> &str {
        let end = self.raw[1..].find(|c: char| c.is_whitespace() || c == '>' || c == '/');
        &self.raw[1..1 + end.unwrap_or(0)]
    }

    pub(crate) fn is_message(&self) -> bool {
        self.name() == "message"
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.raw.contains(text)
    }

    pub(crate) fn attr(&self, name: &'static str) -> Option<&str> {
        self.element.as_ref()?.attr(name)
    }

    /// The text of a message's first body.
    pub(crate) fn body(&self) -> Option<String> {
        self.text_of("body")
    }

    pub(crate) fn subject(&self) -> Option<String> {
        self.text_of("subject")
    }

    fn text_of(&self, name: &str) -> Option<String> {
        let child = self.children().find(|child| child.name() == name)?;
        Some(child.text())
    }

    pub(crate) fn has(&self, name: &str, namespace: &str) -> bool {
        self.children().any(|child| child.is(name, namespace))
    }

    fn children(&self) -> impl Iterator<Item = &Element> {
        self.element.iter().flat_map(Element::children)
    }
}

/// Cuts a stream into its top-level elements. Restarts of the stream are noticed and skipped.
#[derive(Debug)]
pub(crate) struct Splitter {
    default_namespace: &'static str,
    buffer: Vec<u8>,
    /// Where the next tag is looked for.
    position: usize,
    depth: usize,
    header: Option<String>,
}

impl Splitter {
    pub(crate) fn new(default_namespace: &'static str) -> Splitter {
        Splitter { default_namespace, buffer: Vec::new(), position: 0, depth: 0, header: None }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The start tag of the stream, once after each time that it came.
    pub(crate) fn take_header(&mut self) -> Option<String> {
        self.header.take()
    }

    /// The next complete stanza, if it is all here.
    pub(crate) fn next_stanza(&mut self) -> Option<Stanza> {
        while let Some((start, end)) = self.next_tag() {
            let tag = &self.buffer[start..end];
            if tag.starts_with(b"<?") || tag.starts_with(b"</stream:stream") {
                self.drop_until(end);
            } else if tag.starts_with(b"<stream:stream") {
                self.header = Some(String::from_utf8_lossy(tag).into_owned());
                self.drop_until(end);
            } else if self.takes_last(start, end) {
                let stanza = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.drop_until(end);
                return Some(Stanza::new(stanza.trim().to_owned(), self.default_namespace));
            } else {
                self.position = end;
            }
        }
        None
    }

    /// Counts a tag and says whether it ends a top-level element.
    fn takes_last(&mut self, start: usize, end: usize) -> bool {
        let tag = &self.buffer[start..end];
        if tag.starts_with(b"</") {
            self.depth -= 1;
        } else if !tag.ends_with(b"/>") {
            self.depth += 1;
        }
        self.depth == 0
    }

    /// Where the next tag starts and ends; a `>` within an attribute's quotes ends nothing.
    fn next_tag(&self) -> Option<(usize, usize)> {
        let bytes = &self.buffer;
        let start = self.position + bytes[self.position..].iter().position(|b| *b == b'<')?;
        let mut quote = None;
        for (offset, byte) in bytes[start..].iter().enumerate() {
            match (quote, *byte) {
                (None, b'>') => return Some((start, start + offset + 1)),
                (None, b'\'' | b'"') => quote = Some(*byte),
                (Some(open), close) if open == close => quote = None,
                _ => {}
            }
        }
        None
    }

    fn drop_until(&mut self, end: usize) {
        self.buffer.drain(..end);
        self.position = 0;
    }
}
