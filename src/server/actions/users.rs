//! Users and their tokens, shared by the pages, the JSON API and CODO's API.

use std::sync::Arc;

use super::super::Site;
use super::super::authentication::{self, AuditedAction, Who};
use super::super::call::Call;
use super::super::fault::Fault;
use crate::api::{ChangeUser, NewTokenBody, NewUserBody, TokenView, UserView};
use crate::domain::permission::{Ability, Scopes};
use crate::identity::account::{self, Account, LoginError, NewAccount, Status, Token, TokenTerms};

pub(in crate::server) fn user_view(account: &Account) -> UserView {
    UserView {
        name: account.name.clone(),
        display: account.display.clone(),
        role: account.role,
        groups: account.groups.iter().cloned().collect(),
        disabled: account.status == Status::Disabled,
        created_at: account.created,
        second_factor: account.second_factor,
    }
}

pub(in crate::server) fn token_view(token: &Token) -> TokenView {
    TokenView {
        id: token.id.clone(),
        name: token.label.clone(),
        created_at: token.created,
        expires: token.expires,
        scopes: token.scopes.clone(),
    }
}

/// Adds a user.
pub(in crate::server) async fn add_user(
    site: &Site,
    who: &Who,
    new: NewUserBody,
) -> Result<Account, Fault> {
    who.needs(Ability::Manage, "add users")?;
    let account = NewAccount {
        name: new.name,
        display: new.display,
        role: new.role,
        groups: new.groups.into_iter().collect(),
        password: new.password.map(Into::into),
    };
    let on = format!("{} as {}", account.name, account.role);
    let entry = who.audit(site, AuditedAction::on("add user", on)).await?;
    let account = site.web.accounts.add(account, entry.also()).await?;
    tracing::info!(user = %account.name, actor = %who.actor.name, "a user was added");
    Ok(account)
}

/// Changes a user's display name or permissions, or disables or enables them.
pub(in crate::server) async fn change_user(
    site: &Site,
    who: &Who,
    name: &str,
    body: ChangeUser,
) -> Result<Account, Fault> {
    who.needs(Ability::Manage, "change users")?;
    if body.disabled == Some(true) {
        refuse_own_account(who, name, "disable")?;
    }
    let mut changed: Vec<String> = Vec::new();
    changed.extend(body.role.map(|role| format!("role {role}")));
    changed.extend(body.groups.as_ref().map(|groups| match groups.as_slice() {
        [] => "no groups".to_owned(),
        groups => format!("groups {}", groups.join(" ")),
    }));
    changed.extend(body.display.as_ref().map(|_| "display name".to_owned()));
    changed.extend(body.disabled.map(|disabled| match disabled {
        true => "disabled".to_owned(),
        false => "enabled".to_owned(),
    }));
    if changed.is_empty() {
        return Err(Fault::Invalid(
            "no change is requested: send role, groups, display or disabled".to_owned(),
        ));
    }
    let change = account::AccountChange {
        display: body.display,
        role: body.role,
        groups: body.groups.map(|groups| groups.into_iter().collect()),
        status: body.disabled.map(|disabled| match disabled {
            true => Status::Disabled,
            false => Status::Active,
        }),
        language: None,
    };
    let on = format!("{name}: {}", changed.join(", "));
    let action = AuditedAction::on("change user", on);
    let entry = who.audit(site, action).await?;
    let account = site.web.accounts.update(name, change, entry.also()).await?;
    tracing::info!(
        user = name, changed = %changed.join(", "), actor = %who.actor.name,
        "a user was changed"
    );
    Ok(account)
}

/// Refuses an action on the user's own account, so that no one locks themselves out by mistake.
fn refuse_own_account(who: &Who, name: &str, what: &str) -> Result<(), Fault> {
    if who.actor.name == name {
        return Err(Fault::Conflict(format!(
            "you cannot {what} yourself; ask another admin"
        )));
    }
    Ok(())
}

/// Removes a user and their tokens.
pub(in crate::server) async fn remove_user(
    site: &Site,
    who: &Who,
    name: &str,
) -> Result<(), Fault> {
    who.needs(Ability::Manage, "remove users")?;
    refuse_own_account(who, name, "remove")?;
    let action = AuditedAction::on("remove user", name);
    let entry = who.audit(site, action).await?;
    site.web.accounts.remove(name, entry.also()).await?;
    tracing::info!(user = name, actor = %who.actor.name, "a user was removed");
    Ok(())
}

/// Sets a password: the user's own, given the current one, or another user's as an admin.
pub(in crate::server) async fn change_password(
    site: &Arc<Site>,
    call: &Call,
    who: &Who,
    name: &str,
    [present, password]: [String; 2],
) -> Result<(), Fault> {
    who.needs_to_be(name, "set another user's password")?;
    let action = AuditedAction::on("set password", name);
    let accounts = &site.web.accounts;
    if who.actor.name == name {
        let address = authentication::address(site, call);
        let present = present.into();
        let verified = accounts.verify_password(name, &present, address);
        if let Err(error) = verified.await {
            who.refused(site, action, &error.to_string()).await;
            return Err(match error {
                LoginError::Denied => Fault::Forbidden(
                    "the current password is missing or wrong; enter it again".to_owned(),
                ),
                error => error.into(),
            });
        }
    }
    let entry = who.audit(site, action).await?;
    let password = password.into();
    accounts.set_password(name, &password, entry.also()).await?;
    tracing::info!(user = name, actor = %who.actor.name, "a password was set");
    Ok(())
}

/// Creates a token for a user, never with more scopes than the credential that requests it.
pub(in crate::server) async fn make_token(
    site: &Site,
    who: &Who,
    name: &str,
    body: NewTokenBody,
) -> Result<account::NewToken, Fault> {
    let scopes: Scopes = match body.scopes {
        Some(scopes) => scopes.into_iter().collect(),
        None => who.actor.scopes.clone(),
    };
    let terms = TokenTerms {
        label: label(&body.name).to_owned(),
        expires: body.expires,
        scopes,
    };
    let on = format!("{name}: {} ({})", terms.label, terms.scopes);
    let action = AuditedAction::on("make token", on);
    if let Err(fault) = may_make(who, name, &terms.scopes) {
        who.refused(site, action, &fault.to_string()).await;
        return Err(fault);
    }
    let entry = who.audit(site, action).await?;
    let made = site.web.accounts.new_token(name, terms, entry.also());
    let made = made.await?;
    tracing::info!(
        user = name, token = %made.token.id, scopes = %made.token.scopes, actor = %who.actor.name,
        "a token was made"
    );
    Ok(made)
}

fn may_make(who: &Who, name: &str, scopes: &Scopes) -> Result<(), Fault> {
    who.needs_to_be(name, "create a token for another user")?;
    let own = &who.actor.scopes;
    if scopes.are_within(own) {
        return Ok(());
    }
    Err(Fault::Forbidden(format!(
        "this token of {} has the scopes {own} and cannot create a token with {scopes}: use a token that has them, or log in",
        who.actor.name
    )))
}

/// Returns a token's name, with a default if it is empty.
pub(in crate::server) fn label(given: &str) -> &str {
    match given.trim() {
        "" => "token",
        given => given,
    }
}

/// Revokes the user's own token, or another user's as an admin.
pub(in crate::server) async fn revoke_token(
    site: &Site,
    who: &Who,
    name: &str,
    id: &str,
) -> Result<(), Fault> {
    let action = AuditedAction::on("revoke token", format!("{name}: {id}"));
    if let Err(fault) = who.needs_to_be(name, "revoke another user's token") {
        who.refused(site, action, &fault.to_string()).await;
        return Err(fault);
    }
    let entry = who.audit(site, action).await?;
    site.web.accounts.revoke(name, id, entry.also()).await?;
    tracing::info!(user = name, token = id, actor = %who.actor.name, "a token was revoked");
    Ok(())
}
