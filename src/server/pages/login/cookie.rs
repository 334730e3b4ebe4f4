//! Why a successful login does not last: the browser returns its cookie only where the URL allows
//! it. Names the URL to open, or the configuration key to change.

use hyper::header;

use super::super::super::Site;
use super::super::super::call::Call;
use crate::identity::session::WebTransport;

/// The steps of a login, by their URLs.
pub(super) const PASSWORD: &str = "/login";
pub(super) const CODE: &str = "/login/code";

/// Whether cookies are limited to https.
pub(super) fn is_secure(site: &Site) -> bool {
    WebTransport::of_url(&site.web.config.public_url()) == WebTransport::Https
}

/// Whether a browser comes from a login step and was redirected here: a missing cookie was lost.
/// (Or its session ended, and it loads its first page again.)
pub(super) fn sent_on_by_login(call: &Call) -> bool {
    let from = call.header(header::REFERER).unwrap_or_default();
    let host = call.header(header::HOST).unwrap_or_default();
    let Some((_, rest)) = from.split_once("://") else {
        return false;
    };
    let path = rest.strip_prefix(host).unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let is_step = path == PASSWORD || path == CODE;
    is_step && call.query.contains("next=")
}

/// Returns the message shown instead of an empty form.
pub(super) fn lost(site: &Site, call: &Call) -> String {
    let url = site.web.config.public_url();
    let host = call.header(header::HOST).unwrap_or("this address");
    if is_secure(site) {
        let text = call.language().say("login-cookie-lost");
        return text.with("url", url).with("path", PASSWORD).to_string();
    }
    let text = call.language().say("login-again");
    let text = text.with("host", host.to_owned()).with("url", url);
    text.with("path", PASSWORD).to_string()
}

/// Returns a warning before a password is typed: this page came without the proxy that does TLS.
pub(super) fn warning(site: &Site, call: &Call) -> Option<String> {
    if !is_secure(site) {
        return None;
    }
    let url = site.web.config.public_url();
    let host = call.header(header::HOST).unwrap_or_default();
    let forwarded_as = call.headers.get("x-forwarded-proto");
    let is_plain = match forwarded_as {
        Some(scheme) => scheme.as_bytes().eq_ignore_ascii_case(b"http"),
        None => {
            let other = url.split_once("://").is_some_and(|(_, name)| name != host);
            other && !call.is_proxied()
        }
    };
    // Browsers treat a loopback address as secure, like https.
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let loopback = name == "localhost" || name == "[::1]" || name.starts_with("127.");
    (is_plain && !loopback).then(|| {
        let text = call.language().say("login-plain-http");
        text.with("url", url).with("path", PASSWORD).to_string()
    })
}
