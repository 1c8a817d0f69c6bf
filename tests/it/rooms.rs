//! Rooms: what one says, all hear, and the archive holds once, with everybody who heard it.

use std::rc::Rc;

use serde_json::Value;

use crate::support::client::{Client, decline, invitation};
use crate::support::line::{Line, chat, groupchat};
use crate::support::stage::{Stage, scenarios};

scenarios! {
    permanent_room_with_history,
    ad_hoc_room_with_invitations,
    private_messages_in_a_room,
    identical_messages_in_a_room,
    synchronising_a_room_doubles_nothing;
    also permanent_room_with_history, private_messages_in_a_room,
}

const PERMANENT: [(&str, &str); 2] = [("muc#roomconfig_persistentroom", "1"), ("muc#roomconfig_whois", "anyone")];

pub(crate) fn permanent_room_with_history(stage: &Stage) {
    let room = stage.room("board");
    let [alice, bob, carol] = three_in(stage, &room, &PERMANENT);
    let all = [&alice, &bob, &carol];
    stage.say_to(&alice, groupchat(&room, "room message 1"), &all);
    let with_origin = groupchat(&room, "room message 2").id("o2").origin_id("o2");
    stage.say_to(&bob, with_origin, &all);
    stage.say_to(&carol, groupchat(&room, "room message 3, no id").without_id(), &all);
    let subject = Line::new("groupchat", &room).subject("The agenda");
    stage.say(&alice, subject.kept_as("subject"));
    for client in all {
        client.expect("the new subject", |stanza| stanza.contains("The agenda"));
    }
    let dave = stage.enter("dave", "desk");
    dave.send(&format!("<presence to='{room}/Dave'><x xmlns='http://jabber.org/protocol/muc'/></presence>"));
    for body in ["room message 1", "room message 2", "room message 3, no id"] {
        dave.expect_body(body);
    }
    let all = [&alice, &bob, &carol, &dave];
    stage.say_to(&dave, groupchat(&room, "room message 4, by the late one"), &all);
    let desk = stage.enter("bob", "desk");
    desk.join(&room, "Bob-desk");
    stage.say_to(&alice, groupchat(&room, "room message 5"), &[&bob, &desk, &dave]);
    dave.leave(&room, "Dave");
    let refused = stage.say(&dave, groupchat(&room, "dave has left and is refused"));
    dave.expect_error(&refused);
    stage.say_to(&alice, groupchat(&room, "room message 6, without dave"), &[&bob]);
}

/// Alice makes a room; Bob and Carol come in, all three hearing each other from now on.
fn three_in(stage: &Stage, room: &str, fields: &[(&str, &str)]) -> [Rc<Client>; 3] {
    let alice = stage.enter("alice", "desk");
    alice.create_room(room, "Alice", fields);
    let (bob, carol) = (stage.enter("bob", "phone"), stage.enter("carol", "desk"));
    bob.join(room, "Bob");
    carol.join(room, "Carol");
    [alice, bob, carol]
}

pub(crate) fn ad_hoc_room_with_invitations(stage: &Stage) {
    let room = stage.room("adhoc-61addad9-8560-4ae9-bf99-eaed7fec30d6");
    let alice = stage.enter("alice", "desk");
    let (bob, carol) = (stage.enter("bob", "phone"), stage.enter("carol", "desk"));
    let dave = stage.enter("dave", "desk");
    alice.create_room(&room, "Alice", &[]);
    let direct = format!("<x xmlns='jabber:x:conference' jid='{room}' reason='Join us'/>");
    let direct = Line::new("normal", &stage.bare("bob")).with(&direct);
    stage.say_to(&alice, direct.kept_as("invitation"), &[&bob]);
    bob.join(&room, "Bob");
    for guest in [&carol, &dave] {
        let mediated = invitation(&guest.account, &format!("Come, {}", guest.user()));
        let mediated = Line::new("normal", &room).with(&mediated).passed_on_to(&guest.account);
        stage.say(&alice, mediated.kept_as("invitation"));
        guest.expect("an invitation", |stanza| stanza.is_message() && stanza.contains("<invite"));
    }
    carol.join(&room, "Carol");
    let refusal = decline(&alice.account, "Busy");
    let refusal = Line::new("normal", &room).with(&refusal).passed_on_to(&alice.account);
    stage.say(&dave, refusal.kept_as("invitation-declined"));
    alice.expect("the refusal", |stanza| stanza.is_message() && stanza.contains("<decline"));
    let all = [&alice, &bob, &carol];
    stage.say_to(&alice, groupchat(&room, "ad hoc 1"), &all);
    stage.say_to(&bob, groupchat(&room, "ad hoc 2"), &all);
    stage.say_to(&carol, groupchat(&room, "ad hoc 3").without_id(), &all);
    for (client, nick) in all.into_iter().zip(["Alice", "Bob", "Carol"]) {
        client.leave(&room, nick);
    }
}

pub(crate) fn private_messages_in_a_room(stage: &Stage) {
    let room = stage.room("open");
    let [alice, bob, carol] = three_in(stage, &room, &PERMANENT);
    let marked = chat(&format!("{room}/Bob"), "psst bob").with("<x xmlns='http://jabber.org/protocol/muc#user'/>");
    stage.say_to(&alice, marked, &[&bob]);
    stage.say_to(&bob, chat(&format!("{room}/Alice"), "psst alice"), &[&alice]);
    let unknown = chat(&format!("{room}/Nobody"), "to a nick that is not there");
    let unknown = stage.say(&bob, unknown);
    bob.expect_error(&unknown);
    stage.say_to(&bob, groupchat(&room, "and one in public"), &[&alice, &bob, &carol]);
    stage.settle();
    assert_recipient(stage, "psst bob", &bob.account);
    assert_recipient(stage, "psst alice", &alice.account);
}

/// The room tells the nick only; the archive knows the person.
fn assert_recipient(stage: &Stage, body: &str, account: &str) {
    let rows = stage.archived_with_body(body);
    let recipient = |row: &Value| row.get("recipient").and_then(Value::as_str).map(str::to_owned);
    let recipients: Vec<_> = rows.iter().map(recipient).collect();
    assert_eq!(recipients, [Some(account.to_owned())], "{body}: {rows:#?}");
}

pub(crate) fn identical_messages_in_a_room(stage: &Stage) {
    let room = stage.room("echo");
    let [alice, bob, carol] = three_in(stage, &room, &PERMANENT);
    let all = [&alice, &bob, &carol];
    for _ in 0..3 {
        stage.say_to(&alice, groupchat(&room, "ok").id("counter-1"), &all);
    }
    for _ in 0..2 {
        stage.say_to(&alice, groupchat(&room, "ok").without_id(), &all);
    }
    stage.say_to(&bob, groupchat(&room, "ok").id("counter-1"), &all);
    stage.say_to(&alice, groupchat(&room, "not ok").id("counter-1"), &all);
}

pub(crate) fn synchronising_a_room_doubles_nothing(stage: &Stage) {
    let room = stage.room("library");
    let [alice, bob, carol] = three_in(stage, &room, &PERMANENT);
    for number in 0..5 {
        let line = groupchat(&room, &format!("room message {number}"));
        stage.say_to(&alice, line, &[&alice, &bob, &carol]);
    }
    stage.settle();
    for client in [&bob, &carol] {
        assert!(client.fetch_archive(Some(&room)).len() >= 5);
    }
    stage.say_to(&bob, groupchat(&room, "after all that"), &[&alice, &bob]);
}
