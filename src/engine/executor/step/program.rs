//! `run` steps: a program of the template's author, started once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::context::{IntentMadeBy, StepContext, StepError, TRIES, begun, unexpected};
use crate::domain::host::{HostError, Op, Output, Reply, Run, RunCommand, RunEnd};
use crate::domain::task::{Direction, StepRef, StepResult, Task};
use crate::domain::template::{self, Directory, Program, ProgramCommand, SUPPLIED, StepAction};

/// How many undeclared output names a message lists.
const NAMES_SHOWN_MAX: usize = 5;

/// Returns the name of a step's attempt in the host's journal; see [`Run::key`].
pub(super) fn key(task: &Task, at: StepRef, attempt: u32) -> String {
    let way = match at.way {
        Direction::Forward => "",
        Direction::Back => "back-",
    };
    let begun = begun(task);
    format!("{begun}-{way}{}-{}-{attempt}", at.stage, at.step)
}

/// Returns the name of a further program of an attempt, or of a check's program. Stopping the
/// attempt stops it, too.
pub(super) fn part(key: &str, name: &str) -> String {
    format!("{key}.{name}")
}

/// Runs a program to its end, or reads the result of an earlier start.
pub(super) async fn run(
    scene: &StepContext<'_>,
    program: &Program,
) -> Result<StepResult, StepError> {
    let work = scene.work;
    let key = key(&work.task, work.at, work.attempt);
    let run = prepare(scene, program, key).await?;
    let end = match work.begun {
        IntentMadeBy::Now => follow(scene, program, run.clone()).await?,
        IntentMadeBy::Before => match result_of(scene, &run.key).await? {
            RunEnd::NotBegun if work.has_program() && !program.repeat => {
                return Err(vanished(scene));
            }
            RunEnd::NotBegun | RunEnd::Running => follow(scene, program, run.clone()).await?,
            end => end,
        },
    };
    if end != RunEnd::Unknown || !program.repeat {
        return judge(scene, program, end);
    }
    scene
        .output
        .line("it is unknown how it ended; it may be repeated, so it is");
    let key = part(&run.key, "again");
    let end = follow(scene, program, Run { key, ..run }).await?;
    judge(scene, program, end)
}

/// Returns the program with this step's values filled in.
pub(super) async fn prepare(
    scene: &StepContext<'_>,
    program: &Program,
    key: String,
) -> Result<Run, StepError> {
    let values = scene.values().await;
    let command = command(scene, program, &values).await?;
    let placement = scene.work.plan.placement.as_ref();
    let deploy_to = placement.map_or_else(
        || scene.work.place().deploy_to,
        |placement| placement.on(scene.work.host()),
    );
    let directory = match (&program.directory, scene.work.release()) {
        (Directory::Release, Some(release)) => release.directory(&deploy_to),
        (Directory::Release, None) => deploy_to,
        (Directory::Home, _) => crate::domain::host::HOME.to_owned(),
        (Directory::Absolute(path), _) => path.clone(),
    };
    Ok(Run {
        key,
        command,
        directory,
        environment: values,
        timeout: program.timeout,
    })
}

async fn command(
    scene: &StepContext<'_>,
    program: &Program,
    values: &BTreeMap<String, String>,
) -> Result<RunCommand, StepError> {
    // A placeholder refers to a parameter, not to any output of a step.
    let plan = &scene.work.plan;
    let known = |name: &String| {
        SUPPLIED.contains(&name.as_str())
            || plan.parameters.contains_key(name)
            || plan.secrets.contains(name)
    };
    let named = values.iter().filter(|(name, _)| known(name));
    let named = named.map(|(name, value)| (name.clone(), value.clone()));
    let arguments = template::arguments(&program.args, &named.collect());
    Ok(match &program.command {
        ProgramCommand::Argv(words) => {
            let words = words.iter().map(|word| template::fill(word, values));
            RunCommand::Argv(words.chain(arguments).collect())
        }
        ProgramCommand::Shell(text) if arguments.is_empty() => RunCommand::Shell(text.clone()),
        ProgramCommand::Shell(text) => {
            let shell = ["sh", "-c", text, "sh"].map(str::to_owned);
            RunCommand::Argv(shell.into_iter().chain(arguments).collect())
        }
        ProgramCommand::Script(name) => RunCommand::Script {
            name: name.clone(),
            text: script(scene, name).await?,
            arguments,
        },
    })
}

/// Returns the text of a script as of the plan. The file beside the template may have changed
/// since; the stored text is compared with the approved digest.
async fn script(scene: &StepContext<'_>, name: &str) -> Result<String, StepError> {
    let damaged = || {
        StepError::Failed(format!(
            "script {name} is not what the plan names; restore the store from a backup, or push a new tag"
        ))
    };
    let digest = scene
        .work
        .plan
        .named
        .scripts
        .get(name)
        .ok_or_else(damaged)?;
    let bytes = scene.world.store.blob(digest).await?;
    if format!("{:x}", Sha256::digest(&bytes)) != *digest {
        return Err(damaged());
    }
    String::from_utf8(bytes).map_err(|_| damaged())
}

/// Starts or resumes an attempt, and waits for its end.
async fn follow(scene: &StepContext<'_>, program: &Program, run: Run) -> Result<RunEnd, StepError> {
    let key = run.key.clone();
    let op = Op::Run {
        place: scene.work.place(),
        run,
    };
    let host = &scene.work.plan.lane(scene.work.at);
    let output = Listening {
        output: scene.output.as_ref(),
        begun: AtomicBool::new(scene.work.has_program()),
    };
    for number in 1..=TRIES {
        let lost = match scene.work.hosts.perform(host, &op, &output).await {
            Ok(Reply::Run(end)) => return Ok(end),
            Ok(other) => return Err(unexpected(&other)),
            Err(HostError::Lost(message)) => message,
            Err(error) => return Err(scene.refused(&error).await),
        };
        output.line(&format!("connection lost: {lost}"));
        // Do not guess: query the host. A program that never began may be started. One that still
        // runs is followed, by requesting the same attempt again.
        match result_of(scene, &key).await? {
            RunEnd::NotBegun if output.begun.load(Ordering::SeqCst) && !program.repeat => {
                return Err(vanished(scene));
            }
            RunEnd::NotBegun | RunEnd::Running => {
                scene.wait(Duration::from_secs(number.into())).await;
            }
            end => return Ok(end),
        }
    }
    Err(StepError::Unknown(
        "the connection is lost again and again; look on the host".to_owned(),
    ))
}

/// The output of a step's program; is notified when the program begins.
struct Listening<'a> {
    output: &'a dyn Output,
    begun: AtomicBool,
}

impl Output for Listening<'_> {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        self.output.write_at(offset, bytes);
    }

    fn line(&self, text: &str) {
        self.output.line(text);
    }

    fn begun(&self) {
        self.begun.store(true, Ordering::SeqCst);
        self.output.begun();
    }

    fn away(&self, reason: &str, until: Timestamp) {
        self.output.away(reason, until);
    }

    fn back(&self) {
        self.output.back();
    }
}

/// Returns the error for a program that the host reported as begun and no longer knows.
fn vanished(scene: &StepContext<'_>) -> StepError {
    StepError::Unknown(format!(
        "it was begun, and {} knows nothing of it any more: was {}/.tagship/journal deleted there? Look \
         whether it ran or still runs",
        scene.work.host(),
        scene.work.place().deploy_to
    ))
}

async fn result_of(scene: &StepContext<'_>, key: &str) -> Result<RunEnd, StepError> {
    let op = Op::RunResult {
        deploy_to: scene.work.place().deploy_to,
        key: key.to_owned(),
    };
    match scene.perform(&op).await {
        Ok(Reply::Run(end)) => Ok(end),
        Ok(other) => Err(unexpected(&other)),
        // It was begun, and the host can't be queried: that is no failure of the program.
        Err(StepError::Failed(message) | StepError::Unknown(message)) => {
            Err(StepError::Unknown(message))
        }
    }
}

fn judge(scene: &StepContext<'_>, program: &Program, end: RunEnd) -> Result<StepResult, StepError> {
    match end {
        RunEnd::Ended { code: 0, values } => handed_on(scene, values),
        RunEnd::BadOutput { why } => Err(StepError::Failed(why)),
        RunEnd::Ended { code, .. } => Ok(StepResult::Failed {
            message: format!(
                "ended with {code}{}; see `tagship log {} --host {}`",
                scene.last.words(),
                scene.work.task.id,
                scene.work.host()
            ),
            exit_code: Some(code),
        }),
        RunEnd::TimedOut => Err(StepError::Failed(format!(
            "did not end within {} s and was ended{}",
            program.timeout.as_secs(),
            scene.last.words()
        ))),
        RunEnd::Unended => Err(unended(program.timeout)),
        RunEnd::NotBegun => Err(StepError::Failed("it was not started".to_owned())),
        RunEnd::Running | RunEnd::Unknown => Err(StepError::Unknown(
            "it was begun, and its result was never written; look on the host".to_owned(),
        )),
    }
}

/// Returns the outputs that the approved plan declares. Any other output could replace approved
/// values or change what later steps run.
fn handed_on(
    scene: &StepContext<'_>,
    values: BTreeMap<String, String>,
) -> Result<StepResult, StepError> {
    let work = scene.work;
    let action = work.plan.step(work.at).map(|step| &step.action);
    let declared = |name: &String| action.is_some_and(|action| action.hands_on(name));
    let others: Vec<&str> = values
        .keys()
        .filter(|name| !declared(name))
        .map(String::as_str)
        .collect();
    if others.is_empty() {
        return Ok(StepResult::Done { values });
    }
    Err(undeclared(scene, &others))
}

/// Returns the error for a step that wrote undeclared names to `$TAGSHIP_OUTPUT`.
pub(super) fn undeclared(scene: &StepContext<'_>, names: &[&str]) -> StepError {
    let plan = &scene.work.plan;
    let step = plan.step(scene.work.at);
    let remedy = match step.map(|step| &step.action) {
        Some(StepAction::Run(_)) => format!(
            "name it in `outputs` or `secret_outputs` of step {} in template {} and push a new tag, or do not write it",
            step.map_or("?", |step| step.name.as_str()),
            plan.template
        ),
        _ => "a check hands nothing on; write it in a step with `run`".to_owned(),
    };
    let names: Vec<&str> = names.iter().take(NAMES_SHOWN_MAX).copied().collect();
    StepError::Failed(format!(
        "it wrote {} to $TAGSHIP_OUTPUT, which is not declared: {remedy}",
        names.join(", ")
    ))
}

/// Returns the error for a program that exceeded its limit and could not be killed. A second one
/// would run beside it, so neither `repeat` nor the tries of a check help.
pub(super) fn unended(limit: Duration) -> StepError {
    StepError::Unknown(format!(
        "did not end within {} s, and could not be ended (another user's?); end it on the host",
        limit.as_secs()
    ))
}
