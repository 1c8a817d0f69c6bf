//! What can be said on the command line: every command and its flags.
//!
//! The doc comments are the help texts, and the manual pages and completions are made from them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jid::{BareJid, Jid};

pub use super::access_args::{AuditArgs, GroupArgs, TokenArgs, UserArgs};
pub use super::account_args::{GapState, GapsAction, GapsArgs, ReconcileArgs};
pub use super::alarm_args::{AlarmsAction, AlarmsArgs};
pub use super::export_args::{ExportArgs, ExportFormat};
use super::history_args::{BackfillArgs, ImportArgs};
use super::index_args::IndexArgs;
pub use super::quarantine_args::{QuarantineAction, QuarantineArgs};
pub use super::search_args::{Filter, SearchArgs, ShowArgs, Sort};
use super::when::{When, Zone};
use crate::config::domain;

/// What each exit code means, and where the configuration is looked for.
const AFTER_HELP: &str = "\
Exit codes: 0 all went well; 1 a failure while running; 2 a mistake in the usage or the configuration; 3 a check found a problem.

Configuration: --config FILE, else archiver.toml in the current directory, else /etc/xmpp-archiver/archiver.toml; each option can be \
overridden from the environment (XMPP_ARCHIVER__SPOOL__PATH=…).

First steps: `xmpp-archiver demo` shows all of it without any set-up; `xmpp-archiver check` tries a configuration out; `xmpp-archiver run` archives.";

/// The open compliance archive for instant messaging
///
/// Attaches to XMPP nodes as an XEP-0114 component, receives the stanzas that they mirror, and keeps every message once,
/// complete and unaltered, in SQLite, PostgreSQL, MySQL or MariaDB.
#[derive(Debug, Parser)]
#[command(name = "xmpp-archiver", version, after_long_help = AFTER_HELP, max_term_width = 100)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub struct GlobalArgs {
    /// Read the configuration from this file
    #[arg(long, global = true, value_name = "FILE", env = "XMPP_ARCHIVER_CONFIG", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Log more; twice: still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Log less; twice: still less
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub quiet: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach to the configured nodes and archive until stopped
    ///
    /// Stops in order on SIGINT and SIGTERM: no more is read, what was read is made durable, what is spooled is stored as far
    /// as `run.shutdown_timeout` allows. What is left is stored after the next start.
    Run,
    /// Try the configuration out: nodes, secrets, databases, disk, clock
    ///
    /// Says for each problem what to do about it. Exits with 3 if there is one.
    Check(CheckArgs),
    /// Bring the database's schema up to date, or show or undo it
    ///
    /// Without a subcommand, all pending migrations are run.
    Migrate(MigrateArgs),
    /// Search the archive
    ///
    /// All conditions must hold; without any, every message is found. Sorted by time, the oldest first. Where there is
    /// more than --limit, the last line on standard error names the cursor for --after.
    ///
    /// TEXT is words that must all be there: "a phrase" in quotation marks, the begin of a word with *, -without, a OR b, and
    /// brackets. Upper and lower case and accents are the same. Put it into single quotes, or the shell takes the signs away:
    /// xmpp-archiver search '"year end" report* -draft'
    Search(SearchArgs),
    /// Show one conversation as it was read
    Show(ShowArgs),
    /// Write messages to a file for another program
    ///
    /// Takes the conditions of `search`, has no limit unless one is given, and shows its progress on standard error.
    ///
    /// Without --output-dir, writes jsonl or csv in the order of time to standard output or to one file. With it, makes an export that
    /// accounts for itself: conversation by conversation, with the corrections, retractions and reactions of each message, a manifest and
    /// the hash of each file. It is built beside DIR and gets that name only when as many messages are in its files as the query finds.
    Export(ExportArgs),
    /// Show what a running archiver is doing: nodes, lag, spool, counts
    Status(StatusArgs),
    /// Show all of it on this machine without any set-up
    ///
    /// A built-in node mirrors a week of a small firm's conversation into the real archiver and a SQLite file. What was archived is
    /// compared with what was said, and shown. Needs no configuration and reads none; its files stay, for you to try the other commands on.
    Demo(DemoArgs),
    /// Serve the console for people and the API, until stopped
    ///
    /// A process of its own: whatever becomes of it, archiving goes on. It listens where `[web]` of the configuration says, on this machine
    /// alone unless told otherwise. Make the first account with `xmpp-archiver user add` before.
    Web,
    /// Print the configuration in force as TOML, secrets hidden
    Config,
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write all pages to a directory
    Man(ManArgs),
    /// See to the records that the database refused
    Quarantine(QuarantineArgs),
    /// Try whether alarms reach people, or say that they were seen
    Alarms(AlarmsArgs),
    /// Fetch what was missed from the node's own archive
    Backfill(BackfillArgs),
    /// Take over history from another archive
    Import(ImportArgs),
    /// See to the index that makes searches quick
    Index(IndexArgs),
    /// See to the intervals in which messages may have been missed
    Gaps(GapsArgs),
    /// Compare what was counted with what became of it, with the rows that are there, and with the node's own archive
    ///
    /// By node and UTC day of arrival. Exits with 3 if something does not add up, if a gap of that time is still open, or if the node's own
    /// archive holds messages that are not here.
    Reconcile(ReconcileArgs),
    /// Say who may look at the archive: accounts, their roles and scopes, passwords
    User(UserArgs),
    /// Name several people at once, for scopes
    Group(GroupArgs),
    /// Make and revoke tokens of the API
    Token(TokenArgs),
    /// Read who did what with the archive
    Audit(AuditArgs),
}

/// `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Contact neither nodes nor databases
    #[arg(long)]
    pub offline: bool,
    /// How the findings are written
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// `migrate`.
#[derive(Args, Debug)]
pub struct MigrateArgs {
    /// The store, if several are configured
    #[arg(long, global = true, value_name = "NAME")]
    pub store: Option<String>,
    /// What to do with the schema; `None` is `up` without a limit.
    #[command(subcommand)]
    pub action: Option<MigrateAction>,
}

/// `migrate …`.
#[derive(Debug, Subcommand)]
pub enum MigrateAction {
    /// List the migrations and whether each was run
    Status,
    /// Run the pending migrations
    Up {
        /// Stop after this version
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
    },
    /// Undo the last migrations; what their tables hold is lost
    Down {
        /// How many to undo
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
        /// Yes, delete what their tables hold
        #[arg(long)]
        yes: bool,
    },
    /// Print the SQL of all migrations, for a DBA to read or run
    Print {
        /// The database system; that of the store, if not given
        #[arg(value_enum)]
        backend: Option<Backend>,
    },
}

/// Which part of the time, and how times are read and written.
#[derive(Args, Debug)]
pub struct TimeArgs {
    /// At this time or later
    ///
    /// RFC 3339 (2026-11-22T07:28:55Z), 2026-11-22, "2026-11-22 07:28", today, yesterday, now, or back from now: -2h, -30m, -7d.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<When>,
    /// At this time or earlier; a day, minute or second counts as a whole
    ///
    /// The same forms as --from.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<When>,
    /// The time zone of tables and of times that are given without one: utc, local, or such as Europe/Berlin; jsonl and csv are always UTC
    #[arg(long = "time", value_name = "ZONE", default_value = "utc")]
    pub zone: Zone,
}

/// In which order, and from where on.
#[derive(Args, Debug)]
pub struct PageArgs {
    /// Go on after this cursor, which the page before named
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// By time: the oldest first (asc) or the newest first (desc)
    #[arg(long, value_enum, default_value_t)]
    pub order: Order,
}

/// `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    /// Show it anew each `run.status_interval` until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// `demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Leave node and archiver running at the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Where its files go; a new directory among the system's temporary ones, if not given
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How many stanzas a second the built-in node sends
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
}

/// `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Write the pages of all commands to this directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// How messages are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MessageFormat {
    /// A table for people
    #[default]
    Table,
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header line
    Csv,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A table for people
    #[default]
    Table,
    /// One JSON object
    Json,
}

/// The order by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The oldest first
    #[default]
    Asc,
    /// The newest first
    Desc,
}

/// A database system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// PostgreSQL
    Postgres,
    /// MySQL and MariaDB
    Mysql,
    /// SQLite
    Sqlite,
}

/// A JID whose domain is spelled as the archive spells it.
fn any_jid(text: &str) -> Result<Jid, String> {
    let (bare, resource) = match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    let (node, domain) = match bare.rsplit_once('@') {
        Some((node, domain)) => (Some(node), domain),
        None => (None, bare),
    };
    let mut folded = domain::normalise(domain).map_err(|error| format!("its domain {error}"))?;
    if let Some(node) = node {
        folded = format!("{node}@{folded}");
    }
    if let Some(resource) = resource {
        folded = format!("{folded}/{resource}");
    }
    Jid::new(&folded).map_err(|error| error.to_string())
}

/// A JID without a resource.
pub(super) fn bare_jid(text: &str) -> Result<BareJid, String> {
    let jid = any_jid(text)?;
    match jid.resource() {
        None => Ok(jid.to_bare()),
        Some(_) => Err("must have no resource (no \"/\")".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("xmpp-archiver").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn lines_that_are_right() {
        for line in [
            "run",
            "run --config a.toml -vv",
            "--config a.toml run -q",
            "check --offline --format json",
            "migrate",
            "migrate status --store a",
            "migrate --store a up --to 2026-11-22-000001",
            "migrate down --steps 2 --yes",
            "migrate print",
            "migrate print postgres",
            "search",
            "search two words --participant a@b --participant c@d/e --participant example.com",
            "search --from -2h --to yesterday --kind message --kind chat-state --order desc",
            "search --room r@conference.b --limit 1000000000 --after x --format jsonl --time local --all",
            "search --id 17 --store a",
            "search --id -MXzQhQWvIQA84EP6zO77GHy",
            "search --any-participant al*@b --any-participant @c.example --sender a@b --recipient d --room r@c --room s@c",
            "search --kind edit --kind encrypted --direction incoming --node n --has file --has link --encrypted --substring x",
            "search x --sort relevance --context 3",
            "search x --count",
            "show --id 17 --context 2 --format jsonl",
            "index status --format json",
            "index build --store a",
            "index rebuild",
            "show r@conference.b",
            "show a@b c@d --from 2026-11-22 --format csv",
            "export --format csv --output a.csv --limit 5",
            "export --output-dir a --format pdf --zone Europe/Berlin --by Ann --reason why --font a.ttf --font b.ttf --room r@b",
            "export --output-dir a --resume --store b",
            "export --output-dir a --series --format eml --room r@b",
            "status --watch",
            "demo --keep --dir a --rate 10",
            "config",
            "completions zsh",
            "man --dir a",
            "quarantine list --store a",
            "quarantine retry 1 2 3",
            "quarantine retry --all",
            "quarantine export --output a",
            "alarms test --format json",
            "alarms acknowledge",
            "alarms acknowledge stanza-oversize main",
            "gaps list",
            "gaps list --node a --state open --state partly --from -2d --to now --format csv --store b",
            "gaps show 7",
            "gaps close 7 --by ann --note gone --unrecoverable",
            "reconcile",
            "reconcile --from 2026-11-01 --to yesterday --node a --format json --store b",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
    }

    #[test]
    fn lines_that_are_wrong() {
        for line in [
            "",
            "archive",
            "search --limit 0",
            "search --limit -1",
            "search --from soon",
            "search --room r@b/nick",
            "search --participant a@@b",
            "search --kind talk",
            "show",
            "show a@b --id 3",
            "index",
            "search --has wings",
            "show a@b c@d e@f",
            "export --format table",
            "export --output-dir a --output b",
            "export --output-dir a --limit 5",
            "export --resume",
            "export --series",
            "export --output-dir a --series --resume",
            "export --output-dir a --resume --room r@b",
            "export --reason why",
            "migrate down --steps 0",
            "quarantine",
            "quarantine retry",
            "quarantine retry 1 --all",
            "alarms",
            "alarms acknowledge nothing",
            "demo --rate 0",
            "gaps",
            "gaps show",
            "gaps close 7 --by ann",
            "gaps close 7 --note gone",
            "gaps close 7 --by= --note gone",
            "gaps list --state shut",
            "reconcile --from soon",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn jids_are_spelled_as_in_the_archive() {
        for (text, expected) in
            [("Alice@XN--bcher-kva.Example.", "alice@bücher.example"), ("a@b/Desk/2@x", "a@b/Desk/2@x"), ("Example.COM", "example.com")]
        {
            assert_eq!(any_jid(text).unwrap().to_string(), expected);
        }
        assert!(any_jid("@b").is_err());
        assert!(any_jid("a@").is_err());
    }

    #[test]
    fn words_become_the_numbers_of_the_schema() {
        let arguments =
            parse("search --kind edit --kind unreadable --kind encrypted --direction unknown --has attachment --has encryption");
        let Ok(Command::Search(search)) = arguments else { panic!("{arguments:?}") };
        let Filter { kind, direction, has, .. } = search.filter;
        assert_eq!((kind, direction, has), (vec![3, 99, -1], vec![0], vec![1, 3]));
    }
}
