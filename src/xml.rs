//! A stanza as a flat tree: cheap to build, borrowed from the bytes, impossible to overflow a stack with.
//!
//! The bytes that a node sent are the record; this tree only serves to read them. It is built in one pass over quick-xml's
//! events into one vector of nodes, so neither building, walking nor dropping it recurses, whatever the depth of the input.
//! Namespaces are resolved here rather than by the parser because nodes do send stanzas with unbound prefixes: such an
//! element gets the empty namespace, the document is marked, and everything else in it stays readable.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};

/// Most nodes (elements and runs of text) that one stanza may have: about 7 MiB of memory at the most.
pub const MAX_NODES: usize = 65_536;

/// Most namespace declarations in force at one place: resolving a prefix walks them.
const MAX_SCOPE: usize = 128;

/// The namespace that a component stream gives to stanzas without one of their own (XEP-0114 §3).
pub const COMPONENT_NS: &str = "jabber:component:accept";

const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";
const NONE: u32 = u32::MAX;

/// Why bytes could not be read as a stanza.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not UTF-8, which RFC 6120 §11.6 demands.
    #[error("not UTF-8")]
    Encoding,
    /// Not well-formed XML.
    #[error("not well-formed: {0}")]
    Syntax(String),
    /// More than [`MAX_NODES`] nodes.
    #[error("more than {MAX_NODES} elements")]
    TooManyNodes,
    /// No element at all, or something beside the one element.
    #[error("not exactly one element")]
    NotOneElement,
}

#[derive(Debug)]
struct Node<'a> {
    /// Local name; empty for text.
    name: &'a str,
    namespace: Cow<'a, str>,
    text: Cow<'a, str>,
    attributes: Range<u32>,
    first_child: u32,
    next_sibling: u32,
    /// Byte offsets of the whole element in the source.
    start: u32,
    end: u32,
}

/// A parsed stanza. Byte offsets are 32 bits wide: stanzas are limited to far less than 4 GiB.
#[derive(Debug)]
pub struct Document<'a> {
    nodes: Vec<Node<'a>>,
    attributes: Vec<(&'a str, Cow<'a, str>)>,
    source: &'a str,
    /// Whether a prefix was used that no `xmlns:` declares.
    pub unbound_prefix: bool,
}

/// One element of a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct Element<'d, 'a> {
    document: &'d Document<'a>,
    index: u32,
}

impl<'a> Document<'a> {
    /// Parses one stanza. `default_namespace` is what an element without any `xmlns` is in.
    ///
    /// # Errors
    /// When the bytes are not one well-formed element of at most [`MAX_NODES`] nodes.
    pub fn parse(source: &'a [u8], default_namespace: &'a str) -> Result<Self, XmlError> {
        let text = std::str::from_utf8(source).map_err(|_not_utf8| XmlError::Encoding)?;
        Builder::new(text, default_namespace).build()
    }

    /// The stanza itself.
    pub fn root(&self) -> Element<'_, 'a> {
        Element { document: self, index: 0 }
    }
}

impl<'d, 'a> Element<'d, 'a> {
    fn node(&self) -> &'d Node<'a> {
        #[expect(clippy::indexing_slicing, reason = "indices are made by the builder and point into its own vector")]
        &self.document.nodes[self.index as usize]
    }

    /// The local name.
    pub fn name(&self) -> &'a str {
        self.node().name
    }

    /// The namespace; empty where a prefix was unbound.
    pub fn namespace(&self) -> &'d str {
        &self.node().namespace
    }

    /// Whether this is the element `name` in `namespace`.
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.node().name == name && self.node().namespace == namespace
    }

    /// The value of the attribute with this name as written (`id`, `xml:lang`).
    pub fn attribute(&self, name: &str) -> Option<&'d str> {
        let Range { start, end } = self.node().attributes;
        let attributes = self.document.attributes.get(start as usize..end as usize)?;
        attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_ref())
    }

    /// The child elements, in order.
    pub fn children(&self) -> impl Iterator<Item = Element<'d, 'a>> + use<'d, 'a> {
        self.nodes().filter(|child| !child.node().name.is_empty())
    }

    fn nodes(&self) -> impl Iterator<Item = Element<'d, 'a>> + use<'d, 'a> {
        let document = self.document;
        let mut next = self.node().first_child;
        std::iter::from_fn(move || {
            let child = (next != NONE).then_some(Element { document, index: next })?;
            next = child.node().next_sibling;
            Some(child)
        })
    }

    /// The first child with this name and namespace.
    pub fn child(&self, name: &str, namespace: &str) -> Option<Element<'d, 'a>> {
        self.children().find(|child| child.is(name, namespace))
    }

    /// The text directly inside (not that of child elements), entities resolved, line ends as XML 1.0 §2.11 says.
    pub fn text(&self) -> Cow<'d, str> {
        let mut parts = self.nodes().filter(|child| child.node().name.is_empty()).map(|child| &child.node().text);
        let Some(first) = parts.next() else { return Cow::Borrowed("") };
        match parts.next() {
            None => Cow::Borrowed(first.as_ref()),
            Some(second) => {
                let mut whole = String::from(first.as_ref());
                whole.push_str(second);
                parts.for_each(|part| whole.push_str(part));
                Cow::Owned(whole)
            }
        }
    }

    /// The bytes of this element as they stood in the source.
    pub fn source(&self) -> &'a str {
        self.document.source.get(self.node().start as usize..self.node().end as usize).unwrap_or_default()
    }
}

struct Builder<'a> {
    document: Document<'a>,
    /// Open elements: index of the node and of its last child so far.
    open: Vec<(u32, u32)>,
    /// Declared prefixes with the depth of the element that declared them; the empty prefix is the default namespace.
    scope: Vec<(&'a str, Cow<'a, str>, usize)>,
}

impl<'a> Builder<'a> {
    fn new(source: &'a str, default_namespace: &'a str) -> Self {
        let document = Document { nodes: Vec::with_capacity(24), attributes: Vec::with_capacity(32), source, unbound_prefix: false };
        Self { document, open: Vec::with_capacity(8), scope: vec![("", Cow::Borrowed(default_namespace), 0)] }
    }

    fn build(mut self) -> Result<Document<'a>, XmlError> {
        let source = self.document.source;
        let mut reader = Reader::from_str(source);
        loop {
            let start = reader.buffer_position();
            let event = reader.read_event().map_err(|error| XmlError::Syntax(error.to_string()))?;
            let end = reader.buffer_position();
            match event {
                Event::Start(tag) => self.element(&tag, start, end, true)?,
                Event::Empty(tag) => self.element(&tag, start, end, false)?,
                Event::End(_) => self.close(end),
                Event::Text(text) => self.text(borrowed(source, text.xml10_content()))?,
                Event::CData(text) => self.text(borrowed(source, text.xml10_content()))?,
                Event::GeneralRef(reference) => self.text(resolve(&reference)?)?,
                Event::Eof => break,
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
                Event::DocType(_) => return Err(XmlError::Syntax("document type declaration".into())),
            }
        }
        if self.document.nodes.is_empty() || !self.open.is_empty() {
            return Err(XmlError::NotOneElement);
        }
        Ok(self.document)
    }

    fn element(&mut self, tag: &BytesStart<'_>, start: u64, end: u64, has_content: bool) -> Result<(), XmlError> {
        let depth = self.open.len() + 1;
        let first_attribute = self.document.attributes.len() as u32;
        self.attributes(tag, depth)?;
        let (prefix, name) = split(within(self.document.source, tag.name().into_inner()).unwrap_or_default());
        let namespace = self.resolve(prefix);
        let index = self.push(Node {
            name,
            namespace,
            text: Cow::Borrowed(""),
            attributes: first_attribute..self.document.attributes.len() as u32,
            first_child: NONE,
            next_sibling: NONE,
            start: start as u32,
            end: end as u32,
        })?;
        if has_content {
            self.open.push((index, NONE));
        } else {
            self.leave_scope(depth);
        }
        Ok(())
    }

    fn attributes(&mut self, tag: &BytesStart<'_>, depth: usize) -> Result<(), XmlError> {
        let mut attributes = tag.attributes();
        // The check for repeated names is quadratic in their number; the first of them counts.
        for attribute in attributes.with_checks(false) {
            let attribute = attribute.map_err(|error| XmlError::Syntax(error.to_string()))?;
            let source = self.document.source;
            let key = within(source, attribute.key.into_inner()).unwrap_or_default();
            let value = attribute_value(source, &attribute.value)?;
            if key == "xmlns" {
                self.scope.push(("", value, depth));
            } else if let Some(prefix) = key.strip_prefix("xmlns:") {
                self.scope.push((prefix, value, depth));
            } else {
                self.document.attributes.push((key, value));
            }
            if self.scope.len() > MAX_SCOPE || self.document.attributes.len() > MAX_NODES {
                return Err(XmlError::TooManyNodes);
            }
        }
        Ok(())
    }

    fn resolve(&mut self, prefix: &str) -> Cow<'a, str> {
        if prefix == "xml" {
            return Cow::Borrowed(XML_NS);
        }
        let found = self.scope.iter().rev().find(|(declared, ..)| *declared == prefix);
        self.document.unbound_prefix |= found.is_none();
        found.map(|(_, namespace, _)| namespace.clone()).unwrap_or(Cow::Borrowed(""))
    }

    fn text(&mut self, text: Cow<'a, str>) -> Result<(), XmlError> {
        if self.open.is_empty() {
            let blank = text.bytes().all(|byte| byte.is_ascii_whitespace());
            return if blank { Ok(()) } else { Err(XmlError::NotOneElement) };
        }
        if let Some(before) = self.text_before() {
            before.to_mut().push_str(&text);
            return Ok(());
        }
        let empty = Cow::Borrowed("");
        let node = Node { name: "", namespace: empty, text, attributes: 0..0, first_child: NONE, next_sibling: NONE, start: 0, end: 0 };
        self.push(node).map(drop)
    }

    /// The text that goes on here: references to characters split one text into any number of parts, which are one node all the same.
    fn text_before(&mut self) -> Option<&mut Cow<'a, str>> {
        let (_, last) = self.open.last()?;
        let node = self.document.nodes.get_mut(*last as usize)?;
        (node.name.is_empty() && node.first_child == NONE).then_some(&mut node.text)
    }

    #[expect(clippy::indexing_slicing, reason = "indices come from this builder and point into its own vector")]
    fn push(&mut self, node: Node<'a>) -> Result<u32, XmlError> {
        let index = self.document.nodes.len();
        if index >= MAX_NODES {
            return Err(XmlError::TooManyNodes);
        }
        let index = index as u32;
        match self.open.last_mut() {
            Some((_, last)) if *last != NONE => {
                self.document.nodes[*last as usize].next_sibling = index;
                *last = index;
            }
            Some((parent, last)) => {
                self.document.nodes[*parent as usize].first_child = index;
                *last = index;
            }
            None if index > 0 => return Err(XmlError::NotOneElement),
            None => {}
        }
        self.document.nodes.push(node);
        Ok(index)
    }

    fn close(&mut self, end: u64) {
        let depth = self.open.len();
        if let Some((index, _)) = self.open.pop()
            && let Some(node) = self.document.nodes.get_mut(index as usize)
        {
            node.end = end as u32;
        }
        self.leave_scope(depth);
    }

    fn leave_scope(&mut self, depth: usize) {
        while self.scope.last().is_some_and(|(.., declared_at)| *declared_at >= depth) {
            self.scope.pop();
        }
    }
}

/// The same characters as `part`, borrowed from `source` for as long as that lives.
fn within<'a>(source: &'a str, part: &str) -> Option<&'a str> {
    let offset = (part.as_ptr() as usize).checked_sub(source.as_ptr() as usize)?;
    source.get(offset..offset.checked_add(part.len())?)
}

fn borrowed<'a>(source: &'a str, text: Cow<'_, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(part) => within(source, part).map_or_else(|| Cow::Owned(part.to_owned()), Cow::Borrowed),
        Cow::Owned(text) => Cow::Owned(text),
    }
}

fn attribute_value<'a>(source: &'a str, raw: &str) -> Result<Cow<'a, str>, XmlError> {
    let raw = within(source, raw).unwrap_or_default();
    let spaced = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r');
    if !raw.bytes().any(|byte| byte == b'&' || spaced(byte)) {
        return Ok(Cow::Borrowed(raw));
    }
    // XML 1.0 §3.3.3: literal white space becomes a space, character references do not.
    let literal = raw.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ");
    let value = unescape(&literal).map_err(|error| XmlError::Syntax(error.to_string()))?;
    Ok(Cow::Owned(value.into_owned()))
}

fn resolve<'a>(reference: &BytesRef<'_>) -> Result<Cow<'a, str>, XmlError> {
    let character = reference.resolve_char_ref().map_err(|error| XmlError::Syntax(error.to_string()))?;
    if let Some(character) = character {
        return Ok(Cow::Owned(character.to_string()));
    }
    resolve_predefined_entity(reference)
        .map(Cow::Borrowed)
        .ok_or_else(|| XmlError::Syntax(format!("unknown entity &{};", reference.chars().take(32).collect::<String>())))
}

fn split(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &str) -> Document<'_> {
        Document::parse(source.as_bytes(), COMPONENT_NS).unwrap()
    }

    #[test]
    fn names_namespaces_attributes_and_text_are_read() {
        let document = parse(
            "<message to='a@b' id='&lt;&#x41;&amp;'><body xmlns='jabber:client'>x &amp; <![CDATA[<y>]]>&#10;z</body><x:q xmlns:x='urn:q'/></message>",
        );
        let root = document.root();
        assert!(root.is("message", COMPONENT_NS));
        assert_eq!(root.attribute("id"), Some("<A&"));
        let body = root.child("body", "jabber:client").unwrap();
        assert_eq!(body.text(), "x & <y>\nz");
        assert!(root.child("q", "urn:q").is_some());
        assert!(!document.unbound_prefix);
    }

    #[test]
    fn namespaces_end_with_the_element_that_declared_them() {
        let document = parse("<a><b xmlns='urn:b'><c/></b><d/><e xmlns='urn:e'/><f/></a>");
        let spaces: Vec<_> = document.root().children().map(|child| child.namespace().to_owned()).collect();
        assert_eq!(spaces, ["urn:b", COMPONENT_NS, "urn:e", COMPONENT_NS]);
    }

    #[test]
    fn an_unbound_prefix_is_marked_and_the_rest_stays_readable() {
        let document = parse("<message><q:x/><body>text</body></message>");
        assert!(document.unbound_prefix);
        assert_eq!(document.root().child("body", COMPONENT_NS).unwrap().text(), "text");
    }

    #[test]
    fn the_source_of_an_element_is_its_exact_bytes() {
        let document = parse("<a><b c='1' ><d/>t</b><e/></a>");
        let sources: Vec<_> = document.root().children().map(|child| child.source().to_owned()).collect();
        assert_eq!(sources, ["<b c='1' ><d/>t</b>", "<e/>"]);
    }

    #[test]
    fn deep_input_neither_overflows_nor_is_refused() {
        let depth = 20_000;
        let deep = format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(Document::parse(deep.as_bytes(), "").is_ok());
    }

    #[test]
    fn what_is_not_a_stanza_is_an_error() {
        let refuse = |source: &str| Document::parse(source.as_bytes(), "").unwrap_err();
        assert_eq!(refuse(""), XmlError::NotOneElement);
        assert_eq!(refuse("<a/><b/>"), XmlError::NotOneElement);
        assert_eq!(refuse("<a/>text"), XmlError::NotOneElement);
        assert_eq!(refuse(&format!("<a>{}</a>", "<b/>".repeat(MAX_NODES))), XmlError::TooManyNodes);
        for bad in ["<a>", "<a></b>", "<a>&unknown;</a>", "<a b='&unknown;'/>", "<!DOCTYPE a><a/>", "<a b=1/>"] {
            assert!(matches!(refuse(bad), XmlError::Syntax(_) | XmlError::NotOneElement), "{bad}");
        }
        assert_eq!(Document::parse(b"<a>\xff</a>", "").unwrap_err(), XmlError::Encoding);
    }

    #[test]
    fn attribute_white_space_is_normalised_but_references_are_kept() {
        let document = parse("<a b='x\ny&#10;z'/>");
        assert_eq!(document.root().attribute("b"), Some("x y\nz"));
    }
}
