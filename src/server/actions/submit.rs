//! Manually submitted tasks, shared by the pages, the JSON API and CODO's API.

use std::collections::BTreeSet;

use super::super::Site;
use super::super::authentication::{AuditedAction, Who};
use super::super::fault::Fault;
use super::hosts::seen_hosts;
use super::templates::seen;
use crate::api::OrderView;
use crate::config::Templates;
use crate::domain::permission::PermissionTarget;
use crate::domain::plan::Plan;
use crate::domain::task::{Task, Via};
use crate::domain::template::Template;
use crate::engine::submit::{
    self, ResolveSources, SubmissionOrder, SubmitError, Submitted, SubmittingUser, Visibility,
};

/// What a user may see, for callers that report problems to them.
pub(in crate::server) struct UserVisibility<'a> {
    pub(in crate::server) site: &'a Site,
    pub(in crate::server) who: &'a Who,
}

impl Visibility for UserVisibility<'_> {
    fn sees(&self, target: &PermissionTarget) -> bool {
        self.who.sees(target)
    }

    fn lists(&self, library: &Templates, template: &str) -> bool {
        seen(self.site, self.who, library, template)
    }

    fn host(&self, name: &str) -> bool {
        seen_hosts(self.site, self.who).contains(name)
    }
}

/// Creates a task from an order.
pub(in crate::server) async fn take(
    site: &Site,
    who: &Who,
    order: &SubmissionOrder,
    via: Via,
) -> Result<Submitted, Fault> {
    let problems = order.problems();
    if !problems.is_empty() {
        return Err(Fault::Problems(problems));
    }
    let library = site.web.templates.current().await;
    let store = &site.web.store;
    let now = site.web.clock.now();
    let disabled = store.disabled_hosts().await?;
    let sources = ResolveSources {
        config: &site.web.config,
        library: &library,
        viewer: &UserVisibility { site, who },
        disabled: &disabled,
        now,
    };
    let user = SubmittingUser {
        name: &who.actor.name,
        actor_at: &|target| who.at(target),
        via,
    };
    let action = AuditedAction::on("submit", audited(order));
    let entry = who.audit(site, action.clone()).await?;
    let also = |id| entry.making(id);
    let submitted = submit::submit(store, &sources, order, &user, now, &also).await;
    drop(entry);
    let submitted = match submitted {
        Err(error @ (SubmitError::Right { .. } | SubmitError::Missing(_))) => {
            who.refused(site, action, &error.to_string()).await;
            return Err(error.into());
        }
        submitted => submitted?,
    };
    tracing::info!(task = submitted.id(), actor = %who.actor.name, "a task was submitted");
    Ok(submitted)
}

/// Describes an order for the audit, without any parameter value.
pub(in crate::server) fn audited(order: &SubmissionOrder) -> String {
    let names = [&order.project, &order.environment, &order.tag];
    let names = names.into_iter().filter(|name| !name.is_empty());
    let words: Vec<&str> = std::iter::once(&order.template)
        .chain(names)
        .map(String::as_str)
        .collect();
    words.join(" ")
}

/// Returns an order like that of an earlier task, with the names of the values it omits. Earlier
/// versions stored a rule's values among the others, and unclassified values separately. The plan
/// knows which are secret; before there is a plan, the template does.
pub(in crate::server) fn order_again(
    task: &Task,
    plan: Option<&Plan>,
    library: &Templates,
) -> OrderView {
    let mut order = SubmissionOrder::again(task);
    let given = task.submission.secrets.keys();
    let mut secrets: BTreeSet<String> = given.cloned().collect();
    let template = library.find(&task.submission.template);
    let by_template = template.into_iter().flat_map(Template::secrets);
    if plan.is_none() && template.is_none() {
        // It is not known which of them are secret.
        secrets.extend(std::mem::take(&mut order.params).into_keys());
    }
    for name in task.submission.unclassified.keys() {
        match plan.and_then(|plan| plan.parameters.get(name)) {
            Some(value) => {
                order.params.insert(name.clone(), value.clone());
            }
            None => {
                secrets.insert(name.clone());
            }
        }
    }
    let planned = plan.into_iter().flat_map(|plan| &plan.secrets);
    for name in planned.chain(by_template) {
        if order.params.remove(name).is_some() {
            secrets.insert(name.clone());
        }
    }
    OrderView {
        order,
        secrets: secrets.into_iter().collect(),
    }
}
