//! What a user can do about a task, for page and command line alike. Pure: every command it names
//! is a request that the caller may make ([`TaskView::may`]).

use super::waits::waits_for;
use super::{May, TaskView};

/// Whether a freeze keeps it from running.
fn frozen(task: &TaskView) -> bool {
    let frozen = task.frozen.as_ref();
    frozen.is_some_and(|frozen| frozen.overridden_by.is_none())
}

/// Returns a line on what can be done about a task. The caller may run every command in it now.
#[must_use]
pub fn next(task: &TaskView) -> String {
    let offer = TaskOffer { task };
    let parts = match task.state.as_str() {
        "proposed" | "waiting" | "scheduled" | "queued" => offer.before_it_runs(),
        "running" | "rolling-back" | "paused" | "stopping" => offer.while_it_runs(),
        _ => offer.at_rest(),
    };
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join("; ")
}

/// What may be suggested for a task, each only if permitted.
struct TaskOffer<'t> {
    task: &'t TaskView,
}

type Sentence = Option<String>;

fn say(words: &str) -> Sentence {
    Some(words.to_owned())
}

impl TaskOffer<'_> {
    fn command(&self, what: May, words: &str, command: &str) -> Sentence {
        let may = self.task.may.contains(&what);
        may.then(|| format!("{words} `tagship {command}`"))
    }

    /// Returns `verb ID`, with what follows.
    fn verb(&self, what: May, words: &str, verb: &str, rest: &str) -> Sentence {
        self.command(what, words, &format!("{verb} {}{rest}", self.task.id))
    }

    fn retry(&self, words: &str) -> Sentence {
        self.verb(May::Retry, words, "retry", "")
    }

    fn stop(&self) -> Sentence {
        self.verb(May::Stop, "end it with", "stop", "")
    }

    fn thaw(&self) -> Sentence {
        let rest = " --override-freeze REASON";
        self.verb(May::OverrideFreeze, "let it run before with", "go", rest)
    }

    fn go_back(&self) -> Sentence {
        let (project, environment) = (&self.task.project, &self.task.environment);
        let command = format!("rollback --project {project} --environment {environment}");
        let words = "go back to the release before the live one with";
        self.command(May::RollbackBefore, words, &command)
    }

    fn before_it_runs(&self) -> Vec<Sentence> {
        let task = self.task;
        let withdraw = self.verb(May::Withdraw, "take it back with", "withdraw", "");
        match task.state.as_str() {
            "proposed" if task.reference.is_empty() => {
                vec![say("the agent makes its plan; nothing to do")]
            }
            "proposed" => vec![say(
                "the agent looks whether the ref has landed; nothing to do",
            )],
            "waiting" => {
                let approve = self.verb(May::Approve, "approve with", "approve", "");
                let reject = self.verb(May::Reject, "refuse with", "reject", " --reason …");
                vec![Some(match (approve, reject) {
                    (Some(approve), Some(reject)) => format!("{approve}, or {reject}"),
                    (Some(approve), None) => approve,
                    (None, _) => waits_for(task),
                })]
            }
            _ if frozen(task) => vec![
                say("it runs by itself when the freeze is over"),
                self.thaw(),
                withdraw,
            ],
            "scheduled" => vec![say("it runs by itself"), withdraw],
            _ => vec![
                Some(match task.project.as_str() {
                    "" => "it runs when there is room for it".to_owned(),
                    project => format!("it runs when {project} {} is free", task.environment),
                }),
                withdraw,
            ],
        }
    }

    fn while_it_runs(&self) -> Vec<Sentence> {
        let id = self.task.id;
        let failed = self.task.may.contains(&May::Retry);
        match self.task.state.as_str() {
            "stopping" => vec![Some(format!(
                "what runs is being ended; follow with `tagship log {id} -f`"
            ))],
            "paused" if frozen(self.task) => vec![
                say("it can go on when the freeze is over"),
                self.thaw(),
                self.stop(),
            ],
            "paused" => {
                let go = self.verb(May::Go, "let it go on with", "go", "");
                let rest = " --host NAME --reason …";
                let look = format!("look at `tagship log {id}`, mend what failed, then");
                vec![
                    go.map(|go| go + " (one host that is held: --host NAME)"),
                    self.retry(&look).filter(|_| failed),
                    self.verb(May::Skip, "go on without a host with", "skip", rest)
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

    /// Suggests to inspect the failure, and to retry if that is permitted.
    fn mend(&self) -> Sentence {
        let look = format!("look at `tagship log {}`", self.task.id);
        let afresh = self.afresh();
        Some(match self.retry("mend what failed, then") {
            Some(retry) => format!("{look}, {retry} or {afresh}"),
            None => format!("{look}, mend what failed, then {afresh}"),
        })
    }

    /// Describes how to submit the same as another task.
    fn afresh(&self) -> &'static str {
        match self.task.reference.as_str() {
            "" => "submit one like it",
            _ => "push a new tag",
        }
    }

    fn at_rest(&self) -> Vec<Sentence> {
        let afresh = say(self.afresh());
        match self.task.state.as_str() {
            "stopped" => {
                let ways = [self.retry("finish it with"), self.go_back()];
                let ways: Vec<String> = ways.into_iter().flatten().collect();
                vec![if ways.is_empty() {
                    afresh
                } else {
                    Some(ways.join(", or "))
                }]
            }
            "failed" | "rolled-back" => vec![self.mend()],
            "rollback-failed" => vec![self.mend(), self.thaw(), self.go_back()],
            "succeeded" => vec![
                say("nothing to do"),
                self.verb(May::Rollback, "come back to it later with", "rollback", ""),
            ],
            "withdrawn" | "superseded" | "expired" => {
                let retry = self.retry("take it up again with");
                vec![Some(match retry {
                    Some(retry) => format!("{retry}, or {}", self.afresh()),
                    None => self.afresh().to_owned(),
                })]
            }
            "observed" => vec![say("nothing was done: its rule only observes")],
            _ => vec![afresh],
        }
    }
}
