//! `[export.s3]`: where the exports of a series are put, and how they are locked there.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::mistake::Mistake;
use super::operation::secret_entry;
use super::read::Remarks;
use super::read_operation::{is_this_machine, optional_secret, require};
use super::section::Section;
use super::values::ByteSize;
use super::{SecretSource, defaults};

/// The three ways to give each secret.
const SECRET_KEYS: [&str; 3] = ["secret_access_key", "secret_access_key_file", "secret_access_key_env"];
const TOKEN_KEYS: [&str; 3] = ["session_token", "session_token_file", "session_token_env"];

/// How objects can be locked.
const LOCKS: [(&str, S3Lock); 3] = [("compliance", S3Lock::Compliance), ("governance", S3Lock::Governance), ("bucket", S3Lock::Bucket)];

/// A bucket for the exports of one series.
#[derive(Clone, Debug, Serialize)]
pub struct S3Config {
    /// The server, such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// What requests are signed for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What the keys of all objects begin with, without a slash at either end.
    pub prefix: String,
    /// Whether the bucket stands in the path, or else in the name of the host.
    pub path_style: bool,
    /// The access key.
    pub access_key_id: String,
    /// Its secret.
    #[serde(flatten, serialize_with = "secret_access_key")]
    pub secret_access_key: SecretSource,
    /// What comes with keys that hold only for a while.
    #[serde(flatten, serialize_with = "session_token")]
    pub session_token: Option<SecretSource>,
    /// Who decides how long an object is kept, and whether anybody may shorten that.
    pub lock: S3Lock,
    /// So long each object is kept, from the time when it is put there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_days: Option<u64>,
    /// Whether each object is kept until somebody takes that mark away, too.
    pub legal_hold: bool,
    /// Larger files are sent in parts of this size, one at a time in memory.
    pub part_size: ByteSize,
    /// PEM certificates to trust in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// Whether another machine may be spoken to without TLS.
    pub allow_plain_http: bool,
}

impl S3Config {
    /// The place, as people write it.
    pub fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }
}

/// Who decides how long an object is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum S3Lock {
    /// We, and nobody can shorten it.
    Compliance,
    /// We, and accounts with a right of their own can shorten it.
    Governance,
    /// The bucket's default retention.
    Bucket,
}

/// Reads the table; an empty one is no bucket, and one in which anything stands must be complete.
pub(super) fn read_s3(mut section: Section<'_>, name: Option<&str>, remarks: &mut Remarks) -> Option<S3Config> {
    let is_wanted = !section.is_empty();
    let allow_plain_http = section.truth("allow_plain_http", false);
    let endpoint = endpoint(&mut section, allow_plain_http);
    let region = section.text("region").unwrap_or_else(|| defaults::S3_REGION.to_owned());
    let bucket = bucket(&mut section);
    let prefix = prefix(&mut section, name);
    let path_style = section.truth("path_style", true);
    let access_key_id = section.text("access_key_id");
    let secret_access_key = optional_secret(&mut section, SECRET_KEYS, remarks);
    let session_token = optional_secret(&mut section, TOKEN_KEYS, remarks);
    let (lock, retain_days) = lock(&mut section, is_wanted);
    let legal_hold = section.truth("legal_hold", false);
    let part_size = section.size("part_size", defaults::S3_PART_SIZE);
    let tls_ca = section.text("tls_ca").map(PathBuf::from);
    if is_wanted {
        require(&mut section, "endpoint", endpoint.is_some(), ENDPOINT);
        require(&mut section, "bucket", bucket.is_some(), "must be the name of a bucket");
        require(&mut section, "access_key_id", access_key_id.is_some(), "must be an access key");
        require(&mut section, "secret_access_key", secret_access_key.is_some(), "must be the secret of the access key");
    }
    section.finish();
    Some(S3Config {
        endpoint: endpoint?,
        region,
        bucket: bucket?,
        prefix,
        path_style,
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        session_token,
        lock,
        retain_days,
        legal_hold,
        part_size,
        tls_ca,
        allow_plain_http,
    })
}

/// What an endpoint must be.
const ENDPOINT: &str = "must be the server's URL, such as https://s3.eu-central-1.amazonaws.com, without a path";

fn endpoint(section: &mut Section<'_>, allow_plain_http: bool) -> Option<String> {
    let text = section.text("endpoint")?;
    let text = text.trim_end_matches('/');
    let right = match text.parse::<http::Uri>() {
        Ok(url) if !matches!(url.scheme_str(), Some("http" | "https")) || url.path() != "/" || url.query().is_some() => ENDPOINT,
        Ok(url) if url.authority().is_none_or(|authority| authority.as_str().contains('@')) => ENDPOINT,
        Ok(url) if url.scheme_str() == Some("http") && !allow_plain_http && !is_this_machine(url.host().unwrap_or_default()) => {
            "is without TLS, and not on this machine; set allow_plain_http = true if that is meant"
        }
        Ok(_) => return Some(text.to_owned()),
        Err(_no_url) => ENDPOINT,
    };
    let key = section.key("endpoint");
    section.push(Mistake::at(key, right));
    None
}

/// Names as S3 has them; they stand in a path or in a host's name.
fn bucket(section: &mut Section<'_>) -> Option<String> {
    let text = section.text("bucket")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (3..=63).contains(&text.len()) && text.bytes().all(allowed) {
        return Some(text);
    }
    let key = section.key("bucket");
    section.push(Mistake::at(key, "must be the name of a bucket: 3 to 63 of a-z, 0-9, \"-\" and \".\"").with_text(&text));
    None
}

/// Two series in one place would hinder each other, so each has its name there.
fn prefix(section: &mut Section<'_>, name: Option<&str>) -> String {
    let text = section.text("prefix").unwrap_or_else(|| name.unwrap_or(defaults::EXPORT_NAME).to_owned());
    let prefix = text.trim_matches('/');
    let is_wrong = |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control);
    if prefix.split('/').any(is_wrong) || prefix.len() > defaults::S3_PREFIX_BYTES {
        let key = section.key("prefix");
        section.push(Mistake::at(key, "must be names with a slash between them, such as archive/journal").with_text(&text));
    }
    prefix.to_owned()
}

fn lock(section: &mut Section<'_>, is_wanted: bool) -> (S3Lock, Option<u64>) {
    let lock = section.choice("lock", &LOCKS, S3Lock::Bucket);
    let is_given = section.has("retain_days");
    let days = section.number("retain_days", defaults::S3_RETAIN_DAYS);
    let right = match lock {
        S3Lock::Bucket if is_given => "is decided by the bucket; set lock to compliance or governance, or leave this out",
        S3Lock::Compliance | S3Lock::Governance if !is_given && is_wanted => "missing; must be how many days each object is kept",
        _ => return (lock, is_given.then_some(days)),
    };
    let key = section.key("retain_days");
    section.push(Mistake::at(key, right));
    (lock, None)
}

fn secret_access_key<S: Serializer>(secret: &SecretSource, serializer: S) -> Result<S::Ok, S::Error> {
    secret_entry(Some(secret), SECRET_KEYS, serializer)
}

fn session_token<S: Serializer>(secret: &Option<SecretSource>, serializer: S) -> Result<S::Ok, S::Error> {
    secret_entry(secret.as_ref(), TOKEN_KEYS, serializer)
}
