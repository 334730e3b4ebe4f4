//! `/api/task/v2/task/accept/`: submits a task as CODO's clients do.
//!
//! Hooks and scripts written for CODO (OpenDevOps) keep working with another URL and another token;
//! `docs/codo.md` lists the differences. A GET returns a `csrf_key` ([`csrf`]), a POST spends it.
//! The body is parsed ([`mod@request`], [`literal`]), checked against the template ([`mod@order`]) and
//! passed to [`submit()`], which knows nothing of CODO. Responses use CODO's codes ([`refusal`]). Nothing is
//! executed here; [`api`](super::api) calls it.

mod csrf;
mod literal;
mod order;
mod refusal;
mod request;

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use warp::reply::Response;

use self::csrf::{Keys, LIFETIME_S, ValidKey};
use self::refusal::CodoRefusal;
use self::request::CodoTaskRequest;
use super::Site;
use super::actions::submit::{UserVisibility, audited};
use super::answer::{self, HttpResult};
use super::authentication::{self, AuditedAction, Who};
use super::call::Call;
use super::fault::Fault;
use crate::base::secret::ExposeSecret as _;
use crate::domain::task::Via;
use crate::engine::submit::{
    self, FieldProblem, SubmissionOrder, SubmitError, Submitted, SubmittingUser,
};
use crate::identity::session::WebTransport;
use crate::store::IdempotencyKey;

/// The longest body, in bytes: three literals as text, each escaped in JSON, and room for the rest.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Handles GET and POST of the accept API.
pub(super) async fn accept(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let answered = match call.method.as_str() {
        "GET" => give_key(site, call).await,
        "POST" => take_task(site, call).await,
        _ => return Err(call.unknown()),
    };
    answered.or_else(|refusal| refusal.response())
}

async fn give_key(site: &Arc<Site>, call: &Call) -> Result<Response, CodoRefusal> {
    let who = authentication::of_auth_key(site, call).await?;
    let key = keys(site).await?;
    let key = key
        .give(&who.actor.name, site.web.clock.now())
        .map_err(broken)?;
    let answer = json!({ "code": 0, "msg": "获取csrf_key成功", "csrf_key": key.expose_secret() });
    let mut response = answer::json(StatusCode::OK, &answer)?;
    answer::set_cookie(
        &mut response,
        &cookie(site, key.expose_secret(), LIFETIME_S),
    )?;
    Ok(response)
}

async fn keys(site: &Site) -> Result<Keys, CodoRefusal> {
    Keys::of(&site.web.store.kv()).await.map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> CodoRefusal {
    Fault::Broken(error.to_string()).into()
}

fn cookie(site: &Site, value: &str, max_age_s: i64) -> String {
    let secure = match WebTransport::of_url(&site.web.config.public_url()) {
        WebTransport::Http => "",
        WebTransport::Https => "; Secure",
    };
    format!("csrf_key={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}")
}

async fn take_task(site: &Arc<Site>, call: &mut Call) -> Result<Response, CodoRefusal> {
    let who = authentication::of_auth_key(site, call).await?;
    authentication::from_our_site(site, call)?;
    let key = unused_key(site, call, &who).await?;
    let body = call
        .bytes_up_to(BODY_BYTES_MAX, site.web.limits.body)
        .await?;
    let submitted = match CodoTaskRequest::read(&body) {
        Ok(request) => submit(site, &who, &request, &key).await,
        Err(refusal) => Err(refusal),
    };
    let id = submitted.inspect_err(|refusal| {
        // Clients only print that it failed and to ask the operator.
        let CodoRefusal { code, detail, .. } = refusal;
        tracing::warn!(code, detail, user = %who.actor.name, "a task of CODO's API was refused");
    })?;
    tracing::info!(task = id, user = %who.actor.name, "submitted by CODO's API");
    let answer = json!({
        "code": 0,
        "msg": format!("Task creation success, ID：{id}"),
        "list_id": id,
    });
    let mut response = answer::json(StatusCode::OK, &answer)?;
    answer::set_cookie(&mut response, &cookie(site, "", 0))?;
    Ok(response)
}

/// Returns the key of this request, if it is valid and nothing was submitted with it.
async fn unused_key(site: &Arc<Site>, call: &Call, who: &Who) -> Result<ValidKey, CodoRefusal> {
    let Some(key) = call
        .cookie("csrf_key")
        .or_else(|| call.parameter("csrf_key"))
    else {
        return Err(CodoRefusal::csrf(
            "the cookie csrf_key is missing: GET this address first",
        ));
    };
    let now = site.web.clock.now();
    let name = &who.actor.name;
    let valid = keys(site).await?.check(name, key.expose_secret(), now);
    let valid = valid.ok_or_else(|| {
        CodoRefusal::csrf(
            "csrf_key has expired, belongs to another user, or is invalid: GET another one",
        )
    })?;
    let idempotency = IdempotencyKey {
        submitter: name.clone(),
        key: valid.idempotency_key(),
        digest: String::new(),
    };
    let kept = site.web.store.task_of_key(&idempotency, now).await;
    match kept.map_err(Fault::from)? {
        None => Ok(valid),
        Some((id, _)) => Err(used_for(id)),
    }
}

fn used_for(id: u64) -> CodoRefusal {
    CodoRefusal::csrf(format!(
        "csrf_key was used for task {id}: GET another one to submit another task"
    ))
}

/// Converts the request into an order.
async fn order(
    site: &Site,
    sources: &submit::ResolveSources<'_>,
    request: &CodoTaskRequest,
) -> Result<SubmissionOrder, CodoRefusal> {
    let web = &site.web;
    let template = sources.template(&request.template).ok_or_else(|| {
        let shown: String = request.template.escape_debug().take(64).collect();
        CodoRefusal::no_template(format!(
            "temp_id: no template has the number or name `{shown}`"
        ))
    })?;
    let accounts = web.accounts.list().await.map_err(Fault::from)?;
    let sources = order::CodoSources {
        config: &web.config,
        template,
        accounts: &accounts,
        now: sources.now,
    };
    sources.order(request)
}

/// Whether JSON pasted into a page is a task in CODO's format.
pub(super) fn is_task(pasted: &str) -> bool {
    let value: Result<Value, _> = serde_json::from_str(pasted);
    value.is_ok_and(|value| value.get("temp_id").is_some())
}

/// Returns the order that pasted JSON asks for.
///
/// # Errors
/// [`Fault::Problems`] lists what is wrong with it.
pub(super) async fn pasted(site: &Site, who: &Who, text: &str) -> Result<SubmissionOrder, Fault> {
    let library = site.web.templates.current().await;
    let sources = submit::ResolveSources {
        config: &site.web.config,
        library: &library,
        viewer: &UserVisibility { site, who },
        disabled: &[],
        now: site.web.clock.now(),
    };
    let order = match CodoTaskRequest::read(text.as_bytes()) {
        Ok(request) => order(site, &sources, &request).await,
        Err(refusal) => Err(refusal),
    };
    order.map_err(|refusal| {
        Fault::Problems(vec![FieldProblem {
            field: "json".to_owned(),
            message: refusal.detail,
        }])
    })
}

async fn submit(
    site: &Arc<Site>,
    who: &Who,
    request: &CodoTaskRequest,
    key: &ValidKey,
) -> Result<u64, CodoRefusal> {
    let web = &site.web;
    let library = web.templates.current().await;
    let disabled = web.store.disabled_hosts().await.map_err(Fault::from)?;
    let now = web.clock.now();
    let sources = submit::ResolveSources {
        config: &web.config,
        library: &library,
        viewer: &UserVisibility { site, who },
        disabled: &disabled,
        now,
    };
    let mut order = order(site, &sources, request).await?;
    order.idempotency_key = Some(key.idempotency_key());
    let user = SubmittingUser {
        name: &who.actor.name,
        actor_at: &|target| who.at(target),
        via: Via::Codo,
    };
    let action = AuditedAction::on("submit", audited(&order));
    let entry = who.audit(site, action.clone()).await?;
    let also = |id| entry.making(id);
    let submitted = submit::submit(&web.store, &sources, &order, &user, now, &also).await;
    drop(entry);
    match submitted {
        Ok(Submitted::New(id)) => Ok(id),
        // If two requests race with one key, this is the one that lost.
        Ok(Submitted::Before(id)) | Err(SubmitError::OtherContent { id, .. }) => Err(used_for(id)),
        Err(SubmitError::Problems(problems)) => Err(order::refused(&problems)),
        Err(error @ (SubmitError::Right { .. } | SubmitError::Missing(_))) => {
            who.refused(site, action, &error.to_string()).await;
            Err(CodoRefusal::forbidden(error.to_string()))
        }
        Err(SubmitError::Store(error)) => Err(Fault::from(error).into()),
    }
}
