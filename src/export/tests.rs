//! Exports of a small archive in every format: twice the same, stopped anywhere and resumed, and withheld where the counts disagree.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection as _, SqliteConnection};

use super::checkpoint::FILE as CHECKPOINT;
use super::series::Series;
use super::*;
use crate::retrieve::Archive;
use crate::store::{Backend, Connection, Endpoint, migrations};

const ROWS: &str = include_str!("../../tests/sql/views_rows.sql");
/// A room in which much is said on two days, with a correction of each tenth message.
const MUCH: &str = "
WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 12099)
INSERT INTO messages(id,sent_at,received_at,refers_to,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,direction,via,content_key,stanza_id,body,xml)
SELECT i, 1795332600000000 + i * 10000000, 1795332600000000, CASE WHEN i % 10 = 9 THEN i - 5 END,
 (SELECT id FROM conversation_names WHERE name = 'room@muc.a.example'), 1, 4, 0, 1, CASE WHEN i % 10 = 9 THEN 3 ELSE 1 END, 2, 3, 1, X'0102030405060708090a0b0c',
 's' || i, 'said as number ' || i, X'00' FROM n;
INSERT INTO gaps(id,node_id,from_at,to_at,reason,state,lost,found,known,changed_at) VALUES(1,1,1795332535000000,NULL,1,1,NULL,0,0,0);
";

/// A long answer that is sent as it grows: 23 corrections of 200 kB, each of which names the one before it.
const CHAIN: &str = "
WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 123)
INSERT INTO messages(id,sent_at,received_at,refers_to,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,direction,via,content_key,stanza_id,body,xml)
SELECT i, 1795332600000000 + i * 1000000, 1795332600000000, CASE WHEN i > 100 THEN i - 1 END,
 (SELECT id FROM conversation_names WHERE name = 'room@muc.a.example'), 1, 4, 0, 1, CASE WHEN i > 100 THEN 3 ELSE 1 END, 2, 3, 1, X'0102030405060708090a0b0c',
 's' || i, i || hex(zeroblob(100000)), X'00' FROM n;
";

fn archive(directory: &Path, more: &str) -> Archive {
    let path = directory.join("archive.db");
    let second = Duration::from_secs(30);
    let endpoint = Endpoint {
        name: "test".to_owned(),
        backend: Backend::Sqlite(path),
        tls_ca: None,
        connect_timeout: second,
        statement_timeout: second,
    };
    block_on(async {
        let mut connection = Connection::open(&endpoint).await.unwrap();
        migrations::up(&mut connection, None).await.unwrap();
        for sql in [ROWS, more] {
            connection.batch(sql).await.unwrap();
        }
        Archive::open(&endpoint, 2).await.unwrap()
    })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn export(format: Format) -> Export {
    Export { format, reason: Some("a test".to_owned()), with_xml: true, ..Export::new("test", "Ann") }
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A finished export of the small archive, and what keeps it.
pub(super) fn produced_for_a_test() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    let path = directory.path().join("out");
    block_on(produce(&archive, export(Format::Jsonl), &path, &go_on)).unwrap();
    (directory, path)
}

/// All files with what they hold; of the manifest what does not tell the time.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            let mut bytes = std::fs::read(&path).unwrap();
            if name == "manifest.json" {
                let mut manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                manifest["made"] = serde_json::Value::Null;
                bytes = manifest.to_string().into_bytes();
            }
            if name != "SHA256SUMS" {
                files.insert(name, bytes);
            }
        }
    }
    files
}

#[test]
fn the_same_archive_gives_the_same_bytes_in_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    for format in Format::ALL {
        let made = |name: &str| {
            let path = directory.path().join(format!("{format:?}-{name}"));
            let produced = block_on(produce(&archive, export(format), &path, &go_on)).unwrap();
            assert_eq!(produced.messages, 16, "{format:?}");
            assert!(!partial(&path).exists());
            files(&path)
        };
        let one = made("one");
        assert_eq!(one.keys().collect::<Vec<_>>(), made("two").keys().collect::<Vec<_>>());
        assert!(one == made("three"), "{format:?}");
        assert!(!one.keys().any(|name| name.starts_with('.')), "{:?}", one.keys());
    }
}

#[test]
fn an_export_that_was_stopped_anywhere_ends_with_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), MUCH);
    for format in [Format::Jsonl, Format::Html, Format::Rsmf, Format::Dat, Format::Pdf] {
        let whole = directory.path().join(format!("{format:?}-whole"));
        let produced = block_on(produce(&archive, export(format), &whole, &go_on)).unwrap();
        assert_eq!(produced.messages, 12_016);
        let parts = directory.path().join(format!("{format:?}-parts"));
        let (stops, looks) = (AtomicU64::new(0), AtomicU64::new(0));
        let stop_each_third = |_: Progress| {
            let look = looks.fetch_add(1, Ordering::Relaxed);
            if look % 3 == 2 && look < 30 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut outcome = block_on(produce(&archive, export(format), &parts, &stop_each_third));
        while let Err(ExportError::Stopped(part)) = &outcome {
            assert!(part.exists() && !parts.exists());
            stops.fetch_add(1, Ordering::Relaxed);
            outcome = block_on(resume(&archive, &parts, &stop_each_third));
        }
        outcome.unwrap();
        assert!(stops.into_inner() > 1, "{format:?}");
        let (whole, parts) = (files(&whole), files(&parts));
        assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
        for (name, bytes) in &whole {
            assert!(parts[name] == *bytes, "{format:?} {name}");
        }
    }
}

#[test]
fn a_chain_of_corrections_is_held_once_and_told_within_a_bound() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), CHAIN);
    let query = crate::retrieve::Query { newer_than: Some(99), ..Default::default() };
    let asked = Export { query, ..export(Format::Jsonl) };
    let mut walk = walk::Walk::new(&archive, &asked, checkpoint::Place::default()).unwrap();
    let mut items = Vec::new();
    while let Some((unit, _)) = block_on(walk.next()).unwrap() {
        items.extend(unit.items);
    }
    // The eleventh of 200 kB each exceeds 2 MiB.
    for (at, item) in items.iter().enumerate() {
        let after: Vec<i64> = item.amendments.iter().map(|amendment| amendment.id).collect();
        let first = 101 + at as i64;
        assert_eq!(after, (first..124).take(11).collect::<Vec<_>>());
        assert_eq!(item.amendments_cut, at < 12, "{at}");
    }
    assert_eq!(items.len(), 24);
    assert!(std::sync::Arc::ptr_eq(&items[0].amendments[1], &items[1].amendments[0]));
    let [whole, parts] = ["whole", "parts"].map(|name| directory.path().join(name));
    block_on(produce(&archive, asked.clone(), &whole, &go_on)).unwrap();
    let stop_in_it = |now: Progress| if (1..24).contains(&now.messages) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(matches!(block_on(produce(&archive, asked, &parts, &stop_in_it)), Err(ExportError::Stopped(_))));
    block_on(resume(&archive, &parts, &go_on)).unwrap();
    assert!(files(&whole) == files(&parts));
}

#[test]
fn an_export_that_does_not_add_up_is_withheld() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    let path = directory.path().join("out");
    let stop_at_the_check = |now: Progress| if now.stage == Stage::Checking { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let outcome = block_on(produce(&archive, export(Format::Jsonl), &path, &stop_at_the_check));
    assert!(matches!(outcome, Err(ExportError::Stopped(_))), "{outcome:?}");
    let file = partial(&path).join("messages.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen('\n', " ", 1)).unwrap();
    for _ in 0..2 {
        let outcome = block_on(resume(&archive, &path, &go_on));
        assert!(matches!(outcome, Err(ExportError::Withheld { expected: 16, written: 16, read_back: 14, .. })), "{outcome:?}");
        assert!(!path.exists() && partial(&path).exists());
    }
    assert!(matches!(block_on(produce(&archive, export(Format::Jsonl), &path, &go_on)), Err(ExportError::Unfinished(_))));
}

#[test]
fn the_manifest_accounts_for_all() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), MUCH);
    let path = directory.path().join("out");
    let query = crate::retrieve::Query { room: Some("room@muc.a.example".to_owned()), ..Default::default() };
    block_on(produce(&archive, Export { query, ..export(Format::Csv) }, &path, &go_on)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(path.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["checked"]["query_finds"], 12_004);
    assert_eq!(manifest["counts"]["by_kind"]["correction"], 1_200);
    assert_eq!(manifest["counts"]["corrected"], 1_200);
    assert_eq!((&manifest["by"], &manifest["reason"]), (&"Ann".into(), &"a test".into()));
    assert_eq!(manifest["may_be_missing"]["gaps"][0]["reason"], "connection-lost");
    assert_eq!(manifest["query"]["room"], "room@muc.a.example");
    assert_eq!(manifest["query"]["newest"], 12_099);
    assert_eq!(manifest["files"].as_array().unwrap().len(), 1);
    let checked =
        std::process::Command::new("sha256sum").args(["--check", "--quiet", "--strict", "SHA256SUMS"]).current_dir(&path).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_series_holds_every_message_once() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    let series = directory.path().join("series");
    let add = |export: Export, watch: Watch<'_>| {
        let alone = Series::open(&series)?;
        assert!(matches!(Series::open(&series), Err(ExportError::Busy(_))), "nobody else adds meanwhile");
        block_on(series::add(&archive, export, &alone, watch))
    };
    assert_eq!(add(export(Format::Jsonl), &go_on).unwrap().unwrap().messages, 16);
    assert_eq!(add(export(Format::Jsonl), &go_on).unwrap(), None);
    let mut connection = SqliteConnection::establish(directory.path().join("archive.db").to_str().unwrap()).unwrap();
    connection.batch_execute(MUCH).unwrap();
    let stop_at_the_check = |now: Progress| if now.stage == Stage::Checking { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(matches!(add(export(Format::Jsonl), &stop_at_the_check), Err(ExportError::Stopped(_))));
    assert!(matches!(add(export(Format::Csv), &go_on), Err(ExportError::Refused(_))), "the format changed");
    // Who asks may change, and the one that was stopped is finished.
    let produced = add(Export { by: "Bo".to_owned(), ..export(Format::Jsonl) }, &go_on).unwrap().unwrap();
    assert_eq!(produced.messages, 12_000);
    assert_eq!(produced.directory.file_name().unwrap(), "000000000000018-000000000012099");
    let mut lines: Vec<String> = Vec::new();
    for (name, bytes) in files(&series).iter().filter(|(name, _)| name.ends_with(".jsonl")) {
        assert!(name.starts_with("0000000000000"), "{name}");
        lines.extend(String::from_utf8(bytes.clone()).unwrap().lines().map(str::to_owned));
    }
    assert_eq!((lines.len(), lines.iter().collect::<std::collections::HashSet<_>>().len()), (12_016, 12_016));
    std::fs::remove_dir_all(series.join("000000000000001-000000000000017")).unwrap();
    assert!(matches!(add(export(Format::Jsonl), &go_on), Err(ExportError::Refused(said)) if said.contains("missing")));
}

/// What is stored into a database that was restored gets numbers that the series has looked at.
#[test]
fn a_series_does_not_go_on_with_a_store_that_was_restored() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    let path = directory.path().join("series");
    let database = directory.path().join("archive.db");
    let run = |sql: &str| SqliteConnection::establish(database.to_str().unwrap()).unwrap().batch_execute(sql).unwrap();
    let add_until = |watch: Watch<'_>| block_on(series::add(&archive, export(Format::Jsonl), &Series::open(&path).unwrap(), watch));
    let add = || add_until(&go_on);
    let said = |id: i64, at: i64| {
        run(&format!(
            "INSERT INTO messages(id,sent_at,received_at,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,direction,via,content_key,body,xml)
             VALUES({id},{at},{at},2,5,4,0,1,1,2,1,1,X'00','said',X'00')"
        ));
    };
    let refused = |outcome: Result<Option<Produced>, ExportError>, with: &str| match outcome {
        Err(ExportError::Refused(said)) => assert!(said.contains(with) && said.contains("begin a new series"), "{said}"),
        other => panic!("{other:?}"),
    };
    said(18, 1_000);
    assert_eq!(add().unwrap().unwrap().messages, 17);
    run("DELETE FROM messages WHERE id = 18");
    refused(add(), "up to number 18, and the store has them up to 17 only");
    said(18, 2_000);
    refused(add(), "does not have the one that had this number");
    said(19, 2_000);
    refused(add(), "does not have the one that had this number");
    // A series that an earlier version began goes on, and is watched from then on.
    std::fs::remove_file(path.join(".newest")).unwrap();
    assert_eq!(add().unwrap().unwrap().messages, 1);
    said(20, 3_000);
    let stop_at_the_check = |now: Progress| if now.stage == Stage::Checking { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(matches!(add_until(&stop_at_the_check), Err(ExportError::Stopped(_))));
    run("UPDATE messages SET received_at = 4000 WHERE id = 20");
    refused(add(), "does not have the one that had this number");
    run("UPDATE messages SET received_at = 3000 WHERE id = 20");
    assert_eq!(add().unwrap().unwrap().messages, 1, "what was broken off is finished in the same store");
    assert_eq!(add().unwrap(), None);
}

/// A process that dies between the end of an export and its row in the audit trail leaves no export that the trail does not know.
#[test]
fn what_nobody_was_told_of_is_told_with_the_next_turn() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    let path = directory.path().join("series");
    let add = || block_on(series::add(&archive, export(Format::Jsonl), &Series::open(&path).unwrap(), &go_on)).unwrap();
    let first = add().unwrap();
    assert_eq!(daily::untold(&path).unwrap(), std::slice::from_ref(&first));
    daily::note_told(&path, &[first]).unwrap();
    assert_eq!(daily::untold(&path).unwrap(), []);
    SqliteConnection::establish(directory.path().join("archive.db").to_str().unwrap()).unwrap().batch_execute(MUCH).unwrap();
    let second = add().unwrap();
    assert_eq!(daily::untold(&path).unwrap(), [second]);
}

/// A message of a room of which one person's copy is stored only after its turn, as when it waited in a node's queue.
#[test]
fn a_message_that_matches_by_a_later_copy_is_in_the_next_export_and_in_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    let path = directory.path().join("series");
    let database = directory.path().join("archive.db");
    let run = |sql: &str| SqliteConnection::establish(database.to_str().unwrap()).unwrap().batch_execute(sql).unwrap();
    let someone = crate::retrieve::Pattern::Jid("late@b.example".to_owned());
    let people = vec![crate::retrieve::People { side: crate::retrieve::Side::Any, any: vec![someone] }];
    let asked = || Export { query: crate::retrieve::Query { people: people.clone(), ..Default::default() }, ..export(Format::Csv) };
    let add = || block_on(series::add(&archive, asked(), &Series::open(&path).unwrap(), &go_on)).unwrap();
    let numbers = |produced: &Produced| std::fs::read_to_string(produced.directory.join("numbers.txt")).unwrap();
    let said = |id: i64, recipient: &str| {
        run(&format!(
            "INSERT INTO messages(id,sent_at,received_at,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,direction,via,content_key,body,xml)
             VALUES({id},1795332600000000,1795332600000000,2,5,4,0,1,1,2,1,1,X'00','said',X'00');
             INSERT INTO deliveries(message_id,at,seq,recipient_id,node_id,direction,source,send_no) VALUES({id},1,0,{recipient},1,2,7,1)"
        ));
    };
    run("INSERT INTO jids(id,jid) VALUES(99,'late@b.example')");
    said(18, "99");
    let first = add().unwrap();
    assert_eq!((first.messages, numbers(&first).as_str()), (1, "18\n"));
    for (message, recipient) in [(9, 99), (15, 99), (15, 99), (16, 98)] {
        run(&format!(
            "INSERT INTO deliveries(message_id,at,seq,recipient_id,node_id,direction,source,send_no) VALUES({message},2,(SELECT MAX(seq) + 1 FROM
             deliveries WHERE message_id = {message}),{recipient},1,2,4,1)"
        ));
    }
    assert_eq!(add(), None, "the next export brings them, and there is none before there is a new message");
    said(19, "98");
    let second = add().unwrap();
    assert_eq!((second.messages, numbers(&second).as_str()), (2, "9\n15\n"));
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(second.directory.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["query"]["late"], serde_json::json!([9, 15]));
    assert_eq!(verify::verify(&second.directory).unwrap().wrong, 0);
    said(20, "99");
    let third = add().unwrap();
    assert_eq!((third.messages, numbers(&third).as_str()), (1, "20\n"), "nothing comes twice");
}

/// As when a copy came between the count and the walk.
#[test]
fn one_of_a_series_that_does_not_add_up_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    let path = directory.path().join("series");
    let add = |watch: Watch<'_>| block_on(series::add(&archive, export(Format::Jsonl), &Series::open(&path).unwrap(), watch));
    let stop_at_the_check = |now: Progress| if now.stage == Stage::Checking { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(matches!(add(&stop_at_the_check), Err(ExportError::Stopped(_))));
    let checkpoint = path.join(".000000000000001-000000000000017.part").join(CHECKPOINT);
    let mut told: serde_json::Value = serde_json::from_slice(&std::fs::read(&checkpoint).unwrap()).unwrap();
    assert_eq!(told["total"], 16);
    told["total"] = 15.into();
    std::fs::write(&checkpoint, told.to_string()).unwrap();
    assert_eq!(add(&go_on).unwrap().unwrap().messages, 16);
    assert_eq!(add(&go_on).unwrap(), None);
    let names = std::fs::read_dir(path.join("000000000000001-000000000000017")).unwrap();
    let hidden = names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count();
    assert_eq!(hidden, 0, "neither lock nor checkpoint stays");
}

/// A server runs it beside its other work.
#[test]
fn a_thread_may_hand_it_to_another() {
    fn is_send(_: impl Send) {}
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    is_send(produce(&archive, export(Format::Pdf), directory.path(), &go_on));
    is_send(resume(&archive, directory.path(), &go_on));
    let series = Series::open(directory.path()).unwrap();
    is_send(series::add(&archive, export(Format::Eml), &series, &go_on));
}

#[test]
fn what_can_not_be_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let archive = archive(directory.path(), "");
    let path = directory.path().join("out");
    assert!(matches!(block_on(resume(&archive, &path, &go_on)), Err(ExportError::NothingToResume(_))));
    let zone = Export { zone: "Mars/Olympus".to_owned(), ..export(Format::Csv) };
    assert!(matches!(block_on(produce(&archive, zone, &path, &go_on)), Err(ExportError::Refused(_))));
    let font = Export { fonts: vec!["/nowhere.ttf".into()], ..export(Format::Pdf) };
    assert!(matches!(block_on(produce(&archive, font, &path, &go_on)), Err(ExportError::Refused(_))));
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(block_on(produce(&archive, export(Format::Csv), &path, &go_on)), Err(ExportError::Exists(_))));
}
