//! When the certificates of the servers that we talk to end, so that somebody is told in time.
//!
//! A verifier notes the end of each certificate that it is shown and leaves the judgement to another one. The end is read from the
//! few bytes of DER around it (RFC 5280 section 4.1): nothing else of a certificate is of interest here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::time::Micros;

/// The most servers that are remembered: every node and store there can be.
const MAX_SERVERS: usize = 2_000;

/// What was noted in this process, by who was asked for: `node NAME`, `store NAME`.
static ENDS: Mutex<BTreeMap<String, Micros>> = Mutex::new(BTreeMap::new());

/// When the certificates that were last shown end, by the subject of whoever showed it.
pub fn ends() -> BTreeMap<String, Micros> {
    ENDS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn note(subject: &str, end: Micros) {
    let mut ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
    if ends.len() < MAX_SERVERS || ends.contains_key(subject) {
        ends.insert(subject.to_owned(), end);
    }
}

/// Notes when a certificate ends, and lets another one judge it.
#[derive(Debug)]
pub struct Noting {
    subject: String,
    judge: Arc<dyn ServerCertVerifier>,
}

impl Noting {
    /// A verifier in front of `judge`.
    pub fn new(subject: &str, judge: Arc<dyn ServerCertVerifier>) -> Self {
        Self { subject: subject.to_owned(), judge }
    }
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(end) = not_after(end_entity) {
            note(&self.subject, end);
        }
        self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of a certificate; none if the bytes are not one.
pub fn not_after(certificate: &[u8]) -> Option<Micros> {
    let (tag, whole, _) = element(certificate)?;
    let (inner, mut rest, _) = element(whole)?;
    if (tag, inner) != (SEQUENCE, SEQUENCE) {
        return None;
    }
    if rest.first() == Some(&EXPLICIT_VERSION) {
        rest = element(rest)?.2;
    }
    // serialNumber, signature and issuer stand before the validity.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (_, _, after_begin) = element(validity)?;
    let (kind, text, _) = element(after_begin)?;
    time(kind, std::str::from_utf8(text).ok()?)
}

/// The first element of DER: its tag, its content, and what follows it. Lengths of more than three bytes are no certificate's.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short if short < 0x80 => (short, rest),
        long => {
            let count = long - 0x80;
            let (digits, rest) = rest.split_at_checked(count).filter(|_| (1..=3).contains(&count))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

/// RFC 5280 section 4.1.2.5: both forms are in UTC to the second; of the years with two digits, those from 50 on are of the last century.
fn time(kind: u8, text: &str) -> Option<Micros> {
    let full = match kind {
        GENERALIZED_TIME => text.to_owned(),
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        _ => return None,
    };
    let at = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", full).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::rfc3339;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        match content.len() {
            short @ 0..=0x7f => bytes.push(short as u8),
            long => bytes.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        bytes.extend_from_slice(content);
        bytes
    }

    fn certificate(end: Vec<u8>, with_version: bool) -> Vec<u8> {
        let validity = [tlv(UTC_TIME, b"260101000000Z"), end].concat();
        let version = if with_version { tlv(EXPLICIT_VERSION, &[2, 1, 2]) } else { Vec::new() };
        let body = [version, tlv(2, &[7]), tlv(SEQUENCE, &[]), tlv(SEQUENCE, &[0; 300]), tlv(SEQUENCE, &validity), tlv(SEQUENCE, &[])];
        tlv(SEQUENCE, &tlv(SEQUENCE, &body.concat()))
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for (end, with_version, expected) in [
            (tlv(UTC_TIME, b"270228235959Z"), true, "2027-02-28T23:59:59.000000Z"),
            (tlv(UTC_TIME, b"991231235959Z"), false, "1999-12-31T23:59:59.000000Z"),
            (tlv(GENERALIZED_TIME, b"20510101000000Z"), true, "2051-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(not_after(&certificate(end, with_version)).map(rfc3339).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = certificate(tlv(UTC_TIME, b"270228235959Z"), true);
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
        assert_eq!(not_after(&certificate(tlv(UTC_TIME, "ä70228235959".as_bytes()), true)), None);
        assert_eq!(not_after(&certificate(tlv(2, b"270228235959Z"), true)), None);
    }
}
