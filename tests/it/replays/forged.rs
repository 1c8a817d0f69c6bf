//! What users put into stanzas to mislead an archive: it may neither hide a message that was sent nor make up one that was not.

use xmpp_archiver::node::Kind;
use xmpp_archiver::time::{Micros, SECOND};

use super::on_every_store;
use crate::support::archiver::StoreKind;
use crate::support::mirrored::{Written, archive_result, carbon, node, service_log};
use crate::support::pipe::{Pipe, START};

on_every_store! {
    a_forged_stanza_id_hides_nothing,
    a_forged_delay_hides_nothing,
    a_forged_delay_does_not_move_a_message_that_was_seen_live,
    a_forged_carbon_makes_up_nothing,
    a_forged_archive_result_makes_up_nothing,
    what_is_written_beside_a_forgery_is_kept,
    a_wrapper_from_a_user_makes_up_nothing,
    a_mirror_inside_a_mirrored_message_is_not_undone,
    a_forged_ref_hides_nothing,
}

const HOUR: Micros = 3_600 * SECOND;

fn ejabberd(store: StoreKind) -> Pipe {
    Pipe::new(store, &[node("a", "h", Kind::Ejabberd)])
}

/// Sent to one session, so that a send makes two copies.
fn said(pipe: &mut Pipe, at: Micros, message: &Written) {
    for copy in 0..2 {
        pipe.take_of(at + copy, Some(1), &message.by_service_log("h"));
    }
}

/// Everybody who is in a room knows the ids that it gives; everybody can write one into a message.
fn a_forged_stanza_id_hides_nothing(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let into = Written::groupchat("alice@h/desk", "r@m.h", "true").id("g1");
    pipe.take(START, &into.by_service_log("h"));
    pipe.take(START + 1, &into.from("r@m.h/Alice").to("bob@h/phone").stanza_id("r@m.h", "777").by_service_log("h"));
    let forged = Written::groupchat("mallory@h/x", "r@m.h", "hidden in the room").id("g2").stanza_id("r@m.h", "777");
    pipe.take(START + SECOND, &forged.by_service_log("h"));
    let direct = Written::chat("mallory@h/x", "bob@h", "hidden in a chat").id("c1").stanza_id("bob@h", "1").stanza_id("r@m.h", "777");
    said(&mut pipe, START + 2 * SECOND, &direct);
    let again = Written::chat("mallory@h/x", "bob@h", "hidden in another").id("c2").stanza_id("bob@h", "1");
    said(&mut pipe, START + 3 * SECOND, &again);
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (4, 7), "{ledger}");
    for body in ["true", "hidden in the room", "hidden in a chat", "hidden in another"] {
        ledger.only(body);
    }
}

/// A message that claims to be old, with the ids of an old one.
fn a_forged_delay_hides_nothing(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let late = Written::chat("alice@h/desk", "bob@h", "old").id("m1").delayed("h", START).stanza_id("bob@h", "1");
    pipe.take(START + HOUR, &late.by_service_log("h"));
    pipe.commit();
    let forged = Written::chat("mallory@h/x", "bob@h", "new").id("m1").delayed("h", START).stanza_id("bob@h", "1");
    said(&mut pipe, START + 2 * HOUR, &forged);
    let ledger = pipe.ledger();
    ledger.only("old");
    let row = ledger.only("new");
    assert_eq!((row.sender.as_deref(), row.received_at, row.copies.len()), (Some("mallory@h/x"), START + 2 * HOUR, 2), "{ledger}");
}

fn a_forged_delay_does_not_move_a_message_that_was_seen_live(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let honest = Written::chat("alice@h/desk", "bob@h", "said now").id("m1");
    said(&mut pipe, START, &honest);
    pipe.take(START + SECOND, &honest.delayed("h", START - 10 * HOUR).by_service_log("h"));
    let by_a_stranger = Written::chat("alice@h/desk", "bob@h", "claims a stranger").id("m2").delayed("elsewhere.example", START - HOUR);
    said(&mut pipe, START + 2 * SECOND, &by_a_stranger);
    let ledger = pipe.ledger();
    assert_eq!((ledger.only("said now").sent_at, ledger.only("said now").via), (START, 1), "{ledger}");
    assert_eq!((ledger.only("claims a stranger").sent_at, ledger.only("claims a stranger").via), (START + 2 * SECOND, 1));
}

/// XEP-0280 §11: only the account itself sends carbons to its sessions.
fn a_forged_carbon_makes_up_nothing(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let never_said = Written::chat("ceo@h/desk", "bob@h/phone", "you are fired").id("m1");
    for kind in ["received", "sent"] {
        for from in ["mallory@h/x", "mallory@h", "bob@h/other", "bob@elsewhere.example"] {
            let forged = carbon(kind, from, "bob@h/phone", &never_said);
            pipe.take(START, &service_log("h", &forged));
        }
    }
    assert_eq!(pipe.ledger().size(), (0, 0));
}

fn a_forged_archive_result_makes_up_nothing(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let never_said = Written::chat("ceo@h/desk", "bob@h/phone", "you are fired").id("m1");
    for archive in ["mallory@h/x", "mallory@h", "bob@h/other", "r@m.h/Mallory", "bob@elsewhere.example"] {
        let forged = archive_result(archive, "bob@h/phone", "1", START, &never_said);
        pipe.take(START, &service_log("h", &forged));
    }
    assert_eq!(pipe.ledger().size(), (0, 0));
}

/// Whoever hides a message in a forgery still said it.
fn what_is_written_beside_a_forgery_is_kept(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let inside = Written::chat("ceo@h/desk", "bob@h/phone", "you are fired");
    let payload = |stanza: &str| stanza.split_once('>').expect("a tag").1.trim_end_matches("</message>").to_owned();
    let in_a_carbon = payload(&carbon("received", "x", "y", &inside));
    let in_a_result = payload(&archive_result("x", "y", "1", START, &inside));
    for (body, payload) in [("beside a carbon", in_a_carbon), ("beside a result", in_a_result)] {
        said(&mut pipe, START, &Written::chat("mallory@h/x", "bob@h", body).id(body).with(&payload));
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (2, 4), "{ledger}");
    assert!(ledger.rows.iter().all(|row| row.sender.as_deref() == Some("mallory@h/x")));
}

/// Anybody can write to the component's own address.
fn a_wrapper_from_a_user_makes_up_nothing(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let never_said = Written::chat("ceo@h/desk", "bob@h", "you are fired").by_service_log("h");
    for from in ["mallory@h", "mallory@h/x", "elsewhere.example", "h/resource", ""] {
        pipe.take(START, &never_said.replacen("from='h'", &format!("from='{from}'"), 1));
    }
    assert_eq!(pipe.ledger().size(), (0, 0));
}

/// The node mirrors what a user sent to the archive's address: a message with a wrapper in it, which stays one.
fn a_mirror_inside_a_mirrored_message_is_not_undone(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let never_said = Written::chat("ceo@h/desk", "bob@h", "you are fired").by_service_log("h");
    let by_mallory = never_said.replacen("from='h'", "xmlns='jabber:client' from='mallory@h/x'", 1);
    pipe.take(START, &service_log("h", &by_mallory));
    let ledger = pipe.ledger();
    assert!(ledger.saying("you are fired").is_empty(), "{ledger}");
}

/// A `ref` counts in the envelope, not in what somebody wrote.
fn a_forged_ref_hides_nothing(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let payload = "<mirror xmlns='urn:xmpp-archiver:mirror:0' direction='sent' host='h' epoch='e' seq='1' ref='r1'/>";
    for (second, body) in [(0, "one"), (1, "two")] {
        said(&mut pipe, START + second * SECOND, &Written::chat("mallory@h/x", "bob@h", body).id(body).with(payload));
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (2, 4), "{ledger}");
}
