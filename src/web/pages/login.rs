//! Logging in and out.

use std::sync::Arc;

use askama::Template;
use hyper::{StatusCode, header};
use serde::Deserialize;

use super::super::Site;
use super::super::answer::{self, Answer};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::who::{self, who};
use super::{Frame, Plain, sender, times};
use crate::account::LoginError;

#[derive(Template)]
#[template(path = "web/login.html")]
struct LoginPage {
    frame: Frame,
    next: String,
    /// What was wrong the last time.
    wrong: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Next {
    next: String,
}

pub(in crate::web) async fn show(site: &Arc<Site>, call: &mut Call) -> Answer {
    let Next { next } = call.query()?;
    if who(site, call).await.is_ok() {
        return answer::see(ours(&next));
    }
    let page = LoginPage {
        frame: Frame::bare(site),
        next: ours(&next).to_owned(),
        wrong: String::new(),
        name: String::new(),
    };
    answer::page(StatusCode::OK, &page)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    password: String,
    #[serde(default)]
    next: String,
}

pub(in crate::web) async fn enter(site: &Arc<Site>, call: &mut Call) -> Answer {
    let Login {
        name,
        password,
        next,
    } = call.form(site.web.limits.body).await?;
    let name = name.trim().to_lowercase();
    let address = who::address(site, call);
    let accounts = &site.web.accounts;
    let verified = accounts
        .verify_password(&name, &password.into(), address)
        .await;
    let (status, wrong) = match verified {
        Ok(account) => {
            let session = site.web.sessions.begin(&account).await?;
            tracing::info!(user = %account.name, %address, "somebody logged in");
            let mut response = answer::see(ours(&next))?;
            let cookie = crate::secret::ExposeSecret::expose_secret(&session.set_cookie);
            answer::set_cookie(&mut response, cookie)?;
            return Ok(response);
        }
        Err(LoginError::Denied) => {
            tracing::info!(%address, "a login was refused");
            let wrong = "The name or the password is wrong.".to_owned();
            (StatusCode::UNAUTHORIZED, wrong)
        }
        Err(LoginError::TooMany(until)) => {
            tracing::warn!(%address, "logins are refused for a while");
            let until = times(site).minute(&until);
            let wrong = format!("Too many failed logins. Try again after {until}.");
            (StatusCode::TOO_MANY_REQUESTS, wrong)
        }
        Err(error @ LoginError::Unavailable(_)) => return Err(error.into()),
    };
    let page = LoginPage {
        frame: Frame::bare(site),
        next: ours(&next).to_owned(),
        wrong,
        name,
    };
    answer::page(status, &page)
}

pub(in crate::web) async fn leave(site: &Arc<Site>, call: &mut Call) -> Answer {
    let Plain { csrf } = call.form(site.web.limits.body).await?;
    match sender(site, call, &csrf).await {
        Ok(_) | Err(Fault::NotLoggedIn) => {}
        Err(fault) => return Err(fault),
    }
    let cookies = call.header(header::COOKIE).unwrap_or_default();
    let forget = site.web.sessions.end(cookies).await?;
    let mut response = answer::see("/login")?;
    answer::set_cookie(&mut response, &forget)?;
    Ok(response)
}

/// An address of this site; everything else becomes the list.
fn ours(next: &str) -> &str {
    let path = next.strip_prefix('/').unwrap_or("\\");
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic());
    // Browsers read `//host` and `/\host` as another site.
    if plain && !path.starts_with(['/', '\\']) && !path.starts_with("login") {
        next
    } else {
        "/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_on_to_addresses_of_this_site_alone() {
        assert_eq!(ours("/tasks/3?x=y"), "/tasks/3?x=y");
        assert_eq!(ours("/"), "/");
        for foreign in [
            "",
            "https://example.com/",
            "//example.com",
            "/\\example.com",
            "\\\\example.com",
            "/\n/example.com",
            "/\t/example.com",
            "tasks",
            "/login",
        ] {
            assert_eq!(ours(foreign), "/", "{foreign:?}");
        }
    }
}
