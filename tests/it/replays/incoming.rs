//! `direction = "incoming"`: only what people of the node were sent is kept, by whatever mirror it comes.

use xmpp_archiver::node::{Kind, Node};

use super::on_every_store;
use crate::support::archiver::StoreKind;
use crate::support::mirrored::{Wrapped, Written, node};
use crate::support::pipe::{Pipe, START};

on_every_store! {
    what_goes_elsewhere_is_left_out,
    what_a_room_sends_out_is_kept_and_what_goes_into_it_left_out,
    the_envelope_is_treated_like_the_stock_mirror,
}

fn incoming_only(store: StoreKind) -> Pipe {
    Pipe::new(store, &[Node { incoming_only: true, ..node("a", "h", Kind::Ejabberd) }])
}

fn what_goes_elsewhere_is_left_out(store: StoreKind) {
    let mut pipe = incoming_only(store);
    let there = Written::chat("alice@h/desk", "carol@elsewhere.example", "to carol").id("m1");
    let back = Written::chat("carol@elsewhere.example/x", "alice@h/desk", "to alice").id("m2");
    let here = Written::chat("alice@h/desk", "bob@h", "to bob").id("m3");
    pipe.take(START, &there.by_service_log("h"));
    pipe.take_of(START + 1, Some(1), &back.by_service_log("h"));
    for copy in 2..4 {
        pipe.take_of(START + copy, Some(1), &here.by_service_log("h"));
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (2, 3), "{ledger}");
    assert_eq!((ledger.only("to alice").copies.len(), ledger.only("to bob").copies.len()), (1, 2));
}

fn what_a_room_sends_out_is_kept_and_what_goes_into_it_left_out(store: StoreKind) {
    let mut pipe = incoming_only(store);
    let into = Written::groupchat("alice@h/desk", "r@m.h", "in the room").id("g1");
    pipe.take(START, &into.by_service_log("h"));
    for (number, to) in (1..).zip(["alice@h/desk", "bob@h/phone"]) {
        pipe.take(START + number, &into.from("r@m.h/Alice").to(to).stanza_id("r@m.h", "777").by_service_log("h"));
    }
    let ledger = pipe.ledger();
    let row = ledger.only("in the room");
    assert_eq!((ledger.size(), row.sender_nick.as_deref(), row.conversation.as_str()), ((1, 2), Some("Alice"), "r@m.h"), "{ledger}");
}

fn the_envelope_is_treated_like_the_stock_mirror(store: StoreKind) {
    let mut pipe = incoming_only(store);
    let wrapped = |sequence, direction| Wrapped { direction, host: "h".into(), epoch: "e".into(), sequence, ..Wrapped::default() };
    let there = Written::chat("alice@h/desk", "carol@elsewhere.example", "to carol").id("m1");
    let back = Written::chat("carol@elsewhere.example/x", "alice@h/desk", "to alice").id("m2");
    pipe.take(START, &wrapped(1, "sent").iq("1", &there.xml()));
    pipe.take(START + 1, &wrapped(2, "received").iq("2", &back.xml()));
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (1, 1), "{ledger}");
    ledger.only("to alice");
}
