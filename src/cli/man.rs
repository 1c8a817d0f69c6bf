//! `man`: prints the manual page, or writes the pages of all commands to a directory.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::{Arguments, ManArgs};
use super::{Failure, output::Output};

/// Runs the command.
pub fn execute(args: &ManArgs) -> Result<(), Failure> {
    match &args.dir {
        Some(dir) => write_all(dir).map_err(|error| Failure::Output(dir.display().to_string(), error)),
        None => print_main(),
    }
}

fn write_all(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Arguments::command(), dir)
}

fn print_main() -> Result<(), Failure> {
    let mut page = Vec::new();
    Man::new(Arguments::command()).render(&mut page).map_err(|error| Failure::Runtime(format!("can't make the page: {error}")))?;
    let mut output = Output::stdout();
    output.write(&page)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command() {
        let directory = tempfile::tempdir().unwrap();
        let pages = directory.path().join("man1");
        write_all(&pages).unwrap();
        for name in ["", "-run", "-search", "-migrate-up", "-quarantine-retry"] {
            let page = std::fs::read_to_string(pages.join(format!("xmpp-archiver{name}.1"))).unwrap();
            assert!(page.contains(".TH"), "{name}");
        }
    }
}
