//! Searches of a large archive: writes one, and measures how long its first pages take. `script/bench-search` starts it.
//!
//! ```text
//! cargo bench --bench search -- rows --table messages --messages 1000000 --dialect postgres
//! cargo bench --bench search -- measure --url sqlite:big.sqlite --messages 1000000
//! ```
//!
//! `rows` prints the rows of one table, for `COPY`, for `LOAD DATA`, or as statements for `sqlite3`. Every row follows from its number
//! alone, so that the tables of one archive can be printed one after the other. People, rooms and words are used as often as Zipf's law says:
//! the first word stands in most messages, the last in hardly any; one message in twenty is written in Han characters, one in thirty in Cyrillic.
//! `measure` runs each kind of query at least twenty times with other names and words, and prints the median and the slowest.

use std::error::Error;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use xmpp_archiver::retrieve::{Archive, EXACT_COUNT, Order, Pattern, People, Query, Side};
use xmpp_archiver::store::{Backend, Endpoint};

const PEOPLE: usize = 20_000;
const ROOMS: usize = 1_000;
const WORDS: usize = 50_000;
const HAN: usize = 3_000;
/// Three years.
const SPAN: i64 = 3 * 365 * 86_400 * 1_000_000;
/// When the first message was sent.
const BEGIN: i64 = 1_700_000_000_000_000;
/// Members of a room who get a copy.
const MEMBERS: usize = 4;
/// How often each kind of query runs.
const RUNS: usize = 21;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// `cargo bench` adds this.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the rows of a table.
    Rows {
        #[arg(long)]
        table: Table,
        #[arg(long)]
        messages: i64,
        #[arg(long)]
        dialect: Dialect,
    },
    /// Measure searches of an archive.
    Measure {
        #[arg(long)]
        url: String,
        #[arg(long)]
        messages: i64,
        /// Ask for parts of words, and nothing else.
        #[arg(long)]
        parts: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Table {
    Nodes,
    Jids,
    ConversationNames,
    Messages,
    Deliveries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn of(seed: i64, purpose: u64) -> Self {
        Self((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks as often as Zipf's law says, with a flattened head.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut all = Vec::with_capacity(ranks);
        for rank in 0..ranks {
            sum += 1.0 / (rank as f64 + 3.0).powf(exponent);
            all.push(sum);
        }
        all.iter_mut().for_each(|value| *value /= sum);
        Self(all)
    }

    fn draw(&self, random: &mut Random) -> usize {
        let part = random.part();
        self.0.partition_point(|value| *value < part).min(self.0.len() - 1)
    }
}

struct Plan {
    messages: i64,
    people: Zipf,
    rooms: Zipf,
    words: Zipf,
    han: Zipf,
}

struct Message {
    sent_at: i64,
    room: Option<usize>,
    sender: usize,
    other: usize,
}

fn word(rank: usize) -> String {
    const HEADS: [&str; 16] = ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st"];
    const TAILS: [&str; 8] = ["a", "e", "i", "o", "u", "an", "er", "in"];
    let mut rest = rank + 20;
    let mut word = String::new();
    while rest > 0 {
        word.push_str(HEADS.get(rest % 16).copied().unwrap_or("b"));
        word.push_str(TAILS.get(rest / 16 % 8).copied().unwrap_or("a"));
        rest /= 128;
    }
    word
}

fn person(rank: usize) -> String {
    match rank % 10 {
        9 => format!("user{rank}@partner{}.example", rank % 50),
        _ => format!("user{rank}@corp.example"),
    }
}

fn room(rank: usize) -> String {
    format!("room{rank}@rooms.corp.example")
}

impl Plan {
    fn new(messages: i64) -> Self {
        let people = Zipf::new(PEOPLE, 0.9);
        Self { messages, people, rooms: Zipf::new(ROOMS, 0.9), words: Zipf::new(WORDS, 1.05), han: Zipf::new(HAN, 0.9) }
    }

    fn message(&self, id: i64) -> Message {
        let mut random = Random::of(id, 1);
        let step = SPAN / self.messages.max(1);
        // One in a hundred came late.
        let late = if random.below(100) == 0 { random.below(86_400) as i64 * 1_000_000 } else { 0 };
        let sent_at = BEGIN + id * step + random.below(step.max(1) as usize) as i64 - late;
        let room = (random.below(5) == 0).then(|| self.rooms.draw(&mut random));
        let sender = self.people.draw(&mut random);
        // People write to few others.
        let other = (sender * 31 + random.below(12) * 977 + 1) % PEOPLE;
        Message { sent_at, room, sender, other }
    }

    /// The member of a room with this number.
    fn member(room: usize, number: usize) -> usize {
        (room * 7_919 + number * 1_301) % PEOPLE
    }

    fn body(&self, id: i64) -> String {
        let mut random = Random::of(id, 2);
        let mut body = String::new();
        let kind = random.below(60);
        for number in 0..3 + random.below(18) {
            let rank = self.words.draw(&mut random);
            match kind {
                0..=2 => (0..2).for_each(|_| body.extend(char::from_u32(0x4e00 + self.han.draw(&mut random) as u32))),
                _ => {
                    if number > 0 {
                        body.push(' ');
                    }
                    match kind {
                        3 | 4 => body.extend(word(rank).chars().map(|c| char::from_u32(0x430 + (c as u32 - 0x61)).unwrap_or(c))),
                        _ => body.push_str(&word(rank)),
                    }
                }
            }
        }
        if random.below(20) == 0 {
            body.push_str(" 👍");
        }
        body
    }

    fn conversation(&self, message: &Message) -> usize {
        match message.room {
            Some(room) => room + 1,
            // Every pair that may write to each other has a number; most of them never do.
            None => {
                let (one, other) = (message.sender.min(message.other), message.sender.max(message.other));
                ROOMS + 1 + one * 24 + (other * 7) % 24
            }
        }
    }
}

fn rows(table: Table, plan: &Plan, dialect: Dialect) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let mut writer = Writer { dialect, table: "", columns: "", open: 0 };
    match table {
        Table::Nodes => {
            writer.begin("nodes", "id, name");
            writer.row(&mut out, &["1".into(), "'main'".into()])?;
        }
        Table::Jids => {
            writer.begin("jids", "id, jid");
            for id in 0..PEOPLE + ROOMS {
                let jid = if id < PEOPLE { person(id) } else { room(id - PEOPLE) };
                writer.row(&mut out, &[(id + 1).to_string(), format!("'{jid}'")])?;
            }
        }
        Table::ConversationNames => conversations(&mut writer, &mut out)?,
        Table::Messages => messages(&mut writer, &mut out, plan)?,
        Table::Deliveries => deliveries(&mut writer, &mut out, plan)?,
    }
    writer.end(&mut out)?;
    out.flush()?;
    Ok(())
}

fn conversations(writer: &mut Writer, out: &mut impl Write) -> std::io::Result<()> {
    writer.begin("conversation_names", "id, kind, first_id, second_id, name");
    for number in 0..ROOMS {
        let name = format!("'{}'", room(number));
        writer.row(out, &[(number + 1).to_string(), "2".into(), (PEOPLE + number + 1).to_string(), "NULL".into(), name])?;
    }
    for one in 0..PEOPLE {
        for slot in 0..24 {
            // Who is meant is the same for all messages of a slot as far as the measurement goes.
            let id = ROOMS + 1 + one * 24 + slot;
            let name = format!("'{} slot{slot}'", person(one));
            writer.row(out, &[id.to_string(), "1".into(), (one + 1).to_string(), "NULL".into(), name])?;
        }
    }
    Ok(())
}

fn messages(writer: &mut Writer, out: &mut impl Write, plan: &Plan) -> std::io::Result<()> {
    let columns = "id, sent_at, received_at, conversation_id, sender_id, recipient_id, flags, node_id, kind, type, direction, via, content_key, \
         sender_resource, stanza_id, body, xml";
    writer.begin("messages", columns);
    for id in 1..=plan.messages {
        let message = plan.message(id);
        let recipient = message.room.map_or(message.other + 1, |room| PEOPLE + room + 1);
        let mut random = Random::of(id, 3);
        let bytes: String = (0..12).map(|_| format!("{:016x}", random.next())).collect();
        let row = [
            id.to_string(),
            message.sent_at.to_string(),
            message.sent_at.to_string(),
            plan.conversation(&message).to_string(),
            (message.sender + 1).to_string(),
            recipient.to_string(),
            "0".into(),
            "1".into(),
            "1".into(),
            if message.room.is_some() { "2" } else { "1" }.into(),
            "3".into(),
            "1".into(),
            writer.bytes(&bytes[..24]),
            "'desk'".into(),
            format!("'{}'", &bytes[24..40]),
            format!("'{}'", plan.body(id)),
            writer.bytes(&bytes),
        ];
        writer.row(out, &row)?;
    }
    Ok(())
}

fn deliveries(writer: &mut Writer, out: &mut impl Write, plan: &Plan) -> std::io::Result<()> {
    writer.begin("deliveries", "message_id, at, seq, recipient_id, node_id, direction, source, send_no, resource");
    for id in 1..=plan.messages {
        let message = plan.message(id);
        let reached: Vec<usize> = match message.room {
            Some(room) => (0..MEMBERS).map(|number| Plan::member(room, number)).collect(),
            None => vec![message.other, message.other],
        };
        for (seq, jid) in reached.iter().enumerate() {
            let row = [id, message.sent_at, seq as i64, *jid as i64 + 1, 1, 2, 1, 1].map(|number| number.to_string());
            let mut row = row.to_vec();
            row.push("'phone'".into());
            writer.row(out, &row)?;
        }
    }
    Ok(())
}

/// Rows as COPY reads them, as LOAD DATA does, or as statements.
struct Writer {
    dialect: Dialect,
    table: &'static str,
    columns: &'static str,
    open: usize,
}

impl Writer {
    fn begin(&mut self, table: &'static str, columns: &'static str) {
        (self.table, self.columns) = (table, columns);
    }

    fn bytes(&self, hex: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => format!("X'{hex}'"),
            Dialect::Postgres => format!("'\\\\x{hex}'"),
            Dialect::Mysql => format!("'{hex}'"),
        }
    }

    fn row(&mut self, out: &mut impl Write, fields: &[String]) -> std::io::Result<()> {
        const ROWS: usize = 200;
        if self.dialect != Dialect::Sqlite {
            let plain = |field: &String| if field == "NULL" { "\\N".to_owned() } else { field.trim_matches('\'').to_owned() };
            return writeln!(out, "{}", fields.iter().map(plain).collect::<Vec<_>>().join("\t"));
        }
        if self.open == 0 {
            write!(out, "INSERT INTO {} ({}) VALUES ", self.table, self.columns)?;
        } else {
            write!(out, ",")?;
        }
        write!(out, "({})", fields.join(","))?;
        self.open += 1;
        if self.open == ROWS { self.end(out) } else { Ok(()) }
    }

    fn end(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        if self.open > 0 {
            self.open = 0;
            writeln!(out, ";")?;
        }
        Ok(())
    }
}

/// What a kind of query asks, the n-th time.
type Ask = Box<dyn Fn(usize, &Plan) -> Query>;

fn words(text: &str) -> Query {
    Query { words: text.parse().ok(), limit: 50, order: Order::Descending, ..Query::default() }
}

/// A text anywhere, also within words, which no index of words helps to find.
fn part(text: &str) -> Query {
    Query { text: vec![text.to_owned()], limit: 50, order: Order::Descending, ..Query::default() }
}

fn of_person(rank: usize) -> People {
    People { side: Side::Any, any: vec![Pattern::Jid(person(rank))] }
}

/// Thirty days at different times.
fn within(n: usize, query: Query) -> Query {
    let from = BEGIN + SPAN / RUNS as i64 * n as i64;
    Query { from: Some(from), to: Some(from + 30 * 86_400 * 1_000_000), ..query }
}

fn kind(name: &'static str, ask: impl Fn(usize, &Plan) -> Query + 'static) -> (&'static str, Ask) {
    (name, Box::new(ask))
}

fn kinds() -> Vec<(&'static str, Ask)> {
    let newest = || Query { limit: 50, order: Order::Descending, ..Query::default() };
    vec![
        kind("newest page, no condition", move |_, _| newest()),
        kind("a busy person", move |n, _| Query { people: vec![of_person(n)], ..newest() }),
        kind("a busy person, 30 days", move |n, _| within(n, Query { people: vec![of_person(n)], ..newest() })),
        kind("a rare person, 30 days", move |n, _| within(n, Query { people: vec![of_person(15_000 + n * 37)], ..newest() })),
        kind("a rare person", move |n, _| Query { people: vec![of_person(15_000 + n * 37)], ..newest() }),
        kind("two busy people", move |n, _| Query { people: vec![of_person(n), of_person(n + 40)], ..newest() }),
        kind("a domain of 400 people", move |n, _| {
            let any = vec![Pattern::Domain(format!("partner{}.example", (n * 10 + 9) % 50))];
            Query { people: vec![People { side: Side::Any, any }], ..newest() }
        }),
        kind("a room, 30 days", move |n, _| within(n, Query { rooms: vec![room(n * 3)], ..newest() })),
        kind("a common word", |n, _| words(&word(n))),
        kind("a word in between", |n, _| words(&word(300 + n * 60))),
        kind("a rare word", |n, _| words(&word(30_000 + n * 800))),
        kind("a word that is not there", |n, _| words(&format!("qqq{n}"))),
        kind("a word, 30 days", |n, _| within(n, words(&word(300 + n * 60)))),
        kind("two common words", |n, _| words(&format!("{} {}", word(n), word(n + 25)))),
        kind("two words in between", |n, _| words(&format!("{} {}", word(200 + n * 7), word(250 + n * 11)))),
        kind("a phrase of two common words", |n, _| words(&format!("\"{} {}\"", word(n), word(n + 5)))),
        kind("a phrase of words in between", |n, _| words(&format!("\"{} {}\"", word(100 + n * 7), word(120 + n * 11)))),
        kind("the begin of a word", |n, _| words(&format!("{}*", word(500 + n * 60)))),
        kind("two Han characters", |n, _| {
            words(&[0x4e00 + n as u32 * 20, 0x4e05 + n as u32].iter().filter_map(|code| char::from_u32(*code)).collect::<String>())
        }),
        kind("one Han character", |n, _| words(&char::from_u32(0x4e00 + n as u32 * 40).into_iter().collect::<String>())),
        kind("a Cyrillic word", |n, _| {
            words(&word(20 + n * 10).chars().map(|c| char::from_u32(0x430 + (c as u32 - 0x61)).unwrap_or(c)).collect::<String>())
        }),
        kind("an emoji", |_, _| words("👍")),
        kind("a word without another", |n, _| words(&format!("{} -{}", word(300 + n * 60), word(n)))),
        kind("one word or another", |n, _| words(&format!("{} OR {}", word(1_000 + n * 60), word(2_000 + n * 60)))),
        kind("a busy person and a word", |n, _| Query { people: vec![of_person(n)], ..words(&word(300 + n * 60)) }),
        kind("a room and a word", |n, _| Query { rooms: vec![room(n * 3)], ..words(&word(100 + n * 20)) }),
        kind("a word, what fits best", |n, _| Query { by_relevance: true, ..words(&word(300 + n * 60)) }),
    ]
}

/// What only trigrams help with: without them all messages are read.
fn parts() -> Vec<(&'static str, Ask)> {
    vec![
        kind("a part of a rare word", |n, _| part(&word(30_000 + n * 800)[1..])),
        kind("a part of no word", |n, _| part(&format!("qqq{n}"))),
    ]
}

async fn measure(url: &str, messages: i64, only_parts: bool) -> Result<(), Box<dyn Error>> {
    let backend = match url.split_once(':') {
        Some(("sqlite", path)) => Backend::Sqlite(path.into()),
        Some(("postgres", _)) => Backend::Postgres(url.to_owned()),
        _ => Backend::Mysql(url.to_owned()),
    };
    let patience = Duration::from_secs(600);
    let endpoint = Endpoint { name: "bench".to_owned(), backend, tls_ca: None, connect_timeout: patience, statement_timeout: patience };
    let archive = Archive::open(&endpoint, 1).await?;
    let plan = Plan::new(messages);
    println!("| query | found on the first page | median (ms) | slowest (ms) |\n|---|---|---|---|");
    for (name, ask) in if only_parts { parts() } else { kinds() } {
        let mut found = 0;
        let mut times = Vec::new();
        for n in 0..RUNS {
            let query = ask(n, &plan);
            let started = Instant::now();
            found += archive.search(&query).await?.messages.len();
            times.push(started.elapsed());
        }
        report(name, &format!("{:.1}", found as f64 / RUNS as f64), times);
    }
    if only_parts {
        return Ok(());
    }
    for (name, first) in [("counting a common word", 0), ("counting a word in between", 300), ("counting a rare word", 30_000)] {
        let mut found = 0;
        let mut times = Vec::new();
        for n in 0..RUNS {
            let started = Instant::now();
            found += archive.count(&words(&word(first + n * (1 + first / 10))), EXACT_COUNT).await?.messages;
            times.push(started.elapsed());
        }
        report(name, &format!("{} in all", found / RUNS as u64), times);
    }
    Ok(())
}

fn report(name: &str, found: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!("| {name} | {found} | {:.1} | {:.1} |", milliseconds(times.get(times.len() / 2)), milliseconds(times.last()));
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().action {
        Action::Rows { table, messages, dialect } => rows(table, &Plan::new(messages), dialect),
        Action::Measure { url, messages, parts } => measure(&url, messages, parts).await,
    }
}
