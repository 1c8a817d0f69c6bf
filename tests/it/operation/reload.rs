//! SIGHUP: what can change does, what is wrong is refused whole, and nothing is lost on the way.

use super::{HTTP, add, archiver, has_alarm, http, lines, prosody};
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::played::Played;
use crate::support::process::wait_for;
use crate::support::sink::{Webhook, get};

fn wait_for_line(archiver: &Archiver, text: &str) {
    let log = archiver.log();
    wait_for(text, || std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text)).then_some(()));
}

#[test]
fn a_wrong_configuration_is_refused_with_every_mistake() {
    let mut node = prosody();
    let mut archiver = archiver(&node, "");
    archiver.start();
    node.accept();
    let right = archiver.settings();
    archiver.set_settings(&format!("{right}\n[log]\nlevel = 'loud'\n[alarm]\njids = ['nobody']\n"));
    archiver.hang_up();
    wait_for_line(&archiver, "the configuration was not taken up, and the one before goes on: 2 mistakes");
    assert!(archiver.said().contains("log.level") && archiver.said().contains("alarm.jids.0"), "{}", archiver.said());
    node.mirror(&lines("all the same", 3));
    archiver.wait_until_stored();
    archiver.stop();
    assert_eq!(archiver.store.ledger().rows.len(), 3);
}

#[test]
fn alarms_policy_limit_and_port_are_taken_up() {
    let (webhook, mut node) = (Webhook::start(), prosody());
    let mut archiver = archiver(&node, "");
    archiver.start();
    node.accept();
    let receipt = "<message xmlns='jabber:client' from='bob@h/phone' to='alice@h/desk' id='r1'><received xmlns='urn:xmpp:receipts' id='x'/></message>";
    let receipt = crate::support::mirrored::service_log("h", receipt).replacen(" id='7'", "", 1);
    node.mirror(&[&receipt]);
    archiver.wait_until_stored();
    let url = webhook.url();
    add(&archiver, &format!("[archive]\nreceipts = true\n[alarm]\nwebhook = '{url}'\ndisk_low = '1024 TiB'\n{HTTP}"));
    archiver.set_settings(&archiver.settings().replace("[spool]\n", "[spool]\nlimit = '20 GiB'\n"));
    archiver.hang_up();
    webhook.wait_for_event("disk-low", "raised");
    assert_eq!(get(&http(&archiver), "/healthz").0, 200);
    archiver.wait_until("the limit", |status| status["stores"][0]["spool"]["limit_bytes"] == 20_u64 << 30);
    node.mirror(&[receipt.replace("r1", "r2")]);
    archiver.wait_until_stored();
    // The log and the alarms again as they were: the alarm goes, and is told to nobody.
    archiver.set_settings(&archiver.settings().replace("1024 TiB", "0 B"));
    archiver.hang_up();
    webhook.wait_for_event("disk-low", "cleared");
    archiver.stop();
    assert_eq!(archiver.store.ledger().rows.len(), 1, "only the second receipt");
}

#[test]
fn nodes_come_and_go() {
    let (mut one, mut other) = (prosody(), Played::new("other", "archive.o", "o", "m.o", "prosody"));
    let mut archiver = archiver(&one, "");
    archiver.start();
    one.accept();
    one.mirror(&lines("one", 3));
    let before = archiver.settings();
    add(&archiver, other.section());
    archiver.hang_up();
    other.accept();
    let message = crate::support::mirrored::Written::chat("carol@o/desk", "dave@o", "from the other").id("o-1");
    other.mirror(&[message.by_firewall("o"), message.by_firewall("o")]);
    one.mirror(&lines("still one", 3));
    archiver.wait_until_stored();
    archiver.wait_until("both nodes", |status| status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2));
    archiver.set_settings(&before);
    archiver.hang_up();
    archiver.wait_until("one node", |status| status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 1));
    one.mirror(&lines("one again", 3));
    // A node that has changed is attached anew, and what it says is understood by its new settings.
    archiver.set_settings(&before.replace("hosts = ['h']", "hosts = ['h', 'h2']"));
    archiver.hang_up();
    one.accept();
    let message = crate::support::mirrored::Written::chat("erin@h2/desk", "frank@h2", "from the new host").id("h2-1");
    one.mirror(&[message.by_firewall("h2").replace("archive.h2", "archive.h")]);
    archiver.wait_until_stored();
    archiver.stop();
    let ledger = archiver.store.ledger();
    assert_eq!((ledger.rows.len(), ledger.only("from the other").copies.len()), (11, 2), "{ledger}");
    assert_eq!(ledger.only("from the new host").copies.len(), 1, "{ledger}");
}

#[test]
fn what_needs_a_restart_is_said() {
    let mut node = prosody();
    let mut archiver = archiver(&node, "");
    archiver.start();
    node.accept();
    archiver.set_settings(&archiver.settings().replace("[spool]\n", "[spool]\nwhen_full = 'drop'\n"));
    add(&archiver, "[archive]\njoin_window = '30 s'");
    archiver.hang_up();
    wait_for_line(&archiver, "[spool], apart from its limit, has changed: that needs a restart");
    wait_for_line(&archiver, "archive.join_window has changed: that needs a restart");
    wait_for_line(&archiver, "the configuration was taken up");
    archiver.stop();
}

/// The level of the log, which RUST_LOG would go before.
#[test]
fn the_logs_level_is_taken_up() {
    let mut node = prosody();
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    add(&archiver, "[log]\nlevel = 'error'");
    archiver.start_with(&[("RUST_LOG", "")]);
    node.accept();
    let status = archiver.wait_until("a status", |_| true);
    assert!(!has_alarm(&status, "node-unreachable") && !archiver.said().contains("INFO"), "{}", archiver.said());
    archiver.set_settings(&archiver.settings().replace("'error'", "'info'"));
    archiver.hang_up();
    wait_for_line(&archiver, "the configuration was taken up");
    archiver.stop();
}
