//! What a server says when it refuses something, and what to do about it.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>

use std::fmt;

use http::StatusCode;
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;

use super::wire::Answer;

/// The longest part of a message that is repeated, in characters.
const SHOWN_CHARS: usize = 300;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no answer.
    Unreachable(String),
    /// The answer was no.
    Refused {
        /// The status of HTTP.
        status: u16,
        /// S3's own word for it; empty where it says none.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// The server did what was asked, but not what was meant.
    Wrong(String),
}

impl Failure {
    /// What an answer says that is no success.
    pub(super) fn of(answer: &Answer) -> Self {
        let said = |name| text_of(&answer.body, name).unwrap_or_default();
        let (mut code, mut message) = (said("Code"), said("Message"));
        let is_elsewhere = answer.status.is_redirection() || code == "AuthorizationHeaderMalformed";
        if let Some(region) = answer.header("x-amz-bucket-region").filter(|_| is_elsewhere) {
            message.push_str(&format!(" (the bucket is in the region {region})"));
        }
        if code == "RequestTimeTooSkewed" {
            let theirs = answer.header("date").unwrap_or("unknown");
            message.push_str(&format!(" (the server's time is {theirs}, ours {})", crate::time::rfc3339(crate::time::now())));
        }
        // Answers without a body, as those to HEAD, have only their status.
        if code.is_empty() && answer.status == StatusCode::FORBIDDEN {
            "AccessDenied".clone_into(&mut code);
        }
        Self::Refused { status: answer.status.as_u16(), code, message: message.chars().take(SHOWN_CHARS).collect() }
    }

    /// Whether the same may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, code, .. } => {
                let words =
                    ["SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict"];
                matches!(status, 429 | 500 | 502 | 503 | 504) || words.contains(&code.as_str())
            }
            Self::Wrong(_) => false,
        }
    }

    /// Whether the server has this word or, without one, this status.
    pub(crate) fn is(&self, word: &str, number: u16) -> bool {
        matches!(self, Self::Refused { status, code, .. } if code == word || (code.is_empty() && *status == number))
    }

    /// What to do.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "check `endpoint` and `tls_ca`, and that this machine reaches that server",
            Self::Refused { code, status, .. } => advice(code, *status),
            Self::Wrong(_) => "see the server's own documentation on Object Lock",
        }
    }
}

fn advice(code: &str, status: u16) -> &'static str {
    match code {
        "NoSuchBucket" => "make the bucket with Object Lock, or mend `bucket`, `endpoint` and `path_style`",
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
            "allow this key s3:PutObject, s3:PutObjectRetention, s3:PutObjectLegalHold, s3:GetObject, s3:GetObjectRetention, \
             s3:GetObjectLegalHold, s3:GetBucketObjectLockConfiguration, s3:ListBucket and s3:AbortMultipartUpload"
        }
        "InvalidAccessKeyId" => "mend `access_key_id`",
        "SignatureDoesNotMatch" => "mend `secret_access_key`; also check `region`",
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => "get a new `session_token`",
        "RequestTimeTooSkewed" | "RequestExpired" => "set the clock of this machine and keep it right with NTP",
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException" => {
            "mend `region` and `endpoint`: they must be those of the bucket"
        }
        "InvalidRequest" | "InvalidBucketState" => "look whether the bucket has Object Lock turned on",
        "InvalidRetentionPeriod" | "InvalidRetentionDate" => "mend `retain_days`",
        "KMS.DisabledException" | "KMS.NotFoundException" | "KMSKeyNotAccessible" => "let this key use the bucket's encryption key",
        "EntityTooSmall" | "EntityTooLarge" => "change `part_size`",
        "QuotaExceeded" | "XMinioStorageFull" => "give the bucket more room",
        "SlowDown" => "the server has too much to do; it is tried again",
        _ if matches!(status, 301 | 307 | 308) => "mend `region` and `endpoint`: they must be those of the bucket",
        _ if status >= 500 => "see the server's own log; it is tried again",
        _ => "see the server's own documentation on this error",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(said) | Self::Wrong(said) => f.write_str(said),
            Self::Refused { status, code, message } => {
                write!(f, "the server answered {status}")?;
                for part in [code, message].into_iter().filter(|part| !part.is_empty()) {
                    write!(f, " {part}")?;
                }
                Ok(())
            }
        }
    }
}

/// The text of the first element of this local name.
pub(super) fn text_of(xml: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(xml).ok()?;
    let mut reader = Reader::from_str(text);
    let mut found: Option<String> = None;
    loop {
        match (reader.read_event().ok()?, &mut found) {
            (Event::Start(tag), None) if tag.local_name().as_ref() == name => found = Some(String::new()),
            (Event::Text(text), Some(found)) => found.push_str(&text),
            (Event::GeneralRef(entity), Some(found)) => {
                let entity = format!("&{};", &*entity);
                found.push_str(&unescape(&entity).unwrap_or_default());
            }
            (Event::End(_), Some(_)) => return found,
            (Event::Eof, _) => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: http::HeaderMap::new(), body: hyper::body::Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn a_refusal_is_told_with_a_next_step() {
        let xml =
            "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>The bucket &quot;a&quot; is not there</Message></Error>";
        let failure = Failure::of(&answer(404, xml));
        assert_eq!(failure.to_string(), "the server answered 404 NoSuchBucket The bucket \"a\" is not there");
        assert!(failure.advice().contains("make the bucket"), "{}", failure.advice());
        assert!(!failure.is_passing() && failure.is("NoSuchBucket", 0) && !failure.is("NoSuchKey", 404));
        assert!(Failure::of(&answer(404, "")).is("NoSuchKey", 404));
        assert!(Failure::of(&answer(503, "<Error><Code>SlowDown</Code></Error>")).is_passing());
        assert!(Failure::of(&answer(502, "<html><not closed")).is_passing());
        assert!(Failure::of(&answer(403, "")).advice().contains("s3:PutObject"));
    }

    #[test]
    fn names_are_found_in_any_namespace() {
        let xml = b"<a:R xmlns:a='http://s3.amazonaws.com/doc/2006-03-01/'><a:UploadId>x&amp;y</a:UploadId></a:R>";
        assert_eq!(text_of(xml, "UploadId").as_deref(), Some("x&y"));
        assert_eq!(text_of(b"<R><UploadId>x", "UploadId"), None);
        assert_eq!(text_of(b"\xff", "UploadId"), None);
    }
}
