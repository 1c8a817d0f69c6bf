//! Whatever a copy from a node's own queue holds, the node is answered: it would keep the copy for ever, and at last send nothing more.

use super::wait_for_gaps;
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::mirrored::{Written, archive_result, carbon};
use crate::support::queue::QueueNode;

const FORGED: &str = "not a word of it is true";

/// What users, and servers elsewhere, can have a node mirror in which there is nothing to believe.
fn lies() -> [String; 5] {
    let forged = Written::chat("alice@h/desk", "bob@h", FORGED);
    let message = "<message xmlns='jabber:client' from='mallory@h/x' to='bob@h'>";
    [
        carbon("received", "mallory@h/x", "bob@h", &forged),
        carbon("sent", "mallory@elsewhere", "bob@h/phone", &forged),
        // Bob synchronises a room of another server, of which the archive knows nothing.
        archive_result("room@rooms.elsewhere", "bob@h/phone", "17", 1_795_332_535_000_000, &forged),
        format!("{message}<result xmlns='urn:xmpp:mam:2' id='1'/></message>"),
        String::new(),
    ]
}

#[test]
fn every_copy_is_answered() {
    let mut queue = QueueNode::new();
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&queue.node]);
    archiver.set_settings(&archiver.settings().replace("kind = 'auto'", "kind = 'auto'\nmax_stanza = '1MiB'"));
    archiver.start();
    queue.accept();
    queue.say("before");
    for lie in lies() {
        queue.mirror(&lie);
    }
    // More references to characters than a stanza may have elements; then more elements.
    let quoted = "say \"no\" ".repeat(40_000);
    queue.mirror(&Written::chat("alice@h/desk", "bob@h", &quoted).id("q").xml().replace('"', "&quot;"));
    queue.mirror(&Written::chat("alice@h/desk", "bob@h", "elements").with(&"<x/>".repeat(70_000)).xml());
    let large = queue.mirror(&Written::chat("alice@h/desk", "bob@h", &"x".repeat(1 << 20)).xml());
    queue.say("after");
    queue.drain();
    assert_eq!(queue.refused, [large], "what is too large is not taken, and everything else is");
    archiver.wait_until_stored();
    let mut gaps: Vec<String> = wait_for_gaps(&archiver, 3).iter().map(|gap| gap["reason"].to_string()).collect();
    gaps.sort();
    // Of what is too large only the outermost tag is read, so its number is missing as well.
    assert_eq!(gaps, ["\"oversize\"", "\"quarantined\"", "\"sequence-jump\""]);
    archiver.stop();
    let ledger = archiver.store.ledger();
    let bodies: Vec<&str> = ledger.rows.iter().filter_map(|row| row.body.as_deref()).collect();
    assert_eq!(bodies, ["before", &quoted, "after"]);
    let counted = archiver.command(&["reconcile", "--format", "json", "--from", "2020-01-01", "--to", "now"]);
    let counted: serde_json::Value = serde_json::from_slice(&counted.stdout).expect("JSON");
    let day = &counted["days"][0];
    assert_eq!(day["problems"], serde_json::json!([]), "{day:#}");
    assert_eq!(day["forged"].as_object().map(|reasons| reasons.values().filter_map(|count| count.as_u64()).sum()), Some(5), "{day:#}");
}
