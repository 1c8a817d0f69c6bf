//! The counts of all that came add up and are as many as the rows, and `reconcile` tells when they are not.

use std::process::Output;

use serde_json::Value;

use super::{listed, wait_for_gaps};
use crate::replays::on_every_store;
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::mirrored::{Written, archive_result, service_log};
use crate::support::played::Played;

on_every_store! {
    everything_that_came_is_accounted_for,
    a_stanza_that_is_too_large_is_a_gap,
}

fn hello() -> Written {
    Written::chat("alice@h/desk", "bob@h", "hello").id("m1")
}

/// What a node mirrors, and what strangers send.
fn traffic() -> Vec<String> {
    let receipt = Written::chat("bob@h/phone", "alice@h/desk", "").with("<received xmlns='urn:xmpp:receipts' id='m1'/>");
    let state = Written::chat("bob@h/phone", "alice@h/desk", "").with("<composing xmlns='http://jabber.org/protocol/chatstates'/>");
    let error = "<message xmlns='jabber:client' from='bob@h' to='alice@h/desk' type='error' id='m1'><body>hello</body><error type='cancel'>\
                 <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>";
    let forged = hello().by_service_log("h").replacen("from='h'", "from='mallory@h/x'", 1);
    let result = archive_result("bob@h", "bob@h/phone", "17", 1_795_332_535_000_000, &hello());
    let presence = "<presence xmlns='jabber:client' from='bob@h/phone'/>";
    vec![
        hello().by_service_log("h").repeat(3),
        receipt.by_service_log("h"),
        state.by_service_log("h").repeat(2),
        service_log("h", error),
        forged.repeat(2),
        service_log("h", &result),
        service_log("h", presence).repeat(4),
        service_log("h", "<iq xmlns='jabber:client' type='get'><query xmlns='jabber:iq:roster'/></iq>").repeat(5),
        "<message from='mallory@h/x' to='archive.h'><body>you there</body></message>".to_owned(),
    ]
}

fn report(archiver: &Archiver) -> (i32, Value) {
    let Output { status, stdout, stderr } = archiver.command(&["reconcile", "--format", "json", "--from", "2020-01-01", "--to", "now"]);
    let text = String::from_utf8_lossy(&stdout);
    let said = String::from_utf8_lossy(&stderr);
    (status.code().expect("a code"), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{said}")))
}

fn everything_that_came_is_accounted_for(store: StoreKind) {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "ejabberd");
    let mut archiver = Archiver::for_played(store, "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&traffic());
    archiver.wait_until_stored();
    archiver.stop();
    // An orderly stop is a gap of a stock mirror; who and why it was closed stays on record.
    let (code, found) = report(&archiver);
    assert_eq!((code, found["gaps"].as_array().map(Vec::len)), (3, Some(1)), "{found:#}");
    let id = listed(&archiver)[0]["id"].to_string();
    archiver.must(&["gaps", "close", &id, "--by", "ann", "--note", "nobody was at work"]);
    let (code, found) = report(&archiver);
    let day = &found["days"][0];
    let count = |name: &str| day[name].as_i64().unwrap_or_default();
    assert_eq!((code, found["ok"].as_bool(), found["days"].as_array().map(Vec::len)), (0, Some(true), Some(1)), "{found:#}");
    assert_eq!(
        (count("received"), count("archived"), count("duplicate"), count("replayed"), count("bounce")),
        (20, 1, 2, 1, 1),
        "{found:#}"
    );
    assert_eq!((&day["forged"]["wrapper from an address that is not trusted"], &day["skipped"]["presence"]), (&2.into(), &4.into()));
    assert_eq!((&day["skipped"]["iq"], &day["skipped"]["addressed to the archive itself"]), (&5.into(), &1.into()), "{found:#}");
    assert_eq!(day["rows"]["deliveries"], 4);
    let gap = &found["gaps"][0];
    assert_eq!((&gap["state"], &gap["changed_by"], &gap["note"]), (&"closed".into(), &"ann".into(), &"nobody was at work".into()));
    refuse_to_close_again(&archiver, &id);
    archiver.store.query("DELETE FROM deliveries WHERE seq = 2");
    let (code, found) = report(&archiver);
    assert_eq!(code, 3);
    assert!(found["days"][0]["problems"][0].as_str().is_some_and(|problem| problem.contains("deliveries")), "{found:#}");
    assert!(archiver.command(&["reconcile", "--node", "somebody else"]).status.success());
}

fn refuse_to_close_again(archiver: &Archiver, id: &str) {
    for id in [id, "4711"] {
        let output = archiver.command(&["gaps", "close", id, "--by", "bob", "--note", "again"]);
        assert_eq!(output.status.code(), Some(2), "{id}");
    }
    assert!(archiver.must(&["gaps", "show", id]).contains("ann"));
    assert_eq!(archiver.command(&["gaps", "show", "4711"]).status.code(), Some(2));
    assert_eq!(archiver.must(&["gaps", "list", "--state", "open", "--format", "csv"]).lines().count(), 1);
    assert_eq!(archiver.must(&["gaps", "list", "--from", "-1h", "--node", "node", "--format", "csv"]).lines().count(), 2);
}

fn a_stanza_that_is_too_large_is_a_gap(store: StoreKind) {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "prosody");
    let mut archiver = Archiver::for_played(store, "", &[&node]);
    archiver.set_settings(&archiver.settings().replace("kind = 'prosody'", "kind = 'prosody'\nmax_stanza = '1MiB'"));
    archiver.start();
    node.accept();
    let large = Written::chat("alice@h/desk", "bob@h", &"x".repeat(1 << 20)).by_firewall("h");
    node.mirror(&[hello().by_firewall("h"), large]);
    archiver.wait_until_stored();
    let gaps = wait_for_gaps(&archiver, 1);
    assert_eq!((&gaps[0]["reason"], &gaps[0]["lost"], &gaps[0]["detail"]["quarantine"]), (&"oversize".into(), &1.into(), &1.into()));
    let (code, found) = report(&archiver);
    assert_eq!((code, &found["days"][0]["lost"]["over the size limit"]), (3, &1.into()), "{found:#}");
    assert_eq!(found["days"][0]["problems"], Value::Array(Vec::new()), "{found:#}");
}
