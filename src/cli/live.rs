//! `tagship live`: what is live, by host.

use super::arguments::LiveArgs;
use super::client::ApiRequest;
use super::context::{AgentConnection, CliContext};
use super::error::CommandError;
use super::known::{self, PlaceFilter};
use super::screen;
use super::summary::short;
use super::table::{Table, printable};
use super::times::Zone;
use crate::api::{LiveHost, LiveList};

pub(crate) async fn live(ctx: &CliContext, args: &LiveArgs) -> Result<(), CommandError> {
    let ask = ApiRequest::get(["live"])
        .with("project", args.project.as_ref())
        .with("environment", args.environment.as_ref());
    let AgentConnection { client, zone } = ctx.agent().await?;
    let value = client.json(&ask).await?;
    let list: LiveList = client.read(value.clone())?;
    if list.live.is_empty() {
        let filter = PlaceFilter {
            project: args.project.as_deref(),
            environment: args.environment.as_deref(),
        };
        known::check(&client, "tasks", filter).await?;
    }
    if args.form.json {
        return screen::print_json(&value);
    }
    let mut table = Table::new([
        "PROJECT",
        "ENVIRONMENT",
        "HOST",
        "TAG",
        "COMMIT",
        "TASK",
        "BY",
        "SINCE",
        "RELEASE",
    ]);
    let mut drifts = String::new();
    for view in list.live {
        for (host, live) in view.hosts {
            let [tag, commit, task, by, since, release] = columns(live.as_ref(), &zone);
            if let Some(drift) = live.and_then(|live| live.drift) {
                let seen = drift.describe(|at| zone.show(at));
                let (project, environment) = (&view.project, &view.environment);
                let line = printable(&format!(
                    "drift: {project} {environment} {host}: {seen}; {}",
                    drift.remedy()
                ));
                drifts.push_str(&screen::paint().state(&line));
                drifts.push('\n');
            }
            let (project, environment) = (view.project.clone(), view.environment.clone());
            table.row([
                project,
                environment,
                host,
                tag,
                commit,
                task,
                by,
                since,
                release,
            ]);
        }
    }
    screen::print(&format!("{}{drifts}", table.render(screen::width())))
}

fn columns(live: Option<&LiveHost>, zone: &Zone) -> [String; 6] {
    let Some(live) = live else {
        let mut nothing = [const { String::new() }; 6];
        nothing[5] = "nothing".to_owned();
        return nothing;
    };
    let task = match (live.task, live.switched_by) {
        (Some(task), Some(by)) => format!("{task} (restored by {by})"),
        (Some(task), None) => task.to_string(),
        (None, Some(by)) => format!("restored by {by}"),
        (None, None) => String::new(),
    };
    // Another tool's release is named by its directory.
    let release = match &live.directory {
        Some(directory) => directory.clone(),
        None => live.release.to_string(),
    };
    [
        live.tag.clone().unwrap_or_default(),
        live.commit.as_deref().map(short).unwrap_or_default(),
        task,
        live.by.clone().unwrap_or_default(),
        live.since.map_or(String::new(), |since| zone.show(since)),
        release,
    ]
}
