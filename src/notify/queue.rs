//! The queue of one way out: short, never waited for, and honest about what it lost.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Sent;
use crate::alarm::Change;

/// The most changes that wait: more than a bad night makes.
const MAX_WAITING: usize = 1_000;
/// After this long nobody wants to be told any more.
const MAX_AGE: Duration = Duration::from_secs(24 * 3_600);

/// Changes on their way out, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
    sent: Sent,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    since: Instant,
    change: Change,
}

impl Queue {
    /// Puts a change behind the others; the oldest goes where there is no room.
    pub(super) fn push(&self, change: Change, since: Instant) {
        let mut inner = self.lock();
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        inner.waiting.push_back(Waiting { ticket, since, change });
        if inner.waiting.len() > MAX_WAITING {
            inner.waiting.pop_front();
            inner.sent.dropped += 1;
        }
        drop(inner);
        self.news.notify_waiters();
    }

    /// Waits for the first change that is not too old. It stays in the queue.
    pub(super) async fn first(&self) -> (u64, Change) {
        self.wait(|inner| {
            inner.drop_old(Instant::now());
            inner.waiting.front().map(|first| (first.ticket, first.change.clone()))
        })
        .await
    }

    /// Waits until nothing waits.
    pub(super) async fn emptied(&self) {
        self.wait(|inner| inner.waiting.is_empty().then_some(())).await;
    }

    pub(super) fn delivered(&self, ticket: u64) {
        self.remove(ticket);
        self.lock().sent.delivered += 1;
    }

    /// Takes a change out that nobody wants any more.
    pub(super) fn give_up(&self, ticket: u64) {
        self.remove(ticket);
        self.lock().sent.dropped += 1;
    }

    pub(super) fn failed(&self) {
        self.lock().sent.failed += 1;
    }

    pub(super) fn refused(&self) {
        self.lock().sent.refused += 1;
    }

    pub(super) fn sent(&self) -> Sent {
        let inner = self.lock();
        Sent { waiting: inner.waiting.len() as u64, ..inner.sent }
    }

    /// The first may have been dropped meanwhile for want of room.
    fn remove(&self, ticket: u64) {
        self.lock().waiting.retain(|one| one.ticket != ticket);
        self.news.notify_waiters();
    }

    async fn wait<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        loop {
            let mut notified = pin!(self.news.notified());
            // Registered before looking: what happens in between is not missed.
            notified.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn drop_old(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|first| now.saturating_duration_since(first.since) >= MAX_AGE) {
            self.waiting.pop_front();
            self.sent.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: usize) -> Change {
        Change { subject: number.to_string(), ..Change::test() }
    }

    #[tokio::test]
    async fn what_is_sent_leaves_in_order() {
        let queue = Queue::default();
        for number in 0..3 {
            queue.push(numbered(number), Instant::now());
        }
        for number in 0..3 {
            let (ticket, change) = queue.first().await;
            assert_eq!(change.subject, number.to_string());
            queue.delivered(ticket);
        }
        queue.emptied().await;
        assert_eq!(queue.sent(), Sent { delivered: 3, ..Sent::default() });
    }

    #[tokio::test]
    async fn a_full_queue_loses_its_oldest() {
        let queue = Queue::default();
        for number in 0..MAX_WAITING + 5 {
            queue.push(numbered(number), Instant::now());
        }
        assert_eq!(queue.first().await.1.subject, "5");
        assert_eq!((queue.sent().dropped, queue.sent().waiting), (5, MAX_WAITING as u64));
    }

    #[test]
    fn what_is_old_is_given_up() {
        let (queue, start) = (Queue::default(), Instant::now());
        queue.push(numbered(0), start);
        queue.push(numbered(1), start + MAX_AGE);
        queue.lock().drop_old(start + MAX_AGE);
        assert_eq!(queue.sent(), Sent { dropped: 1, waiting: 1, ..Sent::default() });
    }
}
