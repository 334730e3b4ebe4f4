//! `tagship serve`: the agent as a process, and the command line beside it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::check::Checked;
use crate::command::program::Test;

/// A running agent; ended when it is dropped.
struct Agent {
    child: Child,
}

impl Agent {
    /// Starts it and waits until it reports that it is ready.
    fn start(mut command: Command) -> Self {
        let mut child = command
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let agent = Self { child };
        let (ready, is_ready) = std::sync::mpsc::channel();
        // Its later output must be read as well, or it would block.
        std::thread::spawn(move || {
            let mut said = Vec::new();
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains("agent is ready") {
                    drop(ready.send(Ok(())));
                }
                said.push(line);
            }
            drop(ready.send(Err(said.join("\n"))));
        });
        let said = is_ready.recv_timeout(std::time::Duration::from_secs(60));
        said.unwrap().unwrap_or_else(|said| panic!("{said}"));
        agent
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const ALONE: &str = r#"
[agent]
listen = "127.0.0.1:0"
data_dir = "{dir}/data"
spool_dir = "{dir}/spool"
templates_dir = "{dir}/templates"
"#;

#[test]
fn failed_start_names_the_repair_command() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let port = taken.rsplit_once(':').unwrap().1;
    let in_use = format!("`ss -ltnp 'sport = :{port}'` names it");
    let listen = |address: &str| ALONE.replace("127.0.0.1:0", address);
    for (config, words) in [
        (listen(&taken), in_use.as_str()),
        (
            listen("192.0.2.1:8424"),
            "`ip -brief address` lists those that it has",
        ),
        (
            listen("localhost:8424"),
            "config.toml:2:10: `localhost:8424` is no address and port (invalid socket address syntax): write \"127.0.0.1:8424\"",
        ),
        // Where no directory can be created.
        (
            ALONE.replace("{dir}/spool", "/proc/tagship"),
            "run as root: install -d -m 3770 -o ",
        ),
        // Where a file is.
        (
            ALONE.replace("{dir}/spool", "{dir}/config.toml"),
            "config.toml is not one: move that file away, or choose another [agent] spool_dir",
        ),
        (
            ALONE.replace("{dir}/spool", "{dir}/config.toml/spool"),
            "config.toml is not one: move that file away, or choose another [agent] spool_dir",
        ),
    ] {
        let said = Test::new().config(&config).arguments(["serve"]).said();
        assert!(said.stderr.contains(words), "no {words:?} in {said}");
        assert_eq!(said.status, Some(1), "{said}");
    }
}

#[test]
fn agent_serves_until_a_signal_stops_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let test = Test::new().config(ALONE);
        let config = test.path("config.toml").display().to_string();
        let beside = |arguments: &[&str]| {
            Test::new()
                .arguments(["--config", &config])
                .arguments(arguments.iter().copied())
        };
        let mut agent = Agent::start(test.command());
        beside(&["tasks"]).stderr("no task matches\n").run();
        beside(&["user", "add", "alice", "--role", "admin"])
            .stdout("alice is added as admin\n")
            .run();
        let second = beside(&["serve"]).said();
        assert_eq!(second.status, Some(1), "{second}");
        assert!(second.stderr.contains("error: "), "{second}");

        agent.signal(signal);
        assert_eq!(agent.child.wait().unwrap().code(), Some(0));
        // The store is not locked any more, and has the account.
        let again = beside(&["user", "add", "alice", "--role", "admin"]).said();
        assert!(again.stderr.contains("exists already"), "{again}");
    }
}

#[test]
fn only_serve_uses_the_local_configuration() {
    let test = Test::new().file("config.toml", ALONE);
    let agent = Agent::start(test.command());
    drop(agent);
    let said = Test::new().arguments(["tasks"]).said();
    if !std::path::Path::new("/etc/tagship/config.toml").exists() {
        assert!(
            said.stderr
                .starts_with("error: no configuration at /etc/tagship/config.toml"),
            "{said}"
        );
    }
}

#[test]
fn pushed_tag_is_released_and_shown_by_the_cli() {
    let mut world = Checked::installed();
    let work = world.tree();
    let commit = work.commit_files("first", &[("index.html", "shop")]);
    let config = world.path("config.toml").display().to_string();
    let serving = Test::new().arguments(["--config", &config]);
    let _agent = Agent::start(serving.command());
    let said = world.run(&["check"]);
    let line = "warn project shop: its hook has reported no push to the agent; push a tag";
    assert!(said.stdout.contains(line), "{said}");

    work.tag("qa-1", &commit);
    let pushed = work.push_tag("qa-1");
    assert!(pushed.success, "{pushed:?}");
    tagship_tests::eventually::eventually("the task is there", || {
        let said = world.run(&["tasks", "--json"]);
        let tasks = said.json()["tasks"].as_array().unwrap().len();
        (tasks == 1).then_some(())
    });
    let followed = world.run(&["log", "1", "-f"]);
    assert_eq!(followed.status, Some(0), "{followed}");
    let shown = world.run(&["show", "1"]);
    assert!(shown.stdout.contains("  state      succeeded\n"), "{shown}");
    assert!(shown.stdout.contains(&commit), "{shown}");
    let live = std::fs::read_to_string(world.deploy_to().join("current/index.html"));
    assert_eq!(live.unwrap(), "shop", "{shown}");

    let said = world.run(&["check"]);
    let line = "ok   project shop: its hook last reported a push 20";
    assert!(
        said.stdout.contains(line) && said.stdout.contains(" (qa-1)\n"),
        "{said}"
    );

    let retried = world.run(&["retry", "1"]);
    assert_eq!(retried.status, Some(1), "{retried}");
    assert!(
        retried.stderr.starts_with("error: task 1 is succeeded"),
        "{retried}"
    );

    // The agent reads the configuration only when it starts.
    world.settings.tables = r#"
[[projects]]
name = "docs"
repository = "/srv/git/docs.git"
environments.qa = { group = "web", deploy_to = "/srv/docs" }
"#
    .to_owned();
    let said = world.run(&["check", "--project", "docs"]);
    let line = "FAIL project docs: the running agent has an older configuration";
    assert!(said.stdout.contains(line), "{said}");
}

/// Starts an agent that must refuse to, with one message.
#[track_caller]
fn refused(test: &Test) -> String {
    let output = test
        .command()
        .arg("serve")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| !line.contains("INFO")).collect();
    let [line] = *lines else {
        panic!("not one message: {said}");
    };
    line.strip_prefix("error: ").unwrap().to_owned()
}

#[track_caller]
fn names(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?}: {said}");
    }
}

#[test]
fn invalid_data_dir_error_names_a_remedy() {
    let test = Test::new().config(ALONE).file("data", "");
    let data = test.path("data").display().to_string();
    names(
        &refused(&test),
        &[&data, "is not one", "move that file away"],
    );
}

#[test]
fn foreign_data_dir_error_names_a_remedy() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root may give directories away");
        return;
    }
    let test = Test::new().config(ALONE).file("data/store/kept", "");
    let data = test.path("data");
    std::os::unix::fs::chown(&data, Some(4242), None).unwrap();
    let said = refused(&test);
    names(
        &said,
        &[
            &data.display().to_string(),
            "belongs to 4242",
            "chown -R root",
        ],
    );
    assert!(!data.join("store/db").exists(), "something was made there");
}

#[test]
fn newer_store_is_left_unchanged_with_a_remedy() {
    use tagship::store::kv::{Commit, Kv as _};
    use tagship::store::sled::SledKv;
    let test = Test::new().config(ALONE);
    let store = test.path("data/store");
    let named = store.display().to_string();
    drop(Agent::start(test.command()));
    let put = |key: &str, value: &str| {
        let kv = SledKv::open(&store, 1 << 20).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let commit = Commit::new().put(key, value);
        runtime.block_on(kv.commit(commit)).unwrap();
    };
    // Rows of a newer program.
    put("index", "99");
    let wanted = [&*named, "layout 99", "start the newer tagship"];
    names(&refused(&test), &wanted);
    names(&refused(&test), &wanted);
    put("index", "2");
    drop(Agent::start(test.command()));
    // Files of a newer program.
    let db = sled::open(&store).unwrap();
    db.insert(b"\0format", &99_u32.to_be_bytes()).unwrap();
    db.flush().unwrap();
    drop(db);
    names(
        &refused(&test),
        &[&named, "format 99", "start the newer tagship"],
    );
}
