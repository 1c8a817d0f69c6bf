//! `export`: writes messages to a file.

use super::Failure;
use super::args::ExportArgs;
use crate::config::Config;

/// Runs the command.
pub fn execute(_config: Config, _args: ExportArgs) -> Result<(), Failure> {
    Err(Failure::Runtime("`export` is not part of this build".to_owned()))
}
