//! Connections that only read.
//!
//! SQLite blocks, so its readers lie in an r2d2 pool and each statement runs on a thread for blocking work; PostgreSQL and MySQL lie
//! in asynchronous pools. Every session is read-only as far as its database knows that. A SQLite file that is not there is not made.

use std::path::Path;
use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::r2d2::ConnectionManager;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::{Connection as _, ConnectionError, QueryResult, QueryableByName, SqliteConnection};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, deadpool};
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection, SimpleAsyncConnection};

use super::sql::{Bind, Dialect, Statement};
use crate::store::{Backend, Connection, Endpoint, StoreError};

/// How long a SQLite statement waits for another process that holds the whole file.
const BUSY_TIMEOUT_MS: u32 = 30_000;

/// Read-only connections to one store.
#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(r2d2::Pool<ConnectionManager<SqliteConnection>>),
    Postgres(deadpool::Pool<AsyncPgConnection>),
    Mysql(deadpool::Pool<AsyncMysqlConnection>),
}

/// Runs a statement with its values on a connection.
macro_rules! load {
    ($connection:expr, $statement:expr, $dsl:path, [$($wait:tt)*]) => {{
        use $dsl as _;
        let mut query = diesel::sql_query($statement.text).into_boxed();
        for value in $statement.binds {
            query = match value {
                Bind::Big(value) => query.bind::<BigInt, _>(value),
                Bind::Int(value) => query.bind::<Integer, _>(value),
                Bind::Text(value) => query.bind::<Text, _>(value),
            };
        }
        query.load($connection)$($wait)*
    }};
}

impl Pool {
    /// A pool of at most `size` connections. Servers are contacted when the first statement runs.
    pub(crate) async fn open(endpoint: &Endpoint, size: u32) -> Result<Self, StoreError> {
        let size = size.max(1);
        match &endpoint.backend {
            Backend::Sqlite(path) => sqlite(endpoint, path, size).map(Self::Sqlite),
            Backend::Postgres(_) => {
                let manager = server(endpoint, |connection| match connection {
                    Connection::Postgres(connection) => Some((*connection, "SET default_transaction_read_only = on")),
                    Connection::Sqlite(_) | Connection::Mysql(_) => None,
                });
                deadpool::Pool::builder(manager).max_size(size as usize).build().map(Self::Postgres).map_err(misconfigured)
            }
            Backend::Mysql(_) => {
                let manager = server(endpoint, |connection| match connection {
                    Connection::Mysql(connection) => Some((*connection, "SET SESSION TRANSACTION READ ONLY")),
                    Connection::Sqlite(_) | Connection::Postgres(_) => None,
                });
                deadpool::Pool::builder(manager).max_size(size as usize).build().map(Self::Mysql).map_err(misconfigured)
            }
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::Mysql(_) => Dialect::Mysql,
        }
    }

    /// The rows of a statement.
    pub(crate) async fn load<R>(&self, statement: Statement) -> Result<Vec<R>, StoreError>
    where
        R: QueryableByName<diesel::sqlite::Sqlite>
            + QueryableByName<diesel::pg::Pg>
            + QueryableByName<diesel::mysql::Mysql>
            + Send
            + 'static,
    {
        let rows: QueryResult<Vec<R>> = match self {
            Self::Sqlite(pool) => {
                let pool = pool.clone();
                let work = tokio::task::spawn_blocking(move || {
                    let mut connection = pool.get().map_err(|error| StoreError::Unreachable(format!("SQLite: {error}")))?;
                    Ok(load!(&mut *connection, statement, diesel::RunQueryDsl, []))
                });
                work.await.map_err(|error| StoreError::Unreachable(format!("SQLite: {error}")))??
            }
            Self::Postgres(pool) => {
                let mut connection = pool.get().await.map_err(|error| unreachable(&error))?;
                load!(&mut *connection, statement, diesel_async::RunQueryDsl, [.await])
            }
            Self::Mysql(pool) => {
                let mut connection = pool.get().await.map_err(|error| unreachable(&error))?;
                load!(&mut *connection, statement, diesel_async::RunQueryDsl, [.await])
            }
        };
        rows.map_err(|error| trouble(&error))
    }
}

/// What the pool says is about pools; what the database said stands behind it.
fn unreachable(error: &deadpool::PoolError) -> StoreError {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    StoreError::Unreachable(innermost.to_string())
}

/// Missing tables are what an operator meets first, so they get words of their own.
fn trouble(error: &diesel::result::Error) -> StoreError {
    const MISSING: [&str; 4] = ["no such table", "no such column", "does not exist", "doesn't exist"];
    let said = error.to_string();
    match MISSING.iter().any(|word| said.contains(word)) {
        true => StoreError::Schema(format!(
            "the tables of the archive are not there or not those of this version ({said}): run `xmpp-archiver migrate`"
        )),
        false => StoreError::of(error),
    }
}

fn sqlite(endpoint: &Endpoint, path: &Path, size: u32) -> Result<r2d2::Pool<ConnectionManager<SqliteConnection>>, StoreError> {
    let shown = path.display();
    if !path.exists() {
        return Err(StoreError::Unreachable(format!(
            "{shown} is not there: `xmpp-archiver migrate` makes it, `xmpp-archiver run` fills it"
        )));
    }
    let name = path.to_str().ok_or_else(|| StoreError::Misconfigured(format!("{shown}: not UTF-8")))?;
    // The pool would try again until its timeout and then speak of that.
    let first = SqliteConnection::establish(name).map_err(|error| StoreError::Unreachable(format!("{shown}: {error}")));
    // An archiver that is just ending holds the whole file for a moment.
    let look = format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA schema_version");
    first?.batch_execute(&look).map_err(|error| StoreError::Unreachable(format!("{shown}: {error}")))?;
    let builder = r2d2::Pool::builder().max_size(size).min_idle(Some(0)).test_on_check_out(false);
    let builder = builder.connection_timeout(endpoint.connect_timeout).connection_customizer(Box::new(ReadOnly));
    Ok(builder.build_unchecked(ConnectionManager::new(name)))
}

/// Makes each new connection of the pool one that reads.
#[derive(Debug)]
struct ReadOnly;

impl r2d2::CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for ReadOnly {
    fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        let setup = format!(
            "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; PRAGMA query_only = ON;"
        );
        connection.batch_execute(&setup).map_err(diesel::r2d2::Error::QueryError)
    }
}

/// Opens a server's connections as the writer's are opened, and then makes each read-only by the statement that `pick` names.
fn server<C>(endpoint: &Endpoint, pick: fn(Connection) -> Option<(C, &'static str)>) -> AsyncDieselConnectionManager<C>
where
    C: PoolableConnection + SimpleAsyncConnection + Send + 'static,
{
    let endpoint = Arc::new(endpoint.clone());
    let mut config = ManagerConfig::default();
    config.custom_setup = Box::new(move |_url| {
        let endpoint = Arc::clone(&endpoint);
        Box::pin(async move {
            let bad = ConnectionError::BadConnection;
            let opened = Connection::open(&endpoint).await.map_err(|error| bad(error.to_string()))?;
            let (mut connection, read_only) = pick(opened).ok_or_else(|| bad("another database answered".to_owned()))?;
            connection.batch_execute(read_only).await.map_err(|error| bad(error.to_string()))?;
            Ok(connection)
        })
    });
    // The address is in the endpoint.
    AsyncDieselConnectionManager::new_with_config("", config)
}

fn misconfigured(error: deadpool::BuildError) -> StoreError {
    StoreError::Misconfigured(error.to_string())
}
