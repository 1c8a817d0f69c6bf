//! What a page tells beside messages: records that are retried, alarms, gaps, reasons, what stands on paper.

use serde_json::{Value, json};
use xmpp_archiver::access::{AuditFilter, AuditRow, NewAccount, NewToken, Role, Roles, Scope, Viewer};
use xmpp_archiver::demo::corpus::stage::Stage;
use xmpp_archiver::export::Export;
use xmpp_archiver::export::job::{Job, Shelf};
use xmpp_archiver::intake::record::Record;
use xmpp_archiver::time::{SECOND, now, rfc3339};

use super::site::{PASSWORD, SCRIPT, Site, Visitor, encoded};

const JID: &str = "anna@lindqvist.example";

fn rows(site: &Site, action: &str) -> Vec<AuditRow> {
    let filter = AuditFilter { limit: 1_000, oldest_first: true, ..AuditFilter::default() };
    let rows = site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &filter)).expect("the audit trail");
    rows.into_iter().filter(|row| row.action == action).collect()
}

/// Sets a record aside that nothing is wrong with any more.
fn set_aside(site: &Site, id: i64, body: &str, reason: &str) {
    let mut stage = Stage::new(now() - 600 * SECOND, SECOND);
    for _ in 0..900 {
        stage.says("zoe/x", "yan", "nothing");
    }
    stage.says("zoe/x", "yan", body);
    let (lines, _) = stage.finish();
    let line = lines.iter().rfind(|line| line.xml.contains(body)).expect("the message");
    let record: String =
        Record::stanza("node", now(), Some(1), line.xml.as_bytes()).encode().iter().map(|byte| format!("{byte:02x}")).collect();
    let sql = format!(
        "PRAGMA busy_timeout = 30000; INSERT INTO quarantine (id, spool_id, seq, node_id, received_at, reason, record) \
         VALUES ({id}, zeroblob(16), {id}, 1, {}, '{reason}', x'{record}')",
        now()
    );
    site.archiver.store.query(&sql);
}

#[test]
fn an_operator_retries_a_record_without_seeing_it() {
    let site = Site::new();
    set_aside(&site, 2, "The ladder was in quarantine", "the database was full");
    let (operator, officer) = (site.sign_in("operator"), site.sign_in("officer"));
    let listed = site.get("/quarantine", &operator);
    assert!(listed.body.contains("Retry<span class=\"hidden\"> record 2</span>") && !listed.body.contains("ladder"), "{}", listed.body);
    assert!(!site.get("/quarantine", &officer).body.contains("action=\"/quarantine/2/retry\""));
    let retry = |id: i64| site.post(&format!("/quarantine/{id}/retry"), &operator, &[("csrf", &listed.csrf()), ("store", "main")]);
    assert_eq!(retry(2).header("location"), "/quarantine?done=quarantine-stored");
    assert_eq!(retry(1).header("location"), "/quarantine?done=quarantine-kept");
    assert_eq!(retry(2).status, 404, "it is gone");
    assert!(site.get("/search?q=%22ladder+was+in+quarantine%22", &officer).body.contains("1 message</h2>"));
    let told: Vec<(String, Value)> =
        rows(&site, "retry-quarantine").into_iter().map(|row| (row.actor, row.target["record"].clone())).collect();
    assert_eq!(told, ["2", "1", "2"].map(|id| ("operator".to_owned(), json!(id))));
}

/// Who writes is content: a reason or an alarm may name somebody, and operators keep the archive running without knowing whom.
#[test]
fn operators_and_auditors_learn_nobodys_address() {
    let mut site = Site::new();
    let said = format!("a stanza of 11000000 bytes from {JID} was over the limit");
    set_aside(&site, 2, "something", &said);
    let mut status = site.archiver.status().expect("a status");
    site.archiver.stop();
    (status["written"], status["state"]) = (json!(rfc3339(now())), json!("running"));
    status["alarms"] = json!([{
        "name": "stanza-oversize", "severity": "critical", "subject": "node", "since": rfc3339(now()), "times": 1, "acknowledged": false,
        "text": format!("{said} {SCRIPT}"),
    }]);
    std::fs::write(site.archiver.spool().join("status.json"), status.to_string()).expect("a file");
    let both = NewAccount {
        name: "both".to_owned(),
        roles: Roles::of([Role::Operator, Role::Reviewer]),
        scope: Some(Scope { who: ["somebody@else.example".to_owned()].into(), ..Scope::default() }),
        password: Some(PASSWORD.to_owned().into()),
        ..NewAccount::default()
    };
    site.runtime.block_on(site.access.add_account(&Viewer::console("tester"), both, None)).expect("an account");
    for (role, paths, knows) in [
        ("operator", &["/overview", "/quarantine", "/api/v1/status", "/api/v1/quarantine"][..], false),
        ("both", &["/overview", "/api/v1/status"], false),
        ("auditor", &["/quarantine", "/api/v1/quarantine"], false),
        ("officer", &["/overview", "/quarantine", "/api/v1/status", "/api/v1/quarantine"], true),
    ] {
        let (visitor, token) = (site.sign_in(role), site.token(role, NewToken::default()));
        for path in paths {
            let answer = match path.strip_prefix("/api/v1") {
                Some(call) => site.call(call, &token),
                None => site.get(path, &visitor),
            };
            assert!(answer.body.contains("11000000 bytes"), "{role} {path}: {}", answer.body);
            assert_eq!(answer.body.contains(&format!("from {JID}")), knows, "{role} {path}");
            assert!(path.starts_with("/api/") || !answer.body.contains("<script"), "{role} {path}");
        }
    }
}

#[test]
fn whoever_is_signed_in_keeps_the_menu_where_there_is_no_page() {
    let site = Site::new();
    let page = site.get("/no-such-page", &site.sign_in("officer"));
    assert!(page.status == 404 && page.body.contains("There is no such page.") && page.body.contains("href=\"/search\""), "{page:?}");
    let page = site.get("/no-such-page", &Visitor::default());
    assert!(page.status == 404 && !page.body.contains("href=\"/search\""), "{page:?}");
}

#[test]
fn the_overview_does_not_contradict_itself() {
    let mut site = Site::new();
    let operator = site.sign_in("operator");
    let page = site.get("/overview", &operator).body;
    let gaps = "data-label=\"Open gaps\" class=\"number\"><a class=\"state poor\" href=\"/gaps\">1</a>";
    assert!(page.contains(gaps) && page.contains("Node node: 1, the oldest"), "{page}");
    assert!(page.contains("reached</span>"), "{page}");
    site.archiver.stop();
    let page = site.get("/overview", &operator).body;
    // That it stopped is a gap as well, which its own last words could not tell of.
    let open = page.split("Node node: ").nth(1).and_then(|rest| rest.split(',').next()).expect("a number");
    assert!(page.contains("The archiver does not run") && page.contains(&gaps.replace("1<", &format!("{open}<"))), "{page}");
    for stale in ["No alarms.", "reached</span>", "<dt>Lag</dt>", "state good"] {
        assert!(!page.contains(stale), "{stale} is of another time: {page}");
    }
    assert_eq!(page.matches("not known</span>").count(), 2, "the node and the store: {page}");
}

/// Forms are left out on paper; what was asked for, who printed it and when is not.
#[test]
fn paper_tells_what_was_asked_for() {
    let site = Site::new();
    let (officer, auditor) = (site.sign_in("officer"), site.sign_in("auditor"));
    for (path, visitor, parts) in [
        ("/search?q=oak&who=anna%40lindqvist.example&order=oldest&reason=case+7", &officer, &["oak", JID, "oldest", "case 7"][..]),
        ("/audit?actor=officer&action=search&from=2026-01-01", &auditor, &["officer", "search", "2026-01-01"]),
        ("/room?name=workshop%40rooms.lindqvist.example&from=2026-01-02&reason=case+8", &officer, &["2026-01-02", "case 8"]),
    ] {
        let page = site.get(path, visitor).body;
        let asked = page.split("<dl class=\"facts print-only\">").nth(1).and_then(|rest| rest.split("</dl>").next()).unwrap_or_default();
        for part in parts {
            assert!(asked.contains(&format!("<dd dir=\"auto\">{part}</dd>")), "{path} lacks {part}: {asked}");
        }
        let foot = page.split("<footer").nth(1).expect("a foot");
        assert!(foot.contains("from a page of <time datetime=\"") && foot.contains(" UTC."), "{foot}");
    }
    let style = include_str!("../../../src/web/style.css");
    let print = style.split("@media print").nth(1).expect("rules for paper");
    assert!(print.contains(".print-only { display: block; }") && !print.contains(".facts"), "{print}");
}

fn reasons(site: &Site, actions: &[&str]) -> Vec<Option<String>> {
    actions.iter().flat_map(|action| rows(site, action)).filter(|row| row.actor == "officer").map(|row| row.reason).collect()
}

fn links<'b>(body: &'b str, to: &str) -> Vec<String> {
    let begin = format!("href=\"{}", to.replace('&', "&#38;"));
    let hrefs = body.match_indices(&begin).map(|(at, _)| body[at + 6..].split('"').next().expect("an address"));
    hrefs.map(|href: &'b str| href.replace("&amp;", "&").replace("&#38;", "&")).collect()
}

#[test]
fn a_reason_is_kept_for_all_that_is_reached_from_a_search() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let follow = |page: &str, to: &str| {
        let link = links(page, to).into_iter().next().unwrap_or_else(|| panic!("no link to {to}: {page}"));
        assert!(link.contains("reason=case+7"), "{link}");
        let answer = site.get(link.split('#').next().expect("an address"), &officer);
        assert_eq!(answer.status, 200, "{link}");
        answer.body
    };
    let found = site.get("/search?q=oak&room=workshop%40rooms.lindqvist.example&reason=case+7", &officer).body;
    let talk = follow(&found, "/conversation");
    let message = follow(&talk, "/message/");
    follow(&message, "/room?");
    let xml = links(&message, "/message/").into_iter().find(|link| link.contains("xml=1")).expect("a link");
    assert!(follow(&message, &xml).contains("<pre class=\"source\""), "{xml}");
    let all = reasons(&site, &["search", "view-conversation", "view-message", "view-room", "view-xml"]);
    assert_eq!(all, vec![Some("case 7".to_owned()); 5]);
}

#[test]
fn nothing_is_read_without_a_reason_where_one_is_required() {
    let site = Site::with("require_reason = true\n");
    let (officer, token) = (site.sign_in("officer"), site.token("officer", NewToken::default()));
    let inside = site.message(true, true);
    let (id, room) = (inside["id"].to_string(), encoded(inside["room"].as_str().expect("a room")));
    let asked = |path: &str, with: &str| {
        let path = format!("{path}{}{with}", if path.contains('?') { '&' } else { '?' });
        match path.strip_prefix("/api/v1") {
            Some(call) => site.call(call, &token),
            None => site.get(&path, &officer),
        }
    };
    let said = inside["body"].as_str().expect("a body");
    for path in [
        format!("/conversation?name={room}"),
        format!("/message/{id}"),
        format!("/message/{id}?xml=1"),
        "/rooms".to_owned(),
        format!("/room?name={room}"),
        "/quarantine/1".to_owned(),
        format!("/api/v1/messages?id={id}"),
        format!("/api/v1/messages/{id}"),
        "/api/v1/rooms".to_owned(),
        format!("/api/v1/stays?room={room}"),
    ] {
        let without = asked(&path, "");
        assert_eq!(without.status, 400, "{path}");
        assert!(without.body.contains("without a reason") && !without.body.contains(said), "{path}: {}", without.body);
        assert_eq!(asked(&path, "reason=case+7").status, 200, "{path}");
    }
    // The form that asks for it asks for the same again.
    let form = asked(&format!("/message/{id}?xml=1"), "").body;
    assert!(form.contains(&format!("action=\"/message/{id}\"")) && form.contains("name=\"xml\" value=\"1\""), "{form}");
    let search = asked("/search?q=oak", "").body;
    assert!(search.contains("without a reason") && links(&search, "/message/").is_empty(), "{search}");
    assert!(!links(&asked("/search?q=oak", "reason=case+7").body, "/message/").is_empty());
    assert!(links(&asked("/overview", "").body, "/conversation").is_empty(), "who speaks with whom is content as well");
    assert!(reasons(&site, &["search", "view-conversation", "view-message", "view-xml", "view-room"]).iter().all(Option::is_some));
}

#[test]
fn an_auditor_takes_the_trail_out_as_a_file() {
    let site = Site::new();
    let auditor = site.sign_in("auditor");
    for _ in 0..3 {
        site.get("/search?q=oak&reason=%3D1%2C%22x%22", &site.sign_in("officer"));
    }
    let page = site.get("/audit?action=search&outcome=done&actor=officer", &auditor).body;
    let file = links(&page, "/audit/export").remove(0);
    let answer = site.get(&file, &auditor);
    assert!(answer.header("content-disposition").contains("audit.csv"), "{:?}", answer.headers);
    let mut reader = csv::Reader::from_reader(answer.body.as_bytes());
    let found: Vec<csv::StringRecord> = reader.records().map(|record| record.expect("a record")).collect();
    assert_eq!(reader.headers().expect("a head").get(9), Some("reason"));
    let told: Vec<(&str, &str, &str)> = found.iter().map(|record| (&record[2], &record[6], &record[9])).collect();
    assert_eq!(told, [("officer", "search", "=1,\"x\""); 3]);
    let written = rows(&site, "export-audit");
    assert_eq!((written.len(), &written[0].actor[..], &written[0].target["action"]), (1, "auditor", &json!("search")));
    let oldest = site.get("/audit?order=oldest&address=127.0.0.1", &auditor).body;
    assert!(oldest.contains("The oldest first.") && oldest.contains("id=\"address\" name=\"address\" value=\"127.0.0.1\""), "{oldest}");
}

#[test]
fn the_page_of_an_export_in_work_looks_again_by_itself() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let shelf = Shelf::new(&site.archiver.spool().with_file_name("exports"));
    shelf.add(Job::new(Export::new("main", "officer"), json!({}), None, 7)).expect("a job");
    super::exports::withheld(&site, "The counts do not agree.");
    assert_eq!(site.get("/exports/1", &officer).header("refresh"), "5; url=/exports/1?look=again");
    assert_eq!(site.get("/exports/2", &officer).header("refresh"), "", "it has ended");
    assert_eq!(site.get("/exports", &Visitor::default()).header("refresh"), "");
}

#[test]
fn an_auditor_verifies_the_archive() {
    let mut site = Site::new();
    // What the console shows is as of a commit: nothing may be on its way.
    site.archiver.stop();
    let auditor = site.sign_in("auditor");
    let state = |page: &str, label: &str| {
        let rest = page.split(&format!("<dt>{label}</dt><dd>")).nth(1).unwrap_or_else(|| panic!("no {label}: {page}"));
        rest.split("</dd>").next().expect("an end").split('>').nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default().to_owned()
    };
    let alone = |sql: &str| site.archiver.store.query(&format!("PRAGMA busy_timeout = 30000; {sql}"));
    alone("DELETE FROM quarantine; UPDATE gaps SET state = 5");
    let page = site.get("/verification?days=30", &auditor).body;
    assert_eq!(state(&page, "What does not add up"), "nothing", "{page}");
    assert_eq!(state(&page, "Open gaps"), "none", "{page}");
    assert!(page.contains("numbered without a gap") && state(&page, "The database refuses to change them") == "yes", "{page}");
    set_aside(&site, 2, "something", "it was counted nowhere");
    alone("DELETE FROM deliveries WHERE message_id = 1");
    let page = site.get("/verification", &auditor).body;
    assert!(
        page.contains("0 records were set aside, 1 are in the table quarantine") && page.contains("are in the table deliveries"),
        "{page}"
    );
    let told: Vec<(String, Option<u64>)> = rows(&site, "verify").into_iter().map(|row| (row.actor, row.count)).collect();
    assert_eq!(told, [0, 2].map(|problems| ("auditor".to_owned(), Some(problems))));
}

#[test]
fn rooms_are_found_by_a_part_of_their_name() {
    let site = Site::new();
    let token = site.token("officer", NewToken::default());
    let rooms = |query: &str| -> Vec<String> {
        let rooms = site.call(&format!("/rooms{query}"), &token).json();
        rooms["rooms"].as_array().expect("rooms").iter().filter_map(|room| room["jid"].as_str().map(str::to_owned)).collect()
    };
    assert!(rooms("").len() > 3);
    assert_eq!(rooms("?part=WORK"), ["workshop@rooms.lindqvist.example"]);
    let page = site.get("/rooms?part=attic", &site.sign_in("officer")).body;
    assert!(page.contains("attic@rooms") && !page.contains("workshop@rooms") && page.contains("value=\"attic\""), "{page}");
    assert_eq!(rows(&site, "view-room").last().expect("a row").target["rooms"], "attic");
}

/// Whoever asks for what is not theirs is told that it is on record, and it is.
#[test]
fn who_may_not_see_gaps_is_on_record() {
    let site = Site::new();
    assert_eq!(site.get("/gaps", &site.sign_in("reviewer")).status, 403);
    assert_eq!(site.call("/gaps", &site.token("reviewer", NewToken::default())).status, 403);
    let rows = site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &AuditFilter::default())).expect("the audit trail");
    let denied = rows.iter().filter(|row| row.action == "view-gaps" && row.actor == "reviewer");
    assert_eq!(denied.filter_map(|row| row.outcome).map(|outcome| outcome.word()).collect::<Vec<_>>(), ["denied", "denied"]);
}

/// Somebody who sends forms without an end takes nobody's turn.
#[test]
fn slow_requests_hold_nobody_up() {
    use std::io::Write;
    let site = Site::new();
    let slow: Vec<std::net::TcpStream> = (0..64)
        .map(|_| {
            let mut socket = std::net::TcpStream::connect(site.address).expect("the console");
            let head = format!("POST /sign-in HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\ncsrf=", site.address);
            socket.write_all(head.as_bytes()).expect("it reads");
            socket
        })
        .collect();
    assert_eq!(site.get("/sign-in", &Visitor::default()).status, 200);
    drop(slow);
}
