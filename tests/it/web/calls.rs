//! What single calls of the API answer and change, and what the audit trail tells of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xmpp_archiver::access::{Action, AuditFilter, AuditRow, NewToken, Scope, Viewer};
use xmpp_archiver::time::{SECOND, now};

use super::api::check;
use super::content::pages;
use super::scopes::{GROUP, MEMBER, REVIEWERS};
use super::site::{Answer, Site, WITHIN, encoded};

/// A call with a form, whose answer is as described.
fn send(site: &Site, (method, route): (&str, &str), path: &str, token: &str, form: &str) -> Answer {
    let answer = site.ask(method, &format!("/api/v1{path}"), &format!("Authorization: Bearer {token}\r\n"), form);
    let description = site.ask("GET", "/api/v1/openapi.json", "", "").json();
    check(&description, (method, route), answer.status, &answer.json());
    answer
}

/// The rows of an action, the oldest first.
fn rows(site: &Site, action: Action) -> Vec<AuditRow> {
    let filter = AuditFilter { actions: vec![action], oldest_first: true, ..AuditFilter::default() };
    site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &filter)).expect("the audit trail")
}

fn narrow(site: &Site) -> String {
    let scope = Scope { rooms: ["workshop@rooms.lindqvist.example".to_owned()].into(), ..Scope::default() };
    site.token("officer", NewToken { scope: Some(scope), ..NewToken::default() })
}

fn numbers(list: &Value) -> Vec<i64> {
    list.as_array().expect("a list").iter().map(|entry| entry["messages"].as_i64().expect("a number")).collect()
}

#[test]
fn the_figures_are_those_of_the_overview() {
    let site = Site::new();
    let officer = site.token("officer", NewToken::default());
    let page = site.get("/overview", &site.sign_in("officer")).body;
    let days = site.call("/days", &officer).json()["days"].clone();
    let counted = numbers(&days);
    let total = format!("{} in {} days, at most", counted.iter().sum::<i64>(), counted.len());
    assert!(counted.len() == 30 && counted.iter().any(|messages| *messages > 0) && page.contains(&total), "{total}: {page}");
    for day in days.as_array().expect("days") {
        let row = format!("<tr><td>{}</td><td class=\"number\">{}</td></tr>", day["day"].as_str().expect("a day"), day["messages"]);
        assert!(page.contains(&row), "{row} is not in {page}");
    }
    let busiest = site.call("/busiest?reason=case+9", &officer).json();
    for (list, kind) in [("rooms", true), ("pairs", false)] {
        let told = numbers(&busiest[list]);
        assert!(!told.is_empty() && told.is_sorted_by(|one, next| one >= next), "{busiest}");
        for talk in busiest[list].as_array().expect("a list") {
            let spoken = |message: &&Value| message["conversation"] == talk["conversation"] && message["room"].is_string() == kind;
            assert_eq!(talk["messages"], json!(site.messages.iter().filter(spoken).count()), "{talk}");
            assert!(page.contains(&format!("name={}", encoded(talk["conversation"].as_str().expect("a name")).replace("%20", "+"))));
        }
    }
    let nothing = site.call("/busiest", &narrow(&site)).json();
    assert_eq!((&nothing["rooms"], &nothing["pairs"]), (&json!([]), &json!([])), "the numbers would tell of what is beyond");
    let told: Vec<_> = rows(&site, Action::ViewOverview).into_iter().map(|row| (row.target, row.reason)).collect();
    assert!(told.contains(&(json!({ "store": "main", "conversations": true }), Some("case 9".to_owned()))), "{told:?}");
    assert!(told.contains(&(json!({ "store": "main", "conversations": false }), None)), "{told:?}");
}

#[test]
fn nothing_is_told_of_people_without_a_reason_where_one_is_wanted() {
    let site = Site::with("require_reason = true\n");
    let officer = site.token("officer", NewToken::default());
    for path in ["/busiest", "/quarantine/1"] {
        let refused = site.call(path, &officer);
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("reason-wanted")), "{path}");
        assert_eq!(site.call(&format!("{path}?reason=x"), &officer).status, 200, "{path}");
    }
    assert_eq!(site.call("/days", &officer).status, 200, "how much there is, is no content");
    let head = site.call("/quarantine/1", &site.token("operator", NewToken::default()));
    assert_eq!((head.status, &head.json()["record"]["text"]), (200, &Value::Null), "{}", head.body);
}

#[test]
fn a_record_in_quarantine_is_read_by_those_who_may_read_all() {
    let site = Site::new();
    site.archiver.store.query(
        "INSERT INTO quarantine (id, spool_id, seq, node_id, received_at, reason, record) VALUES \
         (2, zeroblob(16), 2, 1, 1795332535000000, 'from ann@example.org/x', x'00ff3c')",
    );
    let ask =
        |id: &str, token: &str| send(&site, ("GET", "/quarantine/{id}"), &format!("/quarantine/{id}"), token, "").json()["record"].clone();
    let officer = site.token("officer", NewToken::default());
    let read = ask("1?reason=case+1", &officer);
    assert_eq!(read["text"], "<message><body><script>alert(5)</script></body></message>");
    let head = json!({
        "id": 1, "node": "node", "received_at": "2026-11-22T07:28:55.000000Z", "reason": "too odd <script>alert(4)</script>", "bytes": 57,
        "text": read["text"], "base64": null
    });
    assert_eq!(read, head);
    let odd = ask("2", &officer);
    assert_eq!((&odd["text"], &odd["base64"], &odd["reason"]), (&Value::Null, &json!("AP88"), &json!("from ann@example.org/x")));
    for token in [site.token("operator", NewToken::default()), site.token("auditor", NewToken::default()), narrow(&site)] {
        let unread = ask("2", &token);
        assert_eq!((&unread["text"], &unread["base64"], &unread["bytes"]), (&Value::Null, &Value::Null, &json!(3)));
        assert!(!unread.to_string().contains("ann@"), "{unread}");
        assert!(!site.call("/quarantine", &token).body.contains("ann@"), "nor does the list");
    }
    let told: Vec<_> = rows(&site, Action::ViewQuarantine).into_iter().map(|row| (row.actor, row.target, row.reason)).collect();
    let (store, officer, auditor) = ("main", "officer".to_owned(), "auditor".to_owned());
    assert!(told.contains(&(officer, json!({ "store": store, "record": "1" }), Some("case 1".to_owned()))), "{told:?}");
    assert!(told.contains(&(auditor, json!({ "store": store, "record": "2", "content": false }), None)), "{told:?}");
}

#[test]
fn groups_are_made_changed_and_removed() {
    let site = Site::new();
    let token = site.token("administrator", NewToken::default());
    let of = |method: &'static str, path: &str, form: &str| send(&site, (method, "/groups/{name}"), path, &token, form);
    let listed = || send(&site, ("GET", "/groups"), "/groups", &token, "").json()["groups"].clone();
    assert_eq!(listed(), json!([{ "name": GROUP, "members": [MEMBER] }]));
    let made = of("PUT", "/groups/Sales", "members=Ann@example.org%2C+example.net&reason=new+team");
    let sales = json!({ "name": "sales", "members": ["ann@example.org", "example.net"] });
    assert_eq!((made.status, &made.json()["group"]), (200, &sales), "{}", made.body);
    assert_eq!(of("GET", "/groups/SALES", "").json()["group"], sales);
    assert_eq!(listed().as_array().map(Vec::len), Some(2));
    let changed = of("PUT", "/groups/sales?members=ann%40example.org+bob%40example.org", "");
    assert_eq!(changed.json()["group"]["members"], json!(["ann@example.org", "bob@example.org"]));
    for (path, form) in [
        ("/groups/sales", ""),
        ("/groups/sales", "members=a%40%40b"),
        ("/groups/sales", "members=x.example&membres=y"),
        ("/groups/sales?reason=x", "members=x.example"),
        ("/groups/no%20name", "members=x.example"),
    ] {
        assert_eq!(of("PUT", path, form).status, 400, "{path} {form}");
    }
    assert_eq!(of("PUT", "/groups/sales", "members=").json()["group"]["members"], json!([]));
    assert_eq!(of("DELETE", "/groups/Sales?reason=gone", "").json(), json!({ "removed": "sales" }));
    assert_eq!((of("DELETE", "/groups/sales", "").status, of("GET", "/groups/sales", "").status), (404, 404));
    assert_eq!(listed().as_array().map(Vec::len), Some(1));
    let told: Vec<_> = rows(&site, Action::GroupSet).into_iter().filter(|row| row.actor == "administrator").collect();
    assert_eq!((told.len(), told[0].reason.as_deref()), (3, Some("new team")));
    assert_eq!(told[1].target, json!({ "group": "sales", "added": ["bob@example.org"], "removed": ["example.net"] }));
    let told = rows(&site, Action::GroupRemove);
    assert_eq!((told.len(), told[0].reason.as_deref(), &told[0].target), (1, Some("gone"), &json!({ "group": "sales" })));
}

/// Whoever is put into a group by a call is read from the next request on.
#[test]
fn a_group_that_a_call_changes_is_the_scope_of_the_next_one() {
    let site = Site::new();
    let (administrator, reviewer) = (site.token("administrator", NewToken::default()), site.token("of-group", NewToken::default()));
    let found = || site.call("/messages?limit=500", &reviewer).json()["messages"].as_array().expect("messages").len();
    assert!(found() > 0);
    assert_eq!(send(&site, ("PUT", "/groups/{name}"), &format!("/groups/{GROUP}"), &administrator, "members=").status, 200);
    assert_eq!(found(), 0);
}

#[test]
fn a_gap_is_closed_by_a_call_as_by_the_form() {
    let site = Site::new();
    let (officer, auditor) = (site.token("officer", NewToken::default()), site.token("auditor", NewToken::default()));
    let close = |id: &str, token: &str, form: &str| send(&site, ("POST", "/gaps/{id}/close"), &format!("/gaps/{id}/close"), token, form);
    assert_eq!(close("1", &auditor, "note=x").status, 403);
    for (id, form, status) in [
        ("1", "", 400),
        ("1", "note=+", 400),
        ("1", "note=x&why=y", 400),
        ("2", "note=x", 404),
        ("x", "note=x", 404),
        ("1", "note=x&store=y", 404),
    ] {
        assert_eq!(close(id, &officer, form).status, status, "{id} {form}");
    }
    let closed = close("1", &officer, "note=the+backup+has+it&store=main").json()["gap"].clone();
    let told = (&closed["state"], &closed["changed_by"], &closed["note"]);
    assert_eq!(told, (&json!("closed"), &json!("officer"), &json!("the backup has it")));
    assert_eq!(site.call("/gaps?state=open", &officer).json()["gaps"], json!([]));
    assert_eq!(close("1", &officer, "note=again").status, 400, "who closed it first, and why, stays");
    let told: Vec<_> =
        rows(&site, Action::CloseGap).into_iter().map(|row| (row.actor, row.outcome.map(|o| o.word()), row.reason)).collect();
    let done = ("officer".to_owned(), Some("done"), Some("the backup has it".to_owned()));
    assert_eq!(told, [("auditor".to_owned(), Some("denied"), None), done]);
}

const SALON: &str = "salon@rooms.lindqvist.example";
/// Guests of a room, for several pages.
const GUESTS: usize = 2_300;

/// Very many come into a room, two at a time, and every tenth of them is somebody whom the reviewer may see.
fn crowd(site: &Site, guests: usize) {
    let at = now() - 600 * SECOND;
    site.archiver.store.query(&format!(
        "PRAGMA busy_timeout = 30000; WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {guests} - 1) \
         INSERT INTO occupancy_events (id, at, room_id, jid_id, event, node_id, nick) SELECT 1000000 + i, {at} + i / 2, \
         (SELECT id FROM jids WHERE jid = '{SALON}'), CASE WHEN i % 10 = 0 THEN (SELECT id FROM jids WHERE jid = '{WITHIN}') END, 1, 1, \
         'guest ' || i FROM n"
    ));
}

/// The numbers of the guests in their order.
fn guests<'n>(nicks: impl Iterator<Item = &'n str>) -> Vec<usize> {
    nicks.filter_map(|nick| nick.strip_prefix("guest ")?.parse().ok()).collect()
}

#[test]
fn stays_are_told_page_by_page() {
    let site = Site::new();
    crowd(&site, GUESTS);
    for (name, step) in [("officer", 1), ("reviewer", 10)] {
        let expected: Vec<usize> = (0..GUESTS).step_by(step).collect();
        let (token, mut all, mut after) = (site.token(name, NewToken::default()), Vec::new(), String::new());
        loop {
            let page = site.call(&format!("/stays?room={}&after={after}", encoded(SALON)), &token).json();
            let stays = page["stays"].as_array().expect("stays");
            assert!(!stays.is_empty() && stays.len() <= 1_000, "{}", stays.len());
            all.extend(guests(stays.iter().filter_map(|stay| stay["nick"].as_str())));
            match &page["next"] {
                Value::String(next) => after = encoded(next),
                _ => break,
            }
        }
        assert_eq!(all, expected, "{name} by the API");
        let first = format!("/room?name={}&from=2020-01-01&reason=case+3", encoded(SALON));
        let pages = pages(&site, &first, &site.sign_in(name));
        let nicks = pages.iter().flat_map(|page| page.split("<b><bdi>").skip(1).filter_map(|rest| rest.split('<').next()));
        assert_eq!(guests(nicks), expected, "{name} by the pages");
        assert!(pages.iter().all(|page| page.contains("value=\"2020-01-01\"") && page.contains("name=\"reason\" value=\"case 3\"")));
    }
    let officer = site.sign_in("officer");
    assert_eq!(site.get(&format!("/room?name={}&after=once", encoded(SALON)), &officer).status, 400);
}

/// What stands in the column of the list of rooms.
fn column(page: &str) -> Vec<&str> {
    let cells = page.split("data-label=\"In it now\" class=\"number\">").skip(1);
    cells.filter_map(|rest| rest.split('<').next()).collect()
}

#[test]
fn the_list_of_rooms_tells_how_many_are_in_each() {
    let site = Site::new();
    let mut in_salon = Vec::new();
    for name in REVIEWERS.into_iter().chain(["officer"]) {
        let token = site.token(name, NewToken::default());
        let listed = send(&site, ("GET", "/rooms"), "/rooms", &token, "").json();
        let mut told = Vec::new();
        for room in listed["rooms"].as_array().expect("rooms") {
            let jid = room["jid"].as_str().expect("a JID");
            let stays = site.call(&format!("/stays?room={}", encoded(jid)), &token).json();
            let stays = stays["stays"].as_array().expect("stays").clone();
            let there: BTreeSet<&str> =
                stays.iter().filter(|stay| stay["left_at"].is_null()).filter_map(|stay| stay["nick"].as_str()).collect();
            let is_told = name != "of-time";
            let expected = if is_told { json!({ "occupants": there.len(), "is_exact": true }) } else { Value::Null };
            assert_eq!(room["now"], expected, "{name} {jid}");
            in_salon.extend((is_told && jid == SALON).then_some((name, there.len())));
            told.push(if is_told { there.len().to_string() } else { "not known".to_owned() });
        }
        assert_eq!(column(&site.get("/rooms", &site.sign_in(name)).body), told, "{name}");
    }
    assert_eq!(in_salon.first(), Some(&("reviewer", 1)), "of all in the room, the one within the scope");
    assert!(in_salon.last().is_some_and(|(name, there)| *name == "officer" && *there > 1), "{in_salon:?}");
    crowd(&site, 100_001);
    let salon = site.call("/rooms?part=salon", &site.token("officer", NewToken::default())).json()["rooms"][0]["now"].clone();
    assert_eq!(salon, json!({ "occupants": 100_000, "is_exact": false }), "only the newest are looked at");
    assert_eq!(column(&site.get("/rooms?part=salon", &site.sign_in("officer")).body), ["at least 100000"]);
}

/// Rooms before, between and after those that the reviewer may see: of these there are more than one page, and of the others more than one look takes in.
fn halls(site: &Site) -> Vec<String> {
    let at = now() - 500 * SECOND;
    let rooms = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2799), halls AS (SELECT 1000000 + i AS id, \
         i BETWEEN 100 AND 599 AND i % 2 = 0 AS is_within, CASE WHEN i < 100 THEN 'a-beyond-' WHEN i >= 600 THEN 'z-beyond-' \
         WHEN i % 2 = 0 THEN 'hall-' ELSE 'hall-beyond-' END AS name, i FROM n)";
    let name = "CASE WHEN i BETWEEN 100 AND 599 THEN 'hall-' || printf('%04d', i) || CASE WHEN is_within THEN '' ELSE '-beyond' END \
         ELSE name || printf('%04d', i) END || '@rooms.lindqvist.example'";
    site.archiver.store.query(&format!(
        "PRAGMA busy_timeout = 30000; {rooms} INSERT INTO conversation_names (id, kind, name) SELECT id, 2, {name} FROM halls; \
         {rooms} INSERT INTO messages (id, sent_at, received_at, conversation_id, sender_id, flags, node_id, kind, type, direction, via, \
         content_key, body, xml) SELECT id, {at}, {at}, id, (SELECT j.id FROM jids j WHERE j.jid = CASE WHEN is_within THEN '{WITHIN}' \
         ELSE '{MEMBER}' END), 0, 1, 1, 2, 3, 1, x'0102030405060708090a0b0c', 'echo', x'00' FROM halls"
    ));
    (100..600).step_by(2).map(|number| format!("hall-{number:04}@rooms.lindqvist.example")).collect()
}

/// The rooms on all pages of the API, each with the whole answer.
fn rooms_by_page(site: &Site, query: &str, token: &str) -> Vec<(Vec<String>, String)> {
    let (mut pages, mut after) = (Vec::new(), String::new());
    loop {
        let answer = send(site, ("GET", "/rooms"), &format!("/rooms?{query}&after={after}"), token, "");
        let page = answer.json();
        let rooms = page["rooms"].as_array().expect("rooms").iter().filter_map(|room| room["jid"].as_str().map(str::to_owned));
        let rooms: Vec<String> = rooms.collect();
        let next = page["next"].as_str().map(str::to_owned);
        assert!(next.is_none() || next.as_ref() == rooms.last(), "the place to go on is a room that is shown: {next:?}");
        pages.push((rooms, answer.body));
        match next {
            Some(next) => after = encoded(&next),
            None => return pages,
        }
    }
}

#[test]
fn the_list_of_rooms_names_none_beyond_a_scope_and_not_where_they_stand() {
    let site = Site::new();
    let halls = halls(&site);
    let (token, visitor) = (site.token("reviewer", NewToken::default()), site.sign_in("reviewer"));
    for (query, is_all) in [("part=hall", true), ("reason=x", false), ("part=beyond", false)] {
        let found = rooms_by_page(&site, query, &token);
        assert!(found.iter().all(|(_, body)| !body.contains("beyond")), "{query}: {found:?}");
        let rooms: Vec<String> = found.into_iter().flat_map(|(rooms, _)| rooms).collect();
        assert!(!is_all || rooms == halls, "{query}: {rooms:?}");
    }
    let pages = pages(&site, "/rooms", &visitor);
    assert!(pages.len() > 2 && pages.iter().all(|page| !page.contains("beyond")));
    assert!(halls.iter().all(|hall| pages.iter().any(|page| page.contains(hall.as_str()))));
    // Whatever is asked, the answer is the same as if the others were not there.
    for (after, first) in [("a", "hall-0100@"), ("hall-0101", "hall-0102@"), ("hall-0101-c", "hall-0102@"), ("hall-0597", "hall-0598@")] {
        let body = site.call(&format!("/rooms?part=e&after={after}"), &token).json();
        let rooms = body["rooms"].as_array().expect("rooms");
        let listed = rooms.iter().filter_map(|room| room["jid"].as_str()).find(|room| room.starts_with("hall"));
        assert!(listed.is_some_and(|room| room.starts_with(first)), "{after}: {body}");
        assert!(!body.to_string().contains("beyond"), "{after}: {body}");
    }
    let nothing = json!({ "rooms": [], "next": null });
    assert_eq!(site.call("/rooms?after=z-a", &token).json(), nothing);
    let officer = rooms_by_page(&site, "part=BEYOND", &site.token("officer", NewToken::default()));
    assert_eq!(officer.iter().map(|(rooms, _)| rooms.len()).sum::<usize>(), 2_800 - halls.len(), "who sees everything is told of all");
}

#[test]
fn a_long_chain_of_corrections_is_told_whole() {
    let site = Site::new();
    let (token, visitor) = (site.token("officer", NewToken::default()), site.sign_in("officer"));
    let message = site.message(true, false);
    let root = message["id"].as_i64().expect("a number");
    site.archiver.store.query(&format!(
        "PRAGMA busy_timeout = 30000; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
         INSERT INTO messages (id, sent_at, received_at, refers_to, conversation_id, sender_id, recipient_id, flags, node_id, kind, type, direction, via, \
         content_key, body, xml) SELECT 1000000 + i, m.sent_at + i, m.received_at + i, CASE i WHEN 1 THEN m.id ELSE 999999 + i END, m.conversation_id, \
         m.sender_id, m.recipient_id, 0, m.node_id, 3, m.type, m.direction, m.via, m.content_key, 'version ' || i, x'00' \
         FROM n, messages m WHERE m.id = {root}"
    ));
    let told = site.call(&format!("/messages/{root}"), &token).json();
    let bodies: Vec<&str> =
        told["amendments"].as_array().expect("amendments").iter().filter_map(|amendment| amendment["body"].as_str()).collect();
    assert_eq!(bodies, (1..=300).map(|number| format!("version {number}")).collect::<Vec<_>>());
    let conversation = encoded(message["conversation"].as_str().expect("a name"));
    for path in [format!("/message/{root}"), format!("/conversation?name={conversation}&at={root}")] {
        let page = site.get(&path, &visitor);
        assert!(page.status == 200 && page.body.contains("version 99"), "{path}: {}", page.body);
    }
}

#[test]
fn a_call_that_has_no_such_method_says_which_it_has() {
    let site = Site::new();
    let token = format!("Authorization: Bearer {}\r\n", site.token("officer", NewToken::default()));
    for (method, path, allowed) in [
        ("DELETE", "/api/v1/me", "GET,HEAD"),
        ("POST", "/api/v1/groups/x", "GET,HEAD,PUT,DELETE"),
        ("PUT", "/api/v1/exports", "GET,HEAD,POST"),
    ] {
        let answer = site.ask(method, path, &token, "");
        assert_eq!((answer.status, answer.header("allow"), answer.header("content-type")), (405, allowed, "application/json"), "{path}");
    }
}

/// A misspelt condition must not widen what is answered.
#[test]
fn a_field_that_is_not_described_is_refused_everywhere() {
    let site = Site::new();
    let tokens = ["officer", "auditor", "administrator"].map(|role| site.token(role, NewToken::default()));
    let description = site.ask("GET", "/api/v1/openapi.json", "", "").json();
    let paths = description["paths"].as_object().expect("paths").iter();
    let lists: Vec<&String> =
        paths.filter(|(path, calls)| calls["get"].is_object() && *path != "/openapi.json").map(|(path, _)| path).collect();
    assert!(lists.len() >= 15, "{lists:?}");
    for path in lists {
        let path = path.replace("{id}", "1").replace("{name}", GROUP);
        let answers = tokens.each_ref().map(|token| site.call(&format!("{path}?nonsense=1&reason=case+3"), token));
        let refused = answers.iter().filter(|answer| answer.status == 400 && answer.body.contains("There is no field “nonsense”."));
        assert!(refused.count() >= 1 && answers.iter().all(|answer| answer.status >= 400), "{path}: {answers:?}");
    }
}
