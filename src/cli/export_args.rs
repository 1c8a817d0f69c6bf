//! What can be said to `export`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::{Filter, PageArgs, TimeArgs};
use crate::export::Format;

/// `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Which messages.
    #[command(flatten)]
    pub filter: Filter,
    /// When.
    #[command(flatten)]
    pub time: TimeArgs,
    /// In which order.
    #[command(flatten)]
    pub page: PageArgs,
    /// The most messages to write; all, if not given
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroU64>,
    /// How they are written; all but jsonl and csv need --output-dir
    #[arg(long, value_enum, default_value_t)]
    pub format: ExportFormat,
    /// Write to this file in place of standard output; only its owner can read it
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Make an export with a manifest and hashes in this directory, which must not be there yet
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "limit", "after", "order"])]
    pub output_dir: Option<PathBuf>,
    /// Go on with the unfinished export of --output-dir, as it was asked for
    #[arg(
        long,
        requires = "output_dir",
        conflicts_with_all = ["text", "substring", "participant", "any_participant", "sender", "recipient", "every_recipient", "room", "conversation", "id", "kind", "direction", "node", "has", "encrypted", "all", "from", "to", "format", "xml", "zone_name", "by", "reason", "font"]
    )]
    pub resume: bool,
    /// Add to the series of exports in --output-dir what is new since the last one, each message exactly once; begins a series, too
    #[arg(long, requires = "output_dir", conflicts_with = "resume")]
    pub series: bool,
    /// Look whether the finished export in this directory is still what it was: its files, its manifest, and the audit trail
    ///
    /// Exits with 3 if it is not.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["text", "substring", "participant", "any_participant", "sender", "recipient", "every_recipient", "room", "conversation", "id", "kind", "direction", "node", "has", "encrypted", "all", "from", "to", "format", "xml", "zone_name", "by", "reason", "font", "output", "output_dir", "limit", "after", "order", "resume", "series", "store"]
    )]
    pub verify: Option<PathBuf>,
    /// The time zone of days and of the times that people read, such as Europe/Berlin; that of --time, if not given
    #[arg(long = "zone", value_name = "ZONE", requires = "output_dir")]
    pub zone_name: Option<String>,
    /// Who asks for it, for the manifest; the user of this system, if not given
    #[arg(long, value_name = "NAME", requires = "output_dir")]
    pub by: Option<String>,
    /// Why, for the manifest
    #[arg(long, value_name = "TEXT", requires = "output_dir")]
    pub reason: Option<String>,
    /// A TrueType or OpenType font for pdf, before those of the system; several: in this order
    #[arg(long, value_name = "FILE", requires = "output_dir")]
    pub font: Vec<PathBuf>,
    /// Add the original stanza, passwords of rooms redacted; in jsonl, csv, eml, mbox and the natives of dat
    #[arg(long)]
    pub xml: bool,
    /// The store, if several are configured
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// How messages are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One JSON object a line
    #[default]
    Jsonl,
    /// Comma-separated values with a header line
    Csv,
    /// A mail (RFC 5322) for each conversation and day
    Eml,
    /// These mails in one file (mboxrd)
    Mbox,
    /// Pages to read in a browser
    Html,
    /// Pages to file, with a cover
    Pdf,
    /// Relativity Short Message Format 2.0, a file for each conversation and day
    Rsmf,
    /// A Concordance load file with texts and natives
    Dat,
    /// XML as Actiance's products read it
    Xml,
}

impl ExportFormat {
    /// The format of an export.
    pub fn format(self) -> Format {
        match self {
            Self::Jsonl => Format::Jsonl,
            Self::Csv => Format::Csv,
            Self::Eml => Format::Eml,
            Self::Mbox => Format::Mbox,
            Self::Html => Format::Html,
            Self::Pdf => Format::Pdf,
            Self::Rsmf => Format::Rsmf,
            Self::Dat => Format::Dat,
            Self::Xml => Format::Xml,
        }
    }
}
