//! Messages that are more, or less, than a text: what has nothing to read is left out, and what changes an earlier message points at it.

use serde_json::Value;

use crate::support::line::{Line, chat, groupchat, normal};
use crate::support::node::Kind;
use crate::support::stage::{Stage, scenarios};

scenarios! {
    nothing_to_read,
    correction_reaction_reply_retraction,
    corrections_in_a_room,
    files_calls_and_ciphertexts,
    errors;
    also correction_reaction_reply_retraction, errors,
}

fn nothing_to_read(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let (to_alice, to_bob) = (stage.bare("alice"), stage.bare("bob"));
    for state in ["active", "composing", "paused", "inactive", "gone"] {
        let state = format!("<{state} xmlns='http://jabber.org/protocol/chatstates'/>");
        stage.say(&alice, Line::new("chat", &to_bob).with(&state).not_kept());
    }
    let marked =
        chat(&to_bob, "asks for a receipt").with("<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>");
    let id = stage.say_to(&alice, marked, &[&bob]);
    for payload in [
        format!("<received xmlns='urn:xmpp:receipts' id='{id}'/>"),
        format!("<received xmlns='urn:xmpp:receipts' id='{id}'/><store xmlns='urn:xmpp:hints'/>"),
        format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>"),
    ] {
        stage.say(&bob, Line::new("chat", &to_alice).with(&payload).not_kept());
    }
    stage.say(&alice, Line::new("chat", &to_bob).not_kept());
    stage.say(&alice, Line::new("chat", &to_bob).with("<body/>").not_kept());
    let attention = "<attention xmlns='urn:xmpp:attention:0'/>";
    stage.say(&alice, Line::new("chat", &to_bob).with(attention).not_kept());
    let subject_only = Line::new("normal", &to_bob).subject("subject only");
    stage.say_to(&alice, subject_only.kept_as("message|subject"), &[&bob]);
    for hint in ["no-store", "no-permanent-store", "no-copy"] {
        let line = chat(&to_bob, &format!("with the hint {hint}"));
        let line = line.with(&format!("<{hint} xmlns='urn:xmpp:hints'/>"));
        stage.say_to(&alice, line, &[&bob]);
    }
}

fn correction_reaction_reply_retraction(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let (to_alice, to_bob) = (stage.bare("alice"), stage.bare("bob"));
    let original = chat(&to_bob, "the orignal text").id("e1").origin_id("e1");
    stage.say_to(&alice, original, &[&bob]);
    let replace = "<replace xmlns='urn:xmpp:message-correct:0' id='e1'/>";
    for body in ["the original text", "the original text, second edit"] {
        let line = chat(&to_bob, body).with(replace).kept_as("correction");
        stage.say_to(&alice, line, &[&bob]);
    }
    for reactions in ["<reaction>👍</reaction><reaction>❤️</reaction>", ""] {
        let reactions = format!("<reactions xmlns='urn:xmpp:reactions:0' id='e1'>{reactions}</reactions>");
        let line = Line::new("chat", &to_alice).with(&reactions);
        stage.say_to(&bob, line.kept_as("reaction"), &[&alice]);
    }
    let reply = format!(
        "<reply xmlns='urn:xmpp:reply:0' to='{}' id='e1'/>\
         <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='20'/></fallback>",
        alice.jid()
    );
    let line = chat(&to_alice, "> the original text\nmy reply").with(&reply);
    stage.say_to(&bob, line.kept_as("reply"), &[&alice]);
    let retract = "<retract xmlns='urn:xmpp:message-retract:1' id='e1'/>\
                   <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>";
    let line = Line::new("chat", &to_bob).fallback_body("/me retracted a message").with(retract);
    stage.say_to(&alice, line.kept_as("retraction"), &[&bob]);
    stage.settle();
    assert_all_refer_to(stage, "the orignal text", 6);
}

/// Every other message of the archive is about the one with this body, which is there unaltered.
fn assert_all_refer_to(stage: &Stage, body: &str, count: usize) {
    let original = stage.archived_with_body(body);
    assert_eq!(original.len(), 1, "{original:?}");
    let id = original.first().and_then(|row| row.get("id"));
    let rows = stage.archived();
    let refers = |row: &&Value| row.get("refers_to").is_some_and(|refers_to| Some(refers_to) == id);
    assert_eq!(rows.iter().filter(refers).count(), count, "about {id:?}: {rows:#?}");
}

fn corrections_in_a_room(stage: &Stage) {
    let room = stage.room("edits");
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    alice.create_room(&room, "Alice", &[]);
    bob.join(&room, "Bob");
    let both = [&alice, &bob];
    stage.say_to(&alice, groupchat(&room, "the orignal text").id("e1"), &both);
    let replace = "<replace xmlns='urn:xmpp:message-correct:0' id='e1'/>";
    let corrected = groupchat(&room, "the original text").with(replace);
    stage.say_to(&alice, corrected.kept_as("correction"), &both);
    let own = bob.received();
    let heard = own.iter().find(|stanza| stanza.attr("id") == Some("e1"));
    let stanza_id = heard.and_then(|stanza| {
        let element = stanza.element.as_ref()?;
        let id = element.get_child("stanza-id", "urn:xmpp:sid:0")?;
        id.attr("id").map(str::to_owned)
    });
    let reactions = format!(
        "<reactions xmlns='urn:xmpp:reactions:0' id='{}'><reaction>👍</reaction></reactions>",
        stanza_id.expect("the room gives ids")
    );
    let line = Line::new("groupchat", &room).with(&reactions);
    stage.say_to(&bob, line.kept_as("reaction"), &both);
    stage.settle();
    assert_all_refer_to(stage, "the orignal text", 2);
}

fn files_calls_and_ciphertexts(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let to_bob = stage.bare("bob");
    let url = "https://upload.example.org/x/photo.jpg";
    let file = chat(&to_bob, url).with(&format!("<x xmlns='jabber:x:oob'><url>{url}</url></x>"));
    stage.say_to(&alice, file.kept_as("file"), &[&bob]);
    let ring = "<propose xmlns='urn:xmpp:jingle-message:0' id='c1'>\
                <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>";
    let ring = Line::new("chat", &to_bob).with(ring).kept_as("call");
    stage.say_to(&alice, ring, &[&bob]);
    let omemo = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'><key rid='2'>QUFB</key>\
                 <iv>QUFB</iv></header><payload>QUFB</payload></encrypted>\
                 <encryption xmlns='urn:xmpp:eme:0' name='OMEMO' namespace='eu.siacs.conversations.axolotl'/>";
    let sealed = Line::new("chat", &to_bob).fallback_body("I sent you an encrypted message").with(omemo);
    stage.say_to(&alice, sealed, &[&bob]);
    let both = chat(&to_bob, "hello bold world").with(
        "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>\
         <p>hello <strong>bold</strong> world</p></body></html>",
    );
    stage.say_to(&alice, both, &[&bob]);
    stage.settle();
    let encrypted = |row: &&Value| row.get("encrypted") == Some(&Value::Bool(true));
    assert_eq!(stage.archived().iter().filter(encrypted).count(), 1);
}

fn errors(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let unknown = stage.bare("nobody");
    for to in [unknown.clone(), format!("{unknown}/desk")] {
        let id = stage.say(&alice, chat(&to, "to a user who does not exist"));
        alice.expect_error(&id);
    }
    let no_room = groupchat(&stage.room("nowhere"), "to a room that is not there");
    let id = stage.say(&alice, no_room);
    alice.expect_error(&id);
    bob.block(&alice.account);
    let id = stage.say(&alice, chat(&bob.account, "bob has blocked alice"));
    alice.expect_error(&id);
    let blocked = chat(&alice.account, "bob writes to one whom he blocked");
    let id = match stage.node().kind {
        Kind::Ejabberd => stage.say(&bob, blocked),
        // Prosody refuses it before it comes to the mirror: it was never sent.
        Kind::Prosody => stage.say(&bob, blocked.not_kept()),
    };
    bob.expect_error(&id);
    bob.unblock(&alice.account);
    let id = stage.say_to(&alice, normal(&bob.account, "and again"), &[&bob]);
    bob.send(&format!(
        "<message type='error' id='{id}' to='{}'><body>and again</body><error type='cancel'>\
         <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
        alice.jid()
    ));
    alice.expect_error(&id);
}
