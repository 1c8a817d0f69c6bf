//! The archiver's own program, run as an operator runs it: with a configuration file, and asked through its commands.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use xmpp_archiver::store::{Backend, Endpoint};
use xmpp_archiver::time::{now, rfc3339};

use super::ledger::Ledger;
use super::node::{Kind, Node};
use super::played::Played;
use super::process::{Directory, PATIENCE, Process, command, run, tail, try_for};
use super::{mariadb, postgres};

const PROGRAM: &str = env!("CARGO_BIN_EXE_xmpp-archiver");

/// Where an archive is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Sqlite,
    Postgres,
    MariaDb,
}

/// A store of a test's own, empty at first.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    Sqlite(PathBuf),
    Postgres(postgres::Database),
    MariaDb(mariadb::Database),
}

impl Store {
    pub(crate) fn new(kind: StoreKind, directory: &Directory) -> Store {
        match kind {
            StoreKind::Sqlite => Store::Sqlite(directory.path().join("archive.sqlite")),
            StoreKind::Postgres => Store::Postgres(postgres::database()),
            StoreKind::MariaDb => Store::MariaDb(mariadb::database()),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Store::Sqlite(path) => format!("sqlite:{}", path.display()),
            Store::Postgres(database) => database.url(),
            Store::MariaDb(database) => database.url(),
        }
    }

    /// The port of its server.
    pub(crate) fn port(&self) -> Option<u16> {
        let url = self.url();
        url.rsplit_once(':')?.1.split('/').next()?.parse().ok()
    }

    /// The authority that signed the certificate of a server that speaks TLS only.
    pub(crate) fn authority(&self) -> Option<&Path> {
        match self {
            Store::Sqlite(_) => None,
            Store::Postgres(database) => database.server.authority(),
            Store::MariaDb(database) => database.server.authority(),
        }
    }

    /// How the archiver's own code reaches it.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let backend = match self {
            Store::Sqlite(path) => Backend::Sqlite(path.clone()),
            Store::Postgres(database) => Backend::Postgres(database.url()),
            Store::MariaDb(database) => Backend::Mysql(database.url()),
        };
        let patience = PATIENCE;
        Endpoint { name: "main".to_owned(), backend, tls_ca: None, connect_timeout: patience, statement_timeout: patience }
    }

    /// Everything that it holds.
    pub(crate) fn ledger(&self) -> Ledger {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(Ledger::read(&self.endpoint()))
    }

    /// What the database's own client prints for a query, without headings.
    pub(crate) fn query(&self, sql: &str) -> String {
        match self {
            Store::Sqlite(path) => {
                let mut sqlite = Command::new("sqlite3");
                sqlite.arg(path).arg(sql);
                run(sqlite)
            }
            Store::Postgres(database) => database.query(sql),
            Store::MariaDb(database) => database.query(sql),
        }
    }
}

/// An archiver with a configuration, a spool and a store of its own.
#[derive(Debug)]
pub(crate) struct Archiver {
    // First, since things are dropped in this order: it is to be gone when what it uses is removed.
    process: Option<Process>,
    pub(crate) store: Store,
    directory: Directory,
    configuration: PathBuf,
}

impl Archiver {
    /// An archiver for these nodes, its tables made, not yet running.
    pub(crate) fn new(kind: StoreKind, nodes: &[&Node]) -> Archiver {
        let directory = Directory::new(None);
        let store = Store::new(kind, &directory);
        Archiver::with_store(store, directory, nodes)
    }

    /// An archiver for a store that is there already, or that another writes to as well.
    pub(crate) fn on(store: &Store, nodes: &[&Node]) -> Archiver {
        Archiver::with_store(store.clone(), Directory::new(None), nodes)
    }

    /// An archiver for the n-th component to which a node mirrors the same, from 0.
    pub(crate) fn of_feed(store: &Store, node: &Node, number: usize) -> Archiver {
        let archiver = Archiver::on(store, &[node]);
        let domain = |archive: &str| format!("domain = '{archive}'");
        let address = |port: u16| format!("address = '127.0.0.1:{port}'");
        let settings = archiver.settings().replacen(&domain(&node.archive), &domain(&node.archives[number]), 1);
        let settings = settings.replacen(&address(node.component_port), &address(node.component_ports[number]), 1);
        if number > 0 {
            let name = settings.lines().rev().find(|line| line.starts_with("name = ")).expect("the node's name").to_owned();
            let same = name.replacen("name", "same_as", 1);
            let other = name.replacen("= '", &format!("= 'feed-{number}-of-"), 1);
            archiver.set_settings(&settings.replacen(&format!("{name}\n"), &format!("{other}\n{same}\n"), 1));
        }
        archiver
    }

    /// An archiver for nodes that are only played, with further settings of its store; the tables are made by its first start.
    pub(crate) fn for_played(store: StoreKind, settings: &str, nodes: &[&Played]) -> Archiver {
        let directory = Directory::new(None);
        let store = Store::new(store, &directory);
        Archiver::for_played_on(store, directory, settings, nodes)
    }

    /// The same with a store that is there already.
    pub(crate) fn for_played_on(store: Store, directory: Directory, settings: &str, nodes: &[&Played]) -> Archiver {
        let spool = directory.make("spool");
        let text = played_configuration(&store, settings, &spool, nodes);
        let configuration = directory.write("archiver.toml", &text);
        Archiver { store, directory, configuration, process: None }
    }

    /// Gives it another store, as its operator would who changes the configuration.
    pub(crate) fn move_to(&mut self, store: Store, nodes: &[&Played]) {
        self.directory.write("archiver.toml", &played_configuration(&store, "", &self.spool(), nodes));
        self.store = store;
    }

    fn with_store(store: Store, directory: Directory, nodes: &[&Node]) -> Archiver {
        let spool = directory.make("spool");
        let text = configuration(&store, &spool, nodes);
        let configuration = directory.write("archiver.toml", &text);
        let archiver = Archiver { store, directory, configuration, process: None };
        archiver.must(&["migrate", "up"]);
        archiver
    }

    /// Where its spools are.
    pub(crate) fn spool(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    /// What it tells about itself; none before it does.
    pub(crate) fn status(&self) -> Option<Value> {
        let text = std::fs::read_to_string(self.spool().join("status.json")).ok()?;
        let status: Value = serde_json::from_str(&text).ok()?;
        let pid = self.process.as_ref().map(|process| u64::from(process.pid()));
        (status["pid"].as_u64() == pid).then_some(status)
    }

    /// Waits until all that it has read is stored.
    pub(crate) fn wait_until_stored(&self) {
        self.wait_until("everything to be stored", |status| status["stores"][0]["spool"]["records"] == 0);
    }

    /// Waits until all that it has read is durable in the spool, stored or not.
    pub(crate) fn wait_until_spooled(&self, records: u64) {
        self.wait_until("everything to be durable", |status| {
            let spool = &status["stores"][0]["spool"];
            spool["durable_seq"] == spool["next_seq"] && status["nodes"][0]["spooled"].as_u64() >= Some(records)
        });
    }

    /// Waits for its status to be as a test wants it.
    pub(crate) fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
        // A status from before the call may not know yet what the caller has done.
        let called = rfc3339(now());
        let is_new = |status: &Value| status["written"].as_str().is_some_and(|written| written > called.as_str());
        let found = try_for(PATIENCE, || self.status().filter(|status| is_new(status) && is_so(status)));
        found.unwrap_or_else(|| panic!("waited for {what}: {:?}\n{}", self.status(), self.said()))
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it with further environment variables.
    pub(crate) fn start_with(&mut self, environment: &[(&str, &str)]) {
        let mut program = command(self.directory.user(), self.program());
        program.args(["run", "--config"]).arg(&self.configuration);
        program.env("RUST_LOG", "info").env("RUST_BACKTRACE", "1").envs(environment.iter().copied());
        program.current_dir(self.directory.path());
        self.process = Some(Process::spawn(program, &self.log()));
    }

    /// Another user may not reach the directory in which the program was built.
    fn program(&self) -> PathBuf {
        if self.directory.user().is_none() {
            return PROGRAM.into();
        }
        let copy = self.directory.path().join("xmpp-archiver");
        if !copy.exists() {
            std::fs::copy(PROGRAM, &copy).expect("a copy of the program");
        }
        copy
    }

    /// The most memory that it has had, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let pid = self.process.as_ref().map(Process::pid).expect("a process");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    /// All that it has ever logged.
    pub(crate) fn logged(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// Has it reach its database by another port, such as a proxy's.
    pub(crate) fn reach_store_at(&self, port: u16) {
        let server = self.store.port().expect("a server");
        self.set_settings(&self.settings().replacen(&format!("127.0.0.1:{server}/"), &format!("127.0.0.1:{port}/"), 1));
    }

    /// Starts it as a service manager does whose journal takes what it says.
    pub(crate) fn start_for_journal(&mut self) {
        let log = std::fs::File::create(self.log()).and_then(|log| log.metadata()).expect("a log file");
        let stream = format!("{}:{}", log.dev(), log.ino());
        self.start_with(&[("JOURNAL_STREAM", stream.as_str())]);
    }

    /// Asks it to read its configuration again.
    pub(crate) fn hang_up(&self) {
        self.process.as_ref().expect("it runs").signal("HUP");
    }

    /// Ends it as a power cut would, as far as it can tell.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks it to end and waits until it has, which must be without an error.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let status = process.stop("TERM");
            assert!(status.success(), "it ended with {status}:\n{}", self.said());
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_until_it_ends(&mut self) -> std::process::ExitStatus {
        self.process.take().expect("a process").wait()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Whether the spool's files hold a text, be it stored already or not.
    pub(crate) fn has_spooled(&self, text: &str) -> bool {
        let mut grep = Command::new("grep");
        grep.args(["--recursive", "--quiet", "--text", "--fixed-strings", text]);
        grep.arg(self.directory.path().join("spool"));
        grep.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The end of its log.
    pub(crate) fn said(&self) -> String {
        tail(&self.log())
    }

    /// Runs another command of the program with the same configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let mut program = Command::new(PROGRAM);
        program.args(arguments).arg("--config").arg(&self.configuration);
        program.current_dir(self.directory.path());
        program.output().expect("run the archiver's program")
    }

    /// The text of its configuration.
    pub(crate) fn settings(&self) -> String {
        std::fs::read_to_string(&self.configuration).expect("its configuration")
    }

    /// Replaces the text of its configuration, for whatever is started next.
    pub(crate) fn set_settings(&self, text: &str) {
        std::fs::write(&self.configuration, text).expect("write its configuration");
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Starts a command that a test does not wait for.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Process {
        let mut program = command(None, PROGRAM);
        program.args(arguments).arg("--config").arg(&self.configuration).current_dir(self.directory.path());
        Process::spawn(program, &self.directory.path().join("begun"))
    }

    /// Every message of the archive.
    pub(crate) fn search(&self) -> Vec<Value> {
        let lines = self.must(&["search", "--format", "jsonl", "--limit", "100000"]);
        let parse = |line| serde_json::from_str(line).expect("a JSON object a line");
        lines.lines().map(parse).collect()
    }
}

fn played_configuration(store: &Store, settings: &str, spool: &Path, nodes: &[&Played]) -> String {
    let sections: String = nodes.iter().map(|node| node.section()).collect();
    format!("{}{sections}\n[run]\nstatus_interval = '100ms'\n", head(store, settings, spool))
}

fn head(store: &Store, settings: &str, spool: &Path) -> String {
    format!("[[store]]\nname = 'main'\nurl = '{}'\n{settings}\n[spool]\npath = '{}'\n", store.url(), spool.display())
}

fn configuration(store: &Store, spool: &Path, nodes: &[&Node]) -> String {
    let authority = store.authority().map(|file| format!("tls_ca = '{}'\n", file.display())).unwrap_or_default();
    let mut text = head(store, &authority, spool);
    for node in nodes {
        text.push_str(&node_section(node));
    }
    text
}

fn node_section(node: &Node) -> String {
    let kind = match node.kind {
        Kind::Prosody => "prosody",
        Kind::Ejabberd => "ejabberd",
    };
    format!(
        "\n[[node]]\nname = '{kind}'\naddress = '127.0.0.1:{port}'\ndomain = '{archive}'\nsecret = '{secret}'\n\
         hosts = ['{host}']\nmuc = ['{rooms}']\nstore = 'main'\nkind = '{kind}'\n",
        port = node.component_port,
        archive = node.archive,
        secret = Node::SECRET,
        host = node.host,
        rooms = node.rooms,
    )
}

impl Drop for Archiver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the archiver's log:\n{}", self.said());
        }
    }
}
