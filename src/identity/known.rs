//! What is known of a message when the next copy comes: enough to tell whether that copy is one of it.

use super::keys::Keyring;
use crate::message::address::Address;
use crate::message::{ExactId, IdKind, Message, Place};
use crate::mirror::Source;
use crate::time::Micros;

/// The way by which copies come, within which they can be counted: `deliveries.source` and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channel(pub u64);

/// How many copies came by one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Which channel.
    pub channel: Channel,
    /// How many copies.
    pub copies: u16,
    /// When the last of them came.
    pub last_at: Micros,
    /// The highest estimate so far of the sends that they stem from.
    pub sends: u16,
}

/// One of several component domains to which a node mirrors the same, as a copy came by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Which feed: `nodes.id` of its own entry.
    pub id: i16,
    /// What a copy has in common with the one that another feed brings: source, direction, receiver.
    pub way: u64,
}

/// A delivery of a node with several feeds, and those that have brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its place among the message's copies.
    pub sequence: i32,
    /// See [`Feed::way`].
    pub way: u64,
    /// The feeds.
    pub feeds: Vec<i16>,
}

/// One message, as far as identity needs it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its id in the database.
    pub id: i64,
    /// The content hash that it was stored under.
    pub hash: u64,
    /// When it was said.
    pub sent_at: Micros,
    /// When the last live copy came.
    pub last_at: Micros,
    /// The `id` attribute.
    pub stanza_id: Option<String>,
    /// Who wrote it, where known.
    pub sender: Option<Address>,
    /// The writer's nick.
    pub sender_nick: Option<String>,
    /// Whom it is for.
    pub recipient: Option<Address>,
    /// The nick that it is for.
    pub recipient_nick: Option<String>,
    /// Its exact ids: hash of who gave it, hash of the value.
    pub exact: Vec<(u64, u64)>,
    /// The channels that copies came by.
    pub counts: Vec<Count>,
    /// The copies, where the node has several feeds.
    pub seen: Vec<Seen>,
    /// How many copies there are in all.
    pub copies: i32,
    /// Hashes of the stanzas that are kept already.
    pub shapes: Vec<u64>,
    /// Whether an error came back for it: later equal copies are another send.
    pub bounced: bool,
}

impl Known {
    /// Whether this message and `message` can be one, as far as names and ids tell.
    pub fn may_be(&self, message: &Message) -> bool {
        match message.place {
            Place::Direct => self.same_resource(message),
            Place::ServiceInto | Place::ServiceFrom => true,
            Place::IntoRoom | Place::FromRoom => self.same_id(message) && self.same_sender(message),
            Place::PrivateInto | Place::PrivateFrom => self.same_id(message) && self.same_sender(message) && self.same_recipient(message),
        }
    }

    /// Servers keep `to` as it was written, so a message to one session is not one to all of them;
    /// a replay or a mirror that names sessions may show either.
    fn same_resource(&self, message: &Message) -> bool {
        let mine = self.recipient.as_ref().and_then(|recipient| recipient.resource.as_deref());
        let theirs = message.to.resource.as_deref();
        mine == theirs || (message.source != Source::Direct && (mine.is_none() || theirs.is_none()))
    }

    fn same_id(&self, message: &Message) -> bool {
        agree(self.stanza_id.as_deref(), message.id.as_deref())
    }

    fn same_sender(&self, message: &Message) -> bool {
        agree(self.sender_nick.as_deref(), message.sender_nick.as_deref()) && same_person(self.sender.as_ref(), message.sender.as_ref())
    }

    fn same_recipient(&self, message: &Message) -> bool {
        agree(self.recipient_nick.as_deref(), message.recipient_nick.as_deref())
            && agree(bare(self.recipient.as_ref()), bare(message.recipient.as_ref()))
    }

    /// Whether an id of `message` says that this is another message.
    ///
    /// `ids` are those of the message, `(who gave it, value)`.
    pub fn contradicts(&self, message: &Message, ids: &[(u64, u64)]) -> bool {
        #[cfg(test)]
        COMPARISONS.set(COMPARISONS.get() + 1);
        let most = ids_in_an_archive(message);
        ids.iter().any(|(by, value)| self.ids_by(*by).all(|known| known != *value) && self.ids_by(*by).count() >= most)
    }

    /// The ids that somebody gave it.
    pub(super) fn ids_by(&self, by: u64) -> impl Iterator<Item = u64> {
        self.exact.iter().filter(move |(known_by, _)| *known_by == by).map(|(_, value)| *value)
    }

    /// Remembers the exact ids of a copy; the new ones are returned.
    pub fn learn_ids(&mut self, message: &Message, keyring: &Keyring) -> Vec<ExactId> {
        let mut new = Vec::new();
        for id in &message.exact_ids {
            let hashes = exact_hashes(id, keyring);
            if !self.exact.contains(&hashes) {
                self.exact.push(hashes);
                new.push(id.clone());
            }
        }
        new
    }

    /// The place of the copy that another feed has brought and that comes once more by this one; the first of several.
    pub(super) fn sight(&mut self, feed: Feed) -> Option<i32> {
        let seen = self.seen.iter_mut().find(|seen| seen.way == feed.way && !seen.feeds.contains(&feed.id))?;
        seen.feeds.push(feed.id);
        Some(seen.sequence)
    }

    /// The place of a copy that no feed has brought before.
    pub(super) fn deliver(&mut self, feed: Option<Feed>) -> i32 {
        let sequence = self.copies;
        self.copies += 1;
        self.seen.extend(feed.map(|feed| Seen { sequence, way: feed.way, feeds: vec![feed.id] }));
        sequence
    }

    /// How many copies came by `channel`.
    pub fn count(&self, channel: Channel) -> u16 {
        self.counts.iter().find(|count| count.channel == channel).map_or(0, |count| count.copies)
    }

    /// Counts one more copy on `channel`.
    pub fn add(&mut self, channel: Channel, at: Micros) -> &mut Count {
        let found = self.counts.iter().position(|count| count.channel == channel);
        let index = found.unwrap_or_else(|| {
            self.counts.reserve_exact(1);
            self.counts.push(Count { channel, copies: 0, last_at: at, sends: 1 });
            self.counts.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the index was found or pushed above")]
        let count = &mut self.counts[index];
        count.copies = count.copies.saturating_add(1);
        count
    }
}

#[cfg(test)]
thread_local! {
    /// How often a message was compared with another one.
    pub(super) static COMPARISONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many ids one archive may give a message: what one writes to oneself is kept twice by one's own, as sent and as received.
pub(super) fn ids_in_an_archive(message: &Message) -> usize {
    if message.is_to_oneself() { 2 } else { 1 }
}

/// Takes over what was not known; says whether it did.
pub fn learn<T: Clone>(known: &mut Option<T>, told: Option<&T>) -> bool {
    let is_news = known.is_none() && told.is_some();
    if is_news {
        *known = told.cloned();
    }
    is_news
}

/// The hashes by which exact ids are compared: who gave it, and its value.
pub fn exact_hashes(id: &ExactId, keyring: &Keyring) -> (u64, u64) {
    exact_hashes_of(id.kind, &id.by, &id.value, keyring)
}

/// The same from the parts, as the database has them.
pub fn exact_hashes_of(kind: IdKind, by: &str, value: &str, keyring: &Keyring) -> (u64, u64) {
    (keyring.hash(&[&[kind as u8], by.as_bytes()]), keyring.hash(&[value.as_bytes()]))
}

fn bare(address: Option<&Address>) -> Option<&str> {
    address.map(|address| address.bare.as_str())
}

/// What is unknown contradicts nothing.
fn agree(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none() || other.is_none() || one == other
}

fn same_person(one: Option<&Address>, other: Option<&Address>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    one.bare == other.bare && agree(one.resource.as_deref(), other.resource.as_deref())
}
