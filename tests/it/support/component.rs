//! A component that only listens (XEP-0114): what a node mirrors, seen without the archiver.

use xmpp_parsers::component::Handshake;

use super::node::Node;
use super::stanza::Stanza;
use super::stream::Stream;

/// A connected component that takes the archive's place.
#[derive(Debug)]
pub(crate) struct Component {
    stream: Stream,
}

impl Component {
    pub(crate) fn connect(node: &Node) -> Component {
        let stream = Stream::connect(&node.archive, node.component_port, "jabber:component:accept");
        let header = stream.open(&format!(
            "<?xml version='1.0'?><stream:stream to='{}' xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            node.archive
        ));
        let digest = Handshake::from_stream_id_and_password(attribute(&header, "id"), Node::SECRET);
        let digest = minidom::Element::from(digest).text();
        stream.send(&format!("<handshake>{digest}</handshake>"));
        stream.expect("the handshake's answer", |stanza| stanza.name() == "handshake");
        Component { stream }
    }

    pub(crate) fn send(&self, xml: &str) {
        self.stream.send(xml);
    }

    pub(crate) fn expect(&self, what: &str, matches: impl Fn(&Stanza) -> bool) -> Stanza {
        self.stream.expect(what, matches)
    }

    /// The copies that came until now of messages that contain a text.
    pub(crate) fn copies_with(&self, text: &str) -> Vec<Stanza> {
        let received = self.stream.received();
        received.into_iter().filter(|stanza| stanza.contains(text)).collect()
    }
}

fn attribute(tag: &str, name: &str) -> String {
    let (_, rest) = tag.split_once(&format!(" {name}=")).expect("the attribute");
    let quote = rest.chars().next().expect("a quote");
    rest[1..].split(quote).next().expect("a value").to_owned()
}
