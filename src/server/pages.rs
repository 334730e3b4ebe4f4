//! Pages for people. Drawn on the server, whole without scripts; what comes from a repository or a
//! host is escaped by the templates in `templates/web/`.

pub(super) mod account;
pub(super) mod ask;
pub(super) mod hooks;
pub(super) mod hosts;
pub(super) mod list;
pub(super) mod login;
pub(super) mod people;
pub(super) mod submit;
pub(super) mod task;
pub(super) mod templates;

use std::sync::Arc;

use askama::Template;
use hyper::header;
use warp::reply::Response;

use super::Site;
use super::actions::places::seen_hosts;
use super::answer::{self, HttpResult};
use super::assets;
use super::call::Call;
use super::fault::Fault;
use super::who::{Who, who};
pub(super) use super::words::times;
use crate::domain::approval::Role;

/// What stands around every page.
pub(super) struct Frame {
    style: String,
    script: String,
    icon: String,
    /// `None` on the page where one logs in.
    person: Option<PageViewer>,
    csrf: String,
    /// Hosts that are taken out, with who did it and why.
    disabled: Vec<(String, String)>,
    zone: String,
}

/// Who looks at a page.
struct PageViewer {
    name: String,
    display: String,
    role: Role,
    may_submit: bool,
}

impl PageViewer {
    fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Users of this machine have no account here.
    fn has_account(&self) -> bool {
        !self.name.starts_with("os:")
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
                may_submit: who.submits(),
            }),
            csrf: who.csrf_token(),
            disabled: disabled
                .into_iter()
                .filter(|(host, _)| seen.contains(host))
                .map(|(host, disabled)| (host, format!("{}: {}", disabled.by, disabled.reason)))
                .collect(),
            ..Self::bare(site)
        })
    }

    /// For somebody who is not known, or when the store can't be asked.
    pub(super) fn bare(site: &Site) -> Self {
        Self {
            style: assets::address("style.css"),
            script: assets::address("page.js"),
            icon: assets::address("icon.svg"),
            person: None,
            csrf: String::new(),
            disabled: Vec::new(),
            zone: times(site).zone(),
        }
    }
}

/// How an answer that is no page is to be given.
pub(super) struct PageRequester {
    /// A browser that shows pages, rather than a program.
    pub(super) reads_pages: bool,
    /// Where to go on after logging in.
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
    title: &'static str,
    text: String,
    back: String,
}

/// A fault as a page; whoever is not logged in is asked to.
pub(super) async fn fault(
    site: &Arc<Site>,
    call: &Call,
    asker: &PageRequester,
    fault: &Fault,
) -> Response {
    if let Fault::NotLoggedIn | Fault::BadToken = fault {
        let next = if call.method == hyper::Method::GET {
            asker.next.as_str()
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
    let page = FaultPage {
        frame: frame.unwrap_or_else(|_| Frame::bare(site)),
        title: title(fault),
        text: fault.to_string(),
        back: back(call),
    };
    let mut response =
        answer::page(fault.status(), &page).unwrap_or_else(|fault| answer::failure(&fault));
    answer::mark(&mut response, fault);
    response
}

fn title(fault: &Fault) -> &'static str {
    match fault {
        Fault::Forbidden(_) => "You may not do this",
        Fault::NotFound(_) => "Not here",
        Fault::Conflict(_) => "Not as things stand",
        Fault::TooMany(_) | Fault::Busy(_) => "Not now",
        Fault::Broken(_) => "The agent has a problem",
        _ => "This was not understood",
    }
}

/// The page from which the request came, as far as its address tells.
fn back(call: &Call) -> String {
    let mut segments = call.segments();
    match segments.first().map(String::as_str) {
        Some("tasks") if call.method == hyper::Method::POST => {
            segments.truncate(2);
            format!("/{}", segments.join("/"))
        }
        Some("hooks") if call.method == hyper::Method::POST => {
            segments.truncate(2);
            format!("/{}", segments.join("/"))
        }
        Some("hosts") if call.method == hyper::Method::POST => "/hosts".to_owned(),
        _ => "/".to_owned(),
    }
}

/// A form that says nothing but whose it is.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    #[serde(default)]
    csrf: String,
}

/// After a form: who sent it, if it came from a page of theirs.
async fn sender(site: &Arc<Site>, call: &Call, csrf: &str) -> Result<Who, Fault> {
    let who = who(site, call).await?;
    who.sent(csrf)?;
    Ok(who)
}

/// A page for somebody.
fn shown(page: &impl Template) -> HttpResult {
    answer::page(hyper::StatusCode::OK, page)
}
