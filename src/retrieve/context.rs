//! What stands around a message: what was said before and after, what became of it, who got it, and who was there.

use std::collections::{HashMap, HashSet};

use super::amendments::{Amends, CHANGES};
use super::conditions::Scope;
use super::query::{Order, Query};
use super::{Archive, Delivery, Found, Page, Stay};
use crate::message::content::Kind;
use crate::store::StoreError;

/// The most messages around one, on each side.
pub const MAX_AROUND: usize = 200;
/// The most changes of one conversation that are read, as pairs of numbers.
const MAX_PAIRS: usize = 500_000;
/// The most records that refer to one message and are told.
const MAX_REFERRING: usize = 500;

/// A message with what was said around it in its conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// What was said before, in the order of time.
    pub before: Vec<Found>,
    /// The message.
    pub message: Found,
    /// What was said after.
    pub after: Vec<Found>,
}

/// A message as it was written and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// As it was first written.
    pub original: Found,
    /// Corrections, retractions and moderations, in the order of time.
    pub changes: Vec<Found>,
}

/// Who got a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipts {
    /// The copies that a node showed.
    pub deliveries: Vec<Delivery>,
    /// What clients said: receipts (XEP-0184) and markers (XEP-0333) for it.
    pub said: Vec<Found>,
}

impl Archive {
    /// One message by its number; none if it is not there, or may not be seen.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn message(&self, id: i64, with_xml: bool) -> Result<Option<Found>, StoreError> {
        let query = Query { id: Some(id.to_string()), all: true, with_xml, ..Query::default() };
        let page = self.search(&query).await?;
        Ok(page.messages.into_iter().find(|found| found.id == id))
    }

    /// A message with at most so many before and after it.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn around(&self, id: i64, messages: usize) -> Result<Option<Context>, StoreError> {
        let Some(message) = self.message(id, false).await? else { return Ok(None) };
        let limit = messages.min(MAX_AROUND);
        let side = |order| Query {
            conversation: Some(message.conversation.clone()),
            after: Some(message.cursor()),
            order,
            limit,
            ..Query::default()
        };
        let (mut before, after) = match limit {
            0 => (Page::default(), Page::default()),
            _ => (self.search(&side(Order::Descending)).await?, self.search(&side(Order::Ascending)).await?),
        };
        before.messages.reverse();
        Ok(Some(Context { before: before.messages, message, after: after.messages }))
    }

    /// The versions of a message, whichever of them is named.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn versions(&self, id: i64) -> Result<Option<Versions>, StoreError> {
        let Some(named) = self.message(id, false).await? else { return Ok(None) };
        let pairs = self.changes_in(&named.conversation).await?;
        let mut original = named;
        // What the first change is about may not be there, or beyond what may be seen.
        for above in above(&pairs, id) {
            if let Some(found) = self.message(above, false).await? {
                original = found;
                break;
            }
        }
        let refers_to = [vec![original.id], below(&pairs, &[original.id], MAX_REFERRING)].concat();
        let mut changes = self.referring(&original, refers_to, CHANGES.to_vec()).await?;
        changes.retain(|change| change.id != original.id);
        Ok(Some(Versions { original, changes }))
    }

    /// The numbers of what changed these messages of a conversation, of what changed that, and so on; at most `most`.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn changes_below(&self, conversation: &str, messages: &[i64], most: usize) -> Result<Vec<i64>, StoreError> {
        Ok(below(&self.changes_in(conversation).await?, messages, most))
    }

    /// All changes of a conversation by what they change. Anybody in it can make a chain of corrections of corrections as long as they like, so
    /// chains are followed in memory, and not by a statement for each step.
    async fn changes_in(&self, conversation: &str) -> Result<Vec<Amends>, StoreError> {
        let Some(number) = self.conversation(conversation).await? else { return Ok(Vec::new()) };
        let scope = Scope { conversations: vec![number], kinds: CHANGES.to_vec(), fence: self.fence().await?, ..Scope::default() };
        self.pairs(scope, None, None, MAX_PAIRS).await
    }

    /// Who got a message, by what nodes showed and by what clients said.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn receipts(&self, id: i64) -> Result<Option<Receipts>, StoreError> {
        let Some(message) = self.message(id, false).await? else { return Ok(None) };
        let said = self.referring(&message, vec![id], vec![Kind::Receipt as i16, Kind::Marker as i16]).await?;
        Ok(Some(Receipts { deliveries: message.deliveries, said }))
    }

    /// Who was in the room when a message was said, as [`Archive::stays`] tells it; nobody where that was no room.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn occupants_at(&self, message: &Found) -> Result<Vec<Stay>, StoreError> {
        match message.room() {
            Some(room) => self.every_stay(room, Some(message.sent_at), message.sent_at.checked_add(1)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn referring(&self, message: &Found, refers_to: Vec<i64>, kinds: Vec<i16>) -> Result<Vec<Found>, StoreError> {
        let conversation = Some(message.conversation.clone());
        let query = Query { conversation, refers_to, kinds, limit: MAX_REFERRING, ..Query::default() };
        Ok(self.search(&query).await?.messages)
    }
}

/// What a change is about in the end, and then the change of it that leads there; nothing for what is no change.
fn above(changes: &[Amends], id: i64) -> Vec<i64> {
    let about: HashMap<i64, i64> = changes.iter().map(|change| (change.id, change.refers_to)).collect();
    let (mut path, mut seen) = (vec![id], HashSet::from([id]));
    while let Some(next) = path.last().and_then(|last| about.get(last)).filter(|next| seen.insert(**next)) {
        path.push(*next);
    }
    path.into_iter().skip(1).rev().take(2).collect()
}

/// What changes these messages, step by step, the nearest first.
fn below(changes: &[Amends], messages: &[i64], most: usize) -> Vec<i64> {
    let here: HashSet<i64> = messages.iter().copied().collect();
    let mut by: HashMap<i64, Vec<i64>> = HashMap::new();
    for change in changes.iter().filter(|change| !here.contains(&change.id)) {
        by.entry(change.refers_to).or_default().push(change.id);
    }
    let (mut found, mut newest) = (Vec::new(), messages.to_vec());
    while !newest.is_empty() && found.len() < most {
        // What was taken out is not met again, so references in a circle end.
        newest = newest.iter().flat_map(|at| by.remove(at).unwrap_or_default()).collect();
        found.extend_from_slice(&newest);
    }
    found.truncate(most);
    found
}
