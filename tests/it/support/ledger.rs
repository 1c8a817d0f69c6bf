//! What an archive holds, read straight from its tables with the numbers of the dictionaries turned back into names: the same for the three
//! databases, so that archives can be compared with the truth and with each other.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use xmpp_archiver::store::schema::{
    bounces, conversation_names, deliveries, jids, messages, nodes, occupancy_events, progress, quarantine,
};
use xmpp_archiver::store::{Connection, Endpoint, codec};

/// Runs one query on whichever connection it is.
macro_rules! load {
    ($connection:expr, $query:expr) => {
        match $connection {
            Connection::Sqlite(inner) => diesel::RunQueryDsl::load($query, inner),
            Connection::Postgres(inner) => diesel_async::RunQueryDsl::load($query, inner).await,
            Connection::Mysql(inner) => diesel_async::RunQueryDsl::load($query, inner).await,
        }
        .expect("read the archive")
    };
}

/// One message with its copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) kind: i16,
    pub(crate) message_type: i16,
    pub(crate) flags: i32,
    pub(crate) via: i16,
    pub(crate) direction: i16,
    pub(crate) node: String,
    pub(crate) conversation: String,
    /// The full JID where it is known.
    pub(crate) sender: Option<String>,
    pub(crate) sender_nick: Option<String>,
    pub(crate) recipient: Option<String>,
    pub(crate) recipient_nick: Option<String>,
    pub(crate) stanza_id: Option<String>,
    pub(crate) origin_id: Option<String>,
    pub(crate) thread: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) refers_to: Option<i64>,
    pub(crate) refers_to_id: Option<String>,
    pub(crate) sent_at: i64,
    pub(crate) received_at: i64,
    /// The stanza of its first copy, as it came.
    pub(crate) stanza: String,
    pub(crate) copies: Vec<Copy>,
}

/// One copy of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) recipient: Option<String>,
    pub(crate) node: String,
    pub(crate) direction: i16,
    pub(crate) source: i16,
    pub(crate) is_replay: bool,
    pub(crate) send: i16,
    pub(crate) at: i64,
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounce {
    pub(crate) message: Option<i64>,
    pub(crate) stanza_id: Option<String>,
    pub(crate) condition: String,
}

/// A room, a nick in it, the JID behind it, and whether that came or went.
type Occupancy = (String, String, Option<String>, bool);

/// Everything that a test looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) rows: Vec<Row>,
    pub(crate) bounces: Vec<Bounce>,
    pub(crate) occupancy: Vec<Occupancy>,
    /// Why each record in quarantine is there.
    pub(crate) quarantine: Vec<String>,
}

impl Row {
    /// How many sends the copies may stem from, when that is more than one; else 0.
    pub(crate) fn possibly_several(&self) -> i16 {
        let sends = self.copies.iter().map(|copy| copy.send).max().unwrap_or_default();
        if sends > 1 { sends } else { 0 }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The id and what was said, for the message of a test that failed.
    pub(crate) fn brief(&self) -> String {
        let body = self.body.as_deref().unwrap_or("-").chars().take(60).collect::<String>();
        format!(
            "#{} kind {} {:?} → {:?} id {:?} {body:?} in {} ×{} several {}",
            self.id,
            self.kind,
            self.sender,
            self.recipient,
            self.stanza_id,
            self.conversation,
            self.copies.len(),
            self.possibly_several()
        )
    }
}

impl Ledger {
    /// Reads an archive.
    pub(crate) async fn read(endpoint: &Endpoint) -> Ledger {
        let mut connection = Connection::open(endpoint).await.expect("open the archive");
        let names = Names::read(&mut connection).await;
        let mut rows = rows(&mut connection, &names).await;
        add_copies(&mut connection, &names, &mut rows).await;
        let rows = rows.into_values().collect();
        let found: Vec<(Option<i64>, Option<String>, String)> =
            load!(&mut connection, bounces::table.order(bounces::id).select((bounces::message_id, bounces::stanza_id, bounces::condition)));
        let bounces = found.into_iter().map(|(message, stanza_id, condition)| Bounce { message, stanza_id, condition }).collect();
        let quarantine = load!(&mut connection, quarantine::table.order(quarantine::id).select(quarantine::reason));
        let occupancy = occupancy(&mut connection, &names).await;
        Ledger { rows, bounces, occupancy, quarantine }
    }

    /// The same without times of arrival, which no two runs share.
    pub(crate) fn timeless(&self) -> Ledger {
        let mut timeless = self.clone();
        for row in &mut timeless.rows {
            row.received_at = 0;
            row.sent_at = if row.via == 2 { row.sent_at } else { 0 };
            row.copies.iter_mut().for_each(|copy| copy.at = 0);
        }
        timeless
    }

    /// The messages with this body.
    pub(crate) fn saying(&self, body: &str) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.body.as_deref() == Some(body)).collect()
    }

    /// How many messages and copies there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.rows.iter().map(|row| row.copies.len()).sum())
    }

    /// The only message with this body.
    pub(crate) fn only(&self, body: &str) -> &Row {
        let rows = self.saying(body);
        assert_eq!(rows.len(), 1, "{body:?}:\n{self}");
        rows[0]
    }
}

impl std::fmt::Display for Ledger {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for row in &self.rows {
            writeln!(out, "  {}", row.brief())?;
        }
        for bounce in &self.bounces {
            writeln!(out, "  {bounce:?}")?;
        }
        self.quarantine.iter().try_for_each(|reason| writeln!(out, "  quarantine: {reason}"))
    }
}

/// How many records are stored; none as long as there are no tables.
pub(crate) fn stored(endpoint: &Endpoint) -> i64 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let Ok(mut connection) = Connection::open(endpoint).await else { return 0 };
        let query = progress::table.order(progress::next_seq.desc()).select(progress::next_seq);
        let found: Result<Vec<i64>, _> = match &mut connection {
            Connection::Sqlite(inner) => diesel::RunQueryDsl::load(query, inner),
            Connection::Postgres(inner) => diesel_async::RunQueryDsl::load(query, inner).await,
            Connection::Mysql(inner) => diesel_async::RunQueryDsl::load(query, inner).await,
        };
        found.ok().and_then(|found| found.first().copied()).unwrap_or(0)
    })
}

struct Names {
    jids: HashMap<i32, String>,
    nodes: HashMap<i16, String>,
    conversations: HashMap<i32, String>,
}

impl Names {
    async fn read(connection: &mut Connection) -> Names {
        let jids: Vec<(i32, String)> = load!(&mut *connection, jids::table.select((jids::id, jids::jid)));
        let nodes: Vec<(i16, String)> = load!(&mut *connection, nodes::table.select((nodes::id, nodes::name)));
        let conversations: Vec<(i32, String)> =
            load!(&mut *connection, conversation_names::table.select((conversation_names::id, conversation_names::name)));
        Names { jids: jids.into_iter().collect(), nodes: nodes.into_iter().collect(), conversations: conversations.into_iter().collect() }
    }

    fn jid(&self, id: Option<i32>, resource: Option<String>) -> Option<String> {
        let bare = &self.jids[&id?];
        Some(resource.map_or_else(|| bare.clone(), |resource| format!("{bare}/{resource}")))
    }
}

type Heads = (i64, i16, i16, i32, i16, i16, i16, i32, i64, i64, Option<i64>);
type People = (Option<i32>, Option<String>, Option<String>, Option<i32>, Option<String>, Option<String>);
type Texts = (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Vec<u8>);

async fn rows(connection: &mut Connection, names: &Names) -> BTreeMap<i64, Row> {
    use messages::dsl as m;
    let heads = (
        m::id,
        m::kind,
        m::type_,
        m::flags,
        m::via,
        m::direction,
        m::node_id,
        m::conversation_id,
        m::sent_at,
        m::received_at,
        m::refers_to,
    );
    let people = (m::sender_id, m::sender_resource, m::sender_nick, m::recipient_id, m::recipient_resource, m::recipient_nick);
    let texts = (m::stanza_id, m::origin_id, m::thread, m::subject, m::body, m::refers_to_id, m::xml);
    let found: Vec<(Heads, People, Texts)> = load!(connection, messages::table.order(m::id).select((heads, people, texts)));
    found.into_iter().map(|(heads, people, texts)| (heads.0, row(names, heads, people, texts))).collect()
}

fn row(names: &Names, heads: Heads, people: People, texts: Texts) -> Row {
    let (id, kind, message_type, flags, via, direction, node, conversation, sent_at, received_at, refers_to) = heads;
    let (sender, sender_resource, sender_nick, recipient, recipient_resource, recipient_nick) = people;
    let (stanza_id, origin_id, thread, subject, body, refers_to_id, xml) = texts;
    let columns = [&body, &subject, &thread, &stanza_id, &origin_id, &sender_resource, &refers_to_id].map(|text| text.as_deref());
    let bare = |id: Option<i32>| names.jid(id, None);
    let (from, to) = (bare(sender), bare(recipient));
    let columns = codec::Columns::new(columns, from.as_deref(), to.as_deref());
    let stanza = codec::unpack(&xml, &columns).expect("a stanza that can be read");
    Row {
        id,
        kind,
        message_type,
        flags,
        via,
        direction,
        node: names.nodes[&node].clone(),
        conversation: names.conversations[&conversation].clone(),
        sender: names.jid(sender, sender_resource),
        sender_nick,
        recipient: names.jid(recipient, recipient_resource),
        recipient_nick,
        // What is the same as the id is not stored twice.
        origin_id: if flags & 512 != 0 { stanza_id.clone() } else { origin_id },
        stanza_id,
        thread,
        subject,
        body,
        refers_to,
        refers_to_id,
        sent_at,
        received_at,
        stanza: String::from_utf8(stanza).expect("UTF-8"),
        copies: Vec::new(),
    }
}

type Delivered = (i64, Option<i32>, Option<String>, i16, i16, i16, i16, i64);
type Occupied = (i32, String, Option<i32>, Option<String>, i16);

async fn add_copies(connection: &mut Connection, names: &Names, rows: &mut BTreeMap<i64, Row>) {
    use deliveries::dsl as d;
    let columns = (d::message_id, d::recipient_id, d::resource, d::node_id, d::direction, d::source, d::send_no, d::at);
    let query = deliveries::table.order((d::message_id, d::seq)).select(columns);
    let found: Vec<Delivered> = load!(connection, query);
    for (message, recipient, resource, node, direction, source, send, at) in found {
        let recipient = names.jid(recipient, resource);
        let copy = Copy { recipient, node: names.nodes[&node].clone(), direction, source, is_replay: matches!(source, 3..=5), send, at };
        rows.get_mut(&message).expect("a copy of a message").copies.push(copy);
    }
}

async fn occupancy(connection: &mut Connection, names: &Names) -> Vec<Occupancy> {
    use occupancy_events::dsl as o;
    let query = occupancy_events::table.order(o::id).select((o::room_id, o::nick, o::jid_id, o::resource, o::event));
    let found: Vec<Occupied> = load!(connection, query);
    found
        .into_iter()
        .map(|(room, nick, jid, resource, event)| (names.jids[&room].clone(), nick, names.jid(jid, resource), event == 1))
        .collect()
}
