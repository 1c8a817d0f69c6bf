//! A store that was away for long: the backlog is stored in order, and memory does not grow with it. Ten million copies are `script/bench`'s.

use std::path::PathBuf;

use crate::support::archiver::{Archiver, Store};
use crate::support::mirrored::Written;
use crate::support::played::Played;
use crate::support::process::Directory;

const MESSAGES: usize = 20_000;
/// Copies of one message: the second half of the backlog is the first once more, from another conversation.
const AT_ONCE: usize = 1_000;
/// Far more than it needs, far less than the backlog would take if it were held in memory.
const MOST_KIB: u64 = 120 * 1024;

#[test]
fn of_a_long_absence() {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "prosody");
    let away = Store::Sqlite(PathBuf::from("/proc/nowhere/archive.sqlite"));
    let mut archiver = Archiver::for_played_on(away, Directory::new(None), "", &[&node]);
    archiver.start();
    node.accept();
    let filling = "x".repeat(3_000);
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
