//! The hook log: list, show and replay entries.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::actions::hooks::{hook, hooks, replay_as};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{who, who_calls};
use super::super::call::Call;
use crate::api::{EmptyBody, HookQuery};
use crate::domain::permission::Ability;

pub(super) async fn list(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    // An entry may concern several projects, so it has no single permission target.
    let who = who(site, call).await?;
    who.needs(Ability::See, "see the hook log")?;
    let query: HookQuery = call.query()?;
    answer::json(StatusCode::OK, &hooks(site, &query).await?)
}

pub(super) async fn show(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who(site, call).await?;
    who.needs(Ability::See, "see the hook log")?;
    answer::json(StatusCode::OK, &hook(site, id).await?)
}

pub(super) async fn replay(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    let EmptyBody {} = call.json(site.web.limits.body).await?;
    let entry = replay_as(site, &who, id).await?;
    answer::json(StatusCode::OK, &entry)
}
