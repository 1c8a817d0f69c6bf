//! An alarm in words for people, and in JSON for programs.

use serde_json::{Value, json};

use crate::alarm::{Change, Event};
use crate::time::rfc3339;

/// One line: what, about whom.
pub(super) fn headline(change: &Change) -> String {
    let Change { name, subject, severity, event, .. } = change;
    let word = match event {
        Event::Raised => severity.label().to_uppercase(),
        Event::Cleared => "cleared".to_owned(),
        Event::Test => "test".to_owned(),
    };
    format!("{word}: {name} ({subject})")
}

/// A few lines: what, what to do, and since when.
pub(super) fn body(change: &Change) -> String {
    let (headline, since) = (headline(change), rfc3339(change.since));
    match change.event {
        Event::Raised => format!("{headline}\n{}\nSince {since}.", change.text),
        Event::Cleared => {
            format!("{headline}\nIt is right again since {}. It had been raised at {since}: {}", rfc3339(change.at), change.text)
        }
        Event::Test => format!("{headline}\n{}", change.text),
    }
}

/// The object that a webhook is sent.
pub(super) fn json(change: &Change) -> Value {
    json!({
        "event": change.event.label(),
        "name": change.name,
        "severity": change.severity.label(),
        "subject": change.subject,
        "text": change.text,
        "since": rfc3339(change.since),
        "at": rfc3339(change.at),
        "archiver": env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::Severity;

    #[test]
    fn people_and_programs_are_told_the_same() {
        let at = 1_795_332_535_173_794;
        let change = Change {
            event: Event::Raised,
            name: "store-unreachable",
            severity: Severity::Critical,
            subject: "main".to_owned(),
            text: "bring it back".to_owned(),
            since: at,
            at,
        };
        assert_eq!(body(&change), "CRITICAL: store-unreachable (main)\nbring it back\nSince 2026-11-22T07:28:55.173794Z.");
        let cleared = Change { event: Event::Cleared, ..change.clone() };
        assert!(body(&cleared).starts_with("cleared: store-unreachable (main)\nIt is right again"));
        let json = json(&change);
        assert_eq!((json["event"].as_str(), json["severity"].as_str()), (Some("raised"), Some("critical")));
    }
}
