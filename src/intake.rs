//! Spool records become proposed tasks.
//!
//! Wakes by inotify when the hook has renamed a record into place, and looks by itself once a
//! minute. A record is removed only when what it became is durable; a record that comes again has
//! the same id and becomes the same task. The hook's word is a hint: which rule matches is decided
//! here, with the agent's own configuration, and whether the ref stands is looked up at landing.
//! It never runs git and never contacts a host. Started by the agent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use jiff::SignedDuration;

use crate::clock::Clock;
use crate::config::{Config, Project, RuleSets};
use crate::rule::{Decision, is_zero};
use crate::spool::{self, Received, Record, SpoolError, Waiting};
use crate::store::{Proposal, Store, StoreError};
use crate::task::{Event, Origin, Recorded, State, Submission, Submitter, Supersede};

/// How often the spool is looked at without being told, in seconds.
const SCAN_S: i64 = 60;
/// What killed hooks leave in `tmp/` is swept after this long.
const SWEEP_AGE: Duration = Duration::from_secs(3600);

/// The records of one spool, as the intake needs them: each method is one effect with a label, so
/// that a simulated world can stop exactly there.
pub trait Spool: Send + Sync {
    /// `spool.waiting`: the records that wait, oldest first. Changes nothing.
    ///
    /// # Errors
    /// The directory can't be read.
    fn waiting(&self) -> BoxFuture<'_, Result<Vec<Waiting>, SpoolError>>;

    /// `spool.read`: one record, and whose file it is. Changes nothing.
    ///
    /// # Errors
    /// [`SpoolError::is_bad_file`] tells whether it will ever be readable.
    fn read<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<Received, SpoolError>>;

    /// `spool.set_aside`: keeps a bad file for people; says where.
    ///
    /// # Errors
    /// The file can't be moved.
    fn set_aside<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<PathBuf, SpoolError>>;

    /// `spool.remove`: the record is dealt with. Removing it again is harmless.
    ///
    /// Crash: the record may come back; taken in again, it becomes the same task.
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
        async { spool::read(&self.0, waiting) }.boxed()
    }

    fn set_aside<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<PathBuf, SpoolError>> {
        async { spool::set_aside(&self.0, waiting) }.boxed()
    }

    fn remove<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<(), SpoolError>> {
        async { spool::remove(&self.0, waiting) }.boxed()
    }
}

/// Takes records out of one spool.
pub struct Intake {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub config: Arc<Config>,
    /// The configuration's rules, see [`Config::rule_sets`].
    pub rules: Arc<RuleSets>,
    pub spool: Arc<dyn Spool>,
    /// The user whose word about the pusher is believed; `None` where there is no such user.
    pub git_user: Option<u32>,
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
    /// Takes records in for ever, woken by changes of the spool's `directory`.
    ///
    /// # Errors
    /// [`IntakeError`] if the spool or the store can't go on; start the agent again.
    pub async fn run(self, directory: PathBuf) -> Result<(), IntakeError> {
        let mut events = watch(&directory)?;
        loop {
            self.take_all().await?;
            let now = self.clock.now();
            let next = now
                .checked_add(SignedDuration::from_secs(SCAN_S))
                .unwrap_or(now);
            tokio::select! {
                _ = events.next() => {}
                () = self.clock.sleep_until(next) => {
                    let since_1970 = Duration::try_from(next.as_duration()).unwrap_or_default();
                    if let Err(error) = spool::sweep(&directory, since_1970, SWEEP_AGE) {
                        tracing::warn!(%error, "spool not swept");
                    }
                }
            }
        }
    }

    /// Takes in every record that waits, oldest first.
    ///
    /// # Errors
    /// As [`Intake::run`].
    pub async fn take_all(&self) -> Result<(), IntakeError> {
        for waiting in self.spool.waiting().await? {
            self.take(&waiting).await?;
        }
        Ok(())
    }

    async fn take(&self, waiting: &Waiting) -> Result<(), IntakeError> {
        let received = match self.spool.read(waiting).await {
            Ok(received) => received,
            Err(error) if error.is_bad_file() => {
                let kept = self.spool.set_aside(waiting).await?;
                tracing::warn!(%error, kept = %kept.display(), "spool record set aside");
                return Ok(());
            }
            Err(SpoolError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error) => {
                // A newer format, or a file that can't be read now: it stays.
                tracing::warn!(%error, "spool record left");
                return Ok(());
            }
        };
        let pusher = self.pusher(&received.record, received.owner);
        let projects: Vec<&Project> = self
            .config
            .projects_of(&received.record.repository)
            .collect();
        if projects.is_empty() {
            tracing::warn!(
                repository = received.record.repository,
                "push to a repository that no project has"
            );
        }
        for project in projects {
            self.decide(project, &received.record, &pusher).await?;
        }
        self.spool.remove(waiting).await?;
        Ok(())
    }

    /// Only the git user is believed about somebody else.
    fn pusher(&self, record: &Record, owner: u32) -> String {
        let named = if self.git_user == Some(owner) && !record.pusher.is_empty() {
            record.pusher.clone()
        } else {
            format!("uid:{owner}")
        };
        let number = named.strip_prefix("uid:").and_then(|uid| uid.parse().ok());
        number.and_then(system_user).unwrap_or(named)
    }

    async fn decide(
        &self,
        project: &Project,
        record: &Record,
        pusher: &str,
    ) -> Result<(), IntakeError> {
        let compiled = self.rules.get(&project.name);
        let rules = compiled.map_or_else(|| Cow::Owned(project.rule_set()), Cow::Borrowed);
        let decision = match rules.decide(record.reference.as_bytes(), &record.old, &record.new) {
            Ok(decision) => decision,
            Err(error) => {
                tracing::error!(%error, "rule");
                return Ok(());
            }
        };
        if !is_zero(&record.old) {
            self.doubt(project, record).await?;
        }
        match decision {
            Decision::Matched { index, .. } => self.propose(project, record, pusher, index).await,
            other => {
                tracing::info!(
                    project = project.name,
                    reference = record.reference,
                    decision = ?other,
                    "no task"
                );
                Ok(())
            }
        }
    }

    async fn propose(
        &self,
        project: &Project,
        record: &Record,
        pusher: &str,
        index: usize,
    ) -> Result<(), IntakeError> {
        let rule = &project.rules[index];
        let submission = Submission {
            origin: Origin::Tag {
                rule: rule.pattern.clone(),
            },
            project: project.name.clone(),
            environment: rule.environment.clone(),
            repository: record.repository.clone(),
            reference: record.reference.clone(),
            object: record.new.clone(),
            template: rule.template.clone(),
            schedule: rule.schedule,
            submitter: Submitter {
                name: pusher.to_owned(),
                account: self.config.account_of(pusher).map(str::to_owned),
            },
            expires_s: Some(rule.expires.as_secs()),
            supersede: if rule.supersede {
                Supersede::ByNewer
            } else {
                Supersede::Never
            },
            refuse_older: rule.refuse_older,
            parameters: rule.params.clone(),
            secrets: BTreeMap::new(),
            title: String::new(),
            details: String::new(),
            run_at: None,
            hosts: BTreeMap::new(),
            approvers: Vec::new(),
            executor: String::new(),
            claimed_submitter: String::new(),
            idempotency_key: None,
        };
        let id = format!("{}/{}", record.id, project.name);
        let proposal = self
            .store
            .propose(submission, Some(&id), self.clock.now())
            .await?;
        match proposal {
            Proposal::New(task) => {
                tracing::info!(
                    task,
                    project = project.name,
                    reference = record.reference,
                    pusher,
                    "proposed"
                );
            }
            Proposal::Joined(task) => tracing::info!(task, pusher, "joined an unfinished task"),
            Proposal::TakenInBefore(task) | Proposal::OtherContent(task) => {
                tracing::debug!(task, "taken in before");
            }
        }
        Ok(())
    }

    /// The ref was deleted or moved, says the record: tasks that wait for it look again.
    async fn doubt(&self, project: &Project, record: &Record) -> Result<(), IntakeError> {
        let (ids, _) = self.store.active().await?;
        for id in ids {
            let head = self.store.head(id).await?;
            if head.project != project.name || head.reference != record.reference {
                continue;
            }
            while !self.doubted(id, project, record).await? {}
        }
        Ok(())
    }

    /// Whether the task doubts its ref now, or need not; otherwise it changed meanwhile. A ref that is
    /// doubted already is doubted anew: the first look may come before this change.
    async fn doubted(
        &self,
        id: u64,
        project: &Project,
        record: &Record,
    ) -> Result<bool, IntakeError> {
        let task = self.store.task(id).await?;
        let concerned = task.submission.project == project.name
            && task.submission.reference == record.reference
            && task.object() != record.new
            && matches!(
                task.state,
                State::Proposed | State::Waiting | State::Scheduled { .. }
            );
        if !concerned {
            return Ok(true);
        }
        let doubted = vec![Recorded {
            time: self.clock.now(),
            event: Event::RefDoubted,
        }];
        match self.store.append(&task, doubted).await {
            Ok(_) => Ok(true),
            Err(StoreError::Changed(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The name of a system user, by `/etc/passwd`.
fn system_user(number: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        (uid == number).then(|| name.to_owned())
    })
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
