//! What can be said to `gaps` and `reconcile`.

use clap::{Args, Subcommand, ValueEnum};

use super::args::{MessageFormat, ReportFormat, TimeArgs};
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

/// `reconcile`.
#[derive(Args, Debug)]
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
}
