//! What a plan will do, as text for the page of a task. Pure.

use super::text;
use crate::api::on_hosts;
use crate::domain::plan::{AGENT, Plan};
use crate::domain::template::{Directory, Gate, Probe, Program, ProgramCommand, Step, StepAction};

/// A stage as planned.
pub(super) struct Planned {
    pub(super) name: String,
    /// On which hosts, and how.
    pub(super) hosts: String,
    pub(super) notes: String,
    pub(super) steps: Vec<(String, String)>,
}

pub(super) fn planned(plan: &Plan) -> Vec<Planned> {
    let stages = plan.stages.iter();
    stages
        .map(|stage| {
            let mut notes = Vec::new();
            match stage.gate {
                Gate::None => {}
                Gate::Hand => notes.push("manual gate".to_owned()),
                Gate::Timed => notes.push("timed gate".to_owned()),
            }
            if let Some(batch) = stage.batch {
                notes.push(format!(
                    "{} at a time",
                    text::plural(u64::from(batch), "host")
                ));
            }
            Planned {
                name: stage.name.clone(),
                hosts: text::list(
                    &stage
                        .host_names()
                        .into_iter()
                        .map(str::to_owned)
                        .collect::<Vec<_>>(),
                ),
                notes: notes.join("; "),
                steps: stage
                    .steps
                    .iter()
                    .map(|step| {
                        let mut what = action(plan, &step.action);
                        for note in step_notes(plan, step) {
                            what.push_str(&format!(" ({note})"));
                        }
                        (step.name.clone(), what)
                    })
                    .collect(),
            }
        })
        .collect()
}

fn step_notes(plan: &Plan, step: &Step) -> Vec<String> {
    let mut notes = Vec::new();
    if step.once {
        notes.push("on the first host only".to_owned());
    }
    match (step.host.as_deref(), &plan.named.local) {
        (Some(AGENT), Some(local)) => {
            notes.push(format!("on the agent, as {}", local.user));
        }
        (Some(host), _) => notes.push(format!("once, on {host}")),
        (None, _) => {}
    }
    if let Some(user) = &step.user {
        let system = plan
            .named
            .users
            .get(user)
            .map_or("?", |user| user.user.as_str());
        notes.push(format!("as {user}, system user {system}"));
    }
    match step.gate {
        Gate::None => {}
        Gate::Hand => notes.push("manual gate on each host".to_owned()),
        Gate::Timed => notes.push("timed gate".to_owned()),
    }
    notes.extend(step.action.describe_outputs());
    if let Some(digest) = step
        .action
        .script()
        .and_then(|name| plan.named.scripts.get(name))
    {
        notes.push(format!("SHA-256 {}", text::short(digest)));
    }
    notes
}

fn action(plan: &Plan, action: &StepAction) -> String {
    let deploy_to = || {
        let placement = plan.placement.as_ref();
        placement.map_or("", |placement| placement.deploy_to.as_str())
    };
    match action {
        StepAction::Sync if !plan.targets.is_empty() => {
            format!("check that it exists in {}", deploy_to())
        }
        StepAction::Publish if !plan.targets.is_empty() => format!(
            "switch {}/current to {}",
            deploy_to(),
            on_hosts(&plan.targets)
        ),
        StepAction::Checkout => format!("check out {}", text::short(&plan.commit)),
        StepAction::Sync => format!("sync to {}", deploy_to()),
        StepAction::Publish => format!("switch {}/current to the release", deploy_to()),
        StepAction::Run(program) => program_words(program),
        StepAction::Check(check) => match &check.probe {
            Probe::Http { url, status } => format!("check that {url} returns {status}"),
            Probe::Tcp { address } => format!("check that {address} accepts connections"),
            Probe::Command { command, .. } => format!("check: {}", command_words(command)),
        },
    }
}

fn program_words(program: &Program) -> String {
    let command = command_words(&program.command);
    let command = match program.args.as_slice() {
        [] => command,
        args => format!("{command} with {}", args.join(" ")),
    };
    match &program.directory {
        Directory::Release => format!("{command} (in the release)"),
        Directory::Home => command,
        Directory::Absolute(path) => format!("{command} (in {path})"),
    }
}

fn command_words(command: &ProgramCommand) -> String {
    match command {
        ProgramCommand::Argv(arguments) => arguments.join(" "),
        ProgramCommand::Shell(text) => text.clone(),
        ProgramCommand::Script(name) => format!("script {name}"),
    }
}
