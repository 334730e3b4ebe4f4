//! Stylesheets, scripts and icons, built into the program so that pages need no other server. Their
//! URLs contain a digest of the content, so browsers may cache them forever.

use std::sync::LazyLock;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use warp::reply::Reply as _;

use super::answer::{self, HttpResult};
use super::call::Call;
use super::fault::Fault;
use crate::base::secret;

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
    digest: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let asset = |name, kind, content: &'static str| Asset {
        name,
        kind,
        content,
        digest: secret::sha256_hex(content.as_bytes())[..16].to_owned(),
    };
    [
        asset(
            "style.css",
            "text/css; charset=utf-8",
            include_str!("../../templates/web/style.css"),
        ),
        asset(
            "page.js",
            "text/javascript; charset=utf-8",
            include_str!("../../templates/web/page.js"),
        ),
        asset(
            "icon.svg",
            "image/svg+xml",
            include_str!("../../templates/web/icon.svg"),
        ),
    ]
});

/// Returns the URL of an asset, with the digest of its content.
pub(super) fn address(name: &str) -> String {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let digest = asset.map_or("", |asset| asset.digest.as_str());
    format!("/assets/{name}?v={digest}")
}

pub(super) fn asset(call: &Call, name: &str) -> HttpResult {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let asset = asset.ok_or_else(|| Fault::NotFound("there is no such file".to_owned()))?;
    let tag = format!("\"{}\"", asset.digest);
    let known = call.header(header::IF_NONE_MATCH) == Some(tag.as_str());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer::of_kind(asset.kind, asset.content)
    };
    let keep = if call.query == format!("v={}", asset.digest) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}
