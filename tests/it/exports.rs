//! Exports read back by other people's tools (`exports/check.py`) and held against schemas (`exports/schema.py`): what was captured from
//! real servers, and what people would write who want to break an export; and exports that are killed.

mod daily;
mod s3;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use xmpp_archiver::demo::corpus::{COMPONENT, Corpus, HOST, ROOMS};
use xmpp_archiver::time::{SECOND, now};

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::capture::Capture;
use crate::support::played::Played;
use crate::support::process::{Directory, Process, run, wait_for};

const FORMATS: [&str; 9] = ["jsonl", "csv", "eml", "mbox", "html", "pdf", "rsmf", "dat", "xml"];
const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/exports/check.py");
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/exports/schema.py");

/// Exports everything in a format and has it read back.
fn read_back(archiver: &Archiver, directory: &Directory, format: &str, arguments: &[&str]) {
    let truth = directory.write("truth.jsonl", &archiver.must(&["search", "--format", "jsonl", "--limit", "1000000"]));
    let out = directory.path().join(format);
    let out_text = out.to_str().expect("UTF-8");
    let mut all = vec!["export", "--format", format, "--output-dir", out_text];
    all.extend(arguments);
    archiver.must(&all);
    check(format, &out, &truth);
}

fn check(format: &str, out: &Path, truth: &Path) {
    let mut python = Command::new("python3");
    python.arg(CHECK).arg(format).arg(out).arg(truth);
    run(python);
    if ["rsmf", "xml"].contains(&format) {
        run(schema("check", format, out, Some(truth)));
    }
}

/// Holds an export against the schema of its format. Debian's own Python: it is the one that finds Debian's packages.
fn schema(what: &str, format: &str, out: &Path, truth: Option<&Path>) -> Command {
    let mut python = Command::new("/usr/bin/python3");
    python.arg(SCHEMA).args([what, format]).arg(out).args(truth);
    python
}

/// A week of a small firm has all that the schemas speak of: rooms that people join, corrections, reactions, answers, receipts.
#[test]
fn every_mistake_is_one_by_the_schemas() {
    let mut node = Played::new("node", COMPONENT, HOST, ROOMS, "ejabberd");
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    archiver.start();
    node.accept();
    let corpus = Corpus::new(now() - 3_600 * SECOND, SECOND / 10);
    node.mirror(&corpus.lines().iter().map(|line| line.xml.as_str()).collect::<Vec<_>>());
    archiver.wait_until_stored();
    archiver.stop();
    let directory = Directory::new(None);
    for format in ["rsmf", "xml"] {
        read_back(&archiver, &directory, format, &[]);
        run(schema("mistakes", format, &directory.path().join(format), None));
    }
}

/// Has a capture archived, and every format of it read back.
fn capture_comes_back(folder: &str, scenario: &str) {
    let capture = Capture::load(folder, scenario);
    let mut node = Played::of(&capture);
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    archiver.start();
    node.accept();
    node.mirror(&capture.lines);
    archiver.wait_until_stored();
    archiver.stop();
    let archived = archiver.search();
    // What stands beside an encrypted body says only that it is encrypted.
    for said in capture.said.iter().filter(|said| !said.lines.is_empty() && !said.xml.contains("<encrypted")) {
        let is_there = |row: &Value| row["body"].as_str() == said.body.as_deref().filter(|body| !body.is_empty());
        assert!(archived.iter().any(is_there), "{:?} is not archived", said.body);
    }
    let directory = Directory::new(None);
    for format in FORMATS {
        read_back(&archiver, &directory, format, &["--reason", "read back"]);
    }
}

/// Bob retracts and corrects what Alice wrote, and takes his forged correction back: nothing of it happened to her message.
#[test]
fn nobody_deletes_or_edits_what_somebody_else_wrote() {
    let mut node = Played::new("node", "archive.example", "example.com", "muc.example.com", "prosody");
    let mut archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    archiver.start();
    node.accept();
    let says = |id: &str, from: &str, to: &str, content: &str| {
        format!(
            "<message to='archive.example' from='example.com' id='f{id}'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='{from}@example.com/a' to='{to}@example.com' type='chat' id='{id}'>{content}</message>\
             </forwarded></message>"
        )
    };
    let retracts = |id: &str| format!("<retract xmlns='urn:xmpp:message-retract:1' id='{id}'/>");
    let corrects = |id: &str| format!("<body>something else</body><replace xmlns='urn:xmpp:message-correct:0' id='{id}'/>");
    node.mirror(&[
        says("m1", "alice", "bob", "<body>a promise</body>"),
        says("m2", "bob", "alice", &retracts("m1")),
        says("m3", "bob", "alice", &corrects("m1")),
        says("m4", "bob", "alice", &retracts("m3")),
        says("m5", "alice", "bob", "<body>another</body>"),
        says("m6", "alice", "bob", &corrects("m5")),
    ]);
    archiver.wait_until_stored();
    archiver.stop();
    let directory = Directory::new(None);
    for format in FORMATS {
        read_back(&archiver, &directory, format, &[]);
    }
    let manifest = std::fs::read(directory.path().join("dat/manifest.json")).expect("a manifest");
    let counts = serde_json::from_slice::<Value>(&manifest).expect("JSON")["counts"].clone();
    // Bob's correction is a message of its own, which he did retract.
    let counted = ["corrected", "retracted", "changed_without_effect", "author_mismatch"].map(|name| counts[name].as_u64());
    assert_eq!(counted, [Some(1), Some(1), Some(1), Some(2)], "{counts}");
    let table = std::fs::read_to_string(directory.path().join("dat/loadfile.dat")).expect("a load file");
    let promise = table.lines().find(|line| line.contains("þa promiseþ")).expect("what Alice wrote");
    assert!(promise.contains("þNþ\u{14}þNþ") && promise.contains("3 changes without effect"), "{promise}");
}

/// Makes a test of each capture.
macro_rules! captures {
    ($module:ident: $folder:literal, $($scenario:ident)+) => {
        mod $module {
            $(#[test] fn $scenario() { super::capture_comes_back($folder, stringify!($scenario)); })+
        }
    };
}

captures!(ejabberd: "ejabberd-servicelog", b2_fork3_carbons d_reply_full_thread e_muc_permanent g_muc_pm j_edit_retract_react k_errors l_unicode_big);
captures!(prosody: "prosody-fwforward", e_muc_permanent j_edit_retract_react k_errors l_unicode_big);

/// An archive that was never attached to a node, filled by its owner.
fn filled(sql: &[String]) -> Archiver {
    let node = Played::new("node", "archive.example", "example.com", "muc.example.com", "prosody");
    let archiver = Archiver::for_played(StoreKind::Sqlite, "", &[&node]);
    archiver.must(&["migrate", "up"]);
    let people = "INSERT INTO nodes(id,name) VALUES(1,'node');
        INSERT INTO jids(id,jid) VALUES(1,'alice@example.com'),(2,'bob@example.com'),(3,'room@muc.example.com'),(4,'élise@bücher.example');
        INSERT INTO conversation_names(id,kind,first_id,second_id,name) VALUES(1,1,1,2,'alice@example.com bob@example.com'),
          (2,2,3,NULL,'room@muc.example.com'),(3,1,1,4,'alice@example.com élise@bücher.example');";
    archiver.store.query(people);
    sql.iter().for_each(|sql| _ = archiver.store.query(sql));
    archiver
}

const COLUMNS: &str = "INSERT INTO messages(id,sent_at,received_at,refers_to,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,\
     direction,via,content_key,sender_resource,sender_nick,stanza_id,subject,body,xml)";

/// A text as SQL whatever it holds.
fn literal(text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("CAST(X'{hex}' AS TEXT)")
}

const HOSTILE: [&str; 16] = [
    "<script>alert(1)</script><img src=x onerror=alert(1)><article id=\"m1\">",
    "From alice Sun Nov 22 07:28:55 2026\nFrom bob\n>From carol\n\n.\n",
    "=HYPERLINK(\"http://evil.example\")\n@SUM(1)\n+1\n-1\t\"quoted\",\r\n;",
    "þ\u{14}®\n\r\rþ,\u{14}þ",
    "NUL \0 and \u{1}\u{8}\u{b}\u{1b}[31m\u{7f}\u{85}\u{9b}\u{fffe}\u{ffff} end",
    "שלום עולם, hello (1) مرحبا\u{202e}evil\u{202c} \u{2066}x\u{2069}",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u{301}\u{327} 你好，世界。こんにちは 안녕 ไทย हिन्दी \u{10ffff}",
    "]]></Content><Message><MessageId>9</MessageId></Message><![CDATA[&amp;&#0;",
    "--=mixed=00\r\nContent-Disposition: attachment; filename=\"messages.jsonl\"\r\n\r\ne30K\r\n--=mixed=00--",
    "12:00:00.000000 x 9 forged\n\"}\n{\"id\":9}",
    "\n\n\n",
    " ",
    "trailing space \nand\ttab",
    "\u{2028}line\u{2029}paragraph\u{200f}\u{feff}",
    "C:\\path\\to%00{{7*7}}${jndi:ldap://x}",
    "ends in the middle of a surrogate? \u{fffd}",
];

#[test]
fn whatever_people_write_comes_back() {
    let mut sql = Vec::new();
    for (at, body) in HOSTILE.iter().enumerate() {
        let (id, conversation) = (at + 1, at % 3 + 1);
        let sent_at = 1_795_332_535_173_794_i64 + at as i64 * 7_200_000_000;
        let (text, nick) = (literal(body), if conversation == 2 { literal(body) } else { "NULL".to_owned() });
        let subject = if at % 5 == 4 { text.clone() } else { "NULL".to_owned() };
        sql.push(format!(
            "{COLUMNS} VALUES({id},{sent_at},{sent_at},NULL,{conversation},{},{},0,1,1,1,3,1,X'00',{text},{nick},{text},{subject},{text},X'00');
             INSERT INTO deliveries(message_id,seq,recipient_id,node_id,direction,source,send_no,at,resource) VALUES({id},0,2,1,2,1,1,{sent_at},{text})",
            if conversation == 2 { "NULL" } else { "1" },
            conversation + 1,
        ));
    }
    let long = "replace(hex(zeroblob(100000)), '00', 'x ')";
    let unbroken = "replace(hex(zeroblob(100000)), '00', '你x')";
    for (id, text) in [(101, long), (102, unbroken)] {
        sql.push(format!("{COLUMNS} VALUES({id},1795332535173794,0,NULL,1,1,2,0,1,1,1,3,1,X'00',NULL,NULL,NULL,NULL,{text},X'00')"));
    }
    let archiver = filled(&sql);
    let directory = Directory::new(None);
    for format in FORMATS {
        read_back(&archiver, &directory, format, &[]);
    }
}

/// Every file of an export but those that tell when it was made. What begins with a dot is no part of it: a process that is killed as it gives an
/// export its name leaves its lock and its checkpoint there.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if !["manifest.json", "SHA256SUMS", ".lock", ".checkpoint.json"].iter().any(|name| entry.ends_with(name)) {
                let name = entry.strip_prefix(directory).expect("below").to_owned();
                found.insert(name, std::fs::read(&entry).expect("a file"));
            }
        }
    }
    found
}

/// 30,000 messages in three conversations over many days, every twentieth a correction of an earlier one.
fn much() -> Archiver {
    let many = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
         {COLUMNS} SELECT i, 1795332535173794 + i * 20000000, 0, CASE WHEN i % 20 = 0 THEN i - 3 END, 1 + i % 3, 1, 2, 0, 1, CASE WHEN i % 20 = 0 THEN 3 ELSE 1 END,
         1, 3, 1, X'00', 'desk', NULL, 's' || i, NULL, 'message number ' || i || ' says this', X'00' FROM n"
    );
    filled(&[many])
}

/// Kills an export whenever it has written down how far it is, and goes on with it.
fn killed_and_resumed(format: &str) {
    let archiver = much();
    let directory = Directory::new(None);
    let (whole, parts) = (directory.path().join("whole"), directory.path().join("parts"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    archiver.must(&["export", "--format", format, "--output-dir", &text(&whole)]);
    let checkpoint = directory.path().join(".parts.part/.checkpoint.json");
    let mut process = archiver.begin(&["export", "--format", format, "--output-dir", &text(&parts)]);
    for _ in 0..3 {
        let before = std::fs::read(&checkpoint).ok();
        wait_for("the export to come further", || {
            let has_ended = parts.exists() || !process.is_running();
            let now = std::fs::read(&checkpoint).ok();
            (has_ended || (now.is_some() && now != before)).then_some(())
        });
        process.kill();
        if parts.exists() {
            break;
        }
        process = archiver.begin(&["export", "--resume", "--output-dir", &text(&parts)]);
    }
    wait_for("the export to end", || (!process.is_running()).then_some(()));
    assert!(parts.exists(), "there is no export");
    let (whole, parts) = (files(&whole), files(&parts));
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    assert!(whole.iter().all(|(name, bytes)| parts[name] == *bytes), "the bytes differ");
}

#[test]
fn a_killed_export_of_lines_ends_with_the_same_bytes() {
    killed_and_resumed("jsonl");
}

#[test]
fn a_killed_export_of_mails_ends_with_the_same_bytes() {
    killed_and_resumed("eml");
}

/// Begins an export and returns when it has counted and begins to write.
fn begun(archiver: &Archiver, directory: &Directory, format: &str) -> Process {
    let out = directory.path().join("out");
    let process = archiver.begin(&["export", "--format", format, "--output-dir", out.to_str().expect("UTF-8")]);
    wait_for("the export to begin", || directory.path().join(".out.part/.checkpoint.json").exists().then_some(()));
    process
}

#[test]
fn what_is_captured_meanwhile_is_not_in_it() {
    let archiver = much();
    let directory = Directory::new(None);
    let truth = directory.write("truth.jsonl", &archiver.must(&["search", "--format", "jsonl", "--limit", "1000000"]));
    let mut process = begun(&archiver, &directory, "dat");
    archiver
        .store
        .query(&format!("{COLUMNS} VALUES(30001,1795332535173794,0,NULL,3,1,2,0,1,1,1,3,1,X'00',NULL,NULL,NULL,NULL,'late',X'00')"));
    wait_for("the export to end", || (!process.is_running()).then_some(()));
    check("dat", &directory.path().join("out"), &truth);
}

/// Something is not there any more that the query had found.
#[test]
fn an_export_that_does_not_add_up_is_withheld() {
    let archiver = much();
    let directory = Directory::new(None);
    begun(&archiver, &directory, "jsonl").kill();
    let (out, part) = (directory.path().join("out"), directory.path().join(".out.part"));
    assert!(!out.exists(), "the export was too fast to be broken off");
    archiver.store.query("DELETE FROM messages WHERE id = 29999");
    let out_text = out.to_str().expect("UTF-8");
    let output = archiver.command(&["export", "--resume", "--output-dir", out_text]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("withheld: the query finds 30000 messages, 29999 were written, and 29999 are in the files"), "{said}");
    assert!(part.exists() && !out.exists());
    let output = archiver.command(&["export", "--output-dir", out_text]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_series_goes_on_where_the_last_export_ended() {
    let archiver = much();
    let directory = Directory::new(None);
    let series = directory.path().join("series");
    let add = || archiver.must(&["export", "--series", "--format", "csv", "--output-dir", series.to_str().expect("UTF-8")]);
    add();
    archiver
        .store
        .query(&format!("{COLUMNS} VALUES(30001,1795332535173794,0,NULL,3,1,2,0,1,1,1,3,1,X'00',NULL,NULL,NULL,NULL,'late',X'00')"));
    add();
    add();
    let names = std::fs::read_dir(&series).expect("the series").map(|entry| entry.expect("an entry").file_name());
    let mut exports: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).filter(|name| !name.starts_with('.')).collect();
    exports.sort_unstable();
    assert_eq!(exports, ["000000000000001-000000000030000", "000000000030001-000000000030001"]);
    let truth = directory.write("truth.jsonl", &archiver.must(&["search", "--id", "30001", "--format", "jsonl"]));
    check("csv", &series.join("000000000030001-000000000030001"), &truth);
}

#[test]
fn every_database_gives_the_same_export() {
    let capture = Capture::load("ejabberd-servicelog", "j_edit_retract_react");
    for store in [StoreKind::Postgres, StoreKind::MariaDb] {
        let mut node = Played::of(&capture);
        let mut archiver = Archiver::for_played(store, "", &[&node]);
        archiver.start();
        node.accept();
        node.mirror(&capture.lines);
        archiver.wait_until_stored();
        archiver.stop();
        let directory = Directory::new(None);
        for format in ["jsonl", "rsmf", "xml"] {
            read_back(&archiver, &directory, format, &[]);
        }
    }
}
