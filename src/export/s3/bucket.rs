//! What a bucket is asked for, each question tried again while its failure may pass.
//!
//! Everything that is put there carries its SHA-256 twice: in the signature, so that the server takes nothing else, and as the checksum that it keeps.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::lock::Held;
use super::said::{Failure, text_of};
use super::sign::{Ask, Signer};
use super::wire::{Answer, Wire};
use crate::config::S3Config;
use crate::tls;

/// How often something is asked, and the pause after the first failure; each further one is twice as long.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The hash of a file in our own metadata, for servers that keep no checksums.
pub(super) const SHA256_METADATA: &str = "x-amz-meta-sha256";

/// Further headers of a question.
pub(super) type Headers = BTreeMap<&'static str, String>;

/// A bucket and who we are there.
pub(crate) struct Bucket {
    name: String,
    wire: Wire,
    signer: Signer,
    host: String,
    /// What the paths of all objects begin with.
    base: String,
    /// Whether the server refuses to overwrite when it is asked to.
    is_conditional: AtomicBool,
}

/// What becomes of something that is put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is there now.
    Done,
    /// Something is there already, and stays.
    Exists,
}

/// What a bucket locks by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nothing can be locked.
    Off,
    /// What is asked for.
    On,
    /// What is asked for, else this mode and time.
    Default(String),
}

/// An object as the server tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) bytes: u64,
    /// The checksum that the server keeps.
    pub(super) checksum: Option<String>,
    /// The hash that we wrote beside it.
    pub(super) sha256: Option<String>,
    pub(super) version: Option<String>,
    pub(super) held: Held,
}

impl Bucket {
    /// # Errors
    /// When a secret can't be read, or there is nothing to trust.
    pub(crate) fn new(config: &S3Config) -> Result<Self, String> {
        let url: Uri = config.endpoint.parse().map_err(|error| format!("{}: {error}", config.endpoint))?;
        let is_tls = url.scheme_str() == Some("https");
        let named = url.host().unwrap_or_default();
        let named = if config.path_style { named.to_owned() } else { format!("{}.{named}", config.bucket) };
        let host = url.port_u16().map_or_else(|| named.clone(), |port| format!("{named}:{port}"));
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = is_tls.then(|| tls::client(&format!("bucket {}", config.bucket), config.tls_ca.as_deref())).transpose()?;
        let secret = config.secret_access_key.read().map_err(|error| format!("secret_access_key {error}"))?;
        let token =
            config.session_token.as_ref().map(|token| token.read().map_err(|error| format!("session_token {error}"))).transpose()?;
        let base = if config.path_style { format!("/{}/", config.bucket) } else { "/".to_owned() };
        let signer = Signer { access_key_id: config.access_key_id.clone(), secret, token, region: config.region.clone() };
        let wire = Wire::new(named.trim_start_matches('[').trim_end_matches(']').to_owned(), port, tls);
        Ok(Self { name: config.bucket.clone(), wire, signer, host, base, is_conditional: AtomicBool::new(true) })
    }

    /// The name of an object, as people write it.
    pub(super) fn place(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// What the bucket locks by itself.
    pub(crate) async fn rule(&self) -> Result<Rule, Failure> {
        let answer = match self.ask(Method::GET, "", &[("object-lock", "")], Headers::new(), Bytes::new()).await {
            Ok(answer) => answer.body,
            Err(failure) if failure.is("ObjectLockConfigurationNotFoundError", 0) => return Ok(Rule::Off),
            Err(failure) => return Err(failure),
        };
        if text_of(&answer, "ObjectLockEnabled").as_deref() != Some("Enabled") {
            return Ok(Rule::Off);
        }
        let period = ["Days", "Years"].iter().find_map(|unit| Some(format!("{} {}", text_of(&answer, unit)?, unit.to_lowercase())));
        Ok(match (text_of(&answer, "Mode"), period) {
            (Some(mode), Some(period)) => Rule::Default(format!("{mode}, {period}")),
            _ => Rule::On,
        })
    }

    /// The object of this key; none if there is none.
    pub(super) async fn find(&self, key: &str) -> Result<Option<Found>, Failure> {
        let headers = Headers::from([("x-amz-checksum-mode", "ENABLED".to_owned())]);
        match self.ask(Method::HEAD, key, &[], headers, Bytes::new()).await {
            Ok(answer) => Ok(Some(found(&answer))),
            Err(failure) if failure.is("NoSuchKey", 404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Puts an object there, unless there is one.
    pub(super) async fn put(&self, key: &str, body: Bytes, headers: Headers) -> Result<Put, Failure> {
        self.unless_there(|headers| self.ask(Method::PUT, key, &[], headers, body.clone()), headers).await
    }

    /// Begins an object of several parts.
    pub(super) async fn begin(&self, key: &str, mut headers: Headers) -> Result<String, Failure> {
        headers.insert("x-amz-checksum-algorithm", "SHA256".to_owned());
        let answer = self.ask(Method::POST, key, &[("uploads", "")], headers, Bytes::new()).await?;
        text_of(&answer.body, "UploadId").ok_or_else(|| Failure::Wrong("the server began an upload and gave it no name".to_owned()))
    }

    /// Sends a part of it; what the server calls that.
    pub(super) async fn part(&self, key: &str, upload: &str, number: u32, body: Bytes) -> Result<String, Failure> {
        let query = [("partNumber", number.to_string()), ("uploadId", upload.to_owned())];
        let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = self.ask(Method::PUT, key, &query, Headers::new(), body).await?;
        let tag = answer.header("etag").map(str::to_owned);
        tag.ok_or_else(|| Failure::Wrong("the server took a part and gave it no name".to_owned()))
    }

    /// Makes an object of its parts, unless there is one.
    pub(super) async fn complete(&self, key: &str, upload: &str, parts: String) -> Result<Put, Failure> {
        let body = Bytes::from(parts);
        let query = [("uploadId", upload)];
        self.unless_there(|headers| self.ask(Method::POST, key, &query, headers, body.clone()), Headers::new()).await
    }

    /// Has the server forget the parts of an upload.
    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<(), Failure> {
        match self.ask(Method::DELETE, key, &[("uploadId", upload)], Headers::new(), Bytes::new()).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is("NoSuchUpload", 404) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Sets something of an object that is there: `retention` or `legal-hold`.
    pub(super) async fn set(&self, key: &str, version: Option<&str>, what: &'static str, xml: String) -> Result<(), Failure> {
        let mut query = vec![(what, "")];
        query.extend(version.map(|version| ("versionId", version)));
        let body = Bytes::from(xml);
        self.ask(Method::PUT, key, &query, Headers::new(), body).await.map(|_| ())
    }

    /// Asks the server to overwrite nothing. Whoever asks has looked before: some servers don't know that wish.
    async fn unless_there<F>(&self, ask: impl Fn(Headers) -> F, headers: Headers) -> Result<Put, Failure>
    where
        F: Future<Output = Result<Answer, Failure>>,
    {
        if self.is_conditional.load(Ordering::Relaxed) {
            let conditional = headers.clone().into_iter().chain([("if-none-match", "*".to_owned())]).collect();
            match ask(conditional).await {
                Err(failure) if failure.is("NotImplemented", 501) => self.is_conditional.store(false, Ordering::Relaxed),
                Err(failure) if failure.is("PreconditionFailed", 412) => return Ok(Put::Exists),
                other => return other.map(|_| Put::Done),
            }
        }
        ask(headers).await.map(|_| Put::Done)
    }

    /// Asks, again and again while the failure may pass.
    async fn ask(
        &self,
        method: Method,
        key: &str,
        query: &[(&'static str, &str)],
        mut headers: Headers,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let query = query.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let body_hash = Sha256::digest(&body);
        if method == Method::PUT {
            headers.insert("x-amz-sdk-checksum-algorithm", "SHA256".to_owned());
            headers.insert("x-amz-checksum-sha256", STANDARD.encode(body_hash));
        }
        let ask = Ask { method, path: format!("{}{key}", self.base), query, headers, body_hash: body_hash.into() };
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.ask_once(&ask, body.clone()).await {
                Err(failure) if failure.is_passing() => log::debug!("{} {}: {failure}", ask.method, self.place(key)),
                other => return other,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.ask_once(&ask, body).await
    }

    async fn ask_once(&self, ask: &Ask, body: Bytes) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(ask.method.clone()).uri(ask.target()).header("host", &self.host);
        request = request.header("user-agent", concat!("xmpp-archiver/", env!("CARGO_PKG_VERSION")));
        for (name, value) in self.signer.sign(ask, &self.host, Timestamp::now()) {
            request = request.header(name, value);
        }
        let bytes = body.len() as u64;
        // S3 takes nothing whose length it is not told (411), and hyper does not tell that of an empty body.
        if [Method::PUT, Method::POST].contains(&ask.method) {
            request = request.header("content-length", bytes);
        }
        let request = request.body(Full::new(body)).map_err(|error| Failure::Wrong(error.to_string()))?;
        let answer = self.wire.exchange(request, bytes).await.map_err(Failure::Unreachable)?;
        // Where parts are put together, the answer begins before it is known how that ends.
        match answer.status.is_success() && text_of(&answer.body, "Code").is_none() {
            true => Ok(answer),
            false => Err(Failure::of(&answer)),
        }
    }
}

fn found(answer: &Answer) -> Found {
    let header = |name| answer.header(name).filter(|text| !text.is_empty()).map(str::to_owned);
    Found {
        bytes: answer.header("content-length").and_then(|text| text.parse().ok()).unwrap_or_default(),
        checksum: header("x-amz-checksum-sha256"),
        sha256: header(SHA256_METADATA),
        version: header("x-amz-version-id"),
        held: Held {
            mode: header("x-amz-object-lock-mode"),
            until: answer.header("x-amz-object-lock-retain-until-date").and_then(|text| text.parse().ok()),
            is_on_hold: answer.header("x-amz-object-lock-legal-hold") == Some("ON"),
            put_at: answer.header("last-modified").and_then(|text| jiff::fmt::rfc2822::parse(text).ok()).map(|at| at.timestamp()),
        },
    }
}
