//! Installing and uninstalling the hook.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use tagship::setup::install::{self, GitServerKind, HookFinding, InstallError, InstallRequest};
use tagship_tests::git::output_of;
use tagship_tests::program::{self, script};

use crate::hook::shop::Shop;

fn listing(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".sample"))
        .collect();
    names.sort();
    names
}

#[test]
fn existing_hook_still_runs_with_arguments_and_input() {
    let shop = Shop::without_hook();
    let hooks = shop.repo().path.join("hooks");
    script(
        &hooks.join("update"),
        "#!/bin/sh\necho old \"$#\" \"$1\"\ncat\n",
    );
    let report = shop.installation().run().unwrap();
    assert_eq!(report.kept, Some(hooks.join("update.before-tagship")));
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push_tag("release-1");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(pushed.remote_lines()[0], "old 3 refs/tags/release-1");
    assert!(pushed.remote_lines()[1].starts_with("tagship: release-1 → "));
    assert_eq!(shop.records().len(), 1);

    // Outside a push there may be input; the old hook receives it.
    let input = shop.directory().join("input");
    std::fs::write(&input, "words\n").unwrap();
    let output = Command::new(hooks.join("update"))
        .args(["refs/heads/main", "a", "b"])
        .stdin(std::fs::File::open(input).unwrap())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("\nwords\n"));
}

#[test]
fn existing_hooks_refusal_wins_and_writes_no_record() {
    let shop = Shop::without_hook();
    script(
        &shop.repo().path.join("hooks/update"),
        "#!/bin/sh\necho no\nexit 7\n",
    );
    shop.install();
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push_tag("release-1");
    assert!(!pushed.success);
    assert_eq!(pushed.remote_lines()[0], "no");
    assert_eq!(shop.records(), []);
    let code = Command::new(shop.repo().path.join("hooks/update"))
        .args(["refs/tags/x", "a", "b"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(code.code(), Some(7), "its own exit code");
}

#[test]
fn a_hook_that_git_skipped_is_kept_and_still_skipped() {
    let shop = Shop::without_hook();
    let hook = shop.repo().path.join("hooks/update");
    script(&hook, "#!/bin/sh\nexit 1\n");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o644)).unwrap();
    shop.install();
    shop.tree().tag("release-1", "HEAD");
    assert!(shop.tree().push_tag("release-1").success);
}

#[test]
fn installing_twice_changes_nothing() {
    let shop = Shop::without_hook();
    let hooks = shop.repo().path.join("hooks");
    script(&hooks.join("update"), "#!/bin/sh\necho old\n");
    shop.install();
    let once = listing(&hooks);
    let chain = std::fs::read(hooks.join("update")).unwrap();
    shop.install();
    assert_eq!(listing(&hooks), once);
    assert_eq!(std::fs::read(hooks.join("update")).unwrap(), chain);
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push_tag("release-1");
    let old = pushed
        .remote_lines()
        .iter()
        .filter(|line| **line == "old")
        .count();
    assert_eq!(old, 1, "{}", pushed.text);
}

#[test]
fn uninstall_restores_the_existing_hook() {
    let shop = Shop::without_hook();
    let hooks = shop.repo().path.join("hooks");
    // A link, as many installations have: it must be restored as a link.
    script(&shop.directory().join("policy"), "#!/bin/sh\necho old\n");
    symlink("../../../policy", hooks.join("update")).unwrap();
    let before = listing(&hooks);
    shop.install();
    shop.tree().tag("release-1", "HEAD");
    assert_eq!(shop.tree().push_tag("release-1").remote_lines()[0], "old");
    let removed = install::uninstall(&shop.repo().path, GitServerKind::Bare).unwrap();
    assert_eq!(removed.restored, Some(hooks.join("update")));
    assert_eq!(listing(&hooks), before);
    assert_eq!(
        std::fs::read_link(hooks.join("update")).unwrap(),
        Path::new("../../../policy")
    );
    let again = install::uninstall(&shop.repo().path, GitServerKind::Bare).unwrap();
    assert_eq!((again.files.len(), again.restored), (0, None));
    assert_eq!(listing(&hooks), before);
}

#[test]
fn uninstall_without_an_existing_hook_leaves_no_trace() {
    for kind in [GitServerKind::Bare, GitServerKind::GitLab] {
        let shop = Shop::without_hook();
        let before = listing(&shop.repo().path);
        let hooks = listing(&shop.repo().path.join("hooks"));
        InstallRequest {
            kind,
            ..shop.installation()
        }
        .run()
        .unwrap();
        install::uninstall(&shop.repo().path, kind).unwrap();
        assert_eq!(listing(&shop.repo().path), before);
        assert_eq!(listing(&shop.repo().path.join("hooks")), hooks);
    }
}

#[test]
fn uninstall_keeps_a_hook_added_later() {
    let shop = Shop::new();
    let hook = shop.repo().path.join("hooks/update");
    std::fs::remove_file(&hook).unwrap();
    script(&hook, "#!/bin/sh\necho theirs\n");
    install::uninstall(&shop.repo().path, GitServerKind::Bare).unwrap();
    assert_eq!(std::fs::read(&hook).unwrap(), b"#!/bin/sh\necho theirs\n");
}

#[test]
fn two_existing_hooks_require_a_manual_decision() {
    let shop = Shop::without_hook();
    let hook = shop.repo().path.join("hooks/update");
    script(&hook, "#!/bin/sh\necho first\n");
    shop.install();
    script(&hook, "#!/bin/sh\necho second\n");
    let error = shop.installation().run().unwrap_err();
    assert!(matches!(error, InstallError::KeptTwice { .. }), "{error}");
    assert_eq!(std::fs::read(&hook).unwrap(), b"#!/bin/sh\necho second\n");
}

#[test]
fn installed_files_are_writable_only_by_their_owner() {
    let shop = Shop::without_hook();
    let hooks = shop.repo().path.join("hooks");
    script(&hooks.join("update"), "#!/bin/sh\n");
    shop.install();
    for (name, mode) in [
        ("update", 0o755),
        ("update.tagship", 0o755),
        ("update.tagship.toml", 0o644),
    ] {
        let data = std::fs::metadata(hooks.join(name)).unwrap();
        assert_eq!(data.permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn a_hook_that_runs_is_replaced_without_disturbing_it() {
    let shop = Shop::new();
    let settings = shop.repo().path.join("hooks/update.tagship.toml");
    std::fs::remove_file(&settings).unwrap();
    output_of(Command::new("mkfifo").arg(&settings));
    let mut running = Command::new("hooks/update")
        .current_dir(&shop.repo().path)
        .env_clear()
        .args(["refs/tags/qa-1", &"0".repeat(40), &"a".repeat(40)])
        .spawn()
        .unwrap();
    // Once the pipe is read, the hook is running; it continues when it gets its settings.
    let mut writer = std::fs::OpenOptions::new()
        .write(true)
        .open(&settings)
        .unwrap();
    shop.install();
    let text = shop.installation().settings().unwrap().to_text().unwrap();
    std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
    drop(writer);
    assert!(running.wait().unwrap().success());
    assert_eq!(shop.records().len(), 1);
}

#[test]
fn foreign_program_is_never_installed_as_the_hook() {
    let shop = Shop::new();
    let hooks = shop.repo().path.join("hooks");
    let before = listing(&hooks);
    let wrong = shop.directory().join("wrong");
    script(&wrong, "#!/bin/sh\necho something else\n");
    let install = InstallRequest {
        hook_program: wrong,
        ..shop.installation()
    };
    let error = install.run().unwrap_err();
    assert!(
        matches!(&error, InstallError::NotAHook { answer, .. } if answer == "something else"),
        "{error}"
    );
    assert_eq!(listing(&hooks), before);
    shop.tree().tag("qa-1", "HEAD");
    assert!(shop.tree().push_tag("qa-1").success);
    assert_eq!(shop.records().len(), 1);
}

#[test]
fn install_errors_name_the_cause_and_a_remedy() {
    let shop = Shop::without_hook();
    let dir = shop.directory();
    let good = || shop.installation();
    let cases = [
        (
            InstallRequest {
                repo: dir.to_owned(),
                ..good()
            },
            "is not a git repository; name the directory",
        ),
        (
            InstallRequest {
                hook_program: dir.join("none"),
                ..good()
            },
            "none is missing; name it with --hook",
        ),
        (
            InstallRequest {
                spool_dir: "spool".into(),
                ..good()
            },
            "spool_dir spool must be an absolute path",
        ),
        (
            InstallRequest {
                git_user: Some("nobody-of-that-name".to_owned()),
                ..good()
            },
            "system user nobody-of-that-name is unknown here",
        ),
    ];
    for (install, wanted) in cases {
        let error = install.run().unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    std::fs::remove_dir_all(shop.repo().path.join("hooks")).unwrap();
    std::fs::write(shop.repo().path.join("hooks"), "").unwrap();
    let error = good().run().unwrap_err().to_string();
    assert!(error.starts_with("cannot write "), "{error}");
}

#[test]
fn repository_with_another_hooks_path_is_refused() {
    let shop = Shop::without_hook();
    output_of(
        shop.repo()
            .git()
            .args(["config", "core.hooksPath", "/srv/hooks"]),
    );
    let error = shop.installation().run().unwrap_err();
    assert!(
        matches!(&error, InstallError::HooksElsewhere { hooks_path, .. } if hooks_path == Path::new("/srv/hooks")),
        "{error}"
    );
    let config = std::fs::canonicalize(&shop.repo().path)
        .unwrap()
        .join("config");
    let named = format!("(core.hooksPath in {})", config.display());
    assert!(error.to_string().contains(&named), "{error}");
}

#[test]
fn repository_with_sha256_ids_is_refused_and_found() {
    let shop = Shop::sha256();
    let error = shop.installation().run().unwrap_err();
    assert!(matches!(error, InstallError::ObjectFormat(_)), "{error}");
    let findings = install::verify(&shop.installation());
    let named = |finding: &HookFinding| finding.what.contains("has SHA-256 object ids");
    assert!(findings.iter().any(named), "{findings:?}");
}

#[test]
fn manually_installed_hook_is_valid() {
    let shop = Shop::new();
    let there = shop.directory().join("hooks-of-all");
    std::fs::create_dir(&there).unwrap();
    let hooks = shop.repo().path.join("hooks");
    let copy = |from: &str, to: &str| program::copy(&hooks.join(from), &there.join(to));
    copy("update.tagship", "update");
    output_of(
        shop.repo()
            .git()
            .args(["config", "core.hooksPath"])
            .arg(&there),
    );
    let wrong = install::verify(&shop.installation());
    assert!(wrong[0].what.contains("takes hooks from"), "{wrong:?}");
    copy("update.tagship.toml", "update.toml");
    assert_eq!(install::verify(&shop.installation()), []);
    std::fs::set_permissions(there.join("update"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let wrong = install::verify(&shop.installation());
    assert!(wrong[0].what.contains("is not executable"), "{wrong:?}");
    assert!(wrong[0].remedy.contains("docs/hook.md"), "{wrong:?}");
}

#[test]
fn a_repository_of_gitolite_is_refused() {
    let shop = Shop::without_hook();
    symlink(
        "/home/git/.gitolite/hooks/common/update",
        shop.repo().path.join("hooks/update"),
    )
    .unwrap();
    let error = shop.installation().run().unwrap_err();
    assert!(matches!(error, InstallError::Gitolite(_)), "{error}");
}

#[test]
fn server_kind_is_detected_from_the_repository() {
    let shop = Shop::without_hook();
    let path = &shop.repo().path;
    assert_eq!(GitServerKind::detect(path).unwrap(), GitServerKind::Bare);
    std::fs::create_dir(path.join("hooks/update.d")).unwrap();
    assert_eq!(
        GitServerKind::detect(path).unwrap(),
        GitServerKind::Bare,
        "nobody runs what is in it"
    );
    script(
        &path.join("hooks/update"),
        "#!/bin/sh\nfor h in hooks/update.d/*; do :; done\n",
    );
    assert_eq!(GitServerKind::detect(path).unwrap(), GitServerKind::Gitea);
    output_of(
        shop.repo()
            .git()
            .args(["config", "gitlab.fullpath", "alice/shop"]),
    );
    assert_eq!(GitServerKind::detect(path).unwrap(), GitServerKind::GitLab);
    assert!(GitServerKind::detect(shop.directory()).is_err());
    assert!(
        GitServerKind::detect(&shop.tree().path).is_ok(),
        "a work tree has a repository"
    );
    for storage in ["@hashed", "@cluster"] {
        let shop = Shop::without_hook();
        let parent = shop.directory().join(storage);
        std::fs::create_dir(&parent).unwrap();
        let moved = parent.join("b17e.git");
        std::fs::rename(&shop.repo().path, &moved).unwrap();
        assert_eq!(
            GitServerKind::detect(&moved).unwrap(),
            GitServerKind::GitLab
        );
    }
}

#[test]
fn a_sound_installation_has_no_findings() {
    let shop = Shop::new();
    assert_eq!(install::verify(&shop.installation()), []);
}

#[test]
fn every_fault_of_an_installation_is_found() {
    type Damage = fn(&Shop, &Path);
    let damage: [(&str, Damage); 8] = [
        ("update.tagship is missing", |_, hooks| {
            std::fs::remove_file(hooks.join("update.tagship")).unwrap();
        }),
        ("update is missing", |_, hooks| {
            std::fs::remove_file(hooks.join("update")).unwrap();
        }),
        ("update is not tagship's", |_, hooks| {
            std::fs::remove_file(hooks.join("update")).unwrap();
            script(&hooks.join("update"), "#!/bin/sh\n");
        }),
        ("is not executable: git skips it", |_, hooks| {
            chmod(&hooks.join("update.tagship"), 0o644);
        }),
        ("can be written by others", |_, hooks| {
            chmod(&hooks.join("update.tagship"), 0o777);
        }),
        ("has version 9.9.9, the agent", |_, hooks| {
            std::fs::remove_file(hooks.join("update.tagship")).unwrap();
            script(
                &hooks.join("update.tagship"),
                "#!/bin/sh\necho 'tagship-hook 9.9.9 (format 1)'\n",
            );
        }),
        ("does not say what the configuration says", |_, hooks| {
            std::fs::write(
                hooks.join("update.tagship.toml"),
                "spool_dir = \"/elsewhere\"\n",
            )
            .unwrap();
        }),
        ("cannot hand over: tagship: cannot reach", |shop, _| {
            std::fs::remove_dir_all(shop.spool()).unwrap();
        }),
    ];
    for (wanted, damage) in damage {
        let shop = Shop::new();
        damage(&shop, &shop.repo().path.join("hooks"));
        let findings = install::verify(&shop.installation());
        assert!(
            findings.iter().any(|finding| finding.what.contains(wanted)),
            "{wanted}: {findings:?}"
        );
        assert!(findings.iter().all(|finding| !finding.remedy.is_empty()));
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
