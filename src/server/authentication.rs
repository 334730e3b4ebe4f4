//! Authentication: who sent a request, and whether it came from one of our own pages.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{self, HeaderValue};
use jiff::Timestamp;

use super::call::{Call, FORWARDED_FOR, Peer};
use super::fault::Fault;
use super::{Site, Web};
use crate::base::language::Language;
use crate::base::secret::SecretString;
use crate::base::user::user_or_number;
use crate::domain::approval::{Actor, ApprovalWeight, Mandate, Role};
use crate::domain::permission::{self, Ability, Grant, Missing, PermissionTarget, Scope, Scopes};
use crate::identity::account::{Account, Delegation};
use crate::identity::session::Session;
use crate::store::audit::{AuditAction, PendingEntry};

/// The header in which scripts of our own pages send the CSRF token.
const CSRF_HEADER: &str = "x-csrf-token";

/// The Unix socket, as the audit names it.
const SOCKET: &str = "socket";

/// With more permission targets than this, all tasks are searched.
const TARGETS_MAX: usize = 32;

/// An authenticated user, and the proof.
pub(super) struct Who {
    /// Their permissions everywhere; see [`Who::at`] for one target.
    pub(super) actor: Actor,
    /// Their display name.
    pub(super) display: String,
    /// The language of their pages.
    pub(super) language: Language,
    /// Where the request comes from: an address or the socket; and with which token.
    from: String,
    /// The role of the account, whatever the target.
    base: Role,
    mandates: Vec<(Delegation, Account)>,
    /// With the names of templates.
    grants: Vec<Grant>,
    templates: TemplateNames,
    proof: Proof,
    now: Timestamp,
}

enum Proof {
    /// The kernel, or a token: nothing that a browser sends by itself.
    Own,
    Session(Session),
}

/// What the audit records of an action.
#[derive(Clone, Default)]
pub(super) struct AuditedAction {
    pub(super) what: &'static str,
    pub(super) task: Option<u64>,
    /// The user, host or environment concerned, and further details.
    pub(super) on: String,
}

/// Template names by number: tasks and grants may use either.
#[derive(Default)]
struct TemplateNames(BTreeMap<String, String>);

impl TemplateNames {
    /// Returns the names, none if no grant needs them.
    async fn of(web: &Web) -> Self {
        let mut grants = web.config.grants.iter();
        if grants.all(|grant| grant.template.is_none()) {
            return Self::default();
        }
        let library = web.templates.current().await;
        let templates = library.templates();
        Self(
            templates
                .filter_map(|template| Some((template.id?.to_string(), template.name.clone())))
                .collect(),
        )
    }

    fn name<'a>(&'a self, given: &'a str) -> &'a str {
        self.0.get(given).map_or(given, String::as_str)
    }

    /// Returns the numbers that also refer to a template of this name.
    fn numbers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.0.iter().filter(move |(_, named)| *named == name);
        all.map(|(number, _)| number.as_str())
    }

    /// Returns the grants, each with the name of its template.
    fn named(&self, grants: &[Grant]) -> Vec<Grant> {
        let mut grants = grants.to_vec();
        for grant in &mut grants {
            if let Some(template) = &mut grant.template {
                *template = self.name(template).to_owned();
            }
        }
        grants
    }
}

impl Who {
    /// Returns the action as an audit entry, to be part of the commit that performs it.
    pub(super) async fn audit(
        &self,
        site: &Site,
        audited: AuditedAction,
    ) -> Result<PendingEntry, Fault> {
        let action = self.action(audited, "done".to_owned());
        let entry = site.ledger.next(action, site.web.clock.now()).await;
        entry.map_err(|error| Fault::Broken(error.to_string()))
    }

    /// Records that the action was refused.
    pub(super) async fn refused(&self, site: &Site, audited: AuditedAction, why: &str) {
        let action = self.action(audited, format!("refused: {why}"));
        let noted = site.ledger.note(action, site.web.clock.now()).await;
        if let Err(error) = noted {
            tracing::warn!(%error, actor = %self.actor.name, "a refusal is missing in the audit");
        }
    }

    fn action(&self, audited: AuditedAction, result: String) -> AuditAction {
        AuditAction {
            by: self.actor.name.clone(),
            from: self.from.clone(),
            what: audited.what.to_owned(),
            task: audited.task,
            on: audited.on,
            result,
        }
    }

    /// Whether they have an account here; users of this machine have none.
    pub(super) fn has_account(&self) -> bool {
        !self.actor.name.starts_with("os:")
    }

    /// Returns the token that each form of a page carries; empty if none is needed.
    pub(super) fn csrf_token(&self) -> String {
        match &self.proof {
            Proof::Own => String::new(),
            Proof::Session(session) => session.csrf_token(),
        }
    }

    /// Checks that a form with this token came from a page issued to this user.
    pub(super) fn sent(&self, csrf: &str) -> Result<(), Fault> {
        match &self.proof {
            Proof::Own => Ok(()),
            Proof::Session(session) => session
                .check_csrf(csrf)
                .map_err(|error| Fault::Forbidden(error.to_string())),
        }
    }

    /// As [`sent`](Self::sent), for a call of the API: a session must add a header, which a foreign
    /// page cannot.
    pub(super) fn called(&self, call: &Call) -> Result<(), Fault> {
        let given = call.headers.get(CSRF_HEADER);
        self.sent(given.and_then(|value| value.to_str().ok()).unwrap_or(""))
    }

    /// Returns their permissions for one target: those of the account, raised by grants there, and
    /// limited by the scopes of their credential.
    pub(super) fn at(&self, target: &PermissionTarget) -> Actor {
        let target = PermissionTarget {
            template: self.templates.name(&target.template).to_owned(),
            ..target.clone()
        };
        let role = |base, name: &str, groups: &[String]| {
            permission::role_in(base, name, groups, &self.grants, &target)
        };
        let actor = &self.actor;
        let of_project = |delegation: &Delegation| {
            let only = delegation.project.as_ref();
            only.is_none_or(|only| *only == target.project)
        };
        let mandates = self.mandates.iter().filter(|(one, _)| of_project(one));
        let mandates = mandates.map(|(delegation, from)| {
            let groups: Vec<String> = from.groups.iter().cloned().collect();
            Mandate {
                of: from.name.clone(),
                role: role(from.role, &from.name, &groups),
                groups,
                until: delegation.until,
            }
        });
        Actor {
            role: role(self.base, &actor.name, &actor.groups).min(actor.scopes.ceiling()),
            mandates: mandates.collect(),
            target: target.clone(),
            ..actor.clone()
        }
    }

    /// Whether they may see what happens in a target.
    pub(super) fn sees(&self, target: &PermissionTarget) -> bool {
        self.at(target).sees(self.now)
    }

    /// Returns the only targets where they may see something, so that others need not be searched;
    /// `None` if these are many, or all. [`sees`](Self::sees) decides for each.
    pub(super) fn targets(&self) -> Option<Vec<PermissionTarget>> {
        if self.base >= Ability::See.role() {
            return None;
        }
        let mut targets: Vec<PermissionTarget> =
            permission::granted(&self.actor.name, &self.actor.groups, &self.grants).collect();
        for (delegation, from) in &self.mandates {
            let groups: Vec<String> = from.groups.iter().cloned().collect();
            let everywhere = (from.role >= Ability::Approve.role()).then(PermissionTarget::default);
            let granted = permission::granted(&from.name, &groups, &self.grants);
            let of_project = granted.chain(everywhere).map(|mut target| {
                // A grant in another project has no effect; searching there does no harm.
                if let (Some(project), "") = (&delegation.project, target.project.as_str()) {
                    target.project.clone_from(project);
                }
                target
            });
            targets.extend(of_project);
        }
        let numbered: Vec<PermissionTarget> = targets
            .iter()
            .flat_map(|target| {
                let numbers = self.templates.numbers(&target.template);
                numbers.map(|number| PermissionTarget {
                    template: number.to_owned(),
                    ..target.clone()
                })
            })
            .collect();
        targets.extend(numbered);
        (targets.len() <= TARGETS_MAX).then_some(targets)
    }

    /// Whether they may see an environment, and so its hosts.
    pub(super) fn sees_environment(&self, project: &str, environment: &str) -> bool {
        self.sees(&PermissionTarget::new(project, environment, ""))
    }

    /// Returns the fault for a task that they may not see: the same as if it did not exist.
    pub(super) fn needs_to_see(&self, id: u64, target: &PermissionTarget) -> Result<(), Fault> {
        if self.sees(target) {
            return Ok(());
        }
        Err(Fault::no_task(&id.to_string()))
    }

    /// Checks that they may read at all; what they see depends on the target.
    pub(super) fn reads(&self) -> Result<(), Fault> {
        if self.actor.scopes.has(Scope::Read) {
            return Ok(());
        }
        Ok(self.actor.may(Ability::See, "view tasks")?)
    }

    /// Checks a permission that does not depend on a target.
    pub(super) fn needs(&self, ability: Ability, what: &'static str) -> Result<(), Fault> {
        Ok(self.actor.may(ability, what)?)
    }

    /// Whether they may submit a task to any target; which one depends on the task.
    pub(super) fn submits(&self) -> bool {
        self.has_somewhere(Ability::Submit)
    }

    /// As [`submits`](Self::submits), without anyone's approval.
    pub(super) fn runs(&self) -> bool {
        self.has_somewhere(Ability::Run)
    }

    fn has_somewhere(&self, ability: Ability) -> bool {
        let actor = &self.actor;
        let most = permission::role_anywhere(self.base, &actor.name, &actor.groups, &self.grants);
        actor.scopes.has(ability.scope()) && most >= ability.role()
    }

    /// Checks that they act on themselves, or as an admin. A token needs the scope `admin` for
    /// either: by changing an account it could extend its own permissions.
    pub(super) fn needs_to_be(&self, name: &str, what: &'static str) -> Result<(), Fault> {
        if self.actor.name != name {
            return self.needs(Ability::Manage, what);
        }
        if self.actor.scopes.has(Scope::Admin) {
            return Ok(());
        }
        Err(Fault::from(Missing::Scope {
            actor: name.to_owned(),
            scopes: self.actor.scopes.clone(),
            action: "manage your own account",
            needs: Scope::Admin,
        }))
    }
}

impl AuditedAction {
    /// For an action that concerns no task.
    pub(super) fn on(what: &'static str, on: impl Into<String>) -> Self {
        Self {
            what,
            task: None,
            on: on.into(),
        }
    }
}

/// Identifies the sender of a request.
///
/// # Errors
/// [`Fault::NotLoggedIn`] if nothing identifies a user.
pub(super) async fn who(site: &Arc<Site>, call: &Call) -> Result<Who, Fault> {
    if let Peer::Local { uid } = call.peer
        && !is_admitted(uid, site.uid)
    {
        return Err(Fault::Forbidden(
            "this socket accepts only the agent's user and root; use TAGSHIP_URL and TAGSHIP_TOKEN"
                .to_owned(),
        ));
    }
    if let Some(token) = bearer(call) {
        let from = client_address(site, call);
        return of_token(site, &token, from).await;
    }
    match call.peer {
        Peer::Local { uid } => Ok(local(site, uid, call.language())),
        Peer::Network(_) => {
            let cookies = call.header(header::COOKIE).unwrap_or_default();
            match site.web.sessions.find(cookies).await? {
                Some(session) => {
                    let account = session.account.clone();
                    let language = account.language.unwrap_or_else(|| call.language());
                    let (from, proof) = (client_address(site, call), Proof::Session(session));
                    let who = of_account(site, account, Scopes::default(), from, proof).await?;
                    Ok(Who { language, ..who })
                }
                None => Err(Fault::NotLoggedIn),
            }
        }
    }
}

/// As [`who`], for a request that changes nothing: checks that they may read.
pub(super) async fn who_reads(site: &Arc<Site>, call: &Call) -> Result<Who, Fault> {
    let who = who(site, call).await?;
    who.reads()?;
    Ok(who)
}

/// As [`who`], for a call of the API that changes something: see [`Who::called`].
pub(super) async fn who_calls(site: &Arc<Site>, call: &Call) -> Result<Who, Fault> {
    let who = who(site, call).await?;
    who.called(call)?;
    Ok(who)
}

/// Identifies the user of an `auth_key`, as clients of CODO's API send it: in the cookie or
/// parameter of that name, or as a token in `Authorization`. It is a long-lived token, or was
/// issued by that API's login.
///
/// # Errors
/// [`Fault::NotLoggedIn`] if it is missing, [`Fault::BadToken`] if it is not valid.
pub(super) async fn of_auth_key(site: &Arc<Site>, call: &Call) -> Result<Who, Fault> {
    if let Some(token) = bearer(call) {
        return of_token(site, &token, client_address(site, call)).await;
    }
    let given = call
        .cookie("auth_key")
        .or_else(|| call.parameter("auth_key"));
    let given = given.ok_or(Fault::NotLoggedIn)?;
    let from = client_address(site, call);
    match site.web.sessions.of_auth_key(&given).await? {
        Some(account) => of_account(site, account, Scopes::default(), from, Proof::Own).await,
        None => of_token(site, &given, from).await,
    }
}

async fn of_token(site: &Arc<Site>, token: &SecretString, from: String) -> Result<Who, Fault> {
    let owner = site.web.accounts.authenticate(token).await?;
    let from = format!("{from}, token {}", owner.token);
    of_account(site, owner.account, owner.scopes, from, Proof::Own).await
}

/// Whether a user of this machine is admitted over the Unix socket.
fn is_admitted(uid: u32, agent: u32) -> bool {
    uid == 0 || uid == agent
}

fn bearer(call: &Call) -> Option<SecretString> {
    let value = call.header(header::AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| SecretString::from(token.trim()))
}

/// Returns the origin of a request, as the audit names it.
fn client_address(site: &Site, call: &Call) -> String {
    match call.peer {
        Peer::Local { .. } => SOCKET.to_owned(),
        Peer::Network(_) => address(site, call).to_string(),
    }
}

/// Returns an account's user, independent of any request.
pub(super) async fn as_account(site: &Site, account: Account) -> Result<Who, Fault> {
    of_account(site, account, Scopes::default(), String::new(), Proof::Own).await
}

async fn of_account(
    site: &Site,
    account: Account,
    scopes: Scopes,
    from: String,
    proof: Proof,
) -> Result<Who, Fault> {
    let base = account.role;
    let templates = TemplateNames::of(&site.web).await;
    let mut who = Who {
        actor: Actor {
            groups: account.groups.iter().cloned().collect(),
            scopes,
            ..Actor::new(&account.name, base)
        },
        display: account.display.clone(),
        language: Language::default(),
        from,
        base,
        mandates: site.web.accounts.delegated_to(&account).await?,
        grants: templates.named(&site.web.config.grants),
        templates,
        proof,
        now: site.web.clock.now(),
    };
    who.actor = who.at(&PermissionTarget::default());
    Ok(who)
}

fn local(site: &Site, uid: u32, language: Language) -> Who {
    let name = format!("os:{}", user_or_number(uid));
    Who {
        display: name.clone(),
        language,
        from: SOCKET.to_owned(),
        actor: Actor {
            counts: if site.web.config.agent.local_approval {
                ApprovalWeight::Yes
            } else {
                ApprovalWeight::NotLocally
            },
            ..Actor::new(&name, Role::Admin)
        },
        base: Role::Admin,
        mandates: Vec::new(),
        grants: Vec::new(),
        templates: TemplateNames::default(),
        proof: Proof::Own,
        now: site.web.clock.now(),
    }
}

/// Checks the site that a browser names as the origin of a POST. Foreign requests are refused
/// before anything else is checked.
pub(super) fn from_our_site(site: &Site, call: &Call) -> Result<(), Fault> {
    let foreign = || Err(Fault::Forbidden(of_another_site(site, call)));
    if let Some(fetched) = call.headers.get("sec-fetch-site")
        && fetched != "same-origin"
        && fetched != "none"
    {
        return foreign();
    }
    let Some(origin) = call.headers.get(header::ORIGIN) else {
        // Not a browser: browsers send it with every POST.
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

/// Returns the message for a POST of another site. Behind a proxy that does not pass `Host` on it
/// may be ours; only the configuration can tell.
fn of_another_site(site: &Site, call: &Call) -> String {
    let origin = call.header(header::ORIGIN).unwrap_or("unknown");
    let url = site.web.config.public_url();
    format!(
        "the request came from a page of another site ({origin}); open {url} and \
         send it from there. If {origin} is this site, set [agent] public_url to it"
    )
}

/// Returns the client address of a login. A proxy on this machine (there is one if `public_url` is
/// set) appends the address that it sees to `X-Forwarded-For`.
pub(super) fn address(site: &Site, call: &Call) -> IpAddr {
    let Peer::Network(peer) = call.peer else {
        return IpAddr::from([127, 0, 0, 1]);
    };
    let behind_proxy = site.web.config.agent.public_url.is_some();
    let forwarded = call.headers.get_all(FORWARDED_FOR).iter();
    seen_from(peer, behind_proxy, forwarded.map(HeaderValue::as_bytes))
}

/// Returns a client's address from the peer of the connection and every `X-Forwarded-For` header,
/// in order. Only the last entry of the last header is the proxy's; earlier ones may be the
/// client's, and so may all if the peer is not a proxy on this machine.
fn seen_from<'a>(
    peer: IpAddr,
    behind_proxy: bool,
    mut forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> IpAddr {
    if !behind_proxy || !peer.to_canonical().is_loopback() {
        return peer;
    }
    forwarded
        .next_back()
        .and_then(|value| {
            let entry = value.rsplit(|byte| *byte == b',').next()?;
            std::str::from_utf8(entry).ok()?.trim().parse().ok()
        })
        .unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Every combination of peer, configuration and headers, compared with the rule in another
    /// form.
    #[test]
    fn forwarded_address_is_trusted_only_from_a_local_proxy() {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let peers = [
            ("127.0.0.1", true),
            ("127.8.9.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("10.0.0.1", false),
            ("::ffff:192.0.2.1", false),
            ("2001:db8::1", false),
            ("0.0.0.0", false),
        ];
        // The headers, and the address that a local proxy saw; `None`: unreadable.
        let headers: [(&[&[u8]], Option<&str>); 17] = [
            (&[], None),
            (&[b""], None),
            (&[b"198.51.100.7"], Some("198.51.100.7")),
            (&[b" 198.51.100.7 "], Some("198.51.100.7")),
            (&[b"203.0.113.9, 198.51.100.7"], Some("198.51.100.7")),
            (&[b"127.0.0.1,198.51.100.7"], Some("198.51.100.7")),
            (&[b"203.0.113.9", b"198.51.100.7"], Some("198.51.100.7")),
            (
                &[b"203.0.113.9, 203.0.113.8", b"203.0.113.7, 198.51.100.7"],
                Some("198.51.100.7"),
            ),
            (&[b"2001:db8::7"], Some("2001:db8::7")),
            (&[b"198.51.100.7, 2001:db8::7"], Some("2001:db8::7")),
            // An unreadable entry names no address: never use the entry before it.
            (&[b"198.51.100.7,"], None),
            (&[b"198.51.100.7, unknown"], None),
            (&[b"198.51.100.7:4711"], None),
            (&[b"[2001:db8::7]"], None),
            (&[b"198.51.100.7, \xff"], None),
            (&[b"198.51.100.7", b""], None),
            (&[b"for=198.51.100.7"], None),
        ];
        for (peer, local) in peers {
            for behind_proxy in [false, true] {
                for (values, seen) in headers {
                    let found = seen_from(address(peer), behind_proxy, values.iter().copied());
                    let believed = seen.filter(|_| local && behind_proxy).unwrap_or(peer);
                    assert_eq!(found, address(believed), "{peer} {behind_proxy} {values:?}");
                }
            }
        }
    }

    #[test]
    fn socket_admits_only_root_and_the_agents_user() {
        assert!(is_admitted(0, 990));
        assert!(is_admitted(990, 990));
        assert!(!is_admitted(1000, 990));
        assert!(!is_admitted(1000, 0));
    }
}
