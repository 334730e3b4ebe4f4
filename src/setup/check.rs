//! Would a release work? Looks, as the agent would, at hosts, repositories, hook, spool and
//! templates, and says of each what is well and what is not, with the remedy; also shows and pins
//! the key of a new host ([`enroll`]). It needs no agent, changes nothing in a
//! repository, and touches nothing of the store: who has an account, a running agent is asked by
//! the command line, which calls this. On a host it leaves nothing: one small file is sent to a
//! directory of its own below a place of releases, as a release would be, and deleted.

mod ask;
pub mod enroll;
mod finding;
mod hosts;
mod local;
mod logins;
mod people;
mod probe;
mod projects;
mod scope;
mod scratch;
mod send;

use crate::config::Config;
pub use finding::{CheckFinding, CheckStatus, Subject};
pub use scope::{CheckScope, KnownAccounts};

/// Looks at everything in scope: this machine first, then projects, then hosts side by side, then
/// the execution users on them.
pub async fn check(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let mut findings = local::findings(config, scope);
    findings.extend(people::findings(config, scope));
    findings.extend(projects::findings(config, scope).await);
    findings.extend(hosts::findings(config, scope).await);
    findings.extend(logins::findings(config, scope).await);
    findings
}
