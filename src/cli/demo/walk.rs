//! The steps of a demo, in the order in which a newcomer would take them. Each explains its
//! purpose, shows the commands, and finally what each host serves.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;
use tokio::time::sleep;

use super::super::arguments::OutputForm;
use super::super::client::ApiRequest;
use super::super::context::{AgentConnection, CliContext};
use super::super::error::{CommandError, DemoError};
use super::super::follow::{self, WaitEnd};
use super::super::screen;
use super::super::table::{Table, printable};
use super::directory::{DemoDirectory, ENVIRONMENTS, HOSTS, PLACE, cannot};
use super::processes::{DemoProgram, PAUSE, Processes};
use super::sshd::{self, SystemChange};
use crate::api::{TaskList, TaskView};
use crate::base::secret;
use crate::config::{self, LocalConfig};
use crate::domain::task::{Relation, StateName};

const CONFIG: &str = "var/demo/config.toml";
const PASSWORD: &str = "var/demo/pat.password";
const TOKEN: &str = "var/demo/pat.token";
const REPOSITORY: &str = "var/demo/git/shop.git";
const WORK: &str = "var/demo/work";

/// A task appears within a moment of its push.
const TASK_SECONDS: u64 = 60;

/// A demo in progress.
pub(super) struct DemoWalk {
    processes: Processes,
    ground: DemoDirectory,
    hook: Option<PathBuf>,
    /// This program.
    tagship: PathBuf,
    /// The name by which the user started the demo.
    tagship_shown: String,
    steps: u32,
}

impl DemoWalk {
    pub(super) fn new(
        ground: DemoDirectory,
        processes: Processes,
        hook: Option<PathBuf>,
    ) -> Result<Self, CommandError> {
        let shown = std::env::args().next();
        Ok(Self {
            processes,
            ground,
            hook,
            tagship: std::env::current_exe().map_err(CommandError::Runtime)?,
            tagship_shown: shown.unwrap_or_else(|| "tagship".to_owned()),
            steps: 0,
        })
    }

    /// Ends agent and hosts.
    pub(super) async fn end(mut self) {
        self.processes.end().await;
    }

    /// Runs up to a release that is live in qa, and one that waits for approval.
    pub(super) async fn set_up(&mut self) -> Result<(), CommandError> {
        screen::print(
            "tagship demo: a git server, an agent and three hosts, all on this machine and below \
             var/demo\n",
        )?;
        let user = self.user().await?;
        self.hosts(&user).await?;
        self.git_server(&user).await?;
        self.agent().await?;
        self.people().await?;
        self.qa().await?;
        self.step(
            "Version 1.0 goes to production: tags that begin with release- wait for approval",
        )?;
        self.propose("1.0").await.map(drop)
    }

    /// Approves the waiting task, releases a second version and rolls back to the first.
    pub(super) async fn approve_and_go_back(&mut self) -> Result<(), CommandError> {
        let token = self.tagship(["token", "new", "pat"]).run().await?.0;
        let token = token.lines().last().unwrap_or_default().to_owned();
        self.ground.write("pat.token", &token)?;

        let first = self.task_of("release-1.0").await?;
        self.step("Pat, the product manager, approves 1.0: every host switches")?;
        self.approve(first.id, &token).await?;

        self.step("Version 2.0")?;
        self.files("2.0")?;
        self.commit("2.0").await?;
        let second = self.propose("2.0").await?;
        self.step("Pat approves 2.0")?;
        self.approve(second, &token).await?;

        self.step("Back to 1.0: the older commit gets a new tag, which waits like any other")?;
        self.push_tag("release-1.0-again", "release-1.0", &[])
            .await?;
        let back = self.waiting("release-1.0-again").await?;
        self.step("Pat approves going back")?;
        self.approve(back, &token).await
    }

    /// Prints what a person can do now.
    pub(super) fn invite(&mut self) -> Result<(), CommandError> {
        let password = self.ground.read("pat.password")?;
        let url = self.ground.url();
        self.step("Now you: approve release-1.0 on the page")?;
        screen::print(&format!(
            "
   page       {url}/
   login      pat
   password   {}

   Then release a version of your own:

   $ cd {WORK}
   $ echo 1.1 > version
   $ git commit --all --message 'Shop 1.1'
   $ git tag release-1.1
   $ git push origin release-1.1

   The agent's log is {PLACE}/agent.log. Ctrl-C ends agent and hosts.
",
            password.trim()
        ))
    }

    /// Shows what the hosts serve whenever that has changed, until something fails.
    pub(super) async fn watch(&mut self) -> Result<(), CommandError> {
        let mut shown = self.serving();
        let mut before = shown.clone();
        loop {
            sleep(PAUSE * 10).await;
            self.processes.check()?;
            let now = self.serving();
            // Hosts switch one after the other: a table of an intermediate state helps no one.
            if now == before && now != shown {
                self.show_hosts()?;
                shown.clone_from(&now);
            }
            before = now;
        }
    }

    async fn user(&self) -> Result<String, CommandError> {
        let (name, _) = DemoProgram::new("id").args(["-un"]).run().await?;
        Ok(name.trim().to_owned())
    }

    async fn hosts(&mut self, user: &str) -> Result<(), CommandError> {
        let port = self.ground.ssh_port;
        self.step(&format!(
            "Three hosts, web1 to web3: an sshd of our own on 127.0.1.1 to 127.0.1.3, port {port}"
        ))?;
        for maker in sshd::key_makers() {
            self.run(&maker).await?;
        }
        sshd::write(&self.ground, user)?;
        let server = sshd::server();
        show_command(&server)?;
        let server = self.isolated(server);
        match sshd::start(&self.ground, &mut self.processes, server).await? {
            SystemChange::Nothing => Ok(()),
            SystemChange::PrivilegeDirectory => self.show_output(
                "root's sshd needs the directory /run/sshd, which was missing: it has been made",
            ),
        }
    }

    async fn git_server(&mut self, user: &str) -> Result<(), CommandError> {
        self.ground
            .write("config.toml", &self.ground.config(user))?;
        self.step("A git server: a bare repository, with the hook in place")?;
        let branch = "--initial-branch=main";
        let init = ["init", "--quiet", "--bare", branch, REPOSITORY];
        self.run(&self.git(init)).await?;
        let mut install = self.tagship(["install", "--project", "shop"]);
        if let Some(hook) = &self.hook {
            install = install.args([Path::new("--hook"), hook]);
        }
        self.run(&install).await?;
        Ok(())
    }

    async fn agent(&mut self) -> Result<(), CommandError> {
        let url = self.ground.url();
        self.step(&format!("The agent, with its store in {PLACE}/lib: {url}"))?;
        let serve = self.tagship(["serve"]);
        show_command(&serve)?;
        let log = self.ground.path("agent.log");
        self.processes.start("the agent", &serve, &log)?;
        // Created last: once it accepts connections, all of the agent does.
        let socket = self.ground.path("lib/agent.sock");
        let answers = async || UnixStream::connect(&socket).await.is_ok();
        Ok(self.processes.ready(answers).await?)
    }

    async fn people(&mut self) -> Result<(), CommandError> {
        self.step("Two people: Alice pushes, Pat may approve")?;
        let password = secret::hex(&secret::random_bytes::<9>().map_err(DemoError::from)?);
        self.ground
            .write("pat.password", &format!("{password}\n"))?;
        let alice = self.tagship(["user", "add", "alice", "--role", "submitter"]);
        self.run(&alice).await?;
        let pat = self.tagship([
            "user",
            "add",
            "pat",
            "--role",
            "approver",
            "--password-stdin",
        ]);
        self.run(&pat.input(PASSWORD)).await
    }

    async fn qa(&mut self) -> Result<(), CommandError> {
        self.step("Version 1.0 goes to qa: tags that begin with qa- go live at once")?;
        self.run(&self.git(["clone", "--quiet", REPOSITORY, WORK]))
            .await?;
        for (key, value) in [
            ("user.name", "Alice"),
            ("user.email", "alice@example.com"),
            ("commit.gpgSign", "false"),
            ("tag.gpgSign", "false"),
        ] {
            self.git(["-C", WORK, "config", key, value]).run().await?;
        }
        self.files("1.0")?;
        symlink("index.html", self.ground.path("work/home.html"))
            .map_err(cannot("make", &self.ground.path("work/home.html")))?;
        self.git(["-C", WORK, "add", "--all"]).run().await?;
        self.commit("1.0").await?;
        self.push_tag("qa-1.0", "main", &["main"]).await?;
        let task = self.task_of("qa-1.0").await?;
        let end = follow::until_ended(&self.reach()?, task, OutputForm { json: true }).await?;
        let (WaitEnd::AtRest(task) | WaitEnd::ForPeople(task)) = end;
        self.show_success(&task)
    }

    /// Tags and pushes a version for production and shows that it waits; returns its task.
    async fn propose(&self, version: &str) -> Result<u64, CommandError> {
        let tag = format!("release-{version}");
        self.push_tag(&tag, "main", &[]).await?;
        self.waiting(&tag).await
    }

    async fn push_tag(&self, tag: &str, commit: &str, also: &[&str]) -> Result<(), CommandError> {
        self.run(&self.git(["-C", WORK, "tag", tag, commit]))
            .await?;
        let push = self.git(["-C", WORK, "push", "--quiet", "origin"]);
        let push = push.args(also).args([tag]);
        show_command(&push)?;
        // Output of the hook appears as `remote: …`, on standard error.
        let (_, output) = push.run().await?;
        self.show_output(&output)
    }

    async fn commit(&self, version: &str) -> Result<(), CommandError> {
        let message = format!("Shop {version}");
        let git = self.git(["-C", WORK, "commit", "--quiet", "--all", "--message"]);
        self.run(&git.args([message])).await
    }

    fn files(&self, version: &str) -> Result<(), DemoError> {
        let page =
            format!("<!doctype html>\n<title>Shop {version}</title>\n<h1>Shop {version}</h1>\n");
        let script = "#!/bin/sh\n# Says what is served.\ncat \"$(dirname \"$0\")/../version\"\n";
        let bin = self.ground.path("work/bin");
        fs::create_dir_all(&bin).map_err(cannot("make", &bin))?;
        for (below, text, mode) in [
            ("work/version", format!("{version}\n").as_str(), 0o644),
            ("work/index.html", &page, 0o644),
            ("work/bin/version", script, 0o755),
        ] {
            let path = self.ground.path(below);
            fs::write(&path, text).map_err(cannot("write", &path))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(cannot("set the mode of", &path))?;
        }
        Ok(())
    }

    /// Approves over HTTP, as pat, and waits for the end.
    async fn approve(&self, id: u64, token: &str) -> Result<(), CommandError> {
        let url = self.ground.url();
        let shown = format!(
            "TAGSHIP_URL={url} TAGSHIP_TOKEN=$(cat {TOKEN}) {}",
            self.tagship_shown
        );
        let approve = DemoProgram::new(&self.tagship)
            .shown_as(shown)
            .args(["approve", &id.to_string(), "--wait"])
            .env("TAGSHIP_URL", &url)
            .env("TAGSHIP_TOKEN", token);
        show_command(&approve)?;
        // The two lines per step and host that follow are for `tagship log`.
        let (printed, _) = self.isolated(approve).run().await?;
        self.show_output(printed.lines().next().unwrap_or_default())?;
        let task = self.reach()?.client.task(id).await?;
        self.show_success(&task)
    }

    fn show_success(&self, task: &TaskView) -> Result<(), CommandError> {
        expect(task, StateName::Succeeded)?;
        self.show_output(&format!("task {} succeeded", task.id))?;
        self.show_hosts()
    }

    /// Shows that the task of a tag waits, and returns its id.
    async fn waiting(&self, tag: &str) -> Result<u64, CommandError> {
        let task = self.task_of(tag).await?;
        expect(&task, StateName::Waiting)?;
        let id = task.id;
        let compared = task.description.iter().flat_map(|it| &it.comparisons);
        let back = compared.filter_map(|live| match live.relation {
            Relation::Back { commits } => Some(commits),
            _ => None,
        });
        self.show_output(&match back.max() {
            Some(1) => format!("task {id} REMOVES 1 commit, and waits for approval"),
            Some(commits) => format!("task {id} REMOVES {commits} commits, and waits"),
            None => format!("task {id} waits for approval"),
        })?;
        self.show_hosts()?;
        Ok(id)
    }

    /// Returns the task of a tag, once it has landed.
    async fn task_of(&self, tag: &str) -> Result<TaskView, CommandError> {
        let agent = self.reach()?;
        let ask = ApiRequest::get(["tasks"]).with("project", Some("shop"));
        let landed = async {
            loop {
                let TaskList { tasks, .. } = agent.client.ask(&ask).await?;
                let line = tasks.iter().find(|line| line.tag == tag);
                match line.map(|line| &line.head) {
                    Some(head) if head.state != StateName::Proposed => {
                        return Ok(agent.client.task(head.id).await?);
                    }
                    _ => sleep(PAUSE).await,
                }
            }
        };
        let limit = std::time::Duration::from_secs(TASK_SECONDS);
        tokio::time::timeout(limit, landed)
            .await
            .unwrap_or_else(|_| {
                Err(DemoError::NoTask {
                    tag: tag.to_owned(),
                    seconds: TASK_SECONDS,
                }
                .into())
            })
    }

    fn reach(&self) -> Result<AgentConnection, CommandError> {
        let source = config::find(Some(Path::new(CONFIG)), LocalConfig::Never)?;
        CliContext::local_agent(&config::load(&source)?)
    }

    fn git<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> DemoProgram {
        self.isolated(DemoProgram::new("git").args(arguments))
    }

    fn tagship<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> DemoProgram {
        let program = DemoProgram::new(&self.tagship).shown_as(&self.tagship_shown);
        self.isolated(program.args(arguments).args(["--config", CONFIG]))
    }

    /// Excludes the git configuration of this user and of the machine.
    fn isolated(&self, program: DemoProgram) -> DemoProgram {
        program
            .env("HOME", self.ground.path("home"))
            .env("TMPDIR", self.ground.path("tmp"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
    }

    fn step(&mut self, title: &str) -> Result<(), CommandError> {
        self.steps += 1;
        screen::print(&format!("\n{}. {title}\n", self.steps))
    }

    /// Shows a command, runs it, and shows its output.
    async fn run(&self, program: &DemoProgram) -> Result<(), CommandError> {
        show_command(program)?;
        let (printed, _) = program.run().await?;
        self.show_output(&printed)
    }

    /// Prints output of other programs, indented; control characters become visible.
    fn show_output(&self, text: &str) -> Result<(), CommandError> {
        let root = self.ground.path("").display().to_string();
        let text = text.replace(root.trim_end_matches('/'), PLACE);
        let lines = text.lines().map(str::trim_end);
        let lines = lines.filter(|line| !line.is_empty());
        let lines: String = lines
            .map(|line| format!("     {}\n", printable(line)))
            .collect();
        screen::print(&lines)
    }

    /// Returns, for each host and environment, the version that it serves and from where.
    fn serving(&self) -> Vec<[String; 3]> {
        let served = |host: &str, environment: &str| {
            let directory = self
                .ground
                .path(&format!("hosts/{host}/shop/{environment}"));
            let Ok(target) = fs::read_link(directory.join("current")) else {
                return "nothing".to_owned();
            };
            let version = fs::read_to_string(directory.join("current/version")).unwrap_or_default();
            {
                let release = target.file_name().unwrap_or_default();
                format!("{} ({})", version.trim(), release.display())
            }
        };
        let row = |(host, _): (&str, _)| {
            let [qa, production] = ENVIRONMENTS.map(|environment| served(host, environment));
            [host.to_owned(), qa, production]
        };
        HOSTS.map(row).to_vec()
    }

    fn show_hosts(&self) -> Result<(), CommandError> {
        let mut table = Table::new(["HOST", "QA SERVES", "PRODUCTION SERVES"]);
        for row in self.serving() {
            table.row(row);
        }
        screen::print("\n")?;
        self.show_output(&table.render(None))
    }
}

fn expect(task: &TaskView, expected: StateName) -> Result<(), DemoError> {
    if task.state == expected {
        return Ok(());
    }
    Err(DemoError::OtherState {
        id: task.id,
        state: task.state,
        expected,
        detail: printable(&task.detail),
    })
}

fn show_command(program: &DemoProgram) -> Result<(), CommandError> {
    screen::print(&format!("   $ {}\n", program.line()))
}
