//! The spool at its limit and the spool damaged: what is lost is on record.

use std::path::{Path, PathBuf};

use super::{assert_bounds, wait_for_gaps};
use xmpp_archiver::time::now;

use crate::support::archiver::{Archiver, Store};
use crate::support::mirrored::Written;
use crate::support::played::Played;
use crate::support::process::Directory;

fn prosody() -> Played {
    Played::new("node", "archive.h", "h", "m.h", "prosody")
}

fn line(n: usize, bytes: usize) -> String {
    let body = format!("line {n} {}", "x".repeat(bytes));
    Written::chat("alice@h/desk", "bob@h", &body).id(&format!("m{n}")).by_firewall("h")
}

#[test]
fn what_a_full_spool_drops_is_counted_and_one_gap() {
    let place = Directory::new(None);
    let in_the_way = place.write("disk", "");
    let mut node = prosody();
    let store = Store::Sqlite(in_the_way.join("archive.sqlite"));
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), "", &[&node]);
    let limits = "[spool]\nlimit = '2MiB'\nsegment = '1MiB'\nwhen_full = 'drop'\n";
    let settings = archiver.settings().replace("[spool]\n", limits).replace("kind = 'prosody'", "kind = 'prosody'\nmax_stanza = '1MiB'");
    archiver.set_settings(&settings);
    archiver.start();
    node.accept();
    let before = now();
    let lines: Vec<String> = (0..60).map(|n| line(n, 100_000)).collect();
    node.mirror(&lines);
    let full = now();
    let status = archiver.wait_until("copies to be dropped", |status| status["nodes"][0]["dropped"].as_u64() > Some(0));
    let dropped = status["nodes"][0]["dropped"].as_u64().expect("a number");
    std::fs::remove_file(&in_the_way).expect("it works here");
    archiver.wait_until_stored();
    node.mirror(&[line(100, 10)]);
    let gaps = wait_for_gaps(&archiver, 1);
    assert_eq!((&gaps[0]["reason"], gaps[0]["lost"].as_u64()), (&"spool-limit".into(), Some(dropped)), "{gaps:#?}");
    assert_bounds(&gaps[0], full, full);
    assert!(super::at(&gaps[0], "from") >= before);
    archiver.stop();
    let found = archiver.command(&["reconcile", "--format", "json"]).stdout;
    let found: serde_json::Value = serde_json::from_slice(&found).expect("JSON");
    assert_eq!((&found["days"][0]["lost"]["spool full"], &found["days"][0]["received"]), (&dropped.into(), &61.into()), "{found:#}");
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let (directories, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<PathBuf> = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    found.extend(directories.iter().flat_map(|directory| segments(directory)));
    found
}

#[test]
fn a_damaged_record_is_one_gap() {
    let mut node = prosody();
    let away = Store::Sqlite(PathBuf::from("/proc/nowhere/archive.sqlite"));
    let mut archiver = Archiver::for_played_on(away, Directory::new(None), "", &[&node]);
    archiver.start();
    node.accept();
    let lines: Vec<String> = (0..20).map(|n| line(n, 100)).collect();
    node.mirror(&lines);
    archiver.wait_until_spooled(20);
    let lost = now();
    archiver.kill();
    let segments = segments(&archiver.spool());
    let mut bytes = std::fs::read(&segments[0]).expect("a segment");
    let place = memchr::memmem::find(&bytes, b"line 10 ").expect("the record");
    bytes[place] ^= 1;
    std::fs::write(&segments[0], bytes).expect("damage it");
    let place = Directory::new(None);
    archiver.move_to(Store::Sqlite(place.path().join("archive.sqlite")), &[&node]);
    for _ in 0..3 {
        archiver.start();
        node.accept();
        archiver.wait_until_stored();
        archiver.kill();
    }
    archiver.start();
    node.accept();
    let gaps: Vec<_> = super::listed(&archiver).into_iter().filter(|gap| gap["reason"] == "spool-damaged").collect();
    assert_eq!(gaps.len(), 1, "{gaps:#?}");
    assert_eq!(gaps[0]["lost"], 1, "{gaps:#?}");
    // The records before and after it tell when it came.
    assert!(super::at(&gaps[0], "from") <= super::at(&gaps[0], "to") && super::at(&gaps[0], "to") <= lost);
    assert_eq!(archiver.store.ledger().rows.len(), 19);
}
