//! What the audit says of logins: who came in, and who did not, from where and why.
//!
//! Both doors call it, the page and the login of CODO's API; it decides nothing. A name that no
//! account has is not written down: people type passwords there. Whoever is refused for a while, and
//! knocks on, leaves one entry for that while, so that nobody fills the store by knocking.

pub(super) mod shut;

use std::net::IpAddr;

use super::Site;
use super::fault::Fault;
use crate::identity::account::{Account, LoginError};
use crate::store::audit::AuditAction;

/// Where somebody logs in.
#[derive(Clone, Copy)]
pub(super) enum LoginEndpoint {
    Page,
    /// `/api/accounts/login/`.
    Codo,
}

impl LoginEndpoint {
    /// Somebody has proved everything. What cannot be written down does not happen.
    pub(super) async fn came_in(
        self,
        site: &Site,
        account: &Account,
        from: IpAddr,
    ) -> Result<(), Fault> {
        let action = self.action(&account.name, String::new(), from, "done".to_owned());
        let noted = site.ledger.note(action, site.web.clock.now()).await;
        noted.map_err(|error| Fault::Broken(error.to_string()))
    }

    /// The password was right, and no code came with it.
    pub(super) async fn half_way(self, site: &Site, account: &Account, from: IpAddr) {
        let why = "refused: the password is right, the code is yet to come";
        self.note(site, &account.name, from, why.to_owned()).await;
    }

    /// Somebody who says that they are `name` was not let in.
    pub(super) async fn refused(self, site: &Site, name: &str, from: IpAddr, why: &LoginError) {
        let why = match why {
            LoginError::Denied => "the name or the password is wrong, or the user is disabled",
            LoginError::WrongCode => "the code is wrong",
            LoginError::UsedCode => "the code was used before",
            LoginError::TooMany(until) if site.shut.is_news(*until, site.web.clock.now()) => {
                let why = format!("refused: too many failed logins, until {until}");
                return self.note(site, name, from, why).await;
            }
            LoginError::TooMany(_) | LoginError::Unavailable(_) => return,
        };
        self.note(site, name, from, format!("refused: {why}")).await;
    }

    async fn note(self, site: &Site, name: &str, from: IpAddr, result: String) {
        let known = site.web.accounts.get(name).await.is_ok();
        let whom = if known {
            name
        } else {
            "a name that no account has"
        };
        let action = self.action("(nobody)", format!("as {whom}"), from, result);
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
