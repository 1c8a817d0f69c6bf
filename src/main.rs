//! The `xmpp-archiver` program: arguments in, exit code out. What it does is told in the library.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use xmpp_archiver::cli::{self, Arguments};

/// Stanzas are many small allocations on several threads, which this allocator serves faster than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Archives, spools and status files hold what people wrote: they are for the user that runs this, and nobody else.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let outcome = cli::dispatch(Arguments::parse());
    ExitCode::from(cli::conclude(outcome))
}
