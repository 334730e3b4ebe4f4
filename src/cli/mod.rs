//! The command line: its commands, and what they print.
//!
//! Everything about tasks, users and hosts goes to the agent, over its Unix socket or over HTTP
//! ([`client`]); the agent decides. `rules test`, `install` and `check` work from the configuration
//! alone. Nothing here appends an event or contacts git or a host: what must do so is in `setup`.
//! `main` parses and calls [`run`].

mod arguments;
mod audit;
mod backup;
mod bar;
mod check;
mod client;
mod complete;
mod context;
mod demo;
mod error;
mod findings;
mod follow;
mod hooks;
mod host_rollup;
mod hosts;
mod install;
mod known;
mod live;
mod man;
mod paint;
mod progress;
mod requests;
mod rules;
mod screen;
mod serve;
mod status;
mod submit;
mod summary;
mod table;
mod templates;
mod times;
mod users;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

pub use arguments::{Cli, CliCommand};
pub use complete::complete;
pub use error::{ClientError, CommandError, DemoError};

use arguments::Rules;
use context::CliContext;

/// A closed output pipe is not our failure; shells report the signal with this exit code.
const BROKEN_PIPE: u8 = 128 + 13;

/// `--wait` would wait until a person approves or resumes the task.
const WAITS_FOR_PEOPLE: u8 = 3;

/// Parses the command line. Help and errors of usage obey `--color`, too.
#[must_use]
pub fn parse() -> Cli {
    let color = arguments::unparsed_color(std::env::args_os().skip(1));
    let matches = Cli::command().color(color).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Runs the command. Prints on standard error why it failed, if it did.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    screen::set_color(cli.color);
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
    let ctx = CliContext::new(cli.config);
    let mut threads = match cli.command {
        CliCommand::Serve => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = threads.enable_all().build();
    let runtime = runtime.map_err(CommandError::Runtime)?;
    runtime.block_on(perform(&ctx, &cli.command))
}

async fn perform(ctx: &CliContext, command: &CliCommand) -> Result<(), CommandError> {
    match command {
        CliCommand::Serve => serve::serve(ctx).await,
        CliCommand::Install(args) => install::install(ctx, args),
        CliCommand::Uninstall(args) => install::uninstall(ctx, args),
        CliCommand::Check(args) => check::check(ctx, args).await,
        CliCommand::Demo(args) => demo::demo(ctx, args).await,
        CliCommand::Submit(args) => submit::submit(ctx, args).await,
        CliCommand::Status(args) => status::status(ctx, args).await,
        CliCommand::Tasks(args) => requests::tasks(ctx, args).await,
        CliCommand::Show(args) => requests::show(ctx, args).await,
        CliCommand::Approve(args) => requests::approve(ctx, args).await,
        CliCommand::Verb(command) => requests::verb(ctx, command).await,
        CliCommand::Rollback(args) => requests::rollback(ctx, args).await,
        CliCommand::Log(args) => follow::log(ctx, args).await,
        CliCommand::Rules(Rules::Test(args)) => rules::test(ctx, args),
        CliCommand::Hooks(args) => hooks::hooks(ctx, args).await,
        CliCommand::Templates(args) => templates::templates(ctx, args).await,
        CliCommand::Live(args) => live::live(ctx, args).await,
        CliCommand::Hosts(args) => hosts::hosts(ctx, args).await,
        CliCommand::User(args) => users::user(ctx, args).await,
        CliCommand::Token(args) => users::token(ctx, args).await,
        CliCommand::Audit(args) => audit::audit(ctx, args).await,
        CliCommand::Backup(args) => backup::backup(ctx, args).await,
        CliCommand::Restore(args) => backup::restore(ctx, args).await,
        CliCommand::Completions { shell } => complete::script(*shell),
        CliCommand::Man { directory } => man::man(directory),
    }
}
