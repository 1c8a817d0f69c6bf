//! The servers' way to store: batches are asked for and decided while those before them are on their way, so that nobody waits for an answer.
//!
//! Beside the writer's own connection there are two kinds: scouts ask ahead what a batch will want to know ([`Foresight`]), and the lane
//! writes. On PostgreSQL a transaction is sent as a whole, and the next one behind it; on MySQL a task of its own writes what has
//! come since it wrote last. Each begins with a check ([`Guard`]) that no other writer came in between and that the one before it is stored. When one
//! fails, those behind it fail too: all of it is forgotten, and stored anew one by one under the writers' lock ([`Writer::commit`]),
//! which is also what writers do that share a database.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use diesel::QueryResult;
use diesel::dsl::sql;
use diesel::result::Error;
use diesel::sql_types::Text;
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl};
use tokio::sync::{mpsc, oneshot};

use super::ahead::{Ahead, Guard, Recorded};
use super::batch::{Committed, Entry};
use super::foresight::{Foreseen, Since};
use super::queries::LastIds;
use super::scouts::Scouts;
use super::writer::Writer;
use super::{Connection, Endpoint, StoreError, mysql, on_connection, postgres};

/// Most batches on their way: enough that the server always has the next one, whatever a round trip takes.
pub const MAX_IN_FLIGHT: usize = 9;
/// Most batches that MySQL is sent in one text: it executes some while the next are on their way, and waits for none.
const MOST_TOGETHER: usize = 5;
/// After a batch failed that was decided ahead, so many go one by one without another writer in between before it is tried again.
pub(super) const CALM_BATCHES: u32 = 8;
/// Most batches between two attempts to open further connections.
const MOST_PAUSE: u32 = 8_192;

/// Who answers, where questions and transactions go to different servers.
pub(super) const SEVERAL: &str = "several";
/// What tells one MySQL server from another.
pub(super) const MYSQL_IDENTITY: &str = "CONCAT_WS(' ', @@hostname, @@port, @@server_id, @@datadir)";

type Outcome = Pin<Box<dyn Future<Output = QueryResult<()>> + Send>>;

/// What is on its way.
pub(super) struct Overlap {
    lane: Lane,
    scouts: Scouts,
    flights: VecDeque<Flight>,
    /// A scout got no answer: everything is opened anew when nothing is on its way any more.
    is_lame: bool,
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
    landed: Option<QueryResult<()>>,
}

/// Answers that were asked for ahead of a batch.
pub struct Foresight {
    since: Arc<Since>,
    answers: oneshot::Receiver<QueryResult<Foreseen>>,
    answered: Option<QueryResult<Foreseen>>,
}

impl Foresight {
    /// Waits for the answers; may be given up and waited for again.
    pub async fn is_ready(&mut self) {
        if self.answered.is_none() {
            let answer = (&mut self.answers).await;
            self.answered = Some(answer.unwrap_or(Err(Error::RollbackTransaction)));
        }
    }

    async fn take(mut self) -> QueryResult<Foreseen> {
        self.is_ready().await;
        let seen = self.answered.unwrap_or(Err(Error::RollbackTransaction))?;
        Ok(Foreseen { since: Some(self.since), ..seen })
    }
}

impl Writer {
    /// How many batches are on their way.
    pub fn in_flight(&self) -> usize {
        self.overlap.as_ref().map_or(0, |overlap| overlap.flights.len())
    }

    /// Whether batches are decided ahead now.
    pub fn looks_ahead(&self) -> bool {
        self.memory.is_current() && self.overlap.as_ref().is_some_and(|overlap| !overlap.is_lame)
    }

    /// Keeps no more than this many messages, and names of messages, in memory from one batch to the next that are stored.
    pub fn keep(&mut self, most: usize) {
        self.memory.keep(most);
    }

    /// Opens the further connections, if they are of use and not there.
    ///
    /// # Errors
    /// When the database can't be reached once more; everything goes on without.
    pub async fn open_lane(&mut self, endpoint: &Endpoint) -> Result<(), StoreError> {
        if self.overlap.as_ref().is_some_and(|overlap| overlap.is_lame && overlap.flights.is_empty()) {
            self.overlap = None;
            self.calm = CALM_BATCHES;
        }
        if self.overlap.is_some() || self.calm > 0 || matches!(self.connection(), Connection::Sqlite(_)) {
            return Ok(());
        }
        // Should it fail, it is tried again later, and later each time: nothing is stored meanwhile.
        self.calm = self.pause;
        self.pause = self.pause.saturating_mul(2).min(MOST_PAUSE);
        let server = self.server.as_str();
        let Some(scouts) = Scouts::open(endpoint, server).await? else { return Ok(()) };
        let lane = match open_on(endpoint, server).await? {
            Connection::Sqlite(_) => return Ok(()),
            Connection::Postgres(connection) => {
                postgres::prepare(&connection).await.map_err(|error| StoreError::of(&error))?;
                Lane::Postgres(Arc::from(connection))
            }
            Connection::Mysql(connection) => Lane::Mysql(writing(*connection)),
        };
        (self.calm, self.pause) = (0, CALM_BATCHES);
        self.overlap = Some(Overlap { lane, scouts, flights: VecDeque::new(), is_lame: false });
        Ok(())
    }

    /// Begins to ask what a batch will want to know that comes after those given before; none if it would be of no use.
    pub fn foresee(&mut self, entries: &[Entry]) -> Option<Foresight> {
        if !self.looks_ahead() {
            return None;
        }
        let memory = &mut self.memory;
        let questions = memory.questions(entries);
        let since = memory.since();
        let answers = self.overlap.as_ref()?.scouts.ask(questions, memory.keyring().clone(), memory.feeds().clone());
        Some(Foresight { since, answers, answered: None })
    }

    /// Whether these answers are of use still.
    pub fn is_current(&self, foresight: &Foresight) -> bool {
        self.memory.remembers(&foresight.since)
    }

    /// Decides a batch and sends it off; false if it has to be given to [`Writer::commit`], once what is on its way has landed.
    pub async fn submit(&mut self, entries: &[Entry], spool_id: &[u8], next_seq: u64, foresight: Option<Foresight>) -> bool {
        let next_seq = next_seq as i64;
        let Some(before) = self.memory.position_of(spool_id).filter(|before| *before < next_seq) else { return false };
        if !self.looks_ahead() || !self.memory.can_decide_ahead(entries) {
            return false;
        }
        let Ok(foreseen) = self.foreseen(foresight).await else { return false };
        let (memory, Some(overlap)) = (&mut self.memory, &mut self.overlap) else { return false };
        memory.foresee(foreseen);
        let decided = on_connection!(&mut self.connection, db => {
            let mut ahead = Ahead::new(db);
            memory.fill(&mut ahead, entries, spool_id, next_seq).await.map(|committed| (committed, ahead.recorded))
        });
        match decided {
            Ok((committed, rows)) => {
                let guard = Guard { token: memory.token().to_vec(), spool_id: spool_id.to_vec(), before, after: next_seq };
                let (batch, ids) = memory.decided();
                let outcome = overlap.lane.send(guard, rows).await;
                overlap.flights.push_back(Flight { batch, ids, committed, outcome, landed: None });
                true
            }
            Err(error) => {
                log::debug!("a batch could not be decided ahead: {error}");
                memory.forget();
                false
            }
        }
    }

    /// The answers, or nothing if they are worth nothing any more.
    async fn foreseen(&mut self, foresight: Option<Foresight>) -> QueryResult<Foreseen> {
        let Some(foresight) = foresight.filter(|foresight| self.is_current(foresight)) else { return Ok(Foreseen::default()) };
        let seen = foresight.take().await;
        if let (Err(error), Some(overlap)) = (&seen, &mut self.overlap) {
            log::debug!("what a batch will ask could not be asked ahead: {error}");
            overlap.is_lame = true;
        }
        seen
    }

    /// Waits until the oldest batch on its way has landed; without end if there is none. May be given up and waited for again.
    pub async fn landing(&mut self) {
        let Some(flight) = self.overlap.as_mut().and_then(|overlap| overlap.flights.front_mut()) else {
            return std::future::pending().await;
        };
        if flight.landed.is_none() {
            flight.landed = Some(flight.outcome.as_mut().await);
        }
    }

    /// Waits for the oldest batch on its way; none if there is none.
    ///
    /// # Errors
    /// When it was not stored; then none of those behind it was, all are to be given to [`Writer::commit`] in their order.
    pub async fn land(&mut self) -> Option<Result<Committed, StoreError>> {
        if self.in_flight() == 0 {
            return None;
        }
        self.landing().await;
        let overlap = self.overlap.as_mut()?;
        let flight = overlap.flights.pop_front()?;
        match flight.landed? {
            Ok(()) => {
                self.memory.is_stored(flight.batch, flight.ids);
                Some(Ok(flight.committed))
            }
            Err(error) => {
                for later in overlap.flights.iter_mut().filter(|later| later.landed.is_none()) {
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

/// Another connection to the very server: one that is a moment behind, as a cluster's others may be, would not know what this writer has forgotten.
pub(super) async fn open_on(endpoint: &Endpoint, server: &str) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(endpoint).await?;
    is_same(server, identity_of(&mut connection).await?)?;
    connection.go_by_indexes().await.map_err(|error| StoreError::of(&error))?;
    Ok(connection)
}

/// Refuses a connection to another server.
pub(super) fn is_same(server: &str, other: String) -> Result<(), StoreError> {
    if other == server && other != SEVERAL {
        Ok(())
    } else {
        Err(StoreError::Unreachable("the address leads to several servers: batches are stored one by one".to_owned()))
    }
}

/// What tells a server from every other one; [`SEVERAL`] if a question and a transaction go to different ones, as some routers have it.
pub(super) async fn identity_of(connection: &mut Connection) -> Result<String, StoreError> {
    let failed = |error: Error| StoreError::of(&error);
    let asked = named(connection).await.map_err(failed)?;
    if !matches!(connection, Connection::Sqlite(_)) {
        connection.batch("BEGIN").await.map_err(failed)?;
        let within = named(connection).await;
        connection.batch("ROLLBACK").await.map_err(failed)?;
        if is_same(&asked, within.map_err(failed)?).is_err() {
            return Ok(SEVERAL.to_owned());
        }
    }
    Ok(asked)
}

async fn named(connection: &mut Connection) -> QueryResult<String> {
    const POSTGRES: &str = "concat_ws(' ', pg_postmaster_start_time(), inet_server_addr(), inet_server_port())";
    match connection {
        Connection::Sqlite(_) => Ok(String::new()),
        Connection::Postgres(db) => diesel::select(sql::<Text>(POSTGRES)).get_result(&mut **db).await,
        Connection::Mysql(db) => diesel::select(sql::<Text>(MYSQL_IDENTITY)).get_result(&mut **db).await,
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

/// Starts the task that writes to MySQL, together what has come together; it ends with the first transaction that fails, and its connection with it.
fn writing(mut connection: AsyncMysqlConnection) -> mpsc::UnboundedSender<Job> {
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    tokio::spawn(async move {
        while let Some(first) = jobs.recv().await {
            let mut together = vec![first];
            while together.len() < MOST_TOGETHER
                && let Ok(next) = jobs.try_recv()
            {
                together.push(next);
            }
            let (batches, done): (Vec<_>, Vec<_>) = together.into_iter().map(|job| ((job.guard, job.rows), job.done)).unzip();
            let stored = mysql::store(&mut connection, batches).await;
            let Err(error) = stored else {
                done.into_iter().for_each(|done| drop(done.send(Ok(()))));
                continue;
            };
            // The server undoes it when the connection ends; nobody is told before that. Some of them may be stored all the same: the database is
            // asked how far it is, before they are stored one by one.
            drop(connection);
            let errors = std::iter::once(error).chain(std::iter::repeat_with(|| Error::RollbackTransaction));
            done.into_iter().zip(errors).for_each(|(done, error)| drop(done.send(Err(error))));
            return;
        }
    });
    sender
}
