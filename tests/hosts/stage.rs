//! A whole installation on one machine: repositories with the hook, an agent, hosts behind an sshd.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tagship_tests::git::{Repository, WorkTree, tag_ref};
use tagship_tests::hook::hook_program;
use tagship_tests::sshd::{Sshd, free_port};
use tempfile::TempDir;

use crate::agent::{Agent, Log, Variables, tagship};
use crate::api::Api;
use crate::tree::Tree;

/// The hosts that every stage has: 127.0.1.1 to 127.0.1.3.
pub(crate) const HOSTS: [&str; 3] = ["web1", "web2", "web3"];

/// The template that is built in, with room for steps of one's own behind the switch.
pub(crate) const TEMPLATE: &str = r#"
[[stage]]
name = "checkout"
steps = [{ use = "checkout" }]
[[stage]]
name = "sync"
hosts = "{group}"
steps = [{ use = "sync" }]
"#;

/// What is peculiar to one stage. Texts may hold `{DIR}`, the directory of the stage, and those of the
/// configuration `{USER}`, who runs the test.
#[derive(Default)]
pub(crate) struct Settings {
    agent: String,
    more: String,
    groups: String,
    projects: Vec<(String, String)>,
    templates: Vec<(String, String)>,
    ssh: String,
    sshd: Vec<String>,
    ports: Vec<u16>,
}

impl Settings {
    /// Lines of `[agent]`.
    pub(crate) fn agent(mut self, lines: &str) -> Self {
        self.agent.push_str(lines);
        self.agent.push('\n');
        self
    }

    /// Lines of `[ssh]`.
    pub(crate) fn ssh(mut self, lines: &str) -> Self {
        self.ssh.push_str(lines);
        self.ssh.push('\n');
        self
    }

    /// Tables of their own: `[hosts.…]`, `[users.…]`.
    pub(crate) fn more(mut self, text: &str) -> Self {
        self.more.push_str(text);
        self.more.push('\n');
        self
    }

    /// A line of `[groups]`, besides `web`, which holds all of [`HOSTS`].
    pub(crate) fn group(mut self, line: &str) -> Self {
        self.groups.push_str(line);
        self.groups.push('\n');
        self
    }

    pub(crate) fn sshd(mut self, line: &str) -> Self {
        self.sshd.push(line.to_owned());
        self
    }

    /// The server is also known at this port of its own address.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Another project with a repository of its own; the environments that follow are its.
    pub(crate) fn project(mut self, name: &str) -> Self {
        self.projects.push((name.to_owned(), String::new()));
        self
    }

    /// An environment, and the rule by which tags that begin with `prefix` come there. `more` holds
    /// further keys of the environment, then a line `--`, then keys of the rule.
    pub(crate) fn environment(mut self, name: &str, prefix: &str, more: &str) -> Self {
        if self.projects.is_empty() {
            self = self.project("shop");
        }
        let (project, text) = self.projects.last_mut().unwrap();
        let (more, rule) = more.split_once("--").unwrap_or((more, ""));
        let group = match more.contains("group =") {
            true => "",
            false => "group = \"web\"",
        };
        // Writing to a String never fails.
        let _ = write!(
            text,
            "[projects.environments.{name}]\n{group}\ndeploy_to = '{{DIR}}/hosts/{{HOST}}/{project}/{name}'\n{more}\n\
             [[projects.rules]]\npattern = '{prefix}'\nenvironment = '{name}'\n{rule}\n"
        );
        self
    }

    /// `NAME.toml` in `templates_dir`, without the line that names it.
    pub(crate) fn template(mut self, name: &str, text: &str) -> Self {
        let text = format!("name = \"{name}\"\n{text}");
        self.templates.push((name.to_owned(), text));
        self
    }

    /// `[[params]]` of a template.
    pub(crate) fn template_params(mut self, name: &str, params: &str) -> Self {
        let found = self.templates.iter_mut().find(|(other, _)| other == name);
        found.unwrap().1.push_str(params);
        self
    }

    pub(crate) fn start(self) -> Stage {
        Stage::start(self, |_| {})
    }

    /// Does something in the stage's directory before the agent starts.
    pub(crate) fn start_with(self, prepare: impl FnOnce(&Path)) -> Stage {
        Stage::start(self, prepare)
    }
}

/// A project's repository, and a clone that pushes.
pub(crate) struct Shop {
    pub(crate) repo: Repository,
    pub(crate) tree: WorkTree,
}

pub(crate) struct Stage {
    agent: Option<Agent>,
    pub(crate) api: Api,
    pub(crate) sshd: Sshd,
    pub(crate) shops: Vec<Shop>,
    names: Vec<String>,
    pub(crate) log: Log,
    variables: Variables,
    port: u16,
    dir: TempDir,
}

/// A stage whose `qa-` tags run at once and whose `release-` tags wait.
pub(crate) fn usual() -> Settings {
    Settings::default()
        .environment("qa", "qa-", "--\nschedule = \"ready\"")
        .environment("production", "release-", "")
}

/// A task of no project has its place in the home of the login user, named by its number and the
/// second; here several agents log in as one user and begin to count at the same time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    fn start(mut settings: Settings, prepare: impl FnOnce(&Path)) -> Self {
        let dir = directory();
        let root = dir.path();
        let fill = |text: &str| text.replace("{DIR}", &root.display().to_string());
        let mut sshd = Sshd::settings().hosts(3);
        for line in &settings.sshd {
            sshd = sshd.line(&fill(line));
        }
        let sshd = sshd.start();
        let port = free_port();
        if settings.projects.is_empty() {
            settings = settings.project("shop");
        }
        fs::create_dir(root.join("templates")).unwrap();
        for (name, text) in &settings.templates {
            fs::write(root.join(format!("templates/{name}.toml")), fill(text)).unwrap();
        }
        fs::write(
            root.join("config.toml"),
            fill(&configuration(&settings, &sshd, port)).replace("{USER}", &sshd.user),
        )
        .unwrap();
        fs::copy(sshd.known_hosts(&settings.ports), root.join("known_hosts")).unwrap();
        fs::copy(sshd.identity(), root.join("key")).unwrap();
        prepare(root);
        let pusher = !settings.more.contains(USERS);
        let names: Vec<String> = settings
            .projects
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let shops = names.iter().map(|name| shop(root, name)).collect();
        let stage = Self {
            agent: None,
            api: Api::local(root.join("data/agent.sock")),
            sshd,
            shops,
            names,
            log: Log::default(),
            variables: Vec::new(),
            port,
            dir,
        };
        for name in &stage.names {
            stage.install(name);
        }
        let mut stage = stage;
        stage.start_agent();
        if pusher {
            let account = json!({ "name": PUSHER, "role": "none" });
            stage.api.post("/users", &account);
        }
        stage
    }

    /// The command line, asked as the agent's own user: what it printed.
    pub(crate) fn command(&self, arguments: &[&str]) -> Vec<u8> {
        let asked = tagship(self.path())
            .args(arguments)
            .arg("--config")
            .arg(self.path().join("config.toml"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&asked.stderr);
        assert!(asked.status.success(), "{arguments:?}: {told}");
        asked.stdout
    }

    fn install(&self, project: &str) {
        let installed = tagship(self.path())
            .args(["install", "--project", project, "--config"])
            .arg(self.path().join("config.toml"))
            .arg("--hook")
            .arg(hook_program())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "install: {told}");
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn start_agent(&mut self) {
        assert!(self.agent.is_none(), "an agent is running");
        let config = self.path().join("config.toml");
        let agent = Agent::start(&config, self.path(), &self.log, &self.variables);
        self.agent = Some(agent);
    }

    /// The agent that is started next, and those after it, have these variables.
    pub(crate) fn variables(&mut self, variables: Variables) {
        self.variables = variables;
    }

    /// Starts an agent that may end at once.
    pub(crate) fn spawn_agent(&mut self) {
        assert!(self.agent.is_none(), "an agent is running");
        let config = self.path().join("config.toml");
        let agent = Agent::spawn(&config, self.path(), &self.log, &self.variables);
        self.agent = Some(agent);
    }

    /// Waits until the agent ends by itself; `None` if it runs for so long.
    pub(crate) fn agent_ends(&mut self, within: Duration) -> Option<ExitStatus> {
        let status = self.agent.as_mut().unwrap().ends(within)?;
        self.agent = None;
        Some(status)
    }

    /// Ends the agent as an operator does.
    pub(crate) fn stop_agent(&mut self) {
        self.agent.take().unwrap().terminate();
    }

    /// Ends the agent without a warning.
    pub(crate) fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill();
    }

    /// The agent's soft and hard limit of open files.
    pub(crate) fn open_files_limits(&self) -> [String; 2] {
        self.agent.as_ref().unwrap().open_files_limits()
    }

    /// The most memory that the agent ever had, in KiB.
    pub(crate) fn memory_peak_kib(&self) -> u64 {
        self.agent.as_ref().unwrap().memory_peak_kib()
    }

    pub(crate) fn repo(&self) -> &Repository {
        &self.shops[0].repo
    }

    pub(crate) fn tree(&self) -> &WorkTree {
        &self.shops[0].tree
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

    /// Pushes a tag, which the hook must take.
    pub(crate) fn push(&self, tag: impl AsRef<OsStr>) {
        let pushed = self.tree().push_tag(tag);
        assert!(pushed.success, "{}", pushed.text);
    }

    /// Commits, tags and pushes, and waits for the task.
    pub(crate) fn propose(&self, tag: &str, files: &[(&str, &str)]) -> u64 {
        self.commit(tag, files);
        self.push(tag);
        self.api.task_of(tag)
    }

    /// The same, and waits until the release is live.
    pub(crate) fn release(&self, tag: &str, files: &[(&str, &str)]) -> Value {
        let id = self.propose(tag, files);
        self.api.until_state(id, "succeeded")
    }

    /// Where an environment of the first project lives on a host.
    pub(crate) fn place(&self, host: &str, environment: &str) -> PathBuf {
        self.place_of(&self.names[0], host, environment)
    }

    pub(crate) fn place_of(&self, project: &str, host: &str, environment: &str) -> PathBuf {
        let hosts = self.path().join("hosts").join(host);
        hosts.join(project).join(environment)
    }

    /// What `current` names on a host.
    pub(crate) fn live(&self, host: &str, environment: &str) -> Option<PathBuf> {
        fs::read_link(self.place(host, environment).join("current")).ok()
    }

    /// The tree that is live on each of these hosts is that of the tag, to the last bit, and nothing
    /// half-written exists there.
    pub(crate) fn assert_live(&self, hosts: &[&str], environment: &str, tag: &str) {
        let revision = tag_ref(tag).into_string().unwrap();
        let wanted = Tree::archived(self.repo(), &revision);
        self.assert_tree(hosts, environment, &wanted);
    }

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
            // rsync's own place stays where a transfer was, with nothing in it.
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

/// In memory, where there is room: every release syncs the file system that it is on, and a disk that
/// others write to makes that slow.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn shop(root: &Path, name: &str) -> Shop {
    let repo = Repository::bare(root.join(format!("git/{name}.git")));
    let tree = WorkTree::clone(&repo, root.join(format!("work/{name}")));
    Shop { repo, tree }
}

fn configuration(settings: &Settings, sshd: &Sshd, port: u16) -> String {
    let Settings {
        agent,
        more,
        groups,
        ssh,
        ..
    } = settings;
    let (ssh_port, user) = (sshd.port, &sshd.user);
    let mut text = format!(
        "[agent]\nlisten = '127.0.0.1:{port}'\ndata_dir = 'data'\nspool_dir = 'spool'\n\
         templates_dir = 'templates'\ngit_user = '{user}'\n{agent}\n\
         [ssh]\nuser = '{user}'\nport = {ssh_port}\nidentity = 'key'\nknown_hosts = 'known_hosts'\n{ssh}\n\
         {more}\n[groups]\nweb = {HOSTS:?}\n{groups}\n"
    );
    if !more.contains(USERS) {
        // With an unknown pusher, one more approval would be needed.
        let _ = writeln!(text, "{USERS}{PUSHER}]\ngitlab = '{user}'");
    }
    for (number, host) in HOSTS.iter().enumerate() {
        let address = format!("127.0.1.{}", number + 1);
        let _ = writeln!(text, "[hosts.{host}]\naddress = '{address}'");
    }
    for (project, environments) in &settings.projects {
        let repository = format!("{{DIR}}/git/{project}.git");
        let _ = writeln!(
            text,
            "[[projects]]\nname = '{project}'\nrepository = '{repository}'\n{environments}"
        );
    }
    text
}
