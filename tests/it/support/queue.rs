//! A node module as `docs/MIRROR.md` wants it, played: each copy goes into a queue and stays there until it is acknowledged; after a reconnect
//! everything from the first unacknowledged on is sent again, under the same numbers. So the truth is exact: all that was said, each once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::mirrored::{Wrapped, Written};
use super::played::Played;
use super::process::PATIENCE;

/// A copy in the queue.
#[derive(Clone, Debug)]
struct Queued {
    sequence: u64,
    stanza: String,
}

/// A node with a queue for each component that it feeds.
#[derive(Debug)]
pub(crate) struct QueueNode {
    pub(crate) node: Played,
    domain: String,
    epoch: String,
    next: u64,
    /// What is not acknowledged, and all that ever was: a crash of the node may bring some of it back.
    waiting: VecDeque<Queued>,
    acknowledged: Vec<Queued>,
    /// How much of `waiting` has been sent on this connection.
    sent: usize,
    pub(crate) said: Vec<String>,
    /// The numbers of copies that the archiver would not take.
    pub(crate) refused: Vec<u64>,
}

impl QueueNode {
    pub(crate) fn new() -> QueueNode {
        QueueNode::named("node", "archive.h")
    }

    /// The node `h`, as it feeds one of several components.
    pub(crate) fn named(name: &str, domain: &str) -> QueueNode {
        QueueNode {
            node: Played::new(name, domain, "h", "m.h", "auto"),
            domain: domain.to_owned(),
            epoch: format!("epoch-{domain}"),
            next: 1,
            waiting: VecDeque::new(),
            acknowledged: Vec::new(),
            sent: 0,
            said: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Alice says something to Bob: a copy as she sent it, and one as his session got it.
    pub(crate) fn say(&mut self, body: &str) {
        let message = Written::chat("alice@h/desk", "bob@h", body).id("same").xml();
        for (direction, session) in [("sent", "alice@h/desk"), ("received", "bob@h/phone")] {
            let wrapped = Wrapped {
                direction,
                host: "h".to_owned(),
                epoch: self.epoch.clone(),
                sequence: self.next,
                reference: Some(format!("ref-{body}")),
                session: Some(session.to_owned()),
            };
            let stanza = wrapped.iq(&self.next.to_string(), &message).replacen("archive.h", &self.domain, 1);
            self.waiting.push_back(Queued { sequence: self.next, stanza });
            self.next += 1;
        }
        self.said.push(body.to_owned());
    }

    /// Queues a copy of this, whatever it is; its number.
    pub(crate) fn mirror(&mut self, inner: &str) -> u64 {
        let sequence = self.next;
        let wrapped = Wrapped { direction: "received", host: "h".to_owned(), epoch: self.epoch.clone(), sequence, ..Wrapped::default() };
        self.waiting.push_back(Queued { sequence, stanza: wrapped.iq(&sequence.to_string(), inner) });
        self.next += 1;
        sequence
    }

    pub(crate) fn say_many(&mut self, topic: &str, count: usize) {
        (0..count).for_each(|n| self.say(&format!("{topic} {n}")));
    }

    /// Takes the archiver's next connection; all that is not acknowledged will be sent on it.
    pub(crate) fn accept(&mut self) {
        self.node.accept();
        self.sent = 0;
    }

    /// Sends what was not sent yet, and reads acknowledgements until so many are left to wait for; false when the connection has broken.
    pub(crate) fn push(&mut self, left: usize) -> bool {
        let stanzas: String = self.waiting.iter().skip(self.sent).map(|queued| queued.stanza.as_str()).collect();
        if !stanzas.is_empty() && !self.node.try_send(&stanzas) {
            return false;
        }
        self.sent = self.waiting.len();
        let deadline = Instant::now() + PATIENCE;
        while self.waiting.len() > left {
            match self.node.heard_or_closed(Duration::from_millis(200)) {
                Some(Some(answer)) => self.take(&answer),
                Some(None) => return false,
                None => assert!(Instant::now() < deadline, "{} copies are not acknowledged", self.waiting.len()),
            }
        }
        true
    }

    /// How many copies are not acknowledged.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Works until everything is acknowledged, however often the connection breaks.
    pub(crate) fn drain(&mut self) {
        while !self.push(0) {
            self.accept();
        }
    }

    /// An answer means what its id says, and nothing about those before it.
    fn take(&mut self, answer: &str) {
        // Whether there is a module, and how it is: this one does not say.
        if answer.contains("type='get'") {
            return;
        }
        assert!(answer.contains("type='result'") || answer.contains("type=\"result\""), "{answer}");
        let id = answer.split("id='").nth(1).or_else(|| answer.split("id=\"").nth(1)).and_then(|rest| rest.split(['\'', '"']).next());
        let sequence: u64 = id.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("an answer to nothing: {answer}"));
        let Some(index) = self.waiting.iter().position(|queued| queued.sequence == sequence) else { return };
        if answer.contains("<refused") {
            self.refused.push(sequence);
        }
        self.acknowledged.extend(self.waiting.remove(index));
        self.sent -= 1;
    }

    /// The node is killed: its connection ends, and it has forgotten the last acknowledgements, which were not on its disk yet.
    pub(crate) fn crash(&mut self, forgotten: usize) {
        self.node.hang_up();
        let keep = self.acknowledged.len().saturating_sub(forgotten);
        let mut back = self.acknowledged.split_off(keep);
        back.extend(self.waiting.drain(..));
        back.sort_by_key(|queued| queued.sequence);
        self.waiting = back.into();
    }
}

/// The archive holds what was said, each once, in order, with both its copies, and nothing else.
pub(crate) fn assert_exact(ledger: &Ledger, said: &[String]) {
    let bodies: Vec<&str> = ledger.rows.iter().filter_map(|row| row.body.as_deref()).collect();
    assert_eq!(bodies, said, "{} messages for {}", bodies.len(), said.len());
    for row in &ledger.rows {
        let directions: Vec<i16> = row.copies.iter().map(|copy| copy.direction).collect();
        assert_eq!(directions, [1, 2], "{}", row.brief());
    }
    let ids: Vec<i64> = ledger.rows.iter().map(|row| row.id).collect();
    assert_eq!(ids, (1..=said.len() as i64).collect::<Vec<_>>(), "numbers without gaps");
    assert!(ledger.quarantine.is_empty(), "{ledger}");
}
