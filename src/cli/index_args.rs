//! What can be said to `index`.

use clap::{Args, Subcommand};

use super::args::ReportFormat;

/// `index`.
#[derive(Args, Debug)]
pub struct IndexArgs {
    /// The store; all of them, if not given
    #[arg(long, global = true, value_name = "NAME")]
    pub store: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub action: IndexAction,
}

/// `index …`.
#[derive(Debug, Subcommand)]
pub enum IndexAction {
    /// Say how far the index is
    Status {
        /// How it is written
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
    /// Index what is not indexed yet, without waiting for `run` to do it
    ///
    /// `run` does the same in the background and lets capture go first. Both may be at it at once.
    Build,
    /// Empty the index and make it anew
    ///
    /// Meanwhile searches find everything, but slower. On PostgreSQL and MySQL it is quickest with the right to TRUNCATE
    /// (MySQL: DROP) search_index and participations; without it their rows are deleted.
    Rebuild,
    /// Make indexes for parts of words (`search --substring`); PostgreSQL only
    ///
    /// Without them such a search reads every message that its other conditions leave. They use the extension pg_trgm, are about as
    /// large as the texts, and slow capture, since each message is written into them together with its row: `--drop` removes them.
    /// Capture and searches go on meanwhile. Wanted are the owner of the table messages, and the right to make the extension
    /// unless it is there.
    Trigrams {
        /// Remove them
        #[arg(long)]
        drop: bool,
    },
}
