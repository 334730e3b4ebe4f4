//! Users and their tokens.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::actions::users::{
    add_user, change_password, change_user, make_token, remove_user, revoke_token, token_view,
    user_view,
};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{who_calls, who_reads};
use super::super::call::Call;
use crate::api::{
    ChangeUser, MadeToken, NewPassword, NewTokenBody, NewUserBody, TokenList, UserList,
};
use crate::base::secret::ExposeSecret as _;
use crate::domain::permission::Ability;

pub(super) async fn list(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    who.needs(Ability::Manage, "see users")?;
    let accounts = site.web.accounts.list().await?;
    let users = accounts.iter().map(user_view).collect();
    answer::json(StatusCode::OK, &UserList { users })
}

pub(super) async fn add(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_calls(site, call).await?;
    let new: NewUserBody = call.json(site.web.limits.body).await?;
    let account = add_user(site, &who, new).await?;
    answer::json(StatusCode::CREATED, &user_view(&account))
}

pub(super) async fn change(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    let body: ChangeUser = call.json(site.web.limits.body).await?;
    let account = change_user(site, &who, name, body).await?;
    answer::json(StatusCode::OK, &user_view(&account))
}

pub(super) async fn remove(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    remove_user(site, &who, name).await?;
    Ok(answer::nothing())
}

pub(super) async fn set_password(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    who.needs_to_be(name, "set another user's password")?;
    let NewPassword { password, present } = call.json(site.web.limits.body).await?;
    let present = present.unwrap_or_default();
    change_password(site, call, &who, name, [present, password]).await?;
    Ok(answer::nothing())
}

pub(super) async fn tokens(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    who.needs_to_be(name, "see another user's tokens")?;
    let tokens = site.web.accounts.tokens(name).await?;
    let tokens = tokens.iter().map(token_view).collect();
    answer::json(StatusCode::OK, &TokenList { tokens })
}

pub(super) async fn new_token(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    let body: NewTokenBody = call.json(site.web.limits.body).await?;
    let made = make_token(site, &who, name, body).await?;
    let made = MadeToken {
        id: made.token.id,
        token: made.secret.expose_secret().to_owned(),
    };
    answer::json(StatusCode::CREATED, &made)
}

pub(super) async fn revoke(site: &Arc<Site>, call: &mut Call, name: &str, id: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    revoke_token(site, &who, name, id).await?;
    Ok(answer::nothing())
}
