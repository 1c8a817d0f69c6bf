//! `completions`: prints a completion script.

use clap::CommandFactory;

use super::args::{Arguments, CompletionsArgs};
use super::{Failure, output::Output};

/// Runs the command.
pub fn execute(args: &CompletionsArgs) -> Result<(), Failure> {
    // Into memory first, since the generator panics where a write fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "xmpp-archiver", &mut script);
    let mut output = Output::stdout();
    output.write(&script)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "xmpp-archiver", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in ["quarantine", "migrate", "participant"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }
}
