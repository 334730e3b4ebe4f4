//! What went wrong on hosts: equal errors as one, each with the line of the log at which it ended.

use super::super::super::Site;
use super::super::super::fault::Fault;
use super::super::super::output::TaskLogReader;
use super::text;
use crate::api::{LogQuery, StageView, StepState, TaskView};
use crate::base::language::Language;
use crate::domain::task::{StateName, generalize};

/// How many different errors are shown.
const ERRORS_MAX: usize = 5;
/// How much of the end of a step's log is read for its last line, in bytes.
const END_BYTES: u64 = 2_048;
/// The longest line that is quoted, in characters.
const LINE_CHARS_MAX: usize = 300;

/// One error, on one or more hosts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// `web-1, web-2 and web-3`.
    pub(super) hosts: String,
    pub(super) count: usize,
    pub(super) step: String,
    pub(super) message: String,
    /// The first host and its log of the step.
    pub(super) host: String,
    pub(super) log: String,
    /// The last line of that log; empty if the message says it.
    pub(super) line: String,
}

/// The errors of a task.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) shown: Vec<Failure>,
    /// How many errors are not shown.
    pub(super) left_out: usize,
    /// On how many hosts.
    pub(super) hosts: usize,
}

/// A step that failed in the same way on these hosts.
struct SameError<'a> {
    log: &'a str,
    step: &'a str,
    general: String,
    message: &'a str,
    hosts: Vec<String>,
}

impl Failures {
    pub(super) async fn of(
        site: &Site,
        language: Language,
        view: &TaskView,
    ) -> Result<Self, Fault> {
        if view.state == StateName::Succeeded {
            return Ok(Self::default());
        }
        let mut failures = collected(language, view);
        for failure in &mut failures.shown {
            let line = last_line(site, view.id, failure).await;
            let line = line.map_err(|error| Fault::Broken(error.to_string()))?;
            if !failure.message.contains(line.trim()) {
                failure.line = line.chars().take(LINE_CHARS_MAX).collect();
            }
        }
        Ok(failures)
    }
}

/// Returns the errors, those on most hosts first.
fn collected(language: Language, view: &TaskView) -> Failures {
    let mut errors: Vec<SameError<'_>> = Vec::new();
    let mut hosts: Vec<&str> = Vec::new();
    for stage in view.stages.iter().chain(&view.rollback_stages) {
        errors.extend(of_stage(stage, &mut hosts));
    }
    errors.sort_by_key(|error| std::cmp::Reverse(error.hosts.len()));
    let left_out = errors.len().saturating_sub(ERRORS_MAX);
    let shown = errors.into_iter().take(ERRORS_MAX).map(|error| Failure {
        count: error.hosts.len(),
        step: error.step.to_owned(),
        message: match error.hosts.as_slice() {
            [_] => error.message.to_owned(),
            _ => error.general,
        },
        host: error.hosts.first().cloned().unwrap_or_default(),
        hosts: text::list_in(language, &error.hosts),
        log: error.log.to_owned(),
        line: String::new(),
    });
    Failures {
        shown: shown.collect(),
        left_out,
        hosts: hosts.len(),
    }
}

/// Returns the errors of one stage, and adds their hosts to the list.
fn of_stage<'a>(stage: &'a StageView, hosts: &mut Vec<&'a str>) -> Vec<SameError<'a>> {
    let mut errors: Vec<SameError<'a>> = Vec::new();
    for host in &stage.hosts {
        let failed = |state| matches!(state, StepState::Failed | StepState::Unknown);
        for step in host.steps.iter().filter(|step| failed(step.state)) {
            if !hosts.contains(&host.name.as_str()) {
                hosts.push(&host.name);
            }
            let general = generalize(&host.name, &step.message);
            let same = errors
                .iter_mut()
                .find(|error| error.log == step.log && error.general == general);
            match same {
                Some(error) => error.hosts.push(host.name.clone()),
                None => errors.push(SameError {
                    log: &step.log,
                    step: &step.name,
                    general,
                    message: &step.message,
                    hosts: vec![host.name.clone()],
                }),
            }
        }
    }
    errors
}

/// Returns the last line of a failed step's log that is not empty.
async fn last_line(site: &Site, id: u64, failure: &Failure) -> std::io::Result<String> {
    let query = LogQuery {
        host: Some(failure.host.clone()),
        step: Some(failure.log.clone()),
        // Lines of one step do not name it then, however often it was tried.
        follow: true,
    };
    let mut reader = TaskLogReader::new(site.web.logs.clone(), id, &query);
    reader.only_the_end(END_BYTES).await?;
    let mut text = String::new();
    while let Some(more) = reader.next().await? {
        text.push_str(&more);
    }
    text.push_str(&reader.rest());
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    Ok(last.unwrap_or_default().to_owned())
}
