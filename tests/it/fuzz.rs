//! Stanzas that no server would send, by the ten thousand: real ones, mutated. Whatever comes, nothing panics, and what can't be read is kept.
//!
//! The numbers are those of a seed, so a failure comes again. `fuzz/` has the same path as a target for cargo-fuzz.

use std::sync::Arc;

use tokio::runtime::Runtime;
use xmpp_archiver::alarm::Alarms;
use xmpp_archiver::component::Intake;
use xmpp_archiver::intake::NodeIntake;
use xmpp_archiver::intake::record::Record;
use xmpp_archiver::node::Node;
use xmpp_archiver::pipeline::read::RecordReader;
use xmpp_archiver::policy::Policy;
use xmpp_archiver::spool::{Options, Spool};
use xmpp_archiver::stats::NodeStats;
use xmpp_archiver::store::batch::{Entry, Item};

use crate::support::capture::Capture;
use crate::support::pipe::START;
use crate::support::process::Directory;

const CASES: usize = 20_000;
/// Larger ones are as good as small ones here, and slower.
const MAX_SEED_BYTES: usize = 4_000;

/// Pieces that mean something to the code that reads them.
const PIECES: [&str; 22] = [
    "<mirror xmlns='urn:xmpp-archiver:mirror:0' direction='sent' ref='r' seq='18446744073709551615' epoch='e'>",
    "<occupants xmlns='urn:xmpp-archiver:mirror:0' room='r@m'><occupant nick='' jid='//'/></occupants>",
    "<forwarded xmlns='urn:xmpp:forward:0'>",
    "</forwarded>",
    "<sent xmlns='urn:xmpp:carbons:2'>",
    "<result xmlns='urn:xmpp:mam:2' id='x'>",
    "<delay xmlns='urn:xmpp:delay' stamp='-9999-01-01T00:00:00Z'/>",
    "<delay xmlns='urn:xmpp:delay' stamp='9999-12-31T23:59:59.999999999Z'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' by='localhost' id=''/>",
    "<x xmlns='http://jabber.org/protocol/muc#user'><invite to='@'/></x>",
    "<error type='cancel'/>",
    "<unbound:prefix/>",
    " type='error'",
    " type='groupchat'",
    " to='localhost/\u{202e}👍'",
    " from=''",
    "&#1;&#x10ffff;",
    "&#0;",
    "<![CDATA[ ]]>",
    "<!DOCTYPE a [<!ENTITY b 'c'>]>",
    "\0",
    "\u{feff}",
];

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    fn mutated(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].to_vec();
        for _ in 0..=self.below(4) {
            self.mutate(&mut bytes, seeds);
        }
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, seeds: &[&[u8]]) {
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(40)).min(bytes.len());
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
            3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            4 => bytes.splice(at..at, PIECES[self.below(PIECES.len())].bytes()).for_each(drop),
            5 => bytes.splice(at..end, seeds[self.below(seeds.len())].iter().copied().skip(at).take(200)).for_each(drop),
            6 => self.at_a_tag(bytes),
            _ => bytes.splice(at..end, [b'<', b'/', b'>', b'\'', b'"', b'=', b'&'][self.below(7)..].iter().copied().take(1)).for_each(drop),
        }
    }

    /// A piece where it fits, so that the result often is well-formed.
    fn at_a_tag(&mut self, bytes: &mut Vec<u8>) {
        let tags: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'<').collect();
        if let Some(at) = tags.get(self.below(tags.len())) {
            bytes.splice(at..at, PIECES[self.below(PIECES.len())].bytes()).for_each(drop);
        }
    }
}

fn node() -> Arc<Node> {
    Capture::load("ejabberd-servicelog", "a_one_resource").node()
}

/// Gives each case to `check`.
fn with_mutations(seed: u64, cases: usize, mut check: impl FnMut(&[u8])) {
    let captures = Capture::all();
    let lines = captures.iter().flat_map(|capture| &capture.lines);
    let seeds: Vec<&[u8]> = lines.map(|line| line.as_bytes()).filter(|line| line.len() <= MAX_SEED_BYTES).collect();
    let mut numbers = Numbers(seed);
    for _ in 0..cases {
        check(&numbers.mutated(&seeds));
    }
}

/// What came is still in the record that goes on, whatever was made of it.
fn assert_is_kept(entry: &Entry, stanza: &[u8]) {
    assert_eq!(entry.stanza(), stanza);
    if let Item::Unreadable(why) = &entry.item {
        assert!(!why.contains("inside the program"), "{why}: {}", String::from_utf8_lossy(stanza));
    }
}

#[test]
fn no_record_is_lost_or_panics_when_read() {
    let mut reader = RecordReader::new(&[node()], Policy { receipts: true, markers: true, chat_states: true });
    let mut seq = 0;
    let mut readable = 0;
    with_mutations(0x5eed, CASES, |stanza| {
        let entry = reader.read(seq, &Record::stanza("node", START, Some(1), stanza).encode());
        assert_is_kept(&entry, stanza);
        readable += usize::from(matches!(entry.item, Item::Message(_) | Item::Bounce(_) | Item::Occupancy(_)));
        seq += 1;
    });
    assert!(readable > CASES / 20, "only {readable} got further than the parser: the mutations are too wild to test much");
}

#[test]
fn damaged_records_are_kept_whole() {
    let mut reader = RecordReader::new(&[node()], Policy::default());
    let captures = Capture::all();
    let records: Vec<Vec<u8>> = captures
        .iter()
        .flat_map(|capture| &capture.lines)
        .map(|line| Record::stanza("node", START, None, line.as_bytes()).encode())
        .collect();
    let seeds: Vec<&[u8]> = records.iter().map(Vec::as_slice).filter(|record| record.len() <= MAX_SEED_BYTES).collect();
    let mut numbers = Numbers(0xdead);
    for seq in 0..CASES as u64 / 4 {
        let record = numbers.mutated(&seeds);
        assert_eq!(reader.read(seq, &record).record, record);
    }
}

/// The first look decides what is worth keeping: it may drop what says nothing, but it must not panic nor answer anything.
#[test]
fn the_intake_takes_anything() {
    let runtime = Runtime::new().expect("it works here");
    let directory = Directory::new(None);
    runtime.block_on(async {
        let (spool, reader, _recovered) = Spool::open(&directory.path().join("spool"), Options::default()).expect("it works here");
        let stats = Arc::new(NodeStats::default());
        let intake = NodeIntake::new(node(), spool.clone(), stats, Alarms::default(), Arc::default());
        let mut cases = Vec::new();
        with_mutations(0xfeed, CASES / 4, |stanza| cases.push(stanza.to_vec()));
        for stanza in &cases {
            let _answers_only_iqs = intake.take(stanza, START).await;
            intake.oversize(stanza, u64::MAX, START).await;
        }
        assert!(spool.depth().next_seq > 100);
        spool.close().await.expect("it works here");
        reader.close().await;
    });
}
