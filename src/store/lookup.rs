//! What the database knows of messages, brought back into the memory of identity.

use std::collections::{HashMap, HashSet};

use diesel::QueryResult;

use super::feeds::{Feeds, Sightings, way};
use super::queries::Queries;
use super::reads::Reads;
use super::rows::{CountedRow, KeyRow, KnownRow};
use crate::identity::keys::{self, KEY_BYTES, Key, Keyring};
use crate::identity::known::{Count, exact_hashes_of};
use crate::identity::{Channel, Identity, Known, Seen};
use crate::message::IdKind;
use crate::message::address::Address;

/// The channel of a copy, from the columns of its delivery.
pub(crate) fn channel(
    keyring: &Keyring,
    node: i16,
    source: i16,
    direction: i16,
    recipient: Option<&str>,
    resource: Option<&str>,
) -> Channel {
    let own_session = matches!(source, 2 | 7) || (source == 8 && direction == 2);
    let (recipient, resource) = if own_session { (recipient, resource) } else { (None, None) };
    let direction = if source == 8 { direction } else { 0 };
    let numbers = [node.to_le_bytes(), source.to_le_bytes(), direction.to_le_bytes()].concat();
    let parts: [&[u8]; 3] = [&numbers, recipient.unwrap_or_default().as_bytes(), resource.unwrap_or_default().as_bytes()];
    Channel(keyring.hash(&parts))
}

/// A message that was looked up.
#[derive(Debug)]
pub(crate) struct FoundMessage {
    /// The content key that its row has.
    pub(crate) content: Key,
    pub(crate) known: Known,
    /// The keys of its exact ids.
    pub(crate) exact: Vec<Key>,
}

/// What was looked up.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) messages: Vec<FoundMessage>,
    /// The latest subject of each conversation that was asked for.
    pub(crate) subjects: HashMap<i32, Option<i64>>,
}

/// Looks up everything that copies of a batch may belong to.
pub(crate) async fn ask<Q: Reads>(
    db: &mut Q,
    keyring: &Keyring,
    feeds: &Feeds,
    content: Vec<Key>,
    exact: Vec<Key>,
    subjects: HashSet<i32>,
) -> QueryResult<Found> {
    let (mut rows, found) = db.alike(&distinct(content), &distinct(exact)).await?;
    let mut more: HashSet<i64> = found.iter().map(|row| row.message_id).collect();
    let mut latest = HashMap::new();
    let subjects: Vec<i32> = subjects.into_iter().collect();
    for (conversation, subject) in subjects.iter().zip(db.latest_subjects(&subjects).await?) {
        more.extend(subject);
        latest.insert(*conversation, subject);
    }
    let have: HashSet<i64> = rows.iter().map(|row| row.id).collect();
    let more: Vec<i64> = more.difference(&have).copied().collect();
    if !more.is_empty() {
        rows.extend(db.known_by_id(&more).await?);
    }
    let messages = if rows.is_empty() { Vec::new() } else { whole(db, keyring, feeds, rows).await? };
    Ok(Found { messages, subjects: latest })
}

/// The same, brought into memory.
pub(crate) async fn known<Q: Reads>(
    db: &mut Q,
    identity: &mut Identity,
    feeds: &Feeds,
    content: Vec<Key>,
    exact: Vec<Key>,
    subjects: HashSet<i32>,
) -> QueryResult<()> {
    let found = ask(db, &identity.keyring().clone(), feeds, content, exact, subjects).await?;
    found.messages.into_iter().for_each(|message| identity.found(message.known, message.exact));
    Ok(())
}

/// The messages of these rows, with everything that identity needs of them.
async fn whole<Q: Reads>(db: &mut Q, keyring: &Keyring, feeds: &Feeds, rows: Vec<KnownRow>) -> QueryResult<Vec<FoundMessage>> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let details = db.details(&ids, !feeds.is_empty()).await?;
    let deliveries = by_message(details.deliveries, |row| row.message_id);
    let names = by_message(details.keys, |row| row.message_id);
    let sightings = Sightings::new(details.sightings);
    let bounced: HashSet<i64> = details.bounced.into_iter().flatten().collect();
    let jids = jids(db, &rows, &deliveries, &names).await?;
    let mut messages = Vec::with_capacity(rows.len());
    for row in rows {
        let id = row.id;
        let content = Key::try_from(row.content_key.as_slice()).unwrap_or_default();
        let names = names.get(&id).map(Vec::as_slice).unwrap_or_default();
        let mut known = bare_known(row, &jids);
        known.bounced = bounced.contains(&id);
        known.exact = names.iter().map(|name| exact_hashes(name, &jids, keyring)).collect();
        for delivery in deliveries.get(&id).map(Vec::as_slice).unwrap_or_default() {
            if feeds.contains(delivery.node_id) {
                see(&mut known, delivery, &sightings, &jids, keyring);
            } else {
                count(&mut known, delivery, (delivery.node_id, delivery.at), &jids, keyring);
            }
        }
        let exact = names.iter().filter_map(|name| Key::try_from(name.key.as_slice()).ok()).collect();
        messages.push(FoundMessage { content, known, exact });
    }
    Ok(messages)
}

fn bare_known(row: KnownRow, jids: &HashMap<i32, String>) -> Known {
    let address = |id: Option<i32>, resource: Option<String>| {
        let bare = jids.get(&id?)?.clone();
        Some(Address { bare, resource })
    };
    Known {
        id: row.id,
        hash: keys::hash_of(&row.content_key),
        sent_at: row.sent_at,
        last_at: row.sent_at,
        stanza_id: row.stanza_id,
        sender: address(row.sender_id, row.sender_resource),
        sender_nick: row.sender_nick,
        recipient: address(row.recipient_id, row.recipient_resource),
        recipient_nick: row.recipient_nick,
        ..Known::default()
    }
}

fn exact_hashes(row: &KeyRow, jids: &HashMap<i32, String>, keyring: &Keyring) -> (u64, u64) {
    let kind = IdKind::of(row.kind);
    let by = row.by_id.and_then(|id| jids.get(&id)).map(String::as_str).unwrap_or_default();
    exact_hashes_of(kind, by, &row.value, keyring)
}

/// A delivery of a node with several feeds counts for each that brought it.
fn see(known: &mut Known, delivery: &CountedRow, sightings: &Sightings, jids: &HashMap<i32, String>, keyring: &Keyring) {
    let brought = sightings.brought(delivery.message_id, delivery.seq, delivery.node_id, delivery.at);
    for by in &brought {
        count(known, delivery, *by, jids, keyring);
    }
    let recipient = delivery.recipient_id.and_then(|id| jids.get(&id)).map(String::as_str);
    let way = way(keyring, delivery.source, delivery.direction, recipient, delivery.resource.as_deref());
    known.seen.push(Seen { sequence: delivery.seq, way, feeds: brought.into_iter().map(|(feed, _)| feed).collect() });
}

fn count(known: &mut Known, delivery: &CountedRow, (feed, at): (i16, i64), jids: &HashMap<i32, String>, keyring: &Keyring) {
    known.copies = known.copies.max(delivery.seq + 1);
    if matches!(delivery.source, 3..=5) {
        return;
    }
    known.last_at = known.last_at.max(at);
    let recipient = delivery.recipient_id.and_then(|id| jids.get(&id)).map(String::as_str);
    let channel = channel(keyring, feed, delivery.source, delivery.direction, recipient, delivery.resource.as_deref());
    let Count { last_at, sends, .. } = known.add(channel, at);
    *last_at = (*last_at).max(at);
    *sends = (*sends).max(u16::try_from(delivery.send_no).unwrap_or(1));
}

async fn jids<Q: Reads>(
    db: &mut Q,
    rows: &[KnownRow],
    deliveries: &HashMap<i64, Vec<CountedRow>>,
    names: &HashMap<i64, Vec<KeyRow>>,
) -> QueryResult<HashMap<i32, String>> {
    let mut ids: Vec<i32> = rows.iter().flat_map(|row| [row.sender_id, row.recipient_id]).flatten().collect();
    ids.extend(deliveries.values().flatten().filter_map(|row| row.recipient_id));
    ids.extend(names.values().flatten().filter_map(|row| row.by_id));
    ids.sort_unstable();
    ids.dedup();
    Ok(db.jids_of(&ids).await?.into_iter().map(|row| (row.id, row.jid)).collect())
}

/// Who is in which room, from the events: the last one of each occupant counts.
pub(crate) async fn occupants<Q: Queries>(db: &mut Q) -> QueryResult<Vec<(String, String, Option<Address>)>> {
    let events = db.occupancies().await?;
    let mut ids: Vec<i32> = events.iter().flat_map(|event| [Some(event.room_id), event.jid_id]).flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    let jids: HashMap<i32, String> = db.jids_of(&ids).await?.into_iter().map(|row| (row.id, row.jid)).collect();
    let mut inside: HashMap<(i32, String, Option<i32>, Option<String>), bool> = HashMap::new();
    for event in events {
        inside.insert((event.room_id, event.nick, event.jid_id, event.resource), event.event == 1);
    }
    let present = inside.into_iter().filter(|(_, is_inside)| *is_inside);
    let named = present.filter_map(|((room, nick, jid, resource), _)| {
        let jid = jid.and_then(|jid| jids.get(&jid)).map(|bare| Address { bare: bare.clone(), resource });
        Some((jids.get(&room)?.clone(), nick, jid))
    });
    Ok(named.collect())
}

fn by_message<R>(rows: Vec<R>, id: impl Fn(&R) -> i64) -> HashMap<i64, Vec<R>> {
    let mut sorted: HashMap<i64, Vec<R>> = HashMap::new();
    for row in rows {
        sorted.entry(id(&row)).or_default().push(row);
    }
    sorted
}

fn distinct(mut keys: Vec<[u8; KEY_BYTES]>) -> Vec<Vec<u8>> {
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|key| key.to_vec()).collect()
}
