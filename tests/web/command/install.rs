//! `tagship install` and `uninstall`, on a real repository, with the real hook and a real push.

use tagship_tests::hook::hook_program;
use tagship_tests::world::{Settings, World};

use crate::command::program::Test;

/// A world with a second project, whose repository is elsewhere.
fn shop() -> World {
    let remote = "
        [[projects]]
        name = 'remote'
        repository = 'alice/remote'
        git_url = 'https://git.example.com/alice/remote.git'
        ";
    Settings::default()
        .environment("qa", "qa-*", "--\nschedule = 'ready'")
        .more(remote)
        .build()
}

/// The program with the configuration of a world.
fn of(world: &World, arguments: &[&str]) -> Test {
    let config = world.path("config.toml").display().to_string();
    Test::new()
        .arguments(["--config", &config])
        .arguments(arguments.iter().copied())
}

fn install(world: &World, more: &[&str]) -> Test {
    let hook = hook_program().display().to_string();
    of(world, &["install", "--hook", &hook]).arguments(more.iter().copied())
}

#[test]
fn push_after_install_is_accepted_without_an_agent() {
    let world = shop();
    let installing = install(&world, &["--project", "shop"]);
    let output = installing.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.starts_with("the hook of shop (bare repository) is "),
        "{text}"
    );
    assert!(text.contains("rules are published in "), "{text}");

    let work = world.tree();
    let commit = work.commit_files("first", &[("index.html", "shop")]);
    work.tag("qa-1", &commit);
    let pushed = work.push_tag("qa-1");
    assert!(pushed.success, "{pushed:?}");
    assert!(pushed.text.contains("qa"), "{pushed:?}");
    assert_eq!(
        std::fs::read_dir(world.path("spool/new")).unwrap().count(),
        1
    );
}

#[test]
fn existing_hook_is_kept_and_restored() {
    let world = shop();
    let old = world.repo().path.join("hooks/update");
    tagship_tests::program::script(&old, "#!/bin/sh\nexit 0\n");
    let installed = install(&world, &["--project", "shop"]);
    let output = installed.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("update.before-tagship and still runs first\n"),
        "{output:?}"
    );

    let removed = of(&world, &["uninstall", "--project", "shop"]).said();
    assert_eq!(removed.status, Some(0), "{removed}");
    assert!(
        removed.stdout.contains("hooks/update is restored\n"),
        "{removed}"
    );
    assert_eq!(
        std::fs::read_to_string(&old).unwrap(),
        "#!/bin/sh\nexit 0\n"
    );

    let again = of(&world, &["uninstall", "--project", "shop"]).said();
    assert!(
        again.stdout.starts_with("no hook of tagship was in "),
        "{again}"
    );
    assert_eq!(again.status, Some(0), "{again}");
}

#[test]
fn missing_hook_program_is_named() {
    of(
        &shop(),
        &["install", "--project", "shop", "--hook", "/nowhere/update"],
    )
    .stderr("error: hook program /nowhere/update is missing; name it with --hook\n")
    .status(1)
    .run();
}

#[test]
fn a_directory_that_is_no_repository_is_refused() {
    let world = shop();
    let directory = world.directory().display().to_string();
    install(&world, &["--project", "shop", "--repo", &directory])
        .stderr(&format!("error: {directory} is not a git repository; name the directory that holds HEAD, objects and refs\n"))
        .status(1)
        .run();
}

#[test]
fn a_repository_on_another_machine_needs_its_directory() {
    install(&shop(), &["--project", "remote"])
        .stderr("error: project remote is known to its server as \"alice/remote\"; name its directory on this machine with --repo DIR\n")
        .status(1)
        .run();
}

#[test]
fn a_tar_for_gitaly_holds_hook_and_settings() {
    let world = shop();
    let test = install(&world, &["--project", "remote", "--tar"]);
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
        !world.path("spool").exists(),
        "printing a tar changes nothing"
    );
}
