//! Other products' archives: what their rows say, dirt and all, becomes messages once.

use std::sync::Arc;

use serde_json::Value;

use crate::support::archiver::{Archiver, Store, StoreKind};
use crate::support::ledger::{Ledger, Row};
use crate::support::mariadb::MariaDb;
use crate::support::played::Played;
use crate::support::postgres::Postgres;
use crate::support::process::{Directory, PATIENCE, try_for};

const IMPORT: i16 = 3;

/// An archiver that is not running, for a node `h.example` with rooms at `rooms.h.example`.
fn archiver(store: Store) -> Archiver {
    let node = Played::new("cups", "archive.h.example", "h.example", "rooms.h.example", "auto");
    let archiver = Archiver::for_played_on(store, Directory::new(None), "", &[&node]);
    archiver.must(&["migrate", "up"]);
    archiver
}

fn sqlite() -> (Directory, Archiver) {
    let directory = Directory::new(None);
    let store = Store::new(StoreKind::Sqlite, &directory);
    (directory, archiver(store))
}

fn import(archiver: &Archiver, arguments: &[&str]) -> Value {
    let output = archiver.must(&[&["import", "--format", "json"], arguments].concat());
    serde_json::from_str(&output).expect("a JSON object")
}

fn ledger(archiver: &Archiver) -> Ledger {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(Ledger::read(&archiver.store.endpoint()))
}

fn number(report: &Value, name: &str) -> u64 {
    report.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("{name} in {report}"))
}

const HI: &str = r#""<message from='alice@h.example/Jabber' to='bob@h.example' type='chat' id='c1'><body>hi, ""Bob""</body></message>""#;

/// Each message of `jm` in as many rows as Cisco writes.
fn jm() -> String {
    let mut rows = vec!["to_jid,from_jid,sent_date,subject,thread_id,msg_type,direction,body_len,message_len,body_string,message_string,body_text,message_text,history_flag".to_owned()];
    // With its stanza: the sender's row, the recipient's, and once more for a second device.
    for (direction, second) in [("O", 1), ("I", 1), ("I", 2)] {
        rows.push(format!(
            "bob@h.example,alice@h.example/Jabber,2026-11-22 07:28:5{second}.5,,,c,{direction},9,99,\"hi, \"\"Bob\"\"\",{HI},,,N"
        ));
    }
    // Without one: upper case, a resource in a bare column, characters that XML has not, HTML.
    rows.push("BOB@H.Example/x,Alice@H.EXAMPLE/Desk,2026-11-22 07:29:00,Plans,t1,c,O,4,0,<p>4 &lt; 5</p>,,,,N".to_owned());
    rows.push("bob@h.example,\"o'neill smith@h.example\",2026-11-22 07:29:10,,,c,I,4,0,a\u{1}b,,,,N".to_owned());
    // Equal ones without an id, twice from each side: two messages.
    for direction in ["O", "I", "O", "I"] {
        rows.push(format!("bob@h.example,alice@h.example/Jabber,2026-11-22 07:30:00,,,c,{direction},2,0,ok,,,,N"));
    }
    // In a room: into it, and out of it to two.
    rows.push("talk@rooms.h.example,alice@h.example/Jabber,2026-11-22 07:31:00,,,g,O,6,0,to all,,,,N".to_owned());
    for to in ["alice", "bob"] {
        rows.push(format!("{to}@h.example/Jabber,talk@rooms.h.example/Alice,2026-11-22 07:31:00,,,g,I,6,0,to all,,,,N"));
    }
    // History for somebody who joined, of nobody knows when; an error; a row of nobody; a time that is none.
    rows.push("carol@h.example/x,talk@rooms.h.example/Alice,2026-11-22 07:32:00,,,g,I,6,0,to all,,,,H".to_owned());
    rows.push("alice@h.example,bob@h.example,2026-11-22 07:33:00,,,e,I,4,0,gone,,,,N".to_owned());
    rows.push(",,2026-11-22 07:34:00,,,c,I,4,0,lost,,,,N".to_owned());
    rows.push("bob@h.example,alice@h.example,yesterday,,,c,I,4,0,when,,,,N".to_owned());
    rows.join("\n") + "\n"
}

fn check_jm(ledger: &Ledger) {
    let bodies: Vec<&str> = ledger.rows.iter().filter_map(|row| row.body.as_deref()).collect();
    assert_eq!(bodies, ["hi, \"Bob\"", "<p>4 &lt; 5</p>", "a\u{fffd}b", "ok", "ok", "to all"], "{ledger}");
    assert!(ledger.rows.iter().all(|row| row.via == IMPORT && row.node == "cups"), "{ledger}");
    let hi = ledger.only("hi, \"Bob\"");
    assert_eq!(
        (hi.sender.as_deref(), hi.stanza_id.as_deref(), hi.sent_at),
        (Some("alice@h.example/Jabber"), Some("c1"), 1_795_332_531_500_000)
    );
    assert!(!hi.stanza.contains("<made"));
    let dirty = ledger.only("<p>4 &lt; 5</p>");
    assert_eq!((dirty.sender.as_deref(), dirty.recipient.as_deref()), (Some("alice@h.example/Desk"), Some("bob@h.example/x")));
    assert_eq!((dirty.subject.as_deref(), dirty.thread.as_deref()), (Some("Plans"), Some("t1")));
    assert!(dirty.stanza.contains("from='Alice@H.EXAMPLE/Desk'") && dirty.stanza.contains("<made xmlns="), "{}", dirty.stanza);
    assert_eq!(ledger.only("a\u{fffd}b").sender.as_deref(), Some("o'neill smith@h.example"));
    let room = ledger.only("to all");
    assert_eq!((room.conversation.as_str(), room.sender.as_deref()), ("talk@rooms.h.example", Some("alice@h.example/Jabber")));
    let sides = |row: &Row| row.copies.iter().map(|copy| copy.direction).collect::<Vec<_>>();
    assert!(ledger.saying("ok").iter().all(|row| sides(row) == [1, 2] || sides(row) == [2, 1]), "{ledger}");
    assert_eq!(ledger.quarantine.len(), 2, "{ledger}");
}

#[test]
fn cisco_jm_from_a_file() {
    let (directory, archiver) = sqlite();
    let file = directory.write("jm.csv", &jm()).display().to_string();
    let told = import(&archiver, &["--source", "cisco-jm", "--path", &file]);
    assert_eq!((number(&told, "read"), number(&told, "added"), number(&told, "refused")), (16, 6, 2), "{told}\n{}", ledger(&archiver));
    let before = ledger(&archiver);
    check_jm(&before);
    let again = import(&archiver, &["--source", "cisco-jm", "--path", &file]);
    let unchanged = (number(&again, "added"), number(&again, "refused"), number(&again, "refused_before"));
    assert_eq!(unchanged, (0, 0, 2), "{again}");
    assert_eq!(ledger(&archiver), before);
    let found = archiver.search();
    let dirty = found.iter().find(|row| row["thread"] == "t1").expect("the row");
    assert_eq!(dirty["detail"]["row"]["from_jid"], "Alice@H.EXAMPLE/Desk", "{dirty}");
}

/// The same rows in a live table, with types as Cisco gives them, into PostgreSQL.
#[test]
fn cisco_jm_from_postgres() {
    let server = Arc::new(Postgres::start());
    let source = server.new_database();
    source.query(
        "CREATE TABLE jm (to_jid varchar(3071), from_jid varchar(3071), sent_date timestamp, subject varchar(128), thread_id varchar(128), \
         msg_type char(1), direction char(1), body_len int, message_len int, body_string varchar(4000), message_string varchar(4000), \
         body_text text, message_text text, history_flag char(1))",
    );
    let insert = |values: &str| source.query(&format!("INSERT INTO jm VALUES ({values})"));
    let stanza = HI.trim_matches('"').replace("\"\"", "\"").replace('\'', "''");
    for (direction, second) in [("O", 1), ("I", 1), ("I", 2)] {
        insert(&format!(
            "'bob@h.example','alice@h.example/Jabber','2026-11-22 08:28:5{second}.5','','','c','{direction}',9,99,'','','hi, \"Bob\"','{stanza}','N'"
        ));
    }
    for direction in ["O", "I", "O", "I"] {
        insert(&format!("'bob@h.example','alice@h.example/Jabber','2026-11-22 08:30:00','','','c','{direction}',2,0,'ok','','','','N'"));
    }
    insert("'bob@h.example','alice@h.example/Jabber',NULL,'','','c','I',2,0,'no time','','','','N'");
    let archiver = archiver(Store::Postgres(server.new_database()));
    let url = source.url();
    for (added, refused) in [(3, 1), (0, 0)] {
        let told = import(&archiver, &["--source", "cisco-jm", "--url", &url, "--source-zone", "Europe/Berlin"]);
        assert_eq!((number(&told, "read"), number(&told, "added"), number(&told, "refused")), (8, added, refused), "{told}");
    }
    let ledger = ledger(&archiver);
    assert_eq!(
        (ledger.rows.len(), ledger.only("hi, \"Bob\"").sent_at, ledger.saying("ok").len()),
        (3, 1_795_332_531_500_000, 2),
        "{ledger}"
    );
}

#[test]
fn openfire_from_mariadb() {
    let server = Arc::new(MariaDb::start());
    let source = server.new_database();
    source.query(
        "CREATE TABLE ofMessageArchive (messageID BIGINT, conversationID BIGINT NOT NULL, fromJID VARCHAR(255) NOT NULL, fromJIDResource VARCHAR(100), \
         toJID VARCHAR(255) NOT NULL, toJIDResource VARCHAR(100), sentDate BIGINT NOT NULL, stanza TEXT, body TEXT, INDEX ofMessageArchive_sent_idx (sentDate))",
    );
    let insert = |values: &str| source.query(&format!("INSERT INTO ofMessageArchive VALUES ({values})"));
    let stanza = "<message from=\"alice@h.example/Spark\" to=\"bob@h.example\" type=\"chat\"><body>hi</body></message>";
    insert(&format!("1,1,'alice@h.example','Spark','bob@h.example',NULL,1795332535173,'{stanza}','hi'"));
    insert("2,1,'bob@h.example','Spark','alice@h.example','Spark',1795332535173,NULL,'ok'");
    insert("3,1,'bob@h.example','Spark','alice@h.example','Spark',1795332535173,NULL,'ok'");
    insert("4,2,'bob@h.example','Spark','talk@rooms.h.example','Bobby',1795332536000,NULL,'to all'");
    let archiver = archiver(Store::MariaDb(server.new_database()));
    let url = source.url();
    for added in [4, 0] {
        let told = import(&archiver, &["--source", "openfire", "--url", &url]);
        assert_eq!((number(&told, "read"), number(&told, "added"), number(&told, "refused")), (4, added, 0), "{told}");
    }
    let ledger = ledger(&archiver);
    assert_eq!(ledger.saying("ok").len(), 2, "{ledger}");
    assert_eq!((ledger.only("hi").stanza.as_str(), ledger.only("hi").sent_at), (stanza, 1_795_332_535_173_000));
    let room = ledger.only("to all");
    assert_eq!(
        (room.conversation.as_str(), room.sender.as_deref(), room.message_type),
        ("talk@rooms.h.example", Some("bob@h.example/Spark"), 2)
    );
}

/// A portable file with the archives of both people: each message is in it twice.
#[test]
fn xep_0227_from_a_file() {
    let result = |id: &str, body: &str| {
        format!(
            "<result xmlns='urn:xmpp:mam:2' id='{id}'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-11-22T07:28:55Z'/>\
             <message xmlns='jabber:client' from='alice@h.example/d' to='bob@h.example' type='chat'><body>{body}</body></message></forwarded></result>"
        )
    };
    let user = |name: &str| {
        let results: String = (0..300).map(|n| result(&format!("{name}{n}"), if n % 2 == 0 { "ok" } else { "yes" })).collect();
        format!("<user name='{name}'><archive xmlns='urn:xmpp:pie:0#mam'>{results}</archive></user>")
    };
    let text = format!("<server-data xmlns='urn:xmpp:pie:0'><host jid='h.example'>{}{}</host></server-data>", user("alice"), user("bob"));
    let (directory, archiver) = sqlite();
    let file = directory.write("all.xml", &text).display().to_string();
    for added in [300, 0] {
        let told = import(&archiver, &["--source", "xep0227", "--path", &file]);
        assert_eq!((number(&told, "read"), number(&told, "added"), number(&told, "known")), (600, added, 600 - added), "{told}");
    }
    assert_eq!(ledger(&archiver).size(), (300, 600));
}

/// Killed again and again in the middle, the same command goes on.
#[test]
fn killed_and_gone_on_with() {
    const ROWS: usize = 20_000;
    let (directory, archiver) = sqlite();
    let mut text = String::from("from_jid,to_jid,sent_date,msg_type,direction,body_string\n");
    for row in 0..ROWS {
        let second = row / 3;
        let time = format!("2026-11-22 {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        text.push_str(&format!("alice@h.example/d,bob@h.example,{time},c,O,line {}\n", row / 2));
    }
    let file = directory.write("jm.csv", &text).display().to_string();
    let arguments = ["import", "--source", "cisco-jm", "--path", &file, "--format", "json"];
    for part in 1..=3 {
        let mut process = archiver.begin(&arguments);
        let wanted = ROWS / 10 * part;
        let count = || archiver.store.query("SELECT COUNT(*) FROM messages").trim().parse::<usize>().ok();
        let stored = try_for(PATIENCE, || count().filter(|count| *count > wanted || !process.is_running()));
        assert!(stored.is_some_and(|stored| stored > wanted && stored < ROWS), "{stored:?} of {ROWS} in {PATIENCE:?}");
        process.kill();
    }
    let told = import(&archiver, &arguments[1..5]);
    assert!(number(&told, "read_before") > 0 && number(&told, "read") < ROWS as u64, "{told}");
    assert_eq!(ledger(&archiver).size(), (ROWS, ROWS), "{told}");
    let again = import(&archiver, &arguments[1..5]);
    assert_eq!((number(&again, "read"), number(&again, "added")), (ROWS as u64, 0), "{again}");
}
