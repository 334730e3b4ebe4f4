//! Account endpoints other than tokens: the second factor, and approval delegations.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::actions::account::{
    begin, confirm, delegate, delegation_view, end_delegation, reset,
};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{Who, who_calls, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use crate::api::{
    BegunFactor, CodeBody, DelegationList, EmptyBody, NewDelegationBody, ResetFactor,
};
use crate::base::secret::ExposeSecret as _;
use crate::domain::permission::Ability;
use crate::identity::account::Delegation;

/// `POST …/users/NAME/totp`, `…/totp/confirm`, `…/totp/reset`.
pub(super) async fn factor(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
    what: &str,
) -> HttpResult {
    let who = who_calls(site, call).await?;
    let within = site.web.limits.body;
    match what {
        "begin" => {
            let EmptyBody {} = call.json(within).await?;
            let begun = begin(site, &who, name).await?;
            let begun = BegunFactor {
                secret: begun.secret.expose_secret().to_owned(),
                uri: begun.uri.expose_secret().to_owned(),
            };
            answer::json(StatusCode::CREATED, &begun)
        }
        "confirm" => {
            let CodeBody { code } = call.json(within).await?;
            confirm(site, &who, name, &code).await??;
            Ok(answer::nothing())
        }
        _ => {
            let ResetFactor { code } = call.json(within).await?;
            reset(site, call, &who, name, code.as_deref()).await?;
            Ok(answer::nothing())
        }
    }
}

/// `GET /api/v1/delegations`.
pub(super) async fn list(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let delegations = seen(site, &who).await?;
    let delegations = delegations.iter().map(delegation_view).collect();
    answer::json(StatusCode::OK, &DelegationList { delegations })
}

/// Returns all delegations for an admin, else those from or to the user.
async fn seen(site: &Site, who: &Who) -> Result<Vec<Delegation>, Fault> {
    let mut delegations = site.web.accounts.delegations().await?;
    let name = &who.actor.name;
    if who.needs(Ability::Manage, "see all delegations").is_err() {
        delegations.retain(|one| one.from == *name || one.to == *name);
    }
    Ok(delegations)
}

/// `POST …/users/NAME/delegations`.
pub(super) async fn add(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    let new: NewDelegationBody = call.json(site.web.limits.body).await?;
    let made = delegate(site, &who, name, new).await?;
    answer::json(StatusCode::CREATED, &delegation_view(&made))
}

/// `DELETE …/users/NAME/delegations/ID`.
pub(super) async fn end(site: &Arc<Site>, call: &mut Call, name: &str, id: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    end_delegation(site, &who, name, id).await?;
    Ok(answer::nothing())
}
