//! Forms that act on tasks: approve, reject, withdraw, stop, retry, resume, roll back.

use std::sync::Arc;

use askama::Template;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Site;
use super::super::actions::tasks::{ask, go_back, nothing_live, parse_id};
use super::super::answer::{self, HttpResult};
use super::super::call::{Call, misread};
use super::super::fault::Fault;
use super::super::text::{self, Times};
use super::super::view::RollbackBody;
use super::super::who::who;
use super::{Frame, sender, shown, times};
use crate::domain::right::{Ability, PermissionTarget};
use crate::engine::request::{self, TaskRequest, Verb};
use crate::store::{Head, LiveRelease, ReleaseRecord};

/// The fields of every form about a task.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionFields {
    #[serde(default)]
    csrf: String,
    /// The plan that the page showed.
    #[serde(default)]
    plan: String,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    not_before: String,
    #[serde(default)]
    reason: String,
    /// Why an admin gives all missing approvals.
    #[serde(default)]
    emergency: Option<String>,
    /// Empty: the whole task.
    #[serde(default)]
    host: String,
}

pub(in crate::server) async fn of_task(
    site: &Arc<Site>,
    call: &mut Call,
    id: &str,
    what: &str,
) -> HttpResult {
    let fields: ActionFields = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &fields.csrf).await?;
    let id = parse_id(id)?;
    let verb = Verb::named(what).ok_or_else(|| call.unknown())?;
    let mut body = Map::new();
    let texts = [
        ("plan", Some(fields.plan)),
        ("comment", Some(fields.comment.trim().to_owned())),
        ("reason", Some(fields.reason)),
        ("emergency", fields.emergency),
        ("host", Some(fields.host).filter(|host| !host.is_empty())),
        (
            "not_before",
            not_before(site, &fields.not_before)?.map(|at| at.to_string()),
        ),
    ];
    for (name, text) in texts {
        if let Some(text) = text.filter(|_| verb.spec().fields.contains(&name)) {
            body.insert(name.to_owned(), Value::from(text));
        }
    }
    let request = TaskRequest::parse(verb, body).map_err(misread)?;
    ask(site, &who, id, &request).await?;
    answer::see(&format!("/tasks/{id}"))
}

/// Parses the earliest start time; a time in the past is refused as a mistake.
fn not_before(site: &Site, text: &str) -> Result<Option<jiff::Timestamp>, Fault> {
    let times = times(site);
    let at = times.parse(text)?;
    match at {
        Some(at) if at < site.web.clock.now() => Err(Fault::Invalid(format!(
            "{} has passed; choose a later time, or leave it empty",
            times.minute(&at)
        ))),
        at => Ok(at),
    }
}

#[derive(Template)]
#[template(path = "web/rollback.html")]
struct RollbackPage {
    frame: Frame,
    times: Times,
    project: String,
    environment: String,
    /// By release: the task that made it, if any, and the hosts where it is live.
    live: Vec<(LiveRelease, Option<Head>, String)>,
    target: ReleaseRecord,
    /// The tag of the target.
    tag: String,
    by: String,
    at: jiff::Timestamp,
}

impl RollbackPage {
    /// Whether the target is already live on every host.
    fn is_live(&self) -> bool {
        self.live
            .iter()
            .all(|(live, ..)| live.release == self.target.release)
    }
}

/// `GET /tasks/ID/rollback`: previews a rollback to a task's release.
pub(in crate::server) async fn back_to(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who(site, call).await?;
    who.reads()?;
    let id = parse_id(id)?;
    let task = site.web.store.task(id).await?;
    who.needs_to_see(id, &task.place())?;
    who.at(&task.place()).may(Ability::Run, "roll back")?;
    let target = request::target(&site.web.store, &request::RollbackTarget::ToTask(id)).await?;
    let PermissionTarget {
        project,
        environment,
        ..
    } = task.place();
    confirm(site, &who, &project, &environment, target).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentField {
    project: String,
    environment: String,
}

/// `GET /rollback?project=&environment=`: previews a rollback to the previous release.
pub(in crate::server) async fn back_before(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who(site, call).await?;
    who.reads()?;
    let EnvironmentField {
        project,
        environment,
    } = call.query()?;
    let place = PermissionTarget::new(&project, &environment, "");
    if !who.sees(&place) {
        return Err(nothing_live(&project, &environment));
    }
    who.at(&place).may(Ability::Run, "roll back")?;
    let back = request::RollbackTarget::Before {
        project: project.clone(),
        environment: environment.clone(),
    };
    let target = request::target(&site.web.store, &back).await?;
    confirm(site, &who, &project, &environment, target).await
}

async fn confirm(
    site: &Arc<Site>,
    who: &super::Who,
    project: &str,
    environment: &str,
    target: ReleaseRecord,
) -> HttpResult {
    let store = &site.web.store;
    let mut live: Vec<(LiveRelease, Vec<String>)> = Vec::new();
    for (host, release) in store.live(project, environment).await? {
        match live
            .iter_mut()
            .find(|(known, _)| known.release == release.release)
        {
            Some((_, hosts)) => hosts.push(host),
            None => live.push((release, vec![host])),
        }
    }
    let earlier = store.task(target.task).await?;
    let mut shown_live = Vec::new();
    for (release, hosts) in live {
        let made = match release.task {
            Some(task) => Some(store.head(task).await?),
            None => None,
        };
        shown_live.push((release, made, text::list(&hosts)));
    }
    let page = RollbackPage {
        frame: Frame::of(site, who).await?,
        times: times(site),
        project: project.to_owned(),
        environment: environment.to_owned(),
        live: shown_live,
        tag: earlier.tag().to_owned(),
        by: earlier.submission.submitter.who().to_owned(),
        at: earlier.created,
        target,
    };
    shown(&page)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackForm {
    #[serde(default)]
    csrf: String,
    task: u64,
    /// Why an admin gives the missing approval; otherwise empty.
    #[serde(default)]
    emergency: String,
}

/// Submits the confirmed rollback: always to the release that the page named.
pub(in crate::server) async fn roll_back(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let RollbackForm {
        csrf,
        task,
        emergency,
    } = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &csrf).await?;
    let asked = RollbackBody {
        task: Some(task),
        emergency: Some(emergency).filter(|reason| !reason.trim().is_empty()),
        ..RollbackBody::default()
    };
    let task = go_back(site, &who, asked).await?;
    answer::see(&format!("/tasks/{}", task.id))
}
