//! The path of a stanza from a record of the spool to what the store is given. Whatever the bytes are, the record must come out whole.
//!
//! `cargo +nightly fuzz run stanza -- -max_len=8192`, best with the lines of `tests/fixtures/captures` as a corpus.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use xmpp_archiver::intake::record::Record;
use xmpp_archiver::node::Node;
use xmpp_archiver::pipeline::read::RecordReader;
use xmpp_archiver::policy::Policy;
use xmpp_archiver::store::batch::Item;

fuzz_target!(|stanza: &[u8]| {
    let node = Node {
        name: "node".to_owned(),
        domain: "archive.localhost".to_owned(),
        hosts: ["localhost".to_owned()].into(),
        muc: ["conference.localhost".to_owned()].into(),
        ..Node::default()
    };
    let mut reader = RecordReader::new(&[Arc::new(node)], Policy { receipts: true, markers: true, chat_states: true });
    let entry = reader.read(0, &Record::stanza("node", 1_795_332_535_000_000, Some(1), stanza).encode());
    assert_eq!(entry.stanza(), stanza);
    if let Item::Unreadable(why) = &entry.item {
        assert!(!why.contains("inside the program"), "{why}");
    }
});
