//! Three system users: git runs the hook, the agent reads the spool, another user may not. This
//! needs root; without root the tests say so and pass.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use tagship::domain::rule::OnSpoolError;
use tagship::engine::spool;
use tagship_tests::git::{Pushed, output_of};
use tagship_tests::program::script;

use crate::hook::shop::{Shop, rules};

const GIT: u32 = 61001;
const AGENT: u32 = 61002;
const STRANGER: u32 = 61003;
const COLLEAGUE: u32 = 61004;

/// A shop whose repository is git's, and whose spool is the agent's and of git's group.
fn three_users() -> Option<Shop> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: the tests with several system users were not run");
        return None;
    }
    let shop = Shop::without_hook();
    std::fs::set_permissions(shop.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    spool::setup(&shop.spool(), Some(GIT)).unwrap();
    spool::publish_rules(&shop.spool(), &[]).unwrap();
    shop.publish(rules("shop", OnSpoolError::Reject));
    output_of(
        Command::new("chown")
            .arg("-R")
            .arg(AGENT.to_string())
            .arg(shop.spool()),
    );
    output_of(
        Command::new("chown")
            .arg("-R")
            .arg(format!("{GIT}:{GIT}"))
            .arg(&shop.repo().path),
    );
    Some(shop)
}

/// A command as this user, of its own group and of git's if it is one of them.
fn as_user(uid: u32, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={uid}"));
    match uid {
        AGENT | COLLEAGUE => command.arg(format!("--groups={GIT}")),
        _ => command.arg("--clear-groups"),
    };
    command.arg(program);
    command
}

fn may(uid: u32, text: &str) -> bool {
    as_user(uid, "sh")
        .args(["-c", text])
        .output()
        .unwrap()
        .status
        .success()
}

/// Pushes as any user; git's own user receives, with git's strict umask.
fn push_through_git(shop: &Shop, tag: &str) -> Pushed {
    shop.tree().tag(tag, "HEAD");
    let receive = shop.directory().join("receive");
    script(
        &receive,
        &format!(
            "#!/bin/sh\numask 077\nexec setpriv --reuid={GIT} --regid={GIT} --clear-groups git-receive-pack \"$@\"\n"
        ),
    );
    shop.tree().push([
        format!("--receive-pack={}", receive.display()),
        "origin".to_owned(),
        format!("refs/tags/{tag}"),
    ])
}

fn record_path(shop: &Shop) -> std::path::PathBuf {
    let waiting = spool::waiting(&shop.spool()).unwrap();
    shop.spool().join(spool::NEW).join(&waiting[0].name)
}

#[test]
fn root_installs_for_git_and_tries_it_as_git() {
    let Some(shop) = three_users() else { return };
    let report = shop.installation().run().unwrap();
    assert_eq!(report.tried_as, GIT);
    assert_eq!(report.findings, []);
    for path in [&report.program, &report.settings] {
        assert_eq!(std::fs::metadata(path).unwrap().uid(), GIT);
    }
}

#[test]
fn only_git_and_agent_read_records_and_agent_removes() {
    let Some(shop) = three_users() else { return };
    shop.install();
    let pushed = push_through_git(&shop, "release-1");
    assert!(pushed.success, "{}", pushed.text);
    let path = record_path(&shop);
    let data = std::fs::metadata(&path).unwrap();
    assert_eq!(
        (data.uid(), data.gid(), data.mode() & 0o7777),
        (GIT, GIT, 0o640)
    );
    let waiting = spool::waiting(&shop.spool()).unwrap();
    assert_eq!(spool::read(&shop.spool(), &waiting[0]).unwrap().owner, GIT);

    let file = path.display();
    assert!(!may(STRANGER, &format!("cat '{file}'")));
    assert!(
        !may(COLLEAGUE, &format!("rm -f '{file}'")),
        "sticky: another's record stays"
    );
    assert!(may(AGENT, &format!("cat '{file}'")));
    assert!(may(AGENT, &format!("rm '{file}'")));
}

#[test]
fn others_cannot_write_spool_and_git_cannot_write_rules() {
    let Some(shop) = three_users() else { return };
    let spool = shop.spool();
    let spool = spool.display();
    assert!(!may(STRANGER, &format!("echo > '{spool}/new/x'")));
    assert!(!may(STRANGER, &format!("ls '{spool}/new'")));
    assert!(may(GIT, &format!("cat '{spool}/rules/shop.toml'")));
    for attempt in [
        "echo > 'S/rules/shop.toml'",
        "rm -f 'S/rules/shop.toml'",
        "echo > 'S/rules/new.toml'",
        "mv 'S/rules' 'S/old'",
        "rmdir 'S/bad'",
    ] {
        assert!(
            !may(GIT, &attempt.replace('S', &spool.to_string())),
            "{attempt}"
        );
    }
}

#[test]
fn a_forged_record_carries_the_name_of_its_forger() {
    let Some(shop) = three_users() else { return };
    shop.install();
    push_through_git(&shop, "release-1");
    let path = record_path(&shop);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let forged = shop.directory().join("forged");
    std::fs::write(&forged, text.replace("uid:61001", "alice")).unwrap();
    std::fs::set_permissions(&forged, std::fs::Permissions::from_mode(0o644)).unwrap();
    let new = shop.spool().join("new");
    assert!(may(
        COLLEAGUE,
        &format!("cp '{}' '{}/x.toml'", forged.display(), new.display())
    ));
    let waiting = spool::waiting(&shop.spool()).unwrap();
    let received = spool::read(&shop.spool(), &waiting[0]).unwrap();
    assert_eq!(received.record.pusher, "alice");
    assert_eq!(received.owner, COLLEAGUE, "the kernel knows better");
}

#[test]
fn git_user_outside_the_spool_group_gets_an_error() {
    let Some(shop) = three_users() else { return };
    spool::setup(&shop.spool(), Some(AGENT)).unwrap();
    let report = shop.installation().run().unwrap();
    assert!(
        report.findings[0].what.contains("Permission denied"),
        "{:?}",
        report.findings
    );
    assert!(report.findings[0].remedy.contains("spool's group"));
    let pushed = push_through_git(&shop, "release-1");
    assert!(!pushed.success, "{}", pushed.text);
    assert!(pushed.text.contains("Permission denied"), "{}", pushed.text);
}

#[test]
fn a_link_or_a_pipe_in_the_spool_is_not_followed() {
    let Some(shop) = three_users() else { return };
    let new = shop.spool().join("new");
    let secret = shop.directory().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    chown(&secret, Some(AGENT), Some(AGENT)).unwrap();
    plant(&new, &format!("ln -s '{}' link", secret.display()));
    plant(&new, "mkfifo pipe");
    plant(&new, "mkdir directory");
    for waiting in spool::waiting(&shop.spool()).unwrap() {
        let error = spool::read(&shop.spool(), &waiting).unwrap_err();
        assert!(error.is_bad_file(), "{error}");
        assert!(!error.to_string().contains("malformed"), "{error}");
    }
}

fn plant(directory: &Path, text: &str) {
    assert!(may(GIT, &format!("cd '{}' && {text}", directory.display())));
}
