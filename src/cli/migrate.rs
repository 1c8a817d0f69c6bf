//! `migrate`: brings the schema up to date.

use super::Failure;
use super::args::MigrateArgs;
use crate::config::Config;

/// Runs the command.
pub fn execute(_config: Config, _args: MigrateArgs) -> Result<(), Failure> {
    Err(Failure::Runtime("`migrate` is not part of this build".to_owned()))
}
