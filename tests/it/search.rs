//! Searches of one random archive, on each database, against an evaluation of the same query in memory: with an index that is behind,
//! that has to look at messages again, and that is whole.

mod corpus;
mod daemon;
mod naive;
mod random;

use xmpp_archiver::retrieve::{Archive, Order, Page, Pattern, People, Query, Reach, Restriction, Side, Tuning};
use xmpp_archiver::store::{Connection, search};

use self::corpus::Corpus;
use self::random::Random;
use crate::support::archiver::{Store, StoreKind};
use crate::support::process::Directory;

/// Queries for each state of the index.
const QUERIES: usize = 60;
/// More than any message holds, so that everything is found on one page or a few.
const ALL: usize = 500;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Pages put together, and whether any message was on two.
async fn ids(archive: &Archive, query: &Query) -> Vec<i64> {
    let mut query = query.clone();
    let mut all = Vec::new();
    loop {
        let Page { messages, next, .. } = archive.search(&query).await.unwrap_or_else(|error| panic!("{query:?}: {error}"));
        assert!(messages.len() <= query.limit, "{query:?}");
        all.extend(messages.iter().map(|message| message.id));
        query.after = next;
        if next.is_none() {
            return all;
        }
        assert!(!messages.is_empty(), "an empty page that is not the last: {query:?}");
    }
}

/// Small enough for every way of searching to be gone in a small archive.
fn tuning(random: &mut Random) -> Tuning {
    Tuning { walk: *random.of(&[0, 5, 60, 12_000]), chunk: *random.of(&[1, 7, 250]) }
}

async fn same_answers(archive: &Archive, corpus: &Corpus, random: &mut Random, state: &str) {
    for number in 0..QUERIES {
        let query = corpus.query(random);
        let archive = &archive.tuned(tuning(random));
        let expected = naive::find(corpus, &query, None);
        assert_eq!(ids(archive, &query).await, expected, "{state}, query {number}: {query:?}");
        let count = archive.count(&query, ALL).await.expect("a count");
        assert_eq!((count.messages as usize, count.is_exact), (expected.len(), true), "{state}: {query:?}");
        let some = archive.count(&query, 10).await.expect("a count");
        assert_eq!(some.is_exact, expected.len() <= 10, "{state}: {query:?}");
        assert!(some.is_exact || some.messages > 10, "{state}: {query:?}");
        if query.words.as_ref().is_some_and(|text| !text.is_empty()) {
            let best = Query { by_relevance: true, ..query.clone() };
            let mut found = ids(archive, &best).await;
            found.sort_unstable();
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(found, expected, "{state}, by relevance: {query:?}");
        }
    }
}

/// Whatever is asked through a restricted handle, nothing outside is told.
async fn nothing_leaks(archive: &Archive, corpus: &Corpus, random: &mut Random, state: &str) {
    for _ in 0..QUERIES / 4 {
        let restriction = corpus.restriction(random);
        let inside = naive::inside(corpus, &restriction);
        let restricted = archive.restricted(restriction.clone()).tuned(tuning(random));
        for _ in 0..4 {
            let query = corpus.query(random);
            let expected = naive::find(corpus, &query, Some(&restriction));
            assert_eq!(ids(&restricted, &query).await, expected, "{state}: {query:?} within {restriction:?}");
            let count = restricted.count(&query, ALL).await.expect("a count");
            assert_eq!(count.messages as usize, expected.len(), "{state}: {query:?} within {restriction:?}");
        }
        for message in &corpus.messages {
            let is_inside = inside.contains(&message.id);
            let id = message.id;
            assert_eq!(restricted.message(id, true).await.expect("an answer").is_some(), is_inside, "{id} within {restriction:?}");
            if random.below(10) == 0 {
                let context = restricted.around(id, 5).await.expect("an answer");
                assert_eq!(context.is_some(), is_inside);
                for shown in context.iter().flat_map(|context| context.before.iter().chain(&context.after)) {
                    assert!(inside.contains(&shown.id), "{} is shown beside {id} within {restriction:?}", shown.id);
                }
                let versions = restricted.versions(id).await.expect("an answer");
                assert_eq!(versions.is_some(), is_inside);
                for shown in versions.iter().flat_map(|versions| versions.changes.iter().chain([&versions.original])) {
                    assert!(inside.contains(&shown.id));
                }
                assert_eq!(restricted.receipts(id).await.expect("an answer").is_some(), is_inside);
            }
        }
        let listed = restricted.rooms("", "", 1_000).await.expect("an answer").rooms;
        for (index, room) in corpus::ROOMS.iter().enumerate() {
            let has_any = corpus.messages.iter().any(|message| message.room == Some(index) && inside.contains(&message.id));
            assert_eq!(restricted.has_conversation(room).await.expect("an answer"), has_any, "{room} within {restriction:?}");
            assert_eq!(listed.iter().any(|other| other.name == *room), has_any, "{room} in the list, within {restriction:?}");
        }
    }
}

/// An argument of a program has a limit of 128 KiB.
fn fill(store: &Store, sql: &str) {
    let lines: Vec<&str> = sql.lines().collect();
    for part in lines.chunks(100) {
        store.query(&part.join("\n"));
    }
}

fn answers_are_those_of_memory(kind: StoreKind) {
    let directory = Directory::new(None);
    let store = Store::new(kind, &directory);
    let mut random = Random::new(7);
    let mut corpus = Corpus::new(&mut random);
    block_on(async {
        let mut connection = Connection::open(&store.endpoint()).await.expect("a connection");
        xmpp_archiver::store::migrations::up(&mut connection, None).await.expect("tables");
        fill(&store, &corpus.sql(kind));
        let archive = Archive::open(&store.endpoint(), 2).await.expect("an archive");
        same_answers(&archive, &corpus, &mut random, "without an index").await;
        search::index(&mut connection, 1 + random.below(200) as i64).await.expect("a batch");
        same_answers(&archive, &corpus, &mut random, "with a part of an index").await;
        store.query(&corpus.late(&mut random));
        same_answers(&archive, &corpus, &mut random, "with news of old messages").await;
        nothing_leaks(&archive, &corpus, &mut random, "with a part of an index").await;
        while search::index(&mut connection, 150).await.expect("a batch").has_more {}
        let progress = search::progress(&mut connection).await.expect("the progress");
        assert_eq!((progress.behind(), progress.late), (0, 0));
        same_answers(&archive, &corpus, &mut random, "with a whole index").await;
        nothing_leaks(&archive, &corpus, &mut random, "with a whole index").await;
        search::clear(&mut connection).await.expect("an empty index");
        same_answers(&archive, &corpus, &mut random, "after it was emptied").await;
        while search::index(&mut connection, 10).await.expect("a batch").has_more {}
        same_answers(&archive, &corpus, &mut random, "after it was made anew").await;
    });
}

#[test]
fn answers_of_sqlite_are_those_of_memory() {
    answers_are_those_of_memory(StoreKind::Sqlite);
}

#[test]
fn answers_of_postgres_are_those_of_memory() {
    answers_are_those_of_memory(StoreKind::Postgres);
}

#[test]
fn answers_of_mariadb_are_those_of_memory() {
    answers_are_those_of_memory(StoreKind::MariaDb);
}

/// What stands in the documentation of the restriction.
#[test]
fn nobody_and_no_room_is_nothing() {
    let directory = Directory::new(None);
    let store = Store::new(StoreKind::Sqlite, &directory);
    let mut random = Random::new(1);
    let corpus = Corpus::new(&mut random);
    block_on(async {
        let mut connection = Connection::open(&store.endpoint()).await.expect("a connection");
        xmpp_archiver::store::migrations::up(&mut connection, None).await.expect("tables");
        fill(&store, &corpus.sql(StoreKind::Sqlite));
        let archive = Archive::open(&store.endpoint(), 1).await.expect("an archive");
        let nothing = Restriction { reach: Reach::Only { people: Vec::new(), rooms: Vec::new() }, ..Restriction::default() };
        let everything = Query { all: true, ..Query::default() };
        assert!(ids(&archive.restricted(nothing), &everything).await.is_empty());
        assert_eq!(ids(&archive, &everything).await.len(), corpus.messages.len());
        let people = vec![People { side: Side::Any, any: vec![Pattern::Wildcard("nobody*".to_owned())] }];
        assert!(ids(&archive, &Query { people, order: Order::Descending, ..everything }).await.is_empty());
    });
}
