//! Templates that tasks can use, and every version that a task used.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::actions::templates::{listed, no_template, seen, versions};
use super::super::answer::{self, HttpResult};
use super::super::authentication::who_reads;
use super::super::call::Call;
use crate::api::{TemplateLine, TemplateView};

pub(super) async fn list(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let library = site.web.templates.current().await;
    answer::json(StatusCode::OK, &listed(site, &who, &library))
}

pub(super) async fn show(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    let library = site.web.templates.current().await;
    let found = library.find(name).zip(library.version(name));
    let found = found.filter(|(template, _)| seen(site, &who, &library, &template.name));
    let (template, version) = found.ok_or_else(|| no_template(name))?;
    let view = TemplateView {
        line: TemplateLine::of(template, library.file(template).unwrap_or_default()),
        text: version.text,
        versions: versions(site, &template.name).await?,
    };
    answer::json(StatusCode::OK, &view)
}
