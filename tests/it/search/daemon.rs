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

/// What `index status` says of the only store.
fn status(archiver: &Archiver) -> Value {
    let status: Value = serde_json::from_str(&archiver.must(&["index", "status", "--format", "json"])).expect("an object");
    status["stores"][0].clone()
}

/// How often the index of the texts was asked.
fn asked(archiver: &Archiver) -> i64 {
    let scans = archiver.store.query("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'messages_body_trgm'");
    scans.trim().parse().expect("a number")
}

#[test]
fn parts_of_words_are_found_by_trigrams_where_they_were_made() {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "prosody");
    let mut archiver = Archiver::for_played(StoreKind::Postgres, "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&[Written::chat("alice@h/desk", "bob@h", "an Übertragung of ACME's interim report").id("d1").by_firewall("h")]);
    archiver.wait_until_stored();
    // Enough that reading all of them is not the shortest way.
    let many = "jsonb_build_object('id', n, 'body', 'number ' || n || ' ' || repeat('and so on ', 20))";
    archiver.store.query(&format!(
        "INSERT INTO messages SELECT (jsonb_populate_record(m, {many})).* FROM messages m, generate_series(2, 20000) n WHERE m.id = 1"
    ));
    archiver.stop();
    let parts = ["ertrag", "me's int", "19999", "777", "nowhere"];
    let all = || parts.map(|part| found(&archiver, &[part, "--substring"]));
    let before = all();
    // 777 stands in ten numbers each that end with it or have it as the three before the last, below 10,000 and above, 7777 and 17777 in both.
    assert_eq!(before.each_ref().map(Vec::len), [1, 1, 1, 38, 0]);
    assert_eq!(status(&archiver)["trigrams"], "none");

    let said = archiver.must(&["index", "trigrams"]);
    assert!(said.contains("parts of words are indexed"), "{said}");
    let made = status(&archiver);
    assert!(made["trigrams"] == "made" && made["trigrams_bytes"].as_i64() > Some(100_000), "{made}");
    assert_eq!(all(), before);
    // A process tells of its scans when it ends.
    try_for(PATIENCE, || (asked(&archiver) >= 5).then_some(())).expect("the index is asked");

    // As it is when whoever made it was cut off.
    archiver.store.query("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'messages_body_trgm'::regclass");
    assert_eq!(status(&archiver)["trigrams"], "unfinished");
    archiver.must(&["index", "trigrams"]);
    assert_eq!(status(&archiver)["trigrams"], "made");
    archiver.must(&["index", "trigrams", "--drop"]);
    assert_eq!(status(&archiver)["trigrams"], "none");
    assert_eq!(all(), before);
}

#[test]
fn trigrams_are_asked_of_postgres_alone_and_of_whoever_may_make_them() {
    let node = Played::new("node", "archive.h", "h", "m.h", "prosody");
    let sqlite = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    sqlite.must(&["migrate"]);
    let refused = sqlite.command(&["index", "trigrams"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("only PostgreSQL"), "{refused:?}");
    assert_eq!(status(&sqlite)["trigrams"], "not supported");

    let archiver = Archiver::for_played(StoreKind::Postgres, "", &[&node]);
    archiver.must(&["migrate"]);
    // Roles belong to the whole server, which other tests share.
    let reader = format!("reader_{}", std::process::id());
    archiver.store.query(&format!("CREATE ROLE {reader} LOGIN PASSWORD 'reader' IN ROLE pg_read_all_data"));
    let settings = archiver.settings();
    let (head, tail) = settings.split_once("postgres://").expect("its URL");
    let (_, tail) = tail.split_once('@').expect("its host");
    archiver.set_settings(&format!("{head}postgres://{reader}:reader@{tail}"));
    let refused = archiver.command(&["index", "trigrams"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("denied") && said.contains("CREATE EXTENSION pg_trgm") && !said.contains(":reader@"), "{said}");
    assert_eq!(status(&archiver)["trigrams"], "none");
}
