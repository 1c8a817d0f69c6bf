//! How objects are locked: what is asked for with each, and whether the server did it.
//!
//! The server's word counts, not our question: an object that is not held as asked is no delivered one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::bucket::Headers;
use crate::config::{S3Config, S3Lock};

const DAY: Duration = Duration::from_secs(86_400);
/// By so much the server's clock and ours may differ (S3 itself allows a quarter of an hour), and an upload takes its time.
const SLACK: SignedDuration = SignedDuration::from_hours(1);

/// How objects are to be held.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    mode: S3Lock,
    retain: Duration,
    is_on_hold: bool,
}

/// How an object is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) mode: Option<String>,
    pub(super) until: Option<Timestamp>,
    pub(super) is_on_hold: bool,
    pub(super) put_at: Option<Timestamp>,
}

/// What is not as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The time for which it is kept, or who may shorten that.
    Retention(String),
    /// The mark that keeps it until somebody takes it away.
    Hold,
}

impl Lock {
    pub(super) fn new(config: &S3Config) -> Self {
        let retain = DAY.saturating_mul(u32::try_from(config.retain_days.unwrap_or_default()).unwrap_or(u32::MAX));
        Self { mode: config.lock, retain, is_on_hold: config.legal_hold }
    }

    /// Whether the bucket decides.
    pub(super) fn is_left_to_bucket(&self) -> bool {
        self.mode == S3Lock::Bucket
    }

    /// S3's word for the mode; none where the bucket decides.
    fn word(&self) -> Option<&'static str> {
        match self.mode {
            S3Lock::Compliance => Some("COMPLIANCE"),
            S3Lock::Governance => Some("GOVERNANCE"),
            S3Lock::Bucket => None,
        }
    }

    /// What is sent with an object that is put there now.
    pub(super) fn headers(&self, now: Timestamp) -> Headers {
        let mut headers = Headers::new();
        if let Some(mode) = self.word() {
            headers.insert("x-amz-object-lock-mode", mode.to_owned());
            headers.insert("x-amz-object-lock-retain-until-date", self.until(now));
        }
        if self.is_on_hold {
            headers.insert("x-amz-object-lock-legal-hold", "ON".to_owned());
        }
        headers
    }

    fn until(&self, now: Timestamp) -> String {
        let until = now.checked_add(self.retain).unwrap_or(Timestamp::MAX);
        until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// What is wanting of an object that is there.
    pub(super) fn lacks(&self, held: &Held, now: Timestamp) -> Option<Lack> {
        if let Some(said) = self.lacks_retention(held, now) {
            return Some(Lack::Retention(said));
        }
        (self.is_on_hold && !held.is_on_hold).then_some(Lack::Hold)
    }

    fn lacks_retention(&self, held: &Held, now: Timestamp) -> Option<String> {
        let (Some(mode), Some(until)) = (held.mode.as_deref(), held.until) else {
            return Some("it has no retention, or this key may not see it (s3:GetObjectRetention)".to_owned());
        };
        let put_at = held.put_at.unwrap_or(now);
        let wanted = put_at.checked_add(self.retain).unwrap_or(Timestamp::MAX).checked_sub(SLACK).unwrap_or(now);
        match self.mode {
            S3Lock::Compliance if mode != "COMPLIANCE" => Some(format!("it is held in the mode {mode}")),
            S3Lock::Bucket if until <= now => Some(format!("it was held until {until} only")),
            S3Lock::Compliance | S3Lock::Governance if until < wanted => Some(format!("it is held until {until} only")),
            _ => None,
        }
    }

    /// The body that sets what is wanting.
    pub(super) fn mending(&self, lack: &Lack, now: Timestamp) -> Option<(&'static str, String)> {
        const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
        match lack {
            Lack::Hold => Some(("legal-hold", format!("<LegalHold xmlns=\"{NAMESPACE}\"><Status>ON</Status></LegalHold>"))),
            Lack::Retention(_) => {
                let (mode, until) = (self.word()?, self.until(now));
                let xml =
                    format!("<Retention xmlns=\"{NAMESPACE}\"><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>");
                Some(("retention", xml))
            }
        }
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Retention(said) => f.write_str(said),
            Self::Hold => f.write_str("it has no legal hold, or this key may not see it (s3:GetObjectLegalHold)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn held(mode: &str, until: &str) -> Held {
        Held { mode: Some(mode.to_owned()), until: Some(at(until)), is_on_hold: false, put_at: Some(at("2026-11-01T00:00:00Z")) }
    }

    #[test]
    fn an_object_that_is_held_too_little_is_told() {
        let now = at("2026-11-02T00:00:00Z");
        let lock = |mode, is_on_hold| Lock { mode, retain: DAY * 30, is_on_hold };
        let full = held("COMPLIANCE", "2026-12-01T00:00:00Z");
        let lacks = |lock: &Lock, held: &Held| lock.lacks(held, now).map(|lack| lack.to_string()).unwrap_or_default();
        for mode in [S3Lock::Compliance, S3Lock::Governance, S3Lock::Bucket] {
            assert_eq!(lacks(&lock(mode, false), &full), "");
            assert!(lacks(&lock(mode, true), &full).contains("legal hold"));
            assert!(lacks(&lock(mode, false), &Held::default()).contains("no retention"));
            assert!(lacks(&lock(mode, false), &held("COMPLIANCE", "2026-11-01T12:00:00Z")).contains("only"), "{mode:?}");
        }
        assert!(lacks(&lock(S3Lock::Compliance, false), &held("GOVERNANCE", "2027-12-01T00:00:00Z")).contains("GOVERNANCE"));
        assert!(lacks(&lock(S3Lock::Governance, false), &held("GOVERNANCE", "2026-11-29T00:00:00Z")).contains("only"));
        assert_eq!(lacks(&lock(S3Lock::Bucket, false), &held("GOVERNANCE", "2026-11-03T00:00:00Z")), "");
    }

    #[test]
    fn what_is_asked_for_is_sent() {
        let now = at("2026-11-02T00:00:00Z");
        let lock = Lock { mode: S3Lock::Governance, retain: DAY * 365, is_on_hold: true };
        let sent: Vec<String> = lock.headers(now).into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let expected = [
            "x-amz-object-lock-legal-hold: ON",
            "x-amz-object-lock-mode: GOVERNANCE",
            "x-amz-object-lock-retain-until-date: 2027-11-02T00:00:00Z",
        ];
        assert_eq!(sent, expected);
        assert!(Lock { mode: S3Lock::Bucket, retain: DAY, is_on_hold: false }.headers(now).is_empty());
    }
}
