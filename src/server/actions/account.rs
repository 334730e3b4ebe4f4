//! Second factors and delegations, shared by the pages, the JSON API and CODO's API.

use std::sync::Arc;

use super::super::Site;
use super::super::authentication::{self, AuditedAction, Who};
use super::super::call::Call;
use super::super::fault::Fault;
use crate::api::{DelegationView, NewDelegationBody};
use crate::identity::account::{self, AccountError, Delegation, Enrolment, LoginError};

/// Begins the setup of a user's second factor.
pub(in crate::server) async fn begin(
    site: &Site,
    who: &Who,
    name: &str,
) -> Result<Enrolment, Fault> {
    who.needs_to_be(name, "set up another user's second factor")?;
    let action = AuditedAction::on("begin second factor", name);
    let entry = who.audit(site, action).await?;
    let begun = site.web.accounts.begin_factor(name, entry.also()).await?;
    tracing::info!(user = name, actor = %who.actor.name, "a second factor was begun");
    Ok(begun)
}

/// Activates it with one of its codes.
pub(in crate::server) async fn confirm(
    site: &Site,
    who: &Who,
    name: &str,
    code: &str,
) -> Result<Result<(), AccountError>, Fault> {
    who.needs_to_be(name, "set up another user's second factor")?;
    let accounts = &site.web.accounts;
    let action = AuditedAction::on("confirm second factor", name);
    let entry = who.audit(site, action).await?;
    match accounts.confirm_factor(name, code, entry.also()).await {
        Err(wrong @ AccountError::WrongCode) => return Ok(Err(wrong)),
        confirmed => confirmed?,
    };
    tracing::info!(user = name, actor = %who.actor.name, "a second factor was enabled");
    Ok(Ok(()))
}

/// Resets it: a user's own with one of its codes, another user's as an admin.
pub(in crate::server) async fn reset(
    site: &Arc<Site>,
    call: &Call,
    who: &Who,
    name: &str,
    code: Option<&str>,
) -> Result<(), Fault> {
    who.needs_to_be(name, "reset another user's second factor")?;
    let action = AuditedAction::on("reset second factor", name);
    let accounts = &site.web.accounts;
    let account = accounts.get(name).await?;
    if who.actor.name == name && account.second_factor.is_some() {
        let address = authentication::address(site, call);
        let verified = accounts.verify_code(name, code.unwrap_or(""), address);
        if let Err(error) = verified.await {
            who.refused(site, action, &error.to_string()).await;
            return Err(match error {
                LoginError::WrongCode | LoginError::UsedCode => Fault::Forbidden(
                    "resetting your own second factor requires one of its codes; if you lost it, ask an admin to reset it"
                        .to_owned(),
                ),
                error => error.into(),
            });
        }
    }
    let entry = who.audit(site, action).await?;
    accounts.reset_factor(name, entry.also()).await?;
    tracing::warn!(user = name, actor = %who.actor.name, "a second factor was reset");
    Ok(())
}

pub(in crate::server) fn delegation_view(delegation: &Delegation) -> DelegationView {
    DelegationView {
        id: delegation.id.clone(),
        from: delegation.from.clone(),
        to: delegation.to.clone(),
        until: delegation.until,
        project: delegation.project.clone(),
        by: delegation.by.clone(),
        created_at: delegation.created,
    }
}

/// Delegates the approvals of `from` to another user.
pub(in crate::server) async fn delegate(
    site: &Site,
    who: &Who,
    from: &str,
    new: NewDelegationBody,
) -> Result<Delegation, Fault> {
    who.needs_to_be(from, "delegate for another user")?;
    if let Some(project) = &new.project
        && site.web.config.project(project).is_none()
    {
        return Err(Fault::Invalid(format!(
            "the configuration has no project {}; omit it for all projects",
            project.escape_debug().take(80).collect::<String>()
        )));
    }
    let new = account::NewDelegation {
        from: from.to_owned(),
        to: new.to,
        until: new.until,
        project: new.project,
        by: who.actor.name.clone(),
    };
    let projects = new.project.as_deref().unwrap_or("all projects");
    let on = format!(
        "{} to {} until {} in {projects}",
        new.from, new.to, new.until
    );
    let entry = who.audit(site, AuditedAction::on("delegate", on)).await?;
    let made = site.web.accounts.delegate(new, entry.also()).await?;
    tracing::info!(
        from = %made.from, to = %made.to, until = %made.until, actor = %who.actor.name,
        "a delegation was made"
    );
    Ok(made)
}

/// Ends a delegation early.
pub(in crate::server) async fn end_delegation(
    site: &Site,
    who: &Who,
    from: &str,
    id: &str,
) -> Result<(), Fault> {
    who.needs_to_be(from, "end a delegation of another user")?;
    let accounts = &site.web.accounts;
    let action = AuditedAction::on("end delegation", format!("{from}: {id}"));
    let entry = who.audit(site, action).await?;
    accounts.end_delegation(from, id, entry.also()).await?;
    tracing::info!(from, delegation = id, actor = %who.actor.name, "a delegation was ended");
    Ok(())
}
