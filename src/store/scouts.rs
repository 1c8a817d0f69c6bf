//! The connections that ask ahead (see [`super::foresight`]): on PostgreSQL one, on which any number of questions are on their way at once; on MySQL,
//! where one question waits for the answer to the one before, several.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use tokio::sync::{mpsc, oneshot};

use super::asker::Asker;
use super::feeds::Feeds;
use super::foresight::{Foreseen, Questions};
use super::overlap::{is_same, open_on};
use super::postgres::all;
use super::{Backend, Connection, Endpoint, StoreError, mysql};
use crate::identity::keys::Keyring;

/// How many ask ahead on MySQL, each with two connections: one for names, one for messages.
const MYSQL_SCOUTS: usize = 3;

/// Those who ask ahead.
pub(super) enum Scouts {
    Postgres(Arc<AsyncPgConnection>),
    Mysql { scouts: Vec<mpsc::UnboundedSender<Box<Errand>>>, next: AtomicUsize },
}

/// What one of them is asked to ask.
pub(super) struct Errand {
    questions: Questions,
    keyring: Keyring,
    feeds: Feeds,
    done: oneshot::Sender<QueryResult<Foreseen>>,
}

impl Scouts {
    /// Connects to this server; none where nothing is to be gained.
    pub(super) async fn open(endpoint: &Endpoint, server: &str) -> Result<Option<Self>, StoreError> {
        match &endpoint.backend {
            Backend::Sqlite(_) => Ok(None),
            Backend::Postgres(_) => match open_on(endpoint, server).await? {
                Connection::Postgres(connection) => Ok(Some(Self::Postgres(Arc::from(connection)))),
                _ => Ok(None),
            },
            Backend::Mysql(url) => {
                let asker = || async {
                    let mut asker = mysql::open_asker(endpoint, url).await?;
                    is_same(server, asker.server().await.map_err(|error| StoreError::of(&error))?)?;
                    Ok::<_, StoreError>(asker)
                };
                let open = all((0..2 * MYSQL_SCOUTS).map(|_| asker())).await;
                let mut open = open.into_iter().collect::<Result<Vec<_>, _>>()?;
                let mut scouts = Vec::with_capacity(MYSQL_SCOUTS);
                while let (Some(one), Some(other)) = (open.pop(), open.pop()) {
                    scouts.push(asking(one, other));
                }
                Ok(Some(Self::Mysql { scouts, next: AtomicUsize::new(0) }))
            }
        }
    }

    /// Asks; the answers come by and by, or never if the connection is lost.
    pub(super) fn ask(&self, questions: Questions, keyring: Keyring, feeds: Feeds) -> oneshot::Receiver<QueryResult<Foreseen>> {
        let (done, answers) = oneshot::channel();
        match self {
            Self::Postgres(connection) => {
                let connection = connection.clone();
                tokio::spawn(async move {
                    let (mut one, mut other) = (&*connection, &*connection);
                    let _nobody_waits = done.send(questions.ask_at_once((&mut one, &mut other), &keyring, &feeds).await);
                });
            }
            Self::Mysql { scouts, next } => {
                let turn = next.fetch_add(1, Ordering::Relaxed) % scouts.len().max(1);
                let errand = Box::new(Errand { questions, keyring, feeds, done });
                if let Some(scout) = scouts.get(turn) {
                    let _fails_where_it_is_waited_for = scout.send(errand);
                }
            }
        }
        answers
    }
}

/// Starts a task that asks MySQL; it ends with the first question that fails.
fn asking(mut one: Asker, mut other: Asker) -> mpsc::UnboundedSender<Box<Errand>> {
    let (sender, mut errands) = mpsc::unbounded_channel::<Box<Errand>>();
    tokio::spawn(async move {
        while let Some(errand) = errands.recv().await {
            let Errand { questions, keyring, feeds, done } = *errand;
            let seen = questions.ask_at_once((&mut one, &mut other), &keyring, &feeds).await;
            let has_failed = seen.is_err();
            let _nobody_waits = done.send(seen);
            if has_failed {
                return;
            }
        }
    });
    sender
}
