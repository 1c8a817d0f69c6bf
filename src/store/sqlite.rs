//! SQLite: the embedded default. One writer, write-ahead log, every commit synced.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::{QueryResult, SqliteConnection};

use super::StoreError;
use super::queries::{inserts, queries};
use super::reads::reads;
use super::rows::*;
use super::schema::{deliveries, messages};

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT_MS: u32 = 30_000;
/// Rows of one INSERT: 27 columns each, and a statement takes 32,766 variables.
const ROWS_PER_INSERT: usize = 256;

/// Opens the archive; it is made when it is not there.
pub(crate) fn open(path: &Path) -> Result<SqliteConnection, StoreError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|error| StoreError::Unreachable(format!("{}: {error}", parent.display())))?;
    }
    let name = path.to_str().ok_or_else(|| StoreError::Unreachable(format!("{}: not UTF-8", path.display())))?;
    let mut connection = SqliteConnection::establish(name).map_err(|error| StoreError::Unreachable(format!("{name}: {error}")))?;
    configure(&mut connection).map_err(|error| StoreError::Unreachable(format!("{name}: {error}")))?;
    Ok(connection)
}

/// `synchronous=FULL` costs nothing once rows come in batches, and survives power loss; the checkpoint is made late so that it is rare.
pub(crate) fn configure(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA wal_autocheckpoint = 16384; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;"
    ))
}

reads!(SqliteConnection, diesel::RunQueryDsl, [], {});

queries!(
    SqliteConnection,
    diesel::RunQueryDsl,
    diesel::connection::SimpleConnection,
    [],
    "ON CONFLICT (node_id, day, state, reason) DO UPDATE SET count = tallies.count + excluded.count",
    {
        async fn begin(&mut self) -> QueryResult<Vec<u8>> {
            self.batch_execute("BEGIN IMMEDIATE")?;
            Ok(self.setting("writer").await?.unwrap_or_default())
        }

        inserts!(diesel::RunQueryDsl, [], 1_000);

        async fn insert_messages(&mut self, rows: Vec<MessageRow>) -> QueryResult<()> {
            for part in rows.chunks(ROWS_PER_INSERT) {
                diesel::insert_into(messages::table).values(part).execute(self)?;
            }
            Ok(())
        }

        async fn insert_deliveries(&mut self, rows: Vec<DeliveryRow>) -> QueryResult<()> {
            for part in rows.chunks(ROWS_PER_INSERT) {
                diesel::insert_into(deliveries::table).values(part).execute(self)?;
            }
            Ok(())
        }
    }
);
