//! Named alarms: something is wrong, an operator should act, and later it is right again.
//!
//! An alarm has a name with a severity, a subject (which node, which store) and a text that says what to do. It is raised once and
//! cleared once, however often the trouble is met in between. Each change goes to the log and to a [`Listener`], and what is raised
//! shows in `status`. What lasts is cleared by whoever raised it; what has merely happened (a stanza was lost) is cleared after a
//! quiet time, or when somebody acknowledges it.

mod name;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::time::{Micros, now, rfc3339};

pub use name::{Name, Severity};

/// One alarm that is raised.
#[derive(Clone, Debug, Serialize)]
pub struct Raised {
    /// Its name.
    pub name: Name,
    /// How soon somebody should look.
    pub severity: Severity,
    /// The node or store that it is about.
    pub subject: String,
    /// What happened and what to do.
    pub text: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// How often the trouble was met.
    pub times: u64,
    /// Whether somebody said to have seen it.
    pub acknowledged: bool,
}

/// What became of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It was raised.
    Raised,
    /// It was cleared.
    Cleared,
    /// It is none: somebody tries out whether alarms arrive.
    Test,
}

impl Event {
    /// The word for messages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
            Self::Test => "test",
        }
    }
}

/// An alarm was raised or cleared.
#[derive(Clone, Debug)]
pub struct Change {
    /// What became of it.
    pub event: Event,
    /// Its name; a test has none of the names.
    pub name: &'static str,
    /// How soon somebody should look.
    pub severity: Severity,
    /// The node or store that it is about.
    pub subject: String,
    /// What happened and what to do.
    pub text: String,
    /// Since when it was raised.
    pub since: Micros,
    /// When it changed.
    pub at: Micros,
}

impl Change {
    /// A change that only tries the way out.
    pub fn test() -> Self {
        let (subject, at) = ("xmpp-archiver".to_owned(), now());
        let text = "this is a test: alarms reach you, and nothing is wrong".to_owned();
        Self { event: Event::Test, name: "test", severity: Severity::Warning, subject, text, since: at, at }
    }
}

/// Is told each change, while nobody else can make one: it must not wait.
pub trait Listener: fmt::Debug + Send + Sync {
    /// An alarm was raised or cleared.
    fn changed(&self, change: &Change);

    /// An alarm came back from a JID that it was sent to; why.
    fn refused(&self, _jid: &str, _why: &str) {}
}

#[derive(Debug)]
struct State {
    text: String,
    since: Micros,
    /// When the trouble was last met.
    met: Instant,
    times: u64,
    acknowledged: bool,
}

#[derive(Debug, Default)]
struct Inner {
    raised: Mutex<BTreeMap<(Name, String), State>>,
    totals: Mutex<BTreeMap<Name, u64>>,
    listener: Mutex<Option<Arc<dyn Listener>>>,
}

/// The alarms of this process.
#[derive(Clone, Debug, Default)]
pub struct Alarms(Arc<Inner>);

impl Alarms {
    /// Tells every change from now on to `listener`.
    pub fn tell(&self, listener: Arc<dyn Listener>) {
        *lock(&self.0.listener) = Some(listener);
    }

    /// An alarm that was sent as a message came back.
    pub fn refused(&self, jid: &str, why: &str) {
        let listener = lock(&self.0.listener).clone();
        if let Some(listener) = listener {
            listener.refused(jid, why);
        }
    }

    /// Raises an alarm, or renews the text of one that is raised.
    pub fn raise(&self, name: Name, subject: &str, text: &str) {
        let mut raised = lock(&self.0.raised);
        let (met, since) = (Instant::now(), now());
        if let Some(state) = raised.get_mut(&(name, subject.to_owned())) {
            state.met = met;
            state.times += 1;
            if state.text != text {
                text.clone_into(&mut state.text);
                log::warn!("alarm {name} goes on for {subject}: {text}");
            }
            return;
        }
        *lock(&self.0.totals).entry(name).or_default() += 1;
        log::error!("alarm {name} ({}) raised for {subject}: {text}", name.severity());
        let state = State { text: text.to_owned(), since, met, times: 1, acknowledged: false };
        self.announce(Event::Raised, name, subject, &state);
        raised.insert((name, subject.to_owned()), state);
    }

    /// Clears an alarm, if it is raised.
    pub fn clear(&self, name: Name, subject: &str) {
        let mut raised = lock(&self.0.raised);
        if let Some(state) = raised.remove(&(name, subject.to_owned())) {
            log::info!("alarm {name} cleared for {subject}");
            self.announce(Event::Cleared, name, subject, &state);
        }
    }

    /// Raises or clears, as it is.
    pub fn set(&self, name: Name, subject: &str, text: Option<&str>) {
        match text {
            Some(text) => self.raise(name, subject, text),
            None => self.clear(name, subject),
        }
    }

    /// Somebody has seen the alarms that `picks` picks: what has merely happened is cleared, what lasts stays and is marked. Tells how many there were.
    pub fn acknowledge(&self, picks: impl Fn(Name, &str) -> bool) -> usize {
        let mut raised = lock(&self.0.raised);
        let mut seen = 0;
        for ((name, subject), state) in raised.iter_mut().filter(|((name, subject), _)| picks(*name, subject)) {
            state.acknowledged = true;
            seen += 1;
            log::info!("alarm {name} was acknowledged for {subject}");
        }
        self.drop_where(&mut raised, |name, state| name.has_happened() && state.acknowledged);
        seen
    }

    /// Clears what has merely happened, and not again for so long.
    pub fn expire(&self, clear_after: Duration) {
        self.drop_where(&mut lock(&self.0.raised), |name, state| name.has_happened() && state.met.elapsed() >= clear_after);
    }

    /// What is raised now.
    pub fn raised(&self) -> Vec<Raised> {
        let show = |((name, subject), state): (&(Name, String), &State)| Raised {
            name: *name,
            severity: name.severity(),
            subject: subject.clone(),
            text: state.text.clone(),
            since: rfc3339(state.since),
            times: state.times,
            acknowledged: state.acknowledged,
        };
        lock(&self.0.raised).iter().map(show).collect()
    }

    /// How often each name was raised since the process started.
    pub fn totals(&self) -> BTreeMap<Name, u64> {
        lock(&self.0.totals).clone()
    }

    fn drop_where(&self, raised: &mut BTreeMap<(Name, String), State>, over: impl Fn(Name, &State) -> bool) {
        raised.retain(|(name, subject), state| {
            if !over(*name, state) {
                return true;
            }
            log::info!("alarm {name} cleared for {subject}");
            self.announce(Event::Cleared, *name, subject, state);
            false
        });
    }

    fn announce(&self, event: Event, name: Name, subject: &str, state: &State) {
        let Some(listener) = lock(&self.0.listener).clone() else { return };
        let (subject, text, since) = (subject.to_owned(), state.text.clone(), state.since);
        listener.changed(&Change { event, name: name.label(), severity: name.severity(), subject, text, since, at: now() });
    }
}

/// A panic elsewhere leaves what is behind the lock usable: each change to it is complete before anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<(Event, &'static str)>>);

    impl Listener for Heard {
        fn changed(&self, change: &Change) {
            self.0.lock().unwrap().push((change.event, change.name));
        }
    }

    fn listened() -> (Alarms, Arc<Heard>) {
        let (alarms, heard) = (Alarms::default(), Arc::new(Heard::default()));
        alarms.tell(heard.clone());
        (alarms, heard)
    }

    #[test]
    fn an_alarm_is_raised_and_cleared_once() {
        let (alarms, heard) = listened();
        alarms.raise(Name::StoreUnreachable, "main", "first");
        alarms.raise(Name::StoreUnreachable, "main", "second");
        let raised = alarms.raised();
        assert_eq!((raised.len(), raised[0].text.as_str(), raised[0].times), (1, "second", 2));
        alarms.clear(Name::StoreUnreachable, "main");
        alarms.clear(Name::StoreUnreachable, "main");
        assert!(alarms.raised().is_empty());
        assert_eq!(*heard.0.lock().unwrap(), [(Event::Raised, "store-unreachable"), (Event::Cleared, "store-unreachable")]);
        assert_eq!(alarms.totals()[&Name::StoreUnreachable], 1);
    }

    #[test]
    fn only_what_has_happened_is_cleared_by_time() {
        let (alarms, heard) = listened();
        alarms.raise(Name::StanzaOversize, "main", "lost");
        alarms.raise(Name::StoreUnreachable, "main", "away");
        alarms.expire(Duration::from_secs(3600));
        assert_eq!(alarms.raised().len(), 2);
        alarms.expire(Duration::ZERO);
        assert_eq!(alarms.raised()[0].name, Name::StoreUnreachable);
        assert_eq!(heard.0.lock().unwrap().last(), Some(&(Event::Cleared, "stanza-oversize")));
    }

    #[test]
    fn what_lasts_is_marked_when_it_is_acknowledged() {
        let (alarms, _) = listened();
        alarms.raise(Name::StanzaOversize, "a", "lost");
        alarms.raise(Name::StanzaOversize, "b", "lost");
        alarms.raise(Name::StoreUnreachable, "main", "away");
        assert_eq!(alarms.acknowledge(|name, subject| name != Name::StanzaOversize || subject == "a"), 2);
        let raised = alarms.raised();
        let shown: Vec<_> = raised.iter().map(|one| (one.name, one.subject.as_str(), one.acknowledged)).collect();
        assert_eq!(shown, [(Name::StoreUnreachable, "main", true), (Name::StanzaOversize, "b", false)]);
    }
}
