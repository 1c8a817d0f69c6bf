//! `backfill`: fetches what was missed from the node's own archive.

use super::Failure;
use super::history::{self, Job};
use super::history_args::{BackfillArgs, BackfillSource};
use crate::config::Config;
use crate::history::Via;

/// Runs the command.
pub fn execute(config: Config, args: BackfillArgs) -> Result<(), Failure> {
    let job = Job::new(&config, &args.common, Via::Backfill)?;
    match args.source {
        BackfillSource::ProsodySql => job.prosody_sql(),
        BackfillSource::EjabberdSql => job.ejabberd_sql(),
        BackfillSource::ProsodyFiles | BackfillSource::Mam | BackfillSource::Xep0227 => Err(history::not_yet()),
    }
}
