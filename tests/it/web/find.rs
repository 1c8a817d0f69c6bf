//! Searches by name: the same conditions on every way in, and none that is dropped, nor told of without being applied.

use serde_json::{Value, json};
use xmpp_archiver::access::{AuditFilter, AuditRow, NewToken, Scope, Viewer};
use xmpp_archiver::retrieve::vocabulary::{CONDITIONS, Takes, spellings};

use super::content::ids_of;
use super::site::{Site, encoded};

/// Parameters of the description beside the conditions.
const BESIDE: [&str; 8] = ["store", "order", "limit", "after", "zone", "count", "context", "reason"];
const BESIDE_EXPORT: [&str; 5] = ["store", "format", "xml", "zone", "reason"];

#[test]
fn the_description_has_every_condition_with_its_words() {
    let description: Value = serde_json::from_str(include_str!("../../../src/web/openapi.json")).expect("JSON");
    for (operation, beside) in
        [(&description["paths"]["/messages"]["get"], &BESIDE[..]), (&description["paths"]["/exports"]["post"], &BESIDE_EXPORT)]
    {
        let parameters = operation["parameters"].as_array().expect("a list");
        let mut described: Vec<&str> = parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
        let mut expected: Vec<&str> = CONDITIONS.iter().map(|condition| condition.name).chain(beside.iter().copied()).collect();
        described.sort_unstable();
        expected.sort_unstable();
        assert_eq!(described, expected);
        for condition in CONDITIONS {
            let parameter = parameters.iter().find(|parameter| parameter["name"] == condition.name).expect("there");
            let schema = &parameter["schema"];
            match condition.takes {
                Takes::Words(words) => {
                    assert_eq!(schema["items"]["enum"], json!(spellings(words).collect::<Vec<_>>()), "{}", condition.name)
                }
                Takes::Truth => assert_eq!(schema["type"], "boolean", "{}", condition.name),
                _ => assert_eq!(schema["type"], "string", "{}", condition.name),
            }
        }
    }
}

fn searches(site: &Site) -> Vec<AuditRow> {
    let rows =
        site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &AuditFilter { limit: 1_000, ..AuditFilter::default() }));
    rows.expect("rows").into_iter().filter(|row| row.actor == "officer" && ["search", "export"].contains(&row.action.as_str())).collect()
}

#[test]
fn what_is_not_known_is_refused_and_not_dropped() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let token = site.token("officer", NewToken::default());
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for wrong in ["has=wings", "sendr=anna%40lindqvist.example", "node=nope", "kind=talk", "direction=up", "nodes=node"] {
        let page = site.get(&format!("/search?go=1&{wrong}"), &officer);
        assert!(
            page.status == 400 && !page.body.contains("<ol class=\"hits\">") && page.body.contains("There is no"),
            "{wrong}: {}",
            page.body
        );
        assert_eq!(site.call(&format!("/messages?{wrong}"), &token).status, 400, "{wrong}");
        let begun = site.ask("POST", "/api/v1/exports", &bearer, &format!("reason=x&format=jsonl&{wrong}"));
        assert_eq!(begun.status, 400, "{wrong}: {}", begun.body);
        let csrf = site.get("/account", &officer).csrf();
        let (name, value) = wrong.split_once('=').expect("a value");
        let posted = site.post("/exports/new", &officer, &[("csrf", &csrf), ("reason", "x"), ("format", "jsonl"), (name, value)]);
        assert!(posted.status == 200 && posted.body.contains("There is no"), "{wrong}: {}", posted.body);
    }
    assert_eq!(site.call("/exports", &token).json()["exports"], json!([]));
    assert!(searches(&site).is_empty(), "nothing was found, and no row tells of a search");
    for path in [
        "/messages/1?xlm=true",
        "/stays?room=a%40b&form=2026-11-22",
        "/messages?context=21",
        "/messages?context=2&limit=51",
        "/messages?count=yes",
    ] {
        assert_eq!(site.call(path, &token).status, 400, "{path}");
    }
    assert_eq!(site.call("/messages?zone=Moon", &token).status, 400);
    let attached = site.call("/messages?has=attachment&limit=500", &token).json();
    let files = site.messages.iter().filter(|message| message["kind"] == "file").count();
    assert_eq!(attached["messages"].as_array().map(Vec::len), Some(files));
}

/// What the command line finds, the page and the API find, by the same words.
#[test]
fn every_way_in_finds_the_same() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let token = site.token("officer", NewToken::default());
    let (anna, ben, chloe) = ("anna@lindqvist.example", "ben@lindqvist.example", "chloe@lindqvist.example");
    for (options, address) in [
        (vec!["--kind", "edit"], "kind=edit".to_owned()),
        (vec!["--kind", "encrypted"], "kind=encrypted".to_owned()),
        (vec!["--direction", "unknown"], "direction=unknown".to_owned()),
        (vec!["--all"], "all=1".to_owned()),
        (vec!["--node", "node"], "node=node".to_owned()),
        (vec!["--substring", "arbour"], "q=arbour&substring=1".to_owned()),
        (vec!["--has", "attachment"], "has=attachment".to_owned()),
        (vec!["harbour"], "q=harbour".to_owned()),
        (
            vec!["--participant", anna, "--any-participant", ben, "--any-participant", chloe],
            format!("who={}&any={}", encoded(anna), encoded(&format!("{ben}, {chloe}"))),
        ),
        (vec!["--every-recipient", ben, "--every-recipient", chloe], format!("every-recipient={}", encoded(&format!("{ben} {chloe}")))),
    ] {
        let lines = site.archiver.must(&[&["search", "--format", "jsonl", "--limit", "1000"], &options[..]].concat());
        let mut expected: Vec<i64> = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["id"].as_i64()).collect();
        expected.sort_unstable();
        assert!(!expected.is_empty() || address.starts_with("direction"), "{address} finds nothing");
        let found = site.call(&format!("/messages?limit=500&count=true&{address}"), &token).json();
        let mut by_api: Vec<i64> = found["messages"].as_array().expect("messages").iter().filter_map(|one| one["id"].as_i64()).collect();
        by_api.sort_unstable();
        assert_eq!(by_api, expected, "{address} by the API");
        assert_eq!(found["count"], json!({ "messages": expected.len(), "is_exact": true }), "{address}");
        let mut on_page = ids_of(&site.get(&format!("/search?go=1&limit=500&{address}"), &officer).body);
        on_page.sort_unstable();
        assert_eq!(on_page, expected, "{address} on the page");
    }
}

#[test]
fn a_search_can_be_made_again_from_its_row() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let mut berlin = officer.clone();
    berlin.cookies.insert("zone".to_owned(), "Europe/Berlin".to_owned());
    assert_eq!(site.get("/search?from=-2h&limit=5&order=oldest", &berlin).status, 200);
    let row = &searches(&site)[0];
    let from = row.target["from"].as_str().expect("a time");
    assert!(from.ends_with('Z') && from.len() == 27, "{from}");
    assert_eq!((&row.target["zone"], &row.target["total"], row.count), (&json!("Europe/Berlin"), &json!(site.messages.len()), Some(5)));
    let again = site.get(&format!("/search?from={}&order=oldest", encoded(from)), &officer);
    assert!(again.body.contains(&format!("{} messages</h2>", site.messages.len())));
}

#[test]
fn the_form_keeps_what_was_asked_for() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let talk = "anna@lindqvist.example ben@lindqvist.example";
    let address = format!("/search?room=a%40b.example&room=c%40b.example&conversation={}&any=x%40y&node=node&all=1", encoded(talk));
    let form = site.get(&address, &officer);
    for (name, value) in [("room", "a@b.example, c@b.example"), ("conversation", talk), ("any", "x@y"), ("node", "node")] {
        assert!(form.body.contains(&format!("name=\"{name}\" value=\"{value}\"")), "{name}: {}", form.body);
    }
    assert!(form.body.contains("name=\"all\" value=\"1\" checked"));
}

#[test]
fn hits_tell_what_became_of_them_and_lead_to_marked_pages() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let token = site.token("officer", NewToken::default());
    for (kind, mark) in [("correction", ">edited</span>"), ("retraction", ">retracted</span>")] {
        let change = site.messages.iter().find(|message| message["kind"] == kind && message["refers_to"].is_i64()).expect("a change");
        let found = site.get(&format!("/search?id={}", change["refers_to"]), &officer);
        assert!(found.body.contains(mark), "{kind}: {}", found.body);
        let told = site.call(&format!("/messages?id={}", change["refers_to"]), &token).json();
        assert!(told["changes"].as_array().expect("changes").iter().any(|one| one["id"] == change["id"] && one["kind"] == kind), "{told}");
    }
    let found = site.get("/search?q=OAK&order=best", &officer).body;
    let (_, rest) = found.split_once("href=\"/conversation?").expect("a conversation");
    let link = rest.split('"').next().expect("its address").replace("&#38;", "&").replace("&amp;", "&");
    let (link, _) = link.split_once("#m").expect("its message");
    let conversation = site.get(&format!("/conversation?{link}"), &officer).body;
    assert!(conversation.to_lowercase().contains("<mark>oak</mark>"), "{conversation}");
    let part = site.get("/search?q=arbou&substring=1", &officer).body;
    assert!(part.contains("H<mark>arbou</mark>r"), "{part}");
}

#[test]
fn context_receipts_and_occupants_are_told_within_the_scope() {
    let site = Site::new();
    let token = site.token("officer", NewToken::default());
    let found = site.call("/messages?q=oak&context=2&limit=10", &token).json();
    let contexts = found["contexts"].as_array().expect("contexts");
    assert!(!contexts.is_empty() && contexts.iter().all(|one| one["before"].as_array().is_some_and(|before| before.len() <= 2)));
    let narrow = Scope { who: ["dilip@lindqvist.example".to_owned()].into(), ..Scope::default() };
    let narrow = site.token("officer", NewToken { scope: Some(narrow), ..NewToken::default() });
    let context = site.call("/messages?context=20&limit=50", &narrow).json();
    let is_his = |message: &Value| message.to_string().contains("dilip@lindqvist.example");
    let contexts = context["contexts"].as_array().expect("contexts");
    let shown = || contexts.iter().flat_map(|one| [&one["before"], &one["after"]]).flat_map(|side| side.as_array().expect("a list"));
    assert!(shown().count() > 0 && shown().all(is_his));
    let in_room = site.messages.iter().find(|message| message["room"] == "workshop@rooms.lindqvist.example" && is_his(message));
    let in_room = in_room.expect("one that he got")["id"].to_string();
    let all = site.call(&format!("/messages/{in_room}"), &token).json()["occupants"].as_array().expect("a list").len();
    let his = site.call(&format!("/messages/{in_room}"), &narrow).json();
    let his: Vec<&Value> = his["occupants"].as_array().expect("a list").iter().map(|stay| &stay["jid"]).collect();
    assert!(all > 1 && his == [&json!("dilip@lindqvist.example")], "{all} {his:?}");
    assert_eq!(site.call(&format!("/messages/{in_room}"), &token).json()["receipts"], json!([]));
    site.archiver.store.query(&format!(
        "PRAGMA busy_timeout = 30000; INSERT INTO messages (id, sent_at, received_at, refers_to, conversation_id, flags, node_id, kind, type, \
         direction, via, content_key, xml) SELECT 900000, sent_at + 1, received_at + 1, id, conversation_id, 0, node_id, 10, type, direction, via, \
         content_key, xml FROM messages WHERE id = {in_room}"
    ));
    let told = site.call(&format!("/messages/{in_room}"), &token).json();
    assert_eq!((&told["receipts"][0]["id"], &told["receipts"][0]["kind"]), (&json!(900_000), &json!("receipt")));
}

/// Whoever may see a person and not the room sees when that person was there.
#[test]
fn a_reviewer_of_a_person_sees_that_persons_stays() {
    let site = Site::new();
    let room = encoded("workshop@rooms.lindqvist.example");
    let (reviewer, officer) = (site.sign_in("reviewer"), site.sign_in("officer"));
    let page = site.get(&format!("/room?name={room}"), &reviewer).body;
    assert!(page.contains("anna@lindqvist.example") && !page.contains("ben@lindqvist.example"), "{page}");
    // And is told so: that nobody else is listed proves nothing.
    let of_room =
        |message: &&Value| message["room"] == "workshop@rooms.lindqvist.example" && message.to_string().contains("anna@lindqvist");
    let message = format!("/message/{}", site.messages.iter().find(of_room).expect("one in the room")["id"]);
    for path in [format!("/room?name={room}"), message.clone()] {
        let is_told = |visitor| site.get(&path, visitor).body.contains("Only people whom you may see are listed");
        assert_eq!((is_told(&reviewer), is_told(&officer)), (true, false), "{path}");
    }
    let [reviewer, officer] = ["reviewer", "officer"].map(|name| site.token(name, NewToken::default()));
    for path in [format!("/stays?room={room}"), message.replace("/message/", "/messages/")] {
        let is_told = |token| site.call(&path, token).json()["is_partial"].clone();
        assert_eq!((is_told(&reviewer), is_told(&officer)), (json!(true), json!(false)), "{path}");
    }
    let stays = site.call(&format!("/stays?room={room}"), &reviewer).json();
    let stays = stays["stays"].as_array().expect("stays").clone();
    assert!(!stays.is_empty() && stays.iter().all(|stay| stay["jid"] == "anna@lindqvist.example"), "{stays:?}");
}
