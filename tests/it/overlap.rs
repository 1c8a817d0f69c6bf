//! Batches that are decided while those before them are on their way to the server: what comes in between, and what goes wrong.

use std::collections::HashSet;
use std::time::Duration;

use xmpp_archiver::node::Kind;
use xmpp_archiver::time::SECOND;

use crate::support::archiver::StoreKind;
use crate::support::capture::{Capture, FOLDERS};
use crate::support::ledger::Ledger;
use crate::support::mirrored::{Written, node};
use crate::support::pipe::{Pipe, START};

/// Makes a test of each function for each server.
macro_rules! on_servers {
    ($($test:ident),+ $(,)?) => {
        on_servers!(in_postgres: Postgres, $($test)+);
        on_servers!(in_mariadb: MariaDb, $($test)+);
    };
    ($module:ident: $store:ident, $($test:ident)+) => {
        mod $module {
            $(#[test] fn $test() {
                super::$test(crate::support::archiver::StoreKind::$store);
            })+
        }
    };
}

on_servers! {
    copies_of_what_is_on_its_way_are_recognised,
    what_is_referred_to_and_asked_for_ahead_has_the_very_id,
    a_writer_between_two_batches_is_noticed,
    a_connection_that_is_lost_loses_nothing,
    nobody_who_asks_ahead_is_missed,
    a_long_way_to_the_server_changes_no_row,
    a_long_way_that_breaks_again_and_again_loses_nothing,
}

/// A message between two people who never wrote to each other before, `n` seconds after the start.
fn line(n: i64) -> Written {
    Written::chat(&format!("alice{n}@h/desk"), &format!("bob{}@h", n % 7), &format!("line {n}")).id(&format!("m{n}"))
}

fn take(pipe: &mut Pipe, n: i64, copy: i64) {
    pipe.take_of(START + n * SECOND + copy * 300, Some(1), &line(n).by_service_log("h"));
}

fn assert_complete(pipe: &mut Pipe, messages: i64) {
    let ledger = pipe.ledger();
    assert_eq!(ledger.size(), (messages as usize, 2 * messages as usize), "{ledger}");
    assert!(ledger.rows.iter().all(|row| row.copies.len() == 2 && row.possibly_several() == 0), "{ledger}");
    let mut ids: Vec<i64> = ledger.rows.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=messages).collect::<Vec<i64>>(), "numbers without gaps");
}

/// The first copy is in one batch and the second in the next or the one after it, while memory keeps next to nothing of what is stored.
fn copies_of_what_is_on_its_way_are_recognised(store: StoreKind) {
    let mut pipe = Pipe::new(store, &[node("a", "h", Kind::Ejabberd)]);
    pipe.keep(2);
    const MESSAGES: i64 = 60;
    for n in 0..MESSAGES {
        take(&mut pipe, n, 0);
        // Every fifth batch brings the second copies of its own message and of the four before it.
        for late in (n % 5 == 4).then_some(n - 4..=n).into_iter().flatten() {
            take(&mut pipe, late, 1);
        }
        pipe.send();
    }
    assert_complete(&mut pipe, MESSAGES);
    assert!(pipe.overlapped > 40, "only {} batches were decided ahead", pipe.overlapped);
}

/// MariaDB pads what it compares with spaces; the message is out of memory by then.
fn what_is_referred_to_and_asked_for_ahead_has_the_very_id(store: StoreKind) {
    const FILLERS: i64 = 40;
    let mut pipe = Pipe::new(store, &[node("a", "h", Kind::Ejabberd)]);
    pipe.keep(2);
    let said = |body: &str, payload: &str, id: &str| Written::chat("alice@h/desk", "bob@h", body).id(id).with(payload);
    pipe.take_of(START, Some(0), &said("hello", "", "m1").by_service_log("h"));
    for n in 1..=FILLERS {
        pipe.commit();
        take(&mut pipe, n, 0);
    }
    for (n, id, body) in [(FILLERS + 1, "m1 ", "other"), (FILLERS + 2, "m1", "hello!")] {
        pipe.commit();
        let replace = format!("<replace xmlns='urn:xmpp:message-correct:0' id='{id}'/>");
        pipe.take_of(START + n * SECOND, Some(0), &said(body, &replace, body).by_service_log("h"));
    }
    let ledger = pipe.ledger();
    let original = ledger.only("hello").id;
    assert_eq!((ledger.only("other").refers_to, ledger.only("hello!").refers_to), (None, Some(original)), "{ledger}");
    assert!(pipe.overlapped > 20, "only {} batches were decided ahead", pipe.overlapped);
}

/// Another process stores while batches of the first are on their way; each has the second copies of the other's messages.
fn a_writer_between_two_batches_is_noticed(store: StoreKind) {
    let nodes = [node("a", "h", Kind::Ejabberd)];
    let mut one = Pipe::new(store, &nodes);
    let mut two = one.beside(&nodes);
    let mut n = 0;
    for _round in 0..3 {
        for _calm in 0..12 {
            take(&mut one, n, 0);
            take(&mut one, n, 1);
            one.send();
            n += 1;
        }
        take(&mut one, n, 0);
        one.send();
        take(&mut two, n + 1, 0);
        two.send();
        take(&mut one, n + 1, 1);
        one.send();
        take(&mut two, n, 1);
        two.send();
        one.land();
        two.land();
        n += 2;
    }
    assert!(one.overlapped > 3 && one.undone > 0, "{} batches were decided ahead, {} of them in vain", one.overlapped, one.undone);
    two.land();
    assert_complete(&mut one, n);
}

/// The connection that writes is cut with batches on their way.
fn a_connection_that_is_lost_loses_nothing(store: StoreKind) {
    let mut pipe = Pipe::new(store, &[node("a", "h", Kind::Ejabberd)]);
    let mut writers = HashSet::new();
    const MESSAGES: i64 = 40;
    for n in 0..MESSAGES {
        take(&mut pipe, n, 0);
        if n > 0 {
            take(&mut pipe, n - 1, 1);
        }
        pipe.send();
        if n % 15 == 14 {
            writers.insert(pipe.last_writer());
            pipe.cut_lane();
        }
    }
    take(&mut pipe, MESSAGES - 1, 1);
    assert_complete(&mut pipe, MESSAGES);
    assert!(pipe.overlapped > 5 && pipe.undone > 0, "{} batches were decided ahead, {} of them in vain", pipe.overlapped, pipe.undone);
    // A server may go on with what it was sent over a connection that is gone: that is another writer's then.
    writers.insert(pipe.last_writer());
    assert_eq!(writers.len(), 3, "each loss makes it another writer: {writers:?}");
}

/// The connections that ask ahead are cut.
fn nobody_who_asks_ahead_is_missed(store: StoreKind) {
    let mut pipe = Pipe::new(store, &[node("a", "h", Kind::Ejabberd)]);
    const MESSAGES: i64 = 60;
    for n in 0..MESSAGES {
        take(&mut pipe, n, 0);
        if n > 0 {
            take(&mut pipe, n - 1, 1);
        }
        pipe.send();
        if n % 25 == 12 {
            pipe.cut_scouts();
        }
    }
    take(&mut pipe, MESSAGES - 1, 1);
    assert_complete(&mut pipe, MESSAGES);
    assert!(pipe.overlapped > 10, "only {} batches were decided ahead", pipe.overlapped);
}

/// What real servers mirrored, in batches of a few stanzas, while memory keeps next to nothing of what is stored.
fn mirrored(pipe: &mut Pipe, captures: &[Capture], stanzas: usize) -> Ledger {
    pipe.keep(2);
    let lines = captures.iter().flat_map(|capture| &capture.lines);
    for (n, line) in (0_i64..).zip(lines) {
        pipe.take(START + n * SECOND / 20, line);
        if n as usize % stanzas == stanzas - 1 {
            pipe.send();
        }
    }
    pipe.ledger()
}

/// Everything that a server mirrored in one long sitting is the same in SQLite and in a server that is 50 ms away.
fn a_long_way_to_the_server_changes_no_row(store: StoreKind) {
    for (folder, scenarios) in FOLDERS {
        let captures: Vec<Capture> = scenarios.iter().map(|scenario| Capture::load(folder, scenario)).collect();
        let nodes = [captures[0].node().as_ref().clone()];
        let (mut far, _way) = Pipe::far_from(store, &nodes, Duration::from_millis(25));
        let in_the_distance = mirrored(&mut far, &captures, 8);
        let at_hand = mirrored(&mut Pipe::new(StoreKind::Sqlite, &nodes), &captures, 1_000);
        assert_eq!(in_the_distance, at_hand, "{folder}:\n{in_the_distance}\n{at_hand}");
        let batches = captures.iter().map(|capture| capture.lines.len()).sum::<usize>() / 8;
        assert!(far.overlapped * 2 > batches, "{folder}: {} of {batches} batches were decided ahead", far.overlapped);
    }
}

/// Connections end in the midst of whatever the server says, with several batches on their way.
fn a_long_way_that_breaks_again_and_again_loses_nothing(store: StoreKind) {
    let (mut pipe, way) = Pipe::far_from(store, &[node("a", "h", Kind::Ejabberd)], Duration::from_millis(5));
    const MESSAGES: i64 = 120;
    for n in 0..MESSAGES {
        take(&mut pipe, n, 0);
        if n > 0 {
            take(&mut pipe, n - 1, 1);
        }
        pipe.send();
        if n % 30 == 20 {
            way.cut_after(500 + 333 * (n as u64 / 30));
        }
    }
    take(&mut pipe, MESSAGES - 1, 1);
    assert_complete(&mut pipe, MESSAGES);
    assert!(pipe.overlapped > 20, "only {} batches were decided ahead", pipe.overlapped);
}
