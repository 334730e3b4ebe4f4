//! Completions: scripts for shells, and the values that they ask for. The agent names projects,
//! environments, hosts, templates and tasks. If it does not answer at once, the configuration names what
//! it has; nothing is ever reported, since a line is being typed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, CommandFactory as _};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate, Shell};

use super::arguments::Cli;
use super::client::{ApiRequest, Client};
use super::context::CliContext;
use super::error::{ClientError, CommandError};
use super::screen;
use super::table::printable;
use crate::api::{HostList, LiveList, TaskLine, TaskList, TemplateList};
use crate::domain::task::STATE_NAMES;
use crate::store::OUTCOME_NAMES;

/// Says which shell asks for completions.
const VARIABLE: &str = "TAGSHIP_COMPLETE";
const PROGRAM: &str = "tagship";
/// How long a shell waits for the agent.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many tasks are offered, newest first.
const TASKS_MAX: usize = 50;
/// A file of zsh's function path is run at the first completion, when the function must also be called.
const ZSH_FIRST_CALL: &str = r#"
if [ "$funcstack[1]" = "_tagship" ]; then
    _clap_dynamic_completer_tagship "$@"
fi
"#;

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CompletedName {
    Project,
    Environment,
    Host,
    Template,
    Task,
    /// A task that waits for approval.
    WaitingTask,
    State,
    Outcome,
}

/// Answers a shell that asks for completions, and exits; returns if none does.
pub fn complete() {
    CompleteEnv::with_factory(|| with_candidates(Cli::command(), ""))
        .var(VARIABLE)
        .complete();
}

/// `tagship completions`.
pub(crate) fn script(shell: Shell) -> Result<(), CommandError> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let unknown = || io::Error::other(format!("no completions for {name}"));
    let completer = shells.completer(&name).ok_or_else(unknown)?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    if shell == Shell::Zsh {
        script.extend_from_slice(ZSH_FIRST_CALL.as_bytes());
    }
    screen::print_bytes(&script)
}

/// Adds to each argument of a command and its subcommands what it can name.
fn with_candidates(command: Command, parent: &str) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|argument| {
        let takes_value = argument.get_action().takes_values();
        match named(parent, &name, argument.get_id().as_str()) {
            Some(named) if takes_value => {
                argument.add(ArgValueCandidates::new(move || candidates(named)))
            }
            _ => argument,
        }
    });
    command.mut_subcommands(|inner| with_candidates(inner, &name))
}

/// Returns what the argument of a command names.
fn named(parent: &str, command: &str, argument: &str) -> Option<CompletedName> {
    match (parent, command, argument) {
        (_, _, "project") => Some(CompletedName::Project),
        (_, _, "environment") => Some(CompletedName::Environment),
        (_, _, "host") | ("hosts", _, "name") => Some(CompletedName::Host),
        (_, _, "template") | ("templates", _, "name") => Some(CompletedName::Template),
        (PROGRAM, "approve" | "reject", "id") => Some(CompletedName::WaitingTask),
        (PROGRAM, _, "id" | "repeat") => Some(CompletedName::Task),
        (PROGRAM, "tasks", "state") => Some(CompletedName::State),
        (_, _, "outcome") => Some(CompletedName::Outcome),
        _ => None,
    }
}

fn candidates(named: CompletedName) -> Vec<CompletionCandidate> {
    let ctx = CliContext::new(named_config(std::env::args_os()));
    answered(&ctx, named).unwrap_or_else(|| configured(&ctx, named))
}

/// Returns what the agent knows; `None` if it does not answer in time, or refuses.
fn answered(ctx: &CliContext, named: CompletedName) -> Option<Vec<CompletionCandidate>> {
    let fixed = |names: &[&str]| {
        Some(
            names
                .iter()
                .map(CompletionCandidate::new)
                .collect::<Vec<_>>(),
        )
    };
    match named {
        CompletedName::State => return fixed(&STATE_NAMES),
        CompletedName::Outcome => return fixed(&OUTCOME_NAMES),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let answer = runtime.block_on(async {
        let asked = async { ask(&ctx.agent().await?.client, named).await };
        tokio::time::timeout(PATIENCE, asked).await
    });
    // A name that is still looked up would keep the shell waiting.
    runtime.shutdown_background();
    answer.ok()?.ok()
}

async fn ask(
    client: &Client,
    named: CompletedName,
) -> Result<Vec<CompletionCandidate>, CommandError> {
    Ok(match named {
        CompletedName::Project => {
            let list: LiveList = client.ask(&ApiRequest::get(["live"])).await?;
            sorted(list.live.into_iter().map(|place| place.project))
        }
        CompletedName::Environment => {
            let list: LiveList = client.ask(&ApiRequest::get(["live"])).await?;
            sorted(list.live.into_iter().map(|place| place.environment))
        }
        CompletedName::Host => {
            let list: HostList = client.ask(&ApiRequest::get(["hosts"])).await?;
            let hosts = list.hosts.into_iter();
            hosts
                .map(|host| described(host.name, &host.address))
                .collect()
        }
        CompletedName::Template => {
            let list: TemplateList = client.ask(&ApiRequest::get(["templates"])).await?;
            sorted(list.templates.into_iter().map(|template| template.name))
        }
        CompletedName::Task => tasks(client, None).await?,
        CompletedName::WaitingTask => tasks(client, Some("waiting")).await?,
        CompletedName::State | CompletedName::Outcome => Vec::new(),
    })
}

async fn tasks(
    client: &Client,
    state: Option<&str>,
) -> Result<Vec<CompletionCandidate>, ClientError> {
    let ask = ApiRequest::get(["tasks"])
        .with("state", state)
        .with("limit", Some(TASKS_MAX));
    let list: TaskList = client.ask(&ask).await?;
    Ok(list.tasks.iter().map(task).collect())
}

/// Returns the number of a task, described as `release-1 of shop production, waiting`.
fn task(line: &TaskLine) -> CompletionCandidate {
    let state = line.head.state.words();
    let description = format!("{} of {}, {state}", line.called(), line.destination());
    described(line.head.id.to_string(), &description)
}

/// Returns what the configuration of this machine has.
fn configured(ctx: &CliContext, named: CompletedName) -> Vec<CompletionCandidate> {
    let config = match ctx.is_elsewhere() {
        true => None,
        false => ctx.config().ok(),
    };
    let Some(config) = config else {
        return Vec::new();
    };
    let projects = config.projects.into_iter();
    match named {
        CompletedName::Project => sorted(projects.map(|project| project.name)),
        CompletedName::Environment => {
            sorted(projects.flat_map(|project| project.environments.into_keys()))
        }
        CompletedName::Host => sorted(config.hosts.into_keys()),
        _ => Vec::new(),
    }
}

/// Returns each name once, in the order of the alphabet.
fn sorted(names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let names: BTreeSet<String> = names.collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn described(name: String, description: &str) -> CompletionCandidate {
    CompletionCandidate::new(name).help(Some(printable(description).into()))
}

/// Returns the configuration that the typed line names.
fn named_config(mut arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            // Some shells split at `=`.
            return arguments.find(|next| next != "=").map(PathBuf::from);
        }
        let file = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--config="));
        if let Some(file) = file {
            return Some(PathBuf::from(file));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_with_candidates_is_consistent() {
        with_candidates(Cli::command(), "").debug_assert();
    }

    #[test]
    fn typed_configuration_is_asked_for_values() {
        for line in [
            "tagship -- tagship --config a.toml tasks --project ",
            "tagship -- tagship --config=a.toml tasks --project ",
            "tagship -- tagship --config = a.toml tasks --project ",
        ] {
            let arguments = line.split(' ').map(OsString::from);
            assert_eq!(named_config(arguments), Some(PathBuf::from("a.toml")));
        }
        let plain = "tagship -- tagship tasks".split(' ').map(OsString::from);
        assert_eq!(named_config(plain), None);
    }
}
