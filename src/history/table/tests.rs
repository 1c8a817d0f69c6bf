use super::*;

fn reader(kind: Kind) -> Reader {
    let node = Node { hosts: ["h.example".to_owned()].into(), muc: ["m.example".to_owned()].into(), ..Node::default() };
    Reader::new(kind, Arc::new(node), TimeZone::UTC, Interval::default())
}

fn cells(kind: Kind, given: &[(&str, &str)]) -> Vec<Option<String>> {
    let cell = |column: &&str| given.iter().find(|(name, _)| name == column).map(|(_, text)| (*text).to_owned());
    kind.columns().iter().map(cell).collect()
}

fn jm(given: &[(&str, &str)]) -> Item {
    let mut all = vec![("from_jid", "alice@h.example/d"), ("to_jid", "bob@h.example"), ("sent_date", "2026-11-22 07:28:55.25")];
    all.retain(|(name, _)| !given.iter().any(|(other, _)| other == name));
    all.extend(given);
    reader(Kind::CiscoJm).item(&cells(Kind::CiscoJm, &all)).unwrap()
}

#[test]
fn a_row_with_its_stanza_is_that_stanza() {
    let xml = "<message from='alice@h.example/d' to='bob@h.example' type='chat' id='7'><body>hi</body></message>";
    let item = jm(&[("message_string", xml), ("direction", "I"), ("msg_type", "c"), ("body_string", "hi")]);
    assert_eq!((item.stanza.as_slice(), item.at), (xml.as_bytes(), 1_795_332_535_250_000));
    assert_eq!((item.archive.as_deref(), item.direction), (Some("bob@h.example"), Direction::Received));
    assert_eq!((item.row, item.original, item.fault), (None, None, None));
    let long = jm(&[("message_string", ""), ("message_text", xml), ("direction", "O")]);
    assert_eq!((long.stanza.as_slice(), long.archive.as_deref()), (xml.as_bytes(), Some("alice@h.example")));
}

#[test]
fn a_row_without_a_stanza_gets_one_that_says_so_and_keeps_its_columns() {
    let item = jm(&[("from_jid", "ALICE@H.Example/Desk"), ("body_string", "<b>hi</b> & so on"), ("msg_type", "c"), ("direction", "O")]);
    let stanza = String::from_utf8(item.stanza).unwrap();
    assert!(
        stanza.contains("from='ALICE@H.Example/Desk'") && stanza.contains("<body>&lt;b&gt;hi&lt;/b&gt; &amp; so on</body>"),
        "{stanza}"
    );
    assert!(stanza.contains("<made xmlns='urn:xmpp-archiver:history:0' source='cisco-jm'/>"));
    let original: Value = serde_json::from_str(&item.original.unwrap()).unwrap();
    assert_eq!((original["from_jid"].as_str(), original["table"].as_str()), (Some("ALICE@H.Example/Desk"), Some("jm")));
    assert!(original.get("body_string").is_none());
    assert_eq!(item.archive.as_deref(), Some("alice@h.example"));
}

#[test]
fn a_stanza_that_is_none_is_kept_with_the_columns() {
    let item = jm(&[("message_string", "<message><body>cut"), ("body_string", "cut off")]);
    assert!(item.original.unwrap().contains("<message><body>cut"));
    assert!(String::from_utf8(item.stanza).unwrap().contains("<body>cut off</body>"));
}

#[test]
fn dirty_jids_are_kept_beside_a_stanza_too() {
    let xml = "<message id='7'><body>hi</body></message>";
    let item = jm(&[("message_string", xml), ("to_jid", "Bob Smith@h.example/a b")]);
    assert!(item.original.unwrap().contains("Bob Smith@h.example/a b"));
    let stanza = String::from_utf8(item.stanza).unwrap();
    assert_eq!(stanza, "<message from='alice@h.example/d' to='Bob Smith@h.example/a b' id='7'><body>hi</body></message>");
}

#[test]
fn equal_rows_without_an_id_are_told_apart_the_same_way_each_time() {
    let names = || {
        let mut reader = reader(Kind::CiscoJm);
        let row = |body| {
            let given =
                [("from_jid", "a@h.example"), ("to_jid", "b@h.example"), ("sent_date", "2026-11-22 07:28:55"), ("body_string", body)];
            cells(Kind::CiscoJm, &given)
        };
        ["ok", "ok", "yes", "ok"].map(|body| reader.item(&row(body)).unwrap().row.unwrap())
    };
    let [first, second, other, third] = names();
    assert!(first != second && second != third && first != other);
    assert_eq!(names(), [first, second, other, third]);
}

#[test]
fn a_rooms_history_is_of_when_it_was_said() {
    let xml = "<message id='1' from='r@m.example/A'><body>old</body><delay xmlns='urn:xmpp:delay' stamp='2026-11-21T00:00:00Z'/></message>";
    let item = jm(&[("message_string", xml), ("history_flag", "H")]);
    assert_eq!((item.at, item.skip), (1_795_219_200_000_000, None));
    let item = jm(&[("body_string", "old"), ("history_flag", "H")]);
    assert!(item.skip.is_some());
}

#[test]
fn a_row_of_persistent_chat_tells_room_person_and_nick() {
    let given = [
        ("from_jid", "alice@h.example"),
        ("to_jid", "r@m.example"),
        ("nick_jid", "r@m.example/Al"),
        ("sent_date", "2026-11-22 07:28:55"),
        ("msg_id", "17"),
        ("msg_type", "g"),
        ("body_string", "to all"),
    ];
    let item = reader(Kind::CiscoTc).item(&cells(Kind::CiscoTc, &given)).unwrap();
    assert_eq!(
        (item.archive.as_deref(), item.nick.as_deref(), item.row.as_deref()),
        (Some("r@m.example"), Some("Al"), Some("tc_msgarchive:17"))
    );
    assert_eq!(item.sender.as_deref(), Some("alice@h.example"));
}

#[test]
fn openfire_has_resources_apart_and_milliseconds() {
    let given = [
        ("fromJID", "alice@h.example"),
        ("fromJIDResource", "Spark"),
        ("toJID", "r@m.example"),
        ("sentDate", "1795332535173"),
        ("messageID", "5"),
        ("body", "to all"),
    ];
    let item = reader(Kind::Openfire).item(&cells(Kind::Openfire, &given)).unwrap();
    assert_eq!(
        (item.at, item.archive.as_deref(), item.row.as_deref()),
        (1_795_332_535_173_000, Some("r@m.example"), Some("ofMessageArchive:5"))
    );
    let stanza = String::from_utf8(item.stanza).unwrap();
    assert!(
        stanza.starts_with("<message xmlns='jabber:client' from='alice@h.example/Spark' to='r@m.example' type='groupchat'>"),
        "{stanza}"
    );
}

#[test]
fn times_are_read_in_the_zone_that_was_given() {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    for (text, expected) in [
        ("2026-11-22 08:28:55.173794", 1_795_332_535_173_794),
        ("2026-11-22T07:28:55.173794Z", 1_795_332_535_173_794),
        ("2026-11-22 07:28:55.173794+00", 1_795_332_535_173_794),
        ("1795332535173", 1_795_332_535_173_000),
    ] {
        assert_eq!(when(text, &berlin), Some(expected), "{text}");
    }
    assert_eq!(when("22.11.2026", &berlin), None);
}

#[test]
fn a_row_that_names_nobody_is_refused() {
    let item = jm(&[("from_jid", ""), ("to_jid", ""), ("body_string", "hi")]);
    assert!(item.fault.is_some());
}
