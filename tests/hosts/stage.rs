//! A whole installation on one machine: a world with the hook in its repositories, and an agent.

use std::ffi::OsStr;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tagship_tests::git::tag_ref;
use tagship_tests::hook::hook_program;
use tagship_tests::sshd::free_port;
use tagship_tests::unindent;
use tagship_tests::world::{Settings, World};

use crate::agent::{Agent, Log, Variables, tagship};
use crate::api::Api;
use crate::tree::Tree;

/// The hosts that every stage has: 127.0.1.1 to 127.0.1.3.
pub(crate) const HOSTS: [&str; 3] = ["web1", "web2", "web3"];

/// The built-in template, with a place for more steps after the switch.
pub(crate) const TEMPLATE: &str = r#"
[[stage]]
name = "checkout"
steps = [{ use = "checkout" }]
[[stage]]
name = "sync"
hosts = "{group}"
steps = [{ use = "sync" }]
"#;

/// What comes behind it: the switch, in whose stage further steps may follow.
pub(crate) const PUBLISH: &str = r#"
[[stage]]
name = "switch"
hosts = "{group}"
[[stage.steps]]
use = "publish"
"#;

/// A template that checks out, syncs and publishes, and then does these steps.
pub(crate) fn publishing(steps: &str) -> String {
    format!("{TEMPLATE}{PUBLISH}{}", unindent(steps))
}

/// A world with the hook in each repository and a running agent.
#[must_use]
pub(crate) struct Stage {
    agent: Option<Agent>,
    pub(crate) api: Api,
    pub(crate) log: Log,
    variables: Variables,
    port: u16,
    world: World,
}

impl Deref for Stage {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// A stage whose `qa-` tags run at once and whose `release-` tags wait.
pub(crate) fn usual() -> Settings {
    Settings::default()
        .environment("qa", "qa-", "--\nschedule = \"ready\"")
        .environment("production", "release-", "")
}

/// Serializes tests with tasks of no project: their directory in the login user's home is named by
/// number and second, and here several agents log in as one user and count from the same number.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stage of these settings.
pub(crate) trait Start: Sized {
    /// Does something in the stage's directory before the agent starts.
    #[track_caller]
    fn start_with(self, prepare: impl FnOnce(&Path)) -> Stage;

    #[track_caller]
    fn start(self) -> Stage {
        self.start_with(|_| {})
    }
}

impl Start for Settings {
    #[track_caller]
    fn start_with(self, prepare: impl FnOnce(&Path)) -> Stage {
        let port = free_port();
        let mut settings = self;
        let pusher = !settings.tables.contains(USERS);
        if pusher {
            // With an unknown pusher, one more approval would be needed.
            settings = settings.more(&format!("{USERS}{PUSHER}]\ngitlab = '{{USER}}'"));
        }
        let agent = format!("listen = '127.0.0.1:{port}'\ngit_user = '{{USER}}'");
        let hosts = u8::try_from(HOSTS.len()).unwrap();
        let settings = settings.agent(&agent).hosts(hosts).with_sshd().in_memory();
        let world = settings.build();
        fs::create_dir_all(world.path("templates")).unwrap();
        prepare(world.directory());
        let mut stage = Stage {
            agent: None,
            api: Api::local(world.path("data/agent.sock")),
            log: Log::default(),
            variables: Vec::new(),
            port,
            world,
        };
        for project in &stage.projects {
            stage.install(&project.name);
        }
        stage.start_agent();
        if pusher {
            let account = json!({ "name": PUSHER, "role": "none" });
            stage.api.post("/users", &account);
        }
        stage
    }
}

impl Stage {
    /// Runs the command line as the agent's own user; returns its output.
    #[track_caller]
    pub(crate) fn command(&self, arguments: &[&str]) -> Vec<u8> {
        let asked = tagship(self.directory())
            .args(arguments)
            .arg("--config")
            .arg(self.path("config.toml"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&asked.stderr);
        assert!(asked.status.success(), "{arguments:?}: {errors}");
        asked.stdout
    }

    #[track_caller]
    fn install(&self, project: &str) {
        let installed = tagship(self.directory())
            .args(["install", "--project", project, "--config"])
            .arg(self.path("config.toml"))
            .arg("--hook")
            .arg(hook_program())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "install: {errors}");
    }

    #[track_caller]
    pub(crate) fn start_agent(&mut self) {
        assert!(self.agent.is_none(), "an agent is running");
        let config = self.path("config.toml");
        let agent = Agent::start(&config, self.directory(), &self.log, &self.variables);
        self.agent = Some(agent);
    }

    /// The agent that is started next, and those after it, have these variables.
    pub(crate) fn variables(&mut self, variables: Variables) {
        self.variables = variables;
    }

    /// Starts an agent that may end at once.
    #[track_caller]
    pub(crate) fn spawn_agent(&mut self) {
        assert!(self.agent.is_none(), "an agent is running");
        let config = self.path("config.toml");
        let agent = Agent::spawn(&config, self.directory(), &self.log, &self.variables);
        self.agent = Some(agent);
    }

    /// Waits until the agent ends by itself; `None` after the time limit.
    #[track_caller]
    pub(crate) fn agent_ends(&mut self, within: Duration) -> Option<ExitStatus> {
        let status = self.agent.as_mut().unwrap().ends(within)?;
        self.agent = None;
        Some(status)
    }

    /// Ends the agent as an operator does.
    #[track_caller]
    pub(crate) fn stop_agent(&mut self) {
        self.agent.take().unwrap().terminate();
    }

    /// Kills the agent.
    #[track_caller]
    pub(crate) fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill();
    }

    /// The agent's soft and hard limit of open files.
    pub(crate) fn open_files_limits(&self) -> [String; 2] {
        self.agent.as_ref().unwrap().open_files_limits()
    }

    /// The peak memory of the agent, in KiB.
    pub(crate) fn memory_peak_kib(&self) -> u64 {
        self.agent.as_ref().unwrap().memory_peak_kib()
    }

    /// A user with a role, as an HTTP client.
    pub(crate) fn person(&self, name: &str, role: &str) -> Api {
        self.owner_of(self.token(name, role))
    }

    /// The user of this token, as an HTTP client.
    pub(crate) fn owner_of(&self, token: String) -> Api {
        Api::network(self.port, token)
    }

    /// The token of a new account.
    pub(crate) fn token(&self, name: &str, role: &str) -> String {
        self.api
            .post("/users", &json!({ "name": name, "role": role }));
        let made = self.api.post(&format!("/users/{name}/tokens"), &json!({}));
        made["token"].as_str().unwrap().to_owned()
    }

    /// Where the agent answers.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Commits files and tags the commit; nothing is pushed.
    pub(crate) fn commit(&self, tag: &str, files: &[(&str, &str)]) -> String {
        let commit = self.tree().commit_files(tag, files);
        self.tree().tag(tag, &commit);
        commit
    }

    /// The lines of a file that steps write, if they have begun to.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Pushes a tag, which the hook must accept.
    #[track_caller]
    pub(crate) fn push(&self, tag: impl AsRef<OsStr>) {
        let pushed = self.tree().push_tag(tag);
        assert!(pushed.success, "{}", pushed.text);
    }

    /// Commits, tags and pushes, and waits for the task.
    #[track_caller]
    pub(crate) fn propose(&self, tag: &str, files: &[(&str, &str)]) -> u64 {
        self.commit(tag, files);
        self.push(tag);
        self.api.task_of(tag)
    }

    /// The same, and waits until the release is live.
    #[track_caller]
    pub(crate) fn release(&self, tag: &str, files: &[(&str, &str)]) -> Value {
        let id = self.propose(tag, files);
        self.api.until_state(id, "succeeded")
    }

    /// The directory of the first project's environment on a host.
    pub(crate) fn place(&self, host: &str, environment: &str) -> PathBuf {
        self.place_of(&self.projects[0].name, host, environment)
    }

    pub(crate) fn place_of(&self, project: &str, host: &str, environment: &str) -> PathBuf {
        let hosts = self.path("hosts").join(host);
        hosts.join(project).join(environment)
    }

    /// What `current` names on a host.
    pub(crate) fn live(&self, host: &str, environment: &str) -> Option<PathBuf> {
        fs::read_link(self.place(host, environment).join("current")).ok()
    }

    /// The tree that is live on each of these hosts is that of the tag, to the last bit, and nothing
    /// half-written exists there.
    #[track_caller]
    pub(crate) fn assert_live(&self, hosts: &[&str], environment: &str, tag: &str) {
        let revision = tag_ref(tag).into_string().unwrap();
        let wanted = Tree::archived(self.repo(), &revision);
        self.assert_tree(hosts, environment, &wanted);
    }

    #[track_caller]
    pub(crate) fn assert_tree(&self, hosts: &[&str], environment: &str, wanted: &Tree) {
        for host in hosts {
            let place = self.place(host, environment);
            let different = Tree::read(&place.join("current/")).differences(wanted);
            assert_eq!(different, [""; 0], "{host} {environment}");
            assert_eq!(half_done(&place), [""; 0], "{host} {environment}");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.agent.take());
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}", self.log.text());
        }
    }
}

/// What a release that was not completed leaves behind.
pub(crate) fn half_done(place: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let names = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    for fence in names(&place.join(".tagship")) {
        let name = fence.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("fence-") {
            continue;
        }
        for inside in names(&fence) {
            let turn = inside
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("turn-");
            // rsync's own directory stays after a transfer, empty.
            let emptied = inside.ends_with("temporary");
            match turn || emptied {
                true => found.extend(names(&inside)),
                false => found.push(inside),
            }
        }
    }
    found
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// The pusher, unless a stage's settings name another one.
const PUSHER: &str = "pusher";
const USERS: &str = "[users.";
