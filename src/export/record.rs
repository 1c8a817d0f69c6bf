//! A message as one JSON object: every key always there but `sender_unescaped`, `amendments` and `xml`.
//!
//! Texts are exactly what was written. Times are RFC 3339, UTC, with microseconds. `amendments` is there in exports that walk conversation
//! by conversation: what was done to the message later, whether or not it was asked for.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::message::address::unescape;
use crate::message::content::flags;
use crate::retrieve::{Bounce, Delivery, Found, StanzaId, names};
use crate::time::rfc3339;

/// The object of a message, without an end of line.
pub(crate) fn line(found: &Found) -> serde_json::Result<String> {
    serde_json::to_string(&Message::of(found))
}

/// The same as a value.
pub(crate) fn value(found: &Found) -> serde_json::Result<Value> {
    serde_json::to_value(Message::of(found))
}

/// The same with what was done to the message later.
pub(crate) fn line_with(found: &Found, amendments: &[Arc<Found>]) -> serde_json::Result<String> {
    let amendments = Some(amendments.iter().map(|amendment| Amendment::of(amendment)).collect());
    serde_json::to_string(&Message { amendments, ..Message::of(found) })
}

/// What was done to a message, as a JSON array.
pub(crate) fn amendments(amendments: &[Arc<Found>]) -> serde_json::Result<String> {
    serde_json::to_string(&amendments.iter().map(|amendment| Amendment::of(amendment)).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct Message<'a> {
    id: i64,
    kind: &'static str,
    conversation: &'a str,
    sender: Option<&'a str>,
    sender_resource: Option<&'a str>,
    sender_nick: Option<&'a str>,
    /// Only where XEP-0106 escapes make it differ from `sender`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_unescaped: Option<String>,
    recipient: Option<&'a str>,
    recipient_resource: Option<&'a str>,
    recipient_nick: Option<&'a str>,
    room: Option<&'a str>,
    direction: &'static str,
    sent_at: String,
    received_at: String,
    #[serde(rename = "type")]
    message_type: &'static str,
    subject: Option<&'a str>,
    thread: Option<&'a str>,
    body: Option<&'a str>,
    lang: Option<&'a str>,
    stanza_id: Option<&'a str>,
    origin_id: Option<&'a str>,
    stanza_ids: Vec<Given<'a>>,
    refers_to: Option<i64>,
    refers_to_id: Option<&'a str>,
    possibly_several: i16,
    encrypted: bool,
    private: bool,
    fallback_body: bool,
    author_mismatch: bool,
    hints: Vec<&'static str>,
    detail: Option<Value>,
    via: &'static str,
    node: Option<&'a str>,
    deliveries: Vec<Copy<'a>>,
    bounces: Vec<Returned<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amendments: Option<Vec<Amendment<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xml: Option<String>,
}

#[derive(Serialize)]
struct Given<'a> {
    by: Option<&'a str>,
    id: &'a str,
}

#[derive(Serialize)]
struct Copy<'a> {
    recipient: Option<&'a str>,
    resource: Option<&'a str>,
    node: Option<&'a str>,
    direction: &'static str,
    source: &'static str,
    at: String,
    replay: bool,
}

#[derive(Serialize)]
struct Returned<'a> {
    at: String,
    from: Option<&'a str>,
    condition: &'a str,
    text: Option<&'a str>,
}

#[derive(Serialize)]
struct Amendment<'a> {
    id: i64,
    kind: &'static str,
    sent_at: String,
    sender: Option<&'a str>,
    sender_resource: Option<&'a str>,
    sender_nick: Option<&'a str>,
    body: Option<&'a str>,
    author_mismatch: bool,
    via: &'static str,
    refers_to: Option<i64>,
    detail: Option<Value>,
}

impl<'a> Amendment<'a> {
    fn of(found: &'a Found) -> Self {
        Self {
            id: found.id,
            kind: found.kind_name(),
            sent_at: rfc3339(found.sent_at),
            sender: found.sender.as_deref(),
            sender_resource: found.sender_resource.as_deref(),
            sender_nick: found.sender_nick.as_deref(),
            body: found.body.as_deref(),
            author_mismatch: found.has(flags::AUTHOR_MISMATCH),
            via: names::via(found.via),
            refers_to: found.refers_to,
            detail: detail(found),
        }
    }
}

impl<'a> Message<'a> {
    fn of(found: &'a Found) -> Self {
        let unescaped = found.sender.as_deref().map(unescape);
        Self {
            id: found.id,
            kind: found.kind_name(),
            conversation: &found.conversation,
            sender: found.sender.as_deref(),
            sender_resource: found.sender_resource.as_deref(),
            sender_nick: found.sender_nick.as_deref(),
            sender_unescaped: unescaped.filter(|shown| Some(shown) != found.sender.as_ref()),
            recipient: found.recipient.as_deref(),
            recipient_resource: found.recipient_resource.as_deref(),
            recipient_nick: found.recipient_nick.as_deref(),
            room: found.room(),
            direction: names::direction(found.direction),
            sent_at: rfc3339(found.sent_at),
            received_at: rfc3339(found.received_at),
            message_type: names::message_type(found.message_type),
            subject: found.subject.as_deref(),
            thread: found.thread.as_deref(),
            body: found.body.as_deref(),
            lang: found.lang.as_deref(),
            stanza_id: found.stanza_id.as_deref(),
            origin_id: found.origin_id(),
            stanza_ids: found.stanza_ids.iter().map(Given::of).collect(),
            refers_to: found.refers_to,
            refers_to_id: found.refers_to_id.as_deref(),
            possibly_several: found.possibly_several(),
            encrypted: found.is_encrypted(),
            private: found.has(flags::PRIVATE_IN_ROOM),
            fallback_body: found.has(flags::FALLBACK_BODY),
            author_mismatch: found.has(flags::AUTHOR_MISMATCH),
            hints: found.hints(),
            detail: detail(found),
            via: names::via(found.via),
            node: found.node.as_deref(),
            deliveries: found.deliveries.iter().map(Copy::of).collect(),
            bounces: found.bounces.iter().map(Returned::of).collect(),
            amendments: None,
            xml: found.xml(),
        }
    }
}

/// What is particular to the kind; a text where it is no JSON, which it always should be.
pub(crate) fn detail(found: &Found) -> Option<Value> {
    let text = found.detail.as_deref()?;
    Some(serde_json::from_str(text).unwrap_or_else(|_no_json| Value::from(text)))
}

impl<'a> Given<'a> {
    fn of(given: &'a StanzaId) -> Self {
        Self { by: given.by.as_deref(), id: &given.id }
    }
}

impl<'a> Copy<'a> {
    fn of(copy: &'a Delivery) -> Self {
        Self {
            recipient: copy.recipient.as_deref(),
            resource: copy.resource.as_deref(),
            node: copy.node.as_deref(),
            direction: names::delivery_direction(copy.direction),
            source: names::source(copy.source),
            at: rfc3339(copy.at),
            replay: copy.replay,
        }
    }
}

impl<'a> Returned<'a> {
    fn of(bounce: &'a Bounce) -> Self {
        Self { at: rfc3339(bounce.at), from: bounce.from.as_deref(), condition: &bounce.condition, text: bounce.text.as_deref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::sample;

    #[test]
    fn every_promised_key_is_there() {
        let value: Value = serde_json::from_str(&line(&sample()).unwrap()).unwrap();
        for key in [
            "id",
            "kind",
            "conversation",
            "sender",
            "sender_resource",
            "sender_nick",
            "recipient",
            "room",
            "direction",
            "sent_at",
            "received_at",
            "type",
            "subject",
            "thread",
            "body",
            "stanza_id",
            "origin_id",
            "refers_to",
            "possibly_several",
            "encrypted",
            "via",
            "deliveries",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
        for key in ["recipient", "resource", "node", "direction", "at", "replay"] {
            assert!(value["deliveries"][0].get(key).is_some(), "{key}");
        }
        assert_eq!(value["sent_at"], "2026-11-22T07:28:55.173794Z");
        assert_eq!(value["sender_unescaped"], "d'artagnan@example.com");
        assert_eq!(value["detail"], serde_json::json!({ "a": 1 }));
        assert_eq!(value["hints"], serde_json::json!(["no-store"]));
        assert_eq!((&value["body"], &value["room"]), (&Value::from("=1+1\n\"x\""), &Value::Null));
    }
}
