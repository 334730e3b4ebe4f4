//! One task: what it changes, who decides, how far it is, and the available actions. Its parts are
//! also rendered one by one, for open pages.

mod compared;
mod failures;
mod planned;
mod progress;
mod refusal;
mod statement;

use std::sync::Arc;

use askama::Template;
use jiff::Timestamp;

use self::compared::{Compared, compared};
use self::failures::Failures;
use self::planned::{Planned, planned};
use self::progress::{Phase, Running, StageTable, Tables, phases};
use self::statement::TaskSentences;
use super::super::Site;
use super::super::actions::precedents::Precedents;
use super::super::actions::tasks::{TaskDetail, detail_for, parse_id};
use super::super::answer::HttpResult;
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::output::{LOG_END_BYTES, TaskLogReader};
use super::super::text::{self, Times};
use super::{Frame, shown, times};
use crate::api::{self, AllowedRequest, EventLine, LogQuery, TaskView};
use crate::base::language::{Language, Sentence};
use crate::domain::approval::{Actor, Approval};
use crate::domain::permission::Ability;
use crate::domain::plan::{AGENT, Plan, PlanDigest};
use crate::domain::task::{OriginKind, StateName};
use crate::domain::template::OnFailure;
use crate::engine::request::{self, RequestContext, RequestError, Rollbacks, TaskRequest};
use crate::store::LiveRelease;

/// The most hosts that the page lists by name.
const HOSTS_LISTED_MAX: usize = 100;
/// From this length on, in bytes, a sentence is set smaller.
const LONG_SENTENCE: usize = 120;

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
part!(Facts, "web/part/facts.html");
part!(Progress, "web/part/progress.html");
part!(Changes, "web/part/changes.html");
part!(History, "web/part/history.html");

/// What the page and its parts are rendered from.
pub(in crate::server) struct TaskPage {
    language: Language,
    view: TaskView,
    times: Times,
    csrf: String,
    statement: String,
    /// What it releases, where and instead of what; empty if the statement says it.
    summary: String,
    /// Why the reader may not take an action that they would expect.
    refusal: String,
    /// What has changed since the comparisons were made, or since an approval.
    changed: Vec<String>,
    /// Target and source of a rollback.
    rolls_back: Option<String>,
    changes_nothing: Option<String>,
    comparisons: Vec<Compared>,
    /// Where its commit was released before, each with the task.
    passed: Vec<(u64, String)>,
    /// How many events it shows.
    events: u64,
    planned: Vec<Planned>,
    parameters: Vec<(String, String)>,
    running: Option<Running>,
    failures: Failures,
    phases: Vec<Phase>,
    /// When its work began.
    began: Option<Timestamp>,
    /// Whether the log is shown although no step has begun.
    landing_matters: bool,
    /// Whether the release before the live one can be restored there.
    back: bool,
    /// Whether a similar task may be submitted.
    again: bool,
    /// Whether the reader is asked to approve it.
    asks_reader: bool,
}

impl TaskPage {
    pub(in crate::server) async fn of(
        site: &Site,
        who: &Who,
        detail: &TaskDetail,
    ) -> Result<Self, Fault> {
        let language = who.language;
        let view = detail.view_in(site, who, language);
        let actor = who.at(&detail.task.target());
        let times = times(site);
        let now = site.web.clock.now();
        let store = &site.web.store;
        let live = store.live(&view.project, &view.environment).await?;
        let live: Vec<(String, LiveRelease)> = live.into_iter().collect();
        let unknown = Precedents::default();
        let precedents = match view.at_rest {
            true => &unknown,
            false => detail.precedents(site, who).await?,
        };
        let failures = Failures::of(site, language, &view).await?;
        let sentences = TaskSentences {
            language,
            times: &times,
            now,
            view: &view,
            task: &detail.task,
            live: &live,
            hosts: hosts(&view).len(),
            live_by: live_by(site, who, &view).await?,
            failed_hosts: failures.hosts,
        };
        let waits = view.state.waits();
        let mut projects = site.web.config.projects.iter();
        let project = projects.find(|project| project.name == view.project);
        let web = project.and_then(|project| project.web.as_deref());
        let work = detail.task.work.as_ref();
        Ok(Self {
            statement: sentences.sentence(waits),
            summary: if waits {
                String::new()
            } else {
                sentences.summary()
            },
            refusal: refusal(site, language, &actor, detail, &view),
            changed: changed(language, &view, &live, &times),
            rolls_back: api::rollback_summary(language, &view, |at| times.minute(&at)),
            changes_nothing: api::changes_nothing(language, &view),
            comparisons: compared(language, &view, web),
            passed: passed(language, precedents, &times, now),
            events: detail.task.events,
            planned: detail
                .plan
                .as_deref()
                .map(|plan| planned(language, plan))
                .unwrap_or_default(),
            parameters: parameters(&view, detail.plan.as_deref()),
            running: Running::of(language, &detail.task, precedents.usual_ms, now),
            phases: phases(language, &view),
            began: work.map(|work| work.started),
            landing_matters: matters(&view),
            failures,
            again: actor.may(Ability::Submit, "submit a task").is_ok(),
            back: view.may.contains(&AllowedRequest::RollbackBefore),
            csrf: who.csrf_token(),
            asks_reader: text::asks(&view, &actor.name),
            language,
            view,
            times,
        })
    }

    /// Returns a text of `templates/text/` in the reader's language.
    fn say(&self, id: &'static str) -> Sentence {
        self.language.say(id)
    }

    /// Returns the title of the browser's window.
    pub(in crate::server) fn title(&self) -> String {
        let view = &self.view;
        format!(
            "{}: {} \u{2192} {}",
            self.state(),
            view.called(),
            view.destination()
        )
    }

    /// Returns the parts that change, by the ids of their elements.
    pub(in crate::server) fn parts(&self) -> Result<Vec<(&'static str, String)>, Fault> {
        let t = self;
        let drawn = [
            ("statement", Statement { t }.render()),
            ("requests", Requests { t }.render()),
            ("approvals", Approvals { t }.render()),
            ("facts", Facts { t }.render()),
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
        let at_work = matches!(self.view.state, StateName::Running | StateName::Paused);
        self.back && (self.view.at_rest || at_work)
    }

    /// Returns the hosts that take part in the task.
    fn hosts(&self) -> Vec<&str> {
        hosts(&self.view)
    }

    /// Returns those of them that are listed by name.
    fn listed_hosts(&self) -> Vec<&str> {
        let mut hosts = self.hosts();
        hosts.truncate(HOSTS_LISTED_MAX);
        hosts
    }

    fn unlisted_hosts(&self) -> usize {
        self.hosts().len().saturating_sub(HOSTS_LISTED_MAX)
    }

    /// Whether the reader may do this; `what` is the name of a [`AllowedRequest`] in JSON.
    fn may(&self, what: &str) -> bool {
        let named = |may: &AllowedRequest| serde_json::to_value(may).is_ok_and(|name| name == what);
        self.view.may.iter().any(named)
    }

    /// Returns where a decision releases to, in few words: `production`.
    fn target(&self) -> String {
        match self.view.project.as_str() {
            "" => self.view.destination(),
            _ => self.view.environment.clone(),
        }
    }

    fn is_long(&self) -> bool {
        self.statement.len() > LONG_SENTENCE
    }

    /// Returns what it waits for that only people can provide.
    fn waits_for(&self) -> Option<String> {
        let waits = self.view.state == StateName::Waiting && !self.view.can_approve.is_empty();
        let who = text::list_in(self.language, &self.view.can_approve);
        let text = match api::has_too_few_approvers(&self.view) {
            true => self.say("task-too-few-approvers"),
            false => self.say("task-can-be-approved"),
        };
        waits.then(|| text.with("who", who).to_string())
    }

    /// Returns the approvals that an admin gave in an emergency.
    fn emergencies(&self) -> Vec<String> {
        let given = self.view.approvals.iter();
        given
            .filter(|given| given.approval.emergency.is_some())
            .map(|given| {
                let who = self.approved_by(&given.approval);
                self.say("task-approved-by").with("who", who).to_string()
            })
            .collect()
    }

    fn approved_by(&self, approval: &Approval) -> String {
        api::attribution(self.language, approval)
    }

    fn tone(&self) -> &'static str {
        text::tone(self.view.state)
    }

    fn state(&self) -> String {
        text::state_in(self.language, self.view.state)
    }

    fn plan_digest(&self) -> &str {
        self.view.plan.as_ref().map_or("", |plan| plan.0.as_str())
    }

    fn missing(&self) -> Vec<String> {
        api::missing(self.language, &self.view)
    }

    fn rollback_of(&self) -> Option<u64> {
        match self.view.origin {
            OriginKind::Rollback { to, .. } => to,
            OriginKind::Tag { .. } | OriginKind::Submitted { .. } => None,
        }
    }

    /// Returns the freeze over it: until when, its name and reason, and who overrode it.
    fn frozen(&self) -> Option<String> {
        let frozen = self.view.frozen.as_ref()?;
        let freeze = match frozen.reason.as_str() {
            "" => frozen.name.clone(),
            reason => {
                let text = self.say("with-reason").with("what", frozen.name.clone());
                text.with("why", reason.to_owned()).to_string()
            }
        };
        let text = match &frozen.overridden_by {
            Some(by) => self.say("task-freeze-overridden").with("by", by.clone()),
            None => self.say("task-frozen"),
        };
        let text = text.with("environment", self.view.environment.clone());
        let text = text.with("until", self.times.minute(&frozen.until));
        Some(text.with("freeze", freeze).to_string())
    }

    /// Describes what happens when a host fails.
    fn on_failure(&self) -> Option<Sentence> {
        Some(match self.view.on_failure? {
            OnFailure::Rollback => self.say("task-on-failure-rollback"),
            OnFailure::Pause => self.say("task-on-failure-pause"),
            OnFailure::Stop => self.say("task-on-failure-stop"),
            OnFailure::Continue => self.say("task-on-failure-continue"),
        })
    }

    /// Describes what a retry does in this state.
    fn retry_words(&self) -> Sentence {
        match self.view.state {
            StateName::Withdrawn | StateName::Superseded | StateName::Expired => {
                self.say("task-retry")
            }
            StateName::RollbackFailed => self.say("task-retry-rollback"),
            _ => self.say("task-retry-steps"),
        }
    }

    /// Returns the name of an event.
    fn event(&self, event: &EventLine) -> String {
        let id = format!("event-{}", event.name.replace(' ', "-"));
        self.language.say(id).to_string()
    }

    /// Whether it is compared with what is live now.
    fn waits(&self) -> bool {
        self.view.state.waits()
    }

    /// Whether the output of steps is shown: what landing printed matters only if it fails.
    fn shows_log(&self) -> bool {
        self.view.release.is_some() || self.landing_matters
    }

    fn tables(&self) -> Vec<StageTable<'_>> {
        let tables = Tables {
            language: self.language,
            times: &self.times,
            view: &self.view,
        };
        tables.all()
    }

    /// Returns how long its work took, once it has ended.
    fn took(&self) -> Option<String> {
        let began = self.began.filter(|_| self.view.at_rest)?;
        Some(text::lasted(self.language, began, self.view.updated_at))
    }
}

/// Whether a reader needs what landing printed.
fn matters(view: &TaskView) -> bool {
    view.release.is_none() && matches!(view.state, StateName::Proposed | StateName::Expired)
}

/// Returns the hosts that take part in a task.
fn hosts(view: &TaskView) -> Vec<&str> {
    let named = view.stages.iter().flat_map(|stage| &stage.hosts);
    let mut seen = std::collections::BTreeSet::new();
    let skipped = view.skipped.iter().map(|skipped| skipped.name.as_str());
    seen.extend(skipped.chain([AGENT]));
    let names = named.map(|host| host.name.as_str());
    names.filter(|name| seen.insert(*name)).collect()
}

/// Returns who submitted the release that it replaces, if that is one whose task the reader may see.
async fn live_by(site: &Site, who: &Who, view: &TaskView) -> Result<Option<String>, Fault> {
    let live = view
        .compared
        .iter()
        .flat_map(|compared| &compared.with.live);
    let [one] = live.collect::<Vec<_>>()[..] else {
        return Ok(None);
    };
    if !view.state.waits() || one.task == 0 {
        return Ok(None);
    }
    let head = site.web.store.heads(&[one.task]).await?.pop();
    let seen = head.filter(|head| who.sees(&head.target()));
    Ok(seen.map(|head| head.who().to_owned()))
}

/// Says where the commit was released before.
fn passed(
    language: Language,
    precedents: &Precedents,
    times: &Times,
    now: Timestamp,
) -> Vec<(u64, String)> {
    let passed = precedents.passed.iter();
    passed
        .map(|head| {
            let at = times.lately(language, head.updated_at, now);
            let text = language.say("task-passed").with("at", at);
            let text = text.with("environment", head.environment.clone());
            (
                head.id,
                text.with("release", head.tag().to_owned()).to_string(),
            )
        })
        .collect()
}

/// Returns why the reader may not take an action that they would expect: approve a waiting task,
/// retry a failed one. Empty if they may.
fn refusal(
    site: &Site,
    language: Language,
    actor: &Actor,
    detail: &TaskDetail,
    view: &TaskView,
) -> String {
    let ended = matches!(
        view.state,
        StateName::Failed | StateName::Stopped | StateName::RolledBack | StateName::RollbackFailed
    );
    if let Some(newer) = detail.newer.filter(|_| ended) {
        let text = language.say("task-newer-has-run").with("task", newer);
        return text.to_string();
    }
    let Some(plan) = view
        .plan
        .clone()
        .filter(|_| view.state == StateName::Waiting)
    else {
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
        Err(RequestError::Refused(refused)) => refusal::words(language, &refused),
        _ => String::new(),
    }
}

/// Returns what an approver must know: what has changed since other approvals, and that something
/// else went live with which the task is not compared yet.
fn changed(
    language: Language,
    view: &TaskView,
    live: &[(String, LiveRelease)],
    times: &Times,
) -> Vec<String> {
    let mut changed = api::changed_since_approval(language, view, |at| times.minute(&at));
    let compared = view
        .compared
        .iter()
        .flat_map(|compared| &compared.with.live);
    let known: Vec<_> = compared.map(|live| &live.release).collect();
    let other = live
        .iter()
        .find(|(_, live)| !known.contains(&&live.release));
    if let Some((_, other)) = other.filter(|_| view.state.waits() && view.description.is_some()) {
        let text = language.say("task-other-went-live");
        changed.push(text.with("task", other.switched_by).to_string());
    }
    changed
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
