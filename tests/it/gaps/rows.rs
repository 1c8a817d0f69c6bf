//! `reconcile` finds the rows of a day in a large archive without reading all of it, wherever they are.

use serde_json::Value;
use xmpp_archiver::time::{Micros, SECOND};

use crate::replays::on_every_store;
use crate::support::archiver::{Archiver, StoreKind};
use crate::support::mirrored::Written;
use crate::support::played::Played;

on_every_store! {
    a_day_of_a_large_archive_costs_that_day,
}

/// Old messages, 1,000 a day.
const OLD: i64 = 100_000;
/// What the numbers of the new ones begin behind.
const SHIFT: i64 = 200_000;
/// An old message of which a copy comes today.
const REPLAYED: i64 = 150_000 - SHIFT / 2;
const DAY: Micros = 86_400 * SECOND;

fn a_day_of_a_large_archive_costs_that_day(store: StoreKind) {
    let mut node = Played::new("node", "archive.h", "h", "m.h", "ejabberd");
    let mut archiver = Archiver::for_played(store, "", &[&node]);
    archiver.start();
    node.accept();
    let said = |number: usize| Written::chat("alice@h/desk", "bob@h", "hello").id(&format!("m{number}")).by_service_log("h");
    node.mirror(&(0..20).map(|number| said(number).repeat(3)).collect::<Vec<_>>());
    archiver.wait_until_stored();
    archiver.stop();
    grow(&archiver, store);
    let (statements, report) = counted(&archiver);
    assert_eq!(report["days"][0]["problems"], Value::Array(Vec::new()), "{report:#}\n{statements:#?}");
    assert_eq!((&report["days"][0]["rows"]["messages"], &report["days"][0]["rows"]["deliveries"]), (&20.into(), &60.into()), "{report:#}");
    let of = |table: &str| statements.iter().filter(|sql| sql.contains(&format!(" FROM {table} "))).cloned().collect::<Vec<_>>();
    assert_eq!(of("messages").len(), 1, "{statements:#?}");
    for sql in of("messages").iter().chain(of("deliveries").first()) {
        let plan = archiver.store.query(&format!("{} {sql}", if store == StoreKind::Sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" }));
        assert!(is_bounded(store, &plan), "{sql}\n{plan}");
    }
    // A row that nobody has any more is looked for everywhere, and missed.
    archiver.store.query("DELETE FROM deliveries WHERE seq = 7");
    let (statements, report) = counted(&archiver);
    assert!(report["days"][0]["problems"][0].as_str().is_some_and(|problem| problem.contains("60 copies")), "{report:#}\n{statements:#?}");
}

/// Many years later: old rows in front of those that are there, and a copy of today hangs on an old one.
fn grow(archiver: &Archiver, store: StoreKind) {
    let digits = "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 \
                  UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    let numbers = format!(
        "(SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n FROM {digits} a CROSS JOIN {digits} b CROSS JOIN {digits} c \
         CROSS JOIN {digits} e CROSS JOIN {digits} f) numbers"
    );
    let whole = if store == StoreKind::MariaDb { "SIGNED" } else { "BIGINT" };
    let at = format!("(m.received_at - {} - CAST({OLD} - n AS {whole}) * {})", 3 * DAY, DAY / 1_000);
    let one = format!("(SELECT * FROM messages WHERE id = {}) m", SHIFT + 1);
    for sql in [
        format!("UPDATE messages SET id = id + {SHIFT}"),
        format!("UPDATE deliveries SET message_id = message_id + {SHIFT}"),
        format!(
            "INSERT INTO messages (id, sent_at, received_at, conversation_id, flags, node_id, kind, type, direction, via, content_key, xml) \
             SELECT n, {at}, {at}, m.conversation_id, 0, m.node_id, 1, 1, 3, 1, m.content_key, m.xml FROM {numbers} CROSS JOIN {one} ORDER BY n"
        ),
        format!(
            "INSERT INTO deliveries (message_id, at, seq, node_id, direction, source, send_no) \
             SELECT n, {at}, 0, m.node_id, 1, 1, 1 FROM {numbers} CROSS JOIN {one} ORDER BY n"
        ),
        format!("UPDATE deliveries SET message_id = {REPLAYED}, seq = 7 WHERE message_id = {} AND seq = 2", SHIFT + 5),
    ] {
        archiver.store.query(&sql);
    }
    match store {
        StoreKind::Sqlite => drop(archiver.store.query("ANALYZE")),
        StoreKind::Postgres => {
            ["messages", "deliveries"].iter().for_each(|table| drop(archiver.store.query(&format!("VACUUM ANALYZE {table}"))))
        }
        StoreKind::MariaDb => drop(archiver.store.query("ANALYZE TABLE messages, deliveries")),
    }
}

/// The statements by which it counts the rows of today, and what it says.
fn counted(archiver: &Archiver) -> (Vec<String>, Value) {
    let output = archiver.command(&["-vv", "reconcile", "--from", "today", "--format", "json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let statements = said.lines().filter_map(|line| line.split_once("counting rows: ")).map(|(_, sql)| sql.to_owned());
    (statements.collect(), serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}")))
}

fn is_bounded(store: StoreKind, plan: &str) -> bool {
    match store {
        StoreKind::Sqlite => {
            plan.contains("SEARCH messages USING INTEGER PRIMARY KEY") || plan.contains("SEARCH deliveries USING PRIMARY KEY")
        }
        StoreKind::Postgres => plan.contains("messages_received_at") || plan.contains("deliveries_at"),
        StoreKind::MariaDb => plan.contains("\trange\t") && plan.contains("\tPRIMARY\t"),
    }
}
