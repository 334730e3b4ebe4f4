//! Steps of a template's author on real hosts: values, results, health checks, endings.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tagship_tests::world::Settings;

use crate::stage::{HOSTS, Stage, Start as _, publishing};

/// `qa-` tags run this template, which continues after `use = "publish"`.
fn with_steps(steps: &str, environment: &str) -> Settings {
    Settings::default()
        .template("steps", &publishing(steps))
        .environment(
            "qa",
            "qa-",
            &format!("{environment}\n--\nschedule = 'ready'\ntemplate = 'steps'"),
        )
}

/// All steps of this name: host and status.
fn steps<'a>(task: &'a Value, name: &str) -> Vec<(&'a str, &'a Value)> {
    let list = |value: &'a Value, key: &str| value[key].as_array().unwrap().iter();
    let mut found = Vec::new();
    for stage in list(task, "stages") {
        for host in list(stage, "hosts") {
            let steps = list(host, "steps").filter(|step| step["name"] == name);
            found.extend(steps.map(|step| (host["name"].as_str().unwrap(), step)));
        }
    }
    found
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const VALUES: &str = r#"
[[stage.steps]]
name = "values"
run = '''
for name in TAG COMMIT PROJECT ENVIRONMENT TASK_ID HOST RELEASE MODE; do
    eval "printf '%s=%s\n' $name \"\$$name\""
done >"{DIR}/out/$HOST.values"
printf 'COLOUR=%s\n' "blue $HOST" >>"$TAGSHIP_OUTPUT"
pwd -P >"{DIR}/out/$HOST.pwd"
'''
outputs = ["COLOUR"]
[[stage.steps]]
name = "argument"
run = ["sh", "-c", 'printf "%s" "$1" >"{DIR}/out/$HOST.argument"', "sh", "--tag={TAG} on {HOST}"]
[[stage.steps]]
name = "later"
run = 'printf "%s" "$COLOUR" >"{DIR}/out/$HOST.colour"'
[[stage.steps]]
name = "alone"
once = true
run = 'echo "$HOST" >>"{DIR}/out/alone"'
"#;

#[test]
fn values_reach_every_step_and_tag_text_is_never_executed() {
    let settings = with_steps(VALUES, "");
    let stage = settings
        .template_params(
            "steps",
            r#"
            [[params]]
            name = "MODE"
            default = "slow ' and"
            "#,
        )
        .start();
    fs::create_dir(stage.path("out")).unwrap();
    let trap = format!("pwned-{}", std::process::id());
    let tag = format!("qa-$(touch${{IFS}}{trap})`touch${{IFS}}{trap}`;'\"");
    let task = stage.release(&tag, &[("index.html", "one\n")]);
    stage.assert_live(&HOSTS, "qa", &tag);
    let out = stage.path("out");
    for host in HOSTS {
        let values = read(out.join(format!("{host}.values")));
        let wanted = [
            ("TAG", tag.as_str()),
            ("COMMIT", task["commit"].as_str().unwrap()),
            ("PROJECT", "shop"),
            ("ENVIRONMENT", "qa"),
            ("TASK_ID", &task["id"].to_string()),
            ("HOST", host),
            ("RELEASE", task["release"].as_str().unwrap()),
            ("MODE", "slow ' and"),
        ];
        let wanted: String = wanted
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        assert_eq!(values, wanted);
        assert_eq!(
            read(out.join(format!("{host}.argument"))),
            format!("--tag={tag} on {host}")
        );
        assert_eq!(
            read(out.join(format!("{host}.colour"))),
            format!("blue {host}")
        );
        let release = stage
            .place(host, "qa")
            .join("releases")
            .join(task["release"].as_str().unwrap());
        let stood = PathBuf::from(read(out.join(format!("{host}.pwd"))).trim_end());
        assert_eq!(stood, release.canonicalize().unwrap());
    }
    assert_eq!(
        read(out.join("alone")),
        "web1\n",
        "once is on the first host only"
    );
    found_by_its_commit(&stage, &task);
    let home = std::env::var("HOME").unwrap_or_default();
    for place in [home.as_str(), env!("CARGO_MANIFEST_DIR"), "/", "/tmp"] {
        assert!(
            !Path::new(place).join(&trap).exists(),
            "executed in {place}"
        );
    }
    assert!(
        !holds(stage.directory(), &trap),
        "executed below {}",
        stage.directory().display()
    );
}

/// Page, API and command line find a task by the prefix of its commit's hash that the page shows.
fn found_by_its_commit(stage: &Stage, task: &Value) {
    let hash = &task["commit"].as_str().unwrap()[..10];
    let address = format!("/tasks/{}", task["id"]);
    for (words, finds) in [(hash.to_uppercase(), true), (format!("0{hash}"), false)] {
        let page = stage.api.text(&format!("/tasks?words={words}"));
        assert_eq!(page.contains(&format!("\"{address}\"")), finds, "{page}");
        let list = stage.api.get(&format!("/tasks?words={words}"));
        assert_eq!(list["tasks"].as_array().unwrap().len(), usize::from(finds));
        let printed = stage.command(&["tasks", "--words", &words, "--json"]);
        assert_eq!(String::from_utf8_lossy(&printed).contains(hash), finds);
    }
}

fn holds(directory: &Path, name: &str) -> bool {
    fs::read_dir(directory).unwrap().flatten().any(|entry| {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entry.file_name() == name || (is_directory && holds(&entry.path(), name))
    })
}

#[test]
fn failed_step_rolls_back_every_switched_host() {
    let reload = r#"
        [[stage.steps]]
        name = "reload"
        run = 'echo "$HOST $COMMIT" >>"{DIR}/reloads"; if [ -e broken ] && [ "$HOST" = web3 ]; then exit 3; fi'
        "#;
    let stage = with_steps(reload, "").start();
    let first = stage.release("qa-1", &[("index.html", "one\n")]);
    let id = stage.propose("qa-2", &[("index.html", "two\n"), ("broken", "")]);
    let task = stage.api.until_state(id, "rolled-back");
    stage.assert_live(&HOSTS, "qa", "qa-1");
    let detail = task["detail"].as_str().unwrap();
    assert!(detail.contains("web3") && detail.contains('3'), "{detail}");
    for (host, step) in steps(&task, "reload") {
        if host == "web3" {
            assert_eq!(
                (&step["state"], &step["exit_code"]),
                (&json!("failed"), &json!(3))
            );
        }
    }
    let reloads = read(stage.path("reloads"));
    for host in HOSTS {
        let back = format!("{host} {}", first["commit"].as_str().unwrap());
        assert_eq!(
            reloads.lines().last().map(|_| 2),
            Some(reloads.matches(&back).count()),
            "{reloads}"
        );
    }
    // A release that was rolled back is no base for the next one.
    fs::remove_file(stage.tree().path.join("broken")).unwrap();
    stage.release("qa-3", &[("index.html", "three\n")]);
    stage.assert_live(&HOSTS, "qa", "qa-3");
}

/// Answers `/HOST` with 200 if the live release of that host is healthy, else with 500.
fn health(root: &Path) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = root.to_owned();
    // It ends with the test's process; nothing ends it before.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let host = request.split(['/', ' ']).nth(2).unwrap_or_default();
            let file = root.join("hosts").join(host).join("shop/qa/current/health");
            let status = match fs::read_to_string(file).as_deref() {
                Ok("well\n") => "200 OK",
                _ => "500 Not Well",
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    });
    port
}

#[test]
fn failed_health_check_rolls_back_every_host() {
    let check = "[[stage.steps]]\nuse = \"check\"\nhttp = \"http://127.0.0.1:@PORT@/{HOST}\"\nretries = 1\ninterval = \"1s\"\n";
    let stage = with_steps(check, "").start_with(|root| {
        let port = health(root).to_string();
        let template = root.join("templates/steps.toml");
        let text = fs::read_to_string(&template).unwrap();
        fs::write(&template, text.replace("@PORT@", &port)).unwrap();
    });
    stage.release("qa-1", &[("health", "well\n")]);
    let id = stage.propose("qa-2", &[("health", "ill\n")]);
    let task = stage.api.until_state(id, "rolled-back");
    stage.assert_live(&HOSTS, "qa", "qa-1");
    let detail = task["detail"].as_str().unwrap();
    assert!(
        detail.contains("health check") && detail.contains("500"),
        "{detail}"
    );
    stage.release("qa-3", &[("health", "well\n"), ("more", "")]);
    stage.assert_live(&HOSTS, "qa", "qa-3");
}

/// Processes that a step of this stage started and that are still there.
fn left_behind(stage: &Stage) -> Vec<String> {
    let root = stage.directory().display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter_map(|entry| {
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let is_step = environment.contains("TAGSHIP_RUN=") && environment.contains(&root);
        is_step.then(|| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default())
    });
    ours.collect()
}

#[test]
fn stop_ends_stubborn_children_and_verifies_their_end() {
    let template = r#"
        [[stage.steps]]
        name = "long"
        run = 'setsid sh -c "trap : TERM HUP INT; echo child; while :; do sleep 1000; done" & trap : TERM; echo parent; sleep 1000; sleep 1000'
        "#;
    let stage = with_steps(template, "").start();
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    stage.api.until_logged(id, &HOSTS, &["child", "parent"]);
    assert!(left_behind(&stage).len() >= 6, "{:?}", left_behind(&stage));
    stage.api.post(&format!("/tasks/{id}/stop"), &json!({}));
    let task = stage.api.until_state(id, "stopped");
    assert_eq!(left_behind(&stage), [""; 0], "after {}", task["state"]);
    for (host, step) in steps(&task, "long") {
        assert_eq!(step["state"], "stopped", "{host}");
    }
}

#[test]
fn cleanup_keeps_shared_and_never_sends_excluded_files() {
    let stage = Settings::default()
        .environment(
            "qa",
            "qa-",
            "keep_releases = 2\nshared = ['log']\nexclude = ['/tests/', '*.md']\n--\nschedule = 'ready'",
        )
        .start();
    for number in 1..=4 {
        let content = format!("{number}\n");
        let files = [
            ("index.html", content.as_str()),
            ("README.md", &content),
            ("src/tests/kept", "kept\n"),
            ("tests/case", &content),
        ];
        stage.release(&format!("qa-{number}"), &files);
        for host in HOSTS {
            let current = stage.place(host, "qa").join("current");
            assert!(!current.join("README.md").exists() && !current.join("tests").exists());
            assert_eq!(read(current.join("src/tests/kept")), "kept\n");
            let log = current.join("log/app.log");
            let so_far = fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(
                so_far.lines().count(),
                number - 1,
                "{host}: what was written is still there"
            );
            fs::write(&log, so_far + "line\n").unwrap();
        }
    }
    for host in HOSTS {
        let place = stage.place(host, "qa");
        let count = fs::read_dir(place.join("releases")).unwrap().count();
        assert_eq!(count, 2, "{host}");
        assert_eq!(read(place.join("shared/log/app.log")).lines().count(), 4);
    }
}

#[test]
fn disabled_host_is_skipped_until_enabled_again() {
    let stage = Settings::default()
        .environment("qa", "qa-", "--\nschedule = 'ready'")
        .start();
    stage.release("qa-1", &[("index.html", "one\n")]);
    stage
        .api
        .post("/hosts/web2/disable", &json!({ "reason": "new disk" }));
    let second = stage.release("qa-2", &[("index.html", "two\n")]);
    stage.assert_live(&["web1", "web3"], "qa", "qa-2");
    stage.assert_live(&["web2"], "qa", "qa-1");
    let synced: Vec<&str> = steps(&second, "sync")
        .iter()
        .map(|(host, _)| *host)
        .collect();
    assert_eq!(synced, ["web1", "web3"]);
    stage.api.post("/hosts/web2/enable", &json!({}));
    stage.release("qa-3", &[("index.html", "three\n")]);
    stage.assert_live(&HOSTS, "qa", "qa-3");
}

#[test]
fn rollback_leaves_out_a_host_that_is_disabled_now() {
    let stage = Settings::default()
        .environment("qa", "qa-", "--\nschedule = 'ready'")
        .start();
    stage.release("qa-1", &[("index.html", "one\n")]);
    stage.release("qa-2", &[("index.html", "two\n")]);
    let disable = |host: &str| {
        let path = format!("/hosts/{host}/disable");
        stage.api.post(&path, &json!({ "reason": "it is down" }))
    };
    disable("web2");
    let back = ["rollback", "--project", "shop", "--environment", "qa"];
    stage.command(&[&back[..], &["--wait"]].concat());
    stage.assert_live(&["web1", "web3"], "qa", "qa-1");
    stage.assert_live(&["web2"], "qa", "qa-2");
    let shown = String::from_utf8(stage.command(&["show", "3"])).unwrap();
    assert!(shown.contains("left out: web2, disabled"), "{shown}");
    for host in ["web1", "web3"] {
        disable(host);
    }
    let (status, refused) = stage.api.try_post("/rollback", &json!({ "task": 2 }));
    assert!(status >= 400, "{refused}");
    assert!(refused.to_string().contains("no host is left"), "{refused}");
}
