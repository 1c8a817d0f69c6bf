//! A small archive in which everything happens: equal times, rooms, late copies, words of many scripts.

use std::fmt::Write as _;

use xmpp_archiver::retrieve::{ENCRYPTED_KIND, Order, Pattern, People, Query, Reach, Restriction, Side};

use super::random::Random;
use crate::support::archiver::StoreKind;

pub(crate) const START: i64 = 1_795_332_535_000_000;
pub(crate) const MESSAGES: usize = 400;
pub(crate) const PEOPLE: [&str; 8] = [
    "alice@a.example",
    "bob@a.example",
    "carol@a.example",
    "dave@b.example",
    "erin@b.example",
    "al_x@sub.b.example",
    "b.example",
    "zoë@bücher.example",
];
pub(crate) const ROOMS: [&str; 3] = ["one@muc.a.example", "two@muc.a.example", "three@muc.b.example"];
const WORDS: [&str; 41] = [
    "MailTo:x@y.example",
    "the",
    "a",
    "to",
    "be",
    "report",
    "Report",
    "reports",
    "invoice",
    "42",
    "3.14",
    "don't",
    "Größe",
    "GROSSE",
    "straße",
    "STRASSE",
    "İstanbul",
    "istanbul",
    "ısparta",
    "привет",
    "ПРИВЕТ",
    "你好",
    "你好吗",
    "好",
    "東京タワー",
    "서울에서",
    "สวัสดี",
    "שלום",
    "שָׁלוֹם",
    "السلام",
    "👍",
    "👍🏽",
    "❤️",
    "e\u{301}tude",
    "étude",
    "https://example.com/a?b=1",
    "alice@a.example",
    "x",
    "zz",
    "Jazz",
    "नमस्ते",
];
const QUERIES: [&str; 36] = [
    "the",
    "report",
    "rep*",
    "r*",
    "grosse",
    "größe",
    "strasse",
    "istanbul",
    "isparta",
    "привет",
    "при*",
    "你好",
    "你好吗",
    "好",
    "吗",
    "東京",
    "京タ",
    "서울",
    "에서",
    "สวัส",
    "שלום",
    "السلام",
    "👍",
    "❤",
    "etude",
    "example.com",
    "alice@a.example",
    "\"the report\"",
    "\"a to be\"",
    "\"report 你好\"",
    "don't",
    "zz",
    "3.14",
    "z*",
    "नमस्ते",
    "missing",
];

/// Whether a backslash in a text of SQL escapes what stands behind it.
fn kind_escapes(kind: StoreKind) -> bool {
    kind == StoreKind::MariaDb
}

impl Message {
    pub(crate) fn has_file(&self) -> bool {
        self.kind == 13 || self.flags & 1024 != 0
    }
}

/// A message, with numbers that are places in the lists above.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) sent_at: i64,
    pub(crate) room: Option<usize>,
    /// The ends of a conversation between two.
    pub(crate) ends: Option<(usize, usize)>,
    pub(crate) sender: Option<usize>,
    /// Of a conversation between two.
    pub(crate) recipient: Option<usize>,
    pub(crate) reached: Vec<usize>,
    pub(crate) kind: i16,
    pub(crate) flags: i32,
    pub(crate) direction: i16,
    pub(crate) node: i16,
    pub(crate) refers_to: Option<i64>,
    pub(crate) body: Option<String>,
    pub(crate) subject: Option<String>,
    /// The name of a file.
    pub(crate) file: Option<&'static str>,
}

pub(crate) struct Corpus {
    pub(crate) messages: Vec<Message>,
}

fn text(random: &mut Random) -> String {
    let words: Vec<&str> = (0..1 + random.below(8)).map(|_| *random.of(&WORDS)).collect();
    words.join(*random.of(&[" ", " ", ", ", "-"]))
}

fn message(id: i64, random: &mut Random) -> Message {
    let room = random.one_in(3).then(|| random.below(ROOMS.len()));
    let (one, other) = (random.below(PEOPLE.len()), random.below(PEOPLE.len()));
    let kind = *random.of(&[1, 1, 1, 1, 1, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14]);
    let sender = (!random.one_in(8)).then_some(one);
    let mut reached: Vec<usize> = (0..random.below(4)).map(|_| random.below(PEOPLE.len())).collect();
    if room.is_none() {
        reached.truncate(1);
    }
    Message {
        id,
        // Many at the same moment, and some long after they were said.
        sent_at: START + (id / 4) * 1_000_000 - if random.one_in(10) { random.below(60) as i64 * 1_000_000 } else { 0 },
        room,
        ends: room.is_none().then_some((one, other)),
        sender,
        recipient: room.is_none().then_some(other),
        reached,
        kind,
        flags: i32::from(random.one_in(9)) | file_flag(kind, random),
        direction: random.below(4) as i16,
        node: 1 + random.below(2) as i16,
        refers_to: (matches!(kind, 3 | 4 | 6 | 10 | 11) && id > 1).then(|| 1 + random.below(id as usize - 1) as i64),
        body: (!random.one_in(10)).then(|| text(random)),
        subject: random.one_in(6).then(|| text(random)),
        file: None,
    }
}

/// Files of corrections and replies have a flag; those of the kind `file` had none in older versions.
fn file_flag(kind: i16, random: &mut Random) -> i32 {
    if matches!(kind, 3 | 13) && random.one_in(2) { 1024 } else { 0 }
}

fn conversation(message: &Message) -> String {
    match (message.room, message.ends) {
        (Some(room), _) => ROOMS[room].to_owned(),
        (None, Some((one, other))) => {
            let mut ends = [PEOPLE[one], PEOPLE[other]];
            ends.sort_unstable();
            ends.join(" ")
        }
        (None, None) => String::new(),
    }
}

fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

fn number(id: Option<usize>) -> String {
    id.map_or_else(|| "NULL".to_owned(), |id| (id + 1).to_string())
}

impl Corpus {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut messages: Vec<Message> = (1..=MESSAGES as i64).map(|id| message(id, random)).collect();
        for message in messages.iter_mut().filter(|message| message.has_file()) {
            message.file = random.one_in(2).then(|| *random.of(&["Report 42 \"你好\".pdf", "Größe \\ invoice", "étude-missing.ogg"]));
        }
        Self { messages }
    }

    /// Everything as rows.
    pub(crate) fn sql(&self, kind: StoreKind) -> String {
        let kind_of_store = kind;
        let mut sql = "INSERT INTO nodes (id, name) VALUES (1, 'one'), (2, 'two');\n".to_owned();
        let jids: Vec<String> = PEOPLE.iter().chain(&ROOMS).enumerate().map(|(id, jid)| format!("({}, '{jid}')", id + 1)).collect();
        let _ = writeln!(sql, "INSERT INTO jids (id, jid) VALUES {};", jids.join(", "));
        let mut names: Vec<String> = Vec::new();
        for message in &self.messages {
            let name = conversation(message);
            if !names.contains(&name) {
                let (kind, first, second) = match (message.room, message.ends) {
                    (Some(room), _) => (2, (PEOPLE.len() + room + 1).to_string(), "NULL".to_owned()),
                    (None, ends) => {
                        let (one, other) = ends.expect("two ends");
                        let (first, second) = if PEOPLE[one] <= PEOPLE[other] { (one, other) } else { (other, one) };
                        (1, (first + 1).to_string(), (second + 1).to_string())
                    }
                };
                names.push(name.clone());
                let _ = writeln!(
                    sql,
                    "INSERT INTO conversation_names (id, kind, first_id, second_id, name) VALUES ({}, {kind}, {first}, {second}, '{name}');",
                    names.len()
                );
            }
        }
        let blob = if kind == StoreKind::Postgres {
            ("'\\x0102030405060708090a0b0c'", "'\\x00'")
        } else {
            ("X'0102030405060708090a0b0c'", "X'00'")
        };
        for message in &self.messages {
            let Message { id, sent_at, flags, node, kind, direction, .. } = message;
            let conversation = names.iter().position(|name| *name == conversation(message)).expect("its name") + 1;
            let recipient = message.room.map_or_else(|| number(message.recipient), |room| number(Some(PEOPLE.len() + room)));
            let refers_to = message.refers_to.map_or_else(|| "NULL".to_owned(), |id| id.to_string());
            let detail = message.file.map(|name| serde_json::json!({ "url": "https://x.example/1", "name": name }).to_string());
            let detail = detail.map(|detail| if kind_escapes(kind_of_store) { detail.replace('\\', "\\\\") } else { detail });
            let detail = quoted(detail.as_deref());
            let (sender, body, subject) = (number(message.sender), quoted(message.body.as_deref()), quoted(message.subject.as_deref()));
            let _ = writeln!(
                sql,
                "INSERT INTO messages (id, sent_at, received_at, refers_to, conversation_id, sender_id, recipient_id, flags, node_id, kind, type, \
                 direction, via, content_key, subject, body, detail, xml) VALUES ({id}, {sent_at}, {sent_at}, {refers_to}, {conversation}, {sender}, \
                 {recipient}, {flags}, {node}, {kind}, 1, {direction}, 1, {}, {subject}, {body}, {detail}, {});",
                blob.0, blob.1
            );
            for (seq, reached) in message.reached.iter().enumerate() {
                sql.push_str(&delivery(message, seq, *reached));
            }
        }
        sql
    }

    /// Copies that come late, with the writer's notes of them.
    pub(crate) fn late(&mut self, random: &mut Random) -> String {
        let mut sql = String::new();
        for _ in 0..30 {
            let place = random.below(self.messages.len());
            let message = &mut self.messages[place];
            let reached = random.below(PEOPLE.len());
            sql.push_str(&delivery(message, message.reached.len(), reached));
            message.reached.push(reached);
            if message.sender.is_none() && random.one_in(2) {
                message.sender = Some(reached);
                let _ = writeln!(sql, "UPDATE messages SET sender_id = {} WHERE id = {};", reached + 1, message.id);
            }
            let _ = writeln!(sql, "INSERT INTO search_late (message_id) VALUES ({});", message.id);
        }
        sql
    }

    pub(crate) fn query(&self, random: &mut Random) -> Query {
        let mut query = Query { limit: 1 + random.below(60), ..Query::default() };
        query.order = if random.one_in(2) { Order::Ascending } else { Order::Descending };
        if random.one_in(2) {
            let mut text = random.of(&QUERIES).to_string();
            if random.one_in(3) {
                text = format!("{text} {}", random.of(&QUERIES));
            }
            if random.one_in(5) {
                text = format!("{text} OR {}", random.of(&QUERIES));
            }
            if random.one_in(5) {
                text = format!("{text} -{}", random.of(&QUERIES));
            }
            query.words = Some(text.parse().unwrap_or_else(|error| panic!("{text}: {error}")));
        }
        for _ in 0..random.below(3) {
            query.people.push(people(random));
        }
        if random.one_in(4) {
            query.rooms = (0..1 + random.below(2)).map(|_| random.of(&ROOMS).to_string()).collect();
        } else if random.one_in(8) {
            query.conversation = Some(conversation(random.of(&self.messages)));
        }
        if random.one_in(4) {
            query.from = Some(START + random.below(100) as i64 * 1_000_000);
        }
        if random.one_in(4) {
            query.to = Some(START + random.below(100) as i64 * 1_000_000);
        }
        if random.one_in(6) {
            query.kinds = vec![*random.of(&[1, 3, 6, 13, ENCRYPTED_KIND]), *random.of(&[1, 10, 12, ENCRYPTED_KIND])];
        }
        query.all = random.one_in(4);
        if random.one_in(6) {
            query.directions = vec![random.below(4) as i16, 1];
        }
        if random.one_in(6) {
            query.nodes = vec![random.of(&["one", "two", "three"]).to_string()];
        }
        if random.one_in(8) {
            query.encrypted = Some(random.one_in(2));
        }
        query.has_file = random.one_in(12);
        query.has_link = random.one_in(12);
        if random.one_in(12) {
            query.text = vec![random.of(&["epor", "ÖSSE", "好", "ttp", "%", "2 \"", "e \\", "-miss", "name"]).to_string()];
        }
        query
    }

    pub(crate) fn restriction(&self, random: &mut Random) -> Restriction {
        let people = (0..random.below(3)).map(|_| pattern(random)).collect();
        let rooms = (0..random.below(2)).map(|_| random.of(&ROOMS).to_string()).collect();
        let reach = if random.one_in(6) { Reach::Everybody } else { Reach::Only { people, rooms } };
        let time = |random: &mut Random| random.one_in(4).then(|| START + random.below(100) as i64 * 1_000_000);
        Restriction { reach, from: time(random), to: time(random) }
    }
}

fn delivery(message: &Message, seq: usize, reached: usize) -> String {
    format!(
        "INSERT INTO deliveries (message_id, at, seq, recipient_id, node_id, direction, source, send_no) VALUES ({}, {}, {seq}, {}, 1, 2, 1, 1);\n",
        message.id,
        message.sent_at,
        reached + 1
    )
}

fn people(random: &mut Random) -> People {
    let side = *random.of(&[Side::Any, Side::Any, Side::Sender, Side::Recipient]);
    People { side, any: (0..1 + random.below(2)).map(|_| pattern(random)).collect() }
}

fn pattern(random: &mut Random) -> Pattern {
    match random.below(6) {
        0 => Pattern::Domain(random.of(&["a.example", "b.example", "c.example"]).to_string()),
        1 => Pattern::Wildcard(random.of(&["al*", "*@*.b.example", "*o*", "al_*@a*", "one@*"]).to_string()),
        2 => Pattern::Jid(random.of(&ROOMS).to_string()),
        _ => Pattern::Jid(random.of(&PEOPLE).to_string()),
    }
}
