//! A record from quarantine, tried once more: after an upgrade that can read it, or after the database was mended.

use sha2::{Digest, Sha256};

use super::read::RecordReader;
use crate::store::batch::Item;
use crate::store::quarantine::Entry;
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
    let Some((kept, record)) = quarantine::get(writer.connection(), id).await? else { return Ok(Outcome::Missing) };
    let mut entry = reader.read(0, &record);
    // A position in the node's own queue was passed when the record was set aside.
    entry.queued = None;
    entry.retried = true;
    if let Item::Unreadable(why) | Item::Oversize(why) = &entry.item {
        return Ok(Outcome::Kept(why.clone()));
    }
    match writer.commit(std::slice::from_ref(&entry), &source(&kept), 1).await {
        Ok(_stored) => {}
        Err(StoreError::Refused(why)) => return Ok(Outcome::Kept(why)),
        Err(error) => return Err(error),
    }
    gaps::stored_after_all(writer.connection(), id).await?;
    quarantine::remove(writer.connection(), &kept).await?;
    Ok(Outcome::Stored)
}

/// Each entry counts as a spool of one record, so that it is stored once even if its removal fails. It goes by where the record stood, which is so of no
/// other: the number of an entry is given again once it is removed. Being a hash, it is the name of no spool, as those are random.
fn source(entry: &Entry) -> [u8; 16] {
    let hash = Sha256::new_with_prefix("quarantine").chain_update(&entry.spool_id).chain_update(entry.seq.to_be_bytes()).finalize();
    let mut source = [0; 16];
    source.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    source
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::JOIN_WINDOW;
    use crate::intake::record::Record;
    use crate::node::Node;
    use crate::policy::Policy;
    use crate::store::{Backend, Connection, Endpoint, migrations, tallies};

    /// As ejabberd's mod_service_log mirrors it.
    const COPY: &str = "<message to='archive.h' from='h' id='7'><forwarded xmlns='urn:xmpp:forward:0'>\
                        <message xmlns='jabber:client' type='chat' id='m' from='a@h/r' to='b@h'><body>one</body></message></forwarded></message>";

    #[tokio::test(flavor = "current_thread")]
    async fn a_retry_that_was_cut_off_after_storing_is_finished_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let backend = Backend::Sqlite(directory.path().join("a.sqlite"));
        let second = std::time::Duration::from_secs(1);
        let endpoint = Endpoint { name: "main".to_owned(), backend, tls_ca: None, connect_timeout: second, statement_timeout: second };
        let mut connection = Connection::open(&endpoint).await.unwrap();
        migrations::up(&mut connection, None).await.unwrap();
        let mut writer = Writer::new(connection, JOIN_WINDOW).await.unwrap();
        let node = Node { name: "a".to_owned(), domain: "archive.h".to_owned(), hosts: ["h".to_owned()].into(), ..Node::default() };
        let mut reader = RecordReader::new(&[node.into()], Policy::default());
        let entry = reader.read(0, &Record::stanza("a", 1_795_332_535_000_000, None, COPY.as_bytes()).encode());
        writer.set_aside(&entry, "not yet", &[1; 16]).await.unwrap();
        let refuse = "CREATE TRIGGER keep BEFORE DELETE ON quarantine BEGIN SELECT RAISE(ABORT, 'cut off'); END";
        writer.connection().batch(refuse).await.unwrap();
        retry(&mut writer, &mut reader, 1).await.unwrap_err();
        writer.connection().batch("DROP TRIGGER keep").await.unwrap();
        assert_eq!(retry(&mut writer, &mut reader, 1).await.unwrap(), Outcome::Stored);
        assert_eq!(retry(&mut writer, &mut reader, 1).await.unwrap(), Outcome::Missing);
        let days = tallies::days(writer.connection(), 20_000, 22_000, 0).await.unwrap();
        let day = days.values().next().unwrap();
        assert!(day.problems(true).is_empty() && day.rows.messages == 1, "{day:#?}");
    }
}
