//! The servers' way to store: the next batch is decided while those before it are on their way, so that nobody waits for an answer.
//!
//! Two connections: the writer's own asks, a second one (the lane) writes. On PostgreSQL a transaction is sent as a whole, and the next one
//! behind it; on MySQL a task of its own writes one after another. Each begins with a check ([`Guard`]) that no other writer came in
//! between and that the one before it is stored. When one fails, those behind it fail too: all of it is forgotten, and stored
//! anew one by one under the writers' lock ([`Writer::commit`]), which is also what writers do that share a database.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use diesel::QueryResult;
use diesel::result::Error;
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use tokio::sync::{mpsc, oneshot};

use super::ahead::{self, Ahead, Guard, Recorded};
use super::batch::{Committed, Entry};
use super::queries::LastIds;
use super::writer::Writer;
use super::{Connection, Endpoint, StoreError, mysql, on_connection, postgres};

/// Most batches on their way: with two the server has the next one when it has stored one.
pub const MAX_IN_FLIGHT: usize = 2;
/// After a batch failed that was decided ahead, so many go one by one without another writer in between before it is tried again.
pub(super) const CALM_BATCHES: u32 = 8;

type Outcome = Pin<Box<dyn Future<Output = QueryResult<()>> + Send>>;

/// What is on its way.
pub(super) struct Overlap {
    lane: Lane,
    flights: VecDeque<Flight>,
}

/// The connection that writes.
enum Lane {
    Postgres(Arc<AsyncPgConnection>),
    Mysql(mpsc::UnboundedSender<Job>),
}

/// A transaction for the task that writes to MySQL.
struct Job {
    guard: Guard,
    rows: Recorded,
    done: oneshot::Sender<QueryResult<()>>,
}

/// A batch on its way.
struct Flight {
    batch: u64,
    ids: LastIds,
    committed: Committed,
    outcome: Outcome,
}

impl Writer {
    /// How many batches are on their way.
    pub fn in_flight(&self) -> usize {
        self.overlap.as_ref().map_or(0, |overlap| overlap.flights.len())
    }

    /// Keeps no more than this many messages in memory from one batch to the next that are stored.
    pub fn keep(&mut self, most: usize) {
        self.memory.keep(most);
    }

    /// Opens the second connection, if it is of use and not there.
    ///
    /// # Errors
    /// When the database can't be reached a second time; everything goes on without.
    pub async fn open_lane(&mut self, endpoint: &Endpoint) -> Result<(), StoreError> {
        if self.overlap.is_some() || self.calm > 0 || matches!(self.connection(), Connection::Sqlite(_)) {
            return Ok(());
        }
        // Should it fail, it is tried again later.
        self.calm = CALM_BATCHES;
        let lane = match Connection::open(endpoint).await? {
            Connection::Sqlite(_) => return Ok(()),
            Connection::Postgres(connection) => {
                postgres::prepare(&connection).await.map_err(|error| StoreError::of(&error))?;
                Lane::Postgres(Arc::from(connection))
            }
            Connection::Mysql(connection) => Lane::Mysql(writing(*connection)),
        };
        self.calm = 0;
        self.overlap = Some(Overlap { lane, flights: VecDeque::new() });
        Ok(())
    }

    /// Decides a batch and sends it off; false if it has to be given to [`Writer::commit`], once what is on its way has landed.
    pub async fn submit(&mut self, entries: &[Entry], spool_id: &[u8], next_seq: u64) -> bool {
        let (memory, next_seq) = (&mut self.memory, next_seq as i64);
        let Some(overlap) = &mut self.overlap else { return false };
        let Some(before) = memory.position_of(spool_id).filter(|before| *before < next_seq) else { return false };
        if !memory.is_current() || !ahead::is_possible(entries) {
            return false;
        }
        let decided = on_connection!(&mut self.connection, db => {
            let mut ahead = Ahead::new(db);
            memory.fill(&mut ahead, entries, spool_id, next_seq).await.map(|committed| (committed, ahead.recorded))
        });
        match decided {
            Ok((committed, rows)) => {
                let guard = Guard { token: memory.token().to_vec(), spool_id: spool_id.to_vec(), before, after: next_seq };
                let (batch, ids) = memory.decided();
                let outcome = overlap.lane.send(guard, rows).await;
                overlap.flights.push_back(Flight { batch, ids, committed, outcome });
                true
            }
            Err(error) => {
                log::debug!("a batch could not be decided ahead: {error}");
                memory.forget();
                false
            }
        }
    }

    /// Waits for the oldest batch on its way; none if there is none.
    ///
    /// # Errors
    /// When it was not stored; then none of those behind it was, all are to be given to [`Writer::commit`] in their order.
    pub async fn land(&mut self) -> Option<Result<Committed, StoreError>> {
        let overlap = self.overlap.as_mut()?;
        let outcome = overlap.flights.front_mut()?.outcome.as_mut().await;
        let flight = overlap.flights.pop_front()?;
        match outcome {
            Ok(()) => {
                self.memory.is_stored(flight.batch, flight.ids);
                Some(Ok(flight.committed))
            }
            Err(error) => {
                for later in &mut overlap.flights {
                    let _fails_too = later.outcome.as_mut().await;
                }
                self.overlap = None;
                self.memory.forget();
                self.calm = CALM_BATCHES;
                Some(Err(StoreError::of(&error)))
            }
        }
    }
}

impl Lane {
    async fn send(&self, guard: Guard, rows: Recorded) -> Outcome {
        match self {
            Self::Postgres(connection) => {
                let connection = connection.clone();
                // Not to be held up half way by the runtime's fairness: the order in which the statements are sent depends on it.
                let stored = tokio::task::coop::unconstrained(async move { postgres::store(&connection, &guard, rows).await });
                sent(Box::pin(stored)).await
            }
            Self::Mysql(jobs) => {
                let (done, stored) = oneshot::channel();
                let _fails_below = jobs.send(Job { guard, rows, done });
                Box::pin(async move { stored.await.unwrap_or(Err(Error::RollbackTransaction)) })
            }
        }
    }
}

/// Polls it once, which sends everything; it goes on without being polled.
async fn sent(mut outcome: Outcome) -> Outcome {
    match std::future::poll_fn(|context| Poll::Ready(outcome.as_mut().poll(context))).await {
        Poll::Ready(done) => Box::pin(std::future::ready(done)),
        Poll::Pending => outcome,
    }
}

/// Starts the task that writes to MySQL; it ends with the first transaction that fails, and its connection with it.
fn writing(mut connection: AsyncMysqlConnection) -> mpsc::UnboundedSender<Job> {
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    tokio::spawn(async move {
        while let Some(Job { guard, rows, done }) = jobs.recv().await {
            let stored = mysql::store(&mut connection, &guard, rows).await;
            let has_failed = stored.is_err();
            if has_failed {
                // The server undoes it when the connection ends; nobody is told before that.
                drop(connection);
                let _nobody_waits = done.send(stored);
                return;
            }
            let _nobody_waits = done.send(stored);
        }
    });
    sender
}
