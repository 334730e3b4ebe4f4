//! The program `tagship`.

use std::process::ExitCode;

use clap::Parser;
use tagship::cli::{self, Cli};

/// Returns to the system what a release took. Its settings are in `.cargo/config.toml`. C libraries keep
/// the system's: one that is loaded first would wait for ours, which reads the clock, if it fakes that.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Started by rsync for every transfer: before anything that takes time.
    if arguments.next().is_some_and(|first| first == "transport") {
        return tagship::hosts::ssh::transport_main(arguments);
    }
    cli::run(Cli::parse())
}
