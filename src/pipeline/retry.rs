//! A record from quarantine, tried once more: after an upgrade that can read it, or after the database was mended.

use super::read::RecordReader;
use crate::store::batch::Item;
use crate::store::{StoreError, Writer, gaps, quarantine};

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, and no longer in quarantine.
    Stored,
    /// It stays; why.
    Kept(String),
    /// There is no entry with this id.
    Missing,
}

/// Stores the record of the quarantine entry `id`.
///
/// # Errors
/// When the database can't be reached or can't write. Whatever was stored by then is not stored twice by another attempt.
pub async fn retry(writer: &mut Writer, reader: &mut RecordReader, id: i64) -> Result<Outcome, StoreError> {
    let Some((_, record)) = quarantine::get(writer.connection(), id).await? else { return Ok(Outcome::Missing) };
    let mut entry = reader.read(0, &record);
    // A position in the node's own queue was passed when the record was set aside.
    entry.queued = None;
    entry.retried = true;
    if let Item::Unreadable(why) | Item::Oversize(why) = &entry.item {
        return Ok(Outcome::Kept(why.clone()));
    }
    match writer.commit(std::slice::from_ref(&entry), &source(id), 1).await {
        Ok(_stored) => {}
        Err(StoreError::Refused(why)) => return Ok(Outcome::Kept(why)),
        Err(error) => return Err(error),
    }
    gaps::stored_after_all(writer.connection(), id).await?;
    quarantine::remove(writer.connection(), id).await?;
    Ok(Outcome::Stored)
}

/// Each entry counts as a spool of one record, so that it is stored once even if its removal fails.
fn source(id: i64) -> [u8; 16] {
    let mut source = *b"quarantn\0\0\0\0\0\0\0\0";
    let (_, number) = source.split_at_mut(8);
    number.copy_from_slice(&id.to_be_bytes());
    source
}
