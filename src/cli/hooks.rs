//! `tagship hooks`: shows pushes and their outcomes, and replays them.

use super::arguments::{Hooks, HooksList, ListedHooks, OutputForm};
use super::client::ApiRequest;
use super::context::{AgentConnection, CliContext};
use super::error::CommandError;
use super::known::{self, PlaceFilter};
use super::screen;
use super::table::{Table, printable};
use super::times::Zone;
use crate::api::{EmptyBody, HookList};
use crate::store::{HookEntry, HookOutcome, ProjectOutcome};

/// How many entries one request returns.
const PIECE: u64 = 200;
/// Digits of an object name in a list.
const OBJECT_DIGITS: usize = 9;

/// `tagship hooks …`.
pub(crate) async fn hooks(ctx: &CliContext, args: &ListedHooks) -> Result<(), CommandError> {
    match &args.what {
        None => list(ctx, &args.list).await,
        Some(Hooks::List(args)) => list(ctx, args).await,
        Some(Hooks::Show { id, form }) => show(ctx, *id, *form).await,
        Some(Hooks::Replay { id, form }) => replay(ctx, *id, *form).await,
    }
}

async fn list(ctx: &CliContext, args: &HooksList) -> Result<(), CommandError> {
    let AgentConnection { client, zone } = ctx.agent().await?;
    let mut found = HookList {
        hooks: Vec::new(),
        next: args.cursor.clone(),
        unseen: Vec::new(),
    };
    loop {
        let lack = args.limit - found.hooks.len() as u64;
        let ask = ApiRequest::get(["hooks"])
            .with("project", args.project.as_ref())
            .with("ref", args.reference.as_ref())
            .with("pusher", args.pusher.as_ref())
            .with("outcome", args.outcome.as_ref())
            .with("since", args.since.as_ref())
            .with("until", args.until.as_ref())
            .with("cursor", found.next.as_ref())
            .with("limit", Some(lack.min(PIECE)));
        let piece: HookList = client.ask(&ask).await?;
        found.hooks.extend(piece.hooks);
        found.next = piece.next;
        found.unseen = piece.unseen;
        if found.next.is_none() || found.hooks.len() as u64 >= args.limit {
            break;
        }
    }
    if found.hooks.is_empty() {
        let filter = PlaceFilter {
            project: args.project.as_deref(),
            environment: None,
        };
        known::check(&client, "hooks", filter).await?;
    }
    if args.form.json {
        return screen::print_json(&serde_json::to_value(&found).unwrap_or_default());
    }
    for unseen in &found.unseen {
        let text = unseen.describe(|at| zone.show(at));
        screen::note(&printable(&format!("warning: {}: {text}", unseen.project)));
    }
    if found.hooks.is_empty() {
        screen::note("no push matches");
        return Ok(());
    }
    screen::print(&table(&found.hooks, &zone).render(screen::width()))?;
    if let Some(next) = found.next {
        screen::note(&format!("there is more: --cursor {next}"));
    }
    Ok(())
}

fn table(hooks: &[HookEntry], zone: &Zone) -> Table {
    let mut table = Table::new([
        "ID",
        "TAKEN IN",
        "REPOSITORY",
        "TAG",
        "OBJECT",
        "BY",
        "OUTCOME",
    ]);
    for hook in hooks {
        let push = hook.push.as_ref();
        let of = |part: fn(&crate::store::SeenPush) -> &str| {
            push.map_or_else(|| "-".to_owned(), |push| part(push).to_owned())
        };
        let outcomes: Vec<String> = hook.outcomes.iter().map(outcome).collect();
        table.row([
            hook.id.to_string(),
            zone.show(hook.at),
            of(|push| &push.repository),
            of(|push| push.tag()),
            of(|push| &push.new).chars().take(OBJECT_DIGITS).collect(),
            of(|push| &push.pusher),
            outcomes.join("; "),
        ]);
    }
    table
}

/// `shop: proposed, task 7`.
fn outcome(result: &ProjectOutcome) -> String {
    let name = result.outcome.name().replace('-', " ");
    let task = result.outcome.task();
    let task = task.map_or_else(String::new, |task| format!(", task {task}"));
    match &result.project {
        Some(project) => format!("{project}: {name}{task}"),
        None => format!("{name}{task}"),
    }
}

async fn show(ctx: &CliContext, id: u64, form: OutputForm) -> Result<(), CommandError> {
    let ask = ApiRequest::get(["hooks", &id.to_string()]);
    let Some((hook, zone)) = ctx.answer::<HookEntry>(&ask, form).await? else {
        return Ok(());
    };
    let mut lines = vec![
        format!("entry {} of the hook log", hook.id),
        format!("taken in    {}", zone.show(hook.at)),
        format!("file        {}", hook.file),
    ];
    if let Some(push) = &hook.push {
        lines.extend([
            format!("repository  {}", push.repository),
            format!("ref         {}", push.reference),
            format!("from        {}", push.old),
            format!("to          {}", push.new),
            match push.pushed_at {
                Some(_) => format!(
                    "pusher      {} (the file is user {}'s)",
                    push.pusher, push.owner
                ),
                // No hook reported it.
                None => format!("pusher      {}", push.pusher),
            },
            format!("record      {}", push.record),
        ]);
    }
    lines.extend(hook.outcomes.iter().flat_map(report));
    for replay in &hook.replays {
        lines.push(format!(
            "replayed by {}, {}:",
            replay.by,
            zone.show(replay.at)
        ));
        lines.extend(replay.outcomes.iter().flat_map(report));
    }
    let lines: Vec<String> = lines.iter().map(|line| printable(line)).collect();
    screen::print(&format!("{}\n", lines.join("\n")))
}

/// Returns the outcome, with the reasons.
fn report(result: &ProjectOutcome) -> Vec<String> {
    let mut lines = vec![format!("became      {}", outcome(result))];
    match &result.outcome {
        HookOutcome::NoRule { reasons } => {
            lines.extend(reasons.iter().map(|reason| format!("            {reason}")));
        }
        HookOutcome::Unreadable { reason } | HookOutcome::Refused { reason } => {
            lines.push(format!("            {reason}"));
        }
        _ => {}
    }
    if !result.doubted.is_empty() {
        let tasks: Vec<String> = result.doubted.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "            must check their ref again: task {}",
            tasks.join(", ")
        ));
    }
    lines
}

async fn replay(ctx: &CliContext, id: u64, form: OutputForm) -> Result<(), CommandError> {
    let AgentConnection { client, .. } = ctx.agent().await?;
    let ask = ApiRequest::post(["hooks", &id.to_string(), "replay"], &EmptyBody {});
    let value = client.json(&ask).await?;
    let hook: HookEntry = client.read(value.clone())?;
    let results = hook.replays.last().map_or(&[][..], |last| &last.outcomes);
    if form.json {
        screen::print_json(&value)?;
    } else {
        for result in results {
            let lines: Vec<String> = report(result).iter().map(|line| printable(line)).collect();
            screen::print(&format!("{}\n", lines.join("\n")))?;
        }
    }
    if results.iter().any(|result| result.outcome.task().is_some()) {
        return Ok(());
    }
    Err(CommandError::NoTaskOfReplay(id))
}
