//! People who write to each other: what each client does to the number and the shape of the copies, and the archive that must not care.

use std::rc::Rc;

use crate::support::client::Client;
use crate::support::line::{Line, chat, normal};
use crate::support::stage::{Stage, scenarios};

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
    dropped_and_resumed;
    also one_resource, forked_with_carbons, identical_messages, unicode_and_big_messages,
}

pub(crate) fn one_resource(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let (to_alice, to_bob) = (stage.bare("alice"), stage.bare("bob"));
    stage.say_to(&alice, chat(&to_bob, "hello bob"), &[&bob]);
    let with_origin = chat(&to_bob, "with an origin id").id("o1").origin_id("o1");
    stage.say_to(&alice, with_origin, &[&bob]);
    stage.say_to(&alice, chat(&to_bob, "no id at all").without_id(), &[&bob]);
    let minutes = normal(&to_bob, "normal, with a subject").subject("Minutes");
    stage.say_to(&alice, minutes, &[&bob]);
    let headline = Line::new("headline", &to_bob).body("a headline");
    stage.say_to(&alice, headline, &[&bob]);
    stage.say_to(&bob, chat(&to_alice, "bob answers"), &[&alice]);
}

pub(crate) fn forked_without_carbons(stage: &Stage) {
    let alice = stage.enter("alice", "desk");
    let bob = ["phone", "desk", "tablet"].map(|resource| stage.enter("bob", resource));
    for number in 0..3 {
        let line = chat(&stage.bare("bob"), &format!("fork {number}"));
        stage.say(&alice, line);
        bob[0].sync();
    }
    let to_desk = chat(&bob[1].jid(), "to one full JID");
    stage.say_to(&alice, to_desk, &[&bob[1]]);
    stage.say(&alice, normal(&stage.bare("bob"), "a normal fork"));
    stage.say(&alice, Line::new("headline", &stage.bare("bob")).body("a forked headline"));
}

pub(crate) fn forked_with_carbons(stage: &Stage) {
    let alice = ["desk", "phone"].map(|resource| stage.enter("alice", resource));
    let bob = ["phone", "desk", "tablet"].map(|resource| stage.enter("bob", resource));
    for client in alice.iter().chain(&bob) {
        client.enable_carbons();
    }
    for number in 0..2 {
        let line = chat(&stage.bare("bob"), &format!("fork with carbons {number}"));
        stage.say(&alice[0], line);
        wait_for_carbon(&alice[1], &format!("fork with carbons {number}"));
    }
    stage.say_to(&alice[0], chat(&bob[1].jid(), "to one full JID, carbons"), &[&bob[1]]);
    wait_for_carbon(&bob[0], "to one full JID, carbons");
    stage.say_to(&bob[1], chat(&alice[0].jid(), "back to the full JID"), &[&alice[0]]);
    wait_for_carbon(&alice[1], "back to the full JID");
    let private =
        chat(&alice[0].jid(), "private: no carbons").with("<private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/>");
    stage.say_to(&bob[1], private, &[&alice[0]]);
}

/// Lies without a word of their own, and a text that is full of references to characters.
pub(crate) fn odd_stanzas(stage: &Stage, alice: &Rc<Client>, bob: &Rc<Client>) {
    let inner = format!(
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{0}' to='{0}'><body>forged</body></message></forwarded>",
        bob.account
    );
    for lie in [
        format!("<received xmlns='urn:xmpp:carbons:2'>{inner}</received>"),
        format!("<result xmlns='urn:xmpp:mam:2' queryid='q' id='1'>{inner}</result>"),
    ] {
        stage.say_to(alice, Line::new("chat", &bob.account).with(&lie).not_kept(), &[bob]);
    }
    stage.say_to(alice, chat(&bob.account, &"\"a".repeat(33_000)), &[bob]);
    stage.say_to(alice, chat(&bob.account, "and then"), &[bob]);
}

fn wait_for_carbon(client: &Client, body: &str) {
    client.expect("a carbon", |stanza| {
        (stanza.has("sent", "urn:xmpp:carbons:2") || stanza.has("received", "urn:xmpp:carbons:2")) && stanza.contains(body)
    });
}

pub(crate) fn offline_and_later_online(stage: &Stage) {
    let alice = stage.enter("alice", "desk");
    let to_bob = stage.bare("bob");
    stage.say(&alice, chat(&to_bob, "offline 0"));
    stage.say(&alice, chat(&to_bob, "offline 1"));
    stage.say(&alice, chat(&to_bob, "offline, no id").without_id());
    stage.say(&alice, normal(&to_bob, "offline, normal"));
    let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    stage.say(&alice, Line::new("chat", &to_bob).with(typing).not_kept());
    alice.sync();
    let bob = stage.enter("bob", "phone");
    for body in ["offline 0", "offline 1", "offline, no id", "offline, normal"] {
        bob.expect_body(body);
    }
    let desk = stage.enter("bob", "desk");
    stage.say_to(&alice, chat(&to_bob, "bob is online now"), &[&bob]);
    desk.sync();
}

pub(crate) fn reply_to_the_full_jid_with_a_thread(stage: &Stage) {
    let alice = ["desk", "phone"].map(|resource| stage.enter("alice", resource));
    let bob = ["phone", "desk"].map(|resource| stage.enter("bob", resource));
    let thread = "e0ffe42b28561960c6b12b944a092794b9683a38";
    let first = chat(&stage.bare("bob"), "first, to the bare JID").thread(thread);
    stage.say(&alice[0], first);
    bob[0].sync();
    let reply = chat(&alice[0].jid(), "reply, to the full JID").thread(thread);
    stage.say_to(&bob[0], reply, &[&alice[0]]);
    let locked = chat(&bob[0].jid(), "locked on the full JID").thread(thread);
    stage.say_to(&alice[0], locked, &[&bob[0]]);
    let other = chat(&stage.bare("alice"), "bob's other resource answers too").thread(thread);
    stage.say(&bob[1], other);
}

pub(crate) fn presence_priorities(stage: &Stage) {
    let alice = stage.enter("alice", "desk");
    let high = stage.enter_with_priority("bob", "phone", 5);
    stage.enter_with_priority("bob", "desk", 1);
    let never = stage.enter_with_priority("bob", "bot", -1);
    stage.say_to(&alice, chat(&stage.bare("bob"), "to the highest priority"), &[&high]);
    stage.say_to(&alice, chat(&never.jid(), "to a negative one by its full JID"), &[&never]);
    stage.say_to(&alice, normal(&stage.bare("bob"), "normal goes by priority as well"), &[&high]);
}

pub(crate) fn to_oneself(stage: &Stage) {
    let alice = ["desk", "phone"].map(|resource| stage.enter("alice", resource));
    for client in &alice {
        client.enable_carbons();
    }
    stage.say_to(&alice[0], chat(&stage.bare("alice"), "note to self"), &[&alice[1]]);
    stage.say_to(&alice[0], chat(&alice[1].jid(), "to my phone"), &[&alice[1]]);
}

pub(crate) fn identical_messages(stage: &Stage) {
    let alice = ["desk", "phone"].map(|resource| stage.enter("alice", resource));
    let (bob, carol) = (stage.enter("bob", "phone"), stage.enter("carol", "desk"));
    let (to_bob, to_carol) = (stage.bare("bob"), stage.bare("carol"));
    let ok = |to: &str| chat(to, "ok").id("counter-1");
    stage.say_to(&alice[0], ok(&to_bob), &[&bob]);
    stage.say_to(&alice[0], ok(&to_bob), &[&bob]);
    stage.say_to(&alice[0], chat(&to_bob, "ok").without_id(), &[&bob]);
    stage.say_to(&alice[0], chat(&to_bob, "ok").without_id(), &[&bob]);
    stage.say_to(&alice[1], ok(&to_bob), &[&bob]);
    stage.say_to(&alice[0], ok(&to_carol), &[&carol]);
    stage.say_to(&carol, ok(&to_bob), &[&bob]);
    stage.say_to(&alice[0], chat(&to_bob, "another body").id("counter-1"), &[&bob]);
    for _ in 0..3 {
        stage.say(&alice[0], chat(&to_bob, "rapid").id("counter-2"));
    }
}

pub(crate) fn unicode_and_big_messages(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let to_bob = stage.bare("bob");
    let texts = [
        "naïve café — “quotes” … ßẞ ﬁ",
        "👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇭 👍🏽 𝒳 𠜎",
        "שלום \u{200f}עולם\u{200e} العربية \u{202e}evil\u{202c} end",
        "e\u{301} is not é, ﷺ, Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍",
        "a & b < c > d \" e ' f ]]> <b>not markup</b> &amp; &#x41;",
        "line 1\nline 2\n\tafter a tab  two spaces   trailing ",
        "\u{feff}BOM \u{200b} zero width \u{ad} soft hyphen \u{fffd} \u{10fffd}",
    ];
    for text in texts {
        stage.say_to(&alice, chat(&to_bob, text), &[&bob]);
    }
    let big = "Lorem ipsum 0123456789 äöü€ ".repeat(7_000);
    stage.say_to(&alice, chat(&to_bob, &big), &[&bob]);
    let odd_id = chat(&to_bob, "an odd id").id("a'b\"c<d>&é👍 z");
    stage.say_to(&alice, odd_id, &[&bob]);
    let odd_case = chat(&to_bob.to_uppercase(), "a JID in upper case");
    stage.say_to(&alice, odd_case, &[&bob]);
}

/// A phone that was away fetches everything there is (XEP-0313): each result is mirrored by ejabberd once more.
pub(crate) fn synchronising_the_archive_doubles_nothing(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    for number in 0..5 {
        let line = chat(&stage.bare("bob"), &format!("question {number}"));
        stage.say_to(&alice, line, &[&bob]);
        let line = chat(&stage.bare("alice"), &format!("answer {number}"));
        stage.say_to(&bob, line, &[&alice]);
    }
    stage.settle();
    for (user, resource) in [("bob", "tablet"), ("alice", "tablet"), ("alice", "phone")] {
        let client = stage.enter(user, resource);
        assert_eq!(client.fetch_archive(None).len(), 10);
    }
    stage.say_to(&alice, chat(&stage.bare("bob"), "after all that"), &[&bob]);
}

/// A client loses its connection without a word (XEP-0198), is written to meanwhile, and takes its session up again.
pub(crate) fn dropped_and_resumed(stage: &Stage) {
    let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
    let to_bob = stage.bare("bob");
    bob.enable_resumption();
    stage.say_to(&alice, chat(&to_bob, "before"), &[&bob]);
    bob.sync();
    let session = bob.session();
    bob.drop_abruptly();
    stage.say(&alice, chat(&to_bob, "while the line is dead"));
    alice.sync();
    let bob = stage.resume("bob", "phone", &session);
    bob.expect_body("while the line is dead");
    stage.say_to(&alice, chat(&to_bob, "after"), &[&bob]);
}
