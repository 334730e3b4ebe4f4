//! Pages for people. Rendered on the server and usable without scripts; the templates in
//! `templates/web/` escape text from repositories and hosts.

pub(super) mod account;
pub(super) mod audit;
pub(super) mod board;
pub(super) mod hooks;
pub(super) mod hosts;
pub(super) mod language;
pub(super) mod list;
pub(super) mod login;
pub(super) mod project;
pub(super) mod rollback;
pub(super) mod submit;
pub(super) mod task;
pub(super) mod task_forms;
pub(super) mod templates;
pub(super) mod users;
mod words;

use std::sync::Arc;

use askama::Template;
use hyper::header;
use warp::reply::Response;

use super::Site;
use super::actions::hosts::seen_hosts;
use super::answer::{self, HttpResult};
use super::assets;
use super::authentication::{Who, who};
use super::call::Call;
use super::fault::Fault;
pub(super) use super::text::times;
use crate::base::language::{Language, Sentence};
use crate::domain::approval::Role;

/// What every page shows around its content.
pub(super) struct Frame {
    style: String,
    script: String,
    icon: String,
    /// `None` on the login page.
    person: Option<PageViewer>,
    csrf: String,
    /// Disabled hosts, each with who disabled it and why.
    disabled: Vec<(String, String)>,
    zone: String,
    language: Language,
}

/// The user who views a page.
struct PageViewer {
    name: String,
    display: String,
    role: Role,
    has_account: bool,
    may_submit: bool,
}

impl PageViewer {
    fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

impl Frame {
    pub(super) async fn of(site: &Site, who: &Who) -> Result<Self, Fault> {
        let disabled = site.web.store.disabled().await?;
        let seen = seen_hosts(site, who);
        Ok(Self {
            person: Some(PageViewer {
                name: who.actor.name.clone(),
                display: who.display.clone(),
                role: who.actor.role,
                has_account: who.has_account(),
                may_submit: who.submits(),
            }),
            csrf: who.csrf_token(),
            disabled: disabled
                .into_iter()
                .filter(|(host, _)| seen.contains(host))
                .map(|(host, disabled)| (host, format!("{}: {}", disabled.by, disabled.reason)))
                .collect(),
            ..Self::in_language(site, who.language)
        })
    }

    /// For an unknown user, or when the store is unavailable.
    pub(super) fn bare(site: &Site, call: &Call) -> Self {
        Self::in_language(site, call.language())
    }

    fn in_language(site: &Site, language: Language) -> Self {
        Self {
            language,
            style: assets::address("style.css"),
            script: assets::address("page.js"),
            icon: assets::address("icon.svg"),
            person: None,
            csrf: String::new(),
            disabled: Vec::new(),
            zone: times(site).zone(),
        }
    }

    /// Returns a text of `templates/text/` in the reader's language.
    pub(super) fn say(&self, id: &'static str) -> Sentence {
        self.language.say(id)
    }

    /// Returns the languages that the page can change to.
    fn other_languages(&self) -> impl Iterator<Item = Language> {
        let current = self.language;
        Language::ALL.into_iter().filter(move |one| *one != current)
    }
}

/// How a fault is returned to this client.
pub(super) struct PageRequester {
    /// Whether the client is a browser that shows pages, rather than a program.
    pub(super) reads_pages: bool,
    /// Where to continue after the login.
    next: String,
}

impl PageRequester {
    pub(super) fn of(call: &Call) -> Self {
        let accept = call.header(header::ACCEPT).unwrap_or_default();
        let query = if call.query.is_empty() {
            String::new()
        } else {
            format!("?{}", call.query)
        };
        Self {
            reads_pages: accept.contains("text/html"),
            next: format!("{}{query}", call.path),
        }
    }
}

#[derive(Template)]
#[template(path = "web/fault.html")]
struct FaultPage {
    frame: Frame,
    title: Sentence,
    text: String,
    back: String,
}

/// Renders a fault as a page; redirects a user who is not logged in to the login.
pub(super) async fn fault(
    site: &Arc<Site>,
    call: &Call,
    requester: &PageRequester,
    fault: &Fault,
) -> Response {
    if let Fault::NotLoggedIn | Fault::BadToken = fault {
        let next = if call.method == hyper::Method::GET {
            requester.next.as_str()
        } else {
            "/"
        };
        let query = serde_urlencoded::to_string([("next", next)]).unwrap_or_default();
        return answer::see(&format!("/login?{query}"))
            .unwrap_or_else(|fault| answer::failure(&fault));
    }
    let frame = match who(site, call).await {
        Ok(who) => Frame::of(site, &who).await,
        Err(fault) => Err(fault),
    };
    let frame = frame.unwrap_or_else(|_| Frame::bare(site, call));
    let page = FaultPage {
        title: frame.say(title(fault)),
        frame,
        text: fault.to_string(),
        back: referrer(call),
    };
    let mut response =
        answer::page(fault.status(), &page).unwrap_or_else(|fault| answer::failure(&fault));
    answer::mark(&mut response, fault);
    response
}

/// Returns the id of the page's title.
fn title(fault: &Fault) -> &'static str {
    match fault {
        Fault::Forbidden(_) => "fault-forbidden",
        Fault::NotFound(_) => "fault-not-found",
        Fault::Conflict(_) => "fault-conflict",
        Fault::TooMany(_) | Fault::Busy(_) => "fault-busy",
        Fault::Broken(_) => "fault-internal",
        _ => "fault-invalid",
    }
}

/// Returns the page that sent the request, judged by its URL.
fn referrer(call: &Call) -> String {
    let mut segments = call.segments();
    match segments.first().map(String::as_str) {
        Some("tasks" | "hooks") if call.method == hyper::Method::POST => {
            segments.truncate(2);
            format!("/{}", segments.join("/"))
        }
        Some("hosts") if call.method == hyper::Method::POST => "/hosts".to_owned(),
        _ => "/".to_owned(),
    }
}

/// Returns the value of a form field.
fn field_value(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// A form with only a CSRF token.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    #[serde(default)]
    csrf: String,
}

/// After a form: returns the sender, if the form came from a page of theirs.
async fn sender(site: &Arc<Site>, call: &Call, csrf: &str) -> Result<Who, Fault> {
    let who = who(site, call).await?;
    who.sent(csrf)?;
    Ok(who)
}

/// Returns the sender of a form with only a CSRF token.
async fn plain_sender(site: &Arc<Site>, call: &mut Call) -> Result<Who, Fault> {
    let Plain { csrf } = call.form(site.web.limits.body).await?;
    sender(site, call, &csrf).await
}

/// Returns a page with status 200.
fn shown(page: &impl Template) -> HttpResult {
    answer::page(hyper::StatusCode::OK, page)
}
