//! `tagship hosts`: list, disable and enable through the agent; enroll from here, since the user
//! who runs the command must verify the key.

use super::arguments::{Enroll, HostsCommand, OutputForm};
use super::client::ApiRequest;
use super::context::{AgentConnection, CONFIGURED, CliContext};
use super::error::CommandError;
use super::screen;
use super::table::{Table, printable};
use crate::api::{EmptyBody, HostList, ReasonBody};
use crate::setup::doctor::enroll::{self, Pinned};

/// `tagship hosts …`.
pub(crate) async fn hosts(ctx: &CliContext, args: &HostsCommand) -> Result<(), CommandError> {
    match args {
        HostsCommand::List { form } => list(ctx, *form).await,
        HostsCommand::Enroll(args) => enroll(ctx, args).await,
        HostsCommand::Disable { name, reason } => {
            let AgentConnection { client, .. } = ctx.agent().await?;
            let body = ReasonBody {
                reason: reason.clone(),
            };
            client
                .run(&ApiRequest::post(["hosts", name, "disable"], &body))
                .await?;
            let reason = printable(reason);
            screen::print(&format!("{name} is disabled: {reason}\n"))
        }
        HostsCommand::Enable { name } => {
            let AgentConnection { client, .. } = ctx.agent().await?;
            client
                .run(&ApiRequest::post(["hosts", name, "enable"], &EmptyBody {}))
                .await?;
            screen::print(&format!("{name} is enabled\n"))
        }
    }
}

async fn list(ctx: &CliContext, form: OutputForm) -> Result<(), CommandError> {
    let Some((HostList { hosts }, zone)) = ctx.answer(&ApiRequest::get(["hosts"]), form).await?
    else {
        return Ok(());
    };
    let mut table = Table::new(["NAME", "ADDRESS", "GROUPS", "ENABLED"]);
    for host in hosts {
        let enabled = match host.disabled {
            None => "yes".to_owned(),
            Some(disabled) => format!(
                "no, since {} by {}: {}",
                zone.show(disabled.at),
                disabled.by,
                disabled.reason
            ),
        };
        table.row([
            host.name,
            format!("{}:{}", host.address, host.port),
            host.groups.join(", "),
            enabled,
        ]);
    }
    let table = table.states("ENABLED", screen::paint());
    screen::print(&table.render(screen::width()))
}

/// Shows the key that the host offers and stores it, once the user has confirmed it.
async fn enroll(ctx: &CliContext, args: &Enroll) -> Result<(), CommandError> {
    let config = ctx.config()?;
    if !config.hosts.contains_key(&args.name) {
        let known: Vec<&str> = config.hosts.keys().map(String::as_str).collect();
        return Err(CommandError::no_name(
            "host", &args.name, CONFIGURED, &known,
        ));
    }
    let offer = enroll::offer(&config, &args.name).await?;
    let fingerprint = offer.fingerprint();
    if offer.is_pinned()? {
        return screen::print(&format!(
            "{} is enrolled already: {fingerprint}\n",
            args.name
        ));
    }
    screen::note(&format!(
        "{} shows the host key {} {fingerprint}",
        offer.target(),
        offer.key_type()
    ));
    match &args.fingerprint {
        Some(expected) if *expected != fingerprint => {
            return Err(CommandError::Enroll(format!(
                "{} shows {fingerprint}, not {expected}; no key was stored. Look at the host's console before you trust it",
                args.name
            )));
        }
        Some(_) => {}
        None if args.yes => {}
        None if screen::can_ask() => {
            let question = "Is that the fingerprint that the host itself names (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)?";
            if !screen::ask(question)? {
                return Err(CommandError::Enroll(
                    "no key was stored; compare the fingerprint, then run it again and answer yes"
                        .to_owned(),
                ));
            }
        }
        None => {
            return Err(CommandError::Enroll(format!(
                "there is no terminal to compare the fingerprint on; give --fingerprint {fingerprint} once you have compared it with the host's own"
            )));
        }
    }
    let done = match offer.pin()? {
        Pinned::Added => "is enrolled",
        Pinned::WasThere => "is enrolled already",
    };
    screen::print(&format!(
        "{} {done}: {fingerprint} is in {}\n",
        args.name,
        offer.file().display()
    ))
}
