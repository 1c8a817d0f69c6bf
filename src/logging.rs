//! The program's own log: one line a record on standard error, with the time in UTC to the microsecond, level and target.
//!
//! Never more: no secrets and no message bodies. Libraries are held to that too. A database driver writes its statements'
//! parameters, which are bodies, at level `debug`, so what isn't our own is never written below `info`, whatever `RUST_LOG` says.

use std::fmt::Write as _;
use std::io::{self, Write};

use env_logger::Builder;
use env_logger::fmt::Formatter;
use jiff::Timestamp;
use log::{Level, LevelFilter, Record};

/// The target of our own records begins with this.
const OWN: &str = "xmpp_archiver";

/// The levels in the order of -v.
const LEVELS: [LevelFilter; 6] =
    [LevelFilter::Off, LevelFilter::Error, LevelFilter::Warn, LevelFilter::Info, LevelFilter::Debug, LevelFilter::Trace];

/// Sets the log up: at `level`, moved by so many steps of -v (or, below zero, of -q); `RUST_LOG` goes before both.
pub fn init(level: LevelFilter, steps: i16) {
    let mut builder = Builder::new();
    match std::env::var("RUST_LOG") {
        Ok(filters) if !filters.is_empty() => builder.parse_filters(&filters),
        _ => {
            let own = moved(level, steps);
            builder.filter_level(own.min(LevelFilter::Warn)).filter_module(OWN, own)
        }
    };
    // A second call, as in tests, leaves the first in force.
    let _ = builder.format(write_record).try_init();
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
    own || level <= Level::Info
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
    fn a_record_is_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mé"), "a\\nb\\u{1b}[31mé");
    }
}
