//! What stands around a message: what was said before and after, what became of it, who got it, and who was there.

use std::collections::HashSet;

use super::amendments::CHANGES;
use super::query::{Order, Query};
use super::{Archive, Delivery, Found, Page, Stay};
use crate::message::content::Kind;
use crate::store::StoreError;

/// The most messages around one, on each side.
pub const MAX_AROUND: usize = 200;
/// How long a chain of corrections of corrections may be.
const MAX_STEPS: usize = 100;
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
        let Some(mut original) = self.message(id, false).await? else { return Ok(None) };
        let mut steps = 0;
        while let Some(earlier) = original.refers_to.filter(|_| is_change(&original) && steps < MAX_STEPS) {
            match self.message(earlier, false).await? {
                Some(found) => original = found,
                None => break,
            }
            steps += 1;
        }
        let mut changes = Vec::new();
        let mut seen = HashSet::from([original.id]);
        let mut newest = vec![original.id];
        while !newest.is_empty() && changes.len() < MAX_REFERRING {
            let found = self.referring(&original, newest, CHANGES.to_vec()).await?;
            let fresh: Vec<Found> = found.into_iter().filter(|change| seen.insert(change.id)).collect();
            newest = fresh.iter().map(|change| change.id).collect();
            changes.extend(fresh);
        }
        changes.sort_by_key(|change| (change.sent_at, change.id));
        Ok(Some(Versions { original, changes }))
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

fn is_change(found: &Found) -> bool {
    CHANGES.contains(&found.kind)
}
