//! The errand of `backfill` and `import`: the source is read to its end, what is new in it is stored, and the result told.

use serde::Serialize;

use super::args::ReportFormat;
use super::gap_filling::Filling;
use super::history::{Bar, Errand, Job, failure};
use super::history_args::HistoryArgs;
use super::{Failure, connect, output};
use crate::history::feed::{self, FeedError, Outcome, Plan};
use crate::history::place::{Place, State};
use crate::history::{Interval, Source, SourceError, Via};
use crate::store::Endpoint;
use crate::time::{self, Micros};

/// How a source is fed.
pub(super) struct Feeding<'c> {
    pub(super) args: &'c HistoryArgs,
    pub(super) via: Via,
}

impl Errand for Feeding<'_> {
    type Told = ();

    /// Opens the source where an earlier attempt left it, and feeds it to its end.
    async fn run<S: Source>(
        &self,
        job: &Job<'_, Self>,
        what: &str,
        open: impl AsyncFnOnce(Interval, Option<&str>) -> Result<S, SourceError>,
    ) -> Result<(), Failure> {
        let place = Place::new(&job.config.spool.path, &job.store.name, &job.node.name, what);
        let before = place.state(what, job.interval).filter(|_| !self.args.restart && !self.args.dry_run);
        let Interval { from, to } = job.interval;
        let anew = || State { what: what.to_owned(), from, to, until: job.began_at, ..State::default() };
        let state = before.unwrap_or_else(anew);
        let until = state.until;
        let mut source = open(job.wide(until), state.position.as_deref()).await.map_err(failure)?;
        let total = source.total().await.map_err(failure)?;
        let bar = Bar::new(total);
        let plan = self.plan(job, place, state);
        let outcome =
            if self.args.dry_run { feed::try_out(&mut source, &plan, &bar).await } else { feed::feed(&mut source, plan, &bar).await };
        bar.finish();
        let outcome = outcome.map_err(feed_failure)?;
        let gaps = self.note_gaps(job, what, until, &outcome, &source).await?;
        self.report(job, until, &outcome, gaps, &source)?;
        if outcome.not_read.is_empty() { Ok(()) } else { Err(Failure::ProblemFound) }
    }
}

impl Feeding<'_> {
    fn plan(&self, job: &Job<'_, Self>, place: Place, state: State) -> Plan {
        Plan {
            endpoint: Endpoint::from_config(job.store),
            batch_records: job.store.batch_messages,
            node: job.facts.clone(),
            policy: crate::run::policy(job.config),
            join_window: job.config.archive.join_window.as_micros() as Micros,
            via: self.via,
            place,
            state,
        }
    }

    /// Says in the gaps of the interval what was found, up to where it was read from its beginning to its end.
    async fn note_gaps<S: Source>(
        &self,
        job: &Job<'_, Self>,
        what: &str,
        until: Micros,
        outcome: &Outcome,
        source: &S,
    ) -> Result<u64, Failure> {
        if self.via != Via::Backfill || self.args.dry_run {
            return Ok(0);
        }
        let is_whole = outcome.refused + outcome.refused_before == 0 && outcome.not_read.is_empty() && !source.is_partial();
        let name = what.split(' ').next().unwrap_or_default();
        let interval = Interval { to: Some(read_to(job.interval, until)), ..job.interval };
        let filling = Filling { node: &job.node.name, interval, is_whole, source: name, lacks: source.lacks() };
        let mut connection = connect::open(job.store).await?;
        filling.note(&mut connection).await.map_err(|error| connect::failure(job.store, &error))
    }

    fn report<S: Source>(&self, job: &Job<'_, Self>, until: Micros, outcome: &Outcome, gaps: u64, source: &S) -> Result<(), Failure> {
        let name = match self.via {
            Via::Backfill => "backfill",
            Via::Import => "import",
        };
        let report = Report {
            command: name,
            node: &job.node.name,
            store: &job.store.name,
            dry_run: self.args.dry_run,
            outcome,
            gaps,
            read_to: (until < job.began_at).then(|| time::rfc3339(read_to(job.interval, until))),
            lacks: source.lacks(),
        };
        match self.args.format {
            ReportFormat::Json => output::print(&format!("{}\n", report.json()?)),
            ReportFormat::Table => output::print(&report.text()),
        }
    }
}

/// The end of the time that was read by something that began then.
fn read_to(interval: Interval, began_at: Micros) -> Micros {
    interval.to.map_or(began_at, |to| to.min(began_at))
}

pub(super) fn feed_failure(error: FeedError) -> Failure {
    match error {
        FeedError::Source(error) => failure(error),
        other => Failure::Runtime(other.to_string()),
    }
}

/// The result as it is told.
#[derive(Serialize)]
struct Report<'r> {
    command: &'static str,
    node: &'r str,
    store: &'r str,
    dry_run: bool,
    #[serde(flatten)]
    outcome: &'r Outcome,
    /// How many rows of gaps were brought up to date.
    gaps: u64,
    /// Until when it was read, where it began before this command: it was broken off then.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_to: Option<String>,
    /// What the source can't hold.
    lacks: &'r str,
}

impl Report<'_> {
    fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| Failure::Runtime(error.to_string()))
    }

    fn text(&self) -> String {
        let Outcome { read, read_before, added, known, skipped, refused, refused_before, not_read, first_at, last_at } = self.outcome;
        let mut lines = vec![format!("read          {read}")];
        if *read_before > 0 {
            lines.push(format!("              after {read_before} that were read before it was broken off"));
        }
        if let Some(end) = &self.read_to {
            lines.push(format!("              up to {end}, since it began then: for what was said later, run it again"));
        }
        if let (Some(first), Some(last)) = (first_at, last_at) {
            lines.push(format!("              said from {} to {}", time::rfc3339(*first), time::rfc3339(*last)));
        }
        lines.push(format!("{} {added}", if self.dry_run { "would be added" } else { "added        " }));
        lines.push(format!("known already {known}"));
        lines.extend(skipped.iter().map(|(reason, count)| format!("skipped       {count} ({reason})")));
        lines.push(format!("refused       {refused}{}", if *refused > 0 { " (see `xmpp-archiver quarantine list`)" } else { "" }));
        if *refused_before > 0 {
            lines.push(format!("              and {refused_before} that had been refused before"));
        }
        lines.push(format!("gaps noted    {}", self.gaps));
        lines.extend(not_read.iter().map(|archive| format!("not read      {archive}")));
        lines.push(format!("not in the source: {}", self.lacks));
        lines.join("\n") + "\n"
    }
}
