//! Logins and file systems that affect every release.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use tagship_tests::sshd::{Sshd, chmod};

use super::{Checked, settings_with};

/// One prints fast, one slowly, and one starts a shell that never runs the script.
#[test]
fn login_that_never_comes_to_the_script_is_named_soon() {
    for (login, words) in [
        ("yes", "prints more than 16 MiB"),
        (
            "while :; do echo x; sleep 1; done",
            "no command ran within 30 s",
        ),
    ] {
        let forced = Sshd::settings().line(&format!("ForceCommand {login}"));
        let forced = forced.start();
        let world = Checked::installed().served_by(forced);
        world.fails_by(&["host web1", words, "startup file"]);
    }
}

/// As `rbash`, or a `ForceCommand` without quotes: the cause is the one that a task names.
#[test]
fn login_that_refuses_is_named_by_its_cause() {
    for (login, words) in [
        (
            "echo 'exec: restricted' >&2; exit 1",
            ["ran no shell script", "exec: restricted"],
        ),
        (
            "$SSH_ORIGINAL_COMMAND",
            [
                "a file cannot be sent by rsync: a ForceCommand of sshd_config",
                "sh -c \"$SSH_ORIGINAL_COMMAND\"",
            ],
        ),
    ] {
        let forced = Sshd::settings().line(&format!("ForceCommand {login}"));
        let world = Checked::installed().served_by(forced.start());
        world.fails_by(&[&["host web1"][..], &words].concat());
        assert!(!world.check().stdout.contains("no output in"), "{login}");
    }
}

#[test]
fn releases_on_another_file_system_are_found() {
    let world = Checked::installed();
    std::fs::create_dir_all(world.deploy_to()).unwrap();
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let device = |path: &Path| path.metadata().unwrap().dev();
    if device(other.path()) == device(&world.deploy_to()) {
        eprintln!("SKIPPED: both are on one file system");
        return;
    }
    let (own, releases) = (".tagship", "releases");
    std::os::unix::fs::symlink(other.path(), world.deploy_to().join(releases)).unwrap();
    let said = world.check();
    let line = said.stdout.lines().find(|line| line.starts_with("warn "));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("srv/shop/releases is on another"), "{said}");
    assert_eq!(said.status, Some(0), "{said}");
    std::os::unix::fs::symlink(other.path(), world.deploy_to().join(own)).unwrap();
    world.fails_by(&["host web1", "srv/shop/.tagship is on another file system"]);
}

#[test]
fn shared_paths_that_a_release_cannot_use_are_found() {
    let shared = "shared = ['log', 'a.env', 'b.env', 'keys/id']";
    let world = Checked {
        world: settings_with("git-release", shared).build(),
        programs: None,
    };
    world.install();
    let shared = world.deploy_to().join("shared");
    std::fs::create_dir_all(shared.join("a.env")).unwrap();
    std::fs::create_dir_all(shared.join("keys")).unwrap();
    std::fs::write(shared.join("keys/id"), "").unwrap();
    std::os::unix::fs::symlink("/nowhere/log", shared.join("log")).unwrap();
    let said = world.check();
    for (status, words) in [
        (
            "FAIL ",
            "shared/log cannot be made: shared/log is a link to what is not there: /nowhere/log",
        ),
        ("warn ", "shared/a.env is a directory"),
        ("FAIL ", "shared/b.env is missing"),
    ] {
        let mut lines = said.stdout.lines().filter(|line| line.contains(words));
        assert!(lines.any(|line| line.starts_with(status)), "{said}");
    }
    assert!(!said.stdout.contains("keys/id"), "{said}");
}

#[test]
fn inner_directories_of_another_user_are_found() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root gives files away");
        return;
    }
    let service = Some(65_534);
    let as_service = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -s";
    let sshd = Sshd::settings().line(&format!("ForceCommand {as_service}"));
    let world = Checked::installed().served_by(sshd.start());
    chmod(world.directory(), 0o755);
    let own = world.deploy_to().join(".tagship");
    for path in ["journal", "manifests", "fence-3/turn-4"] {
        std::fs::create_dir_all(own.join(path)).unwrap();
    }
    let mut path = own.join("fence-3");
    while path != *world.directory() {
        chown(&path, service, service).unwrap();
        path.pop();
    }
    for inner in ["manifests", "journal", "fence-3/turn-4"] {
        let others = ["manifests", "journal", "fence-3/turn-4"];
        for other in others.iter().filter(|other| **other != inner) {
            chown(own.join(other), service, service).unwrap();
        }
        chown(own.join(inner), Some(0), Some(0)).unwrap();
        let what = format!("srv/shop/.tagship/{inner} cannot be written by the login user");
        world.fails_by(&["host web1", &what, "find .tagship -type d"]);
    }
}
