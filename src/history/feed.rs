//! From a source to the rows: items go into a spool of their own, and a pipeline as that of the daemon stores them.
//!
//! The position moves only when the items before it are durable. At the end everything in the spool is waited for, so that the counts are
//! those of rows. It may run beside a daemon on the same store: writers of one database exclude each other for the length of a transaction.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::place::{Place, State};
use super::record::encode;
use super::{Item, Position, Source, SourceError, Via};
use crate::alarm::Alarms;
use crate::intake::record::Record;
use crate::node::Node;
use crate::pipeline::read::RecordReader;
use crate::pipeline::{self, Rules, drain::Pipeline};
use crate::policy::Policy;
use crate::spool::{self, Appender, Spool, SpoolError};
use crate::stats::{StoreCounts, StoreStats};
use crate::store::batch::{self, Committed, Entry};
use crate::store::{Connection, Endpoint, StoreError, Writer};
use crate::time::{self, Micros};

/// Items asked for at a time.
pub(super) const ITEMS_A_READ: usize = 1_000;
/// The disk that waiting items may take; the source is read no faster than the store takes them.
const SPOOL_BYTES: u64 = 256 * 1024 * 1024;
/// The longest item.
const ITEM_BYTES_MAX: usize = 15 * 1024 * 1024;
/// How often the spool is looked at while its end is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is to be done.
pub struct Plan {
    /// The store.
    pub endpoint: Endpoint,
    /// Most records of one transaction.
    pub batch_records: usize,
    /// The node that the messages belong to.
    pub node: Arc<Node>,
    /// What is archived.
    pub policy: Policy,
    /// How far apart copies of one message may be.
    pub join_window: Micros,
    /// How the messages that are new are marked.
    pub via: Via,
    /// Where the items wait.
    pub place: Place,
    /// How far the source was read before; the source stands there.
    pub state: State,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Items read.
    pub read: u64,
    /// Items that an earlier attempt at the same had read, which was broken off.
    pub read_before: u64,
    /// Messages that were new.
    pub added: u64,
    /// Items of messages that were there already.
    pub known: u64,
    /// Items not archived, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Items that could not be understood or stored: they are in the quarantine.
    pub refused: u64,
    /// The same, from an earlier time: from other attempts, and from the part of this one before it was broken off.
    pub refused_before: u64,
    /// What of the source could not be read, in words.
    pub not_read: Vec<String>,
    /// The first and the last time of an item.
    pub first_at: Option<Micros>,
    /// See [`Outcome::first_at`].
    pub last_at: Option<Micros>,
}

impl Outcome {
    /// Counts what is left out.
    fn skips(&mut self, item: &Item) -> bool {
        if let Some(reason) = item.skip {
            *self.skipped.entry(reason).or_default() += 1;
        }
        item.skip.is_some()
    }

    fn see(&mut self, at: Micros) {
        self.read += 1;
        if at > 0 {
            self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
            self.last_at = Some(self.last_at.map_or(at, |last| last.max(at)));
        }
    }
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The source.
    #[error("the source: {0}")]
    Source(#[from] SourceError),
    /// Another process has the place.
    #[error("the same is being read by another process, which has {0} open")]
    InUse(String),
    /// The spool can't be opened or written.
    #[error("{0}")]
    Spool(String),
    /// The store.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// How far it was read can't be noted, or no thread be started.
    #[error("can't go on: {0}")]
    Io(#[from] io::Error),
}

/// Tells how far it is: items read and items stored.
pub trait Progress {
    /// Called after each read and while the end is waited for.
    fn so_far(&self, read: u64, stored: u64);
}

/// Reads a source to its end and stores what is new in it.
///
/// # Errors
/// When the source fails, or the disk. What was durable by then is stored, and another attempt goes on from there.
pub async fn feed<S: Source>(source: &mut S, plan: Plan, progress: &impl Progress) -> Result<Outcome, FeedError> {
    let (appender, reader, recovered) = open(&plan.place)?;
    let stats = Arc::new(StoreStats::default());
    let (stop, stopped) = watch::channel(false);
    let settings = settings(&plan, stats.clone(), recovered.damaged);
    let pipeline = Pipeline::start(settings, reader, recovered.spool_id, appender.clone(), Handle::current(), stopped)?;
    let records = RecordReader::new(std::slice::from_ref(&plan.node), plan.policy);
    let mut feeder = Feeder { plan, appender, stats, records, told: Outcome::default(), progress };
    feeder.told.read_before = feeder.plan.state.read;
    let fed = feeder.all(source).await;
    feeder.wait_until_stored().await;
    let _nobody_listens = stop.send(true);
    let joined = tokio::task::spawn_blocking(move || pipeline.join()).await;
    joined.map_err(io::Error::other)?;
    let Feeder { appender, stats, told, mut plan, .. } = feeder;
    appender.close().await.map_err(|error| FeedError::Spool(error.to_string()))?;
    let counts = stats.get();
    plan.state.refused = plan.state.refused.max(counts.quarantined);
    plan.state.finished = fed.is_ok();
    let noted = plan.place.note(&plan.state);
    fed?;
    noted?;
    let earlier = plan.state.refused.saturating_sub(counts.quarantined + counts.repeated);
    let told = summed(told, &counts);
    Ok(Outcome { refused_before: told.refused_before + earlier, not_read: plan.state.troubles, ..told })
}

/// Reads a source to its end and says what would become of it, storing nothing.
///
/// # Errors
/// When the source fails, or the store.
pub async fn try_out<S: Source>(source: &mut S, plan: &Plan, progress: &impl Progress) -> Result<Outcome, FeedError> {
    let mut writer = Writer::new(Connection::open(&plan.endpoint).await?, plan.join_window).await?;
    let mut records = RecordReader::new(std::slice::from_ref(&plan.node), plan.policy);
    let stats = StoreStats::default();
    let mut told = Outcome::default();
    loop {
        let items = source.next(ITEMS_A_READ).await?;
        if items.is_empty() {
            return Ok(Outcome { not_read: source.troubles(), ..summed(told, &stats.get()) });
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
        for (_, item) in items {
            let item = fitting(item);
            told.see(item.at);
            if told.skips(&item) {
                continue;
            }
            entries.push(entry(&mut records, &plan.node, &item, plan.via, told.read));
        }
        let committed: Committed = writer.try_out(&entries).await?;
        stats.committed(&committed, told.read, 0);
        progress.so_far(told.read, told.read);
    }
}

/// An item as the store would be given it.
pub(super) fn entry(records: &mut RecordReader, node: &Node, item: &Item, via: Via, seq: u64) -> Entry {
    records.read(seq, &Record::history(&node.name, time::now(), &encode(item, via)).encode())
}

fn open(place: &Place) -> Result<(Appender, spool::Reader, spool::Recovered), FeedError> {
    let options = spool::Options {
        limit_bytes: SPOOL_BYTES,
        segment_bytes: SPOOL_BYTES / 16,
        max_record_bytes: ITEM_BYTES_MAX,
        ..spool::Options::default()
    };
    Spool::open(&place.spool(), options).map_err(|error| match error {
        SpoolError::InUse(path) => FeedError::InUse(path.display().to_string()),
        other => FeedError::Spool(other.to_string()),
    })
}

fn settings(plan: &Plan, stats: Arc<StoreStats>, damage: Vec<spool::Damage>) -> pipeline::Settings {
    pipeline::Settings {
        endpoint: plan.endpoint.clone(),
        migrates: false,
        rules: watch::channel(Arc::new(Rules { nodes: vec![plan.node.clone()], policy: plan.policy })).1,
        join_window: plan.join_window,
        batch_records: plan.batch_records,
        quarantine_dir: plan.place.quarantine(),
        stats,
        alarms: Alarms::default(),
        damage,
    }
}

struct Feeder<'p, P> {
    plan: Plan,
    appender: Appender,
    stats: Arc<StoreStats>,
    /// Tells what the store is going to refuse, so that it is noted together with the position behind it.
    records: RecordReader,
    told: Outcome,
    progress: &'p P,
}

impl<P: Progress> Feeder<'_, P> {
    async fn all<S: Source>(&mut self, source: &mut S) -> Result<(), FeedError> {
        loop {
            let items = source.next(ITEMS_A_READ).await?;
            self.plan.state.note_troubles(source.troubles());
            if items.is_empty() {
                return Ok(());
            }
            self.keep(items).await?;
            self.progress.so_far(self.told.read, stored(&self.stats.get()));
        }
    }

    /// Makes the items durable, and then moves the position.
    async fn keep(&mut self, items: Vec<(Position, Item)>) -> Result<(), FeedError> {
        let lost = |error: &dyn std::fmt::Display| FeedError::Spool(error.to_string());
        let mut last = None;
        let mut behind = None;
        let mut refused = 0;
        for (position, item) in items {
            let item = fitting(item);
            self.told.see(item.at);
            behind = Some(position);
            if self.told.skips(&item) {
                continue;
            }
            let record = Record::history(&self.plan.node.name, time::now(), &encode(&item, self.plan.via)).encode();
            refused += u64::from(matches!(self.records.read(0, &record).item, batch::Item::Unreadable(_)));
            last = Some(self.appender.append(&record).await.map_err(|error| lost(&error))?);
        }
        if let Some(last) = last {
            self.appender.durable(last).await.map_err(|error| lost(&error))?;
        }
        let state = &mut self.plan.state;
        state.position = behind.or(state.position.take());
        state.refused = (state.refused + refused).max(self.stats.get().quarantined);
        state.read = self.told.read_before + self.told.read;
        self.plan.place.note(&self.plan.state)?;
        Ok(())
    }

    async fn wait_until_stored(&self) {
        while self.appender.depth().records > 0 {
            self.progress.so_far(self.told.read, stored(&self.stats.get()));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What no spool takes is cut, and named: it goes to the quarantine.
pub(super) fn fitting(mut item: Item) -> Item {
    const LONGEST_STANZA: usize = 12 * 1024 * 1024;
    const LONGEST_ORIGINAL: usize = 64 * 1024;
    if item.stanza.len() > LONGEST_STANZA {
        item.fault = Some(format!("the stanza has {} bytes, of which the first are kept", item.stanza.len()));
        item.stanza.truncate(LONGEST_STANZA);
    }
    if item.original.as_ref().is_some_and(|original| original.len() > LONGEST_ORIGINAL) {
        let bytes = item.original.map_or(0, |original| original.len());
        item.original = Some(format!("{{\"left_out\":\"the columns have {bytes} bytes\"}}"));
    }
    item
}

/// How many items the store has dealt with.
fn stored(counts: &StoreCounts) -> u64 {
    counts.committed_seq
}

fn summed(mut told: Outcome, counts: &StoreCounts) -> Outcome {
    for (reason, count) in &counts.skipped {
        *told.skipped.entry(reason).or_default() += count;
    }
    Outcome { added: counts.messages, known: counts.known, refused: counts.quarantined, refused_before: counts.repeated, ..told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_and_named() {
        let item = Item { stanza: vec![b'x'; 13 * 1024 * 1024], original: Some("y".repeat(70_000)), ..Item::default() };
        let item = fitting(item);
        assert!(item.fault.is_some() && item.stanza.len() < ITEM_BYTES_MAX);
        assert_eq!(item.original.as_deref(), Some("{\"left_out\":\"the columns have 70000 bytes\"}"));
    }

    /// Gives what it has, and can't be reached then.
    struct Breaking {
        items: Vec<(Position, Item)>,
        troubles: Vec<String>,
        breaks: bool,
    }

    impl Source for Breaking {
        async fn next(&mut self, _most: usize) -> Result<Vec<(Position, Item)>, SourceError> {
            let items = std::mem::take(&mut self.items);
            match self.breaks && items.is_empty() {
                true => Err(SourceError::Unreachable("gone".to_owned())),
                false => Ok(items),
            }
        }

        fn troubles(&self) -> Vec<String> {
            self.troubles.clone()
        }

        fn lacks(&self) -> &'static str {
            "nothing"
        }
    }

    struct Silent;

    impl Progress for Silent {
        fn so_far(&self, _read: u64, _stored: u64) {}
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_not_read_before_it_was_broken_off_is_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let (second, backend) = (Duration::from_secs(10), crate::store::Backend::Sqlite(directory.path().join("a.sqlite")));
        let endpoint = Endpoint { name: "main".to_owned(), backend, tls_ca: None, connect_timeout: second, statement_timeout: second };
        crate::store::migrations::up(&mut Connection::open(&endpoint).await.unwrap(), None).await.unwrap();
        let plan = |state: State| Plan {
            endpoint: endpoint.clone(),
            batch_records: 100,
            node: Arc::new(Node { name: "a".to_owned(), ..Node::default() }),
            policy: Policy::default(),
            join_window: crate::identity::JOIN_WINDOW,
            via: Via::Backfill,
            place: Place::new(directory.path(), "main", "a", "x"),
            state,
        };
        let item = Item { stanza: b"<message".to_vec(), at: 5, archive: Some("a@h".to_owned()), ..Item::default() };
        let trouble = "b@h: forbidden".to_owned();
        let mut source = Breaking { items: vec![("1".to_owned(), item)], troubles: vec![trouble.clone()], breaks: true };
        let state = State { what: "x".to_owned(), until: 9, ..State::default() };
        feed(&mut source, plan(state), &Silent).await.unwrap_err();
        let state = plan(State::default()).place.state("x", super::super::Interval::default()).unwrap();
        assert_eq!((state.position.as_deref(), state.until, state.refused), (Some("1"), 9, 1));
        let mut source = Breaking { items: Vec::new(), troubles: Vec::new(), breaks: false };
        let outcome = feed(&mut source, plan(state), &Silent).await.unwrap();
        assert_eq!((outcome.refused, outcome.refused_before, outcome.not_read), (0, 1, vec![trouble]));
    }
}
