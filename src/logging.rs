//! The program's own log: one line a record on standard error, with the time in UTC to the microsecond, level and target.
//! Under journald the line begins with the priority instead (sd-daemon(3)), since the journal has the time itself.
//!
//! Never more: no secrets and no message bodies. Libraries are held to that too. A database driver writes its statements'
//! parameters, which are bodies, at level `debug`, so what isn't our own is never written below `info`, whatever `RUST_LOG` says.

use std::fmt::Write as _;
use std::io::{self, Write};

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use env_logger::Builder;
use env_logger::fmt::Formatter;
use jiff::Timestamp;
use log::{Level, LevelFilter, Record};

/// The target of our own records begins with this.
const OWN: &str = "xmpp_archiver";

/// The levels in the order of -v.
const LEVELS: [LevelFilter; 6] =
    [LevelFilter::Off, LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info, LevelFilter::Debug, LevelFilter::Trace];

/// The level of our own records, as a number of [`LEVELS`]; it can change while the process runs.
static OWN_LEVEL: AtomicUsize = AtomicUsize::new(LEVELS.len());
/// The steps of -v, once the level may change: they move whatever level is set.
static STEPS: OnceLock<i16> = OnceLock::new();

/// Sets the log up: at `level`, moved by so many steps of -v (or, below zero, of -q); `RUST_LOG` goes before both.
pub fn init(level: LevelFilter, steps: i16) {
    let mut builder = Builder::new();
    let by_environment = std::env::var("RUST_LOG").ok().filter(|filters| !filters.is_empty());
    match &by_environment {
        Some(filters) => builder.parse_filters(filters),
        None => builder.filter_level(LevelFilter::Trace),
    };
    let format = if is_journal() { write_for_journal } else { write_record };
    // A second call, as in tests, leaves the first in force.
    if builder.format(format).try_init().is_ok() && by_environment.is_none() {
        let _only_here = STEPS.set(steps);
        set_level(level);
    }
}

/// Changes the level. False, and nothing is changed, where `RUST_LOG` goes before it.
pub fn set_level(level: LevelFilter) -> bool {
    let Some(steps) = STEPS.get() else { return false };
    let own = moved(level, *steps);
    OWN_LEVEL.store(own as usize, Ordering::Relaxed);
    log::set_max_level(own);
    true
}

/// Whether standard error leads to the journal: systemd names it by device and inode (systemd.exec(5)).
fn is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(found) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", found.st_dev, found.st_ino)
}

fn write_for_journal(formatter: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    if !may_be_written(record.target(), record.level()) {
        return Ok(());
    }
    let text = one_line(&record.args().to_string());
    writeln!(formatter, "<{}>{} {text}", priority(record.level()), record.target())
}

/// The priority of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn moved(level: LevelFilter, steps: i16) -> LevelFilter {
    let position = LEVELS.iter().position(|own| *own == level).unwrap_or(0);
    let target = i64::try_from(position).unwrap_or(0) + i64::from(steps);
    let last = LEVELS.len() - 1;
    let target = usize::try_from(target).unwrap_or(0).min(last);
    LEVELS.get(target).copied().unwrap_or(level)
}

fn write_record(formatter: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    if !may_be_written(record.target(), record.level()) {
        return Ok(());
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
    let text = one_line(&record.args().to_string());
    writeln!(formatter, "{now} {:<5} {} {text}", record.level(), record.target())
}

fn may_be_written(target: &str, level: Level) -> bool {
    let own = target.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let set = OWN_LEVEL.load(Ordering::Relaxed);
    // Others' warnings are worth having wherever our own are; more of theirs only by RUST_LOG, and never more than `info`.
    let most = match (own, set < LEVELS.len()) {
        (true, true) => set,
        (true, false) => LevelFilter::Trace as usize,
        (false, true) => set.min(LevelFilter::Warn as usize),
        (false, false) => LevelFilter::Info as usize,
    };
    level as usize <= most
}

/// What others send must not be able to begin a line of its own, nor to steer the terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            // Writing to a String can't fail.
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stop_at_both_ends() {
        for (level, steps, expected) in [
            (LevelFilter::Info, 0, LevelFilter::Info),
            (LevelFilter::Info, 1, LevelFilter::Debug),
            (LevelFilter::Warn, 9, LevelFilter::Trace),
            (LevelFilter::Warn, -1, LevelFilter::Error),
            (LevelFilter::Warn, -255, LevelFilter::Off),
        ] {
            assert_eq!(moved(level, steps), expected);
        }
    }

    #[test]
    fn libraries_stay_above_debug() {
        assert!(may_be_written("xmpp_archiver::spool", Level::Trace));
        assert!(may_be_written("tokio_postgres::query", Level::Info));
        assert!(!may_be_written("tokio_postgres::query", Level::Debug));
        assert!(!may_be_written("xmpp_archiver_other", Level::Debug));
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        let all = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        assert_eq!(all.map(priority), [3, 4, 6, 7, 7]);
    }

    #[test]
    fn a_record_is_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mé"), "a\\nb\\u{1b}[31mé");
    }
}
