//! What can be said to `quarantine`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `quarantine`.
#[derive(Args, Debug)]
pub struct QuarantineArgs {
    /// The store, if several are configured
    #[arg(long, global = true, value_name = "NAME")]
    pub store: Option<String>,
    /// What to do with the records.
    #[command(subcommand)]
    pub action: QuarantineAction,
}

/// `quarantine …`.
#[derive(Debug, Subcommand)]
pub enum QuarantineAction {
    /// List the records and why each was refused
    List,
    /// Try to store records again; what succeeds leaves the quarantine
    Retry {
        /// The records, as `list` names them
        #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<i64>,
        /// All records
        #[arg(long)]
        all: bool,
    },
    /// Write the records as received, one JSON object each
    Export {
        /// Write to this file in place of standard output; only its owner can read it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}
