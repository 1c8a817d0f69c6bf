//! `backfill`: fetches what was missed from the node's own archive.

use super::history::Job;
use super::history_args::{BackfillArgs, BackfillSource};
use super::{Failure, mam};
use crate::config::Config;
use crate::history::Via;

/// Runs the command.
pub fn execute(config: Config, args: BackfillArgs) -> Result<(), Failure> {
    let job = Job::new(&config, &args.common, Via::Backfill)?;
    match args.source {
        BackfillSource::ProsodySql => job.prosody_sql(),
        BackfillSource::EjabberdSql => job.ejabberd_sql(),
        BackfillSource::ProsodyFiles => job.prosody_files(),
        BackfillSource::Mam => mam::execute(&job, &args.mam),
        BackfillSource::Xep0227 => job.xep0227(),
    }
}
