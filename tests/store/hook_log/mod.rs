//! Every record that is taken in has one entry in the hook log, with its outcome; any of them can
//! be replayed.

mod pushers;
mod sweep;
mod templates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tagship::base::clock::{Clock as _, ManualClock};
use tagship::config::{self, Config, TemplateCache};
use tagship::domain::approval::{Actor, Role};
use tagship::domain::rule::FORMAT;
use tagship::domain::task::{Event, Recorded};
use tagship::engine::intake::{Intake, Spool};
use tagship::engine::push::{PushReplay, ReplayError};
use tagship::engine::spool::{Received, Record, SpoolError, Waiting};
use tagship::store::kv::Commit;
use tagship::store::memory::{CommitFault, MemoryKv};
use tagship::store::{HookEntry, HookFilter, HookOutcome, Store, StoreError};

const GIT_USER: u32 = 990;

/// A repository with one project, and one with two.
fn configuration() -> String {
    let project = |(name, repository, source, pattern): (&str, &str, &str, &str)| {
        format!(
            r#"
[[projects]]
name = "{name}"
repository = "alice/{repository}"
git_url = "/git/{repository}.git"
{source}
[projects.environments.production]
group = "web"
deploy_to = "/srv/{name}"
[[projects.rules]]
pattern = "{pattern}"
environment = "production"
"#
        )
    };
    let hosts = "[hosts.a]\naddress = \"192.0.2.1\"\n[groups]\nweb = [\"a\"]\n";
    let projects = [
        ("shop", "shop", "", "release-"),
        ("cart", "mono", "source = \"cart\"", "v"),
        ("till", "mono", "source = \"till\"", "till-"),
    ];
    hosts.to_owned() + &projects.map(project).concat()
}

/// Files of a spool: records, or invalid content.
#[derive(Clone, Default)]
struct Files {
    waiting: Arc<Mutex<BTreeMap<String, Option<Record>>>>,
    /// Whether files can't be moved or removed, as after a crash before that.
    stuck: Arc<Mutex<bool>>,
    /// Their owner, if not the git user.
    owner: Arc<Mutex<Option<u32>>>,
    aside: Arc<Mutex<Vec<String>>>,
}

impl Files {
    fn take_away(&self, waiting: &Waiting) -> Result<(), SpoolError> {
        let name = waiting.name.to_str().unwrap();
        if *self.stuck.lock().unwrap() {
            return Err(SpoolError::Io {
                doing: "remove",
                path: name.into(),
                error: std::io::ErrorKind::PermissionDenied.into(),
            });
        }
        self.waiting.lock().unwrap().remove(name);
        Ok(())
    }
}

impl Spool for Files {
    fn waiting(&self) -> BoxFuture<'_, Result<Vec<Waiting>, SpoolError>> {
        let waiting = self.waiting.lock().unwrap();
        let names = waiting.keys().map(|name| Waiting { name: name.into() });
        let names: Vec<Waiting> = names.collect();
        async { Ok(names) }.boxed()
    }

    fn read<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<Received, SpoolError>> {
        let name = waiting.name.to_str().unwrap();
        let record = self.waiting.lock().unwrap()[name].clone();
        let owner = self.owner.lock().unwrap().unwrap_or(GIT_USER);
        async move {
            record
                .map(|record| Received { record, owner })
                .ok_or_else(|| SpoolError::Malformed {
                    path: name.into(),
                    reason: "is not TOML".to_owned(),
                })
        }
        .boxed()
    }

    fn set_aside<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<PathBuf, SpoolError>> {
        async {
            self.take_away(waiting)?;
            let name = waiting.name.to_str().unwrap().to_owned();
            self.aside.lock().unwrap().push(name.clone());
            Ok(name.into())
        }
        .boxed()
    }

    fn remove<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<(), SpoolError>> {
        async { self.take_away(waiting) }.boxed()
    }
}

struct Fixture {
    kv: Arc<MemoryKv>,
    store: Store,
    clock: Arc<ManualClock>,
    config: Arc<Config>,
    files: Files,
    records: u32,
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

fn object(digit: char) -> String {
    digit.to_string().repeat(40)
}

fn actor(name: &str, role: Role) -> Actor {
    Actor::new(name, role)
}

impl Fixture {
    fn new() -> Self {
        let kv = Arc::new(MemoryKv::new());
        let start: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let clock = Arc::new(ManualClock::at(start));
        Self {
            store: at_once(Store::open(kv.clone())).unwrap(),
            kv,
            clock,
            config: Arc::new(config::parse("c.toml", &configuration(), Path::new("/etc")).unwrap()),
            files: Files::default(),
            records: 0,
        }
    }

    fn record(&mut self, repository: &str, tag: &str, old: char, new: char) -> Record {
        self.records += 1;
        Record {
            push: Some(tag.to_owned()),
            format: FORMAT,
            id: serde_json::from_value(format!("{:032x}", self.records).into()).unwrap(),
            repository: repository.to_owned(),
            reference: format!("refs/tags/{tag}"),
            old: object(old),
            new: object(new),
            pusher: "alice".to_owned(),
            ssh_key: String::new(),
            time: self.clock.now().as_millisecond(),
        }
    }

    fn write(&mut self, file: &str, record: Option<Record>) {
        let mut waiting = self.files.waiting.lock().unwrap();
        waiting.insert(file.to_owned(), record);
    }

    fn push(&mut self, repository: &str, tag: &str, old: char, new: char) {
        let record = self.record(repository, tag, old, new);
        self.write(&format!("{}.toml", self.records), Some(record));
        self.take_all().unwrap();
    }

    fn templates(&self) -> Arc<TemplateCache> {
        TemplateCache::new(&self.config.agent.templates_dir)
    }

    fn intake(&self) -> Intake {
        Intake {
            scans: Arc::default(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            config: self.config.clone(),
            rules: Arc::new(self.config.rule_sets()),
            templates: self.templates(),
            spool: Arc::new(self.files.clone()),
            git_user: Some(GIT_USER),
        }
    }

    fn take_all(&self) -> Result<(), tagship::engine::intake::IntakeError> {
        at_once(self.intake().take_all())
    }

    fn entries(&self, filter: &HookFilter) -> Vec<HookEntry> {
        at_once(self.store.hooks(filter, None, 1000))
            .unwrap()
            .entries
    }

    fn all(&self) -> Vec<HookEntry> {
        self.entries(&HookFilter::default())
    }

    /// The outcome of the newest record.
    fn outcome(&self) -> HookOutcome {
        let newest = self.all().remove(0);
        let [result] = newest.outcomes.as_slice() else {
            panic!("{newest:?}");
        };
        result.outcome.clone()
    }

    fn replay(&self, id: u64, role: Role) -> Result<HookEntry, ReplayError> {
        let now = self.clock.now();
        let bob = actor("bob", role);
        at_once(async {
            let library = (&*self.config, &self.templates());
            let replay = PushReplay::of(&self.store, library, id, &bob).await?;
            for project in replay.projects() {
                replay.decide(project, now, &Commit::new()).await?;
            }
            Ok(self.store.hook(id).await?)
        })
    }

    fn withdraw(&self, id: u64) {
        let task = at_once(self.store.task(id)).unwrap();
        let event = Event::Withdrawn {
            by: "bob".to_owned(),
            reason: String::new(),
        };
        let time = self.clock.now();
        at_once(self.store.append(&task, vec![Recorded { time, event }])).unwrap();
    }
}

#[test]
fn each_outcome_is_logged_with_the_pushed_ref() {
    let mut fixture = Fixture::new();
    fixture.push("alice/shop", "release-1", '0', '1');
    assert_eq!(fixture.outcome(), HookOutcome::Proposed { task: 1 });
    let entry = fixture.all().remove(0);
    let push = entry.push.unwrap();
    assert_eq!((push.pusher.as_str(), push.owner), ("alice", GIT_USER));
    assert_eq!((push.tag(), push.new.clone()), ("release-1", object('1')));
    assert_eq!(push.pushed_at, Some(fixture.clock.now()));
    fixture.push("alice/shop", "release-1", '0', '1');
    assert_eq!(fixture.outcome(), HookOutcome::Joined { task: 1 });
    fixture.push("alice/shop", "hotfix-1", '0', '1');
    let HookOutcome::NoRule { reasons } = fixture.outcome() else {
        panic!("{:?}", fixture.outcome());
    };
    assert!(
        reasons[0].starts_with("rule 1 (release-): does not match"),
        "{reasons:?}"
    );
    fixture.push("alice/shop", "release-1", '1', '0');
    assert_eq!(fixture.outcome(), HookOutcome::Deleted);
    assert_eq!(fixture.all()[0].outcomes[0].doubted, [1]);
    fixture.push("alice/other", "release-1", '0', '1');
    assert_eq!(fixture.outcome(), HookOutcome::UnknownRepository);
    fixture.write("junk", None);
    fixture.take_all().unwrap();
    assert!(matches!(fixture.outcome(), HookOutcome::Unreadable { .. }));
    assert_eq!(*fixture.files.aside.lock().unwrap(), ["junk"]);
    assert_eq!(fixture.all().len(), 6);
}

#[test]
fn rescanned_record_is_logged_once_a_copy_as_duplicate() {
    let mut fixture = Fixture::new();
    let record = fixture.record("alice/shop", "release-1", '0', '1');
    fixture.write("1.toml", Some(record.clone()));
    fixture.write("junk", None);
    *fixture.files.stuck.lock().unwrap() = true;
    fixture.take_all().unwrap();
    assert_eq!(fixture.files.waiting.lock().unwrap().len(), 2, "both stay");
    *fixture.files.stuck.lock().unwrap() = false;
    fixture.take_all().unwrap();
    assert_eq!(fixture.all().len(), 2);
    assert_eq!(fixture.all()[1].outcomes.len(), 1);
    fixture.write("copy.toml", Some(record));
    fixture.take_all().unwrap();
    assert_eq!(fixture.outcome(), HookOutcome::Duplicate { task: 1 });
}

#[test]
fn unmovable_file_is_logged_once_and_blocks_no_record() {
    let mut fixture = Fixture::new();
    fixture.write("0-directory", None);
    *fixture.files.stuck.lock().unwrap() = true;
    fixture.push("alice/shop", "release-1", '0', '1');
    fixture.push("alice/shop", "release-2", '0', '2');
    let outcomes: Vec<HookOutcome> = fixture
        .all()
        .iter()
        .rev()
        .map(|entry| entry.outcomes[0].outcome.clone())
        .collect();
    assert!(
        matches!(
            outcomes.as_slice(),
            [
                HookOutcome::Unreadable { .. },
                HookOutcome::Proposed { task: 1 },
                HookOutcome::Proposed { task: 2 }
            ]
        ),
        "{outcomes:?}"
    );
}

#[test]
fn record_with_an_unqueryable_name_is_refused() {
    let mut fixture = Fixture::new();
    fixture.push("alice/shop", "release-1 x", '0', '1');
    let HookOutcome::Refused { reason } = fixture.outcome() else {
        panic!("{:?}", fixture.outcome());
    };
    assert!(
        reason.contains("push the commit under another tag"),
        "{reason}"
    );
    fixture.push("alice/shop", "release-1\u{85}", '0', '1');
    assert!(matches!(fixture.outcome(), HookOutcome::Refused { .. }));
}

#[test]
fn record_of_several_projects_has_one_entry_despite_faults() {
    for blow in 0..4 {
        let mut fixture = Fixture::new();
        let record = fixture.record("alice/mono", "v1", '0', '1');
        fixture.write("1.toml", Some(record));
        let commits = Arc::new(Mutex::new(0));
        fixture.kv.on_commit(move |_| {
            let mut commits = commits.lock().unwrap();
            *commits += 1;
            match (*commits, blow) {
                (1, 0) | (2, 1) => CommitFault::UnknownLost,
                (1, 2) | (2, 3) => CommitFault::UnknownApplied,
                _ => CommitFault::None,
            }
        });
        assert!(fixture.take_all().is_err(), "the commit was not confirmed");
        fixture.take_all().unwrap();
        let entries = fixture.all();
        let [entry] = entries.as_slice() else {
            panic!("{entries:?}");
        };
        let results: Vec<_> = entry.outcomes.iter().collect();
        assert_eq!(results.len(), 2, "blow {blow}: {results:?}");
        assert_eq!(results[0].project.as_deref(), Some("cart"));
        assert_eq!(
            results[0].outcome,
            HookOutcome::Proposed {
                task: results[0].outcome.task().unwrap()
            }
        );
        assert_eq!(results[1].project.as_deref(), Some("till"));
        assert_eq!(results[1].outcome.name(), "no-rule");
        assert!(fixture.files.waiting.lock().unwrap().is_empty());
    }
}

#[test]
fn entries_are_found_by_content_in_pages_of_any_size() {
    let mut fixture = Fixture::new();
    for number in 1..=9 {
        let tag = if number % 3 == 0 { "hotfix" } else { "release" };
        fixture.push("alice/shop", &format!("{tag}-{number}"), '0', '1');
        fixture.clock.advance(Duration::from_secs(60));
    }
    fixture.push("alice/mono", "v7", '0', '1');
    let ids = |filter: HookFilter| -> Vec<u64> {
        let found = fixture.entries(&filter);
        found.iter().map(|entry| entry.id).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    let of = |filter: HookFilter| filter;
    assert_eq!(
        ids(of(HookFilter {
            project: text("till"),
            ..HookFilter::default()
        })),
        [10]
    );
    assert_eq!(
        ids(of(HookFilter {
            reference: text("hotfix"),
            ..HookFilter::default()
        })),
        [9, 6, 3]
    );
    assert_eq!(
        ids(of(HookFilter {
            outcome: text("no-rule"),
            ..HookFilter::default()
        })),
        [10, 9, 6, 3]
    );
    assert_eq!(
        ids(of(HookFilter {
            pusher: text("mallory"),
            ..HookFilter::default()
        })),
        [0; 0]
    );
    let third = fixture.all()[7].at;
    let fifth = fixture.all()[5].at;
    let between = HookFilter {
        since: Some(third),
        until: Some(fifth),
        ..HookFilter::default()
    };
    assert_eq!(ids(between), [5, 4, 3]);
    for size in 1..=11 {
        let mut found = Vec::new();
        let mut before = None;
        loop {
            let page = at_once(fixture.store.hooks(&HookFilter::default(), before, size)).unwrap();
            assert!(page.entries.len() <= size);
            found.extend(page.entries.iter().map(|entry| entry.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let all: Vec<u64> = (1..=10).rev().collect();
        assert_eq!(found, all, "pages of {size}");
    }
}

#[test]
fn replay_repeats_the_push_and_joins_an_unfinished_task() {
    let mut fixture = Fixture::new();
    fixture.push("alice/shop", "release-1", '0', '1');
    let entry = fixture.replay(1, Role::Approver).unwrap();
    assert_eq!(entry.replays.len(), 1);
    assert_eq!(entry.replays[0].by, "bob");
    assert_eq!(
        entry.replays[0].outcomes[0].outcome,
        HookOutcome::Joined { task: 1 }
    );
    fixture.withdraw(1);
    fixture.clock.advance(Duration::from_secs(1));
    let entry = fixture.replay(1, Role::Approver).unwrap();
    assert_eq!(
        entry.replays[1].outcomes[0].outcome,
        HookOutcome::Proposed { task: 2 }
    );
    let task = at_once(fixture.store.task(2)).unwrap();
    assert_eq!(task.submission.object, object('1'));
    assert_eq!(task.submission.submitter.name, "alice");
    let involved: Vec<&String> = task.submission.involved.iter().collect();
    assert_eq!(involved, ["bob"], "who had it replayed may not approve it");
    fixture.clock.advance(Duration::from_secs(1));
    let entry = fixture.replay(1, Role::Admin).unwrap();
    assert_eq!(
        entry.replays[2].outcomes[0].outcome,
        HookOutcome::Joined { task: 2 }
    );
    assert_eq!(entry.outcomes.len(), 1, "what became of it at first stays");
    assert_eq!(fixture.all().len(), 1, "a replay is no record");
}

#[test]
fn replay_follows_the_current_rules() {
    let mut fixture = Fixture::new();
    fixture.push("alice/shop", "hotfix-1", '0', '1');
    assert_eq!(fixture.outcome().name(), "no-rule");
    let text = configuration().replace("\"release-\"", "\"(release|hotfix)-\"");
    fixture.config = Arc::new(config::parse("c.toml", &text, Path::new("/etc")).unwrap());
    let entry = fixture.replay(1, Role::Approver).unwrap();
    assert_eq!(
        entry.replays[0].outcomes[0].outcome,
        HookOutcome::Proposed { task: 1 }
    );
}

#[test]
fn pointless_or_unauthorized_replay_is_refused() {
    let mut fixture = Fixture::new();
    fixture.push("alice/shop", "release-1", '1', '0');
    fixture.push("alice/other", "release-1", '0', '1');
    fixture.write("junk", None);
    fixture.take_all().unwrap();
    fixture.push("alice/shop", "release-1", '0', '1');
    assert!(matches!(
        fixture.replay(4, Role::Submitter),
        Err(ReplayError::Right { .. })
    ));
    assert!(matches!(
        fixture.replay(1, Role::Approver),
        Err(ReplayError::Deletion(1))
    ));
    assert!(matches!(
        fixture.replay(2, Role::Approver),
        Err(ReplayError::NoProject(_))
    ));
    assert!(matches!(
        fixture.replay(3, Role::Approver),
        Err(ReplayError::Unread(3))
    ));
    let none = fixture.replay(99, Role::Approver);
    assert!(matches!(
        none,
        Err(ReplayError::Store(StoreError::NoHook(99)))
    ));
    assert!(fixture.all().iter().all(|entry| entry.replays.is_empty()));
}

#[test]
fn old_and_excess_entries_are_deleted_ids_never_reused() {
    let mut fixture = Fixture::new();
    for number in 1..=100 {
        fixture.push("alice/shop", &format!("release-{number}"), '0', '1');
        fixture.clock.advance(Duration::from_secs(60));
    }
    let deleted = at_once(fixture.store.trim_hooks(Timestamp::MIN, 90)).unwrap();
    assert_eq!((deleted, fixture.all().len()), (10, 90));
    let oldest = fixture.all()[50].at;
    let deleted = at_once(fixture.store.trim_hooks(oldest, 1000)).unwrap();
    assert_eq!((deleted, fixture.all().len()), (39, 51));
    at_once(fixture.store.trim_hooks(Timestamp::MAX, 1000)).unwrap();
    assert_eq!(fixture.all().len(), 1, "the newest one stays");
    fixture.store = at_once(Store::open(fixture.kv.clone())).unwrap();
    fixture.push("alice/shop", "release-101", '0', '1');
    assert_eq!(fixture.all()[0].id, 101);
}
