//! Live releases by host, the list of releases, disabled hosts, and fences.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kv::{self, Commit, Range, Require, Revision, Watch};
use super::rows::{KEPT_MAX, LiveRecord, ReleaseRecord};
use super::{Filter, Head, Store, StoreError, index};
use crate::domain::host::{Drift, HostState, ReleaseId};
use crate::domain::task::{Schedule, State, Task};

/// How many releases of an environment are read when old ones are deleted.
pub const RELEASES_MAX: usize = 200;

/// How many older tasks are read to find what a queued one waits for.
const LANDING_MAX: usize = 20;

/// What is live on one host, with the task that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRelease {
    pub release: ReleaseId,
    /// The task that made the release; `None` if tagship did not make it.
    pub task: Option<u64>,
    /// `None` if tagship did not make the release.
    pub commit: Option<String>,
    /// The task that switched it: the one that made the release, or one that rolled back to it.
    pub switched_by: u64,
    pub since: Option<Timestamp>,
    pub kept: Vec<ReleaseId>,
    /// Set if `current` points elsewhere.
    pub drift: Option<Drift>,
}

/// A host that is excluded from releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
}

/// The tasks whose work has started in an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunWork {
    /// The task that started last; with a queue that is not always the highest.
    pub last: u64,
    pub highest: u64,
}

impl BegunWork {
    /// Returns the task whose work an attempt of this one would undo: any that started after it,
    /// or, if it has not started itself, any newer one.
    #[must_use]
    pub fn since(&self, task: &Task) -> Option<u64> {
        if task.work.is_some() {
            (self.last != task.id).then_some(self.last)
        } else {
            (self.highest > task.id).then_some(self.highest)
        }
    }
}

fn kept(state: &HostState) -> Vec<ReleaseId> {
    state.all_releases().take(KEPT_MAX).cloned().collect()
}

impl LiveRecord {
    /// Whether nothing was switched since `known` was read.
    fn is_known_as(&self, known: &LiveRelease) -> bool {
        (&self.release, self.task, self.since) == (&known.release, known.switched_by, known.since)
    }

    /// Whether an observed drift is from this release: a switch since then has ended it.
    fn is_left_by(&self, drift: &Drift) -> bool {
        drift.from == self.release && self.since.is_none_or(|since| drift.since >= since)
    }
}

impl Store {
    /// Returns by how many milliseconds fences are raised on an environment's hosts, by host name.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn fence_lifts(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        let prefix = index::lifts_prefix(project, environment);
        let rows = kv::all_rows(self.kv.as_ref(), &prefix).await?;
        let lift = |row: &kv::Row| {
            let host = String::from_utf8_lossy(row.key.get(prefix.len()..)?).into_owned();
            Some((host, index::number(&row.value)?))
        };
        Ok(rows.iter().filter_map(lift).collect())
    }

    /// Returns what is live on the hosts of an environment, by host name.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn live(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<BTreeMap<String, LiveRelease>, StoreError> {
        let prefix = index::live_prefix(project, environment);
        let mut drifts = self.drifts(project, environment).await?;
        let mut records: BTreeMap<ReleaseId, Option<ReleaseRecord>> = BTreeMap::new();
        let mut hosts = BTreeMap::new();
        for row in kv::all_rows(self.kv.as_ref(), &prefix).await? {
            let host = String::from_utf8_lossy(&row.key[prefix.len()..]).into_owned();
            let Ok(live) = serde_json::from_slice::<LiveRecord>(&row.value) else {
                continue;
            };
            if !records.contains_key(&live.release) {
                let record = self.release(project, environment, &live.release).await?;
                records.insert(live.release.clone(), record);
            }
            let record = records.get(&live.release).and_then(Option::as_ref);
            let live = LiveRelease {
                task: record.map(|record| record.task),
                commit: record.map(|record| record.commit.clone()),
                drift: drifts.remove(&host).filter(|drift| live.is_left_by(drift)),
                release: live.release,
                switched_by: live.task,
                since: live.since,
                kept: live.kept,
            };
            hosts.insert(host, live);
        }
        Ok(hosts)
    }

    /// Returns the projects and environments in which something was switched.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn live_environments(&self) -> Result<BTreeSet<(String, String)>, StoreError> {
        let rows = kv::all_rows(self.kv.as_ref(), index::LIVE).await?;
        let environments = rows.iter().filter_map(|row| {
            let key = std::str::from_utf8(&row.key[index::LIVE.len()..]).ok()?;
            let mut parts = key.split('/').map(str::to_owned);
            Some((parts.next()?, parts.next()?))
        });
        Ok(environments.collect())
    }

    /// Watches what changes about hosts without a task: observed drift, and which are disabled.
    #[must_use]
    pub fn watch_hosts(&self, after: Revision) -> [Watch; 2] {
        [index::DRIFTS, index::DISABLED].map(|prefix| self.kv.watch(prefix, after))
    }

    /// Returns what is live on one host of an environment.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn live_on(
        &self,
        project: &str,
        environment: &str,
        host: &str,
    ) -> Result<Option<LiveRecord>, StoreError> {
        let key = index::live_key(project, environment, host);
        self.value(&key).await
    }

    /// Returns where `current` was seen to point elsewhere than the switched release, by host;
    /// including drift that has been repaired since.
    async fn drifts(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<BTreeMap<String, Drift>, StoreError> {
        let prefix = index::drift_prefix(project, environment);
        let rows = kv::all_rows(self.kv.as_ref(), &prefix).await?;
        let known = rows.into_iter().filter_map(|row| {
            let host = String::from_utf8_lossy(&row.key[prefix.len()..]).into_owned();
            Some((host, serde_json::from_slice(&row.value).ok()?))
        });
        Ok(known.collect())
    }

    /// Returns the drift if `current` of a host points there now, and since when it is known.
    /// `None` if there is no drift, or nothing was switched yet.
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn drift_of(
        &self,
        (project, environment, host): (&str, &str, &str),
        state: &HostState,
        now: Timestamp,
    ) -> Result<Option<Drift>, StoreError> {
        let Some(live) = self.live_on(project, environment, host).await? else {
            return Ok(None);
        };
        let key = index::drift_key(project, environment, host);
        let known: Option<Drift> = self.value(&key).await?;
        let known = known.filter(|known| live.is_left_by(known));
        let (release, since) = (&live.release, live.since);
        Ok(Drift::detect(release, since, known.as_ref(), state, now))
    }

    /// Records which releases are complete on a host.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn keeps(
        &self,
        (project, environment, host): (&str, &str, &str),
        state: &HostState,
    ) -> Result<(), StoreError> {
        let key = index::live_key(project, environment, host);
        let Some(entry) = self.kv.get(&key).await? else {
            return Ok(());
        };
        let Ok(mut live) = serde_json::from_slice::<LiveRecord>(&entry.value) else {
            return Ok(());
        };
        live.kept = kept(state);
        let commit = Commit::new()
            .require(key.clone(), Require::Version(entry.version))
            .put(key, index::json(&live));
        match self.kv.commit(commit).await {
            Ok(_) | Err(kv::CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(index::error(0, error)),
        }
    }

    /// Records what was seen on a host outside a task, after `known` was read. Ignored if a task is
    /// running there, or has switched since: its data is newer.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn note_host_state(
        &self,
        (project, environment, host): (&str, &str, &str),
        known: &LiveRelease,
        state: &HostState,
        now: Timestamp,
    ) -> Result<Option<Drift>, StoreError> {
        let of_host = (project, environment, host);
        let key = index::live_key(project, environment, host);
        let Some(entry) = self.kv.get(&key).await? else {
            return Ok(None);
        };
        let Ok(before) = serde_json::from_slice::<LiveRecord>(&entry.value) else {
            return Ok(None);
        };
        if !before.is_known_as(known) {
            return Ok(None);
        }
        let drift = self.drift_of(of_host, state, now).await?;
        let drifted = index::drift_key(project, environment, host);
        let known = self.kv.get(&drifted).await?.map(|entry| entry.value);
        let live = LiveRecord {
            kept: kept(state),
            ..before.clone()
        };
        if live == before && known == drift.as_ref().map(index::json) {
            return Ok(drift);
        }
        let commit = Commit::new()
            .require(index::holder_key(project, environment), Require::Absent)
            .require(key.clone(), Require::Version(entry.version))
            .put(key, index::json(&live));
        let commit = match &drift {
            Some(drift) => commit.put(drifted, index::json(drift)),
            None => commit.delete(drifted),
        };
        match self.kv.commit(commit).await {
            Ok(_) => Ok(drift),
            Err(kv::CommitError::Conflict { .. }) => Ok(None),
            Err(error) => Err(index::error(0, error)),
        }
    }

    /// Returns the latest releases of an environment, newest first, at most [`RELEASES_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn releases(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<Vec<ReleaseRecord>, StoreError> {
        let prefix = index::releases_prefix(project, environment);
        let range = Range::prefix(prefix).descending().limit(RELEASES_MAX);
        let page = self.kv.range(range).await?;
        Ok(page
            .rows
            .iter()
            .filter_map(|row| serde_json::from_slice(&row.value).ok())
            .collect())
    }

    /// Returns the newest release of an environment.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn newest_release(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<Option<ReleaseId>, StoreError> {
        let prefix = index::releases_prefix(project, environment);
        let range = Range::prefix(prefix.clone()).descending().limit(1);
        let page = self.kv.range(range).await?;
        Ok(page
            .rows
            .first()
            .and_then(|row| String::from_utf8(row.key[prefix.len()..].to_vec()).ok())
            .map(ReleaseId))
    }

    /// Disables or enables a host for all releases. `also` is part of the same commit.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn set_host_disabled(
        &self,
        host: &str,
        disabled: Option<&Disabled>,
        also: Commit,
    ) -> Result<(), StoreError> {
        let key = index::disabled_key(host);
        let commit = match disabled {
            Some(disabled) => Commit::new().put(key, index::json(disabled)),
            None => Commit::new().delete(key),
        };
        self.kv
            .commit(commit.and(also))
            .await
            .map_err(|error| index::error(0, error))?;
        Ok(())
    }

    /// Returns the disabled hosts, with the reason.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn disabled(&self) -> Result<BTreeMap<String, Disabled>, StoreError> {
        let rows = kv::all_rows(self.kv.as_ref(), index::DISABLED).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let host = String::from_utf8(row.key[index::DISABLED.len()..].to_vec()).ok()?;
                Some((host, serde_json::from_slice(&row.value).ok()?))
            })
            .collect())
    }

    /// Returns the names of the disabled hosts.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn disabled_hosts(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.disabled().await?.into_keys().collect())
    }

    /// Returns the record of a release.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn release(
        &self,
        project: &str,
        environment: &str,
        release: &ReleaseId,
    ) -> Result<Option<ReleaseRecord>, StoreError> {
        let key = index::release_key(project, environment, release);
        self.value(&key).await
    }

    /// Returns the tasks whose work has started in an environment.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn begun(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<Option<BegunWork>, StoreError> {
        self.value(&index::begun_key(project, environment)).await
    }

    /// Returns the task whose work an attempt of this one would undo, if any.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn ran_since(&self, task: &Task) -> Result<Option<u64>, StoreError> {
        let submission = &task.submission;
        if !submission.has_environment() {
            return Ok(None);
        }
        let begun = self
            .begun(&submission.project, &submission.environment)
            .await?;
        Ok(begun.and_then(|begun| begun.since(task)))
    }

    /// Returns the other task of the same push, environment and rule that began last, if any.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Damaged`].
    pub async fn begun_sibling(&self, task: &Task) -> Result<Option<Task>, StoreError> {
        let Some(key) = index::push_begun_key(&task.submission) else {
            return Ok(None);
        };
        let entry = self.kv.get(&key).await?;
        match entry.and_then(|entry| index::number(&entry.value)) {
            Some(id) if id != task.id => Ok(Some(self.task(id).await?)),
            _ => Ok(None),
        }
    }

    /// Returns the task that this one waits for in its queue: one that is running there, or an
    /// older one that has not landed yet.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Damaged`].
    pub async fn ahead_of(&self, task: &Task) -> Result<Option<Head>, StoreError> {
        let submission = &task.submission;
        if task.state != State::Queued || !submission.has_environment() {
            return Ok(None);
        }
        let key = index::holder_key(&submission.project, &submission.environment);
        let entry = self.kv.get(&key).await?;
        let id = entry.and_then(|entry| std::str::from_utf8(&entry.value).ok()?.parse().ok());
        if let Some(id) = id {
            let other = id != task.id;
            return Ok(if other {
                Some(self.head(id).await?)
            } else {
                None
            });
        }
        let lands = Filter {
            state: Some(State::Proposed.name().to_string()),
            project: Some(submission.project.clone()),
            environment: Some(submission.environment.clone()),
            ..Filter::default()
        };
        for head in self.list(&lands, Some(task.id), LANDING_MAX).await? {
            if self.task(head.id).await?.submission.schedule == Schedule::Ready {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Returns [`Store::begun`] as updated by a start of `id`.
    pub(super) async fn beginning(
        &self,
        project: &str,
        environment: &str,
        id: u64,
    ) -> Result<Commit, StoreError> {
        let key = index::begun_key(project, environment);
        let entry = self.kv.get(&key).await?;
        let require = entry
            .as_ref()
            .map_or(Require::Absent, |entry| Require::Version(entry.version));
        let before: Option<BegunWork> =
            entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let begun = BegunWork {
            last: id,
            highest: before.map_or(id, |before| before.highest.max(id)),
        };
        Ok(Commit::new()
            .require(key.clone(), require)
            .put(key, index::json(&begun)))
    }
}
