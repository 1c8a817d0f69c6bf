//! `config`: prints the configuration in force, secrets hidden.

use super::{Failure, output};
use crate::config::Config;

/// Runs the command.
pub fn execute(config: &Config) -> Result<(), Failure> {
    let toml = config.effective_toml().map_err(|error| Failure::Runtime(format!("can't write the configuration: {error}")))?;
    let source = match &config.file {
        Some(file) => format!("# From {}, the environment and the defaults.\n", file.display()),
        None => "# From the environment and the defaults; there is no file.\n".to_owned(),
    };
    output::print(&(source + &toml))
}
