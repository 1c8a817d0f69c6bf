//! A store that was away for long: the backlog is stored in order, and memory does not grow with it. Ten million copies are `script/bench`'s.

use std::path::PathBuf;

use crate::support::archiver::{Archiver, Store};
use crate::support::mirrored::Written;
use crate::support::played::Played;
use crate::support::process::Directory;

const MESSAGES: usize = 3_000;
const MESSAGE_BYTES: usize = 60_000;
const AT_ONCE: usize = 100;
/// More than it needs, and much less than the backlog, which is of 180 MB.
const MOST_KIB: u64 = 150 * 1024;

#[test]
fn of_a_long_absence() {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "prosody");
    let away = Store::Sqlite(PathBuf::from("/proc/nowhere/archive.sqlite"));
    let mut archiver = Archiver::for_played_on(away, Directory::new(None), "", &[&node]);
    archiver.start();
    node.accept();
    let filling = "x".repeat(MESSAGE_BYTES);
    for start in (0..MESSAGES).step_by(AT_ONCE) {
        let message =
            |n: usize| Written::chat("alice@h/desk", "bob@elsewhere", &format!("{n} {filling}")).id(&n.to_string()).by_firewall("h");
        let stanzas: Vec<String> = (start..start + AT_ONCE).map(message).collect();
        node.mirror(&stanzas);
    }
    archiver.wait_until_spooled(MESSAGES as u64);
    let peak = archiver.peak_memory_kib();
    assert!(peak < MOST_KIB, "{peak} KiB while it filled");
    archiver.kill();
    let place = Directory::new(None);
    archiver.move_to(Store::Sqlite(place.path().join("archive.sqlite")), &[&node]);
    archiver.start();
    archiver.wait_until_stored();
    let peak = archiver.peak_memory_kib();
    assert!(peak < MOST_KIB, "{peak} KiB while it was stored");
    archiver.stop();
    let ids: Vec<usize> = archiver.store.ledger().rows.iter().filter_map(|row| row.stanza_id.as_ref()?.parse().ok()).collect();
    assert_eq!(ids, (0..MESSAGES).collect::<Vec<_>>());
}
