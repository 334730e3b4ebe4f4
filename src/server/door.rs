//! What the audit says of logins: who came in, and who did not, from where and why.
//!
//! Both doors call it, the page and the login of CODO's API; it decides nothing. A name that no
//! account has is not written down: people type passwords there. Whoever is refused for a while, and
//! knocks on, leaves one entry for that while, so that nobody fills the store by knocking.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::Site;
use super::fault::Fault;
use crate::identity::account::{Account, LoginError};
use crate::store::audit::Action;

/// So many refusals for a while are remembered at once; more leave no entry.
const SHUT_MAX: usize = 1000;

/// Where somebody logs in.
#[derive(Clone, Copy)]
pub(super) enum Door {
    Page,
    /// `/api/accounts/login/`.
    Codo,
}

/// Ends of refusals for a while that have their entry.
#[derive(Default)]
pub(super) struct Shut(Mutex<BTreeSet<Timestamp>>);

impl Shut {
    /// Whether the refusal until then is news.
    fn is_news(&self, until: Timestamp, now: Timestamp) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.split_off(&now);
        known.len() < SHUT_MAX && known.insert(until)
    }
}

impl Door {
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

    fn action(self, by: &str, on: String, from: IpAddr, result: String) -> Action {
        let what = match self {
            Self::Page => "log in",
            Self::Codo => "log in for CODO's API",
        };
        Action {
            by: by.to_owned(),
            from: from.to_string(),
            what: what.to_owned(),
            task: None,
            on,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_a_while_is_news_once() {
        let shut = Shut::default();
        let at = |second| Timestamp::constant(second, 0);
        assert!(shut.is_news(at(900), at(0)));
        assert!(!shut.is_news(at(900), at(1)));
        assert!(shut.is_news(at(905), at(1)), "somebody else's");
        assert!(!shut.is_news(at(905), at(904)));
        assert_eq!(shut.0.lock().map(|known| known.len()).unwrap_or(0), 1);
    }
}
