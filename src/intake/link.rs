//! What is known of the link with a node: since when nothing may have been missed, and what was.
//!
//! A stock mirror drops its copies while nobody is attached, so whenever the link was down there is a gap. A node that numbers its copies
//! and sends again what was not acknowledged (`docs/MIRROR.md`) loses nothing by that, and what it does lose shows in its numbers. Which of the two
//! a node is, is told from what it sends. In doubt there is a gap: when it sent both, when it has sent nothing yet, and when it queued before the link
//! was lost and does no longer afterwards.
//!
//! Gaps wait here until they are in the spool. [`Link::saved`] is what must survive the process: it goes into a small file, and never says that
//! all was well until a time after the truth.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::gap::{Gap, MARGIN, Reason};
use crate::time::Micros;

const STOCK: u8 = 1;
const QUEUED: u8 = 2;

/// How a node sends, as far as one can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sends {
    /// It has sent nothing yet.
    #[default]
    Unknown,
    /// Copies that are lost when nobody takes them, be it only some of them.
    Stock,
    /// Numbered copies only, which it sends again until they are acknowledged.
    Queued,
}

/// What is kept in a file for the next process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Everything that the node sent before this time was taken.
    pub alive_at: Option<Micros>,
    /// How it sends.
    pub sends: Sends,
    /// Since when the link is down, or a gap that is not in the spool yet.
    pub down: Option<Down>,
    /// What was dropped at the spool's limit and is not on record yet.
    pub dropped: Option<Dropped>,
}

/// The link is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// `gaps.reason`.
    pub reason: i16,
    /// Since when; none if that is not known.
    pub since: Option<Micros>,
}

/// Copies that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// When the first was.
    pub since: Micros,
    /// When the last was.
    pub until: Micros,
    /// How many.
    pub count: u64,
}

/// The link with one node.
#[derive(Debug, Default)]
pub struct Link {
    /// What came in this session.
    came: AtomicU8,
    /// The first copy of this session decides whether there was a gap.
    undecided: AtomicBool,
    dropping: AtomicBool,
    caught_up_at: AtomicI64,
    state: Mutex<State>,
    /// There are gaps to be written.
    pub(super) news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How the node sent in earlier sessions.
    sent: Sends,
    is_up: bool,
    is_stopping: bool,
    down: Option<Down>,
    /// When the link was up again, as long as it is undecided whether there was a gap.
    up_again_at: Option<Micros>,
    dropped: Option<Dropped>,
    unwritten: VecDeque<Gap>,
}

impl Link {
    /// A link as the last process left it; none if there was none, or if it left nothing.
    pub fn restored(saved: Option<Saved>) -> Self {
        let link = Self::default();
        let saved = saved.unwrap_or_default();
        let mut state = link.lock();
        state.sent = saved.sends;
        // It goes into the spool when the node is there again: before the store was asked where the spool stands, nothing should.
        state.down = Some(saved.down.unwrap_or(Down { reason: Reason::NotRunning as i16, since: saved.alive_at }));
        state.dropped = saved.dropped;
        link.dropping.store(saved.dropped.is_some(), Ordering::Relaxed);
        drop(state);
        link
    }

    /// The node mirrors to us from now on.
    pub fn up(&self, at: Micros) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_up, true) {
            return;
        }
        self.caught_up_at.store(at, Ordering::Relaxed);
        let Some(down) = state.down else { return };
        if state.sent == Sends::Queued {
            state.up_again_at = Some(at);
            self.undecided.store(true, Ordering::Relaxed);
            return;
        }
        state.down = None;
        state.unwritten.push_back(gap(down, Some(at)));
        self.news.notify_one();
    }

    /// The link was lost, or closed.
    pub fn down(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.is_up, false) {
            return;
        }
        state.sent = self.sends(&state);
        self.came.store(0, Ordering::Relaxed);
        self.undecided.store(false, Ordering::Relaxed);
        state.up_again_at = None;
        let reason = if state.is_stopping { Reason::NotRunning } else { Reason::ConnectionLost };
        let since = self.caught_up_at.load(Ordering::Relaxed) - MARGIN;
        // Where it is undecided still whether there was a gap before, the two are one.
        let down = *state.down.get_or_insert(Down { reason: reason as i16, since: Some(since) });
        if state.sent != Sends::Queued {
            state.unwritten.push_back(gap(down, None));
            self.news.notify_one();
        }
    }

    /// Whether the node mirrors to us, as far as one can tell.
    pub fn is_up(&self) -> bool {
        self.lock().is_up
    }

    /// The archiver is about to close the link.
    pub fn stopping(&self) {
        self.lock().is_stopping = true;
    }

    /// All that the node had sent by then is taken.
    pub fn caught_up(&self, at: Micros) {
        self.caught_up_at.store(at, Ordering::Relaxed);
    }

    /// The node sent a copy, numbered or not.
    pub fn came(&self, is_queued: bool) {
        let bit = if is_queued { QUEUED } else { STOCK };
        if self.came.load(Ordering::Relaxed) & bit == 0 {
            self.came.fetch_or(bit, Ordering::Relaxed);
        }
        if self.undecided.load(Ordering::Relaxed) {
            self.decide(is_queued);
        }
    }

    fn decide(&self, is_queued: bool) {
        let mut state = self.lock();
        self.undecided.store(false, Ordering::Relaxed);
        let (Some(at), Some(down)) = (state.up_again_at.take(), state.down.take()) else { return };
        if !is_queued {
            state.unwritten.push_back(gap(down, Some(at)));
            self.news.notify_one();
        }
    }

    /// A copy was dropped, since the spool was at its limit.
    pub fn dropped(&self, at: Micros) {
        let mut state = self.lock();
        let dropped = state.dropped.get_or_insert(Dropped { since: at, until: at, count: 0 });
        dropped.until = at;
        dropped.count += 1;
        self.dropping.store(true, Ordering::Relaxed);
    }

    /// A copy went into the spool.
    pub fn taken(&self, at: Micros) {
        if self.dropping.load(Ordering::Relaxed) {
            self.end_of_dropping(at);
        }
    }

    fn end_of_dropping(&self, at: Micros) {
        let mut state = self.lock();
        self.dropping.store(false, Ordering::Relaxed);
        if let Some(dropped) = state.dropped.take() {
            state.unwritten.push_back(limit_gap(dropped, at));
            self.news.notify_one();
        }
    }

    /// The first gap that is not in the spool yet.
    pub(super) fn unwritten(&self) -> Option<Gap> {
        self.lock().unwritten.front().cloned()
    }

    /// It is now.
    pub(super) fn written(&self) {
        self.lock().unwritten.pop_front();
    }

    /// What the next process must know, if this one ends now.
    pub fn saved(&self) -> Saved {
        let state = self.lock();
        let is_link = |gap: &&Gap| matches!(gap.reason, Reason::ConnectionLost | Reason::NotRunning);
        let waiting = state.unwritten.iter().find(is_link).map(|gap| Down { reason: gap.reason as i16, since: gap.from });
        let dropped = state
            .unwritten
            .iter()
            .find(|gap| gap.reason == Reason::SpoolLimit)
            .and_then(|gap| Some(Dropped { since: gap.from?, until: gap.to?, count: gap.lost? }));
        Saved {
            alive_at: state.is_up.then(|| self.caught_up_at.load(Ordering::Relaxed) - MARGIN),
            sends: self.sends(&state),
            down: state.down.or(waiting),
            dropped: state.dropped.or(dropped),
        }
    }

    fn sends(&self, state: &State) -> Sends {
        match self.came.load(Ordering::Relaxed) {
            0 => state.sent,
            QUEUED => Sends::Queued,
            _ => Sends::Stock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gap(down: Down, to: Option<Micros>) -> Gap {
    let reason = Reason::of(down.reason).unwrap_or(Reason::NotRunning);
    Gap { from: down.since, to, reason, lost: None, detail: String::new() }
}

fn limit_gap(dropped: Dropped, to: Micros) -> Gap {
    Gap { from: Some(dropped.since), to: Some(to), reason: Reason::SpoolLimit, lost: Some(dropped.count), detail: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Micros = 1_000_000_000;

    /// The gaps that were to be written since the last time: reason, begin and end.
    fn told(link: &Link) -> Vec<(Reason, Option<Micros>, Option<Micros>)> {
        let mut told = Vec::new();
        while let Some(gap) = link.unwritten() {
            told.push((gap.reason, gap.from, gap.to));
            link.written();
        }
        told
    }

    fn running(sends: Sends) -> Link {
        let link = Link::restored(Some(Saved { alive_at: Some(AT - 100), sends, down: None, dropped: None }));
        link.up(AT);
        link
    }

    #[test]
    fn a_stock_mirror_leaves_a_gap_that_is_told_when_it_begins_and_when_it_ends() {
        let link = running(Sends::Stock);
        assert_eq!(told(&link), [(Reason::NotRunning, Some(AT - 100), Some(AT))]);
        link.came(false);
        link.caught_up(AT + 500);
        link.down();
        link.up(AT + 900);
        let from = Some(AT + 500 - MARGIN);
        assert_eq!(told(&link), [(Reason::ConnectionLost, from, None), (Reason::ConnectionLost, from, Some(AT + 900))]);
        assert_eq!(link.saved().alive_at, Some(AT + 900 - MARGIN));
    }

    #[test]
    fn a_node_that_queues_leaves_none() {
        let link = running(Sends::Queued);
        link.came(true);
        link.down();
        link.up(AT + 900);
        link.down();
        link.up(AT + 1_900);
        link.came(true);
        assert_eq!(told(&link), []);
        assert_eq!(link.saved().sends, Sends::Queued);
        assert_eq!(link.saved().down, None);
    }

    #[test]
    fn a_node_that_does_no_longer_queue_leaves_one() {
        let link = running(Sends::Queued);
        link.came(true);
        link.caught_up(AT + 1);
        link.down();
        link.up(AT + 900);
        assert_eq!(link.saved().down.map(|down| down.since), Some(Some(AT + 1 - MARGIN)));
        link.came(false);
        assert_eq!(told(&link), [(Reason::ConnectionLost, Some(AT + 1 - MARGIN), Some(AT + 900))]);
        // It sent both by now, and is not trusted to queue.
        link.came(true);
        link.down();
        assert_eq!(told(&link).len(), 1);
    }

    #[test]
    fn who_has_sent_nothing_is_not_trusted_to_queue() {
        let link = running(Sends::Unknown);
        assert_eq!(told(&link).len(), 1);
        link.down();
        assert_eq!(told(&link).len(), 1);
    }

    #[test]
    fn the_first_process_does_not_know_since_when() {
        let link = Link::restored(None);
        link.up(AT);
        assert_eq!(told(&link), [(Reason::NotRunning, None, Some(AT))]);
    }

    #[test]
    fn an_orderly_stop_is_no_lost_connection() {
        let link = running(Sends::Stock);
        told(&link);
        link.stopping();
        link.caught_up(AT + 7);
        link.down();
        assert_eq!(told(&link), [(Reason::NotRunning, Some(AT + 7 - MARGIN), None)]);
        let next = Link::restored(Some(link.saved()));
        next.up(AT + 50);
        assert_eq!(told(&next).last(), Some(&(Reason::NotRunning, Some(AT + 7 - MARGIN), Some(AT + 50))));
    }

    #[test]
    fn as_long_as_a_gap_is_not_written_the_file_tells_it() {
        let link = running(Sends::Stock);
        assert_eq!(link.saved().down, Some(Down { reason: 7, since: Some(AT - 100) }));
        told(&link);
        assert_eq!(link.saved().down, None);
        link.dropped(AT + 1);
        link.dropped(AT + 2);
        let dropped = Some(Dropped { since: AT + 1, until: AT + 2, count: 2 });
        assert_eq!(link.saved().dropped, dropped);
        link.taken(AT + 3);
        assert!(link.saved().dropped.is_some());
        assert_eq!(link.unwritten().and_then(|gap| gap.lost), Some(2));
        assert_eq!(told(&link), [(Reason::SpoolLimit, Some(AT + 1), Some(AT + 3))]);
        assert_eq!(link.saved().dropped, None);
        let next = Link::restored(Some(Saved { dropped, ..Saved::default() }));
        assert_eq!((told(&next), next.saved().dropped), (Vec::new(), dropped));
        next.taken(AT + 9);
        assert_eq!(told(&next), [(Reason::SpoolLimit, Some(AT + 1), Some(AT + 9))]);
    }

    #[test]
    fn what_is_saved_comes_back_from_json() {
        let saved = Saved { alive_at: Some(5), sends: Sends::Queued, down: Some(Down { reason: 1, since: None }), dropped: None };
        let text = serde_json::to_string(&saved).unwrap();
        assert_eq!(serde_json::from_str::<Saved>(&text).unwrap(), saved);
        assert!(text.contains("\"queued\""));
    }
}
