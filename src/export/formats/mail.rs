//! A unit as a mail (RFC 5322): the participants as headers, the transcript as text and as HTML, and the messages themselves as
//! JSON Lines in an attachment.
//!
//! JIDs are no mail addresses, so each becomes one that every mail program takes (RFC 5321 §4.1.2): what a dot-atom can't hold is
//! written as `%` and two hexadecimal digits, a long local part is cut and ended with a hash, a domain is in its ASCII form. The JID
//! itself is the display name. Nothing in the mail is by chance: the Message-ID and the boundaries come from the hash of its content.

use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::MimePart;
use sha2::{Digest, Sha256};

use super::{html, jsonl, text};
use crate::export::ExportError;
use crate::export::manifest::hex;
use crate::export::told::line;
use crate::export::unit::{Person, Unit, stamp};
use crate::export::words::zone_name;
use crate::time::SECOND;

/// The most people in the headers; the attachment names all.
pub(crate) const MAX_PEOPLE: usize = 500;
/// The longest local part (RFC 5321 §4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// The attachment with the messages.
const ATTACHMENT: &str = "messages.jsonl";
/// The domain of what is no address of anybody (RFC 2606 §2).
const NOBODY: &str = "xmpp-archiver.invalid";

/// The mail of a unit.
pub(crate) fn mail(unit: &Unit, zone: &TimeZone) -> Result<Vec<u8>, ExportError> {
    let native = jsonl::lines(unit)?;
    let hash = hex(&Sha256::digest(native.as_bytes()));
    let part = |kind: &'static str, body: String| encoded(ContentType::new(kind).attribute("charset", "utf-8"), body.as_bytes());
    let alternative =
        multipart("alternative", &hash, vec![part("text/plain", text::unit(unit, zone)), part("text/html", html::mail(unit, zone))]);
    let attachment = encoded(ContentType::new("application/jsonl"), native.as_bytes()).attachment(ATTACHMENT);
    let body = multipart("mixed", &hash, vec![alternative, attachment]);
    headers(unit, zone, &hash).body(body).write_to_vec().map_err(ExportError::format)
}

/// What every mail about a unit has; `hash` makes its Message-ID.
pub(crate) fn headers<'a>(unit: &Unit, zone: &TimeZone, hash: &str) -> MessageBuilder<'a> {
    let people = unit.people();
    let conversation = hex(&Sha256::digest(unit.conversation.as_bytes()));
    let head = |text: &str| text.get(..32).unwrap_or_default().to_owned();
    let (from, to) = sides(unit, &people);
    let mut builder = MessageBuilder::new()
        .from(from)
        .to(Address::new_list(to))
        .subject(unit.title())
        .date(unit.first_at().div_euclid(SECOND))
        .message_id(format!("{}@{NOBODY}", head(hash)))
        .references(format!("{}@{NOBODY}", head(&conversation)));
    let numbers = (unit.items.first().map_or(0, |item| item.found.id), unit.items.last().map_or(0, |item| item.found.id));
    let omitted = people.len().saturating_sub(MAX_PEOPLE);
    for (name, value) in [
        ("X-XMPP-Conversation", line(&unit.conversation)),
        ("X-XMPP-Kind", if unit.in_room { "room" } else { "direct" }.to_owned()),
        ("X-XMPP-Messages", unit.items.len().to_string()),
        ("X-XMPP-First-Message", format!("{} {}", numbers.0, stamp(unit.first_at(), zone))),
        ("X-XMPP-Last-Message", format!("{} {}", numbers.1, stamp(unit.last_at(), zone))),
        ("X-XMPP-Time-Zone", zone_name(zone)),
        ("X-XMPP-Day", unit.day.to_string()),
        ("X-XMPP-Part", unit.part.to_string()),
        ("X-XMPP-Participants-Omitted", omitted.to_string()),
        ("X-XMPP-Messages-SHA256", hash.to_owned()),
    ] {
        builder = builder.header(name, HeaderType::Text(Text::new(value)));
    }
    builder
}

/// Who wrote the first message, and everybody else; the room too.
fn sides<'a>(unit: &Unit, people: &[Person]) -> (Address<'a>, Vec<Address<'a>>) {
    let first = unit.items.first().map(|item| unit.key_of(&item.found)).unwrap_or_default();
    let mut from = None;
    let mut to = Vec::new();
    if unit.in_room {
        to.push(address(&unit.conversation, None));
    }
    for person in people.iter().take(MAX_PEOPLE) {
        let known = address(&person.jid, person.nick.as_deref());
        if person.jid == first && from.is_none() {
            from = Some(known);
        } else {
            to.push(known);
        }
    }
    let from = from.unwrap_or_else(|| address(&first, None));
    if to.is_empty() {
        to.push(address(&unit.conversation, None));
    }
    (from, to)
}

fn address<'a>(jid: &str, nick: Option<&str>) -> Address<'a> {
    let name = nick.map_or_else(|| line(jid), |nick| format!("{} ({})", line(nick), line(jid)));
    Address::new_address(Some(name), addr_spec(jid))
}

/// A JID as an address that every mail program takes.
pub(crate) fn addr_spec(jid: &str) -> String {
    let (bare, nick) = match jid.split_once('/') {
        Some((bare, nick)) => (bare, Some(nick)),
        None => (jid, None),
    };
    let (local, domain) = bare.rsplit_once('@').unwrap_or(("", bare));
    let domain = idna::domain_to_ascii(domain).ok().filter(|domain| is_domain(domain)).unwrap_or_else(|| NOBODY.to_owned());
    let local = match (local, nick) {
        ("", None) => "host".to_owned(),
        (local, None) => escaped(local),
        (local, Some(nick)) => format!("{}%2F{}", escaped(local), escaped(nick)),
    };
    let local = match local.get(..MAX_LOCAL - 18).filter(|_| local.len() > MAX_LOCAL) {
        Some(begin) => format!("{}-{}", begin.trim_end_matches('.'), hex(&Sha256::digest(local.as_bytes())).get(..16).unwrap_or_default()),
        None => local,
    };
    format!("{local}@{domain}")
}

fn is_domain(domain: &str) -> bool {
    !domain.is_empty()
        && domain.len() <= 253
        && domain.split('.').all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
}

/// What a dot-atom can hold stays (RFC 5322 §3.2.3), dots only between other characters.
fn escaped(local: &str) -> String {
    let last = local.len().saturating_sub(1);
    let mut text = String::with_capacity(local.len());
    let mut after_dot = true;
    for (at, byte) in local.bytes().enumerate() {
        let is_dot = byte == b'.' && !after_dot && at != last;
        if is_dot || byte.is_ascii_alphanumeric() || b"!#$&'*+-/=?^_`{|}~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        after_dot = byte == b'.';
    }
    text
}

/// A part with the boundary that its content gives.
pub(crate) fn multipart<'a>(kind: &str, hash: &str, parts: Vec<MimePart<'a>>) -> MimePart<'a> {
    let boundary = format!("={kind}={}", hash.get(32..).unwrap_or_default());
    MimePart::new(ContentType::new(format!("multipart/{kind}")).attribute("boundary", boundary), parts)
}

/// A part in base64, whatever it holds: no line of it can look like a boundary, a "From " line or a line that is too long.
pub(crate) fn encoded<'a>(kind: ContentType<'a>, body: &[u8]) -> MimePart<'a> {
    let mut lines = String::with_capacity(body.len() * 4 / 3 + body.len() / 28 + 4);
    for piece in body.chunks(57) {
        STANDARD.encode_string(piece, &mut lines);
        lines.push_str("\r\n");
    }
    MimePart::new(kind, lines.into_bytes()).header("Content-Transfer-Encoding", HeaderType::Raw(Raw::new("base64")))
}

/// Finds the attachments of mails in a stream of lines and decodes them, knowing only what RFC 2046 says of boundaries, and which header
/// says what: names of people stand in other headers, and may look like anything.
pub(crate) struct Attachments<'a> {
    name: &'a str,
    boundary: Option<String>,
    in_headers: bool,
    header: Header,
    is_wanted: bool,
    base64: Vec<u8>,
}

impl<'a> Attachments<'a> {
    /// For attachments of this name.
    pub(crate) fn new(name: &'a str) -> Self {
        Self { name, boundary: None, in_headers: true, header: Header::Other, is_wanted: false, base64: Vec::new() }
    }

    /// A new mail begins.
    pub(crate) fn begin(&mut self) {
        *self = Self::new(self.name);
    }

    /// The next line, without its end; gives a whole attachment when it ends there.
    pub(crate) fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let is_boundary = self.boundary.as_ref().is_some_and(|boundary| line.starts_with(boundary.as_bytes()));
        if is_boundary {
            let wanted = std::mem::take(&mut self.is_wanted);
            self.in_headers = true;
            let base64 = std::mem::take(&mut self.base64);
            return wanted.then(|| STANDARD.decode(base64).unwrap_or_default());
        }
        if self.in_headers {
            self.in_headers = !line.is_empty();
            self.header(&String::from_utf8_lossy(line));
        } else if self.is_wanted {
            self.base64.extend_from_slice(line);
        }
        None
    }

    /// A line of headers: those of the mail name the boundary, those of a part its file.
    fn header(&mut self, line: &str) {
        // What begins with white space goes on with the header before (RFC 5322 §2.2.3).
        if !line.starts_with([' ', '\t']) {
            self.header = Header::of(line);
        }
        match (self.header, &self.boundary) {
            (Header::ContentType, None) => self.boundary = quoted(line, "boundary").map(|boundary| format!("--{boundary}")),
            (Header::ContentDisposition, Some(_)) => self.is_wanted |= quoted(line, "filename") == Some(self.name),
            _ => {}
        }
    }
}

/// Which header a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    ContentType,
    ContentDisposition,
    Other,
}

impl Header {
    fn of(line: &str) -> Self {
        match line.split_once(':') {
            Some((name, _)) if name.eq_ignore_ascii_case("Content-Type") => Self::ContentType,
            Some((name, _)) if name.eq_ignore_ascii_case("Content-Disposition") => Self::ContentDisposition,
            _ => Self::Other,
        }
    }
}

/// A parameter as mail-builder writes it.
fn quoted<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = line.split_once(&format!("{name}=\""))?;
    value.split_once('"').map(|(value, _)| value)
}

/// How many messages a mail's attachment holds.
pub(crate) fn count(attachment: &[u8]) -> u64 {
    attachment.lines().filter(|line| line.as_ref().is_ok_and(|line| serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok())).count()
        as u64
}

/// The name of the attachment with the messages.
pub(crate) fn attachments() -> Attachments<'static> {
    Attachments::new(ATTACHMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::unit::tests::unit;

    #[test]
    fn every_jid_becomes_an_address() {
        for (jid, address) in [
            ("alice@example.com", "alice@example.com"),
            ("d\\27artagnan@example.com", "d%5C27artagnan@example.com"),
            ("élise@bücher.example", "%C3%A9lise@xn--bcher-kva.example"),
            (".a..b.@x.example", "%2Ea.%2Eb%2E@x.example"),
            ("example.com", "host@example.com"),
            ("room@muc.example/The Nick", "room%2FThe%20Nick@muc.example"),
            ("a@[::1]", "a@xmpp-archiver.invalid"),
            ("unknown", "host@unknown"),
        ] {
            assert_eq!(addr_spec(jid), address);
        }
        let long = addr_spec(&format!("{}@x.example", "ab.".repeat(40)));
        assert!(long.split_once('@').unwrap().0.len() <= MAX_LOCAL, "{long}");
    }

    #[test]
    fn the_same_unit_gives_the_same_mail_and_its_messages_come_back() {
        let hostile = "--=mixed=0\r\nFrom me\n.\nContent-Disposition: attachment; filename=\"messages.jsonl\"\n\nAAAA";
        let unit = unit(&["a", hostile, &"x".repeat(200_000)]);
        let one = mail(&unit, &TimeZone::UTC).unwrap();
        assert_eq!(one, mail(&unit, &TimeZone::UTC).unwrap());
        let mut attachments = attachments();
        let found: Vec<Vec<u8>> =
            one.split(|byte| *byte == b'\n').filter_map(|line| attachments.line(line.strip_suffix(b"\r").unwrap_or(line))).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(String::from_utf8(found[0].clone()).unwrap(), jsonl::lines(&unit).unwrap());
        assert_eq!(count(&found[0]), 3);
        assert!(one.split(|byte| *byte == b'\n').all(|line| line.len() <= 998), "a line is too long (RFC 5322 §2.1.1)");
    }

    #[test]
    fn only_the_headers_of_a_part_name_its_file_and_only_a_content_type_the_boundary() {
        let read = |text: &str| {
            let mut attachments = attachments();
            text.lines().filter_map(|line| attachments.line(line.as_bytes())).collect::<Vec<_>>()
        };
        let hostile = "X-A: x\n boundary=\"x\" Content-Type: a;\n boundary=\"x\"\nX-B: filename=\"messages.jsonl\"\n";
        let disposition = "Content-Disposition: attachment; filename=\"messages.jsonl\"\n";
        let mail = |header: &str, of_part: &str| {
            format!("{hostile}{header}\"b\"\n\nboundary=\"x\"\n{disposition}--b\n{hostile}\nQQ==\n--b\n{of_part}\nQg==\n--b--\n")
        };
        for header in ["Content-Type: multipart/mixed; boundary=", "content-type: multipart/mixed;\n\tboundary="] {
            assert_eq!(read(&mail(header, disposition)), [b"B".to_vec()], "{header}");
            assert_eq!(read(&mail(header, hostile)), Vec::<Vec<u8>>::new(), "{header}");
        }
    }
}
