//! Backups and the audit log.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use warp::reply::Reply as _;

use super::super::Site;
use super::super::answer::{self, HttpResult};
use super::super::authentication::{AuditedAction, who, who_calls};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::output::unbuffered;
use crate::api::{AuditList, AuditQuery, TakeBackup};
use crate::domain::permission::Ability;
use crate::store::backup::{self, LogInclusion};

/// `POST /api/v1/backup`: streams a backup as it is made. A truncated one has no digest at its end.
pub(super) async fn backup(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_calls(site, call).await?;
    // A backup contains the hashes of all passwords and tokens.
    who.needs(Ability::Manage, "take a backup")?;
    let TakeBackup { without_logs } = call.json(site.web.limits.body).await?;
    let action = AuditedAction::on("take backup", "");
    let entry = who.audit(site, action).await?;
    let web = &site.web;
    let noted = web.store.kv().commit(entry.also()).await;
    noted.map_err(|error| Fault::Broken(error.to_string()))?;
    drop(entry);
    let which = match without_logs {
        true => LogInclusion::LeftOut,
        false => LogInclusion::Included,
    };
    let chunks = backup::stream(web.store.kv(), web.logs.clone(), which, web.clock.now());
    tracing::info!(actor = %who.actor.name, "a backup is taken");
    let mut response = warp::reply::stream(chunks).into_response();
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(unbuffered(response))
}

const LIST_DEFAULT: usize = 50;
const LIST_MAX: usize = 200;

/// `GET /api/v1/audit`: audit entries, newest first.
pub(super) async fn audit(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    who(site, call)
        .await?
        .needs(Ability::Manage, "see the audit")?;
    let AuditQuery { before, limit } = call.query()?;
    let limit = limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let entries = site.ledger.list(before, limit).await;
    let entries = entries.map_err(|error| Fault::Broken(error.to_string()))?;
    answer::json(StatusCode::OK, &AuditList { entries })
}

/// `GET /api/v1/audit/verify`: whether each entry matches the one before.
pub(super) async fn verify(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who(site, call).await?;
    who.needs(Ability::Manage, "verify the audit")?;
    let verdict = site.ledger.verify().await;
    let verdict = verdict.map_err(|error| Fault::Broken(error.to_string()))?;
    answer::json(StatusCode::OK, &verdict)
}
