//! The surroundings of tagship on one machine: repositories with a clone each, hosts behind an
//! sshd, and the configuration that names them. Hooks and agents are put in by the tests that need
//! them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::git::{Repository, WorkTree};
use crate::sshd::{self, Sshd};
use crate::text::unindent;

/// What differs from world to world. Texts may hold `{DIR}`, the directory of the world, and those of
/// the configuration `{USER}`, who runs the test. Texts of several lines are unindented.
#[derive(Clone, Default)]
#[must_use]
pub struct Settings {
    agent: String,
    ssh: String,
    groups: String,
    projects: Vec<(String, String)>,
    templates: Vec<(String, String)>,
    sshd: Option<Vec<String>>,
    ports: Vec<u16>,
    hosts: u8,
    in_memory: bool,
    sha256: bool,
    /// Tables of their own: `[hosts.…]`, `[users.…]`.
    pub tables: String,
}

impl Settings {
    /// Lines of `[agent]`; its directories are named already.
    pub fn agent(mut self, lines: &str) -> Self {
        push_line(&mut self.agent, lines);
        self
    }

    /// Lines of `[ssh]`.
    pub fn ssh(mut self, lines: &str) -> Self {
        push_line(&mut self.ssh, lines);
        self
    }

    /// Tables of their own: `[hosts.…]`, `[users.…]`.
    pub fn more(mut self, text: &str) -> Self {
        push_line(&mut self.tables, text);
        self
    }

    /// A line of `[groups]`, besides `web`, which holds all hosts.
    pub fn group(mut self, line: &str) -> Self {
        push_line(&mut self.groups, line);
        self
    }

    /// This many hosts, `web1` and so on, at 127.0.1.1 and so on. Without this line there is `web1`
    /// at 127.0.0.1.
    pub fn hosts(mut self, count: u8) -> Self {
        self.hosts = count;
        self
    }

    /// An sshd answers for the hosts.
    pub fn with_sshd(mut self) -> Self {
        self.sshd.get_or_insert_default();
        self
    }

    /// A line of the configuration of that sshd.
    pub fn sshd(mut self, line: &str) -> Self {
        self.sshd.get_or_insert_default().push(line.to_owned());
        self
    }

    /// The server is also known at this port of its own address.
    pub fn port(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// In memory if possible: every release syncs its file system, which is slow on a disk with
    /// other writers.
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Repositories with 64-digit object ids.
    pub fn sha256(mut self) -> Self {
        self.sha256 = true;
        self
    }

    /// A project with a repository of its own; the environments that follow are its.
    pub fn project(mut self, name: &str) -> Self {
        self.projects.push((name.to_owned(), String::new()));
        self
    }

    /// Lines of the project that was named last, in front of its environments.
    pub fn project_keys(mut self, lines: &str) -> Self {
        push_line(&mut self.last_project().1, lines);
        self
    }

    /// An environment, and the rule that releases tags beginning with `prefix` to it. `more` holds
    /// further keys of the environment, then a line `--`, then keys of the rule.
    pub fn environment(mut self, name: &str, prefix: &str, more: &str) -> Self {
        let (project, text) = self.last_project();
        let more = unindent(more);
        let (more, rule) = more.split_once("--").unwrap_or((&more, ""));
        let default = |key: &str, line: String| match more.contains(&format!("{key} =")) {
            true => String::new(),
            false => line,
        };
        let group = default("group", "group = \"web\"".to_owned());
        let directory = format!("deploy_to = '{{DIR}}/hosts/{{HOST}}/{project}/{name}'");
        let directory = default("deploy_to", directory);
        let _ = write!(
            text,
            "[projects.environments.{name}]\n{group}\n{directory}\n{more}\n\
             [[projects.rules]]\npattern = '{prefix}'\nenvironment = '{name}'\n{rule}\n"
        );
        self
    }

    /// `NAME.toml` in `templates_dir`, without the line that names it.
    pub fn template(mut self, name: &str, text: &str) -> Self {
        let text = format!("name = \"{name}\"\n{}", unindent(text));
        self.templates.push((name.to_owned(), text));
        self
    }

    /// `[[params]]` of a template.
    #[track_caller]
    pub fn template_params(mut self, name: &str, params: &str) -> Self {
        let found = self.templates.iter_mut().find(|(other, _)| other == name);
        found.unwrap().1.push_str(&unindent(params));
        self
    }

    #[track_caller]
    pub fn build(mut self) -> World {
        self.last_project();
        let directory = match self.in_memory {
            true => tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()),
            false => tempfile::tempdir(),
        };
        let directory = directory.unwrap();
        let root = directory.path();
        let project = |(name, _): &(String, String)| Project::new(root, name, self.sha256);
        let mut world = World {
            projects: self.projects.iter().map(project).collect(),
            directory,
            sshd: None,
            settings: self,
        };
        for (name, text) in &world.settings.templates {
            let path = world.path(format!("templates/{name}.toml"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, world.fill(text)).unwrap();
        }
        if let Some(lines) = &world.settings.sshd {
            let settings = Sshd::settings().hosts(world.settings.hosts);
            let with_line =
                |settings: sshd::Settings, line: &String| settings.line(&world.fill(line));
            let sshd = lines.iter().fold(settings, with_line).start();
            world.serve(sshd);
        }
        world.configure();
        world
    }

    /// The project that was named last; `shop`, if none was.
    fn last_project(&mut self) -> &mut (String, String) {
        if self.projects.is_empty() {
            self.projects.push(("shop".to_owned(), String::new()));
        }
        self.projects.last_mut().unwrap()
    }
}

fn push_line(text: &mut String, lines: &str) {
    text.push_str(&unindent(lines));
    text.push('\n');
}

/// A project's repository, and a clone that pushes.
pub struct Project {
    pub name: String,
    pub repo: Repository,
    pub tree: WorkTree,
}

impl Project {
    fn new(root: &Path, name: &str, sha256: bool) -> Self {
        let directory = Self::directory(root, name);
        let repo = match sha256 {
            true => Repository::bare_sha256(directory),
            false => Repository::bare(directory),
        };
        let tree = WorkTree::clone(&repo, root.join(format!("work/{name}")));
        let name = name.to_owned();
        Self { name, repo, tree }
    }

    fn directory(root: &Path, name: &str) -> PathBuf {
        root.join(format!("git/{name}.git"))
    }
}

/// A directory with repositories, their clones, and a configuration; and the sshd of its hosts.
#[must_use]
pub struct World {
    /// What [`World::configure`] writes.
    pub settings: Settings,
    pub projects: Vec<Project>,
    sshd: Option<Sshd>,
    directory: TempDir,
}

impl World {
    /// The repository of the project `shop` and its clone, and nothing else.
    #[track_caller]
    pub fn new() -> Self {
        Settings::default().build()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory().join(name)
    }

    /// The repository of the first project.
    pub fn repo(&self) -> &Repository {
        &self.projects[0].repo
    }

    /// The clone of the first project.
    pub fn tree(&self) -> &WorkTree {
        &self.projects[0].tree
    }

    #[track_caller]
    pub fn sshd(&self) -> &Sshd {
        self.sshd.as_ref().expect("this world has an sshd")
    }

    /// This server answers for the hosts: the configuration names it, its key and its port.
    #[track_caller]
    pub fn serve(&mut self, sshd: Sshd) {
        let known_hosts = sshd.known_hosts(&self.settings.ports);
        fs::copy(known_hosts, self.path("known_hosts")).unwrap();
        fs::copy(sshd.identity(), self.path("key")).unwrap();
        self.sshd = Some(sshd);
    }

    /// Configures another port for the server.
    #[track_caller]
    pub fn misplace_sshd(&mut self) {
        self.sshd.as_mut().expect("this world has an sshd").port = sshd::free_port();
    }

    /// Writes the agent's configuration and says where it is.
    #[track_caller]
    pub fn configure(&self) -> PathBuf {
        let path = self.path("config.toml");
        fs::write(&path, self.fill(&self.configuration())).unwrap();
        path
    }

    fn fill(&self, text: &str) -> String {
        let text = text.replace("{DIR}", &self.directory().display().to_string());
        match &self.sshd {
            Some(sshd) => text.replace("{USER}", &sshd.user),
            None => text,
        }
    }

    fn configuration(&self) -> String {
        let Settings {
            agent,
            ssh,
            groups,
            tables,
            ..
        } = &self.settings;
        let mut text = format!(
            "[agent]\ndata_dir = 'data'\nspool_dir = 'spool'\ntemplates_dir = 'templates'\n{agent}\n"
        );
        // Writing to a String never fails.
        if let Some(Sshd { port, .. }) = &self.sshd {
            let _ = writeln!(
                text,
                "[ssh]\nuser = '{{USER}}'\nport = {port}\nidentity = 'key'\nknown_hosts = 'known_hosts'\n{ssh}"
            );
        }
        let addresses: Vec<String> = match self.settings.hosts {
            0 => vec!["127.0.0.1".to_owned()],
            count => (1..=count).map(|host| format!("127.0.1.{host}")).collect(),
        };
        let mut names = Vec::new();
        for (number, address) in addresses.iter().enumerate() {
            let name = format!("web{}", number + 1);
            let _ = writeln!(text, "[hosts.{name}]\naddress = '{address}'");
            names.push(name);
        }
        let _ = writeln!(text, "[groups]\nweb = {names:?}\n{groups}");
        for (project, environments) in &self.settings.projects {
            let repository = Project::directory(Path::new("{DIR}"), project);
            let repository = repository.display();
            let _ = writeln!(
                text,
                "[[projects]]\nname = '{project}'\nrepository = '{repository}'\n{environments}"
            );
        }
        text + tables
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
