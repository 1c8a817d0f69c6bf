//! The pipeline from a record of the spool to the rows without its threads and sockets, and with a clock of its own: for tests that choose when each
//! copy arrived, where the transactions end, and when the process starts anew.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use xmpp_archiver::identity::JOIN_WINDOW;
use xmpp_archiver::intake::record::Record;
use xmpp_archiver::node::Node;
use xmpp_archiver::pipeline::read::RecordReader;
use xmpp_archiver::pipeline::retry;
use xmpp_archiver::policy::Policy;
use xmpp_archiver::store::batch::Entry;
use xmpp_archiver::store::overlap::{Foresight, MAX_IN_FLIGHT};
use xmpp_archiver::store::{Backend, Connection, Endpoint, StoreError, Writer, gaps, migrations, tallies};
use xmpp_archiver::time::Micros;

use super::archiver::{Store, StoreKind};
use super::ledger::Ledger;
use super::process::Directory;
use super::proxy::Proxy;

/// When the tests' clock starts: 2026-11-22 07:28:55 UTC.
pub(crate) const START: Micros = 1_795_332_535_000_000;

/// Batches that are asked for before it is their turn.
const AHEAD: usize = 3;

/// Records, and the spool's position after them.
type Batch = (Vec<Entry>, u64);

/// One archiving process.
pub(crate) struct Pipe {
    runtime: Runtime,
    /// Shared by the processes that write to one store.
    _directory: Arc<Directory>,
    store: Store,
    /// How the store is reached, which may be by a long way.
    endpoint: Endpoint,
    nodes: Vec<Arc<Node>>,
    records: RecordReader,
    writer: Writer,
    spool_id: [u8; 16],
    seq: u64,
    waiting: Vec<Entry>,
    /// Batches that are asked for.
    asked: VecDeque<(Batch, Option<Foresight>)>,
    /// Batches that were sent off and have not landed.
    flying: VecDeque<Batch>,
    /// Whether another process writes too: then each waits for its own batches, so that a test knows their order.
    has_company: Arc<AtomicBool>,
    /// How many batches were stored that were decided before the one before them was stored.
    pub(crate) overlapped: usize,
    /// How many were decided in vain.
    pub(crate) undone: usize,
    /// Everything that came, as the spool would give it again.
    history: Vec<Vec<u8>>,
}

impl Pipe {
    /// A process with an empty store.
    pub(crate) fn new(kind: StoreKind, nodes: &[Node]) -> Pipe {
        let directory = Arc::new(Directory::new(None));
        let store = Store::new(kind, &directory);
        if let Store::Sqlite(path) = &store {
            std::fs::write(path, migrated()).expect("an empty archive");
        }
        let endpoint = store.endpoint();
        Pipe::open(directory, store, endpoint, nodes, 1, Arc::default())
    }

    /// The same on a server that is so far away, in each direction; and the way to it.
    pub(crate) fn far_from(kind: StoreKind, nodes: &[Node], delay: Duration) -> (Pipe, Proxy) {
        let near = Pipe::new(kind, nodes);
        let port = near.store.port().expect("a server");
        let proxy = Proxy::to(port);
        let mut endpoint = near.store.endpoint();
        if let Backend::Postgres(url) | Backend::Mysql(url) = &mut endpoint.backend {
            *url = url.replacen(&format!(":{port}/"), &format!(":{}/", proxy.port), 1);
        }
        proxy.delay(delay);
        let far = Pipe::open(near._directory.clone(), near.store.clone(), endpoint, nodes, 1, Arc::default());
        (far, proxy)
    }

    /// Another process, with a spool of its own, that writes to the same store.
    pub(crate) fn beside(&self, nodes: &[Node]) -> Pipe {
        self.has_company.store(true, Ordering::Relaxed);
        let (directory, company) = (Arc::clone(&self._directory), Arc::clone(&self.has_company));
        Pipe::open(directory, self.store.clone(), self.endpoint.clone(), nodes, self.spool_id[0] + 1, company)
    }

    fn open(directory: Arc<Directory>, store: Store, endpoint: Endpoint, nodes: &[Node], spool: u8, has_company: Arc<AtomicBool>) -> Pipe {
        let runtime = Runtime::new().expect("a runtime");
        let nodes: Vec<Arc<Node>> = nodes.iter().cloned().map(Arc::new).collect();
        let writer = runtime.block_on(writer(&endpoint));
        let records = RecordReader::new(&nodes, Policy::default());
        Pipe {
            runtime,
            _directory: directory,
            store,
            endpoint,
            nodes,
            records,
            writer,
            spool_id: [spool; 16],
            seq: 0,
            waiting: Vec::new(),
            asked: VecDeque::new(),
            flying: VecDeque::new(),
            has_company,
            overlapped: 0,
            undone: 0,
            history: Vec::new(),
        }
    }

    /// A stanza arrives from the first node.
    pub(crate) fn take(&mut self, at: Micros, stanza: &str) {
        self.take_of(at, None, stanza);
    }

    /// The same with the number of sessions that were known to receive it.
    pub(crate) fn take_of(&mut self, at: Micros, sessions: Option<u16>, stanza: &str) {
        let name = self.nodes[0].name.clone();
        self.record(&Record::stanza(&name, at, sessions, stanza.as_bytes()).encode());
    }

    /// A record comes out of the spool.
    pub(crate) fn record(&mut self, record: &[u8]) {
        let entry = self.records.read(self.seq, record);
        self.waiting.push(entry);
        self.history.push(record.to_vec());
        self.seq += 1;
    }

    /// The process starts again and is given the spool from an earlier record on, though what follows is stored already.
    pub(crate) fn replay_from(&mut self, record: usize) {
        self.restart();
        let history = std::mem::take(&mut self.history);
        let again = (0..).zip(&history).skip(record);
        self.waiting = again.map(|(seq, record)| self.records.read(seq, record)).collect();
        self.history = history;
        self.commit();
    }

    /// Stores everything that came, in one transaction. On a server it may still be on its way then, unless another process writes too.
    pub(crate) fn commit(&mut self) {
        self.send();
        if self.has_company.load(Ordering::Relaxed) {
            self.land();
        }
    }

    /// The same, whoever else writes; see [`Pipe::land`].
    pub(crate) fn send(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let foresight = self.runtime.block_on(async { self.writer.foresee(&waiting) });
        self.asked.push_back(((waiting, self.seq), foresight));
        while self.asked.len() > AHEAD || (!self.asked.is_empty() && !self.writer.looks_ahead()) {
            self.submit();
        }
    }

    /// Decides the oldest batch that is asked for, and sends it off.
    fn submit(&mut self) {
        let Some((batch, foresight)) = self.asked.pop_front() else { return };
        if self.flying.len() >= MAX_IN_FLIGHT {
            self.land_one();
        }
        if self.runtime.block_on(self.writer.submit(&batch.0, &self.spool_id, batch.1, foresight)) {
            self.flying.push_back(batch);
            return;
        }
        while !self.flying.is_empty() {
            self.land_one();
        }
        self.store_alone(&batch.0, batch.1);
        self.runtime.block_on(self.writer.open_lane(&self.endpoint)).expect("further connections");
    }

    /// Waits until everything is stored.
    pub(crate) fn land(&mut self) {
        while !self.asked.is_empty() {
            self.submit();
        }
        while !self.flying.is_empty() {
            self.land_one();
        }
    }

    /// Memory keeps no more than this many messages that are stored.
    pub(crate) fn keep(&mut self, most: usize) {
        self.writer.keep(most);
    }

    /// Ends the connection that writes, which was opened last, from the server's side.
    pub(crate) fn cut_lane(&self) {
        self.cut("DESC", 1, 0);
    }

    /// Ends those that ask ahead: all but the first and the last.
    pub(crate) fn cut_scouts(&self) {
        self.cut("ASC", 100, 1);
    }

    /// Ends so many connections in this order of their begin, but not so many of the first, and never the newest unless that is asked for.
    fn cut(&self, order: &str, most: usize, skipped: usize) {
        let (begin, list) = match &self.store {
            Store::Sqlite(_) => return,
            Store::Postgres(_) => (
                "backend_start",
                "SELECT pid, backend_start FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'xmpp-archiver'",
            ),
            Store::MariaDb(_) => {
                ("id", "SELECT id AS pid, id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
            }
        };
        let listed = self.store.query(&format!("SELECT pid FROM ({list}) AS open ORDER BY {begin} {order}"));
        let listed: Vec<&str> = listed.split_whitespace().collect();
        let last = if skipped > 0 { listed.len().saturating_sub(1) } else { listed.len() };
        for pid in listed[..last].iter().skip(skipped).take(most) {
            match &self.store {
                Store::Postgres(_) => self.store.query(&format!("SELECT pg_terminate_backend({pid})")),
                _ => self.store.query(&format!("KILL {pid}")),
            };
        }
    }

    /// Who wrote last, by the mark that each writer leaves.
    pub(crate) fn last_writer(&self) -> String {
        let value = if matches!(self.store, Store::Postgres(_)) { "encode(value, 'hex')" } else { "hex(value)" };
        self.store.query(&format!("SELECT {value} FROM settings WHERE name = 'writer'"))
    }

    fn land_one(&mut self) {
        match self.runtime.block_on(self.writer.land()) {
            Some(Ok(_committed)) => {
                self.flying.pop_front();
                self.overlapped += 1;
            }
            Some(Err(_)) | None => {
                self.undone += self.flying.len();
                for (batch, next_seq) in std::mem::take(&mut self.flying) {
                    self.store_alone(&batch, next_seq);
                }
            }
        }
    }

    /// Stores it as the pipeline does: by a new connection should this one be lost.
    fn store_alone(&mut self, batch: &[Entry], next_seq: u64) {
        let mut attempts = 0;
        loop {
            match self.runtime.block_on(self.writer.commit(batch, &self.spool_id, next_seq)) {
                Ok(_committed) => return,
                Err(StoreError::Unreachable(_)) if attempts < 3 => self.writer = self.runtime.block_on(writer(&self.endpoint)),
                Err(error) => panic!("the store takes it: {error}"),
            }
            attempts += 1;
        }
    }

    /// The store refuses the last record that came, and it is set aside.
    pub(crate) fn set_aside_last(&mut self, why: &str) {
        self.land();
        let entry = self.waiting.pop().expect("a record");
        let stored = self.runtime.block_on(self.writer.set_aside(&entry, why, &self.spool_id));
        stored.expect("the quarantine takes it");
    }

    /// Tries an entry of the quarantine once more.
    pub(crate) fn retry(&mut self, id: i64) {
        self.land();
        let outcome = self.runtime.block_on(retry::retry(&mut self.writer, &mut self.records, id));
        assert_eq!(outcome.expect("the store answers"), retry::Outcome::Stored);
    }

    /// The process ends and starts again: all that it knew only in memory is gone.
    pub(crate) fn restart(&mut self) {
        self.land();
        self.writer = self.runtime.block_on(writer(&self.endpoint));
        self.records = RecordReader::new(&self.nodes, Policy::default());
        let occupants = self.runtime.block_on(self.writer.occupants()).expect("the occupants");
        for (room, nick, jid) in occupants {
            self.records.rooms().learn(&room, &nick, jid);
        }
    }

    /// The gaps and the counts, with all that came stored.
    pub(crate) fn account(&mut self) -> (Vec<gaps::Gap>, tallies::Days) {
        self.commit();
        self.land();
        let endpoint = self.store.endpoint();
        self.runtime.block_on(async {
            let mut connection = Connection::open(&endpoint).await.expect("the store");
            let gaps = gaps::all(&mut connection, &gaps::Filter::default()).await.expect("the gaps");
            let days = tallies::days(&mut connection, 20_000, 22_000, 0).await.expect("the counts");
            (gaps, days)
        })
    }

    /// What the store holds, with all that came stored.
    pub(crate) fn ledger(&mut self) -> Ledger {
        self.commit();
        self.land();
        self.runtime.block_on(Ledger::read(&self.store.endpoint()))
    }
}

async fn writer(endpoint: &Endpoint) -> Writer {
    let mut connection = Connection::open(endpoint).await.expect("the store");
    if !matches!(endpoint.backend, Backend::Sqlite(_)) {
        migrations::up(&mut connection, None).await.expect("the migrations");
    }
    Writer::new(connection, JOIN_WINDOW).await.expect("a migrated store")
}

/// An empty archive in SQLite: made once, since a property has hundreds of cases.
fn migrated() -> &'static [u8] {
    static MIGRATED: OnceLock<Vec<u8>> = OnceLock::new();
    MIGRATED.get_or_init(|| {
        let directory = Directory::new(None);
        let path = directory.path().join("template.sqlite");
        Runtime::new().expect("a runtime").block_on(migrate(&path));
        std::fs::read(&path).expect("the file")
    })
}

async fn migrate(path: &Path) {
    let store = Store::Sqlite(path.to_owned());
    let mut connection = Connection::open(&store.endpoint()).await.expect("a new file");
    migrations::up(&mut connection, None).await.expect("the migrations");
}
