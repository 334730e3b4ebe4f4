//! Connections kept after a task, and the cost of a rollback on the hosts.

use tagship_tests::until;

use crate::stage::{HOSTS, Stage, Start as _, usual};

/// The number of logins, and of commands that were started for them.
fn costs(stage: &Stage) -> (usize, usize) {
    let log = stage.sshd().log();
    let count = |line: &str| log.matches(line).count();
    (
        count("Accepted publickey"),
        count("Starting session: command"),
    )
}

#[test]
fn rollback_after_a_release_needs_no_login_and_no_session() {
    let mut stage = usual().start();
    stage.release("qa-1", &[("file", "1")]);
    stage.release("qa-2", &[("file", "2")]);
    stage.release("qa-3", &[("file", "3")]);
    let (logins, sessions) = costs(&stage);
    assert_eq!(logins, HOSTS.len());
    // A shell, and rsync three times.
    assert_eq!(sessions, HOSTS.len() * 4);
    let back = ["rollback", "--project", "shop", "--environment", "qa"];
    for tag in ["qa-2", "qa-1"] {
        stage.command(&[&back[..], &["--wait"]].concat());
        stage.assert_live(&HOSTS, "qa", tag);
    }
    assert_eq!(costs(&stage), (logins, sessions));
    assert!(!stage.sshd().sessions().is_empty());
    stage.stop_agent();
    assert!(until(|| stage.sshd().sessions().is_empty()));
}

#[test]
fn task_after_a_restart_of_the_hosts_succeeds() {
    let stage = usual().start();
    stage.release("qa-1", &[("file", "1")]);
    stage.sshd().kill_sessions();
    stage.release("qa-2", &[("file", "2")]);
    stage.assert_live(&HOSTS, "qa", "qa-2");
    stage.sshd().freeze_sessions();
    stage.release("qa-3", &[("file", "3")]);
    stage.assert_live(&HOSTS, "qa", "qa-3");
    assert_eq!(costs(&stage).0, 3 * HOSTS.len());
}

#[test]
fn agent_that_keeps_no_connection_closes_each() {
    let stage = usual().ssh("idle_connections = 0").start();
    stage.release("qa-1", &[("file", "1")]);
    assert!(until(|| stage.sshd().sessions().is_empty()));
}

/// A release takes several open files for each host.
#[test]
fn agent_raises_its_limit_of_open_files() {
    let [soft, hard] = usual().start().open_files_limits();
    assert_eq!(soft, hard);
}
