//! Storing a batch by itself, and what becomes of records that the database refuses.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Settings;
use super::drain::Shared;
use crate::alarm::Name;
use crate::store::batch::{Committed, Entry, Item};
use crate::store::writer::SET_ASIDE_IN_FILE;
use crate::store::{StoreError, Writer};

/// A transaction has many statements: it may take this many times longer, beyond the time of one, before it is given up.
pub(super) const PATIENCE_FACTOR: u32 = 4;

/// Stores a batch; what the database refuses is found by halving, and set aside.
pub(super) async fn store(shared: &Shared, writer: &mut Writer, entries: &[Entry], next_seq: u64) -> Result<(), StoreError> {
    let mut parts = vec![(entries, next_seq)];
    let mut was_refused = false;
    while let Some((part, next)) = parts.pop() {
        match commit(shared, writer, part, next).await {
            Ok(committed) => stored(shared, &committed, part, next),
            // Once more as a whole: the refusal may have come from what another writer did in between.
            Err(error @ StoreError::Refused(_)) if !was_refused => {
                shared.settings.stats.failed(error.word());
                was_refused = true;
                parts.push((part, next));
            }
            Err(StoreError::Refused(_)) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                let between = second.first().map_or(next, |entry| entry.seq);
                parts.push((second, next));
                parts.push((first, between));
            }
            Err(StoreError::Refused(why)) => match part.first() {
                Some(entry) => set_aside(shared, writer, entry, &why, next).await?,
                None => return Err(StoreError::Refused(why)),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Says that these are stored.
pub(super) fn stored(shared: &Shared, committed: &Committed, part: &[Entry], next: u64) {
    if committed.quarantined > 0 {
        quarantine_grew(shared, part);
    }
    let newest = part.last().map_or(0, |entry| entry.arrived_at);
    shared.settings.stats.committed(committed, next, newest);
    tell_canaries(part);
    shared.stored.store(next, Ordering::Release);
    shared.news.notify_one();
}

/// Probes that were in a transaction have come back.
fn tell_canaries(part: &[Entry]) {
    for entry in part {
        if let Item::Canary(probe) = &entry.item {
            probe.stored();
        }
    }
}

/// Says that records were set aside because they could not be read.
fn quarantine_grew(shared: &Shared, part: &[Entry]) {
    let name = &shared.settings.endpoint.name;
    let last = part.iter().rev().find_map(|entry| if let Item::Unreadable(why) = &entry.item { Some(why) } else { None });
    if let Some(last) = last {
        let text = format!("records that could not be read were set aside, the last one: {last}; see `xmpp-archiver quarantine list`");
        shared.settings.alarms.raise(Name::QuarantineGrew, name, &text);
    }
}

async fn commit(shared: &Shared, writer: &mut Writer, part: &[Entry], next: u64) -> Result<Committed, StoreError> {
    let began = Instant::now();
    let committed = patiently(shared, async { writer.commit(part, &shared.spool_id, next).await }).await;
    shared.settings.stats.took(part.len(), began.elapsed());
    committed
}

/// Waits, and says so when that takes longer than a statement may; a database that does not answer at all is given up after a while, since a
/// machine that lost its power, or a network that drops everything, would otherwise be waited for without end.
pub(super) async fn patiently<T>(shared: &Shared, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let Settings { endpoint, alarms, .. } = &shared.settings;
    let patience = endpoint.statement_timeout;
    let mut answer = std::pin::pin!(answer);
    if let Ok(outcome) = tokio::time::timeout(patience, &mut answer).await {
        return outcome;
    }
    let text = format!("no answer within {patience:?}; chat goes on and everything is kept in the spool");
    alarms.raise(Name::StoreUnreachable, &endpoint.name, &text);
    match tokio::time::timeout(patience * PATIENCE_FACTOR, answer).await {
        Ok(outcome) => outcome,
        // Should it have been committed all the same, then the same batch is known for what it is when it is given again.
        Err(_elapsed) => Err(StoreError::Unreachable(format!("no answer within {:?}", patience * (PATIENCE_FACTOR + 1)))),
    }
}

async fn set_aside(shared: &Shared, writer: &mut Writer, entry: &Entry, why: &str, next: u64) -> Result<(), StoreError> {
    let name = &shared.settings.endpoint.name;
    let text = format!("record {} was refused and set aside: {why}; see `xmpp-archiver quarantine list`", entry.seq);
    shared.settings.alarms.raise(Name::RecordQuarantined, name, &text);
    let outcome = match writer.set_aside(entry, why, &shared.spool_id).await {
        Err(StoreError::Refused(_)) => {
            to_file(shared, entry, why)?;
            let skipped = Entry { item: Item::Skipped(SET_ASIDE_IN_FILE), ..entry.clone() };
            writer.commit(std::slice::from_ref(&skipped), &shared.spool_id, next).await
        }
        outcome => outcome,
    }?;
    shared.settings.stats.committed(&outcome, next, entry.arrived_at);
    shared.stored.store(next, Ordering::Release);
    shared.news.notify_one();
    Ok(())
}

/// What not even the quarantine table takes goes to a file beside the spool.
fn to_file(shared: &Shared, entry: &Entry, why: &str) -> Result<(), StoreError> {
    let dir = &shared.settings.quarantine_dir;
    let file = dir.join(format!("{:020}.record", entry.seq));
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, &entry.record));
    written.map_err(|error| StoreError::CannotWrite(format!("{}: {error} (the record was refused: {why})", file.display())))
}
