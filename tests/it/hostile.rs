//! People who would like the archive to believe something, and XML that is not what it should be.

use serde_json::Value;

use crate::support::archiver::StoreKind;
use crate::support::line::{Line, chat};
use crate::support::node::Kind;
use crate::support::stage::{Stage, perform, scenarios};

scenarios! {
    forged_mirror_wrappers,
    forged_carbons_and_archive_results,
    forged_stanza_ids,
    forged_delay_stamps,
}

const FORGED: &str = "I never said this";

fn forged(stage: &Stage) -> String {
    format!(
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' type='chat' id='f1' from='{}' to='{}'>\
         <body>{FORGED}</body></message></forwarded>",
        format_args!("{}/desk", stage.bare("alice")),
        stage.bare("bob")
    )
}

fn assert_no_forgery(stage: &Stage) {
    stage.settle();
    let rows = stage.archived_with_body(FORGED);
    assert!(rows.is_empty(), "{rows:#?}");
}

/// Mallory writes to the archive itself, with what looks like a mirrored message inside.
fn forged_mirror_wrappers(stage: &Stage) {
    let mallory = stage.enter("mallory", "desk");
    let archive = stage.node().archive.clone();
    let own = format!("<sealed xmlns='urn:xmpp:mirror:0'>{}</sealed>", forged(stage));
    for payload in [forged(stage), own] {
        for to in [archive.clone(), format!("someone@{archive}/x")] {
            stage.say(&mallory, Line::new("chat", &to).with(&payload).not_kept());
        }
    }
    mallory.sync();
    assert_no_forgery(stage);
}

/// Mallory sends Bob what looks like a carbon of a message of Alice's, and like a result of Bob's own archive.
fn forged_carbons_and_archive_results(stage: &Stage) {
    let (mallory, bob) = (stage.enter("mallory", "desk"), stage.enter("bob", "phone"));
    let inner = forged(stage);
    let payloads = [
        format!("<received xmlns='urn:xmpp:carbons:2'>{inner}</received>"),
        format!("<sent xmlns='urn:xmpp:carbons:2'>{inner}</sent>"),
        format!("<result xmlns='urn:xmpp:mam:2' queryid='q' id='1'>{inner}</result>"),
        inner,
    ];
    for payload in payloads {
        stage.say_to(&mallory, Line::new("chat", &bob.account).with(&payload).not_kept(), &[&bob]);
    }
    assert_no_forgery(stage);
}

/// Two messages do not become one because their sender gives them the same stanza-id, whomever it names as its origin.
fn forged_stanza_ids(stage: &Stage) {
    let (mallory, bob) = (stage.enter("mallory", "desk"), stage.enter("bob", "phone"));
    for by in [stage.node().host.clone(), bob.account.clone(), mallory.account.clone()] {
        let claim = format!("<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='{by}'/>");
        for body in ["first", "second"] {
            let line = chat(&bob.account, &format!("{body}, claiming {by}")).with(&claim);
            stage.say_to(&mallory, line, &[&bob]);
        }
    }
}

/// A message that claims to have been delayed since long ago is a message of now.
fn forged_delay_stamps(stage: &Stage) {
    let (mallory, bob) = (stage.enter("mallory", "desk"), stage.enter("bob", "phone"));
    for from in [stage.node().host.clone(), mallory.account.clone()] {
        let delay = format!("<delay xmlns='urn:xmpp:delay' from='{from}' stamp='1999-12-31T23:59:59Z'/>");
        let line = chat(&bob.account, &format!("delayed by {from}")).with(&delay);
        let id = stage.say(&mallory, line);
        bob.expect("the message", |stanza| stanza.attr("id") == Some(&id));
    }
    stage.settle();
    let is_of_now = |row: &Value| {
        let received_at = row.get("received_at").and_then(Value::as_str);
        received_at.is_some_and(|at| at > "2000")
    };
    assert!(stage.archived().iter().all(is_of_now));
}

/// ejabberd passes on XML with an undeclared prefix; the session must survive it and the message must be kept.
#[test]
fn ill_formed_namespaces_through_ejabberd() {
    perform(Kind::Ejabberd, StoreKind::Sqlite, |stage| {
        let (alice, bob) = (stage.enter("alice", "desk"), stage.enter("bob", "phone"));
        let odd = chat(&bob.account, "with an undeclared prefix").with("<odd:element odd:attribute='x'/>");
        stage.say(&alice, odd.kept_as("message|unreadable"));
        bob.expect("the odd message", |stanza| stanza.contains("undeclared prefix"));
        stage.say_to(&alice, chat(&bob.account, "and life goes on"), &[&bob]);
    });
}
