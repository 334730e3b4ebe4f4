//! Previews a rollback, and submits the one that was previewed.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use serde::Deserialize;

use super::super::Site;
use super::super::actions::hosts::HostsNow;
use super::super::actions::tasks::{nothing_live, parse_id, request_rollback, rollback_target};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::text::{self, Times};
use super::{Frame, sender, shown, times};
use crate::api::RollbackBody;
use crate::base::language::{Language, Sentence};
use crate::domain::host::ReleaseId;
use crate::domain::permission::{Ability, PermissionTarget};
use crate::engine::request::{self, RollbackGoal, RollbackPreview, RollbackTarget};
use crate::store::{LiveRelease, ReleaseRecord, Store};

#[derive(Template)]
#[template(path = "web/rollback.html")]
struct RollbackPage {
    frame: Frame,
    times: Times,
    project: String,
    environment: String,
    /// By release: its tag, and the hosts where it is live.
    live: Vec<(LiveRelease, String, String)>,
    goal: ShownGoal,
    /// Whether the goal is already live on every host that takes part.
    is_live: bool,
    /// Releases of other tools that may be chosen instead.
    others: Vec<ReleaseId>,
}

/// What a rollback leads to, as the page shows it.
enum ShownGoal {
    Made {
        target: ReleaseRecord,
        tag: String,
        by: String,
        at: jiff::Timestamp,
        /// How its task ended, if that did not succeed; otherwise empty.
        warning: String,
    },
    Found {
        task: Option<u64>,
        /// The release that was asked for by name, if one was.
        to: Option<String>,
        /// By host name; the form returns it, so that exactly this is submitted.
        hosts: BTreeMap<String, ReleaseId>,
    },
}

/// `GET /tasks/ID/rollback`: previews a rollback to what a task made live.
pub(in crate::server) async fn back_to(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    let id = parse_id(id)?;
    let task = site.web.store.task(id).await?;
    who.needs_to_see(id, &task.target())?;
    who.at(&task.target()).may(Ability::Run, "roll back")?;
    confirm(site, &who, &task.target(), &RollbackTarget::ToTask(id)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackQuery {
    project: String,
    environment: String,
    to: Option<String>,
}

/// `GET /rollback?project=&environment=&to=`: previews a rollback to a release, or to what was live
/// before.
pub(in crate::server) async fn back_before(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let RollbackQuery {
        project,
        environment,
        to,
    } = call.query()?;
    let target = PermissionTarget::new(&project, &environment, "");
    if !who.sees(&target) {
        return Err(nothing_live(&project, &environment));
    }
    who.at(&target).may(Ability::Run, "roll back")?;
    let back = rollback_target(project, environment, to);
    confirm(site, &who, &target, &back).await
}

async fn confirm(
    site: &Arc<Site>,
    who: &Who,
    target: &PermissionTarget,
    back: &RollbackTarget,
) -> HttpResult {
    let store = &site.web.store;
    let (project, environment) = (&target.project, &target.environment);
    let hosts = HostsNow::of(site).await?;
    let RollbackPreview { goal, is_live } = request::preview(store, back, hosts.present()).await?;
    let others = request::others(store, project, environment).await?;
    let mut live: Vec<(LiveRelease, Vec<String>)> = Vec::new();
    let on_hosts = store.live(project, environment).await?;
    for (host, release) in on_hosts {
        match live
            .iter_mut()
            .find(|(known, _)| known.release == release.release)
        {
            Some((_, hosts)) => hosts.push(host),
            None => live.push((release, vec![host])),
        }
    }
    let mut shown_live = Vec::new();
    for (release, hosts) in live {
        let tag = match release.task {
            Some(task) => store.head(task).await?.tag().to_owned(),
            None => String::new(),
        };
        shown_live.push((release, tag, hosts.join(", ")));
    }
    let shown_goal = goal_shown(store, who.language, back, goal).await?;
    let page = RollbackPage {
        frame: Frame::of(site, who).await?,
        times: times(site),
        project: project.clone(),
        environment: environment.clone(),
        live: shown_live,
        is_live,
        others: others
            .into_iter()
            .filter(|other| !shown_goal.is_all(other))
            .collect(),
        goal: shown_goal,
    };
    shown(&page)
}

impl ShownGoal {
    /// Whether every host goes back to this release.
    fn is_all(&self, release: &ReleaseId) -> bool {
        match self {
            Self::Made { target, .. } => target.release == *release,
            Self::Found { hosts, .. } => hosts.values().all(|target| target == release),
        }
    }

    /// Returns what the form sends back.
    fn seen(&self) -> String {
        match self {
            Self::Made { .. } => String::new(),
            Self::Found { hosts, .. } => serde_json::to_string(hosts).unwrap_or_default(),
        }
    }

    /// Returns what to know about the release before the request.
    fn warning(&self) -> Option<&str> {
        match self {
            Self::Made { warning, .. } if !warning.is_empty() => Some(warning),
            Self::Made { .. } | Self::Found { .. } => None,
        }
    }
}

impl RollbackPage {
    fn title(&self) -> Sentence {
        self.frame
            .say("rollback-title")
            .with("project", self.project.clone())
            .with("environment", self.environment.clone())
    }

    /// Returns the words of the button.
    fn request(&self) -> Sentence {
        let release = match &self.goal {
            ShownGoal::Made { tag, .. } => tag.clone(),
            ShownGoal::Found { hosts, .. } => {
                let mut releases = hosts.values();
                match releases.next() {
                    Some(first) if releases.all(|other| other == first) => first.0.clone(),
                    _ => return self.frame.say("rollback-to-each"),
                }
            }
        };
        self.frame.say("rollback-to").with("release", release)
    }
}

async fn goal_shown(
    store: &Store,
    language: Language,
    back: &RollbackTarget,
    goal: RollbackGoal,
) -> Result<ShownGoal, Fault> {
    Ok(match goal {
        RollbackGoal::Made(target) => {
            let earlier = store.task(target.task).await?;
            ShownGoal::Made {
                tag: earlier.tag().to_owned(),
                by: earlier.submission.submitter.display_name().to_owned(),
                at: earlier.created,
                warning: match target.good {
                    true => String::new(),
                    false => {
                        let (release, state) = (&target.release, earlier.state.name());
                        text::without_success(language, release, target.task, state)
                    }
                },
                target,
            }
        }
        RollbackGoal::Found(hosts) => ShownGoal::Found {
            task: match back {
                RollbackTarget::ToTask(id) => Some(*id),
                RollbackTarget::Before { .. } | RollbackTarget::Named { .. } => None,
            },
            to: match back {
                RollbackTarget::Named { release, .. } => Some(release.0.clone()),
                RollbackTarget::ToTask(_) | RollbackTarget::Before { .. } => None,
            },
            hosts,
        },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackForm {
    #[serde(default)]
    csrf: String,
    task: Option<u64>,
    project: Option<String>,
    environment: Option<String>,
    to: Option<String>,
    /// The releases that the page showed, if they are not those of one task.
    #[serde(default)]
    seen: String,
    /// Why an admin gives the missing approval; otherwise empty.
    #[serde(default)]
    emergency: String,
}

/// Submits the confirmed rollback: always to the releases that the page named.
pub(in crate::server) async fn roll_back(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let form: RollbackForm = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &form.csrf).await?;
    let body = RollbackBody {
        task: form.task,
        project: form.project,
        environment: form.environment,
        to: form.to,
        emergency: Some(form.emergency).filter(|reason| !reason.trim().is_empty()),
        override_freeze: None,
    };
    let seen = match form.seen.as_str() {
        "" => None,
        seen => Some(
            serde_json::from_str(seen)
                .map_err(|_| Fault::Invalid(who.language.say("rollback-not-seen").to_string()))?,
        ),
    };
    let task = request_rollback(site, &who, body, seen.as_ref()).await?;
    answer::see(&format!("/tasks/{}", task.id))
}
