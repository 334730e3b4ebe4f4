//! `tagship status`: the board.

use super::arguments::StatusArgs;
use super::client::ApiRequest;
use super::context::{AgentConnection, CliContext};
use super::error::CommandError;
use super::screen;
use super::summary::short;
use super::table::{Table, printable};
use super::times::Zone;
use crate::api::{BoardEnvironment, BoardGroup, BoardRef, BoardTask, BoardView};
use crate::base::language::Message;
use crate::domain::task::StateName;

pub(crate) async fn status(ctx: &CliContext, args: &StatusArgs) -> Result<(), CommandError> {
    let AgentConnection { client, zone } = ctx.agent().await?;
    let ask = ApiRequest::get(["status"])
        .with("project", args.project.as_ref())
        .with("environment", args.environment.as_ref());
    let value = client.json(&ask).await?;
    if args.form.json {
        return screen::print_json(&value);
    }
    let view: BoardView = client.read(value)?;
    screen::print(&shown(&view, &zone, screen::width()))
}

/// Returns the board as text: groups without tasks are left out.
fn shown(view: &BoardView, zone: &Zone, width: Option<u16>) -> String {
    let asks: Vec<String> = view.asks().iter().map(ToString::to_string).collect();
    let mut text = format!("{}\n", asks.join(" "));
    if view.left_out > 0 {
        let left_out = Message::new("board-left-out").with("count", view.left_out);
        text.push_str(&format!("{left_out}\n"));
    }
    for (heading, group) in [
        ("board-for-you", &view.for_you),
        ("board-running", &view.running),
        ("board-waiting", &view.waiting),
        ("board-next", &view.next),
    ] {
        text.push_str(&tasks(heading, group, zone, width));
    }
    text.push_str(&live(&view.environments, zone, width));
    for (heading, group) in [
        ("board-failed", &view.failed),
        ("board-recent", &view.recent),
    ] {
        text.push_str(&tasks(heading, group, zone, width));
    }
    text
}

fn tasks(heading: &'static str, group: &BoardGroup, zone: &Zone, width: Option<u16>) -> String {
    if group.tasks.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["ID", "STATE", "TAG", "PLACE", "BY", "CREATED", "WHAT"]);
    for task in &group.tasks {
        let head = &task.line.head;
        table.row([
            head.id.to_string(),
            state(task),
            task.line.called().to_owned(),
            task.line.destination(),
            task.line.who().to_owned(),
            zone.show(head.created_at),
            what(task, zone),
        ]);
    }
    let more = group.total.saturating_sub(group.tasks.len() as u64);
    let more = match more {
        0 => String::new(),
        more => format!("and {more} more: see `tagship tasks`\n"),
    };
    let heading = Message::new(heading);
    format!("\n{heading}\n{}{more}", table.render(width))
}

/// `waiting (rollback, EMERGENCY)`.
fn state(task: &BoardTask) -> String {
    let head = &task.line.head;
    let rollback = task.rollback.then_some("board-rollback");
    let emergency = head.emergency.then_some("board-emergency");
    let marks = rollback.into_iter().chain(emergency);
    let marks: Vec<String> = marks.map(|id| Message::new(id).to_string()).collect();
    let state = head.state.words();
    match marks.as_slice() {
        [] => state,
        marks => format!("{state} ({})", marks.join(", ")),
    }
}

/// Returns what a task changes, needs and does, in one line.
fn what(task: &BoardTask, zone: &Zone) -> String {
    let head = &task.line.head;
    let mut said: Vec<String> = Vec::new();
    said.extend(task.progress.as_ref().map(|progress| {
        let (done, steps) = (progress.steps_done, progress.steps);
        format!("{} ({done}/{steps})", progress.describe())
    }));
    said.extend(task.needs().iter().map(ToString::to_string));
    said.extend(task.change().iter().map(ToString::to_string));
    if let Some(at) = task.starts_at {
        let id = match head.state {
            StateName::Scheduled => "board-starts",
            _ => "board-starts-not-before",
        };
        said.push(Message::new(id).with("at", zone.show(at)).to_string());
    }
    if let Some(until) = task.frozen_until {
        let frozen = Message::new("board-held-by-freeze").with("until", zone.show(until));
        said.push(frozen.to_string());
    }
    // The text of a scheduled task is its time, which is shown by the reader's clock.
    let is_time = head.state == StateName::Scheduled && head.state_detail.is_none();
    if !is_time && !head.detail.is_empty() {
        said.push(head.detail.clone());
    }
    if !task.subject.is_empty() {
        said.push(task.subject.clone());
    }
    said.join("; ")
}

fn live(places: &[BoardEnvironment], zone: &Zone, width: Option<u16>) -> String {
    if places.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        "PROJECT",
        "ENVIRONMENT",
        "LIVE",
        "COMMIT",
        "HOSTS",
        "SINCE",
        "BY",
        "RUNNING",
        "NEXT",
        "LAST",
    ]);
    let mut warnings = String::new();
    let named = |task: &Option<BoardRef>| match task {
        Some(task) => {
            let (name, id) = (&task.name, task.task);
            format!("{name} ({id}, {})", task.state.words())
        }
        None => "-".to_owned(),
    };
    for place in places {
        let (project, environment) = (&place.project, &place.environment);
        for said in place.warnings(|at| zone.show(at)) {
            let said = printable(&format!("{project} {environment}: {said}"));
            warnings.push_str(&format!("{said}\n"));
        }
        let first = place.live.first();
        let name = first.map_or_else(|| "nothing".to_owned(), |live| live.called().to_owned());
        let back = first.is_some_and(|live| live.switched_by.is_some());
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            project.clone(),
            environment.clone(),
            if back {
                format!("{name} ({})", Message::new("board-rollback"))
            } else {
                name
            },
            or_dash(first.and_then(|live| live.commit.as_deref().map(short))),
            match first {
                Some(live) if live.hosts < place.hosts => format!("{}/{}", live.hosts, place.hosts),
                _ => place.hosts.to_string(),
            },
            or_dash(
                first
                    .and_then(|live| live.since)
                    .map(|since| zone.show(since)),
            ),
            or_dash(first.and_then(|live| live.by.clone())),
            named(&place.running),
            named(&place.next),
            named(&place.last),
        ]);
    }
    let heading = Message::new("board-live");
    format!("\n{heading}\n{}{warnings}", table.render(width))
}
