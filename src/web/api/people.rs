//! Users and their tokens.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::answer::{self, Answer};
use super::super::call::Call;
use super::super::view::{
    MadeToken, NewPassword, NewToken, NewUser, TokenList, TokenView, UserList, UserView,
};
use super::super::who::{Deed, who};
use crate::account::{Account, NewAccount, Status, Token};
use crate::approval::Role;
use crate::secret::ExposeSecret as _;

pub(in crate::web) fn user_view(account: &Account) -> UserView {
    UserView {
        name: account.name.clone(),
        display: account.display.clone(),
        role: account.role,
        groups: account.groups.iter().cloned().collect(),
        disabled: account.status == Status::Disabled,
        created_at: account.created,
    }
}

pub(in crate::web) fn token_view(token: &Token) -> TokenView {
    TokenView {
        id: token.id.clone(),
        name: token.label.clone(),
        created_at: token.created,
        expires: token.expires,
    }
}

pub(super) async fn list(site: &Arc<Site>, call: &mut Call) -> Answer {
    who(site, call).await?.needs(Role::Admin, "see users")?;
    let accounts = site.web.accounts.list().await?;
    let users = accounts.iter().map(user_view).collect();
    answer::json(StatusCode::OK, &UserList { users })
}

pub(super) async fn add(site: &Arc<Site>, call: &mut Call) -> Answer {
    let who = who(site, call).await?;
    who.called(call)?;
    who.needs(Role::Admin, "add users")?;
    let new: NewUser = call.json(site.web.limits.body).await?;
    let account = NewAccount {
        name: new.name,
        display: new.display,
        role: new.role,
        groups: new.groups.into_iter().collect(),
        password: new.password.map(Into::into),
    };
    let on = format!("{} as {}", account.name, account.role);
    let turn = who.turn(site, Deed::on("add user", on)).await?;
    let account = site.web.accounts.add(account, turn.also()).await?;
    tracing::info!(user = %account.name, actor = %who.actor.name, "a user was added");
    answer::json(StatusCode::CREATED, &user_view(&account))
}

pub(super) async fn remove(site: &Arc<Site>, call: &mut Call, name: &str) -> Answer {
    let who = who(site, call).await?;
    who.called(call)?;
    who.needs(Role::Admin, "remove users")?;
    let turn = who.turn(site, Deed::on("remove user", name)).await?;
    site.web.accounts.remove(name, turn.also()).await?;
    tracing::info!(user = name, actor = %who.actor.name, "a user was removed");
    Ok(answer::nothing())
}

pub(super) async fn set_password(site: &Arc<Site>, call: &mut Call, name: &str) -> Answer {
    let who = who(site, call).await?;
    who.called(call)?;
    who.needs_to_be(name, "set another user's password")?;
    let NewPassword { password } = call.json(site.web.limits.body).await?;
    let accounts = &site.web.accounts;
    let turn = who.turn(site, Deed::on("set password", name)).await?;
    accounts
        .set_password(name, &password.into(), turn.also())
        .await?;
    tracing::info!(user = name, actor = %who.actor.name, "a password was set");
    Ok(answer::nothing())
}

pub(super) async fn tokens(site: &Arc<Site>, call: &mut Call, name: &str) -> Answer {
    let who = who(site, call).await?;
    who.needs_to_be(name, "see another user's tokens")?;
    let tokens = site.web.accounts.tokens(name).await?;
    let tokens = tokens.iter().map(token_view).collect();
    answer::json(StatusCode::OK, &TokenList { tokens })
}

pub(super) async fn new_token(site: &Arc<Site>, call: &mut Call, name: &str) -> Answer {
    let who = who(site, call).await?;
    who.called(call)?;
    who.needs_to_be(name, "make a token for another user")?;
    let asked: NewToken = call.json(site.web.limits.body).await?;
    let label = label(&asked.name);
    let accounts = &site.web.accounts;
    let turn = who
        .turn(site, Deed::on("make token", format!("{name}: {label}")))
        .await?;
    let made = accounts
        .new_token(name, label, asked.expires, turn.also())
        .await?;
    tracing::info!(user = name, token = %made.token.id, actor = %who.actor.name, "a token was made");
    let made = MadeToken {
        id: made.token.id,
        token: made.secret.expose_secret().to_owned(),
    };
    answer::json(StatusCode::CREATED, &made)
}

/// A token without a name is called so.
pub(in crate::web) fn label(given: &str) -> &str {
    match given.trim() {
        "" => "token",
        given => given,
    }
}

pub(super) async fn revoke(site: &Arc<Site>, call: &mut Call, name: &str, id: &str) -> Answer {
    let who = who(site, call).await?;
    who.called(call)?;
    who.needs_to_be(name, "revoke another user's token")?;
    let turn = who
        .turn(site, Deed::on("revoke token", format!("{name}: {id}")))
        .await?;
    site.web.accounts.revoke(name, id, turn.also()).await?;
    tracing::info!(user = name, token = id, actor = %who.actor.name, "a token was revoked");
    Ok(answer::nothing())
}
