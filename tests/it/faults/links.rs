//! The link at fault, to the node and to the database: cut in the midst of a stanza, silent without an end, slow, lossy, cut up into single bytes.

use std::sync::Arc;
use std::time::Duration;

use crate::support::archiver::{Archiver, Store};
use crate::support::mariadb::MariaDb;
use crate::support::postgres::Postgres;
use crate::support::process::Directory;
use crate::support::proxy::Proxy;
use crate::support::queue::{QueueNode, assert_exact};

/// So that silence is noticed soon.
const ATTENTIVE: &str = "ping_interval = '1s'\nping_timeout = '1s'\nconnect_timeout = '2s'";
const DELAY: Duration = Duration::from_millis(50);
const LOST_PERCENT: u32 = 5;

/// A node behind a link that can be made bad, and an archiver that is attached to it.
struct Linked {
    node: QueueNode,
    link: Proxy,
    archiver: Archiver,
}

impl Linked {
    fn new() -> Linked {
        let mut node = QueueNode::new();
        let link = Proxy::to(node.node.port());
        node.node = node.node.behind(link.port).with(ATTENTIVE);
        let directory = Directory::new(None);
        let store = Store::Sqlite(directory.path().join("archive.sqlite"));
        let mut archiver = Archiver::for_played_on(store, directory, "", &[&node.node]);
        archiver.start();
        node.accept();
        Linked { node, link, archiver }
    }

    fn finish(mut self) {
        self.node.drain();
        self.archiver.wait_until_stored();
        self.archiver.stop();
        assert_exact(&self.archiver.store.ledger(), &self.node.said);
    }
}

/// A stanza of which half has come is none; the whole one comes again with its number.
#[test]
fn to_the_node_cut_in_the_midst_of_a_stanza() {
    let mut linked = Linked::new();
    for bytes in [1, 700, 5_003] {
        linked.node.say_many(&format!("cut after {bytes}, line"), 20);
        linked.link.cut_after(bytes);
        linked.node.push(0);
        linked.node.accept();
    }
    linked.finish();
}

/// No end of the connection ever comes, in either direction: the archiver finds out by its ping, says so, and attaches anew.
#[test]
fn to_the_node_half_open() {
    let mut linked = Linked::new();
    linked.node.say_many("before", 20);
    assert!(linked.node.push(0));
    linked.link.fall_silent();
    linked.node.say_many("into the void", 20);
    linked.node.accept();
    let logged = linked.archiver.logged();
    assert!(logged.contains("the node fell silent and did not answer a ping"), "{logged}");
    linked.finish();
}

#[test]
fn to_the_node_slow_and_lossy() {
    let mut linked = Linked::new();
    linked.link.delay(DELAY);
    linked.link.lose(LOST_PERCENT);
    linked.node.say_many("slowly", 300);
    linked.finish();
}

#[test]
fn to_the_node_byte_by_byte() {
    let mut linked = Linked::new();
    linked.link.cut_up(1);
    linked.node.say_many("spelled", 50);
    linked.finish();
}

/// What is done to the link while the node goes on.
type Fault = fn(&Proxy);

fn to_the_database(store: Store, fault: Fault, mend: Fault) {
    let mut node = QueueNode::new();
    let link = Proxy::to(store.port().expect("a server"));
    let settings = "batch_messages = 50\nconnect_timeout = '1s'\nstatement_timeout = '1s'";
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), settings, &[&node.node]);
    archiver.reach_store_at(link.port);
    archiver.start();
    node.accept();
    node.say_many("before", 60);
    assert!(node.push(0));
    archiver.wait_until_stored();
    fault(&link);
    node.say_many("meanwhile", 200);
    assert!(node.push(0), "chat goes on");
    mend(&link);
    node.say_many("after", 60);
    assert!(node.push(0));
    archiver.wait_until_stored();
    archiver.stop();
    assert_exact(&archiver.store.ledger(), &node.said);
}

const SLOW: Fault = |link| {
    link.delay(DELAY);
    link.lose(LOST_PERCENT);
};
/// In the midst of an answer, each time that it has connected anew.
const CUT: Fault = |link| link.cut_after(300);
const NOTHING: Fault = |_| {};

macro_rules! database_links {
    ($($name:ident: $fault:expr, $mend:expr;)+) => {
        mod postgres {
            use super::*;
            $(#[test] fn $name() {
                let server = Arc::new(Postgres::start());
                to_the_database(Store::Postgres(server.new_database()), $fault, $mend);
            })+
        }
        mod mariadb {
            use super::*;
            $(#[test] fn $name() {
                let server = Arc::new(MariaDb::start());
                to_the_database(Store::MariaDb(server.new_database()), $fault, $mend);
            })+
        }
    };
}

database_links! {
    slow_and_lossy: SLOW, NOTHING;
    cut_in_the_midst_of_an_answer: CUT, NOTHING;
    byte_by_byte: |link| link.cut_up(1), NOTHING;
    half_open: Proxy::fall_silent, NOTHING;
    dead: Proxy::die, Proxy::come_back;
}
