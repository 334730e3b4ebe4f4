//! Forms that act on tasks: approve, reject, withdraw, stop, retry, resume.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Site;
use super::super::actions::tasks::{ask, parse_id};
use super::super::answer::{self, HttpResult};
use super::super::call::{Call, misread};
use super::super::fault::Fault;
use super::{sender, times};
use crate::engine::request::{TaskRequest, Verb};

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
        if let Some(text) = text.filter(|_| verb.spec().has_field(name)) {
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
