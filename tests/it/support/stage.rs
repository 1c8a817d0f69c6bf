//! The stage of a scenario: a node, the archiver attached to it, the people who enter, and the record of what they say.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::archiver::{Archiver, StoreKind};
use super::client::{Client, Session};
use super::compare::differences;
use super::line::{Line, Said};
use super::node::{Kind, Node};
use super::process::{PATIENCE, try_for, wait_for};

/// How long one marker is waited for before the next is sent, while the archiver may not be attached yet.
const MARKER_PATIENCE: Duration = Duration::from_millis(500);
const MARKER: &str = "marker";

/// A running node with an archiver.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) archiver: RefCell<Archiver>,
    people: RefCell<Vec<Rc<Client>>>,
    said: RefCell<Vec<Said>>,
    markers: Cell<u32>,
    prompter: Client,
}

/// Makes a test of each scenario for each server, with the archive in SQLite.
macro_rules! scenarios {
    ($($scenario:ident),+ $(,)?) => {
        mod on_prosody {
            $(#[test] fn $scenario() {
                crate::support::stage::perform(
                    crate::support::node::Kind::Prosody,
                    crate::support::archiver::StoreKind::Sqlite,
                    super::$scenario,
                );
            })+
        }
        mod on_ejabberd {
            $(#[test] fn $scenario() {
                crate::support::stage::perform(
                    crate::support::node::Kind::Ejabberd,
                    crate::support::archiver::StoreKind::Sqlite,
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
        let mut archiver = Archiver::new(store, &[&node]);
        archiver.start();
        let prompter = Client::log_in(&node, "probe", "prompter");
        prompter.become_available(0);
        let stage = Stage {
            node,
            archiver: RefCell::new(archiver),
            people: RefCell::default(),
            said: RefCell::default(),
            markers: Cell::new(0),
            prompter,
        };
        stage.wait_until_attached();
        stage
    }

    /// Somebody logs in and becomes available.
    pub(crate) fn enter(&self, user: &str, resource: &str) -> Rc<Client> {
        self.enter_with_priority(user, resource, 0)
    }

    pub(crate) fn enter_with_priority(
        &self,
        user: &str,
        resource: &str,
        priority: i8,
    ) -> Rc<Client> {
        let client = self.log_in(user, resource);
        client.become_available(priority);
        client
    }

    /// Somebody logs in and stays unavailable.
    pub(crate) fn log_in(&self, user: &str, resource: &str) -> Rc<Client> {
        self.remember(Client::log_in(&self.node, user, resource))
    }

    /// Somebody comes back to a session that was cut off.
    pub(crate) fn resume(&self, user: &str, resource: &str, session: &Session) -> Rc<Client> {
        self.remember(Client::resume(&self.node, user, resource, session))
    }

    fn remember(&self, client: Client) -> Rc<Client> {
        let client = Rc::new(client);
        self.people.borrow_mut().push(Rc::clone(&client));
        client
    }

    pub(crate) fn bare(&self, user: &str) -> String {
        self.node.bare(user)
    }

    pub(crate) fn room(&self, name: &str) -> String {
        self.node.room(name)
    }

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.node.kind == kind
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
            listener.expect(
                &format!("{}", said.xml.chars().take(300).collect::<String>()),
                |stanza| {
                    let by_id = said.id.is_none() || stanza.attr("id") == said.id.as_deref();
                    stanza.is_message()
                        && stanza.attr("type") != Some("error")
                        && by_id
                        && stanza.body() == said.body
                },
            );
        }
        let id = said.id.clone().unwrap_or_default();
        self.record(said);
        id
    }

    /// Puts on record what was said in another way.
    pub(crate) fn record(&self, said: Said) {
        self.said.borrow_mut().push(said);
    }

    /// Waits until the archiver is attached to the node.
    pub(crate) fn wait_until_attached(&self) {
        wait_for("the archiver to be attached", || {
            let marker = self.send_marker();
            self.find_marker(&marker, MARKER_PATIENCE)
        });
    }

    /// Waits until the archive holds all that was said until now.
    pub(crate) fn settle(&self) {
        for client in self.people.borrow().iter() {
            if !client.is_closed() {
                client.sync();
            }
        }
        let marker = self.send_marker();
        let found = self.find_marker(&marker, PATIENCE);
        found.unwrap_or_else(|| {
            panic!(
                "{marker} is not archived:\n{}",
                self.archiver.borrow().said()
            )
        });
    }

    fn send_marker(&self) -> String {
        let number = self.markers.get();
        self.markers.set(number + 1);
        let marker = format!("{MARKER}-{number}");
        self.prompter.send(&format!(
            "<message type='chat' id='{marker}' to='{}'><body>{marker}</body></message>",
            self.prompter.account
        ));
        marker
    }

    fn find_marker(&self, marker: &str, patience: Duration) -> Option<()> {
        try_for(patience, || {
            let archiver = self.archiver.try_borrow_mut();
            assert!(
                archiver.is_ok_and(|mut archiver| archiver.is_running()),
                "the archiver has ended:\n{}",
                self.archiver.borrow().said()
            );
            let rows = self.archiver.borrow().search();
            let is_marker = |row: &Value| row.get("body").and_then(Value::as_str) == Some(marker);
            rows.iter().any(is_marker).then_some(())
        })
    }

    /// What the archive holds, without the markers.
    pub(crate) fn archived(&self) -> Vec<Value> {
        let mut rows = self.archiver.borrow().search();
        let prompter = Some(self.prompter.account.as_str());
        rows.retain(|row| row.get("sender").and_then(Value::as_str) != prompter);
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
        self.settle();
        let rows = self.archived();
        let people = self.people.borrow();
        let people: Vec<&Client> = people.iter().map(Rc::as_ref).collect();
        let wrong = differences(&self.said.borrow(), &rows, &people, &[&self.node]);
        let listing: Vec<String> = rows
            .iter()
            .map(|row| row.to_string().chars().take(700).collect())
            .collect();
        assert!(
            wrong.is_empty(),
            "{} differences:\n{}\n\nthe archive:\n{}\n\nits log:\n{}",
            wrong.len(),
            wrong.join("\n"),
            listing.join("\n"),
            self.archiver.borrow().said()
        );
    }
}
