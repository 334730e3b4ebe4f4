//! `tagship audit`: shows audit entries and whether they were tampered with. If no agent runs, it
//! reads the store directly.

use super::arguments::{Audit, AuditCommand, OutputForm};
use super::client::ApiRequest;
use super::context::{AgentConnection, CliContext, is_no_agent, owned_directory};
use super::error::CommandError;
use super::screen;
use super::table::Table;
use crate::agent;
use crate::api::AuditList;
use crate::store::audit::{ChainReport, Ledger};

/// `tagship audit …`.
pub(crate) async fn audit(ctx: &CliContext, args: &Audit) -> Result<(), CommandError> {
    match args.what {
        Some(AuditCommand::Verify { form }) => verify(ctx, form).await,
        None => list(ctx, args).await,
    }
}

async fn list(ctx: &CliContext, args: &Audit) -> Result<(), CommandError> {
    let ask = ApiRequest::get(["audit"])
        .with("before", args.before)
        .with("limit", Some(args.limit));
    let Some((AuditList { entries }, zone)) = ctx.answer(&ask, args.form).await? else {
        return Ok(());
    };
    let mut table = Table::new(["NO", "TIME", "BY", "FROM", "WHAT", "TASK", "ON", "RESULT"]);
    for entry in entries {
        let action = entry.action;
        table.row([
            entry.number.to_string(),
            zone.show(entry.time),
            action.by,
            action.from,
            action.what,
            action
                .task
                .map_or_else(|| "-".to_owned(), |id| id.to_string()),
            action.on,
            action.result,
        ]);
    }
    screen::print(&table.render(screen::width()))
}

async fn verify(ctx: &CliContext, form: OutputForm) -> Result<(), CommandError> {
    let AgentConnection { client, .. } = ctx.agent().await?;
    let answer = client
        .ask::<ChainReport>(&ApiRequest::get(["audit", "verify"]))
        .await;
    let verdict = match answer.map_err(CommandError::from) {
        Err(error) if !ctx.is_elsewhere() && is_no_agent(&error) => of_store(ctx).await?,
        answer => answer?,
    };
    if form.json {
        screen::print_json(&verdict)?;
    } else if verdict.fault.is_none() {
        screen::print(&format!(
            "{} entries are valid; the digest of the last one is {}\n",
            verdict.entries,
            if verdict.digest.is_empty() {
                "none"
            } else {
                &verdict.digest
            }
        ))?;
    }
    match verdict.fault {
        Some(fault) => Err(CommandError::Audit {
            fault,
            entries: verdict.entries,
        }),
        None => Ok(()),
    }
}

async fn of_store(ctx: &CliContext) -> Result<ChainReport, CommandError> {
    let config = ctx.config()?;
    owned_directory(&config)?;
    let failed = |error: String| CommandError::Directory(error);
    let store = agent::open_store(&config).await;
    let store = store.map_err(|error| failed(format!("{error:#}")))?;
    let verdict = Ledger::new(store.kv()).verify().await;
    verdict.map_err(|error| failed(error.to_string()))
}
