//! `tagship submit`: converts the command line, a file or an earlier task into an order. The agent
//! validates it.

use std::io::Read as _;

use serde_json::Value;

use super::arguments::{FollowUp, OutputForm, Submit};
use super::client::ApiRequest;
use super::context::{AgentConnection, CliContext};
use super::error::CommandError;
use super::follow::Goal;
use super::requests::act;
use super::screen;
use crate::api::{OrderView, TaskView};
use crate::base::clock::{Clock as _, SystemClock};
use crate::domain::template::Hidden;
use crate::engine::submit::SubmissionOrder;

/// The agent accepts no longer one.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// `tagship submit`.
pub(crate) async fn submit(ctx: &CliContext, args: &Submit) -> Result<(), CommandError> {
    let agent = ctx.agent().await?;
    let body = match &args.json {
        Some(file) => from_file(file)?,
        None => {
            let mut order = earlier(&agent, args).await?;
            fill(&mut order, args, &agent)?;
            serde_json::to_value(&order).unwrap_or_default()
        }
    };
    let ask = ApiRequest::post(["tasks"], &body);
    if args.id && !args.wait {
        let task: TaskView = agent.client.ask(&ask).await?;
        return screen::print(&format!("{}\n", task.id));
    }
    let then = FollowUp {
        wait: args.wait,
        form: OutputForm { json: false },
    };
    act(&agent, &ask, "submitted", then, Goal::Success).await
}

/// Returns the order of the task to repeat; else an empty one.
async fn earlier(agent: &AgentConnection, args: &Submit) -> Result<SubmissionOrder, CommandError> {
    let Some(id) = args.repeat else {
        return Ok(SubmissionOrder::default());
    };
    let ask = ApiRequest::get(["tasks", &id.to_string(), "order"]);
    let OrderView { order, secrets } = agent.client.ask(&ask).await?;
    let missing: Vec<&str> = secrets
        .iter()
        .map(String::as_str)
        .filter(|name| !args.secrets.iter().any(|given| secret_name(given) == *name))
        .collect();
    if !missing.is_empty() {
        screen::note(&format!(
            "not taken over from task {id}: {}; give them with --secret",
            missing.join(", ")
        ));
    }
    Ok(order)
}

fn fill(
    order: &mut SubmissionOrder,
    args: &Submit,
    agent: &AgentConnection,
) -> Result<(), CommandError> {
    for (field, given) in [
        (&mut order.template, &args.template),
        (&mut order.title, &args.title),
        (&mut order.details, &args.details),
        (&mut order.project, &args.project),
        (&mut order.environment, &args.environment),
        (&mut order.tag, &args.tag),
    ] {
        if let Some(given) = given {
            field.clone_from(given);
        }
    }
    if args.ready {
        order.schedule = "ready".to_owned();
    }
    if !args.approvers.is_empty() {
        order.approvers.clone_from(&args.approvers);
    }
    order.idempotency_key.clone_from(&args.key);
    if let Some(at) = &args.at {
        let at = at.resolve(&agent.zone, SystemClock.now());
        order.run_at = at.map_err(|error| wrong("--at", error))?.to_string();
    }
    for given in &args.params {
        let (name, value) = pair("--param", given, "NAME=VALUE")?;
        order.params.insert(name.to_owned(), value.to_owned());
    }
    for given in &args.hosts {
        let (number, hosts) = pair("--hosts", given, "1=web1,web2")?;
        let number = number
            .parse()
            .map_err(|_| wrong("--hosts", format!("{number:?} is no group: 1 to 9 are")))?;
        let hosts = hosts.split(',').map(|host| host.trim().to_owned());
        let hosts = hosts.filter(|host| !host.is_empty());
        order.hosts.insert(number, hosts.collect());
    }
    for given in &args.secrets {
        let name = secret_name(given).to_owned();
        order.params.remove(&name);
        order.secrets.insert(name, secret(given)?);
    }
    Ok(())
}

fn pair<'a>(
    option: &'static str,
    given: &'a str,
    form: &str,
) -> Result<(&'a str, &'a str), CommandError> {
    given
        .split_once('=')
        .ok_or_else(|| wrong(option, format!("{given:?} has no `=`; write {form}")))
}

fn wrong(option: &'static str, reason: impl ToString) -> CommandError {
    CommandError::Option {
        option,
        reason: reason.to_string(),
    }
}

fn secret_name(given: &str) -> &str {
    given.split_once('=').map_or(given, |(name, _)| name)
}

/// Reads a file (`NAME=FILE`) or standard input; one trailing line break is removed.
fn secret(given: &str) -> Result<Hidden, CommandError> {
    let file = given.split_once('=').map_or("-", |(_, file)| file);
    let mut text = input("--secret", file)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Hidden::from(text))
}

fn from_file(file: &str) -> Result<Value, CommandError> {
    let text = input("--json", file)?;
    serde_json::from_str(&text).map_err(|error| wrong("--json", format!("{file}: {error}")))
}

/// Reads a file, or standard input for `-`.
fn input(option: &'static str, file: &str) -> Result<String, CommandError> {
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin()
            .take(INPUT_BYTES_MAX + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text))
    };
    let length = read.map_err(|error| wrong(option, format!("{file}: {error}")))?;
    if length as u64 > INPUT_BYTES_MAX {
        let reason = format!("{file} is longer than {INPUT_BYTES_MAX} bytes; shorten it");
        return Err(wrong(option, reason));
    }
    Ok(text)
}
