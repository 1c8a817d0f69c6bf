//! Two archivers for one node, each with a component domain of its own and a full feed, write into one database: the rows are the same as from one,
//! and either may be killed at any time.

use std::rc::Rc;
use std::sync::Arc;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::client::Client;
use crate::support::ledger::Ledger;
use crate::support::line::{chat, groupchat};
use crate::support::mariadb::MariaDb;
use crate::support::node::{Kind, Node};
use crate::support::postgres::Postgres;
use crate::support::process::Directory;
use crate::support::queue::{QueueNode, assert_exact};
use crate::support::stage::Stage;

/// Alice and Bob talk, in private and in a room, and say the same thing more than once.
fn talk(stage: &Stage, people: &[Rc<Client>; 2], room: &str, topic: &str) {
    let [alice, bob] = people;
    for round in 0..4 {
        stage.say_to(alice, chat(&bob.account, &format!("{topic}, question {round}")), &[bob]);
        stage.say_to(bob, chat(&alice.account, "yes"), &[alice]);
        stage.say_to(alice, groupchat(room, &format!("{topic}, to all {round}")), &[alice, bob]);
    }
}

fn wait_until_attached(archiver: &Archiver) {
    archiver.wait_until("the archiver to be attached", |status| status["nodes"][0]["state"] == "online");
}

/// What an archive holds of everything that was said, whatever the order of its commits: each message with its copies, errors, joins and leaves.
fn contents(ledger: &Ledger) -> Vec<String> {
    let mut contents: Vec<String> = ledger
        .rows
        .iter()
        .filter(|row| !row.sender.as_deref().unwrap_or_default().starts_with("probe@"))
        .map(|row| {
            let mut copies: Vec<_> =
                row.copies.iter().map(|copy| format!("{:?} {} {}", copy.recipient, copy.direction, copy.source)).collect();
            copies.sort();
            let who = format!("{:?} {:?} {:?} {:?}", row.sender, row.sender_nick, row.recipient, row.recipient_nick);
            format!("{} {who} {:?} {:?} {:?} {} {copies:?}", row.conversation, row.stanza_id, row.subject, row.body, row.node)
        })
        .collect();
    contents.extend(ledger.occupancy.iter().map(|event| format!("{event:?}")));
    contents.extend(ledger.bounces.iter().map(|bounce| format!("{:?} {}", bounce.stanza_id, bounce.condition)));
    contents.sort();
    contents
}

/// A third archiver with a database of its own, which nobody disturbs, has the truth.
fn either_dies(kind: Kind) {
    let node = Node::start_feeding(kind, 3);
    let place = Directory::new(None);
    let shared = Store::Sqlite(place.path().join("shared.sqlite"));
    let alone = Store::Sqlite(place.path().join("alone.sqlite"));
    let mut witness = Archiver::of_feed(&alone, &node, 2);
    witness.set_settings(
        &witness.settings().lines().filter(|line| !line.starts_with("same_as")).map(|line| format!("{line}\n")).collect::<String>(),
    );
    witness.start();
    let mut second = Archiver::of_feed(&shared, &node, 1);
    second.start();
    let first = Archiver::of_feed(&shared, &node, 0);
    let stage = Stage::with(vec![node], first);
    wait_until_attached(&witness);
    wait_until_attached(&second);
    let room = stage.room("twice");
    let people = [stage.enter("alice", "desk"), stage.enter("bob", "phone")];
    let [alice, bob] = &people;
    alice.create_room(&room, "Alice", &[]);
    bob.join(&room, "Bob");
    talk(&stage, &people, &room, "with both");
    stage.archiver.borrow_mut().kill();
    talk(&stage, &people, &room, "without the first");
    stage.archiver.borrow_mut().start();
    wait_until_attached(&stage.archiver.borrow());
    second.kill();
    talk(&stage, &people, &room, "without the second");
    second.start();
    wait_until_attached(&second);
    talk(&stage, &people, &room, "with both again");
    stage.settle();
    second.wait_until_stored();
    witness.wait_until_stored();
    stage.check();
    let (shared, alone) = (shared.ledger(), alone.ledger());
    let witness_name = alone.rows.first().expect("a row").node.clone();
    let name = shared.rows.first().expect("a row").node.clone();
    let alone: Vec<String> = contents(&alone).into_iter().map(|row| row.replace(&witness_name, &name)).collect();
    let shared = contents(&shared);
    let missing: Vec<_> = alone.iter().filter(|row| !shared.contains(row)).collect();
    let further: Vec<_> = shared.iter().filter(|row| !alone.contains(row)).collect();
    assert!(shared == alone, "missing: {missing:#?}\nfurther: {further:#?}");
}

#[test]
fn of_prosody_and_either_archiver_dies() {
    either_dies(Kind::Prosody);
}

#[test]
fn of_ejabberd_and_either_archiver_dies() {
    either_dies(Kind::Ejabberd);
}

/// Two queues, two archivers, all in one database, and a kill after the other.
fn of_a_queueing_node(store: Store) {
    let mut feeds = [QueueNode::named("node", "archive.h"), QueueNode::named("further", "archive2.h")];
    let [one, two] = &mut feeds;
    two.node.be_further_feed_of("node");
    let settings = "batch_messages = 20";
    let mut archivers = [
        Archiver::for_played_on(store.clone(), Directory::new(None), settings, &[&one.node]),
        Archiver::for_played_on(store, Directory::new(None), settings, &[&two.node]),
    ];
    archivers.iter_mut().for_each(Archiver::start);
    feeds.iter_mut().for_each(QueueNode::accept);
    for round in 0..4 {
        for feed in &mut feeds {
            feed.say_many(&format!("round {round}, line"), 40);
            assert!(feed.push(30 * round));
        }
        let dying = round % 2;
        archivers[dying].kill();
        feeds[1 - dying].say_many(&format!("round {round}, alone"), 10);
        feeds[dying].say_many(&format!("round {round}, alone"), 10);
        assert!(feeds[1 - dying].push(0));
        archivers[dying].start();
        feeds[dying].accept();
    }
    for (feed, archiver) in feeds.iter_mut().zip(&mut archivers) {
        feed.drain();
        archiver.wait_until_stored();
        archiver.stop();
    }
    let mut ledger = archivers[0].store.ledger();
    // The order of what one brought alone is that of the commits.
    let mut said = feeds[0].said.clone();
    said.sort();
    ledger.rows.sort_by(|one, other| one.body.cmp(&other.body));
    (1..).zip(&mut ledger.rows).for_each(|(id, row)| row.id = id);
    ledger.rows.iter_mut().for_each(|row| row.copies.sort_by_key(|copy| copy.direction));
    assert_exact(&ledger, &said);
    assert!(ledger.rows.iter().all(|row| row.node == "node"), "{ledger}");
}

#[test]
fn of_a_queueing_node_in_sqlite() {
    let place = Directory::new(None);
    of_a_queueing_node(Store::new(StoreKind::Sqlite, &place));
}

#[test]
fn of_a_queueing_node_in_postgres() {
    let server = Arc::new(Postgres::start());
    of_a_queueing_node(Store::Postgres(server.new_database()));
}

#[test]
fn of_a_queueing_node_in_mariadb() {
    let server = Arc::new(MariaDb::start());
    of_a_queueing_node(Store::MariaDb(server.new_database()));
}
