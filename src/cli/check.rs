//! `check`: tries the configuration out.

use super::Failure;
use super::args::CheckArgs;
use crate::config::Config;

/// Runs the command.
pub fn execute(_config: Config, _args: CheckArgs) -> Result<(), Failure> {
    Err(Failure::Runtime("`check` is not part of this build".to_owned()))
}
