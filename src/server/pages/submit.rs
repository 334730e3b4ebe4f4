//! The page to submit a task: choose a template, then fill in its form.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::super::Site;
use super::super::actions::hosts::seen_hosts;
use super::super::actions::submit::{UserVisibility, order_again, take};
use super::super::actions::tasks::parse_id;
use super::super::actions::templates::seen;
use super::super::answer::{self, HttpResult};
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::codo;
use super::super::fault::Fault;
use super::super::text::Times;
use super::{Frame, sender, shown, times};
use crate::base::language::Language;
use crate::base::secret::{self, ExposeSecret as _};
use crate::config::Templates;
use crate::domain::permission::{Ability, PermissionTarget};
use crate::domain::rule::TAGS;
use crate::domain::task::Via;
use crate::domain::template::{Hidden, ParamKind, StageHosts, StageTemplate, Template};
use crate::engine::submit::{
    DETAILS_CHARS_MAX, FieldProblem, SubmissionOrder, SubmitError, TITLE_CHARS_MAX, VALUE_BYTES_MAX,
};
use crate::store::Filter;

/// With more configured hosts than this, host names are typed instead of ticked.
const TICKED_MAX: usize = 60;

#[derive(askama::Template)]
#[template(path = "web/submit.html")]
struct SubmitPage {
    frame: Frame,
    times: Times,
    /// Number, name and stages of each available template.
    templates: Vec<TemplateOption>,
    form: Option<SubmitForm>,
    problems: Vec<FieldProblem>,
    /// The pasted JSON.
    json: String,
    title_chars_max: usize,
    details_chars_max: usize,
    value_bytes_max: usize,
    /// The task to repeat, as given in the URL.
    repeated: Option<u64>,
}

/// A template that can be chosen.
struct TemplateOption {
    name: String,
    id: Option<u64>,
    stages: String,
}

/// How many recent tasks are searched for tags.
const TAGS_MAX: usize = 50;

/// The form of one template, with the values of its fields.
struct SubmitForm {
    template: String,
    order: SubmissionOrder,
    params: Vec<ParamField>,
    groups: Vec<HostGroup>,
    /// Every configured `project/environment`; empty if the template takes none.
    environments: Vec<EnvironmentOption>,
    takes_tag: bool,
    may_ready: bool,
    /// The idempotency key: two clicks make one task.
    key: String,
}

struct ParamField {
    name: String,
    label: String,
    value: String,
    required: bool,
    pattern: String,
    hint: String,
    kind: ParamKind,
    /// Choices, or tags that were released before.
    offered: Vec<String>,
}

/// One group of hosts that the task provides.
struct HostGroup {
    number: u8,
    stages: String,
    /// Empty if there are too many to tick.
    hosts: Vec<HostCheckbox>,
    /// The typed names, if they are not ticked.
    written: String,
    writes: bool,
}

struct HostCheckbox {
    name: String,
    notes: String,
    ticked: bool,
}

struct EnvironmentOption {
    value: String,
    words: String,
    chosen: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Query {
    template: Option<String>,
    repeat: Option<String>,
}

pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    submits(&who)?;
    let query: Query = call.query()?;
    let mut page = page(site, &who).await?;
    if let Some(id) = &query.repeat {
        let id = parse_id(id)?;
        let task = site.web.store.task(id).await?;
        who.needs_to_see(id, &task.target())?;
        page.repeated = Some(id);
        let plan = site.web.store.plan_of(&task).await?;
        let library = site.web.templates.current().await;
        let order = order_again(&task, plan.as_deref(), &library).order;
        page.form = Some(form(site, &who, order).await?);
    } else if let Some(template) = query.template.filter(|name| !name.is_empty()) {
        let order = SubmissionOrder {
            template,
            ..SubmissionOrder::default()
        };
        page.form = Some(form(site, &who, order).await?);
    }
    shown(&page)
}

/// Refuses the page to a user who cannot submit anything.
fn submits(who: &Who) -> Result<(), Fault> {
    if who.submits() {
        return Ok(());
    }
    who.needs(Ability::Submit, "submit a task")
}

async fn page(site: &Site, who: &Who) -> Result<SubmitPage, Fault> {
    let library = site.web.templates.current().await;
    Ok(SubmitPage {
        frame: Frame::of(site, who).await?,
        times: times(site),
        templates: library
            .templates()
            .filter(|template| offers(site, who, &library, template))
            .map(|template| TemplateOption {
                name: template.name.clone(),
                id: template.id,
                stages: stages(template, |_| true),
            })
            .collect(),
        form: None,
        problems: Vec::new(),
        json: String::new(),
        title_chars_max: TITLE_CHARS_MAX,
        details_chars_max: DETAILS_CHARS_MAX,
        value_bytes_max: VALUE_BYTES_MAX,
        repeated: None,
    })
}

/// Whether a template is offered to a user: it is on their list, or no rule uses it and there is a
/// target for it.
fn offers(site: &Site, who: &Who, library: &Templates, template: &Template) -> bool {
    let name = &template.name;
    let mut rules = site.web.config.projects.iter().flat_map(|one| &one.rules);
    seen(site, who, library, name)
        || !rules.any(|rule| rule.template == *name) && usable(site, who, library, name).is_some()
}

/// Returns the template of this name or number, if the user may see its tasks in some target.
fn usable<'l>(site: &Site, who: &Who, library: &'l Templates, name: &str) -> Option<&'l Template> {
    let visibility = UserVisibility { site, who };
    let found = library.find(name)?;
    crate::engine::submit::is_usable(&site.web.config, &visibility, &found.name).then_some(found)
}

/// Returns the names of a template's stages on a kind of hosts.
fn stages(template: &Template, on: impl Fn(&StageHosts) -> bool) -> String {
    let stages = template.stages.iter().filter(|stage| on(&stage.hosts));
    let names: Vec<&str> = stages.map(|stage| stage.name.as_str()).collect();
    names.join(", ")
}

/// Returns the form of the order's template, filled from the order.
async fn form(site: &Site, who: &Who, order: SubmissionOrder) -> Result<SubmitForm, Fault> {
    let library = site.web.templates.current().await;
    let template = usable(site, who, &library, &order.template).ok_or_else(|| {
        let name: String = order.template.escape_debug().take(64).collect();
        let said = who.language.say("submit-unknown-template");
        Fault::NotFound(said.with("name", name).to_string())
    })?;
    let takes_tag = template.releases();
    let takes_environment =
        takes_tag || template.stages.iter().any(StageTemplate::takes_environment);
    let environments = if takes_environment {
        environment_options(site, who, &order)
    } else {
        Vec::new()
    };
    let mut groups = Vec::new();
    for number in template.given_groups() {
        groups.push(host_group(site, who, template, &order, number).await?);
    }
    let token = secret::token().map_err(|error| Fault::Broken(error.to_string()))?;
    Ok(SubmitForm {
        template: template.name.clone(),
        params: params(template, &order, &tags(site, who, &order).await?),
        groups,
        environments,
        takes_tag,
        may_ready: who.runs(),
        key: order
            .idempotency_key
            .clone()
            .unwrap_or_else(|| token.expose_secret().to_owned()),
        order,
    })
}

/// Returns the tags of recent tasks of the order's project, or of all that the user may see.
async fn tags(site: &Site, who: &Who, order: &SubmissionOrder) -> Result<Vec<String>, Fault> {
    let heads = site
        .web
        .store
        .list(&Filter::default(), None, TAGS_MAX)
        .await?;
    let mut tags: Vec<String> = heads
        .iter()
        .filter(|head| order.project.is_empty() || head.project == order.project)
        .filter(|head| who.sees(&head.target()))
        .filter_map(|head| head.reference.strip_prefix(TAGS))
        .map(str::to_owned)
        .collect();
    tags.dedup();
    Ok(tags)
}

fn params(template: &Template, order: &SubmissionOrder, tags: &[String]) -> Vec<ParamField> {
    let fields = template.params.iter().map(|param| ParamField {
        name: param.name.clone(),
        label: param.alias.clone().unwrap_or_else(|| param.name.clone()),
        value: match param.kind {
            ParamKind::Secret => String::new(),
            _ => order
                .params
                .get(&param.name)
                .or(param.default.as_ref())
                .cloned()
                .unwrap_or_default(),
        },
        required: param.required && param.default.is_none(),
        pattern: param.pattern.clone().unwrap_or_default(),
        kind: param.kind,
        offered: match param.kind {
            ParamKind::Choice => param.choices.clone(),
            ParamKind::Tag => tags.to_vec(),
            ParamKind::Text | ParamKind::Secret => Vec::new(),
        },
        hint: if param.alias.is_some() {
            param.name.clone()
        } else {
            String::new()
        },
    });
    fields.collect()
}

/// Returns every environment of every project, and per project the one that the tag's rule names.
fn environment_options(site: &Site, who: &Who, order: &SubmissionOrder) -> Vec<EnvironmentOption> {
    let chosen = format!("{}/{}", order.project, order.environment);
    let mut options = Vec::new();
    for project in &site.web.config.projects {
        let name = &project.name;
        let mut choice = |environment: &str, words: String| {
            let value = format!("{name}/{environment}");
            options.push(EnvironmentOption {
                chosen: value == chosen,
                value,
                words,
            });
        };
        let submits = |environment: &str| {
            let target = PermissionTarget::new(name, environment, &order.template);
            who.at(&target)
                .may(Ability::Submit, "submit a task")
                .is_ok()
        };
        let mut environments = project.environments.keys();
        let own: Vec<&String> = environments.by_ref().filter(|name| submits(name)).collect();
        for environment in &own {
            choice(environment, format!("{name} {environment}"));
        }
        if !project.rules.is_empty() && !own.is_empty() {
            let said = who.language.say("submit-place-by-rule");
            choice("", said.with("project", name.clone()).to_string());
        }
    }
    options
}

async fn host_group(
    site: &Site,
    who: &Who,
    template: &Template,
    order: &SubmissionOrder,
    number: u8,
) -> Result<HostGroup, Fault> {
    let config = &site.web.config;
    let given = order.hosts.get(&number).cloned().unwrap_or_default();
    let disabled = site.web.store.disabled().await?;
    let few = config.hosts.len() <= TICKED_MAX;
    let seen = seen_hosts(site, who);
    let names = config.hosts.keys().filter(|name| seen.contains(*name));
    let endpoints = names.filter_map(|name| config.endpoint(name));
    let hosts = endpoints.map(|host| {
        let mut notes = host.address.clone();
        if let Some(out) = disabled.get(&host.name) {
            let said = who.language.say("submit-host-disabled");
            let said = said
                .with("address", notes)
                .with("reason", out.reason.clone());
            notes = said.to_string();
        }
        HostCheckbox {
            ticked: given.contains(&host.name) || given.contains(&host.address),
            name: host.name,
            notes,
        }
    });
    let hosts: Vec<HostCheckbox> = if few { hosts.collect() } else { Vec::new() };
    let written = given
        .iter()
        .filter(|host| {
            !hosts.iter().any(|known| {
                known.ticked && (known.name == **host || known.notes.starts_with(host.as_str()))
            })
        })
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    Ok(HostGroup {
        number,
        stages: stages(template, |on| *on == StageHosts::Given(number)),
        writes: template.free_hosts || hosts.is_empty() || !written.is_empty(),
        hosts,
        written,
    })
}

/// Submits the filled form, or the pasted JSON.
pub(in crate::server) async fn send(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let fields: Vec<(String, String)> = call.form(site.web.limits.body).await?;
    let csrf = fields.iter().find(|(name, _)| name == "csrf");
    let csrf = csrf.map(|(_, value)| value.clone()).unwrap_or_default();
    let who = sender(site, call, &csrf).await?;
    let pasted = fields.iter().find(|(name, _)| name == "json");
    let json = pasted.map(|(_, text)| text.clone());
    let read = match &json {
        Some(text) if codo::is_task(text) => codo::pasted(site, &who, text).await,
        Some(text) => of_json(text, who.language),
        None => of_form(fields, who.language),
    };
    let (order, fault) = match read {
        Ok(order) => match take(site, &who, &order, Via::Page).await {
            Ok(submitted) => return answer::see(&format!("/tasks/{}", submitted.id())),
            Err(fault) => (Some(order), fault),
        },
        Err(fault) => (None, fault),
    };
    let problems = match fault {
        // The page shows more than the request contained.
        Fault::Problems(problems) if who.reads().is_ok() && who.submits() => problems,
        fault => return Err(fault),
    };
    let mut page = page(site, &who).await?;
    page.problems = problems;
    match json {
        Some(text) => page.json = without_secrets(site, text).await,
        None => {
            if let Some(order) = order {
                page.form = form(site, &who, order).await.ok();
            }
        }
    }
    answer::page(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

/// Returns the pasted JSON to show again, without secrets: they must be entered again.
async fn without_secrets(site: &Site, text: String) -> String {
    let Ok(Value::Object(mut pasted)) = serde_json::from_str::<Value>(&text) else {
        return text;
    };
    let library = site.web.templates.current().await;
    let template = match pasted.get("template").or_else(|| pasted.get("temp_id")) {
        Some(Value::Number(number)) => library.find(&number.to_string()),
        Some(Value::String(name)) => library.find(name.trim()),
        _ => None,
    };
    let by_template: Vec<&String> = template.into_iter().flat_map(Template::secrets).collect();
    for (field, all) in [("secrets", true), ("params", false)] {
        let Some(Value::Object(values)) = pasted.get_mut(field) else {
            continue;
        };
        for (name, value) in values {
            if all || by_template.contains(&name) {
                *value = Value::Null;
            }
        }
    }
    // In CODO's format all values are in one text.
    if !by_template.is_empty() && pasted.contains_key("args") {
        pasted.insert("args".to_owned(), Value::Null);
    }
    serde_json::to_string_pretty(&pasted).unwrap_or_default()
}

fn of_json(text: &str, language: Language) -> Result<SubmissionOrder, Fault> {
    let value = serde_json::from_str(text).map_err(|error| {
        Fault::Problems(vec![FieldProblem {
            field: "json".to_owned(),
            message: language
                .say("submit-not-json")
                .with("problem", error.to_string())
                .to_string(),
        }])
    })?;
    SubmissionOrder::read(&value).map_err(|error: SubmitError| error.into())
}

/// Converts `param.NAME`, `secret.NAME`, `hosts.N` and the other fields of a form into an order.
fn of_form(fields: Vec<(String, String)>, language: Language) -> Result<SubmissionOrder, Fault> {
    let mut order = SubmissionOrder::default();
    let mut hosts: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for (name, value) in fields {
        // Browsers end the lines of a form with CRLF.
        let value = value.replace("\r\n", "\n");
        let line = value.trim().to_owned();
        match name.split_once('.').unwrap_or((&name, "")) {
            ("csrf", "") => {}
            ("template", "") => order.template = line,
            ("title", "") => order.title = line,
            ("details", "") => order.details = value.trim_end().to_owned(),
            ("schedule", "") => order.schedule = line,
            ("run_at", "") => order.run_at = line,
            ("tag", "") => order.tag = line,
            ("executor", "") => order.executor = line,
            ("idempotency_key", "") => order.idempotency_key = Some(line),
            ("approvers", "") => order.approvers = split(&line),
            ("place", "") => {
                let (project, environment) = line.split_once('/').unwrap_or((&line, ""));
                order.project = project.to_owned();
                order.environment = environment.to_owned();
            }
            // An empty field means the template's default.
            ("param" | "secret", _) if value.is_empty() => {}
            ("param", parameter) => drop(order.params.insert(parameter.to_owned(), value)),
            ("secret", parameter) => {
                let value = Hidden::from(value);
                order.secrets.insert(parameter.to_owned(), value);
            }
            ("hosts", number) => match number.parse() {
                Ok(number) => hosts.entry(number).or_default().extend(split(&line)),
                Err(_) => return Err(unknown(&name, language)),
            },
            _ => return Err(unknown(&name, language)),
        }
    }
    hosts.retain(|_, hosts| !hosts.is_empty());
    order.hosts = hosts;
    Ok(order)
}

fn unknown(name: &str, language: Language) -> Fault {
    let name: String = name.escape_debug().take(64).collect();
    let said = language.say("submit-unknown-field").with("name", name);
    Fault::Invalid(said.to_string())
}

fn split(text: &str) -> Vec<String> {
    text.split([',', '\n', ' '])
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
