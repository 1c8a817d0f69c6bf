//! Scopes and queries that name hundreds, and chains of hundreds.

use super::*;

/// Only these.
fn only(people: Vec<Pattern>, rooms: Vec<String>) -> Restriction {
    Restriction { reach: Reach::Only { people, rooms }, ..Restriction::default() }
}

/// Rooms of all pages.
async fn rooms_by(archive: &Archive, part: &str, limit: usize) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = archive.rooms(part, &after, limit).await.unwrap();
        assert!(page.rooms.len() <= limit && (page.next.is_none() || page.next.as_ref() == page.rooms.last().map(|room| &room.name)));
        all.extend(page.rooms.into_iter().map(|room| room.name));
        match page.next {
            Some(next) => after = next,
            None => return all,
        }
    }
}

#[test]
fn hundreds_of_rooms_can_be_named() {
    let (_directory, endpoint) = sqlite();
    let name = |number: i64| format!("r{number}@muc.a.example");
    let row = |number: i64| {
        let (id, at, name) = (1_000 + number, START + (1_000 + number) * SECOND, name(number));
        format!(
            "INSERT INTO conversation_names(id,kind,name) VALUES({id},2,'{name}'); \
             INSERT INTO messages(id,sent_at,received_at,conversation_id,flags,node_id,kind,type,direction,via,content_key,body,xml) \
             VALUES({id},{at},{at},{id},0,1,1,2,3,1,X'0102030405060708090a0b0c','hum',X'00');"
        )
    };
    block_on(async {
        fill(&endpoint, std::iter::once((0..900).map(row).collect::<String>())).await;
        let archive = Archive::open(&endpoint, 1).await.unwrap();
        let (named, numbers): (Vec<String>, Vec<i64>) = (0..900).step_by(3).map(|number| (name(number), 1_000 + number)).unzip();
        assert_eq!(ids(&archive, Query { rooms: named.clone(), ..query() }).await, numbers);
        let mut sorted = named.clone();
        sorted.sort_unstable();
        let part = archive.restricted(only(vec![], [named, vec!["none@muc.a.example".to_owned()]].concat()));
        assert_eq!(ids(&part, query()).await, numbers);
        for limit in [1, 7, 100, 299, 300, 1_000] {
            assert_eq!(rooms_by(&part, "", limit).await, sorted, "pages of {limit}");
        }
        assert_eq!(rooms_by(&part, " R30@", 5).await, ["r30@muc.a.example"]);
        assert_eq!(rooms_by(&part, "r31@", 5).await, Vec::<String>::new());
        let bob = archive.restricted(only(vec![Pattern::Jid("bob@a.example".to_owned())], vec![]));
        assert_eq!(rooms_by(&bob, "", 5).await, [ROOM]);
        assert_eq!(rooms_by(&archive, "", 50).await.len(), 901);
        let early = Restriction { to: Some(START + 1_100 * SECOND), ..part.restriction.clone() };
        assert_eq!(rooms_by(&archive.restricted(early), "", 50).await.len(), 34);
    });
}

/// SQLite takes no expression that is deeper than 1,000.
#[test]
fn hundreds_of_domains_can_be_named() {
    let (_directory, endpoint) = sqlite();
    let domain = |number: usize| Pattern::Domain(format!("d{number}.example"));
    let person = |number: usize| {
        let id = 1_000 + number;
        format!("INSERT INTO jids(id,jid) VALUES({id},'p{number}@d{}.example');", number % 200)
    };
    let remote = Pattern::Domain("remote.example".to_owned());
    let first: Vec<Pattern> = std::iter::once(remote.clone()).chain((0..600).map(domain)).collect();
    let last: Vec<Pattern> = (0..600).map(domain).chain([remote]).collect();
    let expected = vec![4, 5, 15, 16];
    block_on(async {
        let archive = Archive::open(&endpoint, 1).await.unwrap();
        // At first nearly nobody is of these domains, and then more than become numbers.
        for people in [0, 2_400] {
            fill(&endpoint, std::iter::once((0..people).map(person).collect::<String>())).await;
            for named in [&first, &last] {
                let part = archive.restricted(only(named.clone(), vec![]));
                assert_eq!(ids(&part, query()).await, expected);
                assert_eq!(part.count(&query(), 10).await.unwrap().messages, 4);
                assert_eq!(rooms_by(&part, "", 5).await, [ROOM]);
                assert!(part.stays(ROOM, &StayQuery::default()).await.unwrap().stays.is_empty());
                assert_eq!(part.occupancies(&[ROOM.to_owned()]).await.unwrap().get(ROOM).map(|now| now.occupants), Some(0));
                for (side, expected) in [(Side::Any, vec![4, 5, 15, 16]), (Side::Sender, vec![4, 15])] {
                    let any: Vec<Pattern> = named.iter().filter(|one| **one != domain(0)).cloned().collect();
                    let any = if named[0] == first[0] { any[..MAX_NAMED].to_vec() } else { any[any.len() - MAX_NAMED..].to_vec() };
                    let asked = Query { people: vec![People { side, any }], ..query() };
                    assert_eq!(ids(&archive, asked.clone()).await, expected, "{side:?}");
                    assert_eq!(ids(&part, asked).await, expected, "{side:?}");
                }
            }
        }
        let jids: Vec<Pattern> = (0..900).map(|number| Pattern::Jid(format!("p{number}@d{}.example", number % 200))).collect();
        let set = archive.set(&jids).await.unwrap();
        assert_eq!((set.ids, set.likes.len()), ((1_000..1_900).collect(), 0));
        let set = archive.set(&first).await.unwrap();
        assert_eq!((set.likes.len(), set.ids.len()), (200, 1_212), "one list of patterns stays");
    });
}

#[test]
fn a_long_chain_of_corrections_has_one_beginning() {
    let (_directory, endpoint) = sqlite();
    let row = |number: i64| {
        let (id, at) = (100 + number, START + (100 + number) * SECOND);
        let refers_to = if number == 0 { 1 } else { id - 1 };
        format!(
            "INSERT INTO messages(id,sent_at,received_at,refers_to,conversation_id,sender_id,recipient_id,flags,node_id,kind,type,direction,via,content_key,body,xml) \
             VALUES({id},{at},{at},{refers_to},1,1,2,0,1,3,1,3,1,X'0102030405060708090a0b0c','again',X'00');"
        )
    };
    block_on(async {
        fill(&endpoint, (0..300).map(row)).await;
        let archive = Archive::open(&endpoint, 1).await.unwrap();
        let changes: Vec<i64> = [18].into_iter().chain(100..400).collect();
        for id in [1, 18, 100, 250, 399] {
            let versions = archive.versions(id).await.unwrap().unwrap();
            assert_eq!(versions.original.id, 1, "{id}");
            assert_eq!(versions.changes.iter().map(|change| change.id).collect::<Vec<_>>(), changes, "{id}");
        }
        let name = "alice@a.example bob@a.example";
        assert_eq!(archive.changes_below(name, &[350], 1_000).await.unwrap(), (351..400).collect::<Vec<_>>());
        assert_eq!(archive.changes_below(name, &[1], 3).await.unwrap(), [18, 100, 101]);
        assert_eq!(archive.changes_below("nobody", &[1], 3).await.unwrap(), NOTHING);
        // What begins it may not be seen, or refers to itself.
        let late = Restriction { from: Some(START + 150 * SECOND), ..Restriction::default() };
        let versions = archive.restricted(late).versions(399).await.unwrap().unwrap();
        assert_eq!((versions.original.id, versions.changes.len()), (150, 249));
        fill(&endpoint, ["UPDATE messages SET refers_to = 399 WHERE id = 100;".to_owned()].into_iter()).await;
        assert_eq!(archive.versions(250).await.unwrap().unwrap().changes.len(), 299);
    });
}
