//! `run` steps: a program of the template's author, started once.

use std::time::Duration;

use super::{Begun, Scene, TRIES, Trouble, unexpected};
use crate::host::{HostError, Op, Reply, Run, RunCommand, RunEnd};
use crate::task::{At, StepResult, Task, Way};
use crate::template::{self, Directory, Program};

/// Names an attempt of a step in the host's journal; see [`Run::key`].
pub(super) fn key(task: &Task, at: At, attempt: u32) -> String {
    let way = match at.way {
        Way::Forward => "",
        Way::Back => "back-",
    };
    let begun = begun(task);
    format!("{begun}-{way}{}-{}-{attempt}", at.stage, at.step)
}

/// Names the work of a task on hosts, which outlive the store that numbers tasks.
pub(super) fn begun(task: &Task) -> String {
    let started = task.work.as_ref().map(|work| work.started.as_second());
    format!("{}-{:x}", task.id, started.unwrap_or_default().max(0))
}

/// The attempt of a program that may be repeated, after its first result stayed unknown.
pub(super) fn again(key: &str) -> String {
    format!("{key}-again")
}

/// Runs a program to its end, or finds out how it ended.
pub(super) async fn run(scene: &Scene<'_>, program: &Program) -> Result<StepResult, Trouble> {
    let work = scene.work;
    let key = key(&work.task, work.at, work.attempt);
    let run = prepare(scene, program, key).await;
    if work.begun == Begun::Before {
        match result_of(scene, &run.key).await? {
            RunEnd::NotBegun | RunEnd::Running => {}
            RunEnd::Unknown if program.repeat => {
                scene
                    .output
                    .line("nobody can say how it ended; it may be repeated, so it is");
                let key = again(&run.key);
                return follow(scene, program, Run { key, ..run }).await;
            }
            end => return judge(scene, program, end),
        }
    }
    follow(scene, program, run).await
}

/// The program with this step's values filled in.
pub(super) async fn prepare(scene: &Scene<'_>, program: &Program, key: String) -> Run {
    let values = scene.values().await;
    let command = match &program.command {
        RunCommand::Argv(words) => RunCommand::Argv(
            words
                .iter()
                .map(|word| template::fill(word, &values))
                .collect(),
        ),
        RunCommand::Shell(text) => RunCommand::Shell(text.clone()),
    };
    let deploy_to = scene.work.place().deploy_to;
    let directory = match (&program.directory, scene.work.release()) {
        (Directory::Release, Some(release)) => format!("{deploy_to}/releases/{release}"),
        (Directory::Release, None) => deploy_to,
        (Directory::Home, _) => crate::host::HOME.to_owned(),
        (Directory::Absolute(path), _) => path.clone(),
    };
    Run {
        key,
        command,
        directory,
        environment: values,
        timeout: program.timeout,
    }
}

async fn follow(scene: &Scene<'_>, program: &Program, run: Run) -> Result<StepResult, Trouble> {
    let key = run.key.clone();
    let op = Op::Run {
        place: scene.work.place(),
        run,
    };
    let host = scene.work.host();
    let output = scene.output.as_ref();
    for number in 1..=TRIES {
        let lost = match scene.work.hosts.perform(host, &op, output).await {
            Ok(Reply::Run(end)) => return judge(scene, program, end),
            Ok(other) => return Err(unexpected(&other)),
            Err(HostError::Lost(message)) => message,
            Err(error) => return Err(scene.refused(&error).await),
        };
        output.line(&format!("connection lost: {lost}"));
        // Nobody may guess: the host is asked. What it never began may be begun, and what still
        // runs is followed, by asking for the same attempt again.
        match result_of(scene, &key).await? {
            RunEnd::NotBegun | RunEnd::Running => {
                scene.wait(Duration::from_secs(number.into())).await;
            }
            end => return judge(scene, program, end),
        }
    }
    Err(Trouble::Unknown(
        "the connection is lost again and again; look on the host, then retry or stop the task"
            .to_owned(),
    ))
}

async fn result_of(scene: &Scene<'_>, key: &str) -> Result<RunEnd, Trouble> {
    let op = Op::RunResult {
        deploy_to: scene.work.place().deploy_to,
        key: key.to_owned(),
    };
    match scene.perform(&op).await {
        Ok(Reply::Run(end)) => Ok(end),
        Ok(other) => Err(unexpected(&other)),
        // It was begun, and the host can't be asked: that is no failure of the program.
        Err(Trouble::Failed(message) | Trouble::Unknown(message)) => Err(Trouble::Unknown(message)),
    }
}

fn judge(scene: &Scene<'_>, program: &Program, end: RunEnd) -> Result<StepResult, Trouble> {
    match end {
        RunEnd::Ended { code: 0, values } => Ok(StepResult::Done { values }),
        RunEnd::Ended { code, .. } => Ok(StepResult::Failed {
            message: format!(
                "ended with {code}; see `tagship log {} --host {}`",
                scene.work.task.id,
                scene.work.host()
            ),
            exit_code: Some(code),
        }),
        RunEnd::TimedOut => Err(Trouble::Failed(format!(
            "did not end within {} s and was ended",
            program.timeout.as_secs()
        ))),
        RunEnd::NotBegun => Err(Trouble::Failed("it was not started".to_owned())),
        RunEnd::Running | RunEnd::Unknown => Err(Trouble::Unknown(
            "it was begun, and its result was never written; look on the host, then retry or stop the task"
                .to_owned(),
        )),
    }
}
