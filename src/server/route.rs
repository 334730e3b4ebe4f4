//! Routing. [`page`] and [`api`](super::api::route) together list all URLs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures::Stream;
use hyper::Method;
use warp::Filter;
use warp::reply::Response;

use super::answer::{self, HttpResult};
use super::call::{Body, Call, Peer};
use super::fault::Fault;
use super::{Site, api, assets, authentication, output, pages, stream};

/// Returns all routes as one warp filter, which parses requests and passes them on.
pub(super) fn routes(
    site: Arc<Site>,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .and(warp::body::stream().map(boxed))
        .then(
            move |method, path: warp::path::FullPath, query, headers, peer, body| {
                let site = Arc::clone(&site);
                let call = Call {
                    method,
                    path: path.as_str().to_owned(),
                    query,
                    headers,
                    peer,
                    body: Mutex::new(Some(body)),
                };
                async move { respond(&site, call).await }
            },
        )
}

fn boxed<B: warp::Buf>(body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static) -> Body {
    let take = |mut piece: B| piece.copy_to_bytes(piece.remaining());
    Box::pin(futures::TryStreamExt::map_ok(body, take))
}

async fn respond(site: &Arc<Site>, mut call: Call) -> Response {
    if call.method == Method::HEAD {
        // hyper omits the body.
        call.method = Method::GET;
    }
    let of_api = call.path.starts_with("/api/");
    let request = format!("{} {}", call.method, call.path);
    let requester = pages::PageRequester::of(&call);
    let answer = if of_api {
        api::route(site, &mut call).await
    } else {
        page(site, &mut call).await
    };
    let response = match answer {
        Ok(response) => response,
        Err(fault) => {
            if let Fault::Broken(error) = &fault {
                tracing::error!(%request, %error, "a request failed");
            }
            if of_api || !requester.reads_pages {
                answer::failure(&fault)
            } else {
                pages::fault(site, &call, &requester, &fault).await
            }
        }
    };
    let hundreds = usize::from(response.status().as_u16() / 100);
    if let Some(count) = site.answered.get(hundreds) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    answer::guarded(response)
}

/// Routes everything except `/api/…`.
async fn page(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let segments = call.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["healthz"]) => Ok(answer::text("ok\n")),
        ("GET", ["metrics"]) => api::metrics(site).await,
        ("GET", ["assets", name]) => assets::asset(call, name),
        ("GET", ["login"]) => pages::login::show(site, call).await,
        ("GET", ["login", "code"]) => pages::login::show_code(site, call).await,
        ("GET", [""]) => pages::board::show(site, call).await,
        ("GET", ["tasks"]) => pages::list::show(site, call).await,
        ("GET", ["events"]) => stream::all(site, call).await,
        ("GET", ["tasks", id]) => pages::task::show(site, call, id).await,
        ("GET", ["tasks", id, "events"]) => stream::task(site, call, id).await,
        ("GET", ["tasks", id, "log"]) => output::show(site, call, id).await,
        ("GET", ["tasks", id, "rollback"]) => pages::rollback::back_to(site, call, id).await,
        ("GET", ["rollback"]) => pages::rollback::back_before(site, call).await,
        ("GET", ["hooks"]) => pages::hooks::list(site, call).await,
        ("GET", ["hooks", id]) => pages::hooks::one(site, call, id).await,
        ("GET", ["submit"]) => pages::submit::show(site, call).await,
        ("GET", ["hosts"]) => pages::hosts::show(site, call).await,
        ("GET", ["templates"]) => pages::templates::list(site, call).await,
        ("GET", ["templates", name]) => pages::templates::one(site, call, name).await,
        ("GET", ["projects", name]) => pages::project::show(site, call, name).await,
        ("GET", ["audit"]) => pages::audit::show(site, call).await,
        ("GET", ["users"]) => pages::users::list(site, call).await,
        ("GET", ["users", name]) => pages::users::one(site, call, name).await,
        ("POST", rest) => {
            authentication::from_our_site(site, call)?;
            post(site, call, rest).await
        }
        _ => Err(call.unknown()),
    }
}

/// Routes forms.
async fn post(site: &Arc<Site>, call: &mut Call, segments: &[&str]) -> HttpResult {
    match segments {
        ["login"] => pages::login::enter(site, call).await,
        ["login", "code"] => pages::login::enter_code(site, call).await,
        ["language"] => pages::language::choose(site, call).await,
        ["logout"] => pages::login::leave(site, call).await,
        ["tasks", id, what] => pages::task_forms::of_task(site, call, id, what).await,
        ["submit"] => pages::submit::send(site, call).await,
        ["rollback"] => pages::rollback::roll_back(site, call).await,
        ["hooks", id, "replay"] => pages::hooks::replay(site, call, id).await,
        ["hosts", name, what @ ("disable" | "enable")] => {
            pages::hosts::switch(site, call, name, what).await
        }
        ["users"] => pages::users::add(site, call).await,
        ["users", name, "change"] => pages::users::change(site, call, name).await,
        ["users", name, what @ ("disable" | "enable")] => {
            pages::users::switch(site, call, name, what).await
        }
        ["users", name, "remove"] => pages::users::remove(site, call, name).await,
        ["users", name, "password"] => pages::users::set_password(site, call, name).await,
        ["users", name, "tokens"] => pages::users::new_token(site, call, name).await,
        ["users", name, "tokens", id, "revoke"] => pages::users::revoke(site, call, name, id).await,
        [
            "users",
            name,
            "totp",
            what @ ("begin" | "confirm" | "reset"),
        ] => pages::account::factor(site, call, name, what).await,
        ["users", name, "delegations"] => pages::account::delegate(site, call, name).await,
        ["users", name, "delegations", id, "end"] => {
            pages::account::end(site, call, name, id).await
        }
        _ => Err(call.unknown()),
    }
}
