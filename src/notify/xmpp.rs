//! XMPP messages to operators, through a session that the archiver has anyway.
//!
//! They come from the component's own domain, so that mirrors and the archive know them as the archive's own (`mirror`): an alarm is
//! no conversation. A node that is away may be the very thing that the alarm is about, so any other node's session will do.

use quick_xml::escape::escape;

use super::text;
use crate::alarm::Change;
use crate::component;
use crate::message::address::Address;
use crate::xml::Element;

/// How the ids of our messages begin.
const ID_PREFIX: &str = "alarm-";

/// A session that messages can be sent through.
#[derive(Clone, Debug)]
pub struct Courier {
    /// The component's domain there.
    pub domain: String,
    /// The domains of the node's own users.
    pub hosts: Vec<String>,
    /// The session.
    pub session: component::Status,
}

/// Sends to each JID: through its own node where that is attached, else through any.
pub(super) fn send(jids: &[String], couriers: &[Courier], change: &Change) -> Result<(), String> {
    for jid in jids {
        let domain = jid.rsplit_once('@').map_or(jid.as_str(), |(_, domain)| domain);
        let serves = |courier: &&Courier| courier.hosts.iter().any(|host| host == domain);
        let own = couriers.iter().filter(serves);
        let others = couriers.iter().filter(|courier| !serves(courier));
        let sent = own.chain(others).any(|courier| courier.session.send(message(&courier.domain, jid, change)));
        if !sent {
            return Err("no node is attached, or none takes a message now".to_owned());
        }
    }
    Ok(())
}

/// Who refuses an alarm of ours, and why, if that is what a stanza to the component says.
pub fn refusal(stanza: Element<'_, '_>) -> Option<(String, String)> {
    let is_ours = stanza.attribute("id").is_some_and(|id| id.starts_with(ID_PREFIX));
    if stanza.name() != "message" || stanza.attribute("type") != Some("error") || !is_ours {
        return None;
    }
    let error = stanza.children().find(|child| child.name() == "error");
    let condition = error.and_then(|error| error.children().next()).map(|condition| condition.name().to_owned());
    let from = Address::parse(stanza.attribute("from")?).bare;
    Some((from, condition.unwrap_or_else(|| "that it is refused".to_owned())))
}

/// One message, as the component sends it.
pub fn message(domain: &str, jid: &str, change: &Change) -> Vec<u8> {
    let id = format!("{ID_PREFIX}{}-{}", change.name, change.at);
    let body = text::body(change);
    // XML has no place for most control characters, and whoever wrote the text may have had some in it.
    let body: String = body.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    format!(
        "<message from='{}' to='{}' type='chat' id='{}'><body>{}</body></message>",
        escape(domain),
        escape(jid),
        escape(id.as_str()),
        escape(body.as_str())
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_the_message() {
        let change = Change { text: "a</body>'\u{1}&\u{1b}[2J".to_owned(), ..Change::test() };
        let xml = String::from_utf8(message("archive.example", "o'hara@example.com", &change)).unwrap();
        let parsed: minidom::Element = xml.replacen("<message", "<message xmlns='jabber:client'", 1).parse().unwrap();
        assert_eq!(parsed.attr("to"), Some("o'hara@example.com"));
        assert!(parsed.get_child("body", "jabber:client").unwrap().text().ends_with("a</body>' & [2J"));
    }

    #[test]
    fn without_a_session_it_is_said() {
        let courier = Courier { domain: "a.b".to_owned(), hosts: vec!["b".to_owned()], session: component::Status::new() };
        assert!(send(&["x@b".to_owned()], &[courier], &Change::test()).is_err());
        assert!(send(&[], &[], &Change::test()).is_ok());
    }

    #[test]
    fn only_errors_for_our_own_messages_are_refusals() {
        let read = |stanza: &str| {
            let document = crate::xml::Document::parse(stanza.as_bytes(), crate::xml::COMPONENT_NS).unwrap();
            refusal(document.root())
        };
        let error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
        let sent = String::from_utf8(message("archive.h", "ops@h", &Change::test())).unwrap();
        let back = sent.replace("from='archive.h' to='ops@h' type='chat'", "from='ops@h' to='archive.h' type='error'");
        let back = back.replace("</message>", &format!("{error}</message>"));
        assert_eq!(read(&back.replace("<body>", "<x/><body>")), Some(("ops@h".to_owned(), "service-unavailable".to_owned())));
        assert_eq!(read(&sent), None);
        assert_eq!(read(&back.replace("id='alarm-", "id='other-")), None);
    }
}
