//! Probe messages through real servers: they come back by every mirror, are kept out of all that the archive shows, and are missed when they don't.

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use serde_json::Value;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::client::Client;
use crate::support::node::{Kind, Node};
use crate::support::scrape::Scrape;
use crate::support::sink::get;

const NAMESPACE: &str = "urn:xmpp-archiver:canary:0";
const ALARM: &str = "canary-missing";
const WATCHED: &str = "[http]\nlisten = '127.0.0.1:0'\n[alarm]\nnode_down_after = '1s'\n";
/// The first probe must come back, however busy the machine is.
const PATIENT: &str = "every = '60s'\ntimeout = '60s'";
/// Nothing will come back, so it is soon told.
const IMPATIENT: &str = "every = '1s'\ntimeout = '1s'";

/// A node with an archiver whose configuration ends with the node's canary.
struct Scene {
    archiver: Archiver,
    settings: String,
}

impl Scene {
    fn set(node: &Node) -> Scene {
        let archiver = Archiver::new(StoreKind::Sqlite, &[node]);
        let mut scene = Scene { settings: format!("{WATCHED}{}", archiver.settings()), archiver };
        scene.configure(node, PATIENT, "pass", "tls = 'none'");
        scene.archiver.start();
        scene
    }

    fn configure(&self, node: &Node, pace: &str, password: &str, tls: &str) {
        let Scene { archiver, settings } = self;
        let address = format!("127.0.0.1:{}", node.client_port);
        archiver.set_settings(&format!(
            "{settings}[node.canary]\njid = '{}'\npassword = '{password}'\naddress = '{address}'\n{pace}\n{tls}\n",
            node.bare("canary")
        ));
    }

    /// The same while it runs.
    fn reconfigure(&self, node: &Node, pace: &str, password: &str, tls: &str) {
        self.configure(node, pace, password, tls);
        self.archiver.hang_up();
    }

    /// Waits until a probe has come back in time.
    fn wait_for_return(&self) -> Value {
        let is_back = |status: &Value| status["nodes"][0]["canary"]["returned_count"].as_u64() > Some(0) && alarm(status).is_none();
        self.archiver.wait_until("a probe to come back", is_back)["nodes"][0]["canary"].clone()
    }

    /// Waits for the alarm with this in its text.
    fn wait_for_alarm(&self, text: &str) {
        self.archiver.wait_until(text, |status| alarm(status).is_some_and(|told| told.contains(text)));
    }

    /// The bodies of all messages.
    fn bodies(&self) -> Vec<String> {
        let mut bodies: Vec<String> =
            self.archiver.search().iter().map(|row| row["body"].as_str().unwrap_or_default().to_owned()).collect();
        bodies.sort();
        bodies
    }

    /// How many copies were counted as probes.
    fn counted(&self) -> u64 {
        let sum = self.archiver.store.query("SELECT coalesce(sum(count), 0) FROM tallies WHERE state = 5 AND reason = 'canary'");
        sum.trim().parse().expect("a number")
    }
}

/// What the alarm says, if it is raised.
fn alarm(status: &Value) -> Option<String> {
    let raised = status["alarms"].as_array()?.iter().find(|alarm| alarm["name"] == ALARM)?;
    raised["text"].as_str().map(str::to_owned)
}

/// A probe comes back, and nothing shows it; what only looks like one is archived. The account is as quiet as before.
fn a_probe_comes_back(node: &Node) -> Scene {
    let scene = Scene::set(node);
    let report = scene.wait_for_return();
    assert!(report["seconds"].as_f64() > Some(0.0) && report["age_seconds"].is_number() && report["trouble"].is_null(), "{report}");
    let (canary, mallory) = (Client::log_in(node, "canary", "desk"), Client::log_in(node, "mallory", "desk"));
    let forge = |client: &Client, body: &str| {
        let marker = format!("<canary xmlns='{NAMESPACE}' id='0123456789abcdef' token='{}'/>", "00".repeat(32));
        client.send(&format!("<message type='chat' id='{body}' to='{}'><body>{body}</body>{marker}</message>", client.account));
        client.sync();
    };
    forge(&canary, "forged by the account");
    forge(&mallory, "forged by another");
    let bodies = ["forged by another", "forged by the account"];
    scene.archiver.wait_until("the forgeries", |_| scene.bodies().len() >= bodies.len());
    scene.archiver.wait_until_stored();
    assert_eq!(scene.bodies(), bodies);
    let exported = scene.archiver.must(&["export", "--format", "jsonl"]);
    assert!(exported.contains("forged by another") && !exported.contains("safe to ignore"), "{exported}");
    // Once as it was sent, and once as it was delivered.
    assert!(scene.counted() >= 2, "{}", scene.counted());
    let sums = scene.archiver.command(&["reconcile", "--format", "json"]);
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
    let kept = canary.fetch_archive(None);
    assert!(!kept.iter().any(|result| result.raw.contains("safe to ignore")), "{kept:?}");
    canary.become_available(0);
    assert!(!canary.received().iter().any(|stanza| stanza.raw.contains("safe to ignore")), "nothing waited for the account");
    scene
}

/// A probe goes by no mirror, and by one again.
fn a_missing_mirror_is_noticed(scene: &Scene, node: &mut Node, file: &str, without: impl Fn(&str) -> String) {
    let mut before = String::new();
    node.change(file, |text| {
        text.clone_into(&mut before);
        without(text)
    });
    scene.reconfigure(node, IMPATIENT, "pass", "tls = 'none'");
    node.restart();
    scene.wait_for_alarm("was not mirrored within 1 s");
    node.change(file, |_| before);
}

#[test]
fn by_the_stock_mirror_of_prosody() {
    let mut node = Node::start(Kind::Prosody);
    let mut scene = a_probe_comes_back(&node);
    let page = {
        let status = scene.archiver.wait_until("the HTTP port", |status| status["http"].is_string());
        Scrape::parse(&get(status["http"].as_str().expect("an address"), "/metrics").1)
    };
    for name in ["xmpp_archiver_canary_seconds", "xmpp_archiver_canary_age_seconds", "xmpp_archiver_canary_returned_total"] {
        assert!(page.has(name), "{name}: {:#?}", page.families);
    }
    let checked = scene.archiver.must(&["check"]);
    assert!(checked.contains(&format!("{} can log in", node.bare("canary"))), "{checked}");

    // Somebody else writes to the store, and does not end.
    let Store::Sqlite(file) = &scene.archiver.store else { panic!("it is SQLite") };
    let mut other = SqliteConnection::establish(&file.display().to_string()).expect("the archive");
    other.batch_execute("PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE").expect("a lock");
    scene.reconfigure(&node, IMPATIENT, "pass", "tls = 'none'");
    scene.wait_for_alarm("was mirrored and was not stored within 1 s");
    other.batch_execute("ROLLBACK").expect("the end of the lock");

    scene.reconfigure(&node, IMPATIENT, "wrong", "tls = 'none'");
    scene.wait_for_alarm("the server refused the log-in (not-authorized");
    let checked = String::from_utf8(scene.archiver.command(&["check"]).stdout).expect("text");
    assert!(checked.contains("the server refused the log-in"), "{checked}");

    a_missing_mirror_is_noticed(&scene, &mut node, "mirror.pfw", |_| "# no rules\n".to_owned());

    // The mirror is back, and from now on clients need TLS.
    let authority = node.certify();
    let encrypted = |text: &str, directory: &str| {
        let text = text
            .replace("modules_disabled = { \"tls\"; }", "")
            .replace("\"roster\";", "\"roster\"; \"tls\";")
            .replace("c2s_require_encryption = false", "c2s_require_encryption = true");
        let text = text.replace("allow_unencrypted_plain_auth = true", "allow_unencrypted_plain_auth = false");
        format!("ssl = {{ certificate = \"{directory}/node.crt\"; key = \"{directory}/node.key\" }}\n{text}")
    };
    let directory = node.directory().display().to_string();
    node.change("prosody.cfg.lua", |text| encrypted(text, &directory));
    node.restart();
    scene.reconfigure(&node, IMPATIENT, "pass", "tls = 'none'");
    scene.wait_for_alarm("could not log in");
    scene.reconfigure(&node, IMPATIENT, "pass", "");
    scene.wait_for_alarm("TLS failed");
    scene.reconfigure(&node, PATIENT, "pass", &format!("tls_ca = '{}'\ntls_name = 'localhost'", authority.display()));
    scene.wait_for_return();
    scene.archiver.wait_until_stored();
    assert_eq!(scene.bodies().len(), 2, "nothing but the forgeries: {:?}", scene.bodies());

    // Without a canary there is nothing to tell.
    scene.archiver.set_settings(&scene.settings);
    scene.archiver.hang_up();
    scene.archiver.wait_until("no canary", |status| status["nodes"][0]["canary"].is_null() && alarm(status).is_none());
    scene.archiver.stop();
    assert!(!scene.archiver.logged().contains("'pass'"));
}

#[test]
fn by_the_stock_mirror_of_ejabberd() {
    a_probe_comes_back(&Node::start(Kind::Ejabberd));
}

#[test]
fn by_our_module_on_prosody() {
    a_probe_comes_back(&Node::start_with_module(Kind::Prosody, ""));
}

#[test]
fn by_our_module_on_ejabberd() {
    let mut node = Node::start_with_module(Kind::Ejabberd, "");
    let mut scene = a_probe_comes_back(&node);
    a_missing_mirror_is_noticed(&scene, &mut node, "ejabberd.yml", |text| {
        let is_of_module = |line: &&str| !line.contains("mod_xmpp_archiver") && !line.starts_with("    component: ");
        text.lines().filter(is_of_module).map(|line| format!("{line}\n")).collect()
    });
    node.restart();
    scene.reconfigure(&node, PATIENT, "pass", "tls = 'none'");
    scene.wait_for_return();
    // While the node is away nobody says that probes are missing.
    scene.reconfigure(&node, IMPATIENT, "pass", "tls = 'none'");
    node.kill();
    scene.archiver.wait_until("the link to be lost", |status| status["nodes"][0]["state"] != "online");
    let status = scene.archiver.wait_until("the other alarm", |status| {
        status["alarms"].as_array().is_some_and(|alarms| alarms.iter().any(|alarm| alarm["name"] == "node-unreachable"))
    });
    assert_eq!(alarm(&status), None);
    scene.archiver.stop();
}
