//! The command line: one file a command, and what they share.
//!
//! [`args`] defines every command; [`dispatch`] loads the configuration, sets the log up and hands over to the command's
//! `execute`. A command ends with a [`Failure`] named by what the caller can do about it, which is also the exit code.

mod access;
pub mod access_args;
mod account_args;
mod alarm_args;
pub mod alarms;
pub mod args;
pub mod audit;
pub mod backfill;
pub mod check;
mod comparing;
pub mod completions;
pub mod config;
mod connect;
pub mod demo;
mod demo_report;
pub mod export;
pub mod export_args;
mod feeding;
mod gap_filling;
pub mod gaps;
mod history;
pub mod history_args;
pub mod import;
pub mod index;
mod index_args;
mod mam;
pub mod man;
mod memory;
pub mod migrate;
pub mod output;
mod production;
pub mod quarantine;
mod quarantine_args;
mod reading;
pub mod reconcile;
mod render;
mod render_csv;
pub(crate) mod render_json;
mod render_table;
pub mod run;
pub mod search;
pub mod search_args;
pub mod show;
mod show_message;
pub mod status;
mod table;
pub mod token;
mod transcript;
pub mod user;
mod verifying;
pub mod web;
pub mod when;
mod words;

use std::io;

use log::LevelFilter;

pub use self::args::Arguments;
use self::args::{Command, GlobalArgs};
use crate::config::{Config, ConfigErrors, StoreChoiceError};
use crate::logging;

/// How a command can end other than well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration has to be mended.
    #[error(transparent)]
    Configuration(#[from] ConfigErrors),
    /// `--store` has to be mended.
    #[error(transparent)]
    Store(#[from] StoreChoiceError),
    /// The command line has to be mended.
    #[error("{0}")]
    Usage(String),
    /// Something went wrong while running.
    #[error("{0}")]
    Runtime(String),
    /// A result could not be written.
    #[error("can't write to {0}: {1}")]
    Output(String, #[source] io::Error),
    /// Whoever read the results has seen enough.
    #[error("the output was closed")]
    OutputClosed,
    /// A check found a problem, and has told it.
    #[error("a check found a problem")]
    ProblemFound,
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Runtime(_) | Self::Output(..) => 1,
            Self::Configuration(_) | Self::Store(_) | Self::Usage(_) => 2,
            Self::ProblemFound => 3,
        }
    }

    /// True if nobody has told the reason yet.
    fn is_untold(&self) -> bool {
        !matches!(self, Self::OutputClosed | Self::ProblemFound)
    }
}

/// Does what the command line says.
pub fn dispatch(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { global, command } = arguments;
    match command {
        Command::Run => run::execute(load(&global, LevelFilter::Trace)?),
        Command::Check(args) => check::execute(load_quietly(&global)?, args),
        Command::Migrate(args) => migrate::execute(load_quietly(&global)?, args),
        Command::Search(args) => search::execute(load_quietly(&global)?, args),
        Command::Show(args) => show::execute(load_quietly(&global)?, args),
        Command::Export(args) => export::execute(load_quietly(&global)?, args),
        Command::Status(args) => status::execute(load_quietly(&global)?, args),
        Command::Quarantine(args) => quarantine::execute(load_quietly(&global)?, args),
        Command::Alarms(args) => alarms::execute(&load_quietly(&global)?, args),
        Command::Backfill(args) => backfill::execute(load_quietly(&global)?, args),
        Command::Import(args) => import::execute(load_quietly(&global)?, args),
        Command::Gaps(args) => gaps::execute(&load_quietly(&global)?, args),
        Command::Reconcile(args) => reconcile::execute(&load_quietly(&global)?, &args),
        Command::Web => web::execute(load(&global, LevelFilter::Trace)?),
        Command::Index(args) => index::execute(&load_quietly(&global)?, &args),
        Command::User(args) => user::execute(&load_quietly(&global)?, args),
        Command::Group(args) => user::execute_group(&load_quietly(&global)?, args),
        Command::Token(args) => token::execute(&load_quietly(&global)?, args),
        Command::Audit(args) => audit::execute(&load_quietly(&global)?, args),
        Command::Config => config::execute(&load_quietly(&global)?),
        Command::Completions(args) => completions::execute(&args),
        Command::Man(args) => man::execute(&args),
        Command::Demo(args) => {
            logging::init(LevelFilter::Warn, i16::from(global.verbose) - i16::from(global.quiet));
            demo::execute(args)
        }
    }
}

/// Tells why a command failed, if that is not told yet, and gives the exit code.
pub fn conclude(outcome: Result<(), Failure>) -> u8 {
    let Err(failure) = outcome else { return 0 };
    if failure.is_untold() {
        output::tell(&format!("xmpp-archiver: {failure}"));
    }
    failure.exit_code()
}

/// For commands that print results: the log says only what went wrong, unless -v asks for more.
fn load_quietly(global: &GlobalArgs) -> Result<Config, Failure> {
    load(global, LevelFilter::Warn)
}

/// Loads the configuration and sets the log up at its level, but no higher than `most`.
fn load(global: &GlobalArgs, most: LevelFilter) -> Result<Config, Failure> {
    let config = Config::load(global.config.as_deref())?;
    let steps = i16::from(global.verbose) - i16::from(global.quiet);
    logging::init(config.log.level.min(most), steps);
    for warning in &config.warnings {
        log::warn!("configuration: {warning}");
    }
    for notice in &config.notices {
        log::info!("configuration: {notice}");
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_exit_code() {
        for (failure, code) in [
            (Failure::OutputClosed, 0),
            (Failure::Runtime("a".to_owned()), 1),
            (Failure::Output("a".to_owned(), io::ErrorKind::StorageFull.into()), 1),
            (Failure::Usage("a".to_owned()), 2),
            (Failure::Store(StoreChoiceError::Several("a, b".to_owned())), 2),
            (Failure::ProblemFound, 3),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure}");
        }
    }
}
