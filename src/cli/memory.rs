//! Gives freed memory back at once, so that an archiver stays small at any backlog, and an export at any size.
//!
//! What one thread of the pipeline allocates, another one frees. The allocator keeps such memory for a while before it gives it back,
//! which at full load doubles what the process holds and makes nothing faster; it commits its arenas as a whole, so that what it reused once counts
//! for ever; and the client of MySQL keeps the buffers of the largest statements (docs/PERFORMANCE.md). Both read their options from the environment, the allocator before `main` begins, so the
//! program starts itself once more with the options set: the same process, a millisecond later. Whoever sets one has the last word on it.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// How long the allocator keeps what was freed, in milliseconds. Its being set says that the program was started again.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
/// The allocator takes memory as it needs it, not arenas as a whole; the client of MySQL keeps so many buffers, of so many bytes.
const FURTHER: [(&str, &str); 3] =
    [("MIMALLOC_ARENA_EAGER_COMMIT", "0"), ("MYSQL_ASYNC_BUFFER_POOL_CAP", "8"), ("MYSQL_ASYNC_BUFFER_SIZE_CAP", "65536")];

/// Starts this program once more with the options set, unless they are. Returns only if that is so, or if it can't be done.
pub(super) fn give_back_at_once() {
    let mut arguments = std::env::args_os();
    let Some(name) = arguments.next().filter(|_| std::env::var_os(PURGE_DELAY).is_none()) else { return };
    let Ok(program) = std::env::current_exe() else { return };
    let further = FURTHER.into_iter().filter(|(option, _)| std::env::var_os(option).is_none());
    let error = Command::new(program).arg0(name).args(arguments).env(PURGE_DELAY, "0").envs(further).exec();
    log::debug!("the program can't start itself with {PURGE_DELAY} set, it will hold more memory: {error}");
}
