//! Audit entries for logins: who logged in or was refused, from where and why.
//!
//! Both login endpoints call it: the page and the login of CODO's API. It decides nothing. The name
//! of an unknown account is not recorded: people type passwords there. Repeated attempts during a
//! lockout leave one entry, so that they cannot fill the store.

pub(super) mod lockouts;

use std::net::IpAddr;

use super::Site;
use super::fault::Fault;
use crate::identity::account::{Account, LoginError};
use crate::store::audit::AuditAction;

/// A login endpoint.
#[derive(Clone, Copy)]
pub(super) enum LoginEndpoint {
    Page,
    /// `/api/accounts/login/`.
    Codo,
}

impl LoginEndpoint {
    /// Records a completed login. If it cannot be recorded, the login fails.
    pub(super) async fn completed(
        self,
        site: &Site,
        account: &Account,
        from: IpAddr,
    ) -> Result<(), Fault> {
        let action = self.action(&account.name, String::new(), from, "done".to_owned());
        let noted = site.ledger.note(action, site.web.clock.now()).await;
        noted.map_err(|error| Fault::Broken(error.to_string()))
    }

    /// Records that the password was right and no code was given.
    pub(super) async fn no_code(self, site: &Site, account: &Account, from: IpAddr) {
        let why = "refused: the password is correct, the code is missing";
        self.note(site, &account.name, from, why.to_owned()).await;
    }

    /// Records that a login as `name` was refused.
    pub(super) async fn refused(self, site: &Site, name: &str, from: IpAddr, why: &LoginError) {
        let why = match why {
            LoginError::Denied => "the name or the password is wrong, or the user is disabled",
            LoginError::WrongCode => "the code is wrong",
            LoginError::UsedCode => "the code was used before",
            LoginError::TooMany(until) if site.lockouts.is_news(*until, site.web.clock.now()) => {
                let why = format!("refused: too many failed logins, until {until}");
                return self.note(site, name, from, why).await;
            }
            LoginError::TooMany(_) | LoginError::Unavailable(_) => return,
        };
        self.note(site, name, from, format!("refused: {why}")).await;
    }

    async fn note(self, site: &Site, name: &str, from: IpAddr, result: String) {
        let known = site.web.accounts.get(name).await.is_ok();
        let shown = if known { name } else { "an unknown name" };
        let action = self.action("(unknown)", format!("as {shown}"), from, result);
        if let Err(error) = site.ledger.note(action, site.web.clock.now()).await {
            tracing::warn!(%error, %from, "a refused login is missing in the audit");
        }
    }

    fn action(self, by: &str, on: String, from: IpAddr, result: String) -> AuditAction {
        let what = match self {
            Self::Page => "log in",
            Self::Codo => "log in for CODO's API",
        };
        AuditAction {
            by: by.to_owned(),
            from: from.to_string(),
            what: what.to_owned(),
            task: None,
            on,
            result,
        }
    }
}
