//! One task: where it stands in words, what it brings, what it will do, what its hosts do, and what
//! may be asked of it. Its parts are drawn one by one too, for pages that are open.

use std::sync::Arc;

use askama::Template;

use super::super::Site;
use super::super::answer::Answer;
use super::super::api::{Sight, parse_id, sight_for};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::output::Reader;
use super::super::stream::LOG_END_BYTES;
use super::super::view::{HostView, LogQuery, May, StageView, StepState, StepView, TaskView};
use super::super::who::{Who, who};
use super::super::words::{self, Times};
use super::{Frame, shown, times};
use crate::approval::Actor;
use crate::plan::{AGENT, Plan, PlanDigest};
use crate::request::{self, Moment, Request, RequestError};
use crate::right::Ability;
use crate::store::LiveRelease;
use crate::task::{ChangedPath, CommitLine, Origin};
use crate::template::{Action, Command, Directory, Gate, OnFailure, Probe, Program, Step};

/// Above so many hosts a stage shows only those that are not through yet, or failed.
const HOSTS_MAX: usize = 40;

#[derive(Template)]
#[template(path = "web/task.html")]
struct Page<'a> {
    frame: Frame,
    t: &'a TaskPage,
    log: String,
}

/// The parts of the page that change, each the content of the element of its name.
macro_rules! part {
    ($name:ident, $path:literal) => {
        #[derive(Template)]
        #[template(path = $path)]
        struct $name<'a> {
            t: &'a TaskPage,
        }
    };
}

part!(Statement, "web/part/statement.html");
part!(Requests, "web/part/requests.html");
part!(Approvals, "web/part/approvals.html");
part!(Progress, "web/part/progress.html");
part!(History, "web/part/history.html");

/// What the page and its parts are drawn from.
pub(in crate::web) struct TaskPage {
    view: TaskView,
    times: Times,
    csrf: String,
    statement: String,
    /// Why the one who looks may not do what one would expect.
    refusal: String,
    /// What has changed since the comparisons were made; nothing where they hold.
    stale: String,
    comparisons: Vec<Compared>,
    /// How many events it shows.
    events: u64,
    planned: Vec<Planned>,
    parameters: Vec<(String, String)>,
    /// Something is live there that one could go back from.
    back: bool,
    /// A task like it may be submitted.
    again: bool,
    /// The reader is asked to approve it.
    asks_reader: bool,
}

/// The comparison with one release that is live.
struct Compared {
    words: String,
    tone: &'static str,
    /// `3f2a9c1b2d on web-1 and web-2`; empty where nothing is live.
    against: String,
    shortstat: String,
    coming: Vec<CommitLine>,
    going: Vec<CommitLine>,
    paths: Vec<ChangedPath>,
    paths_left_out: u64,
}

/// A stage as it will be done.
struct Planned {
    name: String,
    /// On whom, and how.
    hosts: String,
    notes: String,
    steps: Vec<(String, String)>,
}

impl TaskPage {
    pub(in crate::web) async fn of(site: &Site, who: &Who, sight: &Sight) -> Result<Self, Fault> {
        let view = sight.view(site, who);
        let actor = who.at(&sight.task.place());
        let times = times(site);
        let live = site
            .web
            .store
            .live(&view.project, &view.environment)
            .await?;
        let live: Vec<(String, LiveRelease)> = live.into_iter().collect();
        Ok(Self {
            statement: words::statement(&view, &live, &times),
            refusal: refusal(site, &actor, sight, &view),
            stale: stale(&view, &live),
            comparisons: compared(&view),
            events: sight.task.events,
            planned: sight.plan.as_deref().map(planned).unwrap_or_default(),
            parameters: parameters(&view, sight.plan.as_deref()),
            again: actor.may(Ability::Submit, "submit a task").is_ok(),
            back: !live.is_empty() && actor.may(Ability::Run, "roll back").is_ok(),
            csrf: who.csrf_token(),
            asks_reader: words::asks(&view, &actor.name),
            view,
            times,
        })
    }

    /// The title of the browser's window.
    pub(in crate::web) fn title(&self) -> String {
        let view = &self.view;
        let state = words::state(&view.state);
        format!("{state}: {} \u{2192} {}", view.called(), view.place())
    }

    /// The parts that change, by the ids of their elements.
    pub(in crate::web) fn parts(&self) -> Result<Vec<(&'static str, String)>, Fault> {
        let t = self;
        let drawn = [
            ("statement", Statement { t }.render()),
            ("requests", Requests { t }.render()),
            ("approvals", Approvals { t }.render()),
            ("progress", Progress { t }.render()),
            ("history", History { t }.render()),
        ];
        drawn
            .into_iter()
            .map(|(name, html)| {
                let html = html.map_err(|error| Fault::Broken(error.to_string()))?;
                Ok((name, html))
            })
            .collect()
    }

    /// A rollback takes over what runs or is paused.
    fn offers_way_back(&self) -> bool {
        let at_work = matches!(self.view.state.as_str(), "running" | "paused");
        self.back && (self.view.at_rest || at_work)
    }

    /// The hosts of the task that take part.
    fn hosts(&self) -> Vec<&str> {
        let named = self.view.stages.iter().flat_map(|stage| &stage.hosts);
        let mut hosts: Vec<&str> = Vec::new();
        for host in named.map(|host| host.name.as_str()) {
            let out = host == crate::plan::AGENT
                || self.view.skipped.iter().any(|skipped| skipped.name == host);
            if !out && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    fn may(&self, what: &str) -> bool {
        let what = match what {
            "approve" => May::Approve,
            "reject" => May::Reject,
            "withdraw" => May::Withdraw,
            "stop" => May::Stop,
            "retry" => May::Retry,
            "go" => May::Go,
            "stop-host" => May::StopHost,
            "skip" => May::Skip,
            "override-freeze" => May::OverrideFreeze,
            _ => May::Rollback,
        };
        self.view.may.contains(&what)
    }

    fn tone(&self) -> &'static str {
        words::tone(&self.view.state)
    }

    fn state(&self) -> String {
        words::state(&self.view.state)
    }

    fn plan_digest(&self) -> &str {
        self.view.plan.as_ref().map_or("", |plan| plan.0.as_str())
    }

    fn missing(&self) -> Vec<String> {
        let missing = self.view.missing.iter();
        missing.map(|text| words::missing(text)).collect()
    }

    fn rollback_of(&self) -> Option<u64> {
        match self.view.origin {
            Origin::Rollback { to, .. } => Some(to),
            Origin::Tag { .. } | Origin::Submitted { .. } => None,
        }
    }

    /// What happens when a host fails.
    fn on_failure(&self) -> Option<&'static str> {
        Some(match self.view.on_failure? {
            OnFailure::Rollback => "every host that switched goes back",
            OnFailure::Pause => "it waits for a person",
            OnFailure::Stop => "it ends there; what switched stays",
            OnFailure::Continue => "the other hosts go on",
        })
    }

    /// What retrying means in this state.
    fn retry_words(&self) -> &'static str {
        match self.view.state.as_str() {
            "withdrawn" | "superseded" | "expired" => "Take it up again",
            "rollback-failed" => "Try going back again",
            _ => "Retry what failed or never began",
        }
    }

    /// The forward stages, then the way back.
    fn tables(&self) -> Vec<Table<'_>> {
        let forward = self.view.stages.iter().enumerate();
        let back = self.view.rollback_stages.iter();
        forward
            .map(|(number, stage)| {
                let title = format!("Stage {}: {}", number + 1, stage.name);
                self.table(title, stage)
            })
            .chain(back.map(|stage| self.table(format!("Going back: {}", stage.name), stage)))
            .collect()
    }

    fn table<'a>(&'a self, title: String, stage: &'a StageView) -> Table<'a> {
        let many = stage.hosts.len() > HOSTS_MAX;
        let done = |host: &&HostView| {
            host.steps
                .iter()
                .all(|step| matches!(step.state, StepState::Succeeded | StepState::Elsewhere))
        };
        let begun = |host: &&HostView| {
            host.steps.iter().any(|step| {
                !matches!(
                    step.state,
                    StepState::Pending
                        | StepState::Held
                        | StepState::Skipped
                        | StepState::Elsewhere
                )
            })
        };
        let through = stage.hosts.iter().filter(done).count();
        let rows: Vec<&HostView> = stage
            .hosts
            .iter()
            .filter(|host| !many || (begun(host) && !done(host)))
            .take(HOSTS_MAX)
            .collect();
        let hosts = words::plural(stage.hosts.len() as u64, "host");
        Table {
            title,
            summary: if stage.hosts.len() == 1 && stage.hosts[0].name == crate::plan::AGENT {
                "on the agent".to_owned()
            } else {
                format!("{through} of {hosts} done")
            },
            steps: stage
                .hosts
                .first()
                .map(|host| host.steps.iter().map(|step| step.name.as_str()).collect())
                .unwrap_or_default(),
            left_out: stage.hosts.len() - rows.len(),
            rows: rows
                .into_iter()
                .map(|host| {
                    let cells = host.steps.iter().map(|step| self.cell(step));
                    (host.name.as_str(), cells.collect())
                })
                .collect(),
        }
    }

    fn cell(&self, step: &StepView) -> Cell {
        let lasted = match (step.started_at, step.ended_at) {
            (Some(from), Some(to)) => words::lasted(from, to),
            (Some(from), None) => format!("since {}", self.times.second(&from)),
            _ => String::new(),
        };
        let (mark, word, tone) = match step.state {
            StepState::Pending => ("\u{b7}", "not begun", "over"),
            StepState::Running => ("\u{25b6}", "running", "work"),
            StepState::Succeeded => ("\u{2713}", "done", "good"),
            StepState::Failed => ("\u{2717}", "failed", "bad"),
            StepState::Unknown => ("?", "unknown", "warn"),
            StepState::Stopped => ("\u{25a0}", "stopped", "warn"),
            StepState::Held => ("\u{2016}", "waits at its gate", "asks"),
            StepState::Skipped => ("\u{2013}", "left out", "over"),
            StepState::Elsewhere => ("\u{2013}", "not on this host", "over"),
        };
        let code = match step.exit_code {
            Some(code) if code != 0 => format!("exit {code}"),
            _ => String::new(),
        };
        let attempt = match step.attempt {
            0 | 1 => String::new(),
            attempt => format!("attempt {attempt}"),
        };
        let notes = [lasted, code, attempt, step.message.clone()];
        Cell {
            mark,
            word,
            tone,
            notes: notes
                .into_iter()
                .filter(|note| !note.is_empty())
                .collect::<Vec<_>>()
                .join(", "),
            begun: step.attempt > 0,
            log: step.log.clone(),
        }
    }
}

/// Hosts × steps of one stage.
struct Table<'a> {
    title: String,
    summary: String,
    steps: Vec<&'a str>,
    rows: Vec<(&'a str, Vec<Cell>)>,
    left_out: usize,
}

/// One step on one host.
struct Cell {
    /// Beside the word, never in place of it.
    mark: &'static str,
    word: &'static str,
    tone: &'static str,
    notes: String,
    begun: bool,
    log: String,
}

/// Why the one who looks may not do what one would expect: approve a task that waits, retry one that
/// failed. Nothing where they may.
fn refusal(site: &Site, actor: &Actor, sight: &Sight, view: &TaskView) -> String {
    let ended = matches!(
        view.state.as_str(),
        "failed" | "stopped" | "rolled-back" | "rollback-failed"
    );
    if let Some(newer) = sight.newer.filter(|_| ended) {
        return format!("task {newer} has run there since: this one is not retried any more");
    }
    let Some(plan) = view.plan.clone().filter(|_| view.state == "waiting") else {
        return String::new();
    };
    let approve = Request::Approve {
        plan: PlanDigest(plan.0),
        comment: String::new(),
        not_before: None,
    };
    let moment = Moment {
        now: site.web.clock.now(),
        calendar: &site.web.config.calendar(),
        plan: None,
    };
    match request::decide(&sight.task, actor, &approve, &moment) {
        Err(RequestError::Refused(refusal)) => refusal.to_string(),
        _ => String::new(),
    }
}

/// Somebody who approves must know that something else went live after this task was compared.
fn stale(view: &TaskView, live: &[(String, LiveRelease)]) -> String {
    if !matches!(view.state.as_str(), "waiting" | "scheduled") {
        return String::new();
    }
    let compared = view
        .description
        .iter()
        .flat_map(|description| &description.comparisons);
    let was = |host: &String| {
        let mut compared = compared.clone();
        compared
            .find(|comparison| comparison.hosts.contains(host))
            .and_then(|comparison| comparison.live.clone())
    };
    let other = live
        .iter()
        .filter(|(host, live)| live.commit.is_some() && was(host) != live.commit);
    match other.map(|(_, live)| live.switched_by).max() {
        Some(task) => format!(
            "since this landed, task {task} has gone live there: what is said below compares with what was live before"
        ),
        None => String::new(),
    }
}

fn compared(view: &TaskView) -> Vec<Compared> {
    let comparisons = view
        .description
        .iter()
        .flat_map(|description| &description.comparisons);
    comparisons
        .map(|comparison| {
            let (words, tone) = words::relation(comparison);
            let hosts = words::list(&comparison.hosts);
            Compared {
                words,
                tone,
                against: match &comparison.live {
                    Some(live) => format!("{} on {hosts}", words::short(live)),
                    None => String::new(),
                },
                shortstat: words::shortstat(comparison),
                coming: comparison.coming.clone(),
                going: comparison.going.clone(),
                paths: comparison.paths.clone(),
                paths_left_out: comparison
                    .files_changed
                    .saturating_sub(comparison.paths.len() as u64),
            }
        })
        .collect()
}

fn planned(plan: &Plan) -> Vec<Planned> {
    let stages = plan.stages.iter();
    stages
        .map(|stage| {
            let mut notes = Vec::new();
            match stage.gate {
                Gate::None => {}
                Gate::Hand => notes.push("waits before it until somebody says go".to_owned()),
                Gate::Timed => notes.push("waits before it for its time".to_owned()),
            }
            if let Some(batch) = stage.batch {
                notes.push(format!(
                    "{} at a time",
                    words::plural(u64::from(batch), "host")
                ));
            }
            Planned {
                name: stage.name.clone(),
                hosts: words::list(
                    &stage
                        .places()
                        .into_iter()
                        .map(str::to_owned)
                        .collect::<Vec<_>>(),
                ),
                notes: notes.join("; "),
                steps: stage
                    .steps
                    .iter()
                    .map(|step| {
                        let mut what = action(plan, &step.action);
                        for note in step_notes(plan, step) {
                            what.push_str(&format!(" ({note})"));
                        }
                        (step.name.clone(), what)
                    })
                    .collect(),
            }
        })
        .collect()
}

/// The parameters by their aliases; of what is hidden the view holds no value.
fn parameters(view: &TaskView, plan: Option<&Plan>) -> Vec<(String, String)> {
    let alias = |name: &String| plan.and_then(|plan| plan.named.aliases.get(name)).cloned();
    let shown = view.parameters.iter();
    shown
        .map(|(name, value)| (alias(name).unwrap_or_else(|| name.clone()), value.clone()))
        .collect()
}

fn step_notes(plan: &Plan, step: &Step) -> Vec<String> {
    let mut notes = Vec::new();
    if step.once {
        notes.push("on the first host only".to_owned());
    }
    match (step.host.as_deref(), &plan.named.local) {
        (Some(AGENT), Some(local)) => {
            notes.push(format!("on the agent's own machine, as {}", local.user));
        }
        (Some(host), _) => notes.push(format!("once, on {host}")),
        (None, _) => {}
    }
    if let Some(user) = &step.user {
        let system = plan
            .named
            .users
            .get(user)
            .map_or("?", |user| user.user.as_str());
        notes.push(format!("as {user}, who is {system} there"));
    }
    match step.gate {
        Gate::None => {}
        Gate::Hand => notes.push("on each host when somebody says go".to_owned()),
        Gate::Timed => notes.push("not before its time".to_owned()),
    }
    notes.extend(step.action.outputs_in_words());
    if let Some(digest) = step
        .action
        .script()
        .and_then(|name| plan.named.scripts.get(name))
    {
        notes.push(format!("SHA-256 {}", words::short(digest)));
    }
    notes
}

fn action(plan: &Plan, action: &Action) -> String {
    let deploy_to = || {
        let placement = plan.placement.as_ref();
        placement.map_or("", |placement| placement.deploy_to.as_str())
    };
    match action {
        Action::Checkout => format!("take the files of {}", words::short(&plan.commit)),
        Action::Sync => format!("bring them to {}", deploy_to()),
        Action::Publish => format!("switch {}/current to them", deploy_to()),
        Action::Run(program) => program_words(program),
        Action::Check(check) => match &check.probe {
            Probe::Http { url, status } => format!("check that {url} answers {status}"),
            Probe::Tcp { address } => format!("check that {address} answers"),
            Probe::Command { command, .. } => format!("check: {}", command_words(command)),
        },
    }
}

fn program_words(program: &Program) -> String {
    let command = command_words(&program.command);
    let command = match program.args.as_slice() {
        [] => command,
        args => format!("{command} with {}", args.join(" ")),
    };
    match &program.directory {
        Directory::Release => format!("{command} (in the release)"),
        Directory::Home => command,
        Directory::Absolute(path) => format!("{command} (in {path})"),
    }
}

fn command_words(command: &Command) -> String {
    match command {
        Command::Argv(arguments) => arguments.join(" "),
        Command::Shell(text) => text.clone(),
        Command::Script(name) => format!("the script {name}"),
    }
}

pub(in crate::web) async fn show(site: &Arc<Site>, call: &mut Call, id: &str) -> Answer {
    let who = who(site, call).await?;
    who.reads()?;
    let id = parse_id(id)?;
    let sight = sight_for(site, &who, id).await?;
    let t = TaskPage::of(site, &who, &sight).await?;
    let page = Page {
        frame: Frame::of(site, &who).await?,
        t: &t,
        log: end_of_log(site, id).await?,
    };
    shown(&page)
}

/// The end of what the steps have printed.
async fn end_of_log(site: &Site, id: u64) -> Result<String, Fault> {
    let all = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let broken = |error: std::io::Error| Fault::Broken(error.to_string());
    let mut reader = Reader::new(site.web.logs.clone(), id, &all);
    reader.only_the_end(LOG_END_BYTES).await.map_err(broken)?;
    let mut text = String::new();
    while text.len() < 2 * LOG_END_BYTES as usize {
        match reader.next().await.map_err(broken)? {
            Some(more) => text.push_str(&more),
            None => break,
        }
    }
    text.push_str(&reader.rest());
    Ok(text)
}
