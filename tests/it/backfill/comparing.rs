//! `reconcile` says exactly what of the node's own archive is missing, tells the running archiver, and nothing is missing after a backfill.

use std::sync::Arc;

use serde_json::Value;
use xmpp_archiver::time::{now, rfc3339};

use super::nodes::{Outage, Secret, number};
use crate::support::archiver::StoreKind;
use crate::support::client::Client;
use crate::support::node::{Keeps, Kind, Node};
use crate::support::postgres::Postgres;
use crate::support::process::{PATIENCE, try_for};
use crate::support::prosody::ARCHIVE_FILE;

#[test]
fn prosody_with_sqlite() {
    let node = Node::start_keeping(Kind::Prosody, &Keeps::Sqlite);
    let url = format!("sqlite:{}", node.data().join(ARCHIVE_FILE).display());
    check(&Outage::play(node, StoreKind::MariaDb), &["--source", "prosody-sql", "--url", &url]);
}

#[test]
fn prosody_by_protocol() {
    let node = Node::start(Kind::Prosody);
    let (component, secret) = (format!("backfill.{}", node.host), Secret::file());
    let whom = ["--component", &component, "--secret-file", secret.path(), "--all-rooms", "--all-accounts"];
    check(&Outage::play(node, StoreKind::Sqlite), &[&["--source", "mam"], &whom[..]].concat());
}

#[test]
fn ejabberd_with_postgres() {
    let server = Arc::new(Postgres::start());
    let database = server.new_database();
    let node = Node::start_keeping(Kind::Ejabberd, &Keeps::Postgres(database.clone()));
    check(&Outage::play(node, StoreKind::Postgres), &["--source", "ejabberd-sql", "--url", &database.url()]);
}

/// A source that is not there is a failure, and no comparison; what concerns it needs one.
#[test]
fn without_a_source_that_answers() {
    let node = Node::start(Kind::Prosody);
    let archiver = crate::support::archiver::Archiver::new(StoreKind::Sqlite, &[&node]);
    for (arguments, code) in [(["--url", "sqlite:gone"].as_slice(), 2), (&["--source", "prosody-sql", "--url", "sqlite:gone"], 1)] {
        let output = archiver.command(&[&["reconcile", "--format", "json"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).contains("\"own_archive_error\":\"the source: "), code == 1);
    }
}

fn check(outage: &Outage, source: &[&str]) {
    let missed: Vec<String> = outage.spoken.borrow().iter().filter(|one| one.was_missed).map(|one| one.body.clone()).collect();
    let before = outage.stage.archived();
    let (code, found) = compared(outage, source);
    let listed = found["own_archive"]["first_missing"].as_array().expect("a list").clone();
    assert_eq!((code, listed.len() as u64), (3, number(&found["own_archive"], "missing")), "{found:#}");
    assert_eq!(outage.stage.archived(), before, "nothing is stored by comparing");
    let is_raised = |status: &Value, wanted| {
        let alarms = status["alarms"].as_array().expect("alarms");
        alarms.iter().any(|alarm| alarm["name"] == "reconcile-mismatch") == wanted
    };
    outage.stage.archiver.borrow().wait_until("the alarm", |status| is_raised(status, true));

    let told = fetched(outage, source, found["own_archive"]["backfill"].as_str().expect("a command"));
    assert_eq!(number(&told, "added"), listed.len() as u64, "{told}\n{found:#}");
    let mut named: Vec<String> = listed.iter().filter_map(|missing| body(outage, missing)).collect();
    named.sort();
    assert_eq!(named, sorted(missed), "{found:#}");

    let people = ["alice", "bob"].map(|user| outage.stage.enter(user, "again"));
    let [alice, bob] = &people;
    let room = outage.stage.room("gap");
    alice.join(&room, "Alice2");
    bob.join(&room, "Bob2");
    talk_live(outage, [alice, bob], &room);
    let (code, found) = compared(outage, source);
    let own = &found["own_archive"];
    let sum = |name: &str| own["days"].as_array().expect("days").iter().map(|day| number(day, name)).sum::<u64>();
    assert_eq!((code, found["ok"].as_bool(), sum("missing"), sum("unreadable")), (0, Some(true), 0, 0), "{found:#}");
    let rows = outage.stage.archiver.borrow().search().len() as u64;
    assert_eq!((sum("messages"), sum("here") + sum("only_here")), (sum("here"), rows), "{found:#}");
    assert!(sum("here") >= outage.spoken.borrow().len() as u64, "{found:#}");
    outage.stage.archiver.borrow().wait_until("the alarm to be cleared", |status| is_raised(status, false));
}

/// Does what the report advises; a password it does not know.
fn fetched(outage: &Outage, source: &[&str], command: &str) -> Value {
    let words: Vec<&str> = command.split(' ').collect();
    let Some(["xmpp-archiver", "--config", _, arguments @ ..]) = (!command.contains("(hidden)")).then_some(&words[..]) else {
        return outage.backfill(source);
    };
    let told = outage.stage.archiver.borrow().must(&[arguments, &["--format", "json"]].concat());
    serde_json::from_str(&told).expect("a JSON object")
}

fn talk_live(outage: &Outage, people: [&std::rc::Rc<Client>; 2], room: &str) {
    outage.talk(&people, room, "fourth");
    outage.stage.settle();
}

/// Compares, once all that was said until now can be.
fn compared(outage: &Outage, source: &[&str]) -> (i32, Value) {
    let said = rfc3339(now());
    let compare = || {
        let arguments = [&["reconcile", "--format", "json", "--missing", "1000"], source].concat();
        let output = outage.stage.archiver.borrow().command(&arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{output:?}"));
        let until = told["own_archive"]["to"].as_str().map(str::to_owned).unwrap_or_default();
        (until > said).then(|| (output.status.code().expect("a code"), told))
    };
    try_for(PATIENCE, compare).expect("a comparison of all that was said")
}

/// What a missing message said, now that it is here; none for a marker that came too early.
fn body(outage: &Outage, missing: &Value) -> Option<String> {
    let id = missing["stanza_id"].as_str().expect("an id");
    let found = outage.stage.archiver.borrow().must(&["search", "--id", id, "--format", "jsonl"]);
    let archive = missing["archive"].as_str().expect("an archive");
    let rows = found.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row"));
    // Another archive may have given the same id to another message.
    let is_it = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        row["via"] == "backfill" && [text("sender"), text("recipient"), text("room")].iter().any(|jid| jid == archive)
    };
    let row = rows.into_iter().find(is_it).unwrap_or_else(|| panic!("{missing} is not here: {found}"));
    let body = row["body"].as_str().expect("a body").to_owned();
    (!body.starts_with("marker-")).then_some(body)
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}
