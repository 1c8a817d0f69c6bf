//! The link is lost, or the archiver is: with a stock mirror that is exactly one gap with the right bounds, with a node that queues it is none.

use xmpp_archiver::time::{Micros, now};

use super::{assert_bounds, at, listed, wait_for_gaps};
use crate::replays::on_every_store;
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::line::chat;
use crate::support::mirrored::{Wrapped, Written};
use crate::support::played::Played;
use crate::support::process::wait_for;
use crate::support::stage::{Stage, scenarios};

on_every_store! {
    a_cut_connection_is_one_gap,
    a_killed_archiver_leaves_one_gap,
    a_stopped_archiver_leaves_one_gap,
    a_node_that_queues_leaves_none,
}

fn prosody() -> Played {
    Played::new("node", "archive.h", "h", "m.h", "prosody")
}

fn line(n: u64) -> String {
    Written::chat("alice@h/desk", "bob@h", &format!("line {n}")).id(&format!("m{n}")).by_firewall("h").repeat(2)
}

/// The archiver says in its file that it was alive after this moment.
fn wait_for_life(archiver: &Archiver, after: Micros) {
    wait_for("a sign of life", || {
        let text = std::fs::read_to_string(archiver.spool().join("links.json")).ok()?;
        let links: serde_json::Value = serde_json::from_str(&text).ok()?;
        // The margin that is taken off is two seconds.
        (links["nodes"]["node"]["alive_at"].as_i64()? + 2_000_000 >= after).then_some(())
    });
}

fn attached(store: StoreKind) -> (Played, Archiver) {
    let mut node = prosody();
    let mut archiver = Archiver::for_played(store, "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&[line(0)]);
    archiver.wait_until_stored();
    (node, archiver)
}

fn a_cut_connection_is_one_gap(store: StoreKind) {
    let (mut node, archiver) = attached(store);
    assert!(listed(&archiver).is_empty(), "the first attachment is no gap");
    for count in 1..=2 {
        let lost = now();
        node.cut();
        let back = now();
        node.accept();
        node.mirror(&[line(1)]);
        let gaps = wait_for_gaps(&archiver, count);
        let gap = &gaps[count - 1];
        assert_eq!((&gap["reason"], &gap["state"], &gap["node"]), (&"connection-lost".into(), &"open".into(), &"node".into()));
        assert!(gap["lost"].is_null());
        assert_bounds(gap, lost, back);
    }
    let status = archiver.wait_until("the gaps to be shown", |status| status["nodes"][0]["gaps"]["open"] == 2);
    assert!(status["alarms"].to_string().contains("gap-opened"), "{status:#}");
}

fn a_killed_archiver_leaves_one_gap(store: StoreKind) {
    let (mut node, mut archiver) = attached(store);
    for count in 1..=3 {
        let alive = now();
        node.mirror(&[line(count)]);
        wait_for_life(&archiver, alive);
        let lost = now();
        archiver.kill();
        let back = now();
        archiver.start();
        node.accept();
        let gaps = wait_for_gaps(&archiver, count as usize);
        let gap = &gaps[count as usize - 1];
        assert_eq!(gap["reason"], "not-running");
        assert_bounds(gap, lost, back);
    }
}

/// While it does not run the gap is there already, without an end.
fn a_stopped_archiver_leaves_one_gap(store: StoreKind) {
    let (mut node, mut archiver) = attached(store);
    let lost = now();
    archiver.stop();
    let gaps = listed(&archiver);
    assert_eq!((gaps.len(), &gaps[0]["reason"]), (1, &"not-running".into()), "{gaps:#?}");
    assert!(gaps[0]["to"].is_null() && at(&gaps[0], "from") <= now());
    let back = now();
    archiver.start();
    node.accept();
    let gaps = wait_for_gaps(&archiver, 1);
    assert!(at(&gaps[0], "from") <= now() && at(&gaps[0], "from") > lost - 30_000_000);
    assert!(at(&gaps[0], "to") >= back);
}

fn envelope(sequence: u64) -> String {
    let message = Written::chat("alice@h/desk", "bob@h", &format!("line {sequence}")).id("m");
    let wrapped = Wrapped { direction: "sent", host: "h".to_owned(), epoch: "e".to_owned(), sequence, ..Wrapped::default() };
    wrapped.iq(&format!("e:{sequence}"), &message.xml())
}

fn a_node_that_queues_leaves_none(store: StoreKind) {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "auto");
    let mut archiver = Archiver::for_played(store, "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&[envelope(1), envelope(2)]);
    archiver.wait_until_stored();
    wait_for("its file to know how the node sends", || {
        let text = std::fs::read_to_string(archiver.spool().join("links.json")).ok()?;
        text.contains("\"queued\"").then_some(())
    });
    // What was not acknowledged in time comes again, and is no jump.
    node.cut();
    node.accept();
    node.mirror(&[envelope(2), envelope(3)]);
    archiver.wait_until_stored();
    archiver.kill();
    archiver.start();
    node.accept();
    node.mirror(&[envelope(3), envelope(4)]);
    archiver.wait_until_stored();
    archiver.stop();
    archiver.start();
    node.accept();
    node.mirror(&[envelope(5)]);
    archiver.wait_until_stored();
    archiver.stop();
    assert!(listed(&archiver).is_empty(), "{:#?}", listed(&archiver));
    assert_eq!(archiver.store.ledger().rows.len(), 5);
    archiver.must(&["reconcile"]);
}

scenarios! {
    what_was_said_while_nobody_listened_lies_in_the_gap,
}

/// Real servers, their stock mirrors: what is said while the archiver is dead is lost, and when that was is on record.
fn what_was_said_while_nobody_listened_lies_in_the_gap(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    stage.say_to(&alice, chat(&bob.account, "before"), &[&bob]);
    stage.settle();
    assert!(listed(&stage.archiver.borrow()).is_empty());
    stage.archiver.borrow_mut().kill();
    let said_at = now();
    alice.send(&format!("<message type='chat' id='lost' to='{}'><body>into the void</body></message>", bob.account));
    bob.expect_body("into the void");
    let heard_at = now();
    stage.archiver.borrow_mut().start();
    stage.wait_until_attached();
    stage.say_to(&alice, chat(&bob.account, "after"), &[&bob]);
    stage.settle();
    let gaps = wait_for_gaps(&stage.archiver.borrow(), 1);
    assert!(at(&gaps[0], "from") <= said_at && at(&gaps[0], "to") >= heard_at, "{gaps:#?}");
    assert!(stage.archived_with_body("into the void").is_empty());
    stage.restart_node();
    let gaps = wait_for_gaps(&stage.archiver.borrow(), 2);
    assert_eq!(gaps[1]["reason"], "connection-lost");
}
