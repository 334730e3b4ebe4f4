//! `tagship install` and `uninstall`, on a real repository, with the real hook and a real push.

use tagship_tests::git::{Repository, WorkTree};
use tagship_tests::hook::hook_program;

use crate::command::program::Test;

const SHOP: &str = r#"
[agent]
data_dir = "{dir}/data"
spool_dir = "{dir}/spool"
templates_dir = "{dir}/templates"
[hosts.web1]
[groups]
web = ["web1"]
[[projects]]
name = "shop"
repository = "{dir}/shop.git"
environments.qa = { group = "web", deploy_to = "/srv/shop" }
rules = [{ pattern = "qa-*", environment = "qa", schedule = "ready" }]
[[projects]]
name = "remote"
repository = "alice/remote"
git_url = "https://git.example.com/alice/remote.git"
"#;

fn shop() -> (Test, Repository) {
    let test = Test::new().config(SHOP);
    let repository = Repository::bare(test.path("shop.git"));
    (test, repository)
}

#[test]
fn push_after_install_is_accepted_without_an_agent() {
    let (test, repository) = shop();
    let hook = hook_program().display().to_string();
    let work = WorkTree::clone(&repository, test.path("work"));
    let spool = test.path("spool");
    let installing = test.arguments(["install", "--project", "shop", "--hook", &hook]);
    let output = installing.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.starts_with("the hook of shop (bare repository) is "),
        "{text}"
    );
    assert!(text.contains("rules are published in "), "{text}");

    let commit = work.commit_files("first", &[("index.html", "shop")]);
    work.tag("qa-1", &commit);
    let pushed = work.push_tag("qa-1");
    assert!(pushed.success, "{pushed:?}");
    assert!(pushed.text.contains("qa"), "{pushed:?}");
    assert_eq!(std::fs::read_dir(spool.join("new")).unwrap().count(), 1);
}

#[test]
fn existing_hook_is_kept_and_restored() {
    let (test, repository) = shop();
    let old = repository.path.join("hooks/update");
    tagship_tests::program::script(&old, "#!/bin/sh\nexit 0\n");
    let hook = hook_program().display().to_string();
    let config = test.path("config.toml").display().to_string();
    let installed = test.arguments(["install", "--project", "shop", "--hook", &hook]);
    let output = installed.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("update.before-tagship and still runs first\n"),
        "{output:?}"
    );

    let removed = Test::new()
        .arguments(["--config", &config, "uninstall", "--project", "shop"])
        .said();
    assert_eq!(removed.status, Some(0), "{removed}");
    assert!(
        removed
            .stdout
            .contains("hooks/update is again what it was before\n"),
        "{removed}"
    );
    assert_eq!(
        std::fs::read_to_string(&old).unwrap(),
        "#!/bin/sh\nexit 0\n"
    );

    let again = Test::new()
        .arguments(["--config", &config, "uninstall", "--project", "shop"])
        .said();
    assert!(
        again.stdout.starts_with("no hook of tagship was in "),
        "{again}"
    );
    assert_eq!(again.status, Some(0), "{again}");
}

#[test]
fn missing_hook_program_is_named() {
    let (test, _repository) = shop();
    test.arguments(["install", "--project", "shop", "--hook", "/nowhere/update"])
        .stderr("error: hook program /nowhere/update is missing; name it with --hook\n")
        .status(1)
        .run();
}

#[test]
fn a_directory_that_is_no_repository_is_refused() {
    let (test, _repository) = shop();
    let hook = hook_program().display().to_string();
    let directory = test.directory().display().to_string();
    test.arguments(["install", "--project", "shop", "--hook", &hook, "--repo", &directory])
        .stderr("error: {dir} is not a git repository; name the directory that holds HEAD, objects and refs\n")
        .status(1)
        .run();
}

#[test]
fn a_repository_on_another_machine_needs_its_directory() {
    let (test, _repository) = shop();
    let hook = hook_program().display().to_string();
    test.arguments(["install", "--project", "remote", "--hook", &hook])
        .stderr("error: project remote is known to its server as \"alice/remote\"; name its directory on this machine with --repo DIR\n")
        .status(1)
        .run();
}

#[test]
fn a_tar_for_gitaly_holds_hook_and_settings() {
    let (test, _repository) = shop();
    let hook = hook_program().display().to_string();
    let test = test.arguments(["install", "--project", "remote", "--tar", "--hook", &hook]);
    let output = test.command().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut archive = tar::Archive::new(output.stdout.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(
        names.contains(&"custom_hooks/update.d/90-tagship".to_owned()),
        "{names:?}"
    );
    assert!(
        names.contains(&"custom_hooks/update.d/90-tagship.toml".to_owned()),
        "{names:?}"
    );
    assert!(
        !test.path("spool").exists(),
        "printing a tar changes nothing"
    );
}
