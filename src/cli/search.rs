//! `search`: searches the archive.

use super::Failure;
use super::args::SearchArgs;
use crate::config::Config;

/// Runs the command.
pub fn execute(_config: Config, _args: SearchArgs) -> Result<(), Failure> {
    Err(Failure::Runtime("`search` is not part of this build".to_owned()))
}
