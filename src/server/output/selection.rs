//! Checks what a reader requests of a task's log against what the task has: a mistyped host or step
//! is an error, not an empty log to wait for. Reads; changes nothing.

use std::collections::BTreeSet;

use super::super::Site;
use super::super::fault::Fault;
use crate::api::LogQuery;
use crate::domain::document::meant;
use crate::domain::plan::Plan;
use crate::domain::task::{Direction, StepRef};
use crate::store::log::LogEntry;

/// The most names that an error lists.
const NAMED_MAX: usize = 20;

/// A step of a host, as logs name it.
#[derive(Debug)]
struct LogStep {
    host: String,
    step: String,
    way: Direction,
}

/// Checks that the requested part of a task's log exists or will exist. A host given by its address
/// is replaced by its name.
///
/// # Errors
/// [`Fault::NotFound`], which lists the existing hosts or steps; or the store or the log cannot be
/// read.
pub(super) async fn is_there(site: &Site, id: u64, query: &mut LogQuery) -> Result<(), Fault> {
    if query.host.is_none() && query.step.is_none() {
        return Ok(());
    }
    let store = &site.web.store;
    let task = store.task(id).await?;
    let plan = store.plan_of(&task).await?;
    if plan.is_none() && !task.state.is_settled() {
        // Its hosts and steps are known once it has landed.
        return Ok(());
    }
    if let (Some(plan), Some(given)) = (&plan, &mut query.host)
        && let Some(host) = plan.hosts.iter().find(|host| host.has_name(given))
    {
        given.clone_from(&host.name);
    }
    let logs = site.web.logs.clone();
    let entries = blocking(move || logs.entries(id)).await;
    let entries = entries.map_err(|error| Fault::Broken(error.to_string()))?;
    let mut log_steps = plan.as_deref().map(planned).unwrap_or_default();
    // Also the landing, and steps of an earlier plan.
    log_steps.extend(
        entries
            .into_iter()
            .map(|LogEntry { host, step, .. }| LogStep {
                host,
                step,
                way: Direction::Forward,
            }),
    );
    chosen(&log_steps, query)
        .map_err(|missing| Fault::NotFound(format!("task {id} has no {missing}")))
}

/// Returns the steps of a plan's hosts, forward and in a rollback.
fn planned(plan: &Plan) -> Vec<LogStep> {
    let mut log_steps = Vec::new();
    for at in plan.all_steps() {
        let back = (plan.publish_stage() == Some(at.stage.into())).then_some(Direction::Back);
        for way in [Direction::Forward].into_iter().chain(back) {
            log_steps.push(LogStep {
                host: plan.host_name(at).to_owned(),
                step: plan.log_name(StepRef { way, ..at }),
                way,
            });
        }
    }
    log_steps
}

/// Checks the query against the steps; the error names what is missing and what exists.
fn chosen(log_steps: &[LogStep], query: &LogQuery) -> Result<(), String> {
    let host = query.host.as_deref();
    let of_host = |log_step: &&LogStep| host.is_none_or(|host| log_step.host == host);
    let here: Vec<&LogStep> = log_steps.iter().filter(of_host).collect();
    if let Some(host) = host.filter(|_| here.is_empty()) {
        let known: Vec<&str> = log_steps
            .iter()
            .map(|log_step| log_step.host.as_str())
            .collect();
        let (hosts, meant) = (named(known.iter().copied()), meant(host, &known));
        return Err(format!("host {host}: it has {hosts}{meant}"));
    }
    let step = match query.step.as_deref() {
        Some(step) if !here.iter().any(|log_step| is_called(&log_step.step, step)) => step,
        _ => return Ok(()),
    };
    let on = host.map(|host| format!(" on {host}")).unwrap_or_default();
    let forward = here
        .iter()
        .filter(|log_step| log_step.way == Direction::Forward);
    let steps = named(forward.map(|log_step| log_step.step.as_str()));
    Err(format!("step {step}{on}: it has {steps}"))
}

/// Lists each name once, up to a limit.
fn named<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut seen = BTreeSet::new();
    let names: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
    let shown = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 if shown.is_empty() => "none".to_owned(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether a log step, `STAGE.STEP`, matches the requested name.
pub(super) fn is_called(entry: &str, requested: &str) -> bool {
    entry == requested || entry.rsplit('.').next() == Some(requested)
}

/// Reads files on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn log_step(host: &str, step: &str, way: Direction) -> LogStep {
        let (host, step) = (host.to_owned(), step.to_owned());
        LogStep { host, step, way }
    }

    fn missing(log_steps: &[LogStep], host: Option<&str>, step: Option<&str>) -> Option<String> {
        let query = LogQuery {
            host: host.map(str::to_owned),
            step: step.map(str::to_owned),
            follow: false,
        };
        chosen(log_steps, &query).err()
    }

    #[test]
    fn missing_log_error_lists_existing_ones() {
        let log_steps = [
            log_step("agent", "checkout.checkout", Direction::Forward),
            log_step("web1", "switch.publish", Direction::Forward),
            log_step("web1", "back.switch.publish", Direction::Back),
            log_step("web2", "switch.publish", Direction::Forward),
        ];
        let missing = |host, step| missing(&log_steps, host, step);
        for step in ["publish", "switch.publish", "back.switch.publish"] {
            assert_eq!(missing(None, Some(step)), None);
            assert_eq!(missing(Some("web1"), Some(step)), None);
        }
        assert_eq!(
            missing(Some("web3"), Some("publish")).unwrap(),
            "host web3: it has agent, web1, web2; did you mean web1?"
        );
        assert_eq!(
            missing(None, Some("reload")).unwrap(),
            "step reload: it has checkout.checkout, switch.publish"
        );
        assert_eq!(
            missing(Some("web1"), Some("checkout")).unwrap(),
            "step checkout on web1: it has switch.publish"
        );
        assert!(
            missing(None, Some("switch")).is_some(),
            "a stage is no step"
        );
    }

    #[test]
    fn long_host_list_is_abbreviated_and_empty_one_named() {
        let crowd = |size: usize| -> Vec<LogStep> {
            let names = (0..size).map(|number| format!("web{number}"));
            names
                .map(|name| log_step(&name, "s.s", Direction::Forward))
                .collect()
        };
        let message = |size| missing(&crowd(size), Some("nope"), None).unwrap();
        assert_eq!(message(0), "host nope: it has none");
        assert!(message(20).ends_with("web18, web19"), "{}", message(20));
        assert!(message(21).ends_with("web19 and 1 more"), "{}", message(21));
    }
}
