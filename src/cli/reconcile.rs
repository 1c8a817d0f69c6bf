//! `reconcile`: shows by node and day what became of everything that was received, whether the rows are there, and whether all that the
//! node's own archive holds is; exits with 3 if not.
//!
//! The running archiver is told the result for each node, so that it raises or clears the alarm.

use jiff::Zoned;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::args::{ReconcileArgs, ReportFormat};
use super::comparing::{self, Own};
use super::{Failure, alarms, connect, gaps, output, status, table};
use crate::config::{Config, NodeConfig, StoreConfig};
use crate::gap::State as GapState;
use crate::reconcile::Day;
use crate::run::requests::{self, Reconciled};
use crate::store::gaps::{self as stored_gaps, Filter, Gap};
use crate::store::{StoreError, tallies};
use crate::tally::{DAY, State, day_of};
use crate::time::{Micros, now, rfc3339};

/// How far back it goes where nothing is said.
const DAYS_BACK: i32 = 7;
/// The most days of one report.
const MOST_DAYS: i32 = 3_700;
/// What to do about numbers that do not add up.
const ADVICE: &str = "rows were added or removed by somebody else, or the database was set back to an earlier state: compare with the database's own log \
                      and its backups, then fetch what is missing with `xmpp-archiver backfill`";

/// Runs the command.
pub fn execute(config: &Config, args: &ReconcileArgs) -> Result<(), Failure> {
    let (first, last) = days(args)?;
    let stores = connect::stores(config, args.store.as_deref())?;
    let mut report = connect::block_on(async {
        let mut report = Report { first, last, days: Vec::new(), gaps: Vec::new(), own: None, own_error: None };
        for store in stores {
            report.read(store, args.node.as_deref()).await?;
        }
        Ok(report)
    })?;
    let compared = comparing::compare(config, args, (first, last), &report.gaps);
    let failure = match compared {
        Ok(own) => {
            report.own = own;
            None
        }
        Err(failure @ Failure::Usage(_)) => return Err(failure),
        Err(failure) => {
            report.own_error = Some(failure.to_string());
            Some(failure)
        }
    };
    report.tell_archiver(config, args);
    output::print(&report.render(args.format))?;
    match failure {
        Some(failure) => Err(failure),
        None if report.is_well() => Ok(()),
        None => Err(Failure::ProblemFound),
    }
}

/// The first and the last day, both included.
fn days(args: &ReconcileArgs) -> Result<(i32, i32), Failure> {
    let now_there = Zoned::now().with_time_zone(TimeZone::UTC);
    let out_of_range = |name: &str, error| Failure::Usage(format!("{name} {error}"));
    let from = args.from.as_ref().map(|when| when.begin(&now_there)).transpose().map_err(|error| out_of_range("--from", error))?;
    let to = args.to.as_ref().map(|when| when.end(&now_there)).transpose().map_err(|error| out_of_range("--to", error))?;
    let last = day_of(to.map_or_else(now, |to| to - 1));
    let first = from.map_or(last - DAYS_BACK, day_of);
    if first > last {
        return Err(Failure::Usage("--from is later than --to".to_owned()));
    }
    if last - first > MOST_DAYS {
        return Err(Failure::Usage(format!("more than {MOST_DAYS} days: give --from and --to")));
    }
    Ok((first, last))
}

/// All that was found.
struct Report {
    first: i32,
    last: i32,
    days: Vec<Line>,
    gaps: Vec<(String, Gap)>,
    own: Option<Own>,
    /// Why the node's own archive could not be compared.
    own_error: Option<String>,
}

/// A node on a day.
struct Line {
    store: String,
    node: String,
    day: i32,
    numbers: Day,
    /// Whether everything that made the rows of that day was counted.
    is_counted: bool,
    problems: Vec<String>,
}

impl Report {
    async fn read(&mut self, store: &StoreConfig, node: Option<&str>) -> Result<(), Failure> {
        let trouble = |error: StoreError| connect::failure(store, &error);
        let mut connection = gaps::open(store).await?;
        let since = tallies::counted_since(&mut connection).await.map_err(trouble)?;
        let found = tallies::days(&mut connection, self.first, self.last, since).await.map_err(trouble)?;
        let wanted = found.into_iter().filter(|((of, _), _)| node.is_none_or(|node| of == node));
        self.days.extend(wanted.map(|((node, day), numbers)| {
            let is_counted = since == 0 || day > day_of(since);
            let problems = numbers.problems(is_counted);
            Line { store: store.name.clone(), node, day, numbers, is_counted, problems }
        }));
        let (from, to) = (Some(i64::from(self.first) * DAY), Some((i64::from(self.last) + 1) * DAY));
        let filter = Filter { node: node.map(str::to_owned), states: Vec::new(), from, to };
        let gaps = stored_gaps::all(&mut connection, &filter).await.map_err(trouble)?;
        self.gaps.extend(gaps.into_iter().map(|gap| (store.name.clone(), gap)));
        Ok(())
    }

    fn open_gaps(&self) -> usize {
        self.gaps.iter().filter(|(_, gap)| gap.state.is_some_and(GapState::is_open)).count()
    }

    fn is_well(&self) -> bool {
        let adds_up = self.open_gaps() == 0 && self.days.iter().all(|line| line.problems.is_empty());
        adds_up && self.own_error.is_none() && self.own.as_ref().is_none_or(Own::is_well)
    }

    /// Has the archiver that runs raise the alarm for each node, or clear it.
    fn tell_archiver(&self, config: &Config, args: &ReconcileArgs) {
        let is_meant = |node: &&NodeConfig| {
            args.node.as_ref().is_none_or(|name| *name == node.name) && args.store.as_ref().is_none_or(|store| *store == node.store)
        };
        if status::running(config).is_none() {
            return;
        }
        for node in config.nodes.iter().filter(is_meant) {
            let wrong = self.days.iter().filter(|line| line.node == node.name).map(|line| line.problems.len() as u64).sum();
            let own = self.own.as_ref().filter(|own| own.is_of(&node.name));
            let outcome = Reconciled {
                node: requests::mark(&node.name),
                first: self.first,
                last: self.last,
                missing: own.map(Own::wrong),
                wrong,
                at: now(),
            };
            if let Err(error) = alarms::ask_for(config, |token| outcome.file(token)) {
                log::warn!("the running archiver can't be told the result: {error}");
            }
        }
    }

    fn render(&self, format: ReportFormat) -> String {
        match format {
            ReportFormat::Table => self.text(),
            ReportFormat::Json => format!("{}\n", self.json()),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{} to {}, days of arrival in UTC\n\n", date(self.first), date(self.last));
        let states = State::ALL.map(|state| heading(state.word()));
        let mut headings = ["Store", "Node", "Day", "", "", "", "", "", "", "", "", "", ""];
        for (heading, state) in headings.iter_mut().skip(3).zip(&states) {
            *heading = state;
        }
        text += &table::render(headings, self.days.iter().map(Line::row));
        for line in &self.days {
            text += &line.reasons();
        }
        if !self.gaps.is_empty() {
            let shown: Vec<(&str, Gap)> = self.gaps.iter().map(|(store, gap)| (store.as_str(), gap.clone())).collect();
            text += &format!("\nGaps of this time:\n{}", gaps::as_table(&shown));
        }
        text += &self.own.as_ref().map(Own::text).unwrap_or_default();
        text + "\n" + &self.verdict()
    }

    /// What is wrong, and what to do.
    fn verdict(&self) -> String {
        let mut text = String::new();
        for line in &self.days {
            for problem in &line.problems {
                text += &format!("{} on {}: {problem}\n", line.node, date(line.day));
            }
        }
        if !text.is_empty() {
            text += &format!("   {ADVICE}\n");
        }
        let uncounted = self.days.iter().filter(|line| !line.is_counted).count();
        if uncounted > 0 {
            text += &format!("{uncounted} of these lines are from before everything was counted; their rows are not compared.\n");
        }
        match self.open_gaps() {
            0 => {}
            open => text += &format!("{open} of these gaps are open: `xmpp-archiver gaps show ID` says what to do\n"),
        }
        match (self.is_well(), &self.own) {
            (false, _) => text,
            (true, None) => text + "All of it adds up, and no gap is open.\n",
            (true, Some(_)) => text + "All of it adds up, no gap is open, and all that the node's own archive holds is here.\n",
        }
    }

    fn json(&self) -> Value {
        json!({
            "from": date(self.first),
            "to": date(self.last),
            "ok": self.is_well(),
            "days": self.days.iter().map(Line::json).collect::<Vec<_>>(),
            "gaps": self.gaps.iter().map(|(store, gap)| gaps::as_json(store, gap)).collect::<Vec<_>>(),
            "own_archive": self.own.as_ref().map(Own::json),
            "own_archive_error": self.own_error,
        })
    }
}

impl Line {
    fn row(&self) -> [String; 13] {
        let mut row = [const { String::new() }; 13];
        let names = [self.store.clone(), self.node.clone(), date(self.day)];
        let counts = State::ALL.map(|state| self.numbers.count(state).to_string());
        for (cell, value) in row.iter_mut().zip(names.into_iter().chain(counts)) {
            *cell = value;
        }
        row
    }

    /// Why stanzas were skipped, kept out or lost, a line for each state that has reasons.
    fn reasons(&self) -> String {
        let states = [State::Skipped, State::Lost, State::Forged, State::Quarantined];
        let line = |state: State| {
            let reasons: Vec<String> = self
                .numbers
                .of(state)
                .filter(|(reason, _)| !reason.is_empty())
                .map(|(reason, count)| format!("{count} {reason}"))
                .collect();
            let named = format!("   {} on {}, {}: {}\n", self.node, date(self.day), state.word(), reasons.join(", "));
            (!reasons.is_empty()).then_some(named)
        };
        states.into_iter().filter_map(line).collect()
    }

    fn json(&self) -> Value {
        let rows = self.numbers.rows;
        let mut object = Map::new();
        object.insert("store".to_owned(), json!(self.store));
        object.insert("node".to_owned(), json!(self.node));
        object.insert("day".to_owned(), json!(date(self.day)));
        for state in State::ALL {
            let with_reasons = matches!(state, State::Skipped | State::Lost | State::Forged);
            let by_reason: Map<String, Value> = self.numbers.of(state).map(|(reason, count)| (reason.to_owned(), json!(count))).collect();
            let value = if with_reasons { Value::Object(by_reason) } else { json!(self.numbers.count(state)) };
            object.insert(state.word().to_owned(), value);
        }
        let shown =
            json!({ "messages": rows.messages, "deliveries": rows.deliveries, "bounces": rows.bounces, "quarantine": rows.quarantined });
        object.insert("rows".to_owned(), shown);
        object.insert("counted".to_owned(), json!(self.is_counted));
        object.insert("problems".to_owned(), json!(self.problems));
        Value::Object(object)
    }
}

fn heading(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub(super) fn date(day: i32) -> String {
    let at: Micros = i64::from(day) * DAY;
    rfc3339(at).chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(problems: &[&str]) -> Report {
        let mut numbers = Day::default();
        numbers.counts.insert((State::Received, String::new()), 7);
        numbers.counts.insert((State::Skipped, "iq".to_owned()), 7);
        let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
        let line = Line { store: "s".to_owned(), node: "a".to_owned(), day: 20_779, numbers, is_counted: true, problems };
        Report { first: 20_779, last: 20_779, days: vec![line], gaps: Vec::new(), own: None, own_error: None }
    }

    #[test]
    fn a_report_says_whether_all_is_well() {
        let well = report(&[]);
        assert!(well.is_well());
        let text = well.text();
        for part in ["2026-11-22", "Received", "Repeated", "skipped: 7 iq", "All of it adds up"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!((&well.json()["ok"], &well.json()["days"][0]["skipped"]["iq"]), (&json!(true), &json!(7)));
        let wrong = report(&["5 are missing"]);
        assert!(!wrong.is_well());
        assert!(wrong.text().contains("a on 2026-11-22: 5 are missing") && wrong.text().contains("backfill"));
    }
}
