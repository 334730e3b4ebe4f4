//! The last seen object of each tag of a repository. A tag that is new or has moved since, and that
//! no hook reported, was created on the git server.
//!
//! | key | holds |
//! |---|---|
//! | `tag/REPOSITORY/REF` | a tag that was seen; without an object once it is deleted |
//! | `brought/REPOSITORY/REF/OBJECT` | when a hook reported it |
//! | `heard/REPOSITORY` | when a hook last reported anything |
//! | `looked/REPOSITORY` | the last scan; without one, the next one only records existing tags |
//! | `unseen/REPOSITORY` | failed scans since the last successful one |
//!
//! `intake` writes what hooks report, `reconcile` everything else. This module decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::index::{self, REPORTED, SCANNED, SEEN_TAGS};
use super::kv::{self, Commit, Key, KeyVersion, Range, Require};
use super::{Filter, SeenPush, Store, StoreError};
use crate::domain::task::{Event, Recorded};

const HEARD: &str = "heard/";
const UNSEEN: &str = "unseen/";
/// The maximum length of a stored cause, in characters.
const CAUSE_MAX: usize = 2_000;
/// How many tasks of one tag are read to find its earlier objects.
const LANDED_MAX: usize = 50;
/// Writes per commit.
const PIECE: usize = 90;

/// A tag as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTag {
    #[serde(rename = "ref")]
    pub reference: String,
    /// Empty if it was deleted.
    pub object: String,
    /// Of a deleted tag: its object before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub former: String,
    /// Changes whenever the tag was seen to change.
    #[serde(skip)]
    pub version: u64,
}

impl KnownTag {
    /// Whether it was deleted, and `object` is the one that it pointed to before.
    #[must_use]
    pub fn is_restored_to(&self, object: &str) -> bool {
        self.object.is_empty() && !object.is_empty() && self.former == object
    }
}

/// One scan of all tags of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagScan {
    pub at: Timestamp,
    pub git_url: String,
    /// Of all tags and their objects; empty while some of them are still to be processed.
    pub digest: String,
    pub tags: u64,
}

/// Failed scans of a repository, since the last successful one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedScans {
    /// When the first of them failed.
    pub since: Timestamp,
    /// When the last one failed.
    pub at: Timestamp,
    /// Why the last one failed.
    pub cause: String,
}

fn hash(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

/// Repositories have few names: a few digits distinguish them.
fn of(kind: &str, repository: &str) -> String {
    format!("{kind}{}", &hash(repository)[..16])
}

fn tag_key(repository: &str, reference: &str) -> Key {
    format!("{}/{}", of(SEEN_TAGS, repository), hash(reference)).into_bytes()
}

fn report_key(repository: &str, reference: &str, object: &str) -> Key {
    let reference = hash(reference);
    format!("{}/{reference}/{object}", of(REPORTED, repository)).into_bytes()
}

fn no_scan_after(repository: &str, last: Option<KeyVersion>) -> Commit {
    let last = last.map_or(Require::Absent, Require::Version);
    Commit::new().require(of(SCANNED, repository), last)
}

/// Returns what to store about a record in addition to its outcome.
#[must_use]
pub fn hook_report(push: &SeenPush, now: Timestamp) -> Commit {
    let commit = Commit::new().put(of(HEARD, &push.repository), index::json(&now));
    if crate::domain::rule::is_zero(&push.new) {
        return commit;
    }
    let key = report_key(&push.repository, &push.reference, &push.new);
    commit.put(key, index::json(&now))
}

/// Returns a condition that no hook has reported a tag on this object.
#[must_use]
pub fn unless_reported(repository: &str, reference: &str, object: &str) -> Commit {
    let key = report_key(repository, reference, object);
    Commit::new().require(key, Require::Absent)
}

impl Store {
    /// Returns the last scan of a repository, and the version of its entry.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn last_scan(
        &self,
        repository: &str,
    ) -> Result<(Option<TagScan>, Option<KeyVersion>), StoreError> {
        let entry = self.kv.get(of(SCANNED, repository).as_bytes()).await?;
        let last = entry.as_ref().map(|entry| entry.version);
        let scan = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        Ok((scan, last))
    }

    /// Records a scan, if there was none after `last`. Everything it saw has been processed before.
    ///
    /// # Errors
    /// [`StoreError::HooksChanged`], [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn note_scan(
        &self,
        repository: &str,
        scan: &TagScan,
        last: Option<KeyVersion>,
    ) -> Result<(), StoreError> {
        let commit = no_scan_after(repository, last);
        self.note(commit.put(of(SCANNED, repository), index::json(scan)))
            .await
    }

    /// Returns the failed scans of a repository, since the last successful one.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn failed_scans(&self, repository: &str) -> Result<Option<FailedScans>, StoreError> {
        self.value(of(UNSEEN, repository).as_bytes()).await
    }

    /// Records why a scan failed, or clears earlier failures if it succeeded.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn note_failed_scan(
        &self,
        repository: &str,
        cause: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let before = self.failed_scans(repository).await?;
        let key = of(UNSEEN, repository);
        let commit = match (cause, &before) {
            (None, None) => return Ok(()),
            (None, Some(_)) => Commit::new().delete(key),
            (Some(cause), before) => {
                let failed = FailedScans {
                    since: before.as_ref().map_or(now, |before| before.since),
                    at: now,
                    cause: cause.chars().take(CAUSE_MAX).collect(),
                };
                Commit::new().put(key, index::json(&failed))
            }
        };
        self.write(commit).await
    }

    /// Whether a task of this tag has landed on the reported object after the report: the tag was
    /// there.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn has_landed(
        &self,
        project: &str,
        reference: &str,
        report: &ReportedTag,
    ) -> Result<bool, StoreError> {
        let filter = Filter {
            project: Some(project.to_owned()),
            tag: reference
                .strip_prefix(crate::domain::rule::TAGS)
                .map(str::to_owned),
            since: Some(report.at),
            ..Filter::default()
        };
        let heads = self.list(&filter, None, LANDED_MAX).await?;
        for head in heads.iter().filter(|head| head.reference == reference) {
            let task = self.task(head.id).await?;
            // By the clock alone, one that landed just before the report counts, too.
            if task.object() == report.object
                && self.landed_in(head.id).await? >= Some(report.version)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the version of the event with which a task landed last.
    async fn landed_in(&self, id: u64) -> Result<Option<KeyVersion>, StoreError> {
        let rows = kv::all_rows(self.kv.as_ref(), &index::events_prefix(id)).await?;
        let landed = rows.iter().rfind(|row| {
            let recorded = serde_json::from_slice::<Recorded>(&row.value);
            matches!(recorded, Ok(kept) if matches!(kept.event, Event::Landed(_)))
        });
        Ok(landed.map(|row| row.version))
    }

    /// If two agents share a store, the one with the outdated scan changes nothing.
    async fn note(&self, commit: Commit) -> Result<(), StoreError> {
        let noted = self.kv.commit(commit).await;
        noted.map_err(|error| index::error_of(0, error))?;
        Ok(())
    }

    /// Returns when a hook of a repository last reported anything.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn hook_report_at(&self, repository: &str) -> Result<Option<Timestamp>, StoreError> {
        self.value(of(HEARD, repository).as_bytes()).await
    }

    /// Records tags as seen, by name and object, if there was no scan after `last`.
    ///
    /// # Errors
    /// [`StoreError::HooksChanged`], [`StoreError::Kv`], [`StoreError::Unknown`]: some may have been
    /// noted.
    pub async fn note_tags(
        &self,
        repository: &str,
        tags: &BTreeMap<String, String>,
        last: Option<KeyVersion>,
    ) -> Result<(), StoreError> {
        let tags: Vec<_> = tags.iter().collect();
        for some in tags.chunks(PIECE) {
            let commit =
                some.iter()
                    .fold(no_scan_after(repository, last), |commit, (name, object)| {
                        let known = KnownTag {
                            reference: (*name).clone(),
                            object: (*object).clone(),
                            former: String::new(),
                            version: 0,
                        };
                        commit.put(tag_key(repository, name), index::json(&known))
                    });
            self.note(commit).await?;
        }
        Ok(())
    }

    /// Records one tag as seen, if it is known as `before`, and clears the hook's report of it.
    /// Without an object it is deleted.
    ///
    /// # Errors
    /// [`StoreError::HooksChanged`], [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn note_tag(
        &self,
        repository: &str,
        reference: &str,
        object: &str,
        before: Option<&KnownTag>,
    ) -> Result<(), StoreError> {
        let former = match before {
            Some(known) if object.is_empty() && known.object.is_empty() => known.former.clone(),
            Some(known) if object.is_empty() => known.object.clone(),
            _ => String::new(),
        };
        let known = KnownTag {
            reference: reference.to_owned(),
            object: object.to_owned(),
            former,
            version: 0,
        };
        let as_before = before.map_or(Require::Absent, |known| {
            Require::Version(KeyVersion(known.version))
        });
        let key = tag_key(repository, reference);
        let commit = Commit::new()
            .require(key.clone(), as_before)
            .put(key, index::json(&known))
            .delete(report_key(repository, reference, object));
        self.note(commit).await
    }

    /// Returns all tags of a repository that were ever seen, by name.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn known_tags(
        &self,
        repository: &str,
    ) -> Result<BTreeMap<String, KnownTag>, StoreError> {
        let prefix = format!("{}/", of(SEEN_TAGS, repository));
        let rows = kv::all_rows(self.kv.as_ref(), prefix.as_bytes()).await?;
        let known = rows.into_iter().filter_map(|row| {
            let mut known: KnownTag = serde_json::from_slice(&row.value).ok()?;
            known.version = row.version.0;
            Some((known.reference.clone(), known))
        });
        Ok(known.collect())
    }

    /// Returns hook reports of a repository that no scan has processed, with the time.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn hook_reports(&self, repository: &str) -> Result<HookReports, StoreError> {
        let prefix = format!("{}/", of(REPORTED, repository));
        let rows = kv::all_rows(self.kv.as_ref(), prefix.as_bytes()).await?;
        let rows = rows.into_iter().filter_map(|row| {
            let at = serde_json::from_slice(&row.value).ok()?;
            Some((row.key, (at, row.version)))
        });
        Ok(HookReports(rows.collect()))
    }

    /// Returns hook reports from before this time that no unfinished task waits for.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn outdated(
        &self,
        reported: &HookReports,
        before: Timestamp,
    ) -> Result<Vec<Key>, StoreError> {
        let old = reported.0.iter().filter(|(_, (at, _))| *at < before);
        let mut old: BTreeSet<&Key> = old.map(|(key, _)| key).collect();
        if old.is_empty() {
            return Ok(Vec::new());
        }
        let (ids, _) = self.active().await?;
        for id in ids {
            let task = self.task(id).await?;
            let pushed = &task.submission;
            let (repository, reference) = (&pushed.repository, &pushed.reference);
            old.remove(&report_key(repository, reference, &pushed.object));
        }
        Ok(old.into_iter().cloned().collect())
    }

    /// Deletes these hook reports.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn delete_reports(&self, outdated: &[Key]) -> Result<(), StoreError> {
        for some in outdated.chunks(PIECE) {
            let commit = some
                .iter()
                .fold(Commit::new(), |commit, key| commit.delete(key.clone()));
            self.write(commit).await?;
        }
        Ok(())
    }

    /// Deletes the reports of a tag on these objects, unless a hook repeats them now.
    ///
    /// # Errors
    /// [`StoreError::HooksChanged`], [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn delete_passed_reports(&self, reports: &[ReportedTag]) -> Result<(), StoreError> {
        for some in reports.chunks(PIECE) {
            let commit = some.iter().fold(Commit::new(), |commit, report| {
                let same = Require::Version(report.version);
                commit
                    .require(report.key.clone(), same)
                    .delete(report.key.clone())
            });
            self.note(commit).await?;
        }
        Ok(())
    }

    /// Deletes all scans, so that the next one of each repository only records existing tags.
    pub(super) async fn delete_scans(&self) -> Result<(), StoreError> {
        loop {
            let range = Range::prefix(SCANNED.as_bytes()).limit(PIECE);
            let page = self.kv.range(range).await?;
            let commit = page
                .rows
                .iter()
                .fold(Commit::new(), |commit, row| commit.delete(row.key.clone()));
            if page.rows.is_empty() {
                return Ok(());
            }
            self.write(commit).await?;
        }
    }
}

/// The hook reports of one repository.
#[derive(Clone, Debug, Default)]
pub struct HookReports(BTreeMap<Key, (Timestamp, KeyVersion)>);

/// A hook's report of a tag on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedTag {
    pub object: String,
    pub at: Timestamp,
    /// The later report of two hooks wins: a clock may be set back between them.
    pub version: KeyVersion,
    key: Key,
}

impl HookReports {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the reports of one tag, oldest first.
    #[must_use]
    pub fn of(&self, repository: &str, reference: &str) -> Vec<ReportedTag> {
        if self.is_empty() {
            return Vec::new();
        }
        let prefix = report_key(repository, reference, "");
        let of_tag = self.0.range(prefix.clone()..);
        let of_tag = of_tag.take_while(|(key, _)| key.starts_with(&prefix));
        let reports = of_tag.map(|(key, (at, version))| ReportedTag {
            object: String::from_utf8_lossy(&key[prefix.len()..]).into_owned(),
            at: *at,
            key: key.clone(),
            version: *version,
        });
        let mut reports: Vec<ReportedTag> = reports.collect();
        reports.sort_by_key(|report| report.version);
        reports
    }
}
