//! The requests that a component owes an answer to: ping, discovery, version, last activity; the rest is refused.
//!
//! Only requests addressed to our own domain are answered, since a reply from any other would make the node close the
//! stream. The addresses are taken as text and escaped again, never parsed: they may be forged, and a bad address must
//! not keep anybody from getting on. Messages and presence are never answered, and neither is anything mirrored.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use tokio::time::Instant;
use xmpp_parsers::disco::{DiscoInfoResult, DiscoItemsResult, Identity};
use xmpp_parsers::minidom::Element;
use xmpp_parsers::ns;
use xmpp_parsers::ping::Ping;
use xmpp_parsers::version::VersionResult;

use super::handshake::{attribute, unescaped};

/// How far into an iq its start tag and that of its payload are looked for.
const INSPECTED_BYTES: usize = 16 * 1024;

/// XEP-0012.
const LAST: &str = "jabber:iq:last";

/// What the session is to do with a stanza.
#[derive(Debug)]
pub(super) enum Sorted {
    /// Hand it to the intake.
    Stanza,
    /// It may be a stream error.
    MaybeStreamError,
    /// An iq to be looked at.
    Iq(Iq),
}

/// The kind of an iq (RFC 6120 section 8.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    Set,
    Result,
    Error,
}

/// What a look at the start of an iq told.
#[derive(Debug)]
pub(super) struct Iq {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) from: Option<String>,
    to: Option<String>,
    payload: Option<Payload>,
}

#[derive(Debug)]
struct Payload {
    namespace: String,
    name: String,
    node: Option<String>,
}

/// Tells stanzas apart by the first bytes of their start tags.
pub(super) fn sort(stanza: &[u8]) -> Sorted {
    if let Some(rest) = stanza.strip_prefix(b"<iq") {
        let is_iq = rest.first().is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'));
        return if is_iq { inspect(stanza).map_or(Sorted::Stanza, Sorted::Iq) } else { Sorted::Stanza };
    }
    if stanza.starts_with(b"<stream:") { Sorted::MaybeStreamError } else { Sorted::Stanza }
}

/// Reads the start tag of an iq and of its payload; none when even the first can't be read.
fn inspect(stanza: &[u8]) -> Option<Iq> {
    let text = String::from_utf8_lossy(stanza.get(..INSPECTED_BYTES).unwrap_or(stanza));
    let mut reader = NsReader::from_str(&text);
    let (Event::Start(start) | Event::Empty(start)) = reader.read_event().ok()? else {
        return None;
    };
    let kind = match attribute(&start, "type")?.as_str() {
        "get" => Kind::Get,
        "set" => Kind::Set,
        "result" => Kind::Result,
        "error" => Kind::Error,
        _ => return None,
    };
    let id = attribute(&start, "id").unwrap_or_default();
    let (from, to) = (attribute(&start, "from"), attribute(&start, "to"));
    Some(Iq { kind, id, from, to, payload: payload(&mut reader) })
}

fn payload(reader: &mut NsReader<&[u8]>) -> Option<Payload> {
    loop {
        match reader.read_resolved_event().ok()? {
            (namespace, Event::Start(start) | Event::Empty(start)) => {
                return Some(described(&namespace, &start));
            }
            (_, Event::End(_) | Event::Eof) => return None,
            _ => {}
        }
    }
}

fn described(namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Payload {
    let namespace = match namespace {
        ResolveResult::Bound(namespace) => unescaped(namespace.as_ref()),
        _ => String::new(),
    };
    Payload { namespace, name: start.local_name().as_ref().to_owned(), node: attribute(start, "node") }
}

impl Iq {
    /// The reply to a request, none where none is due.
    pub(super) fn reply(&self, domain: &str, started_at: Instant) -> Option<Vec<u8>> {
        let asked = matches!(self.kind, Kind::Get | Kind::Set);
        if !asked || !self.is_for(domain) {
            return None;
        }
        let answer = if self.kind == Kind::Get { self.answer(started_at) } else { None };
        let (kind, content) = match answer {
            Some(content) => ("result", content),
            None => ("error", self.refusal()),
        };
        let from = self.to.as_deref().unwrap_or(domain);
        Some(envelope(kind, &self.id, from, self.from.as_deref(), &content).into_bytes())
    }

    /// Whether this is addressed to our domain, whatever account or resource at it.
    fn is_for(&self, domain: &str) -> bool {
        let Some(to) = self.to.as_deref() else {
            return true;
        };
        let bare = to.split('/').next().unwrap_or_default();
        let host = bare.split_once('@').map_or(bare, |(_, host)| host);
        host.eq_ignore_ascii_case(domain)
    }

    /// The content of the result, for the requests that we know.
    fn answer(&self, started_at: Instant) -> Option<String> {
        let Payload { namespace, name, node } = self.payload.as_ref()?;
        match (namespace.as_str(), name.as_str()) {
            (ns::PING, "ping") => Some(String::new()),
            (ns::DISCO_INFO, "query") if node.is_none() => Some(text_of(disco_info())),
            (ns::DISCO_ITEMS, "query") => Some(text_of(disco_items(node.clone()))),
            (ns::VERSION, "query") => Some(text_of(version())),
            (LAST, "query") => {
                let seconds = started_at.elapsed().as_secs();
                Some(format!("<query xmlns='{LAST}' seconds='{seconds}'/>"))
            }
            _ => None,
        }
    }

    /// The error to refuse a request with: a node of ours does not exist, or we do not offer the service.
    fn refusal(&self) -> String {
        let unknown_node = self.payload.as_ref().is_some_and(|payload| payload.namespace == ns::DISCO_INFO);
        let condition = if unknown_node { "item-not-found" } else { "service-unavailable" };
        format!("<error type='cancel'><{condition} xmlns='{}'/></error>", ns::XMPP_STANZAS)
    }
}

/// XEP-0030; the category and its types are registered with the XMPP Registrar.
fn disco_info() -> DiscoInfoResult {
    let name = env!("CARGO_PKG_NAME");
    let features = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::VERSION, LAST];
    let identity =
        |kind: &str| Identity { category: "component".to_owned(), type_: kind.to_owned(), lang: None, name: Some(name.to_owned()) };
    DiscoInfoResult {
        node: None,
        identities: vec![identity("archive"), identity("generic")],
        features: features.into_iter().map(str::to_owned).collect(),
        extensions: Vec::new(),
    }
}

fn disco_items(node: Option<String>) -> DiscoItemsResult {
    DiscoItemsResult { node, items: Vec::new(), rsm: None }
}

/// XEP-0092; the operating system is nobody's business.
fn version() -> VersionResult {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    VersionResult { name: name.to_owned(), version: version.to_owned(), os: None }
}

fn text_of(payload: impl Into<Element>) -> String {
    String::from(&payload.into())
}

/// An iq get that pings the node (XEP-0199).
pub(super) fn ping(id: &str, from: &str, to: &str) -> Vec<u8> {
    envelope("get", id, from, Some(to), &text_of(Ping)).into_bytes()
}

/// An iq around its content.
pub(super) fn envelope(kind: &str, id: &str, from: &str, to: Option<&str>, content: &str) -> String {
    let to = to.map(|to| format!(" to='{}'", attribute_text(to))).unwrap_or_default();
    let (id, from) = (attribute_text(id), attribute_text(from));
    format!("<iq type='{kind}' id='{id}' from='{from}'{to}>{content}</iq>")
}

/// Text as it may stand in an attribute: escaped, and without characters that XML does not have.
pub(super) fn attribute_text(text: &str) -> String {
    let is_xml = |c: &char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
    let clean: String = text.chars().filter(is_xml).collect();
    quick_xml::escape::escape(clean).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(stanza: &str) -> Option<String> {
        let Sorted::Iq(iq) = sort(stanza.as_bytes()) else { panic!("{stanza} is no iq") };
        iq.reply("archive.example", Instant::now()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn parsed(stanza: &str) -> Element {
        let reply = reply(stanza).unwrap().replacen("<iq ", "<iq xmlns='jabber:component:accept' ", 1);
        reply.parse().unwrap()
    }

    #[test]
    fn messages_presence_and_unreadable_stanzas_go_to_the_intake() {
        for stanza in
            ["<message/>", "<presence/>", "<iqs/>", "<x:iq/>", "<iq>", "<iq/>", "<iq type='gte'/>", "<iq type='get", "<iq", "<", ""]
        {
            assert!(matches!(sort(stanza.as_bytes()), Sorted::Stanza), "{stanza}");
        }
        assert!(matches!(sort(b"<stream:error/>"), Sorted::MaybeStreamError));
    }

    #[test]
    fn a_ping_is_answered_from_the_address_it_was_sent_to() {
        let told = reply("<iq type='get' id='1' from='example' to='Archive.example'><ping xmlns='urn:xmpp:ping'/></iq>");
        assert_eq!(told.as_deref(), Some("<iq type='result' id='1' from='Archive.example' to='example'></iq>"));
    }

    #[test]
    fn discovery_tells_that_this_is_an_archive() {
        let query = "<iq type='get' id='1' from='a'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
        let query = parsed(query).get_child("query", ns::DISCO_INFO).unwrap().clone();
        let info = DiscoInfoResult::try_from(query).unwrap();
        let kinds: Vec<_> = info.identities.iter().map(|one| (one.category.as_str(), one.type_.as_str())).collect();
        assert_eq!(kinds, [("component", "archive"), ("component", "generic")]);
        assert!(info.identities.iter().all(|one| one.name.as_deref() == Some("xmpp-archiver")));
        assert!(info.features.contains(ns::PING) && info.features.contains(ns::VERSION));
    }

    #[test]
    fn items_version_and_last_activity_are_answered() {
        let items = parsed("<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#items' node='x'/></iq>");
        let items = DiscoItemsResult::try_from(items.get_child("query", ns::DISCO_ITEMS).unwrap().clone()).unwrap();
        assert_eq!((items.items.len(), items.node.as_deref()), (0, Some("x")));
        let told = parsed("<iq type='get' id='1'><v:query xmlns:v='jabber:iq:version'/></iq>");
        let told = VersionResult::try_from(told.get_child("query", ns::VERSION).unwrap().clone()).unwrap();
        assert_eq!((told.name.as_str(), told.version.as_str()), ("xmpp-archiver", env!("CARGO_PKG_VERSION")));
        let last = parsed("<iq type='get' id='1'><query xmlns='jabber:iq:last'/></iq>");
        assert_eq!(last.get_child("query", LAST).unwrap().attr("seconds"), Some("0"));
    }

    #[test]
    fn what_we_do_not_offer_is_refused() {
        for (stanza, condition) in [
            ("<iq type='set' id='1'><query xmlns='jabber:iq:register'/></iq>", "service-unavailable"),
            ("<iq type='set' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "service-unavailable"),
            ("<iq type='get' id='1'/>", "service-unavailable"),
            ("<iq type='get' id='1'>text", "service-unavailable"),
            ("<iq type='get' id='1'><un:bound/></iq>", "service-unavailable"),
            ("<iq type='get' id='1'><query node='x' xmlns='http://jabber.org/protocol/disco#info'/></iq>", "item-not-found"),
        ] {
            let error = parsed(stanza);
            assert_eq!(error.attr("type"), Some("error"), "{stanza}");
            let error = error.get_child("error", ns::COMPONENT).unwrap();
            assert!(error.has_child(condition, ns::XMPP_STANZAS), "{stanza}");
        }
    }

    #[test]
    fn results_errors_and_requests_to_others_get_no_reply() {
        for stanza in [
            "<iq type='result' id='1' from='a'/>",
            "<iq type='error' id='1' from='a'/>",
            "<iq type='get' id='1' from='a' to='other.example'><ping xmlns='urn:xmpp:ping'/></iq>",
            "<iq type='get' id='1' from='a' to='archive.example@other.example/archive.example'/>",
        ] {
            assert_eq!(reply(stanza), None, "{stanza}");
        }
    }

    #[test]
    fn forged_addresses_do_not_break_the_reply() {
        let told = parsed(
            "<iq type='get' id='&lt;\"&amp;&#1;\u{1f600}' from=\"a@@'&gt;&nope;/&#xFFFF;x\" to='u@archive.example/r/@\"'>\
             <ping xmlns='urn:xmpp:ping'/></iq>",
        );
        assert_eq!(told.attr("id"), Some("<\"&\u{1f600}"));
        assert_eq!(told.attr("to"), Some("a@@'&gt;&nope;/&#xFFFF;x"));
        assert_eq!(told.attr("from"), Some("u@archive.example/r/@\""));
    }

    #[test]
    fn a_start_tag_beyond_all_measure_is_left_to_the_intake() {
        let stanza = format!("<iq type='get' id='{}'/>", "x".repeat(INSPECTED_BYTES));
        assert!(matches!(sort(stanza.as_bytes()), Sorted::Stanza));
    }
}
