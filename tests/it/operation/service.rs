//! What a service manager is told (sd_notify(3)), and what the journal gets.

use super::{archiver, lines, prosody};
use crate::support::process::{Directory, wait_for};
use crate::support::sink::Manager;

#[test]
fn the_service_manager_is_told_of_each_step() {
    let place = Directory::new(None);
    let socket = place.path().join("notify");
    let manager = Manager::listen(&socket);
    let mut node = prosody();
    let mut archiver = archiver(&node, "");
    let socket = socket.display().to_string();
    archiver.start_with(&[("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "300000")]);
    manager.wait_for("READY=1", 1);
    manager.wait_for("WATCHDOG=1", 3);
    node.accept();
    node.mirror(&lines("watched", 3));
    archiver.hang_up();
    manager.wait_for("RELOADING=1", 1);
    manager.wait_for("READY=1", 2);
    archiver.wait_until_stored();
    manager.wait_for("STATUS=nodes online: 1 of 1; records waiting for a store: 0; alarms: 0", 1);
    archiver.stop();
    manager.wait_for("STOPPING=1", 1);
    let heard = manager.heard();
    let place_of = |line: &str| heard.iter().position(|said| said.starts_with(line)).unwrap_or_else(|| panic!("{line}: {heard:?}"));
    assert!(place_of("READY=1") < place_of("RELOADING=1") && place_of("RELOADING=1") < place_of("STOPPING=1"), "{heard:?}");
    assert!(place_of("MONOTONIC_USEC=") > place_of("READY=1"), "{heard:?}");
}

/// The journal has the time, and wants the priority.
#[test]
fn the_journal_gets_priorities() {
    let node = prosody();
    let mut archiver = archiver(&node, "");
    archiver.start_for_journal();
    let log = archiver.log();
    wait_for("lines with priorities", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("<6>xmpp_archiver")).then_some(()));
    archiver.stop();
    let text = std::fs::read_to_string(&log).expect("the log");
    assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
}
