//! `tagship check`: gathers what the agent knows, and prints the findings.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;

use serde::de::DeserializeOwned;

use super::arguments::CheckArgs;
use super::client::ApiRequest;
use super::context::{CliContext, project};
use super::error::CommandError;
use super::findings;
use super::install;
use super::screen;
use super::times::Zone;
use crate::api::{HookList, HostList, LiveList, TaskLine, TaskList, UserList};
use crate::base::user::user_or_number;
use crate::config::Config;
use crate::setup::doctor::{
    CheckFinding, CheckScope, CheckStatus, KnownAccount, KnownAccounts, KnownLive, check as look,
};
use crate::setup::install::InstallRequest;

pub(crate) async fn check(ctx: &CliContext, args: &CheckArgs) -> Result<(), CommandError> {
    let config = ctx.config()?;
    if let Some(name) = &args.project {
        project(&config, name)?;
    }
    warn_about_other_user(&config);
    let scope = CheckScope {
        project: args.project.clone(),
        disabled: disabled(ctx, &config).await,
        live: known_live(ctx, &config).await,
        accounts: accounts(ctx, &config).await,
        last_pushes: last_pushes(ctx, &config).await,
        unknown: unknown(ctx, &config).await,
        unlisted: unseen(ctx, &config).await,
        hooks: hooks(&config),
    };
    let findings = look(&config, &scope).await;
    if args.form.json {
        screen::print_json(&findings)?;
    } else {
        screen::print(&findings::lines(&findings, screen::paint()))?;
    }
    let failed = |finding: &&CheckFinding| finding.status == CheckStatus::Fail;
    match findings.iter().filter(failed).count() {
        0 => Ok(()),
        failed => Err(CommandError::Check {
            failed,
            looked_at: findings.len(),
        }),
    }
}

/// Warns that keys and permissions are those of the current user, not of the agent.
fn warn_about_other_user(config: &Config) {
    let data_dir = &config.agent.data_dir;
    let ours = rustix::process::geteuid().as_raw();
    if let Ok(data) = std::fs::metadata(data_dir)
        && data.uid() != ours
    {
        screen::note(&format!(
            "note: this runs as {}, and {} belongs to {}: keys and rights of the agent can differ",
            user_or_number(ours),
            data_dir.display(),
            user_or_number(data.uid())
        ));
    }
}

/// Returns the disabled hosts, if an agent is running.
async fn disabled(ctx: &CliContext, config: &Config) -> BTreeMap<String, String> {
    let Some(list) = answer::<HostList>(ctx, config, &ApiRequest::get(["hosts"])).await else {
        return BTreeMap::new();
    };
    let out = list.hosts.into_iter().filter_map(|host| {
        let disabled = host.disabled?;
        Some((host.name, disabled.reason))
    });
    out.collect()
}

/// Returns what tagship switched the hosts to, if an agent is running.
async fn known_live(ctx: &CliContext, config: &Config) -> BTreeMap<String, Vec<KnownLive>> {
    let mut lives: BTreeMap<String, Vec<KnownLive>> = BTreeMap::new();
    let list = answer::<LiveList>(ctx, config, &ApiRequest::get(["live"])).await;
    for view in list.into_iter().flat_map(|list| list.live) {
        let working = ApiRequest::get(["tasks"])
            .with("project", Some(&view.project))
            .with("environment", Some(&view.environment))
            .with("limit", Some(100));
        let tasks = answer::<TaskList>(ctx, config, &working).await;
        let is_working = |line: &TaskLine| line.head.state.holds_queue();
        let busy = tasks.is_none_or(|list| list.tasks.iter().any(is_working));
        for (host, live) in view.hosts {
            let Some(live) = live else { continue };
            lives.entry(host).or_default().push(KnownLive {
                project: view.project.clone(),
                environment: view.environment.clone(),
                release: live.release,
                since: live.since,
                drift: live.drift,
                busy,
            });
        }
    }
    lives
}

/// Returns the accounts, if an agent is running and returns them.
async fn accounts(ctx: &CliContext, config: &Config) -> Option<KnownAccounts> {
    let list: UserList = answer(ctx, config, &ApiRequest::get(["users"])).await?;
    let users = list.users.into_iter().filter(|user| !user.disabled);
    let known = users.map(|user| {
        let account = KnownAccount {
            role: user.role,
            groups: user.groups,
        };
        (user.name, account)
    });
    Some(known.collect())
}

/// Returns when the agent last received a push to each project, if it is running and says so.
async fn last_pushes(ctx: &CliContext, config: &Config) -> BTreeMap<String, Option<String>> {
    let zone = Zone::new(config.time_zone());
    let mut last_pushes = BTreeMap::new();
    for project in &config.projects {
        let ask = ApiRequest::get(["hooks"])
            .with("project", Some(&project.name))
            .with("limit", Some(1));
        let Some(list) = answer::<HookList>(ctx, config, &ask).await else {
            return last_pushes;
        };
        let newest = list.hooks.first();
        let words = newest.map(|entry| {
            let push = entry.push.as_ref();
            let tag = push.map_or_else(
                || "an unreadable record".to_owned(),
                |push| push.tag().to_owned(),
            );
            format!("{} ({tag})", zone.show(entry.at))
        });
        last_pushes.insert(project.name.clone(), words);
    }
    last_pushes
}

/// Returns the projects that an agent on this machine lacks; what a remote one omits may be hidden.
async fn unknown(ctx: &CliContext, config: &Config) -> BTreeSet<String> {
    let ask = ApiRequest::get(["live"]);
    let known = match ctx.is_elsewhere() {
        true => None,
        false => answer::<LiveList>(ctx, config, &ask).await,
    };
    let Some(known) = known.map(|list| list.live) else {
        return BTreeSet::new();
    };
    let projects = config.projects.iter().filter(|project| {
        let is_known = known.iter().any(|view| view.project == project.name);
        !is_known && !project.environments.is_empty()
    });
    projects.map(|project| project.name.clone()).collect()
}

/// Returns the projects whose tags the agent cannot list on the git server, with a description.
async fn unseen(ctx: &CliContext, config: &Config) -> BTreeMap<String, String> {
    let zone = Zone::new(config.time_zone());
    let ask = ApiRequest::get(["hooks"]).with("limit", Some(1));
    let list = answer::<HookList>(ctx, config, &ask).await;
    let unseen = list.into_iter().flat_map(|list| list.unseen);
    unseen
        .map(|unseen| (unseen.project.clone(), unseen.describe(|at| zone.show(at))))
        .collect()
}

async fn answer<T: DeserializeOwned>(
    ctx: &CliContext,
    config: &Config,
    ask: &ApiRequest,
) -> Option<T> {
    let agent = match ctx.is_elsewhere() {
        true => ctx.agent().await,
        false => CliContext::local_agent(config),
    };
    agent.ok()?.client.ask(ask).await.ok()
}

/// Returns what should be installed in the repositories on this machine.
fn hooks(config: &Config) -> BTreeMap<String, InstallRequest> {
    let packaged = install::packaged_hook();
    let projects = config.projects.iter();
    projects
        .filter_map(|project| {
            let repo = install::repository(project, None).ok()?;
            let installation =
                install::installation(config, project, &repo, packaged.clone()).ok()?;
            Some((project.name.clone(), installation))
        })
        .collect()
}
