//! Gives freed memory back at once, so that an archiver stays small at any backlog.
//!
//! What one thread of the pipeline allocates, another one frees. The allocator keeps such memory for a while before it gives it back,
//! which at full load doubles what the process holds and makes nothing faster (docs/PERFORMANCE.md). The allocator reads its options
//! from the environment before `main` begins, so the program starts itself once more with the option set: the same process, a
//! millisecond later. Whoever sets the option has the last word.

use std::os::unix::process::CommandExt;
use std::process::Command;

const OPTION: &str = "MIMALLOC_PURGE_DELAY";

/// Starts this program once more with the option set, unless it is set. Returns only if that is so, or if it can't be done.
pub(super) fn give_back_at_once() {
    let mut arguments = std::env::args_os();
    let Some(name) = arguments.next().filter(|_| std::env::var_os(OPTION).is_none()) else { return };
    let Ok(program) = std::env::current_exe() else { return };
    let error = Command::new(program).arg0(name).args(arguments).env(OPTION, "0").exec();
    log::debug!("the program can't start itself with {OPTION} set, it will hold more memory: {error}");
}
