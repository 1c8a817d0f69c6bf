//! The probe message itself: written so that it says nothing to anybody, and known again only if it is one.
//!
//! The key of the signature is made of the account's password, slowly, so that whoever reads a probe can't find the password by trying. Archivers that know
//! the same account know each other's probes, and those of before a restart. A text of the account's own, or a forged marker, is archived.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use quick_xml::escape::escape;
use ring::{hmac, pbkdf2};
use secrecy::{ExposeSecret, SecretString};

use crate::message::address::Address;
use crate::mirror::{DELAY_NS, SID_NS};
use crate::xml::Element;

/// The namespace of the marker.
pub const NAMESPACE: &str = "urn:xmpp-archiver:canary:0";
/// XEP-0334.
const HINTS_NS: &str = "urn:xmpp:hints";
/// Servers note here what they archived (early XEP-0313).
const ARCHIVED_NS: &str = "urn:xmpp:mam:tmp";
/// Rounds of PBKDF2: some tens of milliseconds, once for each account.
const KEY_ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(99_999);
const KEY_BYTES: usize = 32;
/// How much is told of the name of an element that a node added.
const TOLD_CHARS: usize = 120;

/// An account that writes probes.
#[derive(Debug)]
pub struct Account {
    jid: String,
    to: String,
    password: SecretString,
    key: OnceLock<hmac::Key>,
}

/// What a stanza with the signature of an account is.
pub(super) enum Seen {
    Probe,
    /// The error that came back for one.
    Error,
    /// It holds this, which we did not write.
    Altered(String),
}

impl Account {
    /// The account `jid` that writes to `to`, both bare.
    pub fn new(jid: &str, to: &str, password: SecretString) -> Self {
        Self { jid: jid.to_owned(), to: to.to_owned(), password, key: OnceLock::new() }
    }

    /// The password.
    pub(super) fn password(&self) -> &SecretString {
        &self.password
    }

    /// Whether its probes are those of the other.
    pub fn is(&self, other: &Self) -> bool {
        self.jid == other.jid && self.to == other.to && self.password.expose_secret() == other.password.expose_secret()
    }

    /// The probe with this id. The hints (XEP-0334) keep it out of the node's own archive and offline storage; mirrors don't heed them.
    pub(super) fn message(&self, id: &str) -> String {
        let token = hex(hmac::sign(self.key(), id.as_bytes()).as_ref());
        format!(
            "<message type='chat' id='{id}' to='{to}'><body>{body}</body><canary xmlns='{NAMESPACE}' id='{id}' token='{token}'/>\
             <no-permanent-store xmlns='{HINTS_NS}'/><no-store xmlns='{HINTS_NS}'/><no-copy xmlns='{HINTS_NS}'/></message>",
            to = escape(self.to.as_str()),
            body = body(id),
        )
    }

    /// Whether a stanza from the right sender to the right recipient bears the account's signature.
    pub(super) fn signed(&self, stanza: Element<'_, '_>) -> bool {
        let bare = |end: &str| stanza.attribute(end).map(|written| Address::parse(written).bare);
        let from = bare("from").unwrap_or_default();
        // Without a recipient it is to the account itself (RFC 6120 section 10.3.1), and Prosody takes out one that says so.
        let to = bare("to").unwrap_or_else(|| from.clone());
        let is_right = (from == self.jid && to == self.to) || (is_error(stanza) && from == self.to && to == self.jid);
        let Some(marker) = stanza.child("canary", NAMESPACE).filter(|_| is_right) else { return false };
        let (Some(id), Some(token)) = (marker.attribute("id"), marker.attribute("token").and_then(unhex)) else { return false };
        hmac::verify(self.key(), id.as_bytes(), &token).is_ok()
    }

    /// What a stanza is that bears the signature.
    pub(super) fn see(&self, stanza: Element<'_, '_>) -> Seen {
        let is_error = is_error(stanza);
        match added(stanza, is_error) {
            Some(what) => Seen::Altered(what),
            None if is_error => Seen::Error,
            None => Seen::Probe,
        }
    }

    fn key(&self) -> &hmac::Key {
        self.key.get_or_init(|| {
            let salt = format!("xmpp-archiver canary {} {}", self.jid, self.to);
            let mut key = [0; KEY_BYTES];
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, KEY_ROUNDS, salt.as_bytes(), self.password.expose_secret().as_bytes(), &mut key);
            hmac::Key::new(hmac::HMAC_SHA256, &key)
        })
    }
}

/// What the person reads who sees it.
fn body(id: &str) -> String {
    format!("xmpp-archiver canary {id} (a test of the archive, safe to ignore)")
}

/// The id in a marker, be it true or not.
pub(super) fn claimed_id<'d>(stanza: Element<'d, '_>) -> Option<&'d str> {
    stanza.child("canary", NAMESPACE)?.attribute("id")
}

/// A random id.
pub(super) fn fresh_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

pub(super) fn is_error(stanza: Element<'_, '_>) -> bool {
    stanza.attribute("type") == Some("error")
}

/// The first thing in a stanza that is neither ours nor what servers add: people can't say anything in a probe.
fn added(stanza: Element<'_, '_>, is_error: bool) -> Option<String> {
    let id = claimed_id(stanza).unwrap_or_default();
    let mut bodies = 0;
    let mut is_known = |child: &Element<'_, '_>| match (child.name(), child.namespace()) {
        ("body", namespace) if namespace == stanza.namespace() => {
            bodies += 1;
            bodies == 1 && child.text() == body(id) && child.children().next().is_none()
        }
        ("error", _) => is_error,
        ("canary", NAMESPACE) | (_, HINTS_NS | SID_NS) | ("archived", ARCHIVED_NS) => is_empty(child),
        ("delay", DELAY_NS) => child.children().next().is_none(),
        _ => false,
    };
    let named = |child: Element<'_, '_>| format!("<{} xmlns='{}'/>", child.name(), child.namespace()).chars().take(TOLD_CHARS).collect();
    let stranger = stanza.children().find(|child| !is_known(child)).map(named);
    stranger.or_else(|| (!stanza.text().trim().is_empty()).then(|| "text".to_owned()))
}

fn is_empty(element: &Element<'_, '_>) -> bool {
    element.children().next().is_none() && element.text().trim().is_empty()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Document;

    const ID: &str = "00ff";

    fn account() -> Account {
        Account::new("canary@h", "canary@h", "pencil".into())
    }

    fn mirrored() -> String {
        account().message(ID).replacen("<message ", "<message from='Canary@H/desk' ", 1)
    }

    fn is_probe(stanza: &str) -> bool {
        let document = Document::parse(stanza.as_bytes(), "jabber:client").unwrap();
        account().signed(document.root()) && matches!(account().see(document.root()), Seen::Probe)
    }

    #[test]
    fn a_probe_is_known_again_with_what_servers_add() {
        assert!(is_probe(&mirrored()));
        let more =
            "<stanza-id xmlns='urn:xmpp:sid:0' by='canary@h' id='7'/><delay xmlns='urn:xmpp:delay' stamp='x'>Offline</delay></message>";
        assert!(is_probe(&mirrored().replacen("</message>", more, 1)));
        assert!(is_probe(&mirrored().replacen("to='canary@h'", "to='canary@h/phone'", 1)));
        assert!(is_probe(&mirrored().replacen("to='canary@h'", "", 1)));
    }

    #[test]
    fn nobody_hides_a_message_behind_the_marker() {
        let marked = mirrored();
        for (from, to) in [
            // From or to somebody else.
            ("from='Canary@H/desk'", "from='mallory@h/desk'"),
            ("to='canary@h'", "to='mallory@h'"),
            // With a text of one's own: in the body, beside it, in other elements or in text between them.
            ("safe to ignore", "the deal is on"),
            ("<body>", "<body>the deal is on</body><body>"),
            ("</message>", "<body>the deal is on</body></message>"),
            ("</message>", "<subject>the deal is on</subject></message>"),
            ("</message>", "<html xmlns='http://jabber.org/protocol/xhtml-im'/></message>"),
            ("</message>", "the deal is on</message>"),
            ("</message>", "<no-store xmlns='urn:xmpp:hints'>the deal is on</no-store></message>"),
            ("</message>", "<canary xmlns='urn:xmpp-archiver:canary:0'><body>the deal</body></canary></message>"),
            ("</body>", "<b>the deal is on</b></body>"),
            // With a token of another id, or none.
            (" id='00ff' token", " id='00fe' token"),
            ("token='", "token='00"),
            ("token='", "token='é"),
            (" token='", " token='' was='"),
        ] {
            assert!(marked.contains(from), "{from}");
            assert!(!is_probe(&marked.replacen(from, to, 1)), "{from} → {to}");
        }
    }

    #[test]
    fn the_token_hangs_on_the_password_and_shows_none() {
        assert_ne!(account().message(ID), Account::new("canary@h", "canary@h", "other".into()).message(ID));
        assert!(!format!("{:?} {}", account(), account().message(ID)).contains("pencil"));
    }

    #[test]
    fn bytes_are_written_and_read() {
        assert_eq!(unhex(&hex(&[0, 15, 255])), Some(vec![0, 15, 255]));
        assert_eq!((unhex("0"), unhex("0g"), unhex("")), (None, None, Some(Vec::new())));
    }
}
