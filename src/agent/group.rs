//! Whether the agent's user may read what the hook writes: records and directories of the spool are
//! for the git user and its group. An agent outside that group would run and see new records, but
//! open none of them. Changes nothing. Called by `agent` when it starts, and by `check`.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::base::user::{group_or_number, user_or_number};
use crate::config;

/// This process runs as a user who is not in the git user's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupProblem {
    user: String,
    git_user: String,
    group: String,
    spool_dir: String,
}

impl GroupProblem {
    /// Returns `None` if all is well, or unknown: this machine has no such git user.
    pub(crate) fn check(agent: &config::AgentConfig) -> Option<Self> {
        let agent_user = rustix::process::geteuid();
        let (git, group) = user(&agent.git_user)?;
        if agent_user.is_root() || agent_user.as_raw() == git || is_ours(group) {
            return None;
        }
        Some(Self {
            user: user_or_number(agent_user.as_raw()),
            git_user: agent.git_user.clone(),
            group: group_or_number(group),
            spool_dir: agent.spool_dir.display().to_string(),
        })
    }

    /// Returns how to fix it.
    pub(crate) fn remedy(&self) -> String {
        let Self { user, group, .. } = self;
        format!("usermod -aG {group} {user}, then restart the agent")
    }
}

impl fmt::Display for GroupProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            git_user,
            group,
            spool_dir,
        } = self;
        write!(
            f,
            "{user} is not in the group {group} of [agent] git_user {git_user}, and could read no push \
             that the hook leaves in {spool_dir}"
        )
    }
}

/// Returns the user the agent runs as: the owner of its directory, else this process's own.
pub(crate) fn agents_user(agent: &config::AgentConfig) -> u32 {
    let agent_user = rustix::process::geteuid().as_raw();
    std::fs::metadata(&agent.data_dir).map_or(agent_user, |data| data.uid())
}

/// Returns the command that creates a missing spool, as root: in the git user's group, if any.
pub(crate) fn spool_commands(agent: &config::AgentConfig) -> String {
    let owner = user_or_number(agents_user(agent));
    let group = git_group(agent).map(|group| format!(" -g {group}"));
    let (group, spool_dir) = (group.unwrap_or_default(), agent.spool_dir.display());
    format!("install -d -m 3770 -o {owner}{group} {spool_dir}")
}

/// Returns the command that gives a spool directory to the agent, as root. Its content is
/// unchanged: the owner of a record is the pusher.
pub(crate) fn chown_command(agent: &config::AgentConfig, dir: &Path) -> String {
    let (owner, group) = (user_or_number(agents_user(agent)), git_group(agent));
    format!(
        "chown {owner}:{} {}",
        group.unwrap_or_default(),
        dir.display()
    )
}

fn git_group(agent: &config::AgentConfig) -> Option<String> {
    user(&agent.git_user).map(|(_, group)| group_or_number(group))
}

/// A process whose groups are unknown counts as a member: nothing is refused by a guess.
fn is_ours(group: u32) -> bool {
    let is_own = rustix::process::getegid().as_raw() == group;
    is_own
        || rustix::process::getgroups()
            .map_or(true, |all| all.iter().any(|one| one.as_raw() == group))
}

/// Returns user and group number of a system user, from `/etc/passwd`.
#[must_use]
pub fn user(name: &str) -> Option<(u32, u32)> {
    let user = config::system_user(name)?;
    Some((user.uid, user.gid))
}
