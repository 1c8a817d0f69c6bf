//! The records that the database refused: kept whole until an operator decides.
//!
//! The writer puts them here; this is the operator's side. Records may be large, so [`list`] leaves them in the database and reads its
//! rows page by page.

use diesel::prelude::*;

use super::schema::{nodes, quarantine};
use super::statement::run;
use super::{Connection, StoreError};
use crate::time::Micros;

/// Most entries of one page.
pub const PAGE_ENTRIES: i64 = 1_000;

diesel::define_sql_function! {
    /// Bytes of a value.
    fn octet_length(value: diesel::sql_types::Binary) -> diesel::sql_types::Integer;
}

/// A record in quarantine, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Entry {
    /// Number of the entry.
    pub id: i64,
    /// Name of the node that it came from, none when that is unreadable.
    pub node: Option<String>,
    /// The spool that it came from.
    pub spool_id: Vec<u8>,
    /// Its number in that spool.
    pub seq: i64,
    /// When it reached the archive.
    pub received_at: Micros,
    /// Why it could not be stored.
    pub reason: String,
    /// Its size.
    pub record_bytes: i32,
}

/// The entries after the one numbered `after` (0: from the first), at most [`PAGE_ENTRIES`].
///
/// # Errors
/// When the database can't be read.
pub async fn list(connection: &mut Connection, after: i64) -> Result<Vec<Entry>, StoreError> {
    let query = entries().filter(quarantine::id.gt(after)).order(quarantine::id).limit(PAGE_ENTRIES);
    run!(connection, load, query).map_err(|error| StoreError::of(&error))
}

/// One entry with its record.
///
/// # Errors
/// When the database can't be read.
pub async fn get(connection: &mut Connection, id: i64) -> Result<Option<(Entry, Vec<u8>)>, StoreError> {
    let found: QueryResult<Entry> = run!(connection, first, entries().filter(quarantine::id.eq(id)));
    let Some(entry) = found.optional().map_err(|error| StoreError::of(&error))? else {
        return Ok(None);
    };
    let query = quarantine::table.filter(quarantine::id.eq(id)).select(quarantine::record);
    let record: QueryResult<Vec<u8>> = run!(connection, first, query);
    Ok(record.optional().map_err(|error| StoreError::of(&error))?.map(|record| (entry, record)))
}

/// Removes an entry; false if it was not there. Another record may have got its number in the meantime, and stays.
///
/// # Errors
/// When the database can't be written.
pub async fn remove(connection: &mut Connection, entry: &Entry) -> Result<bool, StoreError> {
    let is_record = quarantine::spool_id.eq(&entry.spool_id).and(quarantine::seq.eq(entry.seq));
    let of_entry = quarantine::table.filter(quarantine::id.eq(entry.id).and(is_record));
    let removed = run!(connection, execute, diesel::delete(of_entry));
    Ok(removed.map_err(|error| StoreError::of(&error))? > 0)
}

/// What the gap of an entry says of it.
pub(super) fn detail(id: i64) -> String {
    format!(r#"{{"quarantine":{id}}}"#)
}

/// The columns of [`Entry`], in its order.
#[diesel::dsl::auto_type]
fn entries() -> _ {
    quarantine::table.left_join(nodes::table).select((
        quarantine::id,
        nodes::name.nullable(),
        quarantine::spool_id,
        quarantine::seq,
        quarantine::received_at,
        quarantine::reason,
        octet_length(quarantine::record),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrations;

    const INSERT: &str = "INSERT INTO nodes (id, name) VALUES (1, 'prosody');
        INSERT INTO quarantine (id, seq, received_at, node_id, spool_id, reason, record) VALUES
        (1, 10, 5, 1, zeroblob(16), 'refused', x'3c61ff'), (3, 11, 6, NULL, zeroblob(16), 'unreadable', x'00');";

    #[tokio::test(flavor = "current_thread")]
    async fn entries_are_listed_read_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = Connection::Sqlite(crate::store::sqlite::open(&directory.path().join("a.sqlite")).unwrap());
        migrations::up(&mut connection, None).await.unwrap();
        connection.batch(INSERT).await.unwrap();
        let entries = list(&mut connection, 0).await.unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.id, entry.node.as_deref(), entry.record_bytes)).collect();
        assert_eq!(seen, [(1, Some("prosody"), 3), (3, None, 1)]);
        assert_eq!(list(&mut connection, 1).await.unwrap(), entries[1..]);
        let (entry, record) = get(&mut connection, 1).await.unwrap().unwrap();
        assert_eq!((&entry, record.as_slice()), (&entries[0], [0x3c, 0x61, 0xff].as_slice()));
        assert!(!remove(&mut connection, &Entry { seq: 12, ..entry.clone() }).await.unwrap());
        assert!(remove(&mut connection, &entry).await.unwrap());
        assert!(!remove(&mut connection, &entry).await.unwrap());
        assert_eq!(get(&mut connection, 1).await.unwrap(), None);
    }
}
