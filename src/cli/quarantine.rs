//! `quarantine`: sees to the records that the database refused.

use super::Failure;
use super::args::QuarantineArgs;
use crate::config::Config;

/// Runs the command.
pub fn execute(_config: Config, _args: QuarantineArgs) -> Result<(), Failure> {
    Err(Failure::Runtime("`quarantine` is not part of this build".to_owned()))
}
