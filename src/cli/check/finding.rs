//! What a check found.

use std::fmt;

use serde::Serialize;

/// How a check ended, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, but something should be mended.
    Warn,
    /// It does not work.
    Fail,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) subject: String,
    /// What about it.
    pub(super) check: &'static str,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) found: String,
    /// What to do, if there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// All checks so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// In the order in which they were made.
    pub(super) all: Vec<Finding>,
}

/// Takes the checks of one subject.
pub(super) struct About<'a> {
    subject: String,
    all: &'a mut Vec<Finding>,
}

impl Findings {
    pub(super) fn about(&mut self, subject: impl Into<String>) -> About<'_> {
        About { subject: subject.into(), all: &mut self.all }
    }
}

impl About<'_> {
    pub(super) fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Outcome::Ok, found.into(), None);
    }

    pub(super) fn warn(&mut self, check: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Outcome::Warn, found.into(), Some(advice.into()));
    }

    pub(super) fn fail(&mut self, check: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Outcome::Fail, found.into(), Some(advice.into()));
    }

    fn add(&mut self, check: &'static str, outcome: Outcome, found: String, advice: Option<String>) {
        self.all.push(Finding { subject: self.subject.clone(), check, outcome, found, advice });
    }
}
