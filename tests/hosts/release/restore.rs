//! A backup of a running agent, the days lost after it, and the restored agent.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use tagship::store::Store;
use tagship::store::sled::SledKv;
use tagship_tests::git::WorkTree;

use crate::agent::tagship;
use crate::stage::{HOSTS, Stage, Start as _, usual};

/// `tagship COMMAND …`, which must succeed; what it prints.
#[track_caller]
fn run(stage: &Stage, arguments: &[&str]) -> String {
    let (good, text) = try_run(stage, arguments);
    assert!(good, "tagship {arguments:?}: {text}");
    text
}

fn try_run(stage: &Stage, arguments: &[&str]) -> (bool, String) {
    let output = tagship(stage.directory())
        .args(arguments)
        .arg("--config")
        .arg(stage.path("config.toml"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.success(), text)
}

/// The highest fence that a host shows.
fn fence(stage: &Stage, host: &str) -> u64 {
    let base = stage.place(host, "qa").join(".tagship");
    numbers(&base, "fence-").into_iter().max().unwrap()
}

fn numbers(directory: &Path, prefix: &str) -> BTreeSet<u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix(prefix)?.parse().ok()
        })
        .collect()
}

/// Deletes everything of the agent, as a lost machine does.
fn burn(stage: &Stage) {
    fs::remove_dir_all(stage.path("data")).unwrap();
}

fn restored_days_later(loss: impl FnOnce(&Stage), arguments: &[&str]) {
    let mut stage = usual().start();
    stage.release("qa-1", &[("index.html", "one")]);
    let waiting = stage.propose("release-1", &[("index.html", "first")]);
    stage.api.until_state(waiting, "waiting");
    let alice = stage.person("alice", "approver");
    let backup = stage.path("backup").display().to_string();
    let text = run(&stage, &["backup", &backup]);
    assert!(text.contains(" logs\n"), "{text}");
    let mode = fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The days that are lost: what waited was approved, and something newer went live after it.
    let plan = stage.api.get(&format!("/tasks/{waiting}"))["plan"].clone();
    alice.post(
        &format!("/tasks/{waiting}/approve"),
        &json!({ "plan": plan }),
    );
    stage.api.until_state(waiting, "succeeded");
    let newer = stage.propose("release-2", &[("index.html", "second")]);
    stage.api.until_state(newer, "waiting");
    let plan = stage.api.get(&format!("/tasks/{newer}"))["plan"].clone();
    alice.post(&format!("/tasks/{newer}/approve"), &json!({ "plan": plan }));
    stage.api.until_state(newer, "succeeded");
    let lost = stage.release("qa-2", &[("index.html", "two")]);
    let lost = lost["id"].as_u64().unwrap();
    let fences: Vec<u64> = HOSTS.iter().map(|host| fence(&stage, host)).collect();

    let (good, text) = try_run(&stage, &["restore", &backup, "--replace"]);
    assert!(!good && text.contains("stop it first"), "{text}");
    stage.stop_agent();
    loss(&stage);
    let text = run(&stage, &[&["restore", &backup], arguments].concat());
    assert!(
        text.contains(&format!("by themselves: {waiting}\n")),
        "{text}"
    );
    stage.start_agent();

    // A task that waited then no longer waits, and says what to do.
    let held = stage.api.get(&format!("/tasks/{waiting}"));
    assert_eq!(held["state"], "withdrawn", "{held}");
    let shown = run(&stage, &["show", &waiting.to_string()]);
    assert!(shown.contains("restored from a backup of "), "{shown}");
    assert!(
        shown.contains(&format!("tagship retry {waiting}")),
        "{shown}"
    );
    stage.assert_live(&HOSTS, "production", "release-2");
    stage.assert_live(&HOSTS, "qa", "qa-2");
    // The output of work before the backup exists.
    assert!(stage.path("data/logs/1").is_dir());

    let id = stage.propose("qa-3", &[("index.html", "three"), ("new", "3")]);
    assert!(id > lost + 1, "{id} may have been given out before");
    stage.api.until_state(id, "succeeded");
    stage.assert_live(&HOSTS, "qa", "qa-3");
    for (host, before) in HOSTS.iter().zip(fences) {
        assert!(fence(&stage, host) > before, "{host}");
    }
    // The audit lacks the lost days, too; its entries are valid.
    let text = run(&stage, &["audit", "verify"]);
    assert!(text.contains(" entries are valid"), "{text}");
    let text = run(&stage, &["audit"]);
    assert!(
        text.contains("take backup") && text.contains("a backup of "),
        "{text}"
    );
    // A user who has checked it may reopen it: its ref is checked and it is approved again.
    stage
        .api
        .post(&format!("/tasks/{waiting}/retry"), &json!({}));
    stage.api.until_state(waiting, "waiting");
    let task = stage.api.get(&format!("/tasks/{waiting}"));
    assert_eq!(task["approvals"], json!([]), "{task}");
    stage.assert_live(&HOSTS, "production", "release-2");
}

#[test]
fn agent_restored_on_an_empty_machine_reuses_no_id() {
    restored_days_later(burn, &[]);
}

#[test]
fn agent_restored_over_its_former_store_reuses_no_id() {
    restored_days_later(|_| {}, &["--replace"]);
}

#[test]
fn a_backup_needs_no_agent_and_fits_into_a_pipe() {
    let mut stage = usual().start();
    stage.release("qa-1", &[("index.html", "one")]);
    stage.stop_agent();
    let there = stage.path("there").display().to_string();
    run(&stage, &["backup", &there, "--without-logs"]);
    let piped = tagship(stage.directory())
        .args(["backup", "-", "--without-logs", "--config"])
        .arg(stage.path("config.toml"))
        .output()
        .unwrap();
    assert!(piped.status.success());
    let piped_to = stage.path("piped");
    fs::write(&piped_to, piped.stdout).unwrap();
    let to = piped_to.display().to_string();
    let text = run(&stage, &["restore", &to, "--replace"]);
    assert!(text.contains("the previous store is in"), "{text}");
    // A backup without logs leaves the existing ones.
    assert!(stage.path("data/logs/1").is_dir());
    stage.start_agent();
    stage.assert_live(&HOSTS, "qa", "qa-1");
}

const CLIENTS: usize = 4;
const PUSHES_OF_A_CLIENT: usize = 12;

/// Pushes tags of its own, one after another, through the hook.
fn client(stage: &Stage, number: usize) -> std::thread::JoinHandle<()> {
    let tree = WorkTree::clone(stage.repo(), stage.path(format!("clients/{number}")));
    let head = tree.resolve("origin/main");
    std::thread::spawn(move || {
        for push in 0..PUSHES_OF_A_CLIENT {
            let tag = format!("watch-{number}-{push}");
            tree.tag(&tag, &head);
            let pushed = tree.push_tag(&tag);
            assert!(pushed.success, "{tag}: {}", pushed.text);
        }
    })
}

/// The store of an agent that does not run.
async fn opened(directory: &Path) -> Store {
    let kv = SledKv::open(&directory.join("store"), 8 << 20).unwrap();
    Store::open(std::sync::Arc::new(kv)).await.unwrap()
}

#[test]
fn backups_during_releases_contain_every_finished_task() {
    let watched = "--\nschedule = 'observe'";
    let mut stage = usual().environment("watch", "watch-", watched).start();
    stage.release("qa-0", &[("index.html", "zero")]);
    assert!(stage.tree().push(["origin", "HEAD:main"]).success);
    let clients: Vec<_> = (0..CLIENTS).map(|number| client(&stage, number)).collect();
    let mut backups = Vec::new();
    for number in 1..=3 {
        stage.release(
            &format!("qa-{number}"),
            &[("index.html", &number.to_string())],
        );
        let tasks = stage.api.tasks();
        let at_rest = tasks
            .into_iter()
            .filter(|task| ["succeeded", "observed"].contains(&task["state"].as_str().unwrap()));
        let at_rest: Vec<(u64, String)> = at_rest
            .map(|task| {
                (
                    task["id"].as_u64().unwrap(),
                    task["state"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        let file = stage.path(format!("backup-{number}")).display().to_string();
        run(&stage, &["backup", &file]);
        backups.push((file, at_rest));
    }
    for client in clients {
        client.join().unwrap();
    }
    let last = stage.api.tasks()[0]["id"].as_u64().unwrap();
    let fences: Vec<u64> = HOSTS.iter().map(|host| fence(&stage, host)).collect();
    stage.stop_agent();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let former = runtime.block_on(opened(&stage.path("data")));
    let config = fs::read_to_string(stage.path("config.toml")).unwrap();
    for (number, (file, at_rest)) in backups.iter().enumerate() {
        let place = format!("elsewhere-{number}");
        let other = stage.path(format!("{place}.toml"));
        let moved = config.replace("data_dir = 'data'", &format!("data_dir = '{place}'"));
        fs::write(&other, moved).unwrap();
        let restored = tagship(stage.directory())
            .args(["restore", file, "--config"])
            .arg(&other)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&restored.stderr).into_owned();
        assert!(restored.status.success(), "{text}");
        runtime.block_on(async {
            let store = opened(&stage.path(&place)).await;
            for (id, state) in at_rest {
                assert_eq!(
                    store.head(*id).await.unwrap().state.as_str(),
                    *state,
                    "task {id}"
                );
                let (now, then) = (store.events(*id).await, former.events(*id).await);
                assert_eq!(now.unwrap(), then.unwrap(), "task {id}");
            }
            assert!(store.last_id() > last, "an id may be given out twice");
            let next = store.next_fence("2000-01-01T00:00:00Z".parse().unwrap());
            let next = next.await.unwrap();
            assert!(fences.iter().all(|seen| next > *seen), "{next}: {fences:?}");
        });
        eprintln!("{file}: {} tasks at rest are all there", at_rest.len());
    }
}
