//! The documents' hook, as a real `update` hook: `git push` starts it, it submits the tag.

use std::fs;
use std::process::ExitCode;

use tagship_tests::program::script;
use tagship_tests::world::Settings;

use crate::codo::script::{Script, Task};
use crate::stage::{Stage, Start as _};

/// The template with the number that is written in the hook: a release to the environment's hosts.
const RELEASE: &str = r#"
id = 32
params = [{ name = "APP_NAME" }]
[[stage]]
name = "checkout"
steps = [{ use = "checkout" }]
[[stage]]
name = "sync"
hosts = "{group}"
steps = [{ use = "sync" }]
[[stage]]
name = "publish"
hosts = "{group}"
steps = [{ use = "publish" }, { name = "told", run = 'echo "$APP_NAME $TAG $FLOW_ID"' }]
"#;

fn settings() -> Settings {
    Settings::default()
        .group("one = ['web1']")
        .environment("production", "release-", "group = 'one'\n--\n")
        .environment("qa", "qa-", "group = 'one'\n--\n")
        .template("dbtt", RELEASE)
}

/// Replaces our hook by the documents' hook; `then` is shell text that runs after it.
fn install(stage: &Stage, auth_key: &str, then: &str) {
    let hook = stage.repo().path.join("hooks/update");
    let _ = fs::remove_file(&hook);
    let program = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nREFNAME=\"$1\" AGENT='{}' AUTH_KEY='{auth_key}' GIT_URL='{}' \
         '{}' codo::hook::the_program_of_the_hook --exact --ignored --nocapture || exit 145\n{then}\n",
        stage.url(),
        stage.repo().url(),
        program.display(),
    );
    script(&hook, &text);
}

/// What the hook runs: `main` of the documents' script.
#[test]
#[ignore = "started by the hook"]
fn the_program_of_the_hook() {
    let given = |name: &str| std::env::var(name).unwrap();
    let (reference, git_url) = (given("REFNAME"), given("GIT_URL"));
    let tag = reference.rsplit('/').next().unwrap();
    let begins = |with: &str| tag.starts_with(with);
    if !begins("qa-dbtt") && !begins("release-dbtt") {
        println!("{tag}");
        return;
    }
    let script = Script::new(&given("AGENT"), &given("AUTH_KEY"));
    let ended = script.post_task(&Task {
        name: "DBTT",
        template: "32",
        schedule: "ready",
        tag,
        git_url: &git_url,
        address: "127.0.1.1",
    });
    assert_eq!(ended, ExitCode::SUCCESS);
}

#[test]
fn a_pushed_tag_makes_one_task_that_releases_its_commit() {
    let stage = settings().start();
    install(&stage, &stage.token("githook", "approver"), "");
    let tag = "release-dbtt-server-20190320-02";
    let commit = stage.commit(tag, &[("README.md", "README\n")]);
    let pushed = stage.tree().push_tag(tag);
    assert!(pushed.success, "{}", pushed.text);
    let said = "Asynchronous task has been submitted successfully!!!";
    assert!(pushed.text.contains(said), "{}", pushed.text);
    let id = stage.api.task_of(tag);
    let task = stage.api.until_state(id, "succeeded");
    assert_eq!(task["commit"], commit.as_str());
    assert_eq!(task["submitter"], "githook");
    stage.assert_live(&["web1"], "production", tag);
    stage
        .api
        .until_logged(id, &["web1"], &[&format!("DBTT {tag} {id}")]);
    assert_eq!(stage.api.tasks().len(), 1, "one task for one push");

    // A tag that the hook's expressions do not match makes no task.
    stage.commit("v2", &[("README.md", "two\n")]);
    let pushed = stage.tree().push_tag("v2");
    assert!(
        pushed.success && pushed.text.contains("v2"),
        "{}",
        pushed.text
    );
    assert_eq!(stage.api.tasks().len(), 1);
}

#[test]
fn refused_push_or_branch_named_as_a_tag_releases_nothing() {
    let stage = settings().agent("landing_timeout = '2s'").start();
    let auth_key = stage.token("githook", "approver");
    install(&stage, &auth_key, "echo not today; exit 1");
    stage.commit("release-dbtt-1", &[("README.md", "one\n")]);
    let pushed = stage.tree().push_tag("release-dbtt-1");
    assert!(!pushed.success, "{}", pushed.text);
    let refused = stage.api.at_rest(stage.api.task_of("release-dbtt-1"));

    install(&stage, &auth_key, "");
    let head = stage.tree().resolve("HEAD");
    let pushed = stage
        .tree()
        .push(["origin", &format!("{head}:refs/heads/release-dbtt-2")]);
    assert!(pushed.success, "{}", pushed.text);
    let branch = stage.api.at_rest(stage.api.task_of("release-dbtt-2"));

    for task in [refused, branch] {
        assert_eq!(task["state"], "expired", "{task}");
        let detail = task["detail"].as_str().unwrap();
        assert!(detail.contains("is not on the git server"), "{detail}");
        assert_eq!(task["release"], serde_json::Value::Null);
    }
    assert_eq!(stage.live("web1", "production"), None);
}

#[test]
fn hook_token_without_the_run_right_refuses_the_push() {
    let stage = settings().start();
    install(&stage, &stage.token("githook", "submitter"), "");
    stage.commit("release-dbtt-1", &[("README.md", "one\n")]);
    let pushed = stage.tree().push_tag("release-dbtt-1");
    assert!(!pushed.success, "{}", pushed.text);
    let said = "task commit failed Please contact  OPS Group";
    assert!(pushed.text.contains(said), "{}", pushed.text);
    assert!(stage.api.tasks().is_empty(), "nothing half made");
}

#[test]
fn landed_commit_is_released_even_if_the_tag_moves() {
    let stage = settings().start();
    let auth_key = stage.token("alice", "submitter");
    let ours = stage.repo().path.join("hooks/update");
    fs::remove_file(&ours).unwrap();
    let first = stage.commit("release-dbtt-1", &[("README.md", "one\n")]);
    assert!(stage.tree().push_tag("release-dbtt-1").success);
    let script = Script::new(&stage.url(), &auth_key);
    let (_, answer) = script.submit(
        &Task {
            name: "DBTT",
            template: "32",
            schedule: "new",
            tag: "release-dbtt-1",
            git_url: &stage.repo().url(),
            address: "127.0.1.1",
        }
        .fields(),
    );
    let id = answer["list_id"].as_u64().unwrap();
    stage.api.until_state(id, "waiting");

    let second = stage.tree().commit_files("two", &[("README.md", "two\n")]);
    stage.tree().push([
        "--force",
        "origin",
        &format!("{second}:refs/tags/release-dbtt-1"),
    ]);
    let approver = stage.person("carol", "approver");
    assert_eq!(approver.approve(id).0, 200);
    let task = stage.api.until_state(id, "succeeded");
    assert_eq!(task["commit"], first.as_str());
    let live = stage.place("web1", "production").join("current/README.md");
    assert_eq!(fs::read_to_string(live).unwrap(), "one\n");
}
