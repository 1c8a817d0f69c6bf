//! Metrics that agree with the status, and health in its states.

use super::{HTTP, add, archiver, has_alarm, http, lines, prosody, scrape};
use crate::support::archiver::{Archiver, Store};
use crate::support::process::{Directory, wait_for};
use crate::support::sink::get;

#[test]
fn the_metrics_agree_with_the_status() {
    let mut node = prosody();
    let mut archiver = archiver(&node, HTTP);
    archiver.start();
    node.accept();
    let typing = "<message from='h' to='archive.h'><forwarded xmlns='urn:xmpp:forward:0'><presence xmlns='jabber:client' from='alice@h/desk'/></forwarded></message>";
    node.mirror(&lines("counted", 30));
    node.mirror(&[typing, typing]);
    archiver.wait_until_stored();
    let address = http(&archiver);
    // What the archiver counts for itself is stored now and then, too: nothing may have been between the two.
    let (status, page) = wait_for("a quiet moment", || {
        let (before, page, after) =
            (archiver.wait_until("a status", |_| true), scrape(&address), archiver.wait_until("a status", |_| true));
        let is_quiet = (&before["nodes"], &before["stores"][0]["counts"]) == (&after["nodes"], &after["stores"][0]["counts"]);
        is_quiet.then_some((before, page))
    });
    let (of_node, of_store) = (&status["nodes"][0], &status["stores"][0]);
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    for (sample, expected) in [
        ("stanzas_received_total{node=\"node\"}", &of_node["stanzas"]),
        ("spooled_total{node=\"node\"}", &of_node["spooled"]),
        ("skipped_total{node=\"node\",reason=\"presence\"}", &of_node["skipped"]["presence"]),
        ("archived_total{store=\"main\"}", &of_store["counts"]["messages"]),
        ("deliveries_total{store=\"main\"}", &of_store["counts"]["deliveries"]),
        ("commits_total{store=\"main\"}", &of_store["counts"]["commits"]),
        ("spool_records{store=\"main\"}", &of_store["spool"]["records"]),
        ("spool_bytes{store=\"main\"}", &of_store["spool"]["bytes"]),
        ("spool_limit_bytes{store=\"main\"}", &of_store["spool"]["limit_bytes"]),
    ] {
        assert_eq!(page.value(&format!("xmpp_archiver_{sample}")), number(expected), "{sample}");
    }
    assert_eq!(page.value("xmpp_archiver_archived_total{store=\"main\"}"), 30.0);
    assert_eq!(page.value("xmpp_archiver_duplicates_total{store=\"main\"}"), 30.0);
    assert_eq!(page.value("xmpp_archiver_node_connected{node=\"node\"}"), 1.0);
    assert!(page.value("xmpp_archiver_batch_records_sum{store=\"main\"}") >= 60.0);
    assert_eq!(page.value("xmpp_archiver_commit_seconds_count{store=\"main\"}"), number(&of_store["counts"]["commits"]));
    assert_eq!(page.sum("xmpp_archiver_alarms_raised"), 0.0);
    assert!(page.value("process_resident_memory_bytes") > 1_000_000.0);
    assert_eq!(get(&address, "/").0, 404);
}

#[test]
fn readiness_follows_the_node_and_the_store_and_health_does_not() {
    let place = Directory::new(None);
    let in_the_way = place.write("disk", "");
    let mut node = prosody();
    let store = Store::Sqlite(in_the_way.join("archive.sqlite"));
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), "", &[&node]);
    add(&archiver, HTTP);
    archiver.start();
    let address = http(&archiver);
    let (code, said) = get(&address, "/readyz");
    assert!(code == 503 && said.contains("store main: not reached") && said.contains("node node: not attached"), "{said}");
    assert_eq!(get(&address, "/healthz").0, 200);
    node.accept();
    archiver.wait_until("it to be attached", |status| status["nodes"][0]["state"] == "online");
    let (code, said) = get(&address, "/readyz");
    assert!(code == 503 && said.contains("store main: not reached") && !said.contains("node node"), "{said}");
    std::fs::remove_file(&in_the_way).expect("it works here");
    wait_for("it to be ready", || (get(&address, "/readyz") == (200, "{\"reasons\":[],\"status\":\"ok\"}".to_owned())).then_some(()));
    archiver.stop();
}

/// A port that another program has is told, and archiving goes on.
#[test]
fn a_port_that_is_taken_stops_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let mut node = prosody();
    let mut archiver = archiver(&node, &format!("[http]\nlisten = '{address}'"));
    archiver.start();
    node.accept();
    node.mirror(&lines("all the same", 3));
    archiver.wait_until_stored();
    let status = archiver.wait_until("a status", |_| true);
    assert!(status["http"].is_null() && !has_alarm(&status, "store-unreachable"));
    assert!(archiver.said().contains("archiving goes on"), "{}", archiver.said());
    archiver.stop();
}
