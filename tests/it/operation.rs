//! The archiver in an operator's hands: alarms that reach people, metrics and health, a configuration that changes, a service manager, the package.

mod alarms;
mod examples;
mod health;
mod packaging;
mod reload;
mod service;

use serde_json::Value;

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::mirrored::Written;
use crate::support::played::Played;
use crate::support::scrape::Scrape;
use crate::support::sink::get;

/// So that silence is noticed soon.
const IMPATIENT: &str = "connect_timeout = '1s'\nstatement_timeout = '1s'";

fn prosody() -> Played {
    Played::new("node", "archive.h", "h", "m.h", "prosody")
}

/// Both copies of one message.
fn line(topic: &str, n: usize) -> String {
    Written::chat("alice@h/desk", "bob@h", &format!("{topic} {n}")).id(&format!("{topic}-{n}")).by_firewall("h").repeat(2)
}

fn lines(topic: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| line(topic, n)).collect()
}

/// An archiver for a played node in SQLite with further sections in its configuration, not running yet.
fn archiver(node: &Played, sections: &str) -> Archiver {
    let archiver = Archiver::for_played(StoreKind::Sqlite, "", &[node]);
    add(&archiver, sections);
    archiver
}

/// Adds sections to a configuration.
fn add(archiver: &Archiver, sections: &str) {
    archiver.set_settings(&format!("{}\n{sections}\n", archiver.settings()));
}

fn alarm<'s>(status: &'s Value, name: &str) -> Option<&'s Value> {
    status["alarms"].as_array()?.iter().find(|alarm| alarm["name"] == name)
}

fn has_alarm(status: &Value, name: &str) -> bool {
    alarm(status, name).is_some()
}

const HTTP: &str = "[http]\nlisten = '127.0.0.1:0'";

/// Where the HTTP port is.
fn http(archiver: &Archiver) -> String {
    let status = archiver.wait_until("the HTTP port", |status| status["http"].is_string());
    status["http"].as_str().expect("an address").to_owned()
}

fn scrape(address: &str) -> Scrape {
    let (status, text) = get(address, "/metrics");
    assert_eq!(status, 200, "{text}");
    Scrape::parse(&text)
}
