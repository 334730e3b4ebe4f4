//! The permitted order of a template's steps: no host switches before every host of the task is
//! staged.

use super::{StageHosts, StageTemplate, StepAction, Template};
use crate::domain::document::{Document, DocumentProblem, Path};

/// The position of one of the three release steps.
struct ReleaseStepPosition<'t> {
    stage_index: usize,
    stage: &'t StageTemplate,
    path: Path,
}

/// Returns all problems with the order of the template's steps.
pub(super) fn problems(template: &Template, document: &Document<'_>) -> Vec<DocumentProblem> {
    let mut problems = Vec::new();
    let mut refuse = |path: &Path, message: String| problems.push(document.problem(path, message));
    let checkouts = find(template, &StepAction::Checkout);
    let syncs = find(template, &StepAction::Sync);
    let publishes = find(template, &StepAction::Publish);

    for (found, word) in [
        (&checkouts, "checkout"),
        (&syncs, "sync"),
        (&publishes, "publish"),
    ] {
        for again in found.iter().skip(1) {
            refuse(
                &again.path,
                format!("a template has one `{word}` step at most: take this one out"),
            );
        }
    }
    for (index, stage) in template.stages.iter().enumerate() {
        if stage.batch.is_some() && stage.steps.iter().any(|step| step.host.is_some()) {
            refuse(
                &Path::root().join("stage").join(index).join("batch"),
                "a step with `host` waits for all hosts of its stage, and `batch` holds some back: \
                 move that step to a stage of its own"
                    .to_owned(),
            );
        }
        if stage.hosts == StageHosts::Agent && stage.steps.len() > 1 {
            refuse(
                &Path::root().join("stage").join(index),
                "a checkout happens on the agent and is alone in its stage: move the other \
                 steps to a stage of their own"
                    .to_owned(),
            );
        }
    }
    if let Some(sync) = syncs.first() {
        let ready = checkouts
            .first()
            .is_some_and(|checkout| checkout.stage_index < sync.stage_index);
        if !ready {
            refuse(
                &sync.path,
                "nothing is checked out by now: put a stage with `use = \"checkout\"` before it"
                    .to_owned(),
            );
        }
    }
    if let Some(publish) = publishes.first()
        && let Some(message) = publish_problem(publish, syncs.first())
    {
        refuse(&publish.path, message);
    }
    problems
}

/// Returns the problem with the position of the `publish` step.
fn publish_problem(
    publish: &ReleaseStepPosition<'_>,
    sync: Option<&ReleaseStepPosition<'_>>,
) -> Option<String> {
    let Some(sync) = sync else {
        return Some(
            "no earlier stage syncs files to the hosts: put a stage with `use = \"sync\"` before it"
                .to_owned(),
        );
    };
    let stage = &sync.stage.name;
    if sync.stage_index == publish.stage_index {
        return Some(format!(
            "`publish` can't be in the stage of `sync` ({stage}): a host would switch before \
             every host has the release; move it to a later stage"
        ));
    }
    if sync.stage_index > publish.stage_index {
        return Some(format!(
            "`publish` is before `sync` (stage {stage}): no host may switch before every host \
             has the release; move it to a later stage"
        ));
    }
    if sync.stage.hosts != publish.stage.hosts {
        return Some(format!(
            "`publish` has other hosts than `sync` (stage {stage}): write the same `hosts` in both \
             stages"
        ));
    }
    None
}

fn find<'t>(template: &'t Template, action: &StepAction) -> Vec<ReleaseStepPosition<'t>> {
    let mut found = Vec::new();
    for (stage_index, stage) in template.stages.iter().enumerate() {
        for (step_index, step) in stage.steps.iter().enumerate() {
            if step.action == *action {
                found.push(ReleaseStepPosition {
                    stage_index,
                    stage,
                    path: Path::root()
                        .join("stage")
                        .join(stage_index)
                        .join("steps")
                        .join(step_index),
                });
            }
        }
    }
    found
}
