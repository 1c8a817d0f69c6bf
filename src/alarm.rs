//! Named alarms: something is wrong, an operator should act, and later it is right again.
//!
//! An alarm has a name, a subject (which node, which store) and a text that says what to do. It is raised once and cleared
//! once, however often the trouble is met in between; each change goes to the log, and what is raised shows in `status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::time::{Micros, now, rfc3339};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// A store can't be reached, or can't write.
    StoreUnreachable,
    /// The tables are not those of this version.
    StoreSchema,
    /// A store refused a record, which was set aside.
    RecordQuarantined,
    /// A spool holds as much as it may, or its disk is full.
    SpoolFull,
    /// Records of a spool were damaged on disk.
    SpoolDamaged,
    /// A stanza was larger than the limit and is lost.
    StanzaOversize,
    /// Stanzas were dropped because the spool was full.
    StanzasDropped,
    /// Messages of a node may have been missed, and nobody has seen to it yet.
    GapOpened,
}

/// One alarm that is raised.
#[derive(Clone, Debug, Serialize)]
pub struct Raised {
    /// Its name.
    pub name: Name,
    /// The node or store that it is about.
    pub subject: String,
    /// What happened and what to do.
    pub text: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// By name and subject: the text, and since when.
type ByNameAndSubject = BTreeMap<(Name, String), (String, Micros)>;

/// The alarms of this process.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    raised: Arc<Mutex<ByNameAndSubject>>,
}

impl Alarms {
    /// Raises an alarm, or renews the text of one that is raised.
    pub fn raise(&self, name: Name, subject: &str, text: &str) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let known = raised.insert((name, subject.to_owned()), (text.to_owned(), now()));
        match known {
            None => log::error!("alarm {} raised for {subject}: {text}", label(name)),
            Some((before, since)) => {
                raised.insert((name, subject.to_owned()), (text.to_owned(), since));
                if before != text {
                    log::warn!("alarm {} goes on for {subject}: {text}", label(name));
                }
            }
        }
    }

    /// Clears an alarm, if it is raised.
    pub fn clear(&self, name: Name, subject: &str) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if raised.remove(&(name, subject.to_owned())).is_some() {
            log::info!("alarm {} cleared for {subject}", label(name));
        }
    }

    /// What is raised now.
    pub fn raised(&self) -> Vec<Raised> {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |((name, subject), (text, since)): (&(Name, String), &(String, Micros))| Raised {
            name: *name,
            subject: subject.clone(),
            text: text.clone(),
            since: rfc3339(*since),
        };
        raised.iter().map(show).collect()
    }
}

/// The name as it is written in logs and in `status`.
fn label(name: Name) -> String {
    serde_json::to_value(name).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_raised_and_cleared_once() {
        let alarms = Alarms::default();
        alarms.raise(Name::StoreUnreachable, "main", "first");
        alarms.raise(Name::StoreUnreachable, "main", "second");
        let raised = alarms.raised();
        assert_eq!((raised.len(), raised[0].text.as_str()), (1, "second"));
        alarms.clear(Name::StoreUnreachable, "main");
        assert!(alarms.raised().is_empty());
    }
}
