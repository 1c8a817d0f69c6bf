//! What was not read from its beginning to its end closes no gap.

use serde_json::Value;
use xmpp_archiver::history::place::{Place, State};
use xmpp_archiver::time::{Micros, SECOND, now, rfc3339};

use super::nodes::{Secret, number};
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::played::Played;
use crate::support::process::PATIENCE;

const HOUR: Micros = 3_600 * SECOND;

fn played() -> (Played, Archiver) {
    let node = Played::new("node", "archive.h.example", "h.example", "rooms.h.example", "auto");
    let archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    archiver.must(&["migrate", "up"]);
    archiver.store.query("INSERT INTO nodes (id, name) VALUES (1, 'node')");
    (node, archiver)
}

fn open_gap(archiver: &Archiver, id: u32, from: Micros, to: Micros) {
    archiver.store.query(&format!(
        "INSERT INTO gaps (id, node_id, from_at, to_at, reason, state, found, known, changed_at) VALUES ({id}, 1, {from}, {to}, 1, 1, 0, 0, {to})"
    ));
}

fn states(archiver: &Archiver) -> String {
    archiver.store.query("SELECT state FROM gaps ORDER BY id").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An archive in Prosody's own files with one message for each of these times.
fn list(archiver: &Archiver, user: &str, times: &[Micros]) {
    let place = archiver.spool().join("prosody/h%2eexample/archive");
    std::fs::create_dir_all(&place).expect("the directory");
    let items = times.iter().map(|at| {
        let seconds = at / SECOND;
        format!(
            "item({{ [\"key\"] = \"{user}{seconds}\"; [\"when\"] = {seconds}; [\"name\"] = \"message\"; [\"attr\"] = {{ [\"from\"] = \"x@h.example/d\"; \
             [\"to\"] = \"{user}@h.example\" }}; {{ [\"name\"] = \"body\"; [\"attr\"] = {{}}; \"for {user} at {seconds}\" }} }});\n"
        )
    });
    std::fs::write(place.join(format!("{user}.list")), items.collect::<String>()).expect("the file");
}

/// It is broken off in the second of three files, and there is another outage before it is gone on with.
#[test]
fn what_is_gone_on_with_ends_where_it_would_have() {
    let (_node, archiver) = played();
    let from = now() / SECOND * SECOND - 24 * HOUR;
    let until = from + 3 * HOUR;
    open_gap(&archiver, 1, from + HOUR, from + 2 * HOUR);
    open_gap(&archiver, 2, from + 5 * HOUR, from + 6 * HOUR);
    list(&archiver, "alice", &[from + HOUR, from + 5 * HOUR]);
    list(&archiver, "bob", &[from + HOUR]);
    list(&archiver, "carol", &[from + HOUR + SECOND, from + 5 * HOUR + SECOND]);
    let data = archiver.spool().join("prosody").canonicalize().expect("the directory");
    let (data, first) = (data.display().to_string(), rfc3339(from));
    let what = format!("prosody-files {data}");
    let position = Some("h.example/archive/bob.list|1".to_owned());
    let state = State { what: what.clone(), from: Some(from), until, position, read: 2, ..State::default() };
    Place::new(&archiver.spool(), "main", "node", &what).note(&state).expect("noted");
    let backfill = || -> Value {
        let told = archiver.must(&["backfill", "--source", "prosody-files", "--path", &data, "--from", &first, "--format", "json"]);
        serde_json::from_str(&told).expect("a JSON object")
    };
    let told = backfill();
    assert_eq!((number(&told, "read"), number(&told, "read_before"), told["read_to"].as_str()), (1, 2, Some(rfc3339(until).as_str())));
    assert_eq!(states(&archiver), "2 1", "{told}");
    let again = backfill();
    assert_eq!((number(&again, "read"), number(&again, "added"), &again["read_to"]), (5, 4, &Value::Null), "{again}");
    assert_eq!(states(&archiver), "2 2", "{again}");
}

/// A service that does not tell its rooms may have any.
#[test]
fn rooms_that_are_not_told_are_not_read() {
    let (mut node, archiver) = played();
    let at = now() - HOUR;
    open_gap(&archiver, 1, at, at + SECOND);
    let secret = Secret::file();
    std::fs::write(secret.path(), "s3cret").expect("the secret");
    let whom = ["--component", "archive.h.example", "--secret-file", secret.path(), "--all-rooms", "--all-accounts"];
    let arguments = [&["backfill", "--source", "mam", "--from", "-1d", "--format", "json"], &whom[..]].concat();
    let told = std::thread::scope(|scope| {
        let command = scope.spawn(|| archiver.command(&arguments));
        node.accept();
        while let Some(Some(stanza)) = node.heard_or_closed(PATIENCE) {
            if let Some(answer) = answer(&stanza) {
                node.send(&answer);
            }
        }
        command.join().expect("the command")
    });
    let report: Value = serde_json::from_slice(&told.stdout).expect("a JSON object");
    assert_eq!(told.status.code(), Some(3), "{report}");
    assert!(report["not_read"][0].as_str().is_some_and(|trouble| trouble.contains("rooms.h.example")), "{report}");
    assert_eq!(states(&archiver), "3");
}

/// What the node says to this: it sends back what is for the component itself, has no accounts, and refuses all else.
fn answer(stanza: &str) -> Option<String> {
    let id = stanza.split_once("id='")?.1.split_once('\'')?.0;
    if stanza.starts_with("<message") {
        return Some(format!("<message id='{id}'/>"));
    }
    let to = stanza.split_once(" to='")?.1.split_once('\'')?.0;
    Some(match stanza.contains("<archives") {
        true => format!("<iq type='result' id='{id}' from='{to}'><archives xmlns='urn:xmpp-archiver:mam:0'/></iq>"),
        false => format!(
            "<iq type='error' id='{id}' from='{to}'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        ),
    })
}
