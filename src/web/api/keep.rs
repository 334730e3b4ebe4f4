//! What is kept of everything: backups.

use std::sync::Arc;

use hyper::header::{self, HeaderValue};
use warp::reply::Reply as _;

use super::super::Site;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::output::unbuffered;
use super::super::view::TakeBackup;
use super::super::who::who;
use crate::approval::Role;
use crate::backup::{self, Logs};

/// `POST /api/v1/backup`: the backup as it is made. One that breaks off has no digest at its end.
pub(super) async fn backup(site: &Arc<Site>, call: &mut Call) -> Answer {
    let who = who(site, call).await?;
    who.called(call)?;
    // It holds the hashes of all passwords and tokens.
    who.needs(Role::Admin, "take a backup")?;
    let TakeBackup { without_logs } = call.json(site.web.limits.body).await?;
    let web = &site.web;
    let which = match without_logs {
        true => Logs::LeftOut,
        false => Logs::Included,
    };
    let chunks = backup::stream(web.store.kv(), web.logs.clone(), which, web.clock.now());
    tracing::info!(actor = %who.actor.name, "a backup is taken");
    let mut response = warp::reply::stream(chunks).into_response();
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(unbuffered(response))
}
