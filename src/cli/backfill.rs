//! `backfill`: fetches what was missed from the node's own archive.

use super::Failure;
use super::feeding::Feeding;
use super::history::{Job, interval};
use super::history_args::BackfillArgs;
use crate::config::Config;
use crate::history::Via;

/// Runs the command.
pub fn execute(config: Config, args: BackfillArgs) -> Result<(), Failure> {
    let common = &args.common;
    let errand = Feeding { args: common, via: Via::Backfill };
    let job = Job::new(&config, common.node.as_deref(), &common.source, interval(common)?, errand)?;
    job.backfill(args.source, &args.mam)
}
