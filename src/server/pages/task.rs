//! One task: its status, changes, plan, host progress and available actions. Its parts are also
//! rendered one by one, for open pages.

mod planned;

use std::sync::Arc;

use askama::Template;

use self::planned::{Planned, planned};
use super::super::Site;
use super::super::actions::tasks::{TaskDetail, detail_for, parse_id};
use super::super::answer::HttpResult;
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::output::{LOG_END_BYTES, TaskLogReader};
use super::super::text::{self, Times};
use super::{Frame, shown, times};
use crate::api::{
    self, AllowedRequest, HostView, LogQuery, StageView, StepState, StepView, TaskView,
};
use crate::domain::approval::Actor;
use crate::domain::permission::Ability;
use crate::domain::plan::{Plan, PlanDigest};
use crate::domain::task::{ChangedPath, CommitLine, OriginKind};
use crate::domain::template::OnFailure;
use crate::engine::request::{self, RequestContext, RequestError, Rollbacks, TaskRequest};
use crate::store::LiveRelease;

/// In stages with more hosts than this, only unfinished or failed hosts are shown.
const HOSTS_MAX: usize = 40;

#[derive(Template)]
#[template(path = "web/task.html")]
struct FullTaskPage<'a> {
    frame: Frame,
    t: &'a TaskPage,
    log: String,
}

/// The parts of the page that change, each the content of the element of that name.
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
part!(Changes, "web/part/changes.html");
part!(History, "web/part/history.html");

/// What the page and its parts are rendered from.
pub(in crate::server) struct TaskPage {
    view: TaskView,
    times: Times,
    csrf: String,
    statement: String,
    /// Why the reader may not take an action that they would expect.
    refusal: String,
    /// What has changed since the comparisons were made, or since an approval.
    changed: Vec<String>,
    /// Target and source of a rollback.
    rolls_back: Option<String>,
    changes_nothing: Option<String>,
    comparisons: Vec<Compared>,
    /// How many events it shows.
    events: u64,
    planned: Vec<Planned>,
    parameters: Vec<(String, String)>,
    /// Whether the release before the live one can be restored there.
    back: bool,
    /// Whether a similar task may be submitted.
    again: bool,
    /// Whether the reader is asked to approve it.
    asks_reader: bool,
}

/// The comparison with one live release.
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

impl TaskPage {
    pub(in crate::server) async fn of(
        site: &Site,
        who: &Who,
        detail: &TaskDetail,
    ) -> Result<Self, Fault> {
        let view = detail.view(site, who);
        let actor = who.at(&detail.task.target());
        let times = times(site);
        let live = site
            .web
            .store
            .live(&view.project, &view.environment)
            .await?;
        let live: Vec<(String, LiveRelease)> = live.into_iter().collect();
        Ok(Self {
            statement: text::statement(&view, &live, &times),
            refusal: refusal(site, &actor, detail, &view),
            changed: changed(&view, &live, &times),
            rolls_back: api::rollback_summary(&view, |at| times.minute(&at)),
            changes_nothing: api::changes_nothing(&view),
            comparisons: compared(&view),
            events: detail.task.events,
            planned: detail.plan.as_deref().map(planned).unwrap_or_default(),
            parameters: parameters(&view, detail.plan.as_deref()),
            again: actor.may(Ability::Submit, "submit a task").is_ok(),
            back: view.may.contains(&AllowedRequest::RollbackBefore),
            csrf: who.csrf_token(),
            asks_reader: text::asks(&view, &actor.name),
            view,
            times,
        })
    }

    /// Returns the title of the browser's window.
    pub(in crate::server) fn title(&self) -> String {
        let view = &self.view;
        let state = text::state(&view.state);
        format!("{state}: {} \u{2192} {}", view.called(), view.destination())
    }

    /// Returns the parts that change, by the ids of their elements.
    pub(in crate::server) fn parts(&self) -> Result<Vec<(&'static str, String)>, Fault> {
        let t = self;
        let drawn = [
            ("statement", Statement { t }.render()),
            ("requests", Requests { t }.render()),
            ("approvals", Approvals { t }.render()),
            ("progress", Progress { t }.render()),
            ("changes", Changes { t }.render()),
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

    /// Whether a rollback is offered: it replaces a running or paused task.
    fn offers_rollback(&self) -> bool {
        let at_work = matches!(self.view.state.as_str(), "running" | "paused");
        self.back && (self.view.at_rest || at_work)
    }

    /// Returns the hosts that take part in the task.
    fn hosts(&self) -> Vec<&str> {
        let named = self.view.stages.iter().flat_map(|stage| &stage.hosts);
        let mut hosts: Vec<&str> = Vec::new();
        for host in named.map(|host| host.name.as_str()) {
            let out = host == crate::domain::plan::AGENT
                || self.view.skipped.iter().any(|skipped| skipped.name == host);
            if !out && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    /// Whether the reader may do this; `what` is the name of an [`AllowedRequest`] in JSON.
    fn may(&self, what: &str) -> bool {
        let named = |may: &AllowedRequest| serde_json::to_value(may).is_ok_and(|name| name == what);
        self.view.may.iter().any(named)
    }

    /// Returns what it waits for that only people can provide.
    fn waits_for(&self) -> Option<String> {
        let waits = self.view.state == "waiting" && !self.view.can_approve.is_empty();
        let who = text::list(&self.view.can_approve);
        waits.then(|| match api::has_too_few_approvers(&self.view) {
            true => format!("Only {who} can approve it, which is not enough"),
            false => format!("Can be approved by {who}"),
        })
    }

    /// Returns the approvals that an admin gave in an emergency.
    fn emergencies(&self) -> Vec<String> {
        let given = self.view.approvals.iter();
        given
            .filter(|given| given.approval.emergency.is_some())
            .map(|given| format!("Approved by {}", given.approval.attribution()))
            .collect()
    }

    fn tone(&self) -> &'static str {
        text::tone(&self.view.state)
    }

    fn state(&self) -> String {
        text::state(&self.view.state)
    }

    fn plan_digest(&self) -> &str {
        self.view.plan.as_ref().map_or("", |plan| plan.0.as_str())
    }

    fn missing(&self) -> Vec<String> {
        text::missing(&self.view)
    }

    fn rollback_of(&self) -> Option<u64> {
        match self.view.origin {
            OriginKind::Rollback { to, .. } => to,
            OriginKind::Tag { .. } | OriginKind::Submitted { .. } => None,
        }
    }

    /// Describes what happens when a host fails.
    fn on_failure(&self) -> Option<&'static str> {
        Some(match self.view.on_failure? {
            OnFailure::Rollback => "switched hosts roll back",
            OnFailure::Pause => "the task pauses",
            OnFailure::Stop => "the task stops; switched hosts keep the new release",
            OnFailure::Continue => "the other hosts continue",
        })
    }

    /// Describes what a retry does in this state.
    fn retry_words(&self) -> &'static str {
        match self.view.state.as_str() {
            "withdrawn" | "superseded" | "expired" => "Retry",
            "rollback-failed" => "Retry the rollback",
            _ => "Retry failed and unstarted steps",
        }
    }

    /// Whether it is compared with what is live now.
    fn waits(&self) -> bool {
        matches!(self.view.state.as_str(), "waiting" | "scheduled" | "queued")
    }

    /// Returns the forward stages, then the rollback.
    fn tables(&self) -> Vec<StageTable<'_>> {
        let forward = self.view.stages.iter().enumerate();
        let back = self.view.rollback_stages.iter();
        forward
            .map(|(number, stage)| {
                let title = format!("Stage {}: {}", number + 1, stage.name);
                self.table(title, stage)
            })
            .chain(back.map(|stage| self.table(format!("Rollback: {}", stage.name), stage)))
            .collect()
    }

    fn table<'a>(&'a self, title: String, stage: &'a StageView) -> StageTable<'a> {
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
        let hosts = text::plural(stage.hosts.len() as u64, "host");
        StageTable {
            title,
            summary: if stage.hosts.len() == 1 && stage.hosts[0].name == crate::domain::plan::AGENT
            {
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
            (Some(from), Some(to)) => text::lasted(from, to),
            (Some(from), None) => format!("since {}", self.times.second(&from)),
            _ => String::new(),
        };
        let (mark, word, tone) = match step.state {
            StepState::Pending => ("\u{b7}", "not started", "over"),
            StepState::Running => ("\u{25b6}", "running", "work"),
            StepState::Succeeded => ("\u{2713}", "done", "good"),
            StepState::Failed => ("\u{2717}", "failed", "bad"),
            StepState::Unknown => ("?", "unknown", "warn"),
            StepState::Stopped => ("\u{25a0}", "stopped", "warn"),
            StepState::Held => ("\u{2016}", "waits at gate", "asks"),
            StepState::Skipped => ("\u{2013}", "skipped", "over"),
            StepState::Elsewhere => ("\u{2013}", "not on this host", "over"),
        };
        let code = match step.unstated_exit() {
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
struct StageTable<'a> {
    title: String,
    summary: String,
    steps: Vec<&'a str>,
    rows: Vec<(&'a str, Vec<Cell>)>,
    left_out: usize,
}

/// One step on one host.
struct Cell {
    /// Shown next to the word, never instead of it.
    mark: &'static str,
    word: &'static str,
    tone: &'static str,
    notes: String,
    begun: bool,
    log: String,
}

/// Returns why the reader may not take an action that they would expect: approve a waiting task,
/// retry a failed one. Empty if they may.
fn refusal(site: &Site, actor: &Actor, detail: &TaskDetail, view: &TaskView) -> String {
    let ended = matches!(
        view.state.as_str(),
        "failed" | "stopped" | "rolled-back" | "rollback-failed"
    );
    if let Some(newer) = detail.newer.filter(|_| ended) {
        return format!("task {newer} has run there since: this task can no longer be retried");
    }
    let Some(plan) = view.plan.clone().filter(|_| view.state == "waiting") else {
        return String::new();
    };
    let approve = TaskRequest::Approve {
        plan: PlanDigest(plan.0),
        comment: String::new(),
        not_before: None,
        emergency: None,
    };
    let moment = RequestContext {
        now: site.web.clock.now(),
        calendar: &site.web.config.calendar(),
        plan: None,
        newer: None,
        rollbacks: Rollbacks::default(),
    };
    match request::decide(&detail.task, actor, &approve, &moment) {
        Err(RequestError::Refused(refusal)) => refusal.to_string(),
        _ => String::new(),
    }
}

/// Returns what an approver must know: what has changed since other approvals, and that something
/// else went live with which the task is not compared yet.
fn changed(view: &TaskView, live: &[(String, LiveRelease)], times: &Times) -> Vec<String> {
    let mut changed = api::changed_since_approval(view, |at| times.minute(&at));
    let compared = view
        .compared
        .iter()
        .flat_map(|compared| &compared.with.live);
    let known: Vec<_> = compared.map(|live| &live.release).collect();
    let waits = matches!(view.state.as_str(), "waiting" | "scheduled" | "queued");
    let other = live
        .iter()
        .find(|(_, live)| !known.contains(&&live.release));
    if let Some((_, other)) = other.filter(|_| waits && view.description.is_some()) {
        changed.push(format!(
            "task {} went live there after this comparison; the comparison is being updated",
            other.switched_by
        ));
    }
    changed
}

fn compared(view: &TaskView) -> Vec<Compared> {
    let comparisons = view
        .description
        .iter()
        .flat_map(|description| &description.comparisons);
    comparisons
        .map(|comparison| {
            let (words, tone) = text::relation(comparison);
            let hosts = text::list(&comparison.hosts);
            Compared {
                words,
                tone,
                against: match &comparison.live {
                    Some(live) => match api::live_called(view, live) {
                        Some(called) => format!("{called} ({}) on {hosts}", text::short(live)),
                        None => format!("{} on {hosts}", text::short(live)),
                    },
                    None => String::new(),
                },
                shortstat: text::shortstat(comparison),
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

/// Returns the parameters by their aliases; the view holds no value of hidden ones.
fn parameters(view: &TaskView, plan: Option<&Plan>) -> Vec<(String, String)> {
    let alias = |name: &String| plan.and_then(|plan| plan.named.aliases.get(name)).cloned();
    let shown = view.parameters.iter();
    shown
        .map(|(name, value)| (alias(name).unwrap_or_else(|| name.clone()), value.clone()))
        .collect()
}

pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    let id = parse_id(id)?;
    let detail = detail_for(site, &who, id).await?;
    let t = TaskPage::of(site, &who, &detail).await?;
    let page = FullTaskPage {
        frame: Frame::of(site, &who).await?,
        t: &t,
        log: end_of_log(site, id).await?,
    };
    shown(&page)
}

/// Returns the end of the steps' output.
async fn end_of_log(site: &Site, id: u64) -> Result<String, Fault> {
    let all = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let broken = |error: std::io::Error| Fault::Broken(error.to_string());
    let mut reader = TaskLogReader::new(site.web.logs.clone(), id, &all);
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
