//! Files of the spool that are not what was written: a bit turned over, cut off, torn, gone. What is lost is exactly what the alarms say, and
//! everything else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::archiver::{Archiver, Store};
use crate::support::mirrored::{Wrapped, Written};
use crate::support::played::Played;
use crate::support::process::{Directory, run};
use xmpp_archiver::spool::{Options, Spool};

/// Enough for three files of the least size that there is, 1 MiB: two portions each.
const MESSAGES: u64 = 144;
const PORTION: u64 = 24;
const MESSAGE_BYTES: usize = 20_000;
const SMALL_FILES: &str = "segment = '1MiB'\nlimit = '100MiB'\n";

/// A spool with so many messages, the n-th in record n, that nothing was stored of yet.
struct Filled {
    archiver: Archiver,
    node: Played,
    place: Directory,
    /// Which message each record holds; the archiver puts gaps and counts of its own between them.
    messages: BTreeMap<u64, u64>,
}

impl Filled {
    fn new() -> Filled {
        let mut node = Played::new("node", "archive.h", "h", "m.h", "auto").with("max_stanza = '1MiB'");
        let away = Store::Sqlite(PathBuf::from("/proc/nowhere/archive.sqlite"));
        let mut archiver = Archiver::for_played_on(away, Directory::new(None), "", &[&node]);
        archiver.set_settings(&archiver.settings().replacen("[spool]\n", &format!("[spool]\n{SMALL_FILES}"), 1));
        archiver.start();
        node.accept();
        for portion in (0..MESSAGES).step_by(PORTION as usize) {
            let stanzas: Vec<String> = (portion..portion + PORTION).map(stanza).collect();
            node.mirror(&stanzas);
            archiver.wait_until_spooled(portion + PORTION);
        }
        archiver.stop();
        let messages = messages(&archiver.spool().join("main"));
        Filled { archiver, node, place: Directory::new(None), messages }
    }

    /// The files, the oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.archiver.spool().join("main")).expect("the spool").flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
        files.sort();
        assert_eq!(files.len(), 3, "{files:?}");
        files
    }

    /// The messages in a file, which is named after its first record.
    fn messages_in(&self, segment: usize) -> BTreeSet<u64> {
        let segments = self.segments();
        let first = |file: &PathBuf| u64::from_str_radix(file.file_stem()?.to_str()?, 16).ok();
        let records = first(&segments[segment]).expect("its number")..segments.get(segment + 1).and_then(first).unwrap_or(u64::MAX);
        self.messages.range(records).map(|(_, message)| *message).collect()
    }

    /// Starts it with a store and compares what is there with what the alarms say is not; returns what is lost.
    fn finish(mut self) -> BTreeSet<u64> {
        let store = Store::Sqlite(self.place.path().join("archive.sqlite"));
        let settings = self.archiver.settings().replacen(&self.archiver.store.url(), &store.url(), 1);
        self.archiver.set_settings(&settings);
        self.archiver.store = store;
        self.archiver.start();
        self.node.accept();
        self.node.mirror(&[stanza(MESSAGES)]);
        self.archiver.wait_until_stored();
        let is_damaged = |alarm: &serde_json::Value| alarm["name"] == "spool-damaged";
        self.archiver
            .wait_until("the alarm to be raised", |status| status["alarms"].as_array().is_some_and(|alarms| alarms.iter().any(is_damaged)));
        self.archiver.stop();
        let lost: BTreeSet<u64> = lost(&self.archiver.logged()).iter().filter_map(|record| self.messages.get(record).copied()).collect();
        let ledger = self.archiver.store.ledger();
        let found: Vec<u64> = ledger.rows.iter().filter_map(|row| row.stanza_id.as_ref()?.parse().ok()).collect();
        let expected: Vec<u64> = (0..=MESSAGES).filter(|n| !lost.contains(n)).collect();
        assert_eq!(found, expected, "lost, by the alarms: {lost:?}");
        assert!(
            ledger.rows.iter().all(|row| row.body.as_deref() == Some(&body(row.stanza_id.as_deref().unwrap_or_default()))),
            "word for word"
        );
        lost
    }
}

/// Reads a spool that nobody has open: which record holds which message.
fn messages(spool: &Path) -> BTreeMap<u64, u64> {
    let copy = Directory::new(None);
    let mut cp = std::process::Command::new("cp");
    cp.arg("-r").arg(spool).arg(copy.path().join("main"));
    run(cp);
    let (_appender, mut reader, recovered) = Spool::open(&copy.path().join("main"), Options::default()).expect("the spool");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut messages = BTreeMap::new();
    let mut read = 0;
    while read < recovered.records {
        let batch = runtime.block_on(reader.next_batch(50, 4 << 20)).expect("records");
        for (record, bytes) in batch.iter() {
            read += 1;
            let text = String::from_utf8_lossy(bytes);
            let id = text.split_once(" id='").and_then(|(_, rest)| rest.split_once('\'')?.0.parse().ok());
            messages.extend(id.map(|message| (record, message)));
        }
    }
    messages
}

fn body(id: &str) -> String {
    id.chars().cycle().take(MESSAGE_BYTES).collect()
}

fn stanza(n: u64) -> String {
    let id = n.to_string();
    let message = Written::chat("alice@h/desk", "bob@h", &body(&id)).id(&id);
    Wrapped { direction: "sent", host: "h".to_owned(), epoch: "e".to_owned(), sequence: n, ..Wrapped::default() }.message(&message.xml())
}

/// The numbers of all records that the log says are lost.
fn lost(log: &str) -> BTreeSet<u64> {
    let damage = log.lines().filter(|line| line.contains("alarm spool-damaged"));
    let ranges = damage.filter_map(|line| {
        let (_, numbers) = line.split_once("records ")?;
        let (first, rest) = numbers.split_once(" to ")?;
        let (last, _) = rest.split_once(" are lost")?;
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().take(2 * MESSAGES as usize).collect()
}

fn truncate(file: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(bytes)).expect("cut a file off");
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).expect("a file").len()
}

#[test]
fn a_bit_turned_over_costs_one_record() {
    for segment in [0, 1, 2] {
        let filled = Filled::new();
        let file = &filled.segments()[segment];
        let mut bytes = fs::read(file).expect("a segment");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(file, bytes).expect("a segment");
        assert_eq!(filled.finish().len(), 1, "segment {segment}");
    }
}

/// The last write did not arrive whole, though the disk had said so.
#[test]
fn a_torn_end_costs_what_is_torn() {
    let filled = Filled::new();
    let last = filled.segments().pop().expect("a segment");
    // Through its last message, whatever small records stand behind it.
    truncate(&last, size(&last) - MESSAGE_BYTES as u64 / 2);
    assert_eq!(filled.finish(), BTreeSet::from([MESSAGES - 1]));
}

#[test]
fn a_segment_cut_off_costs_its_end() {
    let filled = Filled::new();
    let file = filled.segments().swap_remove(1);
    truncate(&file, size(&file) / 2);
    let messages = filled.messages_in(1);
    let lost = filled.finish();
    let first = lost.first().copied().unwrap_or_default();
    assert!(messages.first() < Some(&first), "the first half is there: {lost:?}");
    assert_eq!(lost, messages.range(first..).copied().collect());
}

#[test]
fn a_deleted_segment_costs_its_records() {
    for segment in [0, 1, 2] {
        let filled = Filled::new();
        let messages = filled.messages_in(segment);
        fs::remove_file(&filled.segments()[segment]).expect("a segment goes");
        assert_eq!(filled.finish(), messages, "segment {segment}");
    }
}
