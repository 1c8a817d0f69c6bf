//! Random actions on a simulated disk, against a model of what the spool promises: nothing confirmed is lost, nothing comes out of order,
//! nothing is invented, no number is used twice, and what a turned bit destroys is reported.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::sim::{Dice, SimDisk};
use super::tests::{open_sim, poll_once, small};
use super::*;

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
                let confirmed = self.confirmed.range(seq..).map(|(seq, bytes)| (*seq, bytes.clone()));
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
        let new = self.appended.range(self.settled_seq.min(durable_seq)..durable_seq);
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
        self.missing.extend(batch.damage.iter().map(|damage| damage.missing.clone()));
        for (seq, bytes) in batch.iter() {
            assert!(seq >= self.position, "record {seq} comes out of order");
            assert_eq!(self.appended.get(&seq).map(Vec::as_slice), Some(bytes), "record {seq} is invented");
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
            assert!(self.missing.iter().any(|range| range.contains(&seq)), "record {seq} is passed over in silence");
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
        self.missing.extend(recovered.damaged.iter().map(|damage| damage.missing.clone()));
        assert!(recovered.next_seq >= self.settled_seq, "numbers would be used again");
        // Records that were never confirmed may be gone; those that are there count from now on.
        self.appended.retain(|seq, _| *seq < recovered.next_seq);
        if recovered.torn_tail_bytes > 0 && self.flips > 0 {
            // A flip in the last record cannot be told from a torn tail: it is cut and its copy kept.
            self.missing.push(recovered.next_seq - SKIP_AFTER_CRASH..recovered.next_seq);
            self.missing.extend(self.confirmed.keys().next_back().map(|last| *last..*last + 1));
        }
        self.position = recovered.first_seq.min(self.released_seq);
        self.settled_seq = self.settled_seq.max(recovered.next_seq);
        let position = self.position;
        self.owed = self.confirmed.range(self.released_seq..).map(|(seq, bytes)| (*seq, bytes.clone())).collect();
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
        assert!(lost <= self.flips, "{lost} lost, by {} flips; unread: {:?}", self.flips, self.owed.keys());
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
