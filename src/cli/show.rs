//! `show`: shows one conversation.

use super::Failure;
use super::args::ShowArgs;
use crate::config::Config;

/// Runs the command.
pub fn execute(_config: Config, _args: ShowArgs) -> Result<(), Failure> {
    Err(Failure::Runtime("`show` is not part of this build".to_owned()))
}
