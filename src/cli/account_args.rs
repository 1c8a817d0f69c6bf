//! What can be said to `gaps` and `reconcile`.

use clap::{Args, Subcommand, ValueEnum};

use super::args::{MessageFormat, ReportFormat, TimeArgs};
use super::history_args::{BackfillSource, MamArgs, SourceArgs};
use super::when::When;
use crate::gap::State;

/// `gaps`.
#[derive(Args, Debug)]
pub struct GapsArgs {
    /// The store; `list` takes all of them, if not given
    #[arg(long, global = true, value_name = "NAME")]
    pub store: Option<String>,
    /// What to do with the gaps.
    #[command(subcommand)]
    pub action: GapsAction,
}

/// `gaps …`.
#[derive(Debug, Subcommand)]
pub enum GapsAction {
    /// List the gaps, the oldest number first
    ///
    /// --from and --to pick the gaps that lie, be it in part, between them.
    List {
        /// Of this node
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// In this state; several: any of them
        #[arg(long, value_enum, value_name = "STATE")]
        state: Vec<GapState>,
        /// When.
        #[command(flatten)]
        time: TimeArgs,
        /// How they are written
        #[arg(long, value_enum, default_value_t)]
        format: MessageFormat,
    },
    /// Show all that is known of a gap, and what to do about it
    Show {
        /// Its number, as `list` names it
        #[arg(value_name = "ID")]
        id: i64,
    },
    /// Close a gap by hand; the row keeps who did, when, and why
    Close {
        /// Its number, as `list` names it
        #[arg(value_name = "ID")]
        id: i64,
        /// Who closes it
        #[arg(long, value_name = "NAME", value_parser = said)]
        by: String,
        /// Why
        #[arg(long, value_name = "TEXT", value_parser = said)]
        note: String,
        /// What is missing can't be had any more
        #[arg(long)]
        unrecoverable: bool,
    },
}

/// What has become of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GapState {
    /// Nothing yet
    Open,
    /// What the node's own archive holds was fetched
    Backfilled,
    /// Some of it was
    Partly,
    /// Somebody said that it can't be had
    Unrecoverable,
    /// Somebody closed it
    Closed,
}

impl GapState {
    /// The state in the archive.
    pub fn state(self) -> State {
        match self {
            Self::Open => State::Open,
            Self::Backfilled => State::Backfilled,
            Self::Partly => State::Partly,
            Self::Unrecoverable => State::Unrecoverable,
            Self::Closed => State::Closed,
        }
    }
}

/// A text that says something.
fn said(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("must say something".to_owned()) } else { Ok(text.to_owned()) }
}

/// Examples of `reconcile`.
const RECONCILE_EXAMPLES: &str = "\
Examples:
  xmpp-archiver reconcile --from 2026-11-01 --to 2026-11-30
  xmpp-archiver reconcile --from yesterday --to yesterday --node main --source prosody-sql --url-file /etc/xmpp-archiver/prosody.url
  xmpp-archiver reconcile --node main --source ejabberd-sql --url-env EJABBERD_DB --format json
  xmpp-archiver reconcile --node main --source mam --component backfill.example.com --secret-file /etc/xmpp-archiver/backfill.secret --all-rooms

With --source, everything that the node's own archive holds of that time is looked up as `backfill` would, and nothing is stored. What is \
missing is listed, with the command that fetches it. A running archiver raises the alarm reconcile-mismatch, until the same time was \
compared again and is well.";

/// `reconcile`.
#[derive(Args, Debug)]
#[command(after_long_help = RECONCILE_EXAMPLES)]
pub struct ReconcileArgs {
    /// From this UTC day on; seven days back, if not given
    ///
    /// The forms of `search`; the whole day counts.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<When>,
    /// To this UTC day, which is included; today, if not given
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<When>,
    /// This node only
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    /// The store; all of them, if not given
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// Compare with the node's own archive, too: where that is
    #[arg(long, value_enum, value_name = "SOURCE", help_heading = OWN)]
    pub source: Option<BackfillSource>,
    /// Name so many of the messages that are missing, the first ones
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = most_named, help_heading = OWN)]
    pub missing: usize,
    /// Where the node's archive is.
    #[command(flatten, next_help_heading = OWN)]
    pub place: SourceArgs,
    /// How the node itself is asked.
    #[command(flatten, next_help_heading = OWN)]
    pub mam: MamArgs,
}

/// The heading of what is said of the node's own archive.
const OWN: &str = "The node's own archive";
/// Most missing messages that are named.
const MOST_NAMED: usize = 100_000;

fn most_named(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= MOST_NAMED);
    number.ok_or_else(|| format!("must be a number up to {MOST_NAMED}"))
}
