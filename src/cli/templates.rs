//! `tagship templates`: lists and shows the agent's templates; validates local files.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::arguments::{OutputForm, TemplatesCommand};
use super::client::ApiRequest;
use super::context::CliContext;
use super::error::CommandError;
use super::screen;
use super::table::{Table, printable};
use crate::api::{TemplateList, TemplateView};
use crate::config::{Config, Templates};
use crate::domain::template::{Gate, Param, ParamKind};

/// `tagship templates …`.
pub(crate) async fn templates(
    ctx: &CliContext,
    args: &TemplatesCommand,
) -> Result<(), CommandError> {
    match args {
        TemplatesCommand::List { form } => list(ctx, *form).await,
        TemplatesCommand::Show { name, form } => show(ctx, name, *form).await,
        TemplatesCommand::Validate { file, form } => validate(ctx, file.as_deref(), *form),
    }
}

async fn list(ctx: &CliContext, form: OutputForm) -> Result<(), CommandError> {
    let ask = ApiRequest::get(["templates"]);
    let Some((list, _)) = ctx.answer::<TemplateList>(&ask, form).await? else {
        return Ok(());
    };
    let mut table = Table::new(["NAME", "ID", "STAGES", "PARAMETERS", "FILE"]);
    for template in list.templates {
        let stages: Vec<String> = template
            .stages
            .into_iter()
            .map(|stage| stage.name)
            .collect();
        let params: Vec<String> = template
            .params
            .into_iter()
            .map(|param| param.name)
            .collect();
        table.row([
            template.name,
            template.id.map(|id| id.to_string()).unwrap_or_default(),
            stages.join(", "),
            params.join(", "),
            template.file,
        ]);
    }
    screen::print(&table.render(screen::width()))?;
    for problem in list.problems {
        screen::note(&printable(&problem));
    }
    Ok(())
}

async fn show(ctx: &CliContext, name: &str, form: OutputForm) -> Result<(), CommandError> {
    let ask = ApiRequest::get(["templates", name]);
    let Some((view, zone)) = ctx.answer::<TemplateView>(&ask, form).await? else {
        return Ok(());
    };
    let mut text = format!("{} ({})\n", view.line.name, printable(&view.line.file));
    for stage in &view.line.stages {
        let gate = match stage.gate {
            Gate::None => "",
            Gate::Hand => ", manual gate",
            Gate::Timed => ", timed gate",
        };
        // Writing to a String never fails.
        let _ = writeln!(
            text,
            "  {} on {}{gate}: {}",
            stage.name,
            stage.hosts,
            stage.steps.join(", ")
        );
        if !stage.outputs.is_empty() {
            let outputs: Vec<String> = stage.outputs.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "    outputs {}", outputs.join(", "));
        }
    }
    for param in &view.line.params {
        let _ = writeln!(text, "  {}", printable(&parameter(param)));
    }
    for version in &view.versions {
        let now = if version.digest == view.line.digest {
            ", current"
        } else {
            ""
        };
        let since = zone.show(version.first_used);
        let _ = writeln!(text, "  version {} since {since}{now}", version.digest);
    }
    screen::print(&text)
}

/// `SIZE (size): one of small, large; default: small`.
fn parameter(param: &Param) -> String {
    let mut text = param.name.clone();
    if let Some(alias) = &param.alias {
        let _ = write!(text, " ({alias})");
    }
    let kind = match param.kind {
        ParamKind::Text => "text".to_owned(),
        ParamKind::Choice => format!("one of {}", param.choices.join(", ")),
        ParamKind::Tag => "the name of a tag".to_owned(),
        ParamKind::Secret => "a secret".to_owned(),
    };
    let _ = write!(text, ": {kind}");
    if let Some(pattern) = &param.pattern {
        let _ = write!(text, " like {pattern}");
    }
    match &param.default {
        _ if param.required => text.push_str("; required"),
        Some(default) if !default.is_empty() => {
            let _ = write!(text, "; default: {default}");
        }
        _ => text.push_str("; optional"),
    }
    text
}

/// The JSON output.
#[derive(Debug, Serialize)]
struct TemplateProblems {
    good: Vec<String>,
    problems: Vec<String>,
}

/// Validates one file, or all configured ones; if there is a configuration, reports what it lacks
/// for them.
fn validate(ctx: &CliContext, file: Option<&Path>, form: OutputForm) -> Result<(), CommandError> {
    let config = match file {
        Some(_) if !ctx.names_config() => ctx.config().ok(),
        _ => Some(ctx.config()?),
    };
    let library = match (file, &config) {
        (Some(file), _) => Templates::of_file(file),
        (None, Some(config)) => Templates::load(&config.agent.templates_dir),
        (None, None) => Templates::default(),
    };
    let found = found(&library, config.as_ref());
    if form.json {
        screen::print_json(&found)?;
    } else {
        let good = found.good.iter().map(|name| format!("{name}: good\n"));
        screen::print(&good.collect::<String>())?;
    }
    if found.problems.is_empty() {
        return Ok(());
    }
    Err(CommandError::Templates(found.problems))
}

fn found(library: &Templates, config: Option<&Config>) -> TemplateProblems {
    let mut problems: Vec<String> = library.problems().iter().map(ToString::to_string).collect();
    let mut good = Vec::new();
    for template in library.templates() {
        let misfits = config.map(|config| library.mismatches_of(template, config));
        match misfits.unwrap_or_default() {
            misfits if misfits.is_empty() => good.push(template.name.clone()),
            misfits => problems.extend(misfits.iter().map(ToString::to_string)),
        }
    }
    TemplateProblems { good, problems }
}
