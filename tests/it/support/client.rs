//! A small XMPP client: enough of RFC 6120, RFC 6121 and the extensions that people's clients use to make a server do what it does for them.
//!
//! Nothing here sleeps: each step waits for the server's answer to it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::node::Node;
use super::stanza::Stanza;
use super::stream::Stream;

const MUC_USER: &str = "http://jabber.org/protocol/muc#user";

/// A logged-in client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The account's bare JID.
    pub(crate) account: String,
    pub(crate) resource: String,
    stream: Stream,
    next_id: AtomicU32,
}

impl Client {
    /// Logs in and binds a resource; sends no presence yet.
    pub(crate) fn log_in(node: &Node, user: &str, resource: &str) -> Client {
        let client = Client::authenticate(node, user, resource);
        client.iq("set", None, &format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>"));
        client
    }

    fn authenticate(node: &Node, user: &str, resource: &str) -> Client {
        let account = format!("{user}@{}", node.host);
        let name = format!("{account}/{resource}");
        let client = Client {
            account,
            resource: resource.to_owned(),
            stream: Stream::connect(&name, node.client_port, "jabber:client"),
            next_id: AtomicU32::new(0),
        };
        // ejabberd forgets what is declared on the stream: whoever uses this prefix gets it to send XML that is not namespace-well-formed.
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xml:lang='en' xmlns='jabber:client' \
             xmlns:odd='urn:example:odd' xmlns:stream='http://etherx.jabber.org/streams'>",
            node.host
        );
        let is_features = |stanza: &Stanza| stanza.name() == "stream:features";
        client.stream.open(&header);
        client.stream.expect("features", is_features);
        let token = base64(format!("\0{user}\0{}", Node::PASSWORD).as_bytes());
        client.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>"));
        client.stream.expect("success", |stanza| stanza.name() == "success");
        client.stream.open(&header);
        client.stream.expect("features", is_features);
        client
    }

    /// Takes up a dropped session (XEP-0198) instead of starting one.
    pub(crate) fn resume(node: &Node, user: &str, resource: &str, session: &Session) -> Client {
        let client = Client::authenticate(node, user, resource);
        client.send(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{}' h='{}'/>", session.id, session.handled));
        client.expect("resumed", |stanza| stanza.name() == "resumed");
        client
    }

    /// Asks for a session that can be resumed (XEP-0198).
    pub(crate) fn enable_resumption(&self) {
        self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        self.expect("enabled", |stanza| stanza.name() == "enabled");
    }

    /// The session to resume, all that was received until now having been handled.
    pub(crate) fn session(&self) -> Session {
        let received = self.received();
        let mut received = received.iter();
        let enabled = received.find(|stanza| stanza.name() == "enabled");
        let id = enabled.and_then(|stanza| stanza.attr("id"));
        let counts = |stanza: &&Stanza| matches!(stanza.name(), "message" | "presence" | "iq");
        Session { id: id.expect("an id to resume by").to_owned(), handled: received.filter(counts).count() }
    }

    pub(crate) fn jid(&self) -> String {
        format!("{}/{}", self.account, self.resource)
    }

    pub(crate) fn user(&self) -> &str {
        self.account.split('@').next().unwrap_or_default()
    }

    pub(crate) fn send(&self, xml: &str) {
        self.stream.send(xml);
    }

    pub(crate) fn expect(&self, what: &str, matches: impl Fn(&Stanza) -> bool) -> Stanza {
        self.stream.expect(what, matches)
    }

    /// Waits for a message with this body, whichever way it comes (not as a carbon).
    pub(crate) fn expect_body(&self, body: &str) -> Stanza {
        let what = format!("the message {:?}", body.chars().take(60).collect::<String>());
        self.expect(&what, |stanza| stanza.is_message() && stanza.attr("type") != Some("error") && stanza.body().as_deref() == Some(body))
    }

    /// Waits for an error in answer to the message with this id.
    pub(crate) fn expect_error(&self, id: &str) -> Stanza {
        self.expect("an error", |stanza| stanza.is_message() && stanza.attr("type") == Some("error") && stanza.attr("id") == Some(id))
    }

    pub(crate) fn received(&self) -> Vec<Stanza> {
        self.stream.received()
    }

    pub(crate) fn drop_abruptly(&self) {
        self.stream.drop_abruptly();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stream.is_closed()
    }

    /// Sends a request and waits for its answer, which may be an error.
    pub(crate) fn ask(&self, kind: &str, to: Option<&str>, payload: &str) -> Stanza {
        let id = self.fresh_id("iq");
        let to = to.map(|to| format!(" to='{to}'")).unwrap_or_default();
        self.send(&format!("<iq type='{kind}' id='{id}'{to}>{payload}</iq>"));
        self.expect(&format!("the answer to {payload}"), |stanza| {
            stanza.name() == "iq" && stanza.attr("id") == Some(&id) && matches!(stanza.attr("type"), Some("result" | "error"))
        })
    }

    /// Sends a request that must succeed.
    pub(crate) fn iq(&self, kind: &str, to: Option<&str>, payload: &str) -> Stanza {
        let answer = self.ask(kind, to, payload);
        assert_eq!(answer.attr("type"), Some("result"), "{payload}: {}", answer.raw);
        answer
    }

    /// An id that this client has not used before.
    pub(crate) fn fresh_id(&self, prefix: &str) -> String {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{}-{}-{number}", self.user(), self.resource)
    }

    /// Waits until the server has worked off all that this client sent before.
    pub(crate) fn sync(&self) {
        let host = self.account.split('@').nth(1).unwrap_or_default();
        self.ask("get", Some(host), "<ping xmlns='urn:xmpp:ping'/>");
    }

    /// Becomes available and waits until the server has told so.
    pub(crate) fn become_available(&self, priority: i8) {
        self.send(&format!("<presence><priority>{priority}</priority></presence>"));
        let jid = self.jid();
        self.expect("its own presence", |stanza| stanza.name() == "presence" && stanza.attr("from") == Some(&jid));
        self.sync();
    }

    /// Message Carbons (XEP-0280).
    pub(crate) fn enable_carbons(&self) {
        self.iq("set", None, "<enable xmlns='urn:xmpp:carbons:2'/>");
    }

    /// Blocks a contact (XEP-0191).
    pub(crate) fn block(&self, jid: &str) {
        self.iq("set", None, &format!("<block xmlns='urn:xmpp:blocking'><item jid='{jid}'/></block>"));
    }

    pub(crate) fn unblock(&self, jid: &str) {
        self.iq("set", None, &format!("<unblock xmlns='urn:xmpp:blocking'><item jid='{jid}'/></unblock>"));
    }

    /// Enters a room (XEP-0045 section 7.2) and waits until it has told us of ourselves.
    pub(crate) fn join(&self, room: &str, nick: &str) {
        self.join_with_history(room, nick, "");
        self.expect("the room's subject", |stanza| is_subject_of(stanza, room));
    }

    fn join_with_history(&self, room: &str, nick: &str, history: &str) {
        self.send(&format!("<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'>{history}</x></presence>"));
        let occupant = format!("{room}/{nick}");
        self.expect("its own presence in the room", |stanza| {
            stanza.name() == "presence" && stanza.attr("from") == Some(&occupant) && stanza.contains("110")
        });
    }

    /// Enters a room that does not exist yet and configures it; no fields make it an instant room (XEP-0045 section 10.1.2).
    pub(crate) fn create_room(&self, room: &str, nick: &str, fields: &[(&str, &str)]) {
        self.join_with_history(room, nick, "");
        let field = |(name, value): &(&str, &str)| format!("<field var='{name}'><value>{value}</value></field>");
        let mut form: String = fields.iter().map(field).collect();
        if !fields.is_empty() {
            form.insert_str(0, "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>");
        }
        self.iq(
            "set",
            Some(room),
            &format!(
                "<query xmlns='http://jabber.org/protocol/muc#owner'>\
                 <x xmlns='jabber:x:data' type='submit'>{form}</x></query>"
            ),
        );
        self.expect("the room's subject", |stanza| is_subject_of(stanza, room));
    }

    pub(crate) fn leave(&self, room: &str, nick: &str) {
        self.send(&format!("<presence type='unavailable' to='{room}/{nick}'/>"));
        let occupant = format!("{room}/{nick}");
        self.expect("its own departure", |stanza| {
            stanza.name() == "presence" && stanza.attr("from") == Some(&occupant) && stanza.attr("type") == Some("unavailable")
        });
    }

    /// Fetches the whole archive of this account, or of a room (XEP-0313), and returns the results.
    pub(crate) fn fetch_archive(&self, room: Option<&str>) -> Vec<Stanza> {
        let query_id = self.fresh_id("mam");
        self.iq(
            "set",
            room,
            &format!(
                "<query xmlns='urn:xmpp:mam:2' queryid='{query_id}'>\
                 <set xmlns='http://jabber.org/protocol/rsm'><max>200</max></set></query>"
            ),
        );
        let is_result = |stanza: &Stanza| stanza.has("result", "urn:xmpp:mam:2") && stanza.contains(&query_id);
        self.received().into_iter().filter(is_result).collect()
    }
}

/// A session that a client may resume.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    /// The number of stanzas that the client says it handled.
    pub(crate) handled: usize,
}

fn is_subject_of(stanza: &Stanza, room: &str) -> bool {
    stanza.is_message()
        && stanza.attr("type") == Some("groupchat")
        && stanza.attr("from").is_some_and(|from| from.split('/').next() == Some(room))
        && stanza.contains("<subject")
}

/// The payload that tells a room whom to invite (XEP-0045 section 7.8.2).
pub(crate) fn invitation(to: &str, reason: &str) -> String {
    format!("<x xmlns='{MUC_USER}'><invite to='{to}'><reason>{reason}</reason></invite></x>")
}

/// The payload that declines an invitation (XEP-0045 section 7.8.2).
pub(crate) fn decline(to: &str, reason: &str) -> String {
    format!("<x xmlns='{MUC_USER}'><decline to='{to}'><reason>{reason}</reason></decline></x>")
}

/// Base64 (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let sextet = (group >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}
