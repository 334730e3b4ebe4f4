//! `tagship user` and `tagship token`. They go through the agent. If none runs, the first account
//! and its token can be created in the store directly.

use std::sync::Arc;

use super::arguments::{
    AddUser, DelegateArgs, OutputForm, SetUser, TokenCommand, Totp, UserCommand,
};
use super::client::ApiRequest;
use super::context::{AgentConnection, CliContext, is_no_agent, owned_directory};
use super::error::CommandError;
use super::screen;
use super::table::Table;
use crate::agent;
use crate::api::{
    BegunFactor, ChangeUser, CodeBody, DelegationList, DelegationView, MadeToken,
    NewDelegationBody, NewPassword, NewTokenBody, NewUserBody, ResetFactor, TokenList, UserList,
    UserView,
};
use crate::base::clock::{Clock, SystemClock};
use crate::base::secret::{ExposeSecret, SecretString};
use crate::config::Config;
use crate::domain::permission::Scopes;
use crate::identity::account::{Accounts, NewAccount, Qr, TokenTerms};
use crate::store::audit::{AuditAction, Ledger, PendingEntry};

/// `tagship user …`.
pub(crate) async fn user(ctx: &CliContext, args: &UserCommand) -> Result<(), CommandError> {
    match args {
        UserCommand::Add(user) => add(ctx, user).await,
        UserCommand::List { form } => list(ctx, *form).await,
        UserCommand::Set(args) => set(ctx, args).await,
        UserCommand::Remove { name } => {
            let AgentConnection { client, .. } = ctx.agent().await?;
            client.run(&ApiRequest::delete(["users", name])).await?;
            screen::print(&format!("{name} is removed, with all their tokens\n"))
        }
        UserCommand::Password { name, own, .. } => {
            let AgentConnection { client, .. } = ctx.agent().await?;
            let present = match own {
                true => Some(screen::read_password()?.expose_secret().to_owned()),
                false => None,
            };
            let body = NewPassword {
                present,
                password: screen::read_password()?.expose_secret().to_owned(),
            };
            client
                .run(&ApiRequest::post(["users", name, "password"], &body))
                .await?;
            screen::print(&format!(
                "the password of {name} is set; sessions have ended\n"
            ))
        }
        UserCommand::Totp(args) => totp(ctx, args).await,
        UserCommand::Delegate(args) => delegate(ctx, args).await,
        UserCommand::Delegations { form } => delegations(ctx, *form).await,
        UserCommand::Undelegate { from, id } => {
            let AgentConnection { client, .. } = ctx.agent().await?;
            let ask = ApiRequest::delete(["users", from, "delegations", id]);
            client.run(&ask).await?;
            screen::print(&format!("delegation {id} of {from} has ended\n"))
        }
    }
}

async fn list(ctx: &CliContext, form: OutputForm) -> Result<(), CommandError> {
    let Some((UserList { users }, zone)) = ctx.answer(&ApiRequest::get(["users"]), form).await?
    else {
        return Ok(());
    };
    let mut table = Table::new(["NAME", "ROLE", "GROUPS", "CREATED", "DISPLAY"]);
    for user in users {
        let disabled = if user.disabled { " (disabled)" } else { "" };
        let factor = user.second_factor.map_or("", |_| " + code");
        table.row([
            user.name,
            format!("{}{factor}{disabled}", user.role),
            user.groups.join(", "),
            zone.show(user.created_at),
            user.display,
        ]);
    }
    screen::print(&table.render(screen::width()))
}

/// `tagship user set`.
async fn set(ctx: &CliContext, args: &SetUser) -> Result<(), CommandError> {
    let groups = args.groups.iter().map(|group| group_name(group));
    let body = ChangeUser {
        display: args.display.clone(),
        role: args.role,
        groups: (args.no_groups || !args.groups.is_empty()).then(|| groups.collect()),
        disabled: (args.disable || args.enable).then_some(args.disable),
    };
    let AgentConnection { client, .. } = ctx.agent().await?;
    let ask = ApiRequest::post(["users", &args.name], &body);
    let user: UserView = client.ask(&ask).await?;
    let groups = match user.groups.as_slice() {
        [] => "in no group".to_owned(),
        groups => format!("in {}", groups.join(", ")),
    };
    let disabled = if user.disabled { ", disabled" } else { "" };
    screen::print(&format!(
        "{} is {}, {groups}{disabled}\n",
        user.name, user.role
    ))
}

/// `tagship user totp`.
async fn totp(ctx: &CliContext, args: &Totp) -> Result<(), CommandError> {
    let AgentConnection { client, .. } = ctx.agent().await?;
    let name = args.name.as_str();
    let ask = |what, body| ApiRequest::post(["users", name, "totp", what], &body);
    if args.reset {
        let body = ResetFactor {
            code: args.code.clone(),
        };
        client.run(&ask("reset", serde_json::json!(body))).await?;
        return screen::print(&format!(
            "the second factor of {name} is removed; sessions have ended\n"
        ));
    }
    if let Some(code) = &args.code {
        let body = CodeBody { code: code.clone() };
        client.run(&ask("confirm", serde_json::json!(body))).await?;
        return screen::print(&format!(
            "the second factor of {name} is enabled; sessions have ended\n"
        ));
    }
    let begun: BegunFactor = client.ask(&ask("begin", serde_json::json!({}))).await?;
    screen::draw(|| Qr::of(&begun.uri).map(|qr| qr.blocks()));
    screen::note(&format!(
        "give this to an authenticator app (it is shown only now), then confirm it: tagship user totp {name} --code CODE"
    ));
    screen::print(&format!("{}\n{}\n", begun.secret, begun.uri))
}

/// `tagship user delegate`.
async fn delegate(ctx: &CliContext, args: &DelegateArgs) -> Result<(), CommandError> {
    let AgentConnection { client, zone } = ctx.agent().await?;
    let until = args.until.resolve(&zone, SystemClock.now());
    let body = NewDelegationBody {
        to: args.to.clone(),
        until: until.map_err(|error| CommandError::Option {
            option: "--until",
            reason: error.to_string(),
        })?,
        project: args.project.clone(),
    };
    let ask = ApiRequest::post(["users", &args.from, "delegations"], &body);
    let made: DelegationView = client.ask(&ask).await?;
    let scope = match &made.project {
        Some(project) => format!(" in {project}"),
        None => String::new(),
    };
    screen::print(&format!(
        "{} may approve on behalf of {}{scope} until {} (delegation {})\n",
        made.to,
        made.from,
        zone.show(made.until),
        made.id
    ))
}

/// `tagship user delegations`.
async fn delegations(ctx: &CliContext, form: OutputForm) -> Result<(), CommandError> {
    let ask = ApiRequest::get(["delegations"]);
    let Some((DelegationList { delegations }, zone)) = ctx.answer(&ask, form).await? else {
        return Ok(());
    };
    let mut table = Table::new(["ID", "FROM", "TO", "PROJECT", "UNTIL", "BY"]);
    for one in delegations {
        table.row([
            one.id,
            one.from,
            one.to,
            one.project.unwrap_or_else(|| "all".to_owned()),
            zone.show(one.until),
            one.by,
        ]);
    }
    screen::print(&table.render(screen::width()))
}

async fn add(ctx: &CliContext, args: &AddUser) -> Result<(), CommandError> {
    let password = match args.password_stdin {
        true => Some(screen::read_password()?),
        false => None,
    };
    let body = NewUserBody {
        name: args.name.clone(),
        display: args.display.clone().unwrap_or_default(),
        role: args.role,
        groups: args.groups.iter().map(|group| group_name(group)).collect(),
        password: password.as_ref().map(|p| p.expose_secret().to_owned()),
    };
    let AgentConnection { client, .. } = ctx.agent().await?;
    let answer = client.run(&ApiRequest::post(["users"], &body)).await;
    match answer.map_err(CommandError::from) {
        Err(error) if !ctx.is_elsewhere() && is_no_agent(&error) => {
            add_to_store(&ctx.config()?, body, password).await?;
        }
        answer => answer?,
    }
    screen::print(&format!("{} is added as {}\n", args.name, args.role))
}

/// Removes the `@` that groups have in approvals.
fn group_name(group: &str) -> String {
    group.strip_prefix('@').unwrap_or(group).to_owned()
}

async fn add_to_store(
    config: &Config,
    user: NewUserBody,
    password: Option<SecretString>,
) -> Result<(), CommandError> {
    let new = NewAccount {
        name: user.name,
        display: user.display,
        role: user.role,
        groups: user.groups.into_iter().collect(),
        password,
    };
    let (accounts, ledger) = accounts(config).await?;
    let on = format!("{} as {}", new.name, new.role);
    let entry = audit(&ledger, "add user", on).await?;
    accounts.add(new, entry.also()).await.map_err(refused)?;
    Ok(())
}

/// Opens the accounts in the store, which no agent holds.
async fn accounts(config: &Config) -> Result<(Accounts, Ledger), CommandError> {
    owned_directory(config)?;
    let store = agent::open_store(config).await.map_err(|error| {
        CommandError::Accounts(format!(
            "no agent answers at {}, and its store cannot be opened: {error:#}",
            config.socket().display()
        ))
    })?;
    let accounts = Accounts::new(store.kv(), Arc::new(SystemClock));
    Ok((accounts, Ledger::new(store.kv())))
}

/// Returns the audit entry for an action in the store itself.
async fn audit(ledger: &Ledger, what: &str, on: String) -> Result<PendingEntry, CommandError> {
    let action = AuditAction::in_store(what, on);
    let entry = ledger.next(action, SystemClock.now()).await;
    entry.map_err(|error| CommandError::Accounts(error.to_string()))
}

fn refused(error: crate::identity::account::AccountError) -> CommandError {
    CommandError::Accounts(error.to_string())
}

/// `tagship token …`.
pub(crate) async fn token(ctx: &CliContext, args: &TokenCommand) -> Result<(), CommandError> {
    match args {
        TokenCommand::New {
            user,
            expires,
            label,
            scopes,
        } => {
            let expires = match expires {
                Some(lifetime) => Some(lifetime.from(SystemClock.now()).map_err(|error| {
                    CommandError::Option {
                        option: "--expires",
                        reason: error.to_string(),
                    }
                })?),
                None => None,
            };
            let body = NewTokenBody {
                name: label.clone(),
                expires,
                scopes: (!scopes.is_empty()).then(|| scopes.clone()),
            };
            new_token(ctx, user, body).await
        }
        TokenCommand::List { user, form } => tokens(ctx, user, *form).await,
        TokenCommand::Revoke { user, id } => {
            let AgentConnection { client, .. } = ctx.agent().await?;
            client
                .run(&ApiRequest::delete(["users", user, "tokens", id]))
                .await?;
            screen::print(&format!("token {id} of {user} is revoked\n"))
        }
    }
}

async fn new_token(ctx: &CliContext, user: &str, body: NewTokenBody) -> Result<(), CommandError> {
    let expires = body.expires;
    let AgentConnection { client, zone } = ctx.agent().await?;
    let answer = client
        .ask(&ApiRequest::post(["users", user, "tokens"], &body))
        .await;
    let made: MadeToken = match answer.map_err(CommandError::from) {
        Err(error) if !ctx.is_elsewhere() && is_no_agent(&error) => {
            let (accounts, ledger) = accounts(&ctx.config()?).await?;
            let entry = audit(&ledger, "make token", format!("{user}: {}", body.name)).await?;
            let terms = TokenTerms {
                label: body.name,
                expires,
                scopes: body
                    .scopes
                    .map_or_else(Scopes::default, |scopes| scopes.into_iter().collect()),
            };
            let made = accounts.new_token(user, terms, entry.also());
            let made = made.await.map_err(refused)?;
            MadeToken {
                id: made.token.id,
                token: made.secret.expose_secret().to_owned(),
            }
        }
        answer => answer?,
    };
    let until = match expires {
        Some(expires) => format!("valid until {}", zone.show(expires)),
        None => "valid until it is revoked".to_owned(),
    };
    // Only the token goes to standard output, where a script reads it.
    screen::note(&format!(
        "token {} for {user}, {until}; it is shown only now",
        made.id
    ));
    screen::print(&format!("{}\n", made.token))
}

async fn tokens(ctx: &CliContext, user: &str, form: OutputForm) -> Result<(), CommandError> {
    let ask = ApiRequest::get(["users", user, "tokens"]);
    let Some((TokenList { tokens }, zone)) = ctx.answer(&ask, form).await? else {
        return Ok(());
    };
    let mut table = Table::new(["ID", "FOR", "SCOPES", "CREATED", "EXPIRES"]);
    for token in tokens {
        let expires = token.expires.map(|expires| zone.show(expires));
        table.row([
            token.id,
            token.name,
            token.scopes.to_string(),
            zone.show(token.created_at),
            expires.unwrap_or_else(|| "never".to_owned()),
        ]);
    }
    screen::print(&table.render(screen::width()))
}
