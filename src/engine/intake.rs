//! Spool records become proposed tasks.
//!
//! Wakes by inotify when the hook has renamed a record into place, and scans the spool once a
//! minute. A record is removed only when its result is durable, together with its entry in the hook
//! log; a record that is read again has the same ID and becomes the same task. The record is a
//! hint: which rule matches is decided with the agent's own configuration (`push`), and whether the
//! ref exists is checked at landing. The intake never runs git and never contacts a host. Started
//! by the agent.

mod scans;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use jiff::{SignedDuration, Timestamp};

pub use self::scans::Scans;
use crate::base::clock::Clock;
use crate::base::crash;
use crate::base::user::user_name;
use crate::config::{Config, RuleSets, TemplateCache, Templates, fingerprint};
use crate::domain::rule::{Pusher, is_zero};
use crate::engine::push;
use crate::engine::spool::{self, Received, Record, SpoolError, Waiting};
use crate::store::{HookOutcome, ProjectOutcome, SeenPush, Store, StoreError, hook_report};

/// How often the spool is scanned without a notification, in seconds.
const SCAN_S: i64 = 60;
/// The age at which leftovers of killed hooks in `tmp/` are deleted.
const SWEEP_AGE: Duration = Duration::from_secs(3600);
/// The maximum length of a reason why a file is invalid, in characters.
const REASON_LENGTH_MAX: usize = 500;

/// Returns the pusher's displayed name.
fn name_of(pusher: Pusher<'_>) -> String {
    match pusher {
        Pusher::Name(name) => name.to_owned(),
        Pusher::Key(key) => fingerprint(key),
        Pusher::System(number) => user_name(number).unwrap_or_else(|| Pusher::system(number)),
    }
}

/// The records of one spool, as the intake needs them: each method is one effect with a label, so
/// that a simulated world can stop exactly there.
pub trait Spool: Send + Sync {
    /// `spool.waiting`: returns the pending records, oldest first. Changes nothing.
    ///
    /// # Errors
    /// The directory can't be read.
    fn waiting(&self) -> BoxFuture<'_, Result<Vec<Waiting>, SpoolError>>;

    /// `spool.read`: returns one record and the owner of its file. Changes nothing.
    ///
    /// # Errors
    /// [`SpoolError::is_bad_file`] is true if the record will never be readable.
    fn read<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<Received, SpoolError>>;

    /// `spool.set_aside`: keeps a bad file for inspection; returns its new path.
    ///
    /// # Errors
    /// The file can't be moved.
    fn set_aside<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<PathBuf, SpoolError>>;

    /// `spool.remove`: deletes a processed record. Repeating it is harmless.
    ///
    /// Crash: the record may still exist; taken in again, it becomes the same task.
    ///
    /// # Errors
    /// The file can't be removed.
    fn remove<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<(), SpoolError>>;
}

/// A spool on this machine's disk.
pub struct SpoolDirectory(pub PathBuf);

impl Spool for SpoolDirectory {
    fn waiting(&self) -> BoxFuture<'_, Result<Vec<Waiting>, SpoolError>> {
        async { spool::waiting(&self.0) }.boxed()
    }

    fn read<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<Received, SpoolError>> {
        async {
            crash::before("spool.read");
            let read = spool::read(&self.0, waiting);
            crash::after("spool.read");
            read
        }
        .boxed()
    }

    fn set_aside<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<PathBuf, SpoolError>> {
        async {
            crash::before("spool.set_aside");
            let kept = spool::quarantine(&self.0, waiting);
            crash::after("spool.set_aside");
            kept
        }
        .boxed()
    }

    fn remove<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<(), SpoolError>> {
        async {
            crash::before("spool.remove");
            let removed = spool::remove(&self.0, waiting);
            crash::after("spool.remove");
            removed
        }
        .boxed()
    }
}

/// Files that should not stay in the spool but do: logged once, not at every scan.
#[derive(Default)]
struct LoggedFiles(BTreeSet<OsString>);

impl LoggedFiles {
    /// Whether it is known already; only those still pending are remembered.
    fn has(&self, waiting: &Waiting) -> bool {
        self.0.contains(&waiting.name)
    }

    fn log_once(&mut self, waiting: &Waiting, error: &dyn std::fmt::Display) {
        if self.0.insert(waiting.name.clone()) {
            tracing::warn!(%error, "it stays in the spool; remove it by hand");
        }
    }

    fn retain_waiting(&mut self, waiting: &[Waiting]) {
        self.0
            .retain(|name| waiting.iter().any(|there| there.name == *name));
    }
}

/// Takes in the records of one spool.
pub struct Intake {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub config: Arc<Config>,
    /// The configuration's rules, see [`Config::rule_sets`].
    pub rules: Arc<RuleSets>,
    /// Tell which parameters are secret: these are never stored in the clear.
    pub templates: Arc<TemplateCache>,
    pub spool: Arc<dyn Spool>,
    /// The user whose records may name the pusher; `None` if there is no such user.
    pub git_user: Option<u32>,
    pub scans: Arc<Scans>,
}

/// Why the spool cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("spool {path}: it cannot be watched: {error}; raise fs.inotify.max_user_watches")]
    Watch {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Intake {
    /// Takes in records forever, woken by changes of the spool's `directory`.
    ///
    /// # Errors
    /// [`IntakeError`] if the spool or the store failed; restart the agent.
    pub async fn run(self, directory: PathBuf) -> Result<(), IntakeError> {
        let mut events = watch(&directory)?;
        let mut logged = LoggedFiles::default();
        loop {
            self.take_waiting(&mut logged).await?;
            let now = self.clock.now();
            let next = now
                .checked_add(SignedDuration::from_secs(SCAN_S))
                .unwrap_or(now);
            tokio::select! {
                _ = events.next() => {}
                () = self.scans.requested() => {}
                () = self.clock.sleep_until(next) => {
                    let since_1970 = Duration::try_from(next.as_duration()).unwrap_or_default();
                    if let Err(error) = spool::sweep(&directory, since_1970, SWEEP_AGE) {
                        tracing::warn!(%error, "spool not swept");
                    }
                }
            }
        }
    }

    /// Takes in every pending record, oldest first.
    ///
    /// # Errors
    /// Same as [`Intake::run`].
    pub async fn take_all(&self) -> Result<(), IntakeError> {
        self.take_waiting(&mut LoggedFiles::default()).await
    }

    /// Like [`Intake::take_all`], without files known to be invalid that could not be moved away.
    async fn take_waiting(&self, logged: &mut LoggedFiles) -> Result<(), IntakeError> {
        let scan = self.scans.begin();
        let waiting = self.spool.waiting().await?;
        logged.retain_waiting(&waiting);
        let mut left_some = false;
        if waiting.is_empty() {
            self.scans.end(scan, left_some);
            return Ok(());
        }
        // Read after the records came.
        let templates = self.templates.current().await;
        for waiting in waiting {
            match self.take(&waiting, logged, &templates).await {
                // This one record is too large for the store; the others are still taken in.
                Err(IntakeError::Store(error @ StoreError::Commit(_))) => {
                    logged.log_once(&waiting, &error);
                }
                taken => left_some |= !taken?,
            }
        }
        self.scans.end(scan, left_some);
        Ok(())
    }

    /// Takes in one entry. Spool users can create any entry, even one that the agent can't move:
    /// none may block the others. Returns false if the record may become readable later.
    async fn take(
        &self,
        waiting: &Waiting,
        logged: &mut LoggedFiles,
        templates: &Templates,
    ) -> Result<bool, IntakeError> {
        let file = waiting.name.as_encoded_bytes().escape_ascii().to_string();
        match self.spool.read(waiting).await {
            Ok(received) => {
                let push = self.seen(&received);
                if let Some(name) = &push.push {
                    self.scans.note_record(name, self.clock.now());
                }
                while !self.decide(&file, &push, templates).await? {}
                // A file that stays is read again, and its decision is found in the hook log.
                if let Err(error) = self.spool.remove(waiting).await {
                    logged.log_once(waiting, &error);
                }
            }
            Err(error) if error.is_bad_file() && logged.has(waiting) => {
                tracing::debug!(%error, "passed over");
            }
            Err(error) if error.is_bad_file() => {
                while !self.note_unreadable(&file, &error).await? {}
                match self.spool.set_aside(waiting).await {
                    Ok(kept) => {
                        tracing::warn!(%error, kept = %kept.display(), "spool record set aside");
                    }
                    Err(stuck) => logged.log_once(waiting, &format!("{error}; {stuck}")),
                }
            }
            Err(SpoolError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                // A newer format, or a file that can't be read now: it stays.
                tracing::warn!(%error, "spool record left");
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn seen(&self, received: &Received) -> SeenPush {
        let Received { record, owner } = received;
        let pusher = Pusher::from_record(&record.pusher, &record.ssh_key, *owner, self.git_user);
        SeenPush {
            record: record.id.to_string(),
            repository: record.repository.clone(),
            reference: record.reference.clone(),
            old: record.old.clone(),
            new: record.new.clone(),
            pusher: name_of(pusher),
            ssh_key: match pusher {
                Pusher::Key(key) => key.to_owned(),
                _ => String::new(),
            },
            system_user: matches!(pusher, Pusher::System(_)),
            owner: *owner,
            pushed_at: Timestamp::from_millisecond(record.time).ok(),
            push: Some(self.push(record, *owner)),
        }
    }

    /// Returns the push that a record belongs to. Records of different users never share a push.
    fn push(&self, record: &Record, owner: u32) -> String {
        let push = match &record.push {
            Some(push) => push.clone(),
            None => {
                let pusher = format!("{owner} {} {}", record.repository, record.pusher);
                let id = record.id.as_str();
                self.scans.burst(&pusher, id, record.time)
            }
        };
        format!("{owner}/{push}")
    }

    /// Decides in every project of the repository without an answer in the hook log. Returns
    /// whether it is done; false if another writer changed the entry meanwhile.
    async fn decide(
        &self,
        file: &str,
        push: &SeenPush,
        templates: &Templates,
    ) -> Result<bool, IntakeError> {
        let mut projects = self.config.projects_of(&push.repository).peekable();
        if projects.peek().is_none() {
            tracing::warn!(
                repository = push.repository,
                "push to a repository that no project has"
            );
            let unknown = HookOutcome::UnknownRepository;
            return self.note(file, Some(push), unknown).await;
        }
        for project in projects {
            let now = self.clock.now();
            let note = self.store.hook_note(file, now, Some(push)).await?;
            if note.answers(Some(&project.name)) {
                continue;
            }
            let note = note.and(hook_report(push, now));
            let doubted = if is_zero(&push.old) {
                Vec::new()
            } else {
                push::doubt(&self.store, now, &project.name, push).await?
            };
            let compiled = self.rules.get(&project.name);
            let rules = compiled.map_or_else(|| Cow::Owned(project.rule_set()), Cow::Borrowed);
            let meaning = push::meaning(&self.config, templates, project, &rules, push);
            let record = format!("{}/{}", push.record, project.name);
            let (store, name) = (&self.store, &project.name);
            let settled = push::settle(store, meaning, name, Some(&record), &doubted, &note, now);
            match settled.await {
                Ok(outcome) => tracing::info!(
                    project = project.name,
                    reference = push.reference,
                    pusher = push.pusher,
                    outcome = outcome.name(),
                    task = outcome.task(),
                    "push taken in"
                ),
                Err(StoreError::HooksChanged) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    async fn note_unreadable(&self, file: &str, error: &SpoolError) -> Result<bool, IntakeError> {
        let reason = error.to_string().chars().take(REASON_LENGTH_MAX).collect();
        self.note(file, None, HookOutcome::Unreadable { reason })
            .await
    }

    /// Logs the outcome of a record that concerns no project, once.
    async fn note(
        &self,
        file: &str,
        push: Option<&SeenPush>,
        outcome: HookOutcome,
    ) -> Result<bool, IntakeError> {
        let note = self.store.hook_note(file, self.clock.now(), push).await?;
        if note.answers(None) {
            return Ok(true);
        }
        let result = ProjectOutcome {
            project: None,
            outcome,
            doubted: Vec::new(),
        };
        match self.store.note_hook(&note, result).await {
            Ok(()) => Ok(true),
            Err(StoreError::HooksChanged) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn watch(directory: &Path) -> Result<EventStream<[u8; 4096]>, IntakeError> {
    let path = directory.join(spool::NEW);
    let failed = |error| IntakeError::Watch {
        path: path.clone(),
        error,
    };
    let inotify = Inotify::init().map_err(failed)?;
    inotify
        .watches()
        .add(&path, WatchMask::MOVED_TO)
        .map_err(failed)?;
    inotify.into_event_stream([0; 4096]).map_err(failed)
}
