//! `demo`: shows all of it without any set-up.

use super::Failure;
use super::args::DemoArgs;

/// Runs the command.
pub fn execute(_args: DemoArgs) -> Result<(), Failure> {
    Err(Failure::Runtime("`demo` is not part of this build".to_owned()))
}
