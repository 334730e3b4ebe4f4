//! Manually submitted tasks on real hosts.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tagship_tests::world::Settings;

use crate::stage::{HOSTS, Stage, Start as _, alone, usual};

const RESTART: &str = r#"
params = [{ name = "SERVICE", required = true }, { name = "PASSWORD" }]
[[stage]]
name = "restart"
hosts = "{1}"
[[stage.steps]]
name = "restart"
run = '''
printf '%s %s %s %s' "$SERVICE" "$PASSWORD" "$TAG" "$TASK_ID" >"{DIR}/out/$HOST"
pwd >"{DIR}/out/$HOST.pwd"
printf 'the password is %s' "$PASSWORD"
printf '%s\n' ', they say'
'''
[[stage]]
name = "after"
hosts = "{2}"
steps = [{ name = "after", run = 'ls "{DIR}/out" >"{DIR}/out/after"' }]
"#;

fn restart(fields: &Value) -> Value {
    let mut order = json!({
        "template": "restart",
        "params": { "SERVICE": "shop", "TAG": "v1" },
        "hosts": { "1": ["web1", "127.0.1.2"], "2": ["web3"] },
    });
    for (name, value) in fields.as_object().unwrap() {
        order[name] = value.clone();
    }
    order
}

fn stage() -> Stage {
    let settings: Settings = usual().template("restart", RESTART);
    let stage = settings.start();
    fs::create_dir(stage.path("out")).unwrap();
    stage
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Removes what the work of a task leaves below the home directory, which all hosts here share.
struct Left(String);

impl Drop for Left {
    fn drop(&mut self) {
        let home = std::env::var("HOME").unwrap_or_default();
        let places = fs::read_dir(Path::new(&home).join(".tagship-tasks"));
        for place in places.into_iter().flatten().flatten() {
            if place.file_name().to_string_lossy().starts_with(&self.0) {
                drop(fs::remove_dir_all(place.path()));
            }
        }
    }
}

#[test]
fn task_without_project_runs_on_its_submitted_hosts() {
    let _alone = alone();
    let stage = stage();
    let alice = stage.person("alice", "approver");
    let order = restart(&json!({ "secrets": { "PASSWORD": "hunter2-hunter2" } }));
    let id = alice.post("/tasks", &order)["id"].as_u64().unwrap();
    let _left = Left(format!("{id}-"));
    let task = stage.api.until_state(id, "waiting");
    assert_eq!(task["commit"], Value::Null);
    let bob = stage.person("bob", "approver");
    bob.post(
        &format!("/tasks/{id}/approve"),
        &json!({ "plan": task["plan"] }),
    );
    stage.api.until_state(id, "succeeded");
    let out = stage.path("out");
    for host in &HOSTS[..2] {
        assert_eq!(
            read(&out.join(host)),
            format!("shop hunter2-hunter2 v1 {id}")
        );
        assert_eq!(
            read(&out.join(format!("{host}.pwd"))).trim(),
            std::env::var("HOME").unwrap()
        );
    }
    assert!(!out.join("web3").exists());
    assert!(read(&out.join("after")).contains("web2"));
    let log = stage.api.log(id);
    assert!(
        log.contains(&format!("the password is {}, they say", "*".repeat(15))),
        "{log}"
    );
    let secret = b"hunter2-hunter2";
    for entry in fs::read_dir(stage.path(format!("data/logs/{id}/web1"))).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    assert!(!stage.log.text().contains("hunter2"));
}

#[test]
fn later_tag_is_awaited_and_pinned() {
    let stage = stage();
    let order = json!({ "template": "git-release", "project": "shop", "environment": "qa", "tag": "v7", "schedule": "ready" });
    let alice = stage.person("alice", "approver");
    let id = alice.post("/tasks", &order)["id"].as_u64().unwrap();
    let commit = stage.commit("v7", &[("index.html", "seven\n")]);
    stage.push("v7");
    let task = stage.api.until_state(id, "succeeded");
    assert_eq!(task["commit"], commit);
    stage.assert_live(&HOSTS, "qa", "v7");
}
