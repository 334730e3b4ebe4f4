//! Everything that a template of CODO can express, on two real hosts: a row for each field and
//! rule, with its effect.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tagship_tests::proxy::{Direction, Fault, Proxy};
use tagship_tests::sshd::{Kind, free_port, make_key};
use tagship_tests::world::Settings;

use crate::stage::{Stage, Start as _};

/// The two hosts of the group; others are those that steps name.
const PAIR: [&str; 2] = ["web1", "web2"];

/// Text that must never be executed, split or quoted differently.
const VERSION: &str = "1.0 $(touch pwned); 'x' \"y\" *";

const TEMPLATE: &str = r#"
[[params]]
name = "VERSION"
alias = "版本"
required = true
pattern = "[0-9].*"
[[params]]
name = "MODE"
default = "careful"
[[params]]
name = "SIZE"
kind = "choice"
choices = ["small", "large"]
default = "small"

[[stage]]
name = "first"
hosts = "pair"
[[stage.steps]]
name = "level-1"
run = '''
echo "$HOST first.level-1" >>"{DIR}/trace"
: >"{DIR}/here.$HOST"
n=0
while [ ! -e "{DIR}/here.web1" ] || [ ! -e "{DIR}/here.web2" ]; do
    n=$((n + 1)); [ "$n" -lt 600 ] || exit 9; sleep 0.1
done
'''
in = "home"
[[stage.steps]]
name = "level-2"
script = "arguments.sh"
args = "VERSION MODE FLOW_ID --v=VERSION 'a b' HOST version"
[[stage.steps]]
name = "language"
script = "language.awk"
args = "VERSION"
[[stage.steps]]
name = "in-line"
run = 'printf "%s\n" "$1" >"{DIR}/in-line.$HOST"'
args = "VERSION"
[[stage.steps]]
name = "as-user"
run = 'printf "%s %s\n" "$(id -un)" "$PWD" >"{DIR}/user.$HOST"; ls "$HOME/.tagship-tasks" >"{DIR}/kept.$HOST"'
user = "operator"
in = "home"
[[stage.steps]]
name = "forced"
run = 'echo "$HOST first.forced" >>"{DIR}/trace"'
host = "web3"
[[stage.steps]]
name = "after"
run = 'echo "$HOST first.after" >>"{DIR}/trace"'
[[stage.steps]]
name = "manual"
gate = "hand"
run = 'echo "$HOST first.manual" >>"{DIR}/trace"'
[[stage]]
name = "alone"
[[stage.steps]]
name = "made"
run = 'sleep 1; echo "made for task $TASK_ID" >"{DIR}/made"; echo "$HOST alone.made" >>"{DIR}/trace"'
host = "web3"
[[stage.steps]]
name = "seen"
run = 'cp "{DIR}/made" "{DIR}/seen"; echo "$HOST alone.seen" >>"{DIR}/trace"'
host = "web1"
[[stage]]
name = "second"
hosts = "pair"
[[stage.steps]]
name = "level-1"
run = 'echo "$HOST second.level-1" >>"{DIR}/trace"'
[[stage.steps]]
name = "timed"
gate = "timed"
run = 'echo "$HOST second.timed" >>"{DIR}/trace"'
"#;

/// Each argument on a line of its own.
const ARGUMENTS: &str = "#!/bin/sh\nfor a in \"$@\"; do printf '<%s>\\n' \"$a\"; done >'{DIR}/arguments.'\"$HOST\"\nprintf '%s\\n' \"$0\" >'{DIR}/script.'\"$HOST\"\n";

/// A language that every host has, and that is not sh.
const LANGUAGE: &str =
    "#!/usr/bin/awk -f\nBEGIN { print ARGV[1] > (\"{DIR}/language.\" ENVIRON[\"HOST\"]) }\n";

struct Played {
    stage: Stage,
    task: Value,
    trace: Vec<String>,
    /// The requests to the second port.
    through: Vec<u64>,
    not_before: jiff::Timestamp,
    before_go: Vec<String>,
    after_one: Vec<String>,
    paused: Value,
}

impl Played {
    fn file(&self, name: &str) -> String {
        let path = self.stage.path(name);
        let read = fs::read_to_string(&path);
        read.unwrap_or_else(|error| panic!("{}: {error}; {}", path.display(), self.log()))
    }

    fn log(&self) -> String {
        self.stage.api.log(self.task["id"].as_u64().unwrap())
    }

    fn step(&self, stage: &str, host: &str, step: &str) -> Value {
        let named = |list: &Value, name: &str| -> Value {
            let mut list = list.as_array().unwrap().iter();
            list.find(|one| one["name"] == name).unwrap().clone()
        };
        let stage = named(&self.task["stages"], stage);
        named(&named(&stage["hosts"], host)["steps"], step)
    }

    fn at(&self, line: &str) -> usize {
        let found = self.trace.iter().position(|one| one == line);
        found.unwrap_or_else(|| panic!("{line} is not in {:?}", self.trace))
    }
}

fn fill(root: &Path, text: &str) -> String {
    text.replace("{DIR}", &root.display().to_string())
}

fn settings(port: u16) -> Settings {
    Settings::default()
        .template("codo", TEMPLATE)
        .group("pair = [\"web1\", \"web2\"]")
        .port(port)
        .sshd("SetEnv HOME={DIR}/home")
        .more(&format!(
            "[execution_users.operator]\nuser = '{{USER}}'\nport = {port}\nidentity = 'operator_key'"
        ))
        .environment(
            "qa",
            "qa-",
            &format!("--\ntemplate = 'codo'\nparams = {{ VERSION = {VERSION:?} }}"),
        )
}

fn beside(root: &Path) {
    fs::create_dir(root.join("home")).unwrap();
    for (name, text) in [("arguments.sh", ARGUMENTS), ("language.awk", LANGUAGE)] {
        fs::write(root.join("templates").join(name), fill(root, text)).unwrap();
    }
    make_key(&root.join("operator_key"), Kind::Ed25519, "");
}

fn play() -> Played {
    let port = free_port();
    let stage = settings(port).start_with(beside);
    stage.sshd().authorize(&stage.path("operator_key.pub"));
    let proxies = [1, 2].map(|host| {
        let address = SocketAddr::from(([127, 0, 1, host], port));
        Proxy::start_at(address, stage.sshd().socket(), Fault::None)
    });
    let bob = stage.person("bob", "approver");
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    let plan = stage.api.until_state(id, "waiting")["plan"].clone();
    // The scripts beside the template now differ from the planned ones.
    fs::write(stage.path("templates/arguments.sh"), "#!/bin/sh\nexit 7\n").unwrap();
    let now: jiff::Timestamp = stage.api.task(id)["updated_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let not_before = now + jiff::SignedDuration::from_secs(25);
    let yes = json!({ "plan": plan, "not_before": not_before });
    bob.post(&format!("/tasks/{id}/approve"), &yes);
    let paused = stage.api.until_state(id, "paused");
    let before_go = stage.lines("trace");
    bob.post(&format!("/tasks/{id}/go"), &json!({ "host": "web2" }));
    stage.api.until(id, "paused again", |task| {
        let done = stage
            .lines("trace")
            .contains(&"web2 first.manual".to_owned());
        done && task["state"] == "paused"
    });
    let after_one = stage.lines("trace");
    bob.post(&format!("/tasks/{id}/go"), &json!({}));
    let task = stage.api.until_state(id, "succeeded");
    Played {
        trace: stage.lines("trace"),
        through: proxies
            .iter()
            .map(|proxy| proxy.passed(Direction::ToServer))
            .collect(),
        stage,
        task,
        not_before,
        before_go,
        after_one,
        paused,
    }
}

type Row = (&'static str, fn(&Played));

/// A row for each field and rule of CODO's tasks.
const ROWS: &[Row] = &[
    ("groups run one after another", |p| {
        for first in PAIR {
            for second in PAIR {
                let (a, b) = (
                    format!("{first} first.manual"),
                    format!("{second} second.level-1"),
                );
                assert!(p.at(&a) < p.at(&b), "{:?}", p.trace);
            }
        }
    }),
    // Each of them waited for the other to be there.
    ("hosts of a group run side by side", |p| {
        for host in PAIR {
            assert_eq!(p.step("first", host, "level-1")["state"], "succeeded");
        }
    }),
    ("a host runs its levels in order", |p| {
        for host in PAIR {
            let steps = [
                "first.level-1",
                "first.after",
                "first.manual",
                "second.level-1",
                "second.timed",
            ];
            let places: Vec<usize> = steps
                .iter()
                .map(|step| p.at(&format!("{host} {step}")))
                .collect();
            assert!(places.is_sorted(), "{host}: {:?}", p.trace);
        }
    }),
    (
        "trigger `order`: a step follows the one before it by itself",
        |p| {
            assert!(
                p.before_go.contains(&"web1 first.after".to_owned()),
                "{:?}",
                p.before_go
            );
        },
    ),
    (
        "trigger `hand`: nobody passes before somebody presses go",
        |p| {
            assert_eq!(p.paused["state"], "paused");
            assert!(
                !p.before_go
                    .iter()
                    .any(|line| line.ends_with("first.manual")),
                "{:?}",
                p.before_go
            );
        },
    ),
    ("trigger `hand`: go is for one host, or for all", |p| {
        assert!(p.after_one.contains(&"web2 first.manual".to_owned()));
        assert!(
            !p.after_one.contains(&"web1 first.manual".to_owned()),
            "{:?}",
            p.after_one
        );
        p.at("web1 first.manual");
    }),
    (
        "trigger `timed`: that step waits for the time, and only that",
        |p| {
            let time = |stage, step| -> jiff::Timestamp {
                let began = p.step(stage, "web1", step)["started_at"].clone();
                began.as_str().unwrap().parse().unwrap()
            };
            assert!(time("second", "timed") >= p.not_before);
            assert!(
                time("first", "level-1") < p.not_before,
                "the rest begins at once"
            );
        },
    ),
    ("execution user: system user, port and key", |p| {
        for (host, through) in PAIR.iter().zip(&p.through) {
            let (user, home) = (&p.stage.sshd().user, p.stage.path("home"));
            assert_eq!(
                p.file(&format!("user.{host}")),
                format!("{user} {}\n", home.display())
            );
            let kept = p.file(&format!("kept.{host}"));
            let id = p.task["id"].to_string();
            assert!(
                kept.lines()
                    .any(|one| one.starts_with(&format!("{id}-")) && one.ends_with(*host)),
                "in a directory of the task's own: {kept}"
            );
            assert!(*through > 0, "{host}: by its own port");
        }
    }),
    (
        "a forced host runs a step once, whatever the group says",
        |p| {
            let forced: Vec<&String> = p
                .trace
                .iter()
                .filter(|line| line.ends_with("first.forced"))
                .collect();
            assert_eq!(forced, ["web3 first.forced"]);
            for host in PAIR {
                assert!(p.at(&format!("{host} first.level-1")) < p.at("web3 first.forced"));
                assert!(p.at("web3 first.forced") < p.at(&format!("{host} first.after")));
            }
        },
    ),
    (
        "forced hosts run their steps in order, too: the second finds what the first has made",
        |p| {
            let made = format!("made for task {}\n", p.task["id"]);
            assert_eq!(p.file("seen"), made);
            assert!(p.at("web3 alone.made") < p.at("web1 alone.seen"));
        },
    ),
    (
        "a token that equals a key of args is replaced by its value, whole",
        |p| {
            let id = p.task["id"].to_string();
            for host in PAIR {
                let wanted = [
                    VERSION,
                    "careful",
                    &id,
                    "--v=VERSION",
                    "a b",
                    host,
                    "version",
                ];
                let wanted: String = wanted.iter().map(|word| format!("<{word}>\n")).collect();
                assert_eq!(p.file(&format!("arguments.{host}")), wanted);
                assert_eq!(p.file(&format!("in-line.{host}")), format!("{VERSION}\n"));
            }
        },
    ),
    ("FLOW_ID is the number of the task", |p| {
        let line = format!("<{}>", p.task["id"]);
        assert!(p.file("arguments.web1").lines().any(|one| one == line));
    }),
    (
        "a step in any language: sent, run, removed; as it was when it was approved",
        |p| {
            for host in PAIR {
                assert_eq!(p.file(&format!("language.{host}")), format!("{VERSION}\n"));
                let script = PathBuf::from(p.file(&format!("script.{host}")).trim_end());
                assert!(
                    script.ends_with("script/arguments.sh"),
                    "{}",
                    script.display()
                );
                assert!(!script.exists(), "{} is still there", script.display());
            }
        },
    ),
    ("a parameter is shown by its alias", |p| {
        let page = p.stage.api.page(&format!("/tasks/{}", p.task["id"]));
        assert!(page.contains("<dt>版本</dt>"), "{page}");
    }),
    ("nothing in a value was executed", |p| {
        for place in [
            p.stage.directory().to_owned(),
            p.stage.path("home"),
            "/".into(),
        ] {
            assert!(!place.join("pwned").exists(), "{}", place.display());
        }
    }),
    (
        "the version of the template that ran is known and kept",
        |p| {
            let digest = p.task["template_version"].as_str().unwrap();
            let kept = p.stage.api.get("/templates/codo");
            let versions = kept["versions"].as_array().unwrap();
            assert_eq!(versions.len(), 1);
            assert_eq!(versions[0]["digest"], digest);
            assert_ne!(kept["digest"], digest, "its script is another one by now");
            let path = format!(
                "/templates/codo?from={digest}&to={}",
                kept["digest"].as_str().unwrap()
            );
            let page = p.stage.api.page(&path);
            assert!(page.contains("exit 7"), "{page}");
        },
    ),
];

#[test]
fn every_codo_template_feature_runs_on_two_hosts() {
    let played = play();
    for (row, holds) in ROWS {
        eprintln!("{row}");
        holds(&played);
    }
}

/// A user of this machine as whom steps may run here, if there is one.
pub(crate) fn local_user() -> Option<&'static str> {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("left out: only root can become another user without sudo");
    }
    root.then_some("nobody")
}

const LOCAL: &str = r#"
[[stage]]
name = "here"
steps = [
    { name = "who", host = "agent", run = 'id -un; cat "{DIR}/key" 2>&1 || echo "the key is not mine"' },
    { name = "script", host = "agent", script = "arguments.sh", args = "TAG" },
    { name = "long", host = "agent", run = 'echo begun; sleep 300' },
]
"#;

fn local(user: &str) -> Settings {
    Settings::default()
        .template("local", LOCAL)
        .more(&format!(
            "[local_run]\nuser = '{user}'\ndirectory = '{{DIR}}/local'"
        ))
        .environment("qa", "qa-", "--\nschedule = 'ready'\ntemplate = 'local'")
}

/// Lets other users pass through, as they must to reach a directory of their own.
pub(crate) fn open(root: &Path) {
    beside(root);
    fs::set_permissions(root, fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(root.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(root.join("templates/arguments.sh"), "echo \"script $1\"\n").unwrap();
    let directory = root.join("local");
    fs::create_dir(&directory).unwrap();
    let nobody = tagship::config::system_user("nobody").unwrap();
    std::os::unix::fs::chown(&directory, Some(nobody.uid), Some(nobody.gid)).unwrap();
}

#[test]
fn local_step_runs_as_another_user_and_can_be_stopped() {
    let Some(user) = local_user() else { return };
    let mut stage = local(user).start_with(open);
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    stage.api.until_logged(id, &["agent"], &["begun"]);
    let log = stage.api.log(id);
    assert!(
        log.contains(user) && log.contains("the key is not mine"),
        "{log}"
    );
    assert!(log.contains("script qa-1"), "{log}");
    // It outlives the agent, and the next one finds it.
    stage.kill_agent();
    assert_eq!(sleepers(user), 1);
    stage.start_agent();
    stage.api.post(&format!("/tasks/{id}/stop"), &json!({}));
    stage.api.until_state(id, "stopped");
    assert_eq!(sleepers(user), 0, "stop proves that nothing is left");
}

/// How many of a user's processes are our long step.
fn sleepers(user: &str) -> usize {
    let uid = tagship::config::system_user(user).unwrap().uid;
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter(|entry| {
        use std::os::unix::fs::MetadataExt as _;
        let owned = entry.metadata().is_ok_and(|meta| meta.uid() == uid);
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        owned && words == b"sleep\x00300\x00"
    });
    ours.count()
}

#[test]
fn without_local_run_no_step_runs_on_the_agents_machine() {
    let stage = Settings::default()
        .template("codo", TEMPLATE)
        .template(
            "other",
            r#"
            [[stage]]
            name = "s"
            steps = [{ run = "true" }]
            "#,
        )
        .group("pair = [\"web1\", \"web2\"]")
        .environment("qa", "qa-", "--\nschedule = 'ready'\ntemplate = 'other'")
        .start_with(beside);
    // The template changes after the agent has read it.
    let file = stage.path("templates/other.toml");
    let text = "name = \"other\"\n[[stage]]\nname = \"s\"\nsteps = [{ run = \"true\", host = \"agent\" }]\n";
    fs::write(file, text).unwrap();
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    let task = stage.api.at_rest(id);
    let detail = task["detail"].as_str().unwrap();
    assert!(
        task["state"] == "expired" && detail.contains("[local_run]"),
        "{detail}"
    );
}
