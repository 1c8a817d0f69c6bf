//! `import`: takes over history from another archive.

use super::Failure;
use super::history::{self, Job};
use super::history_args::{ImportArgs, ImportSource};
use crate::config::Config;
use crate::history::Via;

/// Runs the command.
pub fn execute(config: Config, args: ImportArgs) -> Result<(), Failure> {
    let job = Job::new(&config, &args.common, Via::Import)?;
    match args.source {
        ImportSource::ProsodySql => job.prosody_sql(),
        ImportSource::EjabberdSql => job.ejabberd_sql(),
        _ => Err(history::not_yet()),
    }
}
