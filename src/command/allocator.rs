//! The C library's allocator, told to give memory back. With its defaults each thread has an arena of
//! its own and keeps what a release took: argon2's 19 MiB, a repository's objects, a connection's
//! windows. It reads its settings once, when a program starts, and from the environment alone, so a
//! program that is to run for months begins once more with them set. What it starts itself gets an
//! environment of its own.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// By these an agent that has released to many hosts is as small as one that was just started:
/// figures in docs/ARCHITECTURE.md. Another C library reads none of them.
const SETTINGS: [(&str, &str); 4] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
    ("MALLOC_MMAP_THRESHOLD_", "32768"),
    ("MALLOC_TOP_PAD_", "16384"),
];

/// Begins this program once more, as the same process; whoever has set one of them has chosen.
/// Returns where that is done already, or can't be: then all works, with more memory.
pub(crate) fn begin_lean() {
    let is_set = |(name, _): &(&str, &str)| std::env::var_os(name).is_some();
    if SETTINGS.iter().any(is_set) {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.clone().into());
    let failed = Command::new(program)
        .arg0(name)
        .args(arguments)
        .envs(SETTINGS)
        .exec();
    eprintln!("note: the agent starts with the allocator's defaults: {failed}");
}
