//! The demonstration: the built-in node and the real daemon in one process, and the week of conversation between them.
//!
//! Nothing of the daemon is replaced: it attaches over loopback, spools, decides and stores as it does in service. When the
//! week has been sent, a ping tells that it has been read (a stream is read in order), and the daemon's own status that it has been stored.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::corpus::Corpus;
use super::node::{DemoNode, NodeError, Session};
use crate::config::Config;
use crate::run::{self, RunError, STATUS_FILE};
use crate::time::{Micros, now, parse_stamp};

/// How long the daemon may take to attach.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to read and to store what was sent: a slow disk needs seconds.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often its status is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Why a demonstration failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The daemon could not start, or ended early.
    #[error("the archiver ended: {0}")]
    Run(#[from] RunError),
    /// The daemon ended before its time without saying why.
    #[error("the archiver ended before its time")]
    Ended,
    /// The daemon did not attach.
    #[error("the archiver did not attach to the built-in node: {0}")]
    NotAttached(NodeError),
    /// The connection was lost.
    #[error("the connection of the built-in node was lost: {0}")]
    Lost(#[from] NodeError),
    /// What was sent is not in the database yet.
    #[error("not everything was stored in {} s", .0.as_secs())]
    NotStored(Duration),
}

/// A node and a daemon that talk to each other.
#[derive(Debug)]
pub struct Demonstration {
    session: Session,
    daemon: JoinHandle<Result<(), RunError>>,
    stop: watch::Sender<bool>,
    status_file: PathBuf,
}

impl Demonstration {
    /// Starts the daemon of this configuration, which names `node`, and waits until it is attached.
    ///
    /// # Errors
    /// When it does not start or does not attach.
    pub async fn start(config: Config, node: &DemoNode) -> Result<Self, DemoError> {
        let status_file = config.spool.path.join(STATUS_FILE);
        let (stop, stopped) = watch::channel(false);
        let mut daemon = tokio::spawn(async move { run::run(&config, stopped).await });
        let patience = Instant::now() + ATTACH_TIMEOUT;
        tokio::select! {
            session = timeout_at(patience, node.accept()) => {
                let session = session.unwrap_or(Err(NodeError::TimedOut(ATTACH_TIMEOUT))).map_err(DemoError::NotAttached)?;
                Ok(Self { session, daemon, stop, status_file })
            }
            ended = &mut daemon => Err(why_ended(ended)),
        }
    }

    /// Sends each stanza of the week when its time has come, and tells after how many it is.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn replay(&self, corpus: &Corpus, mut sent: impl FnMut(usize)) -> Result<(), DemoError> {
        let Some(start) = corpus.lines().first().map(|line| line.at) else { return Ok(()) };
        let began = Instant::now();
        for (index, line) in corpus.lines().iter().enumerate() {
            let offset = Duration::from_micros(u64::try_from(line.at - start).unwrap_or(0));
            // At a high rate many are due at once; sleeping for each would take a millisecond.
            if began + offset > Instant::now() {
                sleep_until(began + offset).await;
            }
            self.session.send(line.xml.as_bytes()).await.map_err(NodeError::Io)?;
            sent(index + 1);
        }
        Ok(())
    }

    /// Waits until all that was sent has been read, made durable and stored.
    ///
    /// # Errors
    /// When that takes longer than it may, or the daemon ends.
    pub async fn settle(&mut self) -> Result<(), DemoError> {
        self.session.ping(STORE_TIMEOUT).await?;
        let read_at = now();
        let patience = Instant::now() + STORE_TIMEOUT;
        while Instant::now() < patience {
            if self.daemon.is_finished() {
                return Err(why_ended((&mut self.daemon).await));
            }
            if self.has_stored_all_since(read_at).await {
                return Ok(());
            }
            sleep(LOOK_INTERVAL).await;
        }
        Err(DemoError::NotStored(STORE_TIMEOUT))
    }

    /// Whether the daemon said after this time that its spool is stored to the end.
    async fn has_stored_all_since(&self, read_at: Micros) -> bool {
        let Ok(status) = tokio::fs::read(&self.status_file).await else { return false };
        let Ok(status) = serde_json::from_slice::<Value>(&status) else { return false };
        let written = status.get("written").and_then(Value::as_str).and_then(parse_stamp);
        let stores = status.get("stores").and_then(Value::as_array);
        written.is_some_and(|written| written > read_at) && stores.is_some_and(|stores| stores.iter().all(is_stored))
    }

    /// Ends the daemon in order.
    ///
    /// # Errors
    /// When it ends with one.
    pub async fn stop(self) -> Result<(), DemoError> {
        let _ended_already = self.stop.send(true);
        match self.daemon.await {
            Ok(outcome) => Ok(outcome?),
            Err(_panicked) => Err(DemoError::Ended),
        }
    }
}

fn is_stored(store: &Value) -> bool {
    let committed = store.get("committed_seq").and_then(Value::as_u64);
    committed.is_some() && committed == store.pointer("/spool/next_seq").and_then(Value::as_u64)
}

fn why_ended(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> DemoError {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => DemoError::Ended,
    }
}
