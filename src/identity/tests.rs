//! How much work equal messages make.

use super::known::COMPARISONS;
use super::*;
use crate::message::address::Address;
use crate::message::rooms::Rooms;
use crate::message::{FromHistory, IdKind, Normalised, normalise};
use crate::mirror::{Copy, Method};
use crate::node::Node;
use crate::xml::{COMPONENT_NS, Document};

const AT: Micros = 1_795_332_535_000_000;

/// A row of an archive that says "ok" without an id.
fn row(number: usize, archive: &str) -> Message {
    let document = Document::parse(b"<message from='alice@h/d' to='bob@h' type='chat'><body>ok</body></message>", COMPONENT_NS).unwrap();
    let node = Node { hosts: ["h".to_owned()].into(), ..Node::default() };
    let copy = Copy {
        method: Method::Routed,
        source: Source::Archive,
        stanza: document.root(),
        owner: Some(Address::parse(archive)),
        sent_carbon: false,
        archive_id: None,
        stamp: Some(AT + number as Micros * 1_000),
    };
    let Normalised::Message(mut message) = normalise(&copy, &node, &Rooms::default(), AT * 2, None) else { panic!("no message") };
    message.history = Some(FromHistory { via: 3 });
    message.exact_ids = vec![ExactId { kind: IdKind::Row, by: archive.to_owned(), value: number.to_string() }];
    *message
}

/// Gives rows to identity as the writer does, a batch at a time; tells how many messages they are and how often two were compared.
fn compared(rows: &[Message]) -> (i64, u64) {
    let mut identity = Identity::new(Keyring::new([7; 16]), JOIN_WINDOW);
    COMPARISONS.set(0);
    let mut messages = 0;
    for batch in rows.chunks(500) {
        identity.make_room();
        let keyed = |message: &Message, identity: &Identity| {
            let keyring = identity.keyring();
            let exact = message.exact_ids.iter().map(|id| keyring.exact(id)).collect();
            Keyed { hash: keyring.content(message), exact, channel: Channel(0), shape: 0, feed: None, step: None }
        };
        let mut wanted: Vec<(&Message, Keyed)> = batch.iter().map(|message| (message, keyed(message, &identity))).collect();
        wanted.sort_by_cached_key(|(message, keyed)| identity.distance(message, keyed).unwrap_or(Micros::MAX));
        for (message, keyed) in wanted {
            messages += i64::from(identity.decide(message, &keyed, messages + 1).is_new);
        }
    }
    (messages, COMPARISONS.get())
}

#[test]
fn equal_rows_of_an_import_are_not_compared_with_all_before_them() {
    for rows in [2_000, 8_000] {
        let one: Vec<Message> = (0..rows).map(|number| row(number, "alice@h")).collect();
        let (messages, comparisons) = compared(&one);
        assert_eq!(messages, rows as i64);
        assert!(comparisons <= 4 * rows as u64, "{comparisons} comparisons for {rows} rows");
    }
}

/// Both sides keep what was said, and the rows come in the order of time.
#[test]
fn equal_rows_of_two_archives_are_compared_with_those_near_them() {
    let rows = 2_000;
    let both: Vec<Message> = (0..rows).flat_map(|number| [row(number, "alice@h"), row(number, "bob@h")]).collect();
    let (messages, comparisons) = compared(&both);
    assert_eq!(messages, rows as i64);
    assert!(comparisons <= 1_000 * rows as u64, "{comparisons} comparisons for {rows} rows of each");
}
