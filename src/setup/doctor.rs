//! Checks whether a release would work. Inspects hosts, repositories, hook, spool and templates as
//! the agent would. Reports what works and what does not, with the remedy; also shows and pins the
//! key of a new host ([`enroll`]). It needs no agent, changes nothing in a repository, and does not
//! touch the store: the calling command line gets the accounts from a running agent. It leaves
//! nothing on a host: a small file is sent to a temporary directory below a deploy path, as a
//! release would be, and deleted.

mod access;
mod approvals;
mod connect;
pub mod enroll;
mod finding;
mod hosts;
mod local;
mod logins;
mod probe;
mod projects;
mod rsync_probe;
mod scope;
mod scratch;
mod shared;
mod users;

use crate::config::Config;
pub use finding::{CheckFinding, CheckStatus, Subject};
pub use scope::{CheckScope, KnownAccount, KnownAccounts, KnownLive};

/// Checks everything in scope: this machine first, then projects, then concurrently the hosts and
/// the execution users on them.
pub async fn check(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let mut findings = local::findings(config, scope);
    findings.extend(users::findings(config, scope));
    findings.extend(projects::findings(config, scope).await);
    let (hosts, logins) = tokio::join!(
        hosts::findings(config, scope),
        logins::findings(config, scope)
    );
    findings.extend(hosts);
    findings.extend(logins);
    findings
}
