//! Alarms on their way to people, and their end.

use std::sync::Arc;

use xmpp_archiver::access::{Access, Attempt, NewAccount, Role, Roles, Settings, Viewer};
use xmpp_archiver::alarm::Alarms;
use xmpp_archiver::config::Config;

use super::{HTTP, IMPATIENT, add, alarm, archiver, has_alarm, http, line, lines, prosody, scrape};
use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::line::chat;
use crate::support::node::{Kind, Node};
use crate::support::postgres::Postgres;
use crate::support::process::{Directory, wait_for};
use crate::support::sink::{Mail, Webhook};
use crate::support::stage::Stage;

/// `\0archiver\0s3cret` (RFC 4616).
const ACCOUNT: &str = "AGFyY2hpdmVyAHMzY3JldA==";

fn webhook_section(webhook: &Webhook) -> String {
    format!("[alarm]\nwebhook = '{}'\nwebhook_secret = 'token 7'\n", webhook.url())
}

fn email_section(mail: &Mail) -> String {
    format!(
        "[alarm.email]\nserver = '127.0.0.1'\nport = {}\ntls = 'none'\nuser = 'archiver'\npassword = 's3cret'\nfrom = 'Archive <archive@h>'\n\
         to = ['ops@h', 'Second <second@h>']\n",
        mail.port
    )
}

/// Told once when the database goes and once when it is back, by two ways, the first of which does not take it at once.
#[test]
fn a_database_that_goes_away_is_told_once_and_cleared_once() {
    let (webhook, mail) = (Webhook::start(), Mail::start(ACCOUNT));
    webhook.refuse(2);
    let server = Arc::new(Postgres::start());
    let mut node = prosody();
    let store = Store::Postgres(server.new_database());
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), IMPATIENT, &[&node]);
    add(&archiver, &(webhook_section(&webhook) + &email_section(&mail)));
    archiver.start();
    node.accept();
    node.mirror(&lines("before", 5));
    archiver.wait_until_stored();
    server.stop();
    node.mirror(&lines("meanwhile", 5));
    webhook.wait_for_event("store-unreachable", "raised");
    archiver.wait_until("the trouble to be met again", |status| {
        alarm(status, "store-unreachable").is_some_and(|alarm| alarm["times"].as_u64() > Some(1))
    });
    server.restart();
    webhook.wait_for_event("store-unreachable", "cleared");
    archiver.wait_until_stored();
    wait_for("both letters", || (mail.heard().len() == 2).then_some(()));
    archiver.stop();
    assert_eq!(webhook.events("store-unreachable"), ["raised", "cleared"]);
    let first = &webhook.heard()[0];
    assert_eq!(first.authorization.as_deref(), Some("Bearer token 7"));
    assert_eq!((first.alarm["severity"].as_str(), first.alarm["subject"].as_str()), (Some("critical"), Some("main")));
    let letters = mail.heard();
    for (letter, word) in letters.iter().zip(["CRITICAL", "cleared"]) {
        assert!(letter.contains(&format!("Subject: [xmpp-archiver] {word}: store-unreachable (main)")), "{letter}");
        assert!(letter.contains("To: ops@h, Second <second@h>") && letter.contains("From: Archive <archive@h>"), "{letter}");
    }
    for secret in ["token 7", "s3cret"] {
        assert!(!std::fs::read_to_string(archiver.log()).expect("the log").contains(secret));
    }
}

/// An operator on the very node hears of it, and the archive holds none of that: neither the alarm nor the answer to it.
fn an_alarm_by_xmpp_is_no_conversation(kind: Kind) {
    let node = Node::start(kind);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&node]);
    add(&archiver, &format!("[alarm]\njids = ['{}']", node.bare("carol")));
    let stage = Stage::with(vec![node], archiver);
    let (alice, carol) = (stage.enter("alice", "desk"), stage.enter("carol", "phone"));
    let told = stage.archiver.borrow().must(&["alarms", "test"]);
    assert!(told.contains("xmpp") && told.contains("sent"), "{told}");
    let alarm = carol.expect("the alarm", |stanza| stanza.is_message() && stanza.body().is_some_and(|body| body.starts_with("test: test")));
    let archive = stage.node().archive.clone();
    assert_eq!(alarm.attr("from"), Some(archive.as_str()));
    stage.say_to(&carol, chat(&alice.account, "we have an alarm"), &[&alice]);
    stage.check();
    let bodies: Vec<String> = stage.archived().iter().filter_map(|row| row["body"].as_str().map(str::to_owned)).collect();
    assert_eq!(bodies, ["we have an alarm"]);
}

#[test]
fn an_alarm_by_xmpp_is_no_conversation_on_prosody() {
    an_alarm_by_xmpp_is_no_conversation(Kind::Prosody);
}

#[test]
fn an_alarm_by_xmpp_is_no_conversation_on_ejabberd() {
    an_alarm_by_xmpp_is_no_conversation(Kind::Ejabberd);
}

/// Without an archiver that runs, the command attaches for a moment.
#[test]
fn a_test_is_sent_without_an_archiver_that_runs() {
    let node = Node::start(Kind::Prosody);
    let (webhook, carol) = (Webhook::start(), crate::support::client::Client::log_in(&node, "carol", "phone"));
    carol.become_available(0);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&node]);
    add(&archiver, &format!("{}jids = ['{}']", webhook_section(&webhook), node.bare("carol")));
    let told = archiver.must(&["alarms", "test", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((told[0]["way"].as_str(), told[0]["error"].is_null()), (Some("webhook"), true), "{told}");
    assert_eq!((told[1]["way"].as_str(), told[1]["error"].is_null()), (Some("xmpp"), true), "{told}");
    assert_eq!(webhook.heard()[0].alarm["event"], "test");
    carol.expect("the test", |stanza| stanza.is_message() && stanza.body().is_some_and(|body| body.starts_with("test: test")));
}

#[test]
fn a_way_that_fails_is_told() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let mut archiver = archiver(&prosody(), &format!("[alarm]\nwebhook = 'http://127.0.0.1:{port}/hidden-token'"));
    for runs in [false, true] {
        if runs {
            archiver.start();
            archiver.wait_until("a status", |_| true);
        }
        let output = archiver.command(&["alarms", "test"]);
        assert_eq!(output.status.code(), Some(3));
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains("failed") && told.contains("refused") && !told.contains("hidden-token"), "{told}");
    }
}

/// What has merely happened goes after a quiet time, or when somebody has seen it; what lasts stays.
#[test]
fn what_has_happened_is_cleared_by_time_or_by_hand() {
    let mut node = prosody();
    let mut archiver = archiver(&node, "");
    archiver.start();
    node.accept();
    let unreadable = "<message from='h' to='archive.h'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><a></b></message></forwarded></message>";
    node.mirror(&[line("fine", 0), unreadable.to_owned()]);
    archiver.wait_until("the alarm", |status| has_alarm(status, "quarantine-grew"));
    let shown = archiver.must(&["status"]);
    assert!(shown.contains("warning") && shown.contains("quarantine-grew"), "{shown}");
    assert_eq!(archiver.command(&["alarms", "acknowledge", "spool-full"]).status.code(), Some(2));
    archiver.must(&["alarms", "acknowledge", "quarantine-grew", "main"]);
    archiver.wait_until("the alarm to be cleared", |status| !has_alarm(status, "quarantine-grew"));
    archiver.stop();
    add(&archiver, "[alarm]\nclear_after = '1 s'");
    archiver.start();
    node.accept();
    node.mirror(&[unreadable]);
    archiver.wait_until("the records to be read", |status| status["stores"][0]["counts"]["quarantined"] == 1);
    archiver.wait_until("the alarm to be cleared by time", |status| !has_alarm(status, "quarantine-grew"));
    assert!(std::fs::read_to_string(archiver.log()).expect("the log").matches("alarm quarantine-grew cleared for main").count() == 2);
}

/// The spool of a small limit fills while there is no store: both marks are crossed, then the limit; the store's return clears all three.
#[test]
fn a_spool_that_fills_is_told_at_each_mark() {
    let place = Directory::new(None);
    let in_the_way = place.write("disk", "");
    let mut node = prosody();
    let store = Store::Sqlite(in_the_way.join("archive.sqlite"));
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), "", &[&node]);
    let small = archiver
        .settings()
        .replace("[spool]\n", "[spool]\nlimit = '8 MiB'\nsegment = '1 MiB'\n")
        .replace("[[node]]\n", "[[node]]\nmax_stanza = '1 MiB'\n");
    archiver.set_settings(&small);
    add(&archiver, &format!("[alarm]\nlag_limit = '1 s'\n{HTTP}"));
    archiver.start();
    node.accept();
    let long = "x".repeat(200_000);
    let fill = |number: usize| line(&format!("{long} {number}"), number);
    let mut sent = 0;
    for name in ["spool-high", "spool-nearly-full"] {
        let mut is_raised = false;
        while !is_raised {
            node.mirror(&[fill(sent)]);
            sent += 1;
            assert!(sent < 40, "{name} is not raised");
            // The watch looks once a second at most: the spool has not grown since, so one look is enough.
            let status = archiver.wait_until("the spool to be looked at", |status| {
                let spool = &status["stores"][0]["spool"];
                let percent = spool["bytes"].as_f64().unwrap_or(0.0) / spool["limit_bytes"].as_f64().unwrap_or(1.0) * 100.0;
                let mark = if name == "spool-high" { 75.0 } else { 90.0 };
                spool["durable_seq"] == spool["next_seq"] && (percent > mark) == has_alarm(status, name)
            });
            is_raised = has_alarm(&status, name);
        }
    }
    archiver.wait_until("the lag", |status| has_alarm(status, "archive-lag"));
    let page = scrape(&http(&archiver));
    assert_eq!(page.value("xmpp_archiver_alarms_raised{name=\"spool-high\",severity=\"warning\"}"), 1.0);
    assert!(page.value("xmpp_archiver_spool_oldest_age_seconds{store=\"main\"}") > 1.0);
    std::fs::remove_file(&in_the_way).expect("it works here");
    archiver.wait_until_stored();
    archiver.wait_until("all to be cleared", |status| status["alarms"].as_array().is_some_and(Vec::is_empty));
    archiver.stop();
}

/// No disk has as much room as is asked for here.
#[test]
fn a_disk_without_room_is_told() {
    let node = prosody();
    let mut archiver = archiver(&node, "[alarm]\ndisk_low = '1000000 TiB'");
    assert_eq!(archiver.command(&["config"]).status.code(), Some(2));
    archiver.set_settings(&archiver.settings().replace("1000000 TiB", "1024 TiB"));
    archiver.start();
    let status = archiver.wait_until("the alarm", |status| has_alarm(status, "disk-low"));
    let subject = alarm(&status, "disk-low").and_then(|alarm| alarm["subject"].as_str()).expect("a subject").to_owned();
    assert!(archiver.spool().join("main").display().to_string() == subject || archiver.spool().starts_with(&subject), "{subject}");
}

/// The servers of these tests have certificates of 30 days.
#[test]
fn a_certificate_near_its_end_is_told_in_time() {
    for (days, is_raised) in [(31, true), (29, false)] {
        let server = Arc::new(Postgres::start_with_tls());
        let store = Store::Postgres(server.new_database());
        let authority = store.authority().expect("an authority").display().to_string();
        let node = prosody();
        let mut archiver = Archiver::for_played_on(store, Directory::new(None), &format!("tls_ca = '{authority}'"), &[&node]);
        add(&archiver, &format!("[alarm]\ncertificate_days = {days}"));
        archiver.start();
        archiver.wait_until("the database to be reached", |status| status["stores"][0]["connected"] == true);
        let status = archiver.wait_until("a look at it", |status| has_alarm(status, "certificate-near-end") == is_raised);
        let subject = alarm(&status, "certificate-near-end").map(|alarm| alarm["subject"].clone());
        assert_eq!(subject, is_raised.then(|| "store main".into()));
        archiver.stop();
    }
}

/// A database that answers but can't write is another matter than one that is away, and is told once although it can be reached all the time.
#[test]
fn a_database_that_cannot_write_is_told_once() {
    let webhook = Webhook::start();
    let server = Arc::new(Postgres::start());
    let store = Store::Postgres(server.new_database());
    let mut node = prosody();
    let mut archiver = Archiver::for_played_on(store, Directory::new(None), IMPATIENT, &[&node]);
    add(&archiver, &webhook_section(&webhook));
    archiver.start();
    node.accept();
    node.mirror(&lines("before", 3));
    archiver.wait_until_stored();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()";
    let set = |read_only: &str| {
        let change = format!("EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {read_only}', current_database())");
        archiver.store.query(&format!("BEGIN; SET TRANSACTION READ WRITE; DO $$ BEGIN {change}; END $$; COMMIT"));
        archiver.store.query(cut);
    };
    set("on");
    node.mirror(&lines("meanwhile", 3));
    archiver
        .wait_until("the alarm to go on", |status| alarm(status, "store-refusing").is_some_and(|alarm| alarm["times"].as_u64() >= Some(3)));
    set("off");
    webhook.wait_for_event("store-refusing", "cleared");
    archiver.wait_until_stored();
    archiver.stop();
    assert_eq!(webhook.events("store-refusing"), ["raised", "cleared"]);
    assert_eq!(archiver.store.ledger().rows.len(), 6);
}

/// Each way in which a node can be away has its own name, and they follow one another.
#[test]
fn a_node_that_is_away_is_told_with_the_reason() {
    let node = Node::start(Kind::Prosody);
    let mut archiver = Archiver::new(StoreKind::Sqlite, &[&node]);
    let right = archiver.settings();
    add(&archiver, "[alarm]\nnode_down_after = 0");
    let with = archiver.settings();
    archiver.set_settings(&with.replace(Node::SECRET, "not the secret"));
    archiver.start();
    archiver.wait_until("the secret to be refused", |status| has_alarm(status, "secret-refused"));
    archiver.set_settings(&with);
    archiver.hang_up();
    archiver.wait_until("it to be attached", |status| status["nodes"][0]["state"] == "online" && !has_alarm(status, "secret-refused"));
    let mut second = Archiver::new(StoreKind::Sqlite, &[&node]);
    second.set_settings(&format!("{}\n[alarm]\nnode_down_after = 0\n", second.settings()));
    second.start();
    second.wait_until("the conflict", |status| has_alarm(status, "second-instance"));
    second.stop();
    drop(node);
    archiver.wait_until("the node to be missed", |status| has_alarm(status, "node-unreachable"));
    assert!(right.len() < with.len());
}

/// Whom the operator's server does not know is told of by nobody else.
fn an_alarm_that_is_refused_is_counted(kind: Kind) {
    let node = Node::start(kind);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&node]);
    let nobody = node.bare("nobody");
    add(&archiver, &format!("[alarm]\njids = ['{nobody}']\n{HTTP}"));
    let stage = Stage::with(vec![node], archiver);
    stage.archiver.borrow().must(&["alarms", "test"]);
    let refused = "xmpp_archiver_alarms_sent_total{way=\"xmpp\",outcome=\"refused\"}";
    wait_for("the refusal", || (scrape(&http(&stage.archiver.borrow())).value(refused) >= 1.0).then_some(()));
    assert!(stage.archiver.borrow().logged().contains(&format!("an alarm did not reach {nobody}")));
}

#[test]
fn an_alarm_that_is_refused_is_counted_on_prosody() {
    an_alarm_that_is_refused_is_counted(Kind::Prosody);
}

#[test]
fn an_alarm_that_is_refused_is_counted_on_ejabberd() {
    an_alarm_that_is_refused_is_counted(Kind::Ejabberd);
}

/// The spool's directory goes while the archiver runs: it is noticed at once, and what comes is stored once there is a directory again.
#[test]
fn a_spool_that_is_removed_is_told() {
    let mut node = prosody();
    let mut archiver = archiver(&node, "");
    archiver.start();
    node.accept();
    node.mirror(&lines("before", 5));
    archiver.wait_until_stored();
    let spool = archiver.spool().join("main");
    std::fs::remove_dir_all(&spool).expect("remove the spool");
    archiver.wait_until("the alarm", |status| has_alarm(status, "spool-removed"));
    node.mirror(&lines("meanwhile", 5));
    archiver.wait_until("the copies", |status| status["stores"][0]["spool"]["records"].as_u64() >= Some(5));
    assert_eq!(archiver.search().len(), 5, "nothing is stored that is not durable");
    std::fs::create_dir_all(spool.join("damaged")).expect("make the spool's directory");
    archiver.wait_until("the end of the alarm", |status| !has_alarm(status, "spool-removed"));
    archiver.wait_until_stored();
    assert_eq!(archiver.search().len(), 10);
    archiver.stop();
}

/// The console, of which there may be several processes, locks an account: the archiver tells whomever its alarms reach, and tells when it is unlocked.
#[test]
fn an_account_that_is_locked_is_told_and_cleared() {
    let (webhook, directory) = (Webhook::start(), Directory::new(None));
    let mut node = prosody();
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    let key = directory.path().join("access.key");
    add(&archiver, &format!("{}[web]\nkey_file = '{}'\n", webhook_section(&webhook), key.display()));
    archiver.must(&["migrate"]);
    archiver.start();
    node.accept();
    let file = directory.write("archiver.toml", &archiver.settings());
    let config = Config::load(Some(&file)).expect("a configuration");
    let access = Access::open(Settings::from_config(&config, Alarms::default()).expect("settings")).expect("access");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        access.ready().await.expect("a store and a key");
        let account = NewAccount {
            name: "ann".to_owned(),
            roles: Roles::of([Role::Officer]),
            password: Some("correct horse battery".to_owned().into()),
            ..NewAccount::default()
        };
        access.add_account(&Viewer::console("tester"), account, None).await.expect("an account");
        for _ in 0..5 {
            let attempt = Attempt {
                name: "ann".to_owned(),
                password: "wrong".to_owned().into(),
                address: "192.0.2.7".parse().expect("an address"),
                previous: None,
            };
            assert!(access.sign_in(attempt).await.is_err());
        }
    });
    webhook.wait_for_event("account-locked", "raised");
    let status = archiver.wait_until("the alarm", |status| has_alarm(status, "account-locked"));
    let told = alarm(&status, "account-locked").expect("the alarm");
    assert_eq!(told["subject"], "ann");
    assert!(told["text"].as_str().is_some_and(|text| text.contains("from 192.0.2.7")), "{told}");
    archiver.must(&["user", "unlock", "ann"]);
    webhook.wait_for_event("account-locked", "cleared");
    archiver.stop();
    assert_eq!(webhook.events("account-locked"), ["raised", "cleared"]);
}
