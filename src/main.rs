//! The program `tagship`.

use std::process::ExitCode;

use clap::Parser;
use tagship::command::{self, Cli};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Started by rsync for every transfer: before anything that takes time.
    if arguments.next().is_some_and(|first| first == "transport") {
        return tagship::remote::transport_main(arguments);
    }
    command::run(Cli::parse())
}
