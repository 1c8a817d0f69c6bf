//! What people wrote, in pages: escaped, complete, within the scope, with everything that became of it, and written down before.

use std::collections::BTreeSet;

use serde_json::Value;
use xmpp_archiver::access::{AuditFilter, NewToken, Viewer};

use super::site::{HEBREW, Site, Visitor, encoded, is_within};

pub(super) fn ids_of(body: &str) -> Vec<i64> {
    let evidence = body.split("href=\"/message/").skip(1);
    evidence.filter_map(|rest| rest.split(['"', '?', '#']).next()?.parse().ok()).collect()
}

/// Every page of a list, by its link to the next.
pub(super) fn pages(site: &Site, first: &str, visitor: &Visitor) -> Vec<String> {
    let mut pages = Vec::new();
    let mut next = Some(first.to_owned());
    while let Some(path) = next {
        let answer = site.get(&path, visitor);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let link = answer.body.split("rel=\"next\" href=\"").nth(1).and_then(|rest| rest.split('"').next());
        next = link.map(|link| link.replace("&amp;", "&").replace("&#38;", "&"));
        pages.push(answer.body);
        assert!(pages.len() < 100, "it goes on for ever");
    }
    pages
}

#[test]
fn hostile_words_are_only_words() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let mut paths = vec![
        "/search?q=alert&go=1".to_owned(),
        "/search?go=1&order=oldest&q=%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(),
        "/rooms".to_owned(),
    ];
    paths.extend(["/quarantine".to_owned(), "/quarantine/1".to_owned()]);
    paths.push(format!("/room?name={}", encoded("salon@rooms.lindqvist.example")));
    for message in site.messages.iter().filter(|message| message.to_string().contains("alert(")) {
        paths.push(format!("/conversation?name={}", encoded(message["conversation"].as_str().expect("a name"))));
        paths.push(format!("/message/{}?xml=1", message["id"]));
    }
    paths.push("/conversation?name=%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned());
    paths.push("/message/%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned());
    paths.push("/search?store=%3Cscript%3Ealert(1)%3C%2Fscript%3E&who=%22%3E%3Cscript%3E".to_owned());
    assert!(paths.len() > 8, "{paths:?}");
    let mut shown = 0;
    for path in paths {
        let body = site.get(&path, &officer).body;
        for wrong in ["<script", "<img", "<b onclick", "onerror=alert(2)>\"", "\u{202e}"] {
            assert!(!body.contains(wrong), "{path} holds {wrong}: {body}");
        }
        shown += body.matches("alert(1)").count();
    }
    assert!(shown > 5, "it is shown all the same");
}

#[test]
fn texts_of_every_sort_are_shown_whole() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let body = site.get("/conversation?name=anna%40lindqvist.example+eve%40lindqvist.example", &officer).body;
    assert!(body.contains("שלום") && body.contains("\u{200f}") && !HEBREW.is_empty());
    assert!(body.contains("https://evil.example/&#60;U+202E&#62;gpj.exe") && !body.contains("href=\"https://evil"));
    assert!(body.contains("<details class=\"fold\"><summary>The rest (196000 characters in all)"), "a long text is folded");
    assert_eq!(body.matches("needle 200 KB").count(), 14_000 - 1, "one is cut in two by the fold");
}

#[test]
fn paging_is_complete_and_within_the_scope() {
    let site = Site::new();
    let everything: BTreeSet<i64> = site.messages.iter().filter_map(|message| message["id"].as_i64()).collect();
    let within: BTreeSet<i64> =
        site.messages.iter().filter(|message| is_within(message)).filter_map(|message| message["id"].as_i64()).collect();
    assert!(within.len() > 10 && everything.len() > within.len() + 10, "{} of {}", within.len(), everything.len());
    for (account, expected) in [("officer", &everything), ("reviewer", &within)] {
        let visitor = site.sign_in(account);
        for order in ["newest", "oldest"] {
            let pages = pages(&site, &format!("/search?go=1&order={order}&limit=7"), &visitor);
            let found: Vec<i64> = pages.iter().flat_map(|page| ids_of(page)).collect();
            assert_eq!(found.len(), expected.len(), "{account} {order}: each once");
            assert_eq!(&found.into_iter().collect::<BTreeSet<_>>(), expected, "{account} {order}");
        }
        let token = site.token(account, NewToken::default());
        let (mut found, mut after) = (BTreeSet::new(), String::new());
        loop {
            let page = site.call(&format!("/messages?limit=7&after={}", encoded(&after)), &token).json();
            found.extend(page["messages"].as_array().expect("messages").iter().filter_map(|message| message["id"].as_i64()));
            match &page["next"] {
                Value::String(next) => after.clone_from(next),
                _ => break,
            }
        }
        assert_eq!(&found, expected, "{account} by the API");
    }
    let counted = site.get("/search?go=1", &site.sign_in("reviewer")).body;
    assert!(counted.contains(&format!("{} messages</h2>", within.len())), "the count is within the scope as well");
}

#[test]
fn a_conversation_shows_what_became_of_its_messages() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let room = site.get("/conversation?name=workshop%40rooms.lindqvist.example", &officer).body;
    for part in [
        "Carcasses Wednesday, fronts Friday",
        "Carcasses Wendesday, fronts Friday",
        ">edited<",
        "What became of it",
        "👍",
        "Anna",
        "anna@lindqvist.example",
        "fitting-plan.pdf",
        "class=\"day\"",
        "sets the subject: Week 10: Harbour Street",
    ] {
        assert!(room.contains(part), "{part} is missing: {room}");
    }
    let retracted =
        site.messages.iter().find(|message| message["kind"] == "retraction" && message["refers_to"].is_i64()).expect("a retraction");
    let original = site.messages.iter().find(|message| message["id"] == retracted["refers_to"]).expect("the original");
    let page = site.get(&format!("/message/{}", original["id"]), &officer).body;
    assert!(page.contains("retracted</span>") && page.contains("Evidence of delivery"), "{page}");
    let encrypted = site.messages.iter().find(|message| message["encrypted"] == true).expect("an encrypted one");
    assert!(site.get(&format!("/message/{}", encrypted["id"]), &officer).body.contains(">encrypted</span>"));
    let found = site.get("/search?q=OAK", &officer).body;
    assert!(found.contains("<mark>Oak</mark>") && found.contains("<mark>oak</mark>"), "{found}");
}

#[test]
fn nothing_is_shown_that_is_not_written_down() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let inside = site.message(true, false);
    let id = inside["id"].to_string();
    let talk = encoded(inside["conversation"].as_str().expect("a name"));
    site.get("/search?q=oak&reason=case+7", &officer);
    site.get(&format!("/conversation?name={talk}"), &officer);
    site.get(&format!("/message/{id}"), &officer);
    site.get(&format!("/message/{id}?xml=1"), &officer);
    site.get("/overview", &officer);
    site.get("/rooms", &officer);
    let reviewer = site.sign_in("reviewer");
    site.get(&format!("/message/{}", site.message(false, false)["id"]), &reviewer);
    site.get("/audit", &reviewer);
    let rows =
        site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &AuditFilter { oldest_first: true, ..AuditFilter::default() }));
    let rows = rows.expect("the audit trail");
    let told: Vec<String> =
        rows.iter().map(|row| format!("{} {} {}", row.actor, row.action, row.outcome.expect("an outcome").word())).collect();
    let expected = [
        "officer search done",
        "officer view-conversation done",
        "officer view-message done",
        "officer view-xml done",
        "officer view-overview done",
        "officer view-room done",
        "reviewer sign-in done",
        "reviewer view-message denied",
        "reviewer view-audit denied",
    ];
    let begin = told.iter().position(|row| row == expected[0]).expect("the search");
    assert_eq!(told[begin..], expected);
    assert_eq!((rows[begin].reason.as_deref(), &rows[begin].target["q"]), (Some("case 7"), &Value::from("oak")));
}
