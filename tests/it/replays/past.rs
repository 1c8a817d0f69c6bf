//! History from another archive beside what was seen live: what was missed is added, what was not is known, however often and in whatever order it is read.

use proptest::prelude::*;
use xmpp_archiver::history::record::encode;
use xmpp_archiver::history::{Direction, Item, Via};
use xmpp_archiver::intake::record::Record;
use xmpp_archiver::node::Kind;
use xmpp_archiver::time::{Micros, SECOND};

use super::on_every_store;
use crate::support::archiver::StoreKind;
use crate::support::mirrored::{Written, node};
use crate::support::pipe::{Pipe, START};

on_every_store! {
    what_came_live_gets_nothing_but_the_ids,
    what_was_missed_is_one_message_with_a_delivery_for_each_archive,
    a_missed_message_does_not_take_the_place_of_an_equal_one,
    what_can_not_be_understood_is_set_aside_once,
    notes_to_oneself_are_in_the_archive_twice,
}

const LIVE: i16 = 1;
const BACKFILL: i16 = 4;
const LATER: Micros = START + 3_600 * SECOND;

fn prosody(store: StoreKind) -> Pipe {
    Pipe::new(store, &[node("a", "h", Kind::Prosody)])
}

fn ok() -> Written {
    Written::chat("alice@h/desk", "bob@h", "ok")
}

/// The archive of one of the two holds it.
fn kept(pipe: &mut Pipe, archive: &str, id: &str, at: Micros, message: &Written) {
    let item = Item {
        stanza: message.xml().into_bytes(),
        at,
        archive: Some(archive.to_owned()),
        id: Some(id.to_owned()),
        direction: if archive == "alice@h" { Direction::Sent } else { Direction::Received },
        ..Item::default()
    };
    pipe.record(&Record::history("a", LATER, &encode(&item, Via::Backfill)).encode());
}

/// As Prosody mirrors it: once as sent and once as delivered.
fn live(pipe: &mut Pipe, at: Micros, message: &Written) {
    pipe.take(at, &message.by_firewall("h"));
    pipe.take(at + 1_000, &message.by_firewall("h"));
}

fn what_came_live_gets_nothing_but_the_ids(store: StoreKind) {
    let mut pipe = prosody(store);
    live(&mut pipe, START + 200_000, &ok());
    let before = pipe.ledger();
    for _ in 0..2 {
        pipe.restart();
        kept(&mut pipe, "alice@h", "a1", START, &ok());
        kept(&mut pipe, "bob@h", "b1", START, &ok());
        assert_eq!(pipe.ledger(), before);
    }
}

fn what_was_missed_is_one_message_with_a_delivery_for_each_archive(store: StoreKind) {
    let mut pipe = prosody(store);
    for times in 1..=3 {
        kept(&mut pipe, "bob@h", "b1", START, &ok());
        if times == 2 {
            pipe.commit();
            pipe.restart();
        }
        kept(&mut pipe, "alice@h", "a1", START, &ok());
        let ledger = pipe.ledger();
        let row = ledger.only("ok");
        assert_eq!((row.via, row.sent_at, row.received_at), (BACKFILL, START, LATER), "{ledger}");
        let copies: Vec<_> = row.copies.iter().map(|copy| (copy.recipient.as_deref(), copy.direction, copy.is_replay)).collect();
        assert_eq!(copies, [(Some("bob@h"), 2, true), (Some("alice@h"), 1, true)]);
    }
}

/// Said three times within seconds and without an id; the one in the middle was missed.
fn a_missed_message_does_not_take_the_place_of_an_equal_one(store: StoreKind) {
    let mut pipe = prosody(store);
    live(&mut pipe, START + 700_000, &ok());
    live(&mut pipe, START + 5_300_000, &ok());
    for _ in 0..2 {
        pipe.commit();
        pipe.restart();
        for archive in ["alice@h", "bob@h"] {
            for (id, second) in [("1", 0), ("2", 3), ("3", 5)] {
                kept(&mut pipe, archive, id, START + second * SECOND, &ok());
            }
        }
        let ledger = pipe.ledger();
        let rows: Vec<_> = ledger.rows.iter().map(|row| (row.sent_at - START, row.via)).collect();
        assert_eq!(rows, [(700_000, LIVE), (5_300_000, LIVE), (3_000_000, BACKFILL)], "{ledger}");
    }
}

fn what_can_not_be_understood_is_set_aside_once(store: StoreKind) {
    let mut pipe = prosody(store);
    for _ in 0..3 {
        let item = Item { stanza: b"<message><body>cut".to_vec(), at: START, ..Item::default() };
        pipe.record(&Record::history("a", LATER, &encode(&item, Via::Import)).encode());
        pipe.commit();
        pipe.restart();
    }
    assert_eq!(pipe.ledger().quarantine.len(), 1);
}

fn notes_to_oneself_are_in_the_archive_twice(store: StoreKind) {
    let mut pipe = prosody(store);
    let note = Written::chat("alice@h/desk", "alice@h", "milk").id("n1");
    for _ in 0..2 {
        kept(&mut pipe, "alice@h", "1", START, &note);
        kept(&mut pipe, "alice@h", "2", START, &note);
        pipe.restart();
    }
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (1, 2), "{ledger}");
}

/// One message of a conversation: how long after the one before, which of few texts, with an id or not, and whether the archiver was there.
type Line = (Micros, u8, bool, bool);

fn conversation() -> impl Strategy<Value = Vec<Line>> {
    prop::collection::vec((200_000..9_000_000_i64, 0..2_u8, any::<bool>(), any::<bool>()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An archive with a clock as fine as ours gives back exactly what was missed, with both people's archives read in either order, in batches of any size, twice.
    #[test]
    fn exactly_what_was_missed_is_added(lines in conversation(), bob_first in any::<bool>(), batch in 1..9_usize, both in any::<bool>()) {
        let mut pipe = prosody(StoreKind::Sqlite);
        let mut at = START;
        let mut said = Vec::new();
        for (index, (after, text, has_id, is_seen)) in lines.iter().enumerate() {
            at += after;
            let line = Written::chat("alice@h/desk", "bob@h", ["ok", "yes"][usize::from(*text)]);
            let line = if *has_id { line.id(&format!("m{index}")) } else { line };
            if *is_seen {
                live(&mut pipe, at + 2_000, &line);
            }
            said.push((at, line, *is_seen));
        }
        let mut archives = vec!["alice@h", "bob@h"];
        if bob_first {
            archives.reverse();
        }
        archives.truncate(1 + usize::from(both));
        for _ in 0..2 {
            pipe.commit();
            pipe.restart();
            let mut waiting = 0;
            for archive in &archives {
                for (index, (at, line, _)) in said.iter().enumerate() {
                    kept(&mut pipe, archive, &index.to_string(), *at, line);
                    waiting += 1;
                    if waiting % batch == 0 && batch > 6 {
                        pipe.commit();
                    }
                }
            }
            let ledger = pipe.ledger();
            prop_assert_eq!(ledger.rows.len(), said.len(), "{}", ledger);
            let missed = said.iter().filter(|(.., is_seen)| !is_seen).count();
            prop_assert_eq!(ledger.rows.iter().filter(|row| row.via == BACKFILL).count(), missed, "{}", ledger);
        }
    }
}
