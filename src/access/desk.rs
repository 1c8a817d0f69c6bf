//! One thread with one connection, to which everything about access is handed.
//!
//! SQLite blocks and may wait for the archive's writer; a server may be slow or away. Neither may hold up the threads that answer
//! requests, so they wait here. What is asked is short, and there are few who ask: one connection is enough. One that broke is
//! opened anew for the next question, and one that was idle is tried first.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::AccessError;
use crate::store::{Connection, Endpoint, StoreError, migrations};

/// The most questions that wait.
const MOST_WAITING: usize = 256;
/// After this a connection is tried before it is used.
const TRUSTED: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce(&mut Clerk) + Send>;

/// The way to the thread.
pub(super) struct Desk {
    jobs: mpsc::Sender<Job>,
}

impl Desk {
    /// Starts the thread. The store is contacted by the first question.
    pub(super) fn open(endpoint: Endpoint) -> Result<Self, AccessError> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(MOST_WAITING);
        let broken = |error: std::io::Error| AccessError::Broken(format!("can't start the thread for accounts: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
        let work = move || {
            let mut clerk = Clerk { runtime, endpoint, connection: None, used: Instant::now() };
            while let Some(job) = waiting.blocking_recv() {
                job(&mut clerk);
            }
        };
        std::thread::Builder::new().name("access".to_owned()).spawn(work).map_err(broken)?;
        Ok(Self { jobs })
    }

    /// Has something done with the connection.
    pub(super) async fn ask<T, W>(&self, work: W) -> Result<T, AccessError>
    where
        T: Send + 'static,
        W: AsyncFnOnce(&mut Connection) -> Result<T, AccessError> + Send + 'static,
    {
        let gone = || AccessError::Broken("the thread for accounts has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |clerk| {
            // Whoever asked may have gone away.
            let _ = answer.send(clerk.run(work));
        });
        self.jobs.send(job).await.map_err(|_ended| gone())?;
        answered.await.map_err(|_ended| gone())?
    }
}

/// What the thread has.
struct Clerk {
    runtime: Runtime,
    endpoint: Endpoint,
    connection: Option<Connection>,
    used: Instant,
}

impl Clerk {
    fn run<T, W>(&mut self, work: W) -> Result<T, AccessError>
    where
        W: AsyncFnOnce(&mut Connection) -> Result<T, AccessError>,
    {
        let kept = self.connection.take();
        let is_fresh = self.used.elapsed() < TRUSTED;
        let endpoint = &self.endpoint;
        let (connection, outcome) = self.runtime.block_on(async {
            let mut connection = ready(kept, is_fresh, endpoint).await?;
            let outcome = work(&mut connection).await;
            Ok::<_, StoreError>((connection, outcome))
        })?;
        self.used = Instant::now();
        // A transaction may be open in a connection on which something went wrong.
        if !matches!(outcome, Err(AccessError::Store(_))) {
            self.connection = Some(connection);
        }
        outcome
    }
}

async fn ready(kept: Option<Connection>, is_fresh: bool, endpoint: &Endpoint) -> Result<Connection, StoreError> {
    if let Some(mut connection) = kept
        && (is_fresh || connection.text("SELECT 'x' AS value").await.is_ok())
    {
        return Ok(connection);
    }
    let mut connection = Connection::open(endpoint).await?;
    migrations::require_current(&mut connection).await?;
    Ok(connection)
}
