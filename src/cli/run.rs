//! `run`: attaches to the nodes and archives until stopped.

use super::Failure;
use crate::config::Config;

/// Runs the command.
pub fn execute(_config: Config) -> Result<(), Failure> {
    Err(Failure::Runtime("`run` is not part of this build".to_owned()))
}
