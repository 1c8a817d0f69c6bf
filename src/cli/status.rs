//! `status`: shows what a running archiver is doing, from the file that it renews beside its spool.
//!
//! The file says when it was written. One that is old, or that an archiver wrote as it stopped, is news of the past: it is said so, and
//! the exit code is 1, so that a script can ask whether the archiver runs.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{ReportFormat, StatusArgs};
use super::output::{self, tell};
use super::{Failure, table};
use crate::config::Config;
use crate::run::STATUS_FILE;
use crate::time::{Micros, now, parse_stamp};

/// A file older than this, or than three times the interval at which it is renewed, was left behind.
const MOST_AGE: Duration = Duration::from_secs(10);
/// The most bytes that are read: a thousand nodes and more fit into it.
const FILE_BYTES: u64 = 16 << 20;
/// Clears the terminal and goes to its upper left corner (ECMA-48).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Runs the command.
pub fn execute(config: Config, args: StatusArgs) -> Result<(), Failure> {
    let file = config.spool.path.join(STATUS_FILE);
    let most_age = MOST_AGE.max(config.run.status_interval * 3);
    loop {
        let report = Report::read(&file, most_age, now());
        let text = report.render(args.format);
        if !args.watch {
            output::print(&text)?;
            return report.verdict();
        }
        let begin = if args.format == ReportFormat::Table { CLEAR } else { "" };
        output::print(&format!("{begin}{text}"))?;
        if let Some(why) = &report.why_not {
            tell(why);
        }
        sleep(config.run.status_interval);
    }
}

/// What the archiver that runs with this configuration says of itself; none if none runs.
pub(crate) fn running(config: &Config) -> Option<Value> {
    let file = config.spool.path.join(STATUS_FILE);
    let report = Report::read(&file, MOST_AGE.max(config.run.status_interval * 3), now());
    report.why_not.is_none().then_some(report.status)
}

/// What the archiver with this configuration said of itself last, and why that is no news of the present, if it is none.
pub(crate) fn look(config: &Config) -> (Value, Option<String>) {
    let file = config.spool.path.join(STATUS_FILE);
    let report = Report::read(&file, MOST_AGE.max(config.run.status_interval * 3), now());
    (report.status, report.why_not)
}

/// What the file says, and whether it can be taken for the present.
struct Report {
    status: Value,
    /// Why the archiver does not run, as far as one can see.
    why_not: Option<String>,
}

impl Report {
    fn read(file: &Path, most_age: Duration, now: Micros) -> Self {
        let shown = file.display();
        let status = match read_json(file) {
            Ok(status) => status,
            Err(error) => {
                let why = format!("no archiver runs with this configuration: {shown} {error}");
                return Self { status: json!({}), why_not: Some(why) };
            }
        };
        let written = status.get("written").and_then(Value::as_str).unwrap_or_default();
        let age = parse_stamp(written).map(|at| Duration::from_micros(u64::try_from(now - at).unwrap_or(0)));
        let why_not = match age {
            _ if text(&status, "state") == "stopped" => Some(format!("the archiver was stopped at {written}")),
            Some(age) if age <= most_age => None,
            _ => Some(format!("the archiver does not run, or hangs: {shown} was last written at {written}")),
        };
        Self { status, why_not }
    }

    fn render(&self, format: ReportFormat) -> String {
        match format {
            ReportFormat::Json => format!("{}\n", self.json()),
            ReportFormat::Table if self.status.get("nodes").is_none() => String::new(),
            ReportFormat::Table => self.tables(),
        }
    }

    /// The file as it is, with whether an archiver stands behind it.
    fn json(&self) -> Value {
        let mut status = self.status.clone();
        if let Some(object) = status.as_object_mut() {
            object.insert("reachable".to_owned(), Value::Bool(self.why_not.is_none()));
        }
        status
    }

    fn tables(&self) -> String {
        let status = &self.status;
        let (state, pid, version) = (text(status, "state"), text(status, "pid"), text(status, "version"));
        let (started, written) = (text(status, "started"), text(status, "written"));
        let mut report = format!("xmpp-archiver {version}, {state}, process {pid}, started {started}, as of {written}\n\n");
        let nodes = ["Node", "Address", "State", "Since", "Stanzas", "Spooled", "Lost", "Forged", "Reconnects", "Gaps"];
        report += &table::render(nodes, list(status, "nodes").iter().map(node_row));
        for node in list(status, "nodes").iter().filter(|node| !text(node, "advice").is_empty()) {
            report += &format!("   {}: {}\n", text(node, "name"), text(node, "advice"));
        }
        for node in list(status, "nodes") {
            for line in [module_line(node), canary_line(node)].into_iter().flatten() {
                report += &format!("   {}: {line}\n", text(node, "name"));
            }
        }
        report.push('\n');
        let stores = ["Store", "Waiting", "Spool", "Limit", "Lag", "Messages", "Copies", "Bounces", "Set aside"];
        report += &table::render(stores, list(status, "stores").iter().map(store_row));
        for store in list(status, "stores") {
            report += &index_line(store).map(|line| format!("   {}: {line}\n", text(store, "name"))).unwrap_or_default();
        }
        report.push('\n');
        let alarms = list(status, "alarms");
        if alarms.is_empty() {
            return report + "No alarms.\n";
        }
        report + &table::render(["Severity", "Alarm", "About", "Since", "Seen", "What to do"], alarms.iter().map(alarm_row))
    }

    /// How the command ends.
    fn verdict(self) -> Result<(), Failure> {
        match self.why_not {
            None => Ok(()),
            Some(why) => Err(Failure::Runtime(why)),
        }
    }
}

fn read_json(file: &Path) -> Result<Value, String> {
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes));
    opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("can't be read: {error}"),
    })?;
    let status: Value = serde_json::from_slice(&bytes).map_err(|error| format!("is no status of an archiver: {error}"))?;
    if status.is_object() { Ok(status) } else { Err("is no status of an archiver".to_owned()) }
}

fn node_row(node: &Value) -> [String; 10] {
    let lost = number(node, "oversize") + number(node, "dropped");
    let forged: u64 = node.get("forged").and_then(Value::as_object).map_or(0, |reasons| reasons.values().filter_map(Value::as_u64).sum());
    [
        text(node, "name"),
        text(node, "address"),
        text(node, "state"),
        text(node, "since"),
        text(node, "stanzas"),
        text(node, "spooled"),
        lost.to_string(),
        forged.to_string(),
        text(node, "reconnects"),
        node.get("gaps").map(|gaps| text(gaps, "open")).unwrap_or_default(),
    ]
}

/// What the node's own module says; nothing where there is none.
fn module_line(node: &Value) -> Option<String> {
    let module = node.get("module").filter(|module| module.get("present") == Some(&Value::Bool(true)))?;
    let [name, version, mode, depth, in_flight] = ["name", "version", "mode", "depth", "in_flight"].map(|key| text(module, key));
    let size = mebibytes(number(module, "bytes"));
    let mut line = format!("module {name} {version}, mode {mode}, {depth} copies in its queue ({size}), {in_flight} of them on the way");
    if number(module, "dropped") > 0 {
        line += &format!(", {} dropped: see the node's log", number(module, "dropped"));
    }
    Some(line)
}

/// How the node's probes fare; nothing where none are written.
fn canary_line(node: &Value) -> Option<String> {
    let canary = node.get("canary").filter(|canary| canary.is_object())?;
    let account = text(canary, "account");
    let last = match canary.get("seconds").and_then(Value::as_f64) {
        Some(seconds) => format!("the last one that came back did at {}, after {seconds:.3} s", text(canary, "returned")),
        None => "none has come back yet".to_owned(),
    };
    let missing = number(canary, "missing_count");
    Some(format!("canary {account}: {last}; {} came back, {missing} did not", number(canary, "returned_count")))
}

fn store_row(store: &Value) -> [String; 9] {
    let empty = Value::Null;
    let spool = store.get("spool").unwrap_or(&empty);
    let counts = store.get("counts").unwrap_or(&empty);
    let lag = store.get("lag_seconds").and_then(Value::as_f64).unwrap_or_default();
    [
        text(store, "name"),
        text(spool, "records"),
        mebibytes(number(spool, "bytes")),
        mebibytes(number(spool, "limit_bytes")),
        format!("{lag:.1} s"),
        text(counts, "messages"),
        text(counts, "deliveries"),
        text(counts, "bounces"),
        text(counts, "quarantined"),
    ]
}

/// How far the index for searches is behind; nothing where it is not.
fn index_line(store: &Value) -> Option<String> {
    let index = store.get("index")?;
    let behind = number(index, "behind");
    (behind > 0).then(|| format!("{behind} messages are not indexed yet: searches find them, but slower"))
}

fn alarm_row(alarm: &Value) -> [String; 6] {
    let seen = if alarm.get("acknowledged").and_then(Value::as_bool) == Some(true) { "yes" } else { "" };
    let [severity, name, subject, since, what] = ["severity", "name", "subject", "since", "text"].map(|key| text(alarm, key));
    [severity, name, subject, since, seen.to_owned(), what]
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn number(object: &Value, key: &str) -> u64 {
    object.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// A value as people read it; nothing where there is none.
fn text(object: &Value, key: &str) -> String {
    match object.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn list<'v>(object: &'v Value, key: &str) -> &'v [Value] {
    object.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{SECOND, rfc3339};

    const NOW: Micros = 1_795_332_535_000_000;
    const TEN_SECONDS: Duration = MOST_AGE;

    fn status(state: &str, age: Micros) -> Value {
        json!({
            "state": state, "pid": 7, "version": "0.1.0", "started": rfc3339(NOW - 60 * SECOND), "written": rfc3339(NOW - age),
            "nodes": [{
                "name": "main", "address": "127.0.0.1:5347", "domain": "archive.example.com", "state": "down", "since": rfc3339(NOW),
                "advice": "the secret is wrong", "stanzas": 12, "bytes": 900, "reconnects": 0, "violations": 0, "spooled": 5,
                "oversize": 1, "dropped": 2, "unreadable": 0, "skipped": {"iq": 7}, "forged": {"a": 1, "b": 3}, "gaps": {"open": 6, "oldest": null},
                "module": {"present": true, "name": "prosody", "version": "0.1.0", "mode": "observe", "depth": 4, "bytes": 0, "in_flight": 3, "dropped": 9},
                "canary": {"account": "canary@h", "returned": rfc3339(NOW), "seconds": 0.0421, "returned_count": 8, "missing_count": 1},
            }],
            "stores": [{
                "name": "default", "committed_seq": 4, "lag_seconds": 2.25,
                "spool": {"records": 1, "bytes": 2_097_152, "limit_bytes": 10_485_760, "paused": false, "error": null},
                "counts": {"messages": 2, "deliveries": 4, "bounces": 0, "quarantined": 0},
            }],
            "alarms": [{
                "name": "store-unreachable", "severity": "critical", "subject": "default", "text": "start it", "since": rfc3339(NOW),
                "times": 1, "acknowledged": true,
            }],
        })
    }

    fn report(content: &str) -> Report {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(STATUS_FILE);
        std::fs::write(&file, content).unwrap();
        Report::read(&file, TEN_SECONDS, NOW)
    }

    #[test]
    fn a_fresh_file_is_shown_as_tables() {
        let report = report(&status("running", SECOND).to_string());
        let text = report.render(ReportFormat::Table);
        for part in [
            "module prosody 0.1.0, mode observe, 4 copies",
            "9 dropped",
            "main: canary canary@h: the last one that came back did at 2026-11-22T07:28:55.000000Z, after 0.042 s; 8 came back, 1 did not",
            "process 7",
            "main",
            "127.0.0.1:5347",
            "the secret is wrong",
            "2.0 MiB",
            "2.2 s",
            "critical",
            "store-unreachable",
            "yes",
            "start it",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let node = text.lines().find(|line| line.contains("127.0.0.1")).unwrap();
        let columns: Vec<&str> = node.split_whitespace().collect();
        assert_eq!(columns[4..], ["12", "5", "3", "4", "0", "6"]);
        assert!(report.verdict().is_ok());
    }

    #[test]
    fn json_is_the_file_with_whether_the_archiver_runs() {
        for (age, reachable) in [(SECOND, true), (11 * SECOND, false)] {
            let mut expected = status("running", age);
            expected["reachable"] = Value::Bool(reachable);
            let shown: Value = serde_json::from_str(&report(&expected.to_string()).render(ReportFormat::Json)).unwrap();
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn what_does_not_run_is_said_not_to() {
        let stopped = report(&status("stopped", SECOND).to_string());
        let old = report(&status("running", 11 * SECOND).to_string());
        let broken = report("[]");
        let absent = Report::read(Path::new("/nonexistent/status.json"), TEN_SECONDS, NOW);
        for (report, said) in [(stopped, "was stopped"), (old, "last written"), (broken, "no status"), (absent, "is not there")] {
            assert!(report.render(ReportFormat::Json).contains(r#""reachable":false"#));
            let failure = report.verdict().unwrap_err();
            assert_eq!(failure.exit_code(), 1);
            assert!(failure.to_string().contains(said), "{failure}");
        }
    }

    #[test]
    fn a_slow_interval_makes_no_running_archiver_absent() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(STATUS_FILE);
        std::fs::write(&file, status("running", 60 * SECOND).to_string()).unwrap();
        assert!(Report::read(&file, Duration::from_secs(90), NOW).why_not.is_none());
    }

    #[test]
    fn without_alarms_it_says_so() {
        let mut calm = status("running", 0);
        calm["alarms"] = json!([]);
        assert!(report(&calm.to_string()).render(ReportFormat::Table).ends_with("No alarms.\n"));
    }
}
