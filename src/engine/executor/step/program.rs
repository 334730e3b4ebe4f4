//! `run` steps: a program of the template's author, started once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::context::{IntentRecorded, StepContext, StepError, started_text, unexpected};
use crate::domain::host::{FOLLOW_PAUSES_S, HostError, Op, Output, Reply, Run, RunCommand, RunEnd};
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
    let begun = started_text(task);
    format!("{begun}-{way}{}-{}-{attempt}", at.stage, at.step)
}

/// Returns the name of a further program of an attempt, or of a check's program. Stopping the
/// attempt stops it, too.
pub(super) fn key_part(key: &str, name: &str) -> String {
    format!("{key}.{name}")
}

/// Runs a program to its end, or reads the result of an earlier start.
pub(super) async fn run(ctx: &StepContext<'_>, program: &Program) -> Result<StepResult, StepError> {
    let work = ctx.work;
    let key = key(&work.task, work.at, work.attempt);
    let run = prepare(ctx, program, key).await?;
    let end = match work.begun {
        IntentRecorded::Now => follow(ctx, program, run.clone()).await?,
        IntentRecorded::Before => match result_of(ctx, &run.key).await? {
            RunEnd::NotBegun if work.has_program() && !program.repeat => {
                return Err(vanished(ctx));
            }
            RunEnd::NotBegun | RunEnd::Running => follow(ctx, program, run.clone()).await?,
            end => end,
        },
    };
    if end != RunEnd::Unknown || !program.repeat {
        return step_result(ctx, program, end);
    }
    ctx.output
        .line("it is unknown how it ended; it may be repeated, so it is");
    let key = key_part(&run.key, "again");
    let end = follow(ctx, program, Run { key, ..run }).await?;
    step_result(ctx, program, end)
}

/// Returns the program with this step's values filled in.
pub(super) async fn prepare(
    ctx: &StepContext<'_>,
    program: &Program,
    key: String,
) -> Result<Run, StepError> {
    let values = ctx.values().await;
    let command = command(ctx, program, &values).await?;
    let placement = ctx.work.plan.placement.as_ref();
    let deploy_to = placement.map_or_else(
        || ctx.work.target().deploy_to,
        |placement| placement.path_on(ctx.work.host()),
    );
    let directory = match (&program.directory, ctx.work.release()) {
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
    ctx: &StepContext<'_>,
    program: &Program,
    values: &BTreeMap<String, String>,
) -> Result<RunCommand, StepError> {
    // A placeholder refers to a parameter, not to any output of a step.
    let plan = &ctx.work.plan;
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
            text: script(ctx, name).await?,
            arguments,
        },
    })
}

/// Returns the text of a script as of the plan. The file beside the template may have changed
/// since; the stored text is compared with the approved digest.
async fn script(ctx: &StepContext<'_>, name: &str) -> Result<String, StepError> {
    let damaged = || {
        StepError::Failed(format!(
            "script {name} is not what the plan names; restore the store from a backup, or push a new tag"
        ))
    };
    let digest = ctx.work.plan.named.scripts.get(name).ok_or_else(damaged)?;
    let bytes = ctx.world.store.blob(digest).await?;
    if format!("{:x}", Sha256::digest(&bytes)) != *digest {
        return Err(damaged());
    }
    String::from_utf8(bytes).map_err(|_| damaged())
}

/// Starts or resumes an attempt, and waits for its end.
async fn follow(ctx: &StepContext<'_>, program: &Program, run: Run) -> Result<RunEnd, StepError> {
    let key = run.key.clone();
    let op = Op::Run {
        target: ctx.work.target(),
        run,
    };
    let host = &ctx.work.plan.host_with_user(ctx.work.at);
    let output = BeginRecorder {
        output: ctx.output.as_ref(),
        program_began: AtomicBool::new(ctx.work.has_program()),
    };
    for pause in FOLLOW_PAUSES_S {
        let lost = match ctx.work.hosts.perform(host, &op, &output).await {
            Ok(Reply::Run(end)) => return Ok(end),
            Ok(other) => return Err(unexpected(&other)),
            Err(HostError::Lost(message)) => message,
            Err(error) => return Err(ctx.refusal(&error).await),
        };
        output.line(&format!("connection lost: {lost}"));
        // Do not guess: query the host. A program that never began may be started. One that still
        // runs is followed, by requesting the same attempt again.
        match result_of(ctx, &key).await? {
            RunEnd::NotBegun if output.program_began.load(Ordering::SeqCst) && !program.repeat => {
                return Err(vanished(ctx));
            }
            RunEnd::NotBegun | RunEnd::Running => {
                ctx.wait(Duration::from_secs(pause)).await;
            }
            end => return Ok(end),
        }
    }
    Err(StepError::Unknown(
        "the connection is lost again and again; look on the host".to_owned(),
    ))
}

/// The output of a step's program; is notified when the program begins.
struct BeginRecorder<'a> {
    output: &'a dyn Output,
    program_began: AtomicBool,
}

impl Output for BeginRecorder<'_> {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        self.output.write_at(offset, bytes);
    }

    fn line(&self, text: &str) {
        self.output.line(text);
    }

    fn program_began(&self) {
        self.program_began.store(true, Ordering::SeqCst);
        self.output.program_began();
    }

    fn unreachable(&self, reason: &str, until: Timestamp) {
        self.output.unreachable(reason, until);
    }

    fn reachable(&self) {
        self.output.reachable();
    }
}

/// Returns the error for a program that the host reported as begun and no longer knows.
fn vanished(ctx: &StepContext<'_>) -> StepError {
    StepError::Unknown(format!(
        "it was begun, and {} knows nothing of it any more: was {}/.tagship/journal deleted there? Look \
         whether it ran or still runs",
        ctx.work.host(),
        ctx.work.target().deploy_to
    ))
}

async fn result_of(ctx: &StepContext<'_>, key: &str) -> Result<RunEnd, StepError> {
    let op = Op::RunResult {
        deploy_to: ctx.work.target().deploy_to,
        key: key.to_owned(),
    };
    match ctx.perform(&op).await {
        Ok(Reply::Run(end)) => Ok(end),
        Ok(other) => Err(unexpected(&other)),
        // It was begun, and the host can't be queried: that is no failure of the program.
        Err(error) => Err(StepError::Unknown(error.into_message())),
    }
}

fn step_result(
    ctx: &StepContext<'_>,
    program: &Program,
    end: RunEnd,
) -> Result<StepResult, StepError> {
    match end {
        RunEnd::Ended { code: 0, values } => declared_outputs(ctx, values),
        RunEnd::BadOutput { why } => Err(StepError::Failed(why)),
        RunEnd::Ended { code, .. } => Ok(StepResult::Failed {
            message: format!(
                "ended with {code}{}; see `tagship log {} --host {}`",
                ctx.last.text(),
                ctx.work.task.id,
                ctx.work.host()
            ),
            exit_code: Some(code),
            omits_exit: false,
            is_final: false,
        }),
        RunEnd::TimedOut => Err(StepError::Failed(format!(
            "did not end within {} s and was ended{}",
            program.timeout.as_secs(),
            ctx.last.text()
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
fn declared_outputs(
    ctx: &StepContext<'_>,
    values: BTreeMap<String, String>,
) -> Result<StepResult, StepError> {
    let work = ctx.work;
    let action = work.plan.step(work.at).map(|step| &step.action);
    let declared = |name: &String| action.is_some_and(|action| action.has_output(name));
    let others: Vec<&str> = values
        .keys()
        .filter(|name| !declared(name))
        .map(String::as_str)
        .collect();
    if others.is_empty() {
        return Ok(StepResult::Done { values });
    }
    Err(undeclared(ctx, &others))
}

/// Returns the error for a step that wrote undeclared names to `$TAGSHIP_OUTPUT`.
pub(super) fn undeclared(ctx: &StepContext<'_>, names: &[&str]) -> StepError {
    let plan = &ctx.work.plan;
    let step = plan.step(ctx.work.at);
    let remedy = match step.map(|step| &step.action) {
        Some(StepAction::Run(_)) => format!(
            "name it in `outputs` or `secret_outputs` of step {} in template {} and push a new tag, or do not write it",
            step.map_or("?", |step| step.name.as_str()),
            plan.template
        ),
        _ => "a check passes no outputs on; write them in a step with `run`".to_owned(),
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
