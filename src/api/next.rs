//! What a user can do about a task, for page and command line alike. Pure: every command it names
//! is a request that the caller may make ([`TaskView::may`]).

use super::task::TaskView;
use super::waiting::waits_for;
use crate::domain::task::{OriginKind, QueuePhase, StateName};
use crate::engine::request::AllowedRequest;

/// Whether a freeze keeps it from running.
fn frozen(task: &TaskView) -> bool {
    let frozen = task.frozen.as_ref();
    frozen.is_some_and(|frozen| frozen.overridden_by.is_none())
}

/// Returns a line on what can be done about a task. The caller may run every command in it now.
#[must_use]
pub fn next(task: &TaskView) -> String {
    let offer = TaskOffer { task };
    let parts = match task.state.phase() {
        QueuePhase::Before => offer.before_it_runs(),
        QueuePhase::Holding => offer.while_it_runs(),
        QueuePhase::Settled => offer.ended(),
    };
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join("; ")
}

/// What may be suggested for a task, each only if permitted.
struct TaskOffer<'t> {
    task: &'t TaskView,
}

type AdviceText = Option<String>;

fn sentence(words: &str) -> AdviceText {
    Some(words.to_owned())
}

impl TaskOffer<'_> {
    fn command(&self, what: AllowedRequest, words: &str, command: &str) -> AdviceText {
        let may = self.task.may.contains(&what);
        may.then(|| format!("{words} `tagship {command}`"))
    }

    fn offer(&self, what: AllowedRequest, words: &str) -> AdviceText {
        let TaskView {
            id,
            project,
            environment,
            ..
        } = self.task;
        self.command(what, words, &what.command(*id, project, environment))
    }

    fn retry(&self, words: &str) -> AdviceText {
        self.offer(AllowedRequest::Retry, words)
    }

    fn stop(&self) -> AdviceText {
        self.offer(AllowedRequest::Stop, "stop it with")
    }

    fn override_freeze(&self) -> AdviceText {
        self.offer(AllowedRequest::OverrideFreeze, "override the freeze with")
    }

    fn roll_back(&self) -> AdviceText {
        let words = "roll back to the release before the live one with";
        self.offer(AllowedRequest::RollbackBefore, words)
    }

    fn before_it_runs(&self) -> Vec<AdviceText> {
        let task = self.task;
        let withdraw = self.offer(AllowedRequest::Withdraw, "withdraw it with");
        match task.state {
            StateName::Proposed if task.reference.is_empty() => {
                vec![sentence("the agent is planning it; no action is needed")]
            }
            StateName::Proposed => vec![sentence(
                "the agent waits for the ref to land; no action is needed",
            )],
            StateName::Waiting => {
                let approve = self.offer(AllowedRequest::Approve, "approve with");
                let reject = self.offer(AllowedRequest::Reject, "reject with");
                vec![Some(match (approve, reject) {
                    (Some(approve), Some(reject)) => format!("{approve}, or {reject}"),
                    (Some(approve), None) => approve,
                    (None, _) => waits_for(task),
                })]
            }
            _ if frozen(task) => vec![
                sentence("it starts automatically when the freeze ends"),
                self.override_freeze(),
                withdraw,
            ],
            StateName::Scheduled => vec![sentence("it starts automatically"), withdraw],
            _ => vec![
                Some(match task.project.as_str() {
                    "" => "it starts when a task slot is free".to_owned(),
                    project => format!("it starts when {project} {} is free", task.environment),
                }),
                withdraw,
            ],
        }
    }

    fn while_it_runs(&self) -> Vec<AdviceText> {
        let id = self.task.id;
        let failed = self.task.may.contains(&AllowedRequest::Retry);
        match self.task.state {
            StateName::Stopping => vec![Some(format!(
                "running steps are being stopped; follow with `tagship log {id} -f`"
            ))],
            StateName::Paused if frozen(self.task) => vec![
                sentence("it can be resumed when the freeze is over"),
                self.override_freeze(),
                self.stop(),
            ],
            StateName::Paused => {
                let resume = self.offer(AllowedRequest::Resume, "resume it with");
                let look = format!("see `tagship log {id}`, fix the cause, then");
                vec![
                    resume.map(|resume| resume + " (one host at a gate: --host NAME)"),
                    self.retry(&look).filter(|_| failed),
                    self.offer(AllowedRequest::Skip, "skip a host with")
                        .filter(|_| failed),
                    self.stop(),
                ]
            }
            _ => vec![
                Some(format!("follow it with `tagship log {id} -f`")),
                self.stop(),
            ],
        }
    }

    /// Suggests to inspect the failure, and to retry if that is permitted and may help.
    fn fix_cause(&self) -> AdviceText {
        let look = format!("see `tagship log {}`", self.task.id);
        let new_request = self.new_request();
        let is_rollback = matches!(self.task.origin, OriginKind::Rollback { .. });
        Some(match self.retry("fix the cause, then") {
            Some(retry) => format!("{look}, {retry} or {new_request}"),
            None if is_rollback => format!("{look}, then {new_request}"),
            None => format!("{look}, fix the cause, then {new_request}"),
        })
    }

    /// Describes how to submit the same as another task.
    fn new_request(&self) -> String {
        let request = match (&self.task.origin, self.task.reference.as_str()) {
            (OriginKind::Rollback { to: Some(to), .. }, _) => {
                let command = format!("rollback {to}");
                let again = self.command(
                    AllowedRequest::RollbackBefore,
                    "ask for it again with",
                    &command,
                );
                return again.unwrap_or_else(|| "ask for it again".to_owned());
            }
            (OriginKind::Rollback { to: None, .. }, _) => "ask for it again",
            (_, "") => "submit it again",
            _ => "push a new tag",
        };
        request.to_owned()
    }

    fn ended(&self) -> Vec<AdviceText> {
        let new_request = Some(self.new_request());
        match self.task.state {
            StateName::Stopped => {
                let ways = [self.retry("retry it with"), self.roll_back()];
                let ways: Vec<String> = ways.into_iter().flatten().collect();
                vec![if ways.is_empty() {
                    new_request
                } else {
                    Some(ways.join(", or "))
                }]
            }
            StateName::Failed | StateName::RolledBack => vec![self.fix_cause()],
            StateName::RollbackFailed => {
                vec![self.fix_cause(), self.override_freeze(), self.roll_back()]
            }
            StateName::Succeeded => vec![
                sentence("no action is needed"),
                self.offer(AllowedRequest::Rollback, "roll back to it later with"),
            ],
            StateName::Withdrawn | StateName::Superseded | StateName::Expired => {
                let landed = self.task.commit.is_some() || self.task.reference.is_empty();
                let retry = match self.task.state {
                    StateName::Expired if !landed => {
                        self.retry("fix the cause, then retry it with")
                    }
                    _ => self.retry("retry it with"),
                };
                vec![Some(match retry {
                    Some(retry) => format!("{retry}, or {}", self.new_request()),
                    None => self.new_request(),
                })]
            }
            StateName::Observed => vec![sentence("nothing was released: its rule only observes")],
            _ => vec![new_request],
        }
    }
}
