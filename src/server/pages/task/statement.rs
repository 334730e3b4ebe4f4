//! What a task releases, and in which state it is, in one sentence (pure).

use jiff::Timestamp;

use super::text::{self, Times};
use crate::api::{self, StageView, StepState, TaskView};
use crate::base::language::{Language, Sentence};
use crate::domain::task::{OriginKind, Relation, State, Task};
use crate::store::LiveRelease;

/// What the sentences are made from.
pub(super) struct TaskSentences<'a> {
    pub(super) language: Language,
    pub(super) times: &'a Times,
    pub(super) now: Timestamp,
    pub(super) view: &'a TaskView,
    pub(super) task: &'a Task,
    pub(super) live: &'a [(String, LiveRelease)],
    /// How many hosts take part.
    pub(super) hosts: usize,
    /// Who submitted the live release, if it is one.
    pub(super) live_by: Option<String>,
    /// How many hosts failed, if the page lists why.
    pub(super) failed_hosts: usize,
}

impl TaskSentences<'_> {
    fn say(&self, id: &'static str) -> Sentence {
        self.language.say(id)
    }

    /// Returns what it releases, where, and instead of what: `12 hosts of shop production; replaces
    /// release-1.4.1, live since Tue 14:02 by pat; 7 commits, 23 files`.
    pub(super) fn summary(&self) -> String {
        let clauses = [self.target(), self.replaced(), self.size()];
        self.joined(clauses.into_iter().flatten())
    }

    /// Returns the state of a task that waits after its summary, of any other alone. It begins with a
    /// verb or a number.
    pub(super) fn sentence(&self, waits: bool) -> String {
        let state = self.statement();
        let summary = if waits { self.summary() } else { String::new() };
        self.joined([summary, state].into_iter())
    }

    fn joined(&self, clauses: impl Iterator<Item = String>) -> String {
        let clauses = clauses.filter(|clause| !clause.is_empty());
        let joined = clauses.reduce(|first, second| {
            let both = self.say("task-clauses").with("first", first);
            both.with("second", second).to_string()
        });
        joined.unwrap_or_default()
    }

    fn target(&self) -> Option<String> {
        if self.hosts == 0 || self.view.project.is_empty() {
            return None;
        }
        let text = self.say("task-hosts").with("count", self.hosts);
        Some(text.with("place", self.view.destination()).to_string())
    }

    fn replaced(&self) -> Option<String> {
        if matches!(self.view.origin, OriginKind::Rollback { .. }) {
            return None;
        }
        let live = &self.view.compared.as_ref()?.with.live;
        let text = match live.as_slice() {
            [] => return None,
            [one] => match (one.since, &self.live_by) {
                (Some(since), Some(by)) => {
                    let since = self.times.lately(self.language, since, self.now);
                    let text = self.say("task-replaces-since").with("since", since);
                    text.with("by", by.clone())
                }
                _ => self.say("task-replaces"),
            },
            _ => self.say("task-replaces-several"),
        };
        let names = api::names(self.language, live);
        Some(text.with("release", names).to_string())
    }

    fn size(&self) -> Option<String> {
        let description = self.view.description.as_ref()?;
        let [comparison] = description.comparisons.as_slice() else {
            let several = description.comparisons.len() > 1;
            return several.then(|| self.say("task-hosts-differ").to_string());
        };
        Some(match comparison.relation {
            Relation::Ahead { commits } => {
                let text = self.say("task-size").with("commits", commits);
                text.with("files", comparison.files_changed).to_string()
            }
            _ => text::relation(self.language, comparison).0,
        })
    }

    /// Describes the state; it follows "TAG → PLACE".
    fn statement(&self) -> String {
        let view = self.view;
        let frozen = view.frozen.as_ref();
        let frozen = frozen.is_some_and(|freeze| freeze.overridden_by.is_none());
        let text = match &self.task.state {
            State::Proposed => self.proposed(),
            State::Waiting => {
                let missing = api::missing(self.language, view);
                let what = text::list_in(self.language, &missing);
                self.say("task-waits-for").with("what", what)
            }
            State::Scheduled { .. } | State::Queued if frozen => {
                self.say("task-waits-for-freeze-end")
            }
            State::Scheduled { .. } => match &view.starts_at {
                Some(at) => self.say("task-starts").with("at", self.times.minute(at)),
                None => self.say("task-is-scheduled"),
            },
            State::Queued => self.queued(),
            State::Running => self.running(),
            State::Paused { .. } => {
                let why = view.detail.clone();
                match &view.pause_ends_at {
                    Some(end) => {
                        let text = self.say("task-is-paused-until").with("why", why);
                        text.with("end", self.times.minute(end))
                    }
                    None => self.say("task-is-paused").with("why", why),
                }
            }
            State::Stopping { by } => self.say("task-is-being-stopped").with("by", by.clone()),
            State::Stopped => self.say("task-was-stopped"),
            State::RollingBack { reason } => {
                return self.because(&self.say("task-is-rolling-back"), reason);
            }
            State::RolledBack { .. } => return self.failed(&self.say("task-was-rolled-back")),
            State::RollbackFailed { .. } => {
                return self.failed(&self.say("task-rollback-failed"));
            }
            State::Failed { .. } => return self.failed(&self.say("task-failed")),
            State::Succeeded => self.succeeded(),
            State::Rejected { by, reason } => {
                let text = self.say("task-was-rejected").with("by", by.clone());
                return self.because(&text, reason);
            }
            State::Expired { reason } => return self.because(&self.say("task-expired"), reason),
            State::Withdrawn { by, reason } => {
                let text = self.say("task-was-withdrawn").with("by", by.clone());
                return self.because(&text, reason);
            }
            State::Superseded { by } => self.say("task-was-superseded").with("task", *by),
            State::Observed => self.say("task-was-observed"),
        };
        text.to_string()
    }

    fn because(&self, what: &Sentence, why: &str) -> String {
        if why.is_empty() {
            return what.to_string();
        }
        let text = self.say("with-reason").with("what", what.to_string());
        text.with("why", why.to_owned()).to_string()
    }

    /// Returns why it failed, or on how many hosts if the page lists the reasons.
    fn failed(&self, what: &Sentence) -> String {
        if self.failed_hosts == 0 {
            return self.because(what, &self.view.detail);
        }
        let hosts = self.say("task-errors-on").with("count", self.failed_hosts);
        self.because(what, &hosts.to_string())
    }

    fn proposed(&self) -> Sentence {
        match &self.task.landing_error {
            Some(why) => self.say("task-not-landed").with("why", why.clone()),
            None if self.view.reference.is_empty() => self.say("task-is-planned"),
            None => self.say("task-waits-for-ref"),
        }
    }

    fn queued(&self) -> Sentence {
        let view = self.view;
        if view.project.is_empty() {
            self.say("task-waits-for-slot")
        } else if view.detail.is_empty() {
            self.say("task-is-next").with("place", view.destination())
        } else {
            self.say("task-is-queued").with("why", view.detail.clone())
        }
    }

    fn running(&self) -> Sentence {
        let stages = &self.view.stages;
        let current = stages.iter().enumerate().find_map(|(number, stage)| {
            let through = through(stage);
            (through < stage.hosts.len()).then_some((number, stage, through))
        });
        match current {
            Some((number, stage, through)) => self
                .say("task-is-at-stage")
                .with("number", number + 1)
                .with("stages", stages.len())
                .with("stage", stage.name.clone())
                .with("done", through)
                .with("hosts", stage.hosts.len()),
            None => self.say("task-is-running"),
        }
    }

    fn succeeded(&self) -> Sentence {
        let (view, live) = (self.view, self.live);
        if view.commit.is_none() {
            return self.say("task-succeeded");
        }
        let ours: Vec<String> = live
            .iter()
            .filter(|(_, live)| live.task == Some(view.id) || live.switched_by == view.id)
            .map(|(host, _)| host.clone())
            .collect();
        if ours.is_empty() {
            // The release of a newer task, or an older one that a rollback restored.
            let by = |live: &LiveRelease| live.task.filter(|task| *task > view.id);
            let by = |live: &LiveRelease| by(live).unwrap_or(live.switched_by);
            let newest = live.iter().map(|(_, live)| by(live)).max();
            return match newest {
                Some(newest) => self.say("task-was-replaced").with("task", newest),
                None => self.say("task-was-released"),
            };
        }
        let hosts = text::list_in(self.language, &ours);
        let text = match ours.len() == live.len() {
            true => self.say("task-is-live"),
            false => self
                .say("task-is-live-on-some")
                .with("count", ours.len())
                .with("total", live.len()),
        };
        text.with("hosts", hosts)
    }
}

/// Returns how many hosts are through with a stage.
fn through(stage: &StageView) -> usize {
    let hosts = stage.hosts.iter().filter(|host| {
        host.steps.iter().all(|step| {
            !matches!(
                step.state,
                StepState::Pending | StepState::Held | StepState::Running
            )
        })
    });
    hosts.count()
}
