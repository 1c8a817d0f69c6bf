//! The spool as a whole: against a model on a simulated disk, and on a real directory with a real kill.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;

use super::sim::{Dice, SimDisk};
use super::*;

/// Segments of a few records each.
fn small() -> Options {
    Options {
        segment_bytes: 600,
        limit_bytes: 1 << 20,
        commit_bytes: 4096,
        buffer_bytes: 8192,
        max_record_bytes: 4096,
        commit_delay: Duration::from_millis(1),
        ..Options::default()
    }
}

fn open_sim(disk: &SimDisk, options: Options) -> Parts {
    open_on(Arc::new(disk.clone()), options)
        .unwrap()
        .expect("the spool is free")
}

/// Polls a future once.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

/// The value of a future that does not have to wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    poll_once(future).expect("the future should not have to wait")
}

/// Whether a future has to wait.
fn waits<T>(future: impl Future<Output = T>) -> bool {
    poll_once(future).is_none()
}

fn read_all(reader: &mut Reader) -> (Vec<(u64, Vec<u8>)>, Vec<Damage>) {
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.read_now(7, 1000).unwrap() {
        records.extend(batch.iter().map(|(seq, bytes)| (seq, bytes.to_vec())));
        damage.extend(batch.damage);
    }
    (records, damage)
}

fn numbers(records: &[(u64, Vec<u8>)]) -> Vec<u64> {
    records.iter().map(|(seq, _)| *seq).collect()
}

/// A spool of `count` records of 100 bytes, committed one by one: five in a segment.
fn filled(disk: &SimDisk, count: u64) {
    let (appender, _reader, _, mut writer) = open_sim(disk, small());
    for seq in 0..count {
        assert_eq!(now(appender.append(&[seq as u8; 100])), Ok(seq));
        assert!(writer.commit());
    }
    writer.finish();
}

#[test]
fn records_come_back_in_order_and_only_when_durable() {
    let disk = SimDisk::default();
    let (appender, mut reader, recovered, mut writer) = open_sim(&disk, small());
    assert_eq!((recovered.records, recovered.next_seq), (0, 0));
    for text in ["a", "", "ccc"] {
        now(appender.append(text.as_bytes())).unwrap();
    }
    assert_eq!(reader.read_now(10, 100).unwrap(), None);
    assert!(waits(appender.durable(2)));
    assert!(writer.commit());
    assert_eq!(now(appender.durable(2)), Ok(()));
    let batch = reader.read_now(10, 100).unwrap().unwrap();
    let got: Vec<_> = batch.iter().collect();
    assert_eq!(got, [(0, b"a".as_slice()), (1, b""), (2, b"ccc")]);
    assert_eq!(batch.next_seq, 3);
}

#[test]
fn a_batch_keeps_its_measure_unless_one_record_is_longer() {
    let disk = SimDisk::default();
    filled(&disk, 4);
    let (_appender, mut reader, _, _writer) = open_sim(&disk, small());
    assert_eq!(reader.read_now(10, 250).unwrap().unwrap().len(), 2);
    assert_eq!(reader.read_now(10, 5).unwrap().unwrap().len(), 1);
    assert_eq!(reader.read_now(1, 1000).unwrap().unwrap().len(), 1);
    assert_eq!(reader.read_now(1, 1000).unwrap(), None);
}

#[test]
fn a_second_opening_is_refused_while_the_first_lasts() {
    let disk = SimDisk::default();
    let parts = open_sim(&disk, small());
    assert!(open_on(Arc::new(disk.clone()), small()).unwrap().is_none());
    drop(parts);
    assert!(open_on(Arc::new(disk), small()).unwrap().is_some());
}

#[test]
fn limits_that_do_not_fit_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        buffer_bytes: 10,
        ..small()
    };
    assert!(matches!(
        Spool::open(dir.path(), options),
        Err(SpoolError::Options(_))
    ));
}

#[test]
fn a_record_over_the_limit_is_refused() {
    let disk = SimDisk::default();
    let (appender, _reader, _, _writer) = open_sim(&disk, small());
    assert_eq!(
        now(appender.append(&[0; 4097])),
        Err(AppendError::TooLong {
            bytes: 4097,
            max: 4096
        })
    );
}

#[test]
fn an_orderly_restart_goes_on_with_the_next_number() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(
        (recovered.records, recovered.first_seq, recovered.next_seq),
        (12, 0, 12)
    );
    assert_eq!((recovered.torn_tail_bytes, recovered.damaged), (0, vec![]));
    assert_eq!(
        numbers(&read_all(&mut reader).0),
        (0..12).collect::<Vec<_>>()
    );
}

#[test]
fn released_segments_are_deleted_and_the_numbering_goes_on() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    let (appender, mut reader, _, mut writer) = open_sim(&disk, small());
    reader.release(7);
    writer.housekeep();
    assert_eq!(disk.names(".log").len(), 2);
    reader.release(12);
    drop(appender);
    writer.finish();
    assert_eq!(disk.names(".log").len(), 0);
    drop((reader, writer));
    let (appender, _reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!((recovered.records, recovered.next_seq), (0, 12));
    assert_eq!(now(appender.append(b"x")), Ok(12));
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let disk = SimDisk::default();
    filled(&disk, 3);
    let name = segment::segment_name(0);
    disk.cut(&name, disk.length(&name) - 30);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.torn_tail_bytes, 86);
    // The orderly end had noted that record 2 was confirmed.
    assert_eq!(recovered.damaged, [Damage::hole(0, 280, 2..3)]);
    assert!(recovered.next_seq >= 3);
    assert_eq!(numbers(&read_all(&mut reader).0), [0, 1]);
    assert_eq!(disk.names(".bin"), ["damaged/0000000000000000-118.bin"]);
}

#[test]
fn damage_in_the_last_segment_is_set_aside_when_opening() {
    let disk = SimDisk::default();
    filled(&disk, 3);
    disk.flip(&segment::segment_name(0), 48 + 116 + 40, 1);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    let copy = Some("damaged/0000000000000000-a4.bin".to_owned());
    assert_eq!(
        recovered.damaged,
        [Damage {
            segment: 0,
            offset: 164,
            length: 116,
            missing: 1..2,
            copy
        }]
    );
    let (records, damage) = read_all(&mut reader);
    assert_eq!((numbers(&records), damage), (vec![0, 2], vec![]));
}

#[test]
fn damage_in_the_middle_is_reported_once_by_the_reader() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.damaged, []);
    disk.flip(&segment::segment_name(4), 48, 0x80);
    let (records, damage) = read_all(&mut reader);
    assert_eq!(
        numbers(&records),
        (0..12).filter(|seq| *seq != 4).collect::<Vec<_>>()
    );
    assert_eq!(damage.len(), 1);
    assert_eq!((damage[0].missing.clone(), damage[0].length), (4..5, 116));
    reader.rewind(0);
    let (records, damage) = read_all(&mut reader);
    assert_eq!((records.len(), damage.len()), (11, 0));
}

#[test]
fn a_deleted_or_cut_middle_segment_is_a_reported_hole() {
    let disk = SimDisk::default();
    filled(&disk, 20);
    let names = disk.names(".log");
    disk.delete(&names[1]);
    disk.cut(&names[2], 48 + 116 + 5);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.damaged, []);
    let (records, damage) = read_all(&mut reader);
    assert_eq!(
        numbers(&records),
        [0, 1, 2, 3, 8, 12, 13, 14, 15, 16, 17, 18, 19]
    );
    let missing: Vec<_> = damage.iter().map(|one| one.missing.clone()).collect();
    assert_eq!(missing, [4..8, 9..12]);
}

#[test]
fn a_deleted_first_segment_is_reported_when_opening() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    disk.delete(&segment::segment_name(0));
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.damaged, [Damage::hole(4, 0, 0..4)]);
    assert_eq!(
        numbers(&read_all(&mut reader).0),
        (4..12).collect::<Vec<_>>()
    );
}

#[test]
fn a_segment_that_vanishes_while_open_is_a_reported_hole() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    let (_appender, mut reader, _, _writer) = open_sim(&disk, small());
    disk.delete(&segment::segment_name(4));
    let (records, damage) = read_all(&mut reader);
    assert_eq!(records.len(), 8);
    assert_eq!(damage, [Damage::hole(4, 48, 4..8)]);
}

#[test]
fn a_damaged_header_costs_no_record() {
    let disk = SimDisk::default();
    filled(&disk, 12);
    disk.flip(&segment::segment_name(4), 20, 4);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!(recovered.damaged.len(), 1);
    assert_eq!(read_all(&mut reader).0.len(), 12);
}

#[test]
fn a_segment_of_another_spool_is_moved_out_of_the_way() {
    let (disk, other) = (SimDisk::default(), SimDisk::default());
    filled(&disk, 3);
    filled(&other, 12);
    let file = disk.create(&segment::segment_name(8)).unwrap();
    let mut bytes = vec![0; other.length(&segment::segment_name(8)) as usize];
    other
        .open(&segment::segment_name(8))
        .unwrap()
        .read_at(&mut bytes, 0)
        .unwrap();
    file.write_at(&bytes, 0).unwrap();
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk, small());
    assert_eq!((recovered.damaged.len(), recovered.next_seq), (1, 3));
    assert_eq!(numbers(&read_all(&mut reader).0), [0, 1, 2]);
}

#[test]
fn a_payload_that_looks_like_a_record_is_not_taken_for_one() {
    let disk = SimDisk::default();
    let (appender, reader, _, mut writer) = open_sim(&disk, small());
    let mut forged = Vec::new();
    segment::push_record(
        &mut forged,
        b"invented",
        Key::new(&[7; 16]).sum(b"invented"),
        1,
    );
    now(appender.append(&forged)).unwrap();
    now(appender.append(b"true")).unwrap();
    assert!(writer.commit());
    drop((appender, reader, writer));
    disk.flip(&segment::segment_name(0), 48, 1);
    let (_appender, mut reader, _, _writer) = open_sim(&disk.kill(), small());
    assert_eq!(read_all(&mut reader).0, [(1, b"true".to_vec())]);
}

#[test]
fn after_a_failed_sync_the_same_records_go_into_a_new_segment() {
    let disk = SimDisk::default();
    let (appender, _reader, _, mut writer) = open_sim(&disk, small());
    now(appender.append(b"first")).unwrap();
    assert!(writer.commit());
    now(appender.append(b"second")).unwrap();
    disk.fail_syncs(1);
    assert!(!writer.commit());
    assert!(
        appender
            .depth()
            .last_error
            .unwrap()
            .contains("input/output error")
    );
    assert!(waits(appender.durable(1)));
    now(appender.append(b"third")).unwrap();
    assert!(writer.commit() && writer.commit());
    assert_eq!(appender.depth().last_error, None);
    // The page cache would have shown the second record in the first segment; the power failure shows what is true.
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk.crash(1), small());
    assert_eq!(recovered.damaged, []);
    let got: Vec<_> = read_all(&mut reader)
        .0
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(
        got,
        [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()]
    );
}

#[test]
fn a_full_disk_is_waited_for_and_loses_nothing() {
    let disk = SimDisk::default();
    let (appender, mut reader, _, mut writer) = open_sim(&disk, small());
    for seq in 0..8 {
        assert_eq!(now(appender.append(&[1; 100])), Ok(seq));
        assert!(writer.commit());
    }
    disk.set_capacity(Some(disk.used() + 50));
    assert_eq!(now(appender.append(&[2; 100])), Ok(8));
    assert!(!writer.commit() && !writer.commit());
    assert!(appender.depth().last_error.is_some());
    reader.release(8);
    writer.housekeep();
    assert!(writer.commit());
    assert_eq!(appender.depth().last_error, None);
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk.crash(2), small());
    assert_eq!(recovered.damaged, []);
    assert_eq!(numbers(&read_all(&mut reader).0), [8]);
}

#[test]
fn at_the_limit_appending_waits_until_something_is_released() {
    let disk = SimDisk::default();
    let options = Options {
        limit_bytes: 5000,
        ..small()
    };
    let (appender, mut reader, _, mut writer) = open_sim(&disk, options);
    let mut appended = 0;
    while !waits(appender.append(&[1; 100])) {
        appended += 1;
        assert!(writer.commit());
    }
    assert!(appended > 20 && disk.used() <= 5000 + 8192);
    assert!(appender.depth().paused);
    reader.release(appended);
    writer.housekeep();
    assert!(!appender.depth().paused);
    assert_eq!(now(appender.append(&[1; 100])), Ok(appended));
}

#[test]
fn at_the_limit_records_are_refused_if_that_is_the_policy() {
    let disk = SimDisk::default();
    let options = Options {
        limit_bytes: 5000,
        when_full: WhenFull::Drop,
        ..small()
    };
    let (appender, _reader, _, mut writer) = open_sim(&disk, options);
    let refused = (0..100).find_map(|_| {
        let refused = now(appender.append(&[1; 100])).err();
        assert!(writer.commit());
        refused
    });
    assert_eq!(refused, Some(AppendError::Full));
}

#[test]
fn the_buffer_in_memory_is_bounded() {
    let disk = SimDisk::default();
    let (appender, _reader, _, mut writer) = open_sim(&disk, small());
    let taken = (0..1000)
        .take_while(|_| !waits(appender.append(&[1; 100])))
        .count();
    assert_eq!(taken, 8192 / 116);
    assert!(writer.commit());
    assert!(!waits(appender.append(&[1; 100])));
}

#[test]
fn numbering_goes_on_behind_what_the_store_holds() {
    let disk = SimDisk::default();
    filled(&disk, 3);
    let (appender, mut reader, _, mut writer) = open_sim(&disk, small());
    reader.release(50);
    assert_eq!(now(appender.append(b"new")), Ok(50));
    assert!(writer.commit());
    assert_eq!(numbers(&read_all(&mut reader).0[3..]), [50]);
    drop((appender, reader, writer));
    let (_appender, mut reader, recovered, _writer) = open_sim(&disk.kill(), small());
    assert_eq!(recovered.damaged, []);
    assert!(numbers(&read_all(&mut reader).0).ends_with(&[50]));
}

/// What the model test does next.
#[derive(Clone, Debug)]
enum Action {
    Append(usize),
    Commit,
    CommitFails,
    DiskFull(bool),
    Read(usize),
    Release,
    Housekeep,
    Rewind,
    Flip(u64),
    Reopen,
    Kill,
    Crash(u64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (0..300_usize).prop_map(Action::Append),
        8 => Just(Action::Commit),
        1 => Just(Action::CommitFails),
        1 => any::<bool>().prop_map(Action::DiskFull),
        5 => (1..9_usize).prop_map(Action::Read),
        2 => Just(Action::Release),
        2 => Just(Action::Housekeep),
        1 => Just(Action::Rewind),
        1 => any::<u64>().prop_map(Action::Flip),
        1 => Just(Action::Reopen),
        2 => Just(Action::Kill),
        2 => any::<u64>().prop_map(Action::Crash),
    ]
}

/// What must be true of the spool.
struct Model {
    disk: SimDisk,
    parts: Option<Parts>,
    /// Every record that got a number, under its last meaning.
    appended: BTreeMap<u64, Vec<u8>>,
    /// Numbers below were confirmed or read, and may not be given away again.
    settled_seq: u64,
    /// Confirmed, neither read, released, nor reported missing since.
    owed: BTreeMap<u64, Vec<u8>>,
    confirmed: BTreeMap<u64, Vec<u8>>,
    released_seq: u64,
    position: u64,
    flips: usize,
    lost: usize,
    missing: Vec<Range<u64>>,
    fill: u8,
}

impl Model {
    fn new() -> Self {
        let disk = SimDisk::default();
        let parts = Some(open_sim(&disk, small()));
        Self {
            disk,
            parts,
            appended: BTreeMap::new(),
            settled_seq: 0,
            owed: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            released_seq: 0,
            position: 0,
            flips: 0,
            lost: 0,
            missing: Vec::new(),
            fill: 0,
        }
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Append(length) => self.append(length),
            Action::Commit => self.commit(),
            Action::CommitFails => {
                self.disk.fail_syncs(1);
                self.commit();
                self.disk.fail_syncs(0);
            }
            Action::DiskFull(full) => self.disk.set_capacity(full.then(|| self.disk.used() + 40)),
            Action::Read(count) => self.read(count),
            Action::Release => {
                self.released_seq = self.released_seq.max(self.position);
                let position = self.position;
                self.parts().1.release(position);
            }
            Action::Housekeep => self.parts().3.housekeep(),
            Action::Rewind => {
                self.position = self.released_seq;
                let seq = self.position;
                self.parts().1.rewind(seq);
                let confirmed = self
                    .confirmed
                    .range(seq..)
                    .map(|(seq, bytes)| (*seq, bytes.clone()));
                self.owed = confirmed.collect();
            }
            Action::Flip(seed) => self.flip(seed),
            Action::Reopen => {
                self.disk.set_capacity(None);
                self.parts().3.finish();
                self.parts = None;
                self.reopen();
            }
            Action::Kill => self.restart(self.disk.kill()),
            Action::Crash(seed) => self.restart(self.disk.crash(seed)),
        }
    }

    fn parts(&mut self) -> &mut Parts {
        self.parts.as_mut().unwrap()
    }

    fn append(&mut self, length: usize) {
        self.fill = self.fill.wrapping_add(1);
        let record = vec![self.fill; length];
        let appender = self.parts().0.clone();
        // A buffer that is full makes the future wait: it is dropped, and nothing may have been appended.
        if let Some(seq) = poll_once(appender.append(&record)) {
            let seq = seq.unwrap();
            assert!(seq >= self.settled_seq, "number {seq} is used again");
            self.appended.insert(seq, record);
        }
    }

    fn commit(&mut self) {
        self.parts().3.commit();
        let durable_seq = self.parts().0.depth().durable_seq;
        let new = self
            .appended
            .range(self.settled_seq.min(durable_seq)..durable_seq);
        for (seq, record) in new {
            self.confirmed.insert(*seq, record.clone());
            self.owed.insert(*seq, record.clone());
        }
        self.settled_seq = self.settled_seq.max(durable_seq);
    }

    fn read(&mut self, count: usize) {
        let Some(batch) = self.parts().1.read_now(count, 500).unwrap() else {
            return;
        };
        self.missing
            .extend(batch.damage.iter().map(|damage| damage.missing.clone()));
        for (seq, bytes) in batch.iter() {
            assert!(seq >= self.position, "record {seq} comes out of order");
            assert_eq!(
                self.appended.get(&seq).map(Vec::as_slice),
                Some(bytes),
                "record {seq} is invented"
            );
            self.pass(self.position..seq);
            self.owed.remove(&seq);
            // Only durable records are read: a killed process's too, once they are given to us.
            self.confirmed.insert(seq, bytes.to_vec());
            self.position = seq + 1;
        }
        self.pass(self.position..batch.next_seq);
        self.position = self.position.max(batch.next_seq);
        self.settled_seq = self.settled_seq.max(self.position);
    }

    /// Whatever the reader passed over and owes us must have been reported missing, and is owed no more.
    fn pass(&mut self, passed: Range<u64>) {
        let owed: Vec<u64> = self.owed.range(passed).map(|(seq, _)| *seq).collect();
        for seq in owed {
            self.owed.remove(&seq);
            self.confirmed.remove(&seq);
            self.lost += 1;
            assert!(
                self.missing.iter().any(|range| range.contains(&seq)),
                "record {seq} is passed over in silence"
            );
        }
    }

    fn flip(&mut self, seed: u64) {
        let mut dice = Dice::new(seed);
        let names = self.disk.names(".log");
        let Some(name) = names.get(dice.below(names.len() as u64) as usize) else {
            return;
        };
        let offset = dice.below(self.disk.length(name));
        self.disk.flip(name, offset, 1 << dice.below(8));
        self.flips += 1;
    }

    fn restart(&mut self, disk: SimDisk) {
        self.parts = None;
        self.disk = disk;
        self.reopen();
    }

    fn reopen(&mut self) {
        let parts = open_sim(&self.disk, small());
        let recovered = &parts.2;
        self.missing.extend(
            recovered
                .damaged
                .iter()
                .map(|damage| damage.missing.clone()),
        );
        assert!(
            recovered.next_seq >= self.settled_seq,
            "numbers would be used again"
        );
        // Records that were never confirmed may be gone; those that are there count from now on.
        self.appended.retain(|seq, _| *seq < recovered.next_seq);
        if recovered.torn_tail_bytes > 0 && self.flips > 0 {
            // A flip in the last record cannot be told from a torn tail: it is cut and its copy kept.
            self.missing
                .push(recovered.next_seq - SKIP_AFTER_CRASH..recovered.next_seq);
            self.missing.extend(
                self.confirmed
                    .keys()
                    .next_back()
                    .map(|last| *last..*last + 1),
            );
        }
        self.position = recovered.first_seq.min(self.released_seq);
        self.settled_seq = self.settled_seq.max(recovered.next_seq);
        let position = self.position;
        self.owed = self
            .confirmed
            .range(self.released_seq..)
            .map(|(seq, bytes)| (*seq, bytes.clone()))
            .collect();
        self.parts = Some(parts);
        self.parts().1.rewind(position);
    }

    /// In the end everything that is owed comes, but for what the flips destroyed.
    fn settle(&mut self) {
        self.disk.set_capacity(None);
        self.restart(self.disk.crash(0));
        let mut before = u64::MAX;
        while before != self.position {
            before = self.position;
            self.read(100);
        }
        let lost = self.lost + self.owed.len();
        assert!(
            lost <= self.flips,
            "{lost} lost, by {} flips; unread: {:?}",
            self.flips,
            self.owed.keys()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_confirmed_is_lost_whatever_happens(actions in prop::collection::vec(action(), 1..80)) {
        let mut model = Model::new();
        for action in actions {
            model.run(action);
        }
        model.settle();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_real_directory_takes_and_gives_back_across_an_orderly_restart() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let options = Options {
            segment_bytes: 64 * 1024,
            ..Options::default()
        };
        let (appender, mut reader, _) = Spool::open(dir.path(), options.clone()).unwrap();
        assert!(matches!(
            Spool::open(dir.path(), options.clone()),
            Err(SpoolError::InUse(_))
        ));
        let feeding = appender.clone();
        let feeder = tokio::spawn(async move {
            for seq in 0..2000_u64 {
                assert_eq!(feeding.append(&seq.to_le_bytes().repeat(20)).await, Ok(seq));
            }
            feeding.durable(1999).await.unwrap();
        });
        let mut expected = 0;
        while expected < 1000 {
            let batch = reader.next_batch(100, 1 << 20).await.unwrap();
            for (seq, bytes) in batch.iter() {
                assert_eq!(
                    (seq, bytes),
                    (expected, seq.to_le_bytes().repeat(20).as_slice())
                );
                expected += 1;
            }
            reader.release(batch.next_seq);
        }
        feeder.await.unwrap();
        appender.close().await.unwrap();
        reader.close().await;

        let (appender, mut reader, recovered) = Spool::open(dir.path(), options).unwrap();
        assert_eq!((recovered.next_seq, recovered.first_seq), (2000, expected));
        appender.close().await.unwrap();
        while let Ok(batch) = reader.next_batch(100, 1 << 20).await {
            expected += batch.len() as u64;
        }
        assert_eq!(expected, 2000);
    });
}

#[test]
fn a_cancelled_read_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (appender, mut reader, _) = Spool::open(dir.path(), small()).unwrap();
        for seq in 0..50_u64 {
            appender.append(&seq.to_le_bytes()).await.unwrap();
        }
        appender.durable(49).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 50 {
            // Polled once, then dropped while the read runs.
            assert!(waits(reader.next_batch(10, 1000)));
            let batch = reader.next_batch(10, 1000).await.unwrap();
            seen.extend(batch.iter().map(|(seq, _)| seq));
        }
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn appending_at_the_limit_goes_on_by_itself_when_the_reader_releases() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let options = Options {
            limit_bytes: 20_000,
            segment_bytes: 4000,
            ..small()
        };
        let (appender, mut reader, _) = Spool::open(dir.path(), options).unwrap();
        let feeding = appender.clone();
        let feeder = tokio::spawn(async move {
            for seq in 0..1000_u64 {
                assert_eq!(feeding.append(&[7; 200]).await, Ok(seq));
            }
        });
        let mut seen = 0;
        while seen < 1000 {
            let batch = reader.next_batch(16, 1 << 20).await.unwrap();
            seen += batch.len();
            assert!(appender.depth().bytes <= 20_000);
            reader.release(batch.next_seq);
        }
        feeder.await.unwrap();
    });
}

/// Says to this test binary that it is the process to be killed.
const CHILD_VARIABLE: &str = "XMPP_ARCHIVER_SPOOL_TEST_DIR";

/// Not a test by itself: it appends for ever and prints what is durable, until its parent kills it.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_VARIABLE) else {
        return;
    };
    runtime().block_on(async {
        let options = Options {
            segment_bytes: 256 * 1024,
            ..Options::default()
        };
        let (appender, _reader, _) = Spool::open(Path::new(&dir), options).unwrap();
        loop {
            let mut last = 0;
            for _ in 0..500 {
                last = appender.append(&[3; 300]).await.unwrap();
            }
            appender.durable(last).await.unwrap();
            println!("durable {last}");
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_that_was_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let mut confirmed = Vec::new();
    for round in 1..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "spool::tests::the_process_that_is_killed",
                "--nocapture",
            ])
            .env(CHILD_VARIABLE, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let durable = lines
            .map_while(Result::ok)
            .filter_map(|line| line.rsplit_once("durable ")?.1.parse::<u64>().ok());
        let last = durable.take(5 * round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        confirmed.push(last + 1 - 2500 * round as u64..last + 1);
    }
    let (_appender, mut reader, recovered, _writer) = open_on(
        Arc::new(RealDisk::open(dir.path()).unwrap()),
        Options::default(),
    )
    .unwrap()
    .unwrap();
    assert_eq!(recovered.damaged, []);
    let (records, damage) = read_all(&mut reader);
    assert_eq!(damage, []);
    let seqs = numbers(&records);
    for seq in confirmed.into_iter().flatten() {
        assert!(seqs.binary_search(&seq).is_ok(), "record {seq} is lost");
    }
    assert!(records.iter().all(|(_, bytes)| bytes == &[3; 300]));
}
