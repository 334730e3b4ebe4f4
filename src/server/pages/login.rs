//! Login, in one step or two, and logout.

mod cookie;

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use hyper::{StatusCode, header};
use serde::Deserialize;

use cookie::{CODE, PASSWORD};

use super::super::Site;
use super::super::answer::{self, HttpResult};
use super::super::authentication::{self, who};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::login_audit::LoginEndpoint;
use super::{Frame, plain_sender, times};
use crate::base::language::Language;
use crate::base::secret::ExposeSecret as _;
use crate::identity::account::{Account, Login, LoginError};

#[derive(Template)]
#[template(path = "web/login.html")]
struct LoginPage {
    frame: Frame,
    next: String,
    /// Why the last attempt failed.
    wrong: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Next {
    next: String,
    /// Set by a successful login step: its cookie has to be present.
    entered: Option<String>,
}

pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let Next { next, entered } = call.query()?;
    if who(site, call).await.is_ok() {
        return answer::see(ours(&next));
    }
    let lost = entered.is_some() || cookie::sent_on_by_login(call);
    let wrong = if lost {
        cookie::lost(site, call)
    } else {
        cookie::warning(site, call).unwrap_or_default()
    };
    let page = LoginPage {
        frame: Frame::bare(site, call),
        next: ours(&next).to_owned(),
        wrong,
        name: String::new(),
    };
    answer::page(StatusCode::OK, &page)
}

/// Returns where to continue after the right password or code. Checks at once for a cookie limited
/// to https: without it every page would only ask for the login again.
fn next_page(site: &Site, step: &str, next: &str) -> String {
    let query = |fields: &[(&str, &str)]| serde_urlencoded::to_string(fields).unwrap_or_default();
    let secure = cookie::is_secure(site);
    match (step, secure) {
        (CODE, false) => format!("{CODE}?{}", query(&[("next", next)])),
        (_, false) => next.to_owned(),
        (step, true) => format!("{step}?{}", query(&[("next", next), ("entered", "1")])),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFields {
    name: String,
    password: String,
    #[serde(default)]
    next: String,
}

pub(in crate::server) async fn enter(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let LoginFields {
        name,
        password,
        next,
    } = call.form(site.web.limits.body).await?;
    let name = name.trim().to_lowercase();
    let address = authentication::address(site, call);
    let accounts = &site.web.accounts;
    let verified = accounts
        .verify_password(&name, &password.into(), address)
        .await;
    let (status, wrong) = match verified {
        Ok(Login::In(account)) => return start_session(site, &account, address, &next).await,
        Ok(Login::CodeNeeded(account)) => {
            LoginEndpoint::Page.no_code(site, &account, address).await;
            let cookie = site.web.sessions.halfway(&account).await?;
            let mut response = answer::see(&next_page(site, CODE, ours(&next)))?;
            answer::set_cookie(&mut response, cookie.expose_secret())?;
            return Ok(response);
        }
        Err(error) => refused(site, call.language(), &name, address, error).await?,
    };
    let page = LoginPage {
        frame: Frame::bare(site, call),
        next: ours(&next).to_owned(),
        wrong,
        name,
    };
    answer::page(status, &page)
}

/// Starts the session of a user who has completed the login.
async fn start_session(site: &Site, account: &Account, from: IpAddr, next: &str) -> HttpResult {
    LoginEndpoint::Page.completed(site, account, from).await?;
    let session = site.web.sessions.begin(account).await?;
    tracing::info!(user = %account.name, "user logged in");
    let mut response = answer::see(&next_page(site, PASSWORD, ours(next)))?;
    answer::set_cookie(&mut response, session.set_cookie.expose_secret())?;
    Ok(response)
}

/// Renders the page after a refused login.
async fn refused(
    site: &Site,
    language: Language,
    name: &str,
    address: IpAddr,
    error: LoginError,
) -> Result<(StatusCode, String), Fault> {
    LoginEndpoint::Page
        .refused(site, name, address, &error)
        .await;
    let say = |id| language.say(id);
    let (status, wrong) = match error {
        LoginError::Denied => {
            tracing::info!(%address, "a login was refused");
            (StatusCode::UNAUTHORIZED, say("login-wrong-password"))
        }
        LoginError::WrongCode | LoginError::UsedCode => {
            tracing::info!(%address, "a code was refused");
            (StatusCode::UNAUTHORIZED, say("login-wrong-code"))
        }
        LoginError::TooMany(until) => {
            tracing::warn!(%address, "logins are refused for a while");
            let until = times(site).minute(&until);
            let wrong = say("login-too-many").with("until", until);
            (StatusCode::TOO_MANY_REQUESTS, wrong)
        }
        error @ LoginError::Unavailable(_) => return Err(error.into()),
    };
    Ok((status, wrong.to_string()))
}

#[derive(Template)]
#[template(path = "web/code.html")]
struct CodePage {
    frame: Frame,
    next: String,
    wrong: String,
    name: String,
}

/// Returns the account whose password was right and whose code is needed now.
async fn halfway(site: &Site, call: &Call) -> Result<Option<Account>, Fault> {
    let cookies = call.header(header::COOKIE).unwrap_or_default();
    Ok(site.web.sessions.is_halfway(cookies).await?)
}

/// `GET /login/code`: the second step.
pub(in crate::server) async fn show_code(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let Next { next, entered } = call.query()?;
    let Some(account) = halfway(site, call).await? else {
        let lost = entered.is_some() || cookie::sent_on_by_login(call);
        return answer::see(if lost { "/login?entered=1" } else { PASSWORD });
    };
    if entered.is_some() {
        // A page reloaded later must not mistake an expired cookie for a lost one.
        let query = serde_urlencoded::to_string([("next", ours(&next))]).unwrap_or_default();
        return answer::see(&format!("{CODE}?{query}"));
    }
    let page = CodePage {
        frame: Frame::bare(site, call),
        next: ours(&next).to_owned(),
        wrong: String::new(),
        name: account.name,
    };
    answer::page(StatusCode::OK, &page)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeForm {
    code: String,
    #[serde(default)]
    next: String,
}

pub(in crate::server) async fn enter_code(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let CodeForm { code, next } = call.form(site.web.limits.body).await?;
    let Some(account) = halfway(site, call).await? else {
        // It took too long: ask for the password again.
        return answer::see(PASSWORD);
    };
    let address = authentication::address(site, call);
    let accounts = &site.web.accounts;
    match accounts.verify_code(&account.name, &code, address).await {
        Ok(account) => {
            let cookies = call.header(header::COOKIE).unwrap_or_default();
            let forget = site.web.sessions.end_halfway(cookies).await?;
            let mut response = start_session(site, &account, address, &next).await?;
            answer::set_cookie(&mut response, &forget)?;
            Ok(response)
        }
        Err(error) => {
            let (status, wrong) =
                refused(site, call.language(), &account.name, address, error).await?;
            let page = CodePage {
                frame: Frame::bare(site, call),
                next: ours(&next).to_owned(),
                wrong,
                name: account.name,
            };
            answer::page(status, &page)
        }
    }
}

pub(in crate::server) async fn leave(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    match plain_sender(site, call).await {
        Ok(_) | Err(Fault::NotLoggedIn) => {}
        Err(fault) => return Err(fault),
    }
    let cookies = call.header(header::COOKIE).unwrap_or_default();
    let forget = site.web.sessions.end(cookies).await?;
    let mut response = answer::see("/login")?;
    answer::set_cookie(&mut response, &forget)?;
    Ok(response)
}

/// Returns a URL of this site; anything else becomes the list.
pub(super) fn ours(next: &str) -> &str {
    let path = next.strip_prefix('/').unwrap_or("\\");
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic());
    // Browsers treat `//host` and `/\host` as another site.
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
    fn login_redirects_only_within_the_site() {
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
