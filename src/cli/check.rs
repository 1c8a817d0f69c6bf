//! `check`: tries the configuration out, and says for each problem what to do about it.
//!
//! Every check makes one [`Finding`]. They run in the order in which a message walks: configuration, nodes, spool, databases, exports, console. A check
//! that can't be made (no network, no database) leaves out those that hang on it; the others go on.

mod bucket;
mod database;
mod disk;
mod export;
mod finding;
mod module;
mod node;

use std::path::Path;

use serde::Serialize;

use self::finding::{Finding, Findings, Outcome};
use super::args::{CheckArgs, ReportFormat};
use super::{Failure, connect, output, table};
use crate::config::{Config, WebConfig};
use crate::time::{self, Micros};

/// No clock that is right shows a time before this one: 2026-01-01.
const EARLIEST: Micros = 1_767_225_600 * time::SECOND;
/// Nor one after this: 2100-01-01.
const LATEST: Micros = 4_102_444_800 * time::SECOND;

/// Runs the command.
pub fn execute(config: Config, args: CheckArgs) -> Result<(), Failure> {
    let findings = connect::block_on(async { Ok(gather(&config, args.offline).await) })?;
    output::print(&match args.format {
        ReportFormat::Table => as_table(&findings),
        ReportFormat::Json => as_json(&findings)?,
    })?;
    match worst(&findings) {
        Outcome::Fail => Err(Failure::ProblemFound),
        Outcome::Ok | Outcome::Warn => Ok(()),
    }
}

async fn gather(config: &Config, offline: bool) -> Vec<Finding> {
    let mut findings = Findings::default();
    check_configuration(config, &mut findings);
    check_clock(time::now(), &mut findings);
    let status = super::status::running(config);
    for node in &config.nodes {
        node::check(node, offline, status.as_ref(), &mut findings).await;
    }
    for store in &config.stores {
        disk::check_spool(&config.spool, store, &mut findings);
    }
    for store in &config.stores {
        disk::check_database_file(store, &mut findings);
        database::check(store, offline, &mut findings).await;
    }
    for export in &config.exports {
        export::check(config, export, offline, &mut findings).await;
    }
    tell_places(&config.web, &mut findings);
    findings.all
}

fn check_configuration(config: &Config, findings: &mut Findings) {
    let mut about = findings.about("configuration");
    let from = config
        .file
        .as_ref()
        .map_or_else(|| "environment and defaults, no file".to_owned(), |file| disk::absolute(file).display().to_string());
    about.ok("syntax", from);
    about.ok("relative paths", format!("begin in the working directory, {}", disk::absolute(Path::new(".")).display()));
    for warning in &config.warnings {
        about.warn("warning", warning.clone(), "mend it in the configuration");
    }
    if config.nodes.is_empty() {
        about.warn("nodes", "there is no [[node]]", "add one for each IM node; without any, this machine can search but not archive");
    }
}

/// Where the console has its files, which is not judged: it may be a process of its own, with another user.
fn tell_places(web: &WebConfig, findings: &mut Findings) {
    let mut about = findings.about("console");
    about.ok("key file", disk::absolute(&web.key_file).display().to_string());
    about.ok("exports", disk::absolute(&web.exports).display().to_string());
}

/// A wrong clock puts messages into the wrong time, which nobody can mend later.
fn check_clock(now: Micros, findings: &mut Findings) {
    let mut about = findings.about("this machine");
    let shown = time::rfc3339(now);
    match (EARLIEST..LATEST).contains(&now) {
        true => about.ok("clock", shown),
        false => about.fail("clock", format!("it is {shown}"), "set the clock and keep it right with NTP (chrony, systemd-timesyncd)"),
    }
}

fn worst(findings: &[Finding]) -> Outcome {
    findings.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Ok)
}

fn as_table(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|finding| {
        let Finding { subject, check, outcome, found, advice } = finding;
        [outcome.to_string(), subject.clone(), (*check).to_owned(), found.clone(), advice.clone().unwrap_or_default()]
    });
    let table = table::render(["RESULT", "OF", "CHECK", "FOUND", "WHAT TO DO"], rows);
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    format!("{table}\n{} ok, {} warnings, {} failed\n", count(Outcome::Ok), count(Outcome::Warn), count(Outcome::Fail))
}

#[derive(Serialize)]
struct Report<'a> {
    result: Outcome,
    findings: &'a [Finding],
}

fn as_json(findings: &[Finding]) -> Result<String, Failure> {
    let report = Report { result: worst(findings), findings };
    let json = serde_json::to_string_pretty(&report).map_err(|error| Failure::Runtime(format!("the report: {error}")))?;
    Ok(json + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path, more: &str) -> Config {
        let text = format!(
            "[spool]\npath = '{0}/spool'\nlimit = '32 MiB'\nsegment = '16 MiB'\n[[store]]\nname = 'main'\nurl = 'sqlite:{0}/a.sqlite'\n{more}",
            directory.display()
        );
        Config::from_text(&text, None, std::iter::empty()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn run(config: &Config, offline: bool) -> Vec<Finding> {
        connect::block_on(async { Ok(gather(config, offline).await) }).unwrap()
    }

    fn outcome(findings: &[Finding], subject: &str, check: &str) -> Option<Outcome> {
        findings.iter().find(|finding| finding.subject == subject && finding.check == check).map(|finding| finding.outcome)
    }

    #[test]
    fn an_absent_database_is_told_and_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let findings = run(&config(directory.path(), ""), false);
        assert_eq!(outcome(&findings, "store main", "migrations"), Some(Outcome::Fail));
        assert_eq!(outcome(&findings, "configuration", "nodes"), Some(Outcome::Warn));
        assert!(!directory.path().join("a.sqlite").exists());
    }

    #[test]
    fn a_migrated_database_passes() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "");
        connect::block_on(async {
            let mut connection = connect::open(&config.stores[0]).await?;
            crate::store::migrations::up(&mut connection, None).await.unwrap();
            Ok(())
        })
        .unwrap();
        let findings = run(&config, false);
        for check in ["connection", "version", "encoding", "rights", "migrations", "durability"] {
            assert_eq!(outcome(&findings, "store main", check), Some(Outcome::Ok), "{check}: {findings:#?}");
        }
    }

    #[test]
    fn a_node_without_port_or_secret_fails() {
        let directory = tempfile::tempdir().unwrap();
        // A port that was just free: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let node = format!(
            "[[node]]\nname = 'n'\naddress = '127.0.0.1:{port}'\ndomain = 'archive.example'\nhosts = ['example']\nsecret_file = '{}/none'",
            directory.path().display()
        );
        let config = config(directory.path(), &node);
        let findings = run(&config, false);
        assert_eq!(outcome(&findings, "node n", "secret"), Some(Outcome::Fail));
        assert_eq!(outcome(&findings, "node n", "attach"), Some(Outcome::Fail));
        assert_eq!(outcome(&run(&config, true), "node n", "attach"), None);
    }

    fn found<'f>(findings: &'f [Finding], subject: &str, check: &str) -> Vec<&'f str> {
        let of_it = findings.iter().filter(|finding| finding.subject == subject && finding.check == check);
        of_it.map(|finding| finding.found.as_str()).collect()
    }

    #[test]
    fn files_are_told_by_their_whole_paths() {
        let text = "[spool]\npath = 'no-such/spool'\n[[store]]\nname = 'main'\nurl = 'sqlite:no-such/a.sqlite'\n[[export]]\npath = 'no-such/journal'";
        let config = Config::from_text(text, None, std::iter::empty()).unwrap();
        let findings = run(&config, true);
        let here = std::env::current_dir().unwrap();
        for (subject, check, path) in [
            ("configuration", "relative paths", ""),
            ("spool main", "directory", "no-such/spool/main"),
            ("store main", "directory", "no-such"),
            ("store main", "migrations", "no-such/a.sqlite"),
            ("export export", "directory", "no-such/journal"),
            ("console", "key file", "access.key"),
            ("console", "exports", "exports"),
        ] {
            let whole = here.join(path).display().to_string();
            let found = found(&findings, subject, check);
            assert!(found.len() == 1 && found[0].contains(whole.trim_end_matches('/')), "{subject}, {check}: {found:?}");
        }
    }

    #[test]
    fn a_node_of_an_export_that_nobody_knows_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let more = format!(
            "[[node]]\nname = 'here'\naddress = '127.0.0.1:1'\ndomain = 'a.example'\nhosts = ['example']\nsecret = 's'\n\
             [[export]]\nname = 'journal'\nquery = 'node=here&node=former,formr'\npath = '{}/journal'",
            directory.path().display()
        );
        let config = config(directory.path(), &more);
        let told =
            |findings: &[Finding]| found(findings, "export journal", "nodes").iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let unknown = |name: &str| format!("neither the configuration nor the archive knows a node {name:?}");
        assert_eq!(told(&run(&config, true)), [unknown("former"), unknown("formr")]);
        assert!(!directory.path().join("a.sqlite").exists());
        connect::block_on(async {
            let mut connection = connect::open(&config.stores[0]).await?;
            crate::store::migrations::up(&mut connection, None).await.unwrap();
            connection.batch("INSERT INTO nodes(id, name) VALUES(1, 'former')").await.unwrap();
            Ok(())
        })
        .unwrap();
        let findings = run(&config, true);
        assert_eq!(told(&findings), [unknown("formr")]);
        assert_eq!(outcome(&findings, "export journal", "nodes"), Some(Outcome::Warn));
    }

    #[test]
    fn a_clock_that_was_never_set_fails() {
        let mut findings = Findings::default();
        check_clock(0, &mut findings);
        check_clock(EARLIEST, &mut findings);
        let outcomes: Vec<Outcome> = findings.all.iter().map(|finding| finding.outcome).collect();
        assert_eq!(outcomes, [Outcome::Fail, Outcome::Ok]);
    }

    #[test]
    fn reports_hold_each_finding() {
        let mut findings = Findings::default();
        findings.about("store main").fail("version", "5.7", "upgrade it");
        let json: serde_json::Value = serde_json::from_str(&as_json(&findings.all).unwrap()).unwrap();
        assert_eq!(json["result"], "fail");
        assert_eq!(json["findings"][0]["advice"], "upgrade it");
        assert!(as_table(&findings.all).ends_with("0 ok, 0 warnings, 1 failed\n"));
    }
}
