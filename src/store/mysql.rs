//! MySQL and MariaDB, without their client library: diesel-async over mysql_async.

use diesel::QueryResult;
use diesel::prelude::*;
use diesel_async::{AsyncMysqlConnection, RunQueryDsl, SimpleAsyncConnection};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};

use super::ahead::{Guard, Recorded};
use super::asker::Asker;
use super::literal::{self, Texts};
use super::queries::{inserts, queries};
use super::reads::reads;
use super::rows::*;
use super::schema::{deliveries, messages, settings};
use super::{Endpoint, StoreError, tallies};

/// Rows of one INSERT: a prepared statement takes 65,535 variables, and the packet must stay below `max_allowed_packet` (16 MiB by default).
const ROWS_PER_INSERT: usize = 500;
const BYTES_PER_INSERT: usize = 8 * 1024 * 1024;

const ADD_TALLIES: &str = "ON DUPLICATE KEY UPDATE count = count + VALUES(count)";

/// Connects, and sets up the session so that it behaves as the other databases do.
pub(crate) async fn open(endpoint: &Endpoint, url: &str) -> Result<AsyncMysqlConnection, StoreError> {
    let connected = async {
        let conn = Conn::new(options(endpoint, url)?).await.map_err(|error| StoreError::unreachable("MySQL", &error))?;
        let mut connection = AsyncMysqlConnection::try_from(conn).await.map_err(|error| StoreError::unreachable("MySQL", &error))?;
        let seconds = endpoint.statement_timeout.as_secs().max(1);
        // utf8mb4: anything else loses characters in silence. Strict mode: a value too long is refused, not cut.
        let setup = format!(
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin; SET autocommit = 1; SET time_zone = '+00:00'; SET sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'; \
             SET SESSION innodb_lock_wait_timeout = {seconds}; SET SESSION transaction_isolation = 'READ-COMMITTED'"
        );
        for statement in setup.split("; ") {
            if let Err(error) = connection.batch_execute(statement).await {
                // MariaDB before 11.1 knows the isolation level by its older name.
                let older = statement.replace("transaction_isolation", "tx_isolation");
                if older == statement {
                    return Err(StoreError::unreachable("MySQL", &error));
                }
                connection.batch_execute(&older).await.map_err(|error| StoreError::unreachable("MySQL", &error))?;
            }
        }
        Ok(connection)
    };
    tokio::time::timeout(endpoint.connect_timeout, connected).await.map_err(|_elapsed| silent(endpoint))?
}

/// Connects somebody who only asks, in plain text.
pub(super) async fn open_asker(endpoint: &Endpoint, url: &str) -> Result<Asker, StoreError> {
    let options = options(endpoint, url)?;
    let connected = async {
        let mut conn = Conn::new(options).await?;
        // The way in which texts are quoted depends on the first two; each answer must be of the moment in which it is asked for.
        conn.query_drop(
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin; SET sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'; SET autocommit = 1; \
             SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        )
        .await?;
        Ok::<_, mysql_async::Error>(Asker(conn))
    };
    let connected = tokio::time::timeout(endpoint.connect_timeout, connected).await.map_err(|_elapsed| silent(endpoint))?;
    connected.map_err(|error| StoreError::unreachable("MySQL", &error))
}

fn silent(endpoint: &Endpoint) -> StoreError {
    StoreError::Unreachable(format!("MySQL did not answer within {:?}", endpoint.connect_timeout))
}

fn options(endpoint: &Endpoint, url: &str) -> Result<Opts, StoreError> {
    let url = url.replacen("mariadb://", "mysql://", 1);
    let options = Opts::from_url(&url).map_err(|error| StoreError::Misconfigured(format!("MySQL URL: {error}")))?;
    let wants_tls = options.ssl_opts().is_some() || endpoint.tls_ca.is_some();
    // Diesel has a cache of prepared statements of its own.
    let mut builder = OptsBuilder::from_opts(options).prefer_socket(false).stmt_cache_size(0);
    if wants_tls {
        let mut tls = SslOpts::default();
        if let Some(ca) = &endpoint.tls_ca {
            tls = tls.with_root_certs(vec![ca.clone().into()]).with_disable_built_in_roots(true);
        }
        builder = builder.ssl_opts(tls);
    }
    Ok(builder.into())
}

reads!(AsyncMysqlConnection, diesel_async::RunQueryDsl, [.await], {});

queries!(AsyncMysqlConnection, diesel_async::RunQueryDsl, diesel_async::SimpleAsyncConnection, [.await],
    crate::store::mysql::ADD_TALLIES, {
    async fn begin(&mut self) -> QueryResult<Vec<u8>> {
        self.batch_execute("BEGIN").await?;
        settings::table.filter(settings::name.eq("writer")).select(settings::value).for_update().first(self).await
    }

    inserts!(diesel_async::RunQueryDsl, [.await], 1_000);

    async fn insert_messages(&mut self, rows: Vec<MessageRow>) -> QueryResult<()> {
        for part in parts(&rows, |row| row.xml.len() + row.body.as_ref().map_or(0, String::len)) {
            diesel::insert_into(messages::table).values(part).execute(self).await?;
        }
        Ok(())
    }

    async fn insert_deliveries(&mut self, rows: Vec<DeliveryRow>) -> QueryResult<()> {
        for part in parts(&rows, |row| row.xml.as_ref().map_or(0, Vec::len)) {
            diesel::insert_into(deliveries::table).values(part).execute(self).await?;
        }
        Ok(())
    }
});

/// A transaction for each batch with everything that it writes, all in one round trip if it is no more than a few megabytes. The server stops at the
/// first statement that fails, which is the second one of a transaction that is not the next one by its guard.
pub(super) async fn store(db: &mut AsyncMysqlConnection, batches: Vec<(Guard, Recorded)>) -> QueryResult<()> {
    let mut texts = Texts::default();
    batches.into_iter().for_each(|(guard, rows)| write(&mut texts, &guard, rows));
    for text in texts.finish() {
        db.batch_execute(&text).await?;
    }
    Ok(())
}

fn write(texts: &mut Texts, guard: &Guard, rows: Recorded) {
    let (token, spool, before) = (literal::bytes(&guard.token), literal::bytes(&guard.spool_id), guard.before);
    texts.statement("BEGIN;SELECT 1 FROM settings WHERE name='writer' FOR UPDATE");
    // Nothing in the SQL of both MySQL and MariaDB raises an error: a second row of that name does.
    texts.statement(&format!(
        "INSERT INTO settings (name,value) SELECT 'writer',{token} FROM settings WHERE name='writer' AND NOT \
         (value={token} AND EXISTS (SELECT 1 FROM progress WHERE spool_id={spool} AND next_seq={before}))"
    ));
    texts.insert(&rows.nodes);
    texts.insert(&rows.jids);
    texts.insert(&rows.conversations);
    texts.insert(&rows.rooms);
    texts.insert(&rows.messages);
    texts.insert(&rows.deliveries);
    texts.insert(&rows.keys);
    texts.insert(&rows.bounces);
    texts.insert(&rows.occupancies);
    texts.insert(&rows.sightings);
    texts.insert(&rows.late);
    rows.senders.iter().for_each(|row| texts.name_person(row, "sender"));
    rows.recipients.iter().for_each(|row| texts.name_person(row, "recipient"));
    rows.sender_nicks.iter().for_each(|row| texts.name_nick(row, "sender"));
    rows.recipient_nicks.iter().for_each(|row| texts.name_nick(row, "recipient"));
    for part in rows.tallies.chunks(tallies::ROWS_PER_STATEMENT) {
        texts.statement(&tallies::addition(part, ADD_TALLIES));
    }
    texts.insert(&rows.settings);
    texts.insert(&rows.progress);
    texts.statement("COMMIT");
}

/// Cuts rows into statements of at most [`ROWS_PER_INSERT`] rows and about [`BYTES_PER_INSERT`] bytes.
fn parts<R>(rows: &[R], bytes: impl Fn(&R) -> usize) -> Vec<&[R]> {
    let mut parts = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        let mut size = 0;
        let fits = rest.iter().take(ROWS_PER_INSERT).take_while(|row| {
            size += bytes(row) + 300;
            size <= BYTES_PER_INSERT
        });
        let (part, tail) = rest.split_at(fits.count().max(1));
        parts.push(part);
        rest = tail;
    }
    parts
}
