//! A web server over a store in memory, on a loopback port and a Unix socket; tasks are made by
//! appending their events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tagship::base::clock::{Clock, SystemClock};
use tagship::base::secret::{ExposeSecret as _, SecretString};
use tagship::config::{self, Config, TemplateCache};
use tagship::domain::approval::{Approval, Terms};
use tagship::domain::host::{ReleaseId, TreeDigest};
use tagship::domain::permission::Scopes;
use tagship::domain::plan::{self, Plan};
use tagship::domain::task::{
    AGENT_INDEX, CommitPerson, Comparison, Description, Direction, Event, Landed, Outcome,
    Recorded, StepRef, StepResult, Submission, Submitter, Supersede, Task,
};
use tagship::domain::template::Template;
use tagship::identity::account::{self, Account, Accounts, NewAccount, TokenTerms};
use tagship::identity::session::{Sessions, WebTransport};
use tagship::server::{Web, WebLimits};
use tagship::store::kv::{Commit, Kv};
use tagship::store::log::LogBook;
use tagship::store::memory::MemoryKv;
use tagship::store::{Disabled, HookOutcome, ProjectOutcome, SeenPush, Store};
use tagship_tests::unindent;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use submission::{of_rule, pushed};

#[path = "../store/submission.rs"]
mod submission;

pub const COMMIT: &str = "3f2a9c1b2d5e4f60718293a4b5c6d7e8f9012345";
pub const OLDER: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";

const CONFIG: &str = r#"
[agent]
time_zone = "Europe/Berlin"
templates_dir = "templates"
@agent@
[hosts.web-1]
address = "127.0.0.1"
[hosts.web-2]
address = "127.0.0.2"
[hosts.web-3]
address = "127.0.0.3"
[groups]
web = ["web-1", "web-2", "web-3"]
[[projects]]
name = "shop"
repository = "/srv/git/shop.git"
@project@
[projects.environments.production]
group = "web"
deploy_to = "/srv/shop"
approvals = ["1"]
[projects.environments.qa]
group = "web"
deploy_to = "/srv/shop-qa"
[[projects.rules]]
pattern = "release-*"
environment = "production"
@grants@
"#;

const TEMPLATE: &str = r#"
name = "shop-release"
[[stage]]
name = "checkout"
steps = [{ use = "checkout" }]
[[stage]]
name = "stage"
hosts = "{group}"
steps = [{ use = "sync" }, { run = "bin/migrate --check", in = "release", once = true }]
[[stage]]
name = "switch"
hosts = "{group}"
batch = 1
steps = [{ use = "publish" }, { run = "sudo systemctl reload shop" }]
"#;

const RESTART: &str = r#"
id = 70
name = "restart"
params = [
    { name = "SERVICE", alias = "What to restart", required = true, pattern = "[a-z]+" },
    { name = "PASSWORD" },
    { name = "MODE", kind = "choice", choices = ["soft", "hard"], default = "soft" },
    { name = "KEY", alias = "Key of the shop", kind = "secret" },
]
[[stage]]
name = "drain"
hosts = "{1}"
steps = [{ run = "true" }]
[[stage]]
name = "restart"
hosts = "{2}"
steps = [{ run = "true" }]
"#;

/// The settings of a test.
pub struct Options {
    pub limits: WebLimits,
    /// Further lines of `[agent]`.
    pub agent: &'static str,
    /// Tables of their own: `[[grants]]`.
    pub grants: &'static str,
    /// Further lines of `[[projects]]`.
    pub project: &'static str,
    pub clock: Arc<dyn Clock>,
    pub listen: &'static str,
    /// Texts of templates, which are unindented.
    pub templates: &'static [&'static str],
    /// The store of another server; `None`: an empty one.
    pub kv: Option<Arc<dyn Kv>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: WebLimits::default(),
            agent: "",
            grants: "",
            project: "",
            clock: Arc::new(SystemClock),
            listen: "127.0.0.1:0",
            templates: &[],
            kv: None,
        }
    }
}

pub struct TestServer {
    pub url: String,
    pub host: String,
    pub socket: PathBuf,
    pub store: Store,
    pub accounts: Arc<Accounts>,
    pub sessions: Arc<Sessions>,
    pub logs: LogBook,
    pub config: Arc<Config>,
    pub clock: Arc<dyn Clock>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = CONFIG
            .replace("@agent@", options.agent)
            .replace("@grants@", options.grants)
            .replace("@project@", options.project);
        let config = config::parse("config.toml", &text, directory.path()).unwrap();
        let config = Arc::new(config);
        let clock = options.clock;
        let templates = directory.path().join("templates");
        std::fs::create_dir(&templates).unwrap();
        std::fs::write(templates.join("restart.toml"), RESTART).unwrap();
        for (number, text) in options.templates.iter().enumerate() {
            std::fs::write(templates.join(format!("{number}.toml")), unindent(text)).unwrap();
        }
        let kv: Arc<dyn Kv> = options.kv.unwrap_or_else(|| Arc::new(MemoryKv::new()));
        let store = Store::open(kv.clone()).await.unwrap();
        let accounts = Arc::new(Accounts::new(kv.clone(), clock.clone()));
        let transport = WebTransport::of_url(&config.public_url());
        let sessions = Sessions::new(kv, clock.clone(), accounts.clone(), transport);
        let sessions = Arc::new(sessions);
        let logs = LogBook::new(directory.path().join("logs"));
        let tcp = TcpListener::bind(options.listen).await.unwrap();
        let host = tcp.local_addr().unwrap().to_string();
        let socket = directory.path().join("agent.sock");
        let unix = UnixListener::bind(&socket).unwrap();
        let web = Web {
            store: store.clone(),
            accounts: accounts.clone(),
            sessions: sessions.clone(),
            config: config.clone(),
            templates: TemplateCache::new(&config.agent.templates_dir),
            logs: logs.clone(),
            clock: clock.clone(),
            limits: options.limits,
        };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(web.serve(tcp, Some(unix), async move {
            let _ = stopped.await;
        }));
        Self {
            url: format!("http://{host}"),
            host,
            socket,
            store,
            accounts,
            sessions,
            logs,
            config,
            clock,
            stop: Some(stop),
            serving: Some(serving),
            _directory: directory,
        }
    }

    /// Asks the server to end, and waits until it has.
    pub async fn end(mut self) {
        self.ask_to_end();
        self.ended().await;
    }

    pub fn ask_to_end(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    pub async fn ended(&mut self) {
        self.serving.take().unwrap().await.unwrap();
    }

    pub async fn account(&self, name: &str, role: account::Role, groups: &[&str]) -> Account {
        let new = NewAccount {
            name: name.to_owned(),
            display: String::new(),
            role,
            groups: groups
                .iter()
                .map(|group| (*group).to_owned())
                .collect::<BTreeSet<_>>(),
            password: None,
        };
        self.accounts.add(new, Commit::new()).await.unwrap()
    }

    /// The value of the `Cookie` header of a session, and its CSRF token.
    pub async fn session(&self, account: &Account) -> (String, String) {
        let session = self.sessions.begin(account).await.unwrap();
        let cookie = session.set_cookie.expose_secret();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        (cookie, session.session.csrf_token())
    }

    pub async fn token(&self, account: &Account) -> String {
        self.token_for(account, Scopes::default()).await
    }

    /// A token with these scopes only.
    pub async fn token_for(&self, account: &Account, scopes: Scopes) -> String {
        let terms = TokenTerms {
            label: "test".to_owned(),
            expires: None,
            scopes,
        };
        let made = self
            .accounts
            .new_token(&account.name, terms, Commit::new())
            .await;
        made.unwrap().secret.expose_secret().to_owned()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn plan(&self, environment: &str, commit: &str) -> Plan {
        let ground = self.config.resolve("shop", environment, &[]).unwrap();
        let template = Template::parse("shop-release.toml", TEMPLATE).unwrap();
        let none = plan::TaskInputs {
            parameters: &BTreeMap::new(),
            secrets: &BTreeMap::new(),
            unclassified: &BTreeMap::new(),
            hosts: &BTreeMap::new(),
        };
        plan::build(&ground, &template, commit, &none).unwrap()
    }

    /// A task that was pushed and has not landed.
    pub async fn proposed(&self, tag: &str) -> Task {
        self.propose(submission(tag)).await
    }

    /// The task of a submission.
    pub async fn propose(&self, submission: Submission) -> Task {
        let proposal = self.store.propose(submission, None, self.now()).await;
        self.store.task(proposal.unwrap().id()).await.unwrap()
    }

    /// A task of the same commit that succeeded in qa.
    pub async fn passed_qa(&self) -> Task {
        let mut qa = submission("qa-1.5");
        qa.environment = "qa".to_owned();
        let task = self.propose(qa).await;
        let task = self.landed(&task, &description()).await;
        let task = self.approve(&task).await;
        let task = self.start_work(&task).await;
        self.finished(task).await
    }

    /// carol disables the host `web-3`.
    pub async fn disable_a_host(&self, reason: &str) {
        let disabled = Disabled {
            by: "carol".to_owned(),
            reason: reason.to_owned(),
            at: self.now(),
        };
        let disabling = self
            .store
            .set_host_disabled("web-3", Some(&disabled), Commit::new());
        disabling.await.unwrap();
    }

    /// An entry of the hook log: the outcome of bob's push of `refs/tags/release-2.0` onto this
    /// object.
    pub async fn heard(&self, object: &str, project: Option<&str>, outcome: HookOutcome) {
        let push = SeenPush {
            push: None,
            record: object[..32].to_owned(),
            repository: "/srv/git/shop.git".to_owned(),
            reference: "refs/tags/release-2.0".to_owned(),
            old: "0".repeat(40),
            new: object.to_owned(),
            pusher: "bob".to_owned(),
            ssh_key: String::new(),
            system_user: false,
            owner: 990,
            pushed_at: None,
        };
        let file = format!("{object}.toml");
        let note = self.store.hook_note(&file, self.now(), Some(&push));
        let note = note.await.unwrap();
        let result = ProjectOutcome {
            project: project.map(str::to_owned),
            outcome,
            doubted: Vec::new(),
        };
        self.store.note_hook(&note, result).await.unwrap();
    }

    /// A task that has landed.
    pub async fn waiting(&self, tag: &str) -> Task {
        self.waiting_with(tag, &description()).await
    }

    pub async fn waiting_with(&self, tag: &str, description: &Description) -> Task {
        let task = self.proposed(tag).await;
        self.landed(&task, description).await
    }

    pub async fn landed(&self, task: &Task, description: &Description) -> Task {
        let mut plan = self.plan("production", &description.commit);
        plan.environment.clone_from(&task.submission.environment);
        let digest = self.store.put_plan(&plan).await.unwrap();
        let description = serde_json::to_vec(description).unwrap();
        let landed = Landed {
            commit: plan.commit.clone(),
            object: String::new(),
            terms: Terms {
                plan: digest,
                approvals: plan.approvals.clone(),
                self_approval: false,
                submitters: ["bob".to_owned()].into(),
                more: 0,
            },
            description: self.store.put_blob(&description).await.unwrap(),
            compared: tagship::domain::task::ComparedWith::default(),
            waits: tagship::domain::task::ScheduleScope::Task,
        };
        self.append(task, vec![Event::Landed(Box::new(landed))])
            .await
    }

    /// The task, landed, with a plan that differs from the usual one.
    pub async fn landed_with(&self, task: &Task, change: impl FnOnce(&mut Plan)) -> Task {
        let mut plan = self.plan("production", COMMIT);
        change(&mut plan);
        let landed = Landed {
            commit: String::new(),
            object: String::new(),
            terms: Terms {
                plan: self.store.put_plan(&plan).await.unwrap(),
                approvals: plan.approvals.clone(),
                self_approval: false,
                submitters: task.submission.submitter.account.iter().cloned().collect(),
                more: 0,
            },
            description: String::new(),
            compared: tagship::domain::task::ComparedWith::default(),
            waits: tagship::domain::task::ScheduleScope::Task,
        };
        self.append(task, vec![Event::Landed(Box::new(landed))])
            .await
    }

    pub async fn approved(&self, tag: &str) -> Task {
        let task = self.waiting(tag).await;
        self.approve(&task).await
    }

    /// Approves the plan of a waiting task as alice.
    pub async fn approve(&self, task: &Task) -> Task {
        let approval = Approval {
            by: "alice".to_owned(),
            in_stead_of: None,
            groups: vec!["pm".to_owned()],
            plan: task.landed.as_ref().unwrap().terms.plan.clone(),
            comment: "ready when you are".to_owned(),
            not_before: None,
            emergency: None,
            at: self.now(),
        };
        self.append(task, vec![Event::Approved(approval), Event::Due])
            .await
    }

    pub async fn password(&self, account: &Account, password: &str) {
        let password = SecretString::from(password);
        let set = self
            .accounts
            .set_password(&account.name, &password, Commit::new());
        set.await.unwrap();
    }

    /// A running task: the tree is checked out, the first host is staged.
    pub async fn running(&self, tag: &str) -> Task {
        let task = self.approved(tag).await;
        self.start_work(&task).await
    }

    /// An approved task begins its work.
    pub async fn start_work(&self, task: &Task) -> Task {
        let release = ReleaseId(format!("20261121-16{:02}14-3f2a9c1", task.id));
        let fence = self.store.next_fence(self.clock.now()).await.unwrap();
        let (checkout, sync) = (at(0, AGENT_INDEX, 0), at(1, 0, 0));
        let events = vec![
            Event::Claimed { fence },
            Event::Started { release },
            began(checkout),
            ended(
                checkout,
                StepResult::CheckedOut {
                    digest: TreeDigest("0".repeat(64)),
                    files: 4312,
                },
            ),
            began(sync),
            ended(sync, staged()),
            began(at(1, 1, 0)),
        ];
        self.append(task, events).await
    }

    /// A task that has released to every host.
    pub async fn succeeded(&self, tag: &str) -> Task {
        let task = self.running(tag).await;
        self.finished(task).await
    }

    /// A task that has released to every host, and failed then.
    pub async fn failed_live(&self, tag: &str) -> Task {
        let task = self.running(tag).await;
        let message = "web-1: check: exit code 1".to_owned();
        self.switched(task, Outcome::Failed { message }).await
    }

    /// A running task succeeds.
    pub async fn finished(&self, task: Task) -> Task {
        self.switched(task, Outcome::Succeeded).await
    }

    /// A running task switches every host, and ends.
    async fn switched(&self, mut task: Task, outcome: Outcome) -> Task {
        let mut events = vec![
            ended(at(1, 1, 0), staged()),
            began(at(1, 2, 0)),
            ended(at(1, 2, 0), staged()),
        ];
        events.extend([began(at(1, 0, 1)), ended(at(1, 0, 1), done())]);
        for host in 0..3 {
            let (publish, reload) = (at(2, host, 0), at(2, host, 1));
            events.extend([
                began(publish),
                ended(
                    publish,
                    StepResult::Published {
                        was: None,
                        found: Box::default(),
                    },
                ),
            ]);
            events.extend([began(reload), ended(reload, done())]);
        }
        events.push(Event::Finished(outcome));
        for some in events.chunks(16) {
            task = self.append(&task, some.to_vec()).await;
        }
        task
    }

    pub async fn append(&self, task: &Task, events: Vec<Event>) -> Task {
        let now = self.now();
        let recorded = events
            .into_iter()
            .map(|event| Recorded { time: now, event })
            .collect();
        self.store.append(task, recorded).await.unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

pub fn at(stage: u16, host: u16, step: u16) -> StepRef {
    StepRef {
        way: Direction::Forward,
        stage,
        host,
        step,
    }
}

pub fn began(at: StepRef) -> Event {
    Event::Began { at, attempt: 1 }
}

pub fn ended(at: StepRef, result: StepResult) -> Event {
    Event::Ended { at, result }
}

pub fn staged() -> StepResult {
    StepResult::Staged {
        live: None,
        files_sent: 17,
        bytes_sent: 81_920,
        drift: None,
        notes: Vec::new(),
    }
}

pub fn done() -> StepResult {
    StepResult::Done {
        values: BTreeMap::new(),
    }
}

pub fn submission(tag: &str) -> Submission {
    Submission {
        origin: of_rule("release-*", Supersede::Never),
        repository: "/srv/git/shop.git".to_owned(),
        reference: format!("refs/tags/{tag}"),
        object: COMMIT.to_owned(),
        template: "shop-release".to_owned(),
        submitter: Submitter {
            name: "bob".to_owned(),
            account: Some("bob".to_owned()),
        },
        ..pushed()
    }
}

pub fn person(name: &str) -> CommitPerson {
    CommitPerson {
        name: name.to_owned(),
        email: format!("{name}@example.com"),
        at: "2026-11-20T16:00:00Z".parse().unwrap(),
    }
}

pub fn description() -> Description {
    Description {
        commit: COMMIT.to_owned(),
        tag: None,
        subject: "Round prices at the till, not in the basket".to_owned(),
        author: person("carol"),
        committed_at: "2026-11-20T16:00:00Z".parse().unwrap(),
        comparisons: vec![Comparison {
            live: None,
            hosts: vec!["web-1".to_owned(), "web-2".to_owned(), "web-3".to_owned()],
            ..Comparison::default()
        }],
    }
}
