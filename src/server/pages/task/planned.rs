//! What a plan will do, as text for the page of a task. Pure.

use super::text;
use crate::api::on_hosts_in;
use crate::base::language::{Language, Sentence};
use crate::domain::plan::{AGENT, Plan};
use crate::domain::template::{Directory, Gate, Probe, Program, ProgramCommand, Step, StepAction};

/// A stage as planned.
pub(super) struct Planned {
    pub(super) name: String,
    /// On which hosts, and how.
    pub(super) hosts: String,
    pub(super) steps: Vec<PlannedStep>,
}

/// A step as planned.
pub(super) struct PlannedStep {
    pub(super) name: String,
    pub(super) action: String,
    pub(super) notes: Vec<String>,
}

pub(super) fn planned(language: Language, plan: &Plan) -> Vec<Planned> {
    let words = PlanWords { language, plan };
    let stages = plan.stages.iter();
    stages
        .map(|stage| {
            let names = stage.host_names().into_iter();
            let names: Vec<String> = names.map(str::to_owned).collect();
            let hosts = match names.as_slice() {
                [only] if only == AGENT => words.say("plan-on-agent"),
                _ => words
                    .say("plan-on-hosts")
                    .with("hosts", text::list_in(language, &names))
                    .with("count", names.len()),
            };
            let gate = match stage.gate {
                Gate::None => None,
                Gate::Hand => Some(words.say("plan-gate-by-hand")),
                Gate::Timed => Some(words.say("plan-gate-timed")),
            };
            let batch = stage.batch;
            let batch = batch.map(|count| words.say("plan-at-a-time").with("count", count));
            let notes = [Some(hosts), gate, batch].into_iter().flatten();
            let notes = notes.map(|note| note.to_string()).reduce(|first, second| {
                let both = words.say("task-clauses").with("first", first);
                both.with("second", second).to_string()
            });
            let steps = stage.steps.iter().map(|step| PlannedStep {
                name: step.name.clone(),
                action: words.action(&step.action),
                notes: words.notes(step),
            });
            Planned {
                name: stage.name.clone(),
                hosts: notes.unwrap_or_default(),
                steps: steps.collect(),
            }
        })
        .collect()
}

/// A plan in words of a language.
struct PlanWords<'p> {
    language: Language,
    plan: &'p Plan,
}

impl PlanWords<'_> {
    fn say(&self, id: &'static str) -> Sentence {
        self.language.say(id)
    }

    fn notes(&self, step: &Step) -> Vec<String> {
        let named = &self.plan.named;
        let mut notes = Vec::new();
        if step.once {
            notes.push(self.say("plan-first-host-only"));
        }
        match (step.host.as_deref(), &named.local) {
            (Some(AGENT), Some(local)) => {
                notes.push(
                    self.say("plan-on-agent-as")
                        .with("user", local.user.clone()),
                );
            }
            (Some(host), _) => {
                notes.push(self.say("plan-once-on").with("host", host.to_owned()));
            }
            (None, _) => {}
        }
        if let Some(user) = &step.user {
            let system = named.users.get(user);
            let system = system.map_or("?", |user| user.user.as_str());
            let text = self.say("plan-as-user").with("user", user.clone());
            notes.push(text.with("system", system.to_owned()));
        }
        match step.gate {
            Gate::None => {}
            Gate::Hand => notes.push(self.say("plan-gate-on-each-host")),
            Gate::Timed => notes.push(self.say("plan-gate-timed")),
        }
        notes.extend(self.outputs(&step.action));
        let script = step.action.script();
        if let Some(digest) = script.and_then(|name| named.scripts.get(name)) {
            let digest = text::short(digest).to_owned();
            notes.push(self.say("plan-digest-of-script").with("digest", digest));
        }
        notes.into_iter().map(|note| note.to_string()).collect()
    }

    fn outputs(&self, action: &StepAction) -> Option<Sentence> {
        let (seen, secret) = action.outputs();
        let secret = secret.iter().map(|name| {
            let text = self.say("plan-secret").with("name", name.clone());
            text.to_string()
        });
        let names: Vec<String> = seen.iter().cloned().chain(secret).collect();
        let outputs = || self.say("plan-outputs").with("names", names.join(", "));
        (!names.is_empty()).then(outputs)
    }

    fn action(&self, action: &StepAction) -> String {
        let plan = self.plan;
        let placement = plan.placement.as_ref();
        let deploy_to = placement.map_or("", |placement| placement.deploy_to.as_str());
        let directory = || deploy_to.to_owned();
        let text = match action {
            StepAction::Sync if !plan.targets.is_empty() => self
                .say("plan-check-presence")
                .with("directory", directory()),
            StepAction::Publish if !plan.targets.is_empty() => self
                .say("plan-switch-to")
                .with("directory", directory())
                .with("release", on_hosts_in(self.language, &plan.targets)),
            StepAction::Checkout => {
                let commit = text::short(&plan.commit).to_owned();
                self.say("plan-check-out").with("commit", commit)
            }
            StepAction::Sync => self.say("plan-sync").with("directory", directory()),
            StepAction::Publish => self.say("plan-switch").with("directory", directory()),
            StepAction::Run(program) => return self.program(program),
            StepAction::Check(check) => match &check.probe {
                Probe::Http { url, status } => {
                    let text = self.say("plan-check-http").with("url", url.clone());
                    text.with("status", status.to_string())
                }
                Probe::Tcp { address } => {
                    self.say("plan-check-tcp").with("address", address.clone())
                }
                Probe::Command { command, .. } => self
                    .say("plan-check-command")
                    .with("command", self.command(command)),
            },
        };
        text.to_string()
    }

    fn program(&self, program: &Program) -> String {
        let command = self.command(&program.command);
        let command = match program.args.as_slice() {
            [] => command,
            args => {
                let text = self.say("plan-command-with").with("command", command);
                text.with("arguments", args.join(" ")).to_string()
            }
        };
        let text = match &program.directory {
            Directory::Release => self.say("plan-in-release"),
            Directory::Home => return command,
            Directory::Absolute(path) => self
                .say("plan-in-directory")
                .with("directory", path.clone()),
        };
        text.with("command", command).to_string()
    }

    fn command(&self, command: &ProgramCommand) -> String {
        match command {
            ProgramCommand::Argv(arguments) => arguments.join(" "),
            ProgramCommand::Shell(text) => text.clone(),
            ProgramCommand::Script(name) => {
                let text = self.say("plan-script").with("name", name.clone());
                text.to_string()
            }
        }
    }
}
