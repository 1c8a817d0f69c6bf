//! The captures once more, line by line and at the times at which the lines really came: each copy must end up with the very message that the
//! truth gives it to, not only each message with the right number of copies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::runtime::Runtime;
use xmpp_archiver::alarm::Alarms;
use xmpp_archiver::component::Intake;
use xmpp_archiver::intake::NodeIntake;
use xmpp_archiver::spool::{Options, Spool};
use xmpp_archiver::stats::NodeStats;
use xmpp_archiver::time::Micros;

use super::truth::{self, differences};
use crate::support::archiver::StoreKind;
use crate::support::capture::Capture;
use crate::support::ledger::{Ledger, Row};
use crate::support::pipe::Pipe;
use crate::support::process::Directory;

/// When each line came; no two at once, so that the time tells the line.
fn times(capture: &Capture) -> Vec<Micros> {
    let mut last = 0;
    let later = |at: &Micros| {
        last = (last + 1).max(*at);
        last
    };
    capture.arrival.iter().map(later).collect()
}

/// What the intake puts into the spool.
fn records(capture: &Capture) -> Vec<Vec<u8>> {
    let directory = Directory::new(None);
    Runtime::new().expect("a runtime").block_on(async {
        let (spool, mut reader, _recovered) = Spool::open(&directory.path().join("spool"), Options::default()).expect("a spool");
        let intake = NodeIntake::new(capture.node(), spool.clone(), Arc::new(NodeStats::default()), Alarms::default(), Arc::default());
        intake.connected();
        for (line, at) in capture.lines.iter().zip(times(capture)) {
            let _nothing_to_answer = intake.take(line.as_bytes(), at).await;
        }
        drop(intake);
        spool.close().await.expect("everything is durable");
        let mut records = Vec::new();
        while let Ok(batch) = reader.next_batch(100, 1 << 20).await {
            records.extend(batch.iter().map(|(_, record)| record.to_vec()));
        }
        reader.close().await;
        records
    })
}

fn archived(capture: &Capture, commit_each: bool) -> Ledger {
    let mut pipe = Pipe::new(StoreKind::Sqlite, &[capture.node().as_ref().clone()]);
    for record in records(capture) {
        pipe.record(&record);
        if commit_each {
            pipe.commit();
            pipe.restart();
        }
    }
    pipe.ledger()
}

/// The lines whose copies each row has.
fn lines_of(capture: &Capture, row: &Row) -> BTreeSet<usize> {
    let lines: BTreeMap<Micros, usize> = times(capture).into_iter().zip(0..).collect();
    row.copies.iter().map(|copy| lines[&copy.at]).collect()
}

fn check(capture: &Capture, ledger: &Ledger) {
    let wrong = differences(capture, ledger);
    assert!(wrong.is_empty(), "{}:\n{}\nthe archive:\n{ledger}", capture.name, wrong.join("\n"));
    for (said, rows) in truth::attributed(capture, ledger) {
        let mut expected: Vec<BTreeSet<usize>> = said.iter().map(|said| said.lines.iter().copied().collect()).collect();
        let mut found: Vec<BTreeSet<usize>> = rows.iter().map(|row| lines_of(capture, row)).collect();
        let are_told_apart = expected.iter().all(|lines| !lines.is_empty()) && rows.len() == said.len();
        if !are_told_apart {
            expected = vec![expected.into_iter().flatten().collect()];
            found = vec![found.into_iter().flatten().collect()];
        }
        // A mediated invitation's second copy is nobody's in the truth.
        let is_right = expected.iter().all(|lines| found.iter().any(|found| found.is_superset(lines)));
        found.sort();
        assert!(is_right, "{}: {:?} has the lines {found:?}, not {expected:?}", capture.name, said[0].body);
    }
}

#[test]
fn every_line_ends_up_with_the_message_that_it_is_a_copy_of() {
    Capture::all().iter().for_each(|capture| check(capture, &archived(capture, false)));
}

const GROUPCHAT: i16 = 2;

/// Without presence, which Prosody does not mirror, who is behind a nick is told by the messages themselves, and has to be told anew after a
/// restart: the columns that show it may differ, the messages and their copies not.
fn without_what_nicks_tell(capture: &Capture, mut ledger: Ledger) -> Ledger {
    for row in ledger.rows.iter_mut().filter(|_| !capture.is_forked) {
        (row.recipient, row.recipient_nick) = (None, None);
        // What a room sends to its occupants tells the nick of who said it; what it refused does not.
        row.sender_nick = row.sender_nick.take().filter(|_| row.message_type == GROUPCHAT && row.copies.len() > 1);
    }
    ledger
}

/// The same with a restart after every single record.
#[test]
fn a_restart_after_each_line_changes_nothing() {
    for capture in Capture::all() {
        let ledger = archived(&capture, true);
        check(&capture, &ledger);
        let [restarted, undisturbed] = [ledger, archived(&capture, false)].map(|ledger| without_what_nicks_tell(&capture, ledger));
        assert_eq!(restarted, undisturbed, "{}", capture.name);
    }
}
