//! Copies of one message that reach the archive by two nodes, in two processes, or twice after a reconnect.

use xmpp_archiver::node::Kind;
use xmpp_archiver::time::{Micros, SECOND};

use super::on_every_store;
use crate::support::archiver::StoreKind;
use crate::support::mirrored::{Wrapped, Written, node};
use crate::support::pipe::{Pipe, START};

on_every_store! {
    the_halves_of_a_federated_message_are_one_in_either_order,
    equal_federated_messages_stay_apart_where_the_copies_can_be_counted,
    two_processes_share_the_copies_of_one_node,
    two_processes_write_in_turns,
    an_envelope_that_comes_again_adds_nothing,
    a_new_epoch_is_a_new_queue,
    a_ref_tells_equal_messages_apart_whatever_their_order,
}

fn federated() -> Written {
    Written::chat("alice@one.example/desk", "bob@two.example", "over there").id("f1")
}

/// Each node mirrors its half to an archiver of its own; both write to one database.
fn the_halves_of_a_federated_message_are_one_in_either_order(store: StoreKind) {
    for sent_first in [true, false] {
        let mut one = Pipe::new(store, &[node("one", "one.example", Kind::Ejabberd)]);
        let mut two = one.beside(&[node("two", "two.example", Kind::Prosody)]);
        let half = |pipe: &mut Pipe, at: Micros, is_sent: bool| {
            let stanza = if is_sent { federated().by_service_log("one.example") } else { federated().by_firewall("two.example") };
            pipe.take(at, &stanza);
            pipe.commit();
        };
        if sent_first {
            half(&mut one, START, true);
            half(&mut two, START + 5 * SECOND, false);
        } else {
            half(&mut two, START, false);
            half(&mut one, START + 5 * SECOND, true);
        }
        let ledger = one.ledger();
        let row = ledger.only("over there");
        let mut copies: Vec<(&str, i16)> = row.copies.iter().map(|copy| (copy.node.as_str(), copy.direction)).collect();
        copies.sort_unstable();
        assert_eq!((copies, row.possibly_several()), (vec![("one", 1), ("two", 2)], 0), "sent first: {sent_first}\n{ledger}");
    }
}

/// The sender's node makes one copy of each: the k-th there is the k-th at the other.
fn equal_federated_messages_stay_apart_where_the_copies_can_be_counted(store: StoreKind) {
    let mut one = Pipe::new(store, &[node("one", "one.example", Kind::Prosody)]);
    let mut two = one.beside(&[node("two", "two.example", Kind::Prosody)]);
    for n in 0..3 {
        one.take(START + n, &federated().by_firewall("one.example"));
    }
    one.commit();
    for n in 0..3 {
        two.take(START + SECOND + n, &federated().by_firewall("two.example"));
        two.commit();
        two.restart();
    }
    let ledger = one.ledger();
    assert_eq!(ledger.size(), (3, 6), "{ledger}");
    assert!(ledger.rows.iter().all(|row| row.copies.len() == 2 && row.possibly_several() == 0), "{ledger}");
}

/// ejabberd splits its copies between two components of one name: an operator may run a second one for safety.
fn two_processes_share_the_copies_of_one_node(store: StoreKind) {
    let nodes = [node("a", "h", Kind::Ejabberd)];
    let mut one = Pipe::new(store, &nodes);
    let mut two = one.beside(&nodes);
    for n in 0..20 {
        let message = Written::chat("alice@h/desk", "bob@h", &format!("line {n}")).id(&format!("m{n}"));
        let (first, second) = if n % 3 == 0 { (&mut two, &mut one) } else { (&mut one, &mut two) };
        first.take_of(START + n * SECOND, Some(1), &message.by_service_log("h"));
        first.commit();
        second.take_of(START + n * SECOND + 300, Some(1), &message.by_service_log("h"));
        second.commit();
    }
    let ledger = one.ledger();
    assert_eq!(ledger.size(), (20, 40), "{ledger}");
    assert!(ledger.rows.iter().all(|row| row.copies.len() == 2 && row.possibly_several() == 0), "{ledger}");
}

/// Each commit must see the names and messages that the other process has added since.
fn two_processes_write_in_turns(store: StoreKind) {
    let mut one = Pipe::new(store, &[node("a", "h", Kind::Ejabberd)]);
    let mut two = one.beside(&[node("b", "i", Kind::Prosody)]);
    for n in 0..12 {
        let at = START + n * SECOND;
        let message = Written::chat(&format!("alice{n}@h/desk"), "bob@h", "ok").id("same");
        (0..2).for_each(|copy| one.take_of(at + copy, Some(1), &message.by_service_log("h")));
        one.commit();
        let message = Written::chat(&format!("carol{n}@i/desk"), "dave@i", "ok").id("same");
        (0..2).for_each(|copy| two.take(at + copy, &message.by_firewall("i")));
        two.commit();
    }
    let ledger = two.ledger();
    assert_eq!(ledger.size(), (24, 48), "{ledger}");
    let ids: Vec<i64> = ledger.rows.iter().map(|row| row.id).collect();
    assert_eq!(ids, (1..=24).collect::<Vec<i64>>(), "numbers without gaps");
    assert!(ledger.rows.iter().all(|row| row.copies.len() == 2), "{ledger}");
}

fn wrapped(direction: &'static str, sequence: u64, reference: &str) -> Wrapped {
    let session = if direction == "sent" { "alice@h/desk" } else { "bob@h/phone" };
    Wrapped {
        direction,
        host: "h".to_owned(),
        epoch: "e1".to_owned(),
        sequence,
        reference: Some(reference.to_owned()),
        session: Some(session.to_owned()),
    }
}

/// The node did not see the acknowledgement, and sends what it still has once more.
fn an_envelope_that_comes_again_adds_nothing(store: StoreKind) {
    let mut pipe = Pipe::new(store, &[node("a", "h", Kind::Auto)]);
    let message = Written::chat("alice@h/desk", "bob@h", "once").xml();
    let copies = [wrapped("sent", 1, "r1").message(&message), wrapped("received", 2, "r1").iq("q2", &message)];
    for (round, restarts) in [(0, false), (1, false), (2, true), (3, true)] {
        copies.iter().for_each(|copy| pipe.take(START + round * SECOND, copy));
        pipe.commit();
        if restarts {
            pipe.restart();
        }
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (1, 2), "{ledger}");
    assert_eq!(ledger.rows[0].copies.iter().map(|copy| copy.direction).collect::<Vec<_>>(), [1, 2]);
}

/// The node was restarted and counts from the beginning: nothing of that is a repetition.
fn a_new_epoch_is_a_new_queue(store: StoreKind) {
    let mut pipe = Pipe::new(store, &[node("a", "h", Kind::Auto)]);
    for epoch in ["e1", "e2"] {
        let envelope = Wrapped { epoch: epoch.to_owned(), ..wrapped("sent", 1, epoch) };
        pipe.take(START, &envelope.message(&Written::chat("alice@h/desk", "bob@h", "ok").xml()));
        pipe.commit();
    }
    assert_eq!(pipe.ledger().size(), (2, 2));
}

/// Three equal messages at once, their deliveries in another order than they were sent in.
fn a_ref_tells_equal_messages_apart_whatever_their_order(store: StoreKind) {
    let mut pipe = Pipe::new(store, &[node("a", "h", Kind::Auto)]);
    let ok = Written::chat("alice@h/desk", "bob@h", "ok").xml();
    let order = [("sent", "1"), ("sent", "2"), ("received", "2"), ("sent", "3"), ("received", "3"), ("received", "1")];
    for (sequence, (direction, reference)) in (1..).zip(order) {
        pipe.take(START + sequence as Micros, &wrapped(direction, sequence, reference).message(&ok));
        pipe.commit();
        pipe.restart();
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (3, 6), "{ledger}");
    assert!(ledger.rows.iter().all(|row| row.copies.len() == 2 && row.possibly_several() == 0), "{ledger}");
}
