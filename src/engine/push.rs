//! What a push means by the rules of today: which task it proposes in which project, or why none.
//!
//! `intake` asks it about every record; [`PushReplay`] asks it again about a record of the hook log. Every answer is written to the hook log in the commit that makes it true. It
//! runs no git and starts nothing; of files it reads templates alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::config::{Config, Project, Templates};
use crate::domain::approval::Actor;
use crate::domain::right::{Ability, Missing};
use crate::domain::rule::{Decision, RuleSet, is_zero};
use crate::domain::task::{
    Event, Origin, PushedWith, Recorded, State, Submission, Submitter, Supersede,
};
use crate::domain::template::{Hidden, ParamKind, Template};
use crate::store::kv::Commit;
use crate::store::{Became, HookNote, HookOutcome, SeenPush, Store, StoreError};

/// How often a replay begins anew when somebody else writes the same entry.
const TRIES: u32 = 8;
/// What rules say is kept up to this length, in characters, and for so many rules.
const REASON_LENGTH_MAX: usize = 300;
const REASONS_MAX: usize = 50;
/// So many doubted tasks are named in the hook log.
const DOUBTED_MAX: usize = 100;

/// What a push means in one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A task is to be proposed.
    Task(Box<Submission>),
    /// None is, and why.
    Nothing(HookOutcome),
}

/// What a push means in a project, with the templates of now.
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
                    .map(|said| {
                        let words = format!(
                            "rule {} ({}): {}",
                            said.number, said.rule.pattern, said.verdict
                        );
                        words.chars().take(REASON_LENGTH_MAX).collect()
                    })
                    .collect(),
            }),
            Err(error) => refused(error.to_string()),
        },
        Ok(Decision::NotATag) => refused("only tags are released".to_owned()),
        Ok(Decision::NotUtf8) => refused("the name of the tag is not UTF-8".to_owned()),
        Ok(Decision::OddName) => refused(
            "the name of the tag is too long or holds characters that a git server cannot be asked for; push the commit under another tag".to_owned(),
        ),
        Ok(Decision::Malformed(wrong)) => refused(wrong.to_string()),
        Err(error) => refused(error.to_string()),
    }
}

/// Whose account a push is. A key, or a system user, is never taken for a name of the git server's.
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
        origin: Origin::Tag {
            rule: rule.pattern.clone(),
        },
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
        supersede: if rule.supersede {
            Supersede::ByNewer
        } else {
            Supersede::Never
        },
        push: push.push.clone().map(|id| PushedWith { id, first: 0 }),
        refuse_older: rule.refuse_older,
        parameters: rule.params.clone(),
        secrets: BTreeMap::new(),
        unsorted: BTreeMap::new(),
        title: String::new(),
        details: String::new(),
        run_at: None,
        hosts: BTreeMap::new(),
        approvers: Vec::new(),
        executor: String::new(),
        claimed_submitter: String::new(),
        involved: BTreeSet::new(),
        idempotency_key: None,
    }
}

/// What the template knows of a task: its name, where the rule gave its number, and which of the
/// rule's parameters are shown to nobody.
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

/// There is no template to tell what is secret: nothing is shown until the task lands with one.
fn of_no_template(submission: &mut Submission) {
    let parameters = std::mem::take(&mut submission.parameters).into_iter();
    submission.unsorted = parameters
        .map(|(name, value)| (name, Hidden::from(value)))
        .collect();
}

/// The ref was deleted or moved, says the push: tasks that wait for it look again. Which.
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
    let mut told = Vec::new();
    for id in ids {
        let head = store.head(id).await?;
        if head.project != project || head.reference != push.reference {
            continue;
        }
        loop {
            let task = store.task(id).await?;
            let waits = matches!(
                task.state,
                State::Proposed | State::Waiting | State::Scheduled { .. }
            );
            if !waits || task.object() == push.new {
                break;
            }
            // One that is doubted already is doubted again: the first look may come before this.
            let event = Event::RefDoubted;
            match store
                .append(&task, vec![Recorded { time: now, event }])
                .await
            {
                Ok(_) => told.push(id),
                Err(StoreError::Changed(_)) => continue,
                Err(error) => return Err(error),
            }
            break;
        }
    }
    told.truncate(DOUBTED_MAX);
    Ok(told)
}

/// Does what a push means in one project, and notes it.
///
/// # Errors
/// [`StoreError::HooksChanged`] if somebody else wrote the entry; nothing has happened then.
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
            let became = Became {
                project: Some(project.to_owned()),
                outcome: outcome.clone(),
                doubted: doubted.to_vec(),
            };
            store.note_hook(note, became).await?;
            Ok(outcome)
        }
    }
}

/// Why a record is not decided anew.
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

/// A record of the hook log that is decided again, by the rules of today.
pub struct PushReplay<'a> {
    store: &'a Store,
    config: &'a Config,
    library: Templates,
    actor: &'a Actor,
    id: u64,
    push: SeenPush,
}

impl<'a> PushReplay<'a> {
    /// # Errors
    /// [`ReplayError`]: the actor may not, or there is nothing to decide.
    pub async fn of(
        store: &'a Store,
        config: &'a Config,
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
            library: Templates::load(&config.agent.templates_dir),
            actor,
            id,
            push,
        })
    }

    /// In which it is decided, each by itself.
    pub fn projects(&self) -> impl Iterator<Item = &Project> {
        self.config.projects_of(&self.push.repository)
    }

    /// Decides it in one of its projects: a new task is proposed as by that push, or an unfinished one
    /// of the same push takes it up. `also` happens in the same commit.
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
                // Without them there would be no task: it is as much theirs as the pusher's.
                submission.involved.insert(self.actor.name.clone());
                // The others of that push are long decided.
                submission.push = None;
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
