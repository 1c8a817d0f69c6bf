//! The index beside a running archiver: it trails what is stored, hears of late copies, and the command line finds all of it.

use serde_json::Value;

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::mirrored::Written;
use crate::support::played::Played;
use crate::support::process::{PATIENCE, try_for};

fn in_room(to: &str, body: &str, id: &str) -> String {
    Written::groupchat("room@m.h/Al", to, body).id(id).stanza_id("room@m.h", id).by_firewall("h")
}

fn found(archiver: &Archiver, arguments: &[&str]) -> Vec<String> {
    let lines = archiver.must(&[&["search", "--format", "jsonl"], arguments].concat());
    let body = |line: &str| serde_json::from_str::<Value>(line).expect("an object")["body"].as_str().expect("a body").to_owned();
    lines.lines().map(body).collect()
}

fn wait_until_indexed(archiver: &Archiver) {
    archiver.wait_until_stored();
    let is_done = || {
        let status: Value = serde_json::from_str(&archiver.must(&["index", "status", "--format", "json"])).expect("an object");
        let store = &status["stores"][0];
        (store["behind"] == 0 && store["late"] == 0 && store["last_id"].as_i64() > Some(0)).then_some(())
    };
    try_for(PATIENCE, is_done).expect("the index catches up");
}

fn trails_the_writer(kind: StoreKind) {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "prosody");
    let mut archiver = Archiver::for_played(kind, "", &[&node]);
    archiver.start();
    node.accept();
    let direct = Written::chat("alice@h/desk", "bob@h", "The Größe of 你好吗 👍").id("d1").by_firewall("h");
    node.mirror(&[direct.clone(), direct, in_room("bob@h/phone", "minutes of the meeting", "r1")]);
    wait_until_indexed(&archiver);
    assert_eq!(found(&archiver, &["grosse 好 👍"]), ["The Größe of 你好吗 👍"]);
    assert_eq!(found(&archiver, &["\"the meeting\"", "--room", "room@m.h"]), ["minutes of the meeting"]);
    assert_eq!(found(&archiver, &["meet", "--substring"]), ["minutes of the meeting"]);
    assert!(found(&archiver, &["meet"]).is_empty());
    assert!(found(&archiver, &["--participant", "carol@h"]).is_empty());
    // Somebody of whom nothing was known when the message was indexed.
    node.mirror(&[in_room("carol@h/pad", "minutes of the meeting", "r1")]);
    archiver.wait_until_stored();
    assert_eq!(found(&archiver, &["--participant", "carol@h"]), ["minutes of the meeting"]);
    wait_until_indexed(&archiver);
    assert_eq!(found(&archiver, &["--recipient", "carol@h", "minut*"]), ["minutes of the meeting"]);
    assert_eq!(archiver.must(&["search", "--count", "--participant", "@h"]), "2\n");
    archiver.must(&["index", "rebuild"]);
    assert_eq!(found(&archiver, &["--recipient", "carol@h", "minut*"]), ["minutes of the meeting"]);
    one_message_whole(&archiver);
    archiver.stop();
}

fn one_message_whole(archiver: &Archiver) {
    let context: Value =
        serde_json::from_str(&archiver.must(&["search", "minutes", "--context", "2", "--format", "jsonl"])).expect("an object");
    assert_eq!(context["message"]["body"], "minutes of the meeting");
    let id = context["message"]["id"].to_string();
    let whole: Value = serde_json::from_str(&archiver.must(&["show", "--id", &id, "--format", "jsonl"])).expect("an object");
    let copies = whole["message"]["deliveries"].as_array().expect("copies");
    assert_eq!(copies.len(), 2);
    let text = archiver.must(&["show", "--id", &id]);
    assert!(text.contains("minutes of the meeting") && text.contains("carol@h/pad"), "{text}");
    let mistake = archiver.command(&["search", "\"open"]);
    assert_eq!(mistake.status.code(), Some(2));
}

#[test]
fn index_of_sqlite_trails_the_writer() {
    trails_the_writer(StoreKind::Sqlite);
}

#[test]
fn index_of_postgres_trails_the_writer() {
    trails_the_writer(StoreKind::Postgres);
}

#[test]
fn index_of_mariadb_trails_the_writer() {
    trails_the_writer(StoreKind::MariaDb);
}

#[test]
fn a_store_may_do_without_the_indexer() {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "prosody");
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "index = false", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&[Written::chat("alice@h/desk", "bob@h", "not indexed").id("d1").by_firewall("h")]);
    archiver.wait_until_stored();
    assert_eq!(found(&archiver, &["indexed"]), ["not indexed"]);
    archiver.stop();
    let behind = || {
        let status: Value = serde_json::from_str(&archiver.must(&["index", "status", "--format", "json"])).expect("an object");
        status["stores"][0]["behind"].clone()
    };
    assert_eq!(behind(), 1);
    archiver.must(&["index", "build"]);
    assert_eq!(behind(), 0);
    assert_eq!(found(&archiver, &["indexed"]), ["not indexed"]);
}
