//! Responses and their headers, independent of their content.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use serde::Serialize;
use warp::reply::{Reply as _, Response};

use super::fault::Fault;
use crate::api::ErrorBody;

/// Scripts, styles, images and connections come only from this server; nothing is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

pub(super) type HttpResult = Result<Response, Fault>;

/// Adds the headers that every response has; headers already set are kept.
pub(super) fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let always = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

pub(super) fn of_kind(kind: &'static str, body: impl Into<Vec<u8>>) -> Response {
    let body: Vec<u8> = body.into();
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Returns a page.
pub(super) fn page(status: StatusCode, page: &impl Template) -> HttpResult {
    let text = page
        .render()
        .map_err(|error| Fault::Broken(format!("the page could not be drawn: {error}")))?;
    let mut response = of_kind("text/html; charset=utf-8", text);
    *response.status_mut() = status;
    Ok(response)
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> HttpResult {
    let text = serde_json::to_vec(value)
        .map_err(|error| Fault::Broken(format!("the answer could not be written: {error}")))?;
    let mut response = of_kind("application/json", text);
    *response.status_mut() = status;
    Ok(response)
}

pub(super) fn text(text: impl Into<String>) -> Response {
    of_kind("text/plain; charset=utf-8", text.into())
}

/// Returns a response without content.
pub(super) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Redirects with 303 See Other: after a form, or to the login.
pub(super) fn see(path: &str) -> HttpResult {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let location = HeaderValue::from_str(path)
        .map_err(|_| Fault::Invalid("that address can't be redirected to".to_owned()))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

pub(super) fn set_cookie(response: &mut Response, value: &str) -> Result<(), Fault> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Fault::Broken("the cookie could not be written".to_owned()))?;
    value.set_sensitive(true);
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}

/// Returns a fault as JSON, for the API.
pub(super) fn failure(fault: &Fault) -> Response {
    let failure = ErrorBody {
        error: fault.to_string(),
        problems: match fault {
            Fault::Problems(problems) => problems.clone(),
            _ => Vec::new(),
        },
    };
    let mut response = json(fault.status(), &failure)
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    mark(&mut response, fault);
    response
}

/// Adds the headers that belong to a fault.
pub(super) fn mark(response: &mut Response, fault: &Fault) {
    let headers = response.headers_mut();
    match fault {
        Fault::NotLoggedIn | Fault::BadToken => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Fault::Busy(_) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Fault::Method(_, allow) => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        _ => {}
    }
}
