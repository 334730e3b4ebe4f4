//! Git servers that run hooks in different ways: GitLab's Gitaly, Gitea, gitolite.

use std::path::{Path, PathBuf};

use tagship::domain::rule::OnSpoolError;
use tagship::engine::spool;
use tagship::setup::install::{GitServerKind, InstallRequest};
use tagship_tests::git::{Pushed, output_of};
use tagship_tests::program::script;

use crate::hook::shop::{Shop, rules};

/// Simulates Gitaly: its search order and environment, without `hooks/` of the repository.
fn gitaly(shop: &Shop, variables: &[(&str, &str)]) {
    let mut environment = String::new();
    for (name, value) in variables {
        environment.push_str(&format!(" {name}='{value}'"));
    }
    let hooks = shop.directory().join("gitaly");
    script(
        &hooks.join("update"),
        &format!(
            r#"#!/bin/sh
LC_ALL=C
export LC_ALL
repository=$PWD
run() {{
    env -i GIT_DIR="$repository"{environment} "$@" || exit
}}
one=custom_hooks/update
[ -f $one ] && [ -x $one ] && run "$repository/$one" "$@"
for hook in custom_hooks/update.d/*; do
    case $hook in *~) continue ;; esac
    [ -f "$hook" ] && [ -x "$hook" ] || continue
    run "$repository/$hook" "$@"
done
exit 0
"#
        ),
    );
    output_of(
        shop.repo()
            .git()
            .args(["config", "core.hooksPath"])
            .arg(&hooks),
    );
}

const ALICE: &[(&str, &str)] = &[
    ("GL_ID", "user-3"),
    ("GL_USERNAME", "alice"),
    ("GL_PROJECT_PATH", "alice/shop"),
    ("GL_PROTOCOL", "ssh"),
    ("GL_REPOSITORY", "project-7"),
];

fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut variables = ALICE.to_vec();
    variables.retain(|(other, _)| *other != name);
    variables.push((name, value));
    variables
}

/// A shop on GitLab, its rules published under the project's path.
fn on_gitlab(variables: &[(&str, &str)]) -> Shop {
    let shop = Shop::without_hook();
    shop.publish(rules("alice/shop", OnSpoolError::Reject));
    std::fs::create_dir(shop.repo().path.join("custom_hooks")).unwrap();
    let report = installation(&shop).run().unwrap();
    assert_eq!(report.findings, []);
    gitaly(&shop, variables);
    shop
}

fn installation(shop: &Shop) -> InstallRequest {
    InstallRequest {
        kind: GitServerKind::detect(&shop.repo().path).unwrap(),
        ..shop.installation()
    }
}

fn push_tag(shop: &Shop, tag: &str) -> Pushed {
    shop.tree().tag(tag, "HEAD");
    shop.tree().push_tag(tag)
}

#[test]
fn gitlab_tag_is_recorded_with_its_pushers_name() {
    let shop = on_gitlab(ALICE);
    let pushed = push_tag(&shop, "release-1");
    assert!(pushed.success, "{}", pushed.text);
    let records = shop.records();
    assert_eq!(records[0].repository, "alice/shop");
    assert_eq!(records[0].pusher, "alice");
}

#[test]
fn gitlab_deploy_key_without_user_is_identified_by_id() {
    let shop = on_gitlab(&with("GL_USERNAME", ""));
    push_tag(&shop, "release-1");
    assert_eq!(shop.records()[0].pusher, "user-3");
}

#[test]
fn on_gitlab_a_project_may_be_configured_by_its_number() {
    let shop = on_gitlab(&with("GL_PROJECT_PATH", "alice/renamed"));
    shop.publish(rules("project-7", OnSpoolError::Reject));
    push_tag(&shop, "release-1");
    assert_eq!(shop.records()[0].repository, "project-7");
}

#[test]
fn on_gitlab_wikis_and_designs_are_ignored() {
    for id in ["wiki-7", "design-7", "snippet-7", "group-wiki-2"] {
        let shop = on_gitlab(&with("GL_REPOSITORY", id));
        let pushed = push_tag(&shop, "release-1");
        assert!(pushed.success, "{}", pushed.text);
        assert_eq!(pushed.remote_lines(), [""; 0]);
        assert_eq!(shop.records(), []);
    }
}

#[test]
fn gitlab_shows_the_refusal_on_its_page() {
    let shop = on_gitlab(ALICE);
    shop.break_spool();
    let pushed = push_tag(&shop, "release-1");
    assert!(!pushed.success);
    assert!(
        pushed.remote_lines().iter().any(|line| {
            line.starts_with("GL-HOOK-ERR: tagship: release-1 could not be handed over: ")
        }),
        "{}",
        pushed.text
    );
}

#[test]
fn gitlab_existing_hooks_run_first_and_may_refuse() {
    let shop = on_gitlab(ALICE);
    let custom = shop.repo().path.join("custom_hooks");
    script(&custom.join("update"), "#!/bin/sh\necho first\n");
    script(
        &custom.join("update.d/10-policy"),
        "#!/bin/sh\ncase $1 in *-bad) echo refused; exit 3;; esac\necho second\n",
    );
    let pushed = push_tag(&shop, "release-1");
    assert_eq!(pushed.remote_lines()[..2], ["first", "second"]);
    assert!(pushed.remote_lines()[2].starts_with("tagship: "));
    assert!(!push_tag(&shop, "release-bad").success);
    assert_eq!(shop.records().len(), 1);
}

#[test]
fn gitaly_runs_neither_the_settings_nor_a_half_written_program() {
    let shop = on_gitlab(ALICE);
    let directory = shop.repo().path.join("custom_hooks/update.d");
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["90-tagship", "90-tagship.toml"]);
    script(&directory.join(".90-tagship.new~"), "#!/bin/sh\nexit 1\n");
    assert!(push_tag(&shop, "release-1").success);
}

#[test]
fn gitaly_tar_contains_existing_hooks_and_works() {
    let shop = on_gitlab(ALICE);
    let custom = shop.repo().path.join("custom_hooks");
    script(&custom.join("pre-receive.d/01-mine"), "#!/bin/sh\nexit 0\n");
    std::fs::write(custom.join("update.d/README"), "words").unwrap();
    let mut bytes = Vec::new();
    let install = installation(&shop);
    let write = |bytes: &mut Vec<u8>| {
        tagship::setup::install::archive(
            Some(&shop.repo().path),
            &install.hook_program,
            &install.settings().unwrap(),
            bytes,
        )
        .unwrap();
    };
    write(&mut bytes);
    let mut again = Vec::new();
    write(&mut again);
    assert!(bytes == again, "the same hooks give the same tar");

    let tar = shop.directory().join("hooks.tar");
    std::fs::write(&tar, &bytes).unwrap();
    std::fs::remove_dir_all(&custom).unwrap();
    let mut unpack = std::process::Command::new("tar");
    let listing = output_of(
        unpack
            .args(["-xvf"])
            .arg(&tar)
            .arg("-C")
            .arg(&shop.repo().path),
    );
    assert_eq!(
        String::from_utf8(listing)
            .unwrap()
            .lines()
            .collect::<Vec<_>>(),
        [
            "custom_hooks/",
            "custom_hooks/pre-receive.d/",
            "custom_hooks/pre-receive.d/01-mine",
            "custom_hooks/update.d/",
            "custom_hooks/update.d/README",
            "custom_hooks/update.d/90-tagship",
            "custom_hooks/update.d/90-tagship.toml",
        ]
    );
    assert_eq!(mode(&custom.join("update.d/90-tagship")), 0o755);
    assert_eq!(mode(&custom.join("update.d/90-tagship.toml")), 0o644);
    assert_eq!(mode(&custom.join("pre-receive.d/01-mine")), 0o755);
    assert!(push_tag(&shop, "release-1").success);
    assert_eq!(shop.records().len(), 1);
}

#[test]
fn tar_without_a_repository_contains_only_tagship() {
    let shop = Shop::without_hook();
    let install = InstallRequest {
        kind: GitServerKind::GitLab,
        ..shop.installation()
    };
    let mut bytes = Vec::new();
    tagship::setup::install::archive(
        None,
        &install.hook_program,
        &install.settings().unwrap(),
        &mut bytes,
    )
    .unwrap();
    assert!(bytes.starts_with(b"custom_hooks/\0"));
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Gitea's own `hooks/update`, and the variables that it sets.
fn on_gitea(wiki: &str) -> Shop {
    let shop = Shop::without_hook();
    shop.publish(rules("alice/shop", OnSpoolError::Reject));
    let hooks = shop.repo().path.join("hooks");
    script(
        &hooks.join("update"),
        &format!(
            r#"#!/usr/bin/env bash
# AUTO GENERATED BY GITEA, DO NOT MODIFY
export GITEA_REPO_ID=5 GITEA_REPO_NAME=shop GITEA_REPO_USER_NAME=alice GITEA_PUSHER_NAME=bob GITEA_REPO_IS_WIKI={wiki}
exitcodes=""
hookname=$(basename $0)
GIT_DIR=${{GIT_DIR:-$(dirname $0)/..}}
for hook in ${{GIT_DIR}}/hooks/${{hookname}}.d/*; do
  test -x "${{hook}}" && test -f "${{hook}}" || continue
  "${{hook}}" $1 $2 $3
  exitcodes="${{exitcodes}} $?"
done
for i in ${{exitcodes}}; do
  [ ${{i}} -eq 0 ] || exit ${{i}}
done
"#
        ),
    );
    script(&hooks.join("update.d/gitea"), "#!/bin/sh\necho gitea\n");
    shop
}

#[test]
fn gitea_hook_is_installed_beside_giteas_hook() {
    let shop = on_gitea("false");
    let install = installation(&shop);
    assert_eq!(install.kind, GitServerKind::Gitea);
    let before = std::fs::read(shop.repo().path.join("hooks/update")).unwrap();
    install.run().unwrap();
    assert_eq!(
        std::fs::read(shop.repo().path.join("hooks/update")).unwrap(),
        before
    );
    let pushed = push_tag(&shop, "release-1");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(pushed.remote_lines()[0], "gitea");
    let records = shop.records();
    assert_eq!(records[0].repository, "alice/shop");
    assert_eq!(records[0].pusher, "bob");

    let removed =
        tagship::setup::install::uninstall(&shop.repo().path, GitServerKind::Gitea).unwrap();
    assert_eq!(removed.files.len(), 2);
    assert!(shop.repo().path.join("hooks/update.d/gitea").exists());
    assert_eq!(push_tag(&shop, "release-2").remote_lines(), ["gitea"]);
}

#[test]
fn on_gitea_a_wiki_is_ignored() {
    let shop = on_gitea("true");
    installation(&shop).run().unwrap();
    assert_eq!(push_tag(&shop, "release-1").remote_lines(), ["gitea"]);
    assert_eq!(shop.records(), []);
}

#[test]
fn gitolite_hook_accepts_the_vref_arguments() {
    let shop = Shop::without_hook();
    spool::publish_rules(&shop.spool(), &[rules("shop", OnSpoolError::Reject)]).unwrap();
    // As gitolite calls a VREF: REF OLD NEW OLDTREE NEWTREE ACCESS VREF …
    let vref: PathBuf = shop.directory().join("VREF/tagship");
    tagship_tests::program::copy(&shop.installation().hook_program, &vref);
    std::fs::write(
        vref.with_file_name("tagship.toml"),
        format!("spool_dir = {:?}\n", shop.spool()),
    )
    .unwrap();
    script(
        &shop.repo().path.join("hooks/update"),
        &format!(
            "#!/bin/sh\nGL_REPO=shop GL_USER=bob exec {} \"$1\" \"$2\" \"$3\" tree tree W VREF/tagship\n",
            vref.display()
        ),
    );
    let pushed = push_tag(&shop, "release-1");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(shop.records()[0].pusher, "bob");
    assert!(
        pushed
            .remote_lines()
            .iter()
            .all(|line| !line.starts_with("VREF/"))
    );
}
