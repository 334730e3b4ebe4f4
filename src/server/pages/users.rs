//! Users: the list for admins; one user's password and tokens, for admins and the user.

use std::sync::Arc;

use askama::Template;
use hyper::StatusCode;
use serde::Deserialize;

use super::super::Site;
use super::super::actions::account::delegation_view;
use super::super::actions::users::{
    add_user, change_password, change_user, make_token, remove_user, revoke_token, token_view,
    user_view,
};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::text::Times;
use super::{Frame, plain_sender, sender, shown, times};
use crate::api::{self, ChangeUser, DelegationView, TokenView, UserView};
use crate::base::language::Language;
use crate::base::secret::ExposeSecret as _;
use crate::domain::permission::{Ability, Role, Scope};
use crate::identity::account::{Enrolment, Qr};

#[derive(Template)]
#[template(path = "web/users.html")]
struct UsersPage {
    frame: Frame,
    times: Times,
    users: Vec<UserView>,
    roles: [Role; 5],
}

impl UsersPage {
    /// Whether a new user has this role unless another one is chosen.
    fn is_usual(&self, role: &Role) -> bool {
        *role == Role::Viewer
    }
}

pub(in crate::server) async fn list(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    who.needs(Ability::Manage, "see users")?;
    let accounts = site.web.accounts.list().await?;
    let page = UsersPage {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        users: accounts.iter().map(user_view).collect(),
        roles: Role::ALL,
    };
    shown(&page)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUserForm {
    #[serde(default)]
    csrf: String,
    name: String,
    #[serde(default)]
    display: String,
    role: Role,
    /// Names separated by blanks or commas.
    #[serde(default)]
    groups: String,
    #[serde(default)]
    password: String,
}

pub(in crate::server) async fn add(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let new: NewUserForm = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &new.csrf).await?;
    let new = api::NewUserBody {
        name: new.name.trim().to_owned(),
        display: new.display.trim().to_owned(),
        role: new.role,
        groups: groups(&new.groups),
        password: (!new.password.is_empty()).then_some(new.password),
    };
    let account = add_user(site, &who, new).await?;
    answer::see(&format!("/users/{}", account.name))
}

/// Splits names at blanks or commas, and removes the `@` that approvals have.
fn groups(text: &str) -> Vec<String> {
    text.split([',', ' '])
        .map(|group| group.trim_start_matches('@'))
        .filter(|group| !group.is_empty())
        .map(str::to_owned)
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountChangeForm {
    #[serde(default)]
    csrf: String,
    role: Role,
    #[serde(default)]
    groups: String,
}

pub(in crate::server) async fn change(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let fields: AccountChangeForm = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &fields.csrf).await?;
    let change = ChangeUser {
        role: Some(fields.role),
        groups: Some(groups(&fields.groups)),
        ..ChangeUser::default()
    };
    change_user(site, &who, name, change).await?;
    answer::see(&format!("/users/{name}"))
}

/// `…/disable`, `…/enable`.
pub(in crate::server) async fn switch(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
    what: &str,
) -> HttpResult {
    let who = plain_sender(site, call).await?;
    let change = ChangeUser {
        disabled: Some(what == "disable"),
        ..ChangeUser::default()
    };
    change_user(site, &who, name, change).await?;
    answer::see(&format!("/users/{name}"))
}

pub(in crate::server) async fn remove(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = plain_sender(site, call).await?;
    remove_user(site, &who, name).await?;
    answer::see("/users")
}

#[derive(Template)]
#[template(path = "web/user.html")]
struct UserPage {
    frame: Frame,
    times: Times,
    user: UserView,
    tokens: Vec<TokenView>,
    scopes: [Scope; 4],
    roles: [Role; 5],
    /// What was just created, shown once.
    made: NewCredential,
    /// Delegations from and to the user.
    delegations: Vec<DelegationView>,
    projects: Vec<String>,
    /// Whether it is the viewer's own page.
    own: bool,
    admin: bool,
}

/// A credential that was just created and is shown once, if any.
pub(super) enum NewCredential {
    Nothing,
    Token(String),
    Factor(Enrolment),
    /// A second factor was begun, and its first code was wrong: the user may try again.
    WrongCode,
}

impl UserPage {
    fn token(&self) -> Option<&str> {
        match &self.made {
            NewCredential::Token(token) => Some(token),
            NewCredential::Nothing | NewCredential::Factor(_) | NewCredential::WrongCode => None,
        }
    }

    /// Returns secret and URI of a second factor that waits for its first code.
    fn factor(&self) -> Option<(&str, &str)> {
        match &self.made {
            NewCredential::Factor(begun) => {
                Some((begun.secret.expose_secret(), begun.uri.expose_secret()))
            }
            NewCredential::Nothing | NewCredential::Token(_) | NewCredential::WrongCode => None,
        }
    }

    /// Returns the QR code for an authenticator app.
    fn qr(&self) -> Option<Qr> {
        Qr::of(self.factor()?.1)
    }

    fn languages(&self) -> [Language; 2] {
        Language::ALL
    }

    /// Whether the page is in this language.
    fn speaks(&self, language: &Language) -> bool {
        self.frame.language == *language
    }

    /// Whether the viewer may end this delegation.
    fn may_end(&self, delegation: &DelegationView) -> bool {
        self.admin || delegation.from == self.user.name
    }

    /// Whether the entered code did not match the secret that was shown.
    fn wrong_code(&self) -> bool {
        matches!(self.made, NewCredential::WrongCode)
    }
}

pub(in crate::server) async fn one(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    show(site, &who, name, NewCredential::Nothing).await
}

pub(super) async fn show(
    site: &Arc<Site>,
    who: &Who,
    name: &str,
    made: NewCredential,
) -> HttpResult {
    who.needs_to_be(name, "see another user")?;
    let accounts = &site.web.accounts;
    let user = user_view(&accounts.get(name).await?);
    let tokens = accounts.tokens(name).await?;
    let page = UserPage {
        frame: Frame::of(site, who).await?,
        times: times(site),
        tokens: tokens.iter().map(token_view).collect(),
        scopes: Scope::ALL,
        roles: Role::ALL,
        delegations: accounts
            .delegations()
            .await?
            .iter()
            .filter(|one| one.from == name || one.to == name)
            .map(delegation_view)
            .collect(),
        projects: site
            .web
            .config
            .projects
            .iter()
            .map(|project| project.name.clone())
            .collect(),
        own: who.actor.name == user.name,
        admin: who.actor.role >= Role::Admin,
        made,
        user,
    };
    let status = match page.made {
        NewCredential::WrongCode => StatusCode::UNPROCESSABLE_ENTITY,
        NewCredential::Nothing | NewCredential::Token(_) | NewCredential::Factor(_) => {
            StatusCode::OK
        }
    };
    answer::page(status, &page)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    #[serde(default)]
    csrf: String,
    /// The user's current password; admins need not know that of others.
    #[serde(default)]
    present: String,
    password: String,
}

pub(in crate::server) async fn set_password(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
) -> HttpResult {
    let fields: Password = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &fields.csrf).await?;
    let passwords = [fields.present, fields.password];
    change_password(site, call, &who, name, passwords).await?;
    see_user_or_login(&who, name)
}

/// Redirects after a change of credentials: the user's own session has ended.
pub(super) fn see_user_or_login(who: &Who, name: &str) -> HttpResult {
    answer::see(&match who.actor.name == name {
        true => "/login".to_owned(),
        false => format!("/users/{name}"),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTokenForm {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    expires: String,
    /// Browsers send only boxes that are ticked.
    #[serde(default)]
    read: String,
    #[serde(default)]
    submit: String,
    #[serde(default)]
    approve: String,
    #[serde(default)]
    admin: String,
}

impl NewTokenForm {
    fn scopes(&self) -> Vec<Scope> {
        let boxes = [
            (&self.read, Scope::Read),
            (&self.submit, Scope::Submit),
            (&self.approve, Scope::Approve),
            (&self.admin, Scope::Admin),
        ];
        let ticked = boxes.into_iter().filter(|(sent, _)| !sent.is_empty());
        ticked.map(|(_, scope)| scope).collect()
    }
}

pub(in crate::server) async fn new_token(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
) -> HttpResult {
    let fields: NewTokenForm = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &fields.csrf).await?;
    let body = api::NewTokenBody {
        expires: times(site).parse(&fields.expires)?,
        scopes: Some(fields.scopes()),
        name: fields.label,
    };
    let made = make_token(site, &who, name, body).await?;
    let secret = made.secret.expose_secret().to_owned();
    show(site, &who, name, NewCredential::Token(secret)).await
}

pub(in crate::server) async fn revoke(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
    id: &str,
) -> HttpResult {
    let who = plain_sender(site, call).await?;
    revoke_token(site, &who, name, id).await?;
    answer::see(&format!("/users/{name}"))
}
