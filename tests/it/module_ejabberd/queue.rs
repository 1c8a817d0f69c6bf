//! The queue on ejabberd's disk: numbers and epochs over restarts and crashes, what a damaged, full or missing queue costs.
//! The test takes the archive's place.

use std::fs;

use super::{MIRROR, answer, attach, copy, is_queued, node, note, queue_files, sequence};
use crate::support::client::Client;
use crate::support::process::{run, wait_for};

/// Alice is not available, so that each note of hers to herself makes one copy.
#[test]
fn unanswered_copies_come_again_with_their_numbers() {
    let node = node("    window: 3\n");
    let alice = Client::log_in(&node, "alice", "desk");
    for number in 1..=5 {
        note(&alice, &format!("note {number}"));
    }
    let first = attach(&node);
    let copies = [1, 2, 3].map(|number| copy(&first, &format!("note {number}")));
    let (epoch, _) = sequence(&copies[0]);
    assert_eq!(copies.each_ref().map(sequence), [1, 2, 3].map(|number| (epoch.clone(), number)));
    answer(&first, &node, &copies[0]);
    let fourth = copy(&first, "note 4");
    assert!(first.copies_with("note 5").is_empty(), "more than the window");
    answer(&first, &node, &fourth);
    // Only what the archive is known to have does not come again.
    drop(first);
    let second = attach(&node);
    for number in 2..=4 {
        let again = copy(&second, &format!("note {number}"));
        assert_eq!(sequence(&again), (epoch.clone(), number));
        assert_eq!(again.attr("id"), Some(format!("{epoch}:{number}").as_str()));
        answer(&second, &node, &again);
    }
    assert_eq!(sequence(&copy(&second, "note 5")), (epoch, 5));
    assert!(second.copies_with("note 1").is_empty());
}

/// A clean stop loses nothing, so that the numbers go on.
#[test]
fn a_clean_stop_keeps_the_epoch() {
    let mut node = node("");
    let alice = Client::log_in(&node, "alice", "desk");
    note(&alice, "before");
    node.stop();
    node.restart();
    let alice = Client::log_in(&node, "alice", "desk");
    note(&alice, "after");
    let component = attach(&node);
    let (epoch, number) = sequence(&copy(&component, "before"));
    assert_eq!(number, 1);
    assert_eq!(sequence(&copy(&component, "after")), (epoch, 2));
}

/// A crash begins a new epoch, after what is left of the old one.
#[test]
fn a_crash_begins_a_new_epoch() {
    let mut node = node("");
    let alice = Client::log_in(&node, "alice", "desk");
    note(&alice, "before");
    wait_for("the copy to be queued", || is_queued(&node, "before").then_some(()));
    node.restart();
    let alice = Client::log_in(&node, "alice", "desk");
    note(&alice, "after");
    let component = attach(&node);
    let (old, number) = sequence(&copy(&component, "before"));
    assert_eq!(number, 1);
    let (new, number) = sequence(&copy(&component, "after"));
    assert_eq!(number, 1);
    assert_ne!(old, new);
}

/// Where the newest copies count more, the oldest go.
#[test]
fn a_full_queue_can_give_up_the_oldest() {
    let node = node("    disk_limit: 100000\n    when_full: drop_oldest\n");
    let alice = Client::log_in(&node, "alice", "desk");
    for number in 1..=20 {
        note(&alice, &format!("note {number} {}", "x".repeat(10_000)));
        wait_for("the copy to be queued", || is_queued(&node, &format!("note {number} ")).then_some(()));
    }
    let component = attach(&node);
    let (_, last) = sequence(&copy(&component, "note 20 "));
    assert_eq!(last, 20);
    let kept: Vec<u64> = component.copies_with("<mirror").iter().map(|copy| sequence(copy).1).collect();
    assert!(kept.len() >= 5 && kept[0] > 5 && kept.is_sorted(), "{kept:?}");
    component.send(&format!("<iq type='get' id='s1' from='{}' to='{}'><status xmlns='{MIRROR}'/></iq>", node.archive, node.host));
    let status = component.expect("the status", |stanza| stanza.attr("id") == Some("s1"));
    let dropped = format!("dropped='{}'", kept[0] - 1);
    assert!(status.contains(&dropped), "{dropped}: {}", status.raw);
}

/// A damaged record costs the rest of its segment, and nothing else.
#[test]
fn a_damaged_queue_sends_what_is_whole() {
    let mut node = node("");
    let alice = Client::log_in(&node, "alice", "desk");
    for number in 1..=3 {
        note(&alice, &format!("note {number}"));
        wait_for("the copy to be queued", || is_queued(&node, &format!("note {number}")).then_some(()));
    }
    node.kill();
    let file = queue_files(&node).pop().expect("a queue");
    let mut sed = std::process::Command::new("sed");
    sed.args(["-i", "s/note 2/nope 2/"]).arg(&file);
    run(sed);
    node.restart();
    let alice = Client::log_in(&node, "alice", "desk");
    note(&alice, "note 4");
    let component = attach(&node);
    let (old, _) = sequence(&copy(&component, "note 1"));
    let (new, number) = sequence(&copy(&component, "note 4"));
    assert!(old != new && number == 1);
    assert!(component.copies_with("nope").is_empty() && component.copies_with("note 3").is_empty());
}

/// Without its queue a node begins anew.
#[test]
fn a_deleted_queue_begins_a_new_epoch() {
    let mut node = node("");
    let alice = Client::log_in(&node, "alice", "desk");
    let component = attach(&node);
    note(&alice, "before");
    let (old, _) = sequence(&copy(&component, "before"));
    drop(component);
    node.kill();
    fs::remove_dir_all(node.queue()).expect("delete the queue");
    node.restart();
    let alice = Client::log_in(&node, "alice", "desk");
    note(&alice, "after");
    let component = attach(&node);
    let (new, number) = sequence(&copy(&component, "after"));
    assert!(old != new && number == 1);
}

/// A full disk costs copies, which the archive can see, and no message.
#[test]
fn a_full_queue_leaves_a_jump() {
    let node = node("    disk_limit: 100000\n");
    let alice = Client::log_in(&node, "alice", "desk");
    note(&alice, "before");
    note(&alice, &"x".repeat(200_000));
    note(&alice, "after");
    let component = attach(&node);
    let (epoch, before) = sequence(&copy(&component, "before"));
    assert_eq!(sequence(&copy(&component, "after")), (epoch, before + 2));
}

/// A queue that can't be opened is no reason to keep messages back.
#[test]
fn a_missing_disk_loses_no_message() {
    let node = node("    queue_dir: /proc/nothing/here\n");
    let (alice, bob) = (Client::log_in(&node, "alice", "desk"), Client::log_in(&node, "bob", "phone"));
    bob.become_available(0);
    for number in 0..3 {
        alice.send(&format!("<message type='chat' to='{}'><body>hello {number}</body></message>", bob.account));
        bob.expect_body(&format!("hello {number}"));
    }
}

/// The archive says that it will never take a copy: nobody gets the message in mode `require`, and what comes after it goes on.
#[test]
fn a_copy_that_is_refused_is_given_up() {
    let node = node(super::REQUIRE);
    let (alice, bob) = (Client::log_in(&node, "alice", "desk"), Client::log_in(&node, "bob", "phone"));
    bob.become_available(0);
    let first = attach(&node);
    alice.send(&format!("<message type='chat' id='m1' to='{}'><body>too large</body></message>", bob.account));
    let refused = copy(&first, "too large");
    let id = refused.attr("id").expect("an id");
    let content = format!("<refused xmlns='{MIRROR}'/>");
    first.send(&format!("<iq type='result' id='{id}' from='{}' to='{}'>{content}</iq>", node.archive, node.host));
    assert!(alice.expect_error("m1").contains("could not be recorded"));
    alice.send(&format!("<message type='chat' id='m2' to='{}'><body>small</body></message>", bob.account));
    answer(&first, &node, &copy(&first, "small"));
    bob.expect_body("small");
    assert!(bob.received().iter().all(|stanza| stanza.body() != Some("too large".to_owned())));
    first.send(&format!("<iq type='get' id='s' from='{}' to='{}'><status xmlns='{MIRROR}'/></iq>", node.archive, node.host));
    let status = first.expect("the status", |stanza| stanza.attr("id") == Some("s"));
    assert!(status.contains("refused='1'"), "{}", status.raw);
}

/// What was answered before an older copy was needs no room: behind one that is never answered goes on what is far more than may be on its way.
#[test]
fn one_copy_without_an_answer_holds_nothing_up() {
    let node = node("");
    let alice = Client::log_in(&node, "alice", "desk");
    let component = attach(&node);
    note(&alice, "never answered");
    copy(&component, "never answered");
    let padding = "x".repeat(200_000);
    // The window has 8 MiB.
    for number in 0..60 {
        note(&alice, &format!("note {number}.{padding}"));
        answer(&component, &node, &copy(&component, &format!("note {number}.")));
    }
}
