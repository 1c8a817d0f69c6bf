//! Two servers, one Prosody and one ejabberd, whose users write to each other: each mirrors only its own half, and the archive holds one message.

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::client::Client;
use crate::support::line::{chat, groupchat, normal};
use crate::support::node::Node;
use crate::support::postgres;
use crate::support::stage::Stage;

/// One archiver for both servers.
#[test]
fn both_halves_in_one_archiver() {
    let [one, other] = Node::start_two();
    let archiver = Archiver::new(StoreKind::Sqlite, &[&one, &other]);
    let stage = Stage::with(vec![one, other], archiver);
    people_of_two_servers_talk(&stage);
    stage.check();
}

/// An archiver for each server, which share a database.
#[test]
fn each_half_in_its_own_archiver() {
    let [one, other] = Node::start_two();
    let store = Store::Postgres(postgres::database());
    let mut second = Archiver::on(&store, &[&other]);
    second.start();
    let first = Archiver::on(&store, &[&one]);
    let stage = Stage::with(vec![one, other], first);
    people_of_two_servers_talk(&stage);
    stage.check();
}

pub(crate) fn people_of_two_servers_talk(stage: &Stage) {
    let nodes = stage.nodes();
    let (paul, eve) = (stage.enter_at(&nodes[0], "alice", "phone"), stage.enter_at(&nodes[1], "bob", "desk"));
    stage.say_to(&eve, chat(&paul.account, "over the border"), &[&paul]);
    stage.say_to(&paul, chat(&eve.account, "and back"), &[&eve]);
    stage.say_to(&paul, chat(&eve.jid(), "to the full JID"), &[&eve]);
    stage.say_to(&eve, chat(&paul.jid(), "to the full JID too"), &[&paul]);
    let subject = normal(&paul.account, "with a subject").subject("Abroad");
    stage.say_to(&eve, subject, &[&paul]);
    stage.say_to(&eve, chat(&paul.account, "without an id").without_id(), &[&paul]);
    let nobody = nodes[0].bare("nobody");
    let id = stage.say(&eve, chat(&nobody, "to nobody over there"));
    eve.expect_error(&id);
    stage.say_to(&paul, chat(&eve.account, "the last one"), &[&eve]);
    in_a_room(stage, &nodes[1], &paul, &eve);
}

/// A room on the second server, with an occupant of the first.
fn in_a_room(stage: &Stage, node: &Node, guest: &std::rc::Rc<Client>, host: &std::rc::Rc<Client>) {
    let room = node.room("border");
    host.create_room(&room, "Host", &[]);
    guest.join(&room, "Guest");
    stage.say_to(host, groupchat(&room, "welcome"), &[host, guest]);
    stage.say_to(guest, groupchat(&room, "thank you"), &[host, guest]);
}
