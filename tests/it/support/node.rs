//! An IM node: a running server with its users, rooms and the mirror that feeds the archive.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::postgres::Database;
use super::process::{Directory, PATIENCE, Process, free_port, tail, try_for};
use super::tls::Authority;
use super::{ejabberd, prosody};

const ATTEMPTS: usize = 3;

/// Which server a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Prosody,
    Ejabberd,
}

/// How a node's messages get to the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mirror {
    /// What comes with the server.
    #[default]
    Stock,
    /// Our module, with further lines of its configuration.
    Module(String),
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) host: String,
    /// The domain of its rooms.
    pub(crate) rooms: String,
    /// The archive's domain as a component.
    pub(crate) archive: String,
    /// All domains to which it mirrors the same, `archive` the first.
    pub(crate) archives: Vec<String>,
    /// The port of each of them.
    pub(crate) component_ports: Vec<u16>,
    pub(crate) client_port: u16,
    pub(crate) component_port: u16,
    // Before the directory: it is to be gone when that is removed.
    process: Process,
    directory: Directory,
}

/// Where a server keeps its users' and rooms' archives (XEP-0313).
#[derive(Clone, Debug, Default)]
pub(crate) enum Keeps {
    /// Where it does by itself: files, or Mnesia.
    #[default]
    Itself,
    /// In a SQLite file in its directory.
    Sqlite,
    /// In a database on a PostgreSQL server, which is made for that.
    Postgres(Database),
}

/// What a server is to be, before it runs: domains and ports, and nothing that depends on which server it is.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) host: String,
    pub(crate) client_port: u16,
    pub(crate) component_port: u16,
    pub(crate) server_port: u16,
    pub(crate) peers: Vec<Peer>,
    /// To how many components it mirrors.
    pub(crate) feeds: usize,
    /// The ports of the components after the first, where each needs one of its own.
    pub(crate) further_ports: Vec<u16>,
    pub(crate) keeps: Keeps,
    pub(crate) mirror: Mirror,
}

/// The server of another domain.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) domain: String,
    pub(crate) port: u16,
}

impl Plan {
    fn new(host: &str) -> Plan {
        Plan {
            host: host.to_owned(),
            client_port: free_port(),
            component_port: free_port(),
            server_port: free_port(),
            peers: Vec::new(),
            feeds: 1,
            further_ports: Vec::new(),
            keeps: Keeps::Itself,
            mirror: Mirror::Stock,
        }
    }

    /// The domains that it answers for.
    fn served(&self) -> Vec<Peer> {
        let peer = |domain| Peer { domain, port: self.server_port };
        [self.host.clone(), self.rooms()].map(peer).into()
    }

    pub(crate) fn rooms(&self) -> String {
        format!("conference.{}", self.host)
    }

    pub(crate) fn archive(&self) -> String {
        format!("archive.{}", self.host)
    }

    /// The domains of all components to which it mirrors.
    pub(crate) fn archives(&self) -> Vec<String> {
        let further = (2..=self.feeds).map(|number| format!("archive{number}.{}", self.host));
        std::iter::once(self.archive()).chain(further).collect()
    }

    /// A component that nothing is mirrored to, and that may read archives.
    pub(crate) fn backfill(&self) -> String {
        format!("backfill.{}", self.host)
    }
}

impl Node {
    /// Every user's password.
    pub(crate) const PASSWORD: &str = "pass";
    /// The component's secret.
    pub(crate) const SECRET: &str = "component secret";
    /// The users of every node.
    pub(crate) const USERS: [&str; 7] = ["alice", "bob", "carol", "dave", "mallory", "probe", "canary"];

    /// Starts a server with the users of [`Node::USERS`].
    pub(crate) fn start(kind: Kind) -> Node {
        match kind {
            Kind::Prosody => Node::start_as(kind, "prosody.localhost"),
            Kind::Ejabberd => Node::start_as(kind, "ejabberd.localhost"),
        }
    }

    /// Starts a server that keeps its archives as told.
    pub(crate) fn start_keeping(kind: Kind, keeps: &Keeps) -> Node {
        for _ in 0..ATTEMPTS {
            let host = format!("{}.localhost", if kind == Kind::Prosody { "prosody" } else { "ejabberd" });
            let plan = Plan { keeps: keeps.clone(), ..Plan::new(&host) };
            if let Some(node) = Node::try_start(kind, &plan) {
                return node;
            }
        }
        panic!("{kind:?} does not start")
    }

    /// Starts a server that mirrors through our module.
    pub(crate) fn start_with_module(kind: Kind, settings: &str) -> Node {
        for _ in 0..ATTEMPTS {
            let host = format!("{kind:?}.localhost").to_lowercase();
            let plan = Plan { mirror: Mirror::Module(settings.to_owned()), ..Plan::new(&host) };
            if let Some(node) = Node::try_start(kind, &plan) {
                return node;
            }
        }
        panic!("{kind:?} does not start")
    }

    /// Starts a server for a domain of its own.
    pub(crate) fn start_as(kind: Kind, host: &str) -> Node {
        Node::start_with(kind, || Plan::new(host))
    }

    /// Starts a server that mirrors to several components.
    pub(crate) fn start_feeding(kind: Kind, feeds: usize) -> Node {
        let host = match kind {
            Kind::Prosody => "prosody.localhost",
            Kind::Ejabberd => "ejabberd.localhost",
        };
        Node::start_with(kind, || Plan { feeds, further_ports: (1..feeds).map(|_| free_port()).collect(), ..Plan::new(host) })
    }

    fn start_with(kind: Kind, plan: impl Fn() -> Plan) -> Node {
        for _ in 0..ATTEMPTS {
            if let Some(node) = Node::try_start(kind, &plan()) {
                return node;
            }
        }
        panic!("{kind:?} does not start")
    }

    /// Starts a Prosody and an ejabberd that know of each other.
    ///
    /// Prosody is told where ejabberd is. ejabberd asks the system's resolver, which knows `localhost` on every machine and no name below it.
    pub(crate) fn start_two() -> [Node; 2] {
        Node::start_two_with([Mirror::Stock, Mirror::Stock])
    }

    /// The same with these mirrors, first Prosody's, then ejabberd's.
    pub(crate) fn start_two_with(mirrors: [Mirror; 2]) -> [Node; 2] {
        for _ in 0..ATTEMPTS {
            let mut one = Plan::new("localhost");
            let mut other = Plan::new("ejabberd.localhost");
            one.peers = other.served();
            other.peers = one.served();
            [one.mirror, other.mirror] = mirrors.clone();
            let one = Node::try_start(Kind::Prosody, &one);
            let other = Node::try_start(Kind::Ejabberd, &other);
            if let (Some(one), Some(other)) = (one, other) {
                return [one, other];
            }
        }
        panic!("two servers do not start")
    }

    /// Starts a server as planned; `None` when it ends again, as it does when somebody else has taken one of its ports.
    pub(crate) fn try_start(kind: Kind, plan: &Plan) -> Option<Node> {
        let directory = match kind {
            Kind::Prosody => prosody::prepare(plan),
            Kind::Ejabberd => ejabberd::prepare(plan),
        };
        let process = spawn(kind, &directory);
        let mut node = Node {
            kind,
            host: plan.host.clone(),
            rooms: plan.rooms(),
            archive: plan.archive(),
            archives: plan.archives(),
            component_ports: component_ports(kind, plan),
            client_port: plan.client_port,
            component_port: plan.component_port,
            directory,
            process,
        };
        node.comes_up().then_some(node)
    }

    fn comes_up(&mut self) -> bool {
        let (kind, log) = (self.kind, self.log());
        let ports = [self.client_port, self.component_port];
        let process = &mut self.process;
        let up = try_for(PATIENCE, || {
            let up = match kind {
                Kind::Prosody => prosody::is_up(&log, &ports),
                Kind::Ejabberd => ejabberd::is_up(&log),
            };
            up.or_else(|| (!process.is_running()).then_some(false))
        });
        let up = up.unwrap_or(false);
        if !up {
            eprintln!("{kind:?} did not start:\n{}", tail(&log));
        }
        up
    }

    /// Where its data are.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What the server has written.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("output")
    }

    pub(crate) fn bare(&self, user: &str) -> String {
        format!("{user}@{}", self.host)
    }

    pub(crate) fn room(&self, name: &str) -> String {
        format!("{name}@{}", self.rooms)
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Changes one of its files, which it reads when it is started again.
    pub(crate) fn change(&self, file: &str, change: impl FnOnce(&str) -> String) {
        let text = std::fs::read_to_string(self.directory.path().join(file)).expect("one of its files");
        self.directory.write(file, &change(&text));
    }

    /// Gives it `node.crt` and `node.key`, and tells who signed them.
    pub(crate) fn certify(&self) -> PathBuf {
        let authority = Authority::new(&self.directory);
        authority.issue(&self.directory, "node");
        authority.certificate().to_owned()
    }

    /// Where our module keeps its queue.
    pub(crate) fn queue(&self) -> PathBuf {
        self.directory.path().join("data/xmpp_archiver")
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.process.stop("TERM");
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with the same ports and data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        // ejabberd says on its output that it is up: what it said before does not count.
        let _ = std::fs::remove_file(self.log());
        let started = try_for(PATIENCE, || {
            self.process = spawn(self.kind, &self.directory);
            self.comes_up().then_some(())
        });
        started.expect("the server starts again");
    }
}

/// Prosody takes all components at one port.
fn component_ports(kind: Kind, plan: &Plan) -> Vec<u16> {
    match kind {
        Kind::Prosody => vec![plan.component_port; plan.feeds],
        Kind::Ejabberd => std::iter::once(plan.component_port).chain(plan.further_ports.clone()).collect(),
    }
}

fn spawn(kind: Kind, directory: &Directory) -> Process {
    let command: Command = match kind {
        Kind::Prosody => prosody::command(directory),
        Kind::Ejabberd => ejabberd::command(directory),
    };
    Process::spawn(command, &directory.path().join("output"))
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of {:?}'s log:\n{}", self.kind, tail(&self.log()));
        }
    }
}
