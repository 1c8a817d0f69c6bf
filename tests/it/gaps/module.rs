//! Our modules in real servers: what they queue is no gap, and what they had to give up is one, with its number.

use xmpp_archiver::time::now;

use super::{assert_bounds, listed, wait_for_gaps};
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::line::chat;
use crate::support::node::{Kind, Node};
use crate::support::process::wait_for;
use crate::support::stage::Stage;

fn stage(kind: Kind, settings: &str) -> Stage {
    let node = Node::start_with_module(kind, settings);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&node]);
    Stage::with(vec![node], archiver)
}

fn wait_until_known_to_queue(stage: &Stage) {
    let file = stage.archiver.borrow().spool().join("links.json");
    wait_for("the archiver to know how the node sends", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"queued\"")).then_some(())
    });
}

/// Killed and stopped again and again, with people typing, reading and talking: nothing is missed, and every number is accounted for.
fn nothing_is_missed(kind: Kind) {
    let stage = stage(kind, "");
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let room = stage.room("numbers");
    alice.create_room(&room, "Alice", &[]);
    bob.join(&room, "Bob");
    wait_until_known_to_queue(&stage);
    for round in 0..3 {
        for said in ["before", "while it is away", "after"] {
            let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
            alice.send(&format!("<message type='chat' to='{}'>{typing}</message>", bob.account));
            stage.say(&alice, chat(&bob.account, &format!("{said} {round}")));
            stage.sync();
            match (said, round) {
                ("before", 1) => stage.archiver.borrow_mut().stop(),
                ("before", _) => stage.archiver.borrow_mut().kill(),
                ("while it is away", _) => stage.archiver.borrow_mut().start(),
                _ => stage.settle(),
            }
        }
    }
    stage.check();
    assert!(listed(&stage.archiver.borrow()).is_empty(), "{:#?}", listed(&stage.archiver.borrow()));
    stage.archiver.borrow_mut().stop();
    stage.archiver.borrow().must(&["reconcile"]);
}

#[test]
fn nothing_is_missed_on_prosody() {
    nothing_is_missed(Kind::Prosody);
}

#[test]
fn nothing_is_missed_on_ejabberd() {
    nothing_is_missed(Kind::Ejabberd);
}

/// What does not fit into the node's own queue is lost, and shows as what it is.
#[test]
fn what_the_node_had_to_give_up_is_a_jump() {
    let stage = stage(Kind::Ejabberd, "    disk_limit: 100000\n");
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    stage.say_to(&alice, chat(&bob.account, "before"), &[&bob]);
    stage.settle();
    wait_until_known_to_queue(&stage);
    stage.archiver.borrow_mut().kill();
    let lost = now();
    alice.send(&format!("<message type='chat' id='x' to='{}'><body>{}</body></message>", bob.account, "x".repeat(200_000)));
    stage.sync();
    let given_up = now();
    stage.archiver.borrow_mut().start();
    stage.wait_until_attached();
    let gaps = wait_for_gaps(&stage.archiver.borrow(), 1);
    // One copy as sent and one as received.
    assert_eq!((&gaps[0]["reason"], &gaps[0]["lost"]), (&"sequence-jump".into(), &2.into()), "{gaps:#?}");
    assert_bounds(&gaps[0], lost, given_up);
}
