//! `tagship install` and `tagship uninstall`: installs the hook, and creates the spool and its
//! rules, so that a push works before the agent has ever run.

use std::io::{IsTerminal as _, stdout};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::arguments::{InstallArgs, Uninstall};
use super::context::{CliContext, project};
use super::error::CommandError;
use super::screen;
use crate::agent;
use crate::base::user::user_or_number;
use crate::config::{AgentConfig, Config, Project};
use crate::domain::rule::OnSpoolError;
use crate::engine::spool;
use crate::setup::install::{self, GitServerKind, InstallError, InstallRequest, Report};

/// `tagship install`.
pub(crate) fn install(ctx: &CliContext, args: &InstallArgs) -> Result<(), CommandError> {
    let config = ctx.config()?;
    let project = project(&config, &args.project)?;
    let hook = hook_program(args.hook.as_deref())?;
    if args.tar {
        return tar(&config, args.repo.as_deref(), &hook);
    }
    let repo = repository(project, args.repo.as_deref())?;
    let installation = installation(&config, project, &repo, hook)?;
    let spool = prepare_spool(&config)?;
    let report = installation.run()?;
    screen::print(&report_text(project, &report))?;
    match spool {
        SpoolState::Ready => screen::print(&format!(
            "rules are published in {}\n",
            config.agent.spool_dir.display()
        ))?,
        SpoolState::LeftToAgent => screen::note(&format!(
            "start the agent now: it makes {}, and no tag is taken before",
            config.agent.spool_dir.display()
        )),
    }
    if UnixStream::connect(config.socket()).is_ok() {
        screen::note(
            "an agent runs: restart it if its configuration has changed, before a tag is pushed",
        );
    }
    match report.findings.as_slice() {
        [] => Ok(()),
        findings => Err(CommandError::HookFindings(
            findings.iter().map(ToString::to_string).collect(),
        )),
    }
}

fn report_text(project: &Project, report: &Report) -> String {
    let mut text = format!(
        "the hook of {} ({}) is {}, version {}, tried as user {}\n",
        project.name,
        report.kind,
        report.program.display(),
        report.version,
        user_or_number(report.tried_as)
    );
    if let Some(kept) = &report.kept {
        text.push_str(&format!(
            "the previous hook is now {} and still runs first\n",
            kept.display()
        ));
    }
    text
}

fn tar(config: &Config, repo: Option<&Path>, hook: &Path) -> Result<(), CommandError> {
    let mut stdout = stdout().lock();
    if stdout.is_terminal() {
        return Err(CommandError::TarOnTerminal);
    }
    let settings = tagship_hook::settings::Settings {
        spool_dir: config.agent.spool_dir.clone(),
        repository: None,
        on_spool_error: on_spool_error(&config.agent),
    };
    Ok(install::archive(repo, hook, &settings, &mut stdout)?)
}

/// Returns what is installed for a project; `check` verifies that it still exists.
pub(crate) fn installation(
    config: &Config,
    project: &Project,
    repo: &Path,
    hook_program: PathBuf,
) -> Result<InstallRequest, CommandError> {
    // The default user need not exist on a plain server: then git runs as the repository's owner.
    let git_user = &config.agent.git_user;
    let is_default = *git_user == AgentConfig::default().git_user;
    let git_user = (!is_default || agent::user(git_user).is_some()).then(|| git_user.clone());
    Ok(InstallRequest {
        repo: repo.to_owned(),
        kind: GitServerKind::detect(repo)?,
        spool_dir: config.agent.spool_dir.clone(),
        repository: project.repository.clone(),
        on_spool_error: on_spool_error(&config.agent),
        hook_program,
        git_user,
    })
}

/// The hook rejects by default while it cannot read the rules; only another setting is passed on.
fn on_spool_error(agent: &AgentConfig) -> Option<OnSpoolError> {
    (agent.on_spool_error != OnSpoolError::Reject).then_some(agent.on_spool_error)
}

/// Returns the directory of a project's repository on this machine.
pub(crate) fn repository(project: &Project, repo: Option<&Path>) -> Result<PathBuf, CommandError> {
    match repo {
        Some(repo) => Ok(repo.to_owned()),
        None if project.repository.starts_with('/') => Ok(PathBuf::from(&project.repository)),
        None => Err(CommandError::NoDirectory {
            project: project.name.clone(),
            repository: project.repository.clone(),
        }),
    }
}

/// Returns the program to install: the one that was named, else the one shipped with this program.
fn hook_program(named: Option<&Path>) -> Result<PathBuf, CommandError> {
    if let Some(named) = named {
        return match named.is_file() {
            true => Ok(named.to_owned()),
            false => Err(InstallError::ProgramMissing(named.to_owned()).into()),
        };
    }
    let paths = hook_paths();
    let found = paths.iter().find(|path| path.is_file()).cloned();
    found.ok_or(CommandError::NoHookProgram(paths))
}

/// Returns where `make` or a package may have put a hook program with this one.
fn hook_paths() -> Vec<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    let near = [
        "update",
        "../lib/tagship/update",
        "../libexec/tagship/update",
    ];
    let near = near.iter().filter_map(|path| Some(beside?.join(path)));
    near.chain([install::default_hook_program()]).collect()
}

/// Returns the program to compare an installed hook with, if one was shipped with this program.
pub(crate) fn packaged_hook() -> PathBuf {
    let paths = hook_paths();
    let found = paths.iter().find(|path| path.is_file()).cloned();
    found.unwrap_or_else(install::default_hook_program)
}

/// Whether pushes can be accepted already.
enum SpoolState {
    Ready,
    /// Only the agent's user may create it.
    LeftToAgent,
}

/// Creates the spool and publishes the rules, as the agent's user: the agent could not write to
/// what another user creates there.
fn prepare_spool(config: &Config) -> Result<SpoolState, CommandError> {
    let spool_dir = &config.agent.spool_dir;
    let owner = |path: &Path| path.metadata().ok().map(|data| data.uid());
    let agent = owner(&config.agent.data_dir).or_else(|| owner(spool_dir));
    let ours = rustix::process::geteuid();
    match agent {
        Some(user) if user == ours.as_raw() => publish(config)?,
        Some(user) if ours.is_root() => {
            publish(config)?;
            give_to(user, spool_dir)?;
        }
        None => {
            publish(config)?;
            if ours.is_root() {
                screen::note(&format!(
                    "note: {} belongs to root; if the agent is to run as another user, give it to that one (chown -R)",
                    spool_dir.display()
                ));
            }
        }
        // The agent's user created it, and the agent publishes.
        Some(_) if spool_dir.join(spool::NEW).is_dir() => {}
        Some(_) => return Ok(SpoolState::LeftToAgent),
    }
    Ok(SpoolState::Ready)
}

fn publish(config: &Config) -> Result<(), CommandError> {
    if let Some(obstacle) = agent::spool_obstacle(&config.agent) {
        return Err(CommandError::Directory(obstacle));
    }
    let spool_dir = &config.agent.spool_dir;
    let own_group = rustix::process::getegid().as_raw();
    let group = agent::user(&config.agent.git_user).map(|(_, group)| group);
    spool::setup(spool_dir, group.filter(|group| *group != own_group))?;
    Ok(spool::publish_rules(spool_dir, &config.rules_files())?)
}

/// Gives the spool, created by root, to the agent's user; groups are kept.
fn give_to(user: u32, spool_dir: &Path) -> Result<(), CommandError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| CommandError::File {
            doing: "give to the agent's user",
            path,
            error,
        }
    };
    let rules = spool_dir.join(spool::RULES);
    let files = std::fs::read_dir(&rules).map_err(failed(&rules))?;
    let files = files.flatten().map(|entry| entry.path());
    let directories = [spool::NEW, spool::TMP, spool::BAD].map(|name| spool_dir.join(name));
    let all = [spool_dir.to_owned(), rules.clone()].into_iter();
    for path in all.chain(directories).chain(files) {
        chown(&path, Some(user), None).map_err(failed(&path))?;
    }
    Ok(())
}

/// `tagship uninstall`.
pub(crate) fn uninstall(ctx: &CliContext, args: &Uninstall) -> Result<(), CommandError> {
    let repo = match (&args.repo, &args.project) {
        (Some(repo), _) => repo.clone(),
        (None, Some(name)) => repository(project(&ctx.config()?, name)?, None)?,
        // clap requires one of them.
        (None, None) => PathBuf::from("."),
    };
    let removed = install::uninstall(&repo, GitServerKind::detect(&repo)?)?;
    let mut text: String = removed
        .files
        .iter()
        .map(|path| format!("{} is removed\n", path.display()))
        .collect();
    if let Some(restored) = &removed.restored {
        text.push_str(&format!("{} is restored\n", restored.display()));
    }
    if text.is_empty() {
        text = format!("no hook of tagship was in {}\n", repo.display());
    }
    screen::print(&text)
}
