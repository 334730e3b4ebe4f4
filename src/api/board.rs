//! The board: what waits for its reader, what runs, what is live where, and what has ended. Page,
//! command line and other programs read the same one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TaskLine;
use super::comparison::relations;
use super::find::written;
use crate::base::language::Message;
use crate::domain::approval::MissingApproval;
use crate::domain::host::ReleaseId;
use crate::domain::task::{Relation, StateName};
use crate::engine::request::AllowedRequest;

/// The most hosts that the board names for one reason.
pub const BOARD_HOSTS_MAX: usize = 10;

/// `GET /api/v1/status?project=&environment=`: everything, or only what these name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoardQuery {
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

impl BoardQuery {
    /// Whether it covers this project and environment.
    #[must_use]
    pub fn covers(&self, project: &str, environment: &str) -> bool {
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == name)
        };
        is(&self.project, project) && is(&self.environment, environment)
    }
}

/// `GET /api/v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardView {
    /// What the caller can approve or has to decide, oldest first.
    pub for_you: BoardGroup,
    /// Other tasks that wait for people, newest first.
    pub waiting: BoardGroup,
    /// Tasks at work.
    pub running: BoardGroup,
    /// Tasks that start without anyone: proposed, scheduled, queued.
    pub next: BoardGroup,
    pub environments: Vec<BoardEnvironment>,
    /// Of the latest tasks, those that failed.
    pub failed: BoardGroup,
    /// The others of the latest tasks that have ended.
    pub recent: BoardGroup,
    /// How many unfinished tasks were not read, because there are too many.
    pub left_out: u64,
}

/// Tasks of the board with something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardGroup {
    /// How many there are.
    pub total: u64,
    /// The first of them.
    pub tasks: Vec<BoardTask>,
}

/// A task on the board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardTask {
    #[serde(flatten)]
    pub line: TaskLine,
    /// The first line of the commit's message; empty if it is not known.
    pub subject: String,
    /// How its commit relates to what was live before it started, or is live now.
    pub changes: Vec<Relation>,
    pub rollback: bool,
    /// What the caller is asked for: `approve`, or `go` if it is paused.
    pub you_can: Option<AllowedRequest>,
    pub missing: Vec<MissingApproval>,
    /// When it starts, or the earliest time at which it may.
    pub starts_at: Option<Timestamp>,
    /// When the freeze ends that keeps it from starting.
    pub frozen_until: Option<Timestamp>,
    pub progress: Option<BoardProgress>,
}

/// How far the work of a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardProgress {
    /// The stage at work.
    pub stage: String,
    /// Its number, from 1.
    pub number: u64,
    pub stages: u64,
    /// How many of its hosts are done, of how many.
    pub hosts_done: u64,
    pub hosts: u64,
    /// The steps of all stages, on all hosts.
    pub steps_done: u64,
    pub steps: u64,
}

/// One environment of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardEnvironment {
    pub project: String,
    pub environment: String,
    /// How many hosts it has.
    pub hosts: u64,
    /// What is live, on most hosts first; usually one release.
    pub live: Vec<BoardRelease>,
    /// The unfinished task that has started.
    pub running: Option<BoardRef>,
    /// The task that comes next.
    pub next: Option<BoardRef>,
    /// How many tasks have not started, with that one.
    pub waiting: u64,
    /// The task whose work started last.
    pub last: Option<BoardRef>,
    /// Hosts on which `current` points elsewhere, at most ten.
    pub drift: Vec<String>,
    pub drifted: u64,
    /// Hosts that are taken out of releases, at most ten.
    pub disabled: Vec<String>,
    pub disabled_hosts: u64,
    /// When the freeze ends that is in force.
    pub frozen_until: Option<Timestamp>,
}

/// A release that is live in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardRelease {
    pub release: ReleaseId,
    /// `null`, with commit, task and `by`, if tagship did not make it.
    pub tag: Option<String>,
    pub commit: Option<String>,
    pub task: Option<u64>,
    pub by: Option<String>,
    /// The task that rolled back to it, if any.
    pub switched_by: Option<u64>,
    /// When the first of its hosts switched to it.
    pub since: Option<Timestamp>,
    /// On how many hosts.
    pub hosts: u64,
}

impl BoardRelease {
    /// Returns its tag, else the name of its directory.
    #[must_use]
    pub fn called(&self) -> &str {
        let tag = self.tag.as_deref().filter(|tag| !tag.is_empty());
        tag.unwrap_or(&self.release.0)
    }
}

/// A task that an environment mentions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardRef {
    pub task: u64,
    /// Its title, else its tag, else its template.
    pub name: String,
    pub state: StateName,
    pub updated_at: Timestamp,
}

impl BoardView {
    /// Returns how many tasks the caller can approve.
    #[must_use]
    pub fn to_approve(&self) -> usize {
        let asked = self.for_you.tasks.iter();
        asked
            .filter(|task| task.you_can == Some(AllowedRequest::Approve))
            .count()
    }

    /// Returns how many paused tasks wait for the caller's decision.
    #[must_use]
    pub fn to_decide(&self) -> usize {
        self.for_you.tasks.len() - self.to_approve()
    }

    /// Says what waits for the caller: at most two sentences.
    #[must_use]
    pub fn asks(&self) -> Vec<Message> {
        let (approve, decide) = (self.to_approve(), self.to_decide());
        let mut asks = Vec::new();
        if approve > 0 {
            asks.push(Message::new("board-you-can-approve").with("count", approve));
        }
        if decide > 0 {
            asks.push(Message::new("board-you-decide").with("count", decide));
        }
        if asks.is_empty() {
            asks.push(Message::new("board-nothing-for-you"));
        }
        asks
    }
}

impl BoardTask {
    /// Says what it changes: one sentence for each distinct relation to what is live.
    #[must_use]
    pub fn change(&self) -> Vec<Message> {
        relations(&self.changes)
    }

    /// Says which approvals are missing.
    #[must_use]
    pub fn needs(&self) -> Vec<Message> {
        let said = self.missing.iter().map(|missing| {
            let lack = missing.required.saturating_sub(missing.have);
            match &missing.of {
                _ if missing.unknown_pusher => {
                    Message::new("board-needs-for-pusher").with("count", lack)
                }
                Some(of) => Message::new("board-needs-of")
                    .with("count", lack)
                    .with("who", of.clone()),
                None => Message::new("board-needs").with("count", lack),
            }
        });
        said.collect()
    }
}

impl BoardProgress {
    /// `stage 2 of 3, switch: 3 of 10 hosts done`.
    #[must_use]
    pub fn describe(&self) -> Message {
        Message::new("board-progress")
            .with("number", self.number)
            .with("stages", self.stages)
            .with("stage", self.stage.clone())
            .with("done", self.hosts_done)
            .with("hosts", self.hosts)
    }
}

impl BoardEnvironment {
    /// Says what is wrong or unusual there, with the tone of each.
    #[must_use]
    pub fn warnings(&self, show: impl Fn(Timestamp) -> String) -> Vec<Message> {
        let mut said = Vec::new();
        if self.drifted > 0 {
            said.push(
                Message::new("board-drift")
                    .with("count", self.drifted)
                    .with("hosts", self.drift.join(", ")),
            );
        }
        if self.disabled_hosts > 0 {
            said.push(
                Message::new("board-taken-out")
                    .with("count", self.disabled_hosts)
                    .with("hosts", self.disabled.join(", ")),
            );
        }
        if let Some(until) = self.frozen_until {
            said.push(Message::new("board-frozen").with("until", show(until)));
        }
        if self.live.len() > 1 {
            said.push(Message::new("board-several-releases").with("count", self.live.len()));
        }
        said
    }

    /// Returns on how many hosts nothing is live.
    #[must_use]
    pub fn empty_hosts(&self) -> u64 {
        let live: u64 = self.live.iter().map(|release| release.hosts).sum();
        self.hosts.saturating_sub(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(
        required: u32,
        have: u32,
        of: Option<&str>,
        unknown_pusher: bool,
    ) -> MissingApproval {
        MissingApproval {
            required,
            have,
            of: of.map(str::to_owned),
            unknown_pusher,
        }
    }

    fn task(changes: Vec<Relation>, missing: Vec<MissingApproval>) -> BoardTask {
        let head = serde_json::json!({
            "id": 7, "state": "waiting", "project": "shop", "environment": "qa",
            "ref": "refs/tags/qa-7", "tag": "qa-7", "commit": null, "submitter": "bob",
            "created_at": "2026-11-21T15:00:00Z", "updated_at": "2026-11-21T15:00:00Z",
            "events": 3, "subject": "", "changes": changes, "rollback": false, "you_can": null,
            "missing": missing, "starts_at": null, "frozen_until": null, "progress": null,
        });
        serde_json::from_value(head).unwrap_or_else(|error| panic!("{error}"))
    }

    fn said(messages: Vec<Message>) -> Vec<String> {
        messages.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn missing_approvals_name_whose_counts() {
        let task = task(
            Vec::new(),
            vec![
                missing(1, 0, None, false),
                missing(3, 1, Some("@pm"), false),
                missing(1, 0, None, true),
            ],
        );
        assert_eq!(
            said(task.needs()),
            [
                "needs 1 approval",
                "needs 2 approvals of @pm",
                "needs 1 more approval, because no account is known for the pusher",
            ]
        );
    }

    #[test]
    fn changes_name_the_number_of_commits() {
        let relations = vec![
            Relation::Ahead { commits: 3 },
            Relation::Back { commits: 1 },
            Relation::Diverged { ahead: 1, back: 2 },
        ];
        assert_eq!(
            said(task(relations, Vec::new()).change()),
            [
                "adds 3 commits",
                "REMOVES 1 commit",
                "DIVERGED: adds 1, removes 2",
            ]
        );
    }

    #[test]
    fn reader_is_asked_in_words() {
        let mut view = BoardView::default();
        assert_eq!(said(view.asks()), ["Nothing waits for you."]);
        let mut one = task(Vec::new(), Vec::new());
        one.you_can = Some(AllowedRequest::Approve);
        let mut other = one.clone();
        other.you_can = Some(AllowedRequest::Resume);
        view.for_you.tasks = vec![one.clone(), one, other];
        assert_eq!(
            said(view.asks()),
            [
                "You can approve 2.",
                "1 paused task waits for your decision."
            ]
        );
    }

    #[test]
    fn query_covers_what_it_names() {
        let query = BoardQuery {
            project: Some("shop".to_owned()),
            environment: None,
        };
        assert!(query.covers("shop", "qa") && !query.covers("till", "qa"));
        assert!(BoardQuery::default().covers("", ""));
    }
}
