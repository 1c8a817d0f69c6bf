//! What stops and comes back: the archiver, its database, the node. What the archiver has taken from the node is never lost and never doubled.

use std::rc::Rc;
use std::sync::Arc;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::client::Client;
use crate::support::line::{chat, groupchat};
use crate::support::mariadb::MariaDb;
use crate::support::node::{Kind, Node};
use crate::support::postgres::Postgres;
use crate::support::stage::{Stage, scenarios};

scenarios! {
    archiver_stopped_and_started,
    archiver_killed_and_started,
    node_crashed_and_restarted,
}

const ROUNDS: usize = 5;

/// Alice and Bob talk, in private and in a room, each numbered message heard before the next.
fn talk(stage: &Stage, people: &[Rc<Client>; 2], room: &str, topic: &str) {
    let [alice, bob] = people;
    for round in 0..ROUNDS {
        let line = chat(&bob.account, &format!("{topic}, question {round}"));
        stage.say_to(alice, line, &[bob]);
        let line = chat(&alice.account, &format!("{topic}, answer {round}"));
        stage.say_to(bob, line, &[alice]);
        let line = groupchat(room, &format!("{topic}, to all {round}"));
        stage.say_to(alice, line, &[alice, bob]);
    }
}

fn enter(stage: &Stage, room: &str) -> [Rc<Client>; 2] {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    alice.create_room(room, "Alice", &[]);
    bob.join(room, "Bob");
    [alice, bob]
}

fn archiver_stopped_and_started(stage: &Stage) {
    let room = stage.room("pause");
    let people = enter(stage, &room);
    talk(stage, &people, &room, "before");
    stage.settle_in_spool();
    stage.archiver.borrow_mut().stop();
    stage.archiver.borrow_mut().start();
    stage.wait_until_attached();
    talk(stage, &people, &room, "after");
}

fn archiver_killed_and_started(stage: &Stage) {
    let room = stage.room("crash");
    let people = enter(stage, &room);
    for round in ["first", "second", "third"] {
        talk(stage, &people, &room, round);
        stage.settle_in_spool();
        stage.archiver.borrow_mut().kill();
        stage.archiver.borrow_mut().start();
        stage.wait_until_attached();
    }
    talk(stage, &people, &room, "last");
}

fn node_crashed_and_restarted(stage: &Stage) {
    let room = stage.room("reboot");
    let people = enter(stage, &room);
    talk(stage, &people, &room, "before");
    stage.settle();
    stage.restart_node();
    let people = enter(stage, &room);
    talk(stage, &people, &room, "after");
}

#[test]
fn postgres_away_for_a_while() {
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    database_away(&store, || server.stop(), || server.restart());
}

#[test]
fn postgres_crashed() {
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    database_away(&store, || server.kill(), || server.restart());
}

/// The connections stay open and nothing answers.
#[test]
fn postgres_frozen() {
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    database_away(&store, || server.pause(), || server.go_on());
}

#[test]
fn mariadb_away_for_a_while() {
    let server = Arc::new(MariaDb::start());
    let store = Store::MariaDb(server.new_database());
    database_away(&store, || server.stop(), || server.restart());
}

#[test]
fn mariadb_crashed() {
    let server = Arc::new(MariaDb::start());
    let store = Store::MariaDb(server.new_database());
    database_away(&store, || server.kill(), || server.restart());
}

#[test]
fn mariadb_frozen() {
    let server = Arc::new(MariaDb::start());
    let store = Store::MariaDb(server.new_database());
    database_away(&store, || server.pause(), || server.go_on());
}

/// While the database is away the archiver goes on receiving; it is even killed meanwhile.
fn database_away(store: &Store, leave: impl Fn(), come_back: impl Fn()) {
    let node = Node::start(Kind::Prosody);
    let archiver = Archiver::on(store, &[&node]);
    let stage = Stage::with(vec![node], archiver);
    let room = stage.room("outage");
    let people = enter(&stage, &room);
    talk(&stage, &people, &room, "before");
    stage.settle();
    leave();
    talk(&stage, &people, &room, "meanwhile");
    stage.settle_in_spool();
    stage.archiver.borrow_mut().kill();
    come_back();
    stage.archiver.borrow_mut().start();
    stage.wait_until_attached();
    leave();
    talk(&stage, &people, &room, "away again");
    stage.settle_in_spool();
    come_back();
    talk(&stage, &people, &room, "after");
    stage.check();
}

/// Two processes, each for a node of its own, share a database.
#[test]
fn two_archivers_share_a_database() {
    let (one, other) = (Node::start(Kind::Prosody), Node::start(Kind::Ejabberd));
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    let one = Stage::with_archiver_on(&store, one);
    let other = Stage::with_archiver_on(&store, other);
    for stage in [&one, &other] {
        let room = stage.room("shared");
        let people = enter(stage, &room);
        talk(stage, &people, &room, "on one of two");
    }
    one.settle();
    other.settle();
    Stage::check_all(&[&one, &other]);
}

/// The same with one process, and with SQLite.
#[test]
fn two_nodes_share_an_archiver() {
    let nodes = vec![Node::start(Kind::Prosody), Node::start(Kind::Ejabberd)];
    let archiver = Archiver::new(StoreKind::Sqlite, &[&nodes[0], &nodes[1]]);
    let stage = Stage::with(nodes, archiver);
    for node in stage.nodes() {
        let alice = stage.enter_at(&node, "alice", "desk");
        let bob = stage.enter_at(&node, "bob", "phone");
        for round in 0..ROUNDS {
            let line = chat(&bob.account, &format!("question {round}")).id(&format!("q{round}"));
            stage.say_to(&alice, line, &[&bob]);
        }
    }
    stage.check();
}
