//! How far a task is: running time, hosts × steps of each stage, and how long its phases took (pure).

use jiff::Timestamp;

use super::text::{self, Times};
use crate::api::{HostView, StageView, StepState, StepView, TaskView};
use crate::base::language::{Language, Sentence};
use crate::domain::plan::AGENT;
use crate::domain::task::Task;

/// In stages with more hosts than this, only some are shown.
const HOSTS_MAX: usize = 40;
/// In stages with more hosts than this, those that are done are folded.
const OPEN_HOSTS_MAX: usize = 5;
/// The width of a phase's bar, in units of its drawing.
const WIDTH: i128 = 1_000;
/// The smallest width that is seen.
const WIDTH_MIN: i128 = 6;

/// How long a task has been running, and how long such tasks take.
pub(super) struct Running {
    pub(super) seconds: u64,
    /// `3:04`.
    pub(super) clock: String,
    /// 0 if it is not known.
    pub(super) usual_seconds: u64,
    pub(super) usual: String,
}

impl Running {
    /// Returns `None` unless it is at work.
    pub(super) fn of(
        language: Language,
        task: &Task,
        usual_ms: Option<u64>,
        now: Timestamp,
    ) -> Option<Self> {
        let work = task.work.as_ref().filter(|_| task.state.holds_queue())?;
        let seconds = now.duration_since(work.started).as_secs();
        let seconds = u64::try_from(seconds).unwrap_or(0);
        let usual = usual_ms.map_or_else(String::new, |usual| {
            let time = text::duration(language, i128::from(usual));
            let text = match usual / 1_000 < seconds {
                true => language.say("task-longer-than-usual"),
                false => language.say("task-usual-time"),
            };
            text.with("time", time).to_string()
        });
        Some(Self {
            seconds,
            clock: text::clock(seconds),
            usual_seconds: usual_ms.map_or(0, |usual| usual.div_ceil(1_000)),
            usual,
        })
    }
}

/// Hosts × steps of one stage.
pub(super) struct StageTable<'a> {
    pub(super) title: String,
    pub(super) summary: String,
    /// Whether a reader needs it now: it has begun and is not done.
    pub(super) open: bool,
    pub(super) steps: Vec<&'a str>,
    pub(super) rows: Vec<HostRow<'a>>,
    /// Hosts that are done, if they are folded.
    pub(super) done: Vec<HostRow<'a>>,
    pub(super) done_words: String,
    /// Says how many hosts are not shown; may be empty.
    pub(super) left_out: String,
}

/// A host of a stage.
pub(super) struct HostRow<'a> {
    pub(super) host: &'a str,
    pub(super) cells: Vec<Cell>,
}

/// One step on one host.
pub(super) struct Cell {
    /// Shown next to the word, never instead of it.
    pub(super) mark: &'static str,
    pub(super) word: String,
    pub(super) tone: &'static str,
    pub(super) notes: String,
    pub(super) begun: bool,
    pub(super) log: String,
}

/// Makes the tables of a task.
pub(super) struct Tables<'a> {
    pub(super) language: Language,
    pub(super) times: &'a Times,
    pub(super) view: &'a TaskView,
}

impl<'a> Tables<'a> {
    fn say(&self, id: &'static str) -> Sentence {
        self.language.say(id)
    }

    /// Returns the forward stages, then the rollback.
    pub(super) fn all(&self) -> Vec<StageTable<'a>> {
        let titled = titled(self.language, self.view);
        titled
            .into_iter()
            .map(|(title, stage)| self.table(title, stage))
            .collect()
    }

    fn table(&self, title: String, stage: &'a StageView) -> StageTable<'a> {
        let count = stage.hosts.len();
        let many = count > HOSTS_MAX;
        let (done, open): (Vec<&HostView>, Vec<&HostView>) =
            stage.hosts.iter().partition(|host| is_done(host));
        let through = done.len();
        let begun = stage.hosts.iter().any(has_begun);
        let (folded, shown) = if count > OPEN_HOSTS_MAX {
            (done, open)
        } else {
            (Vec::new(), stage.hosts.iter().collect())
        };
        let row = |host: &'a HostView| HostRow {
            host: &host.name,
            cells: host.steps.iter().map(|step| self.cell(step)).collect(),
        };
        let rows = shown.into_iter().filter(|host| !many || has_begun(host));
        let rows: Vec<_> = rows.take(HOSTS_MAX).map(row).collect();
        let folded_rows: Vec<_> = folded.iter().copied().take(HOSTS_MAX).map(row).collect();
        let left_out = count - rows.len() - folded_rows.len();
        let left_out = match left_out {
            0 => String::new(),
            more => self.say("task-more-hosts").with("count", more).to_string(),
        };
        let summary = match stage.hosts.as_slice() {
            [only] if only.name == AGENT => self.say("task-on-agent"),
            _ => self
                .say("task-hosts-done")
                .with("done", through)
                .with("count", count),
        };
        StageTable {
            title,
            summary: summary.to_string(),
            open: begun && through < count,
            steps: stage
                .hosts
                .first()
                .map(|host| host.steps.iter().map(|step| step.name.as_str()).collect())
                .unwrap_or_default(),
            rows,
            done_words: self
                .say("task-done-hosts")
                .with("count", folded.len())
                .to_string(),
            done: folded_rows,
            left_out,
        }
    }

    fn cell(&self, step: &StepView) -> Cell {
        let lasted = match (step.started_at, step.ended_at) {
            (Some(from), Some(to)) => text::lasted(self.language, from, to),
            (Some(from), None) => {
                let text = self.say("task-since");
                text.with("time", self.times.second(&from)).to_string()
            }
            _ => String::new(),
        };
        let (mark, word, tone) = match step.state {
            StepState::Pending => ("\u{b7}", self.say("step-pending"), "over"),
            StepState::Running => ("\u{25b6}", self.say("step-running"), "work"),
            StepState::Succeeded => ("\u{2713}", self.say("step-done"), "good"),
            StepState::Failed => ("\u{2717}", self.say("step-failed"), "bad"),
            StepState::Unknown => ("?", self.say("step-unknown"), "warn"),
            StepState::Stopped => ("\u{25a0}", self.say("step-stopped"), "warn"),
            StepState::Held => ("\u{2016}", self.say("step-held"), "asks"),
            StepState::Skipped => ("\u{2013}", self.say("step-skipped"), "over"),
            StepState::Elsewhere => ("\u{2013}", self.say("step-elsewhere"), "over"),
        };
        let code = step.unstated_exit().filter(|code| *code != 0);
        let code = code.map(|code| self.say("step-exit").with("code", code.to_string()));
        let attempt =
            (step.attempt > 1).then(|| self.say("step-attempt").with("number", step.attempt));
        let notes = [code, attempt].into_iter().flatten();
        let notes = std::iter::once(lasted)
            .chain(notes.map(|note| note.to_string()))
            .chain([step.message.clone()]);
        let notes: Vec<String> = notes.filter(|note| !note.is_empty()).collect();
        Cell {
            mark,
            word: word.to_string(),
            tone,
            notes: notes.join(", "),
            begun: step.attempt > 0,
            log: step.log.clone(),
        }
    }
}

fn titled(language: Language, view: &TaskView) -> Vec<(String, &StageView)> {
    let forward = view.stages.iter().enumerate().map(|(number, stage)| {
        let text = language.say("task-stage").with("number", number + 1);
        let text = text.with("name", stage.name.clone());
        (text.to_string(), stage)
    });
    let back = view.rollback_stages.iter().map(|stage| {
        let text = language.say("task-rollback-stage");
        (text.with("name", stage.name.clone()).to_string(), stage)
    });
    forward.chain(back).collect()
}

fn is_done(host: &HostView) -> bool {
    let mut steps = host.steps.iter();
    steps.all(|step| matches!(step.state, StepState::Succeeded | StepState::Elsewhere))
}

fn has_begun(host: &HostView) -> bool {
    host.steps.iter().any(|step| {
        !matches!(
            step.state,
            StepState::Pending | StepState::Held | StepState::Skipped | StepState::Elsewhere
        )
    })
}

/// How long a phase of the work took, and when.
pub(super) struct Phase {
    pub(super) title: String,
    pub(super) took: String,
    pub(super) tone: &'static str,
    /// Where its bar begins, and how wide it is, of [`WIDTH`].
    pub(super) begin: i128,
    pub(super) width: i128,
}

/// Returns the stages that have begun, once nothing more happens.
pub(super) fn phases(language: Language, view: &TaskView) -> Vec<Phase> {
    if !view.at_rest {
        return Vec::new();
    }
    let spans: Vec<_> = titled(language, view)
        .into_iter()
        .filter_map(|(title, stage)| Some((title, stage, span(stage)?)))
        .collect();
    let begin = spans.iter().map(|(.., (from, _))| *from).min();
    let end = spans.iter().map(|(.., (_, to))| *to).max();
    let (Some(begin), Some(end)) = (begin, end) else {
        return Vec::new();
    };
    let whole = end.duration_since(begin).as_millis().max(1);
    let phase = |(title, stage, (from, to)): (String, &StageView, (Timestamp, Timestamp))| {
        let width = to.duration_since(from).as_millis() * WIDTH / whole;
        let width = width.clamp(WIDTH_MIN, WIDTH);
        let from_begin = from.duration_since(begin).as_millis() * WIDTH / whole;
        Phase {
            title,
            took: text::lasted(language, from, to),
            tone: tone(stage),
            begin: from_begin.clamp(0, WIDTH - width),
            width,
        }
    };
    spans.into_iter().map(phase).collect()
}

/// Returns when the first step of a stage began, and when the last one ended.
fn span(stage: &StageView) -> Option<(Timestamp, Timestamp)> {
    let steps = || stage.hosts.iter().flat_map(|host| &host.steps);
    let from = steps().filter_map(|step| step.started_at).min()?;
    let to = steps().filter_map(|step| step.ended_at).max();
    Some((from, to.unwrap_or(from)))
}

fn tone(stage: &StageView) -> &'static str {
    let steps = || stage.hosts.iter().flat_map(|host| &host.steps);
    let any = |state| steps().any(|step| step.state == state);
    if any(StepState::Failed) {
        "bad"
    } else if any(StepState::Unknown) || any(StepState::Stopped) {
        "warn"
    } else {
        "good"
    }
}
