//! What a message says: the kind of it, the text, and what it refers to.
//!
//! One flat list of questions in a fixed order; the first that is answered gives the kind. Nothing here judges whether the
//! message is archived (`policy` does), and nothing here trusts: an id that a message refers to is only what its sender wrote.

use std::borrow::Cow;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::xml::{COMPONENT_NS, Element};

/// The kinds of record, with their numbers in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum Kind {
    /// A message that a person reads.
    Message = 1,
    /// A room's subject was set (XEP-0045 §8.1).
    Subject = 2,
    /// Replaces an earlier message (XEP-0308).
    Correction = 3,
    /// Takes back a message of the same author (XEP-0424).
    Retraction = 4,
    /// A moderator took back somebody's message (XEP-0425).
    Moderation = 5,
    /// Reactions to a message (XEP-0444).
    Reaction = 6,
    /// An invitation into a room (XEP-0045 §7.8, XEP-0249).
    Invitation = 7,
    /// An invitation was declined.
    Declined = 8,
    /// A call begins or ends (XEP-0353).
    Call = 9,
    /// A delivery receipt (XEP-0184).
    Receipt = 10,
    /// A chat marker (XEP-0333).
    Marker = 11,
    /// A chat state (XEP-0085).
    ChatState = 12,
    /// A file link (XEP-0066, XEP-0446, XEP-0447, XEP-0385).
    File = 13,
    /// A reply to a message (XEP-0461).
    Reply = 14,
}

impl Kind {
    /// All kinds with the names that the command line and exports use.
    pub const NAMES: [(Kind, &'static str); 14] = [
        (Kind::Message, "message"),
        (Kind::Subject, "subject"),
        (Kind::Correction, "correction"),
        (Kind::Retraction, "retraction"),
        (Kind::Moderation, "moderation"),
        (Kind::Reaction, "reaction"),
        (Kind::Invitation, "invitation"),
        (Kind::Declined, "invitation-declined"),
        (Kind::Call, "call"),
        (Kind::Receipt, "receipt"),
        (Kind::Marker, "marker"),
        (Kind::ChatState, "chat-state"),
        (Kind::File, "file"),
        (Kind::Reply, "reply"),
    ];

    /// The name of a kind given by its number.
    pub fn name_of(number: i16) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind as i16 == number).map_or("unknown", |(_, name)| *name)
    }
}

/// Bits of the column `messages.flags`.
pub mod flags {
    /// The payload is encrypted end to end; nobody here can read it.
    pub const ENCRYPTED: i32 = 1;
    /// XEP-0334 `no-store`: recorded, not obeyed.
    pub const NO_STORE: i32 = 2;
    /// XEP-0334 `no-permanent-store`.
    pub const NO_PERMANENT_STORE: i32 = 4;
    /// XEP-0334 `no-copy`.
    pub const NO_COPY: i32 = 8;
    /// XEP-0334 `store`.
    pub const STORE: i32 = 16;
    /// The stanza used a prefix that nothing declares.
    pub const UNBOUND_PREFIX: i32 = 32;
    /// The body only stands in for what an older client can't show (XEP-0428).
    pub const FALLBACK_BODY: i32 = 64;
    /// A correction, retraction or moderation by somebody who may not.
    pub const AUTHOR_MISMATCH: i32 = 128;
    /// A private message through a room (XEP-0045 §7.5).
    pub const PRIVATE_IN_ROOM: i32 = 256;
    /// The `origin-id` (XEP-0359) is the same as the `id` attribute and is not stored twice.
    pub const ORIGIN_ID_IS_ID: i32 = 512;
    /// A file is attached, or a link to one that was shared, whatever kind it is of; `detail` tells which. Records of the kind `file` that were
    /// stored before this was noted lack it.
    pub const FILE: i32 = 1024;
}

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// What it is.
    pub kind: Kind,
    /// The body that a person reads: the first without a language of its own, else the first.
    pub body: Option<String>,
    /// The subject, likewise.
    pub subject: Option<String>,
    /// The thread (RFC 6121 §5.2.5).
    pub thread: Option<String>,
    /// The id of the message that this one changes, answers or comments on, as its sender wrote it.
    pub refers_to_id: Option<String>,
    /// More about it, by kind, as JSON.
    pub detail: Option<String>,
    /// Bits of [`flags`].
    pub flags: i32,
    /// The invited or inviting person, for invitations through a room.
    pub invitee: Option<String>,
    /// A digest of everything a person reads in it: equal in all the copies of one message, whatever servers add.
    pub digest: [u8; 32],
}

/// Reads what `message` says; none when there is nothing that a person could read or that changes what one read.
pub fn read(message: Element<'_, '_>) -> Option<Content> {
    let encrypted = encrypted_payload(message);
    let body = pick(message, "body");
    let subject = pick(message, "subject");
    let mut found = find_kind(message, body.as_deref(), subject.as_deref(), encrypted.is_some())?;
    if found.kind == Kind::Message && body.is_none() && subject.is_none() && encrypted.is_none() {
        return None;
    }
    let mut bits = hints(message) | if encrypted.is_some() { flags::ENCRYPTED } else { 0 };
    if message.children().any(|child| child.is("fallback", "urn:xmpp:fallback:0") && child.children().next().is_none()) {
        bits |= flags::FALLBACK_BODY;
    }
    if let Some(scheme) = &encrypted {
        found.detail.get_or_insert_with(|| json!({})).as_object_mut().map(|detail| detail.insert("encryption".into(), json!(scheme)));
    }
    let digest = digest(message, &found, encrypted.is_some());
    bits |= found.complete(message, body.as_deref());
    let said = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    Some(Content {
        kind: found.kind,
        // XEP-0380 §3: the body beside an encrypted payload is for clients that can't read it, nobody wrote it.
        body: if encrypted.is_some() { None } else { said(body) },
        subject: said(subject),
        thread: child_text(message, "thread").map(Cow::into_owned),
        refers_to_id: found.refers_to_id,
        detail: found.detail.map(|detail| detail.to_string()),
        flags: bits,
        invitee: found.invitee,
        digest,
    })
}

/// The name of a file, in what [`Content::detail`] tells of one.
pub fn file_name(detail: &str) -> Option<String> {
    if !detail.contains("\"name\":\"") {
        return None;
    }
    let about: Value = serde_json::from_str(detail).ok()?;
    about.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Whether [`read`] would find anything, for less work.
pub fn says_something(message: Element<'_, '_>) -> bool {
    find_kind(message, pick(message, "body").as_deref(), pick(message, "subject").as_deref(), encrypted_payload(message).is_some())
        .is_some()
}

struct Found {
    kind: Kind,
    refers_to_id: Option<String>,
    detail: Option<Value>,
    invitee: Option<String>,
}

impl Found {
    fn new(kind: Kind) -> Self {
        Self { kind, refers_to_id: None, detail: None, invitee: None }
    }

    fn to(kind: Kind, id: Option<&str>) -> Self {
        Self { refers_to_id: id.map(str::to_owned), ..Self::new(kind) }
    }

    /// Adds what stands beside that which gives the kind: the file of a correction, the message that a file answers. The digest does without, so
    /// that copies of what was stored before these were looked for are known again.
    fn complete(&mut self, message: Element<'_, '_>, body: Option<&str>) -> i32 {
        match self.kind {
            Kind::File => {
                self.refers_to_id = message.child("reply", REPLY_NS).and_then(|reply| reply.attribute("id")).map(str::to_owned);
                flags::FILE
            }
            Kind::Correction => {
                let Some(Value::Object(about)) = file(message, body).and_then(|found| found.detail) else { return 0 };
                if let Some(detail) = self.detail.get_or_insert_with(|| json!({})).as_object_mut() {
                    detail.extend(about);
                }
                flags::FILE
            }
            _ => 0,
        }
    }
}

fn find_kind(message: Element<'_, '_>, body: Option<&str>, subject: Option<&str>, encrypted: bool) -> Option<Found> {
    if is_tombstone(message) {
        return None;
    }
    let groupchat = message.attribute("type") == Some("groupchat");
    let is_subject = groupchat && body.is_none() && has_child(message, "subject") && !has_child(message, "body");
    retraction(message)
        .or_else(|| correction(message))
        .or_else(|| reaction(message))
        .or_else(|| invitation(message))
        .or_else(|| call(message))
        .or_else(|| file(message, body))
        .or_else(|| reply(message, body, encrypted))
        .or_else(|| is_subject.then(|| Found::new(Kind::Subject)))
        .or_else(|| (body.is_some() || subject.is_some() || encrypted).then(|| Found::new(Kind::Message)))
        .or_else(|| receipt_or_marker(message))
        .or_else(|| chat_state(message))
}

/// Older forms wrap the element in `<apply-to/>` (XEP-0422), newer ones carry the id themselves.
fn retraction(message: Element<'_, '_>) -> Option<Found> {
    if let Some(retract) = message.child("retract", "urn:xmpp:message-retract:1") {
        let moderated = retract.child("moderated", "urn:xmpp:message-moderate:1");
        return Some(retracted(retract.attribute("id"), moderated, retract));
    }
    if let Some(moderated) = message.child("moderated", "urn:xmpp:message-moderate:1") {
        return Some(retracted(moderated.attribute("id"), Some(moderated), moderated));
    }
    let apply = message.child("apply-to", "urn:xmpp:fasten:0")?;
    let moderated = apply.child("moderated", "urn:xmpp:message-moderate:0");
    let retract = apply.child("retract", "urn:xmpp:message-retract:0");
    moderated.or(retract).map(|inner| retracted(apply.attribute("id"), moderated, inner))
}

fn retracted(id: Option<&str>, moderated: Option<Element<'_, '_>>, parent: Element<'_, '_>) -> Found {
    let reason = parent.children().chain(moderated.into_iter().flat_map(|element| element.children()));
    let reason = reason.filter(|child| child.name() == "reason").map(|child| child.text().into_owned()).next();
    match moderated {
        None => Found::to(Kind::Retraction, id),
        Some(moderated) => {
            let by = moderated.attribute("by");
            Found { detail: Some(json!({ "by": by, "reason": reason })), ..Found::to(Kind::Moderation, id) }
        }
    }
}

/// What an archive keeps in the place of a retracted message (XEP-0424 §5): no message of its own.
fn is_tombstone(message: Element<'_, '_>) -> bool {
    let tomb = |child: Element<'_, '_>| child.name() == "retracted" && child.namespace().starts_with("urn:xmpp:message-retract:");
    message.children().any(|child| tomb(child) || (child.name() == "moderated" && child.children().any(tomb)))
}

fn correction(message: Element<'_, '_>) -> Option<Found> {
    let replace = message.child("replace", "urn:xmpp:message-correct:0")?;
    Some(Found::to(Kind::Correction, replace.attribute("id")))
}

fn reaction(message: Element<'_, '_>) -> Option<Found> {
    let reactions = message.child("reactions", "urn:xmpp:reactions:0")?;
    let each = reactions.children().filter(|child| child.name() == "reaction");
    let emoji: Vec<_> = each.map(|child| child.text().into_owned()).collect();
    Some(Found { detail: Some(json!({ "reactions": emoji })), ..Found::to(Kind::Reaction, reactions.attribute("id")) })
}

fn invitation(message: Element<'_, '_>) -> Option<Found> {
    if let Some(user) = message.child("x", MUC_USER_NS) {
        if let Some(invite) = user.child("invite", MUC_USER_NS) {
            return Some(mediated(message, Kind::Invitation, invite));
        }
        if let Some(decline) = user.child("decline", MUC_USER_NS) {
            return Some(mediated(message, Kind::Declined, decline));
        }
    }
    let direct = message.child("x", "jabber:x:conference")?;
    let room = direct.attribute("jid")?;
    let detail = json!({ "room": room, "reason": direct.attribute("reason"), "password": direct.attribute("password").map(|_| REDACTED) });
    Some(Found { detail: Some(detail), ..Found::new(Kind::Invitation) })
}

fn mediated(message: Element<'_, '_>, kind: Kind, inner: Element<'_, '_>) -> Found {
    let reason = inner.child("reason", MUC_USER_NS).map(|reason| reason.text().into_owned());
    let password = message.child("x", MUC_USER_NS).and_then(|user| user.child("password", MUC_USER_NS)).map(|_| REDACTED);
    let invitee = inner.attribute("to").or(message.attribute("to")).map(str::to_owned);
    let by = inner.attribute("from");
    Found { detail: Some(json!({ "reason": reason, "password": password, "by": by })), invitee, ..Found::new(kind) }
}

fn call(message: Element<'_, '_>) -> Option<Found> {
    const ACTIONS: [&str; 7] = ["propose", "retract", "accept", "proceed", "reject", "finish", "ringing"];
    let jingle = |child: &Element<'_, '_>| child.namespace().starts_with("urn:xmpp:jingle-message:");
    let action = message.children().filter(jingle).find(|child| ACTIONS.contains(&child.name()))?;
    let media: Vec<_> = action.children().filter_map(|child| child.attribute("media")).collect();
    let detail = json!({ "action": action.name(), "media": media });
    Some(Found { detail: Some(detail), ..Found::to(Kind::Call, action.attribute("id")) })
}

fn file(message: Element<'_, '_>, body: Option<&str>) -> Option<Found> {
    let oob = message.child("x", "jabber:x:oob").and_then(|oob| oob.children().find(|child| child.name() == "url"));
    let sharing = message.child("file-sharing", "urn:xmpp:sfs:0");
    let metadata = sharing.and_then(|sharing| sharing.child("file", "urn:xmpp:file:metadata:0"));
    let simple = message.children().find(|child| child.is("reference", "urn:xmpp:reference:0"));
    let media = simple.and_then(|reference| reference.child("media-sharing", "urn:xmpp:sims:1"));
    if oob.is_none() && sharing.is_none() && media.is_none() {
        return None;
    }
    let part =
        |name: &str| metadata.and_then(|file| file.children().find(|child| child.name() == name)).map(|child| child.text().into_owned());
    let url = oob.map(|url| url.text().into_owned()).or_else(|| sharing.and_then(source_url)).or_else(|| body.map(str::to_owned));
    let detail = json!({ "url": url, "name": part("name"), "size": part("size"), "media_type": part("media-type") });
    Some(Found { detail: Some(detail), ..Found::new(Kind::File) })
}

fn source_url(sharing: Element<'_, '_>) -> Option<String> {
    let sources = sharing.children().find(|child| child.name() == "sources")?;
    sources.children().find_map(|child| child.attribute("target").map(str::to_owned))
}

fn reply(message: Element<'_, '_>, body: Option<&str>, encrypted: bool) -> Option<Found> {
    let reply = message.child("reply", REPLY_NS).filter(|_| body.is_some() || encrypted)?;
    Some(Found::to(Kind::Reply, reply.attribute("id")))
}

fn receipt_or_marker(message: Element<'_, '_>) -> Option<Found> {
    if let Some(receipt) = message.child("received", "urn:xmpp:receipts") {
        return Some(Found::to(Kind::Receipt, receipt.attribute("id")));
    }
    let marker = message.children().find(|child| child.namespace() == "urn:xmpp:chat-markers:0" && child.attribute("id").is_some())?;
    Some(Found { detail: Some(json!({ "marker": marker.name() })), ..Found::to(Kind::Marker, marker.attribute("id")) })
}

fn chat_state(message: Element<'_, '_>) -> Option<Found> {
    let state = message.children().find(|child| child.namespace() == "http://jabber.org/protocol/chatstates")?;
    Some(Found { detail: Some(json!({ "state": state.name() })), ..Found::new(Kind::ChatState) })
}

/// The scheme that encrypted the payload (XEP-0380, XEP-0384, XEP-0373, XEP-0027).
fn encrypted_payload(message: Element<'_, '_>) -> Option<String> {
    if let Some(hint) = message.child("encryption", "urn:xmpp:eme:0") {
        return Some(hint.attribute("name").or(hint.attribute("namespace")).unwrap_or("unknown").to_owned());
    }
    message.children().find_map(|child| match (child.name(), child.namespace()) {
        ("encrypted", "eu.siacs.conversations.axolotl") => Some("OMEMO".to_owned()),
        ("encrypted", namespace) if namespace.starts_with("urn:xmpp:omemo:") => Some("OMEMO".to_owned()),
        ("x", "jabber:x:encrypted") => Some("OpenPGP (legacy)".to_owned()),
        ("openpgp", "urn:xmpp:openpgp:0") => Some("OpenPGP".to_owned()),
        _ => None,
    })
}

fn hints(message: Element<'_, '_>) -> i32 {
    let bit = |child: Element<'_, '_>| match (child.namespace(), child.name()) {
        ("urn:xmpp:hints", "no-store") => flags::NO_STORE,
        ("urn:xmpp:hints", "no-permanent-store") => flags::NO_PERMANENT_STORE,
        ("urn:xmpp:hints", "no-copy") => flags::NO_COPY,
        ("urn:xmpp:hints", "store") => flags::STORE,
        _ => 0,
    };
    message.children().map(bit).fold(0, |all, bit| all | bit)
}

const REPLY_NS: &str = "urn:xmpp:reply:0";
const MUC_USER_NS: &str = "http://jabber.org/protocol/muc#user";
/// What stands in the place of a room's password wherever an invitation is displayed.
pub const REDACTED: &str = "[redacted]";

/// Whether this child is in the message's own namespace: `jabber:client`, `jabber:server` or, unwrapped, the component's.
fn own(message: Element<'_, '_>, child: Element<'_, '_>) -> bool {
    child.namespace() == message.namespace() || matches!(child.namespace(), "jabber:client" | "jabber:server" | COMPONENT_NS)
}

fn has_child(message: Element<'_, '_>, name: &str) -> bool {
    message.children().any(|child| child.name() == name && own(message, child))
}

fn child_text<'d>(message: Element<'d, '_>, name: &str) -> Option<Cow<'d, str>> {
    let child = message.children().find(|child| child.name() == name && own(message, *child))?;
    Some(child.text()).filter(|text| !text.is_empty())
}

/// RFC 6121 §5.2.3: several bodies differ in language; the one in the stanza's own language counts.
fn pick<'d>(message: Element<'d, '_>, name: &str) -> Option<Cow<'d, str>> {
    let all = || message.children().filter(|child| child.name() == name && own(message, *child));
    let chosen = all().find(|child| child.attribute("xml:lang").is_none()).or_else(|| all().next())?;
    Some(chosen.text()).filter(|text| !text.is_empty())
}

/// Everything that a person reads, each part with its length before it so that no two contents run together.
fn digest(message: Element<'_, '_>, found: &Found, encrypted: bool) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |label: &str, text: &str| {
        hash.update((label.len() as u32).to_le_bytes());
        hash.update(label);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    part("kind", Kind::name_of(found.kind as i16));
    part("refers", found.refers_to_id.as_deref().unwrap_or_default());
    if matches!(found.kind, Kind::Invitation | Kind::Declined) {
        // A room rewrites the invitation that it mediates: only the invited person and the reason stay.
        let reason = found.detail.as_ref().and_then(|detail| detail.get("reason")).and_then(Value::as_str).unwrap_or_default();
        part("reason", reason);
        if found.invitee.is_some() {
            return hash.finalize().into();
        }
    }
    if let Some(detail) = &found.detail {
        part("detail", &detail.to_string());
    }
    for child in message.children() {
        match child.name() {
            "body" | "subject" if own(message, child) => {
                part(child.name(), child.attribute("xml:lang").unwrap_or_default());
                part("text", &child.text());
            }
            "encrypted" | "openpgp" | "x" if encrypted => payload(child, &mut part),
            _ => {}
        }
    }
    hash.finalize().into()
}

/// The texts of an encrypted payload: its attributes may be written in another order by another server.
fn payload(element: Element<'_, '_>, part: &mut impl FnMut(&str, &str)) {
    part(element.name(), &element.text());
    let mut open: Vec<Element<'_, '_>> = element.children().collect();
    while let Some(child) = open.pop() {
        part(child.name(), &child.text());
        open.extend(child.children());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Document;

    fn content(inner: &str) -> Option<Content> {
        let stanza = format!("<message xmlns='jabber:client' {inner}</message>");
        read(Document::parse(stanza.as_bytes(), COMPONENT_NS).unwrap().root())
    }

    fn check(inner: &str, kind: Kind, body: Option<&str>, refers_to_id: Option<&str>) {
        let content = content(inner).unwrap_or_else(|| panic!("nothing read in {inner}"));
        assert_eq!((content.kind, content.body.as_deref(), content.refers_to_id.as_deref()), (kind, body, refers_to_id), "{inner}");
    }

    #[test]
    fn each_kind_is_told() {
        check("><body>hi</body>", Kind::Message, Some("hi"), None);
        check("><body> </body>", Kind::Message, Some(" "), None);
        check("type='groupchat'><subject>S</subject>", Kind::Subject, None, None);
        check("type='groupchat'><subject/>", Kind::Subject, None, None);
        check("type='chat'><subject>S</subject>", Kind::Message, None, None);
        check("><replace xmlns='urn:xmpp:message-correct:0' id='a'/><body>b</body>", Kind::Correction, Some("b"), Some("a"));
        check("><retract xmlns='urn:xmpp:message-retract:1' id='a'/>", Kind::Retraction, None, Some("a"));
        check(
            "><apply-to xmlns='urn:xmpp:fasten:0' id='a'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>",
            Kind::Retraction,
            None,
            Some("a"),
        );
        check(
            "><retract xmlns='urn:xmpp:message-retract:1' id='a'><moderated xmlns='urn:xmpp:message-moderate:1' by='r@m/n'/><reason>spam</reason></retract>",
            Kind::Moderation,
            None,
            Some("a"),
        );
        check("><reactions xmlns='urn:xmpp:reactions:0' id='a'><reaction>👍</reaction></reactions>", Kind::Reaction, None, Some("a"));
        check("><x xmlns='jabber:x:conference' jid='r@m'/>", Kind::Invitation, None, None);
        check("><x xmlns='http://jabber.org/protocol/muc#user'><decline to='a@b'/></x>", Kind::Declined, None, None);
        check("><propose xmlns='urn:xmpp:jingle-message:0' id='c'/>", Kind::Call, None, Some("c"));
        check("><x xmlns='jabber:x:oob'><url>https://x/y</url></x><body>https://x/y</body>", Kind::File, Some("https://x/y"), None);
        check("><reply xmlns='urn:xmpp:reply:0' id='a' to='b@c'/><body>r</body>", Kind::Reply, Some("r"), Some("a"));
        check("><received xmlns='urn:xmpp:receipts' id='a'/>", Kind::Receipt, None, Some("a"));
        check("><displayed xmlns='urn:xmpp:chat-markers:0' id='a'/>", Kind::Marker, None, Some("a"));
        check("><composing xmlns='http://jabber.org/protocol/chatstates'/>", Kind::ChatState, None, None);
    }

    #[test]
    fn a_file_is_known_whatever_it_stands_beside() {
        let oob = "<x xmlns='jabber:x:oob'><url>https://x/y</url></x>";
        let shared = "<file-sharing xmlns='urn:xmpp:sfs:0'><file xmlns='urn:xmpp:file:metadata:0'><name>Grüße \"1\".pdf</name></file></file-sharing>";
        let body = "<body>https://x/y</body>";
        let reply = "<reply xmlns='urn:xmpp:reply:0' id='a'/>";
        let replace = "<replace xmlns='urn:xmpp:message-correct:0' id='b'/>";
        let of = |parts: [&str; 4]| content(&format!(">{}", parts.concat())).unwrap();
        for (parts, kind, refers_to) in [
            ([oob, body, "", ""], Kind::File, None),
            ([oob, body, reply, ""], Kind::File, Some("a")),
            ([oob, body, replace, ""], Kind::Correction, Some("b")),
            ([oob, body, replace, reply], Kind::Correction, Some("b")),
        ] {
            let read = of(parts);
            assert_eq!((read.kind, read.refers_to_id.as_deref(), read.flags & flags::FILE), (kind, refers_to, flags::FILE), "{parts:?}");
            assert!(read.detail.unwrap().contains("https://x/y"));
        }
        assert_eq!(of([body, reply, "", ""]).flags & flags::FILE, 0);
        assert_eq!(file_name(&of([shared, body, replace, ""]).detail.unwrap()).as_deref(), Some("Grüße \"1\".pdf"));
        // Copies that were stored when nobody looked for it are the same message.
        assert_eq!(of([oob, body, reply, ""]).digest, of([oob, body, "", ""]).digest);
        assert_eq!(of([oob, body, replace, ""]).digest, of([body, replace, "", ""]).digest);
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        for inner in [">", "><body/>", "><attention xmlns='urn:xmpp:attention:0'/>", "><markable xmlns='urn:xmpp:chat-markers:0'/>"] {
            assert_eq!(content(inner), None, "{inner}");
        }
        assert_eq!(content("><retracted xmlns='urn:xmpp:message-retract:1' stamp='2026-01-01T00:00:00Z' id='a'/>"), None);
    }

    #[test]
    fn the_body_beside_an_encrypted_payload_is_not_content() {
        let read =
            content("><encrypted xmlns='eu.siacs.conversations.axolotl'><payload>AA==</payload></encrypted><body>no</body>").unwrap();
        assert_eq!((read.body, read.flags & flags::ENCRYPTED), (None, flags::ENCRYPTED));
    }

    #[test]
    fn a_password_is_never_in_the_detail() {
        let read = content("><x xmlns='jabber:x:conference' jid='r@m' password='hunter2'/>").unwrap();
        let detail = read.detail.unwrap();
        assert!(detail.contains(REDACTED) && !detail.contains("hunter2"));
    }

    #[test]
    fn the_digest_sees_what_a_person_sees_and_nothing_else() {
        let digest = |inner: &str| content(inner).unwrap().digest;
        let plain = digest("id='1'><body>hi</body>");
        assert_eq!(plain, digest("id='2' to='x@y'><stanza-id xmlns='urn:xmpp:sid:0' id='s' by='x@y'/><body>hi</body>"));
        assert_ne!(plain, digest("><body>hi!</body>"));
        assert_ne!(plain, digest("><subject>hi</subject>"));
        assert_ne!(plain, digest("><replace xmlns='urn:xmpp:message-correct:0' id='a'/><body>hi</body>"));
    }

    #[test]
    fn the_body_in_the_stanzas_own_language_counts() {
        check("><body xml:lang='de'>hallo</body><body>hello</body>", Kind::Message, Some("hello"), None);
        check("><body xml:lang='de'>hallo</body><body xml:lang='fr'>salut</body>", Kind::Message, Some("hallo"), None);
    }
}
