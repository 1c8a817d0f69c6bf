//! Keys by which the database finds what might be the same message.
//!
//! A content key is a keyed hash over who, whom, where, which id and what was said, behind the minute it was said in:
//! the time in front keeps inserts and look-ups at one end of the index however large the table grows. The hash is keyed
//! with a secret of the store so that nobody can make two messages collide; a collision would only mean that two messages are
//! compared, see [`super::known`]. Exact ids have keys without time: a retraction may name a message of years ago.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::message::content::Kind;
use crate::message::{ExactId, Message, Place};
use crate::time::Micros;

/// Bytes of a key in the database.
pub const KEY_BYTES: usize = 12;

/// A key as it stands in `messages.content_key` and `message_keys.key`.
pub type Key = [u8; KEY_BYTES];

/// A bucket of time is 2^26 microseconds, about 67 seconds.
const BUCKET_BITS: u32 = 26;

/// The number of the bucket that an instant is in.
pub fn bucket(at: Micros) -> u32 {
    u32::try_from(at.max(0) >> BUCKET_BITS).unwrap_or(u32::MAX)
}

/// The instant at which a bucket begins.
pub fn bucket_start(bucket: u32) -> Micros {
    Micros::from(bucket) << BUCKET_BITS
}

/// A content hash within its bucket.
pub fn content_key(bucket: u32, hash: u64) -> Key {
    let mut key = [0; KEY_BYTES];
    let (time, rest) = key.split_at_mut(4);
    time.copy_from_slice(&bucket.to_be_bytes());
    rest.copy_from_slice(&hash.to_be_bytes());
    key
}

/// The content hash in a content key read from the database; zero if it is no key.
pub fn hash_of(key: &[u8]) -> u64 {
    key.get(4..KEY_BYTES).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// The store's secret, made once when the archive is created.
#[derive(Clone)]
pub struct Keyring {
    secret: [u8; 16],
}

impl Keyring {
    /// A keyring of the secret kept in the table `settings`.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    fn hasher(&self) -> Parts {
        Parts(SipHasher24::new_with_key(&self.secret))
    }

    /// A keyed hash of any parts, for channels, shapes and the like.
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.hasher();
        parts.iter().for_each(|part| hasher.part(part));
        hasher.0.finish()
    }

    /// The key of an exact id.
    pub fn exact(&self, id: &ExactId) -> Key {
        let kind = [id.kind as u8];
        let first = self.hash(&[&kind, id.by.as_bytes(), id.value.as_bytes()]);
        let second = self.hash(&[id.value.as_bytes(), id.by.as_bytes(), &kind]);
        content_key((second >> 32) as u32, first)
    }

    /// What all copies of one message have in common, whatever way they took. Two different messages may have it in common too.
    pub fn content(&self, message: &Message) -> u64 {
        let mut hasher = self.hasher();
        let room = message.room.as_deref().unwrap_or_default().as_bytes();
        match message.place {
            Place::Direct => {
                hasher.part(b"direct");
                hasher.part(message.from.bare.as_bytes());
                hasher.part(message.from.resource.as_deref().unwrap_or_default().as_bytes());
                hasher.part(message.to.bare.as_bytes());
                hasher.part(message.id.as_deref().unwrap_or_default().as_bytes());
                hasher.part(&[message.message_type as u8]);
            }
            // A room may drop the id or give one (XEP-0045 does not forbid it): ids are compared later.
            Place::IntoRoom | Place::FromRoom => {
                hasher.part(b"room");
                hasher.part(room);
            }
            Place::PrivateInto | Place::PrivateFrom => {
                hasher.part(b"private");
                hasher.part(room);
            }
            Place::ServiceInto | Place::ServiceFrom => {
                hasher.part(b"service");
                hasher.part(room);
                hasher.part(invited(message).as_bytes());
            }
        }
        hasher.part(&message.content.digest);
        hasher.0.finish()
    }
}

/// Of an invitation that a room passes on, the invited person is the only address that stays.
fn invited(message: &Message) -> String {
    match (&message.content.invitee, message.content.kind) {
        (Some(invitee), Kind::Invitation | Kind::Declined) => crate::message::address::Address::parse(invitee).bare,
        _ => String::new(),
    }
}

struct Parts(SipHasher24);

impl Parts {
    /// The length goes in front so that no two lists of parts run together.
    fn part(&mut self, bytes: &[u8]) {
        self.0.write(&(bytes.len() as u64).to_le_bytes());
        self.0.write(bytes);
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Keyring")
    }
}
