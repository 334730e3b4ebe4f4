//! Tasks: show, list and act on them.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::actions::tasks::{ask, detail_for, detail_of, lines, parse_id, request_rollback};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{who_calls, who_reads};
use super::super::call::{Call, misread};
use crate::api::{RollbackBody, TaskQuery};
use crate::engine::request::{TaskRequest, Verb};

pub(super) async fn list(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let query: TaskQuery = call.query()?;
    answer::json(StatusCode::OK, &lines(site, &who, &query).await?)
}

pub(super) async fn show(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    let detail = detail_for(site, &who, parse_id(id)?).await?;
    answer::json(StatusCode::OK, &detail.view(site, &who))
}

pub(super) async fn request(site: &Arc<Site>, call: &mut Call, id: &str, what: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    let id = parse_id(id)?;
    let verb = Verb::named(what).ok_or_else(|| call.unknown())?;
    let body = call.json(site.web.limits.body).await?;
    let request = TaskRequest::parse(verb, body).map_err(misread)?;
    let task = ask(site, &who, id, &request).await?;
    let view = detail_of(site, task.id).await?.view(site, &who);
    answer::json(StatusCode::OK, &view)
}

pub(super) async fn rollback(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_calls(site, call).await?;
    let body: RollbackBody = call.json(site.web.limits.body).await?;
    let task = request_rollback(site, &who, body, None).await?;
    let view = detail_of(site, task.id).await?.view(site, &who);
    answer::json(StatusCode::CREATED, &view)
}
