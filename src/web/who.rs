//! Whose a request is, and whether it came from one of our own pages.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header;

use super::Site;
use super::call::{Call, Peer};
use super::fault::Fault;
use crate::account::Account;
use crate::approval::{Actor, Counts, Role};
use crate::audit::{Action, Turn};
use crate::secret::SecretString;
use crate::session::Session;

/// The header in which a script of our own pages sends the CSRF token.
const CSRF_HEADER: &str = "x-csrf-token";

/// The Unix socket, as the audit names it.
const SOCKET: &str = "socket";

/// Somebody, and what proves it.
pub(super) struct Who {
    pub(super) actor: Actor,
    /// What people call them.
    pub(super) display: String,
    /// From where they ask: an address, or the socket; and with which token.
    from: String,
    proof: Proof,
}

enum Proof {
    /// The kernel, or a token: nothing that a browser sends by itself.
    Own,
    Session(Session),
}

/// What the audit says of an action.
#[derive(Clone, Default)]
pub(super) struct Deed {
    pub(super) what: &'static str,
    pub(super) task: Option<u64>,
    /// Which user, host or environment, and what else was said.
    pub(super) on: String,
}

impl Who {
    /// Their action as an entry of the audit: part of the commit that does it.
    pub(super) async fn turn(&self, site: &Site, deed: Deed) -> Result<Turn, Fault> {
        let now = site.web.clock.now();
        let turn = site.ledger.turn(self.action(deed, "done".to_owned()), now);
        turn.await.map_err(|error| Fault::Broken(error.to_string()))
    }

    /// Notes that they were refused.
    pub(super) async fn refused(&self, site: &Site, deed: Deed, why: &str) {
        let action = self.action(deed, format!("refused: {why}"));
        let noted = site.ledger.note(action, site.web.clock.now()).await;
        if let Err(error) = noted {
            tracing::warn!(%error, actor = %self.actor.name, "a refusal is missing in the audit");
        }
    }

    fn action(&self, deed: Deed, result: String) -> Action {
        Action {
            by: self.actor.name.clone(),
            from: self.from.clone(),
            what: deed.what.to_owned(),
            task: deed.task,
            on: deed.on,
            result,
        }
    }

    /// What each form of a page carries; empty where none is needed.
    pub(super) fn csrf_token(&self) -> String {
        match &self.proof {
            Proof::Own => String::new(),
            Proof::Session(session) => session.csrf_token(),
        }
    }

    /// Whether a form with this token came from a page that we gave to this person.
    pub(super) fn sent(&self, csrf: &str) -> Result<(), Fault> {
        match &self.proof {
            Proof::Own => Ok(()),
            Proof::Session(session) => session
                .check_csrf(csrf)
                .map_err(|error| Fault::Forbidden(error.to_string())),
        }
    }

    /// As [`sent`](Self::sent), for a call of the API: a session must add a header, which no foreign
    /// page can.
    pub(super) fn called(&self, call: &Call) -> Result<(), Fault> {
        let given = call.headers.get(CSRF_HEADER);
        self.sent(given.and_then(|value| value.to_str().ok()).unwrap_or(""))
    }

    pub(super) fn needs(&self, role: Role, what: &str) -> Result<(), Fault> {
        if self.actor.role >= role {
            return Ok(());
        }
        Err(Fault::Forbidden(format!(
            "{} has the role {}; to {what} takes the role {role}: ask an admin for it",
            self.actor.name, self.actor.role
        )))
    }

    /// May do it to themselves, or as an admin to everybody.
    pub(super) fn needs_to_be(&self, name: &str, what: &str) -> Result<(), Fault> {
        if self.actor.name == name {
            return Ok(());
        }
        self.needs(Role::Admin, what)
    }
}

impl Deed {
    /// What concerns no task.
    pub(super) fn on(what: &'static str, on: impl Into<String>) -> Self {
        Self {
            what,
            task: None,
            on: on.into(),
        }
    }
}

/// Whose request this is.
///
/// # Errors
/// [`Fault::NotLoggedIn`] where nothing proves anybody.
pub(super) async fn who(site: &Arc<Site>, call: &Call) -> Result<Who, Fault> {
    if let Peer::Local { uid } = call.peer
        && !is_let_in(uid, site.uid)
    {
        return Err(Fault::Forbidden(
            "only the agent's own user and root are let in by this socket; use TAGSHIP_URL and TAGSHIP_TOKEN"
                .to_owned(),
        ));
    }
    if let Some(token) = bearer(call) {
        let (account, id) = site.web.accounts.authenticate(&token).await?;
        let from = format!("{}, token {id}", place(site, call));
        return Ok(of_account(&account, from, Proof::Own));
    }
    match call.peer {
        Peer::Local { uid } => Ok(local(site, uid)),
        Peer::Network(_) => {
            let cookies = call.header(header::COOKIE).unwrap_or_default();
            match site.web.sessions.find(cookies).await? {
                Some(session) => {
                    let account = session.account.clone();
                    Ok(of_account(
                        &account,
                        place(site, call),
                        Proof::Session(session),
                    ))
                }
                None => Err(Fault::NotLoggedIn),
            }
        }
    }
}

pub(super) async fn of_auth_key(site: &Arc<Site>, call: &Call) -> Result<Who, Fault> {
    let given = call
        .cookie("auth_key")
        .or_else(|| call.parameter("auth_key"));
    let given = given.or_else(|| bearer(call)).ok_or(Fault::NotLoggedIn)?;
    let (account, id) = site.web.accounts.authenticate(&given).await?;
    let from = format!("{}, token {id}", place(site, call));
    Ok(of_account(&account, from, Proof::Own))
}

/// Whether a user of this machine is let in by the Unix socket.
fn is_let_in(uid: u32, agent: u32) -> bool {
    uid == 0 || uid == agent
}

fn bearer(call: &Call) -> Option<SecretString> {
    let value = call.header(header::AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| SecretString::from(token.trim()))
}

/// Where a request comes from, as the audit names it.
fn place(site: &Site, call: &Call) -> String {
    match call.peer {
        Peer::Local { .. } => SOCKET.to_owned(),
        Peer::Network(_) => address(site, call).to_string(),
    }
}

fn of_account(account: &Account, from: String, proof: Proof) -> Who {
    Who {
        actor: Actor {
            name: account.name.clone(),
            role: account.role,
            groups: account.groups.iter().cloned().collect(),
            counts: Counts::Yes,
        },
        display: account.display.clone(),
        from,
        proof,
    }
}

fn local(site: &Site, uid: u32) -> Who {
    let name = format!("os:{}", system_user(uid));
    Who {
        display: name.clone(),
        from: SOCKET.to_owned(),
        actor: Actor {
            name,
            role: Role::Admin,
            groups: Vec::new(),
            counts: if site.web.config.agent.local_approval {
                Counts::Yes
            } else {
                Counts::NotLocally
            },
        },
        proof: Proof::Own,
    }
}

/// The name of a user of this machine; their number where `/etc/passwd` does not name them.
fn system_user(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let wanted = uid.to_string();
    users
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == wanted).then(|| name.to_owned())
        })
        .unwrap_or(wanted)
}

/// A browser says from which site's page a POST comes. What is not ours is refused, before anything
/// else is looked at.
pub(super) fn from_our_site(site: &Site, call: &Call) -> Result<(), Fault> {
    let foreign = || {
        Err(Fault::Forbidden(
            "this was sent by a page of another site, which may not do that; open the page here and send it again"
                .to_owned(),
        ))
    };
    if let Some(fetched) = call.headers.get("sec-fetch-site")
        && fetched != "same-origin"
        && fetched != "none"
    {
        return foreign();
    }
    let Some(origin) = call.headers.get(header::ORIGIN) else {
        // No browser: those send it with every POST.
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let host = call.header(header::HOST).unwrap_or_default();
    let of_host = origin
        .split_once("://")
        .is_some_and(|(_, rest)| !host.is_empty() && rest.eq_ignore_ascii_case(host));
    if of_host || origin.eq_ignore_ascii_case(&site.web.config.public_url()) {
        Ok(())
    } else {
        foreign()
    }
}

/// From where somebody tries to log in. A proxy on this machine (there is one where `public_url` is
/// set) adds the address that it sees at the end of `X-Forwarded-For`.
pub(super) fn address(site: &Site, call: &Call) -> IpAddr {
    let Peer::Network(peer) = call.peer else {
        return IpAddr::from([127, 0, 0, 1]);
    };
    if !peer.to_canonical().is_loopback() || site.web.config.agent.public_url.is_none() {
        return peer;
    }
    let forwarded = call.headers.get_all("x-forwarded-for").iter().next_back();
    forwarded
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next()?.trim().parse().ok())
        .unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_lets_in_root_and_the_agents_own_user_alone() {
        assert!(is_let_in(0, 990));
        assert!(is_let_in(990, 990));
        assert!(!is_let_in(1000, 990));
        assert!(!is_let_in(1000, 0));
    }

    #[test]
    fn a_user_of_the_machine_has_a_name_or_a_number() {
        assert_eq!(system_user(0), "root");
        assert_eq!(system_user(4_000_000_000), "4000000000");
    }
}
