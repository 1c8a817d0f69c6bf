//! The servers themselves, before any archiver: they start, they die, and their stock mirrors do what the archiver is built for.

use std::sync::Arc;

use crate::support::client::Client;
use crate::support::component::Component;
use crate::support::mariadb::MariaDb;
use crate::support::node::{Kind, Node};
use crate::support::postgres::Postgres;
use crate::support::{mariadb, postgres};

#[test]
fn postgres_survives_a_crash_and_a_restart() {
    let server = Arc::new(Postgres::start());
    let database = server.new_database();
    database.query("CREATE TABLE t (x INT); INSERT INTO t VALUES (7)");
    server.stop();
    server.restart();
    server.kill();
    server.restart();
    assert_eq!(database.query("SELECT x FROM t").trim(), "7");
}

#[test]
fn mariadb_survives_a_restart() {
    let server = Arc::new(MariaDb::start());
    let database = server.new_database();
    database.query("CREATE TABLE t (x INT); INSERT INTO t VALUES (7)");
    server.stop();
    server.restart();
    assert_eq!(database.query("SELECT x FROM t").trim(), "7");
}

#[test]
fn each_test_has_a_database_of_its_own() {
    let (one, other) = (postgres::database(), postgres::database());
    one.query("CREATE TABLE t (x INT)");
    other.query("CREATE TABLE t (x INT)");
    let (one, other) = (mariadb::database(), mariadb::database());
    one.query("CREATE TABLE t (x INT)");
    other.query("CREATE TABLE t (x INT)");
}

#[test]
fn the_database_servers_speak_tls() {
    let postgres = Arc::new(Postgres::start_with_tls());
    assert!(postgres.authority().is_some_and(std::path::Path::exists));
    assert_eq!(postgres.new_database().query("SHOW ssl").trim(), "on");
    let mariadb = Arc::new(MariaDb::start_with_tls());
    assert!(mariadb.authority().is_some_and(std::path::Path::exists));
    assert_eq!(mariadb.new_database().query("SELECT @@have_ssl").trim(), "YES");
}

#[test]
fn prosody_mirrors_a_message_twice() {
    a_message_is_mirrored_twice(Kind::Prosody);
}

#[test]
fn ejabberd_mirrors_a_message_twice() {
    a_message_is_mirrored_twice(Kind::Ejabberd);
}

fn a_message_is_mirrored_twice(kind: Kind) {
    let node = Node::start(kind);
    let component = Component::connect(&node);
    let alice = Client::log_in(&node, "alice", "desk");
    let bob = Client::log_in(&node, "bob", "phone");
    bob.become_available(0);
    alice.send(&format!("<message type='chat' id='m1' to='{}'><body>hello</body></message>", node.bare("bob")));
    bob.expect_body("hello");
    for _ in 0..2 {
        component.expect("a copy", |stanza| stanza.contains("<body>hello</body>"));
    }
    alice.sync();
    bob.sync();
    assert_eq!(component.copies_with("hello").len(), 2);
}
