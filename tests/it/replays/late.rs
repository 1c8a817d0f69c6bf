//! Replays: offline deliveries, archive results and room history, hours or days after the message was said.

use xmpp_archiver::node::Kind;
use xmpp_archiver::time::{Micros, SECOND};

use super::on_every_store;
use crate::support::archiver::StoreKind;
use crate::support::mirrored::{Written, archive_result, node, service_log};
use crate::support::pipe::{Pipe, START};

on_every_store! {
    a_late_copy_joins_the_message_that_was_seen_live,
    a_late_copy_of_what_was_never_seen_is_kept_once_with_its_stamp,
    two_equal_late_copies_with_different_ids_are_two_messages,
    archive_results_join_what_was_seen_live,
    archive_results_of_what_was_never_seen_are_kept_once,
    a_rooms_archive_and_history_join_what_was_seen_live,
    a_rooms_history_of_what_was_never_seen_is_kept_once,
    the_subject_that_a_room_repeats_on_every_join_is_one,
    ids_that_come_later_tell_equal_messages_apart,
    what_is_referred_to_has_the_very_id,
}

const DAY: Micros = 86_400 * SECOND;
const LIVE: i16 = 1;
const REPLAY: i16 = 2;

fn ejabberd(store: StoreKind) -> Pipe {
    Pipe::new(store, &[node("a", "h", Kind::Ejabberd)])
}

fn hello() -> Written {
    Written::chat("alice@h/desk", "bob@h", "hello").id("m1")
}

/// The send comes live, the delivery days later, to a process that has been restarted since.
fn a_late_copy_joins_the_message_that_was_seen_live(store: StoreKind) {
    let mut pipe = ejabberd(store);
    pipe.take_of(START, Some(0), &hello().by_service_log("h"));
    pipe.commit();
    pipe.restart();
    let late = hello().delayed("h", START + 2_000).stanza_id("bob@h", "1795332535002000");
    pipe.take(START + 3 * DAY, &late.by_service_log("h"));
    let ledger = pipe.ledger();
    let row = ledger.only("hello");
    assert_eq!((row.sent_at, row.via, row.copies.len(), row.possibly_several()), (START, LIVE, 2, 0), "{ledger}");
    assert_eq!((row.copies[1].is_replay, row.copies[1].source, row.copies[1].at), (true, 3, START + 3 * DAY));
}

/// The archive was not attached when it was sent; its first session resumes twice (XEP-0198), so it is delivered twice.
fn a_late_copy_of_what_was_never_seen_is_kept_once_with_its_stamp(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let late = hello().delayed("h", START).stanza_id("bob@h", "1795332535000000");
    pipe.take(START + 3 * DAY, &late.by_service_log("h"));
    pipe.commit();
    pipe.restart();
    pipe.take(START + 4 * DAY, &late.by_service_log("h"));
    let ledger = pipe.ledger();
    let row = ledger.only("hello");
    assert_eq!((row.sent_at, row.received_at, row.via), (START, START + 3 * DAY, REPLAY), "{ledger}");
    assert_eq!((row.copies.len(), row.copies.iter().all(|copy| copy.is_replay)), (2, true));
}

fn two_equal_late_copies_with_different_ids_are_two_messages(store: StoreKind) {
    for commits in [false, true] {
        let mut pipe = ejabberd(store);
        let ok = Written::chat("alice@h/desk", "bob@h", "ok").delayed("h", START);
        for id in ["1", "2"] {
            pipe.take(START + DAY, &ok.clone().stanza_id("bob@h", id).by_service_log("h"));
            if commits {
                pipe.commit();
                pipe.restart();
            }
        }
        let ledger = pipe.ledger();
        assert_eq!(ledger.size(), (2, 2), "{ledger}");
        assert!(ledger.rows.iter().all(|row| row.possibly_several() == 0));
    }
}

/// Both people fetch their archives (XEP-0313), each with ids of its own, and then again.
fn archive_results_join_what_was_seen_live(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let said: Vec<Written> = (0..5).map(|n| Written::chat("alice@h/desk", "bob@h", &format!("line {n}")).id(&format!("m{n}"))).collect();
    for (n, message) in (0..).zip(&said) {
        for copy in 0..2 {
            pipe.take_of(START + n * SECOND + copy, Some(1), &message.by_service_log("h"));
        }
    }
    pipe.commit();
    pipe.restart();
    for sync in 1..=2 {
        for (account, session) in [("alice@h", "alice@h/tablet"), ("bob@h", "bob@h/tablet")] {
            for (n, message) in (0..).zip(&said) {
                let id = format!("{account} {n}");
                let result = archive_result(account, session, &id, START + n * SECOND + 500, message);
                pipe.take(START + sync * DAY, &service_log("h", &result));
            }
        }
        let ledger = pipe.ledger();
        assert_eq!(ledger.size(), (5, 10 + 10 * sync as usize), "{ledger}");
        let replays = |row: &crate::support::ledger::Row| row.copies.iter().filter(|copy| copy.is_replay && copy.source == 5).count();
        assert!(ledger.rows.iter().all(|row| replays(row) == 2 * sync as usize && row.via == LIVE && row.possibly_several() == 0));
        pipe.restart();
    }
}

fn archive_results_of_what_was_never_seen_are_kept_once(store: StoreKind) {
    let mut pipe = ejabberd(store);
    for (account, id) in [("alice@h", "17"), ("bob@h", "18"), ("bob@h", "18")] {
        let result = archive_result(account, &format!("{account}/tablet"), id, START, &hello());
        pipe.take(START + DAY, &service_log("h", &result));
    }
    let ledger = pipe.ledger();
    let row = ledger.only("hello");
    assert_eq!((row.sent_at, row.via, row.copies.len()), (START, REPLAY, 3), "{ledger}");
}

fn a_room(said: &str, id: &str) -> (Written, Written) {
    let into = Written::groupchat("alice@h/desk", "r@m.h", said).id("g1");
    (into.clone(), into.from("r@m.h/Alice").to("bob@h/phone").stanza_id("r@m.h", id))
}

fn a_rooms_archive_and_history_join_what_was_seen_live(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let (into, out) = a_room("to all", "1795332535000001");
    pipe.take(START, &into.by_service_log("h"));
    pipe.take(START + 1, &out.by_service_log("h"));
    pipe.take(START + 2, &out.to("alice@h/desk").by_service_log("h"));
    pipe.commit();
    pipe.restart();
    let history = out.to("carol@h/desk").delayed("r@m.h", START);
    pipe.take(START + DAY, &history.by_service_log("h"));
    let result = archive_result("r@m.h", "carol@h/desk", "1795332535000001", START, &out.to("carol@h"));
    pipe.take(START + DAY + SECOND, &service_log("h", &result));
    let ledger = pipe.ledger();
    let row = ledger.only("to all");
    let sources: Vec<i16> = row.copies.iter().map(|copy| copy.source).collect();
    assert_eq!((row.sender.as_deref(), row.via, sources), (Some("alice@h/desk"), LIVE, vec![6, 7, 7, 4, 5]), "{ledger}");
}

fn a_rooms_history_of_what_was_never_seen_is_kept_once(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let (_, out) = a_room("long ago", "1795332535000001");
    for (day, joiner) in [(1, "carol@h/desk"), (2, "dave@h/desk")] {
        pipe.take(START + day * DAY, &out.to(joiner).delayed("r@m.h", START).by_service_log("h"));
        pipe.commit();
        pipe.restart();
    }
    let ledger = pipe.ledger();
    let row = ledger.only("long ago");
    assert_eq!((row.sent_at, row.via, row.sender_nick.as_deref(), row.copies.len()), (START, REPLAY, Some("Alice"), 2), "{ledger}");
}

fn the_subject_that_a_room_repeats_on_every_join_is_one(store: StoreKind) {
    let mut pipe = ejabberd(store);
    let subject = Written::groupchat("alice@h/desk", "r@m.h", "").id("s1").with("<subject>Plans</subject>");
    let out = subject.from("r@m.h/Alice").to("alice@h/desk").stanza_id("r@m.h", "1795332535000009");
    pipe.take(START, &subject.by_service_log("h"));
    pipe.take(START + 1, &out.by_service_log("h"));
    pipe.commit();
    for day in 1..=3 {
        pipe.restart();
        let repeated = Written::groupchat("r@m.h/Alice", "bob@h/phone", "").with("<subject>Plans</subject>");
        pipe.take(START + day * DAY, &repeated.by_service_log("h"));
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (1, 5), "{ledger}");
    assert_eq!((ledger.rows[0].kind, ledger.rows[0].via), (2, LIVE));
}

/// Two equal sends without an id look like one on the stock mirror, until the ids of the recipient's archive show that they were two. What was
/// estimated before stays with the first: rows are only ever added.
fn ids_that_come_later_tell_equal_messages_apart(store: StoreKind) {
    for (sessions, is_offline) in [(0, true), (1, false)] {
        let mut pipe = ejabberd(store);
        let ok = Written::chat("alice@h/desk", "bob@h", "ok");
        for n in 0..2 {
            (0..=sessions).for_each(|copy| pipe.take_of(START + n * SECOND + copy, Some(sessions as u16), &ok.by_service_log("h")));
        }
        let ledger = pipe.ledger();
        assert_eq!((ledger.rows.len(), ledger.rows[0].possibly_several()), (1, 2), "{ledger}");
        for day in 1..=3 {
            pipe.restart();
            for (id, at) in [("1", START), ("2", START + SECOND)] {
                let late = ok.clone().delayed("h", at).stanza_id("bob@h", id).by_service_log("h");
                let result = service_log("h", &archive_result("bob@h", "bob@h/tablet", id, at, &ok));
                pipe.take(START + day * DAY, if is_offline { &late } else { &result });
            }
            let ledger = pipe.ledger();
            assert_eq!(ledger.size(), (2, 2 + 2 * sessions as usize + 2 * day as usize), "{ledger}");
        }
    }
}

/// MariaDB pads what it compares with spaces.
fn what_is_referred_to_has_the_very_id(store: StoreKind) {
    let mut pipe = ejabberd(store);
    pipe.take_of(START, Some(0), &hello().by_service_log("h"));
    pipe.commit();
    for (id, body) in [("m1 ", "other"), ("m1", "hello!")] {
        // What a process remembers it does not look up.
        pipe.restart();
        let replace = format!("<replace xmlns='urn:xmpp:message-correct:0' id='{id}'/>");
        let correction = Written::chat("alice@h/desk", "bob@h", body).id(&format!("of {body}")).with(&replace);
        pipe.take_of(START + 60 * SECOND, Some(0), &correction.by_service_log("h"));
        pipe.commit();
    }
    let ledger = pipe.ledger();
    let original = ledger.only("hello").id;
    assert_eq!((ledger.only("other").refers_to, ledger.only("hello!").refers_to), (None, Some(original)), "{ledger}");
    assert_eq!(ledger.only("other").refers_to_id.as_deref(), Some("m1 "), "{ledger}");
}
