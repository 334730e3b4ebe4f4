//! Keys, and the rows that an event changes in addition to the log: pure.
//!
//! | key | holds |
//! |---|---|
//! | `task/ID/event/N` | an event; N must be absent when it is appended, which orders writers |
//! | `head/ID` | the summary that lists show |
//! | `active/ID` | the task is active |
//! | `by/…`, `text/…`, `index` | for lists and searches: [`search_rows`] |
//! | `open/HASH` | the unfinished task of a repository, ref and object |
//! | `record/ID` | the task that a spool record became |
//! | `push/HASH` | the first task of a project that a push created |
//! | `keyed/HASH` | the task that was submitted under an idempotency key |
//! | `holder/PROJECT/ENVIRONMENT` | the task that holds the queue |
//! | `begun/PROJECT/ENVIRONMENT` | the task whose work started last, and the highest such task |
//! | `live/PROJECT/ENVIRONMENT/HOST` | the release that is live there |
//! | `drift/PROJECT/ENVIRONMENT/HOST` | where `current` was seen to point instead, and since when |
//! | `release/PROJECT/ENVIRONMENT/RELEASE` | commit and digest of a release |
//! | `blob/SHA256/N`, `whole/SHA256` | plans and descriptions |
//! | `template/NAME/DIGEST` | when this version of a template was first used, and its blob |
//! | `disabled/HOST` | a host that is excluded from releases |
//! | `fence` | the highest fence issued |
//! | `lift/PROJECT/ENVIRONMENT/HOST` | by how many milliseconds fences are raised there |
//! | `restored` | the backup that this store was restored from, if any |

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use super::kv::{Commit, CommitError, Key, Range, Require};
use super::rows::{Filter, Head, IdempotencyKey, KEPT_MAX, LiveRecord, ReleaseRecord};
use super::search_rows;
use super::state_detail::StateDetail;
use crate::domain::host::{ReleaseId, TreeDigest};
use crate::domain::plan::Plan;
use crate::domain::rule::TAGS;
use crate::domain::task::{
    Direction, Event, Origin, Outcome, Pause, PushedTag, Recorded, Relation, State, StepRef,
    StepResult, Submission, SwitchReport, Task, TaskWork, join_reason,
};

pub(super) const HEADS: &[u8] = b"head/";
pub(super) const ACTIVE: &[u8] = b"active/";
pub(super) const FENCE: &[u8] = b"fence";
pub(super) const RESTORED: &[u8] = b"restored";
pub(super) const LIVE: &[u8] = b"live/";
pub(super) const DRIFTS: &[u8] = b"drift/";
pub(super) const DISABLED: &[u8] = b"disabled/";
pub(super) const HOOKS: &[u8] = b"hook/";
pub(super) const HOOKED: &[u8] = b"hooked/";
pub(super) const SEEN_TAGS: &str = "tag/";
pub(super) const REPORTED: &str = "brought/";
pub(super) const SCANNED: &str = "looked/";

pub(super) fn head_key(id: u64) -> Key {
    format!("head/{id:016x}").into_bytes()
}

pub(super) fn events_prefix(id: u64) -> Key {
    format!("task/{id:016x}/event/").into_bytes()
}

pub(super) fn event_key(id: u64, number: u64) -> Key {
    format!("task/{id:016x}/event/{number:08x}").into_bytes()
}

fn active_key(id: u64) -> Key {
    format!("active/{id:016x}").into_bytes()
}

pub(super) fn lift_key(project: &str, environment: &str, host: &str) -> Key {
    let mut key = lifts_prefix(project, environment);
    key.extend_from_slice(host.as_bytes());
    key
}

pub(super) fn lifts_prefix(project: &str, environment: &str) -> Key {
    format!("lift/{project}/{environment}/").into_bytes()
}

pub(super) fn holder_key(project: &str, environment: &str) -> Key {
    format!("holder/{project}/{environment}").into_bytes()
}

pub(super) fn is_open_key(key: &[u8]) -> bool {
    key.starts_with(b"open/")
}

pub(super) fn is_holder_key(key: &[u8]) -> bool {
    key.starts_with(b"holder/")
}

/// Whether a conflict on this key concerns the hook log, hook reports, or another agent's scan.
pub(super) fn is_hook_key(key: &[u8]) -> bool {
    let tags = [REPORTED, SEEN_TAGS, SCANNED].map(str::as_bytes);
    let mut kinds = [HOOKS, HOOKED].into_iter().chain(tags);
    kinds.any(|kind| key.starts_with(kind))
}

/// Returns the id of the next entry of the hook log.
pub(super) fn next_hook(newest: Option<&[u8]>) -> u64 {
    newest.and_then(id_of).unwrap_or(0) + 1
}

/// Returns the range of the newest entry of the hook log, from which numbering continues.
pub(super) fn newest_hook() -> Range {
    Range::prefix(HOOKS).descending().limit(1)
}

pub(super) fn begun_key(project: &str, environment: &str) -> Key {
    format!("begun/{project}/{environment}").into_bytes()
}

pub(super) fn live_prefix(project: &str, environment: &str) -> Key {
    format!("live/{project}/{environment}/").into_bytes()
}

pub(super) fn live_key(project: &str, environment: &str, host: &str) -> Key {
    format!("live/{project}/{environment}/{host}").into_bytes()
}

pub(super) fn drift_prefix(project: &str, environment: &str) -> Key {
    format!("drift/{project}/{environment}/").into_bytes()
}

pub(super) fn drift_key(project: &str, environment: &str, host: &str) -> Key {
    format!("drift/{project}/{environment}/{host}").into_bytes()
}

pub(super) fn release_key(project: &str, environment: &str, release: &ReleaseId) -> Key {
    format!("release/{project}/{environment}/{release}").into_bytes()
}

pub(super) fn releases_prefix(project: &str, environment: &str) -> Key {
    format!("release/{project}/{environment}/").into_bytes()
}

pub(super) fn disabled_key(host: &str) -> Key {
    format!("disabled/{host}").into_bytes()
}

pub(super) fn templates_prefix(name: &str) -> Key {
    format!("template/{name}/").into_bytes()
}

pub(super) fn template_key(name: &str, digest: &str) -> Key {
    format!("template/{name}/{digest}").into_bytes()
}

pub(super) fn record_key(record: &str) -> Key {
    format!("record/{record}").into_bytes()
}

/// Hashed, since a push is named by outside input.
pub(super) fn push_key(project: &str, push: &str) -> Key {
    format!("push/{:x}", Sha256::digest(format!("{project}\0{push}"))).into_bytes()
}

/// The task that last began of those of one push, environment and rule; `None` if the submission
/// belongs to no push.
pub(super) fn push_begun_key(submission: &Submission) -> Option<Key> {
    let Origin::Tag(PushedTag {
        rule,
        push: Some(push),
        ..
    }) = &submission.origin
    else {
        return None;
    };
    let (project, environment) = (&submission.project, &submission.environment);
    let of = format!("{project}\0{}\0{environment}\0{rule}", push.id);
    Some(format!("push-begun/{:x}", Sha256::digest(of)).into_bytes())
}

pub(super) fn blob_prefix(digest: &str) -> Key {
    format!("blob/{digest}/").into_bytes()
}

pub(super) fn blob_key(digest: &str, number: usize) -> Key {
    format!("blob/{digest}/{number:06x}").into_bytes()
}

pub(super) fn blob_whole_key(digest: &str) -> Key {
    format!("whole/{digest}").into_bytes()
}

/// Hashed, since names and keys can have any form.
pub(super) fn idempotency_row(idempotency: &IdempotencyKey) -> Key {
    let text = format!("{}\0{}", idempotency.submitter, idempotency.key);
    format!("keyed/{:x}", Sha256::digest(text)).into_bytes()
}

/// Hashed, since refs may be longer than a key. Only tags can be pushed twice.
pub(super) fn open_key(submission: &Submission) -> Option<Key> {
    if !matches!(submission.origin, Origin::Tag(_)) {
        return None;
    }
    let mut hash = Sha256::new();
    for part in [
        &submission.repository,
        &submission.project,
        &submission.reference,
        &submission.object,
    ] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Some(format!("open/{hex}").into_bytes())
}

/// Returns the task id at the end of a key.
pub(super) fn id_of(key: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(key).ok()?;
    u64::from_str_radix(text.rsplit('/').next()?, 16).ok()
}

pub(super) fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

pub(super) fn matches(filter: &Filter, head: &Head) -> bool {
    let is = |filter: &Option<String>, value: &str| {
        filter.as_deref().is_none_or(|filter| filter == value)
    };
    is(&filter.state, head.state.as_str())
        && is(&filter.project, &head.project)
        && is(&filter.environment, &head.environment)
        && filter.tag.as_deref().is_none_or(|tag| {
            let name = head.reference.strip_prefix(TAGS);
            name.is_some_and(|name| name.starts_with(tag))
        })
        && filter.since.is_none_or(|since| head.created_at >= since)
        && filter.until.is_none_or(|until| head.created_at <= until)
}

/// Returns the hosts that a task skipped.
fn without(task: &Task) -> String {
    let skipped = task.work.iter().flat_map(|work| work.skipped.values());
    let words: Vec<String> = skipped
        .map(|skipped| {
            let (name, by, reason) = (&skipped.name, &skipped.by, &skipped.reason);
            format!("without {name}, skipped by {by}: {reason}")
        })
        .collect();
    words.join("; ")
}

/// Returns what was said about the state of a task.
fn said(task: &Task) -> String {
    match &task.state {
        // Shown by the reader's clock, from the task itself.
        State::Scheduled { at } => at.to_string(),
        State::Paused {
            why: Pause::HostFailed { message } | Pause::Unknown { message },
        } => message.clone(),
        State::RollingBack { reason }
        | State::RolledBack { reason }
        | State::Failed { reason }
        | State::Expired { reason } => reason.clone(),
        State::RollbackFailed { reason, back } => join_reason(reason, back),
        State::Succeeded => without(task),
        _ => String::new(),
    }
}

/// Returns the summary of a task.
pub(super) fn head(task: &Task) -> Head {
    let submission = &task.submission;
    let state_detail = StateDetail::of(task);
    let detail = match &state_detail {
        Some(said) => said.message().to_string(),
        None => said(task),
    };
    Head {
        id: task.id,
        state: task.state.name(),
        detail: detail.chars().take(1000).collect(),
        state_detail,
        title: submission.title.clone(),
        template: submission.template.clone(),
        project: submission.project.clone(),
        environment: submission.environment.clone(),
        approvers: submission
            .request()
            .map_or_else(Vec::new, |request| request.approvers.clone()),
        reference: submission.reference.clone(),
        commit: task.commit().map(str::to_owned),
        relations: relations(task),
        emergency: task.approvals.iter().any(|given| given.emergency.is_some()),
        submitter: submission.submitter.name.clone(),
        account: submission.submitter.account.clone(),
        created_at: task.created,
        updated_at: task.updated,
        started_at: task.work.as_ref().map(|work| work.started),
        events: task.events,
    }
}

/// Returns how a waiting task relates to what is live.
fn relations(task: &Task) -> Vec<Relation> {
    let landed = task.landed.as_ref().filter(|_| task.is_compared());
    landed.map_or_else(Vec::new, |landed| landed.compared.relations.clone())
}

pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    assert!(!bytes.is_empty(), "our own types have string keys");
    bytes
}

/// Returns the commit that creates a task with its first events.
pub(super) fn proposal(task: &Task, first: &[Recorded], record: Option<&str>) -> Commit {
    let submission = &task.submission;
    let mut commit = Commit::new()
        .require(head_key(task.id), Require::Absent)
        .put(head_key(task.id), json(&head(task)))
        .put(active_key(task.id), "")
        .and(search_rows::begun(task))
        .put(
            search_rows::text_row(&search_rows::position(task.created, task.id)),
            search_rows::extended("", search_rows::hashes(first), search_rows::words(first)),
        );
    for event in first {
        commit = commit.and(search_rows::happened(task, event));
    }
    for (event, number) in first.iter().zip(0..) {
        commit = commit.put(event_key(task.id, number), json(event));
    }
    if let Some(open) = open_key(submission) {
        commit = commit
            .require(open.clone(), Require::Absent)
            .put(open, task.id.to_string());
    }
    if let Some(record) = record {
        commit = commit
            .require(record_key(record), Require::Absent)
            .put(record_key(record), task.id.to_string());
    }
    commit
}

/// Returns what appending these events changes: the log, the head and the list indexes.
pub(super) fn appended(before: &Task, after: &Task, events: &[Recorded]) -> Commit {
    let submission = &after.submission;
    let mut commit = Commit::new().require(event_key(before.id, before.events), Require::Absent);
    for (event, number) in events.iter().zip(before.events..) {
        commit = commit.put(event_key(before.id, number), json(event));
    }
    commit = commit.put(head_key(after.id), json(&head(after)));
    if before.state.name() != after.state.name() {
        let position = search_rows::position(after.created, after.id);
        commit = commit
            .delete(search_rows::state_row(before.state.name(), &position))
            .put(search_rows::state_row(after.state.name(), &position), "");
    }
    if before.state.is_settled() != after.state.is_settled() {
        commit = if after.state.is_settled() {
            commit.delete(active_key(after.id))
        } else {
            commit.put(active_key(after.id), "")
        };
        if let Some(open) = open_key(submission) {
            commit = if after.state.is_settled() {
                commit.delete(open)
            } else {
                // Another task may have been created from the same push meanwhile.
                commit
                    .require(open.clone(), Require::Absent)
                    .put(open, after.id.to_string())
            };
        }
    }
    if !submission.has_environment() {
        return commit;
    }
    let holder = holder_key(&submission.project, &submission.environment);
    match (before.state.holds_queue(), after.state.holds_queue()) {
        (false, true) => commit
            .require(holder.clone(), Require::Absent)
            .put(holder, after.id.to_string()),
        (true, false) => commit.delete(holder),
        _ => commit,
    }
}

/// Whether [`consequences`] needs the plan for host names.
pub(super) fn names_hosts(events: &[Recorded]) -> bool {
    events.iter().any(|recorded| {
        matches!(
            recorded.event,
            Event::Ended {
                result: StepResult::Published { .. } | StepResult::Staged { drift: Some(_), .. },
                ..
            }
        )
    })
}

/// Whether these events start the task's work.
pub(super) fn starts(events: &[Recorded]) -> bool {
    events
        .iter()
        .any(|recorded| matches!(recorded.event, Event::Started { .. }))
}

/// Returns what one event changes in the live state and the list of releases.
pub(super) fn consequences(after: &Task, recorded: &Recorded, plan: Option<&Plan>) -> Commit {
    match &recorded.event {
        Event::Started { .. } => push_begun_key(&after.submission)
            .map_or_else(Commit::new, |key| {
                Commit::new().put(key, after.id.to_string())
            }),
        Event::Ended {
            result: StepResult::CheckedOut { digest, .. },
            ..
        } => release_made(after, digest, ReleaseHealth::NotYetShown),
        Event::Finished(outcome) => match (&after.work, &after.submission.origin) {
            (None, _) | (_, Origin::Rollback { .. }) => Commit::new(),
            (Some(work), _) => match &work.tree {
                Some(digest) => release_made(after, digest, ReleaseHealth::of(outcome, work)),
                None => Commit::new(),
            },
        },
        Event::Ended {
            at,
            result: StepResult::Published { found, .. },
        } => published(after, *at, plan, (recorded.time, found)),
        Event::Ended {
            at,
            result: StepResult::Staged {
                drift: Some(drift), ..
            },
        } => {
            let submission = &after.submission;
            let (project, environment) = (&submission.project, &submission.environment);
            plan.map_or_else(Commit::new, |plan| {
                let key = drift_key(project, environment, plan.host_name(*at));
                Commit::new().put(key, json(drift))
            })
        }
        _ => Commit::new(),
    }
}

/// Whether a release's task has succeeded, or left it live.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReleaseHealth {
    NotYetShown,
    LeftLive,
    Good,
}

impl ReleaseHealth {
    fn of(outcome: &Outcome, work: &TaskWork) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Good,
            _ if work.is_left_live() => Self::LeftLive,
            _ => Self::NotYetShown,
        }
    }
}

fn release_made(after: &Task, digest: &TreeDigest, health: ReleaseHealth) -> Commit {
    let submission = &after.submission;
    let (Some(work), Some(commit)) = (&after.work, after.commit()) else {
        return Commit::new();
    };
    let record = ReleaseRecord {
        release: work.release.clone(),
        commit: commit.to_owned(),
        digest: digest.clone(),
        task: after.id,
        good: health == ReleaseHealth::Good,
        left_live: health == ReleaseHealth::LeftLive,
    };
    let key = release_key(&submission.project, &submission.environment, &work.release);
    Commit::new().put(key, json(&record))
}

fn published(
    after: &Task,
    at: StepRef,
    plan: Option<&Plan>,
    (time, found): (Timestamp, &SwitchReport),
) -> Commit {
    let submission = &after.submission;
    let (Some(plan), Some(work)) = (plan, &after.work) else {
        return Commit::new();
    };
    let host = plan.host_name(at);
    let release = match at.way {
        Direction::Forward => Some(plan.target_release(host, &work.release)),
        Direction::Back => work.live_before.get(&at.host).and_then(Option::as_ref),
    };
    let Some(release) = release else {
        return Commit::new();
    };
    let live = LiveRecord {
        release: release.clone(),
        task: after.id,
        since: Some(time),
        kept: found.kept.iter().take(KEPT_MAX).cloned().collect(),
    };
    Commit::new().put(
        live_key(&submission.project, &submission.environment, host),
        json(&live),
    )
}

/// Maps a commit's error to a [`StoreError`].
pub(super) fn error(id: u64, error: CommitError) -> StoreError {
    match error {
        CommitError::Conflict { .. } => StoreError::Changed(id),
        CommitError::Unknown(message) => StoreError::Unknown { id, message },
        CommitError::Failed(error) => StoreError::Kv(error),
        CommitError::TooLarge(_) => StoreError::Commit(error),
    }
}

/// Maps the error of a commit that also wrote a hook log entry.
pub(super) fn error_of(id: u64, failed: CommitError) -> StoreError {
    match failed {
        CommitError::Conflict { key } if is_hook_key(&key) => StoreError::HooksChanged,
        failed => error(id, failed),
    }
}
