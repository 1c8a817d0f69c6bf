//! `status`: shows what a running archiver is doing.

use super::Failure;
use super::args::StatusArgs;
use crate::config::Config;

/// Runs the command.
pub fn execute(_config: Config, _args: StatusArgs) -> Result<(), Failure> {
    Err(Failure::Runtime("`status` is not part of this build".to_owned()))
}
