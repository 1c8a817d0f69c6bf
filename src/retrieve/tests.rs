//! One list of questions and answers, the same on every database: the rows of `tests/sql/views_rows.sql` and a few more.
//!
//! On SQLite it always runs. For the servers name the URL of an empty database that the test may fill.

mod large;

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection as _, SqliteConnection};

use super::*;
use crate::message::address::Address;
use crate::store::{Backend, Connection, migrations, search};
use crate::time::{Micros, SECOND};

/// When message 0 would have been sent: message n is n seconds later.
const START: Micros = 1_795_332_535_173_794;
const NOTHING: [i64; 0] = [];
const ROOM: &str = "room@muc.a.example";
const ROWS: &str = include_str!("../../tests/sql/views_rows.sql");
/// What the views don't tell: texts in two cases, names, bounces, an original stanza.
const MORE_ROWS: &str = "
INSERT INTO message_keys(message_id,by_id,kind,key,value) VALUES(2,4,1,X'010101010101010101010101','sid2');
INSERT INTO message_keys(message_id,by_id,kind,key,value) VALUES(9,4,1,X'020202020202020202020202','1795332544000000');
INSERT INTO message_keys(message_id,by_id,kind,key,value) VALUES(9,NULL,2,X'030303030303030303030303','ref9');
INSERT INTO bounces(id,message_id,at,from_id,to_id,node_id,stanza_id,condition,text,xml) VALUES(1,5,1795332540200000,5,1,1,'id5','service-unavailable',NULL,X'00');
INSERT INTO messages(id,sent_at,received_at,refers_to,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,direction,via,content_key,stanza_id,origin_id,subject,body,detail,refers_to_id,xml) VALUES(18,1795332553173794,1795332553173799,1,1,1,2,642,1,3,1,3,1,X'0102030405060708090a0b0c','id18',NULL,'Ihre GRÖSSE','100% o''k_ ПРИВЕТ 你好','{\"a\":1}','id1',X'003c613e68693c2f613e');
INSERT INTO messages(id,sent_at,received_at,refers_to,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,direction,via,content_key,stanza_id,origin_id,subject,body,xml) VALUES(19,1795332553173794,1795332553173799,NULL,1,1,2,0,1,1,1,3,1,X'0102030405060708090a0b0c','id18 ','o19',NULL,'\u{212a} 1000 ok_',X'00');
";

fn endpoint(backend: Backend) -> Endpoint {
    let second = Duration::from_secs(30);
    Endpoint { name: "test".to_owned(), backend, tls_ca: None, connect_timeout: second, statement_timeout: second }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The numbers of what a query finds.
async fn ids(archive: &Archive, query: Query) -> Vec<i64> {
    archive.search(&query).await.unwrap().messages.iter().map(|message| message.id).collect()
}

fn query() -> Query {
    Query::default()
}

async fn every_filter(archive: &Archive) {
    let all: Vec<i64> = (1..=19).filter(|id| *id != 10).collect();
    assert_eq!(ids(archive, query()).await, all);
    let everything: Vec<i64> = (1..=19).collect();
    assert_eq!(ids(archive, Query { all: true, ..query() }).await, everything);
    assert_eq!(ids(archive, Query { kinds: vec![10, 6], ..query() }).await, [10, 12]);
    assert_eq!(ids(archive, Query { room: Some("room@muc.a.example".into()), ..query() }).await, [2, 3, 9, 15]);
    assert_eq!(ids(archive, Query { room: Some("none@muc.a.example".into()), ..query() }).await, NOTHING);
    let name = Some("alice@a.example zed@remote.example".to_owned());
    assert_eq!(ids(archive, Query { conversation: name.clone(), ..query() }).await, [5, 16]);
    assert_eq!(ids(archive, Query { conversation: name, room: Some("room@muc.a.example".into()), ..query() }).await, NOTHING);
    let (from, to) = (Some(START + 3 * SECOND), Some(START + 5 * SECOND));
    assert_eq!(ids(archive, Query { from, to, ..query() }).await, [3, 4]);
    assert_eq!(ids(archive, Query { from, to, order: Order::Descending, ..query() }).await, [4, 3]);
    assert_eq!(ids(archive, Query { from: to, to: from, ..query() }).await, NOTHING);
    assert_eq!(ids(archive, Query { refers_to: vec![1, 2], ..query() }).await, [12, 18]);
}

async fn people(archive: &Archive) {
    for (people, expected) in [
        (vec!["zed@remote.example"], vec![4, 5, 15, 16]),
        (vec!["carol@a.example/pad"], vec![2, 15]),
        (vec!["carol@a.example", "alice@a.example"], vec![2]),
        (vec!["bob@a.example", "zed@remote.example"], vec![4, 15]),
        (vec!["room@muc.a.example"], vec![2, 3, 9, 15]),
        (vec!["nobody@a.example"], vec![]),
        (vec!["carol@a.example", "nobody@a.example"], vec![]),
        (vec!["Carol@A.example", "carol@a.example"], vec![2, 15]),
    ] {
        let participants = people.iter().map(|jid| Address::parse(jid)).collect();
        assert_eq!(ids(archive, Query { participants, ..query() }).await, expected, "{people:?}");
    }
}

async fn words(archive: &Archive) {
    for (text, expected) in [
        (vec!["FROM"], vec![4]),
        (vec!["afar", "To"], vec![5]),
        (vec!["grösse", "100"], vec![18]),
        (vec!["привет"], vec![18]),
        (vec!["ПРИВЕТ", "你好", "size"], vec![]),
        (vec!["你好"], vec![18]),
        (vec!["100%"], vec![18]),
        (vec!["o'k_"], vec![18]),
        (vec!["k_"], vec![18, 19]),
        (vec!["k 1"], vec![]),
        (vec!["\u{212a}"], vec![19]),
        (vec!["%"], vec![18]),
        (vec!["!"], vec![]),
    ] {
        let text: Vec<String> = text.into_iter().map(str::to_owned).collect();
        assert_eq!(ids(archive, Query { text: text.clone(), ..query() }).await, expected, "{text:?}");
    }
}

async fn by_id(archive: &Archive) {
    for (id, expected) in [
        ("10", vec![10]),
        ("id10", vec![10]),
        ("sid2", vec![2]),
        ("ref9", vec![9]),
        ("1795332544000000", vec![9]),
        ("id18", vec![18]),
        ("id18 ", vec![19]),
        ("o19", vec![19]),
        ("none", vec![]),
        ("77", vec![]),
    ] {
        assert_eq!(ids(archive, Query { id: Some(id.to_owned()), ..query() }).await, expected, "{id}");
    }
}

/// Pages put together are the whole, in both orders, with any limit, two messages of one instant among them.
async fn pages(archive: &Archive) {
    for order in [Order::Ascending, Order::Descending] {
        let whole = ids(archive, Query { order, ..query() }).await;
        for text in [vec![], vec!["e".to_owned()]] {
            let whole: Vec<i64> =
                if text.is_empty() { whole.clone() } else { ids(archive, Query { order, text: text.clone(), ..query() }).await };
            for limit in [1, 2, 5, 18, 100] {
                let mut read = Vec::new();
                let mut after = None;
                loop {
                    let page = archive.search(&Query { order, limit, after, text: text.clone(), ..query() }).await.unwrap();
                    assert!(page.messages.len() <= limit);
                    read.extend(page.messages.iter().map(|message| message.id));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(read, whole, "{order:?} {limit}");
            }
        }
    }
}

/// Counts by statements of their own agree with what is found, conversation by conversation.
async fn counts(archive: &Archive) {
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    for query in [
        query(),
        Query { all: true, ..query() },
        Query { text: text(&["e"]), ..query() },
        Query { text: text(&["привет"]), ..query() },
        Query { id: Some("1795332544000000".into()), ..query() },
        Query { id: Some("10".into()), ..query() },
        Query { participants: vec![Address::parse("zed@remote.example")], ..query() },
        Query { participants: vec![Address::parse("nobody@a.example")], ..query() },
        Query { from: Some(START + 3 * SECOND), to: Some(START + 9 * SECOND), ..query() },
        Query { newer_than: Some(4), newest: Some(12), ..query() },
        Query { newer_than: Some(4), newest: Some(12), late: vec![1, 3], ..query() },
        Query { newer_than: Some(4), newest: Some(12), late: vec![1, 3], text: text(&["e"]), ..query() },
    ] {
        let found = ids(archive, query.clone()).await;
        assert_eq!(archive.count_all(&query).await.unwrap(), found.len() as u64, "{query:?}");
        let mut numbers = Vec::new();
        let mut note = |number| {
            numbers.push(number);
            std::ops::ControlFlow::Continue(())
        };
        archive.each_number(&query, &mut note).await.unwrap();
        assert_eq!(numbers, found, "{query:?}");
        let (mut after, mut all) = (0, Vec::new());
        loop {
            let shares = archive.shares(&query, after, 2).await.unwrap();
            let Some(last) = shares.last() else { break };
            after = last.conversation_id;
            for share in shares {
                let of_it = ids(archive, Query { conversation: Some(share.conversation), ..query.clone() }).await;
                assert!(of_it.len() as u64 <= share.messages && share.first <= share.last);
                all.extend(of_it);
            }
        }
        all.sort_unstable();
        assert_eq!(all, found, "{query:?}");
    }
    assert_eq!(archive.newest().await.unwrap(), 19);
    assert_eq!(ids(archive, Query { newer_than: Some(4), newest: Some(6), ..query() }).await, [5, 6]);
    assert_eq!(ids(archive, Query { newer_than: Some(4), newest: Some(6), late: vec![2, 9], ..query() }).await, [2, 5, 6]);
    let shares = archive.shares(&query(), 0, 10).await.unwrap();
    let alices = shares.iter().find(|share| share.conversation == "alice@a.example bob@a.example").unwrap();
    let amends = archive.amends(alices.conversation_id, None, None, 19, 10).await.unwrap();
    assert!(amends.contains(&Amends { refers_to: 1, id: 18 }), "{amends:?}");
    assert_eq!(archive.amends(alices.conversation_id, None, None, 17, 10).await.unwrap().len(), amends.len() - 1);
    let numbered: Vec<i64> = archive.numbered(&[10, 1, 77]).await.unwrap().iter().map(|found| found.id).collect();
    assert_eq!(numbered, [1, 10]);
    assert_eq!(archive.quarantined(None, None).await.unwrap(), 0);
}

async fn what_is_known_of_a_message(archive: &Archive) {
    let one = async |id: &str| {
        let page = archive.search(&Query { id: Some(id.to_owned()), with_xml: true, ..query() }).await.unwrap();
        page.messages.into_iter().next().unwrap()
    };
    let forked = one("1").await;
    assert_eq!((forked.sender.as_deref(), forked.recipient.as_deref()), (Some("alice@a.example"), Some("bob@a.example")));
    assert_eq!((forked.conversation.as_str(), forked.room()), ("alice@a.example bob@a.example", None));
    let copies: Vec<_> = forked.deliveries.iter().map(|copy| (copy.resource.as_deref(), names::source(copy.source))).collect();
    assert_eq!(copies, [(None, "direct"), (Some("phone"), "direct"), (Some("laptop"), "direct"), (Some("tab"), "carbon")]);
    assert_eq!((forked.node.as_deref(), forked.sender_resource.as_deref()), (Some("pn"), Some("desk")));
    let in_room = one("2").await;
    assert_eq!(in_room.room(), Some("room@muc.a.example"));
    assert_eq!(in_room.stanza_ids, [StanzaId { by: Some("room@muc.a.example".into()), id: "sid2".into() }]);
    assert_eq!(one("6").await.possibly_several(), 2);
    assert!(one("6").await.is_encrypted());
    let bounced = one("5").await;
    assert_eq!((bounced.bounces.len(), bounced.bounces[0].condition.as_str()), (1, "service-unavailable"));
    let corrected = one("18").await;
    assert_eq!((corrected.kind_name(), corrected.refers_to, corrected.origin_id()), ("correction", Some(1), Some("id18")));
    assert_eq!((corrected.hints(), corrected.xml().as_deref()), (vec!["no-store"], Some("<a>hi</a>")));
    assert_eq!(one("17").await.body, None);
}

async fn rooms(archive: &Archive) {
    let stays = archive.stays(ROOM, &StayQuery::default()).await.unwrap().stays;
    let told: Vec<_> = stays.iter().map(|stay| (stay.nick.as_str(), stay.joined_at - START, stay.left_at.map(|at| at - START))).collect();
    assert_eq!(
        told,
        [("Bo", 100, Some(200)), ("Ca", 150, None), ("gh", 160, None), ("Bo", 170, None), ("Bo", 300, Some(400)), ("Bo", 400, Some(500))]
    );
    let early = StayQuery { from: Some(START + 200), before: Some(START + 300), ..StayQuery::default() };
    let early = archive.stays(ROOM, &early).await.unwrap();
    assert_eq!(early.stays.iter().map(|stay| stay.nick.as_str()).collect::<Vec<_>>(), ["Ca", "gh", "Bo"]);
    for limit in 1..=6 {
        assert_eq!(stays_by(archive, StayQuery { limit, ..StayQuery::default() }).await, stays, "pages of {limit}");
        let lasting = StayQuery { from: Some(START + 250), limit, ..StayQuery::default() };
        assert_eq!(
            stays_by(archive, lasting).await.iter().map(|stay| stay.joined_at - START).collect::<Vec<_>>(),
            [150, 160, 170, 300, 400]
        );
    }
    of_a_part(archive).await;
    now_there(archive).await;
    assert_eq!(archive.conversations_of("zed@remote.example").await.unwrap().len(), 2);
    assert!(archive.has_conversation("room@muc.a.example").await.unwrap());
    assert!(!archive.has_conversation("room@muc.a.example ").await.unwrap());
}

/// Whoever may see a person and not the room is told of that person's stays, whoever may see neither of nobody's.
async fn of_a_part(archive: &Archive) {
    let jid = |jid: &str| Pattern::Jid(jid.to_owned());
    let room = ROOM.to_owned();
    for (people, rooms, (from, to), expected) in [
        (vec![jid("bob@a.example")], vec![], (None, None), vec!["Bo", "Bo", "Bo", "Bo"]),
        (vec![jid("bob@a.example")], vec![], (Some(START + 200), Some(START + 300)), vec!["Bo"]),
        (vec![Pattern::Wildcard("c*@a.example".to_owned())], vec![], (None, None), vec!["Ca"]),
        (vec![jid("nobody@a.example")], vec![], (None, None), vec![]),
        (vec![], vec!["other@muc.a.example".to_owned()], (None, None), vec![]),
        (vec![], vec![room.clone()], (None, Some(START + 165)), vec!["Bo", "Ca", "gh"]),
    ] {
        let restriction = Restriction { reach: Reach::Only { people, rooms }, from, to };
        let archive = archive.restricted(restriction.clone());
        let stays = stays_by(&archive, StayQuery { limit: 2, ..StayQuery::default() }).await;
        assert_eq!(stays.iter().map(|stay| stay.nick.as_str()).collect::<Vec<_>>(), expected, "{restriction:?}");
    }
}

/// All pages of stays.
async fn stays_by(archive: &Archive, mut query: StayQuery) -> Vec<Stay> {
    let mut all = Vec::new();
    loop {
        let page = archive.stays(ROOM, &query).await.unwrap();
        assert!(page.stays.len() <= query.limit && (page.next.is_none() || page.stays.len() == query.limit));
        all.extend(page.stays);
        query.after = page.next;
        if query.after.is_none() {
            return all;
        }
    }
}

/// Who came and has not left, within what may be seen: two programs with one nick are one occupant.
async fn now_there(archive: &Archive) {
    let jid = |jid: &str| Pattern::Jid(jid.to_owned());
    let rooms = [ROOM.to_owned(), "none@muc.a.example".to_owned(), "alice@a.example".to_owned()];
    let exact = |occupants| Some(Occupancy { occupants, is_exact: true });
    for (people, whole, (from, to), expected) in [
        (vec![jid("bob@a.example")], vec![], (None, None), exact(1)),
        (vec![Pattern::Wildcard("*@a.example".to_owned())], vec![], (Some(START), None), exact(2)),
        (vec![jid("nobody@a.example")], vec!["other@muc.a.example".to_owned()], (None, None), exact(0)),
        (vec![], vec![ROOM.to_owned()], (None, Some(Micros::MAX)), exact(3)),
        (vec![], vec![ROOM.to_owned()], (None, Some(START + 165)), None),
        (vec![], vec![ROOM.to_owned()], (Some(Micros::MAX), None), None),
    ] {
        let restriction = Restriction { reach: Reach::Only { people, rooms: whole }, from, to };
        let found = archive.restricted(restriction.clone()).occupancies(&rooms).await.unwrap();
        assert_eq!(found.get(ROOM).copied(), expected, "{restriction:?}");
    }
    let found = archive.occupancies(&rooms).await.unwrap();
    assert_eq!(rooms.each_ref().map(|room| found.get(room).copied()), [exact(3), exact(0), exact(0)]);
    assert!(archive.occupancies(&[]).await.unwrap().is_empty());
}

async fn changes(archive: &Archive) {
    let first = archive.message(1, false).await.unwrap().unwrap();
    let found = archive.changes_of(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(found.iter().map(|change| (change.id, change.is_correction(), change.holds())).collect::<Vec<_>>(), [(18, true, false)]);
    let reach = Reach::Only { people: vec![], rooms: vec!["room@muc.a.example".to_owned()] };
    let nothing = archive.restricted(Restriction { reach, ..Restriction::default() }).changes_of(&[first]).await.unwrap();
    assert!(nothing.is_empty() && archive.changes_of(&[]).await.unwrap().is_empty());
    let names = ["none".to_owned()];
    assert_eq!(archive.unknown_nodes(&names).await.unwrap(), names);
}

async fn answers(archive: &Archive) {
    every_filter(archive).await;
    people(archive).await;
    words(archive).await;
    by_id(archive).await;
    pages(archive).await;
    counts(archive).await;
    what_is_known_of_a_message(archive).await;
    rooms(archive).await;
    changes(archive).await;
}

/// The same answers without an index, with half of one, and with a whole one.
async fn contract(endpoint: &Endpoint) {
    let archive = Archive::open(endpoint, 2).await.unwrap();
    let mut connection = Connection::open(endpoint).await.unwrap();
    for batch in [0, 7, 100] {
        if batch > 0 {
            search::index(&mut connection, batch).await.unwrap();
        }
        answers(&archive).await;
    }
    assert_eq!(search::progress(&mut connection).await.unwrap().behind(), 0);
}

async fn fill(endpoint: &Endpoint, rows: impl Iterator<Item = String>) {
    let mut connection = Connection::open(endpoint).await.unwrap();
    migrations::up(&mut connection, None).await.unwrap();
    for sql in rows {
        connection.batch(&sql).await.unwrap();
    }
}

fn sqlite() -> (tempfile::TempDir, Endpoint) {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = endpoint(Backend::Sqlite(directory.path().join("archive.db")));
    block_on(fill(&endpoint, [ROWS, MORE_ROWS].into_iter().map(str::to_owned)));
    (directory, endpoint)
}

#[test]
fn sqlite_answers() {
    let (_directory, endpoint) = sqlite();
    block_on(contract(&endpoint));
}

#[test]
#[ignore = "needs XMPP_ARCHIVER_TEST_POSTGRES, the URL of an empty database"]
fn postgres_answers() {
    let url = std::env::var("XMPP_ARCHIVER_TEST_POSTGRES").unwrap();
    let endpoint = endpoint(Backend::Postgres(url));
    block_on(async {
        fill(&endpoint, [ROWS, MORE_ROWS].into_iter().map(|sql| sql.replace("X'", "'\\x"))).await;
        contract(&endpoint).await;
    });
}

#[test]
#[ignore = "needs XMPP_ARCHIVER_TEST_MYSQL, the URL of an empty database"]
fn mysql_answers() {
    let url = std::env::var("XMPP_ARCHIVER_TEST_MYSQL").unwrap();
    let endpoint = endpoint(Backend::Mysql(url));
    block_on(async {
        let rows = [ROWS, MORE_ROWS].map(|sql| sql.replace(",key,", ",`key`,").replace(",condition,", ",`condition`,"));
        let code = rows.map(|sql| sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n"));
        let statements = code.iter().flat_map(|code| code.split(";\n")).filter(|statement| !statement.trim().is_empty());
        fill(&endpoint, statements.map(str::to_owned)).await;
        contract(&endpoint).await;
    });
}

#[test]
fn a_reader_cannot_write() {
    let (_directory, endpoint) = sqlite();
    block_on(async {
        let pool = Pool::open(&endpoint, 1).await.unwrap();
        let delete = sql::Statement::new(Dialect::Sqlite, "DELETE FROM nodes RETURNING id AS number");
        assert!(pool.load::<NumberRow>(delete).await.is_err());
    });
}

/// As an archiver does that folds the log into the file while it ends.
#[test]
fn a_file_that_is_held_for_a_moment_is_waited_for() {
    let (_directory, endpoint) = sqlite();
    let Backend::Sqlite(path) = &endpoint.backend else { panic!("a file") };
    let mut holder = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    holder.batch_execute("PRAGMA locking_mode = EXCLUSIVE; DELETE FROM nodes WHERE id = -1").unwrap();
    let held = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(holder);
    });
    block_on(async { Archive::open(&endpoint, 1).await.unwrap().search(&query()).await.unwrap() });
    held.join().unwrap();
}

#[test]
fn what_is_missing_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive.db");
    block_on(async {
        let endpoint = endpoint(Backend::Sqlite(path.clone()));
        let error = Archive::open(&endpoint, 1).await.err().unwrap();
        assert!(matches!(error, StoreError::Unreachable(_)) && !path.exists(), "a reader made the file");
        SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute("CREATE TABLE other(a)").unwrap();
        // No tables, and those that an attempt to make them has left behind.
        for sql in ["SELECT 1", "CREATE TABLE __diesel_schema_migrations(version TEXT, run_on TEXT)"] {
            SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute(sql).unwrap();
            let error = Archive::open(&endpoint, 1).await.err().unwrap();
            assert!(matches!(&error, StoreError::Schema(said) if said.contains("xmpp-archiver migrate")), "{error}");
        }
        std::fs::write(&path, "this is no database, however long it may be, and long it must be").unwrap();
        assert!(Archive::open(&endpoint, 1).await.is_err());
    });
}

/// What is too much for an index is looked at by each search.
#[test]
fn a_message_with_very_many_words_is_found() {
    let (_directory, endpoint) = sqlite();
    let body: Vec<String> = (0..60_000).map(|number| format!("w{number}")).collect();
    let sql = format!("UPDATE messages SET body = '{}' WHERE id = 1;", body.join(" "));
    block_on(async {
        fill(&endpoint, [sql].into_iter()).await;
        let mut connection = Connection::open(&endpoint).await.unwrap();
        search::index(&mut connection, 100).await.unwrap();
        let archive = Archive::open(&endpoint, 1).await.unwrap().tuned(Tuning { walk: 0, chunk: 1 });
        for (text, expected) in [("w59999", vec![1]), ("\"w7 w8\"", vec![1]), ("\"w8 w7\"", vec![]), ("FROM", vec![4])] {
            let words = Some(text.parse().unwrap());
            assert_eq!(ids(&archive, Query { words, ..query() }).await, expected, "{text}");
        }
    });
}

#[test]
fn what_fits_best_comes_first_page_by_page() {
    let (_directory, endpoint) = sqlite();
    block_on(async {
        let sql = "UPDATE messages SET body = 'tea' WHERE id = 2; UPDATE messages SET body = 'tea tea tea' WHERE id = 4; \
                   UPDATE messages SET body = 'a cup of tea and many other words beside it' WHERE id = 5;";
        fill(&endpoint, [sql.to_owned()].into_iter()).await;
        let archive = Archive::open(&endpoint, 1).await.unwrap();
        let mut best = Query { words: Some("tea".parse().unwrap()), by_relevance: true, limit: 1, ..query() };
        let mut found = Vec::new();
        loop {
            let page = archive.search(&best).await.unwrap();
            found.extend(page.messages.iter().map(|message| message.id));
            best.after = page.next.map(|next| next.to_string().parse().unwrap());
            if best.after.is_none() {
                break;
            }
        }
        assert_eq!(found, [4, 2, 5]);
        let without_words = Query { words: None, ..best };
        assert!(matches!(archive.search(&without_words).await, Err(StoreError::Refused(_))));
    });
}

#[test]
fn whoever_waits_is_told_an_estimate() {
    let (_directory, endpoint) = sqlite();
    let row = |number: i64| {
        let id = 100 + number;
        let at = START + id * SECOND;
        format!(
            "INSERT INTO messages(id,sent_at,received_at,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,direction,via,content_key,body,xml) \
             VALUES({id},{at},{at},1,1,2,0,1,1,1,3,1,X'0102030405060708090a0b0c','{}',X'00');",
            if number % 2 == 0 { "coffee" } else { "cocoa" }
        )
    };
    block_on(async {
        fill(&endpoint, (0..4_000).map(row)).await;
        let archive = Archive::open(&endpoint, 1).await.unwrap();
        let coffee = Query { words: Some("coffee".parse().unwrap()), from: Some(START + 100 * SECOND), ..query() };
        let patient = archive.count_within(&coffee, 10_000, Duration::from_secs(600)).await.unwrap();
        assert_eq!(patient, Count { messages: 2_000, is_exact: true });
        let hurried = archive.count_within(&coffee, 10_000, Duration::ZERO).await.unwrap();
        assert!(!hurried.is_exact && hurried.messages.abs_diff(2_000) < 20, "{hurried:?}");
        // Too few for an estimate.
        let few = Query { words: Some("bob".parse().unwrap()), ..query() };
        assert_eq!(archive.count_within(&few, 10_000, Duration::ZERO).await.unwrap(), archive.count(&few, 10_000).await.unwrap());
    });
}
