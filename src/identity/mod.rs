//! Which copies are one message.
//!
//! The rules, in their order (`docs/decisions/identity.md` has the reasons and what they were measured on):
//!
//! 1. **Exact ids.** A mirror's `ref`, a room's stanza-id and the id of a user's own archive decide: equal is one message, different is two.
//! 2. **Content.** Otherwise copies with the same content hash may be one message, if nothing known of them contradicts
//!    ([`Known::may_be`]) and they were said at about the same time.
//! 3. **Counting.** Where one send makes exactly n copies on a channel, the k-th group of n is the k-th message, so that equal messages
//!    stay apart. Where the mirror can't tell, the copy joins the last message, and more copies than the recipient's
//!    sessions explain raise the estimate of how many sends they stem from.
//! 4. **Replays** (late deliveries, room history, archive results) join the message nearest to their stamp, and become a message
//!    of their own only when there is none.
//! 5. **Feeds.** Two archivers may be given the same by one node, each through a component domain of its own. Copies are counted
//!    for each feed by itself, so that the k-th of a message on one is the k-th on the other, and makes one delivery.
//! 6. **History** read from another archive is a replay of which the time is known better. It adds a copy only where no live one is
//!    known, and none that was added before.
//!
//! Nothing is thrown away: every copy becomes a delivery of the message that it joins, or a further sighting of one. This module does no I/O: the store
//! asks it what to look up ([`Identity::wanted`]), gives it what it found ([`Identity::found`]) and has it decide copy by copy.

mod group;
pub mod keys;
pub mod known;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use crate::message::content::Kind;
use crate::message::{CopiesPerSend, Direction, ExactId, Message, Place};
use crate::mirror::Source;
use crate::time::{ClockStep, Micros, SECOND};
use group::Group;
use keys::{Key, Keyring};
pub use known::{Channel, Feed, Known, Seen};

/// Copies of one message may be this far apart on one node, unless configured otherwise.
pub const JOIN_WINDOW: Micros = 60 * SECOND;
/// Halves of a federated conversation may be this far apart: a server queues while it connects to the other one.
pub const FEDERATION_WINDOW: Micros = 600 * SECOND;
/// The feeds of one node may be this far apart: one may be held up while its archiver's spool is full.
pub const FEED_WINDOW: Micros = FEDERATION_WINDOW;
/// A replay's stamp may be this far from when the message arrived: clocks differ, and a busy node hands copies on late.
pub const REPLAY_WINDOW: Micros = 1_000 * SECOND;
/// A message from another archive that has no id attribute may be this far from its live copy: time enough for a clock of whole seconds and
/// a busy node, and too little for somebody to say the same again unseen.
pub const HISTORY_WINDOW: Micros = 10 * SECOND;
/// Where nothing tells how many sessions there are, equal copies further apart than this count as another send.
const BURST_GAP: Micros = 2 * SECOND;
/// Messages that stay in memory from one batch to the next (about 800 bytes each); older ones are looked up in the database.
const MAX_KNOWN: usize = 8_000;

/// What a copy turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The message that it is a copy of.
    pub message_id: i64,
    /// Whether this is the first copy of it.
    pub is_new: bool,
    /// Its place among the message's copies, from 0.
    pub sequence: i32,
    /// Whether another feed of the node has brought this very copy before.
    pub is_sighting: bool,
    /// Which send it stems from, by estimate, from 1.
    pub send: u16,
    /// Its direction, as far as it could be told.
    pub direction: Direction,
    /// Whether a stanza like this one is kept already.
    pub shape_is_kept: bool,
    /// Exact ids that the message did not have yet.
    pub new_ids: Vec<ExactId>,
    /// What this copy is the first to say.
    pub news: News,
    /// Whether it is kept as a delivery: what another archive holds of a message that came live says nothing new.
    pub adds_copy: bool,
}

/// Who wrote a message and whom it is for, where the copies before this one did not say: what goes into a room tells the JID, and what comes
/// out of it may tell the nick only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The sender's JID.
    pub sender: bool,
    /// The sender's nick.
    pub sender_nick: bool,
    /// The recipient's JID.
    pub recipient: bool,
    /// The recipient's nick.
    pub recipient_nick: bool,
}

/// A copy with its hashes, ready to be decided on.
#[derive(Debug)]
pub struct Keyed {
    /// The content hash.
    pub hash: u64,
    /// The keys of its exact ids.
    pub exact: Vec<Key>,
    /// The channel it came by.
    pub channel: Channel,
    /// A hash of the stanza but for its `to`.
    pub shape: u64,
    /// The feed it came by, where its node has several.
    pub feed: Option<Feed>,
    /// How the clock was set shortly before it came, if it was.
    pub step: Option<ClockStep>,
}

impl Keyed {
    /// When it was said, on the terms of the clock before it was set.
    fn said_at_before_step(&self, message: &Message) -> Micros {
        message.stamp.unwrap_or(message.arrived_at - self.step.map_or(0, |step| step.by))
    }
}

/// Which messages of a group a copy may be one of: those from a place on, if these ids of it do not contradict.
struct Candidates {
    first: usize,
    ids: Vec<(u64, u64)>,
}

/// The last time that the system's clock was set.
#[derive(Debug)]
struct Step {
    step: ClockStep,
    /// The first message that can have been said after it, where this process was there.
    first: Option<i64>,
}

/// The memory of recent messages.
#[derive(Debug)]
pub struct Identity {
    keyring: Keyring,
    window: Micros,
    /// By content hash, in the order of their ids.
    groups: HashMap<u64, Group>,
    /// Exact key → content hash and id of the message.
    exact: HashMap<Key, (u64, i64)>,
    /// Content hashes in the order in which they came, to forget the oldest.
    order: VecDeque<u64>,
    /// Messages that an error came back for, and the batch in which it did.
    bounces: HashMap<i64, u64>,
    /// How many groups stay from one batch to the next.
    most: usize,
    batch: u64,
    /// How the clock was set.
    step: Option<Step>,
    has_decided: bool,
}

impl Identity {
    /// An empty memory for a store with this secret.
    pub fn new(keyring: Keyring, window: Micros) -> Self {
        let (groups, exact, order, bounces) = Default::default();
        Self { keyring, window, groups, exact, order, bounces, most: MAX_KNOWN, batch: 0, step: None, has_decided: false }
    }

    /// Keeps this many messages from one batch to the next instead of [`MAX_KNOWN`].
    pub fn keep(&mut self, most: usize) {
        self.most = most;
    }

    /// The store's keyring.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Forgets everything: what it knows may not have been committed.
    pub fn forget(&mut self) {
        self.groups.clear();
        self.exact.clear();
        self.order.clear();
        self.bounces.clear();
    }

    /// Forgets how the clock was set if no message is stored that was said after that: it is noticed again with the first that will be.
    pub fn forget_step_beyond(&mut self, stored: i64) {
        self.step = self.step.take().filter(|step| step.first.is_none_or(|first| first <= stored));
    }

    /// A batch begins: forgets the oldest messages, but none that a batch after `stored` has changed, for the database does not know
    /// of that yet. Nothing is forgotten within a batch: what was in memory when [`Identity::wanted`] was asked is not looked up.
    pub fn begin(&mut self, batch: u64, stored: u64) {
        self.batch = batch;
        self.bounces.retain(|_, changed| *changed > stored);
        for _ in 0..self.order.len() {
            if self.order.len() <= self.most {
                break;
            }
            let Some(oldest) = self.order.pop_front() else { break };
            if self.groups.get(&oldest).is_some_and(|group| group.iter().any(|known| known.changed > stored)) {
                self.order.push_back(oldest);
            } else {
                self.groups.remove(&oldest);
            }
        }
        if self.exact.len() >= 2 * self.most {
            let groups = &self.groups;
            self.exact.retain(|_, (hash, _)| groups.contains_key(hash));
            if self.exact.len() >= 2 * self.most {
                let changed = |hash: &u64, id: &i64| {
                    groups.get(hash).and_then(|group| group.get(group.binary_search_by_key(id, |known| known.id).ok()?))
                };
                self.exact.retain(|_, (hash, id)| changed(hash, id).is_some_and(|known| known.changed > stored));
            }
        }
    }

    /// The keys to look up in the database before [`Identity::decide`]: content keys and exact keys.
    pub fn wanted(&self, message: &Message, keyed: &Keyed, content: &mut Vec<Key>, exact: &mut Vec<Key>) {
        exact.extend(keyed.exact.iter().filter(|key| !self.knows(key)));
        // A group in memory holds what was said lately; a replay may be of what was said long ago.
        if message.is_replay() || !self.groups.contains_key(&keyed.hash) {
            for (at, before, after) in self.spans(message, keyed).into_iter().flatten() {
                // What one feed holds back, another may have shown long ago.
                let (before, after) = match keyed.feed {
                    Some(_) => (before.max(FEED_WINDOW), after.max(FEED_WINDOW)),
                    None => (before, after),
                };
                let buckets = keys::bucket(at - before)..=keys::bucket(at + after);
                content.extend(buckets.map(|bucket| keys::content_key(bucket, keyed.hash)));
            }
        }
    }

    /// Keeps what is in memory of a message that will be decided on soon as if a copy of it came in the next batch.
    pub fn pin(&mut self, keyed: &Keyed) {
        let hashes = keyed.exact.iter().filter_map(|key| self.exact.get(key)).map(|(hash, _)| *hash);
        for hash in std::iter::once(keyed.hash).chain(hashes) {
            // A group is forgotten as a whole, so that one of it is enough.
            if let Some(known) = self.groups.get_mut(&hash).and_then(|group| group.last_mut()) {
                known.changed = known.changed.max(self.batch + 1);
            }
        }
    }

    /// Whether the message that has this exact id is in memory.
    fn knows(&self, key: &Key) -> bool {
        self.exact.get(key).is_some_and(|(hash, id)| self.remembers(*hash, *id))
    }

    /// The times about which the message can have been said: how long before and after them.
    fn spans(&self, message: &Message, keyed: &Keyed) -> [Option<(Micros, Micros, Micros)>; 2] {
        // Another archiver of the same node may have seen it a moment later.
        let just_now = Some((message.arrived_at, self.window, 2 * SECOND));
        if message.history.is_some() {
            return [Some((message.said_at(), message.replay_window(), message.replay_window())), None];
        }
        if message.is_replay() {
            return [Some((message.said_at(), REPLAY_WINDOW, REPLAY_WINDOW)), just_now];
        }
        let (before, after) = if message.is_federated() { (FEDERATION_WINDOW, FEDERATION_WINDOW) } else { (self.window, 2 * SECOND) };
        let before_step = keyed.step.map(|_| keyed.said_at_before_step(message));
        [Some(message.said_at()), before_step].map(|at| at.map(|at| (at, before, after)))
    }

    /// Takes over what the database knows.
    pub fn found(&mut self, mut known: Known, exact: impl IntoIterator<Item = Key>) {
        for key in exact {
            self.exact.insert(key, (known.hash, known.id));
        }
        known.bounced |= self.bounces.contains_key(&known.id);
        let group = self.groups.entry(known.hash).or_insert_with(|| {
            self.order.push_back(known.hash);
            Group::default()
        });
        group.insert(known);
    }

    /// Whether a message that was stored under this hash is in memory.
    pub fn remembers(&self, hash: u64, id: i64) -> bool {
        self.groups.get(&hash).is_some_and(|group| group.binary_search_by_key(&id, |known| known.id).is_ok())
    }

    /// What is known of a message in memory.
    pub fn known(&self, verdict: &Verdict, keyed: &Keyed) -> Option<&Known> {
        let hash = keyed.exact.iter().find_map(|key| self.exact.get(key)).map_or(keyed.hash, |(hash, _)| *hash);
        let group = self.groups.get(&hash)?;
        group.get(group.binary_search_by_key(&verdict.message_id, |known| known.id).ok()?)
    }

    /// Decides on one copy; a message that is new gets the id `next_id`.
    pub fn decide(&mut self, message: &Message, keyed: &Keyed, next_id: i64) -> Verdict {
        self.notice_step(keyed.step, next_id);
        let chosen = match self.by_exact_id(message, keyed) {
            Some(chosen) => Some(chosen),
            None => {
                let candidates = self.candidates(message, keyed);
                self.by_content(message, keyed, &candidates)
            }
        };
        let (hash, index, is_new) = match chosen {
            Some((hash, index)) => (hash, index, false),
            None => (keyed.hash, self.create(message, keyed, next_id), true),
        };
        let keyring = self.keyring.clone();
        let group = self.groups.get_mut(&hash);
        let Some((verdict, group)) = group.and_then(|group| Some((group.get_mut(index)?.take(message, keyed, is_new, &keyring), group)))
        else {
            unreachable_group(hash);
            return Verdict::alone(message, next_id);
        };
        verdict.new_ids.iter().for_each(|id| group.learnt(known::exact_hashes(id, &keyring)));
        if let Some(known) = group.get_mut(index) {
            known.changed = self.batch;
        }
        for key in &keyed.exact {
            self.exact.entry(*key).or_insert((hash, verdict.message_id));
        }
        verdict
    }

    /// What was said before the clock was set is told from what came after it, unless this process began in between.
    fn notice_step(&mut self, step: Option<ClockStep>, next_id: i64) {
        if let Some(step) = step.filter(|step| self.step.as_ref().is_none_or(|known| known.step != *step)) {
            self.step = Some(Step { step, first: self.has_decided.then_some(next_id) });
        }
        self.has_decided = true;
    }

    /// How far from a message that may be the same a copy from another archive was said; none when there is no such message. Of equal messages those that
    /// are certain are to be decided on first, or one that was missed takes the place of one that was not.
    pub fn distance(&mut self, message: &Message, keyed: &Keyed) -> Option<Micros> {
        if message.history.is_none() || self.by_exact_id(message, keyed).is_some() {
            return Some(0);
        }
        let Candidates { first, ids } = self.candidates(message, keyed);
        let group = self.groups.get(&keyed.hash)?.get(first..)?;
        let fits = group.iter().filter(|known| known.may_be(message) && !known.contradicts(message, &ids));
        let distances = fits.map(|known| message.distance_from(known.sent_at));
        distances.min().filter(|distance| *distance <= message.replay_window())
    }

    /// Where in its group the messages begin that a copy may be one of.
    fn candidates(&mut self, message: &Message, keyed: &Keyed) -> Candidates {
        let ids: Vec<(u64, u64)> = message.exact_ids.iter().map(|id| known::exact_hashes(id, &self.keyring)).collect();
        let group = self.groups.get_mut(&keyed.hash);
        let first = group.map_or(0, |group| group.first_candidate(&ids, known::ids_in_an_archive(message)));
        Candidates { first, ids }
    }

    /// An error came back for this message: equal copies that come later are another send.
    pub fn bounced(&mut self, message_id: i64) {
        self.bounces.insert(message_id, self.batch);
        if let Some(known) = self.groups.values_mut().flat_map(|group| group.iter_mut()).find(|known| known.id == message_id) {
            known.bounced = true;
        }
    }

    fn by_exact_id(&self, message: &Message, keyed: &Keyed) -> Option<(u64, usize)> {
        let mut found = keyed.exact.iter().filter_map(|key| self.exact.get(key));
        let (hash, id) = *found.next()?;
        // Anybody can write a stanza that looks delivered late: its id counts only for the very same content.
        if message.source == Source::Late && hash != keyed.hash {
            return None;
        }
        let index = self.groups.get(&hash)?.binary_search_by_key(&id, |known| known.id).ok()?;
        Some((hash, index))
    }

    fn by_content(&self, message: &Message, keyed: &Keyed, Candidates { first, ids }: &Candidates) -> Option<(u64, usize)> {
        let group = self.groups.get(&keyed.hash)?;
        let fits = |known: &Known| known.may_be(message) && !known.contradicts(message, ids);
        let candidates = group.iter().enumerate().skip(*first).filter(|(_, known)| fits(known));
        let index = if message.is_replay() {
            self.nearest(message, candidates)
        } else {
            // The error may overtake a copy that another node mirrors: only a channel that had its copy already starts anew.
            let is_over = |known: &Known| known.bounced && known.count(keyed.channel) > 0;
            let near = candidates.filter(|(_, known)| self.is_near(message, keyed, known) && !is_over(known)).collect::<Vec<_>>();
            match message.per_send {
                CopiesPerSend::Exactly(n) => near.iter().find(|(_, known)| known.count(keyed.channel) < n).map(|(index, _)| *index),
                CopiesPerSend::About(n) => by_guess(&near, keyed.channel, n),
                CopiesPerSend::Unknown => by_guess(&near, keyed.channel, u16::MAX),
            }
        };
        let index = index.or_else(|| message.is_subject_on_join().then(|| group.iter().rposition(fits))?);
        index.map(|index| (keyed.hash, index))
    }

    fn is_near(&self, message: &Message, keyed: &Keyed, known: &Known) -> bool {
        let is_news_of_feed = keyed.feed.is_some() && known.count(keyed.channel) == 0;
        let window = match () {
            () if is_news_of_feed => FEED_WINDOW.max(self.window),
            () if message.is_federated() => FEDERATION_WINDOW,
            () => self.window,
        };
        let is_near = |at: Micros| (at - known.last_at).abs() <= window || (at - known.sent_at).abs() <= window;
        let before_step = keyed.said_at_before_step(message);
        match self.step.as_ref().filter(|_| keyed.step.is_some()).and_then(|step| step.first) {
            Some(first) if known.id >= first => is_near(message.said_at()),
            Some(_) => is_near(before_step),
            None => is_near(message.said_at()) || is_near(before_step),
        }
    }

    /// The message said nearest to the stamp; one that arrived just now if there is none, since a stamp may be forged.
    fn nearest<'k>(&self, message: &Message, candidates: impl Iterator<Item = (usize, &'k Known)>) -> Option<usize> {
        let distance = |known: &Known| {
            let stamped = message.distance_from(known.sent_at);
            let arrived = (message.arrived_at - known.last_at).abs();
            if stamped <= message.replay_window() {
                return Some(stamped);
            }
            (arrived <= self.window && message.history.is_none()).then_some(REPLAY_WINDOW + arrived)
        };
        let near = candidates.filter_map(|(index, known)| Some((distance(known)?, index)));
        near.min().map(|(_, index)| index)
    }

    fn create(&mut self, message: &Message, keyed: &Keyed, id: i64) -> usize {
        let known = Known {
            id,
            hash: keyed.hash,
            sent_at: message.said_at(),
            last_at: message.said_at(),
            stanza_id: message.id.clone(),
            sender: message.sender.clone(),
            sender_nick: message.sender_nick.clone(),
            recipient: message.recipient.clone(),
            recipient_nick: message.recipient_nick.clone(),
            ..Known::default()
        };
        // Nearly every group stays a group of one.
        let group = self.groups.entry(keyed.hash).or_insert_with(Group::of_one);
        if group.is_empty() {
            self.order.push_back(keyed.hash);
        }
        group.push(known);
        group.len() - 1
    }

    /// As [`Identity::begin`], where nothing that is decided is ever stored.
    pub fn make_room(&mut self) {
        self.begin(self.batch + 1, self.batch);
    }
}

/// Where copies can't be counted exactly: the last message that has copies of this channel, or the next one that has none once this one
/// has as many as its recipients explain. Never a new message: that would be a guess too, and a wrong one doubles.
fn by_guess(near: &[(usize, &Known)], channel: Channel, explained: u16) -> Option<usize> {
    let last = near.iter().rev().find(|(_, known)| known.count(channel) > 0);
    let unused = near.iter().find(|(_, known)| known.count(channel) == 0);
    match (last, unused) {
        (Some((index, known)), None) if known.count(channel) > 0 => Some(*index),
        (Some((index, known)), Some(_)) if known.count(channel) < explained => Some(*index),
        (_, Some((index, _))) => Some(*index),
        (other, None) => other.map(|(index, _)| *index),
    }
}

/// The group was looked up or made two lines before; should that ever be wrong, the message is kept on its own.
fn unreachable_group(hash: u64) {
    log::error!("identity lost the group {hash:016x} between look-up and use; the copy is kept as a message of its own");
}

impl Known {
    fn take(&mut self, message: &Message, keyed: &Keyed, is_new: bool, keyring: &Keyring) -> Verdict {
        let at = message.said_at();
        let new_ids = self.learn_ids(message, keyring);
        // What another archive holds says nothing of the feeds by which copies came.
        let feed = keyed.feed.filter(|_| message.history.is_none());
        let sighted = feed.and_then(|feed| self.sight(feed));
        let adds_copy = sighted.is_none() && (message.history.is_none() || is_new || (self.counts.is_empty() && !new_ids.is_empty()));
        let sequence = match sighted {
            Some(sequence) => sequence,
            None if adds_copy => self.deliver(feed),
            None => self.copies,
        };
        let mut send = 1;
        if !message.is_replay() {
            let count = self.add(keyed.channel, at);
            send = estimate(count, message.per_send, at);
            self.last_at = self.last_at.max(at);
        }
        let shape_is_kept = self.shapes.contains(&keyed.shape);
        if !shape_is_kept && adds_copy {
            self.shapes.push(keyed.shape);
        }
        let direction = match message.direction {
            // The send hook of every node runs before the delivery.
            Direction::Unknown if sequence == 0 && message.sender_is_local => Direction::Sent,
            Direction::Unknown => Direction::Received,
            known => known,
        };
        let news = News {
            sender: known::learn(&mut self.sender, message.sender.as_ref()),
            sender_nick: known::learn(&mut self.sender_nick, message.sender_nick.as_ref()),
            recipient: known::learn(&mut self.recipient, message.recipient.as_ref()),
            recipient_nick: known::learn(&mut self.recipient_nick, message.recipient_nick.as_ref()),
        };
        let is_sighting = sighted.is_some();
        Verdict { message_id: self.id, is_new, sequence, is_sighting, adds_copy, send, direction, shape_is_kept, new_ids, news }
    }
}

fn estimate(count: &mut known::Count, per_send: CopiesPerSend, at: Micros) -> u16 {
    match per_send {
        CopiesPerSend::Exactly(_) => {}
        CopiesPerSend::About(explained) => count.sends = count.sends.max(count.copies.div_ceil(explained.max(1))),
        CopiesPerSend::Unknown if at - count.last_at > BURST_GAP => count.sends = count.sends.saturating_add(1),
        CopiesPerSend::Unknown => {}
    }
    count.last_at = at;
    count.sends
}

impl Verdict {
    fn alone(message: &Message, id: i64) -> Self {
        Self {
            message_id: id,
            is_new: true,
            sequence: 0,
            is_sighting: false,
            send: 1,
            direction: message.direction,
            shape_is_kept: false,
            new_ids: message.exact_ids.clone(),
            news: News::default(),
            adds_copy: true,
        }
    }
}

impl Message {
    /// When it was said: by a stamp that can be believed, else when the copy arrived.
    pub fn said_at(&self) -> Micros {
        self.stamp.unwrap_or(self.arrived_at)
    }

    /// Whether the copy was made after the fact.
    pub fn is_replay(&self) -> bool {
        matches!(self.source, Source::Late | Source::History | Source::Archive)
    }

    /// How far from its stamp the message of a replay may be.
    fn replay_window(&self) -> Micros {
        if self.history.is_some() && self.id.is_none() { HISTORY_WINDOW } else { REPLAY_WINDOW }
    }

    /// How far from its time another one is. A clock of whole seconds, as some archives have, tells a second and not its begin: the middle is nearest.
    fn distance_from(&self, at: Micros) -> Micros {
        let middle = |at: Micros| if at % SECOND == 0 { at + SECOND / 2 } else { at };
        match self.history {
            Some(_) => (middle(self.said_at()) - middle(at)).abs(),
            None => (self.said_at() - at).abs(),
        }
    }

    /// Whether this may be the subject that a room sends to everyone who joins (XEP-0045 §7.2.15), however long ago it was set.
    pub fn is_subject_on_join(&self) -> bool {
        self.content.kind == Kind::Subject && self.place == Place::FromRoom && self.exact_ids.is_empty()
    }

    /// Whether its sender and its recipient are one account.
    pub fn is_to_oneself(&self) -> bool {
        self.place == Place::Direct && self.from.bare == self.to.bare
    }

    /// Whether another server may hold the other half of it.
    pub fn is_federated(&self) -> bool {
        !self.sender_is_local || !self.recipient_is_local
    }
}
