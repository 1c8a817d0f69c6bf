//! The errand of `reconcile`: everything in the node's own archive is looked up, and nothing stored. What comes of it, as it is told.

use std::path::Path;

use serde_json::{Value, json};

use super::args::ReconcileArgs;
use super::feeding::feed_failure;
use super::history::{Bar, Errand, Job, failure};
use super::history_args::quoted;
use super::{Failure, connect, status, table};
use crate::config::Config;
use crate::history::compare::{self, Plan};
use crate::history::{Interval, Source, SourceError};
use crate::reconcile::{Compared, OwnDay};
use crate::store::finder::Finder;
use crate::store::gaps::Gap;
use crate::tally::DAY;
use crate::time::{Micros, SECOND, now, parse_stamp, rfc3339};

/// What was said in the last moments may be on its way.
const SETTLING: Micros = 10 * SECOND;
/// Why some stand here alone.
const ONLY_HERE: &str = "\"Only here\" are messages that it does not hold, which is no fault: it lacks";

/// Looks up what a source holds.
struct Comparing {
    most_named: usize,
}

/// A comparison with a node's own archive.
pub(super) struct Own {
    node: String,
    store: String,
    source: String,
    from: Micros,
    to: Micros,
    compared: Compared,
    lacks: &'static str,
    /// What fetches the missing ones.
    command: Option<String>,
}

/// Compares these days.
pub(super) fn compare(
    config: &Config,
    args: &ReconcileArgs,
    (first, last): (i32, i32),
    gaps: &[(String, Gap)],
) -> Result<Option<Own>, Failure> {
    let Some(source) = args.source else {
        return match args.place.flags().into_iter().chain(args.mam.flags()).next() {
            None => Ok(None),
            Some(flag) => Err(Failure::Usage(format!("{flag} needs --source"))),
        };
    };
    let from = i64::from(first) * DAY;
    let settled = settled(status::running(config).as_ref(), args.node.as_deref(), now());
    let to = ((i64::from(last) + 1) * DAY).min(settled);
    if to <= from {
        let until = rfc3339(settled);
        return Err(Failure::Runtime(format!("nothing of this time can be compared: what was said after {until} may not be stored yet")));
    }
    let interval = Interval { from: Some(from), to: Some(to) };
    let errand = Comparing { most_named: args.missing };
    let job = Job::new(config, args.node.as_deref(), &args.place, interval, errand)?;
    let mut own = job.backfill(source, &args.mam)?;
    own.source = source.word();
    own.command =
        own.compared.missing_between.map(|between| own.command(config.file.as_deref(), args, with_gaps(between, gaps, &own.node)));
    Ok(Some(own))
}

/// The time with all of the node's gaps in it: only a backfill of a whole gap closes it.
fn with_gaps((first, last): (Micros, Micros), gaps: &[(String, Gap)], node: &str) -> (Micros, Micros) {
    let ended = gaps.iter().filter(|(_, gap)| gap.node.as_deref() == Some(node)).filter_map(|(_, gap)| Some((gap.from, gap.to?)));
    let around = ended.filter(|(from, to)| *from <= last && *to >= first);
    around.fold((first, last), |(first, last), (from, to)| (first.min(from), last.max(to)))
}

/// Until when everything that was said is stored, if it ever is. What waits in a spool or on a node is not missing.
fn settled(status: Option<&Value>, node: Option<&str>, now: Micros) -> Micros {
    let list = |name: &str| status.and_then(|status| status.get(name)).and_then(Value::as_array).into_iter().flatten();
    let ages = list("stores").filter_map(|store| store.get("oldest_age_seconds")?.as_f64()).map(|age| now - (age * 1e6) as Micros);
    let named = |entry: &&Value| node.is_none_or(|node| entry.get("name").and_then(Value::as_str) == Some(node));
    let queued = list("nodes").filter(named).filter_map(|node| node.get("module")?.get("oldest")?.as_str()).filter_map(parse_stamp);
    ages.chain(queued).fold(now, Micros::min) - SETTLING
}

impl Errand for Comparing {
    type Told = Own;

    async fn run<S: Source>(
        &self,
        job: &Job<'_, Self>,
        _what: &str,
        open: impl AsyncFnOnce(Interval, Option<&str>) -> Result<S, SourceError>,
    ) -> Result<Own, Failure> {
        let trouble = |error| connect::failure(job.store, &error);
        let mut source = open(job.wide(job.began_at), None).await.map_err(failure)?;
        let bar = Bar::new(source.total().await.map_err(failure)?);
        let join_window = job.config.archive.join_window.as_micros() as Micros;
        let mut finder = Finder::new(connect::open(job.store).await?, join_window).await.map_err(trouble)?;
        let (from, to) = (job.interval.from.unwrap_or_default(), job.interval.to.unwrap_or(job.began_at));
        let policy = crate::run::policy(job.config);
        let plan = Plan { node: job.facts.clone(), policy, from, to, most_named: self.most_named };
        let compared = compare::compare(&mut source, &mut finder, &plan, &bar).await;
        bar.finish();
        Ok(Own {
            node: job.node.name.clone(),
            store: job.store.name.clone(),
            source: String::new(),
            from,
            to,
            compared: compared.map_err(feed_failure)?,
            lacks: source.lacks(),
            command: None,
        })
    }
}

impl Own {
    pub(super) fn is_of(&self, node: &str) -> bool {
        self.node == node
    }

    pub(super) fn is_well(&self) -> bool {
        self.compared.is_well()
    }

    /// How many messages are missing or can't be told.
    pub(super) fn wrong(&self) -> u64 {
        self.compared.missing() + self.compared.sum(|day| day.unreadable) + self.compared.not_read.len() as u64
    }

    /// What fetches everything between these times.
    fn command(&self, file: Option<&Path>, args: &ReconcileArgs, (first, last): (Micros, Micros)) -> String {
        let mut words = vec!["xmpp-archiver".to_owned()];
        words.extend(file.into_iter().flat_map(|file| ["--config".to_owned(), quoted(&file.display().to_string())]));
        words.extend(["backfill", "--node"].map(str::to_owned));
        words.extend([quoted(&self.node), "--source".to_owned(), self.source.clone()]);
        words.extend(args.place.flags());
        words.extend(args.mam.flags());
        words.extend(["--from".to_owned(), rfc3339(first), "--to".to_owned(), rfc3339(last)]);
        words.join(" ")
    }

    pub(super) fn text(&self) -> String {
        let Self { node, source, compared, .. } = self;
        let (from, to) = (rfc3339(self.from), rfc3339(self.to));
        let mut text = format!("\nNode {node}'s own archive ({source}), said from {from} to before {to}\n\n");
        let headings = ["Day", "Entries", "Messages", "Here", "Missing", "Left out", "Set aside", "Unreadable", "Only here"];
        text += &table::render(headings, compared.days.iter().map(row));
        if !compared.first_missing.is_empty() {
            text += &format!("\nMissing, the first {} of {}:\n", compared.first_missing.len(), compared.missing());
            let rows = compared.first_missing.iter().map(|one| [rfc3339(one.at), one.archive.clone(), one.stanza_id.clone()]);
            text += &table::render(["Said", "In the archive of", "Stanza-id"], rows);
        }
        text + &self.verdict()
    }

    /// What is wrong, and what to do.
    fn verdict(&self) -> String {
        let Self { node, compared, .. } = self;
        let mut text = String::new();
        let unreadable = compared.sum(|day| day.unreadable);
        if compared.missing() > 0 {
            let missing = compared.missing();
            text += &format!("\n{missing} messages of node {node}'s own archive are not here");
            text += if compared.is_rough { ", or fewer: some may be counted for each archive that holds them\n" } else { "\n" };
        }
        text += &self.command.as_ref().map(|command| format!("   fetch them, then compare again: {command}\n")).unwrap_or_default();
        if unreadable > 0 {
            text +=
                &format!("\n{unreadable} entries of it can't be read: `backfill` puts them into the quarantine, with the reason of each\n");
        }
        text.extend(compared.not_read.iter().map(|archive| format!("not read: {archive}\n")));
        text + &format!("{ONLY_HERE} {}.\n", self.lacks)
    }

    pub(super) fn json(&self) -> Value {
        let compared = &self.compared;
        let days = compared.days.iter().map(|(day, numbers)| {
            let mut shown = json!(numbers);
            if let Some(object) = shown.as_object_mut() {
                object.insert("day".to_owned(), json!(super::reconcile::date(*day)));
            }
            shown
        });
        json!({
            "node": self.node,
            "store": self.store,
            "source": self.source,
            "from": rfc3339(self.from),
            "to": rfc3339(self.to),
            "ok": self.is_well(),
            "days": days.collect::<Vec<_>>(),
            "missing": compared.missing(),
            "missing_is_rough": compared.is_rough,
            "first_missing": compared.first_missing,
            "not_read": compared.not_read,
            "lacks": self.lacks,
            "backfill": self.command,
        })
    }
}

fn row((day, numbers): (&i32, &OwnDay)) -> [String; 9] {
    let OwnDay { entries, messages, here, missing, left_out, set_aside, unreadable, only_here } = numbers;
    let [entries, messages, here, missing, left_out, set_aside, unreadable, only_here] =
        [entries, messages, here, missing, left_out, set_aside, unreadable, only_here].map(u64::to_string);
    [super::reconcile::date(*day), entries, messages, here, missing, left_out, set_aside, unreadable, only_here]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Arguments;
    use crate::cli::args::Command;
    use crate::reconcile::Missing;
    use clap::Parser;

    const NOW: Micros = 1_795_332_535_000_000;

    #[test]
    fn what_waits_is_not_missing() {
        let status = json!({
            "stores": [{ "name": "default", "oldest_age_seconds": 30.0 }],
            "nodes": [{ "name": "a", "module": { "oldest": rfc3339(NOW - 90 * SECOND) } }, { "name": "b", "module": null }],
        });
        assert_eq!(settled(None, None, NOW), NOW - SETTLING);
        assert_eq!(settled(Some(&status), Some("b"), NOW), NOW - 30 * SECOND - SETTLING);
        assert_eq!(settled(Some(&status), Some("a"), NOW), NOW - 90 * SECOND - SETTLING);
        assert_eq!(settled(Some(&json!({ "stores": 1 })), None, NOW), NOW - SETTLING);
    }

    #[test]
    fn missing_ones_are_told_with_what_to_do() {
        let line = "xmpp-archiver reconcile --source prosody-sql --url-file db.url --node n";
        let Command::Reconcile(args) = Arguments::parse_from(line.split(' ')).command else { panic!("not reconcile") };
        let mut compared = Compared::default();
        compared.days.insert(20_779, OwnDay { entries: 3, messages: 2, here: 1, missing: 1, ..OwnDay::default() });
        compared.miss(Missing { at: NOW, archive: "bob@h".to_owned(), stanza_id: "k1".to_owned() }, 1);
        let (node, store, source) = ("n".to_owned(), "s".to_owned(), "prosody-sql".to_owned());
        let mut own = Own { node, store, source, from: NOW, to: NOW, compared, lacks: "nothing", command: None };
        own.command = Some(own.command(Some(Path::new("a b.toml")), &args, (NOW, NOW)));
        let text = own.text();
        for part in [
            "2026-11-22",
            "bob@h",
            "k1",
            "the first 1 of 1",
            "--config 'a b.toml' backfill --node n --source prosody-sql --url-file db.url --from 2026-11-22T",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!((&own.json()["missing"], &own.json()["days"][0]["day"]), (&json!(1), &json!("2026-11-22")));
        assert!(!own.is_well() && own.wrong() == 1);
    }
}
