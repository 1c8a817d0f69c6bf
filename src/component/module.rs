//! How the node's own module is doing, where one of ours runs there: asked for when the session begins, and from time to time.
//!
//! A node without one answers with an error, which is an answer too: it is then asked less often. The query and its answer are in `docs/MIRROR.md`.

use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use tokio::time::Instant;

use super::MIRROR_NAMESPACE;
use super::handshake::attribute;
use super::iq::{Iq, Kind, envelope};

/// How long a node that has no module is left alone: one may be loaded while it runs.
const ABSENT_INTERVAL: Duration = Duration::from_secs(60);
/// A longer answer is none of ours.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The longest text that is taken over from an answer.
const MAX_TEXT_CHARS: usize = 100;

/// What a node's module said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// Which one: `prosody`, `ejabberd`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `observe` or `require`.
    pub mode: String,
    /// The epoch of its queue.
    pub epoch: String,
    /// The number that the next copy will have.
    pub next: u64,
    /// How many copies wait in its queue.
    pub depth: u64,
    /// How much of the node's disk the queue takes.
    pub bytes: u64,
    /// How many copies it has sent that are not acknowledged yet.
    pub in_flight: u64,
    /// How many copies it had to drop.
    pub dropped: u64,
    /// When it handled the oldest copy that waits, where it says so.
    pub oldest: Option<String>,
}

/// Whether a module is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Presence {
    /// Not known yet.
    #[default]
    Unknown,
    /// The node has none.
    Absent,
    /// It answered.
    Present(Module),
}

/// The questions of one session.
#[derive(Debug)]
pub(super) struct Inquiry {
    domain: String,
    server: String,
    interval: Duration,
    asked: u64,
    deadline: Instant,
}

impl Inquiry {
    /// One that is to be made at once.
    pub(super) fn new(domain: &str, server: &str, interval: Duration) -> Self {
        Self { domain: domain.to_owned(), server: server.to_owned(), interval, asked: 0, deadline: Instant::now() }
    }

    /// When [`Self::due`] wants to be called.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The question, when it is time for one.
    pub(super) fn due(&mut self) -> Option<Vec<u8>> {
        let now = Instant::now();
        if now < self.deadline {
            return None;
        }
        self.asked += 1;
        self.deadline = now + self.interval;
        let question = format!("<status xmlns='{MIRROR_NAMESPACE}'/>");
        Some(envelope("get", &self.id(), &self.domain, Some(&self.server), &question).into_bytes())
    }

    /// Looks whether an iq result or error is the answer to the last question.
    pub(super) fn answer(&mut self, iq: &Iq, stanza: &[u8]) -> Option<Presence> {
        let from_server = iq.from.as_deref().is_some_and(|from| from.eq_ignore_ascii_case(&self.server));
        if self.asked == 0 || iq.id != self.id() || !from_server || stanza.len() > MAX_ANSWER_BYTES {
            return None;
        }
        let module = if iq.kind == Kind::Result { read(stanza) } else { None };
        if module.is_none() {
            self.deadline = Instant::now() + self.interval.max(ABSENT_INTERVAL);
        }
        Some(module.map_or(Presence::Absent, Presence::Present))
    }

    fn id(&self) -> String {
        format!("module-{}", self.asked)
    }
}

fn read(stanza: &[u8]) -> Option<Module> {
    let text = String::from_utf8_lossy(stanza);
    let mut reader = Reader::from_str(&text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) if start.local_name().as_ref() == "status" => return Some(told(&start)),
            Event::Eof => return None,
            _ => {}
        }
    }
}

fn told(status: &BytesStart<'_>) -> Module {
    let text = |name: &str| attribute(status, name).map(|value| shown(&value));
    let number = |name: &str| attribute(status, name).and_then(|value| value.parse().ok()).unwrap_or_default();
    Module {
        name: text("module").unwrap_or_default(),
        version: text("version").unwrap_or_default(),
        mode: text("mode").unwrap_or_default(),
        epoch: text("epoch").unwrap_or_default(),
        next: number("next"),
        depth: number("depth"),
        bytes: number("bytes"),
        in_flight: number("in-flight"),
        dropped: number("dropped"),
        oldest: text("oldest"),
    }
}

/// Text of the node as it may go to a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::iq::{Sorted, sort};
    use super::*;

    fn asked() -> Inquiry {
        let mut inquiry = Inquiry::new("archive.example", "example", Duration::from_secs(1));
        let question = String::from_utf8(inquiry.due().unwrap()).unwrap();
        let expected = "<iq type='get' id='module-1' from='archive.example' to='example'><status xmlns='urn:xmpp-archiver:mirror:0'/></iq>";
        assert_eq!(question, expected);
        inquiry
    }

    fn answer(inquiry: &mut Inquiry, stanza: &str) -> Option<Presence> {
        let Sorted::Iq(iq) = sort(stanza.as_bytes()) else { panic!("{stanza} is no iq") };
        inquiry.answer(&iq, stanza.as_bytes())
    }

    #[test]
    fn a_module_tells_of_itself() {
        let told = "<iq type='result' id='module-1' from='example' to='archive.example'><status xmlns='urn:xmpp-archiver:mirror:0' \
             module='prosody' version='0.1.0' mode='require' epoch='b7&#x7;d1' next='43' depth='2' bytes='1300' in-flight='1' dropped='x'/></iq>";
        let expected = Module {
            name: "prosody".to_owned(),
            version: "0.1.0".to_owned(),
            mode: "require".to_owned(),
            epoch: "b7d1".to_owned(),
            next: 43,
            depth: 2,
            bytes: 1300,
            in_flight: 1,
            dropped: 0,
            oldest: None,
        };
        assert_eq!(answer(&mut asked(), told), Some(Presence::Present(expected)));
    }

    #[test]
    fn a_node_without_a_module_is_left_alone_for_a_while() {
        let mut inquiry = asked();
        let refusal = "<iq type='error' id='module-1' from='example'><error type='cancel'><service-unavailable/></error></iq>";
        assert_eq!(answer(&mut inquiry, refusal), Some(Presence::Absent));
        assert!(inquiry.deadline() > Instant::now() + ABSENT_INTERVAL / 2);
        assert_eq!(inquiry.due(), None);
    }

    #[test]
    fn answers_of_others_and_to_other_questions_are_none() {
        for stanza in ["<iq type='result' id='module-1' from='eve@example'/>", "<iq type='result' id='ping-1' from='example'/>"] {
            assert_eq!(answer(&mut asked(), stanza), None, "{stanza}");
        }
    }
}
