//! Our module in a real ejabberd: the archive holds exactly what people said, whatever is killed, away or damaged meanwhile.

mod queue;

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::client::Client;
use crate::support::component::Component;
use crate::support::ejabberd::MODULE;
use crate::support::line::{chat, groupchat};
use crate::support::node::{Kind, Mirror, Node};
use crate::support::process::{program, run, wait_for};
use crate::support::stage::Stage;
use crate::support::stanza::Stanza;
use crate::{direct, federation, rooms};

const MIRROR: &str = "urn:xmpp-archiver:mirror:0";
const REQUIRE: &str = "    mode: require\n    require_timeout: 1\n";

fn node(settings: &str) -> Node {
    Node::start_with_module(Kind::Ejabberd, settings)
}

fn stage(settings: &str) -> Stage {
    Stage::set_with_module(Kind::Ejabberd, StoreKind::Sqlite, settings)
}

/// Plays a scenario. Each message is archived once, and nothing is in doubt.
fn perform(settings: &str, scenario: impl FnOnce(&Stage)) {
    let stage = stage(settings);
    scenario(&stage);
    stage.check_exactly();
}

macro_rules! scenarios {
    ($($from:ident: $($scenario:ident),+;)+) => { $($(
        #[test]
        fn $scenario() {
            perform("", $from::$scenario);
        }
    )+)+ };
}

scenarios! {
    direct: one_resource, forked_without_carbons, forked_with_carbons, offline_and_later_online, reply_to_the_full_jid_with_a_thread,
        presence_priorities, to_oneself, unicode_and_big_messages, synchronising_the_archive_doubles_nothing, dropped_and_resumed;
    rooms: permanent_room_with_history, ad_hoc_room_with_invitations, private_messages_in_a_room, synchronising_a_room_doubles_nothing;
}

/// Each of them is archived, not only counted.
#[test]
fn identical_messages_stay_apart() {
    let stage = stage("");
    direct::identical_messages(&stage);
    stage.check_exactly();
    let count = |body: &str| stage.archived_with_body(body).len();
    assert_eq!((count("ok"), count("rapid"), count("another body")), (7, 3, 1));
}

#[test]
fn identical_messages_in_a_room_stay_apart() {
    let stage = stage("");
    rooms::identical_messages_in_a_room(&stage);
    stage.check_exactly();
    assert_eq!((stage.archived_with_body("ok").len(), stage.archived_with_body("not ok").len()), (6, 1));
}

/// The same in the mode in which each message waits for the archive.
#[test]
fn conversations_in_require_mode() {
    perform(REQUIRE, direct::forked_with_carbons);
}

#[test]
fn a_room_in_require_mode() {
    perform(REQUIRE, rooms::permanent_room_with_history);
}

/// The module on one of two servers; what comes from the other one is mirrored when it comes in.
#[test]
fn people_of_two_servers() {
    let [one, other] = Node::start_two_with([Mirror::Stock, Mirror::Module(String::new())]);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&one, &other]);
    let stage = Stage::with(vec![one, other], archiver);
    federation::people_of_two_servers_talk(&stage);
    stage.check();
}

/// Bob is not there: without the copy that is made at the border nothing would be archived before he comes.
#[test]
fn from_another_server_to_somebody_who_is_away() {
    let [one, other] = Node::start_two_with([Mirror::Stock, Mirror::Module(REQUIRE.to_owned())]);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&other]);
    let bob = other.bare("bob");
    let alice = Client::log_in(&one, "alice", "phone");
    let stage = Stage::with(vec![other], archiver);
    alice.send(&format!("<message type='chat' id='m1' to='{bob}'><body>are you there</body></message>"));
    wait_for("the message to be archived", || (stage.archived_with_body("are you there").len() == 1).then_some(()));
}

const ROUNDS: usize = 5;

fn enter(stage: &Stage, room: &str) -> [Rc<Client>; 2] {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    alice.create_room(room, "Alice", &[]);
    bob.join(room, "Bob");
    [alice, bob]
}

/// Alice and Bob talk, in private and in a room, each message heard before the next. Returns the last one.
fn talk(stage: &Stage, people: &[Rc<Client>; 2], room: &str, topic: &str) -> String {
    let [alice, bob] = people;
    for round in 0..ROUNDS {
        stage.say_to(alice, chat(&bob.account, &format!("{topic}, question {round}")), &[bob]);
        stage.say_to(alice, groupchat(room, &format!("{topic}, to all {round}")), &[alice, bob]);
        stage.say_to(bob, chat(&alice.account, &format!("{topic}, answer {round}")), &[alice]);
    }
    format!("{topic}, answer {}", ROUNDS - 1)
}

/// Each kill is in the middle of the traffic: nobody waits for the archiver.
#[test]
fn archiver_killed_under_traffic() {
    perform("", |stage| {
        let room = stage.room("crash");
        let people = enter(stage, &room);
        for round in 0..4 {
            talk(stage, &people, &room, &format!("before kill {round}"));
            stage.archiver.borrow_mut().kill();
            talk(stage, &people, &room, &format!("after kill {round}"));
            stage.archiver.borrow_mut().start();
            talk(stage, &people, &room, &format!("after start {round}"));
        }
    });
}

/// Far more is said meanwhile than is under way at a time.
#[test]
fn archiver_away_for_a_while() {
    let stage = stage("    window: 10\n");
    let room = stage.room("pause");
    let people = enter(&stage, &room);
    let [alice, bob] = &people;
    talk(&stage, &people, &room, "before");
    stage.archiver.borrow_mut().stop();
    for number in 0..300 {
        stage.say(alice, chat(&bob.account, &format!("meanwhile {number:03}")).id(&format!("meanwhile-{number}")));
    }
    stage.sync();
    let archiver_is_away = || stage.archiver.borrow().search().iter().all(|row| !row.to_string().contains("meanwhile"));
    assert!(archiver_is_away());
    stage.archiver.borrow_mut().start();
    talk(&stage, &people, &room, "after");
    stage.check_exactly();
    let bodies = stage.archived().into_iter().filter_map(|row| Some(row.get("body")?.as_str()?.to_owned()));
    let mut meanwhile: Vec<String> = bodies.filter(|body| body.starts_with("meanwhile")).collect();
    if meanwhile.first() > meanwhile.last() {
        meanwhile.reverse();
    }
    assert!(meanwhile.is_sorted(), "{meanwhile:?}");
}

fn queue_files(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.queue()).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "queue")).collect();
    files.sort();
    files
}

fn is_queued(node: &Node, text: &str) -> bool {
    let holds = |file: &PathBuf| fs::read(file).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text));
    queue_files(node).iter().any(holds)
}

/// Waits until bob's copy of a message is on the node's disk, as it is a few milliseconds after he heard it.
fn wait_until_queued(stage: &Stage, last: &str) {
    let text = format!("session='alice@{}/desk'><", stage.node().host);
    wait_for("the last message to be in the queue", || {
        let files = queue_files(&stage.node());
        let bytes: Vec<u8> = files.iter().flat_map(|file| fs::read(file).unwrap_or_default()).collect();
        let queue = String::from_utf8_lossy(&bytes).into_owned();
        let copies = queue.split("</iq>").filter(|copy| copy.contains(last)).count();
        (copies >= 2 && queue.contains(&text)).then_some(())
    });
}

/// What was on the node's disk before the crash is archived after it.
#[test]
fn node_killed_while_the_archiver_is_away() {
    node_killed(|_| ());
}

/// A power cut can leave half a record behind.
#[test]
fn node_killed_with_a_torn_queue() {
    node_killed(|node| {
        let last = queue_files(node).pop().expect("a queue");
        let mut bytes = fs::read(&last).expect("the queue");
        bytes.extend_from_slice(&[0, 0, 1, 0, 7, 7, 7, 7, 0, 0, 0, 0]);
        fs::write(&last, bytes).expect("tear the queue");
    });
}

fn node_killed(damage: impl Fn(&Node)) {
    let stage = stage("");
    let room = stage.room("reboot");
    let people = enter(&stage, &room);
    talk(&stage, &people, &room, "before");
    stage.settle();
    stage.archiver.borrow_mut().kill();
    let last = talk(&stage, &people, &room, "meanwhile");
    wait_until_queued(&stage, &last);
    for person in &people {
        person.drop_abruptly();
    }
    stage.kill_node();
    damage(&stage.node());
    stage.archiver.borrow_mut().start();
    stage.restart_node();
    let people = enter(&stage, &room);
    talk(&stage, &people, &room, "after");
    stage.check_exactly();
}

/// In require mode not even the moment before the crash is lost.
#[test]
fn node_killed_under_traffic_in_require_mode() {
    let stage = stage(REQUIRE);
    let room = stage.room("reboot");
    for round in 0..2 {
        let people = enter(&stage, &room);
        talk(&stage, &people, &room, &format!("round {round}"));
        stage.restart_node();
    }
    stage.check_exactly();
}

#[test]
fn messages_bounce_while_the_archive_is_away_in_require_mode() {
    let stage = stage(REQUIRE);
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    stage.say_to(&alice, chat(&bob.account, "before"), &[&bob]);
    stage.archiver.borrow_mut().kill();
    wait_for("the node to notice", || {
        let log = fs::read_to_string(stage.node().log()).unwrap_or_default();
        log.contains("The archive is not connected any more").then_some(())
    });
    for id in ["b1", "b2"] {
        alice.send(&format!("<message type='chat' id='{id}' to='{}'><body>unrecorded</body></message>", bob.account));
        let error = alice.expect_error(id);
        assert!(
            error.contains("could not be recorded") && error.contains("resource-constraint") && error.contains("wait"),
            "{}",
            error.raw
        );
    }
    bob.sync();
    assert!(bob.received().iter().all(|stanza| !stanza.contains("unrecorded")));
    stage.archiver.borrow_mut().start();
    stage.wait_until_attached();
    stage.say_to(&alice, chat(&bob.account, "after"), &[&bob]);
    stage.check_exactly();
}

/// Whoever wants chat to go on says so.
#[test]
fn messages_pass_while_the_archive_is_away_if_so_configured() {
    let stage = stage(&format!("{REQUIRE}    on_timeout: deliver\n"));
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    stage.archiver.borrow_mut().kill();
    stage.say_to(&alice, chat(&bob.account, "let through"), &[&bob]);
    stage.archiver.borrow_mut().start();
    stage.check_exactly();
}

/// The archive's place, taken by the test: it answers the ping that each connection begins with.
fn attach(node: &Node) -> Component {
    let component = Component::connect(node);
    let ping = component.expect("a ping", |stanza| stanza.contains("urn:xmpp:ping"));
    answer(&component, node, &ping);
    component
}

fn answer(component: &Component, node: &Node, iq: &Stanza) {
    let id = iq.attr("id").expect("an id");
    component.send(&format!("<iq type='result' id='{id}' from='{}' to='{}'/>", node.archive, node.host));
}

fn copy(component: &Component, text: &str) -> Stanza {
    component.expect(&format!("a copy of {text:?}"), |stanza| stanza.name() == "iq" && stanza.contains(text))
}

fn sequence(copy: &Stanza) -> (String, u64) {
    let mirror = copy.element.as_ref().and_then(|iq| iq.get_child("mirror", MIRROR)).expect("an envelope");
    let number = mirror.attr("seq").and_then(|seq| seq.parse().ok());
    (mirror.attr("epoch").expect("an epoch").to_owned(), number.expect("a number"))
}

fn note(client: &Client, text: &str) {
    client.send(&format!("<message type='chat' to='{}'><body>{text}</body></message>", client.account));
    client.sync();
}

/// Who is in a room is told as it changes, whatever the reason; other presence is not.
#[test]
fn rooms_tell_who_is_in_them() {
    let node = node("");
    let component = attach(&node);
    let [alice, bob, carol] = [("alice", "desk"), ("bob", "phone"), ("carol", "desk")].map(|(user, resource)| {
        let client = Client::log_in(&node, user, resource);
        client.become_available(0);
        client
    });
    let room = node.room("hall");
    alice.create_room(&room, "Alice", &[]);
    bob.join(&room, "Bob");
    carol.join(&room, "Carol");
    bob.send("<presence><show>away</show></presence>");
    bob.drop_abruptly();
    let told = |nick: &str, jid: &str, kind: &str| {
        component.expect(&format!("that {nick} {kind}"), |stanza| {
            let is_of = stanza.contains(&format!("from='{room}/{nick}'")) && stanza.contains(&format!("<item jid='{jid}'"));
            is_of && stanza.contains("type='unavailable'") == (kind == "left")
        })
    };
    told("Alice", &alice.jid(), "entered");
    told("Bob", &bob.jid(), "entered");
    told("Carol", &carol.jid(), "entered");
    told("Bob", &bob.jid(), "left");
    carol.send(&format!("<presence to='{room}/Caroline'/>"));
    carol.expect("the new nick", |stanza| stanza.contains(&format!("from='{room}/Caroline'")));
    alice.send(&format!("<message type='groupchat' to='{room}'><body>who is here</body></message>"));
    let list = component.expect("the whole list", |stanza| stanza.contains("<occupants"));
    assert!(list.contains("who is here") && list.contains(&format!("room='{room}'")), "{}", list.raw);
    for (nick, jid) in [("Alice", alice.jid()), ("Caroline", carol.jid())] {
        assert!(list.contains(&format!("<occupant nick='{nick}' jid='{jid}'/>")), "{}", list.raw);
    }
    assert!(!list.contains("nick='Bob'"));
    alice.leave(&room, "Alice");
    told("Alice", &alice.jid(), "left");
    assert!(component.copies_with("<show>away").is_empty());
    assert_eq!(component.copies_with("<presence").len(), 5);
}

#[test]
fn the_module_tells_how_it_is() {
    let node = node("");
    let alice = Client::log_in(&node, "alice", "desk");
    note(&alice, "one");
    let question = format!("<status xmlns='{MIRROR}'/>");
    let refused = alice.ask("get", Some(&node.host), &question);
    assert_eq!(refused.attr("type"), Some("error"), "nobody but the archive is told: {}", refused.raw);
    let component = attach(&node);
    let first = copy(&component, "one");
    let ask = |id: &str| {
        component.send(&format!("<iq type='get' id='{id}' from='{}' to='{}'>{question}</iq>", node.archive, node.host));
        let answer = component.expect("the status", |stanza| stanza.attr("id") == Some(id));
        answer.element.as_ref().and_then(|iq| iq.get_child("status", MIRROR)).cloned().expect("a status")
    };
    let status = ask("s1");
    let is = |name: &str, value: &str| assert_eq!(status.attr(name), Some(value), "{name}: {status:?}");
    is("module", "ejabberd");
    is("version", "0.1.0");
    is("mode", "observe");
    is("next", "2");
    is("depth", "1");
    is("in-flight", "1");
    is("dropped", "0");
    assert!(status.attr("oldest").is_some_and(|oldest| oldest.ends_with('Z')));
    assert_eq!(status.attr("epoch"), Some(sequence(&first).0.as_str()));
    answer(&component, &node, &first);
    let status = wait_for("the answer to count", || Some(ask("s2")).filter(|status| status.attr("depth") == Some("0")));
    assert_eq!((status.attr("in-flight"), status.attr("oldest")), (Some("0"), None));
}

/// The archiver asks, and its operator sees it.
#[test]
fn the_archiver_tells_of_the_module() {
    let stage = stage("");
    let found = stage.archiver.borrow().wait_until("the module to answer", |status| status["nodes"][0]["module"]["present"] == true);
    let module = &found["nodes"][0]["module"];
    assert_eq!(
        (module["name"].as_str().or(module["module"].as_str()), module["mode"].as_str()),
        (Some("ejabberd"), Some("observe")),
        "{module}"
    );
    let said = stage.archiver.borrow().must(&["check"]);
    assert!(said.contains("0.1.0") && said.contains("observe"), "{said}");
}

/// Nothing of what goes to or comes from the archive itself is mirrored.
#[test]
fn the_archives_own_messages_are_not_mirrored() {
    let node = node("");
    let alice = Client::log_in(&node, "alice", "desk");
    alice.become_available(0);
    let component = attach(&node);
    component.send(&format!("<message from='{}' to='{}'><body>from the archive</body></message>", node.archive, alice.account));
    alice.expect_body("from the archive");
    alice.send(&format!("<message to='{}'><body>to the archive</body></message>", node.archive));
    component.expect("the message", |stanza| stanza.is_message() && stanza.contains("to the archive"));
    note(&alice, "something else");
    copy(&component, "something else");
    let copies = |text| component.copies_with(text).iter().filter(|stanza| stanza.name() == "iq").count();
    assert_eq!((copies("from the archive"), copies("to the archive")), (0, 0));
}

/// The worst error that there can be: each call of the hooks into the queue fails.
fn broken(settings: &str) -> Node {
    const BROKEN: &str = "-module(xmpp_archiver_queue).\n-export([start_link/1, add/2, add_and_wait/3, wait_for_link/1, answered/2, hello/3, component_is_up/1, \
        status/0, count_error/0, configure/1]).\nstart_link(_) -> {ok, spawn_link(fun() -> receive stop -> ok end end)}.\n\
        add(_, _) -> error(broken).\nadd_and_wait(_, _, _) -> error(broken).\nwait_for_link(_) -> error(broken).\nanswered(_, _) -> error(broken).\n\
        hello(_, _, _) -> error(broken).\ncomponent_is_up(_) -> error(broken).\nstatus() -> error(broken).\ncount_error() -> error(broken).\n\
        configure(_) -> error(broken).\n";
    let mut node = node(settings);
    let source = tempfile::tempdir().expect("a directory");
    fs::write(source.path().join("xmpp_archiver_queue.erl"), BROKEN).expect("write the module");
    let mut erlc = std::process::Command::new(program("erlc").expect("erlc"));
    erlc.arg("-o").arg(node.directory().join(MODULE)).arg(source.path().join("xmpp_archiver_queue.erl"));
    run(erlc);
    node.restart();
    node
}

#[test]
fn an_error_in_the_module_loses_no_message() {
    let node = broken("");
    let (alice, bob) = (Client::log_in(&node, "alice", "desk"), Client::log_in(&node, "bob", "phone"));
    bob.become_available(0);
    let room = node.room("open");
    alice.become_available(0);
    alice.create_room(&room, "Alice", &[]);
    bob.join(&room, "Bob");
    for number in 0..3 {
        alice.send(&format!("<message type='chat' to='{}'><body>secret {number}</body></message>", bob.account));
        alice.send(&format!("<message type='groupchat' to='{room}'><body>room secret {number}</body></message>"));
        bob.expect_body(&format!("secret {number}"));
        bob.expect_body(&format!("room secret {number}"));
    }
    let log = fs::read_to_string(node.log()).expect("the log");
    assert!(log.contains("the stanza goes on"), "{log}");
    assert!(!log.contains("secret 1"), "a body is logged: {log}");
}

/// Whoever wants nothing unrecorded gets that also when the module fails.
#[test]
fn an_error_in_the_module_keeps_messages_back_in_require_mode() {
    let node = broken(REQUIRE);
    let (alice, bob) = (Client::log_in(&node, "alice", "desk"), Client::log_in(&node, "bob", "phone"));
    bob.become_available(0);
    alice.send(&format!("<message type='chat' id='m1' to='{}'><body>unrecorded</body></message>", bob.account));
    assert!(alice.expect_error("m1").contains("could not be recorded"));
    bob.sync();
    assert!(bob.received().iter().all(|stanza| !stanza.contains("unrecorded")));
}

/// What anybody may send, and what the archive makes nothing of, does not hold up the queue.
#[test]
fn forgeries_and_odd_stanzas_leave_the_queue() {
    perform("", |stage| {
        let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
        direct::odd_stanzas(stage, &alice, &bob);
        stage.archiver.borrow().wait_until("the queue to be empty", |status| status["nodes"][0]["module"]["depth"] == 0);
    });
}
