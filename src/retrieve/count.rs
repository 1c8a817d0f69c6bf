//! How many messages a query finds: counted up to a limit, beyond that estimated.

use std::time::{Duration, Instant};

use super::engine::{Extent, Gathered};
use super::query::{Order, Query};
use super::row::{NumberRow, Placed, TextRow};
use super::{Archive, sql};
use crate::store::StoreError;

/// Up to how many messages are counted unless somebody wants more.
pub const EXACT_COUNT: usize = 10_000;

/// A number of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub messages: u64,
    /// Whether they were counted; else it is an estimate, and there are more than were counted.
    pub is_exact: bool,
}

impl Archive {
    /// How many messages a query finds, on all its pages. Up to `exact` they are counted.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn count(&self, query: &Query, exact: usize) -> Result<Count, StoreError> {
        self.count_until(query, Extent { limit: exact, until: None }).await
    }

    /// The same for somebody who waits: after `patience` the rest is estimated, if enough were counted for that.
    ///
    /// # Errors
    /// As [`Archive::search`].
    pub async fn count_within(&self, query: &Query, exact: usize, patience: Duration) -> Result<Count, StoreError> {
        self.count_until(query, Extent { limit: exact, until: Some(Instant::now() + patience) }).await
    }

    async fn count_until(&self, query: &Query, extent: Extent) -> Result<Count, StoreError> {
        query.check().map_err(|mistake| StoreError::Refused(format!("the query {mistake}")))?;
        let newest = Query { after: None, order: Order::Descending, by_relevance: false, ..query.clone() };
        let nothing = Count { messages: 0, is_exact: true };
        let Some(mut scope) = self.scope(&newest).await? else { return Ok(nothing) };
        let mut read: Gathered<TextRow> = self.read(&newest, &scope, extent).await?;
        if let (true, Some(super::conditions::Id::Number(_)), Some(id)) = (read.rows.is_empty(), &scope.id, &query.id) {
            scope.id = Some(self.stanza_id(id).await?);
            read = self.read(&newest, &scope, extent).await?;
        }
        let rows = read.rows;
        let (Some(first), Some(last)) = (rows.first().map(Placed::cursor), rows.last().map(Placed::cursor)) else { return Ok(nothing) };
        let edge = if rows.len() > extent.limit { Some(last) } else { read.edge };
        let Some(edge) = edge else { return Ok(Count { messages: rows.len() as u64, is_exact: true }) };
        let oldest: Vec<NumberRow> = self.pool.load(sql::pivot(self.dialect(), Order::Ascending)).await?;
        let oldest = oldest.first().map_or(0, |row| row.number);
        let begin = query.from.map_or(oldest, |from| from.max(oldest));
        let seen = (first.sent_at - edge.sent_at).max(1) as f64;
        let whole = (first.sent_at - begin).max(1) as f64;
        // As if the rest of the time had as many as the part that was counted.
        let messages = (rows.len() as f64 * (whole / seen).max(1.0)) as u64;
        Ok(Count { messages, is_exact: false })
    }
}
