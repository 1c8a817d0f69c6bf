//! Opens the stream and proves the secret, as XEP-0114 section 3 lays out.
//!
//! The proof is the lower-case hexadecimal SHA-1 of the stream's id and the secret. The node answers an empty
//! `<handshake/>`, or a stream error, or, some of them, by closing the connection without a word.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use xmpp_parsers::component::Handshake;
use xmpp_parsers::minidom::Element;

use super::framing::{Frame, Framer};
use super::{SessionError, Settings};

/// What the node said.
enum Answer {
    /// Its stream is open; the id may be missing.
    Opened(Option<String>),
    /// The secret was accepted.
    Accepted,
    Refused(SessionError),
    /// The connection or the stream was closed.
    Closed,
}

/// Takes a fresh connection to the point where stanzas flow.
pub(super) async fn authenticate<S>(stream: &mut S, framer: &mut Framer, settings: &Settings) -> Result<(), SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(stream, &stream_header(&settings.domain)).await?;
    let id = match next_answer(stream, framer).await? {
        Answer::Opened(Some(id)) => id,
        Answer::Opened(None) => return Err(not_a_port("its stream has no id")),
        Answer::Accepted => return Err(not_a_port("a handshake came before the stream")),
        Answer::Refused(error) => return Err(error),
        Answer::Closed => {
            return Err(not_a_port("it closed the connection before the stream was open"));
        }
    };
    send(stream, &proof(id, settings.secret.expose_secret())).await?;
    loop {
        match next_answer(stream, framer).await? {
            Answer::Accepted => return Ok(()),
            Answer::Refused(error) => return Err(error),
            Answer::Closed => return Err(closed_at_handshake()),
            Answer::Opened(_) => {}
        }
    }
}

/// Some nodes say nothing: what they close the connection for at this point is a wrong secret.
fn closed_at_handshake() -> SessionError {
    SessionError::SecretRefused("it closed the connection in answer to it, without a reason".to_owned())
}

fn not_a_port(reason: &str) -> SessionError {
    SessionError::NotAComponentPort(reason.to_owned())
}

fn stream_header(domain: &str) -> String {
    let to = quick_xml::escape::escape(domain);
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
         xmlns:stream='http://etherx.jabber.org/streams' to='{to}'>"
    )
}

fn proof(stream_id: String, secret: &str) -> String {
    String::from(&Element::from(Handshake::from_stream_id_and_password(stream_id, secret)))
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, text: &str) -> Result<(), SessionError> {
    let lost = |error: std::io::Error| SessionError::Unreachable(error.to_string());
    stream.write_all(text.as_bytes()).await.map_err(lost)?;
    stream.flush().await.map_err(lost)
}

async fn next_answer<S: AsyncRead + Unpin>(stream: &mut S, framer: &mut Framer) -> Result<Answer, SessionError> {
    loop {
        while let Some(frame) = framer.next_frame() {
            if let Some(answer) = understand(frame)? {
                return Ok(answer);
            }
        }
        // A reset in answer to the handshake is how a close looks when our bytes were still on their way.
        if !matches!(stream.read_buf(framer.room()).await, Ok(1..)) {
            return Ok(Answer::Closed);
        }
    }
}

fn understand(frame: Frame<'_>) -> Result<Option<Answer>, SessionError> {
    match frame {
        Frame::StreamOpen(tag) => Ok(Some(Answer::Opened(stream_id(tag)?))),
        Frame::Stanza(bytes) if bytes.starts_with(b"<handshake") => Ok(Some(Answer::Accepted)),
        Frame::Stanza(bytes) => Ok(stream_error(bytes).map(Answer::Refused)),
        Frame::StreamClose => Ok(Some(Answer::Closed)),
        Frame::Violation(violation) => Err(not_a_port(&violation.to_string())),
        Frame::Oversize { .. } => Ok(None),
    }
}

/// The id of the node's stream, from its start tag.
fn stream_id(tag: &[u8]) -> Result<Option<String>, SessionError> {
    let text = String::from_utf8_lossy(tag);
    let Ok(Event::Start(start)) = Reader::from_str(&text).read_event() else {
        return Err(not_a_port("its first tag is not XML"));
    };
    if start.local_name().as_ref() != "stream" {
        return Err(not_a_port("its first tag is not a stream"));
    }
    Ok(attribute(&start, "id"))
}

/// An attribute's value, entities resolved.
pub(super) fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = start.attributes();
    let found = attributes.with_checks(false).flatten().find(|attribute| attribute.key.as_ref() == name)?;
    Some(unescaped(&found.value))
}

/// Text with its entities resolved, or as it stands where they can't be.
pub(super) fn unescaped(raw: &str) -> String {
    quick_xml::escape::unescape(raw).map_or_else(|_unknown_entity| raw.to_owned(), |text| text.into_owned())
}

/// Reads a stream error (RFC 6120 section 4.9); none when the element is something else.
pub(super) fn stream_error(stanza: &[u8]) -> Option<SessionError> {
    let text = String::from_utf8_lossy(stanza);
    let mut reader = Reader::from_str(&text);
    match reader.read_event() {
        Ok(Event::Start(start)) if start.name().as_ref() != "error" && start.local_name().as_ref() == "error" => {}
        _ => return None,
    }
    let (mut condition, mut told, mut in_text) = (String::from("undefined-condition"), String::new(), false);
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(start) | Event::Empty(start) => {
                in_text = start.local_name().as_ref() == "text";
                if !in_text && condition == "undefined-condition" {
                    start.local_name().as_ref().clone_into(&mut condition);
                }
            }
            Event::Text(characters) if in_text => told.push_str(&characters),
            Event::GeneralRef(entity) if in_text => told.push_str(&unescaped(&format!("&{};", &*entity))),
            Event::End(_) => in_text = false,
            Event::Eof => break,
            _ => {}
        }
    }
    Some(SessionError::from_stream_error(condition, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_the_sha_1_of_id_and_secret() {
        // The first example of FIPS 180: SHA-1("abc").
        let expected = "<handshake xmlns=\"jabber:component:accept\">a9993e364706816aba3e25717850c26c9cd0d89d</handshake>";
        assert_eq!(proof("a".to_owned(), "bc").replace('\'', "\""), expected);
    }

    #[test]
    fn the_id_is_read_with_its_entities() {
        let id = stream_id(b"<stream:stream xmlns:stream='s' from='a' id='a&amp;b&#x41;'>").unwrap();
        assert_eq!(id.as_deref(), Some("a&bA"));
        assert_eq!(stream_id(b"<stream:stream>").unwrap(), None);
        assert!(stream_id(b"<html>").is_err());
        assert!(stream_id(b"<>").is_err());
    }

    #[test]
    fn stream_errors_are_told_apart() {
        let check = |inner: &str, expected: SessionError| {
            assert_eq!(stream_error(format!("<stream:error>{inner}</stream:error>").as_bytes()), Some(expected));
        };
        let ns = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'";
        check(&format!("<not-authorized {ns}/>"), SessionError::SecretRefused("not-authorized".into()));
        check(&format!("<not-authorized {ns}/><text {ns}>no &lt;match</text>"), SessionError::SecretRefused("no <match".into()));
        check(&format!("<conflict {ns}></conflict>"), SessionError::Conflict);
        check(&format!("<host-unknown {ns}/>"), SessionError::HostUnknown);
        check(
            &format!("<text {ns}>bye</text><system-shutdown {ns}/>"),
            SessionError::StreamError { condition: "system-shutdown".into(), text: "bye".into() },
        );
        check("", SessionError::StreamError { condition: "undefined-condition".into(), text: String::new() });
        assert_eq!(stream_error(b"<message/>"), None);
        assert_eq!(stream_error(b"<error/>"), None);
    }
}
