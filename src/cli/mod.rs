//! The command line: its commands, and what they print.
//!
//! Everything about tasks, users and hosts goes to the agent, over its Unix socket or over HTTP
//! ([`client`]); the agent decides. `rules test`, `install` and `check` work from the configuration
//! alone. Nothing here appends an event or contacts git or a host: what must do so is in `setup`.
//! `main` parses and calls [`run`].

mod arguments;
mod audit;
mod backup;
mod check;
mod client;
mod context;
mod demo;
mod error;
mod follow;
mod hooks;
mod host_rollup;
mod hosts;
mod install;
mod live;
mod progress;
mod requests;
mod rules;
mod screen;
mod serve;
mod submit;
mod summary;
mod table;
mod templates;
mod times;
mod users;

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;

pub use arguments::{Cli, CliCommand};
pub use error::{ClientError, CommandError, DemoError};

use arguments::Rules;
use context::CliContext;

/// A closed output pipe is not our failure; shells report the signal with this exit code.
const BROKEN_PIPE: u8 = 128 + 13;

/// `--wait` would wait until a person approves or resumes the task.
const WAITS_FOR_PEOPLE: u8 = 3;

/// Runs the command. Prints on standard error why it failed, if it did.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(BROKEN_PIPE)
        }
        Err(CommandError::WaitsForPeople(what)) => {
            screen::note(&what);
            ExitCode::from(WAITS_FOR_PEOPLE)
        }
        Err(error) => {
            screen::note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<(), CommandError> {
    let around = CliContext::new(cli.config);
    let mut threads = match cli.command {
        CliCommand::Serve => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = threads.enable_all().build();
    let runtime = runtime.map_err(CommandError::Runtime)?;
    runtime.block_on(perform(&around, &cli.command))
}

async fn perform(around: &CliContext, command: &CliCommand) -> Result<(), CommandError> {
    match command {
        CliCommand::Serve => serve::serve(around).await,
        CliCommand::Install(asked) => install::install(around, asked),
        CliCommand::Uninstall(asked) => install::uninstall(around, asked),
        CliCommand::Check(asked) => check::check(around, asked).await,
        CliCommand::Demo(asked) => demo::demo(around, asked).await,
        CliCommand::Submit(asked) => submit::submit(around, asked).await,
        CliCommand::Tasks(asked) => requests::tasks(around, asked).await,
        CliCommand::Show(asked) => requests::show(around, asked).await,
        CliCommand::Approve(asked) => requests::approve(around, asked).await,
        CliCommand::Reject(asked) => requests::reject(around, asked).await,
        CliCommand::Withdraw(asked) => requests::withdraw(around, asked).await,
        CliCommand::Stop(asked) => requests::stop(around, asked).await,
        CliCommand::Skip(asked) => requests::skip(around, asked).await,
        CliCommand::Retry(asked) => requests::retry(around, asked).await,
        CliCommand::Resume(asked) => requests::resume(around, asked).await,
        CliCommand::Rollback(asked) => requests::rollback(around, asked).await,
        CliCommand::Log(asked) => follow::log(around, asked).await,
        CliCommand::Rules(Rules::Test(asked)) => rules::test(around, asked),
        CliCommand::Hooks(asked) => hooks::hooks(around, asked).await,
        CliCommand::Templates(asked) => templates::templates(around, asked).await,
        CliCommand::Live(asked) => live::live(around, asked).await,
        CliCommand::Hosts(asked) => hosts::hosts(around, asked).await,
        CliCommand::User(asked) => users::user(around, asked).await,
        CliCommand::Token(asked) => users::token(around, asked).await,
        CliCommand::Audit(asked) => audit::audit(around, asked).await,
        CliCommand::Backup(asked) => backup::backup(around, asked).await,
        CliCommand::Restore(asked) => backup::restore(around, asked).await,
        CliCommand::Completions { shell } => completions(*shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tagship", &mut script);
    screen::print_bytes(&script)
}
