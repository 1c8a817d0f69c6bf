//! Clients chat on a real server, and the archiver is away for the middle third.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;
use xmpp_archiver::time::{now, rfc3339};

use crate::support::archiver::{Archiver, StoreKind};
use crate::support::client::Client;
use crate::support::line::{Line, chat, groupchat};
use crate::support::node::{Keeps, Kind, Node};
use crate::support::postgres::Postgres;
use crate::support::prosody::ARCHIVE_FILE;
use crate::support::stage::Stage;

const ROUNDS: usize = 4;
/// Equal messages without an id, said in each third.
const EQUALS: usize = 3;

#[test]
fn prosody_with_sqlite() {
    let node = Node::start_keeping(Kind::Prosody, &Keeps::Sqlite);
    let url = format!("sqlite:{}", node.data().join(ARCHIVE_FILE).display());
    Outage::play(node, StoreKind::Sqlite).check(&["--source", "prosody-sql", "--url", &url]);
}

/// Prosody's own files, into MariaDB.
#[test]
fn prosody_with_files() {
    let node = Node::start(Kind::Prosody);
    let data = node.data().display().to_string();
    Outage::play(node, StoreKind::MariaDb).check(&["--source", "prosody-files", "--path", &data]);
}

/// Over the component port, with our module.
#[test]
fn prosody_by_protocol() {
    let node = Node::start(Kind::Prosody);
    let (component, secret) = (format!("backfill.{}", node.host), Secret::file());
    let whom = ["--component", &component, "--secret-file", secret.path(), "--all-rooms", "--all-accounts"];
    Outage::play(node, StoreKind::Sqlite).check(&[&["--source", "mam"], &whom[..]].concat());
}

/// ejabberd gives a component the archives of rooms: of closed ones, too, where it is an administrator of them.
#[test]
fn ejabberd_rooms_by_protocol() {
    let node = Node::start(Kind::Ejabberd);
    let (component, secret) = (format!("backfill.{}", node.host), Secret::file());
    let outage = Outage::play(node, StoreKind::Sqlite);
    let whom = ["--component", &component, "--secret-file", secret.path(), "--all-rooms"];
    let told = outage.backfill(&[&["--source", "mam"], &whom[..]].concat());
    let rooms = |spoken: &&Spoken| spoken.was_missed && spoken.to.contains("@conference.");
    assert_eq!(number(&told, "added"), outage.spoken.borrow().iter().filter(rooms).count() as u64, "{told}");
    let again = outage.backfill(&[&["--source", "mam"], &whom[..]].concat());
    assert_eq!((number(&again, "added"), number(&again, "known")), (0, number(&told, "read")), "{again}");
}

/// A second connection as the archive itself would take copies away from the first.
#[test]
fn not_as_the_component_that_is_attached() {
    let node = Node::start(Kind::Ejabberd);
    let archiver = Archiver::new(StoreKind::Sqlite, &[&node]);
    let stage = Stage::with(vec![node], archiver);
    let output = stage.archiver.borrow().command(&["backfill", "--source", "mam", "--all-rooms"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--component"));
}

/// A file that holds the components' secret.
pub(super) struct Secret(tempfile::NamedTempFile);

impl Secret {
    pub(super) fn file() -> Secret {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), Node::SECRET).expect("write the secret");
        Secret(file)
    }

    pub(super) fn path(&self) -> &str {
        self.0.path().to_str().expect("UTF-8")
    }
}

#[test]
fn ejabberd_with_postgres() {
    let server = Arc::new(Postgres::start());
    let database = server.new_database();
    let node = Node::start_keeping(Kind::Ejabberd, &Keeps::Postgres(database.clone()));
    Outage::play(node, StoreKind::Postgres).check(&["--source", "ejabberd-sql", "--url", &database.url()]);
}

/// What was said, by whom, and whether the archiver was there.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    sender: String,
    resource: String,
    to: String,
    id: String,
    pub(super) body: String,
    pub(super) was_missed: bool,
    /// Between these times.
    said: [String; 2],
}

/// A stage on which the archiver missed something.
pub(super) struct Outage {
    pub(super) stage: Stage,
    pub(super) spoken: RefCell<Vec<Spoken>>,
    is_away: Cell<bool>,
}

impl Outage {
    pub(super) fn play(node: Node, store: StoreKind) -> Outage {
        let archiver = Archiver::new(store, &[&node]);
        let stage = Stage::with(vec![node], archiver);
        let outage = Outage { stage, spoken: RefCell::default(), is_away: Cell::new(false) };
        let room = outage.stage.room("gap");
        let alice = outage.stage.enter("alice", "desk");
        let bob = outage.stage.enter("bob", "phone");
        alice.create_room(&room, "Alice", &[]);
        bob.join(&room, "Bob");
        outage.talk(&[&alice, &bob], &room, "first");
        outage.stage.settle();
        outage.stage.archiver.borrow_mut().stop();
        outage.is_away.set(true);
        outage.talk(&[&alice, &bob], &room, "second");
        outage.stage.sync();
        outage.is_away.set(false);
        outage.stage.archiver.borrow_mut().start();
        outage.stage.wait_until_attached();
        outage.talk(&[&alice, &bob], &room, "third");
        outage.stage.settle();
        outage
    }

    pub(super) fn talk(&self, people: &[&Rc<Client>; 2], room: &str, third: &str) {
        let [alice, bob] = people;
        for round in 0..ROUNDS {
            self.say(alice, chat(&bob.account, &format!("{third}: question {round} <&>")), &[bob]);
            self.say(bob, chat(&alice.jid(), &format!("{third}: answer {round}")), &[alice]);
            self.say(alice, groupchat(room, &format!("{third}: to all {round}")), &[alice, bob]);
        }
        for _ in 0..EQUALS {
            // Seen live on ejabberd they may be one (`docs/GUARANTEES.md`, 5); its archive tells them apart.
            if self.is_away.get() || self.stage.node().kind == Kind::Prosody {
                self.say(bob, chat(&alice.account, "ok").without_id(), &[alice]);
            }
            self.say(bob, groupchat(room, "ok"), &[alice, bob]);
        }
    }

    fn say(&self, who: &Rc<Client>, line: Line, listeners: &[&Rc<Client>]) {
        let (to, body) = (line.to.clone(), line.body.clone().expect("a body"));
        // The node may write whole seconds, of a clock that moves by ticks and so is up to 10 ms behind.
        let before = rfc3339(now() - 1_020_000);
        let id = self.stage.say_to(who, line, listeners);
        self.spoken.borrow_mut().push(Spoken {
            sender: who.account.clone(),
            resource: who.resource.clone(),
            to,
            id,
            body,
            was_missed: self.is_away.get(),
            said: [before, rfc3339(now() + 1_000_000)],
        });
    }

    /// Fills the gap, and again, and compares.
    fn check(&self, source: &[&str]) {
        let before = self.stage.archived();
        let missed = self.spoken.borrow().iter().filter(|spoken| spoken.was_missed).count();
        assert_eq!(before.len(), self.spoken.borrow().len() - missed, "{before:#?}");
        let tried = self.backfill(&[source, &["--dry-run"]].concat());
        assert_eq!(self.stage.archived(), before, "nothing is stored by trying");
        let told = self.backfill(source);
        assert_eq!(number(&told, "refused"), 0, "{told}");
        assert!(number(&told, "added") >= missed as u64, "{told}");
        assert_eq!(number(&tried, "added"), number(&told, "added"), "{tried}\n{told}");
        let after = self.stage.archived();
        let wrong = self.differences(&after);
        assert!(wrong.is_empty(), "{}\n{told}\n{after:#?}", wrong.join("\n"));
        assert!(number(&told, "gaps") > 0, "{told}");
        let filled = format!("SELECT COUNT(*) FROM gaps WHERE state = 2 AND found >= {} AND note IS NOT NULL", missed - EQUALS);
        assert_ne!(self.stage.archiver.borrow().store.query(&filled).trim(), "0");
        let again = self.backfill(source);
        assert_eq!((number(&again, "added"), number(&again, "refused"), number(&again, "gaps")), (0, 0, 0), "{again}");
        assert_eq!(self.stage.archived(), after, "nothing changes by doing it again");
    }

    pub(super) fn backfill(&self, source: &[&str]) -> Value {
        let output = self.stage.archiver.borrow().must(&[&["backfill", "--from", "-1h", "--format", "json"], source].concat());
        serde_json::from_str(&output).expect("a JSON object")
    }

    /// Everything that is wrong, in words.
    fn differences(&self, rows: &[Value]) -> Vec<String> {
        let mut left: Vec<&Value> = rows.iter().collect();
        let mut wrong = Vec::new();
        for spoken in self.spoken.borrow().iter() {
            match left.iter().position(|row| self.is_of(spoken, row)) {
                Some(index) => drop(left.remove(index)),
                None => wrong.push(format!("not in the archive, or not so: {spoken:?}")),
            }
        }
        let is_equal = |row: &&Value| row["body"] == "ok" && row["room"].is_null();
        let fetched = rows.iter().filter(is_equal).filter(|row| row["via"] == "backfill").count();
        let missed = self.spoken.borrow().iter().filter(|spoken| spoken.id.is_empty() && spoken.was_missed).count();
        if fetched != missed {
            wrong.push(format!("of equal messages {missed} were missed, and {fetched} fetched"));
        }
        wrong.extend(left.iter().map(|row| format!("nobody said this, or not so: {row}")));
        wrong
    }

    fn is_of(&self, spoken: &Spoken, row: &Value) -> bool {
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let bare = spoken.to.split('/').next();
        let to_room = spoken.to.contains("@conference.");
        // Prosody's archive of a room knows its occupants by nick; its rooms give an id to what has none.
        let by_nick = to_room && spoken.was_missed && self.stage.node().kind == Kind::Prosody;
        let is_sender = if by_nick {
            text("sender").is_none() && text("sender_nick").is_some_and(|nick| spoken.sender.starts_with(&nick.to_lowercase()))
        } else {
            text("sender") == Some(&spoken.sender) && text("sender_resource") == Some(&spoken.resource)
        };
        let [first, last] = &spoken.said;
        is_sender
            && text("body") == Some(&spoken.body)
            && text(if to_room { "room" } else { "recipient" }) == bare
            && text("stanza_id").unwrap_or_default() == spoken.id
            // Equal messages without an id, seconds apart: which one was missed can't be told, only how many.
            && (spoken.id.is_empty()
                || text("via") == Some(if spoken.was_missed { "backfill" } else { "live" })
                    && text("sent_at").is_some_and(|at| first.as_str() <= at && at <= last.as_str()))
    }
}

pub(super) fn number(report: &Value, name: &str) -> u64 {
    report.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("{name} in {report}"))
}
