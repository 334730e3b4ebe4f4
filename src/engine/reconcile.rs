//! Finds tags that no hook reported: made on the server, by a mirror, or while the hook was down.
//!
//! Periodically reads all tags of a repository in one query and compares them with the last scan.
//! The first scan only records what exists. Later ones propose tasks for new or moved tags that no
//! hook reported; their author is unknown, whatever a tag's own text says. A deleted tag that comes
//! back on its object is not new. The tags of one scan are one push. Failures are logged and
//! retried; nothing waits for them. Decides nothing about hosts and fetches nothing: a task lands
//! like that of any push. Started by the agent.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::base::clock::Clock;
use crate::config::{Config, Project, RuleSets, TemplateCache, Templates};
use crate::domain::rule::is_reference;
use crate::domain::task::Submitter;
use crate::engine::intake::Scans;
use crate::engine::push::{self, Meaning};
use crate::git::landing::{Git, GitSource, LandingError};
use crate::store::kv::KeyVersion;
use crate::store::{
    HookOutcome, HookReports, KnownTag, ReportedTag, SeenPush, Store, StoreError, TagScan,
    unless_reported,
};

/// The default interval between two scans of a repository.
const USUAL: Duration = Duration::from_secs(300);
/// The pause after a failed scan; it doubles after each further failure.
const AGAIN: Duration = Duration::from_secs(30);
const AGAIN_LONGEST: Duration = Duration::from_secs(3600);
/// Maximum number of concurrent scans.
const PARALLEL: usize = 4;
/// Maximum number of tags that are kept.
const TAGS_MAX: usize = 200_000;
/// The prefix of the names of these pushes.
pub const LOOK: &str = "look ";
/// The pusher's name for tags made on the git server.
const UNKNOWN_PUSHER: &str = "unknown (made on the git server)";

/// A repository to scan.
#[derive(Clone, Debug)]
pub struct WatchedRepository {
    /// As the hook names it.
    pub repository: String,
    pub source: GitSource,
    /// The interval, if configured.
    pub every: Option<Duration>,
}

/// Scans repositories.
pub struct Reconciler {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub config: Arc<Config>,
    pub rules: Arc<RuleSets>,
    pub templates: Arc<TemplateCache>,
    pub git: Arc<dyn Git>,
    pub scans: Arc<Scans>,
    pub watched: Vec<WatchedRepository>,
}

/// Why a scan failed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Git(#[from] LandingError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{0} has more than {TAGS_MAX} tags, which are not compared; set reconcile = \"off\" for it"
    )]
    TooMany(String),
    #[error(
        "{repository} had {had} tags, and the git server shows none: nothing is taken for deleted; check the repository there, and which refs it hides"
    )]
    NoTag { repository: String, had: u64 },
    #[error(
        "a record in the spool cannot be read, and may be of a tag of {0}; see \"spool record left\" in the log"
    )]
    Unread(String),
}

impl WatchedRepository {
    /// Returns the configuration's repositories to scan; `source` returns a project's.
    pub fn all(config: &Config, source: impl Fn(&Project) -> GitSource) -> Vec<Self> {
        let mut all: BTreeMap<&str, Self> = BTreeMap::new();
        for project in &config.projects {
            if project.reconcile == Some(Duration::ZERO) {
                continue;
            }
            let watched = all.entry(&project.repository).or_insert_with(|| Self {
                repository: project.repository.clone(),
                source: source(project),
                every: None,
            });
            // The shortest interval counts.
            let both = watched.every.into_iter().chain(project.reconcile);
            watched.every = both.min();
        }
        all.into_values().collect()
    }

    fn is_local(&self) -> bool {
        let url = &self.source.git_url;
        url.starts_with('/') || url.starts_with("file://")
    }
}

impl Reconciler {
    /// Scans every repository forever.
    pub async fn run(self) {
        let permits = Semaphore::new(PARALLEL);
        let all = self
            .watched
            .iter()
            .map(|watched| self.watch(watched, &permits));
        join_all(all).await;
        std::future::pending::<()>().await;
    }

    /// Scans one repository until that is no longer needed.
    async fn watch(&self, watched: &WatchedRepository, permits: &Semaphore) {
        let mut failures = 0;
        loop {
            let scanned = {
                let _permit = permits.acquire().await;
                self.scan(watched).await
            };
            let repository = &watched.repository;
            let pause = match scanned {
                Ok(()) => {
                    failures = 0;
                    match self.pause(watched).await {
                        Some(pause) => pause,
                        None => return,
                    }
                }
                Err(error) => {
                    let pause = AGAIN * 2_u32.saturating_pow(failures);
                    let pause = pause.min(AGAIN_LONGEST);
                    failures = (failures + 1).min(16);
                    let again_s = pause.as_secs();
                    tracing::warn!(repository, %error, again_s, "tags are not compared");
                    pause
                }
            };
            self.clock.pause(pause).await;
        }
    }

    /// Returns the pause before the next scan. A hook on this machine reports every push; pushes
    /// made while it could not are found when the agent starts.
    async fn pause(&self, watched: &WatchedRepository) -> Option<Duration> {
        if watched.every.is_some() || !watched.is_local() {
            return Some(watched.every.unwrap_or(USUAL));
        }
        let last_report = self.store.hook_report_at(&watched.repository).await;
        last_report.is_ok_and(|at| at.is_none()).then_some(USUAL)
    }

    /// Scans every repository once.
    ///
    /// # Errors
    /// The error of the first failed scan.
    pub async fn scan_all(&self) -> Result<(), ScanError> {
        for watched in &self.watched {
            self.scan(watched).await?;
        }
        Ok(())
    }

    /// Holds the pushes of earlier scans until these scans are over: an interrupted scan resumes as
    /// the same push. Must be called before any task can land.
    pub fn hold_all(&self) {
        for watched in &self.watched {
            self.scans.hold(&pushes_of(&watched.repository));
        }
    }

    async fn scan(&self, watched: &WatchedRepository) -> Result<(), ScanError> {
        let pushes = pushes_of(&watched.repository);
        self.scans.hold(&pushes);
        let compared = self.compare(watched).await;
        let cause = match &compared {
            // Another agent's scan, or a push, came between: that is no failed scan.
            Err(ScanError::Store(_)) => None,
            Err(error) => Some(error.to_string()),
            Ok(()) => None,
        };
        if compared.is_ok() || cause.is_some() {
            let now = self.clock.now();
            let noted = self
                .store
                .note_failed_scan(&watched.repository, cause.as_deref(), now);
            noted.await?;
        }
        compared?;
        self.scans.release(&pushes);
        Ok(())
    }

    async fn compare(&self, watched: &WatchedRepository) -> Result<(), ScanError> {
        let repository = &watched.repository;
        let now = self.clock.now();
        let mut tags = self.tags(watched).await?;
        let mut scan = TagScan {
            at: now,
            git_url: watched.source.git_url.clone(),
            digest: digest(&tags),
            tags: tags.len() as u64,
        };
        let (before, last) = self.store.last_scan(repository).await?;
        let before = before.filter(|before| before.git_url == scan.git_url);
        let (Some(before), Some(KeyVersion(version))) = (before, last) else {
            self.store.note_tags(repository, &tags, last).await?;
            self.store.note_scan(repository, &scan, last).await?;
            tracing::info!(
                repository,
                tags = tags.len(),
                "tags noted for the first time"
            );
            return Ok(());
        };
        if tags.is_empty() && before.tags > 1 {
            // Rather hidden or lost than deleted: believed, all of them would be new afterwards.
            return Err(ScanError::NoTag {
                repository: repository.clone(),
                had: before.tags,
            });
        }
        // The hook of every push with a visible tag has written its record before.
        self.scans.another().await;
        if self.scans.has_left_some() {
            return Err(ScanError::Unread(repository.clone()));
        }
        let reports = self.store.hook_reports(repository).await?;
        if before.digest == scan.digest && reports.is_empty() {
            return Ok(());
        }
        let mut known = self.store.known_tags(repository).await?;
        let patience = self.config.agent.landing_timeout;
        let old = now.checked_sub(patience).unwrap_or(Timestamp::MIN);
        let outdated = self.store.outdated(&reports, old).await?;
        let passed = self.passed(repository, &tags, &known, &reports).await?;
        // A later change may be a push whose record has not been looked for: it is left to the next
        // scan.
        let still = self.tags(watched).await?;
        let steady = tags == still;
        known.retain(|name, _| tags.get(name) == still.get(name));
        tags.retain(|name, object| still.get(name) == Some(object));
        let push = pushes_of(repository) + &format!("{} {version}", before.at.as_millisecond());
        let settled = self
            .settle_all((repository, &push), &tags, &known, (&reports, &passed), now)
            .await?;
        self.store.delete_reports(&outdated).await?;
        if !settled || !steady {
            scan.digest.clear();
        }
        Ok(self.store.note_scan(repository, &scan, last).await?)
    }

    /// Returns hook reports of tags that no longer point to the reported object: the tag was moved
    /// on the server since. By name, oldest first.
    async fn passed(
        &self,
        repository: &str,
        tags: &BTreeMap<String, String>,
        known: &BTreeMap<String, KnownTag>,
        reported: &HookReports,
    ) -> Result<BTreeMap<String, Vec<ReportedTag>>, ScanError> {
        let mut passed = BTreeMap::new();
        if reported.is_empty() {
            return Ok(passed);
        }
        let names: BTreeSet<&String> = tags.keys().chain(known.keys()).collect();
        for name in names {
            let mut left = Vec::new();
            for report in reported.of(repository, name) {
                if tags.get(name) == Some(&report.object) {
                    continue;
                }
                for project in self.config.projects_of(repository) {
                    if self.store.has_landed(&project.name, name, &report).await? {
                        left.push(report);
                        break;
                    }
                }
            }
            if !left.is_empty() {
                passed.insert(name.clone(), left);
            }
        }
        Ok(passed)
    }

    /// Reads all tags whose names can be queried.
    async fn tags(
        &self,
        watched: &WatchedRepository,
    ) -> Result<BTreeMap<String, String>, ScanError> {
        let tags = self.git.tags(&watched.source).await?;
        let tags = tags.into_iter().filter(|tag| is_reference(&tag.name));
        let tags: BTreeMap<_, _> = tags.map(|tag| (tag.name, tag.object)).collect();
        if tags.len() > TAGS_MAX {
            return Err(ScanError::TooMany(watched.repository.clone()));
        }
        Ok(tags)
    }

    /// Acts on the differences; returns whether none is left.
    async fn settle_all(
        &self,
        (repository, push): (&str, &str),
        tags: &BTreeMap<String, String>,
        known: &BTreeMap<String, KnownTag>,
        (reported, passed): (&HookReports, &BTreeMap<String, Vec<ReportedTag>>),
        now: Timestamp,
    ) -> Result<bool, ScanError> {
        let library = self.templates.current().await;
        let names: BTreeSet<&String> = tags.keys().chain(known.keys()).collect();
        let mut settled = true;
        for name in names {
            let object = tags.get(name).map_or("", String::as_str);
            let before = known.get(name);
            let mut was = before.map_or("", |known| known.object.as_str());
            let passed = passed.get(name).map(Vec::as_slice).unwrap_or_default();
            match passed.last() {
                // It pointed elsewhere between two scans, and was moved back.
                Some(last) if object == was => was = &last.object,
                None if object == was => continue,
                _ => {}
            }
            let reports = reported.of(repository, name);
            let report = reports.iter().rfind(|report| report.object == object);
            // A report of an object from which the tag was moved since is out of date.
            let is_reported = report
                .is_some_and(|report| passed.iter().all(|other| other.version <= report.version));
            if let Some(report) = report.filter(|_| !is_reported)
                && !self.forget(std::slice::from_ref(report)).await?
            {
                settled = false;
                continue;
            }
            // It was hidden, or its repository was restored: its commit is not new.
            let is_back = before.is_some_and(|known| known.is_restored_to(object));
            if is_back && passed.is_empty() && !is_reported {
                let noted = self.store.note_tag(repository, name, object, before);
                noted.await?;
                continue;
            }
            let version = before.map_or(0, |known| known.version);
            let seen = push_by_unknown((repository, push), name, (was, object), version);
            if is_reported {
                // The hook's record preceded the move: a scan may have proposed the old object.
                self.doubt(&seen).await?;
            } else {
                let file = format!("look {repository} {name} {object} {version}");
                if !self.take(&file, &seen, &library, now).await? {
                    settled = false;
                    continue;
                }
            }
            // A later report outdates the earlier ones, also of a task that lands only afterwards.
            let earlier = |other: &&ReportedTag| {
                report
                    .is_some_and(|report| other.object != object && other.version <= report.version)
            };
            let outdated = match is_reported {
                true => reports.iter().filter(earlier).cloned().collect(),
                false => passed.to_vec(),
            };
            if !self.forget(&outdated).await? {
                settled = false;
                continue;
            }
            let noted = self.store.note_tag(repository, name, object, before);
            noted.await?;
        }
        Ok(settled)
    }

    /// Deletes hook reports of a tag; returns whether no hook has reported it again meanwhile.
    async fn forget(&self, reports: &[ReportedTag]) -> Result<bool, StoreError> {
        match self.store.delete_passed_reports(reports).await {
            Ok(()) => Ok(true),
            Err(StoreError::HooksChanged) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes tasks of the tag's previous object check their tag again.
    async fn doubt(&self, seen: &SeenPush) -> Result<(), StoreError> {
        if crate::domain::rule::is_zero(&seen.old) {
            return Ok(());
        }
        for project in self.config.projects_of(&seen.repository) {
            push::doubt(&self.store, self.clock.now(), &project.name, seen).await?;
        }
        Ok(())
    }

    /// Acts on a tag in every project; returns whether that is done. After an interruption it finds
    /// its own entries in the hook log by their `file`.
    async fn take(
        &self,
        file: &str,
        seen: &SeenPush,
        library: &Templates,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let gone = crate::domain::rule::is_zero(&seen.new);
        for project in self.config.projects_of(&seen.repository) {
            let name = &project.name;
            let doubted = match crate::domain::rule::is_zero(&seen.old) {
                true => Vec::new(),
                false => push::doubt(&self.store, self.clock.now(), name, seen).await?,
            };
            let compiled = self.rules.get(name);
            let rules = compiled.map_or_else(|| Cow::Owned(project.rule_set()), Cow::Borrowed);
            let mut meaning = push::meaning(&self.config, library, project, &rules, seen);
            match &mut meaning {
                Meaning::Task(submission) => {
                    submission.submitter = Submitter {
                        name: UNKNOWN_PUSHER.to_owned(),
                        account: None,
                    };
                }
                // The hook leaves no record of these either.
                Meaning::Nothing(HookOutcome::NoRule { .. } | HookOutcome::Deleted) => continue,
                Meaning::Nothing(_) if gone => continue,
                Meaning::Nothing(_) => {}
            }
            let note = self.store.hook_note(file, now, Some(seen)).await?;
            if note.answers(Some(name)) {
                continue;
            }
            let hooks = unless_reported(&seen.repository, &seen.reference, &seen.new);
            let note = note.and(hooks);
            let record = format!("look-{:x}/{name}", Sha256::digest(file));
            let record = Some(record.as_str());
            let settled = push::settle(&self.store, meaning, name, record, &doubted, &note, now);
            match settled.await {
                Ok(outcome) => tracing::info!(
                    project = name,
                    reference = seen.reference,
                    outcome = outcome.name(),
                    task = outcome.task(),
                    "a tag that no hook reported"
                ),
                // A hook has reported it meanwhile.
                Err(StoreError::HooksChanged) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Returns the prefix of the names of a repository's reconciled pushes.
fn pushes_of(repository: &str) -> String {
    format!("{LOOK}{repository} ")
}

/// Returns the change of a tag from one object to another as a push of an unknown author.
fn push_by_unknown(
    (repository, push): (&str, &str),
    name: &str,
    (was, object): (&str, &str),
    version: u64,
) -> SeenPush {
    let or_zero = |object: &str| match object {
        "" => "0".repeat(40),
        object => object.to_owned(),
    };
    SeenPush {
        record: format!("{push} {version} {name}"),
        repository: repository.to_owned(),
        reference: name.to_owned(),
        old: or_zero(was),
        new: or_zero(object),
        pusher: UNKNOWN_PUSHER.to_owned(),
        ssh_key: String::new(),
        system_user: false,
        owner: 0,
        pushed_at: None,
        push: Some(push.to_owned()),
    }
}

fn digest(tags: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (name, object) in tags {
        hash.update(name);
        hash.update([0]);
        hash.update(object);
        hash.update([0]);
    }
    format!("{:x}", hash.finalize())
}
