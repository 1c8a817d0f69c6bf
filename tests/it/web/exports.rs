//! Exports by the console and by the API: begun, released, fetched, withheld, gone on with after a restart, and within what a token may see.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use xmpp_archiver::access::{AuditFilter, AuditRow, NewToken, Scope, Viewer};
use xmpp_archiver::config::Config;
use xmpp_archiver::export::Export;
use xmpp_archiver::export::job::{Job, Shelf, State};
use xmpp_archiver::time::{SECOND, now};

use super::site::{SCRIPT, Site, encoded};
use crate::support::process::{Directory, PATIENCE, run, wait_for};

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/exports/check.py");
const FETCH: &str = "import io, sys, urllib.request, zipfile\n\
    request = urllib.request.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]})\n\
    archive = zipfile.ZipFile(io.BytesIO(urllib.request.urlopen(request).read()))\n\
    assert archive.testzip() is None\n\
    archive.extractall(sys.argv[3])\n";
const ROOM: &str = "workshop@rooms.lindqvist.example";

fn shelf(site: &Site) -> Shelf {
    Shelf::new(&site.archiver.spool().with_file_name("exports"))
}

/// An export that was withheld, for whoever wants to look at its page.
pub(super) fn withheld(site: &Site, said: &str) {
    let export = Export { reason: Some(SCRIPT.to_owned()), ..Export::new("main", "officer") };
    let job = shelf(site).add(Job::new(export, json!({ "q": SCRIPT, "kind": ["file", "reply"] }), None, 7)).expect("a job");
    std::fs::create_dir(shelf(site).directory(job.number)).expect("a directory");
    shelf(site).save(&Job { state: State::Withheld, said: Some(said.to_owned()), ..job }).expect("a job");
}

/// Waits until an export has ended.
fn ended(site: &Site, token: &str, id: u64) -> Value {
    let begun = Instant::now();
    loop {
        let export = site.call(&format!("/exports/{id}"), token).json()["export"].take();
        if export["state"] != "working" {
            return export;
        }
        assert!(begun.elapsed() < PATIENCE, "{export}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Fetches an export as other people's programs do, and reads it back.
fn fetch(site: &Site, token: &str, id: u64, out: &Path) {
    let mut python = Command::new("python3");
    python.args(["-c", FETCH, &format!("http://{}/api/v1/exports/{id}/download", site.address), token]).arg(out);
    run(python);
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(out);
    run(sums);
}

fn begin(site: &Site, token: &str, fields: &str) -> super::site::Answer {
    site.ask("POST", "/api/v1/exports", &format!("Authorization: Bearer {token}\r\n"), fields)
}

/// The rows of the audit trail with this action, the oldest first.
fn rows(site: &Site, action: &str) -> Vec<AuditRow> {
    let filter = AuditFilter { limit: 1_000, oldest_first: true, ..AuditFilter::default() };
    let rows = site.runtime.block_on(site.access.audit(&Viewer::console("tester"), &filter));
    rows.expect("rows").into_iter().filter(|row| row.action == action).collect()
}

/// A second console on the same directory, as after a restart, while `work` is done.
fn with_another_console(site: &Site, work: impl FnOnce()) {
    let config = Config::load(Some(&site.archiver.spool().with_file_name("archiver.toml"))).expect("a configuration");
    let (stop, stopped) = watch::channel(false);
    let (ready, open) = oneshot::channel();
    let served = site.runtime.spawn(async move {
        let told = |_address| {
            let _nobody_waits = ready.send(());
        };
        xmpp_archiver::web::serve(&config, stopped, told).await.is_ok()
    });
    site.runtime.block_on(open).expect("it serves");
    work();
    stop.send(true).expect("it runs");
    assert!(site.runtime.block_on(served).expect("it ends"));
}

#[test]
fn an_officer_exports_what_a_search_finds() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let token = site.token("officer", NewToken::default());
    let found = site.get("/search?q=oak&go=1", &officer);
    assert!(found.body.contains("/exports/new?q=oak"), "{}", found.body);
    let csrf = site.get("/exports/new?q=oak", &officer).csrf();
    let without_reason = site.post("/exports/new", &officer, &[("csrf", &csrf), ("q", "oak"), ("format", "pdf")]);
    assert!(without_reason.body.contains("needs a reason") && without_reason.body.contains("value=\"oak\""), "{}", without_reason.body);
    let fields = [("csrf", csrf.as_str()), ("format", "mbox"), ("reason", SCRIPT)];
    let begun = site.post("/exports/new", &officer, &fields);
    assert_eq!((begun.status, begun.header("location")), (303, "/exports/1"));
    let export = ended(&site, &token, 1);
    assert_eq!((&export["state"], &export["messages"]), (&json!("released"), &json!(site.messages.len())), "{export}");
    for path in ["/exports", "/exports/1", "/exports/new?q=%3Cscript%3E"] {
        let page = site.get(path, &officer);
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.body.contains("<script"), "{path}: {}", page.body);
    }
    let directory = Directory::new(None);
    let out = directory.path().join("fetched");
    fetch(&site, &token, 1, &out);
    let truth = directory.write("truth.jsonl", &site.archiver.must(&["search", "--format", "jsonl", "--limit", "1000000"]));
    let mut python = Command::new("python3");
    python.arg(CHECK).arg("mbox").arg(&out).arg(&truth);
    run(python);
    let (begun, ended, fetched) = (rows(&site, "export"), rows(&site, "export-end"), rows(&site, "export-fetch"));
    let who = [&begun, &ended, &fetched].map(|rows| rows.iter().map(|row| row.actor.as_str()).collect::<Vec<_>>());
    assert_eq!(who, [["officer"], ["service:export"], ["officer"]]);
    let sums = sha256(&shelf(&site).directory(1).join("SHA256SUMS"));
    assert_eq!((&begun[0].target["export"], &begun[0].target["format"]), (&json!(1), &json!("mbox")));
    let end = &ended[0].target;
    assert_eq!((&end["export"], &end["query"]["store"], &end["sums_sha256"]), (&json!(1), &begun[0].target["store"], &json!(sums)));
    assert_eq!((&end["counts"]["in_files"], ended[0].count), (&json!(site.messages.len()), Some(site.messages.len() as u64)));
    assert_eq!((&export["sums_sha256"], &fetched[0].target["sums_sha256"]), (&json!(sums), &json!(sums)));
    assert!(site.get("/exports/1", &officer).body.contains(&sums) && export["kept_until"].is_string());
    // Another process works on it.
    let held = shelf(&site).hold(1).expect("a lock").expect("an export");
    let csrf = site.get("/exports/1", &officer).csrf();
    let busy = site.post("/exports/1", &officer, &[("csrf", &csrf), ("change", "remove")]);
    assert_eq!((busy.status, shelf(&site).directory(1).exists()), (400, true), "{}", busy.body);
    drop(held);
    let removed = site.post("/exports/1", &officer, &[("csrf", &site.get("/exports/1", &officer).csrf()), ("change", "remove")]);
    assert_eq!((removed.status, site.get("/exports/1", &officer).status), (303, 404));
    assert!(!shelf(&site).directory(1).exists());
    let removed = rows(&site, "export-remove");
    assert_eq!((removed.len(), &removed[0].target["export"], &removed[0].target["for"]), (1, &json!(1), &json!("officer")));
}

fn sha256(path: &Path) -> String {
    let mut sum = Command::new("sha256sum");
    sum.arg(path);
    run(sum).split(' ').next().expect("a hash").to_owned()
}

#[test]
fn whoever_looks_at_exports_is_in_the_audit_trail() {
    let site = Site::new();
    withheld(&site, "3 are not 4");
    let (officer, token) = (site.sign_in("officer"), site.token("officer", NewToken::default()));
    for _ in 0..3 {
        assert_eq!(site.call("/exports/1", &token).status, 200);
    }
    assert_eq!(site.call("/exports", &token).status, 200);
    for path in ["/exports", "/exports/1", "/exports/1"] {
        assert_eq!(site.get(path, &officer).status, 200);
    }
    let told: Vec<(String, Value)> = rows(&site, "view-export").into_iter().map(|row| (row.way, row.target["export"].clone())).collect();
    let one = |way: &str, export: Value| (way.to_owned(), export);
    let expected = [one("token", json!(1)), one("token", json!(null)), one("password", json!(null)), one("password", json!(1))];
    assert_eq!(told, expected, "looking again at once is no further row");
}

#[test]
fn what_is_not_understood_is_no_export_of_everything() {
    let site = Site::new();
    let token = site.token("officer", NewToken::default());
    let refused = begin(&site, &token, "who=a%40%40b&romo=tea&kind=x&format=docx&zone=Moon&xml=yes&limit=5");
    assert_eq!(refused.status, 400);
    let said = refused.json()["error"]["text"].as_str().expect("a text").to_owned();
    for part in ["“romo”", "“limit”", "“a@@b”", "kind “x”", "“docx”", "“Moon”", "“xml”", "needs a reason"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let many = "room=a%40b&".repeat(500);
    let cut = begin(&site, &token, &format!("reason=x&{many}"));
    assert_eq!(cut.status, 400);
    assert!(cut.body.contains("more than 500 values"), "{}", cut.body);
    let json = begin(&site, &token, "{\"reason\": \"x\", \"q\": \"oak\"}");
    assert_eq!(json.status, 400);
    assert!(shelf(&site).list().expect("exports").is_empty());
}

#[test]
fn an_export_is_removed_when_it_was_kept_for_long_enough() {
    let site = Site::new();
    let day = 86_400 * SECOND;
    let kept_since = |days: i64, state: State| {
        let job = Job::new(Export::new("main", "officer"), json!({ "q": "oak" }), None, 7);
        let job = shelf(&site).add(job).expect("a job");
        std::fs::create_dir(shelf(&site).directory(job.number)).expect("a directory");
        shelf(&site).save(&Job { state, ended_at: Some(now() - days * day), ..job.clone() }).expect("a job");
        job.number
    };
    let (old, failed, young) = (kept_since(31, State::Released), kept_since(40, State::Failed), kept_since(29, State::Released));
    let held = kept_since(31, State::Released);
    let lock = shelf(&site).hold(held).expect("a lock");
    with_another_console(&site, || {
        wait_for("old exports to be removed", || shelf(&site).list().ok().filter(|jobs| jobs.len() == 2));
    });
    drop(lock);
    let left: Vec<u64> = shelf(&site).list().expect("exports").iter().map(|job| job.number).collect();
    assert_eq!(left, [held, young], "what somebody works on is left alone");
    assert!(!shelf(&site).directory(old).exists());
    let removed = rows(&site, "export-remove");
    let told: Vec<(&str, &Value)> = removed.iter().map(|row| (row.actor.as_str(), &row.target["export"])).collect();
    assert_eq!(told, [("service:export", &json!(failed)), ("service:export", &json!(old))]);
    assert_eq!(removed[0].target["query"]["q"], "oak");
    assert!(removed.iter().all(|row| row.reason.as_deref() == Some("it was kept for 30 days after its end")), "{removed:?}");
}

#[test]
fn an_export_holds_what_its_token_may_see() {
    let site = Site::new();
    let scope = |room: &str| Some(Scope { rooms: [room.to_owned()].into(), ..Scope::default() });
    let all = site.token("officer", NewToken::default());
    let narrow = site.token("officer", NewToken { scope: scope(ROOM), ..NewToken::default() });
    let other = site.token("officer", NewToken { scope: scope("salon@rooms.lindqvist.example"), ..NewToken::default() });
    for wrong in ["", "reason=x&format=docx", "reason=x&from=once", "reason=x&zone=Moon"] {
        assert_eq!(begin(&site, &all, wrong).status, 400, "{wrong}");
    }
    for role in ["operator", "reviewer", "auditor", "administrator"] {
        let token = site.token(role, NewToken::default());
        assert_eq!(begin(&site, &token, "reason=x").status, 403, "{role}");
    }
    assert_eq!(begin(&site, &narrow, "reason=case+7&format=jsonl").status, 201);
    let export = ended(&site, &narrow, 1);
    let said = site.messages.iter().filter(|message| message["room"] == ROOM).count();
    assert_eq!((&export["state"], &export["messages"]), (&json!("released"), &json!(said)), "{export}");
    let directory = Directory::new(None);
    fetch(&site, &narrow, 1, &directory.path().join("fetched"));
    let lines = std::fs::read_to_string(directory.path().join("fetched/messages.jsonl")).expect("messages");
    for line in lines.lines() {
        let message: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(message["room"], ROOM);
    }
    assert_eq!(site.call("/exports/1", &other).status, 404);
    assert_eq!(site.call("/exports/1/download", &other).status, 404);
    assert_eq!(site.call("/exports", &other).json()["exports"], json!([]));
    assert_eq!(site.call("/exports/1", &all).status, 200);
    let outside = site.messages.iter().find(|message| message["room"] != ROOM).expect("another")["id"].to_string();
    assert_eq!(begin(&site, &narrow, &format!("reason=x&id={}", encoded(&outside))).status, 201);
    assert_eq!(ended(&site, &narrow, 2)["messages"], 0);
}

#[test]
fn a_withheld_export_is_shown_with_its_reason_and_not_given_out() {
    let site = Site::new();
    let officer = site.sign_in("officer");
    let said = "The counts do not agree: the query finds 3 messages, 4 were written, and 4 are in the files.";
    withheld(&site, said);
    let page = site.get("/exports/1", &officer);
    assert!(page.body.contains(said) && page.body.contains("Make it anew"), "{}", page.body);
    assert_eq!(site.get("/exports/1/download", &officer).status, 404);
    let token = site.token("officer", NewToken::default());
    assert_eq!(site.call("/exports/1", &token).json()["export"]["said"], said);
}

#[test]
fn an_export_goes_on_after_a_restart() {
    let site = Site::new();
    let token = site.token("officer", NewToken::default());
    let store = site.call("/me", &token).json()["stores"][0].as_str().expect("a store").to_owned();
    let job = Job::new(Export::new(&store, "officer"), json!({}), None, 7);
    let waiting = shelf(&site).add(job).expect("a job").number;
    assert_eq!(site.call("/exports", &token).json()["exports"][0]["state"], "working");
    assert!(site.get("/exports/1", &site.sign_in("officer")).body.contains("Go on"));
    with_another_console(&site, || {
        let export = ended(&site, &token, waiting);
        assert_eq!((&export["state"], &export["messages"]), (&json!("released"), &json!(site.messages.len())), "{export}");
    });
}
