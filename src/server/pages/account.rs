//! Forms of a user's page: the second factor, and approval delegations.

use std::sync::Arc;

use serde::Deserialize;

use super::super::Site;
use super::super::actions;
use super::super::answer::{self, HttpResult};
use super::super::call::Call;
use super::super::fault::Fault;
use super::users::{NewCredential, see_user_or_login, show};
use super::{plain_sender, sender, times};
use crate::api::NewDelegationBody;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactorForm {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    code: String,
}

pub(in crate::server) async fn factor(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
    what: &str,
) -> HttpResult {
    let FactorForm { csrf, code } = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &csrf).await?;
    match what {
        "begin" => {
            let begun = actions::account::begin(site, &who, name).await?;
            return show(site, &who, name, NewCredential::Factor(begun)).await;
        }
        "confirm" => {
            // The secret is shown once: a mistyped code must not lose it.
            if actions::account::confirm(site, &who, name, &code)
                .await?
                .is_err()
            {
                return show(site, &who, name, NewCredential::WrongCode).await;
            }
        }
        _ => actions::account::reset(site, call, &who, name, Some(&code)).await?,
    }
    see_user_or_login(&who, name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DelegateForm {
    #[serde(default)]
    csrf: String,
    to: String,
    until: String,
    #[serde(default)]
    project: String,
}

pub(in crate::server) async fn delegate(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
) -> HttpResult {
    let fields: DelegateForm = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &fields.csrf).await?;
    let until = times(site).parse(&fields.until)?;
    let new = NewDelegationBody {
        to: fields.to.trim().to_owned(),
        until: until.ok_or_else(|| {
            let said = who.language.say("user-delegation-endless");
            Fault::Invalid(said.to_string())
        })?,
        project: (!fields.project.is_empty()).then_some(fields.project),
    };
    actions::account::delegate(site, &who, name, new).await?;
    answer::see(&format!("/users/{name}"))
}

pub(in crate::server) async fn end(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
    id: &str,
) -> HttpResult {
    let who = plain_sender(site, call).await?;
    actions::account::end_delegation(site, &who, name, id).await?;
    answer::see(&format!("/users/{name}"))
}
