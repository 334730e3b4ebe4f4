//! The hook and the hooks path, as `tagship check` finds them.

use super::*;

#[test]
fn hooks_path_of_the_git_user_is_found_through_an_include() {
    let mut world = Checked::installed();
    let (hooks, more) = (world.path("hooks-of-all"), world.path("more"));
    std::fs::write(&more, format!("[core]\nhooksPath = {}\n", hooks.display())).unwrap();
    let include = format!("[include]\npath = {}\n", more.display());
    world.git_configuration(&include);
    let said_by = format!("core.hooksPath in {}", more.display());
    world.fails_by(&["project shop: ", "hooks-of-all", &said_by, "no tag is seen"]);
    let said = world.run(&["install", "--project", "shop"]);
    assert_eq!(said.status, Some(1), "{said}");
    assert!(said.stderr.contains(&said_by), "{said}");

    world.git_configuration("[core]\nhooksPath = hooks\n");
    assert_eq!(world.check().status, Some(0), "it is the repository's own");
}

#[test]
fn unreadable_git_configuration_is_a_failure() {
    let mut world = Checked::installed();
    world.git_configuration("[core\n");
    let said = world.check();
    let is_about_hooks = |line: &&str| line.contains(": git, run by ");
    let line = said.stdout.lines().find(is_about_hooks).unwrap();
    assert!(line.starts_with("FAIL project shop: /"), "{said}");
    let file = world.path("gitconfig").display().to_string();
    for words in ["every push fails: fatal: ", &file, "; correct that file"] {
        assert!(line.contains(words), "no {words:?} in {said}");
    }
    assert_eq!(said.status, Some(1), "{said}");
    let said = world.run(&["install", "--project", "shop"]);
    assert_eq!(said.status, Some(1), "{said}");
    assert!(said.stderr.contains("; correct that file"), "{said}");
}

#[test]
fn hooks_path_in_a_conditional_include_is_found() {
    let mut world = Checked::installed();
    let repository = std::fs::canonicalize(&world.repo().path).unwrap();
    let more = world.path("more");
    std::fs::write(&more, "[core]\nhooksPath = /srv/hooks-of-all\n").unwrap();
    let include = format!(
        "[includeIf \"gitdir:{}/\"]\npath = {}\n",
        repository.display(),
        more.display()
    );
    world.git_configuration(&include);
    let said_by = format!("core.hooksPath in {}", more.display());
    world.fails_by(&["project shop: ", "hooks-of-all", &said_by]);
}

#[test]
fn a_hook_that_is_missing() {
    let world = Checked::new();
    // The rules are there, the hook is not.
    let hook = hook_program().display().to_string();
    world.run(&["install", "--project", "shop", "--hook", &hook]);
    world.run(&["uninstall", "--project", "shop"]);
    let said = world.check();
    assert!(said.stdout.contains("FAIL project shop: "), "{said}");
    assert!(
        said.stdout
            .contains("has no hook of tagship's: its tags are not seen; run tagship install"),
        "{said}"
    );
    assert_eq!(said.status, Some(1));
}

#[test]
fn a_hook_that_is_not_executable() {
    let world = Checked::installed();
    let program = world.repo().path.join("hooks/update.tagship");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.fails_by(&["project shop", "is not executable"]);
}

#[test]
fn a_hook_of_another_version() {
    let world = Checked::installed();
    let program = world.repo().path.join("hooks/update.tagship");
    std::fs::remove_file(&program).unwrap();
    let old = "#!/bin/sh\n[ \"$1\" != --version ] || echo 'tagship-hook 0.0.1'\n";
    script(&program, old);
    world.fails_by(&["project shop", "has version 0.0.1"]);
}
