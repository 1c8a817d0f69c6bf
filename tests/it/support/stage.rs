//! The stage of a scenario: a node, the archiver attached to it, the people who enter, and the record of what they say.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::archiver::{Archiver, Store, StoreKind};
use super::client::{Client, Session};
use super::compare::differences;
use super::line::{Line, Said};
use super::node::{Kind, Node};
use super::process::{PATIENCE, try_for, wait_for};

/// How long one marker is waited for before the next is sent, while the archiver may not be attached yet.
const MARKER_PATIENCE: Duration = Duration::from_millis(500);
const MARKER: &str = "marker";
const PROMPTER_AT: &str = "probe@";

/// One node or several with an archiver.
#[derive(Debug)]
pub(crate) struct Stage {
    nodes: RefCell<Vec<Rc<Node>>>,
    pub(crate) archiver: RefCell<Archiver>,
    people: RefCell<Vec<Rc<Client>>>,
    said: RefCell<Vec<Said>>,
    markers: Cell<u32>,
    /// One on each node, who says nothing but markers, to himself.
    prompters: RefCell<Vec<Client>>,
}

/// Makes a test of each scenario for each server, with the archive in SQLite, and for those that are named after `also` in the other databases.
macro_rules! scenarios {
    ($($scenario:ident),+ $(,)? $(; also $($also:ident),+ $(,)?)?) => {
        scenarios!(on_prosody: Prosody, Sqlite, $($scenario)+);
        scenarios!(on_ejabberd: Ejabberd, Sqlite, $($scenario)+);
        $(
            scenarios!(on_prosody_in_postgres: Prosody, Postgres, $($also)+);
            scenarios!(on_ejabberd_in_postgres: Ejabberd, Postgres, $($also)+);
            scenarios!(on_prosody_in_mariadb: Prosody, MariaDb, $($also)+);
            scenarios!(on_ejabberd_in_mariadb: Ejabberd, MariaDb, $($also)+);
        )?
    };
    ($module:ident: $node:ident, $store:ident, $($scenario:ident)+) => {
        mod $module {
            $(#[test] fn $scenario() {
                crate::support::stage::perform(
                    crate::support::node::Kind::$node,
                    crate::support::archiver::StoreKind::$store,
                    super::$scenario,
                );
            })+
        }
    };
}
pub(crate) use scenarios;

/// Plays a scenario and compares what happened with what the archive holds.
pub(crate) fn perform(kind: Kind, store: StoreKind, scenario: impl FnOnce(&Stage)) {
    let stage = Stage::set(kind, store);
    scenario(&stage);
    stage.check();
}

impl Stage {
    /// Starts everything and waits until the archive sees what happens on the node.
    pub(crate) fn set(kind: Kind, store: StoreKind) -> Stage {
        let node = Node::start(kind);
        let archiver = Archiver::new(store, &[&node]);
        Stage::with(vec![node], archiver)
    }

    /// The same with our module on the node, with further lines of its configuration.
    pub(crate) fn set_with_module(kind: Kind, store: StoreKind, settings: &str) -> Stage {
        let node = Node::start_with_module(kind, settings);
        let archiver = Archiver::new(store, &[&node]);
        Stage::with(vec![node], archiver)
    }

    /// A stage for one node with an archiver of its own on a store that others use as well.
    pub(crate) fn with_archiver_on(store: &Store, node: Node) -> Stage {
        let archiver = Archiver::on(store, &[&node]);
        Stage::with(vec![node], archiver)
    }

    /// A stage of nodes and an archiver that are made already; the archiver is started.
    pub(crate) fn with(nodes: Vec<Node>, mut archiver: Archiver) -> Stage {
        archiver.start();
        let stage = Stage {
            prompters: RefCell::new(nodes.iter().map(prompter).collect()),
            nodes: RefCell::new(nodes.into_iter().map(Rc::new).collect()),
            archiver: RefCell::new(archiver),
            people: RefCell::default(),
            said: RefCell::default(),
            markers: Cell::new(0),
        };
        stage.wait_until_attached();
        stage
    }

    /// The node, or the first of several.
    pub(crate) fn node(&self) -> Rc<Node> {
        self.nodes.borrow().first().map(Rc::clone).expect("a node")
    }

    pub(crate) fn nodes(&self) -> Vec<Rc<Node>> {
        self.nodes.borrow().clone()
    }

    /// The node crashes.
    pub(crate) fn kill_node(&self) {
        for node in self.nodes.borrow_mut().iter_mut() {
            Rc::get_mut(node).expect("nobody else holds the node").kill();
        }
    }

    /// The node crashes and comes back; everybody is thrown out.
    pub(crate) fn restart_node(&self) {
        self.prompters.borrow_mut().clear();
        for node in self.nodes.borrow_mut().iter_mut() {
            Rc::get_mut(node).expect("nobody else holds the node").restart();
        }
        let prompters = self.nodes.borrow().iter().map(|node| prompter(node)).collect();
        self.prompters.replace(prompters);
        self.wait_until_attached();
    }

    /// Somebody logs in and becomes available.
    pub(crate) fn enter(&self, user: &str, resource: &str) -> Rc<Client> {
        self.enter_with_priority(user, resource, 0)
    }

    pub(crate) fn enter_with_priority(&self, user: &str, resource: &str, priority: i8) -> Rc<Client> {
        let client = self.log_in(user, resource);
        client.become_available(priority);
        client
    }

    /// Somebody enters at one of several nodes.
    pub(crate) fn enter_at(&self, node: &Node, user: &str, resource: &str) -> Rc<Client> {
        let client = self.remember(Client::log_in(node, user, resource));
        client.become_available(0);
        client
    }

    /// Somebody logs in and stays unavailable.
    pub(crate) fn log_in(&self, user: &str, resource: &str) -> Rc<Client> {
        self.remember(Client::log_in(&self.node(), user, resource))
    }

    /// Somebody comes back to a session that was cut off.
    pub(crate) fn resume(&self, user: &str, resource: &str, session: &Session) -> Rc<Client> {
        self.remember(Client::resume(&self.node(), user, resource, session))
    }

    fn remember(&self, client: Client) -> Rc<Client> {
        let client = Rc::new(client);
        self.people.borrow_mut().push(Rc::clone(&client));
        client
    }

    pub(crate) fn bare(&self, user: &str) -> String {
        self.node().bare(user)
    }

    pub(crate) fn room(&self, name: &str) -> String {
        self.node().room(name)
    }

    /// Somebody says something; it is on record from now on. Returns its id, empty when it has none.
    pub(crate) fn say(&self, who: &Client, line: Line) -> String {
        let said = line.send(who);
        let id = said.id.clone().unwrap_or_default();
        self.said.borrow_mut().push(said);
        id
    }

    /// Somebody says something and everybody who should hear it does.
    pub(crate) fn say_to(&self, who: &Client, line: Line, listeners: &[&Rc<Client>]) -> String {
        let said = line.send(who);
        for listener in listeners {
            listener.expect(&said.brief(), |stanza| {
                let by_id = said.id.is_none() || stanza.attr("id") == said.id.as_deref();
                stanza.is_message() && stanza.attr("type") != Some("error") && by_id && stanza.body() == said.body
            });
        }
        let id = said.id.clone().unwrap_or_default();
        self.record(said);
        id
    }

    /// Puts on record what was said in another way.
    pub(crate) fn record(&self, said: Said) {
        self.said.borrow_mut().push(said);
    }

    /// Waits until the archiver is attached to every node.
    pub(crate) fn wait_until_attached(&self) {
        for prompter in self.prompters.borrow().iter() {
            wait_for("the archiver to be attached", || {
                let marker = self.send_marker(prompter);
                self.find_marker(&marker, MARKER_PATIENCE)
            });
        }
    }

    /// Waits until the archive holds all that was said until now.
    pub(crate) fn settle(&self) {
        self.sync();
        for prompter in self.prompters.borrow().iter() {
            let marker = self.send_marker(prompter);
            let found = self.find_marker(&marker, PATIENCE);
            found.unwrap_or_else(|| panic!("{marker} is not archived"));
        }
    }

    /// Waits until the nodes have worked off, and mirrored, all that was said until now.
    pub(crate) fn sync(&self) {
        for client in self.people.borrow().iter() {
            if !client.is_closed() {
                client.sync();
            }
        }
    }

    /// Waits until all that was said until now is in the archiver's spool, if not in its store.
    pub(crate) fn settle_in_spool(&self) {
        self.sync();
        for prompter in self.prompters.borrow().iter() {
            let marker = self.send_marker(prompter);
            wait_for("the marker to be spooled", || self.archiver.borrow().has_spooled(&marker).then_some(()));
        }
    }

    fn send_marker(&self, prompter: &Client) -> String {
        let number = self.markers.get();
        self.markers.set(number + 1);
        let marker = format!("{MARKER}-{number}");
        prompter.send(&format!("<message type='chat' id='{marker}' to='{}'><body>{marker}</body></message>", prompter.account));
        marker
    }

    fn find_marker(&self, marker: &str, patience: Duration) -> Option<()> {
        try_for(patience, || {
            let archiver = self.archiver.try_borrow_mut();
            assert!(archiver.is_ok_and(|mut archiver| archiver.is_running()), "the archiver has ended:\n{}", self.archiver.borrow().said());
            let rows = self.archiver.borrow().search();
            let is_marker = |row: &Value| row.get("body").and_then(Value::as_str) == Some(marker);
            rows.iter().any(is_marker).then_some(())
        })
    }

    /// What the archive holds, without the markers.
    pub(crate) fn archived(&self) -> Vec<Value> {
        let mut rows = self.archiver.borrow().search();
        rows.retain(|row| {
            let sender = row.get("sender").and_then(Value::as_str);
            !sender.is_some_and(|sender| sender.starts_with(PROMPTER_AT))
        });
        rows
    }

    /// The archived messages with this body.
    pub(crate) fn archived_with_body(&self, body: &str) -> Vec<Value> {
        let mut rows = self.archived();
        rows.retain(|row| row.get("body").and_then(Value::as_str) == Some(body));
        rows
    }

    /// Waits until everything is archived, and compares it with what was said.
    pub(crate) fn check(&self) {
        Stage::check_all(&[self]);
    }

    /// The same, and no two sends became one, nor may any message stem from several.
    pub(crate) fn check_exactly(&self) {
        self.check();
        let rows = self.archived();
        let sends = self.said.borrow().iter().filter(|said| said.is_kept).count();
        let is_doubtful = |row: &&Value| row.get("possibly_several").and_then(Value::as_u64) != Some(0);
        let doubtful: Vec<String> = rows.iter().filter(is_doubtful).map(|row| format!("may be several: {row}")).collect();
        assert!(rows.len() == sends && doubtful.is_empty(), "{sends} sends: {}", report(&doubtful, &rows));
    }

    /// The same for stages that share a store.
    pub(crate) fn check_all(stages: &[&Stage]) {
        let mut said = Vec::new();
        let (mut people, mut nodes) = (Vec::new(), Vec::new());
        for stage in stages {
            stage.settle();
            said.extend(stage.said.borrow().iter().cloned());
            people.extend(stage.people.borrow().iter().cloned());
            nodes.extend(stage.nodes());
        }
        let people: Vec<&Client> = people.iter().map(Rc::as_ref).collect();
        let nodes: Vec<&Node> = nodes.iter().map(Rc::as_ref).collect();
        for stage in stages {
            let rows = stage.archived();
            let wrong = differences(&said, &rows, &people, &nodes);
            assert!(wrong.is_empty(), "{}", report(&wrong, &rows));
        }
    }
}

fn prompter(node: &Node) -> Client {
    let client = Client::log_in(node, "probe", "prompter");
    client.become_available(0);
    client
}

fn report(wrong: &[String], rows: &[Value]) -> String {
    let brief = |row: &Value| row.to_string().chars().take(700).collect();
    let listing: Vec<String> = rows.iter().map(brief).collect();
    format!("{} differences:\n{}\n\nthe archive:\n{}", wrong.len(), wrong.join("\n"), listing.join("\n"))
}
