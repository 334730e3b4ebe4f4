//! Manual submission of tasks.

use std::sync::Arc;

use hyper::{StatusCode, header};
use serde_json::Value;

use super::super::Site;
use super::super::actions::submit::{order_again, take};
use super::super::actions::tasks::{detail_of, parse_id};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{who_calls, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use crate::domain::task::Via;
use crate::engine::submit::{FieldProblem, SubmissionOrder, Submitted};

/// The header in which programs may send the idempotency key.
const KEY_HEADER: &str = "idempotency-key";

pub(super) async fn submit(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_calls(site, call).await?;
    let key = call.headers.get(KEY_HEADER).cloned();
    let agent = call.header(header::USER_AGENT).unwrap_or_default();
    let via = if agent.starts_with("tagship/") {
        Via::Command
    } else {
        Via::Api
    };
    let body: Value = call.json(site.web.limits.body).await?;
    let mut order = SubmissionOrder::read(&body)?;
    if let Some(key) = key {
        let key = key.to_str().unwrap_or("\0").trim().to_owned();
        match &order.idempotency_key {
            Some(other) if *other != key => {
                return Err(Fault::Problems(vec![FieldProblem {
                    field: "idempotency_key".to_owned(),
                    message: "differs from the header Idempotency-Key: send one of them".to_owned(),
                }]));
            }
            _ => order.idempotency_key = Some(key),
        }
    }
    let submitted = take(site, &who, &order, via).await?;
    let status = match submitted {
        Submitted::New(_) => StatusCode::CREATED,
        Submitted::Before(_) => StatusCode::OK,
    };
    let view = detail_of(site, submitted.id()).await?.view(site, &who);
    answer::json(status, &view)
}

/// Returns the order that would submit this task again.
pub(super) async fn again(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    let task = site.web.store.task(parse_id(id)?).await?;
    who.needs_to_see(task.id, &task.target())?;
    let plan = site.web.store.plan_of(&task).await?;
    let library = site.web.templates.current().await;
    let view = order_again(&task, plan.as_deref(), &library);
    answer::json(StatusCode::OK, &view)
}
