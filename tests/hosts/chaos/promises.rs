//! A stage whose agent is killed again and again, with its invariants: on the hosts' disks at any
//! moment, and in the store and on the disks at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tagship_tests::git::tag_ref;
use tagship_tests::until;
use tagship_tests::world::Settings;

use crate::api::Api;
use crate::stage::{PUBLISH, Stage, Start as _, TEMPLATE, publishing};
use crate::tree::Tree;

/// Run on every host before and after the switch, and write a line for each start. `slow` in the release
/// makes the second one wait, `broken` makes it fail.
const BEFORE: &str = r#"
[[stage.steps]]
use = "sync"
[[stage.steps]]
name = "migrate"
run = 'echo "$TAG before" >>"{DIR}/counted.$HOST"; echo migrated'
"#;

const AFTER: &str = r#"
[[stage.steps]]
name = "reload"
run = '''
echo "$TAG after" >>"{DIR}/counted.$HOST"
echo reloaded
if [ -e slow ]; then echo waiting; sleep 1000; fi
if [ -e broken ]; then exit 3; fi
'''
"#;

/// The hosts of every release here.
pub(crate) const HOSTS: [&str; 2] = ["web1", "web2"];

/// The expected end of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is live, unless a later one is.
    Succeeds,
    /// All hosts rolled back.
    RollsBack,
    Stopped,
    Withdrawn,
    /// It is not approved.
    Waits,
}

impl Fate {
    fn state(self) -> &'static str {
        match self {
            Self::Succeeds => "succeeded",
            Self::RollsBack => "rolled-back",
            Self::Stopped => "stopped",
            Self::Withdrawn => "withdrawn",
            Self::Waits => "waiting",
        }
    }
}

/// A push that the hook has accepted.
struct Accepted {
    tag: String,
    environment: &'static str,
    fate: Fate,
    /// It may be approved.
    approved: bool,
}

pub(crate) struct Chaos {
    pub(crate) stage: Stage,
    /// Approves releases to production.
    bob: Api,
    /// The programs that every release runs on each host.
    programs: &'static [&'static str],
    pushes: Vec<Accepted>,
    trees: BTreeMap<String, Tree>,
    /// The events of each task when it was last read.
    history: BTreeMap<u64, Vec<Value>>,
}

impl Chaos {
    /// Releases are only staged and switched.
    pub(crate) fn plain() -> Self {
        Self::new("plain", &[])
    }

    /// Releases run a program before and one after the switch.
    pub(crate) fn with_programs() -> Self {
        Self::new("steps", &["before", "after"])
    }

    fn new(template: &str, programs: &'static [&'static str]) -> Self {
        let steps = TEMPLATE.replace("steps = [{ use = \"sync\" }]\n", "");
        let keys = |rule: &str| {
            format!("group = 'pair'\nkeep_releases = 3\n--\ntemplate = '{template}'\n{rule}")
        };
        let stage = Settings::default()
            .group("pair = ['web1', 'web2']")
            .template("steps", &format!("{steps}{BEFORE}{PUBLISH}{AFTER}"))
            .template("plain", &publishing(""))
            .environment("qa", "qa-", &keys("schedule = 'ready'\nsupersede = false"))
            .environment("production", "release-", &keys("supersede = false"))
            .start();
        let bob = stage.person("bob", "approver");
        Self {
            stage,
            bob,
            programs,
            pushes: Vec::new(),
            trees: BTreeMap::new(),
            history: BTreeMap::new(),
        }
    }

    /// Commits a small tree that differs from every other one.
    fn commit(&self, tag: &str, more: &[&str]) {
        for name in ["slow", "broken"] {
            let _ = fs::remove_file(self.stage.tree().path.join(name));
        }
        let content = format!("{tag}\n").repeat(500);
        let own = format!("new/{tag}");
        let mut files = vec![("index.html", content.as_str()), (&own, &content)];
        files.extend(more.iter().map(|name| (*name, "")));
        self.stage.commit(tag, &files);
    }

    /// Pushes a tag of a new commit, which the hook must accept.
    pub(crate) fn push(&mut self, fate: Fate, more: &[&str]) -> String {
        let (prefix, environment) = match fate {
            Fate::Withdrawn | Fate::Waits => ("release", "production"),
            _ => ("qa", "qa"),
        };
        let tag = format!("{prefix}-{}", self.pushes.len() + 1);
        self.commit(&tag, more);
        self.stage.push(&tag);
        self.pushes.push(Accepted {
            tag: tag.clone(),
            environment,
            fate,
            approved: environment == "qa",
        });
        tag
    }

    /// Approves the oldest waiting push, if the agent answers; the result is known only at rest.
    pub(crate) fn approve_one(&mut self) {
        let Some(push) = self.pushes.iter_mut().find(|push| push.fate == Fate::Waits) else {
            return;
        };
        let id = self.stage.api.task_of(&push.tag);
        self.stage
            .api
            .until(id, "landed", |task| task["state"] != "proposed");
        push.approved = true;
        push.fate = Fate::Succeeds;
        let (status, answer) = self.bob.approve(id);
        assert!(status == 200 || status == 409, "{status} {answer}");
    }

    /// Sends a request while the agent may end.
    pub(crate) fn ask(&self, tag: &str, what: &str) {
        let id = self.stage.api.task_of(tag);
        self.stage
            .api
            .say(&format!("/tasks/{id}/{what}"), &json!({}));
    }

    /// The tree of a tag as git has it.
    fn tree(&mut self, tag: &str) -> &Tree {
        let repository = self.stage.repo().clone();
        self.trees
            .entry(tag.to_owned())
            .or_insert_with(|| Tree::archived(&repository, &tag_ref(tag).into_string().unwrap()))
    }

    /// After any kill, `current` names one complete release of a commit that was pushed and
    /// approved.
    #[track_caller]
    pub(crate) fn disks_are_whole(&mut self) {
        for environment in ["qa", "production"] {
            for host in HOSTS {
                let place = self.stage.place(host, environment);
                let Some(live) = self.stage.live(host, environment) else {
                    // After the first release, something is always live.
                    assert!(!place.join("current").exists(), "{host} {environment}");
                    continue;
                };
                let tree = Tree::read(&place.join("current/"));
                let tag = self.tag_of(&tree, environment);
                let tag = tag.unwrap_or_else(|| {
                    panic!("{host}: {} is no release that was approved", live.display())
                });
                let differences = tree.differences(self.tree(&tag));
                assert_eq!(differences, [""; 0], "{host} {environment}: {tag}");
            }
        }
    }

    /// The approved push whose mark a tree contains.
    fn tag_of(&self, tree: &Tree, environment: &str) -> Option<String> {
        let index = tree.0.get(b"index.html".as_slice())?;
        let pushes = self.pushes.iter().rev();
        let mut pushes = pushes.filter(|push| push.environment == environment && push.approved);
        let found = pushes.find(|push| {
            let mark = format!("{}\n", push.tag);
            matches!(index, crate::tree::Node::File { content, .. } if content.starts_with(mark.as_bytes()))
        });
        found.map(|push| push.tag.clone())
    }

    /// Waits until every task has its expected end, and checks every promise.
    #[track_caller]
    pub(crate) fn comes_to_rest(&mut self) {
        for push in &self.pushes {
            let ids = self.stage.api.tasks_of(&push.tag, 1);
            assert_eq!(ids.len(), 1, "{}: tasks {ids:?}", push.tag);
            self.stage.api.until_state(ids[0], push.fate.state());
        }
        let tasks = self.stage.api.tasks();
        assert_eq!(
            tasks.len(),
            self.pushes.len(),
            "exactly one task for each push"
        );
        self.history_has_grown(&tasks);
        self.disks_are_whole();
        self.hosts_agree();
        self.programs_ran_once();
        assert_eq!(self.spool(), [""; 0], "records left in the spool");
    }

    #[track_caller]
    fn history_has_grown(&mut self, tasks: &[Value]) {
        for task in tasks {
            let id = task["id"].as_u64().unwrap();
            let task = self.stage.api.task(id);
            let events = task["events"].as_array().unwrap().clone();
            let before = self.history.insert(id, events.clone()).unwrap_or_default();
            assert!(
                events.starts_with(&before),
                "task {id}: its history was changed"
            );
        }
    }

    /// Every host serves the newest push that was to succeed.
    #[track_caller]
    fn hosts_agree(&self) {
        for environment in ["qa", "production"] {
            let pushes = self.pushes.iter().rev();
            let newest = pushes
                .filter(|push| push.environment == environment)
                .find(|push| push.fate == Fate::Succeeds);
            if let Some(push) = newest {
                let stopped = self
                    .pushes
                    .iter()
                    .rev()
                    .take_while(|later| later.tag != push.tag);
                if stopped.clone().any(|later| later.fate == Fate::Stopped) {
                    continue;
                }
                self.stage.assert_live(&HOSTS, environment, &push.tag);
            }
        }
    }

    /// No program was started twice, and those of a release that succeeded were started everywhere.
    #[track_caller]
    fn programs_ran_once(&self) {
        for host in HOSTS {
            let lines = self.stage.lines(&format!("counted.{host}"));
            let distinct: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
            for push in self
                .pushes
                .iter()
                .filter(|push| push.fate == Fate::Succeeds)
            {
                for when in self.programs {
                    let line = format!("{} {when}", push.tag);
                    assert!(distinct.contains(line.as_str()), "{host}: {line} never ran");
                }
            }
            // The rollback reloads the release that was live before once more.
            let back = self
                .pushes
                .iter()
                .filter(|push| push.fate == Fate::RollsBack)
                .count();
            assert!(
                lines.len() <= distinct.len() + back,
                "{host}: twice: {lines:?}"
            );
        }
    }

    fn spool(&self) -> Vec<String> {
        let new = self.stage.path("spool/new");
        let entries = fs::read_dir(new).unwrap().flatten();
        entries
            .map(|entry| entry.path().display().to_string())
            .collect()
    }

    pub(crate) fn spool_directory(&self) -> PathBuf {
        self.stage.path("spool")
    }

    pub(crate) fn kill(&mut self) {
        self.stage.kill_agent();
        self.disks_are_whole();
    }

    /// Once no agent runs, nothing that any of them started is left.
    #[track_caller]
    pub(crate) fn leaves_nothing(self) {
        let root = self.stage.directory();
        let gone = until(|| processes_of(root).is_empty());
        assert!(gone, "{:#?}", processes_of(root));
    }
}

/// Processes whose command line or environment names this directory.
fn processes_of(root: &Path) -> Vec<String> {
    let root = root.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let names = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&root);
        if names(&words) || names(&environment) {
            found.push(String::from_utf8_lossy(&words).replace('\0', " "));
        }
    }
    found
}

/// The total number of kills: 40, or `KILLS`.
pub(crate) fn kills() -> u64 {
    let given = std::env::var("KILLS").ok();
    given.map_or(40, |text| text.parse().expect("KILLS is a number"))
}

/// The seed of random moments: random, or `SEED`.
pub(crate) fn seed() -> u64 {
    match std::env::var("SEED") {
        Ok(text) => text.parse().expect("SEED is a number"),
        Err(_) => u64::from(std::process::id()) * 7919 + 20_261_121,
    }
}

/// Waits for this long: nothing is ever sent, so receiving only waits.
pub(crate) fn random_time(time: Duration) {
    let (_silent, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}
