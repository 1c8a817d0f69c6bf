//! The pipeline from a record of the spool to the rows without its threads and sockets, and with a clock of its own: for tests that choose when each
//! copy arrived, where the transactions end, and when the process starts anew.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Runtime;
use xmpp_archiver::identity::JOIN_WINDOW;
use xmpp_archiver::intake::record::Record;
use xmpp_archiver::node::Node;
use xmpp_archiver::pipeline::read::RecordReader;
use xmpp_archiver::pipeline::retry;
use xmpp_archiver::policy::Policy;
use xmpp_archiver::store::batch::Entry;
use xmpp_archiver::store::{Connection, Writer, gaps, migrations, tallies};
use xmpp_archiver::time::Micros;

use super::archiver::{Store, StoreKind};
use super::ledger::Ledger;
use super::process::Directory;

/// When the tests' clock starts: 2026-11-22 07:28:55 UTC.
pub(crate) const START: Micros = 1_795_332_535_000_000;

/// One archiving process.
pub(crate) struct Pipe {
    runtime: Runtime,
    /// Shared by the processes that write to one store.
    _directory: Arc<Directory>,
    store: Store,
    nodes: Vec<Arc<Node>>,
    records: RecordReader,
    writer: Writer,
    spool_id: [u8; 16],
    seq: u64,
    waiting: Vec<Entry>,
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
        Pipe::open(directory, store, nodes, 1)
    }

    /// Another process, with a spool of its own, that writes to the same store.
    pub(crate) fn beside(&self, nodes: &[Node]) -> Pipe {
        Pipe::open(Arc::clone(&self._directory), self.store.clone(), nodes, self.spool_id[0] + 1)
    }

    fn open(directory: Arc<Directory>, store: Store, nodes: &[Node], spool: u8) -> Pipe {
        let runtime = Runtime::new().expect("a runtime");
        let nodes: Vec<Arc<Node>> = nodes.iter().cloned().map(Arc::new).collect();
        let writer = runtime.block_on(writer(&store));
        let records = RecordReader::new(&nodes, Policy::default());
        Pipe {
            runtime,
            _directory: directory,
            store,
            nodes,
            records,
            writer,
            spool_id: [spool; 16],
            seq: 0,
            waiting: Vec::new(),
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

    /// Stores everything that came, in one transaction.
    pub(crate) fn commit(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let stored = self.runtime.block_on(self.writer.commit(&waiting, &self.spool_id, self.seq));
        stored.expect("the store takes it");
    }

    /// The store refuses the last record that came, and it is set aside.
    pub(crate) fn set_aside_last(&mut self, why: &str) {
        let entry = self.waiting.pop().expect("a record");
        let stored = self.runtime.block_on(self.writer.set_aside(&entry, why, &self.spool_id));
        stored.expect("the quarantine takes it");
    }

    /// Tries an entry of the quarantine once more.
    pub(crate) fn retry(&mut self, id: i64) {
        let outcome = self.runtime.block_on(retry::retry(&mut self.writer, &mut self.records, id));
        assert_eq!(outcome.expect("the store answers"), retry::Outcome::Stored);
    }

    /// The process ends and starts again: all that it knew only in memory is gone.
    pub(crate) fn restart(&mut self) {
        self.writer = self.runtime.block_on(writer(&self.store));
        self.records = RecordReader::new(&self.nodes, Policy::default());
        let occupants = self.runtime.block_on(self.writer.occupants()).expect("the occupants");
        for (room, nick, jid) in occupants {
            self.records.rooms().learn(&room, &nick, jid);
        }
    }

    /// The gaps and the counts, with all that came stored.
    pub(crate) fn account(&mut self) -> (Vec<gaps::Gap>, tallies::Days) {
        self.commit();
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
        self.runtime.block_on(Ledger::read(&self.store.endpoint()))
    }
}

async fn writer(store: &Store) -> Writer {
    let mut connection = Connection::open(&store.endpoint()).await.expect("the store");
    if !matches!(store, Store::Sqlite(_)) {
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
