//! Our module on Prosody: the scenarios of the stock mirror, now without any doubt left; and what only a node that keeps a queue can do.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::Value;

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::client::Client;
use crate::support::component::Component;
use crate::support::line::{chat, groupchat};
use crate::support::node::{Kind, Mirror, Node};
use crate::support::process::wait_for;
use crate::support::stage::Stage;
use crate::support::stanza::Stanza;
use crate::{direct, federation, rooms};

fn perform(settings: &str, scenario: impl FnOnce(&Stage)) {
    let stage = Stage::set_with_module(Kind::Prosody, StoreKind::Sqlite, settings);
    scenario(&stage);
    stage.check_exactly();
}

mod people {
    use super::{direct, perform};

    macro_rules! scenarios {
        ($($scenario:ident),+ $(,)?) => { $(#[test] fn $scenario() { perform("", direct::$scenario); })+ };
    }
    scenarios! {
        one_resource,
        forked_without_carbons,
        forked_with_carbons,
        offline_and_later_online,
        reply_to_the_full_jid_with_a_thread,
        presence_priorities,
        to_oneself,
        identical_messages,
        unicode_and_big_messages,
        synchronising_the_archive_doubles_nothing,
        dropped_and_resumed,
    }
}

mod in_rooms {
    use super::{perform, rooms};

    macro_rules! scenarios {
        ($($scenario:ident),+ $(,)?) => { $(#[test] fn $scenario() { perform("", rooms::$scenario); })+ };
    }
    scenarios! {
        permanent_room_with_history,
        ad_hoc_room_with_invitations,
        private_messages_in_a_room,
        identical_messages_in_a_room,
        synchronising_a_room_doubles_nothing,
    }
}

/// The same where each message waits for the archive.
mod requiring {
    use super::{REQUIRE, direct, perform, rooms};

    #[test]
    fn people_talk() {
        perform(REQUIRE, direct::identical_messages);
    }

    #[test]
    fn a_room_is_used() {
        perform(REQUIRE, rooms::permanent_room_with_history);
    }
}

const REQUIRE: &str = "xmpp_archiver_mode = \"require\"\nxmpp_archiver_timeout = 1\n";

/// The module on one of two servers, whose users write to each other and meet in a room of the other one.
fn over_the_border(settings: &str) {
    let [one, other] = Node::start_two_with([Mirror::Module(settings.to_owned()), Mirror::Stock]);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&one, &other]);
    let stage = Stage::with(vec![one, other], archiver);
    federation::people_of_two_servers_talk(&stage);
    stage.check();
}

#[test]
fn people_of_two_servers() {
    over_the_border("");
}

#[test]
fn people_of_two_servers_in_require_mode() {
    over_the_border(REQUIRE);
}

/// What comes from elsewhere waits as well, and nothing of what is refused gets into the recipient's archive on the node.
#[test]
fn what_comes_from_elsewhere_is_refused_without_the_archive() {
    let [one, other] = Node::start_two_with([Mirror::Module(REQUIRE.to_owned()), Mirror::Stock]);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&one]);
    let eve = Client::log_in(&other, "mallory", "desk");
    let stage = Stage::with(vec![one], archiver);
    let bob = stage.enter("bob", "phone");
    let say = |id: &str| eve.send(&format!("<message type='chat' id='{id}' to='{}'><body>{id}</body></message>", bob.account));
    say("recorded");
    bob.expect_body("recorded");
    stage.settle();
    stage.archiver.borrow_mut().stop();
    say("refused");
    eve.expect_error("refused");
    bob.sync();
    assert!(bob.received().iter().all(|stanza| !stanza.contains("refused")));
    assert_eq!(bob.fetch_archive(None).len(), 1);
    stage.archiver.borrow_mut().start();
    wait_for("both to be archived", || {
        (stage.archived_with_body("recorded").len() + stage.archived_with_body("refused").len() == 2).then_some(())
    });
}

fn enter(stage: &Stage) -> [Rc<Client>; 2] {
    [stage.enter("alice", "desk"), stage.enter("bob", "phone")]
}

/// Alice says so many numbered things to Bob, and the node has taken them all.
fn say_many(stage: &Stage, [alice, bob]: &[Rc<Client>; 2], topic: &str, count: usize) {
    for number in 0..count {
        stage.say(alice, chat(&bob.account, &format!("{topic} {number}")).id("same"));
    }
    alice.sync();
}

fn module_status(stage: &Stage, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let status = stage.archiver.borrow().wait_until(what, |status| is_so(&status["nodes"][0]["module"]));
    status["nodes"][0]["module"].clone()
}

/// All that was said is archived in the order in which it was said.
fn assert_in_order(stage: &Stage) {
    let number = |row: &Value, key: &str| row[key].as_i64().unwrap_or_default();
    let mut rows = stage.archived();
    rows.sort_by_key(|row| number(row, "id"));
    let times: Vec<&str> = rows.iter().filter_map(|row| row["sent_at"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn an_archiver_that_is_killed_under_traffic_loses_nothing() {
    perform("", |stage| {
        let people = enter(stage);
        let room = stage.room("crash");
        people[0].create_room(&room, "Alice", &[]);
        people[1].join(&room, "Bob");
        for round in ["first", "second", "third"] {
            say_many(stage, &people, round, 20);
            stage.archiver.borrow_mut().kill();
            say_many(stage, &people, &format!("{round}, without it"), 20);
            stage.say(&people[0], groupchat(&room, &format!("{round}, to all")));
            stage.archiver.borrow_mut().start();
            say_many(stage, &people, &format!("{round}, with it again"), 20);
        }
        stage.settle();
        assert_in_order(stage);
    });
}

#[test]
fn what_is_said_while_the_archiver_is_away_comes_later_in_its_order() {
    // Segments so small that the queue goes over many, and a window that is full at once.
    perform("xmpp_archiver_segment = 0.05\nxmpp_archiver_window = 20\n", |stage| {
        let people = enter(stage);
        say_many(stage, &people, "before", 5);
        stage.settle();
        stage.archiver.borrow_mut().stop();
        say_many(stage, &people, "meanwhile", 300);
        assert!(fs::read_dir(stage.node().queue()).expect("the queue").count() > 3);
        stage.archiver.borrow_mut().start();
        stage.settle();
        assert_in_order(stage);
        let module = module_status(stage, "the queue to be empty", |module| module["depth"] == 0);
        assert_eq!((&module["dropped"], &module["mode"]), (&Value::from(0), &Value::from("observe")), "{module}");
    });
}

#[test]
fn a_node_that_is_killed_keeps_its_queue() {
    perform("", |stage| {
        let people = enter(stage);
        say_many(stage, &people, "before", 20);
        stage.archiver.borrow_mut().stop();
        say_many(stage, &people, "meanwhile", 50);
        stage.kill_node();
        stage.archiver.borrow_mut().start();
        stage.restart_node();
        let people = enter(stage);
        say_many(stage, &people, "after", 20);
    });
}

#[test]
fn a_node_that_is_killed_under_traffic_loses_and_doubles_nothing() {
    perform("", |stage| {
        for round in ["first", "second"] {
            let people = enter(stage);
            say_many(stage, &people, round, 200);
            stage.restart_node();
        }
    });
}

/// The file to which the node wrote last.
fn newest_segment(stage: &Stage) -> PathBuf {
    let files = fs::read_dir(stage.node().queue()).expect("the queue").map(|file| file.expect("a file").path());
    let segments = files.filter(|file| file.extension().is_some_and(|extension| extension == "queue"));
    segments.max().expect("a segment")
}

fn epoch(stage: &Stage) -> String {
    let module = module_status(stage, "the module to answer", |module| module["present"] == true);
    module["epoch"].as_str().expect("an epoch").to_owned()
}

/// The node crashed while it wrote: half a record, of which it has told nobody.
#[test]
fn half_a_record_at_the_end_is_left_out() {
    perform("", |stage| {
        let people = enter(stage);
        say_many(stage, &people, "before", 5);
        let before = epoch(stage);
        stage.archiver.borrow_mut().stop();
        say_many(stage, &people, "meanwhile", 20);
        stage.kill_node();
        let segment = newest_segment(stage);
        let mut bytes = fs::read(&segment).expect("read it");
        bytes.extend_from_slice(b"@9999 4000 0123456789abcdef\n<iq type='set' id='");
        fs::write(&segment, bytes).expect("write it");
        stage.archiver.borrow_mut().start();
        stage.restart_node();
        say_many(stage, &enter(stage), "after", 5);
        assert_eq!(epoch(stage), before);
    });
}

/// A disk that forgets: what is damaged is lost and counted, and nothing else.
#[test]
fn a_damaged_record_is_left_out_and_counted() {
    perform("", |stage| {
        let people = enter(stage);
        stage.settle();
        stage.archiver.borrow_mut().stop();
        say_many(stage, &people, "before", 5);
        stage.say(&people[0], chat(&people[1].account, "the victim").not_kept());
        say_many(stage, &people, "after", 5);
        stage.kill_node();
        let segment = newest_segment(stage);
        let text = fs::read_to_string(&segment).expect("read it");
        assert_eq!(text.matches("the victim").count(), 2);
        fs::write(&segment, text.replace("the victim", "the wictim")).expect("write it");
        stage.archiver.borrow_mut().start();
        stage.restart_node();
        module_status(stage, "the loss to be told", |module| module["dropped"] == 2);
    });
}

#[test]
fn a_queue_that_is_lost_begins_a_new_epoch() {
    perform("", |stage| {
        say_many(stage, &enter(stage), "before", 5);
        stage.settle();
        let before = epoch(stage);
        stage.kill_node();
        fs::remove_dir_all(stage.node().queue()).expect("remove it");
        stage.restart_node();
        say_many(stage, &enter(stage), "after", 5);
        stage.settle();
        assert_ne!(epoch(stage), before);
    });
}

fn small_queue(when_full: &str) -> String {
    format!("xmpp_archiver_queue_limit = 0.1\nxmpp_archiver_segment = 0.02\nxmpp_archiver_when_full = \"{when_full}\"\n")
}

/// Says more than the queue can hold while nobody takes it, and returns what of it is archived in the end.
fn overfill(when_full: &str) -> (Stage, Vec<String>) {
    let stage = Stage::set_with_module(Kind::Prosody, StoreKind::Sqlite, &small_queue(when_full));
    let people = enter(&stage);
    stage.settle();
    stage.archiver.borrow_mut().stop();
    for number in 0..200 {
        stage.say(&people[0], chat(&people[1].account, &format!("line {number:03}")));
    }
    people[0].sync();
    stage.archiver.borrow_mut().start();
    // As long as the queue is full it may not take the markers.
    stage.wait_until_attached();
    stage.settle();
    let mut bodies: Vec<String> = stage.archived().iter().filter_map(|row| row["body"].as_str().map(str::to_owned)).collect();
    bodies.sort();
    (stage, bodies)
}

#[test]
fn a_full_queue_keeps_the_oldest() {
    let (stage, bodies) = overfill("drop-new");
    let expected: Vec<String> = (0..bodies.len()).map(|number| format!("line {number:03}")).collect();
    assert!((20..180).contains(&bodies.len()) && bodies == expected, "{bodies:?}");
    module_status(&stage, "the loss to be told", |module| module["dropped"].as_u64() > Some(40) && module["depth"] == 0);
}

#[test]
fn a_full_queue_keeps_the_newest() {
    let (stage, bodies) = overfill("drop-oldest");
    let expected: Vec<String> = (200 - bodies.len()..200).map(|number| format!("line {number:03}")).collect();
    assert!((20..180).contains(&bodies.len()) && bodies == expected, "{bodies:?}");
    module_status(&stage, "the loss to be told", |module| module["dropped"].as_u64() > Some(40) && module["depth"] == 0);
}

#[test]
fn a_full_queue_refuses_messages() {
    let stage = Stage::set_with_module(Kind::Prosody, StoreKind::Sqlite, &small_queue("bounce"));
    let [alice, bob] = enter(&stage);
    stage.settle();
    stage.archiver.borrow_mut().stop();
    let refused = (0..500).find(|number| {
        let id = stage.say(&alice, chat(&bob.account, &format!("line {number}")));
        alice.sync();
        alice.received().iter().any(|stanza| stanza.is_message() && stanza.attr("type") == Some("error") && stanza.attr("id") == Some(&id))
    });
    let refused = refused.expect("a refusal");
    bob.sync();
    assert!(bob.received().iter().all(|stanza| stanza.body() != Some(format!("line {refused}"))));
}

#[test]
fn without_the_archive_nothing_is_delivered() {
    perform(REQUIRE, |stage| {
        let [alice, bob] = enter(stage);
        stage.say_to(&alice, chat(&bob.account, "recorded"), &[&bob]);
        stage.settle();
        stage.archiver.borrow_mut().stop();
        for body in ["refused after a while", "refused at once"] {
            let refused = stage.say(&alice, chat(&bob.account, body));
            let error = alice.expect_error(&refused);
            assert!(error.contains("resource-constraint") && error.contains("could not be recorded"), "{}", error.raw);
        }
        bob.sync();
        assert!(bob.received().iter().all(|stanza| !stanza.contains("refused")));
        stage.archiver.borrow_mut().start();
        stage.wait_until_attached();
        stage.say_to(&alice, chat(&bob.account, "recorded again"), &[&bob]);
        stage.settle();
        let bounces = stage.archiver.borrow().store.ledger().bounces;
        let refusals = bounces.iter().filter(|bounce| bounce.condition == "resource-constraint" && bounce.message.is_some()).count();
        assert!(refusals >= 2, "{bounces:?}");
    });
}

#[test]
fn without_the_archive_messages_are_let_through_late_where_that_is_wanted() {
    perform(&format!("{REQUIRE}xmpp_archiver_on_timeout = \"deliver\"\n"), |stage| {
        let [alice, bob] = enter(stage);
        stage.settle();
        stage.archiver.borrow_mut().stop();
        stage.say_to(&alice, chat(&bob.account, "late"), &[&bob]);
        stage.archiver.borrow_mut().start();
    });
}

#[test]
fn an_error_in_the_mirror_loses_no_message() {
    perform("", |stage| {
        let [alice, bob] = enter(stage);
        for number in 0..3 {
            stage.say_to(&alice, chat(&bob.account, &format!("sabotage {number}")).not_kept(), &[&bob]);
            stage.say_to(&alice, chat(&bob.account, &format!("as always {number}")), &[&bob]);
        }
        let log = fs::read_to_string(stage.node().log()).expect("the log");
        assert!(log.contains("An error in the mirror") && !log.contains("sabotage 0"), "{log}");
    });
}

#[test]
fn a_module_is_told_of_by_status_and_check() {
    perform("", |stage| {
        epoch(stage);
        let archiver = stage.archiver.borrow();
        for command in [&["check"][..], &["status"]] {
            let report = archiver.must(command);
            assert!(report.contains("prosody 0.1.0, mode observe"), "{report}");
        }
    });
    let stage = Stage::set(Kind::Prosody, StoreKind::Sqlite);
    module_status(&stage, "the node to say that it has none", |module| module["present"] == false);
}

/// A client may ask for the archiver's query, and gets no answer to it.
#[test]
fn nobody_else_is_told_of_the_queue() {
    perform("", |stage| {
        let alice = stage.enter("alice", "desk");
        let host = stage.node().host.clone();
        let answer = alice.ask("get", Some(&host), "<status xmlns='urn:xmpp-archiver:mirror:0'/>");
        assert_eq!(answer.attr("type"), Some("error"), "{}", answer.raw);
    });
}

/// A read may end anywhere in an answer, and other stanzas may stand between answers.
#[test]
fn answers_come_in_pieces() {
    let node = Node::start_with_module(Kind::Prosody, "");
    let (alice, bob) = (Client::log_in(&node, "alice", "desk"), Client::log_in(&node, "bob", "phone"));
    let component = Component::connect(&node);
    for number in 0..4 {
        alice.send(&format!("<message type='chat' to='{}'><body>line {number}</body></message>", bob.account));
    }
    let copies = wait_for("two copies of each", || Some(component.copies_with("<mirror")).filter(|copies| copies.len() == 8));
    let [from, to] = [&node.archive, &node.host];
    let ask = |id: &str| format!("<iq type='get' id='{id}' from='{from}' to='{to}'><status xmlns='urn:xmpp-archiver:mirror:0'/></iq>");
    let answer = |copy: &Stanza| format!("<iq type='result' id='{}' from='{from}' to='{to}'/>", copy.attr("id").expect("an id"));
    let (some, others) = copies.split_at(5);
    let answers = |copies: &[Stanza]| copies.iter().map(answer).collect::<String>();
    let text = answers(some) + &ask("s1") + &answers(others) + &ask("s2");
    for piece in text.as_bytes().chunks(37) {
        component.send(std::str::from_utf8(piece).expect("plain text"));
        // The node has read it when it answers.
        alice.sync();
    }
    let depth = |id: &str| component.expect("the status", |stanza| stanza.attr("id") == Some(id)).raw;
    assert!(depth("s1").contains("depth='3'"), "{}", depth("s1"));
    assert!(depth("s2").contains("depth='0'"), "{}", depth("s2"));
}

/// What anybody may send, and what the archive makes nothing of, does not hold up the queue.
#[test]
fn forgeries_and_odd_stanzas_leave_the_queue() {
    perform("", |stage| {
        let [alice, bob] = enter(stage);
        direct::odd_stanzas(stage, &alice, &bob);
        module_status(stage, "the queue to be empty", |module| module["depth"] == 0);
    });
}

/// The archiver says that it will never take a copy: it is set aside, and what comes after it goes on.
#[test]
fn a_copy_that_is_refused_is_set_aside() {
    let mut node = Node::start_with_module(Kind::Prosody, REQUIRE);
    let (alice, bob) = (Client::log_in(&node, "alice", "desk"), Client::log_in(&node, "bob", "phone"));
    bob.become_available(0);
    let component = Component::connect(&node);
    let copy = |component: &Component, text: &str| component.expect("a copy", |stanza| stanza.name() == "iq" && stanza.contains(text));
    let answer = |component: &Component, copy: &Stanza, content: &str| {
        let id = copy.attr("id").expect("an id");
        component.send(&format!("<iq type='result' id='{id}' from='{}' to='{}'>{content}</iq>", node.archive, node.host));
    };
    alice.send(&format!("<message type='chat' id='m1' to='{}'><body>too large</body></message>", bob.account));
    answer(&component, &copy(&component, "too large"), "<refused xmlns='urn:xmpp-archiver:mirror:0'/>");
    assert!(alice.expect_error("m1").contains("could not be recorded"));
    alice.send(&format!("<message type='chat' id='m2' to='{}'><body>small</body></message>", bob.account));
    answer(&component, &copy(&component, "small"), "");
    bob.expect_body("small");
    let set_aside = fs::read_to_string(node.queue().join("refused")).expect("what was set aside");
    assert!(set_aside.contains("too large") && !set_aside.contains("small"), "{set_aside}");
    assert!(bob.received().iter().all(|stanza| stanza.body() != Some("too large".to_owned())));
    drop(component);
    let again = Component::connect(&node);
    copy(&again, "small");
    assert!(again.copies_with("<body>too large</body></message></forwarded>").iter().all(|copy| copy.contains("type='error'")));
    node.stop();
}
