//! AWS Signature Version 4 as S3 has it: in the header `Authorization`, over every header that we set and the hash of the body.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>

use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::export::manifest::hex;

/// Who signs.
pub(super) struct Signer {
    pub(super) access_key_id: String,
    pub(super) secret: SecretString,
    pub(super) token: Option<SecretString>,
    pub(super) region: String,
}

/// What is asked of the server. Names of headers are in lower case.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// With its slash, not encoded yet.
    pub(super) path: String,
    pub(super) query: BTreeMap<&'static str, String>,
    pub(super) headers: BTreeMap<&'static str, String>,
    /// The SHA-256 of the body.
    pub(super) body_hash: [u8; 32],
}

impl Ask {
    /// The path and the query as they are sent and signed.
    pub(super) fn target(&self) -> String {
        match self.query.is_empty() {
            true => encoded(&self.path, true),
            false => format!("{}?{}", encoded(&self.path, true), self.canonical_query()),
        }
    }

    fn canonical_query(&self) -> String {
        let pairs: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{}={}", encoded(name, false), encoded(value, false))).collect();
        pairs.join("&")
    }
}

impl Signer {
    /// All headers to send but `host`: those of the question, and those that sign it.
    pub(super) fn sign(&self, ask: &Ask, host: &str, at: Timestamp) -> BTreeMap<&'static str, String> {
        let (stamp, day) = (at.strftime("%Y%m%dT%H%M%SZ").to_string(), at.strftime("%Y%m%d").to_string());
        let body_hash = hex(&ask.body_hash);
        let mut headers = ask.headers.clone();
        headers.extend([("host", host.to_owned()), ("x-amz-date", stamp.clone()), ("x-amz-content-sha256", body_hash.clone())]);
        headers.extend(self.token.as_ref().map(|token| ("x-amz-security-token", token.expose_secret().to_owned())));
        let signed_headers = headers.keys().copied().collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let (path, query) = (encoded(&ask.path, true), ask.canonical_query());
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{signed_headers}\n{body_hash}", ask.method);
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let signature = hex(hmac(self.key(&day).as_ref(), &text).as_ref());
        let id = &self.access_key_id;
        let authorization = format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={signed_headers},Signature={signature}");
        headers.remove("host");
        headers.insert("authorization", authorization);
        headers
    }

    /// The key for one day.
    fn key(&self, day: &str) -> hmac::Tag {
        let first = format!("AWS4{}", self.secret.expose_secret());
        [self.region.as_str(), "s3", "aws4_request"].iter().fold(hmac(first.as_bytes(), day), |key, part| hmac(key.as_ref(), part))
    }
}

fn hmac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// What is not one of RFC 3986's unreserved characters becomes `%` and two digits; in a path, slashes stay.
fn encoded(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if is_path => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Amazon's documentation signs as an example.
    fn signature(method: Method, path: &str, query: &[(&'static str, &str)], headers: &[(&'static str, &str)], body: &str) -> String {
        let signer = Signer {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
            region: "us-east-1".to_owned(),
        };
        let owned = |pairs: &[(&'static str, &str)]| pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let ask =
            Ask { method, path: path.to_owned(), query: owned(query), headers: owned(headers), body_hash: Sha256::digest(body).into() };
        let headers = signer.sign(&ask, "examplebucket.s3.amazonaws.com", "2013-05-24T00:00:00Z".parse().unwrap());
        headers["authorization"].rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn the_documented_examples_have_their_signatures() {
        for (expected, got) in [
            (
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
                signature(Method::GET, "/test.txt", &[], &[("range", "bytes=0-9")], ""),
            ),
            (
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
                signature(
                    Method::PUT,
                    "/test$file.text",
                    &[],
                    &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
                    "Welcome to Amazon S3.",
                ),
            ),
            (
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
                signature(Method::GET, "/", &[("lifecycle", "")], &[], ""),
            ),
            (
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
                signature(Method::GET, "/", &[("max-keys", "2"), ("prefix", "J")], &[], ""),
            ),
        ] {
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_key_is_encoded_once() {
        assert_eq!(encoded("/a b/ü+%.eml", true), "/a%20b/%C3%BC%2B%25.eml");
        assert_eq!(encoded("/", false), "%2F");
    }
}
