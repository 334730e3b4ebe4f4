//! Execution users, as `tagship check` finds them.

use super::*;

/// A world whose template has a step of an execution user, who has a key of their own.
fn with_operator(port: Option<u16>) -> Checked {
    let mut world = Checked::installed();
    make_key(&world.path("operator_key"), Kind::Ed25519, "");
    world.sshd().authorize(&world.path("operator_key.pub"));
    std::fs::create_dir(world.path("templates")).unwrap();
    let text = r#"
        name = "restart"
        [[stage]]
        name = "all"
        hosts = "web"
        steps = [{ run = "true", user = "operator" }]
        "#;
    std::fs::write(world.path("templates/restart.toml"), text).unwrap();
    let port = port.map(|port| format!("port = {port}\n"));
    world.settings.tables = format!(
        "[execution_users.operator]\nuser = '{}'\nidentity = '{}'\n{}",
        world.sshd().user,
        world.path("operator_key").display(),
        port.unwrap_or_default(),
    );
    world
}

#[test]
fn an_execution_user_who_can_log_in_where_used() {
    let world = with_operator(None);
    let said = world.check();
    assert_eq!(said.status, Some(0), "{said}");
    let line = "ok   host web1: execution user operator: logged in as ";
    assert!(said.stdout.contains(line), "{said}");
}

#[test]
fn an_execution_user_whose_key_is_refused() {
    let world = with_operator(None);
    make_key(&world.path("other"), Kind::Ed25519, "");
    std::fs::rename(world.path("other"), world.path("operator_key")).unwrap();
    world.fails_by(&[
        "host web1: execution user operator: web1 (",
        "refused the key",
        "operator_key",
        "authorized_keys",
    ]);
}

#[test]
fn an_execution_user_without_a_key() {
    let world = with_operator(None);
    std::fs::remove_file(world.path("operator_key")).unwrap();
    world.fails_by(&["host web1: execution user operator: ", "operator_key"]);
}

#[test]
fn an_execution_user_at_a_closed_port() {
    let port = tagship_tests::sshd::free_port();
    with_operator(Some(port)).fails_by(&[
        "host web1: execution user operator: cannot reach web1",
        &port.to_string(),
    ]);
}

#[test]
fn an_execution_user_at_a_port_with_an_unknown_key() {
    let other = Sshd::settings().start();
    let port = other.port;
    with_operator(Some(port)).fails_by(&[
        "host web1: execution user operator: the host key of web1",
        "is not known",
        &format!("add the line `[127.0.0.1]:{port} KEY` to known_hosts"),
    ]);
}

#[test]
fn an_execution_user_without_a_home() {
    let world = with_operator(None);
    let file = world.path("a-file");
    std::fs::write(&file, "").unwrap();
    let sshd = Sshd::settings()
        .line(&format!("SetEnv HOME={}", file.display()))
        .start();
    sshd.authorize(&world.path("operator_key.pub"));
    let world = world.served_by(sshd);
    world.fails_by(&[
        "host web1: execution user operator: tasks are kept in the home directory ",
        "a-file, which cannot be written; make it",
    ]);
}

#[test]
fn an_unused_execution_user() {
    let world = with_operator(None);
    std::fs::remove_file(world.path("templates/restart.toml")).unwrap();
    let said = world.check();
    assert_eq!(said.status, Some(0), "{said}");
    let line = "agent: no template uses the execution user operator\n";
    assert!(said.stdout.contains(line), "{said}");
}
