//! Tasks: list, show and act on them. The agent decides; this only sends requests.

use super::arguments::{ApproveArgs, FollowUp, Resume, RollbackArgs, Show, Tasks, VerbCommand};
use super::client::{ApiRequest, Client};
use super::context::{AgentConnection, CliContext};
use super::error::CommandError;
use super::follow::{self, Goal, WaitEnd};
use super::known::{self, PlaceFilter};
use super::screen;
use super::summary::{self, Shape, state_line};
use super::table::{Table, printable};
use super::times::Zone;
use crate::api::{self, AllowedRequest, TaskLine, TaskList, TaskView};
use crate::base::clock::{Clock, SystemClock};
use crate::base::language::Language;
use crate::domain::plan::PlanDigest;
use crate::domain::task::StateName;
use crate::engine::request::TaskRequest;
use crate::store::Head;

/// Fewer digits of a digest could match another plan by chance.
const DIGEST_DIGITS_MIN: usize = 8;
/// How many tasks one request returns.
const PIECE: u64 = 200;
/// Digits of a commit in a list.
const COMMIT_DIGITS: usize = 9;
/// How a rollback is described.
const ROLLBACK: &str = "asked to roll back";
/// How an approval is described.
const APPROVED: &str = "approved";
/// The most tasks of a list for which it is explained why they have not landed.
const DETAILED_MAX: usize = 20;

/// `tagship tasks`.
pub(crate) async fn tasks(ctx: &CliContext, args: &Tasks) -> Result<(), CommandError> {
    let AgentConnection { client, zone } = ctx.agent().await?;
    let TaskList { tasks, next } = found(&client, args).await?;
    if tasks.is_empty() {
        let filter = PlaceFilter {
            project: args.project.as_deref(),
            environment: args.environment.as_deref(),
        };
        known::check(&client, "tasks", filter).await?;
    }
    if args.form.json {
        let list = TaskList { tasks, next };
        return screen::print_json(&serde_json::to_value(&list).unwrap_or_default());
    }
    if tasks.is_empty() {
        screen::note("no task matches");
        return Ok(());
    }
    let table = listed(&tasks, &zone).states("STATE", screen::paint());
    screen::print(&table.render(screen::width()))?;
    for line in tasks.iter().take(DETAILED_MAX) {
        let head = &line.head;
        if head.state == StateName::Proposed && !head.detail.is_empty() {
            screen::note(&format!("task {}: {}", head.id, printable(&head.detail)));
        }
    }
    if let Some(next) = next {
        screen::note(&format!("there is more: --cursor {next}"));
    }
    Ok(())
}

/// Returns a line for each task; if one waits, also what it would change now.
fn listed(tasks: &[TaskLine], zone: &Zone) -> Table {
    let mut headings = vec![
        "ID",
        "STATE",
        "PROJECT",
        "ENVIRONMENT",
        "TAG",
        "COMMIT",
        "BY",
        "CREATED",
    ];
    let compared = tasks.iter().any(|line| !line.head.relations.is_empty());
    headings.extend(compared.then_some("CHANGE"));
    let mut table = Table::new(headings);
    for line in tasks {
        let head = &line.head;
        let commit = head.commit.as_deref().unwrap_or("-");
        let cells = [
            head.id.to_string(),
            state_in_list(head),
            or_dash(&head.project),
            or_dash(&head.environment),
            line.called().to_owned(),
            commit.chars().take(COMMIT_DIGITS).collect(),
            line.who().to_owned(),
            zone.show(head.created_at),
        ];
        let change = compared.then(|| or_dash(&api::change(head)));
        table.row(cells.into_iter().chain(change));
    }
    table
}

/// Returns as many tasks as requested; one response of the agent covers a limited number only.
async fn found(client: &Client, args: &Tasks) -> Result<TaskList, CommandError> {
    let mut list = TaskList {
        tasks: Vec::new(),
        next: args.cursor.clone(),
    };
    let mut before = args.before;
    loop {
        let lack = args.limit - list.tasks.len() as u64;
        let ask = ApiRequest::get(["tasks"])
            .with("id", args.id)
            .with("state", args.state.as_ref())
            .with("project", args.project.as_ref())
            .with("environment", args.environment.as_ref())
            .with("template", args.template.as_ref())
            .with("submitter", args.submitter.as_ref())
            .with("approver", args.approver.as_ref())
            .with("tag", args.tag.as_ref())
            .with("words", args.words.as_ref())
            .with("since", args.since.as_ref())
            .with("until", args.until.as_ref())
            .with("before", before.take())
            .with("cursor", list.next.as_ref())
            .with("limit", Some(lack.min(PIECE)));
        let piece: TaskList = client.ask(&ask).await?;
        list.tasks.extend(piece.tasks);
        list.next = piece.next;
        if list.next.is_none() || list.tasks.len() as u64 >= args.limit {
            return Ok(list);
        }
    }
}

/// Returns `running`; `running (EMERGENCY)` if an admin approved it in one.
fn state_in_list(head: &Head) -> String {
    let state = head.state.words();
    match head.emergency {
        true => format!("{state} (EMERGENCY)"),
        false => state,
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// `tagship show`.
pub(crate) async fn show(ctx: &CliContext, args: &Show) -> Result<(), CommandError> {
    let ask = ApiRequest::task(args.id);
    let Some((task, zone)) = ctx.answer::<TaskView>(&ask, args.form).await? else {
        return Ok(());
    };
    let shape = Shape {
        width: screen::width(),
        paint: screen::paint(),
    };
    screen::print(&summary::summary(&task, &zone, shape))
}

/// Sends a request on a task, prints the outcome, and follows the task if requested.
async fn request(
    agent: &AgentConnection,
    id: u64,
    request: &TaskRequest,
    then: FollowUp,
) -> Result<(), CommandError> {
    let goal = match request {
        TaskRequest::Stop { host: None } => Goal::Stopped,
        _ => Goal::Success,
    };
    act(
        agent,
        &to_task(id, request),
        &request.accepted(),
        then,
        goal,
    )
    .await
}

fn to_task(id: u64, request: &TaskRequest) -> ApiRequest {
    let verb = request.verb().spec().name;
    ApiRequest::post(["tasks", &id.to_string(), verb], &request.body())
}

/// `tagship approve`: approves the plan that the agent shows now, and no other.
pub(crate) async fn approve(ctx: &CliContext, args: &ApproveArgs) -> Result<(), CommandError> {
    let agent = ctx.agent().await?;
    let not_before = match &args.at {
        Some(at) => Some(
            at.resolve(&agent.zone, SystemClock.now())
                .map_err(|error| CommandError::Option {
                    option: "--at",
                    reason: error.to_string(),
                })?,
        ),
        None => None,
    };
    let task = agent.client.task(args.id).await?;
    let approve = TaskRequest::Approve {
        plan: seen_plan(&task, args.plan.as_deref(), &agent)?,
        comment: args.comment.clone(),
        not_before,
        emergency: args.emergency.clone(),
    };
    request(&agent, args.id, &approve, args.then).await
}

/// Returns the digest to approve: the task's current one, if it matches the requested one.
fn seen_plan(
    task: &TaskView,
    seen: Option<&str>,
    agent: &AgentConnection,
) -> Result<PlanDigest, CommandError> {
    let Some(plan) = &task.plan else {
        let words = state_line(task, &agent.zone);
        return Err(CommandError::NoPlan {
            id: task.id,
            state: printable(&words),
        });
    };
    let Some(seen) = seen else {
        return Ok(plan.clone());
    };
    let seen = seen.to_lowercase();
    let is_digest = seen.len() >= DIGEST_DIGITS_MIN && seen.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_digest {
        return Err(CommandError::NotADigest(seen));
    }
    if plan.0.starts_with(&seen) {
        return Ok(plan.clone());
    }
    Err(CommandError::OtherPlan {
        id: task.id,
        now: summary::short(&plan.0),
        seen: summary::short(&seen),
    })
}

/// The commands of the other verbs.
pub(crate) async fn verb(ctx: &CliContext, command: &VerbCommand) -> Result<(), CommandError> {
    let agent = ctx.agent().await?;
    let (id, asked, then) = command.clone().request();
    let VerbCommand::Resume(Resume {
        override_freeze: Some(_),
        host,
        ..
    }) = command
    else {
        return request(&agent, id, &asked, then).await;
    };
    let task: TaskView = agent.client.ask(&to_task(id, &asked)).await?;
    // A task that waits only for the end of the freeze continues by itself.
    let ask = if task.may.contains(&AllowedRequest::Resume) {
        let host = host.clone();
        to_task(id, &TaskRequest::Resume { host })
    } else {
        ApiRequest::task(id)
    };
    act(&agent, &ask, &asked.accepted(), then, Goal::Success).await
}

/// `tagship rollback`.
pub(crate) async fn rollback(ctx: &CliContext, args: &RollbackArgs) -> Result<(), CommandError> {
    let body = api::RollbackBody {
        task: args.id,
        project: args.project.clone(),
        environment: args.environment.clone(),
        to: args.to.clone(),
        override_freeze: args.override_freeze.clone(),
        emergency: args.emergency.clone(),
    };
    let ask = ApiRequest::post(["rollback"], &body);
    act(
        &ctx.agent().await?,
        &ask,
        ROLLBACK,
        args.then,
        Goal::Success,
    )
    .await
}

/// Sends the request, prints the outcome, and follows the task if requested.
pub(super) async fn act(
    agent: &AgentConnection,
    ask: &ApiRequest,
    done: &str,
    then: FollowUp,
    goal: Goal,
) -> Result<(), CommandError> {
    let value = agent.client.json(ask).await?;
    let task: TaskView = agent.client.read(value.clone())?;
    if !then.wait {
        return if then.form.json {
            screen::print_json(&value)
        } else {
            screen::print(&answer(&task, done, agent))
        };
    }
    if !then.form.json {
        screen::print(&answer(&task, done, agent))?;
    }
    let id = task.id;
    let end = follow::until_ended(agent, task, then.form).await?;
    if then.form.json {
        screen::print_json(&agent.client.json(&ApiRequest::task(id)).await?)?;
    }
    match end {
        WaitEnd::AtRest(task) => reached(&task, goal, agent),
        WaitEnd::ForPeople(task) => {
            let waits = printable(&api::waits_for(&task));
            Err(CommandError::WaitsForPeople(waits))
        }
    }
}

/// Returns `task 7 is approved; it is scheduled for …`, or what it still waits for.
fn answer(task: &TaskView, done: &str, agent: &AgentConnection) -> String {
    let id = task.id;
    let state = printable(&state_line(task, &agent.zone));
    let mut text = String::new();
    let show = |at| agent.zone.show(at);
    if let Some(back) =
        api::rollback_summary(Language::English, task, show).filter(|_| done == ROLLBACK)
    {
        let destination = task.destination();
        text = format!("task {id} rolls back {destination} {back}\n");
        if let Some(nothing) = api::changes_nothing(Language::English, task) {
            text.push_str(&format!("{nothing}\n"));
        }
        for note in &task.notes {
            text.push_str(&format!("{note}\n"));
        }
        text = text.lines().map(|line| printable(line) + "\n").collect();
    }
    if task.state == StateName::Waiting {
        let waits = printable(&api::missing_and_who(task));
        return match text.is_empty() {
            true if done == APPROVED => {
                format!("your approval of task {id} counts; it still waits for {waits}\n")
            }
            true => format!("task {id} is {done}; it waits for {waits}\n"),
            false => format!("{text}task {id} waits for {waits}\n"),
        };
    }
    if !text.is_empty() {
        return format!("{text}task {id} is {state}\n");
    }
    if task.state.as_str() == done {
        return format!("task {id} is {state}\n");
    }
    format!("task {id} is {done}; it is {state}\n")
}

fn reached(task: &TaskView, goal: Goal, agent: &AgentConnection) -> Result<(), CommandError> {
    if goal.is_reached_by(task.state) {
        return Ok(());
    }
    let words = state_line(task, &agent.zone);
    Err(CommandError::NotReached {
        id: task.id,
        state: printable(&words),
        next: api::next(task),
    })
}
