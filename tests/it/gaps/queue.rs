//! The node's own queue: numbers that are missing, numbers that come again, a queue that begins anew; and a spool that is read again tells nothing twice.

use xmpp_archiver::gap::{Gap, Reason};
use xmpp_archiver::intake::record::Record;
use xmpp_archiver::node::Kind;
use xmpp_archiver::store::batch::Queued;
use xmpp_archiver::store::gaps;
use xmpp_archiver::time::{Micros, SECOND, rfc3339};

use crate::replays::on_every_store;
use crate::support::archiver::StoreKind;
use crate::support::mirrored::{Wrapped, Written, node};
use crate::support::pipe::{Pipe, START};

on_every_store! {
    missing_numbers_are_told_with_how_many,
    a_new_queue_is_told,
    what_is_not_worth_keeping_is_not_missed,
    a_spool_read_again_tells_and_counts_nothing_twice,
    a_gap_told_again_is_the_same_gap,
    a_link_that_is_up_ends_every_gap_that_lasts,
    what_leaves_the_quarantine_closes_its_gap,
    a_record_that_got_the_number_of_another_is_stored_as_well,
}

fn pipe(store: StoreKind) -> Pipe {
    Pipe::new(store, &[node("a", "h", Kind::Auto)])
}

/// A numbered copy that the node handled a second after the one before, and that arrived long after.
fn copy(epoch: &str, sequence: u64) -> String {
    let message = Written::chat("alice@h/desk", "bob@h", &format!("{epoch} {sequence}")).id("m");
    let wrapped = Wrapped { direction: "sent", host: "h".to_owned(), epoch: epoch.to_owned(), sequence, ..Wrapped::default() };
    let stamp = format!(" at='{}' seq=", rfc3339(handled(sequence)));
    wrapped.iq("q", &message.xml()).replacen(" seq=", &stamp, 1)
}

fn handled(sequence: u64) -> Micros {
    START + sequence as Micros * SECOND
}

const ARRIVED: Micros = START + 3_600 * SECOND;

/// Reason, begin, end, copies lost.
fn told(pipe: &mut Pipe) -> Vec<(Reason, Micros, Option<Micros>, Option<i64>)> {
    let (gaps, _) = pipe.account();
    gaps.iter().map(|gap| (gap.reason.expect("a reason"), gap.from, gap.to, gap.lost)).collect()
}

fn missing_numbers_are_told_with_how_many(store: StoreKind) {
    let mut pipe = pipe(store);
    // Whatever went before the first that was ever seen went elsewhere.
    for sequence in [4, 5, 5, 8, 7, 9] {
        pipe.take(ARRIVED, &copy("e", sequence));
    }
    let jump = (Reason::SequenceJump, handled(5), Some(handled(8)), Some(2));
    assert_eq!(told(&mut pipe), [jump]);
    pipe.restart();
    pipe.take(ARRIVED + SECOND, &copy("e", 9));
    pipe.take(ARRIVED + SECOND, &copy("e", 10));
    assert_eq!(told(&mut pipe), [jump]);
    pipe.restart();
    pipe.take(ARRIVED + SECOND, &copy("e", 12));
    let told = told(&mut pipe);
    let (reason, from, to, lost) = told[1];
    // After a restart it is known within ten seconds only when the last one was handled.
    assert_eq!((reason, to, lost), (Reason::SequenceJump, Some(handled(12)), Some(1)));
    assert!(from <= handled(10) && from > handled(10) - 10 * SECOND, "{from}");
    let (gaps, days) = pipe.account();
    assert_eq!(gaps[0].detail.as_deref(), Some(r#"{"epoch":"e","first":6,"last":7}"#));
    assert!(days.values().all(|day| day.problems(true).is_empty()), "{days:#?}");
}

fn a_new_queue_is_told(store: StoreKind) {
    let mut pipe = pipe(store);
    pipe.take(ARRIVED, &copy("one", 1));
    pipe.take(ARRIVED, &copy("two", 3));
    pipe.take(ARRIVED, &copy("two", 4));
    assert_eq!(told(&mut pipe), [(Reason::NewEpoch, handled(1), Some(handled(3)), None)]);
    pipe.restart();
    pipe.take(ARRIVED, &copy("three", 1));
    let told = told(&mut pipe);
    assert_eq!((told.len(), told[1].0, told[1].2), (2, Reason::NewEpoch, Some(handled(1))));
}

fn what_is_not_worth_keeping_is_not_missed(store: StoreKind) {
    let mut pipe = pipe(store);
    pipe.take(ARRIVED, &copy("e", 1));
    for sequence in 2..5 {
        let queued = Queued { epoch: "e".to_owned(), sequence, at: Some(handled(sequence)) };
        pipe.record(&Record::passed("a", ARRIVED, &queued, "nothing to read").encode());
    }
    pipe.take(ARRIVED, &copy("e", 5));
    assert_eq!(told(&mut pipe), []);
    let (_, days) = pipe.account();
    let day = days.values().next().expect("a day");
    assert_eq!(day.counts.values().sum::<i64>(), 10, "{day:#?}");
    assert!(day.problems(true).is_empty(), "{day:#?}");
}

fn a_spool_read_again_tells_and_counts_nothing_twice(store: StoreKind) {
    let mut pipe = pipe(store);
    let lasting = Gap { from: Some(START), to: None, reason: Reason::NotRunning, lost: None, detail: String::new() };
    pipe.record(&Record::gap("a", ARRIVED, lasting.clone()).encode());
    pipe.record(&Record::gap("a", ARRIVED, Gap { to: Some(START + SECOND), ..lasting }).encode());
    for sequence in [1, 4, 4, 5] {
        pipe.take(ARRIVED, &copy("e", sequence));
    }
    pipe.record(&Record::oversize("a", ARRIVED, "too large", b"<message").encode());
    pipe.record(&Record::stanza("a", ARRIVED, None, b"<message><broken").encode());
    pipe.take(ARRIVED, &copy("f", 1));
    let first = pipe.account();
    let reasons: Vec<Reason> = first.0.iter().filter_map(|gap| gap.reason).collect();
    let expected = [Reason::NotRunning, Reason::SequenceJump, Reason::Oversize, Reason::Quarantined, Reason::NewEpoch];
    let sorted = |mut reasons: Vec<Reason>| {
        reasons.sort();
        reasons
    };
    assert_eq!(sorted(reasons), sorted(expected.to_vec()));
    for record in [0, 3, 0] {
        pipe.replay_from(record);
        assert_eq!(pipe.account(), first);
    }
    assert!(first.1.values().all(|day| day.problems(true).is_empty()), "{:#?}", first.1);
}

/// A process that was killed before its file knew that a gap is in the spool tells it again, and again when the link is up.
fn a_gap_told_again_is_the_same_gap(store: StoreKind) {
    let mut pipe = pipe(store);
    let gap = |from: Option<Micros>, to: Option<Micros>| Gap { from, to, reason: Reason::NotRunning, lost: None, detail: String::new() };
    // Nothing was ever stored: there is nothing before it.
    pipe.record(&Record::gap("a", START, gap(None, None)).encode());
    pipe.record(&Record::gap("a", START, gap(None, Some(START))).encode());
    pipe.take(START + SECOND, &copy("e", 1));
    assert_eq!(told(&mut pipe), []);
    for to in [None, Some(START + 70 * SECOND), None, Some(START + 90 * SECOND), Some(START + 80 * SECOND)] {
        pipe.record(&Record::gap("a", START + 60 * SECOND, gap(Some(START + 50 * SECOND), to)).encode());
    }
    let known = (Reason::NotRunning, START + 50 * SECOND, Some(START + 90 * SECOND), None);
    assert_eq!(told(&mut pipe), [known]);
    // Its file was gone: since the last message that is stored.
    pipe.record(&Record::gap("a", START + 200 * SECOND, gap(None, None)).encode());
    pipe.record(&Record::gap("a", START + 200 * SECOND, gap(None, Some(START + 210 * SECOND))).encode());
    assert_eq!(told(&mut pipe), [known, (Reason::NotRunning, START + SECOND, Some(START + 210 * SECOND), None)]);
}

/// A process was killed after it had told that the connection was lost, and before its file knew: the next one tells of more.
fn a_link_that_is_up_ends_every_gap_that_lasts(store: StoreKind) {
    let mut pipe = pipe(store);
    let gap = |reason, from: Micros, to: Option<Micros>| Gap { from: Some(from), to, reason, lost: None, detail: String::new() };
    let (lost, up, again) = (START + 50 * SECOND, START + 90 * SECOND, START + 200 * SECOND);
    pipe.record(&Record::gap("a", lost, gap(Reason::ConnectionLost, lost, None)).encode());
    pipe.record(&Record::gap("a", again, gap(Reason::NotRunning, again, None)).encode());
    pipe.record(&Record::gap("a", up, gap(Reason::NotRunning, START, Some(up))).encode());
    let mut told = told(&mut pipe);
    told.sort_by_key(|(_, from, ..)| *from);
    let expected = [
        (Reason::NotRunning, START, Some(up), None),
        (Reason::ConnectionLost, lost, Some(up), None),
        (Reason::NotRunning, again, None, None),
    ];
    assert_eq!(told, expected, "what began later lasts");
}

fn what_leaves_the_quarantine_closes_its_gap(store: StoreKind) {
    let mut pipe = pipe(store);
    // Another version could not read what this one can.
    pipe.record(&Record::stanza("a", ARRIVED, None, copy("e", 1).as_bytes()).encode());
    pipe.set_aside_last("not yet");
    let (before, _) = pipe.account();
    assert_eq!((before.len(), before[0].reason, before[0].lost), (1, Some(Reason::Quarantined), Some(1)));
    pipe.retry(1);
    let (gaps, days) = pipe.account();
    assert_eq!((gaps[0].state, gaps[0].found), (Some(xmpp_archiver::gap::State::Backfilled), 1));
    assert_eq!(gaps[0].changed_by.as_deref(), Some("quarantine retry"));
    let day = days.values().next().expect("a day");
    assert!(day.problems(true).is_empty() && day.rows.messages == 1, "{day:#?}");
    assert_eq!(gaps::Filter::default().states.len(), 0);
}

fn a_record_that_got_the_number_of_another_is_stored_as_well(store: StoreKind) {
    let mut pipe = pipe(store);
    for sequence in [1, 2] {
        pipe.record(&Record::stanza("a", ARRIVED, None, copy("e", sequence).as_bytes()).encode());
        pipe.set_aside_last("not yet");
        // The quarantine was emptied, so numbers begin anew.
        pipe.retry(1);
        pipe.restart();
    }
    let (gaps, days) = pipe.account();
    assert!(gaps.iter().all(|gap| gap.state == Some(xmpp_archiver::gap::State::Backfilled)), "{gaps:#?}");
    let day = days.values().next().expect("a day");
    assert!(day.problems(true).is_empty() && day.rows.messages == 2, "{day:#?}");
}
