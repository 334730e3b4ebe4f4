//! The switch of the language, at the foot of every page.

use std::sync::Arc;

use hyper::header;
use serde::Deserialize;

use super::super::Site;
use super::super::answer::{self, HttpResult};
use super::super::authentication::who;
use super::super::call::{Call, LANGUAGE_COOKIE};
use super::super::fault::Fault;
use crate::base::language::Language;
use crate::identity::account::AccountChange;
use crate::store::kv::Commit;

/// How long a browser keeps the choice, in seconds: a year.
const KEPT: u32 = 365 * 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LanguageForm {
    #[serde(default)]
    csrf: String,
    language: Language,
}

/// `POST /language`: keeps the choice in this browser and, once logged in, in the account.
pub(in crate::server) async fn choose(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let LanguageForm { csrf, language } = call.form(site.web.limits.body).await?;
    match who(site, call).await {
        Ok(who) => {
            who.sent(&csrf)?;
            if who.has_account() {
                let change = AccountChange {
                    language: Some(language),
                    ..AccountChange::default()
                };
                let accounts = &site.web.accounts;
                accounts
                    .update(&who.actor.name, change, Commit::new())
                    .await?;
            }
        }
        Err(Fault::NotLoggedIn) => {}
        Err(fault) => return Err(fault),
    }
    let mut response = answer::see(&sender_path(call))?;
    let code = language.code();
    let cookie =
        format!("{LANGUAGE_COOKIE}={code}; Path=/; Max-Age={KEPT}; SameSite=Lax; HttpOnly");
    answer::set_cookie(&mut response, &cookie)?;
    Ok(response)
}

/// Returns the path and query of the page that sent the form; `/` if it is not one of ours.
fn sender_path(call: &Call) -> String {
    let sender = call.header(header::REFERER).unwrap_or_default();
    let host = call.header(header::HOST).unwrap_or_default();
    let path = sender.split_once("://").map(|(_, rest)| rest);
    let path = path.and_then(|rest| rest.strip_prefix(host));
    super::login::ours(path.unwrap_or_default()).to_owned()
}
