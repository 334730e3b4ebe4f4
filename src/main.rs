//! The program `tagship`.

use std::process::ExitCode;

use tagship::cli;

/// Returns memory to the system after a release. Its settings are in `.cargo/config.toml`. C
/// libraries keep the system's allocator: ours reads the clock, so a library that is loaded first
/// and fakes the clock would wait for it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Started by rsync for every transfer: before anything that takes time.
    if arguments.next().is_some_and(|first| first == "transport") {
        return tagship::hosts::ssh::transport_main(arguments);
    }
    cli::complete();
    cli::run(cli::parse())
}
