//! Openfire's packet copies: one for each message that was routed, taken in batches, with the time when it passed.

use xmpp_archiver::node::Kind;
use xmpp_archiver::time::{Micros, SECOND, rfc3339};

use super::on_every_store;
use crate::support::archiver::StoreKind;
use crate::support::mirrored::{Written, node};
use crate::support::pipe::{Pipe, START};

on_every_store! {
    each_packet_is_a_message_of_its_own,
    a_message_in_a_room_is_one_with_all_its_packets,
    what_comes_from_elsewhere_is_incoming,
    a_packet_that_a_user_made_up_is_kept_out,
}

const LIVE: i16 = 1;
const INCOMING: i16 = 1;
const INTERNAL: i16 = 3;
const SENT: i16 = 1;

fn openfire(store: StoreKind) -> Pipe {
    Pipe::new(store, &[node("a", "h", Kind::Openfire)])
}

/// As Openfire's `PacketCopier` wraps it; copies leave up to five seconds after the packet passed.
fn packet(from: &str, passed_at: Micros, message: &Written) -> String {
    format!(
        "<message from='{from}' to='archive.h'><copy xmlns='http://jabber.org/protocol/packet#event' incoming='true' processed='true' date='{}'>{}</copy></message>",
        rfc3339(passed_at),
        message.xml()
    )
}

/// There is one copy of each message, so people who say the same thing twice, without an id, have said it twice.
fn each_packet_is_a_message_of_its_own(store: StoreKind) {
    let mut pipe = openfire(store);
    let ok = Written::chat("alice@h/desk", "bob@h", "ok");
    for passed in [START, START + SECOND] {
        pipe.take(START + 5 * SECOND, &packet("h", passed, &ok));
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (2, 2), "{ledger}");
    let rows = ledger.saying("ok");
    assert_eq!(rows.iter().map(|row| row.sent_at).collect::<Vec<_>>(), [START, START + SECOND]);
    for row in rows {
        assert_eq!((row.received_at, row.via, row.direction, row.possibly_several()), (START + 5 * SECOND, LIVE, INTERNAL, 0), "{ledger}");
        assert_eq!((row.sender.as_deref(), row.recipient.as_deref()), (Some("alice@h/desk"), Some("bob@h")));
        assert_eq!(row.copies[0].direction, SENT);
    }
}

/// One packet into the room from the real address, and one from the room to each occupant.
fn a_message_in_a_room_is_one_with_all_its_packets(store: StoreKind) {
    let mut pipe = openfire(store);
    for (number, id) in [(0, "g1"), (1, "g2")] {
        let at = START + number * SECOND;
        let into = Written::groupchat("alice@h/desk", "r@m.h", "good morning").id(id);
        pipe.take(at + 2 * SECOND, &packet("h", at, &into));
        for to in ["alice@h/desk", "bob@h/phone", "bob@h/laptop"] {
            pipe.take(at + 2 * SECOND, &packet("h", at + 1_000, &into.from("r@m.h/Alice").to(to)));
        }
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (2, 8), "{ledger}");
    for (row, id) in ledger.saying("good morning").into_iter().zip(["g1", "g2"]) {
        assert_eq!(
            (row.stanza_id.as_deref(), row.sender.as_deref(), row.sender_nick.as_deref()),
            (Some(id), Some("alice@h/desk"), Some("Alice"))
        );
        let mut to: Vec<_> = row.copies.iter().filter_map(|copy| copy.recipient.as_deref()).filter(|to| *to != "r@m.h").collect();
        to.sort_unstable();
        assert_eq!((to, row.possibly_several()), (vec!["alice@h/desk", "bob@h/laptop", "bob@h/phone"], 0), "{ledger}");
    }
}

fn what_comes_from_elsewhere_is_incoming(store: StoreKind) {
    let mut pipe = openfire(store);
    pipe.take(START, &packet("h", START, &Written::chat("carol@elsewhere.example/x", "bob@h", "hello").id("m1")));
    let ledger = pipe.ledger();
    assert_eq!((ledger.only("hello").direction, ledger.only("hello").copies.len()), (INCOMING, 1), "{ledger}");
}

/// Only the server's own domain sends copies, and what stands inside a message between users is their message.
fn a_packet_that_a_user_made_up_is_kept_out(store: StoreKind) {
    let mut pipe = openfire(store);
    let never_said = Written::chat("ceo@h/desk", "bob@h", "you are fired").id("m1");
    for from in ["mallory@h/x", "mallory@h", "elsewhere.example"] {
        pipe.take(START, &packet(from, START, &never_said));
    }
    assert_eq!(pipe.ledger().size(), (0, 0));
}
