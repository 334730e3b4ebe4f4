//! What a push means by the current rules: which task it proposes in which project, or why none.
//!
//! `intake` calls it for every record, [`PushReplay`] again for one of the hook log. Results go to
//! the hook log in the same commit as their effect. Runs no git; reads no files except templates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::{Config, Project, TemplateCache, Templates};
use crate::domain::approval::Actor;
use crate::domain::permission::{Ability, Missing};
use crate::domain::rule::{Decision, RuleSet, is_zero};
use crate::domain::task::{
    Event, Origin, PushedTag, PushedWith, Recorded, Submission, Submitter, Supersede,
};
use crate::domain::template::{Hidden, ParamKind, Template};
use crate::store::kv::Commit;
use crate::store::{HookNote, HookOutcome, ProjectOutcome, SeenPush, Store, StoreError};

/// How often a replay is retried when another writer changes the same entry.
const TRIES: u32 = 8;
/// The maximum length of a rule's reason in characters, and the maximum number of rules.
const REASON_LENGTH_MAX: usize = 300;
const REASONS_MAX: usize = 50;
/// How many doubted tasks the hook log names.
const DOUBTED_MAX: usize = 100;

/// The meaning of a push in one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A task is proposed.
    Task(Box<Submission>),
    /// No task is proposed, and why.
    Nothing(HookOutcome),
}

/// Returns what a push means in a project, with the current templates.
#[must_use]
pub fn meaning(
    config: &Config,
    library: &Templates,
    project: &Project,
    rules: &RuleSet,
    push: &SeenPush,
) -> Meaning {
    let refused = |reason: String| Meaning::Nothing(HookOutcome::Refused { reason });
    match rules.decide(push.reference.as_bytes(), &push.old, &push.new) {
        Ok(Decision::Matched { index, .. }) => {
            let mut submission = submission(config, project, push, index);
            match library.find(&submission.template) {
                Some(template) if !library.is_in_doubt(&submission.template) => {
                    of_template(&mut submission, template);
                }
                _ => of_no_template(&mut submission),
            }
            Meaning::Task(Box::new(submission))
        }
        Ok(Decision::Deleted { .. }) => Meaning::Nothing(HookOutcome::Deleted),
        Ok(Decision::NoRule { .. }) if is_zero(&push.new) => Meaning::Nothing(HookOutcome::Deleted),
        Ok(Decision::NoRule { tag }) => match rules.explain(tag) {
            Ok(explained) => Meaning::Nothing(HookOutcome::NoRule {
                reasons: explained
                    .iter()
                    .take(REASONS_MAX)
                    .map(|test| {
                        let words = format!(
                            "rule {} ({}): {}",
                            test.number, test.rule.pattern, test.verdict
                        );
                        words.chars().take(REASON_LENGTH_MAX).collect()
                    })
                    .collect(),
            }),
            Err(error) => refused(error.to_string()),
        },
        Ok(Decision::NotATag) => refused("only tags are released".to_owned()),
        Ok(Decision::NotUtf8) => refused("the name of the tag is not UTF-8".to_owned()),
        Ok(Decision::UnsafeName) => refused(
            "the name of the tag is too long or holds characters that a git server cannot be asked for; push the commit under another tag".to_owned(),
        ),
        Ok(Decision::Malformed(wrong)) => refused(wrong.to_string()),
        Err(error) => refused(error.to_string()),
    }
}

/// Returns the pusher's account. A key or a system user is never taken for a git server user name.
fn account<'c>(config: &'c Config, push: &SeenPush) -> Option<&'c str> {
    if !push.ssh_key.is_empty() {
        config.account_of_key(&push.ssh_key)
    } else if push.system_user {
        config.account_of_system_user(&push.pusher, &push.repository)
    } else {
        config.account_of(&push.pusher)
    }
}

fn submission(config: &Config, project: &Project, push: &SeenPush, index: usize) -> Submission {
    let rule = &project.rules[index];
    Submission {
        origin: Origin::Tag(PushedTag {
            rule: rule.pattern.clone(),
            push: push.push.clone().map(|id| PushedWith { id, first: 0 }),
            supersede: if rule.supersede {
                Supersede::ByNewer
            } else {
                Supersede::Never
            },
        }),
        project: project.name.clone(),
        environment: rule.environment.clone(),
        repository: push.repository.clone(),
        reference: push.reference.clone(),
        object: push.new.clone(),
        template: rule.template.clone(),
        schedule: rule.schedule,
        submitter: Submitter {
            name: push.pusher.clone(),
            account: account(config, push).map(str::to_owned),
        },
        expires_s: Some(rule.expires.as_secs()),
        refuse_older: rule.refuse_older,
        parameters: rule.params.clone(),
        secrets: BTreeMap::new(),
        unclassified: BTreeMap::new(),
        hosts: BTreeMap::new(),
        title: String::new(),
        involved: BTreeSet::new(),
    }
}

/// Applies the template to a submission: its name, if the rule gave its number, and which of the
/// rule's parameters are secret.
fn of_template(submission: &mut Submission, template: &Template) {
    submission.template.clone_from(&template.name);
    let secret = |name: &str| {
        let mut params = template.params.iter();
        params.any(|param| param.name == name && param.kind == ParamKind::Secret)
    };
    let parameters = std::mem::take(&mut submission.parameters);
    for (name, value) in parameters {
        if secret(&name) {
            submission.secrets.insert(name, Hidden::from(value));
        } else {
            submission.parameters.insert(name, value);
        }
    }
}

/// Hides all parameters until the task lands: without a template it is unknown which are secret.
fn of_no_template(submission: &mut Submission) {
    let parameters = std::mem::take(&mut submission.parameters).into_iter();
    submission.unclassified = parameters
        .map(|(name, value)| (name, Hidden::from(value)))
        .collect();
}

/// Marks the ref of tasks as doubted, since the push deletes or moves it. Returns the tasks.
///
/// # Errors
/// [`StoreError::Kv`], [`StoreError::Unknown`].
pub async fn doubt(
    store: &Store,
    now: Timestamp,
    project: &str,
    push: &SeenPush,
) -> Result<Vec<u64>, StoreError> {
    let (ids, _) = store.active().await?;
    let mut tasks = Vec::new();
    for id in ids {
        let head = store.head(id).await?;
        if head.project != project || head.reference != push.reference {
            continue;
        }
        loop {
            let task = store.task(id).await?;
            if !task.depends_on_ref() || task.object() == push.new {
                break;
            }
            // Doubt it again, even if it is doubted already: the first check may precede this push.
            let event = Event::RefDoubted;
            match store
                .append(&task, vec![Recorded { time: now, event }])
                .await
            {
                Ok(_) => tasks.push(id),
                Err(StoreError::Changed(_)) => continue,
                Err(error) => return Err(error),
            }
            break;
        }
    }
    tasks.truncate(DOUBTED_MAX);
    Ok(tasks)
}

/// Performs what a push means in one project, and logs it.
///
/// # Errors
/// [`StoreError::HooksChanged`] if another writer changed the entry; nothing was changed then.
pub async fn settle(
    store: &Store,
    meaning: Meaning,
    project: &str,
    record: Option<&str>,
    doubted: &[u64],
    note: &HookNote,
    now: Timestamp,
) -> Result<HookOutcome, StoreError> {
    match meaning {
        Meaning::Task(submission) => {
            let proposal = store.propose_noted(*submission, record, now, note, doubted);
            Ok(proposal.await?.outcome())
        }
        Meaning::Nothing(outcome) => {
            let result = ProjectOutcome {
                project: Some(project.to_owned()),
                outcome: outcome.clone(),
                doubted: doubted.to_vec(),
            };
            store.note_hook(note, result).await?;
            Ok(outcome)
        }
    }
}

/// Why a record is not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Right(#[from] Missing),
    #[error("entry {0} of the hook log could not be read when it came; push the tag again")]
    Unread(u64),
    #[error(
        "entry {0} of the hook log is the deletion of a tag, which starts nothing; push the tag again"
    )]
    Deletion(u64),
    #[error("no project of the configuration has the repository {0}; add it, or push elsewhere")]
    NoProject(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A record of the hook log, replayed by the current rules.
pub struct PushReplay<'a> {
    store: &'a Store,
    config: &'a Config,
    library: Arc<Templates>,
    actor: &'a Actor,
    id: u64,
    push: SeenPush,
}

impl<'a> PushReplay<'a> {
    /// # Errors
    /// [`ReplayError`]: the actor lacks permission, or there is nothing to decide.
    pub async fn of(
        store: &'a Store,
        (config, templates): (&'a Config, &Arc<TemplateCache>),
        id: u64,
        actor: &'a Actor,
    ) -> Result<Self, ReplayError> {
        actor.may(Ability::Run, "replay a push")?;
        let push = store.hook(id).await?.push.ok_or(ReplayError::Unread(id))?;
        if is_zero(&push.new) {
            return Err(ReplayError::Deletion(id));
        }
        if config.projects_of(&push.repository).next().is_none() {
            return Err(ReplayError::NoProject(push.repository));
        }
        Ok(Self {
            store,
            config,
            library: templates.current().await,
            actor,
            id,
            push,
        })
    }

    /// Returns the projects to decide in, each separately.
    pub fn projects(&self) -> impl Iterator<Item = &Project> {
        self.config.projects_of(&self.push.repository)
    }

    /// Decides in one project: proposes a new task as that push would, or reopens an unfinished
    /// task of the same push. `also` is part of the same commit.
    ///
    /// # Errors
    /// [`ReplayError::Store`].
    pub async fn decide(
        &self,
        project: &Project,
        now: Timestamp,
        also: &Commit,
    ) -> Result<(), ReplayError> {
        let rules = project.rule_set();
        let mut tries = 0;
        loop {
            let note = self.store.hook_replay(self.id, now, &self.actor.name);
            let note = note.await?.and(also.clone());
            let mut meaning = meaning(self.config, &self.library, project, &rules, &self.push);
            if let Meaning::Task(submission) = &mut meaning {
                // Without the actor there would be no task: it is as much theirs as the pusher's.
                submission.involved.insert(self.actor.name.clone());
                // The other tags of that push were decided long ago.
                if let Origin::Tag(tag) = &mut submission.origin {
                    tag.push = None;
                }
            }
            match settle(self.store, meaning, &project.name, None, &[], &note, now).await {
                Err(StoreError::HooksChanged) if tries < TRIES => tries += 1,
                settled => {
                    let outcome = settled?;
                    tracing::info!(
                        hook = self.id,
                        project = project.name,
                        by = self.actor.name,
                        outcome = outcome.name(),
                        task = outcome.task(),
                        "replayed"
                    );
                    return Ok(());
                }
            }
        }
    }
}
